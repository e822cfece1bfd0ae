import { Emitter } from "./emitter.js";
import { RealtimeError } from "./errors.js";
import { Handled } from "./handled.js";
import { Loader } from "./loader.js";
import { canonical, covers, deferred, positionIn, readPosition } from "./values.js";

/** @import {Feed} from "./channel.js" */

/** @import {Ending, History, HistoryOptions, Member, Members, Message, Position, Recovery, RequestOptions, SubscribedPayload, SubscriptionOptions, Timing} from "./typedefs.js" */
/** @template T @typedef {import("./values.js").Deferred<T>} Deferred */

/**
 * What a subscription needs of its client.
 *
 * @typedef {object} SubscriptionHost
 * @property {Timing} timing
 * @property {(subscription: Subscription) => Promise<void>} release
 * @property {(channel: string) => void} acknowledge
 * @property {(error: RealtimeError) => void} fail
 * @property {import("./client.js").RealtimeClient} client
 */

/**
 * One caller's subscription. Those with the same channel and parameters share one subscription on the wire.
 *
 * Messages go to the `message` listeners and to a `for await` loop over the subscription. Without a listener, all
 * messages are buffered, so that none is lost before the loop begins. With a listener, buffering starts with the loop.
 * Leaving the loop (break, return, throw) unsubscribes.
 *
 * @extends {Emitter<{message: [Message], subscribed: [SubscribedPayload], recovered: [Recovery], loaded: [any],
 *   members: [Map<string, Member>, number], join: [Member], leave: [Member], unsubscribed: [Ending],
 *   error: [RealtimeError]}>}
 */
export class Subscription extends Emitter {
  #host;
  #feed;
  #bufferSize;
  /** @type {Message[]} */
  #buffer = [];
  /** @type {{resolve: (result: IteratorResult<Message>) => void, reject: (error: unknown) => void}[]} */
  #waiters = [];
  #iterated = false;
  #overflowing = false;
  /** @type {RealtimeError | null} The loop throws it once. */
  #failure = null;
  #ready;
  #readyRead = false;
  /** @type {Loader | null} */
  #loader = null;
  /** @type {Handled | null} */
  #handled = null;
  /** @type {Message | null} The last message that the loop took, which is handled when it asks for the next. */
  #taken = null;
  /** @type {Position | null} The page has everything up to there. */
  #known;
  #established = false;

  /**
   * @param {string} channel
   * @param {SubscriptionOptions} options
   * @param {Feed} feed
   * @param {SubscriptionHost} host
   */
  constructor(channel, options, feed, host) {
    super();
    this.channel = channel;
    this.parameters = options.parameters;
    /** How many messages were dropped because the buffer was full. */
    this.dropped = 0;
    /** Whether it has ended: unsubscribed, refused, ended by the server, or the client was closed. */
    this.ended = false;
    this.#host = host;
    this.#feed = feed;
    this.#bufferSize = options.bufferSize ?? 1000;
    this.select = options.select;
    this.presenceWanted = options.presence === true;
    this.requireRecovery = options.requireRecovery === true;
    this.#known = readPosition(options.since);
    if (options.ack) this.#handled = new Handled(() => host.acknowledge(channel));
    if (options.load) {
      this.#loader = new Loader(options.load, {
        channel,
        limit: this.#bufferSize,
        timing: host.timing,
        isLive: () => feed.live().has(this),
        fail: (error) => this._fail(error) || host.fail(error),
        done: (result, position, held) => this.#loaded(result, position, held),
      });
    }
    this.#ready = /** @type {Deferred<SubscribedPayload>} */ (deferred());
    this.#ready.promise.catch(() => {}); // _fail reports it if the page does not read `ready`.
    if (options.onMessage) this.on("message", options.onMessage);
    if (options.onSubscribed) this.on("subscribed", options.onSubscribed);
    if (options.onRecovered) this.on("recovered", options.onRecovered);
    if (options.onLoaded) this.on("loaded", options.onLoaded);
    if (options.onMembers) this.on("members", options.onMembers);
    if (options.onUnsubscribed) this.on("unsubscribed", options.onUnsubscribed);
    if (options.onError) this.on("error", options.onError);
  }

  /** Resolves with the first `subscribed` payload. Rejects if refused; stays pending without a connection. */
  get ready() {
    this.#readyRead = true;
    return this.#ready.promise;
  }

  /** With `presence: true`: the channel's members by their id, as far as they are sent. */
  get members() {
    return this.#feed.members;
  }

  /** With `presence: true`: how many members there are; null until it is known. */
  get count() {
    return this.#feed.count;
  }

  /** In a channel with state: the newest message of each state key; of a last-value channel that of the key "". */
  get values() {
    return this.#feed.values;
  }

  /** @param {RequestOptions} [options] @returns {Promise<Members>} Who is on the channel, without a subscription to it. */
  presence(options) {
    return this.#host.client.presence(this.channel, options);
  }

  /** @param {HistoryOptions} [options] @returns {Promise<History>} */
  history(options) {
    return this.#host.client.history(this.channel, options);
  }

  /** Acknowledges a message, and all before it, without the option `ack`. @param {Message | Position} message */
  ack(message) {
    this.#handled ??= new Handled(() => this.#host.acknowledge(this.channel));
    this.#handled.advanceTo(positionIn(message));
  }

  /** Unsubscribes at once. Resolves when the server has answered, if a request was needed. Never rejects. */
  async unsubscribe() {
    if (this.ended) return;
    const released = this.#host.release(this);
    this._end({ code: "unsubscribed", reason: "unsubscribed by this page" }, true);
    await released;
  }

  [Symbol.asyncIterator]() {
    this.#iterated = true;
    return this;
  }

  /** @returns {Promise<IteratorResult<Message>>} */
  async next() {
    this.#iterated = true;
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
    if (this.ended) return { value: undefined, done: true };
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  /** @returns {Promise<IteratorResult<Message>>} */
  async return() {
    await this.unsubscribe();
    return { value: undefined, done: true };
  }

  /** @internal */
  get _acknowledged() {
    return this.#handled?.position ?? null;
  }

  /** @internal @returns {Position | null} Where a first subscribe on its behalf begins. */
  get _since() {
    return this.#established ? null : this.#known;
  }

  /** @internal @param {Message} message */
  _deliver(message) {
    if (this.ended || !this.#selects(message)) return;
    if (!message.state && covers(this.#known, positionIn(message))) return;
    if (!this.#loader?.hold(message)) this.#hand(message);
  }

  /** @param {Message} message */
  #hand(message) {
    const waiter = this.#waiters.shift();
    const looped = waiter || this.#iterated || !this._hasListeners("message");
    if (waiter) {
      waiter.resolve({ value: this.#take(message), done: false });
    } else if (looped) {
      this.#buffer.push(message);
      if (this.#buffer.length > this.#bufferSize) this.#dropOldest();
    } else {
      this.#buffer.length = 0; // There is a listener and no loop, so the buffer is not needed.
    }
    const outcomes = this._outcomes("message", [message]);
    if (!looped) this.#handled?.add(message, outcomes);
  }

  /** @param {Message} message */
  #take(message) {
    return (this.#taken = message);
  }

  /**
   * @internal
   * @param {SubscribedPayload} payload
   * @param {boolean | null} recovered  Whether everything after `from` follows; null if it is a first subscribe.
   * @param {Position | null} from
   */
  _subscribed(payload, recovered, from) {
    if (this.ended) return;
    /** @type {Recovery | null} */
    let recovery = null;
    if (this.#established) recovery = { ...positionIn(payload), recovered: recovered === true };
    else if (this.#known) recovery = { ...positionIn(payload), recovered: recovered === true && covers(this.#known, from) };
    else if (from === null && payload.recovered !== undefined) recovery = { ...positionIn(payload), recovered: payload.recovered };
    const stateless = !this.#established && !this.#known;
    this.#established = true;
    if (recovery && !recovery.recovered) this.#known = null;
    if (recovery && !recovery.recovered && this.requireRecovery) {
      this._refuse(new RealtimeError("not_recoverable", "messages may be missing", { channel: this.channel }));
      return;
    }
    this.#ready.resolve(payload);
    this._emit("subscribed", payload);
    if (recovery) this._emit("recovered", recovery);
    if (this.ended || !this.#loader) return; // A listener ended it.
    if (stateless || (recovery && !recovery.recovered)) this.#loader.start();
    else this.#loader.goOn();
  }

  /** @param {any} result @param {Position | null} position @param {Message[]} held */
  #loaded(result, position, held) {
    if (position) this.#known = position;
    this._emit("loaded", result);
    this.#handled?.advanceTo(position);
    for (const message of held) this._deliver(message);
  }

  /** @internal Ends it with an error. @param {RealtimeError} error */
  _refuse(error) {
    this.#host.release(this);
    if (!this._fail(error)) this.#host.fail(error);
    this._end({ code: error.code, reason: error.reason }, true, error);
  }

  /** @internal @param {RealtimeError} error @returns {boolean} Whether the page learns of it here. */
  _fail(error) {
    const awaited = this.#readyRead && !this.#ready.settled;
    return this._emit("error", error) || this.#iterated || awaited;
  }

  /**
   * @internal
   * @param {Ending} ending
   * @param {boolean} discard  Discard what the loop has not read yet, because rights may have been revoked.
   * @param {RealtimeError | null} [failure]
   */
  _end(ending, discard, failure = null) {
    if (this.ended) return;
    this.ended = true;
    this.#loader?.stop();
    this.#failure = failure;
    if (discard) this.#buffer.length = 0;
    this.#ready.reject(failure ?? new RealtimeError(ending.code, ending.reason, { channel: this.channel }));
    for (const waiter of this.#waiters.splice(0)) {
      this.next().then(waiter.resolve, waiter.reject);
    }
    this._emit("unsubscribed", ending);
  }

  #dropOldest() {
    this.#buffer.shift();
    this.dropped += 1;
    if (this.#overflowing || !this.#iterated) return;
    this.#overflowing = true; // Report it only once until the loop has caught up.
    const reason = `more than ${this.#bufferSize} messages wait for the loop over '${this.channel}'; the oldest are dropped`;
    this._emit("error", new RealtimeError("overflow", reason, { channel: this.channel }));
  }

  /** @param {Message} message */
  #selects(message) {
    if (this.select === undefined) return true;
    return canonical(message.payload?.[this.select]) === canonical(this.parameters?.[this.select]);
  }
}
