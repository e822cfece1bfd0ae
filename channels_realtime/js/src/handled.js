import { FAILED } from "./emitter.js";
import { report } from "./errors.js";
import { covers, positionIn } from "./values.js";

/** @import {Message, Position} from "./typedefs.js" */

/** How many messages may be in the hands of asynchronous handlers before acknowledging stops. */
const MAX_UNHANDLED_MESSAGES = 1000;

/**
 * Knows up to which position one subscription's messages have been handled. A handler is done when it returns, or when
 * the promise that it returned resolves. If one fails, its message and what follows stay unacknowledged: a new
 * subscription gets them again.
 */
export class Handled {
  /** @type {Position | null} */
  position = null;
  #moved;
  /** @type {{position: Position, done: boolean}[]} In the order of arrival. */
  #unhandled = [];
  #failed = false;

  /** @param {() => void} moved  Called when the position has advanced. */
  constructor(moved) {
    this.#moved = moved;
  }

  /** @param {Message} message @param {any[]} outcomes  Of its listeners. */
  add(message, outcomes) {
    const position = positionIn(message);
    if (!position || this.#failed) return;
    if (this.#unhandled.length >= MAX_UNHANDLED_MESSAGES) this.#failed = true;
    if (this.#failed || outcomes.includes(FAILED)) {
      this.#failed = true;
      return;
    }
    const entry = { position, done: false };
    this.#unhandled.push(entry);
    const promises = outcomes.filter((outcome) => typeof outcome?.then === "function");
    const done = () => {
      entry.done = true;
      this.#advance();
    };
    if (promises.length === 0) done();
    else {
      Promise.all(promises).then(done, (error) => {
        report(error);
        if (this.#unhandled.includes(entry)) this.#failed = true;
      });
    }
  }

  /** @param {Position | null} position  Of a state that contains everything up to there. */
  advanceTo(position) {
    if (!position || covers(this.position, position)) return;
    this.position = position;
    this.#moved();
  }

  #advance() {
    let last = null;
    while (this.#unhandled[0]?.done) last = this.#unhandled.shift();
    if (last) this.advanceTo(last.position);
  }
}
