import { covers, positionIn } from "../values.js";

/** @import {Message, Position} from "../typedefs.js" */

/** The last messages of each channel, for tabs that are a little behind. */
const MAX_RECENT_MESSAGES = 200;

/** The last messages of a channel, without a gap. */
export class Recent {
  /** How many subscriptions there are. */
  lines = 0;
  /** Whether there are selections by parameters, so that messages may be of one of them only. */
  partial = false;
  /** @type {Position | null} Where it begins. */
  #start = null;
  /** @type {Message[]} */
  #messages = [];

  /** @param {Position | null} position @param {boolean} anew  Whether messages may be missing before it. */
  begin(position, anew) {
    if (this.#start && !anew) return;
    this.#start = position;
    this.#messages = [];
  }

  /** @param {Message} message */
  add(message) {
    const position = positionIn(message);
    if (!position || message.state) return;
    if (this.#start?.epoch !== position.epoch) this.begin(null, true);
    if (!this.#start) return;
    this.#messages.push(message);
    if (this.#messages.length > MAX_RECENT_MESSAGES) this.#start = positionIn(this.#messages.shift());
  }

  /** @param {Position} since @returns {Message[] | null} What follows, or null if it does not reach back so far. */
  after(since) {
    if (this.partial || !covers(since, this.#start)) return null;
    return this.#messages.filter((message) => !covers(since, positionIn(message)));
  }
}
