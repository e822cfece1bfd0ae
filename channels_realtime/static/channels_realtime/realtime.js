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
  /** @type {typeof  | null} */
  delivery: null,
  /** @returns {Promise<typeof >} */
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
   * @internal
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
  /** In a channel with state: the newest message of each state key; of a last-value channel that of the key "". @returns {Map<string, Told>} */
  get values() {
    return (
      /** @type {Map<string, any>} */
      this.#selection._feed._values
    );
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
  /** Acknowledges a message, and all before it, without the option `ack`. @param {Told | Position} message */
  ack(message) {
    const position = positionIn(message);
    if (!position || covers(this._acknowledged, position)) return;
    this._acknowledged = position;
    this.#client._channels._acknowledgeSoon(this.channel);
  }
  /** Unsubscribes at once. Resolves when the server has answered, if a request was needed. Never rejects. */
  async unsubscribe() {
    if (this.ended) return;
    const released = this.#client._channels._release(
      /** @type {any} */
      this,
      this.#selection
    );
    this._end({ code: "unsubscribed", reason: "unsubscribed by this page" }, true);
    await released;
  }
  // A loop
  [Symbol.asyncIterator]() {
    this.#iterated = true;
    this.#deliver();
    return this;
  }
  /** @returns {Promise<IteratorResult<Told>>} */
  next() {
    this[Symbol.asyncIterator]();
    return new Promise((resolve, reject) => this.#pass((delivery) => delivery.next().then(
      /** @type {any} */
      resolve,
      reject
    )));
  }
  /** @returns {Promise<IteratorResult<Told>>} */
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
      this._emit(
        "message",
        /** @type {any} */
        message
      );
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
    this.#client._channels._release(
      /** @type {any} */
      this,
      this.#selection
    );
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
function createChannels(client) {
  const feeds = /* @__PURE__ */ new Map();
  const acknowledging = /* @__PURE__ */ new Set();
  let ackTimer = null;
  function feedOf(name) {
    const feed = feeds.get(name) ?? new Feed(name);
    feeds.set(name, feed);
    return feed;
  }
  function selectionOf(feed, parameters) {
    const key = canonical(parameters);
    const selection = feed._selections.get(key) ?? new Selection(feed, key, parameters);
    feed._selections.set(key, selection);
    return selection;
  }
  function add(channel, options) {
    const selection = selectionOf(feedOf(channel), options.parameters);
    const first = selection._subscriptions.size === 0 && !selection._automatic;
    const subscription = new Subscription(channel, options, selection, client);
    selection._subscriptions.add(subscription);
    if (first) {
      if (client._ready) subscribe(selection);
      return subscription;
    }
    if (subscription._presence && !selection._watches && selection._inSession !== NOT_IN_SESSION) watchMembers(selection);
    if (selection._reply) queueMicrotask(() => join(subscription, selection));
    return subscription;
  }
  function clear() {
    const subscriptions = [...feeds.values()].flatMap((feed) => [...subscriptionsOf(feed._selections.values())]);
    feeds.clear();
    return subscriptions;
  }
  function endAll(subscriptions, code, reason) {
    for (const subscription of subscriptions) subscription._end({ code: "closed", reason: `${code} ${reason}` }, false);
  }
  function lost() {
    client._cancel(ackTimer);
    ackTimer = null;
    for (const feed of feeds.values()) {
      feed._held = null;
      feed._fences = 0;
      for (const selection of feed._selections.values()) {
        selection._reply = null;
        client._cancel(selection._retryTimer);
      }
    }
  }
  function welcomed(automatic) {
    for (const feed of feeds.values()) if (feed._automatic) feed._held = [];
    for (const name of Object.keys(automatic)) markAutomatic(name)._held ??= [];
  }
  function positions() {
    return Object.fromEntries([...feeds].map(([name, feed]) => [name, feed._resumesFrom() ?? void 0]));
  }
  function markAutomatic(name) {
    const feed = feedOf(name);
    selectionOf(feed);
    if (!feed._automatic) {
      feed._automatic = true;
      client._emit("channel", name, true);
    }
    return feed;
  }
  function markOrdinary(feed) {
    feed._automatic = false;
    feed._held = null;
    const selection = selectionOf(feed);
    if (selection._subscriptions.size === 0) forget(selection);
    client._emit("channel", feed._name, false);
  }
  function subscribe(selection) {
    const { _feed: feed, _automatic: automatic, _established: established } = selection;
    const subscriptions = [...selection._subscriptions];
    const presence = selection._watchers.length > 0;
    const had = feed._stateArriving ? null : feed._position;
    const since = selection._since ??= established ? had : earliest(subscriptions.map(({ _since }) => _since));
    const now = automatic && client._welcome.channels?.[feed._name];
    const complete = (feed._held?.length ?? 0) < MAX_HELD_MESSAGES;
    if (now && complete && !presence && (!since || samePosition(since, positionIn(now)))) {
      subscribed(selection, since, since ? { ...now, recovered: true } : now, false);
      return;
    }
    if (automatic) feed._held ??= [];
    selection._inSession ||= SENT;
    selection._watches = presence;
    const requireRecovery = since && subscriptions.length > 0 && subscriptions.every(({ _requireRecovery }) => _requireRecovery);
    ask(
      selection,
      {
        type: "subscribe",
        payload: selection._parameters,
        since: since ?? void 0,
        presence: presence || void 0,
        require_recovery: requireRecovery || void 0
      },
      (payload) => subscribed(selection, since, payload),
      (error) => subscribeFailed(selection, since, error)
    );
  }
  function ask(selection, message, onReply, onError) {
    const { _name: channel, _selections: selections } = selection._feed;
    const stands = () => selections.get(selection._key) === selection;
    client._requests._ask(
      { ...message, channel },
      (payload) => stands() && onReply(payload),
      (error) => stands() && onError(error)
    );
  }
  function subscribed(selection, since, reply, replayed = true) {
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
    if (!members && selection._watchers.length > 0) fetchMembers(selection);
    for (const subscription of [...selection._subscriptions]) subscription._subscribed(reply, recovered, since);
    if (members) tellMembers(feed);
    if (!recovered || !replayed) for (const message of held) take(feed, message, recovered === false);
    if (feed._held) fence(feed, () => releaseHeld(feed));
  }
  function releaseHeld(feed) {
    const held = feed._held ?? [];
    feed._held = null;
    for (const message of held) take(feed, message);
    if (held.length >= MAX_HELD_MESSAGES) told(feed._name, { ...feed._position, recovered: false });
  }
  function fence(feed, then) {
    const socket = client._socket;
    const stands = () => socket === client._socket && feeds.get(feed._name) === feed && then();
    client._requests._ask({ type: "ping" }, stands, ({ code }) => code === "timeout" && stands());
  }
  function pinged() {
    for (const feed of feeds.values()) if (feed._standing.length > 0) feed._unproven = false;
    client._requests._send({ type: "pong" });
  }
  function stateArrives(feed) {
    feed._stateArriving = true;
    if (feed._fences > 0) {
      feed._fences = 2;
      return;
    }
    feed._fences = 1;
    fence(feed, () => {
      const again = feed._fences > 1;
      feed._fences = 0;
      if (again) stateArrives(feed);
      else feed._stateArriving = feed._unproven = false;
    });
  }
  function join(subscription, { _reply: reply, _feed: feed }) {
    if (!reply || subscription.ended) return;
    subscription._subscribed(reply, true, feed._position);
    if (subscription._presence && feed._count !== null) subscription._emit("members", feed._members, feed._count);
    for (const message of feed._values.values()) subscription._deliver({ ...message, state: true });
  }
  function subscribeFailed(selection, since, error) {
    const { code } = error;
    const { _feed: feed, _automatic: automatic } = selection;
    if (code === "connection_lost" || code === "disconnected") return;
    if (code === "already_subscribed") {
      const others = feed._selections.size > 1;
      if (others) feed._selective = false;
      const position = positionIn(error.payload);
      const recovered = since ? others || samePosition(since, position) : void 0;
      const standing = others ? feed._position : position;
      subscribed(selection, since && others ? standing : since, { ...standing, recovered });
      return;
    }
    const passing = selection._established && PASSING_ERRORS.includes(code);
    if (automatic || passing) failed([...selection._subscriptions], error);
    if (automatic) {
      subscribed(selection, since, { recovered: false });
      return;
    }
    if (!passing) forget(selection);
    if (code === "timeout") unsubscribe(selection);
    if (passing) {
      const delay = client._delay(selection._failures++, error.retryAfter ?? 0);
      selection._retryTimer = client._later(delay, () => subscribe(selection));
    } else {
      for (const subscription of selection._subscriptions) subscription._refuse(error);
    }
  }
  function failed(subscriptions, error) {
    if (!subscriptions.map((subscription) => subscription._fail(error)).includes(true)) client._fail(error);
  }
  function forget({ _feed: { _name: name, _selections: selections }, _key: key, _retryTimer: timer }) {
    client._cancel(timer);
    selections.delete(key);
    if (selections.size === 0) feeds.delete(name);
  }
  async function release(subscription, selection) {
    const subscriptions = selection._subscriptions;
    const stands = feeds.get(subscription.channel)?._selections.get(selection._key) === selection;
    if (!stands || !subscriptions.delete(subscription) || subscriptions.size > 0) return;
    if (selection._automatic) return;
    forget(selection);
    if (client._ready) await unsubscribe(selection);
    else if (selection._inSession !== NOT_IN_SESSION) giveUp(selection);
  }
  function giveUp(selection) {
    client._session._giveUp(selection._feed._name, selection._parameters);
  }
  function unsubscribe(selection) {
    const { _feed: feed, _parameters: parameters } = selection;
    const last = ![...feed._selections.values()].some((other) => other !== selection);
    return new Promise((resolve) => {
      if (!last && (!feed._selective || parameters == null)) return resolve();
      const done = (error) => {
        resolve();
        if (error?.code === "connection_lost") giveUp(selection);
        if (!client._ready || feed._selective || feeds.get(feed._name) !== feed) return;
        for (const other of feed._selections.values()) subscribe(other);
      };
      const message = { type: "unsubscribe", channel: feed._name, payload: last ? void 0 : parameters };
      client._requests._ask(message, () => done(), done);
    });
  }
  function taken(channel, { code = "unsubscribed", reason = "" } = (
    /** @type {any} */
    {}
  )) {
    const feed = feeds.get(channel);
    if (!feed) return;
    const { _automatic: automatic } = feed;
    feed._automatic = false;
    for (const selection of [...feed._selections.values()]) {
      if (!selection._reply && !automatic) continue;
      forget(selection);
      for (const subscription of selection._subscriptions) subscription._end({ code, reason }, true);
    }
    if (automatic) client._emit("channel", channel, false);
  }
  function told(channel, payload, automatic) {
    const { _ready: ready, _welcome: welcome } = client;
    if (automatic) {
      const feed2 = markAutomatic(channel);
      const selection = selectionOf(feed2);
      if (ready) {
        if (!selection._reply) subscribed(selection, selection._since, payload);
      } else {
        if (welcome) welcome.channels = { ...welcome.channels, [channel]: payload };
        feed2._held ??= [];
      }
      return;
    }
    const feed = feeds.get(channel);
    if (!feed?._standing.length) return;
    if (payload.recovered === false) {
      feed._position = positionIn(payload);
      feed._values.clear();
      for (const subscription of feed._live()) subscription._subscribed(payload, false, null);
    }
    if (feed._takeMembers(payload)) tellMembers(feed);
  }
  function memberMoved(type, channel, { member, count }) {
    const feed = feeds.get(channel);
    if (!feed || !member || typeof count !== "number" || !feed._moved(type === "join", member, count)) return;
    for (const subscription of feed._live()) if (subscription._presence) subscription._emit(type, member);
    tellMembers(feed);
  }
  function tellMembers(feed) {
    for (const subscription of feed._live()) {
      if (subscription._presence) subscription._emit("members", feed._members, feed._count ?? feed._members.size);
    }
  }
  function watchMembers(selection) {
    if (selection._automatic) {
      if (selection._reply) fetchMembers(selection);
    } else if (client._ready) {
      unsubscribe(selection);
      selection._reply = null;
      subscribe(selection);
    } else {
      giveUp(selection);
      selection._inSession = NOT_IN_SESSION;
    }
  }
  function fetchMembers(selection) {
    const feed = selection._feed;
    ask(
      selection,
      { type: "presence" },
      (payload) => feed._takeMembers(payload) && tellMembers(feed),
      (error) => {
        if (error.code !== "connection_lost" && selection._reply) failed(selection._watchers, error);
      }
    );
  }
  function acknowledgeSoon(channel) {
    acknowledging.add(channel);
    if (client._ready) ackTimer ??= client._later(ACK_DELAY_SECONDS, () => acknowledge());
  }
  function acknowledge() {
    client._cancel(ackTimer);
    ackTimer = null;
    for (const channel of acknowledging) {
      const payload = feeds.get(channel)?._acknowledged();
      if (payload) client._requests._send({ type: "ack", channel, payload });
    }
    acknowledging.clear();
  }
  function receive(message) {
    const { channel } = message;
    const feed = feeds.get(channel);
    if (typeof channel !== "string") {
      if (message.event === "notice") client._emit("notice", message);
    } else if (!feed) {
      client._emit("message", message);
    } else if (feed._held && (!client._ready || !(message.recovered || message.state))) {
      if (feed._held.length < MAX_HELD_MESSAGES) feed._held.push(message);
    } else if (feed._standing.length > 0) {
      take(feed, message);
    }
  }
  function take(feed, message, anyway) {
    if (!feed._admits(message) && !anyway) return;
    if (message.state) stateArrives(feed);
    feed._keep(message);
    client._emit("message", message);
    for (const subscription of feed._live()) subscription._deliver(message);
  }
  return {
    _feeds: feeds,
    _add: add,
    _clear: clear,
    _end: endAll,
    _lost: lost,
    _welcomed: welcomed,
    _positions: positions,
    _markAutomatic: markAutomatic,
    _markOrdinary: markOrdinary,
    _subscribe: subscribe,
    _subscribed: subscribed,
    _pinged: pinged,
    _release: release,
    _taken: taken,
    _told: told,
    _memberMoved: memberMoved,
    _acknowledgeSoon: acknowledgeSoon,
    _acknowledge: acknowledge,
    _message: receive
  };
}

// src/connection.js
var TERMINAL_CLOSE_CODES = [4400, 4403, 4406, 4409, 4413, 1002, 1003, 1007, 1009];
var CLOSE_NORMAL = 1e3;
var CLOSE_ABNORMAL = 1006;
var CLOSE_UNAUTHENTICATED = 4401;
var CLOSE_HEARTBEAT_MISSED = 4408;
var PAGE_EVENTS = ["pagehide", "freeze", "pageshow", "resume", "online", "offline", "visibilitychange"];
var ASIDE_SECONDS = 1;
var ATTEMPTS_BEFORE_WARNING = 3;
function createConnection(client, ways) {
  let attempt = null;
  let retryTimer = null;
  let retryHeldByServer = false;
  let watchdog = null;
  let warned = false;
  function start() {
    client._generation += 1;
    client._failures = 0;
    follow("addEventListener");
    open();
  }
  function open() {
    const own = attempt = {};
    const loading = client._requests._loadCodec();
    let way = ways.next(client._failures);
    if (loading) way = Promise.all([way, loading]).then(([Way]) => Way);
    if (typeof way?.then === "function") {
      way.then(
        (Way) => own === attempt && use(Way),
        (cause) => own === attempt && lost(null, CLOSE_ABNORMAL, String(cause))
      );
    } else {
      use(way);
    }
    const limit2 = client._options.connectTimeoutSeconds;
    watch(limit2, () => abandon(`no welcome within ${limit2} s`));
    client._setState("connecting", { attempt: client._failures + 1 });
  }
  function use(Way) {
    if (!Way) throw new TypeError("there is no WebSocket here; pass one as the option 'WebSocket'");
    const socket = client._socket = new Way(client.url, [client._requests._codec().protocol]);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => receive(socket, data);
    socket.onclose = (event) => lost(socket, event.code ?? CLOSE_ABNORMAL, event.reason ?? "");
  }
  function abandon(reason) {
    lost(client._socket, CLOSE_HEARTBEAT_MISSED, reason);
  }
  function lost(socket, closeCode, closeReason, least) {
    if (socket !== client._socket) return;
    const closing = client._closing;
    const { code = closeCode, reason = closeReason, reconnect } = closing ?? {};
    drop(closeCode, closeReason);
    if (!(reconnect ?? !TERMINAL_CLOSE_CODES.includes(code))) stop("closed", code, reason);
    else if (code === CLOSE_UNAUTHENTICATED) client._credentials._renew(code, reason, closing);
    else retry(code, reason, closing, least);
  }
  function drop(code, reason) {
    const socket = client._socket;
    client._cancel(watchdog);
    attempt = client._closing = client._socket = client._welcome = null;
    client._ready = false;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close(code === CLOSE_NORMAL ? code : CLOSE_HEARTBEAT_MISSED);
    }
    client._channels._lost();
    client._requests._lost(code, reason);
  }
  function retry(code, reason, closing, least = 0) {
    const wait = asSeconds(closing?.retry_after);
    const nextDelay = client._delay(client._failures, wait ?? least);
    client._failures += 1;
    retryHeldByServer = wait !== null;
    retryTimer = client._later(nextDelay, retryNow);
    if (client._failures >= ATTEMPTS_BEFORE_WARNING && !warned) {
      warned = true;
      console.warn(
        `channels_realtime: ${client._failures} attempts to connect to ${client.url} failed (${code} ${reason}). Is the path right, is this page's origin allowed, and is the ASGI server running? See docs/troubleshooting.md`
      );
    }
    client._setState("reconnecting", { attempt: client._failures + 1, nextDelay, code, reason });
  }
  function retryNow() {
    client._cancel(retryTimer);
    retryTimer = null;
    open();
  }
  function stop(state, code, reason) {
    const { _requests, _channels } = client;
    client._generation += 1;
    client._cancel(retryTimer);
    retryTimer = client._fresh = null;
    if (code === CLOSE_NORMAL) client._session._forget();
    follow("removeEventListener");
    const unanswered = [..._requests._pending.keys()];
    const subscriptions = state === "closed" ? _channels._clear() : [];
    client._setState(state, { code, reason });
    for (const id of unanswered) {
      _requests._settle(id, new RealtimeError("disconnected", `the client is ${state} (${code} ${reason})`));
    }
    _channels._end(subscriptions, code, reason);
  }
  function watch(seconds, callback) {
    client._cancel(watchdog);
    watchdog = client._later(seconds, callback);
  }
  function heard() {
    const { interval, timeout } = client._welcome?.heartbeat ?? {};
    if (interval > 0) watch(interval + timeout, probe);
  }
  function probe() {
    const { timeout } = client._welcome?.heartbeat ?? {};
    if (!(timeout > 0)) return;
    client._requests._send({ type: "ping" });
    watch(timeout, () => abandon(`nothing heard for ${timeout} s after a ping`));
  }
  function follow(method) {
    for (const event of PAGE_EVENTS) (client._options.wakeTarget ?? globalThis)[method]?.(event, moved, true);
  }
  function moved({ type }) {
    if (type === "visibilitychange" && globalThis.document?.visibilityState === "hidden") return;
    if (type === "pagehide" || type === "freeze") {
      client._requests._flush();
      if (client._socket) lost(client._socket, CLOSE_ABNORMAL, "the page is put aside", ASIDE_SECONDS);
    } else if (retryTimer !== null && !retryHeldByServer && type !== "offline") {
      retryNow();
    } else if (client._welcome) {
      probe();
    }
  }
  function receive(socket, data) {
    if (socket !== client._socket) return;
    heard();
    let frame;
    try {
      frame = client._requests._codec().decode(data);
    } catch (cause) {
      client._fail(new RealtimeError("bad_message", "the server sent a frame that cannot be read", { cause }));
      return;
    }
    for (const message of [frame].flat()) {
      if (socket !== client._socket) return;
      if (typeof message === "object" && message !== null) client._handle(message);
    }
  }
  function welcomed(payload) {
    if (!client._credentials._accepts(payload.user ?? null)) return;
    client._welcome = payload;
    client._failures = 0;
    client._cancel(watchdog);
    client._channels._welcomed(payload.channels ?? {});
    heard();
    client._credentials._signIn(client._session._begin);
  }
  return {
    _start: start,
    _abandon: abandon,
    _drop: drop,
    _retry: retry,
    _stop: stop,
    _welcomed: welcomed
  };
}

// src/credentials.js
var MAX_RENEWALS = 5;
var RENEWALS_MILLISECONDS = 6e4;
function createCredentials(client) {
  let sentToken = null;
  let renewals = [];
  function mayRenew() {
    const now = Date.now();
    renewals = renewals.filter((then) => now - then < RENEWALS_MILLISECONDS);
    return renewals.push(now) <= MAX_RENEWALS;
  }
  async function fetchToken(reason, then, unavailable) {
    const { _socket: socket, _generation: generation, _fresh: fresh } = client;
    const overtaken = () => socket !== client._socket || generation !== client._generation;
    client._fresh = null;
    let token;
    try {
      token = fresh ?? await client._options.getToken?.({ reason }) ?? null;
    } catch (cause) {
      if (overtaken()) return;
      client._fail(new RealtimeError("token_unavailable", "getToken failed", { cause, request: "auth" }));
      unavailable();
      return;
    }
    if (!overtaken()) then(token);
  }
  function authenticate(reason, done = () => {
  }, none = done, unavailable = done) {
    fetchToken(
      reason,
      (token) => {
        if (token === null) {
          none();
          return;
        }
        sentToken = token;
        client._requests._ask(
          { type: "auth", token },
          (payload) => {
            client.user = payload?.user ?? null;
            done();
          },
          (error) => {
            if (error.code !== "connection_lost") client._fail(error);
            done();
          }
        );
      },
      unavailable
    );
  }
  function required() {
    authenticate(
      "required",
      void 0,
      // The server sends `welcome`, or `closing` and 4401.
      () => signedOut("the server requires a token and the page has none"),
      () => client._connection._abandon("getToken failed")
    );
  }
  function expiring() {
    if (client._options.getToken && mayRenew()) authenticate("expiring");
  }
  function signedOut(reason) {
    client._connection._drop(CLOSE_NORMAL, "no credentials");
    client._session._forget();
    client._connection._stop("unauthenticated", CLOSE_UNAUTHENTICATED, reason);
  }
  function accepts(user) {
    if (client._renewed && !client._fresh && user === null && client.user !== null) {
      signedOut("the login session has ended");
      return false;
    }
    client._renewed = false;
    client.user = user;
    if (user !== null) client._fresh = null;
    return true;
  }
  function signIn(then) {
    if (client.user === null && client._options.getToken) authenticate("anonymous", then);
    else then();
  }
  function renew(code, reason, closing) {
    const { _connection: connection, _generation: generation, _options: options } = client;
    const stop = () => connection._stop("unauthenticated", code, reason);
    client._fresh = null;
    if (client._renewed || !mayRenew()) {
      stop();
      return;
    }
    const decide = (token) => {
      if (token === null ? sentToken !== null : token === sentToken) {
        stop();
        return;
      }
      client._renewed = true;
      client._fresh = token;
      const wait = Math.max(asSeconds(closing?.retry_after) ?? 0, options.backoffBaseSeconds);
      connection._retry(code, reason, token === null ? { retry_after: wait } : closing);
    };
    if (!options.getToken) {
      decide(null);
      return;
    }
    client._setState("reconnecting", { attempt: client._failures + 2, nextDelay: null, code, reason });
    if (generation === client._generation) fetchToken("refused", decide, () => connection._retry(code, reason, closing));
  }
  return {
    _required: required,
    _expiring: expiring,
    _accepts: accepts,
    _signIn: signIn,
    _renew: renew
  };
}

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
    const page = globalThis.location?.href.replace(/^blob:/, "");
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
function createRequests(client) {
  let lastId = 0;
  const pending = /* @__PURE__ */ new Map();
  let outbox = [];
  let codec = (
    /** @type {any} */
    codecFor(client._options.format)
  );
  function load() {
    return codec ? null : loadCodec().then((loaded) => void (codec = loaded));
  }
  function ask(message, onReply = () => {
  }, onError = () => {
  }, { timeoutSeconds = client._options.requestTimeoutSeconds, now = true } = {}) {
    const id = ++lastId;
    const frame = codec ? codec.encode({ ...message, id }) : null;
    if (!frame) message = structuredClone(message);
    const timer = client._later(timeoutSeconds, () => {
      settle(id, requestError("timeout", `no answer to '${message.type}' within ${timeoutSeconds} s`, message));
    });
    pending.set(id, { message, frame, sent: false, timer, onReply, onError });
    if (now) transmit(id);
  }
  function transmit(id) {
    const request = pending.get(id);
    if (!request || request.sent) return;
    const limit2 = client._welcome?.limits?.max_frame ?? Infinity;
    request.frame ??= codec.encode({ ...request.message, id });
    const size = codec.size(request.frame);
    if (size > limit2) {
      const reason = `'${request.message.type}' is ${size} bytes long; the server accepts at most ${limit2}`;
      settle(id, requestError("too_large", reason, request.message));
      return;
    }
    request.sent = true;
    push(request.frame);
  }
  function send(message) {
    push(codec.encode(message));
  }
  function push(frame) {
    if (outbox.push(frame) === 1) queueMicrotask(() => flush());
  }
  function flush() {
    const socket = client._socket;
    const frames = outbox.splice(0);
    if (!socket || frames.length === 0) return;
    const { size: sizeOf, batch, protocol } = codec;
    const limits = client._welcome?.limits ?? {};
    const batches = client._options.batch && socket.protocol === protocol;
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
  function lost(code, reason) {
    outbox = [];
    for (const [id, { message, sent }] of [...pending]) {
      if (!sent) continue;
      const text = `the connection ended before '${message.type}' was answered (${code} ${reason})`;
      settle(id, requestError("connection_lost", text, message));
    }
  }
  function settle(id, error, payload) {
    const request = pending.get(id);
    if (!request) return;
    pending.delete(id);
    client._cancel(request.timer);
    if (error) request.onError(error);
    else request.onReply(payload);
  }
  function requestError(code, reason, { type, channel }) {
    return new RealtimeError(code, reason, { request: type, channel });
  }
  return {
    _pending: pending,
    _codec: () => codec,
    _loadCodec: load,
    _ask: ask,
    _transmit: transmit,
    _send: send,
    _flush: flush,
    _lost: lost,
    _settle: settle
  };
}

// src/session.js
var MAX_ABANDONED = 100;
function createSession(client) {
  let id = null;
  let abandoned = [];
  function begin() {
    if (!client._welcome || client._ready) return;
    const { session_id: own = null, connection_id: publicId = null } = client._welcome;
    const socket = client._socket;
    const anew = () => {
      id = own;
      client.connectionId = publicId;
      start(null);
    };
    if (!id) {
      anew();
      return;
    }
    client._requests._ask(
      { type: "resume", session_id: id, since: client._channels._positions() },
      (payload) => {
        id = payload.session_id ?? own;
        client.connectionId = payload.connection_id ?? client.connectionId ?? publicId;
        start(payload.channels ?? {});
      },
      (error) => {
        if (socket !== client._socket || error.code === "connection_lost") return;
        forget();
        if (error.code === "timeout") client._connection._abandon("no answer to 'resume'");
        else anew();
      }
    );
  }
  function start(resumed) {
    const { _channels, _requests, _socket: socket } = client;
    const feeds = _channels._feeds;
    const waiting = [..._requests._pending.keys()];
    const givenUp = abandoned;
    abandoned = [];
    client._ready = true;
    for (const feed of [...feeds.values()]) {
      if (feed._automatic && !(feed._name in { ...client._welcome.channels, ...resumed })) _channels._markOrdinary(feed);
      if (!resumed) for (const selection of feed._selections.values()) selection._inSession = NOT_IN_SESSION;
    }
    for (const { channel, parameters } of givenUp) {
      if (!resumed || !(channel in resumed)) continue;
      const others = [...feeds.get(channel)?._selections.values() ?? []];
      const stays = others.some((selection) => selection._inSession === IN_SESSION);
      _requests._ask({ type: "unsubscribe", channel, payload: stays ? parameters : void 0 });
      if (!stays) delete resumed[channel];
    }
    for (const name of Object.keys(resumed ?? {})) if (!feeds.has(name)) _channels._markAutomatic(name);
    for (const feed of [...feeds.values()]) {
      const reply = resumed?.[feed._name];
      if (reply) takeUp(feed, reply);
      for (const selection of [...feed._selections.values()]) if (!selection._reply) _channels._subscribe(selection);
    }
    for (const request of waiting) _requests._transmit(request);
    _channels._acknowledge();
    if (socket === client._socket) client._setState("connected", {});
  }
  function takeUp(feed, reply) {
    const selections = [...feed._selections.values()];
    const alone = selections.length === 1;
    const stands = selections.filter(({ _inSession }) => _inSession === IN_SESSION || alone && (_inSession === SENT || feed._automatic));
    const from = feed._resumesFrom();
    for (const selection of stands) client._channels._subscribed(selection, from, reply);
  }
  function giveUp(channel, parameters) {
    abandoned.push({ channel, parameters });
    if (abandoned.length > MAX_ABANDONED) forget();
  }
  function forget() {
    id = null;
    abandoned = [];
  }
  return {
    _begin: begin,
    _giveUp: giveUp,
    _forget: forget
  };
}

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
  /** What the server said before it closes the connection. @type {Closing | null} */
  _closing = null;
  /** How many connections failed since the last `welcome`. */
  _failures = 0;
  /** Increased to cancel what still waits for getToken. */
  _generation = 0;
  /** A token fetched after a 4401, for the next connection. @type {string | null} */
  _fresh = null;
  /** Whether a 4401 has been answered with a new attempt, and no `welcome` has come since. */
  _renewed = false;
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
      timers: globalThis,
      ...options
    };
    const http = options.httpUrl || page.http || pageMeta("realtime-http-url");
    const ways = new Ways({
      ...page,
      ...this._options,
      ...this._options.format !== "json" && { transports: ["websocket"] },
      // The others carry text.
      url: this.url,
      http: http ? absoluteUrl(http) : null
    });
    const client = (
      /** @type {RealtimeClient<any>} */
      this
    );
    this._requests = createRequests(client);
    this._channels = createChannels(client);
    this._session = createSession(client);
    this._credentials = createCredentials(client);
    this._connection = createConnection(client, ways);
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
    this._renewed = false;
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
   * @template {ChannelName<Routes>} Name
   * @param {Name} channel
   * @param {SubscriptionOptions<MessageFrom<Routes, Name>, ParametersOf<Routes, Name>> |
   *   ((message: MessageFrom<Routes, Name>) => void)} [options]  A function means `{onMessage}`.
   * @returns {Subscription<MessageFrom<Routes, Name>>}
   */
  subscribe(channel, options = {}) {
    const given = (
      /** @type {any} */
      typeof options === "function" ? { onMessage: options } : options
    );
    return (
      /** @type {any} */
      this._channels._add(channel, given)
    );
  }
  /**
   * @template {ChannelName<Routes>} Name
   * @template {string | undefined} [Event=undefined]
   * @param {Name} channel
   * @param {PublishablePayload<Routes, Name, Event>} payload
   * @param {PublishOptions<Event> & RequestOptions} [options]
   * @returns {Promise<PublishedPayload>}
   */
  publish(channel, payload, { event, key, echo, transient, version, stateKey, removed, onlyIf, ...options } = {}) {
    const fields = { event, key, echo, transient, version, state_key: stateKey, removed, only_if: onlyIf };
    return this.request({ type: "publish", channel, payload: payload ?? null, ...fields }, options);
  }
  /** @param {ChannelName<Routes>} channel @param {RequestOptions} [options] @returns {Promise<Members>} Who is on a channel. */
  presence(channel, options) {
    return this.request({ type: "presence", channel }, options);
  }
  /**
   * What a channel keeps.
   * @template {ChannelName<Routes>} Name
   * @param {Name} channel
   * @param {HistoryOptions} [options]
   * @returns {Promise<History<MessageFrom<Routes, Name>>>}
   */
  history(channel, { since, limit: limit2, reverse, ...options } = {}) {
    return this.request({ type: "history", channel, since: readPosition(since) ?? void 0, limit: limit2, reverse }, options);
  }
  /**
   * @template {ChannelName<Routes>} Name
   * @template {MethodOf<Routes, Name>} Method
   * @param {Name} channel
   * @param {Method} method
   * @param {ArgumentOf<Routes, Name, Method>} [payload]
   * @param {RequestOptions} [options]
   * @returns {Promise<ResultOf<Routes, Name, Method>>}
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
    const error = type === "error" ? new RealtimeError(payload?.code, payload?.reason, { payload, channel, request }) : null;
    this._requests._settle(id, error, payload ?? {});
    if (type === "welcome") this._connection._welcomed(payload);
    else if (type === "message") this._channels._message(message);
    else if (type === "join" || type === "leave") this._channels._memberMoved(type, channel, payload ?? {});
    else if (type === "ping") this._channels._pinged();
    else if (type === "auth_required") this._credentials._required();
    else if (type === "auth_expiring") this._credentials._expiring();
    else if (type === "closing") this._closing = payload;
    else if (id !== void 0) return;
    else if (type === "subscribed") this._channels._told(channel, payload ?? {}, message.automatic === true);
    else if (type === "unsubscribed") this._channels._taken(channel, payload);
    else if (error) this._fail(error);
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
  return (
    /** @type {any} */
    new RealtimeClient(url, options).connect()
  );
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
