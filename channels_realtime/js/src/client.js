import { createChannels } from "./channels.js";
import { CLOSE_NORMAL, createConnection } from "./connection.js";
import { Emitter } from "./emitter.js";
import { RealtimeError } from "./errors.js";
import { absoluteUrl, pageConfiguration, pageMeta } from "./page.js";
import { createRequests } from "./requests.js";
import { createSession } from "./session.js";
import { createWays } from "./ways.js";
import { checkFunction, checkNames } from "./mistakes.js";
import { subscriptionOptions } from "./subscription.js";
import { readPosition, report } from "./values.js";

/** @import {Subscription} from "./subscription.js" */
/** @import {ClientOptions, History, HistoryOptions, Members, Message, PublishedPayload, PublishOptions, RequestOptions, State, StateDetail, SubscriptionOptions, Timers} from "./typedefs.js" */
/** @import {AnyRoutes, ArgumentOf, ChannelName, MessageFrom, MethodOf, ParametersOf, PublishablePayload, ResultOf} from "./types.js" */

/** All options. @satisfies {Required<ClientOptions> | Record<keyof ClientOptions, any>} */
const DEFAULTS = {
  /** @type {ClientOptions["getToken"]} */
  getToken: undefined,
  backoffBaseSeconds: 1,
  backoffCapSeconds: 30,
  connectTimeoutSeconds: 20,
  requestTimeoutSeconds: 35,
  /** @type {"wait" | "reject"} */
  whenDisconnected: "wait",
  maxPendingRequests: 500,
  maxQueuedBytes: 1_000_000,
  maxQueueSeconds: 120,
  batch: true,
  format: "json",
  shareConnection: false,
  /** @type {ClientOptions["shareKey"]} */
  shareKey: undefined,
  transports: ["websocket", "sse", "polling"],
  /** @type {ClientOptions["httpUrl"]} */
  httpUrl: undefined,
  /** @type {ClientOptions["WebSocket"]} */
  WebSocket: undefined,
  /** @type {ClientOptions["fetch"]} */
  fetch: undefined,
  random: Math.random,
  /** @type {Timers} */
  timers: globalThis,
  /** @type {ClientOptions["wakeTarget"]} */
  wakeTarget: undefined,
};
const REQUEST_OPTIONS = ["timeoutSeconds", "whenDisconnected"];
const PUBLISH_OPTIONS = ["event", "key", "echo", "transient", "version", "stateKey", "removed", "onlyIf"];
const EVENTS = ["state", "message", "notice", "channel", "error"];

/** @returns {string} An idempotency key that no other publication of this user has. */
function newKey() {
  return Date.now().toString(36) + Math.random().toString(36).slice(1);
}

/**
 * The connection of a page: connects, authenticates, keeps it alive, reconnects and subscribes again.
 *
 * Names that begin with an underscore are for the other modules: `connection.js` opens and watches the socket,
 * `requests.js` sends, `session.js` resumes after a reconnect, and `channels.js` subscribes and receives.
 *
 * @template [Routes=AnyRoutes]  The types of the site's channels, as `manage.py realtime_schema` writes them.
 * @extends {Emitter<{state: [State, StateDetail], message: [Message], notice: [Message], channel: [string, boolean],
 *   error: [RealtimeError]}>}
 */
export class RealtimeClient extends Emitter {
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
  /** What `credentials.js` remembers. @type {import("./credentials.js").Credentials | null} */
  _credentials = null;
  /** Set by the first subscription that acknowledges. @type {import("./delivery/acknowledgements.js").Acknowledgements | null} */
  _acknowledgements = null;

  /**
   * @param {string | URL | null} [url]  Relative to the page; http and https become ws and wss. Without it, the address
   *   in the page's configuration or its `<meta name="realtime-url">`, or else `/ws/`.
   * @param {ClientOptions} [options]
   * @param {import("./page.js").PageConfiguration} [page]  The configuration in the page.
   */
  constructor(url, options = {}, page = pageConfiguration()) {
    super(EVENTS);
    checkNames("option", Object.keys(options), Object.keys(DEFAULTS));
    if (options.getToken != null) checkFunction("getToken", options.getToken);
    this.url = absoluteUrl(url || page.url || pageMeta("realtime-url") || "/ws/").replace(/^http/i, "ws");
    /** @type {string | null} The user's primary key as text, as last sent by the server. */
    this.user = null;
    /** @type {string | null} The connection's public id, once it was welcomed. It stays the same through a resume. */
    this.connectionId = null;
    this._options = { ...DEFAULTS, ...options };
    checkNames("transport", this._options.transports, DEFAULTS.transports);
    checkNames("format", [this._options.format], ["json", "msgpack"]);
    const base = options.httpUrl || page.http || pageMeta("realtime-http-url");
    const http = base ? absoluteUrl(base).replace(/\/*$/, "/") : null;
    const alone = createWays({
      ...page,
      ...this._options,
      ...(this._options.format !== "json" && { transports: ["websocket"] }), // The others carry text.
      url: this.url,
      http,
    });
    const client = /** @type {RealtimeClient<any>} */ (this);
    this._requests = createRequests(client);
    this._channels = createChannels(client);
    this._session = createSession(client);
    this._connection = createConnection(client, options.shareConnection ? RealtimeClient._sharedWays(client, { ...page, http }, alone) : alone);
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
      this._channels._end(this._channels._clear(), CLOSE_NORMAL, reason); // Subscriptions made since then.
      return;
    }
    if (this._ready) this._acknowledgements?.send();
    this._requests._flush();
    this._connection._drop(CLOSE_NORMAL, reason);
    this._connection._stop("closed", CLOSE_NORMAL, reason);
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
    return /** @type {any} */ (this._channels._add(channel, subscriptionOptions(channel, arguments.length > 1, options)));
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
    // With a key it can be sent again if its answer is lost.
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
  history(channel, { since, limit, reverse, ...options } = {}) {
    return this.request({ type: "history", channel, since: readPosition(since) ?? undefined, limit, reverse }, options);
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
      const refuse = (/** @type {string} */ code, /** @type {string} */ reason) =>
        reject(this._error(code, reason, { request: message.type, channel: message.channel }));
      if (stopped || (!ready && whenDisconnected === "reject")) refuse("disconnected", `the client is ${this.#state}`);
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
    return this._options.timers.setTimeout(callback, seconds * 1000);
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
}
