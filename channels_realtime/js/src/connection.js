import { RealtimeError } from "./errors.js";
import { credentials, loadFailed, withPart } from "./parts.js";
import { asSeconds } from "./values.js";

/** @import {RealtimeClient} from "./client.js" */
/** @import * as Credentials from "./credentials.js" */
/** @typedef {{code?: number, reason?: string, reconnect?: boolean, retry_after?: number}} Closing */
/** @typedef {{least?: number, immediate?: boolean}} Pace  The shortest wait in seconds, or none, after another tab took over. */

/**
 * Close codes after which the client does not reconnect, from the protocol's table. They include the RFC codes that
 * stand only for such codes. 1008 stands for both kinds, so without a `closing` the client reconnects. 4401 is handled
 * separately.
 */
const TERMINAL_CLOSE_CODES = [4400, 4403, 4406, 4409, 4413, 1002, 1003, 1007, 1009];
export const CLOSE_NORMAL = 1000;
const CLOSE_ABNORMAL = 1006;
const CLOSE_UNAUTHENTICATED = 4401;
const CLOSE_HEARTBEAT_MISSED = 4408;

/**
 * Events of the page that the connection reacts to. A page in the back/forward cache, or frozen, receives nothing, and an
 * open connection could keep it out of the cache: so the connection closes, and opens again with the page. The events that
 * wake a page end the wait for the next attempt, or test a connection that seems to be open. So does `offline`.
 */
const PAGE_EVENTS = ["pagehide", "freeze", "pageshow", "resume", "online", "offline", "visibilitychange"];
/** The shortest wait after the page was suspended, if it goes on after all, in seconds. */
const SUSPENDED_SECONDS = 1;

/** After this many failed attempts in a row, the console names the likely reasons. */
const ATTEMPTS_BEFORE_WARNING = 3;

/**
 * Opens the socket, watches it, hands out what it receives, and decides what follows its end.
 *
 * @param {RealtimeClient} client
 * @param {import("./ways.js").NextWay} nextWay
 */
export function createConnection(client, nextWay) {
  /** @type {any} */
  let retryTimer = null;
  let retryHeldByServer = false;
  /** @type {any} Waits for `welcome`, then for the heartbeat. */
  let watchdog = null;
  let warned = false;
  /** Whether the last attempt received anything. */
  let heard = true;
  /** The last message before the server closes the connection. @type {Closing | null} */
  let closing = null;
  /** Whether the page was told that a way could not be loaded. */
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
        (/** @type {any} */ Way) => same() && use(Way),
        (/** @type {unknown} */ cause) => {
          if (!told && same()) {
            told = true;
            client._fail(loadFailed(cause));
          }
          if (same()) lost(null, CLOSE_ABNORMAL, String(cause)); // A listener may have closed the client.
        },
      );
    } else {
      use(way);
    }
    const limit = client._options.connectTimeoutSeconds;
    watch(limit, () => abandon(`no welcome within ${limit} s`));
    client._setState("connecting", { attempt: client._failures + 1 });
  }

  /** @param {new (url: string, protocols: string[]) => any} Way */
  function use(Way) {
    if (!Way) throw new TypeError("there is no WebSocket here; pass one as the option 'WebSocket'");
    const socket = (client._socket = new Way(client.url, [client._requests._codec().protocol]));
    socket.binaryType = "arraybuffer";
    socket.onmessage = (/** @type {{data: any}} */ { data }) => receive(socket, data);
    // React Native leaves out the code.
    socket.onclose = (/** @type {any} */ event) => lost(socket, event.code ?? CLOSE_ABNORMAL, event.reason ?? "", { immediate: event.immediate });
    // A shared connection tells its own state, and may take longer than one attempt.
    socket.onstate = (/** @type {import("./typedefs.js").State} */ state, /** @type {import("./typedefs.js").StateDetail} */ detail) => {
      if (socket !== client._socket || client._welcome) return;
      client._cancel(watchdog);
      client._setState(state, detail);
    };
  }

  /** @param {string} reason */
  function abandon(reason) {
    lost(client._socket, CLOSE_HEARTBEAT_MISSED, reason);
  }

  /** @param {any} socket @param {number} closeCode @param {string} closeReason @param {Pace} [pace] */
  function lost(socket, closeCode, closeReason, pace) {
    if (socket !== client._socket) return;
    const said = closing;
    const { code = closeCode, reason = closeReason, reconnect } = said ?? {};
    drop(closeCode, closeReason);
    if (!(reconnect ?? !TERMINAL_CLOSE_CODES.includes(code))) stop("closed", code, reason);
    else if (code === CLOSE_UNAUTHENTICATED) renew(code, reason, said);
    else retry(code, reason, said, pace);
  }

  /** Gives up the socket and its state. @param {number} code @param {string} reason */
  function drop(code, reason) {
    const socket = client._socket;
    client._cancel(watchdog);
    client._generation += 1;
    closing = client._socket = client._welcome = null;
    client._ready = false;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      // No effect if it is closed already. Only 1000 ends the session on the server, when a page is left.
      socket.close(code === CLOSE_NORMAL ? code : CLOSE_HEARTBEAT_MISSED);
    }
    client._channels._lost();
    client._requests._lost(code, reason);
  }

  /**
   * Reconnects later, with full jitter up to an exponential limit. After a `retry_after`, it waits between once and twice
   * that time, so that clients that were closed together do not reconnect together.
   * @param {number} code @param {string} reason @param {Closing | null} said @param {Pace} [pace]
   */
  function retry(code, reason, said, { least = 0, immediate = false } = {}) {
    const wait = asSeconds(said?.retry_after);
    const nextDelay = immediate ? 0 : client._delay(client._failures, wait ?? least);
    client._failures += 1;
    retryHeldByServer = wait !== null;
    retryTimer = client._later(nextDelay, retryNow);
    if (client._failures >= ATTEMPTS_BEFORE_WARNING && !warned) {
      warned = true;
      console.warn(
        `channels_realtime: ${client._failures} attempts to connect to ${client.url} failed (${code} ${reason}). ` +
          "Is the path right, is this page's origin allowed, and is the ASGI server running? See docs/troubleshooting.md",
      );
    }
    client._setState("reconnecting", { attempt: client._failures + 1, nextDelay, code, reason });
  }

  function retryNow() {
    client._cancel(retryTimer);
    retryTimer = null;
    open();
  }

  /** @param {"closed" | "unauthenticated"} state @param {number} code @param {string} reason */
  function stop(state, code, reason) {
    const { _requests, _channels } = client;
    client._cancel(retryTimer);
    retryTimer = null;
    if (code === CLOSE_NORMAL) client._session._forget(); // It ends with the connection.
    follow("removeEventListener");
    // Before the listeners run: their new subscriptions and requests wait for the next connect(), which they may call.
    const unanswered = [..._requests._pending.values()];
    // After "unauthenticated" the subscriptions wait for a connect() with new credentials.
    const subscriptions = state === "closed" ? _channels._clear() : [];
    client._setState(state, { code, reason });
    for (const request of unanswered) _requests._fail(request, "disconnected", `the client is ${state} (${code} ${reason})`);
    _channels._end(subscriptions, code, reason);
  }

  // Heartbeat

  /** @param {number} seconds @param {() => void} callback */
  function watch(seconds, callback) {
    client._cancel(watchdog);
    watchdog = client._later(seconds, callback);
  }

  function beat() {
    const { interval, timeout } = client._welcome?.heartbeat ?? {};
    if (interval > 0) watch(interval + timeout, probe);
  }

  function probe() {
    const { timeout } = client._welcome?.heartbeat ?? {};
    if (!(timeout > 0)) return;
    client._requests._send({ type: "ping" });
    watch(timeout, () => abandon(`nothing heard for ${timeout} s after a ping`));
  }

  // The page

  /** @param {"addEventListener" | "removeEventListener"} method */
  function follow(method) {
    // In the capture phase, because some are events of the document. React Native has none of them.
    for (const event of PAGE_EVENTS) (client._options.wakeTarget ?? globalThis)[method]?.(event, moved, true);
  }

  /** @param {Event} event */
  function moved({ type }) {
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

  // Receiving

  /** @param {any} socket @param {any} data */
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
      if (socket !== client._socket) return; // A listener closed the client.
      if (typeof message === "object" && message !== null) handle(message);
    }
  }

  /** @param {any} message */
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
    else if (id !== undefined) return; // The rest are replies.
    else if (type === "subscribed") _channels._told(channel, payload, message.automatic);
    else if (type === "unsubscribed") _channels._taken(channel, payload);
    else if (error) client._fail(error);
  }

  /** @param {any} payload */
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

  // Credentials

  /**
   * @param {(part: typeof Credentials) => void} then
   * @param {(error: RealtimeError) => void} [failed]  After the page was told that the part could not be loaded.
   */
  function withCredentials(then, failed) {
    const same = client._sameConnection();
    withPart(
      credentials,
      (part) => same() && then(part),
      (error) => {
        if (!same()) return;
        client._fail(error);
        failed?.(error);
      },
    );
  }

  /** @param {number} code @param {string} reason @param {Closing | null} said */
  function renew(code, reason, said) {
    withCredentials(
      (part) => part.renew(client, code, reason, said),
      () => retry(code, reason, said),
    );
    if (!credentials.module) client._setState("reconnecting", { attempt: client._failures + 2, nextDelay: null, code, reason });
  }

  return {
    _start: start,
    _abandon: abandon,
    _drop: drop,
    _retry: retry,
    _stop: stop,
  };
}
