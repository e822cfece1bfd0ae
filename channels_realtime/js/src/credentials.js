import { CLOSE_NORMAL, CLOSE_UNAUTHENTICATED } from "./connection.js";
import { tokens, withPart } from "./parts.js";
import { asSeconds } from "./values.js";

/** @import {Closing} from "./connection.js" */
/** @import * as Tokens from "./tokens.js" */

/**
 * Who the client is. Without `getToken` that is up to the login session; with it, to `tokens.js`.
 *
 * @param {import("./client.js").RealtimeClient} client
 */
export function createCredentials(client) {
  const { getToken, backoffBaseSeconds } = client._options;

  /**
   * @param {(part: typeof Tokens) => void} then
   * @param {() => void} [unavailable]  After it was told, if neither a token nor what fetches it can be had.
   */
  function withTokens(then, unavailable = () => {}) {
    const { _generation: generation } = client;
    withPart(tokens, then, (cause) => {
      if (generation !== client._generation) return;
      tellUnavailable(cause);
      unavailable();
    });
  }

  /** @param {unknown} cause */
  function tellUnavailable(cause) {
    client._fail(client._error("token_unavailable", "getToken failed", { cause, request: "auth" }));
  }

  /** The server waits for a token. */
  function required() {
    const none = () => signedOut("the server requires a token and the page has none");
    const abandon = () => client._connection._abandon("getToken failed");
    if (!getToken) none();
    // Then the server sends `welcome`, or `closing` and 4401.
    else withTokens((part) => part.authenticate(client, "required", undefined, none, abandon), abandon);
  }

  /** The credentials will end soon. */
  function expiring() {
    if (getToken) withTokens((part) => part.mayRenew(client) && part.authenticate(client, "expiring"));
  }

  /** @param {string} reason */
  function signedOut(reason) {
    client._connection._drop(CLOSE_NORMAL, "no credentials");
    client._session._forget();
    client._connection._stop("unauthenticated", CLOSE_UNAUTHENTICATED, reason);
  }

  /** A `welcome` has come. @param {string | null} user @returns {boolean} Whether the client goes on as that user. */
  function accepts(user) {
    if (client._renewed && !client._fresh && user === null && client.user !== null) {
      signedOut("the login session has ended"); // Its user must not go on as a visitor unnoticed.
      return false;
    }
    client._renewed = false;
    client.user = user;
    if (user !== null) client._fresh = null; // Other credentials were used; it would be old by then.
    return true;
  }

  /** After `welcome`: signs in where the connection is anonymous. @param {() => void} then */
  function signIn(then) {
    if (client.user === null && getToken) withTokens((part) => part.authenticate(client, "anonymous", then), then);
    else then();
  }

  /**
   * After 4401: makes one new attempt, with another token than the refused one, or with the login session, which may have
   * moved on: changing the password in another tab gives the browser a new cookie. Stops at the second 4401 in a row.
   * `reconnect: true` with 4401 also means "with new credentials".
   * @param {number} code @param {string} reason @param {Closing | null} closing
   */
  function renew(code, reason, closing) {
    const { _connection: connection, _generation: generation } = client;
    const stop = () => connection._stop("unauthenticated", code, reason);
    const retry = (/** @type {Closing | null} */ now) => connection._retry(code, reason, now);
    /** @param {string | null} token */
    const decide = (token) => {
      const sent = client._sentToken;
      if (client._renewed || (token === null ? sent !== null : token === sent)) {
        stop();
        return;
      }
      client._renewed = true;
      client._fresh = token;
      // With a login session not sooner: the response with the new cookie may still be on its way.
      const wait = Math.max(asSeconds(closing?.retry_after) ?? 0, backoffBaseSeconds);
      retry(token === null ? { retry_after: wait } : closing);
    };
    client._fresh = null;
    if (client._renewed || !getToken) {
      decide(null);
      return;
    }
    client._setState("reconnecting", { attempt: client._failures + 2, nextDelay: null, code, reason });
    if (generation !== client._generation) return; // A listener closed the client.
    // The source of tokens may recover; the backoff limits the attempts.
    const again = () => retry(closing);
    withTokens((part) => generation === client._generation && part.renew(client, decide, again, stop), again);
  }

  return {
    _tellUnavailable: tellUnavailable,
    _required: required,
    _expiring: expiring,
    _accepts: accepts,
    _signIn: signIn,
    _renew: renew,
  };
}
