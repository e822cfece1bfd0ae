/*! channels_realtime 0.1.0-dev.0 | MIT license */

// src/index.js
var PROTOCOL = "realtime.v1.json";
function quote(value) {
  return String(value).replace(/[^A-Za-z0-9_.:@=-]|=(?=[0-9A-F]{2})/gu, (character) => {
    const encoded = encodeURIComponent(character);
    return encoded === character ? "=" + character.charCodeAt(0).toString(16).toUpperCase() : encoded.replaceAll("%", "=");
  });
}
var MAX_HELD_MESSAGES = 1e3;
var MAX_SEEN_OFFSETS = 1e3;
var MAX_STATE_KEYS = 1e4;
var MAX_UNHANDLED_MESSAGES = 1e3;
var MAX_ABANDONED = 100;
var ACK_DELAY_SECONDS = 0.1;
var TERMINAL_CLOSE_CODES = /* @__PURE__ */ new Set([4400, 4403, 4406, 4409, 4413, 1002, 1003, 1007, 1009]);
var CLOSE_NORMAL = 1e3;
var CLOSE_ABNORMAL = 1006;
var CLOSE_UNAUTHENTICATED = 4401;
var CLOSE_HEARTBEAT_MISSED = 4408;
var PASSING_ERRORS = /* @__PURE__ */ new Set(["rate_limited", "timeout", "unavailable", "internal"]);
var FAILED = /* @__PURE__ */ Symbol("failed");
var RealtimeError = class extends Error {
  /**
   * @param {string} code  From the wire, or one of the client's own: `disconnected`, `connection_lost`, `queue_full`,
   *   `closed`, `unsubscribed`, `overflow`, `token_unavailable`, `load_failed`.
   * @param {string} reason
   * @param {{payload?: any, channel?: string, request?: string, cause?: unknown}} [context]
   */
  constructor(code, reason, { payload, channel, request, cause } = {}) {
    super(reason ? `${code}: ${reason}` : code, cause === void 0 ? void 0 : { cause });
    this.name = "RealtimeError";
    this.code = code;
    this.reason = reason;
    this.retryAfter = asSeconds(payload?.retry_after);
    this.payload = payload;
    this.channel = channel;
    this.request = request;
  }
};
var Emitter = class {
  /** @type {Map<keyof Events, Set<(...args: any[]) => void>>} */
  #listeners = /* @__PURE__ */ new Map();
  /**
   * @template {keyof Events} Name
   * @param {Name} event
   * @param {(...args: Events[Name]) => void} listener
   * @returns {() => void}  Removes the listener.
   */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? /* @__PURE__ */ new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => this.off(event, listener);
  }
  /**
   * @template {keyof Events} Name
   * @param {Name} event
   * @param {(...args: Events[Name]) => void} listener
   */
  off(event, listener) {
    this.#listeners.get(event)?.delete(listener);
  }
  /** @internal @param {keyof Events} event @returns {boolean} */
  _hasListeners(event) {
    return (this.#listeners.get(event)?.size ?? 0) > 0;
  }
  /**
   * @internal
   * @template {keyof Events} Name
   * @param {Name} event
   * @param {Events[Name]} args
   * @returns {boolean}  Whether there was a listener.
   */
  _emit(event, ...args) {
    return this._outcomes(event, args).length > 0;
  }
  /**
   * @internal
   * @template {keyof Events} Name
   * @param {Name} event
   * @param {Events[Name]} args
   * @returns {any[]}  What each listener returned, or `FAILED`.
   */
  _outcomes(event, args) {
    return [...this.#listeners.get(event) ?? []].map((listener) => {
      try {
        return listener(...args);
      } catch (error) {
        report(error);
        return FAILED;
      }
    });
  }
};
var Loader = class {
  #load;
  #host;
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
   * @param {(context: {signal: AbortSignal}) => any} load
   * @param {{channel: string, limit: number, timing: Timing, isLive: () => boolean,
   *   fail: (error: RealtimeError) => void, done: (result: any, position: Position | null, held: Message[]) => void}} host
   */
  constructor(load, host) {
    this.#load = load;
    this.#host = host;
  }
  /** Loads anew. What is held is dropped: the state that is read from now on contains it. */
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
    this.#host.timing.cancel(this.#timer);
    this.#running = this.#held = this.#dropped = this.#timer = null;
    this.#failures = 0;
    this.#waiting = false;
  }
  /** @param {Message} message @returns {boolean} Whether it is held, because a load is due. */
  hold(message) {
    if (!this.#held) return false;
    this.#held.push(message);
    if (this.#held.length > this.#host.limit) this.#dropped = this.#held.shift() ?? null;
    return true;
  }
  async #run() {
    const { channel, limit, done } = this.#host;
    const running = new AbortController();
    this.#running = running;
    this.#waiting = false;
    let result;
    try {
      result = await this.#load({ signal: running.signal });
    } catch (cause) {
      if (running !== this.#running) return;
      this.#again(new RealtimeError("load_failed", `load of '${channel}' failed`, { cause, channel }));
      return;
    }
    if (running !== this.#running) return;
    const position = readPosition(result?.position);
    const dropped = this.#dropped;
    if (dropped && !covers(position, positionIn(dropped))) {
      this.#dropped = null;
      const reason = `more than ${limit} messages of '${channel}' arrived during load; the state is loaded again`;
      this.#again(new RealtimeError("overflow", reason, { channel }));
      return;
    }
    const held = this.#held ?? [];
    this.#running = this.#held = this.#dropped = null;
    this.#failures = 0;
    done(result, position, held);
  }
  /** @param {RealtimeError} error */
  #again(error) {
    const { timing, isLive, fail } = this.#host;
    this.#running = null;
    this.#timer = timing.later(timing.delay(this.#failures, error.retryAfter ?? 0), () => {
      if (isLive()) this.#run();
      else this.#waiting = true;
    });
    this.#failures += 1;
    fail(error);
  }
};
var Handled = class {
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
};
var Subscription = class extends Emitter {
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
    this.dropped = 0;
    this.ended = false;
    this.#host = host;
    this.#feed = feed;
    this.#bufferSize = options.bufferSize ?? 1e3;
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
        done: (result, position, held) => this.#loaded(result, position, held)
      });
    }
    this.#ready = /** @type {Deferred<SubscribedPayload>} */
    deferred();
    this.#ready.promise.catch(() => {
    });
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
    return this.#host.request({ type: "presence", channel: this.channel }, options);
  }
  /** @param {HistoryOptions} [options] @returns {Promise<History>} */
  history(options) {
    return requestHistory(this.#host.request, this.channel, options);
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
    if (this.ended) return { value: void 0, done: true };
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }
  /** @returns {Promise<IteratorResult<Message>>} */
  async return() {
    await this.unsubscribe();
    return { value: void 0, done: true };
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
      this.#buffer.length = 0;
    }
    const outcomes = this._outcomes("message", [message]);
    if (!looped) this.#handled?.add(message, outcomes);
  }
  /** @param {Message} message */
  #take(message) {
    return this.#taken = message;
  }
  /**
   * @internal
   * @param {SubscribedPayload} payload
   * @param {boolean | null} recovered  Whether everything after `from` follows; null if it is a first subscribe.
   * @param {Position | null} from
   */
  _subscribed(payload, recovered, from) {
    if (this.ended) return;
    let recovery = null;
    if (this.#established) recovery = { ...positionIn(payload), recovered: recovered === true };
    else if (this.#known) recovery = { ...positionIn(payload), recovered: recovered === true && covers(this.#known, from) };
    else if (from === null && payload.recovered !== void 0) recovery = { ...positionIn(payload), recovered: payload.recovered };
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
    if (this.ended || !this.#loader) return;
    if (stateless || recovery && !recovery.recovered) this.#loader.start();
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
    this.#overflowing = true;
    const reason = `more than ${this.#bufferSize} messages wait for the loop over '${this.channel}'; the oldest are dropped`;
    this._emit("error", new RealtimeError("overflow", reason, { channel: this.channel }));
  }
  /** @param {Message} message */
  #selects(message) {
    if (this.select === void 0) return true;
    return canonical(message.payload?.[this.select]) === canonical(this.parameters?.[this.select]);
  }
};
var Selection = class {
  /** @type {Set<Subscription>} Empty only if the channel is automatic. */
  subscriptions = /* @__PURE__ */ new Set();
  /** @type {SubscribedPayload | null} The reply on the current connection. */
  reply = null;
  /** Whether it was ever accepted. */
  established = false;
  /**
   * Whether the session that a reconnect resumes has it; "sent" if that was not answered.
   * @type {"no" | "sent" | "yes"}
   */
  inSession = "no";
  /** Whether it was subscribed with presence. */
  watches = false;
  /** @type {Position | null} From where a subscribe begins that has not been answered yet. */
  since = null;
  failures = 0;
  /** @type {any} */
  retryTimer = null;
  /** @param {any} parameters */
  constructor(parameters) {
    this.parameters = parameters;
  }
  get presence() {
    return [...this.subscriptions].some((subscription) => subscription.presenceWanted);
  }
  get requireRecovery() {
    return this.subscriptions.size > 0 && [...this.subscriptions].every((subscription) => subscription.requireRecovery);
  }
};
var Feed = class {
  /** @type {Map<string, Selection>} */
  selections = /* @__PURE__ */ new Map();
  /** @type {Position | null} The last position received, or where the subscription began. */
  position = null;
  /** @type {Set<number>} Offsets received, in the epoch of the position, where there are several selections. */
  #seen = /* @__PURE__ */ new Set();
  /** Whether the server subscribed this connection by itself. */
  automatic = false;
  /** False after other parameters were `already_subscribed`: all share one subscription. */
  selective = true;
  /** @type {Message[] | null} Live messages of an automatic channel that wait for its replay. */
  held = null;
  /** @type {Map<string, Member>} */
  members = /* @__PURE__ */ new Map();
  /** @type {number | null} */
  count = null;
  /** @type {Map<string, Message>} The newest message of each state key. */
  values = /* @__PURE__ */ new Map();
  /** Whether the state may be on its way, so that the position does not stand for what was received. */
  stateArriving = false;
  /** @type {"no" | "asked" | "again"} Whether the server was asked for the end of the state. */
  stateFence = "no";
  #lastValue = false;
  /** Whether nothing shows yet that what the reply promised has arrived: the state, if the channel has one. */
  unproven = false;
  /** Whether what an inbox still has may follow `welcome`, from a position that the server alone knows. */
  fresh = false;
  /** @param {string} name */
  constructor(name) {
    this.name = name;
  }
  /** Advances the position. @param {Message} message @returns {boolean} Whether it is new. */
  admits(message) {
    const position = positionIn(message);
    if (!position || message.state) return true;
    const { offset } = position;
    if (this.fresh && message.recovered) this.position = null;
    this.fresh = false;
    this.unproven = false;
    const known = this.position?.epoch === position.epoch ? this.position.offset : -1;
    if (this.selections.size > 1) {
      if (known < 0) this.#seen.clear();
      if (this.#seen.has(offset) || offset <= known && !message.recovered) return false;
      this.#seen.add(offset);
      if (this.#seen.size > MAX_SEEN_OFFSETS) this.#seen.delete(
        /** @type {number} */
        this.#seen.values().next().value
      );
    } else if (offset <= known) {
      return false;
    }
    if (offset > known) this.position = position;
    if (this.selections.size === 1) this.stateArriving = false;
    return true;
  }
  /** Keeps what belongs to the channel's state. @param {Message} message */
  keep(message) {
    if (message.state && message.state_key === void 0) this.#lastValue = true;
    const positioned = message.state || positionIn(message) !== null;
    const key = message.state_key ?? (this.#lastValue && positioned ? "" : void 0);
    if (key === void 0) return;
    this.values.delete(key);
    if (!message.removed) this.values.set(key, message);
    if (this.values.size > MAX_STATE_KEYS) this.values.delete(
      /** @type {string} */
      this.values.keys().next().value
    );
  }
  /** @param {Partial<Members>} payload @returns {boolean} Whether it says who is there. */
  takeMembers({ members, count }) {
    if (typeof count !== "number") return false;
    this.count = count;
    this.members = new Map((members ?? []).map((member) => [member.id, member]));
    return true;
  }
  /** @param {Member} member @param {number} count @returns {boolean} Whether that is news. */
  joined(member, count) {
    const known = this.members.has(member.id);
    this.members.set(member.id, member);
    return this.#counted(count) || !known;
  }
  /** @param {Member} member @param {number} count @returns {boolean} Whether that is news. */
  left(member, count) {
    const known = this.members.delete(member.id);
    return this.#counted(count) || known;
  }
  /** @param {number} count  Of all members, those that were not sent included. @returns {boolean} Whether it is another. */
  #counted(count) {
    const before = this.count;
    this.count = count;
    return before !== count;
  }
  /** @returns {Set<Subscription>} */
  subscriptions() {
    return new Set([...this.selections.values()].flatMap((selection) => [...selection.subscriptions]));
  }
  /** @returns {Set<Subscription>} Those that are subscribed on the current connection. */
  live() {
    const selections = [...this.selections.values()].filter((selection) => selection.reply);
    return new Set(selections.flatMap((selection) => [...selection.subscriptions]));
  }
  /** @returns {Position | null} Where a resume begins: nothing before it is missing in any selection. Null: the server knows. */
  resumesFrom() {
    if (this.stateArriving || this.unproven) return null;
    let from = this.position;
    for (const { since } of this.selections.values()) {
      if (since && (!from || since.epoch === from.epoch && since.offset < from.offset)) from = since;
    }
    return from;
  }
  /** @returns {Position | null} What all its subscriptions have handled. */
  acknowledged() {
    let lowest = null;
    for (const { _acknowledged: position } of this.subscriptions()) {
      if (position && (!lowest || covers(lowest, position))) lowest = position;
    }
    return lowest;
  }
};
var RealtimeClient = class extends Emitter {
  #options;
  #timers;
  #random;
  /** @type {State} */
  #state = "idle";
  /** @type {WebSocket | null} */
  #socket = null;
  /** Increased to cancel what still waits for getToken. */
  #generation = 0;
  /** How many connections failed since the last `welcome`. */
  #failures = 0;
  /** @type {any} */
  #retryTimer = null;
  #retryHeldByServer = false;
  /** @type {any} The timer of `welcome`, then of the heartbeat. */
  #watchdog = null;
  /** @type {{code?: number, reason?: string, reconnect?: boolean, retry_after?: number} | null} */
  #closing = null;
  #welcome = (
    /** @type {any} */
    null
  );
  #ready = false;
  /** @type {string | null} The session that the next connection resumes. A secret: never shown or logged. */
  #session = null;
  /** @type {{channel: string, parameters: any}[]} Given up without a connection; a resume would bring them back. */
  #abandoned = [];
  /** @type {Set<string>} Channels with an acknowledgement to send. */
  #acknowledging = /* @__PURE__ */ new Set();
  /** @type {any} */
  #ackTimer = null;
  /** @type {string | null} The last token sent, to recognise a new one. */
  #sentToken = null;
  /** @type {string | null} A token fetched after a 4401, for the next connection. */
  #freshToken = null;
  /** Whether a 4401 has been answered with a new attempt, and no `welcome` has come since. */
  #renewed = false;
  #lastId = 0;
  /** @type {Map<number, PendingRequest>} In the order of the calls. */
  #pending = /* @__PURE__ */ new Map();
  /** @type {string[]} */
  #outbox = [];
  /** @type {Map<string, Feed>} */
  #feeds = /* @__PURE__ */ new Map();
  /**
   * @param {string | URL | null} [url]  Relative to the page; http and https become ws and wss. Without it, the address
   *   in the page's `<meta name="realtime-url">`, or else `/ws/`.
   * @param {ClientOptions} [options]
   */
  constructor(url, options = {}) {
    super();
    this.url = webSocketUrl(url || pageUrl());
    this.user = null;
    this.connectionId = null;
    this.#options = {
      backoffBaseSeconds: 1,
      backoffCapSeconds: 30,
      connectTimeoutSeconds: 20,
      requestTimeoutSeconds: 35,
      whenDisconnected: "wait",
      maxPendingRequests: 500,
      batch: true,
      ...options
    };
    this.#random = options.random ?? Math.random;
    this.#timers = options.timers ?? {
      setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds),
      clearTimeout: (handle) => clearTimeout(handle)
    };
  }
  get state() {
    return this.#state;
  }
  /**
   * For an HTTP request that publishes: what the server is to `exclude`, so that this page does not get its own change.
   * @returns {Record<string, string>}
   */
  get headers() {
    return this.connectionId ? { "X-Realtime-Connection": this.connectionId } : {};
  }
  /** Connects, also again after "closed" or "unauthenticated". @returns {this} */
  connect() {
    if (["connecting", "connected", "reconnecting"].includes(this.#state)) return this;
    this.#generation += 1;
    this.#failures = 0;
    this.#renewed = false;
    this.#listenForWaking(true);
    this.#open();
    return this;
  }
  /** Closes with 1000 and ends all subscriptions. Requests made in this task are still sent. */
  close() {
    const reason = "closed by the page";
    if (this.#state === "closed") {
      this.#end(this.#takeSubscriptions(), CLOSE_NORMAL, reason);
      return;
    }
    if (this.#ready) this.#acknowledge();
    this.#flush();
    this.#socketGone(CLOSE_NORMAL, reason);
    this.#stop("closed", CLOSE_NORMAL, reason);
  }
  /**
   * Subscribes, or waits for `connect()` where the client is not connected.
   * @param {string} channel
   * @param {SubscriptionOptions | ((message: Message) => void)} [options]  A function means `{onMessage}`.
   * @returns {Subscription}
   */
  subscribe(channel, options = {}) {
    const settings = typeof options === "function" ? { onMessage: options } : options;
    const key = canonical(settings.parameters);
    const feed = this.#feeds.get(channel) ?? new Feed(channel);
    this.#feeds.set(channel, feed);
    const subscription = new Subscription(channel, settings, feed, this.#hostOf(key));
    const selection = feed.selections.get(key);
    if (selection) {
      selection.subscriptions.add(subscription);
      if (selection.presence && !selection.watches && selection.inSession !== "no") this.#watchMembers(feed, key, selection);
      if (selection.reply) queueMicrotask(() => this.#join(subscription, feed, selection));
    } else {
      const added = new Selection(settings.parameters);
      added.subscriptions.add(subscription);
      feed.selections.set(key, added);
      if (this.#ready) this.#subscribe(feed, key, added);
    }
    return subscription;
  }
  /**
   * @param {string} channel
   * @param {any} payload
   * @param {PublishOptions & RequestOptions} [options]
   * @returns {Promise<PublishedPayload>}
   */
  publish(channel, payload, { event, key, echo, transient, version, stateKey, removed, onlyIf, ...options } = {}) {
    const fields = { event, key, echo, transient, version, state_key: stateKey, removed, only_if: onlyIf };
    return this.request({ type: "publish", channel, payload: payload ?? null, ...fields }, options);
  }
  /** @param {string} channel @param {RequestOptions} [options] @returns {Promise<Members>} Who is on a channel. */
  presence(channel, options) {
    return this.request({ type: "presence", channel }, options);
  }
  /** @param {string} channel @param {HistoryOptions} [options] @returns {Promise<History>} What a channel keeps. */
  history(channel, options) {
    return requestHistory((message, rest) => this.request(message, rest), channel, options);
  }
  /**
   * @param {string} channel
   * @param {string} method
   * @param {any} [payload]
   * @param {RequestOptions} [options]
   * @returns {Promise<any>}
   */
  call(channel, method, payload, options) {
    return this.request({ type: "call", channel, method, payload }, options);
  }
  /**
   * Sends any request of the protocol. The client adds the `id`.
   * @param {{type: string, [field: string]: any}} message
   * @param {RequestOptions} [options]
   * @returns {Promise<any>}  The reply's payload.
   */
  request(message, options = {}) {
    return new Promise((resolve, reject) => {
      const { timeoutSeconds, whenDisconnected } = { ...this.#options, ...options };
      const context = { request: message.type, channel: message.channel };
      const stopped = this.#state === "closed" || this.#state === "unauthenticated";
      if (stopped || !this.#ready && whenDisconnected === "reject") {
        reject(new RealtimeError("disconnected", `the client is ${this.#state}`, context));
      } else if (this.#pending.size >= this.#options.maxPendingRequests) {
        reject(new RealtimeError("queue_full", `${this.#pending.size} requests are unanswered`, context));
      } else {
        this.#ask(message, resolve, reject, { timeoutSeconds, now: this.#ready });
      }
    });
  }
  // Sending requests
  /**
   * @param {{type: string, [field: string]: any}} message
   * @param {(payload: any) => void} onReply
   * @param {(error: RealtimeError) => void} onError
   * @param {{timeoutSeconds?: number, now?: boolean}} [options]
   */
  #ask(message, onReply, onError, { timeoutSeconds = this.#options.requestTimeoutSeconds, now = true } = {}) {
    const id = ++this.#lastId;
    const text = JSON.stringify({ ...message, id });
    const timer = this.#later(timeoutSeconds, () => {
      const reason = `no answer to '${message.type}' within ${timeoutSeconds} s`;
      this.#settle(id, new RealtimeError("timeout", reason, { request: message.type, channel: message.channel }));
    });
    const request = { type: message.type, text, sent: false, timer, onReply, onError };
    this.#pending.set(id, request);
    if (now) this.#transmit(id, request);
  }
  /** @param {number} id @param {PendingRequest} request */
  #transmit(id, request) {
    const limit = this.#welcome?.limits?.max_frame ?? Infinity;
    const size = byteLength(request.text);
    if (size > limit) {
      const reason = `'${request.type}' is ${size} bytes long; the server accepts at most ${limit}`;
      this.#settle(id, new RealtimeError("too_large", reason, { request: request.type }));
      return;
    }
    request.sent = true;
    this.#send(request.text);
  }
  /** @param {string} text */
  #send(text) {
    if (this.#outbox.push(text) === 1) queueMicrotask(() => this.#flush());
  }
  #flush() {
    const socket = this.#socket;
    const texts = this.#outbox.splice(0);
    if (!socket || texts.length === 0) return;
    const limits = this.#welcome?.limits ?? {};
    const batches = this.#options.batch && socket.protocol === PROTOCOL;
    const maxBatch = batches ? limits.max_batch ?? 1 : 1;
    const maxBytes = (limits.max_frame ?? Infinity) - 1;
    for (let start = 0; start < texts.length; ) {
      let end = start + 1;
      let size = byteLength(texts[start]) + 1;
      while (end < texts.length && end - start < maxBatch) {
        size += byteLength(texts[end]) + 1;
        if (size > maxBytes) break;
        end += 1;
      }
      socket.send(end - start === 1 ? texts[start] : `[${texts.slice(start, end).join(",")}]`);
      start = end;
    }
  }
  /** @param {number} id @param {RealtimeError | null} error @param {any} [payload] */
  #settle(id, error, payload) {
    const request = this.#pending.get(id);
    if (!request) return;
    this.#pending.delete(id);
    this.#timers.clearTimeout(request.timer);
    if (error) request.onError(error);
    else request.onReply(payload);
  }
  // The connection
  #open() {
    const socket = new (this.#options.WebSocket ?? WebSocket)(this.url, [PROTOCOL]);
    this.#socket = socket;
    socket.onmessage = (event) => this.#receive(socket, event.data);
    socket.onclose = (event) => this.#lost(socket, event.code ?? CLOSE_ABNORMAL, event.reason ?? "");
    const limit = this.#options.connectTimeoutSeconds;
    this.#watch(limit, () => this.#abandon(`no welcome within ${limit} s`));
    this.#setState("connecting", { attempt: this.#failures + 1 });
  }
  /** @param {string} reason */
  #abandon(reason) {
    if (this.#socket) this.#lost(this.#socket, CLOSE_HEARTBEAT_MISSED, reason);
  }
  /** @param {WebSocket} socket @param {number} closeCode @param {string} closeReason */
  #lost(socket, closeCode, closeReason) {
    if (socket !== this.#socket) return;
    const closing = this.#closing;
    const code = closing?.code ?? closeCode;
    const reason = closing?.reason ?? closeReason;
    this.#socketGone(closeCode, closeReason);
    const comesBack = closing?.reconnect ?? !TERMINAL_CLOSE_CODES.has(code);
    if (!comesBack) this.#stop("closed", code, reason);
    else if (code === CLOSE_UNAUTHENTICATED) this.#renew(code, reason, closing);
    else this.#retry(code, reason, closing);
  }
  /** Drops the socket and its state. @param {number} code @param {string} reason */
  #socketGone(code, reason) {
    this.#timers.clearTimeout(this.#watchdog);
    this.#timers.clearTimeout(this.#ackTimer);
    this.#ackTimer = null;
    const socket = this.#socket;
    this.#socket = null;
    this.#ready = false;
    this.#welcome = null;
    this.#closing = null;
    this.#outbox = [];
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close(code === CLOSE_NORMAL ? CLOSE_NORMAL : CLOSE_HEARTBEAT_MISSED);
    }
    for (const feed of this.#feeds.values()) {
      feed.held = null;
      feed.stateFence = "no";
      for (const selection of feed.selections.values()) {
        selection.reply = null;
        this.#timers.clearTimeout(selection.retryTimer);
      }
    }
    for (const [id, request] of [...this.#pending]) {
      if (!request.sent) continue;
      const text = `the connection ended before '${request.type}' was answered (${code} ${reason})`;
      this.#settle(id, new RealtimeError("connection_lost", text, { request: request.type }));
    }
  }
  /**
   * Reconnects later, with full jitter below an exponential limit. After a `retry_after`, waits for once to twice that
   * time, so that clients that were closed together do not reconnect together.
   * @param {number} code @param {string} reason @param {{retry_after?: number} | null} closing
   */
  #retry(code, reason, closing) {
    const wait = asSeconds(closing?.retry_after);
    const nextDelay = (wait ?? 0) + this.#random() * Math.max(this.#backoff(this.#failures), wait ?? 0);
    this.#failures += 1;
    this.#retryHeldByServer = wait !== null;
    this.#retryTimer = this.#later(nextDelay, () => this.#retryNow());
    this.#setState("reconnecting", { attempt: this.#failures + 1, nextDelay, code, reason });
  }
  #retryNow() {
    this.#timers.clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
    this.#open();
  }
  /** @param {number} failures @returns {number} The longest next delay, in seconds. */
  #backoff(failures) {
    return Math.min(this.#options.backoffCapSeconds, this.#options.backoffBaseSeconds * 2 ** failures);
  }
  /** @param {"closed" | "unauthenticated"} state @param {number} code @param {string} reason */
  #stop(state, code, reason) {
    this.#generation += 1;
    this.#timers.clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
    this.#freshToken = null;
    if (code === CLOSE_NORMAL) this.#forgetSession();
    this.#listenForWaking(false);
    const unanswered = [...this.#pending.keys()];
    const subscriptions = state === "closed" ? this.#takeSubscriptions() : [];
    this.#setState(state, { code, reason });
    for (const id of unanswered) {
      this.#settle(id, new RealtimeError("disconnected", `the client is ${state} (${code} ${reason})`));
    }
    this.#end(subscriptions, code, reason);
  }
  /** Forgets all subscriptions. @returns {Subscription[]} Those that were there. */
  #takeSubscriptions() {
    const subscriptions = [...this.#feeds.values()].flatMap((feed) => [...feed.subscriptions()]);
    this.#feeds.clear();
    return subscriptions;
  }
  /** @param {Subscription[]} subscriptions @param {number} code @param {string} reason */
  #end(subscriptions, code, reason) {
    for (const subscription of subscriptions) subscription._end({ code: "closed", reason: `${code} ${reason}` }, false);
  }
  /** @param {State} state @param {StateDetail} detail */
  #setState(state, detail) {
    this.#state = state;
    this._emit("state", state, detail);
  }
  /** @param {number} seconds @param {() => void} callback */
  #later(seconds, callback) {
    return this.#timers.setTimeout(callback, seconds * 1e3);
  }
  /** @param {RealtimeError} error */
  #fail(error) {
    if (!this._emit("error", error)) report(error);
  }
  // Heartbeat
  /** @param {number} seconds @param {() => void} callback */
  #watch(seconds, callback) {
    this.#timers.clearTimeout(this.#watchdog);
    this.#watchdog = this.#later(seconds, callback);
  }
  #heard() {
    const { interval, timeout } = this.#welcome?.heartbeat ?? {};
    if (interval > 0) this.#watch(interval + timeout, () => this.#probe());
  }
  #probe() {
    const { timeout } = this.#welcome?.heartbeat ?? {};
    if (!(timeout > 0)) return;
    this.#send('{"type":"ping"}');
    this.#watch(timeout, () => this.#abandon(`nothing heard for ${timeout} s after a ping`));
  }
  /** @param {boolean} listen */
  #listenForWaking(listen) {
    const target = this.#options.wakeTarget ?? globalThis.window;
    for (const event of ["online", "pageshow", "visibilitychange"]) {
      if (listen) target?.addEventListener?.(event, this.#wake, true);
      else target?.removeEventListener?.(event, this.#wake, true);
    }
  }
  /** Checks at once, after timers were suspended or the network changed. @param {Event} event */
  #wake = (event) => {
    if (event.type === "visibilitychange" && globalThis.document?.visibilityState === "hidden") return;
    if (this.#retryTimer !== null && !this.#retryHeldByServer) this.#retryNow();
    else if (this.#welcome) this.#probe();
  };
  // Credentials
  /**
   * @param {TokenReason} reason
   * @returns {Promise<string | null>}
   */
  async #token(reason) {
    const fresh = this.#freshToken;
    this.#freshToken = null;
    return fresh ?? await this.#options.getToken?.({ reason }) ?? null;
  }
  /**
   * Sends a token on the current connection.
   * @param {TokenReason} reason
   * @param {(outcome: "done" | "refused" | "none" | "unavailable") => void} [then]
   */
  async #authenticate(reason, then = () => {
  }) {
    const socket = this.#socket;
    let token;
    try {
      token = await this.#token(reason);
    } catch (cause) {
      if (socket !== this.#socket) return;
      this.#fail(new RealtimeError("token_unavailable", "getToken failed", { cause, request: "auth" }));
      then("unavailable");
      return;
    }
    if (socket !== this.#socket) return;
    if (token === null) {
      then("none");
      return;
    }
    this.#sentToken = token;
    this.#ask(
      { type: "auth", token },
      (payload) => {
        this.user = payload?.user ?? null;
        then("done");
      },
      (error) => {
        if (error.code !== "connection_lost") this.#fail(error);
        then("refused");
      }
    );
  }
  #authRequired() {
    this.#authenticate("required", (outcome) => {
      if (outcome === "unavailable") this.#abandon("getToken failed");
      if (outcome !== "none") return;
      this.#signedOut("the server requires a token and the page has none");
    });
  }
  /** @param {string} reason */
  #signedOut(reason) {
    this.#socketGone(CLOSE_NORMAL, "no credentials");
    this.#forgetSession();
    this.#stop("unauthenticated", CLOSE_UNAUTHENTICATED, reason);
  }
  /**
   * After 4401: makes one new attempt, with another token than the refused one, or with the login session, which may have
   * moved on: changing the password in another tab gives the browser a new cookie. Stops at the second 4401 in a row,
   * or a server that refuses whatever it gets would be asked for ever. `reconnect: true` with 4401 also means "with new
   * credentials".
   * @param {number} code @param {string} reason @param {{retry_after?: number} | null} closing
   */
  async #renew(code, reason, closing) {
    if (this.#renewed) {
      this.#stop("unauthenticated", code, reason);
      return;
    }
    const generation = this.#generation;
    this.#freshToken = null;
    let token = null;
    if (this.#options.getToken) {
      this.#setState("reconnecting", { attempt: this.#failures + 2, nextDelay: null, code, reason });
      if (generation !== this.#generation) return;
      try {
        token = await this.#token("refused");
      } catch (cause) {
        if (generation !== this.#generation) return;
        this.#fail(new RealtimeError("token_unavailable", "getToken failed", { cause, request: "auth" }));
        this.#retry(code, reason, closing);
        return;
      }
      if (generation !== this.#generation) return;
    }
    if (token === null && this.#sentToken === null) {
      this.#renewed = true;
      const wait = Math.max(asSeconds(closing?.retry_after) ?? 0, this.#options.backoffBaseSeconds);
      this.#retry(code, reason, { retry_after: wait });
    } else if (token !== null && token !== this.#sentToken) {
      this.#renewed = true;
      this.#freshToken = token;
      this.#retry(code, reason, closing);
    } else {
      this.#stop("unauthenticated", code, reason);
    }
  }
  // Receiving frames
  /** @param {WebSocket} socket @param {unknown} data */
  #receive(socket, data) {
    if (socket !== this.#socket) return;
    this.#heard();
    let frame;
    try {
      frame = JSON.parse(
        /** @type {string} */
        data
      );
    } catch (cause) {
      this.#fail(new RealtimeError("bad_message", "the server sent a frame that is not JSON text", { cause }));
      return;
    }
    for (const message of Array.isArray(frame) ? frame : [frame]) {
      if (socket !== this.#socket) return;
      if (typeof message === "object" && message !== null) this.#handle(message);
    }
  }
  /** @param {any} message */
  #handle(message) {
    const { type, id, channel, request, payload } = message;
    if (this.#pending.has(id)) {
      const error = type === "error" ? new RealtimeError(payload?.code, payload?.reason, { payload, channel, request }) : null;
      this.#settle(id, error, payload ?? {});
    }
    if (type === "welcome") this.#welcomed(payload);
    else if (type === "message") this.#message(message);
    else if (type === "join" || type === "leave") this.#memberMoved(type, channel, payload ?? {});
    else if (type === "subscribed" && id === void 0) this.#told(channel, payload ?? {}, message.automatic === true);
    else if (type === "ping") this.#pinged();
    else if (type === "auth_required") this.#authRequired();
    else if (type === "auth_expiring" && this.#options.getToken) this.#authenticate("expiring");
    else if (type === "closing") this.#closing = payload;
    else if (type === "unsubscribed" && id === void 0) this.#taken(channel, payload);
    else if (type === "error" && id === void 0) {
      this.#fail(new RealtimeError(payload?.code, payload?.reason, { payload, channel, request }));
    }
  }
  /** @param {any} payload */
  #welcomed(payload) {
    const user = payload.user ?? null;
    if (this.#renewed && !this.#freshToken && user === null && this.user !== null) {
      this.#signedOut("the login session has ended");
      return;
    }
    this.#welcome = payload;
    this.#failures = 0;
    this.#renewed = false;
    this.#timers.clearTimeout(this.#watchdog);
    this.user = user;
    if (this.user !== null) this.#freshToken = null;
    for (const feed of this.#feeds.values()) if (feed.automatic) feed.held = [];
    for (const name of Object.keys(payload.channels ?? {})) this.#markAutomatic(name).held ??= [];
    this.#heard();
    const begin = () => this.#begin();
    if (this.user === null && this.#options.getToken) this.#authenticate("anonymous", begin);
    else begin();
  }
  /** The server has subscribed this connection. @param {string} name @returns {Feed} */
  #markAutomatic(name) {
    const feed = this.#feeds.get(name) ?? new Feed(name);
    this.#feeds.set(name, feed);
    const key = canonical(void 0);
    if (!feed.selections.has(key)) feed.selections.set(key, new Selection(void 0));
    if (!feed.automatic) {
      feed.automatic = true;
      this._emit("channel", name, true);
    }
    return feed;
  }
  /** The server does not subscribe this connection any more; the page's own subscriptions stay. @param {Feed} feed */
  #markOrdinary(feed) {
    const key = canonical(void 0);
    feed.automatic = false;
    feed.held = null;
    if (feed.selections.get(key)?.subscriptions.size === 0) this.#forget(feed, key);
    this._emit("channel", feed.name, false);
  }
  /** Resumes the last session where there is one; otherwise subscribes anew. */
  #begin() {
    if (!this.#welcome || this.#ready) return;
    const { session_id: own, connection_id: id } = this.#welcome;
    const socket = this.#socket;
    if (!this.#session) {
      this.#session = own ?? null;
      this.connectionId = id ?? null;
      this.#start(null);
      return;
    }
    const since = {};
    for (const feed of this.#feeds.values()) {
      const position = feed.resumesFrom();
      if (position) since[feed.name] = position;
    }
    this.#ask(
      { type: "resume", session_id: this.#session, since },
      (payload) => {
        this.#session = payload.session_id ?? own ?? null;
        this.connectionId = payload.connection_id ?? this.connectionId ?? id ?? null;
        this.#start(payload.channels ?? {});
      },
      (error) => {
        if (socket !== this.#socket || error.code === "connection_lost") return;
        this.#forgetSession();
        if (error.code === "timeout") {
          this.#abandon("no answer to 'resume'");
          return;
        }
        this.#session = own ?? null;
        this.connectionId = id ?? null;
        this.#start(null);
      }
    );
  }
  #forgetSession() {
    this.#session = null;
    this.#abandoned = [];
  }
  /**
   * Begins to work on a new connection.
   * @param {Record<string, SubscribedPayload> | null} resumed  The channels of a resumed session.
   */
  #start(resumed) {
    const socket = this.#socket;
    const waiting = [...this.#pending].filter(([, request]) => !request.sent);
    const abandoned = this.#abandoned;
    this.#abandoned = [];
    this.#ready = true;
    for (const feed of [...this.#feeds.values()]) {
      if (feed.automatic && !(feed.name in { ...this.#welcome.channels, ...resumed })) this.#markOrdinary(feed);
      if (!resumed) for (const selection of feed.selections.values()) selection.inSession = "no";
    }
    for (const { channel, parameters } of abandoned) {
      if (!resumed || !(channel in resumed)) continue;
      const others = [...this.#feeds.get(channel)?.selections.values() ?? []];
      const stays = others.some((selection) => selection.inSession === "yes");
      const nothing = () => {
      };
      this.#ask({ type: "unsubscribe", channel, payload: stays ? parameters : void 0 }, nothing, nothing);
      if (!stays) delete resumed[channel];
    }
    for (const name of Object.keys(resumed ?? {})) if (!this.#feeds.has(name)) this.#markAutomatic(name);
    for (const feed of [...this.#feeds.values()]) {
      const reply = resumed?.[feed.name];
      if (reply) this.#resumed(feed, reply);
      for (const [key, selection] of [...feed.selections]) if (!selection.reply) this.#subscribe(feed, key, selection);
    }
    for (const [id, request] of waiting) this.#transmit(id, request);
    if (this.#acknowledging.size > 0) this.#acknowledge();
    if (socket === this.#socket) this.#setState("connected", {});
  }
  /** The session had this channel: one replay for all its selections. @param {Feed} feed @param {SubscribedPayload} reply */
  #resumed(feed, reply) {
    const selections = [...feed.selections.values()];
    const alone = selections.length === 1;
    const stands = selections.filter(({ inSession }) => inSession === "yes" || alone && (inSession === "sent" || feed.automatic));
    const from = feed.resumesFrom();
    for (const selection of stands) this.#subscribed(feed, selection, from, reply);
  }
  // Subscriptions
  /** @param {string} key  Of the selection. @returns {SubscriptionHost} */
  #hostOf(key) {
    return {
      timing: {
        later: (seconds, callback) => this.#later(seconds, callback),
        cancel: (handle) => this.#timers.clearTimeout(handle),
        delay: (failures, wait) => wait + this.#random() * Math.max(this.#backoff(failures), wait)
      },
      release: (subscription) => this.#release(subscription, key),
      acknowledge: (channel) => this.#acknowledgeSoon(channel),
      fail: (error) => this.#fail(error),
      request: (message, options) => this.request(message, options)
    };
  }
  /** @param {Feed} feed @param {string} key @param {Selection} selection */
  #subscribe(feed, key, selection) {
    const automatic = feed.automatic && key === canonical(void 0);
    const { presence, requireRecovery, parameters } = selection;
    const had = feed.stateArriving ? null : feed.position;
    selection.since ??= selection.established ? had : earliest([...selection.subscriptions].map(({ _since }) => _since));
    const { since } = selection;
    const now = automatic ? this.#welcome.channels?.[feed.name] : null;
    const complete = (feed.held?.length ?? 0) < MAX_HELD_MESSAGES;
    if (now && complete && !presence && (!since || samePosition(since, positionIn(now)))) {
      this.#subscribed(feed, selection, since, since ? { ...now, recovered: true } : now, { replayed: false });
      return;
    }
    if (automatic) feed.held ??= [];
    if (selection.inSession === "no") selection.inSession = "sent";
    selection.watches = presence;
    const message = {
      type: "subscribe",
      channel: feed.name,
      payload: parameters,
      since: since ?? void 0,
      presence: presence || void 0,
      require_recovery: since && requireRecovery || void 0
    };
    const stands = () => feed.selections.get(key) === selection;
    this.#ask(
      message,
      (payload) => stands() && this.#subscribed(feed, selection, since, payload),
      (error) => stands() && this.#subscribeFailed(feed, key, selection, since, error)
    );
  }
  /**
   * @param {Feed} feed @param {Selection} selection @param {Position | null} since @param {SubscribedPayload} reply
   * @param {{replayed?: boolean}} [options]  Whether what was missed follows, if it is recovered.
   */
  #subscribed(feed, selection, since, reply, { replayed = true } = {}) {
    const position = positionIn(reply);
    const gap = (since !== null || selection.established) && reply.recovered !== true;
    const recovered = since || selection.established ? reply.recovered === true : null;
    const held = feed.held ?? [];
    if (!recovered || !replayed || held.length === 0) feed.held = null;
    if (!this.#isSubscribed(feed)) feed.stateArriving = false;
    if (feed.live().size === 0) {
      feed.unproven = recovered !== true;
      if (feed.unproven) feed.values.clear();
    }
    selection.reply = reply;
    selection.established = true;
    selection.inSession = "yes";
    selection.since = null;
    selection.failures = 0;
    feed.fresh = !replayed && since === null;
    if (since && recovered) feed.position = since;
    else if (reply.recovered && position) {
      if (feed.position?.epoch !== position.epoch) feed.position = null;
    } else if (gap) feed.position = position;
    else if (feed.position?.epoch !== position?.epoch) feed.position = position;
    const members = feed.takeMembers(reply);
    if (!members && selection.presence) this.#fetchMembers(feed, selection);
    for (const subscription of [...selection.subscriptions]) subscription._subscribed(reply, recovered, since);
    if (members) this.#tellMembers(feed);
    if (!recovered || !replayed) for (const message of held) this.#take(feed, message, gap);
    if (feed.held) this.#fence(feed, () => this.#releaseHeld(feed));
  }
  /** What was live before a replay follows it. @param {Feed} feed */
  #releaseHeld(feed) {
    const held = feed.held ?? [];
    feed.held = null;
    for (const message of held) this.#take(feed, message);
    if (held.length >= MAX_HELD_MESSAGES) this.#told(feed.name, { ...feed.position, recovered: false }, false);
  }
  /**
   * Calls back once everything has arrived that the server has written by now: its answer comes after that.
   * @param {Feed} feed @param {() => void} then  Not called if the connection or the feed has ended.
   */
  #fence(feed, then) {
    const socket = this.#socket;
    const stands = () => socket === this.#socket && this.#feeds.get(feed.name) === feed;
    this.#ask({ type: "ping" }, () => stands() && then(), (error) => error.code === "timeout" && stands() && then());
  }
  /** What the server wrote before its ping has arrived. */
  #pinged() {
    for (const feed of this.#feeds.values()) if (this.#isSubscribed(feed)) feed.unproven = false;
    this.#send('{"type":"pong"}');
  }
  /** The position counts only once the whole state has arrived. @param {Feed} feed */
  #stateArrives(feed) {
    feed.stateArriving = true;
    if (feed.stateFence === "asked") feed.stateFence = "again";
    if (feed.stateFence !== "no") return;
    feed.stateFence = "asked";
    this.#fence(feed, () => {
      const again = feed.stateFence === "again";
      feed.stateFence = "no";
      if (again) this.#stateArrives(feed);
      else feed.stateArriving = feed.unproven = false;
    });
  }
  /** One more caller of what is subscribed already. @param {Subscription} subscription @param {Feed} feed @param {Selection} selection */
  #join(subscription, feed, selection) {
    if (!selection.reply || subscription.ended) return;
    subscription._subscribed(selection.reply, true, feed.position);
    if (subscription.presenceWanted && feed.count !== null) subscription._emit("members", feed.members, feed.count);
    for (const message of feed.values.values()) subscription._deliver({ ...message, state: true });
  }
  /**
   * @param {Feed} feed @param {string} key @param {Selection} selection
   * @param {Position | null} since @param {RealtimeError} error
   */
  #subscribeFailed(feed, key, selection, since, error) {
    if (error.code === "connection_lost" || error.code === "disconnected") return;
    if (error.code === "already_subscribed") {
      const others = feed.selections.size > 1;
      if (others) feed.selective = false;
      const position = positionIn(error.payload);
      const recovered = since ? others || samePosition(since, position) : void 0;
      const standing = others ? feed.position : position;
      this.#subscribed(feed, selection, since && others ? standing : since, { ...standing, recovered });
      return;
    }
    const automatic = feed.automatic && key === canonical(void 0);
    const passing = selection.established && PASSING_ERRORS.has(error.code);
    if (automatic || passing) {
      const heard = [...selection.subscriptions].map((subscription) => subscription._fail(error));
      if (!heard.includes(true)) this.#fail(error);
    }
    if (automatic) {
      this.#subscribed(feed, selection, since, { recovered: false });
    } else if (passing) {
      const wait = error.retryAfter ?? 0;
      const delay = wait + this.#random() * Math.max(this.#backoff(selection.failures), wait);
      selection.failures += 1;
      if (error.code === "timeout") this.#unsubscribe(feed, selection);
      selection.retryTimer = this.#later(delay, () => this.#subscribe(feed, key, selection));
    } else {
      this.#forget(feed, key);
      if (error.code === "timeout") this.#unsubscribe(feed, selection);
      for (const subscription of selection.subscriptions) subscription._refuse(error);
    }
  }
  /** @param {Feed} feed @param {string} key */
  #forget(feed, key) {
    this.#timers.clearTimeout(feed.selections.get(key)?.retryTimer);
    feed.selections.delete(key);
    if (feed.selections.size === 0) this.#feeds.delete(feed.name);
  }
  /** @param {Subscription} subscription @param {string} key @returns {Promise<void>} */
  async #release(subscription, key) {
    const feed = this.#feeds.get(subscription.channel);
    const selection = feed?.selections.get(key);
    if (!feed || !selection?.subscriptions.delete(subscription) || selection.subscriptions.size > 0) return;
    if (feed.automatic && key === canonical(void 0)) return;
    this.#forget(feed, key);
    if (this.#ready) await this.#unsubscribe(feed, selection);
    else if (selection.inSession !== "no") this.#giveUp(feed.name, selection.parameters);
  }
  /** @param {Feed} feed @param {Selection} selection @returns {Promise<void>} */
  #unsubscribe(feed, selection) {
    const last = ![...feed.selections.values()].some((other) => other !== selection);
    if (!last && (!feed.selective || selection.parameters == null)) return Promise.resolve();
    const payload = last ? void 0 : selection.parameters;
    return new Promise((resolve) => {
      const done = (error) => {
        resolve();
        if (error?.code === "connection_lost") this.#giveUp(feed.name, selection.parameters);
        if (!this.#ready || feed.selective || this.#feeds.get(feed.name) !== feed) return;
        for (const [key, other] of feed.selections) this.#subscribe(feed, key, other);
      };
      this.#ask({ type: "unsubscribe", channel: feed.name, payload }, () => done(), done);
    });
  }
  /** What a resume is to end: it was given up, and the server may not know. @param {string} channel @param {any} parameters */
  #giveUp(channel, parameters) {
    this.#abandoned.push({ channel, parameters });
    if (this.#abandoned.length > MAX_ABANDONED) this.#forgetSession();
  }
  /** The server ended a subscription. @param {string} channel @param {Ending} ending */
  #taken(channel, ending) {
    const feed = this.#feeds.get(channel);
    if (!feed) return;
    const { automatic } = feed;
    if (automatic) feed.automatic = false;
    for (const [key, selection] of [...feed.selections]) {
      if (!selection.reply && !automatic) continue;
      this.#forget(feed, key);
      const detail = { code: ending?.code ?? "unsubscribed", reason: ending?.reason ?? "" };
      for (const subscription of selection.subscriptions) subscription._end(detail, true);
    }
    if (automatic) this._emit("channel", channel, false);
  }
  /**
   * What the server says about a subscription without being asked.
   * @param {string} channel @param {SubscribedPayload} payload
   * @param {boolean} automatic  The server has subscribed this connection.
   */
  #told(channel, payload, automatic) {
    if (automatic) {
      if (!this.#ready) {
        if (this.#welcome) this.#welcome.channels = { ...this.#welcome.channels, [channel]: payload };
        this.#markAutomatic(channel).held ??= [];
        return;
      }
      const selection = this.#markAutomatic(channel).selections.get(canonical(void 0));
      const feed2 = this.#feeds.get(channel);
      if (feed2 && selection && !selection.reply) this.#subscribed(feed2, selection, selection.since, payload);
      return;
    }
    const feed = this.#feeds.get(channel);
    if (!feed || !this.#isSubscribed(feed)) return;
    if (payload.recovered === false) {
      feed.position = positionIn(payload);
      feed.values.clear();
      for (const subscription of feed.live()) subscription._subscribed(payload, false, null);
    }
    if (feed.takeMembers(payload)) this.#tellMembers(feed);
  }
  // Presence
  /** @param {"join" | "leave"} type @param {string} channel @param {{member?: Member, count?: number}} payload */
  #memberMoved(type, channel, { member, count }) {
    const feed = this.#feeds.get(channel);
    if (!feed || !member || typeof count !== "number") return;
    const news = type === "join" ? feed.joined(member, count) : feed.left(member, count);
    if (!news) return;
    for (const subscription of feed.live()) if (subscription.presenceWanted) subscription._emit(type, member);
    this.#tellMembers(feed);
  }
  /** @param {Feed} feed */
  #tellMembers(feed) {
    for (const subscription of feed.live()) {
      if (subscription.presenceWanted) subscription._emit("members", feed.members, feed.count ?? feed.members.size);
    }
  }
  /**
   * A caller wants presence of what was subscribed without. It cannot be added, so it is subscribed again, from the
   * last position.
   * @param {Feed} feed @param {string} key @param {Selection} selection
   */
  #watchMembers(feed, key, selection) {
    if (feed.automatic && key === canonical(void 0)) {
      if (selection.reply) this.#fetchMembers(feed, selection);
    } else if (this.#ready) {
      this.#unsubscribe(feed, selection);
      selection.reply = null;
      this.#subscribe(feed, key, selection);
    } else {
      this.#giveUp(feed.name, selection.parameters);
      selection.inSession = "no";
    }
  }
  /** Asks for the members of a channel that is subscribed already. @param {Feed} feed @param {Selection} selection */
  #fetchMembers(feed, selection) {
    this.#ask(
      { type: "presence", channel: feed.name },
      (payload) => feed.takeMembers(payload) && this.#tellMembers(feed),
      (error) => {
        if (error.code === "connection_lost" || !selection.reply) return;
        const asked = [...selection.subscriptions].filter((subscription) => subscription.presenceWanted);
        if (!asked.map((subscription) => subscription._fail(error)).includes(true)) this.#fail(error);
      }
    );
  }
  // Acknowledgements
  /** @param {string} channel */
  #acknowledgeSoon(channel) {
    this.#acknowledging.add(channel);
    if (this.#ready) this.#ackTimer ??= this.#later(ACK_DELAY_SECONDS, () => this.#acknowledge());
  }
  #acknowledge() {
    this.#timers.clearTimeout(this.#ackTimer);
    this.#ackTimer = null;
    for (const channel of this.#acknowledging) {
      const position = this.#feeds.get(channel)?.acknowledged();
      if (position) this.#send(JSON.stringify({ type: "ack", channel, payload: position }));
    }
    this.#acknowledging.clear();
  }
  // Delivery
  /** @param {Message} message */
  #message(message) {
    if (typeof message.channel !== "string") {
      if (message.event === "notice") this._emit("notice", message);
      return;
    }
    const feed = this.#feeds.get(message.channel);
    if (!feed) {
      this._emit("message", message);
    } else if (feed.held && (!this.#ready || !(message.recovered || message.state))) {
      if (feed.held.length < MAX_HELD_MESSAGES) feed.held.push(message);
    } else if (this.#isSubscribed(feed)) {
      this.#take(feed, message);
    }
  }
  /** @param {Feed} feed @param {Message} message @param {boolean} [anyway]  Though the position says that it is known. */
  #take(feed, message, anyway = false) {
    if (!feed.admits(message) && !anyway) return;
    if (message.state) this.#stateArrives(feed);
    this.#deliver(feed, message);
  }
  /** Whether messages are for this subscription, rather than what is left of an earlier one. @param {Feed} feed */
  #isSubscribed(feed) {
    for (const selection of feed.selections.values()) if (selection.reply) return true;
    return false;
  }
  /** @param {Feed} feed @param {Message} message */
  #deliver(feed, message) {
    feed.keep(message);
    this._emit("message", message);
    for (const subscription of feed.live()) subscription._deliver(message);
  }
};
function connect(url, options) {
  return new RealtimeClient(url, options).connect();
}
function pageUrl() {
  const meta = globalThis.document?.querySelector('meta[name="realtime-url"]');
  return meta?.getAttribute("content")?.trim() || "/ws/";
}
function webSocketUrl(url) {
  let text = String(url);
  if (!/^[a-z][a-z0-9+.-]*:/i.test(text)) {
    const page = globalThis.location?.href;
    if (!page) throw new TypeError(`the address '${text}' needs a page; expected one such as 'wss://www.example.com/ws/'`);
    text = new URL(text, page).href;
  }
  return text.replace(/#.*$/, "").replace(/^http/i, "ws");
}
function positionIn(value) {
  return typeof value?.offset === "number" ? { epoch: value.epoch, offset: value.offset } : null;
}
function readPosition(value) {
  const parsed = typeof value === "string" ? JSON.parse(value.trim() || "null") : value;
  return positionIn(Array.isArray(parsed) ? { epoch: parsed[0], offset: parsed[1] } : parsed);
}
function covers(known, other) {
  return known !== null && other !== null && known.epoch === other.epoch && other.offset <= known.offset;
}
function requestHistory(request, channel, { since, limit, reverse, ...options } = {}) {
  return request({ type: "history", channel, since: readPosition(since) ?? void 0, limit, reverse }, options);
}
function earliest(positions) {
  const known = (
    /** @type {Position[]} */
    positions.filter((position) => position !== null)
  );
  return known.reduce((lowest, position) => covers(lowest, position) ? position : lowest, known[0] ?? null);
}
function samePosition(left, right) {
  return left?.epoch === right?.epoch && left?.offset === right?.offset;
}
function asSeconds(value) {
  return typeof value === "number" && value >= 0 ? value : null;
}
function byteLength(text) {
  let length = text.length;
  for (let index = 0; index < text.length; index += 1) {
    const unit = text.charCodeAt(index);
    if (unit > 127) length += 1;
    if (unit > 2047 && (unit < 55296 || unit > 57343)) length += 1;
  }
  return length;
}
function canonical(value) {
  const sorted = (_key, inner) => typeof inner === "object" && inner !== null && !Array.isArray(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => a < b ? -1 : 1)) : inner;
  return JSON.stringify(value, sorted) ?? "";
}
function deferred() {
  const result = (
    /** @type {Deferred<any>} */
    { settled: false }
  );
  result.promise = new Promise((resolve, reject) => {
    result.resolve = (value) => (result.settled = true, resolve(value));
    result.reject = (error) => (result.settled = true, reject(error));
  });
  return result;
}
function report(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else console.error(error);
}
export {
  PROTOCOL,
  RealtimeClient,
  RealtimeError,
  Subscription,
  connect,
  quote
};
