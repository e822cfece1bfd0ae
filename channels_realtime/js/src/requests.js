import { codecFor, loadCodec } from "./codec.js";
import { RealtimeError } from "./errors.js";

/**
 * @typedef {object} PendingRequest
 * @property {{type: string, [field: string]: any}} message
 * @property {any} frame  The message, encoded; null as long as the codec is not loaded.
 * @property {boolean} sent
 * @property {string | null} [user]  Of a publication that is repeated: who sent it first.
 * @property {any} timer
 * @property {boolean} aged  Whether its time goes on if the connection is lost. Otherwise it begins once more, for a publication.
 * @property {(payload: any) => void} onReply  Runs before the frame's next message, which may depend on it.
 * @property {(error: RealtimeError) => void} onError
 */

/**
 * What is asked of the server and not answered, and what is about to be sent.
 *
 * @param {import("./client.js").RealtimeClient} client
 */
export function createRequests(client) {
  let lastId = 0;
  /** @type {Map<number, PendingRequest>} In the order of the calls. */
  const pending = new Map();
  /** @type {any[]} Encoded messages. */
  let outbox = [];
  /** Null until it is loaded. @type {import("./codec.js").Codec} */
  let codec = /** @type {any} */ (codecFor(client._options.format));

  /** @returns {Promise<void> | null}  Null if there is nothing to load. */
  function load() {
    return codec ? null : loadCodec().then((loaded) => void (codec = loaded));
  }

  /**
   * @param {{type: string, [field: string]: any}} message
   * @param {(payload: any) => void} [onReply]
   * @param {(error: RealtimeError) => void} [onError]
   * @param {{timeoutSeconds?: number, now?: boolean, aged?: boolean}} [options]
   */
  function ask(message, onReply = () => {}, onError = () => {}, options = {}) {
    const { timeoutSeconds = client._options.requestTimeoutSeconds, now = true, aged = false } = options;
    const id = ++lastId;
    // At once: the page may change its objects afterwards.
    const frame = codec ? codec.encode({ ...message, id }) : null;
    if (!frame) message = structuredClone(message);
    const limit = client._options.maxQueuedBytes;
    if (!now && message.type === "publish" && frame && queuedBytes() + codec.size(frame) > limit) {
      onError(requestError("queue_full", `publications of more than ${limit} bytes wait for a connection`, message));
      return;
    }
    pending.set(id, { message, frame, sent: false, timer: null, aged, onReply, onError });
    limitAge(id, timeoutSeconds);
    if (now) transmit(id);
  }

  /** @returns {number} Of the publications that wait for a connection. */
  function queuedBytes() {
    const waiting = [...pending.values()].filter(({ message, sent, frame }) => message.type === "publish" && !sent && frame);
    return waiting.reduce((bytes, { frame }) => bytes + codec.size(frame), 0);
  }

  /** @param {number} id @param {number} seconds */
  function limitAge(id, seconds) {
    const request = /** @type {PendingRequest} */ (pending.get(id));
    client._cancel(request.timer);
    const reason = `no answer to '${request.message.type}' within ${seconds} s`;
    request.timer = client._later(seconds, () => settle(id, requestError("timeout", reason, request.message)));
  }

  /** @param {number} id */
  function transmit(id) {
    const request = pending.get(id);
    if (!request || request.sent) return;
    if (request.user !== undefined && request.user !== client.user) {
      settle(id, requestError("connection_lost", "another user is signed in since", request.message));
      return;
    }
    const limit = client._welcome?.limits?.max_frame ?? Infinity;
    request.frame ??= codec.encode({ ...request.message, id });
    const size = codec.size(request.frame);
    if (size > limit) {
      // The server would close the connection, without a reconnect (4413).
      const reason = `'${request.message.type}' is ${size} bytes long; the server accepts at most ${limit}`;
      settle(id, requestError("too_large", reason, request.message));
      return;
    }
    request.sent = true;
    push(request.frame);
  }

  /** Sends what nobody answers. @param {{type: string, [field: string]: any}} message */
  function send(message) {
    push(codec.encode(message));
  }

  /** @param {any} frame */
  function push(frame) {
    if (outbox.push(frame) === 1) queueMicrotask(() => flush());
  }

  function flush() {
    const socket = client._socket;
    const frames = outbox.splice(0);
    if (!socket || frames.length === 0) return;
    const { size: sizeOf, batch, protocol } = codec;
    const limits = client._welcome?.limits ?? {};
    const batches = client._options.batch && socket.protocol === protocol;
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
  function lost(code, reason) {
    outbox = [];
    for (const [id, request] of [...pending]) {
      const { message, sent } = request;
      if (!sent) continue;
      if (message.type === "publish" && message.key !== undefined && client._knowsKeys(message.channel)) {
        // With the same key after the reconnect, so it is published once: the server does not remember keys for ever.
        if (!request.aged) limitAge(id, client._options.maxQueueSeconds);
        Object.assign(request, { sent: false, aged: true, user: client.user });
        continue;
      }
      const text = `the connection ended before '${message.type}' was answered (${code} ${reason})`;
      settle(id, requestError("connection_lost", text, message));
    }
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

  /** @param {string} code @param {string} reason @param {{type: string, channel?: string}} message */
  function requestError(code, reason, { type, channel }) {
    return new RealtimeError(code, reason, { request: type, channel });
  }

  return {
    _pending: pending,
    _codec: () => codec,
    _loadCodec: load,
    _ask: ask,
    _transmit: transmit,
    _send: send,
    _flush: flush,
    _lost: lost,
    _settle: settle,
  };
}
