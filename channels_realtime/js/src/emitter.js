import { checkFunction, checkNames } from "./mistakes.js";
import { FAILED, report } from "./values.js";

/**
 * Listeners by event. If one throws, the error is reported and the others are still called.
 * @template {Record<string, any[]>} Events
 */
export class Emitter {
  /** @type {Map<keyof Events, Set<(...args: any[]) => any>>} */
  #listeners = new Map();
  #events;
  #named;

  /**
   * @param {string[]} events  Their names.
   * @param {boolean} [named]  Whether any other name is that of publications: `status` stands for `event:status`.
   */
  constructor(events, named) {
    this.#events = events;
    this.#named = named;
  }

  /** @param {any} event @returns {any} */
  #nameOf(event) {
    if (this.#events.includes(event) || (this.#named && event.startsWith("event:"))) return event;
    checkNames("event", [event], this.#events, this.#named);
    return `event:${event}`;
  }

  /**
   * @template {keyof Events} Name
   * @param {Name} event
   * @param {(...args: Events[Name]) => any} listener
   * @returns {() => void}  Removes the listener.
   */
  on(event, listener) {
    checkFunction(`the listener of '${String(event)}'`, listener);
    const name = this.#nameOf(event);
    this.#listeners.set(name, (this.#listeners.get(name) ?? new Set()).add(listener));
    return () => this.off(event, listener);
  }

  /**
   * @template {keyof Events} Name
   * @param {Name} event
   * @param {(...args: Events[Name]) => any} listener
   */
  off(event, listener) {
    this.#listeners.get(this.#nameOf(event))?.delete(listener);
  }

  /**
   * @internal
   * @template {keyof Events} Name
   * @param {Name} event
   * @param {Events[Name]} args
   * @returns {any[]}  What each listener returned, or `FAILED`.
   */
  _emit(event, ...args) {
    return [...(this.#listeners.get(event) ?? [])].map((listener) => {
      try {
        return listener(...args);
      } catch (error) {
        report(error);
        return FAILED;
      }
    });
  }
}
