/**
 * What stands between a subscription and its listeners where it loads a state, acknowledges, or is iterated over.
 *
 * It is loaded when a subscription needs it. It imports nothing of the core that has identity: what it needs of it comes
 * with the {@link Host}.
 */

import { Handled } from "./handled.js";
import { Loader } from "./loader.js";

/** @import {Message, Position, SubscriptionOptions} from "../typedefs.js" */

/**
 * What a delivery needs of its subscription and its client.
 *
 * @typedef {object} Host
 * @property {{channel: string, dropped: number, ended: boolean, ack(message: any): void}} subscription
 * @property {symbol} FAILED  The outcome of a listener that threw.
 * @property {(error: unknown) => void} report
 * @property {(seconds: number, callback: () => void) => any} later
 * @property {(handle: any) => void} cancel
 * @property {(failures: number, wait: number) => number} delay  With jitter, in seconds.
 * @property {() => boolean} isLive  Whether it is subscribed on the current connection.
 * @property {() => boolean} isListened  Whether there was ever a listener for messages.
 * @property {() => boolean} isIterated
 * @property {(event: string, value: any) => any[]} emit  What each listener returned.
 * @property {(message: Message) => void} deliver  Tells a held message.
 * @property {(position: Position) => void} knows  The page has everything up to there.
 * @property {(code: string, reason: string, context?: {cause?: unknown}) => void} fail
 */

/** @param {SubscriptionOptions & {bufferSize: number}} options @param {Host} host */
export function deliver(options, host) {
  return new Delivery(options, host);
}

export class Delivery {
  #host;
  #bufferSize;
  /** @type {Message[]} */
  #buffer = [];
  /** @type {{resolve: (result: IteratorResult<Message>) => void, reject: (error: unknown) => void}[]} */
  #waiters = [];
  #overflowing = false;
  /** @type {unknown} The loop throws it once. */
  #failure = null;
  /** @type {Loader | null} */
  #loader = null;
  /** @type {Handled | null} */
  #handled = null;
  /** @type {Message | null} The last message that the loop took, which is handled when it asks for the next. */
  #taken = null;

  /** @param {SubscriptionOptions & {bufferSize: number}} options @param {Host} host */
  constructor({ load, ack, bufferSize }, host) {
    this.#host = host;
    this.#bufferSize = bufferSize;
    if (ack) this.#handled = new Handled(host);
    if (load) this.#loader = new Loader(load, bufferSize, host, (...loaded) => this.#loaded(...loaded));
  }

  /** @param {boolean} stateless  Whether the state has to be loaded. */
  subscribed(stateless) {
    if (this.#host.subscription.ended) return;
    if (stateless) this.#loader?.start();
    else this.#loader?.goOn();
  }

  /** @param {any} result @param {Position | null} position @param {Message[]} held */
  #loaded(result, position, held) {
    if (position) this.#host.knows(position);
    this.#host.emit("loaded", result);
    if (position && this.#handled) this.#host.subscription.ack(position);
    for (const message of held) this.#host.deliver(message);
  }

  /** @param {Message} message */
  message(message) {
    if (this.#loader?.hold(message)) return;
    const { subscription, isIterated, isListened, emit } = this.#host;
    const waiter = this.#waiters.shift();
    const looped = waiter || isIterated() || !isListened();
    if (waiter) {
      waiter.resolve({ value: this.#take(message), done: false });
    } else if (looped) {
      this.#buffer.push(message);
      if (this.#buffer.length > this.#bufferSize) this.#dropOldest();
    }
    const outcomes = subscription.ended ? [] : emit("message", message);
    if (!looped) this.#handled?.add(message, outcomes);
  }

  /** @returns {Promise<IteratorResult<Message>>} */
  async next() {
    if (this.#taken) this.#handled?.add(this.#taken, []);
    this.#taken = null;
    const message = this.#buffer.shift();
    if (message) return { value: this.#take(message), done: false };
    this.#overflowing = false;
    if (this.#failure) {
      const failure = this.#failure;
      this.#failure = null;
      throw failure;
    }
    if (this.#host.subscription.ended) return { value: undefined, done: true };
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** @param {Message} message */
  #take(message) {
    return (this.#taken = message);
  }

  /** @param {boolean} discard  Discard what the loop has not read yet. @param {unknown} failure */
  end(discard, failure) {
    this.#loader?.stop();
    this.#failure = failure;
    if (discard) this.#buffer.length = 0;
    for (const waiter of this.#waiters.splice(0)) this.next().then(waiter.resolve, waiter.reject);
  }

  #dropOldest() {
    const { subscription, isIterated, fail } = this.#host;
    this.#buffer.shift();
    subscription.dropped += 1;
    if (this.#overflowing || !isIterated()) return;
    this.#overflowing = true; // Report it only once until the loop has caught up.
    fail("overflow", `more than ${this.#bufferSize} messages wait for the loop over '${subscription.channel}'; the oldest are dropped`);
  }
}
