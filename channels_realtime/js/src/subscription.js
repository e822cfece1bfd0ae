import { Emitter } from "./emitter.js";
import { RealtimeError } from "./errors.js";
import { checkFunction, checkNames } from "./mistakes.js";
import { delivery, withPart } from "./parts.js";
import { covers, positionIn, readPosition } from "./values.js";

/** @import {Delivery} from "./delivery/index.js" */
/** @import {Selection} from "./channel.js" */
/** @import {Ending, History, HistoryOptions, Member, Members, Message, Position, Recovery, RequestOptions, SubscribedPayload, SubscriptionOptions} from "./typedefs.js" */

/** The handlers among the options: `onMessage` is a listener of `message`, and so on. */
const EVENTS = ["message", "subscribed", "recovered", "loaded", "members", "join", "leave", "unsubscribed", "error"];
/** The event of each handler. @type {Record<string, string>} */
const HANDLERS = Object.fromEntries(EVENTS.map((event) => [`on${event[0].toUpperCase()}${event.slice(1)}`, event]));
const OPTIONS = ["parameters", "select", "since", "load", "requireRecovery", "presence", "ack", "iterate", "bufferSize"];

/**
 * @template [Told=Message]
 * @typedef {{message: [Told], subscribed: [SubscribedPayload], recovered: [Recovery], loaded: [any],
 *   members: [Map<string, Member>, number], join: [Member], leave: [Member], unsubscribed: [Ending],
 *   error: [RealtimeError]} & {[event: string]: any[]}} SubscriptionEvents
 */

/**
 * Checks what `subscribe` was given.
 * @param {string} channel @param {boolean} given  Whether there was a second argument. @param {any} options
 * @returns {SubscriptionOptions}
 */
export function subscriptionOptions(channel, given, options) {
  // Without a second argument, the messages are for a loop or for listeners. Options must say who gets the messages.
  if (!given) return {};
  if (typeof options === "function") return { onMessage: options };
  if (typeof options !== "object" || !options) throw new TypeError(`subscribe('${channel}', ${options}): expected a function or options`);
  const handlers = Object.keys(HANDLERS);
  checkNames("option", Object.keys(options), [...OPTIONS, ...handlers]);
  for (const name of ["load", ...handlers]) if (options[name] != null) checkFunction(name, options[name]);
  if (!options.iterate && !handlers.some((name) => options[name])) {
    throw new TypeError(`subscribe('${channel}') has options and no handler; give it onMessage, or iterate: true for a loop`);
  }
  return options;
}

/**
 * The subscription of one caller. All with the same channel and parameters share one subscription on the wire.
 *
 * Messages go to the `message` listeners and to a `for await` loop over the subscription. Without a listener, all
 * messages are buffered, so that none is lost before the loop begins. With a listener, buffering starts with the loop.
 * Leaving the loop (break, return, throw) unsubscribes.
 *
 * @template [Told=Message]  Its messages.
 * @extends {Emitter<SubscriptionEvents<Told>>}
 */
export class Subscription extends Emitter {
  #client;
  #selection;
  /** @type {Promise<SubscribedPayload>} */
  #ready;
  #readyRead = false;
  #settled = false;
  /** @type {(payload: SubscribedPayload) => void} */
  #resolve = () => {};
  /** @type {(error: unknown) => void} */
  #reject = () => {};
  /** @type {Delivery | null} */
  #delivery = null;
  /** What to call the delivery with once it is loaded; null if messages go to the listeners alone. @type {((delivery: Delivery) => void)[] | null} */
  #calls = [];
  /** Whether the delivery is being loaded, or is there. */
  #wanted = false;
  /** @type {Position | null} The page has everything up to this position. */
  #known;
  #established = false;
  /** Whether there is a loop, or one will follow. */
  _iterated;
  /** @type {Position | null} */
  _acknowledged = null;

  /**
   * @internal
   * @param {string} channel
   * @param {SubscriptionOptions} options
   * @param {Selection} selection
   * @param {import("./client.js").RealtimeClient} client
   */
  constructor(channel, options, selection, client) {
    super(EVENTS, true);
    this.channel = channel;
    this.parameters = options.parameters;
    /** How many messages were dropped because the buffer was full. */
    this.dropped = 0;
    /** Whether it has ended: unsubscribed, refused, ended by the server, or because the client was closed. */
    this.ended = false;
    this._options = { bufferSize: 1000, ...options };
    this.#selection = selection;
    this.#client = client;
    this.#known = readPosition(options.since);
    this.#ready = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#ready.catch(() => {}); // _fail reports it if the page does not read `ready`.
    this._iterated = options.iterate === true;
    if (this._iterated || options.load || options.ack || options.select !== undefined) this.#want();
    for (const [name, handler] of Object.entries(options)) if (HANDLERS[name] && handler) this.on(HANDLERS[name], handler);
  }

  /** Resolves with the first `subscribed` payload. Rejects if it is refused; stays pending without a connection. */
  get ready() {
    this.#readyRead = true;
    return this.#ready;
  }

  /** With `presence: true`: the channel's members by their id. Of a large channel, the server sends only some. */
  get members() {
    return this.#selection._feed._members;
  }

  /** With `presence: true`: how many members there are; null until it is known. */
  get count() {
    return this.#selection._feed._count;
  }

  /** In a channel with state: the newest message of each state key; of a last-value channel that of the key "". @returns {Map<string, Told>} */
  get values() {
    return /** @type {Map<string, any>} */ (this.#selection._feed._values);
  }

  /**
   * Adds a listener of one of the subscription's events, or of the publications with another `event`: `status`. For
   * publications with the name of one of the subscription's events it is `event:join`, and so on.
   * @template {keyof SubscriptionEvents<Told>} Name
   * @param {Name} event
   * @param {(...args: SubscriptionEvents<Told>[Name]) => any} listener
   * @returns {() => void}  Removes the listener.
   */
  on(event, listener) {
    // With a listener and without a loop, nothing has to be buffered.
    if ((event === "message" || !EVENTS.includes(String(event))) && !this.#wanted) this.#calls = null;
    return super.on(event, listener);
  }

  /** @param {RequestOptions} [options] @returns {Promise<Members>} Who is on the channel, without a subscription to it. */
  presence(options) {
    return this.#client.presence(this.channel, options);
  }

  /** @param {HistoryOptions} [options] @returns {Promise<History>} */
  history(options) {
    return this.#client.history(this.channel, options);
  }

  /** Acknowledges a message, and all before it, without the option `ack`. @param {Told | Position} message */
  ack(message) {
    this.#want();
    this.#pass((delivery) => delivery.ack(positionIn(message)));
  }

  /** Tells the others that this user is typing: `on("typing", …)`. At most every 3 seconds. @param {any} [payload] */
  typing(payload = null) {
    this.#client._channels._withPresence((part) => part.typing(this.#client, /** @type {any} */ (this), payload));
  }

  /** Unsubscribes at once. Resolves when the server has answered, if a request was needed. Never rejects. */
  async unsubscribe() {
    if (this.ended) return;
    const released = this.#client._channels._release(/** @type {any} */ (this), this.#selection);
    this._end({ code: "unsubscribed", reason: "unsubscribed by this page" }, true);
    await released;
  }

  // A loop

  [Symbol.asyncIterator]() {
    this._iterated = true;
    this.#want();
    return this;
  }

  /** @returns {Promise<IteratorResult<Told>>} */
  next() {
    this[Symbol.asyncIterator]();
    return new Promise((resolve, reject) => this.#pass((delivery) => delivery.next().then(/** @type {any} */ (resolve), reject)));
  }

  /** @returns {Promise<IteratorResult<Told>>} */
  async return() {
    await this.unsubscribe();
    return { value: undefined, done: true };
  }

  // The delivery

  /** Holds, acknowledges or buffers messages from now on. */
  #want() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#calls ??= [];
    this.#load(0);
  }

  /** Loads the delivery. Until it is there, messages wait. @param {number} failures */
  #load(failures) {
    withPart(
      delivery,
      ({ deliver }) => {
        this.#delivery = deliver(this.#client, /** @type {any} */ (this), this._options);
        for (const call of this.#calls?.splice(0) ?? []) call(this.#delivery);
      },
      (error) => {
        if (this.ended) return;
        error.channel = this.channel;
        this._tell(error);
        this.#client._later(this.#client._delay(failures, 0), () => this.#load(failures + 1));
      },
    );
  }

  /** @param {(delivery: Delivery) => void} call */
  #pass(call) {
    if (this.#delivery) call(this.#delivery);
    else this.#calls?.push(call);
  }

  // For the client

  /** @param {string} code @param {string} reason */
  #error(code, reason) {
    return new RealtimeError(code, reason, { channel: this.channel });
  }

  /** @internal @returns {Position | null} Where its first subscribe begins. */
  get _since() {
    return this.#established ? null : this.#known;
  }

  /** @internal Whether it is subscribed on the current connection. */
  get _live() {
    return !this.ended && this.#selection._reply !== null;
  }

  /** @internal @param {Message} message */
  _deliver(message) {
    if (this.ended || (!message.state && covers(this.#known, positionIn(message)))) return;
    if (!this.#delivery && !this.#calls) {
      this._emitMessage(message);
      return;
    }
    this.#pass((delivery) => delivery.message(message));
    const { ack, bufferSize } = this._options;
    if (!this.#calls || this.#calls.length <= bufferSize + 1) return;
    this.dropped += 1;
    this.#calls.splice(1, 1); // The first is `subscribed`, after which the state is loaded, with what is dropped here.
    if (ack) this._refuse(this.#error("overflow", "too many messages before they could be acknowledged"));
  }

  /** @internal @param {Message} message @returns {any[]} What its listeners returned. */
  _emitMessage(message) {
    const outcomes = this._emit("message", /** @type {any} */ (message));
    if (message.event === undefined) return outcomes;
    return outcomes.concat(this._emit(`event:${message.event}`, message));
  }

  /**
   * @internal
   * @param {SubscribedPayload} payload
   * @param {boolean | null} recovered  Whether everything after `from` follows; null if it is a first subscribe.
   * @param {Position | null} from
   */
  _subscribed(payload, recovered, from) {
    if (this.ended) return;
    const stateless = !this.#established && !this.#known;
    const whole = stateless
      ? (from ? undefined : payload.recovered) // The server knows from where.
      : recovered === true && (this.#established || covers(this.#known, from));
    this.#established = true;
    const gap = whole === false;
    if (gap) this.#known = null;
    if (gap && this._options.requireRecovery) {
      this._refuse(this.#error("not_recoverable", "messages may be missing"));
      return;
    }
    this.#settled = true;
    this.#resolve(payload);
    this._emit("subscribed", payload);
    if (whole != null) this._emit("recovered", { ...positionIn(payload), recovered: whole });
    if (!this.ended) this.#pass((delivery) => delivery.subscribed(stateless || gap)); // A listener may have ended it.
  }

  /** @internal Ends it with an error. @param {RealtimeError} error */
  _refuse(error) {
    this.#client._channels._release(/** @type {any} */ (this), this.#selection);
    this._tell(error);
    this._end(error, true, error);
  }

  /** @internal @param {RealtimeError} error @returns {boolean} Whether the page is told of it here. */
  _fail(error) {
    const awaited = this.#readyRead && !this.#settled;
    return this._emit("error", error).length > 0 || this._iterated || awaited;
  }

  /** @internal @param {RealtimeError} error */
  _tell(error) {
    this.#client._channels._failed([/** @type {any} */ (this)], error);
  }

  /**
   * @internal
   * @param {Ending} ending
   * @param {boolean} discard  Whether to discard what the loop has not read yet, because rights may have been revoked.
   * @param {RealtimeError | null} [failure]
   */
  _end({ code, reason }, discard, failure = null) {
    if (this.ended) return;
    this.ended = true;
    this.#pass((delivery) => delivery.end(discard, failure));
    this.#settled = true;
    this.#reject(failure ?? this.#error(code, reason));
    this._emit("unsubscribed", { code, reason });
  }
}
