import { JSON_CODEC, loadCodec } from "./codec.js";
import { RealtimeError } from "./errors.js";

/**
 * @typedef {object} PendingRequest
 * @property {number} id
 * @property {{type: string, [field: string]: any}} message
 * @property {any} [frame]  The message, encoded. Missing until the codec is loaded.
 * @property {boolean} [sent]
 * @property {string | null} [user]  Who sent it first, if it is a publication that is sent again.
 * @property {any} [timer]
 * @property {boolean} aged  Whether its time goes on when the connection is lost. Otherwise that of a publication starts again.
 * @property {(payload: any) => void} onReply  Runs before the frame's next message, which may depend on it.
 * @property {(error: RealtimeError) => void} onError
 */

/**
 * The requests without an answer yet, and the messages about to be sent.
 *
 * @param {import("./client.js").RealtimeClient} client
 */
export function createRequests(client) {
  const { maxQueuedBytes, maxQueueSeconds, requestTimeoutSeconds, format } = client._options;
  let lastId = 0;
  /** @type {Map<number, PendingRequest>} In the order of the calls. */
  const pending = new Map();
  /** @type {any[]} Encoded messages. */
  let outbox = [];
  /** Null until it is loaded. @type {import("./codec.js").Codec} */
  let codec = /** @type {any} */ (format === "json" ? JSON_CODEC : null);

  /** @returns {Promise<void> | null}  Null if there is nothing to load. */
  function load() {
    return codec ? null : loadCodec().then((loaded) => void (codec = loaded));
  }

  /**
   * @param {{type: string, [field: string]: any}} message
   * @param {(payload: any) => void} [onReply]
   * @param {(error: RealtimeError) => void} [onError]
   * @param {number} [timeoutSeconds]
   * @param {boolean} [now]  Whether to send it now, and not with the next connection.
   */
  function ask(message, onReply = () => {}, onError = () => {}, timeoutSeconds, now = true) {
    const queued = !now && message.type === "publish";
    /** @type {PendingRequest} */
    const request = { id: ++lastId, message, aged: queued || timeoutSeconds !== undefined, onReply, onError };
    pending.set(request.id, request);
    // Encoded or copied at once: the page may change its objects afterwards.
    if (codec) encode(request);
    else request.message = structuredClone(message);
    limitAge(request, timeoutSeconds ?? (queued ? maxQueueSeconds : requestTimeoutSeconds));
    if (now) transmit(request);
    else if (queued && queuedBytes() > maxQueuedBytes) {
      fail(request, "queue_full", `publications of more than ${maxQueuedBytes} bytes wait for a connection`);
    }
  }

  /** @param {PendingRequest} request */
  function encode(request) {
    request.frame ??= codec.encode({ ...request.message, id: request.id });
  }

  /** @returns {number} The size of the publications that wait for a connection. */
  function queuedBytes() {
    let bytes = 0;
    for (const { message, sent, frame } of pending.values()) if (message.type === "publish" && !sent && frame) bytes += codec.size(frame);
    return bytes;
  }

  /** @param {PendingRequest} request @param {number} seconds */
  function limitAge(request, seconds) {
    client._cancel(request.timer);
    request.timer = client._later(seconds, () => fail(request, "timeout", `no answer to '${request.message.type}' within ${seconds} s`));
  }

  /** @param {PendingRequest} request */
  function transmit(request) {
    const { message, user, id } = request;
    if (request.sent || !pending.has(id)) return;
    if (user !== undefined && user !== client.user) {
      fail(request, "connection_lost", "another user is signed in since");
      return;
    }
    encode(request);
    const limit = client._welcome?.limits?.max_frame ?? Infinity;
    const size = codec.size(request.frame);
    if (size > limit) {
      // The server would close the connection, without a reconnect (4413).
      fail(request, "too_large", `'${message.type}' is ${size} bytes long; the server accepts at most ${limit}`);
      return;
    }
    request.sent = true;
    push(request.frame);
  }

  /** Sends a message without an answer. @param {{type: string, [field: string]: any}} message */
  function send(message) {
    push(codec.encode(message));
  }

  /** @param {any} frame */
  function push(frame) {
    if (outbox.push(frame) === 1) queueMicrotask(flush);
  }

  function flush() {
    const socket = client._socket;
    const frames = outbox.splice(0);
    if (!socket || frames.length === 0) return;
    const { size: sizeOf, batch, protocol } = codec;
    const { max_batch = 1, max_frame = Infinity } = client._welcome?.limits ?? {};
    const maxBatch = client._options.batch && socket.protocol === protocol ? max_batch : 1;
    while (frames.length > 0) {
      let count = 1;
      let size = 2 + sizeOf(frames[0]); // With the first bracket, and a comma or bracket after each.
      while (count < Math.min(frames.length, maxBatch) && (size += sizeOf(frames[count]) + 1) <= max_frame) count += 1;
      const taken = frames.splice(0, count);
      socket.send(count === 1 ? taken[0] : batch(taken));
    }
  }

  /** The connection has ended. @param {number} code @param {string} reason */
  function lost(code, reason) {
    outbox = [];
    for (const request of [...pending.values()]) {
      const { message, sent } = request;
      if (!sent) continue;
      if (message.type === "publish" && message.key !== undefined && client._knowsKeys(message.channel)) {
        // It is sent again with the same key, so it is published once. The server remembers keys for a limited time.
        if (!request.aged) limitAge(request, maxQueueSeconds);
        Object.assign(request, { sent: false, aged: true, user: client.user });
      } else {
        fail(request, "connection_lost", `the connection ended before '${message.type}' was answered (${code} ${reason})`);
      }
    }
  }

  /** @param {PendingRequest} request @param {string} code @param {string} reason */
  function fail({ id, message }, code, reason) {
    settle(id, new RealtimeError(code, reason, { request: message.type, channel: message.channel }));
  }

  /** @param {number} id @param {RealtimeError | null} error @param {any} [payload] */
  function settle(id, error, payload) {
    const request = pending.get(id);
    if (!request) return;
    pending.delete(id);
    client._cancel(request.timer);
    if (error) request.onError(error);
    else request.onReply(payload);
  }

  return {
    _pending: pending,
    _codec: () => codec,
    _loadCodec: load,
    _ask: ask,
    _transmit: transmit,
    _fail: fail,
    _send: send,
    _flush: flush,
    _lost: lost,
    _settle: settle,
  };
}
