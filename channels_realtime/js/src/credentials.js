import { CLOSE_NORMAL, CLOSE_UNAUTHENTICATED } from "./connection.js";
import { RealtimeError } from "./errors.js";
import { asSeconds } from "./values.js";

/** @import {Closing} from "./connection.js" */
/** @import {TokenReason} from "./typedefs.js" */

/** So many tokens, which were refused or about to end, are replaced within that time. With more, something is wrong. */
const MAX_RENEWALS = 5;
const RENEWALS_MILLISECONDS = 60_000;

/**
 * Who the client is: its tokens, and what happens when they are asked for, expire or are refused.
 *
 * @param {import("./client.js").RealtimeClient} client
 */
export function createCredentials(client) {
  /** @type {string | null} The last token sent, to recognise a new one. */
  let sentToken = null;
  /** @type {number[]} When credentials were renewed. */
  let renewals = [];

  /** @returns {boolean} Whether credentials may be renewed once more. A server that refuses all would be asked for ever. */
  function mayRenew() {
    const now = Date.now();
    renewals = renewals.filter((then) => now - then < RENEWALS_MILLISECONDS);
    return renewals.push(now) <= MAX_RENEWALS;
  }

  /**
   * Calls back with a token, or null; with neither callback if the connection is another one by then.
   * @param {TokenReason} reason @param {(token: string | null) => void} then @param {() => void} unavailable
   */
  async function fetchToken(reason, then, unavailable) {
    const { _socket: socket, _generation: generation, _fresh: fresh } = client;
    const overtaken = () => socket !== client._socket || generation !== client._generation;
    client._fresh = null;
    let token;
    try {
      token = fresh ?? (await client._options.getToken?.({ reason })) ?? null;
    } catch (cause) {
      if (overtaken()) return;
      client._fail(new RealtimeError("token_unavailable", "getToken failed", { cause, request: "auth" }));
      unavailable();
      return;
    }
    if (!overtaken()) then(token);
  }

  /**
   * Sends a token on the current connection.
   * @param {TokenReason} reason @param {() => void} [done] @param {() => void} [none] @param {() => void} [unavailable]
   */
  function authenticate(reason, done = () => {}, none = done, unavailable = done) {
    fetchToken(
      reason,
      (token) => {
        if (token === null) {
          none();
          return;
        }
        sentToken = token;
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

  function required() {
    authenticate(
      "required",
      undefined, // The server sends `welcome`, or `closing` and 4401.
      () => signedOut("the server requires a token and the page has none"),
      () => client._connection._abandon("getToken failed"),
    );
  }

  /** The credentials will end soon. */
  function expiring() {
    if (client._options.getToken && mayRenew()) authenticate("expiring");
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
    if (client.user === null && client._options.getToken) authenticate("anonymous", then);
    else then();
  }

  /**
   * After 4401: makes one new attempt, with another token than the refused one, or with the login session, which may have
   * moved on: changing the password in another tab gives the browser a new cookie. Stops at the second 4401 in a row.
   * `reconnect: true` with 4401 also means "with new credentials".
   * @param {number} code @param {string} reason @param {Closing | null} closing
   */
  function renew(code, reason, closing) {
    const { _connection: connection, _generation: generation, _options: options } = client;
    const stop = () => connection._stop("unauthenticated", code, reason);
    client._fresh = null;
    if (client._renewed || !mayRenew()) {
      stop();
      return;
    }
    /** @param {string | null} token */
    const decide = (token) => {
      if (token === null ? sentToken !== null : token === sentToken) {
        stop();
        return;
      }
      client._renewed = true;
      client._fresh = token;
      // With a login session not sooner: the response with the new cookie may still be on its way.
      const wait = Math.max(asSeconds(closing?.retry_after) ?? 0, options.backoffBaseSeconds);
      connection._retry(code, reason, token === null ? { retry_after: wait } : closing);
    };
    if (!options.getToken) {
      decide(null);
      return;
    }
    client._setState("reconnecting", { attempt: client._failures + 2, nextDelay: null, code, reason });
    // The source of tokens may recover; the backoff limits the attempts.
    if (generation === client._generation) fetchToken("refused", decide, () => connection._retry(code, reason, closing));
  }

  return {
    _required: required,
    _expiring: expiring,
    _accepts: accepts,
    _signIn: signIn,
    _renew: renew,
  };
}
