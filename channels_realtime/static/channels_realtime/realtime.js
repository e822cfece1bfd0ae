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
var NOT_IN_SESSION = 0;
var SENT = 1;
var IN_SESSION = 2;
var Selection = class {
  /** @type {Set<Subscription>} Empty only if the channel is automatic. */
  _subscriptions = /* @__PURE__ */ new Set();
  /** @type {SubscribedPayload | null} The reply on the current connection. */
  _reply = null;
  /** Whether it was ever accepted. */
  _established = false;
  /** One of the three constants above. @type {number} */
  _inSession = NOT_IN_SESSION;
  /** Whether it was subscribed with presence. */
  _watches = false;
  /** @type {Position | null} From where a subscribe begins that has not been answered yet. */
  _since = null;
  _failures = 0;
  /** @type {any} */
  _retryTimer = null;
  /** @param {Feed} feed @param {string} key  The text of the parameters. @param {any} parameters */
  constructor(feed, key, parameters) {
    this._feed = feed;
    this._key = key;
    this._parameters = parameters;
  }
  /** Whether the server subscribed this connection to it by itself. */
  get _automatic() {
    return this._feed._automatic && !this._key;
  }
  /** Those who want to hear of the members. */
  get _watchers() {
    return [...this._subscriptions].filter((subscription) => subscription._presence);
  }
};
var Feed = class {
  /** By the text of their parameters. @type {Map<string, Selection>} */
  _selections = /* @__PURE__ */ new Map();
  /** @type {Position | null} The last position received, or where the subscription began. */
  _position = null;
  /** @type {Set<number>} Offsets received, in the epoch of the position, where there are several selections. */
  #seen = /* @__PURE__ */ new Set();
  /** Whether the server subscribed this connection by itself. */
  _automatic = false;
  /** False after other parameters were `already_subscribed`: all share one subscription. */
  _selective = true;
  /** @type {Message[] | null} Live messages of an automatic channel that wait for its replay. */
  _held = null;
  /** @type {Map<string, Member>} */
  _members = /* @__PURE__ */ new Map();
  /** @type {number | null} */
  _count = null;
  /** @type {Map<string, Message>} The newest message of each state key. */
  _values = /* @__PURE__ */ new Map();
  /** Whether the state may be on its way, so that the position does not stand for what was received. */
  _stateArriving = false;
  /** How often the server was asked for the end of the state: once more, if more of it came meanwhile. */
  _fences = 0;
  #lastValue = false;
  /** Whether nothing shows yet that what the reply promised has arrived: the state, if the channel has one. */
  _unproven = false;
  /** Whether what an inbox still has may follow `welcome`, from a position that the server alone knows. */
  _fresh = false;
  /** @param {string} name */
  constructor(name) {
    this._name = name;
  }
  /** Advances the position. @param {Message} message @returns {boolean} Whether it is new. */
  _admits(message) {
    const position = positionIn(message);
    if (!position || message.state) return true;
    const { offset } = position;
    if (this._fresh && message.recovered) this._position = null;
    this._fresh = this._unproven = false;
    const known = this._position?.epoch === position.epoch ? this._position.offset : -1;
    if (this._selections.size > 1) {
      if (known < 0) this.#seen.clear();
      if (this.#seen.has(offset) || offset <= known && !message.recovered) return false;
      limit(this.#seen.add(offset), MAX_SEEN_OFFSETS);
    } else {
      if (offset <= known) return false;
      this._stateArriving = false;
    }
    if (offset > known) this._position = position;
    return true;
  }
  /** Keeps what belongs to the channel's state. @param {Message} message */
  _keep(message) {
    if (message.state && message.state_key === void 0) this.#lastValue = true;
    const key = message.state_key ?? (this.#lastValue && (message.state || positionIn(message)) ? "" : void 0);
    if (key === void 0) return;
    this._values.delete(key);
    if (!message.removed) limit(this._values.set(key, message), MAX_STATE_KEYS);
  }
  /** @param {Partial<Members>} payload @returns {boolean} Whether it says who is there. */
  _takeMembers({ members, count }) {
    if (typeof count !== "number") return false;
    this._count = count;
    this._members = new Map((members ?? []).map((member) => [member.id, member]));
    return true;
  }
  /**
   * @param {boolean} joined  Otherwise the member has left. @param {Member} member
   * @param {number} count  Of all members, those that were not sent included. @returns {boolean} Whether that is news.
   */
  _moved(joined, member, count) {
    const size = this._members.size;
    if (joined) this._members.set(member.id, member);
    else this._members.delete(member.id);
    const news = size !== this._members.size || count !== this._count;
    this._count = count;
    return news;
  }
  /** Those that are subscribed on the current connection. @returns {Selection[]} */
  get _standing() {
    return [...this._selections.values()].filter((selection) => selection._reply);
  }
  /** @returns {Set<Subscription>} Those that are subscribed on the current connection. */
  _live() {
    return subscriptionsOf(this._standing);
  }
  /** @returns {Position | null} Where a resume begins: nothing before it is missing in any selection. Null: the server knows. */
  _resumesFrom() {
    if (this._stateArriving || this._unproven) return null;
    let from = this._position;
    for (const { _since: since } of this._selections.values()) if (since && (!from || covers(from, since))) from = since;
    return from;
  }
  /** @returns {Position | null} What all its subscriptions have handled. */
  _acknowledged() {
    let lowest = null;
    for (const { _acknowledged: position } of subscriptionsOf(this._selections.values())) {
      if (position && (!lowest || covers(lowest, position))) lowest = position;
    }
    return lowest;
  }
};
function subscriptionsOf(selections) {
  return new Set([...selections].flatMap((selection) => [...selection._subscriptions]));
}
function limit(collection, size) {
  if (collection.size > size) collection.delete(collection.keys().next().value);
}

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
  /** @type {Map<keyof Events, Set<(...args: any[]) => any>>} */
  #listeners = /* @__PURE__ */ new Map();
  /**
   * @template {keyof Events} Name
   * @param {Name} event
   * @param {(...args: Events[Name]) => any} listener
   * @returns {() => void}  Removes the listener.
   */
  on(event, listener) {
    this.#listeners.set(event, (this.#listeners.get(event) ?? /* @__PURE__ */ new Set()).add(listener));
    return () => this.off(event, listener);
  }
  /**
   * @template {keyof Events} Name
   * @param {Name} event
   * @param {(...args: Events[Name]) => any} listener
   */
  off(event, listener) {
    this.#listeners.get(event)?.delete(listener);
  }
  /**
   * @internal
   * @template {keyof Events} Name
   * @param {Name} event
   * @param {Events[Name]} args
   * @returns {any[]}  What each listener returned, or `FAILED`.
   */
  _emit(event, ...args) {
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

// src/subscription.js
var EVENTS = ["message", "subscribed", "recovered", "loaded", "members", "unsubscribed", "error"];
var extra = {
  /** @type {typeof import("./delivery/index.js") | null} */
  delivery: null,
  /** @returns {Promise<typeof import("./delivery/index.js")>} */
  load: () => import("./realtime/delivery.js?v=61ba53c6").then(e=>e.version==="61ba53c6"?e:Promise.reject(new Error("another version is installed: reload the page")))
};
var Subscription = class extends Emitter {
  #client;
  #selection;
  #options;
  #listened = false;
  #iterated = false;
  #ready;
  #readyRead = false;
  /** @type {Delivery | null} */
  #delivery = null;
  /** What the delivery will be told once it is loaded; null where messages go to the listeners alone. @type {((delivery: Delivery) => void)[] | null} */
  #calls = [];
  #loading = false;
  /** @type {Position | null} The page has everything up to there. */
  #known;
  #established = false;
  /** @type {Position | null} */
  _acknowledged = null;
  /**
   * @param {string} channel
   * @param {SubscriptionOptions} options
   * @param {Selection} selection
   * @param {RealtimeClient} client
   */
  constructor(channel, options, selection, client) {
    super();
    this.channel = channel;
    this.parameters = options.parameters;
    this.dropped = 0;
    this.ended = false;
    this.#options = { bufferSize: 1e3, ...options };
    this.#selection = selection;
    this.#client = client;
    this._presence = options.presence === true;
    this._requireRecovery = options.requireRecovery === true;
    this.#known = readPosition(options.since);
    this.#ready = /** @type {Deferred<SubscribedPayload>} */
    deferred();
    this.#ready.promise.catch(() => {
    });
    if (options.load || options.ack) this.#deliver();
    for (const event of EVENTS) {
      const handler = (
        /** @type {any} */
        options["on" + event[0].toUpperCase() + event.slice(1)]
      );
      if (handler) this.on(
        /** @type {any} */
        event,
        handler
      );
    }
  }
  /** Resolves with the first `subscribed` payload. Rejects if refused; stays pending without a connection. */
  get ready() {
    this.#readyRead = true;
    return this.#ready.promise;
  }
  /** With `presence: true`: the channel's members by their id, as far as they are sent. */
  get members() {
    return this.#selection._feed._members;
  }
  /** With `presence: true`: how many members there are; null until it is known. */
  get count() {
    return this.#selection._feed._count;
  }
  /** In a channel with state: the newest message of each state key; of a last-value channel that of the key "". */
  get values() {
    return this.#selection._feed._values;
  }
  /**
   * @template {any} Name
   * @param {any} event
   * @param {(...args: any[]) => any} listener
   * @returns {() => void}  Removes the listener.
   */
  on(event, listener) {
    if (event === "message") {
      this.#listened = true;
      if (!this.#loading) this.#calls = null;
    }
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
  /** Acknowledges a message, and all before it, without the option `ack`. @param {Message | Position} message */
  ack(message) {
    const position = positionIn(message);
    if (!position || covers(this._acknowledged, position)) return;
    this._acknowledged = position;
    this.#client._channels._acknowledgeSoon(this.channel);
  }
  /** Unsubscribes at once. Resolves when the server has answered, if a request was needed. Never rejects. */
  async unsubscribe() {
    if (this.ended) return;
    const released = this.#client._channels._release(this, this.#selection);
    this._end({ code: "unsubscribed", reason: "unsubscribed by this page" }, true);
    await released;
  }
  // A loop
  [Symbol.asyncIterator]() {
    this.#iterated = true;
    this.#deliver();
    return this;
  }
  /** @returns {Promise<IteratorResult<Message>>} */
  next() {
    this[Symbol.asyncIterator]();
    return new Promise((resolve, reject) => this.#pass((delivery) => delivery.next().then(resolve, reject)));
  }
  /** @returns {Promise<IteratorResult<Message>>} */
  async return() {
    await this.unsubscribe();
    return { value: void 0, done: true };
  }
  // What is loaded when needed
  /** Loads what holds, acknowledges or buffers messages. Until it is there, they wait. */
  async #deliver() {
    if (this.#loading) return;
    this.#loading = true;
    this.#calls ??= [];
    for (let failures = 0; !extra.delivery; failures += 1) {
      try {
        extra.delivery = await extra.load();
      } catch (cause) {
        const error = new RealtimeError("load_failed", "a part of the client could not be loaded", { cause, channel: this.channel });
        if (!this._fail(error)) this.#client._fail(error);
        await new Promise((resolve) => this.#client._later(this.#client._delay(failures, 0), () => resolve(null)));
        if (this.ended) return;
      }
    }
    const client = this.#client;
    this.#delivery = extra.delivery.deliver(this.#options, {
      subscription: this,
      FAILED,
      report,
      later: (seconds, callback) => client._later(seconds, callback),
      cancel: (handle) => client._cancel(handle),
      delay: (failures, wait) => client._delay(failures, wait),
      isLive: () => this.#selection._reply !== null && !this.ended,
      isListened: () => this.#listened,
      isIterated: () => this.#iterated,
      emit: (event, value) => (
        /** @type {any} */
        this._emit(event, value)
      ),
      deliver: (message) => this._deliver(message),
      knows: (position) => this.#known = position,
      fail: (code, reason, context) => {
        const error = new RealtimeError(code, reason, { ...context, channel: this.channel });
        if (!this._fail(error)) client._fail(error);
      }
    });
    for (const call of this.#calls.splice(0)) call(this.#delivery);
  }
  /** @param {(delivery: Delivery) => void} call */
  #pass(call) {
    if (this.#delivery) call(this.#delivery);
    else this.#calls?.push(call);
  }
  // For the client
  /** @internal @returns {Position | null} Where a first subscribe on its behalf begins. */
  get _since() {
    return this.#established ? null : this.#known;
  }
  /** @internal @param {Message} message */
  _deliver(message) {
    if (this.ended || !this.#selects(message)) return;
    if (!message.state && covers(this.#known, positionIn(message))) return;
    if (!this.#delivery && !this.#calls) {
      this._emit("message", message);
      return;
    }
    this.#pass((delivery) => delivery.message(message));
    const { ack, bufferSize } = this.#options;
    if (!this.#calls || this.#calls.length <= bufferSize + 1) return;
    this.dropped += 1;
    this.#calls.splice(1, 1);
    if (ack) this._refuse(new RealtimeError("overflow", "too many messages before they could be acknowledged", { channel: this.channel }));
  }
  /**
   * @internal
   * @param {SubscribedPayload} payload
   * @param {boolean | null} recovered  Whether everything after `from` follows; null if it is a first subscribe.
   * @param {Position | null} from
   */
  _subscribed(payload, recovered, from) {
    if (this.ended) return;
    let whole = from === null ? payload.recovered : null;
    const stateless = !this.#established && !this.#known;
    if (!stateless) whole = recovered === true && (this.#established || covers(this.#known, from));
    this.#established = true;
    const gap = whole === false;
    if (gap) {
      this.#known = null;
      if (this._requireRecovery) {
        this._refuse(new RealtimeError("not_recoverable", "messages may be missing", { channel: this.channel }));
        return;
      }
    }
    this.#ready.resolve(payload);
    this._emit("subscribed", payload);
    if (whole != null) this._emit("recovered", { ...positionIn(payload), recovered: whole });
    if (!this.ended) this.#pass((delivery) => delivery.subscribed(stateless || gap));
  }
  /** @internal Ends it with an error. @param {RealtimeError} error */
  _refuse(error) {
    this.#client._channels._release(this, this.#selection);
    if (!this._fail(error)) this.#client._fail(error);
    this._end({ code: error.code, reason: error.reason }, true, error);
  }
  /** @internal @param {RealtimeError} error @returns {boolean} Whether the page learns of it here. */
  _fail(error) {
    const awaited = this.#readyRead && !this.#ready.settled;
    return this._emit("error", error).length > 0 || this.#iterated || awaited;
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
    this.#pass((delivery) => delivery.end(discard, failure));
    this.#ready.reject(failure ?? new RealtimeError(ending.code, ending.reason, { channel: this.channel }));
    this._emit("unsubscribed", ending);
  }
  /** @param {Message} message */
  #selects({ payload }) {
    const { select } = this.#options;
    return select === void 0 || canonical(payload?.[select]) === canonical(this.parameters?.[select]);
  }
};

// src/channels.js
var MAX_HELD_MESSAGES = 1e3;
var ACK_DELAY_SECONDS = 0.1;
var PASSING_ERRORS = ["rate_limited", "timeout", "unavailable", "internal"];
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
  /** @param {string} name @returns {Feed} */
  #feed(name) {
    const feed = this._feeds.get(name) ?? new Feed(name);
    this._feeds.set(name, feed);
    return feed;
  }
  /** @param {Feed} feed @param {any} [parameters] @returns {Selection} */
  #selection(feed, parameters) {
    const key = canonical(parameters);
    const selection = feed._selections.get(key) ?? new Selection(feed, key, parameters);
    feed._selections.set(key, selection);
    return selection;
  }
  /** @param {string} channel @param {SubscriptionOptions} options @returns {Subscription} */
  _add(channel, options) {
    const selection = this.#selection(this.#feed(channel), options.parameters);
    const first = selection._subscriptions.size === 0 && !selection._automatic;
    const subscription = new Subscription(channel, options, selection, this.#client);
    selection._subscriptions.add(subscription);
    if (first) {
      if (this.#client._ready) this._subscribe(selection);
      return subscription;
    }
    if (subscription._presence && !selection._watches && selection._inSession !== NOT_IN_SESSION) this.#watchMembers(selection);
    if (selection._reply) queueMicrotask(() => this.#join(subscription, selection));
    return subscription;
  }
  /** Forgets all subscriptions. @returns {Iterable<Subscription>} Those that were there. */
  _clear() {
    const subscriptions = [...this._feeds.values()].flatMap((feed) => [...subscriptionsOf(feed._selections.values())]);
    this._feeds.clear();
    return subscriptions;
  }
  /** @param {Iterable<Subscription>} subscriptions @param {number} code @param {string} reason */
  _end(subscriptions, code, reason) {
    for (const subscription of subscriptions) subscription._end({ code: "closed", reason: `${code} ${reason}` }, false);
  }
  // The connection
  /** The connection has ended. */
  _lost() {
    this.#client._cancel(this.#ackTimer);
    this.#ackTimer = null;
    for (const feed of this._feeds.values()) {
      feed._held = null;
      feed._fences = 0;
      for (const selection of feed._selections.values()) {
        selection._reply = null;
        this.#client._cancel(selection._retryTimer);
      }
    }
  }
  /** @param {Record<string, SubscribedPayload>} automatic  What the server has subscribed by itself. */
  _welcomed(automatic) {
    for (const feed of this._feeds.values()) if (feed._automatic) feed._held = [];
    for (const name of Object.keys(automatic)) this._markAutomatic(name)._held ??= [];
  }
  /** @returns {Record<string, Position | undefined>} Where a resume begins, for each channel. */
  _positions() {
    return Object.fromEntries([...this._feeds].map(([name, feed]) => [name, feed._resumesFrom() ?? void 0]));
  }
  /** The server has subscribed this connection. @param {string} name @returns {Feed} */
  _markAutomatic(name) {
    const feed = this.#feed(name);
    this.#selection(feed);
    if (!feed._automatic) {
      feed._automatic = true;
      this.#client._emit("channel", name, true);
    }
    return feed;
  }
  /** The server does not subscribe this connection any more; the page's own subscriptions stay. @param {Feed} feed */
  _markOrdinary(feed) {
    feed._automatic = false;
    feed._held = null;
    const selection = this.#selection(feed);
    if (selection._subscriptions.size === 0) this.#forget(selection);
    this.#client._emit("channel", feed._name, false);
  }
  // Subscriptions
  /** @param {Selection} selection */
  _subscribe(selection) {
    const { _feed: feed, _automatic: automatic, _established: established } = selection;
    const subscriptions = [...selection._subscriptions];
    const presence = selection._watchers.length > 0;
    const had = feed._stateArriving ? null : feed._position;
    const since = selection._since ??= established ? had : earliest(subscriptions.map(({ _since }) => _since));
    const now = automatic && this.#client._welcome.channels?.[feed._name];
    const complete = (feed._held?.length ?? 0) < MAX_HELD_MESSAGES;
    if (now && complete && !presence && (!since || samePosition(since, positionIn(now)))) {
      this._subscribed(selection, since, since ? { ...now, recovered: true } : now, false);
      return;
    }
    if (automatic) feed._held ??= [];
    selection._inSession ||= SENT;
    selection._watches = presence;
    const requireRecovery = since && subscriptions.length > 0 && subscriptions.every(({ _requireRecovery }) => _requireRecovery);
    this.#ask(
      selection,
      {
        type: "subscribe",
        payload: selection._parameters,
        since: since ?? void 0,
        presence: presence || void 0,
        require_recovery: requireRecovery || void 0
      },
      (payload) => this._subscribed(selection, since, payload),
      (error) => this.#subscribeFailed(selection, since, error)
    );
  }
  /**
   * Asks about a selection, which may be gone by the time of the answer.
   * @param {Selection} selection @param {{type: string, [field: string]: any}} message
   * @param {(payload: any) => void} onReply @param {(error: RealtimeError) => void} onError
   */
  #ask(selection, message, onReply, onError) {
    const { _name: channel, _selections: selections } = selection._feed;
    const stands = () => selections.get(selection._key) === selection;
    this.#client._requests._ask(
      { ...message, channel },
      (payload) => stands() && onReply(payload),
      (error) => stands() && onError(error)
    );
  }
  /**
   * @param {Selection} selection @param {Position | null} since @param {SubscribedPayload} reply
   * @param {boolean} [replayed]  Whether what was missed follows, if it is recovered.
   */
  _subscribed(selection, since, reply, replayed = true) {
    const feed = selection._feed;
    const position = positionIn(reply);
    const known = since || selection._established;
    const recovered = known ? reply.recovered === true : null;
    const held = feed._held ?? [];
    if (!recovered || !replayed || held.length === 0) feed._held = null;
    if (feed._standing.length === 0) feed._stateArriving = false;
    if (feed._live().size === 0) {
      feed._unproven = recovered !== true;
      if (feed._unproven) feed._values.clear();
    }
    selection._reply = reply;
    selection._established = true;
    selection._inSession = IN_SESSION;
    selection._since = null;
    selection._failures = 0;
    feed._fresh = !replayed && since === null;
    const moved = feed._position?.epoch !== position?.epoch;
    if (since && recovered) feed._position = since;
    else if (reply.recovered && position) feed._position = moved ? null : feed._position;
    else if (moved || recovered === false) feed._position = position;
    const members = feed._takeMembers(reply);
    if (!members && selection._watchers.length > 0) this.#fetchMembers(selection);
    for (const subscription of [...selection._subscriptions]) subscription._subscribed(reply, recovered, since);
    if (members) this.#tellMembers(feed);
    if (!recovered || !replayed) for (const message of held) this.#take(feed, message, recovered === false);
    if (feed._held) this.#fence(feed, () => this.#releaseHeld(feed));
  }
  /** What was live before a replay follows it. @param {Feed} feed */
  #releaseHeld(feed) {
    const held = feed._held ?? [];
    feed._held = null;
    for (const message of held) this.#take(feed, message);
    if (held.length >= MAX_HELD_MESSAGES) this._told(feed._name, { ...feed._position, recovered: false });
  }
  /**
   * Calls back once everything has arrived that the server has written by now: its answer comes after that.
   * @param {Feed} feed @param {() => void} then  Not called if the connection or the feed has ended.
   */
  #fence(feed, then) {
    const socket = this.#client._socket;
    const stands = () => socket === this.#client._socket && this._feeds.get(feed._name) === feed && then();
    this.#client._requests._ask({ type: "ping" }, stands, ({ code }) => code === "timeout" && stands());
  }
  /** What the server wrote before its ping has arrived. */
  _pinged() {
    for (const feed of this._feeds.values()) if (feed._standing.length > 0) feed._unproven = false;
    this.#client._requests._send({ type: "pong" });
  }
  /** The position counts only once the whole state has arrived. @param {Feed} feed */
  #stateArrives(feed) {
    feed._stateArriving = true;
    if (feed._fences > 0) {
      feed._fences = 2;
      return;
    }
    feed._fences = 1;
    this.#fence(feed, () => {
      const again = feed._fences > 1;
      feed._fences = 0;
      if (again) this.#stateArrives(feed);
      else feed._stateArriving = feed._unproven = false;
    });
  }
  /** One more caller of what is subscribed already. @param {Subscription} subscription @param {Selection} selection */
  #join(subscription, { _reply: reply, _feed: feed }) {
    if (!reply || subscription.ended) return;
    subscription._subscribed(reply, true, feed._position);
    if (subscription._presence && feed._count !== null) subscription._emit("members", feed._members, feed._count);
    for (const message of feed._values.values()) subscription._deliver({ ...message, state: true });
  }
  /** @param {Selection} selection @param {Position | null} since @param {RealtimeError} error */
  #subscribeFailed(selection, since, error) {
    const { code } = error;
    const { _feed: feed, _automatic: automatic } = selection;
    if (code === "connection_lost" || code === "disconnected") return;
    if (code === "already_subscribed") {
      const others = feed._selections.size > 1;
      if (others) feed._selective = false;
      const position = positionIn(error.payload);
      const recovered = since ? others || samePosition(since, position) : void 0;
      const standing = others ? feed._position : position;
      this._subscribed(selection, since && others ? standing : since, { ...standing, recovered });
      return;
    }
    const passing = selection._established && PASSING_ERRORS.includes(code);
    if (automatic || passing) this.#failed([...selection._subscriptions], error);
    if (automatic) {
      this._subscribed(selection, since, { recovered: false });
      return;
    }
    if (!passing) this.#forget(selection);
    if (code === "timeout") this.#unsubscribe(selection);
    if (passing) {
      const delay = this.#client._delay(selection._failures++, error.retryAfter ?? 0);
      selection._retryTimer = this.#client._later(delay, () => this._subscribe(selection));
    } else {
      for (const subscription of selection._subscriptions) subscription._refuse(error);
    }
  }
  /** Tells an error where it is heard. @param {Subscription[]} subscriptions @param {RealtimeError} error */
  #failed(subscriptions, error) {
    if (!subscriptions.map((subscription) => subscription._fail(error)).includes(true)) this.#client._fail(error);
  }
  /** @param {Selection} selection */
  #forget({ _feed: { _name: name, _selections: selections }, _key: key, _retryTimer: timer }) {
    this.#client._cancel(timer);
    selections.delete(key);
    if (selections.size === 0) this._feeds.delete(name);
  }
  /** @param {Subscription} subscription @param {Selection} selection @returns {Promise<void>} */
  async _release(subscription, selection) {
    const subscriptions = selection._subscriptions;
    const stands = this._feeds.get(subscription.channel)?._selections.get(selection._key) === selection;
    if (!stands || !subscriptions.delete(subscription) || subscriptions.size > 0) return;
    if (selection._automatic) return;
    this.#forget(selection);
    if (this.#client._ready) await this.#unsubscribe(selection);
    else if (selection._inSession !== NOT_IN_SESSION) this.#giveUp(selection);
  }
  /** @param {Selection} selection */
  #giveUp(selection) {
    this.#client._session._giveUp(selection._feed._name, selection._parameters);
  }
  /** @param {Selection} selection @returns {Promise<void>} */
  #unsubscribe(selection) {
    const { _feed: feed, _parameters: parameters } = selection;
    const last = ![...feed._selections.values()].some((other) => other !== selection);
    return new Promise((resolve) => {
      if (!last && (!feed._selective || parameters == null)) return resolve();
      const done = (error) => {
        resolve();
        if (error?.code === "connection_lost") this.#giveUp(selection);
        if (!this.#client._ready || feed._selective || this._feeds.get(feed._name) !== feed) return;
        for (const other of feed._selections.values()) this._subscribe(other);
      };
      const message = { type: "unsubscribe", channel: feed._name, payload: last ? void 0 : parameters };
      this.#client._requests._ask(message, () => done(), done);
    });
  }
  /** The server ended a subscription. @param {string} channel @param {Ending} [ending] */
  _taken(channel, { code = "unsubscribed", reason = "" } = (
    /** @type {any} */
    {}
  )) {
    const feed = this._feeds.get(channel);
    if (!feed) return;
    const { _automatic: automatic } = feed;
    feed._automatic = false;
    for (const selection of [...feed._selections.values()]) {
      if (!selection._reply && !automatic) continue;
      this.#forget(selection);
      for (const subscription of selection._subscriptions) subscription._end({ code, reason }, true);
    }
    if (automatic) this.#client._emit("channel", channel, false);
  }
  /**
   * What the server says about a subscription without being asked.
   * @param {string} channel @param {SubscribedPayload} payload
   * @param {boolean} [automatic]  The server has subscribed this connection.
   */
  _told(channel, payload, automatic) {
    const { _ready: ready, _welcome: welcome } = this.#client;
    if (automatic) {
      const feed2 = this._markAutomatic(channel);
      const selection = this.#selection(feed2);
      if (ready) {
        if (!selection._reply) this._subscribed(selection, selection._since, payload);
      } else {
        if (welcome) welcome.channels = { ...welcome.channels, [channel]: payload };
        feed2._held ??= [];
      }
      return;
    }
    const feed = this._feeds.get(channel);
    if (!feed?._standing.length) return;
    if (payload.recovered === false) {
      feed._position = positionIn(payload);
      feed._values.clear();
      for (const subscription of feed._live()) subscription._subscribed(payload, false, null);
    }
    if (feed._takeMembers(payload)) this.#tellMembers(feed);
  }
  // Presence
  /** @param {"join" | "leave"} type @param {string} channel @param {{member?: Member, count?: number}} payload */
  _memberMoved(type, channel, { member, count }) {
    const feed = this._feeds.get(channel);
    if (!feed || !member || typeof count !== "number" || !feed._moved(type === "join", member, count)) return;
    for (const subscription of feed._live()) if (subscription._presence) subscription._emit(type, member);
    this.#tellMembers(feed);
  }
  /** @param {Feed} feed */
  #tellMembers(feed) {
    for (const subscription of feed._live()) {
      if (subscription._presence) subscription._emit("members", feed._members, feed._count ?? feed._members.size);
    }
  }
  /**
   * A caller wants presence of what was subscribed without. It cannot be added, so it is subscribed again, from the
   * last position.
   * @param {Selection} selection
   */
  #watchMembers(selection) {
    if (selection._automatic) {
      if (selection._reply) this.#fetchMembers(selection);
    } else if (this.#client._ready) {
      this.#unsubscribe(selection);
      selection._reply = null;
      this._subscribe(selection);
    } else {
      this.#giveUp(selection);
      selection._inSession = NOT_IN_SESSION;
    }
  }
  /** Asks for the members of a channel that is subscribed already. @param {Selection} selection */
  #fetchMembers(selection) {
    const feed = selection._feed;
    this.#ask(
      selection,
      { type: "presence" },
      (payload) => feed._takeMembers(payload) && this.#tellMembers(feed),
      (error) => {
        if (error.code !== "connection_lost" && selection._reply) this.#failed(selection._watchers, error);
      }
    );
  }
  // Acknowledgements
  /** @param {string} channel */
  _acknowledgeSoon(channel) {
    this.#acknowledging.add(channel);
    if (this.#client._ready) this.#ackTimer ??= this.#client._later(ACK_DELAY_SECONDS, () => this._acknowledge());
  }
  _acknowledge() {
    this.#client._cancel(this.#ackTimer);
    this.#ackTimer = null;
    for (const channel of this.#acknowledging) {
      const payload = this._feeds.get(channel)?._acknowledged();
      if (payload) this.#client._requests._send({ type: "ack", channel, payload });
    }
    this.#acknowledging.clear();
  }
  // Delivery
  /** @param {Message} message */
  _message(message) {
    const { channel } = message;
    const feed = this._feeds.get(channel);
    if (typeof channel !== "string") {
      if (message.event === "notice") this.#client._emit("notice", message);
    } else if (!feed) {
      this.#client._emit("message", message);
    } else if (feed._held && (!this.#client._ready || !(message.recovered || message.state))) {
      if (feed._held.length < MAX_HELD_MESSAGES) feed._held.push(message);
    } else if (feed._standing.length > 0) {
      this.#take(feed, message);
    }
  }
  /** @param {Feed} feed @param {Message} message @param {boolean} [anyway]  Though the position says that it is known. */
  #take(feed, message, anyway) {
    if (!feed._admits(message) && !anyway) return;
    if (message.state) this.#stateArrives(feed);
    feed._keep(message);
    this.#client._emit("message", message);
    for (const subscription of feed._live()) subscription._deliver(message);
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
    const loading = client._requests._loadCodec();
    let way = this.#ways.next(this._failures);
    if (loading) way = Promise.all([way, loading]).then(([Way]) => Way);
    if (typeof way?.then === "function") {
      way.then(
        (Way) => attempt === this.#attempt && this.#use(Way),
        (cause) => attempt === this.#attempt && this.#lost(null, CLOSE_ABNORMAL, String(cause))
      );
    } else {
      this.#use(way);
    }
    const limit2 = client._options.connectTimeoutSeconds;
    this.#watch(limit2, () => this._abandon(`no welcome within ${limit2} s`));
    client._setState("connecting", { attempt: this._failures + 1 });
  }
  /** @param {new (url: string, protocols: string[]) => any} Way */
  #use(Way) {
    const socket = new Way(this.#client.url, [this.#client._requests._codec.protocol]);
    this.#client._socket = socket;
    socket.binaryType = "arraybuffer";
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
      client._fail(new RealtimeError("bad_message", "the server sent a frame that cannot be read", { cause }));
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
function codecFor(format) {
  if (format === "json") return JSON_CODEC;
  if (format === "msgpack") return null;
  throw new TypeError(`format is '${format}'; expected 'json' or 'msgpack'`);
}
var loadCodec = () => import("./realtime/msgpack.js?v=1b5f04a4").then(e=>e.version==="1b5f04a4"?e:Promise.reject(new Error("another version is installed: reload the page"))).then(({ codec }) => codec);

// src/requests.js
var Requests = class {
  #client;
  #lastId = 0;
  /** @type {Map<number, PendingRequest>} In the order of the calls. */
  _pending = /* @__PURE__ */ new Map();
  /** @type {any[]} Encoded messages. */
  #outbox = [];
  /** Null until it is loaded. @type {Codec} */
  _codec;
  /** @param {RealtimeClient} client */
  constructor(client) {
    this.#client = client;
    this._codec = /** @type {any} */
    codecFor(client._options.format);
  }
  /** @returns {Promise<void> | null}  Null if there is nothing to load. */
  _loadCodec() {
    return this._codec ? null : loadCodec().then((codec) => void (this._codec = codec));
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
    const frame = this._codec ? this._codec.encode({ ...message, id }) : null;
    if (!frame) message = structuredClone(message);
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
    const limit2 = this.#client._welcome?.limits?.max_frame ?? Infinity;
    request.frame ??= this._codec.encode({ ...request.message, id });
    const size = this._codec.size(request.frame);
    if (size > limit2) {
      const reason = `'${request.message.type}' is ${size} bytes long; the server accepts at most ${limit2}`;
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
      if (feed._automatic && !(feed._name in { ...client._welcome.channels, ...resumed })) _channels._markOrdinary(feed);
      if (!resumed) for (const selection of feed._selections.values()) selection._inSession = NOT_IN_SESSION;
    }
    for (const { channel, parameters } of abandoned) {
      if (!resumed || !(channel in resumed)) continue;
      const others = [...feeds.get(channel)?._selections.values() ?? []];
      const stays = others.some((selection) => selection._inSession === IN_SESSION);
      _requests._ask({ type: "unsubscribe", channel, payload: stays ? parameters : void 0 });
      if (!stays) delete resumed[channel];
    }
    for (const name of Object.keys(resumed ?? {})) if (!feeds.has(name)) _channels._markAutomatic(name);
    for (const feed of [...feeds.values()]) {
      const reply = resumed?.[feed._name];
      if (reply) this.#resumed(feed, reply);
      for (const selection of [...feed._selections.values()]) if (!selection._reply) _channels._subscribe(selection);
    }
    for (const id of waiting) _requests._transmit(id);
    _channels._acknowledge();
    if (socket === client._socket) client._setState("connected", {});
  }
  /** The session had this channel: one replay for all its selections. @param {Feed} feed @param {SubscribedPayload} reply */
  #resumed(feed, reply) {
    const selections = [...feed._selections.values()];
    const alone = selections.length === 1;
    const stands = selections.filter(({ _inSession }) => _inSession === IN_SESSION || alone && (_inSession === SENT || feed._automatic));
    const from = feed._resumesFrom();
    for (const selection of stands) this.#client._channels._subscribed(selection, from, reply);
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
      format: "json",
      transports: ["websocket", "sse", "polling"],
      random: Math.random,
      /** @type {Timers} */
      timers: {
        setTimeout: (callback, milliseconds) => setTimeout(callback, milliseconds),
        clearTimeout: (handle) => clearTimeout(handle)
      },
      ...options
    };
    const { format, WebSocket, fetch, timers, random } = this._options;
    const transports = format === "json" ? this._options.transports : ["websocket"];
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
  history(channel, { since, limit: limit2, reverse, ...options } = {}) {
    return this.request({ type: "history", channel, since: readPosition(since) ?? void 0, limit: limit2, reverse }, options);
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
    if (this._emit("error", error).length === 0) report(error);
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
