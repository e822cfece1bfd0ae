/**
 * The browser client of channels_realtime: one connection per page for all its channels.
 *
 * In: the server's frames of the subprotocol `realtime.v1.json`. Out: requests. Pages call {@link connect} and add
 * listeners. The project's protocol reference, version 1, is the source of all rules here.
 *
 * {@link RealtimeClient} has the public methods, and a module for each of its tasks. A {@link Feed} is its state of one
 * channel: the position, the members, and the subscriptions on the wire. A {@link Subscription} is what one call of
 * `subscribe()` returns.
 *
 * All durations are in seconds, as on the wire. Tokens never appear in a URL, an error or a log. Names that begin with an
 * underscore are internal: the builds shorten them.
 */

import { RealtimeClient } from "./client.js";
import { sharedWays } from "./sharing.js";

export { PROTOCOL } from "./codec.js";
export { RealtimeError } from "./errors.js";
export { pageClient } from "./page-client.js";
export { Subscription } from "./subscription.js";
export * from "./typedefs.js"; // Types alone.
export { quote } from "./values.js";
export { RealtimeClient };

/** @import {ClientOptions} from "./typedefs.js" */
/** @import {AnyRoutes} from "./types.js" */

RealtimeClient._sharedWays = sharedWays;

/**
 * Returns a client that is connecting. Listeners added in the same task miss no message.
 * @template [Routes=AnyRoutes]  The types of the site's channels, as `manage.py realtime_schema` writes them.
 * @param {string | URL | null} [url]  As for {@link RealtimeClient}.
 * @param {ClientOptions} [options]
 * @returns {RealtimeClient<Routes>}
 */
export function connect(url, options) {
  return /** @type {any} */ (new RealtimeClient(url, options).connect());
}
