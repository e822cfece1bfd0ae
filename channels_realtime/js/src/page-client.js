/**
 * The client that a page's elements share. Its scripts may use it too.
 *
 * It is kept under a global symbol rather than in this module, because a page may load the module twice: under its plain
 * name, and under the name with a hash that ManifestStaticFilesStorage gives it. There is still one connection.
 */

import { RealtimeClient } from "./client.js";

/** @import {ClientOptions} from "./typedefs.js" */

export const PAGE_CLIENT = Symbol.for("channels_realtime.client");

/**
 * The page's client, which connects when it is first asked for.
 * @param {ClientOptions} [options]  Only in the first call: a later call with options throws.
 * @returns {RealtimeClient}
 */
export function pageClient(options) {
  const page = /** @type {Record<symbol, any>} */ (globalThis);
  if (page[PAGE_CLIENT] && options) {
    throw new TypeError("the page's client exists already; expected its options before the first element of the page");
  }
  return (page[PAGE_CLIENT] ??= new RealtimeClient(null, options).connect());
}
