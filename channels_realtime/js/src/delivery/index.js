/**
 * Stands between a subscription and its listeners if it loads a state, acknowledges, selects or is read by a loop.
 * A part of the core, see `parts.js`.
 */

import { canonical, covers, positionIn } from "../values.js";
import { Acknowledgements } from "./acknowledgements.js";
import { Handled } from "./handled.js";
import { Loader } from "./loader.js";

/** @import {RealtimeClient} from "../client.js" */
/** @import {Subscription} from "../subscription.js" */
/** @import {Message, Position, SubscriptionOptions} from "../typedefs.js" */

/**
 * @param {RealtimeClient} client @param {Subscription} subscription
 * @param {SubscriptionOptions & {bufferSize: number}} options
 */
export function deliver(client, subscription, options) {
  return new Delivery(client, subscription, options);
}

export class Delivery {
  #client;
  #subscription;
  #options;
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
  /** @type {Position | null} The loaded state contains everything up to this position. */
  #known = null;

  /**
   * @param {RealtimeClient} client @param {Subscription} subscription
   * @param {SubscriptionOptions & {bufferSize: number}} options
   */
  constructor(client, subscription, options) {
    const { load, ack, bufferSize } = options;
    this.#client = client;
    this.#subscription = subscription;
    this.#options = options;
    if (ack) this.#handled = new Handled((position) => this.ack(position));
    if (load) this.#loader = new Loader(client, subscription, load, bufferSize, (...loaded) => this.#loaded(...loaded));
  }

  /** @param {boolean} stateless  Whether the state has to be loaded. */
  subscribed(stateless) {
    if (this.#subscription.ended) return;
    if (stateless) {
      this.#known = null;
      this.#loader?.start();
    } else {
      this.#loader?.goOn();
    }
  }

  /** @param {any} result @param {Position | null} position @param {Message[]} held */
  #loaded(result, position, held) {
    if (position) this.#known = position;
    this.#subscription._emit("loaded", result);
    if (position && this.#handled) this.ack(position);
    for (const message of held) this.message(message);
  }

  /** @param {Message} message */
  message(message) {
    const { select, parameters, bufferSize } = this.#options;
    if (select !== undefined && canonical(message.payload?.[select]) !== canonical(parameters?.[select])) return;
    if (!message.state && covers(this.#known, positionIn(message))) return;
    if (this.#loader?.hold(message)) return;
    const subscription = this.#subscription;
    const waiter = this.#waiters.shift();
    if (waiter) {
      waiter.resolve({ value: this.#take(message), done: false });
    } else if (subscription._iterated) {
      this.#buffer.push(message);
      if (this.#buffer.length > bufferSize) this.#dropOldest();
    }
    const outcomes = subscription.ended ? [] : subscription._emitMessage(message);
    if (!subscription._iterated) this.#handled?.add(message, outcomes);
  }

  /** @param {Position | null} position */
  ack(position) {
    const subscription = this.#subscription;
    if (!position || covers(subscription._acknowledged, position)) return;
    subscription._acknowledged = position;
    this.#client._acknowledgements ??= new Acknowledgements(this.#client);
    this.#client._acknowledgements.soon(subscription.channel);
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
    if (this.#subscription.ended) return { value: undefined, done: true };
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
    const subscription = this.#subscription;
    const { channel } = subscription;
    this.#buffer.shift();
    subscription.dropped += 1;
    if (this.#overflowing) return;
    this.#overflowing = true; // Report it only once until the loop has caught up.
    const reason = `more than ${this.#options.bufferSize} messages wait for the loop over '${channel}'; the oldest are dropped`;
    subscription._tell(this.#client._error("overflow", reason, { channel }));
  }
}
