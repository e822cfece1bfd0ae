import { CLOSE_NORMAL, CLOSE_UNAUTHENTICATED } from "./connection.js";
import { RealtimeError } from "./errors.js";
import { asSeconds } from "./values.js";

/** @import {TokenReason} from "./typedefs.js" */

/** Who the client is: its tokens, and what happens when they are asked for, expire or are refused. */
export class Credentials {
  #client;
  /** @type {string | null} The last token sent, to recognise a new one. */
  #sent = null;
  /** @type {string | null} A token fetched after a 4401, for the next connection. */
  _fresh = null;
  /** Whether a 4401 has been answered with a new attempt, and no `welcome` has come since. */
  _renewed = false;

  /** @param {import("./client.js").RealtimeClient} client */
  constructor(client) {
    this.#client = client;
  }

  /**
   * @param {TokenReason} reason
   * @returns {Promise<string | null>}
   */
  async #token(reason) {
    const fresh = this._fresh;
    this._fresh = null;
    return fresh ?? (await this.#client._options.getToken?.({ reason })) ?? null;
  }

  /** @param {unknown} cause */
  #unavailable(cause) {
    this.#client._fail(new RealtimeError("token_unavailable", "getToken failed", { cause, request: "auth" }));
  }

  /**
   * Sends a token on the current connection.
   * @param {TokenReason} reason
   * @param {(outcome: "done" | "refused" | "none" | "unavailable") => void} [then]
   */
  async _authenticate(reason, then = () => {}) {
    const client = this.#client;
    const socket = client._socket;
    let token;
    try {
      token = await this.#token(reason);
    } catch (cause) {
      if (socket !== client._socket) return;
      this.#unavailable(cause);
      then("unavailable");
      return;
    }
    if (socket !== client._socket) return;
    if (token === null) {
      then("none");
      return;
    }
    this.#sent = token;
    client._requests._ask(
      { type: "auth", token },
      (payload) => {
        client.user = payload?.user ?? null;
        then("done");
      },
      (error) => {
        if (error.code !== "connection_lost") client._fail(error);
        then("refused");
      },
    );
  }

  _required() {
    this._authenticate("required", (outcome) => {
      if (outcome === "unavailable") this.#client._connection._abandon("getToken failed");
      if (outcome !== "none") return; // The server sends `welcome`, or `closing` and 4401.
      this.#signedOut("the server requires a token and the page has none");
    });
  }

  /** @param {string} reason */
  #signedOut(reason) {
    this.#client._connection._drop(CLOSE_NORMAL, "no credentials");
    this.#client._session._forget();
    this.#client._connection._stop("unauthenticated", CLOSE_UNAUTHENTICATED, reason);
  }

  /** A `welcome` has come. @param {string | null} user @returns {boolean} Whether the client goes on as that user. */
  _accepts(user) {
    if (this._renewed && !this._fresh && user === null && this.#client.user !== null) {
      this.#signedOut("the login session has ended"); // Its user must not go on as a visitor unnoticed.
      return false;
    }
    this._renewed = false;
    this.#client.user = user;
    if (user !== null) this._fresh = null; // Other credentials were used; it would be old by then.
    return true;
  }

  /** After `welcome`: signs in where the connection is anonymous. @param {() => void} then */
  _signIn(then) {
    if (this.#client.user === null && this.#client._options.getToken) this._authenticate("anonymous", then);
    else then();
  }

  /**
   * After 4401: makes one new attempt, with another token than the refused one, or with the login session, which may have
   * moved on: changing the password in another tab gives the browser a new cookie. Stops at the second 4401 in a row,
   * or a server that refuses whatever it gets would be asked for ever. `reconnect: true` with 4401 also means "with new
   * credentials".
   * @param {number} code @param {string} reason @param {{retry_after?: number} | null} closing
   */
  async _renew(code, reason, closing) {
    const client = this.#client;
    const connection = client._connection;
    if (this._renewed) {
      connection._stop("unauthenticated", code, reason);
      return;
    }
    const generation = connection._generation;
    this._fresh = null;
    let token = null;
    if (client._options.getToken) {
      client._setState("reconnecting", { attempt: connection._failures + 2, nextDelay: null, code, reason });
      if (generation !== connection._generation) return; // A listener closed the client.
      try {
        token = await this.#token("refused");
      } catch (cause) {
        if (generation !== connection._generation) return;
        this.#unavailable(cause);
        connection._retry(code, reason, closing); // The source of tokens may recover; the backoff limits the attempts.
        return;
      }
      if (generation !== connection._generation) return;
    }
    if (token === null && this.#sent === null) {
      this._renewed = true;
      // Not sooner: the response with the new cookie may still be on its way.
      const wait = Math.max(asSeconds(closing?.retry_after) ?? 0, client._options.backoffBaseSeconds);
      connection._retry(code, reason, { retry_after: wait });
    } else if (token !== null && token !== this.#sent) {
      this._renewed = true;
      this._fresh = token;
      connection._retry(code, reason, closing);
    } else {
      connection._stop("unauthenticated", code, reason);
    }
  }
}
