/*! channels_realtime 0.1.0-dev.0 | MIT license */
var __defProp = Object.defineProperty;
var __getOwnPropNames = Object.getOwnPropertyNames;
var __esm = (fn, res, err) => function __init() {
  if (err) throw err[0];
  try {
    return fn && (res = (0, fn[__getOwnPropNames(fn)[0]])(fn = 0)), res;
  } catch (e) {
    throw err = [e], e;
  }
};
var __export = (target, all) => {
  for (var name in all)
    __defProp(target, name, { get: all[name], enumerable: true });
};

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
  return known?.epoch === other?.epoch && /** @type {any} */
  other?.offset <= /** @type {any} */
  known?.offset;
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
  return encodeURIComponent(text).replace(/%../g, " ").length;
}
function canonical(value) {
  const sorted = (_key, inner) => typeof inner === "object" && inner !== null && !Array.isArray(inner) ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => a < b ? -1 : 1)) : inner;
  return JSON.stringify(value, sorted) ?? "";
}
function report(error) {
  (globalThis.reportError ?? console.error)(error);
}
var FAILED;
var init_values = __esm({
  "src/values.js"() {
    "use strict";
    FAILED = /* @__PURE__ */ Symbol.for("channels_realtime.failed");
  }
});

// src/channel.js
function subscriptionsOf(selections) {
  return new Set([...selections].flatMap((selection) => [...selection._subscriptions]));
}
function limit(collection, size) {
  if (collection.size > size) collection.delete(collection.keys().next().value);
}
var MAX_HELD_MESSAGES, MAX_SEEN_OFFSETS, MAX_STATE_KEYS, NOT_IN_SESSION, SENT, IN_SESSION, Selection, Feed;
var init_channel = __esm({
  "src/channel.js"() {
    "use strict";
    init_values();
    MAX_HELD_MESSAGES = 1e3;
    MAX_SEEN_OFFSETS = 1e3;
    MAX_STATE_KEYS = 1e4;
    NOT_IN_SESSION = 0;
    SENT = 1;
    IN_SESSION = 2;
    Selection = class {
      /** @type {Set<Subscription>} Empty only if the channel is automatic. */
      _subscriptions = /* @__PURE__ */ new Set();
      /** @type {SubscribedPayload | null} The reply on the current connection. */
      _reply = null;
      /** Whether the server has ever accepted it. */
      _established = false;
      /** One of the three constants above. @type {number} */
      _inSession = NOT_IN_SESSION;
      /** Whether it was subscribed with presence. */
      _watches = false;
      /** @type {Position | null} The `since` of a subscribe without an answer yet. */
      _since = null;
      _failures = 0;
      /** @type {any} */
      _retryTimer;
      /** @param {Feed} feed @param {string} key  The text of the parameters. @param {any} parameters */
      constructor(feed, key, parameters) {
        this._feed = feed;
        this._key = key;
        this._parameters = parameters;
        feed._selections.set(key, this);
      }
      /** Whether it is still wanted. */
      get _stands() {
        return this._feed._selections.get(this._key) === this;
      }
      /** Whether the server subscribed this connection to it without a request. */
      get _automatic() {
        return this._feed._automatic && !this._key;
      }
      /** The subscriptions that want to hear of the members. */
      get _watchers() {
        return [...this._subscriptions].filter((subscription) => subscription._options.presence);
      }
    };
    Feed = class {
      #client;
      /** By the text of their parameters. @type {Map<string, Selection>} */
      _selections = /* @__PURE__ */ new Map();
      /** @type {Position | null} The last position received, or where the subscription began. */
      _position = null;
      /** @type {Set<number>} Offsets received, in the epoch of the position, where there are several selections. */
      #seen = /* @__PURE__ */ new Set();
      /** Whether the server subscribed this connection without a request. */
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
      /** Whether part of the state may still be on its way. Then the position does not tell what was received. */
      _stateArriving = false;
      /** Whether the server is being asked for the end of the state. */
      _fenced = false;
      /** Whether state has arrived since the server was asked for its end. */
      #moreState = false;
      #lastValue = false;
      /** Whether the state that the reply promised may be missing: nothing that comes after it has arrived. */
      _unproven = false;
      /** Whether what an inbox still has may follow `welcome`, from a position that only the server knows. */
      _fresh = false;
      /** @param {RealtimeClient} client @param {string} name */
      constructor(client, name) {
        this.#client = client;
        this._name = name;
      }
      /** The selections that are subscribed on the current connection. @returns {Selection[]} */
      get _standing() {
        return [...this._selections.values()].filter((selection) => selection._reply);
      }
      /** The subscriptions that get messages on the current connection. @returns {Set<Subscription>} */
      get _live() {
        return subscriptionsOf(this._standing);
      }
      /** @returns {Position | null} Where a resume begins: nothing before it is missing in any selection. Null: the server knows. */
      get _resumesFrom() {
        const received = this._stateArriving || this._unproven ? null : this._position;
        return earliest([received, ...[...this._selections.values()].map((selection) => selection._since)]);
      }
      /** The connection has ended. */
      _lost() {
        this._held = null;
        this._fenced = false;
      }
      /** @param {Message} message */
      _receive(message) {
        const held = this._held;
        if (held && (!this.#client._ready || !(message.recovered || message.state))) {
          if (held.length < MAX_HELD_MESSAGES) held.push(message);
        } else if (this._standing.length > 0) {
          this._take(message);
        }
      }
      /** @param {Message} message @param {boolean} [anyway]  Even if the position says that it is known. */
      _take(message, anyway) {
        if (!this.#advance(message) && !anyway) return;
        if (message.state) this.#stateArrives();
        this.#keep(message);
        this.#client._emit("message", message);
        for (const subscription of this._live) subscription._deliver(message);
      }
      /** Hands on the messages that were held, once the replay before them has arrived. */
      _releaseAfterReplay() {
        this.#fence(() => {
          const held = this._held ?? [];
          this._held = null;
          for (const message of held) this._take(message);
          if (held.length >= MAX_HELD_MESSAGES) this._missed({ ...this._position, recovered: false });
        });
      }
      /** Messages did not arrive and are not kept any more, or the channel's numbers begin again. @param {SubscribedPayload} payload */
      _missed(payload) {
        this._position = positionIn(payload);
        this._values.clear();
        for (const subscription of this._live) subscription._subscribed(payload, false, null);
      }
      /** Advances the position. @param {Message} message @returns {boolean} Whether the message is new. */
      #advance(message) {
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
      /** Keeps a message that belongs to the channel's state. @param {Message} message */
      #keep(message) {
        if (message.state && message.state_key === void 0) this.#lastValue = true;
        const key = message.state_key ?? (this.#lastValue && (message.state || positionIn(message)) ? "" : void 0);
        if (key === void 0) return;
        this._values.delete(key);
        if (!message.removed) limit(this._values.set(key, message), MAX_STATE_KEYS);
      }
      /** The position counts only once the whole state has arrived. */
      #stateArrives() {
        this._stateArriving = this.#moreState = true;
        if (this._fenced) return;
        this._fenced = true;
        this.#moreState = false;
        this.#fence(() => {
          this._fenced = false;
          if (this.#moreState) this.#stateArrives();
          else this._stateArriving = this._unproven = false;
        });
      }
      /**
       * Calls back once everything that the server has sent so far has arrived: its answer to a ping comes after that.
       * @param {() => void} then  Not called if the connection or the feed has ended.
       */
      #fence(then) {
        const same = this.#client._sameConnection();
        const done = () => same() && this._selections.size > 0 && then();
        this.#client._requests._ask({ type: "ping" }, done, ({ code }) => code === "timeout" && done());
      }
    };
  }
});

// src/delivery/acknowledgements.js
var ACK_DELAY_SECONDS, Acknowledgements;
var init_acknowledgements = __esm({
  "src/delivery/acknowledgements.js"() {
    "use strict";
    init_values();
    ACK_DELAY_SECONDS = 0.1;
    Acknowledgements = class {
      #client;
      /** @type {Set<string>} Channels with an acknowledgement to send. */
      #due = /* @__PURE__ */ new Set();
      /** @type {any} */
      #timer = null;
      /** @param {RealtimeClient} client */
      constructor(client) {
        this.#client = client;
      }
      /** @param {string} channel */
      soon(channel) {
        this.#due.add(channel);
        if (this.#client._ready) this.#timer ??= this.#client._later(ACK_DELAY_SECONDS, () => this.send());
      }
      send() {
        this.#client._cancel(this.#timer);
        this.#timer = null;
        if (!this.#client._ready) return;
        for (const channel of this.#due) {
          const payload = this.#slowest(channel);
          if (payload) this.#client._requests._send({ type: "ack", channel, payload });
        }
        this.#due.clear();
      }
      /** @param {string} channel */
      #slowest(channel) {
        const selections = [...this.#client._channels._feeds.get(channel)?._selections.values() ?? []];
        let lowest = null;
        for (const { _acknowledged: position } of selections.flatMap((selection) => [...selection._subscriptions])) {
          if (position && (!lowest || covers(lowest, position))) lowest = position;
        }
        return lowest;
      }
    };
  }
});

// src/delivery/handled.js
var MAX_UNHANDLED_MESSAGES, Handled;
var init_handled = __esm({
  "src/delivery/handled.js"() {
    "use strict";
    init_values();
    MAX_UNHANDLED_MESSAGES = 1e3;
    Handled = class {
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
    };
  }
});

// src/delivery/loader.js
var Loader;
var init_loader = __esm({
  "src/delivery/loader.js"() {
    "use strict";
    init_values();
    Loader = class {
      #client;
      #subscription;
      #load;
      #limit;
      #done;
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
       * @param {RealtimeClient} client
       * @param {Subscription} subscription
       * @param {(context: {signal: AbortSignal}) => any} load
       * @param {number} limit  How many messages are held.
       * @param {(result: any, position: Position | null, held: Message[]) => void} done
       */
      constructor(client, subscription, load, limit2, done) {
        this.#client = client;
        this.#subscription = subscription;
        this.#load = load;
        this.#limit = limit2;
        this.#done = done;
      }
      /** Loads the state again. What is held is dropped: the state that is read from now on contains it. */
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
        this.#client._cancel(this.#timer);
        this.#running = this.#held = this.#dropped = this.#timer = null;
        this.#failures = 0;
        this.#waiting = false;
      }
      /** @param {Message} message @returns {boolean} Whether it is held, because a load is due. */
      hold(message) {
        if (!this.#held) return false;
        this.#held.push(message);
        if (this.#held.length > this.#limit) this.#dropped = this.#held.shift() ?? null;
        return true;
      }
      async #run() {
        const { channel } = this.#subscription;
        const running = new AbortController();
        this.#running = running;
        this.#waiting = false;
        let result;
        try {
          result = await this.#load({ signal: running.signal });
        } catch (cause) {
          if (running !== this.#running) return;
          this.#again("load_failed", `load of '${channel}' failed`, { cause });
          return;
        }
        if (running !== this.#running) return;
        const position = readPosition(result?.position);
        const dropped = this.#dropped;
        if (dropped && !covers(position, positionIn(dropped))) {
          this.#dropped = null;
          const reason = `more than ${this.#limit} messages of '${channel}' arrived during load; the state is loaded again`;
          this.#again("overflow", reason);
          return;
        }
        const held = this.#held ?? [];
        this.#running = this.#held = this.#dropped = null;
        this.#failures = 0;
        this.#done(result, position, held);
      }
      /** @param {string} code @param {string} reason @param {{cause?: unknown}} [context] */
      #again(code, reason, context) {
        const client = this.#client;
        const subscription = this.#subscription;
        this.#running = null;
        this.#timer = client._later(client._delay(this.#failures, 0), () => {
          if (subscription._live) this.#run();
          else this.#waiting = true;
        });
        this.#failures += 1;
        subscription._tell(client._error(code, reason, { ...context, channel: subscription.channel }));
      }
    };
  }
});

// src/delivery/index.js
var delivery_exports = {};
__export(delivery_exports, {
  Delivery: () => Delivery,
  deliver: () => deliver
});
function deliver(client, subscription, options) {
  return new Delivery(client, subscription, options);
}
var Delivery;
var init_delivery = __esm({
  "src/delivery/index.js"() {
    "use strict";
    init_values();
    init_acknowledgements();
    init_handled();
    init_loader();
    Delivery = class {
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
        if (select !== void 0 && canonical(message.payload?.[select]) !== canonical(parameters?.[select])) return;
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
        if (this.#subscription.ended) return { value: void 0, done: true };
        return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
      }
      /** @param {Message} message */
      #take(message) {
        return this.#taken = message;
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
        this.#overflowing = true;
        const reason = `more than ${this.#options.bufferSize} messages wait for the loop over '${channel}'; the oldest are dropped`;
        subscription._tell(this.#client._error("overflow", reason, { channel }));
      }
    };
  }
});

// src/presence.js
var presence_exports = {};
__export(presence_exports, {
  fetch: () => fetch,
  moved: () => moved,
  take: () => take,
  tell: () => tell,
  typing: () => typing,
  watch: () => watch
});
function take(feed, { members, count }) {
  if (typeof count !== "number") return false;
  feed._count = count;
  feed._members = new Map((members ?? []).map((member) => [member.id, member]));
  return true;
}
function tell(feed) {
  for (const subscription of feed._live) {
    if (subscription._options.presence) subscription._emit("members", feed._members, feed._count ?? feed._members.size);
  }
}
function moved(type, feed, { member, count }) {
  if (!member || typeof count !== "number") return;
  const size = feed._members.size;
  if (type === "join") feed._members.set(member.id, member);
  else feed._members.delete(member.id);
  const news = size !== feed._members.size || count !== feed._count;
  feed._count = count;
  if (!news) return;
  for (const subscription of feed._live) if (subscription._options.presence) subscription._emit(type, member);
  tell(feed);
}
function fetch(client, selection) {
  if (!selection._reply) return;
  const feed = selection._feed;
  client._channels._ask(
    selection,
    { type: "presence" },
    (payload) => take(feed, payload) && tell(feed),
    (error) => {
      if (error.code !== "connection_lost" && selection._reply) client._channels._failed(selection._watchers, error);
    }
  );
}
function watch(client, selection) {
  if (selection._watches || selection._watchers.length === 0) return;
  if (selection._automatic) {
    fetch(client, selection);
  } else if (client._ready) {
    client._channels._unsubscribe(selection);
    selection._reply = null;
    client._channels._subscribe(selection);
  } else {
    client._session._giveUp(selection);
    selection._inSession = NOT_IN_SESSION;
  }
}
function typing(client, subscription, payload) {
  if (typers.has(subscription)) return;
  typers.add(subscription);
  client._later(TYPING_SECONDS, () => typers.delete(subscription));
  const options = (
    /** @type {const} */
    { event: "typing", transient: true, echo: false, whenDisconnected: "reject" }
  );
  client.publish(subscription.channel, payload, options).catch((error) => {
    if (error.code !== "disconnected" && error.code !== "connection_lost") client._channels._failed([subscription], error);
  });
}
var TYPING_SECONDS, typers;
var init_presence = __esm({
  "src/presence.js"() {
    "use strict";
    init_channel();
    TYPING_SECONDS = 3;
    typers = /* @__PURE__ */ new Set();
  }
});

// src/credentials.js
var credentials_exports = {};
__export(credentials_exports, {
  accepts: () => accepts,
  expiring: () => expiring,
  renew: () => renew,
  required: () => required,
  signIn: () => signIn
});
function credentialsOf(client) {
  return client._credentials ??= { sent: null, fetched: null, renewed: false, renewals: [] };
}
function required(client) {
  const none = () => signedOut(client, "the server requires a token and the page has none");
  if (client._options.getToken) authenticate(client, "required", void 0, none, () => client._connection._abandon("getToken failed"));
  else none();
}
function expiring(client) {
  if (client._options.getToken && mayRenew(client)) authenticate(client, "expiring");
}
function signIn(client, then) {
  authenticate(client, "anonymous", then);
}
function accepts(client, user) {
  const own = credentialsOf(client);
  if (own.renewed && !own.fetched && user === null && client.user !== null) {
    signedOut(client, "the login session has ended");
    return false;
  }
  own.renewed = false;
  if (user !== null) own.fetched = null;
  return true;
}
function renew(client, code, reason, closing) {
  const own = credentialsOf(client);
  const stop = () => client._connection._stop("unauthenticated", code, reason);
  const retry = (now) => client._connection._retry(code, reason, now);
  const decide = (token) => {
    if (own.renewed || (token === null ? own.sent !== null : token === own.sent)) {
      stop();
      return;
    }
    own.renewed = true;
    own.fetched = token;
    const wait = Math.max(asSeconds(closing?.retry_after) ?? 0, client._options.backoffBaseSeconds);
    retry(token === null ? { retry_after: wait } : closing);
  };
  own.fetched = null;
  if (own.renewed || !client._options.getToken) {
    decide(null);
    return;
  }
  const same = client._sameConnection();
  if (client.state !== "reconnecting") client._setState("reconnecting", { attempt: client._failures + 2, nextDelay: null, code, reason });
  if (!same()) return;
  if (mayRenew(client)) fetchToken(client, "refused", decide, () => retry(closing));
  else stop();
}
function signedOut(client, reason) {
  client._connection._drop(CLOSE_NORMAL, "no credentials");
  client._session._forget();
  client._connection._stop("unauthenticated", CLOSE_UNAUTHENTICATED, reason);
}
function mayRenew(client) {
  const now = Date.now();
  const own = credentialsOf(client);
  own.renewals = own.renewals.filter((then) => now - then < RENEWALS_MILLISECONDS);
  return own.renewals.push(now) <= MAX_RENEWALS;
}
async function fetchToken(client, reason, then, unavailable) {
  const same = client._sameConnection();
  const own = credentialsOf(client);
  const { fetched } = own;
  own.fetched = null;
  let token;
  try {
    token = fetched ?? await client._options.getToken?.({ reason }) ?? null;
  } catch (cause) {
    if (!same()) return;
    client._fail(client._error("token_unavailable", "getToken failed", { cause, request: "auth" }));
    unavailable();
    return;
  }
  if (same()) then(token);
}
function authenticate(client, reason, done = () => {
}, none = done, unavailable = done) {
  fetchToken(
    client,
    reason,
    (token) => {
      if (token === null) {
        none();
        return;
      }
      credentialsOf(client).sent = token;
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
var MAX_RENEWALS, RENEWALS_MILLISECONDS, CLOSE_NORMAL, CLOSE_UNAUTHENTICATED;
var init_credentials = __esm({
  "src/credentials.js"() {
    "use strict";
    init_values();
    MAX_RENEWALS = 5;
    RENEWALS_MILLISECONDS = 6e4;
    CLOSE_NORMAL = 1e3;
    CLOSE_UNAUTHENTICATED = 4401;
  }
});

// src/channels.js
init_channel();

// src/errors.js
init_values();
var RealtimeError = class extends Error {
  /**
   * @param {string} code  From the wire, or one of the client's own: `disconnected`, `connection_lost`, `queue_full`,
   *   `closed`, `unsubscribed`, `overflow`, `token_unavailable`, `load_failed`.
   * @param {string} reason
   * @param {{payload?: any, channel?: string, request?: string, cause?: unknown}} [context]
   */
  constructor(code, reason, { payload, channel, request, cause } = {}) {
    super(reason ? `${code}: ${reason}` : code, cause ? { cause } : void 0);
    this.name = "RealtimeError";
    this.code = code;
    this.reason = reason;
    this.retryAfter = asSeconds(payload?.retry_after);
    this.payload = payload;
    this.channel = channel;
    this.request = request;
  }
};

// src/parts.js
async function ofThisBuild(loading, version) {
  const module = await loading;
  if (
    /** @type {any} */
    module.version !== version
  ) throw new Error("another version is installed: reload the page");
  return module;
}
var delivery = { load: () => ofThisBuild(Promise.resolve().then(() => (init_delivery(), delivery_exports))), module: null };
var presence = { load: () => ofThisBuild(Promise.resolve().then(() => (init_presence(), presence_exports))), module: null };
var credentials = { load: () => ofThisBuild(Promise.resolve().then(() => (init_credentials(), credentials_exports))), module: null };
function withPart(part, then, failed) {
  if (part.module) {
    then(part.module);
    return;
  }
  part.load().then(
    (module) => then(part.module = module),
    (cause) => failed(loadFailed(cause))
  );
}
function loadFailed(cause) {
  return new RealtimeError("load_failed", "a part of the client could not be loaded", { cause });
}

// src/mistakes.js
function checkNames(kind, given, known, open) {
  for (const name of given) {
    if (known.includes(name)) continue;
    const near = known.find((other) => alike(name.toLowerCase(), other.toLowerCase(), open ? 1 : 2));
    if (near || !open) {
      throw new TypeError(`unknown ${kind} '${name}'; ${near ? `did you mean '${near}'?` : `expected one of ${known.join(", ")}`}`);
    }
  }
}
function checkFunction(name, value) {
  if (typeof value !== "function") throw new TypeError(`${name} is ${value === null ? value : typeof value}; expected a function`);
}
function alike(a, b, edits) {
  if (a === b) return true;
  const [restA, restB] = [a.slice(1), b.slice(1)];
  if (a[0] === b[0]) return alike(restA, restB, edits);
  return edits > 0 && (alike(restA, b, edits - 1) || alike(a, restB, edits - 1) || alike(restA, restB, edits - 1));
}

// src/emitter.js
init_values();
var Emitter = class {
  /** @type {Map<keyof Events, Set<(...args: any[]) => any>>} */
  #listeners = /* @__PURE__ */ new Map();
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
    if (this.#events.includes(event) || this.#named && event.startsWith("event:")) return event;
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
    this.#listeners.set(name, (this.#listeners.get(name) ?? /* @__PURE__ */ new Set()).add(listener));
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
init_values();
var EVENTS = ["message", "subscribed", "recovered", "loaded", "members", "join", "leave", "unsubscribed", "error"];
var HANDLERS = Object.fromEntries(EVENTS.map((event) => [`on${event[0].toUpperCase()}${event.slice(1)}`, event]));
var OPTIONS = ["parameters", "select", "since", "load", "requireRecovery", "presence", "ack", "iterate", "bufferSize"];
function subscriptionOptions(channel, given, options) {
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
var Subscription = class extends Emitter {
  #client;
  #selection;
  /** @type {Promise<SubscribedPayload>} */
  #ready;
  #readyRead = false;
  #settled = false;
  /** @type {(payload: SubscribedPayload) => void} */
  #resolve = () => {
  };
  /** @type {(error: unknown) => void} */
  #reject = () => {
  };
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
   * @param {RealtimeClient} client
   */
  constructor(channel, options, selection, client) {
    super(EVENTS, true);
    this.channel = channel;
    this.parameters = options.parameters;
    this.dropped = 0;
    this.ended = false;
    this._options = { bufferSize: 1e3, ...options };
    this.#selection = selection;
    this.#client = client;
    this.#known = readPosition(options.since);
    this.#ready = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.#ready.catch(() => {
    });
    this._iterated = options.iterate === true;
    if (this._iterated || options.load || options.ack || options.select !== void 0) this.#want();
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
    return (
      /** @type {Map<string, any>} */
      this.#selection._feed._values
    );
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
    this.#pass((delivery2) => delivery2.ack(positionIn(message)));
  }
  /** Tells the others that this user is typing: `on("typing", …)`. At most every 3 seconds. @param {any} [payload] */
  typing(payload = null) {
    this.#client._channels._withPresence((part) => part.typing(
      this.#client,
      /** @type {any} */
      this,
      payload
    ));
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
    this._iterated = true;
    this.#want();
    return this;
  }
  /** @returns {Promise<IteratorResult<Told>>} */
  next() {
    this[Symbol.asyncIterator]();
    return new Promise((resolve, reject) => this.#pass((delivery2) => delivery2.next().then(
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
      ({ deliver: deliver2 }) => {
        this.#delivery = deliver2(
          this.#client,
          /** @type {any} */
          this,
          this._options
        );
        for (const call of this.#calls?.splice(0) ?? []) call(this.#delivery);
      },
      (error) => {
        if (this.ended) return;
        error.channel = this.channel;
        this._tell(error);
        this.#client._later(this.#client._delay(failures, 0), () => this.#load(failures + 1));
      }
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
    if (this.ended || !message.state && covers(this.#known, positionIn(message))) return;
    if (!this.#delivery && !this.#calls) {
      this._emitMessage(message);
      return;
    }
    this.#pass((delivery2) => delivery2.message(message));
    const { ack, bufferSize } = this._options;
    if (!this.#calls || this.#calls.length <= bufferSize + 1) return;
    this.dropped += 1;
    this.#calls.splice(1, 1);
    if (ack) this._refuse(this.#error("overflow", "too many messages before they could be acknowledged"));
  }
  /** @internal @param {Message} message @returns {any[]} What its listeners returned. */
  _emitMessage(message) {
    const outcomes = this._emit(
      "message",
      /** @type {any} */
      message
    );
    if (message.event === void 0) return outcomes;
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
    const whole = stateless ? from ? void 0 : payload.recovered : recovered === true && (this.#established || covers(this.#known, from));
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
    if (!this.ended) this.#pass((delivery2) => delivery2.subscribed(stateless || gap));
  }
  /** @internal Ends it with an error. @param {RealtimeError} error */
  _refuse(error) {
    this.#client._channels._release(
      /** @type {any} */
      this,
      this.#selection
    );
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
    this.#client._channels._failed([
      /** @type {any} */
      this
    ], error);
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
    this.#pass((delivery2) => delivery2.end(discard, failure));
    this.#settled = true;
    this.#reject(failure ?? this.#error(code, reason));
    this._emit("unsubscribed", { code, reason });
  }
};

// src/channels.js
init_values();
var PASSING_ERRORS = ["rate_limited", "timeout", "unavailable", "internal"];
function createChannels(client) {
  const feeds = /* @__PURE__ */ new Map();
  function feedOf(name) {
    const feed = feeds.get(name) ?? new Feed(client, name);
    feeds.set(name, feed);
    return feed;
  }
  function selectionOf(feed, parameters) {
    const key = canonical(parameters);
    return feed._selections.get(key) ?? new Selection(feed, key, parameters);
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
    if (subscription._options.presence && selection._inSession !== NOT_IN_SESSION) withPresence((part) => part.watch(client, selection));
    if (selection._reply) queueMicrotask(() => join(subscription, selection));
    return subscription;
  }
  function clear() {
    const selections = [...feeds.values()].flatMap((feed) => [...feed._selections.values()]);
    for (const selection of selections) forget(selection);
    return subscriptionsOf(selections);
  }
  function endAll(subscriptions, code, reason) {
    for (const subscription of subscriptions) subscription._end({ code: "closed", reason: `${code} ${reason}` }, false);
  }
  function lost() {
    for (const feed of feeds.values()) {
      feed._lost();
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
    return Object.fromEntries([...feeds].map(([name, feed]) => [name, feed._resumesFrom ?? void 0]));
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
    const watches = selection._watchers.length > 0;
    const had = feed._stateArriving ? null : feed._position;
    const since = selection._since ??= established ? had : earliest(subscriptions.map(({ _since }) => _since));
    const now = automatic && client._welcome.channels?.[feed._name];
    const complete = (feed._held?.length ?? 0) < MAX_HELD_MESSAGES;
    if (now && complete && !watches && (!since || samePosition(since, positionIn(now)))) {
      subscribed(selection, since, since ? { ...now, recovered: true } : now, false);
      return;
    }
    if (automatic) feed._held ??= [];
    selection._inSession ||= SENT;
    selection._watches = watches;
    const requireRecovery = since && subscriptions.length > 0 && subscriptions.every(({ _options }) => _options.requireRecovery);
    ask(
      selection,
      {
        type: "subscribe",
        payload: selection._parameters,
        since: since ?? void 0,
        presence: watches || void 0,
        require_recovery: requireRecovery || void 0
      },
      (payload) => subscribed(selection, since, payload),
      (error) => subscribeFailed(selection, since, error)
    );
  }
  function ask(selection, message, onReply, onError) {
    client._requests._ask(
      { ...message, channel: selection._feed._name },
      (payload) => selection._stands && onReply(payload),
      (error) => selection._stands && onError(error)
    );
  }
  function subscribed(selection, since, reply, replayed = true) {
    const feed = selection._feed;
    const position = positionIn(reply);
    const known = since || selection._established;
    const recovered = known ? reply.recovered === true : null;
    const held = feed._held ?? [];
    const replay = recovered && replayed && held.length > 0;
    if (!replay) feed._held = null;
    if (feed._standing.length === 0) feed._stateArriving = false;
    if (feed._live.size === 0) {
      feed._unproven = recovered !== true;
      if (feed._unproven) feed._values.clear();
    }
    selection._reply = reply;
    selection._established = true;
    selection._inSession = IN_SESSION;
    selection._since = null;
    selection._failures = 0;
    feed._fresh = !replayed && since === null;
    const moved2 = feed._position?.epoch !== position?.epoch;
    if (since && recovered) feed._position = since;
    else if (reply.recovered && position) feed._position = moved2 ? null : feed._position;
    else if (moved2 || recovered === false) feed._position = position;
    const members = presence.module?.take(feed, reply);
    for (const subscription of [...selection._subscriptions]) subscription._subscribed(reply, recovered, since);
    if (members || selection._watchers.length > 0) {
      withPresence((part) => members ? part.tell(feed) : part.fetch(client, selection));
    }
    if (replay) feed._releaseAfterReplay();
    else for (const message of held) feed._take(message, recovered === false);
  }
  function join(subscription, { _reply: reply, _feed: feed }) {
    if (!reply || subscription.ended) return;
    subscription._subscribed(reply, true, feed._position);
    if (subscription._options.presence && feed._count !== null) subscription._emit("members", feed._members, feed._count);
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
  function withPresence(then) {
    withPart(presence, then, (error) => client._fail(error));
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
    if (!selection._stands || !subscriptions.delete(subscription) || subscriptions.size > 0) return;
    if (selection._automatic) return;
    forget(selection);
    if (client._ready) await unsubscribe(selection);
    else if (selection._inSession !== NOT_IN_SESSION) client._session._giveUp(selection);
  }
  function unsubscribe(selection) {
    const { _feed: feed, _parameters: parameters } = selection;
    const last = ![...feed._selections.values()].some((other) => other !== selection);
    return new Promise((resolve) => {
      if (!last && (!feed._selective || parameters == null)) return resolve();
      const done = (error) => {
        resolve();
        if (error?.code === "connection_lost") client._session._giveUp(selection);
        if (!client._ready || feed._selective) return;
        for (const other of feed._selections.values()) subscribe(other);
      };
      const message = { type: "unsubscribe", channel: feed._name, payload: last ? void 0 : parameters };
      client._requests._ask(message, () => done(), done);
    });
  }
  function taken(channel, { code = "unsubscribed", reason = "" }) {
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
    if (payload.recovered === false) feed._missed(payload);
    if (presence.module?.take(feed, payload)) presence.module.tell(feed);
  }
  function memberMoved(type, channel, payload) {
    const feed = feeds.get(channel);
    if (feed) presence.module?.moved(type, feed, payload);
  }
  function pinged() {
    for (const feed of feeds.values()) if (feed._standing.length > 0) feed._unproven = false;
    client._requests._send({ type: "pong" });
  }
  function receive(message) {
    const feed = feeds.get(message.channel);
    if (feed) feed._receive(message);
    else if (message.channel) client._emit("message", message);
    else if (message.event === "notice") client._emit("notice", message);
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
    _ask: ask,
    _failed: failed,
    _unsubscribe: unsubscribe,
    _pinged: pinged,
    _release: release,
    _taken: taken,
    _told: told,
    _memberMoved: memberMoved,
    _withPresence: withPresence,
    _message: receive
  };
}

// src/connection.js
init_values();
var TERMINAL_CLOSE_CODES = [4400, 4403, 4406, 4409, 4413, 1002, 1003, 1007, 1009];
var CLOSE_NORMAL2 = 1e3;
var CLOSE_ABNORMAL = 1006;
var CLOSE_UNAUTHENTICATED2 = 4401;
var CLOSE_HEARTBEAT_MISSED = 4408;
var PAGE_EVENTS = ["pagehide", "freeze", "pageshow", "resume", "online", "offline", "visibilitychange"];
var SUSPENDED_SECONDS = 1;
var ATTEMPTS_BEFORE_WARNING = 3;
function createConnection(client, nextWay) {
  let retryTimer = null;
  let retryHeldByServer = false;
  let watchdog = null;
  let warned = false;
  let heard = true;
  let closing = null;
  let told = false;
  function start() {
    client._failures = 0;
    follow("addEventListener");
    open();
  }
  function open() {
    const same = client._sameConnection();
    const next = nextWay(heard);
    heard = false;
    const way = client._requests._loadCodec()?.then(() => next) ?? next;
    if (way?.then) {
      way.then(
        (Way) => same() && use(Way),
        (cause) => {
          if (!told && same()) {
            told = true;
            client._fail(loadFailed(cause));
          }
          if (same()) lost(null, CLOSE_ABNORMAL, String(cause));
        }
      );
    } else {
      use(way);
    }
    const limit2 = client._options.connectTimeoutSeconds;
    watch2(limit2, () => abandon(`no welcome within ${limit2} s`));
    client._setState("connecting", { attempt: client._failures + 1 });
  }
  function use(Way) {
    if (!Way) throw new TypeError("there is no WebSocket here; pass one as the option 'WebSocket'");
    const socket = client._socket = new Way(client.url, [client._requests._codec().protocol]);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => receive(socket, data);
    socket.onclose = (event) => lost(socket, event.code ?? CLOSE_ABNORMAL, event.reason ?? "", { immediate: event.immediate });
    socket.onstate = (state, detail) => {
      if (socket !== client._socket || client._welcome) return;
      client._cancel(watchdog);
      client._setState(state, detail);
    };
  }
  function abandon(reason) {
    lost(client._socket, CLOSE_HEARTBEAT_MISSED, reason);
  }
  function lost(socket, closeCode, closeReason, pace) {
    if (socket !== client._socket) return;
    const said = closing;
    const { code = closeCode, reason = closeReason, reconnect } = said ?? {};
    drop(closeCode, closeReason);
    if (!(reconnect ?? !TERMINAL_CLOSE_CODES.includes(code))) stop("closed", code, reason);
    else if (code === CLOSE_UNAUTHENTICATED2) renew2(code, reason, said);
    else retry(code, reason, said, pace);
  }
  function drop(code, reason) {
    const socket = client._socket;
    client._cancel(watchdog);
    client._generation += 1;
    closing = client._socket = client._welcome = null;
    client._ready = false;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      socket.close(code === CLOSE_NORMAL2 ? code : CLOSE_HEARTBEAT_MISSED);
    }
    client._channels._lost();
    client._requests._lost(code, reason);
  }
  function retry(code, reason, said, { least = 0, immediate = false } = {}) {
    const wait = asSeconds(said?.retry_after);
    const nextDelay = immediate ? 0 : client._delay(client._failures, wait ?? least);
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
    client._cancel(retryTimer);
    retryTimer = null;
    if (code === CLOSE_NORMAL2) client._session._forget();
    follow("removeEventListener");
    const unanswered = [..._requests._pending.values()];
    const subscriptions = state === "closed" ? _channels._clear() : [];
    client._setState(state, { code, reason });
    for (const request of unanswered) _requests._fail(request, "disconnected", `the client is ${state} (${code} ${reason})`);
    _channels._end(subscriptions, code, reason);
  }
  function watch2(seconds, callback) {
    client._cancel(watchdog);
    watchdog = client._later(seconds, callback);
  }
  function beat() {
    const { interval, timeout } = client._welcome?.heartbeat ?? {};
    if (interval > 0) watch2(interval + timeout, probe);
  }
  function probe() {
    const { timeout } = client._welcome?.heartbeat ?? {};
    if (!(timeout > 0)) return;
    client._requests._send({ type: "ping" });
    watch2(timeout, () => abandon(`nothing heard for ${timeout} s after a ping`));
  }
  function follow(method) {
    for (const event of PAGE_EVENTS) (client._options.wakeTarget ?? globalThis)[method]?.(event, moved2, true);
  }
  function moved2({ type }) {
    if (type === "visibilitychange" && globalThis.document?.visibilityState === "hidden") return;
    if (type === "pagehide" || type === "freeze") {
      client._requests._flush();
      if (client._socket) lost(client._socket, CLOSE_ABNORMAL, "the page is suspended", { least: SUSPENDED_SECONDS });
    } else if (retryTimer !== null && !retryHeldByServer && type !== "offline") {
      retryNow();
    } else if (client._welcome) {
      probe();
    }
  }
  function receive(socket, data) {
    if (socket !== client._socket) return;
    heard = true;
    beat();
    let frame;
    try {
      frame = client._requests._codec().decode(data);
    } catch (cause) {
      client._fail(new RealtimeError("bad_message", "the server sent a frame that cannot be read", { cause }));
      return;
    }
    for (const message of [frame].flat()) {
      if (socket !== client._socket) return;
      if (typeof message === "object" && message !== null) handle(message);
    }
  }
  function handle(message) {
    const { _channels, _requests } = client;
    const { type, id, channel, request, payload = {} } = message;
    const error = type === "error" ? new RealtimeError(payload.code, payload.reason, { payload, channel, request }) : null;
    _requests._settle(id, error, payload);
    if (type === "welcome") welcomed(payload);
    else if (type === "message") _channels._message(message);
    else if (type === "join" || type === "leave") _channels._memberMoved(type, channel, payload);
    else if (type === "ping") _channels._pinged();
    else if (type === "auth_required") withCredentials((part) => part.required(client), ({ reason }) => abandon(reason));
    else if (type === "auth_expiring") withCredentials((part) => part.expiring(client));
    else if (type === "closing") closing = payload;
    else if (id !== void 0) return;
    else if (type === "subscribed") _channels._told(channel, payload, message.automatic);
    else if (type === "unsubscribed") _channels._taken(channel, payload);
    else if (error) client._fail(error);
  }
  function welcomed(payload) {
    const user = payload.user ?? null;
    if (credentials.module?.accepts(client, user) === false) return;
    client.user = user;
    client._welcome = payload;
    client._failures = 0;
    client._cancel(watchdog);
    client._channels._welcomed(payload.channels ?? {});
    beat();
    const { _begin: begin } = client._session;
    if (user === null && client._options.getToken) withCredentials((part) => part.signIn(client, begin), begin);
    else begin();
  }
  function withCredentials(then, failed) {
    const same = client._sameConnection();
    withPart(
      credentials,
      (part) => same() && then(part),
      (error) => {
        if (!same()) return;
        client._fail(error);
        failed?.(error);
      }
    );
  }
  function renew2(code, reason, said) {
    withCredentials(
      (part) => part.renew(client, code, reason, said),
      () => retry(code, reason, said)
    );
    if (!credentials.module) client._setState("reconnecting", { attempt: client._failures + 2, nextDelay: null, code, reason });
  }
  return {
    _start: start,
    _abandon: abandon,
    _drop: drop,
    _retry: retry,
    _stop: stop
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
  if (!/^\w+:/.test(text)) {
    const page = globalThis.location?.href.replace(/^blob:/, "");
    if (!page) throw new TypeError(`the address '${text}' needs a page; expected one such as 'wss://www.example.com/ws/'`);
    text = new URL(text, page).href;
  }
  return text.replace(/#.*$/, "");
}

// src/codec.js
init_values();
var PROTOCOL = "realtime.v1.json";
var JSON_CODEC = {
  protocol: PROTOCOL,
  encode: (message) => JSON.stringify(message),
  size: byteLength,
  batch: (encoded) => `[${encoded.join(",")}]`,
  decode: (data) => JSON.parse(data)
};
var loadCodec = () => ofThisBuild(import("./realtime/msgpack.js?v=78087638"),"78087638").then(({ codec }) => codec);
var codecOf = (protocol) => protocol === PROTOCOL ? JSON_CODEC : loadCodec();

// src/requests.js
function createRequests(client) {
  const { maxQueuedBytes, maxQueueSeconds, requestTimeoutSeconds, format } = client._options;
  let lastId = 0;
  const pending = /* @__PURE__ */ new Map();
  let outbox = [];
  let codec = (
    /** @type {any} */
    format === "json" ? JSON_CODEC : null
  );
  function load() {
    return codec ? null : loadCodec().then((loaded) => void (codec = loaded));
  }
  function ask(message, onReply = () => {
  }, onError = () => {
  }, timeoutSeconds, now = true) {
    const queued = !now && message.type === "publish";
    const request = { id: ++lastId, message, aged: queued || timeoutSeconds !== void 0, onReply, onError };
    pending.set(request.id, request);
    if (codec) encode(request);
    else request.message = structuredClone(message);
    limitAge(request, timeoutSeconds ?? (queued ? maxQueueSeconds : requestTimeoutSeconds));
    if (now) transmit(request);
    else if (queued && queuedBytes() > maxQueuedBytes) {
      fail(request, "queue_full", `publications of more than ${maxQueuedBytes} bytes wait for a connection`);
    }
  }
  function encode(request) {
    request.frame ??= codec.encode({ ...request.message, id: request.id });
  }
  function queuedBytes() {
    let bytes = 0;
    for (const { message, sent, frame } of pending.values()) if (message.type === "publish" && !sent && frame) bytes += codec.size(frame);
    return bytes;
  }
  function limitAge(request, seconds) {
    client._cancel(request.timer);
    request.timer = client._later(seconds, () => fail(request, "timeout", `no answer to '${request.message.type}' within ${seconds} s`));
  }
  function transmit(request) {
    const { message, user, id } = request;
    if (request.sent || !pending.has(id)) return;
    if (user !== void 0 && user !== client.user) {
      fail(request, "connection_lost", "another user is signed in since");
      return;
    }
    encode(request);
    const limit2 = client._welcome?.limits?.max_frame ?? Infinity;
    const size = codec.size(request.frame);
    if (size > limit2) {
      fail(request, "too_large", `'${message.type}' is ${size} bytes long; the server accepts at most ${limit2}`);
      return;
    }
    request.sent = true;
    push(request.frame);
  }
  function send(message) {
    push(codec.encode(message));
  }
  function push(frame) {
    if (outbox.push(frame) === 1) queueMicrotask(flush);
  }
  function flush() {
    const socket = client._socket;
    const frames = outbox.splice(0);
    if (!socket || frames.length === 0) return;
    const { size: sizeOf, batch, protocol } = codec;
    const { max_batch = 1, max_frame = Infinity } = client._welcome?.limits ?? {};
    const maxBatch = client._options.batch && socket.protocol === protocol ? max_batch : 1;
    while (frames.length > 0) {
      let count = 1;
      let size = 2 + sizeOf(frames[0]);
      while (count < Math.min(frames.length, maxBatch) && (size += sizeOf(frames[count]) + 1) <= max_frame) count += 1;
      const taken = frames.splice(0, count);
      socket.send(count === 1 ? taken[0] : batch(taken));
    }
  }
  function lost(code, reason) {
    outbox = [];
    for (const request of [...pending.values()]) {
      const { message, sent } = request;
      if (!sent) continue;
      if (message.type === "publish" && message.key !== void 0 && client._knowsKeys(message.channel)) {
        if (!request.aged) limitAge(request, maxQueueSeconds);
        Object.assign(request, { sent: false, aged: true, user: client.user });
      } else {
        fail(request, "connection_lost", `the connection ended before '${message.type}' was answered (${code} ${reason})`);
      }
    }
  }
  function fail({ id, message }, code, reason) {
    settle(id, new RealtimeError(code, reason, { request: message.type, channel: message.channel }));
  }
  function settle(id, error, payload) {
    const request = pending.get(id);
    if (!request) return;
    pending.delete(id);
    client._cancel(request.timer);
    if (error) request.onError(error);
    else request.onReply(payload);
  }
  return {
    _pending: pending,
    _codec: () => codec,
    _loadCodec: load,
    _ask: ask,
    _transmit: transmit,
    _fail: fail,
    _send: send,
    _flush: flush,
    _lost: lost,
    _settle: settle
  };
}

// src/session.js
init_channel();
var MAX_ABANDONED = 100;
function createSession(client) {
  let id = null;
  let abandoned = [];
  function begin() {
    if (!client._welcome || client._ready) return;
    const same = client._sameConnection();
    const startNew = () => {
      id = client._welcome.session_id;
      client.connectionId = client._welcome.connection_id ?? null;
      start(null);
    };
    if (!id) {
      startNew();
      return;
    }
    client._requests._ask(
      { type: "resume", session_id: id, since: client._channels._positions() },
      (payload) => {
        id = payload.session_id;
        client.connectionId = payload.connection_id ?? client.connectionId;
        start(payload.channels);
      },
      (error) => {
        if (!same() || error.code === "connection_lost") return;
        forget();
        if (error.code === "timeout") client._connection._abandon("no answer to 'resume'");
        else startNew();
      }
    );
  }
  function start(resumed) {
    const { _channels, _requests } = client;
    const same = client._sameConnection();
    const feeds = _channels._feeds;
    const waiting = [..._requests._pending.values()];
    const givenUp = abandoned;
    abandoned = [];
    client._ready = true;
    for (const feed of [...feeds.values()]) {
      if (feed._automatic && !(feed._name in { ...client._welcome.channels, ...resumed })) _channels._markOrdinary(feed);
      if (!resumed) for (const selection of feed._selections.values()) selection._inSession = NOT_IN_SESSION;
    }
    for (const { _feed: { _name: channel }, _parameters: parameters } of givenUp) {
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
    client._acknowledgements?.send();
    if (same()) client._setState("connected", {});
  }
  function takeUp(feed, reply) {
    const selections = [...feed._selections.values()];
    const alone = selections.length === 1;
    const stands = selections.filter(({ _inSession }) => _inSession === IN_SESSION || alone && (_inSession === SENT || feed._automatic));
    const from = feed._resumesFrom;
    for (const selection of stands) client._channels._subscribed(selection, from, reply);
  }
  function giveUp(selection) {
    abandoned.push(selection);
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

// src/storage.js
function recall(key) {
  try {
    const [value, until] = JSON.parse(globalThis.localStorage.getItem(key) ?? "[]");
    return Date.now() < until ? value : null;
  } catch {
    return null;
  }
}

// src/ways.js
var MAX_FAILURES = 2;
function createWays(context) {
  const { http, transports } = context;
  let failures = 0;
  let answered = false;
  let remembered = recall(`realtime-way ${http}`);
  let choice = null;
  return (heard) => {
    const { WebSocket = globalThis.WebSocket, fetch: fetch2 = globalThis.fetch } = context;
    const chosen = choice?.next(heard);
    if (chosen) return chosen;
    if (!http || !fetch2 || `${transports}` === "websocket") return WebSocket;
    const offline = globalThis.navigator?.onLine === false;
    failures = heard || offline ? 0 : failures + 1;
    const blocked = failures >= MAX_FAILURES && answered;
    answered = false;
    if (WebSocket && transports.includes("websocket") && !blocked && !remembered) {
      if (failures === 0) return WebSocket;
      return fetch2(`${http}ready/`, { method: "HEAD", mode: "no-cors" }).then(
        ({ status }) => {
          answered = status < 500;
          return WebSocket;
        },
        () => WebSocket
      );
    }
    failures = 0;
    const first = remembered;
    remembered = null;
    return ofThisBuild(import("./realtime/fallbacks.js?v=d3e0b507"),"d3e0b507").then(({ Choice }) => {
      choice ??= new Choice(context);
      return choice.begin(first);
    });
  };
}

// src/client.js
init_values();
var DEFAULTS = {
  /** @type {ClientOptions["getToken"]} */
  getToken: void 0,
  backoffBaseSeconds: 1,
  backoffCapSeconds: 30,
  connectTimeoutSeconds: 20,
  requestTimeoutSeconds: 35,
  /** @type {"wait" | "reject"} */
  whenDisconnected: "wait",
  maxPendingRequests: 500,
  maxQueuedBytes: 1e6,
  maxQueueSeconds: 120,
  batch: true,
  format: "json",
  shareConnection: false,
  /** @type {ClientOptions["shareKey"]} */
  shareKey: void 0,
  transports: ["websocket", "sse", "polling"],
  /** @type {ClientOptions["httpUrl"]} */
  httpUrl: void 0,
  /** @type {ClientOptions["WebSocket"]} */
  WebSocket: void 0,
  /** @type {ClientOptions["fetch"]} */
  fetch: void 0,
  random: Math.random,
  /** @type {Timers} */
  timers: globalThis,
  /** @type {ClientOptions["wakeTarget"]} */
  wakeTarget: void 0
};
var REQUEST_OPTIONS = ["timeoutSeconds", "whenDisconnected"];
var PUBLISH_OPTIONS = ["event", "key", "echo", "transient", "version", "stateKey", "removed", "onlyIf"];
var EVENTS2 = ["state", "message", "notice", "channel", "error"];
function newKey() {
  return Date.now().toString(36) + Math.random().toString(36).slice(1);
}
var RealtimeClient = class _RealtimeClient extends Emitter {
  /**
   * The ways of clients that share a connection. index.js sets it, because the client inside the shared worker must not
   * import the code that starts the worker.
   * @type {any}
   */
  static _sharedWays = null;
  /** @type {State} */
  #state = "idle";
  /** @type {any} */
  _socket = null;
  /** The payload of this connection's `welcome`. @type {any} */
  _welcome = null;
  /** Whether the session is open, so that subscriptions and requests can be sent. */
  _ready = false;
  /** How many connections failed since the last `welcome`. */
  _failures = 0;
  /** How many connections and attempts have ended. */
  _generation = 0;
  /** What `credentials.js` remembers. @type {Credentials | null} */
  _credentials = null;
  /** Set by the first subscription that acknowledges. @type {Acknowledgements | null} */
  _acknowledgements = null;
  /**
   * @param {string | URL | null} [url]  Relative to the page; http and https become ws and wss. Without it, the address
   *   in the page's configuration or its `<meta name="realtime-url">`, or else `/ws/`.
   * @param {ClientOptions} [options]
   * @param {PageConfiguration} [page]  The configuration in the page.
   */
  constructor(url, options = {}, page = pageConfiguration()) {
    super(EVENTS2);
    checkNames("option", Object.keys(options), Object.keys(DEFAULTS));
    if (options.getToken != null) checkFunction("getToken", options.getToken);
    this.url = absoluteUrl(url || page.url || pageMeta("realtime-url") || "/ws/").replace(/^http/i, "ws");
    this.user = null;
    this.connectionId = null;
    this._options = { ...DEFAULTS, ...options };
    checkNames("transport", this._options.transports, DEFAULTS.transports);
    checkNames("format", [this._options.format], ["json", "msgpack"]);
    const base = options.httpUrl || page.http || pageMeta("realtime-http-url");
    const http = base ? absoluteUrl(base).replace(/\/*$/, "/") : null;
    const alone = createWays({
      ...page,
      ...this._options,
      ...this._options.format !== "json" && { transports: ["websocket"] },
      // The others carry text.
      url: this.url,
      http
    });
    const client = (
      /** @type {RealtimeClient<any>} */
      this
    );
    this._requests = createRequests(client);
    this._channels = createChannels(client);
    this._session = createSession(client);
    this._connection = createConnection(client, options.shareConnection ? _RealtimeClient._sharedWays(client, { ...page, http }, alone) : alone);
  }
  get state() {
    return this.#state;
  }
  /**
   * For an HTTP request that publishes: tells the server what to `exclude`, so that this page does not get its own change.
   * @returns {Record<string, string>}
   */
  get headers() {
    return this.connectionId ? { "X-Realtime-Connection": this.connectionId } : {};
  }
  /** Connects, also again after "closed" or "unauthenticated". @returns {this} */
  connect() {
    if (["connecting", "connected", "reconnecting"].includes(this.#state)) return this;
    this._credentials = null;
    this._connection._start();
    return this;
  }
  /** Closes with 1000 and ends all subscriptions. Requests made in this task are still sent. */
  close() {
    const reason = "closed by the page";
    if (this.#state === "closed") {
      this._channels._end(this._channels._clear(), CLOSE_NORMAL2, reason);
      return;
    }
    if (this._ready) this._acknowledgements?.send();
    this._requests._flush();
    this._connection._drop(CLOSE_NORMAL2, reason);
    this._connection._stop("closed", CLOSE_NORMAL2, reason);
  }
  /**
   * Subscribes, or waits for `connect()` where the client is not connected.
   * @template {ChannelName<Routes>} Name
   * @param {Name} channel
   * @param {SubscriptionOptions<MessageFrom<Routes, Name>, ParametersOf<Routes, Name>> |
   *   ((message: MessageFrom<Routes, Name>) => void)} [options]  A function means `{onMessage}`. Without options, the
   *   messages go to listeners added with `on`, or to a loop. Options must have a handler, or `iterate: true`.
   * @returns {Subscription<MessageFrom<Routes, Name>>}
   */
  subscribe(channel, options) {
    return (
      /** @type {any} */
      this._channels._add(channel, subscriptionOptions(channel, arguments.length > 1, options))
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
  publish(channel, payload, options = {}) {
    checkNames("option", Object.keys(options), [...REQUEST_OPTIONS, ...PUBLISH_OPTIONS]);
    const { timeoutSeconds, whenDisconnected, stateKey, onlyIf, ...fields } = options;
    if (!fields.transient && this._knowsKeys(channel)) fields.key ??= newKey();
    const message = { type: "publish", channel, payload: payload ?? null, ...fields, state_key: stateKey, only_if: onlyIf };
    return this.request(message, { timeoutSeconds, whenDisconnected });
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
    checkNames("option", Object.keys(options), REQUEST_OPTIONS);
    const { timeoutSeconds, whenDisconnected = this._options.whenDisconnected } = options;
    const { _ready: ready, _requests: requests } = this;
    const stopped = this.#state === "closed" || this.#state === "unauthenticated";
    const unanswered = requests._pending.size;
    return new Promise((resolve, reject) => {
      const refuse = (code, reason) => reject(this._error(code, reason, { request: message.type, channel: message.channel }));
      if (stopped || !ready && whenDisconnected === "reject") refuse("disconnected", `the client is ${this.#state}`);
      else if (unanswered >= this._options.maxPendingRequests) refuse("queue_full", `${unanswered} requests are unanswered`);
      else requests._ask(message, resolve, reject, timeoutSeconds, ready);
    });
  }
  // For the other modules
  /**
   * Whether the server would recognise a repeated key: it remembers keys for channels with history alone, and past the
   * end of a connection for signed-in users alone.
   * @param {string} channel
   */
  _knowsKeys(channel) {
    return this.user !== null && this._channels._feeds.get(channel)?._position != null;
  }
  /** @returns {() => boolean} Whether this connection, or the wait for the next one, still goes on. */
  _sameConnection() {
    const { _generation } = this;
    return () => _generation === this._generation;
  }
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
   * Full jitter up to an exponential limit, after the time that the server asked to wait.
   * @param {number} failures @param {number} wait  In seconds. @returns {number} In seconds.
   */
  _delay(failures, wait) {
    const { backoffCapSeconds, backoffBaseSeconds, random } = this._options;
    return wait + random() * Math.max(Math.min(backoffCapSeconds, backoffBaseSeconds * 2 ** failures), wait);
  }
  /** @param {string} code @param {string} reason @param {ConstructorParameters<typeof RealtimeError>[2]} [context] */
  _error(code, reason, context) {
    return new RealtimeError(code, reason, context);
  }
  /** @param {RealtimeError} error */
  _fail(error) {
    if (this._emit("error", error).length === 0) report(error);
  }
};

// src/insides.js
var INSIDES = {
  /** @param {RealtimeClient} client @returns {any} The payload of its connection's `welcome`. */
  welcomeOf: (client) => client._welcome,
  /** @param {RealtimeClient} client @param {string} channel @returns {Position | null} The position up to which it has the channel. */
  positionOf: (client, channel) => client._channels._feeds.get(channel)?._position ?? null,
  codecOf
};

// src/sharing.js
function sharedWays(client, page, alone) {
  const { constructor: Client, url, _options: options } = client;
  let Way;
  let told = false;
  return (heard) => Way ?? ofThisBuild(import("./realtime/tabs.js?v=f3a5c635"),"f3a5c635").then(
    ({ share }) => (Way = share({ ...INSIDES, Client, url, options, page })) ?? alone(heard),
    (cause) => {
      if (!told) client._fail(loadFailed(cause));
      told = true;
      return alone(heard);
    }
  );
}

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
init_values();
RealtimeClient._sharedWays = sharedWays;
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
