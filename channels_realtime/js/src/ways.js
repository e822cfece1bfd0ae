/**
 * Chooses the class that opens the next connection: WebSocket, or another transport with its interface.
 *
 * A way is a constructor `new Way(url, protocols)`. Its objects have `send(frame)`, `close(code, reason)`, `protocol`,
 * `onmessage({data})` and `onclose({code, reason})`, as a WebSocket has, and never call a listener inside the
 * constructor. The connection knows nothing else about a way, and asks for one at each attempt. Where it gets a promise of
 * the constructor, that counts towards the time until `welcome`; if the promise rejects, the attempt has failed.
 *
 * WebSockets are taken to be blocked if several attempts in a row receive nothing, the last of them right after the server
 * has answered over HTTP that it takes connections. Then `fallbacks/` is loaded, and chooses. If the server is down, it
 * does not answer, so WebSockets are tried again.
 *
 * @typedef {(heard: boolean) => any} NextWay  Returns the constructor, or a promise of it. `heard`: whether the last attempt
 *   received anything; true for the first.
 *
 * @typedef {object} WayContext
 * @property {string} url  The WebSocket's address.
 * @property {string | null} http  The base of `sse/`, `send/` and `poll/`. Null: the WebSocket is the only way.
 * @property {string[]} transports  "websocket", which comes first; "sse" and "polling", in their order.
 * @property {any} [WebSocket]  Replaces the global one.
 * @property {typeof globalThis.fetch} [fetch]  Replaces the global one.
 * @property {import("./typedefs.js").Timers} timers
 * @property {() => number} random  In [0, 1).
 * @property {string | string[]} [csrfToken]  From the page's configuration; a worker may have those of several pages.
 * @property {string} [csrfHeader]
 */

import { ofThisBuild } from "./parts.js";
import { recall } from "./storage.js";

/** After this many attempts without a frame, WebSockets may be blocked. */
const MAX_FAILURES = 2;

/**
 * @param {WayContext} context
 * @returns {NextWay}
 */
export function createWays(context) {
  const { http, transports } = context;
  /** WebSocket attempts in a row that received nothing. */
  let failures = 0;
  /** Whether the server answered over HTTP right before the last attempt. */
  let answered = false;
  /** @type {string | null} The way that worked on an earlier page. It is for the first attempt. */
  let remembered = recall(`realtime-way ${http}`);
  /** @type {import("./fallbacks/choice.js").Choice | null} */
  let choice = null;

  return (heard) => {
    const { WebSocket = globalThis.WebSocket, fetch = globalThis.fetch } = context;
    const chosen = choice?.next(heard);
    if (chosen) return chosen;
    if (!http || !fetch || `${transports}` === "websocket") return WebSocket;
    const offline = globalThis.navigator?.onLine === false;
    failures = heard || offline ? 0 : failures + 1;
    const blocked = failures >= MAX_FAILURES && answered;
    answered = false;
    if (WebSocket && transports.includes("websocket") && !blocked && !remembered) {
      if (failures === 0) return WebSocket;
      // Before the attempt: if an outage ended in between, the WebSocket would look blocked.
      return fetch(`${http}ready/`, { method: "HEAD", mode: "no-cors" }).then(
        ({ status }) => {
          answered = status < 500; // 0 if it is of another origin
          return WebSocket;
        },
        () => WebSocket,
      );
    }
    failures = 0;
    const first = remembered;
    remembered = null;
    return ofThisBuild(import("./fallbacks/index.js")).then(({ Choice }) => {
      choice ??= new Choice(context);
      return choice.begin(first);
    });
  };
}
