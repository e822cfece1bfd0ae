/**
 * Which class opens the next connection: the WebSocket, or another way to the server with its interface.
 *
 * A way is a constructor `new Way(url, protocols)`. Its objects have `send(frame)`, `close(code, reason)`, `protocol`,
 * `onmessage({data})` and `onclose({code, reason})`, as a WebSocket has, and never call a listener inside the
 * constructor. The connection knows nothing else of a way, and asks for it anew at each attempt. `next()` may return a
 * promise of the constructor: the time until `welcome` includes it, and one that rejects is an attempt that failed.
 *
 * A WebSocket is blocked if attempts bring nothing, the last of them right after the server has answered over HTTP that it
 * takes connections. Then `fallbacks/` is loaded, and chooses. A server that is down is no reason: it answers nothing.
 *
 * @typedef {object} WayContext
 * @property {string} url  The WebSocket's address.
 * @property {string | null} http  The base of `sse/`, `send/` and `poll/`. Null: the WebSocket is the only way.
 * @property {string[]} transports  "websocket", which comes first; "sse" and "polling", in their order.
 * @property {any} [WebSocket]  In the place of the global one.
 * @property {typeof globalThis.fetch} [fetch]  In the place of the global one.
 * @property {import("./typedefs.js").Timers} timers
 * @property {() => number} random  In [0, 1).
 * @property {string | string[]} [csrfToken]  Of the page's configuration; several where a worker knows no page.
 * @property {string} [csrfHeader]
 */

import { ofThisBuild } from "./parts.js";
import { recall } from "./storage.js";

/** So many attempts without a frame make a WebSocket blocked. */
const MAX_FAILURES = 2;

export class Ways {
  /** Whether the last attempt has received anything: the connection sets it. */
  heard = true;
  #context;
  /** Attempts in a row by WebSocket that received nothing. */
  #failures = 0;
  /** Whether the server answered over HTTP right before the last of them. */
  #answers = false;
  /** @type {string | null} What worked on an earlier page, for the first attempt. */
  #remembered;
  /** @type {import("./fallbacks/choice.js").Choice | null} */
  #choice = null;

  /** @param {WayContext} context */
  constructor(context) {
    this.#context = context;
    this.#remembered = recall(`realtime-way ${context.http}`);
  }

  /** @returns {any} A constructor, or a promise of one. */
  next() {
    const { http, transports, WebSocket = globalThis.WebSocket, fetch = globalThis.fetch } = this.#context;
    const heard = this.heard;
    const remembered = this.#remembered;
    const answers = this.#answers;
    this.heard = this.#answers = false;
    this.#remembered = null;
    const chosen = this.#choice?.next(heard);
    if (chosen) return chosen;
    if (!http || !fetch || `${transports}` === "websocket") return WebSocket;
    const offline = globalThis.navigator?.onLine === false;
    this.#failures = heard || offline ? 0 : this.#failures + 1;
    const blocked = this.#failures >= MAX_FAILURES && answers;
    if (WebSocket && transports.includes("websocket") && !blocked && !remembered) {
      if (this.#failures === 0) return WebSocket;
      // First, or an outage that ends meanwhile would look like a WebSocket that is blocked.
      return fetch(`${http}ready/`, { method: "HEAD", mode: "no-cors" }).then(
        ({ status }) => {
          this.#answers = status < 500; // 0 if it is of another origin
          return WebSocket;
        },
        () => WebSocket,
      );
    }
    this.#failures = 0;
    return ofThisBuild(import("./fallbacks/index.js")).then(({ Choice }) => {
      this.#choice ??= new Choice(this.#context);
      return this.#choice.begin(remembered);
    });
  }
}
