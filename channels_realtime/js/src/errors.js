/** The error that pages see. */

import { asSeconds } from "./values.js";

/** Why a request or a subscription failed. */
export class RealtimeError extends Error {
  /**
   * @param {string} code  From the wire, or one of the client's own: `disconnected`, `connection_lost`, `queue_full`,
   *   `closed`, `unsubscribed`, `overflow`, `token_unavailable`, `load_failed`.
   * @param {string} reason
   * @param {{payload?: any, channel?: string, request?: string, cause?: unknown}} [context]
   */
  constructor(code, reason, { payload, channel, request, cause } = {}) {
    super(reason ? `${code}: ${reason}` : code, cause ? { cause } : undefined);
    this.name = "RealtimeError";
    this.code = code;
    this.reason = reason;
    /** @type {number | null} Seconds to wait before trying again, if the server sent them. */
    this.retryAfter = asSeconds(payload?.retry_after);
    this.payload = payload;
    this.channel = channel;
    this.request = request;
  }
}
