/**
 * Pages that are live without JavaScript of their own: `<realtime-channel>` and `<realtime-presence>`, with the whole
 * client. `{% realtime %}` loads it.
 *
 * htmx' requests carry the connection's id, so that a view can publish to everybody but this page.
 */

import { PAGE_CLIENT } from "../page-client.js";
import { RealtimeChannel } from "./realtime-channel.js";
import { RealtimePresence } from "./realtime-presence.js";

export * from "../index.js";
export { RealtimeChannel, RealtimePresence };

/** @param {Record<string, string>} headers @param {string} url */
function addHeaders(headers, url) {
  const client = /** @type {Record<symbol, any>} */ (globalThis)[PAGE_CLIENT];
  if (client && new URL(url, document.baseURI).origin === location.origin) Object.assign(headers, client.headers);
}

if (globalThis.customElements) {
  // A module of the page that imports this one runs before, and may give the page's client its options.
  queueMicrotask(() => {
    if (customElements.get("realtime-channel")) return; // The module may be loaded twice, by two addresses.
    customElements.define("realtime-channel", RealtimeChannel);
    customElements.define("realtime-presence", RealtimePresence);
  });
  document.addEventListener("htmx:configRequest", (event) => {
    const { headers, path } = /** @type {CustomEvent} */ (event).detail; // htmx 2
    addHeaders(headers, path);
  });
  document.addEventListener("htmx:config:request", (event) => {
    const { headers, action } = /** @type {CustomEvent} */ (event).detail.ctx.request; // htmx 4
    addHeaders(headers, action);
  });
}
