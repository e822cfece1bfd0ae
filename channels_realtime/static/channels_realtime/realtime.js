/*! channels_realtime 0.1.0-dev.0 | MIT license */

// src/values.js
function quote(value) {
  return String(value).replace(/[^A-Za-z0-9_.:@=-]|=(?=[0-9A-F]{2})/gu, (character) => {
    const encoded = encodeURIComponent(character);
    return encoded === character ? "=" + character.charCodeAt(0).toString(16).toUpperCase() : encoded.replaceAll("%", "=");
  });
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

// src/channel.js
var MAX_SEEN_OFFSETS = 1e3;
var MAX_STATE_KEYS = 1e4;
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

// src/errors.js
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
function report(error) {
  if (typeof globalThis.reportError === "function") globalThis.reportError(error);
  else console.error(error);
}

// src/emitter.js
var FAILED = /* @__PURE__ */ Symbol("failed");
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

// src/handled.js
var MAX_UNHANDLED_MESSAGES = 1e3;
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

// src/loader.js
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

// src/subscription.js
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

// src/channels.js
var MAX_HELD_MESSAGES = 1e3;
var ACK_DELAY_SECONDS = 0.1;
var PASSING_ERRORS = /* @__PURE__ */ new Set(["rate_limited", "timeout", "unavailable", "internal"]);
var Channels = class {
  #client;
  /** @type {Map<string, Feed>} */
  _feeds = /* @__PURE__ */ new Map();
  /** @type {Set<string>} Channels with an acknowledgement to send. */
  #acknowledging = /* @__PURE__ */ new Set();
  /** @type {any} */
  #ackTimer = null;
  /** @param {RealtimeClient} client */
  constructor(client) {
    this.#client = client;
  }
  /** @param {string} channel @param {SubscriptionOptions} options @returns {Subscription} */
  _add(channel, options) {
    const key = canonical(options.parameters);
    const feed = this._feeds.get(channel) ?? new Feed(channel);
    this._feeds.set(channel, feed);
    const subscription = new Subscription(channel, options, feed, this.#hostOf(key));
    const selection = feed.selections.get(key);
    if (selection) {
      selection.subscriptions.add(subscription);
      if (selection.presence && !selection.watches && selection.inSession !== "no") this.#watchMembers(feed, key, selection);
      if (selection.reply) queueMicrotask(() => this.#join(subscription, feed, selection));
    } else {
      const added = new Selection(options.parameters);
      added.subscriptions.add(subscription);
      feed.selections.set(key, added);
      if (this.#client._ready) this._subscribe(feed, key, added);
    }
    return subscription;
  }
  /** Forgets all subscriptions. @returns {Subscription[]} Those that were there. */
  _clear() {
    const subscriptions = [...this._feeds.values()].flatMap((feed) => [...feed.subscriptions()]);
    this._feeds.clear();
    return subscriptions;
  }
  /** @param {Subscription[]} subscriptions @param {number} code @param {string} reason */
  _end(subscriptions, code, reason) {
    for (const subscription of subscriptions) subscription._end({ code: "closed", reason: `${code} ${reason}` }, false);
  }
  // The connection
  /** The connection has ended. */
  _lost() {
    this.#client._cancel(this.#ackTimer);
    this.#ackTimer = null;
    for (const feed of this._feeds.values()) {
      feed.held = null;
      feed.stateFence = "no";
      for (const selection of feed.selections.values()) {
        selection.reply = null;
        this.#client._cancel(selection.retryTimer);
      }
    }
  }
  /** @param {Record<string, SubscribedPayload>} automatic  What the server has subscribed by itself. */
  _welcomed(automatic) {
    for (const feed of this._feeds.values()) if (feed.automatic) feed.held = [];
    for (const name of Object.keys(automatic)) this._markAutomatic(name).held ??= [];
  }
  /** @returns {Record<string, Position>} Where a resume begins, for each channel. */
  _positions() {
    const since = {};
    for (const feed of this._feeds.values()) {
      const position = feed.resumesFrom();
      if (position) since[feed.name] = position;
    }
    return since;
  }
  /** The server has subscribed this connection. @param {string} name @returns {Feed} */
  _markAutomatic(name) {
    const feed = this._feeds.get(name) ?? new Feed(name);
    this._feeds.set(name, feed);
    const key = canonical(void 0);
    if (!feed.selections.has(key)) feed.selections.set(key, new Selection(void 0));
    if (!feed.automatic) {
      feed.automatic = true;
      this.#client._emit("channel", name, true);
    }
    return feed;
  }
  /** The server does not subscribe this connection any more; the page's own subscriptions stay. @param {Feed} feed */
  _markOrdinary(feed) {
    const key = canonical(void 0);
    feed.automatic = false;
    feed.held = null;
    if (feed.selections.get(key)?.subscriptions.size === 0) this.#forget(feed, key);
    this.#client._emit("channel", feed.name, false);
  }
  // Subscriptions
  /** @param {string} key  Of the selection. @returns {SubscriptionHost} */
  #hostOf(key) {
    return {
      timing: {
        later: (seconds, callback) => this.#client._later(seconds, callback),
        cancel: (handle) => this.#client._cancel(handle),
        delay: (failures, wait) => this.#client._delay(failures, wait)
      },
      release: (subscription) => this.#release(subscription, key),
      acknowledge: (channel) => this.#acknowledgeSoon(channel),
      fail: (error) => this.#client._fail(error),
      client: this.#client
    };
  }
  /** @param {Feed} feed @param {string} key @param {Selection} selection */
  _subscribe(feed, key, selection) {
    const automatic = feed.automatic && key === canonical(void 0);
    const { presence, requireRecovery, parameters } = selection;
    const had = feed.stateArriving ? null : feed.position;
    selection.since ??= selection.established ? had : earliest([...selection.subscriptions].map(({ _since }) => _since));
    const { since } = selection;
    const now = automatic ? this.#client._welcome.channels?.[feed.name] : null;
    const complete = (feed.held?.length ?? 0) < MAX_HELD_MESSAGES;
    if (now && complete && !presence && (!since || samePosition(since, positionIn(now)))) {
      this._subscribed(feed, selection, since, since ? { ...now, recovered: true } : now, { replayed: false });
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
    this.#client._requests._ask(
      message,
      (payload) => stands() && this._subscribed(feed, selection, since, payload),
      (error) => stands() && this.#subscribeFailed(feed, key, selection, since, error)
    );
  }
  /**
   * @param {Feed} feed @param {Selection} selection @param {Position | null} since @param {SubscribedPayload} reply
   * @param {{replayed?: boolean}} [options]  Whether what was missed follows, if it is recovered.
   */
  _subscribed(feed, selection, since, reply, { replayed = true } = {}) {
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
    if (held.length >= MAX_HELD_MESSAGES) this._told(feed.name, { ...feed.position, recovered: false }, false);
  }
  /**
   * Calls back once everything has arrived that the server has written by now: its answer comes after that.
   * @param {Feed} feed @param {() => void} then  Not called if the connection or the feed has ended.
   */
  #fence(feed, then) {
    const socket = this.#client._socket;
    const stands = () => socket === this.#client._socket && this._feeds.get(feed.name) === feed;
    this.#client._requests._ask({ type: "ping" }, () => stands() && then(), (error) => error.code === "timeout" && stands() && then());
  }
  /** What the server wrote before its ping has arrived. */
  _pinged() {
    for (const feed of this._feeds.values()) if (this.#isSubscribed(feed)) feed.unproven = false;
    this.#client._requests._send({ type: "pong" });
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
      this._subscribed(feed, selection, since && others ? standing : since, { ...standing, recovered });
      return;
    }
    const automatic = feed.automatic && key === canonical(void 0);
    const passing = selection.established && PASSING_ERRORS.has(error.code);
    if (automatic || passing) {
      const heard = [...selection.subscriptions].map((subscription) => subscription._fail(error));
      if (!heard.includes(true)) this.#client._fail(error);
    }
    if (automatic) {
      this._subscribed(feed, selection, since, { recovered: false });
    } else if (passing) {
      const delay = this.#client._delay(selection.failures, error.retryAfter ?? 0);
      selection.failures += 1;
      if (error.code === "timeout") this.#unsubscribe(feed, selection);
      selection.retryTimer = this.#client._later(delay, () => this._subscribe(feed, key, selection));
    } else {
      this.#forget(feed, key);
      if (error.code === "timeout") this.#unsubscribe(feed, selection);
      for (const subscription of selection.subscriptions) subscription._refuse(error);
    }
  }
  /** @param {Feed} feed @param {string} key */
  #forget(feed, key) {
    this.#client._cancel(feed.selections.get(key)?.retryTimer);
    feed.selections.delete(key);
    if (feed.selections.size === 0) this._feeds.delete(feed.name);
  }
  /** @param {Subscription} subscription @param {string} key @returns {Promise<void>} */
  async #release(subscription, key) {
    const feed = this._feeds.get(subscription.channel);
    const selection = feed?.selections.get(key);
    if (!feed || !selection?.subscriptions.delete(subscription) || selection.subscriptions.size > 0) return;
    if (feed.automatic && key === canonical(void 0)) return;
    this.#forget(feed, key);
    if (this.#client._ready) await this.#unsubscribe(feed, selection);
    else if (selection.inSession !== "no") this.#client._session._giveUp(feed.name, selection.parameters);
  }
  /** @param {Feed} feed @param {Selection} selection @returns {Promise<void>} */
  #unsubscribe(feed, selection) {
    const last = ![...feed.selections.values()].some((other) => other !== selection);
    if (!last && (!feed.selective || selection.parameters == null)) return Promise.resolve();
    const payload = last ? void 0 : selection.parameters;
    return new Promise((resolve) => {
      const done = (error) => {
        resolve();
        if (error?.code === "connection_lost") this.#client._session._giveUp(feed.name, selection.parameters);
        if (!this.#client._ready || feed.selective || this._feeds.get(feed.name) !== feed) return;
        for (const [key, other] of feed.selections) this._subscribe(feed, key, other);
      };
      this.#client._requests._ask({ type: "unsubscribe", channel: feed.name, payload }, () => done(), done);
    });
  }
  /** The server ended a subscription. @param {string} channel @param {Ending} ending */
  _taken(channel, ending) {
    const feed = this._feeds.get(channel);
    if (!feed) return;
    const { automatic } = feed;
    if (automatic) feed.automatic = false;
    for (const [key, selection] of [...feed.selections]) {
      if (!selection.reply && !automatic) continue;
      this.#forget(feed, key);
      const detail = { code: ending?.code ?? "unsubscribed", reason: ending?.reason ?? "" };
      for (const subscription of selection.subscriptions) subscription._end(detail, true);
    }
    if (automatic) this.#client._emit("channel", channel, false);
  }
  /**
   * What the server says about a subscription without being asked.
   * @param {string} channel @param {SubscribedPayload} payload
   * @param {boolean} automatic  The server has subscribed this connection.
   */
  _told(channel, payload, automatic) {
    if (automatic) {
      if (!this.#client._ready) {
        const welcome = this.#client._welcome;
        if (welcome) welcome.channels = { ...welcome.channels, [channel]: payload };
        this._markAutomatic(channel).held ??= [];
        return;
      }
      const selection = this._markAutomatic(channel).selections.get(canonical(void 0));
      const feed2 = this._feeds.get(channel);
      if (feed2 && selection && !selection.reply) this._subscribed(feed2, selection, selection.since, payload);
      return;
    }
    const feed = this._feeds.get(channel);
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
  _memberMoved(type, channel, { member, count }) {
    const feed = this._feeds.get(channel);
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
    } else if (this.#client._ready) {
      this.#unsubscribe(feed, selection);
      selection.reply = null;
      this._subscribe(feed, key, selection);
    } else {
      this.#client._session._giveUp(feed.name, selection.parameters);
      selection.inSession = "no";
    }
  }
  /** Asks for the members of a channel that is subscribed already. @param {Feed} feed @param {Selection} selection */
  #fetchMembers(feed, selection) {
    this.#client._requests._ask(
      { type: "presence", channel: feed.name },
      (payload) => feed.takeMembers(payload) && this.#tellMembers(feed),
      (error) => {
        if (error.code === "connection_lost" || !selection.reply) return;
        const asked = [...selection.subscriptions].filter((subscription) => subscription.presenceWanted);
        if (!asked.map((subscription) => subscription._fail(error)).includes(true)) this.#client._fail(error);
      }
    );
  }
  // Acknowledgements
  /** @param {string} channel */
  #acknowledgeSoon(channel) {
    this.#acknowledging.add(channel);
    if (this.#client._ready) this.#ackTimer ??= this.#client._later(ACK_DELAY_SECONDS, () => this._acknowledge());
  }
  _acknowledge() {
    this.#client._cancel(this.#ackTimer);
    this.#ackTimer = null;
    for (const channel of this.#acknowledging) {
      const position = this._feeds.get(channel)?.acknowledged();
      if (position) this.#client._requests._send({ type: "ack", channel, payload: position });
    }
    this.#acknowledging.clear();
  }
  // Delivery
  /** @param {Message} message */
  _message(message) {
    if (typeof message.channel !== "string") {
      if (message.event === "notice") this.#client._emit("notice", message);
      return;
    }
    const feed = this._feeds.get(message.channel);
    if (!feed) {
      this.#client._emit("message", message);
    } else if (feed.held && (!this.#client._ready || !(message.recovered || message.state))) {
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
    this.#client._emit("message", message);
    for (const subscription of feed.live()) subscription._deliver(message);
  }
};

// src/connection.js
var TERMINAL_CLOSE_CODES = /* @__PURE__ */ new Set([4400, 4403, 4406, 4409, 4413, 1002, 1003, 1007, 1009]);
var CLOSE_NORMAL = 1e3;
var CLOSE_ABNORMAL = 1006;
var CLOSE_UNAUTHENTICATED = 4401;
var CLOSE_HEARTBEAT_MISSED = 4408;
var WAKING_EVENTS = ["online", "pageshow", "visibilitychange"];
var Connection = class {
  #client;
  #ways;
  /** Increased to cancel what still waits for getToken. */
  _generation = 0;
  /** How many connections failed since the last `welcome`. */
  _failures = 0;
  /** The attempt that waits for its way to be loaded, or that has a socket. @type {object | null} */
  #attempt = null;
  /** @type {any} */
  #retryTimer = null;
  #retryHeldByServer = false;
  /** @type {any} The timer of `welcome`, then of the heartbeat. */
  #watchdog = null;
  /** @type {{code?: number, reason?: string, reconnect?: boolean, retry_after?: number} | null} */
  _closing = null;
  /** @param {RealtimeClient} client @param {Ways} ways */
  constructor(client, ways) {
    this.#client = client;
    this.#ways = ways;
  }
  _start() {
    this._generation += 1;
    this._failures = 0;
    this.#listenForWaking(true);
    this.#open();
  }
  #open() {
    const client = this.#client;
    const attempt = this.#attempt = {};
    const way = this.#ways.next(this._failures);
    if (typeof way?.then === "function") {
      way.then(
        (Way) => attempt === this.#attempt && this.#use(Way),
        (cause) => attempt === this.#attempt && this.#lost(null, CLOSE_ABNORMAL, String(cause))
      );
    } else {
      this.#use(way);
    }
    const limit = client._options.connectTimeoutSeconds;
    this.#watch(limit, () => this._abandon(`no welcome within ${limit} s`));
    client._setState("connecting", { attempt: this._failures + 1 });
  }
  /** @param {new (url: string, protocols: string[]) => any} Way */
  #use(Way) {
    const socket = new Way(this.#client.url, [this.#client._requests._codec.protocol]);
    this.#client._socket = socket;
    socket.onmessage = (event) => this.#receive(socket, event.data);
    socket.onclose = (event) => this.#lost(socket, event.code ?? CLOSE_ABNORMAL, event.reason ?? "");
  }
  /** @param {string} reason */
  _abandon(reason) {
    this.#lost(this.#client._socket, CLOSE_HEARTBEAT_MISSED, reason);
  }
  /** @param {any} socket @param {number} closeCode @param {string} closeReason */
  #lost(socket, closeCode, closeReason) {
    if (socket !== this.#client._socket) return;
    const closing = this._closing;
    const code = closing?.code ?? closeCode;
    const reason = closing?.reason ?? closeReason;
    this._drop(closeCode, closeReason);
    const comesBack = closing?.reconnect ?? !TERMINAL_CLOSE_CODES.has(code);
    if (!comesBack) this._stop("closed", code, reason);
    else if (code === CLOSE_UNAUTHENTICATED) this.#client._credentials._renew(code, reason, closing);
    else this._retry(code, reason, closing);
  }
  /** Drops the socket and its state. @param {number} code @param {string} reason */
  _drop(code, reason) {
    const client = this.#client;
    const socket = client._socket;
    client._cancel(this.#watchdog);
    this.#attempt = null;
    this._closing = null;
    client._socket = client._welcome = null;
    client._ready = false;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close(code === CLOSE_NORMAL ? CLOSE_NORMAL : CLOSE_HEARTBEAT_MISSED);
    }
    client._channels._lost();
    client._requests._lost(code, reason);
  }
  /**
   * Reconnects later, with full jitter below an exponential limit. After a `retry_after`, waits for once to twice that
   * time, so that clients that were closed together do not reconnect together.
   * @param {number} code @param {string} reason @param {{retry_after?: number} | null} closing
   */
  _retry(code, reason, closing) {
    const wait = asSeconds(closing?.retry_after);
    const nextDelay = this.#client._delay(this._failures, wait ?? 0);
    this._failures += 1;
    this.#retryHeldByServer = wait !== null;
    this.#retryTimer = this.#client._later(nextDelay, () => this.#retryNow());
    this.#client._setState("reconnecting", { attempt: this._failures + 1, nextDelay, code, reason });
  }
  #retryNow() {
    this.#client._cancel(this.#retryTimer);
    this.#retryTimer = null;
    this.#open();
  }
  /** @param {"closed" | "unauthenticated"} state @param {number} code @param {string} reason */
  _stop(state, code, reason) {
    const { _requests, _session, _channels, _credentials } = this.#client;
    this._generation += 1;
    this.#client._cancel(this.#retryTimer);
    this.#retryTimer = null;
    _credentials._fresh = null;
    if (code === CLOSE_NORMAL) _session._forget();
    this.#listenForWaking(false);
    const unanswered = [..._requests._pending.keys()];
    const subscriptions = state === "closed" ? _channels._clear() : [];
    this.#client._setState(state, { code, reason });
    for (const id of unanswered) {
      _requests._settle(id, new RealtimeError("disconnected", `the client is ${state} (${code} ${reason})`));
    }
    _channels._end(subscriptions, code, reason);
  }
  // Heartbeat
  /** @param {number} seconds @param {() => void} callback */
  #watch(seconds, callback) {
    this.#client._cancel(this.#watchdog);
    this.#watchdog = this.#client._later(seconds, callback);
  }
  #heard() {
    const { interval, timeout } = this.#client._welcome?.heartbeat ?? {};
    if (interval > 0) this.#watch(interval + timeout, () => this.#probe());
  }
  #probe() {
    const { timeout } = this.#client._welcome?.heartbeat ?? {};
    if (!(timeout > 0)) return;
    this.#client._requests._send({ type: "ping" });
    this.#watch(timeout, () => this._abandon(`nothing heard for ${timeout} s after a ping`));
  }
  /** @param {boolean} listen */
  #listenForWaking(listen) {
    const target = this.#client._options.wakeTarget ?? globalThis.window;
    for (const event of WAKING_EVENTS) {
      if (listen) target?.addEventListener?.(event, this.#wake, true);
      else target?.removeEventListener?.(event, this.#wake, true);
    }
  }
  /** Checks at once, after timers were suspended or the network changed. @param {Event} event */
  #wake = (event) => {
    if (event.type === "visibilitychange" && globalThis.document?.visibilityState === "hidden") return;
    if (this.#retryTimer !== null && !this.#retryHeldByServer) this.#retryNow();
    else if (this.#client._welcome) this.#probe();
  };
  // Receiving
  /** @param {any} socket @param {any} data */
  #receive(socket, data) {
    const client = this.#client;
    if (socket !== client._socket) return;
    this.#heard();
    let frame;
    try {
      frame = client._requests._codec.decode(data);
    } catch (cause) {
      client._fail(new RealtimeError("bad_message", "the server sent a frame that is not JSON text", { cause }));
      return;
    }
    for (const message of Array.isArray(frame) ? frame : [frame]) {
      if (socket !== client._socket) return;
      if (typeof message === "object" && message !== null) client._handle(message);
    }
  }
  /** @param {any} payload */
  _welcomed(payload) {
    const { _channels, _credentials, _session } = this.#client;
    if (!_credentials._accepts(payload.user ?? null)) return;
    this.#client._welcome = payload;
    this._failures = 0;
    _channels._welcomed(payload.channels ?? {});
    this.#heard();
    _credentials._signIn(() => _session._begin());
  }
};

// src/credentials.js
var Credentials = class {
  #client;
  /** @type {string | null} The last token sent, to recognise a new one. */
  #sent = null;
  /** @type {string | null} A token fetched after a 4401, for the next connection. */
  _fresh = null;
  /** Whether a 4401 has been answered with a new attempt, and no `welcome` has come since. */
  _renewed = false;
  /** @param {RealtimeClient} client */
  constructor(client) {
    this.#client = client;
  }
  /**
   * @param {TokenReason} reason
   * @returns {Promise<string | null>}
   */
  async #token(reason) {
    const fresh = this._fresh;
    this._fresh = null;
    return fresh ?? await this.#client._options.getToken?.({ reason }) ?? null;
  }
  /** @param {unknown} cause */
  #unavailable(cause) {
    this.#client._fail(new RealtimeError("token_unavailable", "getToken failed", { cause, request: "auth" }));
  }
  /**
   * Sends a token on the current connection.
   * @param {TokenReason} reason
   * @param {(outcome: "done" | "refused" | "none" | "unavailable") => void} [then]
   */
  async _authenticate(reason, then = () => {
  }) {
    const client = this.#client;
    const socket = client._socket;
    let token;
    try {
      token = await this.#token(reason);
    } catch (cause) {
      if (socket !== client._socket) return;
      this.#unavailable(cause);
      then("unavailable");
      return;
    }
    if (socket !== client._socket) return;
    if (token === null) {
      then("none");
      return;
    }
    this.#sent = token;
    client._requests._ask(
      { type: "auth", token },
      (payload) => {
        client.user = payload?.user ?? null;
        then("done");
      },
      (error) => {
        if (error.code !== "connection_lost") client._fail(error);
        then("refused");
      }
    );
  }
  _required() {
    this._authenticate("required", (outcome) => {
      if (outcome === "unavailable") this.#client._connection._abandon("getToken failed");
      if (outcome !== "none") return;
      this.#signedOut("the server requires a token and the page has none");
    });
  }
  /** @param {string} reason */
  #signedOut(reason) {
    this.#client._connection._drop(CLOSE_NORMAL, "no credentials");
    this.#client._session._forget();
    this.#client._connection._stop("unauthenticated", CLOSE_UNAUTHENTICATED, reason);
  }
  /** A `welcome` has come. @param {string | null} user @returns {boolean} Whether the client goes on as that user. */
  _accepts(user) {
    if (this._renewed && !this._fresh && user === null && this.#client.user !== null) {
      this.#signedOut("the login session has ended");
      return false;
    }
    this._renewed = false;
    this.#client.user = user;
    if (user !== null) this._fresh = null;
    return true;
  }
  /** After `welcome`: signs in where the connection is anonymous. @param {() => void} then */
  _signIn(then) {
    if (this.#client.user === null && this.#client._options.getToken) this._authenticate("anonymous", then);
    else then();
  }
  /**
   * After 4401: makes one new attempt, with another token than the refused one, or with the login session, which may have
   * moved on: changing the password in another tab gives the browser a new cookie. Stops at the second 4401 in a row,
   * or a server that refuses whatever it gets would be asked for ever. `reconnect: true` with 4401 also means "with new
   * credentials".
   * @param {number} code @param {string} reason @param {{retry_after?: number} | null} closing
   */
  async _renew(code, reason, closing) {
    const client = this.#client;
    const connection = client._connection;
    if (this._renewed) {
      connection._stop("unauthenticated", code, reason);
      return;
    }
    const generation = connection._generation;
    this._fresh = null;
    let token = null;
    if (client._options.getToken) {
      client._setState("reconnecting", { attempt: connection._failures + 2, nextDelay: null, code, reason });
      if (generation !== connection._generation) return;
      try {
        token = await this.#token("refused");
      } catch (cause) {
        if (generation !== connection._generation) return;
        this.#unavailable(cause);
        connection._retry(code, reason, closing);
        return;
      }
      if (generation !== connection._generation) return;
    }
    if (token === null && this.#sent === null) {
      this._renewed = true;
      const wait = Math.max(asSeconds(closing?.retry_after) ?? 0, client._options.backoffBaseSeconds);
      connection._retry(code, reason, { retry_after: wait });
    } else if (token !== null && token !== this.#sent) {
      this._renewed = true;
      this._fresh = token;
      connection._retry(code, reason, closing);
    } else {
      connection._stop("unauthenticated", code, reason);
    }
  }
};

// src/page.js
function pageConfiguration() {
  return JSON.parse(globalThis.document?.getElementById?.("realtime-config")?.textContent || "{}");
}
function pageMeta(name) {
  const meta = globalThis.document?.querySelector(`meta[name="${name}"]`);
  return meta?.getAttribute("content")?.trim();
}
function absoluteUrl(url) {
  let text = String(url);
  if (!/^[a-z][a-z0-9+.-]*:/i.test(text)) {
    const page = globalThis.location?.href;
    if (!page) throw new TypeError(`the address '${text}' needs a page; expected one such as 'wss://www.example.com/ws/'`);
    text = new URL(text, page).href;
  }
  return text.replace(/#.*$/, "");
}

// src/codec.js
var PROTOCOL = "realtime.v1.json";
var JSON_CODEC = {
  protocol: PROTOCOL,
  encode: (message) => JSON.stringify(message),
  size: byteLength,
  batch: (encoded) => `[${encoded.join(",")}]`,
  decode: (data) => JSON.parse(data)
};

// src/requests.js
var Requests = class {
  #client;
  #lastId = 0;
  /** @type {Map<number, PendingRequest>} In the order of the calls. */
  _pending = /* @__PURE__ */ new Map();
  /** @type {any[]} Encoded messages. */
  #outbox = [];
  _codec = JSON_CODEC;
  /** @param {RealtimeClient} client */
  constructor(client) {
    this.#client = client;
  }
  /**
   * @param {{type: string, [field: string]: any}} message
   * @param {(payload: any) => void} [onReply]
   * @param {(error: RealtimeError) => void} [onError]
   * @param {{timeoutSeconds?: number, now?: boolean}} [options]
   */
  _ask(message, onReply = () => {
  }, onError = () => {
  }, { timeoutSeconds = this.#client._options.requestTimeoutSeconds, now = true } = {}) {
    const id = ++this.#lastId;
    const frame = this._codec.encode({ ...message, id });
    const timer = this.#client._later(timeoutSeconds, () => {
      this._settle(id, this.#error("timeout", `no answer to '${message.type}' within ${timeoutSeconds} s`, message));
    });
    this._pending.set(id, { message, frame, sent: false, timer, onReply, onError });
    if (now) this._transmit(id);
  }
  /** @param {number} id */
  _transmit(id) {
    const request = this._pending.get(id);
    if (!request || request.sent) return;
    const limit = this.#client._welcome?.limits?.max_frame ?? Infinity;
    const size = this._codec.size(request.frame);
    if (size > limit) {
      const reason = `'${request.message.type}' is ${size} bytes long; the server accepts at most ${limit}`;
      this._settle(id, this.#error("too_large", reason, request.message));
      return;
    }
    request.sent = true;
    this.#push(request.frame);
  }
  /** Sends what nobody answers. @param {{type: string, [field: string]: any}} message */
  _send(message) {
    this.#push(this._codec.encode(message));
  }
  /** @param {any} frame */
  #push(frame) {
    if (this.#outbox.push(frame) === 1) queueMicrotask(() => this._flush());
  }
  _flush() {
    const socket = this.#client._socket;
    const frames = this.#outbox.splice(0);
    if (!socket || frames.length === 0) return;
    const { size: sizeOf, batch, protocol } = this._codec;
    const limits = this.#client._welcome?.limits ?? {};
    const batches = this.#client._options.batch && socket.protocol === protocol;
    const maxBatch = batches ? limits.max_batch ?? 1 : 1;
    const maxBytes = (limits.max_frame ?? Infinity) - 1;
    for (let start = 0; start < frames.length; ) {
      let end = start + 1;
      let size = sizeOf(frames[start]) + 1;
      while (end < frames.length && end - start < maxBatch) {
        size += sizeOf(frames[end]) + 1;
        if (size > maxBytes) break;
        end += 1;
      }
      socket.send(end - start === 1 ? frames[start] : batch(frames.slice(start, end)));
      start = end;
    }
  }
  /** The connection has ended. @param {number} code @param {string} reason */
  _lost(code, reason) {
    this.#outbox = [];
    for (const [id, { message, sent }] of [...this._pending]) {
      if (!sent) continue;
      const text = `the connection ended before '${message.type}' was answered (${code} ${reason})`;
      this._settle(id, this.#error("connection_lost", text, message));
    }
  }
  /** @param {number} id @param {RealtimeError | null} error @param {any} [payload] */
  _settle(id, error, payload) {
    const request = this._pending.get(id);
    if (!request) return;
    this._pending.delete(id);
    this.#client._cancel(request.timer);
    if (error) request.onError(error);
    else request.onReply(payload);
  }
  /** @param {string} code @param {string} reason @param {{type: string, channel?: string}} message */
  #error(code, reason, { type, channel }) {
    return new RealtimeError(code, reason, { request: type, channel });
  }
};

// src/session.js
var MAX_ABANDONED = 100;
var Session = class {
  #client;
  /** @type {string | null} The session that the next connection resumes. A secret: never shown or logged. */
  #id = null;
  /** @type {{channel: string, parameters: any}[]} Given up without a connection; a resume would bring them back. */
  #abandoned = [];
  /** @param {RealtimeClient} client */
  constructor(client) {
    this.#client = client;
  }
  /** Resumes the last session where there is one; otherwise subscribes anew. */
  _begin() {
    const client = this.#client;
    if (!client._welcome || client._ready) return;
    const { session_id: own, connection_id: id } = client._welcome;
    const socket = client._socket;
    const anew = () => {
      this.#id = own ?? null;
      client.connectionId = id ?? null;
      this.#start(null);
    };
    if (!this.#id) {
      anew();
      return;
    }
    client._requests._ask(
      { type: "resume", session_id: this.#id, since: client._channels._positions() },
      (payload) => {
        this.#id = payload.session_id ?? own ?? null;
        client.connectionId = payload.connection_id ?? client.connectionId ?? id ?? null;
        this.#start(payload.channels ?? {});
      },
      (error) => {
        if (socket !== client._socket || error.code === "connection_lost") return;
        this._forget();
        if (error.code === "timeout") client._connection._abandon("no answer to 'resume'");
        else anew();
      }
    );
  }
  /**
   * Begins to work on a new connection.
   * @param {Record<string, SubscribedPayload> | null} resumed  The channels of a resumed session.
   */
  #start(resumed) {
    const client = this.#client;
    const { _channels, _requests, _socket: socket } = client;
    const feeds = _channels._feeds;
    const waiting = [..._requests._pending.keys()];
    const abandoned = this.#abandoned;
    this.#abandoned = [];
    client._ready = true;
    for (const feed of [...feeds.values()]) {
      if (feed.automatic && !(feed.name in { ...client._welcome.channels, ...resumed })) _channels._markOrdinary(feed);
      if (!resumed) for (const selection of feed.selections.values()) selection.inSession = "no";
    }
    for (const { channel, parameters } of abandoned) {
      if (!resumed || !(channel in resumed)) continue;
      const others = [...feeds.get(channel)?.selections.values() ?? []];
      const stays = others.some((selection) => selection.inSession === "yes");
      _requests._ask({ type: "unsubscribe", channel, payload: stays ? parameters : void 0 });
      if (!stays) delete resumed[channel];
    }
    for (const name of Object.keys(resumed ?? {})) if (!feeds.has(name)) _channels._markAutomatic(name);
    for (const feed of [...feeds.values()]) {
      const reply = resumed?.[feed.name];
      if (reply) this.#resumed(feed, reply);
      for (const [key, selection] of [...feed.selections]) if (!selection.reply) _channels._subscribe(feed, key, selection);
    }
    for (const id of waiting) _requests._transmit(id);
    _channels._acknowledge();
    if (socket === client._socket) client._setState("connected", {});
  }
  /** The session had this channel: one replay for all its selections. @param {Feed} feed @param {SubscribedPayload} reply */
  #resumed(feed, reply) {
    const selections = [...feed.selections.values()];
    const alone = selections.length === 1;
    const stands = selections.filter(({ inSession }) => inSession === "yes" || alone && (inSession === "sent" || feed.automatic));
    const from = feed.resumesFrom();
    for (const selection of stands) this.#client._channels._subscribed(feed, selection, from, reply);
  }
  /** What a resume is to end: it was given up, and the server may not know. @param {string} channel @param {any} parameters */
  _giveUp(channel, parameters) {
    this.#abandoned.push({ channel, parameters });
    if (this.#abandoned.length > MAX_ABANDONED) this._forget();
  }
  _forget() {
    this.#id = null;
    this.#abandoned = [];
  }
};

// src/ways.js
var Ways = class {
  #context;
  /** @param {WayContext} context */
  constructor(context) {
    this.#context = context;
  }
  /**
   * @param {number} failures
   * @returns {any}  A constructor, or a promise of one.
   */
  next(failures) {
    return this.#context.WebSocket ?? globalThis.WebSocket;
  }
};

// src/client.js
var RealtimeClient = class extends Emitter {
  /** @type {State} */
  #state = "idle";
  /** @type {any} */
  _socket = null;
  /** The payload of this connection's `welcome`. @type {any} */
  _welcome = null;
  /** Whether the session stands: subscriptions and requests go out. */
  _ready = false;
  /**
   * @param {string | URL | null} [url]  Relative to the page; http and https become ws and wss. Without it, the address
   *   in the page's configuration or its `<meta name="realtime-url">`, or else `/ws/`.
   * @param {ClientOptions} [options]
   */
  constructor(url, options = {}) {
    super();
    const page = pageConfiguration();
    this.url = absoluteUrl(url || page.url || pageMeta("realtime-url") || "/ws/").replace(/^http/i, "ws");
    this.user = null;
    this.connectionId = null;
    this._options = {
      backoffBaseSeconds: 1,
      backoffCapSeconds: 30,
      connectTimeoutSeconds: 20,
      requestTimeoutSeconds: 35,
      /** @type {"wait" | "reject"} */
      whenDisconnected: "wait",
      maxPendingRequests: 500,
      batch: true,
      transports: ["websocket", "sse", "polling"],
      random: Math.random,
      /** @type {Timers} */
      timers: {
        setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds),
        clearTimeout: (handle) => clearTimeout(handle)
      },
      ...options
    };
    const { transports, WebSocket, fetch, timers, random } = this._options;
    const { csrfToken, csrfHeader } = page;
    const http = options.httpUrl || page.http || pageMeta("realtime-http-url");
    const ways = new Ways({
      url: this.url,
      http: http ? absoluteUrl(http) : null,
      ...{ transports, WebSocket, fetch, timers, random, csrfToken, csrfHeader }
    });
    this._requests = new Requests(this);
    this._channels = new Channels(this);
    this._session = new Session(this);
    this._credentials = new Credentials(this);
    this._connection = new Connection(this, ways);
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
    this._credentials._renewed = false;
    this._connection._start();
    return this;
  }
  /** Closes with 1000 and ends all subscriptions. Requests made in this task are still sent. */
  close() {
    const reason = "closed by the page";
    if (this.#state === "closed") {
      this._channels._end(this._channels._clear(), CLOSE_NORMAL, reason);
      return;
    }
    if (this._ready) this._channels._acknowledge();
    this._requests._flush();
    this._connection._drop(CLOSE_NORMAL, reason);
    this._connection._stop("closed", CLOSE_NORMAL, reason);
  }
  /**
   * Subscribes, or waits for `connect()` where the client is not connected.
   * @param {string} channel
   * @param {SubscriptionOptions | ((message: Message) => void)} [options]  A function means `{onMessage}`.
   * @returns {Subscription}
   */
  subscribe(channel, options = {}) {
    return this._channels._add(channel, typeof options === "function" ? { onMessage: options } : options);
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
  history(channel, { since, limit, reverse, ...options } = {}) {
    return this.request({ type: "history", channel, since: readPosition(since) ?? void 0, limit, reverse }, options);
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
      const { timeoutSeconds, whenDisconnected } = { ...this._options, ...options };
      const context = { request: message.type, channel: message.channel };
      const stopped = this.#state === "closed" || this.#state === "unauthenticated";
      if (stopped || !this._ready && whenDisconnected === "reject") {
        reject(new RealtimeError("disconnected", `the client is ${this.#state}`, context));
      } else if (this._requests._pending.size >= this._options.maxPendingRequests) {
        reject(new RealtimeError("queue_full", `${this._requests._pending.size} requests are unanswered`, context));
      } else {
        this._requests._ask(message, resolve, reject, { timeoutSeconds, now: this._ready });
      }
    });
  }
  // For the rooms
  /** @param {State} state @param {StateDetail} detail */
  _setState(state, detail) {
    this.#state = state;
    this._emit("state", state, detail);
  }
  /** @param {number} seconds @param {() => void} callback */
  _later(seconds, callback) {
    return this._options.timers.setTimeout(callback, seconds * 1e3);
  }
  /** @param {any} handle */
  _cancel(handle) {
    this._options.timers.clearTimeout(handle);
  }
  /**
   * Full jitter below an exponential limit, and after what the server asked to wait.
   * @param {number} failures @param {number} wait  In seconds. @returns {number} In seconds.
   */
  _delay(failures, wait) {
    const { backoffCapSeconds, backoffBaseSeconds, random } = this._options;
    return wait + random() * Math.max(Math.min(backoffCapSeconds, backoffBaseSeconds * 2 ** failures), wait);
  }
  /** @param {RealtimeError} error */
  _fail(error) {
    if (!this._emit("error", error)) report(error);
  }
  /** @param {any} message */
  _handle(message) {
    const { type, id, channel, request, payload } = message;
    if (this._requests._pending.has(id)) {
      const error = type === "error" ? new RealtimeError(payload?.code, payload?.reason, { payload, channel, request }) : null;
      this._requests._settle(id, error, payload ?? {});
    }
    if (type === "welcome") this._connection._welcomed(payload);
    else if (type === "message") this._channels._message(message);
    else if (type === "join" || type === "leave") this._channels._memberMoved(type, channel, payload ?? {});
    else if (type === "subscribed" && id === void 0) this._channels._told(channel, payload ?? {}, message.automatic === true);
    else if (type === "ping") this._channels._pinged();
    else if (type === "auth_required") this._credentials._required();
    else if (type === "auth_expiring" && this._options.getToken) this._credentials._authenticate("expiring");
    else if (type === "closing") this._connection._closing = payload;
    else if (type === "unsubscribed" && id === void 0) this._channels._taken(channel, payload);
    else if (type === "error" && id === void 0) {
      this._fail(new RealtimeError(payload?.code, payload?.reason, { payload, channel, request }));
    }
  }
};

// src/page-client.js
var PAGE_CLIENT = /* @__PURE__ */ Symbol.for("channels_realtime.client");
function pageClient(options) {
  const page = (
    /** @type {Record<symbol, any>} */
    globalThis
  );
  if (page[PAGE_CLIENT] && options) {
    throw new TypeError("the page's client exists already; expected its options before the first element of the page");
  }
  return page[PAGE_CLIENT] ??= new RealtimeClient(null, options).connect();
}

// src/index.js
function connect(url, options) {
  return new RealtimeClient(url, options).connect();
}
export {
  PROTOCOL,
  RealtimeClient,
  RealtimeError,
  Subscription,
  connect,
  pageClient,
  quote
};
