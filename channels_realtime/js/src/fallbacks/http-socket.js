/**
 * A connection over HTTP with the interface of a WebSocket: what the event stream and the polls have in common.
 *
 * What the core sends goes up by `POST send/`, one request at a time, in order. The credentials are those of each
 * request: cookies, or the last token that the core sent. Where the server wants one, the core is asked as on a WebSocket
 * (`auth_required`); it answers with `auth`, and the request is made again with the token.
 *
 * @import {WayContext} from "../ways.js"
 */

const OPEN = 1;
const CLOSED = 3;
const CLOSE_NORMAL = 1000;
const CLOSE_ABNORMAL = 1006;
const CLOSE_UNAUTHENTICATED = 4401;
const CLOSE_FORBIDDEN = 4403;
const CLOSE_LIMITED = 4429;
const CLOSE_UNAVAILABLE = 4503;
/** Of the body of a request, beside its messages. */
const ENVELOPE_CHARACTERS = 150;
/** Messages that are not taken after this time are lost, and the connection with them. */
const SEND_SECONDS = 20;

/**
 * @typedef {object} Host  What the sockets of one client share.
 * @property {WayContext} context
 * @property {() => string[]} csrfTokens  What Django may want with a POST that a cookie authenticates.
 * @property {(reason: string) => void} unusable  This way does not work here, though a server answers.
 * @property {(socket: HttpSocket) => void} works  This connection was welcomed.
 */

export class HttpSocket {
  protocol = "realtime.v1.json";
  readyState = 0;
  /** @type {(() => void) | null} */
  onopen = null;
  /** @type {((event: {data: string}) => void) | null} */
  onmessage = null;
  /** @type {((event: {code: number, reason: string, wasClean: boolean}) => void) | null} */
  onclose = null;
  /** @type {string | null} A secret: never shown or logged. */
  _session = null;
  #host;
  /** @type {Set<AbortController>} */
  #requests = new Set();
  #limits = { max_batch: 1, max_frame: Infinity };
  /** @type {string | null} */
  #token = null;
  /** @type {{id: any} | null} An `auth` that the next request is to answer. */
  #auth = null;
  /** @type {string[]} Messages, as JSON. */
  #outbox = [];
  #sending = false;
  /** Which of the page's CSRF tokens is used. */
  #csrf = 0;
  /** @type {Set<any>} */
  #timers = new Set();
  /** @type {number | null} */
  #leaving = null;
  /** @type {any} */
  #quiet = null;

  /** @param {Host} host */
  constructor(host) {
    this.#host = host;
    queueMicrotask(() => this.#guarded(() => this._begin())); // The subclass's fields are not there yet.
  }

  /** Makes the first request, and again with a token after a 401. @returns {Promise<void>} */
  async _begin() {}

  /** @param {string} text  A message or an array of them. */
  send(text) {
    if (!this._alive) return;
    for (const message of [JSON.parse(text)].flat()) {
      this.#said(message);
      if (message.type === "auth") this.#token = message.token;
      if (message.type === "auth" && !this._session) {
        this.#auth = message;
        this.#guarded(() => this._begin());
      } else {
        this.#outbox.push(JSON.stringify(message));
      }
    }
    this.#guarded(() => this.#flush());
  }

  close(code = CLOSE_NORMAL, reason = "") {
    this._end(code, reason);
  }

  /** Ends it once nothing has been said for so long, so that the core comes back another way. @param {number} seconds */
  leaveWhenQuiet(seconds) {
    this.#leaving = seconds;
    this.#said({});
  }

  /** @param {{type?: string}} message */
  #said({ type }) {
    if (this.#leaving === null || type === "ping" || type === "pong") return;
    this._cancel(this.#quiet);
    this.#quiet = this._later(this.#leaving, () => this._lost("a better way to the server works"));
  }

  // For the subclasses

  get _alive() {
    return this.readyState !== CLOSED;
  }

  /** In [0, 1). */
  get _random() {
    return this.#host.context.random();
  }

  /**
   * Makes a request: with a body it is a POST.
   * @param {string} path
   * @param {{body?: string, accept?: string, seconds?: number}} options  It is aborted after so many seconds, or with the
   *   connection.
   * @param {(response: Response) => Promise<void>} use
   */
  async _request(path, { body, accept = "application/json", seconds }, use) {
    const { context } = this.#host;
    /** @type {Record<string, string>} */
    const headers = { Accept: accept };
    const tokens = body === undefined ? [] : this.#host.csrfTokens();
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (tokens[this.#csrf]) headers[context.csrfHeader ?? "X-CSRFToken"] = tokens[this.#csrf];
    if (this.#token !== null) headers.Authorization = `Bearer ${this.#token}`;
    const aborts = new AbortController();
    this.#requests.add(aborts);
    const timer = seconds && this._later(seconds, () => aborts.abort());
    try {
      const { http, fetch = globalThis.fetch } = context;
      const method = body === undefined ? "GET" : "POST";
      const { signal } = aborts;
      const response = await fetch(http + path, {
        ...{ method, headers, body, signal },
        credentials: "include",
        cache: "no-store",
      });
      if (response.status === 403 && this.#csrf + 1 < tokens.length) {
        this.#csrf += 1;
        await this._request(path, { body, accept, seconds }, use);
      } else {
        await use(response);
      }
    } finally {
      this._cancel(timer);
      this.#requests.delete(aborts);
    }
  }

  /** One message of the server. @param {any} message @param {string} [text]  It as JSON. */
  _receive(message, text = JSON.stringify(message)) {
    if (!this._alive) return;
    if (message?.type === "welcome") this.#welcomed(message.payload ?? {});
    this.#said(message);
    if (this._alive) this.onmessage?.({ data: text });
    if (message?.type === "welcome") this.#guarded(() => this.#flush());
  }

  /** @param {any} payload */
  #welcomed(payload) {
    this._session = payload.session_id;
    this.#limits = { ...this.#limits, ...payload.limits };
    if (this.readyState !== OPEN) {
      this.readyState = OPEN;
      this.onopen?.();
    }
    this.#host.works(this);
    if (!this.#auth) return;
    const { user, expires_at } = payload;
    this.#deliver({ type: "auth_ok", id: this.#auth.id, payload: { user, expires_at } });
    this.#auth = null;
  }

  /** @param {any} message */
  #deliver(message) {
    if (this._alive) this.onmessage?.({ data: JSON.stringify(message) });
  }

  /** The server is heard: the core need not ask whether it is there. */
  _isThere() {
    if (this._alive) this.onmessage?.({ data: "[]" });
  }

  /** What a status other than that of success means. @param {Response} response */
  async _refused(response) {
    const { status } = response;
    /** @type {any} */
    let said = null;
    try {
      said = await response.json();
    } catch {
      // Of a proxy, or a page of the site.
    }
    if (typeof said?.code !== "string") {
      if (status < 500) this._unusable(`status ${status}`);
      else this._lost(`status ${status}`);
      return;
    }
    const reason = said.reason ?? "";
    const retry_after = Number(response.headers.get("Retry-After") ?? NaN);
    const later = Number.isFinite(retry_after) ? { retry_after } : {};
    if (status === 401 && !this._session && this.#token === null) {
      this.#deliver({ type: "auth_required", payload: {} });
    } else if (status === 401) {
      const id = this.#auth?.id;
      if (this.#auth) this.#deliver({ type: "error", request: "auth", id, payload: { code: said.code, reason } });
      this.#closing(CLOSE_UNAUTHENTICATED, reason, {});
    } else if (status === 403) {
      this.#closing(CLOSE_FORBIDDEN, reason, { reconnect: false });
    } else if (status === 429) {
      this.#closing(CLOSE_LIMITED, reason, { reconnect: true, ...later });
    } else if (status === 503) {
      this.#closing(CLOSE_UNAVAILABLE, reason, { reconnect: true, ...later });
    } else if (status === 501) {
      this._unusable(reason); // Over WSGI.
    } else {
      this._lost(reason); // 404: the session's connection is over.
    }
  }

  /** @param {number} code @param {string} reason @param {{reconnect?: boolean, retry_after?: number}} more */
  #closing(code, reason, more) {
    this.#deliver({ type: "closing", payload: { code, reason, ...more } });
    this._end(code, reason);
  }

  /** @param {number} code @param {string} reason */
  _end(code, reason) {
    if (!this._alive) return;
    this.readyState = CLOSED;
    for (const request of this.#requests) request.abort();
    for (const timer of this.#timers) this.#host.context.timers.clearTimeout(timer);
    this.onclose?.({ code, reason, wasClean: code !== CLOSE_ABNORMAL });
  }

  /** @param {string} reason */
  _lost(reason) {
    this._end(CLOSE_ABNORMAL, reason);
  }

  /** @param {string} reason */
  _unusable(reason) {
    if (this._alive) this.#host.unusable(reason);
    this._lost(reason);
  }

  /** @param {number} seconds @param {() => void} callback */
  _later(seconds, callback) {
    if (!this._alive) return null;
    const timer = this.#host.context.timers.setTimeout(() => {
      this.#timers.delete(timer);
      callback();
    }, seconds * 1000);
    this.#timers.add(timer);
    return timer;
  }

  /** @param {any} timer */
  _cancel(timer) {
    this.#timers.delete(timer);
    this.#host.context.timers.clearTimeout(timer);
  }

  /** Ends the connection when the network fails. @param {() => Promise<void>} work */
  async #guarded(work) {
    try {
      await work();
    } catch (error) {
      this._lost(String(error));
    }
  }

  // Sending

  async #flush() {
    if (this.#sending || !this._session) return;
    this.#sending = true;
    await null; // What is sent in one task goes up together.
    while (this.#outbox.length > 0 && this.readyState === OPEN) {
      const messages = this.#take();
      await this._request("send/", { body: this.#body(messages), seconds: SEND_SECONDS }, async (response) => {
        if (response.status === 413) this.#tooLarge(messages);
        else if (!response.ok) await this._refused(response);
      });
      this._sent();
    }
    this.#sending = false;
  }

  /** Messages have arrived at the server. */
  _sent() {}

  /** @param {string[]} messages */
  #tooLarge(messages) {
    for (const text of messages) {
      const { id, type, channel } = JSON.parse(text);
      const payload = { code: "too_large", reason: "the server does not take a request of this size" };
      this.#deliver({ type: "error", request: type, id, channel, payload });
    }
  }

  /** @returns {string[]} As many messages as go together. */
  #take() {
    const { max_batch, max_frame } = this.#limits;
    let count = 1;
    let size = ENVELOPE_CHARACTERS + this.#outbox[0].length;
    while (count < Math.min(max_batch, this.#outbox.length)) {
      size += this.#outbox[count].length + 1;
      if (size * 3 > max_frame) break; // A character has at most 3 bytes.
      count += 1;
    }
    return this.#outbox.splice(0, count);
  }

  /** @param {string[]} messages */
  #body(messages) {
    return `{"session_id":${JSON.stringify(this._session)},"messages":[${messages.join(",")}]}`;
  }
}
