import { codecFor, loadCodec } from "./codec.js";
import { RealtimeError } from "./errors.js";

/**
 * @typedef {object} PendingRequest
 * @property {{type: string, [field: string]: any}} message
 * @property {any} frame  The message, encoded; null as long as the codec is not loaded.
 * @property {boolean} sent
 * @property {any} timer
 * @property {(payload: any) => void} onReply  Runs before the frame's next message, which may depend on it.
 * @property {(error: RealtimeError) => void} onError
 */

/** What is asked of the server and not answered, and what is about to be sent. */
export class Requests {
  #client;
  #lastId = 0;
  /** @type {Map<number, PendingRequest>} In the order of the calls. */
  _pending = new Map();
  /** @type {any[]} Encoded messages. */
  #outbox = [];
  /** Null until it is loaded. @type {import("./codec.js").Codec} */
  _codec;

  /** @param {import("./client.js").RealtimeClient} client */
  constructor(client) {
    this.#client = client;
    this._codec = /** @type {any} */ (codecFor(client._options.format));
  }

  /** @returns {Promise<void> | null}  Null if there is nothing to load. */
  _loadCodec() {
    return this._codec ? null : loadCodec().then((codec) => void (this._codec = codec));
  }

  /**
   * @param {{type: string, [field: string]: any}} message
   * @param {(payload: any) => void} [onReply]
   * @param {(error: RealtimeError) => void} [onError]
   * @param {{timeoutSeconds?: number, now?: boolean}} [options]
   */
  _ask(message, onReply = () => {}, onError = () => {}, { timeoutSeconds = this.#client._options.requestTimeoutSeconds, now = true } = {}) {
    const id = ++this.#lastId;
    // At once: the page may change its objects afterwards.
    const frame = this._codec ? this._codec.encode({ ...message, id }) : null;
    if (!frame) message = structuredClone(message);
    const timer = this.#client._later(timeoutSeconds, () => {
      this._settle(id, this.#error("timeout", `no answer to '${message.type}' within ${timeoutSeconds} s`, message));
    });
    this._pending.set(id, { message, frame, sent: false, timer, onReply, onError });
    if (now) this._transmit(id);
  }

  /** @param {number} id */
  _transmit(id) {
    const request = this._pending.get(id);
    if (!request || request.sent) return;
    const limit = this.#client._welcome?.limits?.max_frame ?? Infinity;
    request.frame ??= this._codec.encode({ ...request.message, id });
    const size = this._codec.size(request.frame);
    if (size > limit) {
      // The server would close the connection, without a reconnect (4413).
      const reason = `'${request.message.type}' is ${size} bytes long; the server accepts at most ${limit}`;
      this._settle(id, this.#error("too_large", reason, request.message));
      return;
    }
    request.sent = true;
    this.#push(request.frame);
  }

  /** Sends what nobody answers. @param {{type: string, [field: string]: any}} message */
  _send(message) {
    this.#push(this._codec.encode(message));
  }

  /** @param {any} frame */
  #push(frame) {
    if (this.#outbox.push(frame) === 1) queueMicrotask(() => this._flush());
  }

  _flush() {
    const socket = this.#client._socket;
    const frames = this.#outbox.splice(0);
    if (!socket || frames.length === 0) return;
    const { size: sizeOf, batch, protocol } = this._codec;
    const limits = this.#client._welcome?.limits ?? {};
    const batches = this.#client._options.batch && socket.protocol === protocol;
    const maxBatch = batches ? (limits.max_batch ?? 1) : 1;
    const maxBytes = (limits.max_frame ?? Infinity) - 1; // The first bracket; commas and the last one are counted below.
    for (let start = 0; start < frames.length; ) {
      let end = start + 1;
      let size = sizeOf(frames[start]) + 1;
      while (end < frames.length && end - start < maxBatch) {
        size += sizeOf(frames[end]) + 1;
        if (size > maxBytes) break;
        end += 1;
      }
      socket.send(end - start === 1 ? frames[start] : batch(frames.slice(start, end)));
      start = end;
    }
  }

  /** The connection has ended. @param {number} code @param {string} reason */
  _lost(code, reason) {
    this.#outbox = [];
    for (const [id, { message, sent }] of [...this._pending]) {
      if (!sent) continue;
      const text = `the connection ended before '${message.type}' was answered (${code} ${reason})`;
      this._settle(id, this.#error("connection_lost", text, message));
    }
  }

  /** @param {number} id @param {RealtimeError | null} error @param {any} [payload] */
  _settle(id, error, payload) {
    const request = this._pending.get(id);
    if (!request) return;
    this._pending.delete(id);
    this.#client._cancel(request.timer);
    if (error) request.onError(error);
    else request.onReply(payload);
  }

  /** @param {string} code @param {string} reason @param {{type: string, channel?: string}} message */
  #error(code, reason, { type, channel }) {
    return new RealtimeError(code, reason, { request: type, channel });
  }
}
