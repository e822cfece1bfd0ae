/**
 * The one client of a page. Its elements use it, and so may its scripts.
 *
 * It is kept under a global symbol rather than in this module: a page may load the module twice, under the name with a
 * hash of its content that ManifestStaticFilesStorage gives it and under the plain one, and still have one connection.
 */

import { RealtimeClient } from "./client.js";

/** @import {ClientOptions} from "./typedefs.js" */

export const PAGE_CLIENT = Symbol.for("channels_realtime.client");

/**
 * The page's client, which connects when it is first asked for.
 * @param {ClientOptions} [options]  For the first call: a later one throws if it has some.
 * @returns {RealtimeClient}
 */
export function pageClient(options) {
  const page = /** @type {Record<symbol, any>} */ (globalThis);
  if (page[PAGE_CLIENT] && options) {
    throw new TypeError("the page's client exists already; expected its options before the first element of the page");
  }
  return (page[PAGE_CLIENT] ??= new RealtimeClient(null, options).connect());
}
