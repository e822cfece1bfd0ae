import { canonical } from "../values.js";
import { Line } from "./line.js";

/** @import {Codec} from "../codec.js" */
/** @import {Message, StateDetail} from "../typedefs.js" */
/** @import {Port, Switchboard} from "./switchboard.js" */

/** Frames, and their size in bytes, that a tab has not handled. With more it is closed, and comes back with its positions. */
const MAX_UNREAD_FRAMES = 5000;
const MAX_UNREAD_BYTES = 16 * 2 ** 20;
/** How long a tab may take for a token; then the next one is asked. */
const TOKEN_SECONDS = 10;
/** For requests that are passed on; the tab's own limit is shorter. */
const REQUEST_SECONDS = 120;
const CLOSE_SLOW = 4430;
/** Key of the subscription to what the server has subscribed. */
const AUTOMATIC = "automatic";

/** @type {Record<string, string>} The type of a request's reply, where it is not the request's. */
const REPLIES = { publish: "published", call: "result", auth: "auth_ok", ping: "pong" };

/** One tab: what a server's connection is to its client. */
export class Tab {
  #board;
  #port;
  /** @type {Codec} */
  #codec = /** @type {any} */ (null);
  /** @type {Map<string, Line>} By channel and parameters. */
  #lines = new Map();
  /** @type {WeakSet<Message>} Two subscriptions of one channel get the same message. */
  #delivered = new WeakSet();
  /** @type {number[]} The sizes of the frames that it has not handled. */
  #unread = [];
  #unreadBytes = 0;
  /** @type {((answer: any) => void) | null} */
  #answered = null;
  #lock = new AbortController();
  ended = false;
  greeted = false;
  /** Whether it has a `getToken`. */
  suppliesTokens = false;

  /** @param {Switchboard} board @param {Port} port */
  constructor(board, port) {
    this.#board = board;
    this.#port = port;
    port.onmessage = (/** @type {{data: any}} */ event) => this.#receive(event.data);
  }

  /** @param {any} message */
  #receive(message) {
    if (this.ended) return;
    if (message.type === "open") this.#opened(message);
    else if (message.type === "frame") this.#frame(message.data);
    else if (message.type === "read") for (let read = 0; read < message.count; read += 1) this.#unreadBytes -= this.#unread.shift() ?? 0;
    else if (message.type === "token") this.#answered?.(message);
    else if (message.type === "wake") this.#board.wake(message.event);
    else if (message.type === "close") this.#leave();
  }

  /** @param {any} message */
  async #opened({ protocol, suppliesTokens, lock, settings }) {
    this.suppliesTokens = suppliesTokens;
    const { signal } = this.#lock;
    // A tab holds this lock as long as it is there; one that crashed cannot say so.
    this.#board.host.locks.request(lock, { signal }, () => this.#leave()).catch(() => {});
    this.#codec = await this.#board.host.codecOf(protocol);
    if (!this.ended) this.#board.join(this, settings);
  }

  #leave() {
    if (!this.ended) this.#finish((line) => line.end());
  }

  /** @param {(line: Line) => void} drop  What happens to its subscriptions. */
  #finish(drop) {
    this.ended = true;
    this.#answered?.(null);
    this.#lock.abort();
    for (const line of this.#lines.values()) drop(line);
    this.#lines.clear();
    this.#port.close();
    this.#board.left(this);
  }

  /**
   * Closes the tab's socket.
   * @param {number} code @param {string} reason
   * @param {{closing?: any, lines?: Set<Line>}} [options]  Where its subscriptions go that are to stay.
   */
  end(code, reason, { closing, lines } = {}) {
    if (this.ended) return;
    if (closing) this.send({ type: "closing", payload: { code, reason, ...closing } });
    if (this.ended) return; // It was too much.
    this.#port.postMessage({ type: "close", code, reason });
    this.#finish((line) => {
      if (!lines) line.end();
      else {
        line.detach();
        lines.add(line);
      }
    });
  }

  /** The connection stands: says what a server says. */
  greet() {
    this.greeted = true;
    const { client, automatic } = this.#board;
    /** @type {Record<string, any>} */
    const channels = {};
    for (const channel of automatic) channels[channel] = { ...this.#add({ channel }, "told").position };
    const { session_id: _, ...welcome } = this.#board.host.welcomeOf(client); // There is nothing to resume here.
    const payload = { ...welcome, user: client.user, connection_id: client.connectionId, channels };
    this.send({ type: "welcome", payload });
  }

  /** The server has subscribed the connection to one more channel. @param {string} channel */
  addAutomatic(channel) {
    this.#add({ channel }, "automatic");
  }

  /** @param {string} channel */
  removeAutomatic(channel) {
    const line = this.#lines.get(lineKey(channel, AUTOMATIC));
    if (!line) return;
    this.send({ type: "unsubscribed", channel, payload: { code: "unsubscribed", reason: "the server ended it" } });
    this.forget(line);
  }

  /** @param {any} request @param {"asked" | "told" | "automatic"} origin @returns {Line} */
  #add(request, origin) {
    const key = lineKey(request.channel, origin === "asked" ? canonical(request.payload) : AUTOMATIC);
    const before = this.#lines.get(key);
    const line = new Line(this, this.#board, request, origin);
    this.#lines.set(key, line);
    before?.end();
    return line;
  }

  /** @param {Line} line */
  forget(line) {
    for (const [key, other] of this.#lines) if (other === line) this.#lines.delete(key);
    line.end();
  }

  /** @param {any} data */
  #frame(data) {
    let frame;
    try {
      frame = this.#codec.decode(data);
    } catch {
      return; // Only our own client writes here.
    }
    for (const message of Array.isArray(frame) ? frame : [frame]) if (!this.ended) this.#handle(message);
  }

  /** @param {any} message */
  #handle(message) {
    const { type, id, channel } = message;
    if (type === "subscribe") this.#add(message, "asked");
    else if (type === "unsubscribe") this.#unsubscribe(message);
    else if (type === "ping" && id === undefined) this.send({ type: "pong" });
    else if (type === "resume") this.refuse(type, { id, channel }, { code: "unknown_session", reason: "subscribe anew" });
    else if (type === "flow") {
      this.refuse(type, { id, channel }, { code: "unsupported", reason: "a connection that tabs share cannot pause a channel" });
    } else if (type !== "pong") this.#pass(message);
  }

  /** @param {any} message */
  async #unsubscribe({ id, channel, payload }) {
    const wanted = payload === undefined ? null : lineKey(channel, canonical(payload));
    const found = [...this.#lines].filter(([key, line]) =>
      wanted === null ? line.channel === channel && line.origin === "asked" : key === wanted,
    );
    for (const [key] of found) this.#lines.delete(key);
    await Promise.all(found.map(([, line]) => line.end()));
    if (found.length > 0) this.send({ type: "unsubscribed", id, channel });
    else this.refuse("unsubscribe", { id, channel }, { code: "not_subscribed", reason: `not subscribed to '${channel}'` });
  }

  /** Passes a request on. @param {any} message */
  async #pass({ id, ...message }) {
    const { type, channel } = message;
    const options = { whenDisconnected: "reject", timeoutSeconds: REQUEST_SECONDS };
    let payload;
    try {
      payload = await this.#board.client.request(message, options);
    } catch (error) {
      this.refuse(type, { id, channel }, error);
      return;
    }
    if (id !== undefined) this.send({ type: REPLIES[type] ?? type, id, channel, payload });
    if (type === "auth") this.#board.signedIn(this, payload.user ?? null);
  }

  /** @param {string} request @param {{id?: any, channel?: string}} context @param {any} error */
  refuse(request, { id, channel }, { code, reason, payload, retryAfter }) {
    const said = { ...payload, code, reason, retry_after: retryAfter ?? undefined };
    this.send({ type: "error", request, id, channel, payload: said });
  }

  /** @param {Message} message */
  deliver(message) {
    if (this.#delivered.has(message)) return;
    this.#delivered.add(message);
    this.send({ ...message, type: "message" }, message);
  }

  /** @param {any} message @param {object} [shared]  The same for all tabs that it goes to. */
  send(message, shared = message) {
    if (this.ended) return;
    const { data, size } = this.#board.encode(this.#codec, message, shared);
    this.#unread.push(size);
    this.#unreadBytes += size;
    if (this.#unread.length > MAX_UNREAD_FRAMES || this.#unreadBytes > MAX_UNREAD_BYTES) {
      this.end(CLOSE_SLOW, `this tab had ${this.#unread.length} messages to handle`);
    } else {
      this.#port.postMessage({ type: "frame", data });
    }
  }

  /** @param {string} state @param {StateDetail} detail */
  tell(state, detail) {
    this.#port.postMessage({ type: "state", state, detail });
  }

  /**
   * @param {string} reason
   * @returns {Promise<{token?: string | null, error?: string} | null>}  Null: it did not answer.
   */
  askForToken(reason) {
    return new Promise((resolve) => {
      const { timers } = this.#board.host;
      const timer = timers.setTimeout(() => this.#answered?.(null), TOKEN_SECONDS * 1000);
      this.#answered = (answer) => {
        this.#answered = null;
        timers.clearTimeout(timer);
        resolve(answer);
      };
      this.#port.postMessage({ type: "getToken", reason });
    });
  }
}

/** @param {string} channel @param {string} selection */
function lineKey(channel, selection) {
  return `${channel} ${selection}`;
}
