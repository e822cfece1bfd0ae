/**
 * Which class opens the next connection: the WebSocket, or another way to the server with its interface.
 *
 * A way is a constructor `new Way(url, protocols)`. Its objects have `send(frame)`, `close(code, reason)`, `protocol`,
 * `onmessage({data})` and `onclose({code, reason})`, as a WebSocket has, and never call a listener inside the
 * constructor. The connection knows nothing else of a way, and asks for it anew at each attempt.
 *
 * Where the seams are:
 * - A chunk is loaded at the attempt that needs it: `next()` may return a promise of the constructor. The time until
 *   `welcome` includes it, and a promise that rejects is an attempt that failed.
 * - What else is behind the seam gets this context. `url` is the WebSocket's address; `http` is the base of `sse/`,
 *   `send/` and `poll/`, or null where the page does not know it: then "websocket" is the only transport.
 * - `next(failures)` is told how many attempts in a row had no `welcome`: 0 at the first and after each `welcome`.
 *
 * @typedef {object} WayContext
 * @property {string} url
 * @property {string | null} http
 * @property {string[]} transports  In the order of preference: "websocket", "sse", "polling".
 * @property {any} [WebSocket]  In the place of the global one.
 * @property {typeof globalThis.fetch} [fetch]  In the place of the global one.
 * @property {import("./typedefs.js").Timers} timers
 * @property {() => number} random  In [0, 1).
 * @property {string} [csrfToken]  Of the page's configuration.
 * @property {string} [csrfHeader]
 */

export class Ways {
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
}
