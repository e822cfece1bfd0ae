import { covers, positionIn, readPosition } from "../values.js";

/** @import {RealtimeClient} from "../client.js" */
/** @import {Subscription} from "../subscription.js" */
/** @import {Message, Position} from "../typedefs.js" */

/**
 * Fetches a channel's state for one subscription, and holds its messages until it is there.
 *
 * A load that fails is tried again with backoff. A newer load or the end of the subscription aborts it, and its result is
 * ignored.
 */
export class Loader {
  #client;
  #subscription;
  #load;
  #limit;
  #done;
  /** @type {Message[] | null} Null while no load is due. */
  #held = null;
  /** @type {Message | null} The newest of those that found no room. */
  #dropped = null;
  /** @type {AbortController | null} Of the running load. */
  #running = null;
  #failures = 0;
  /** @type {any} */
  #timer = null;
  /** Whether the next attempt waits for the connection. */
  #waiting = false;

  /**
   * @param {RealtimeClient} client
   * @param {Subscription} subscription
   * @param {(context: {signal: AbortSignal}) => any} load
   * @param {number} limit  How many messages are held.
   * @param {(result: any, position: Position | null, held: Message[]) => void} done
   */
  constructor(client, subscription, load, limit, done) {
    this.#client = client;
    this.#subscription = subscription;
    this.#load = load;
    this.#limit = limit;
    this.#done = done;
  }

  /** Loads the state again. What is held is dropped: the state that is read from now on contains it. */
  start() {
    this.stop();
    this.#held = [];
    this.#run();
  }

  /** After a reconnect that missed nothing: makes the attempt that waited for it. */
  goOn() {
    if (this.#waiting) this.#run();
  }

  stop() {
    this.#running?.abort();
    this.#client._cancel(this.#timer);
    this.#running = this.#held = this.#dropped = this.#timer = null;
    this.#failures = 0;
    this.#waiting = false;
  }

  /** @param {Message} message @returns {boolean} Whether it is held, because a load is due. */
  hold(message) {
    if (!this.#held) return false;
    this.#held.push(message);
    if (this.#held.length > this.#limit) this.#dropped = this.#held.shift() ?? null;
    return true;
  }

  async #run() {
    const { channel } = this.#subscription;
    const running = new AbortController();
    this.#running = running;
    this.#waiting = false;
    let result;
    try {
      result = await this.#load({ signal: running.signal });
    } catch (cause) {
      if (running !== this.#running) return;
      this.#again("load_failed", `load of '${channel}' failed`, { cause });
      return;
    }
    if (running !== this.#running) return;
    const position = readPosition(result?.position);
    const dropped = this.#dropped;
    if (dropped && !covers(position, positionIn(dropped))) {
      this.#dropped = null;
      const reason = `more than ${this.#limit} messages of '${channel}' arrived during load; the state is loaded again`;
      this.#again("overflow", reason);
      return;
    }
    const held = this.#held ?? [];
    this.#running = this.#held = this.#dropped = null;
    this.#failures = 0;
    this.#done(result, position, held);
  }

  /** @param {string} code @param {string} reason @param {{cause?: unknown}} [context] */
  #again(code, reason, context) {
    const client = this.#client;
    const subscription = this.#subscription;
    this.#running = null;
    this.#timer = client._later(client._delay(this.#failures, 0), () => {
      if (subscription._live) this.#run();
      else this.#waiting = true;
    });
    this.#failures += 1;
    subscription._tell(client._error(code, reason, { ...context, channel: subscription.channel }));
  }
}
