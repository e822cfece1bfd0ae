import { FAILED, positionIn, report } from "../values.js";

/** @import {Message, Position} from "../typedefs.js" */

/** How many messages asynchronous handlers may be working on before acknowledging stops. */
const MAX_UNHANDLED_MESSAGES = 1000;

/**
 * Knows up to which position one subscription's messages have been handled. A handler is done when it returns, or when
 * the promise that it returned resolves. If one fails, its message and what follows stay unacknowledged: a new
 * subscription gets them again.
 */
export class Handled {
  #acknowledge;
  /** @type {{position: Position, done: boolean}[]} In the order of arrival. */
  #unhandled = [];
  #failed = false;

  /** @param {(position: Position) => void} acknowledge */
  constructor(acknowledge) {
    this.#acknowledge = acknowledge;
  }

  /** @param {Message} message @param {any[]} outcomes  Of its listeners. */
  add(message, outcomes) {
    const position = positionIn(message);
    if (!position || this.#failed) return;
    if (this.#unhandled.length >= MAX_UNHANDLED_MESSAGES || outcomes.includes(FAILED)) {
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
    if (promises.length === 0) {
      done();
      return;
    }
    Promise.all(promises).then(done, (error) => {
      report(error);
      if (this.#unhandled.includes(entry)) this.#failed = true;
    });
  }

  #advance() {
    let last;
    while (this.#unhandled[0]?.done) last = this.#unhandled.shift();
    if (last) this.#acknowledge(last.position);
  }
}
