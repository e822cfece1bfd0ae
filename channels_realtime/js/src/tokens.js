/** `getToken`: fetches tokens and sends them. A part of the core, see `parts.js`. */

/** @import {RealtimeClient} from "./client.js" */
/** @import {TokenReason} from "./typedefs.js" */

/** So many tokens, which were refused or about to end, are replaced within that time. With more, something is wrong. */
const MAX_RENEWALS = 5;
const RENEWALS_MILLISECONDS = 60_000;

/** @param {RealtimeClient} client @returns {boolean} A server that refuses whatever it gets would be asked for ever. */
export function mayRenew(client) {
  const now = Date.now();
  client._renewals = client._renewals.filter((then) => now - then < RENEWALS_MILLISECONDS);
  return client._renewals.push(now) <= MAX_RENEWALS;
}

/**
 * Calls back with a token, or null; with neither callback if the connection is another one by then.
 * @param {RealtimeClient} client @param {TokenReason} reason
 * @param {(token: string | null) => void} then @param {() => void} unavailable
 */
async function fetchToken(client, reason, then, unavailable) {
  const { _socket: socket, _generation: generation, _fresh: fresh } = client;
  const overtaken = () => socket !== client._socket || generation !== client._generation;
  client._fresh = null;
  let token;
  try {
    token = fresh ?? (await client._options.getToken?.({ reason })) ?? null;
  } catch (cause) {
    if (overtaken()) return;
    client._credentials._tellUnavailable(cause);
    unavailable();
    return;
  }
  if (!overtaken()) then(token);
}

/**
 * Sends a token on the current connection.
 * @param {RealtimeClient} client @param {TokenReason} reason
 * @param {() => void} [done] @param {() => void} [none] @param {() => void} [unavailable]
 */
export function authenticate(client, reason, done = () => {}, none = done, unavailable = done) {
  fetchToken(
    client,
    reason,
    (token) => {
      if (token === null) {
        none();
        return;
      }
      client._sentToken = token;
      client._requests._ask(
        { type: "auth", token },
        (payload) => {
          client.user = payload?.user ?? null;
          done();
        },
        (error) => {
          if (error.code !== "connection_lost") client._fail(error);
          done();
        },
      );
    },
    unavailable,
  );
}

/**
 * Fetches a token for the next connection, in the place of a refused one.
 * @param {RealtimeClient} client
 * @param {(token: string | null) => void} decide @param {() => void} again  It could not be fetched.
 * @param {() => void} stop  It was fetched too often.
 */
export function renew(client, decide, again, stop) {
  if (mayRenew(client)) fetchToken(client, "refused", decide, again);
  else stop();
}
