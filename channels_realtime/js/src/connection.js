import { RealtimeError } from "./errors.js";
import { asSeconds } from "./values.js";

/** @import {RealtimeClient} from "./client.js" */

/**
 * Close codes after which the client does not reconnect, from the protocol's table. They include the RFC codes that
 * stand only for such codes. 1008 stands for both kinds, so without a `closing` the client reconnects. 4401 is handled
 * separately.
 */
const TERMINAL_CLOSE_CODES = new Set([4400, 4403, 4406, 4409, 4413, 1002, 1003, 1007, 1009]);
export const CLOSE_NORMAL = 1000;
const CLOSE_ABNORMAL = 1006;
export const CLOSE_UNAUTHENTICATED = 4401;
const CLOSE_HEARTBEAT_MISSED = 4408;
/** What ends the wait for the next attempt, or makes the client test a connection that seems to be open. */
const WAKING_EVENTS = ["online", "pageshow", "visibilitychange"];

/** Opens the socket, keeps it alive, and decides what follows its end. */
export class Connection {
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

  /** @param {RealtimeClient} client @param {import("./ways.js").Ways} ways */
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
    const attempt = (this.#attempt = {});
    const loading = client._requests._loadCodec();
    let way = this.#ways.next(this._failures);
    if (loading) way = Promise.all([way, loading]).then(([Way]) => Way);
    if (typeof way?.then === "function") {
      way.then(
        (/** @type {any} */ Way) => attempt === this.#attempt && this.#use(Way),
        (/** @type {unknown} */ cause) => attempt === this.#attempt && this.#lost(null, CLOSE_ABNORMAL, String(cause)),
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
    socket.binaryType = "arraybuffer";
    socket.onmessage = (/** @type {{data: any}} */ event) => this.#receive(socket, event.data);
    socket.onclose = (/** @type {any} */ event) => this.#lost(socket, event.code ?? CLOSE_ABNORMAL, event.reason ?? ""); // React Native
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
      // No effect if it is closed already. Only 1000 ends the session and frees it, when a page is left.
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
    if (code === CLOSE_NORMAL) _session._forget(); // It ends with the connection.
    this.#listenForWaking(false);
    // Before the listeners run: what they subscribe to and request waits for the next connect(), as they may call it.
    const unanswered = [..._requests._pending.keys()];
    // After "unauthenticated" the subscriptions wait for a connect() with new credentials.
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
      // In the capture phase, because visibilitychange is an event of the document.
      // React Native has a window without them.
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
      if (socket !== client._socket) return; // A listener closed the client.
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
}
