/**
 * Fetches tokens with `getToken`, and decides what follows a 4401. With a login session alone it is loaded after a 4401.
 * A part of the core, see `parts.js`.
 */

import { asSeconds } from "./values.js";

/** @import {RealtimeClient} from "./client.js" */
/** @import {Closing} from "./connection.js" */
/** @import {TokenReason} from "./typedefs.js" */

/** At most this many tokens that were refused or about to expire are replaced within this time. */
const MAX_RENEWALS = 5;
const RENEWALS_MILLISECONDS = 60_000;
const CLOSE_NORMAL = 1000;
const CLOSE_UNAUTHENTICATED = 4401;

/**
 * What a client remembers until the next `connect()`.
 * @typedef {object} Credentials
 * @property {string | null} sent  The last token sent, to recognise a new one.
 * @property {string | null} fetched  A token fetched after a 4401, for the next connection.
 * @property {boolean} renewed  Whether a 4401 has been answered with a new attempt, and no `welcome` has come since.
 * @property {number[]} renewals  When credentials were renewed, in milliseconds.
 */

/** @param {RealtimeClient} client @returns {Credentials} */
function credentialsOf(client) {
  return (client._credentials ??= { sent: null, fetched: null, renewed: false, renewals: [] });
}

/** The server waits for a token. @param {RealtimeClient} client */
export function required(client) {
  const none = () => signedOut(client, "the server requires a token and the page has none");
  // Then the server sends `welcome`, or `closing` and 4401.
  if (client._options.getToken) authenticate(client, "required", undefined, none, () => client._connection._abandon("getToken failed"));
  else none();
}

/** The credentials will end soon. @param {RealtimeClient} client */
export function expiring(client) {
  if (client._options.getToken && mayRenew(client)) authenticate(client, "expiring");
}

/** After `welcome`: signs in where the connection is anonymous. @param {RealtimeClient} client @param {() => void} then */
export function signIn(client, then) {
  authenticate(client, "anonymous", then);
}

/** A `welcome` has come. @param {RealtimeClient} client @param {string | null} user @returns {boolean} Whether the client goes on as that user. */
export function accepts(client, user) {
  const own = credentialsOf(client);
  if (own.renewed && !own.fetched && user === null && client.user !== null) {
    signedOut(client, "the login session has ended"); // Its user must not go on as a visitor unnoticed.
    return false;
  }
  own.renewed = false;
  if (user !== null) own.fetched = null; // Other credentials were used; it would be old by the time it is needed.
  return true;
}

/**
 * After 4401: makes one new attempt, with another token than the refused one, or with the login session, which may have
 * moved on: changing the password in another tab gives the browser a new cookie. Stops at the second 4401 in a row.
 * `reconnect: true` with 4401 also means "with new credentials".
 * @param {RealtimeClient} client @param {number} code @param {string} reason @param {Closing | null} closing
 */
export function renew(client, code, reason, closing) {
  const own = credentialsOf(client);
  const stop = () => client._connection._stop("unauthenticated", code, reason);
  const retry = (/** @type {Closing | null} */ now) => client._connection._retry(code, reason, now);
  /** @param {string | null} token */
  const decide = (token) => {
    if (own.renewed || (token === null ? own.sent !== null : token === own.sent)) {
      stop();
      return;
    }
    own.renewed = true;
    own.fetched = token;
    // With a login session not sooner: the response with the new cookie may still be on its way.
    const wait = Math.max(asSeconds(closing?.retry_after) ?? 0, client._options.backoffBaseSeconds);
    retry(token === null ? { retry_after: wait } : closing);
  };
  own.fetched = null;
  if (own.renewed || !client._options.getToken) {
    decide(null);
    return;
  }
  const same = client._sameConnection();
  if (client.state !== "reconnecting") client._setState("reconnecting", { attempt: client._failures + 2, nextDelay: null, code, reason });
  if (!same()) return; // A listener closed the client.
  // The source of tokens may recover; the backoff limits the attempts.
  if (mayRenew(client)) fetchToken(client, "refused", decide, () => retry(closing));
  else stop();
}

/** @param {RealtimeClient} client @param {string} reason */
function signedOut(client, reason) {
  client._connection._drop(CLOSE_NORMAL, "no credentials");
  client._session._forget();
  client._connection._stop("unauthenticated", CLOSE_UNAUTHENTICATED, reason);
}

/** @param {RealtimeClient} client @returns {boolean} False if it was too often: a server that refuses every token would be asked for ever. */
function mayRenew(client) {
  const now = Date.now();
  const own = credentialsOf(client);
  own.renewals = own.renewals.filter((then) => now - then < RENEWALS_MILLISECONDS);
  return own.renewals.push(now) <= MAX_RENEWALS;
}

/**
 * Calls back with a token or null. Calls neither function if the connection has ended by then.
 * @param {RealtimeClient} client @param {TokenReason} reason
 * @param {(token: string | null) => void} then @param {() => void} unavailable
 */
async function fetchToken(client, reason, then, unavailable) {
  const same = client._sameConnection();
  const own = credentialsOf(client);
  const { fetched } = own;
  own.fetched = null;
  let token;
  try {
    token = fetched ?? (await client._options.getToken?.({ reason })) ?? null;
  } catch (cause) {
    if (!same()) return;
    client._fail(client._error("token_unavailable", "getToken failed", { cause, request: "auth" }));
    unavailable();
    return;
  }
  if (same()) then(token);
}

/**
 * Sends a token on the current connection.
 * @param {RealtimeClient} client @param {TokenReason} reason
 * @param {() => void} [done] @param {() => void} [none] @param {() => void} [unavailable]
 */
function authenticate(client, reason, done = () => {}, none = done, unavailable = done) {
  fetchToken(
    client,
    reason,
    (token) => {
      if (token === null) {
        none();
        return;
      }
      credentialsOf(client).sent = token;
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
