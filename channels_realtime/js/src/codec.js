/**
 * How messages become frames and frames messages. A codec is a plain object; which one a client uses is its option
 * `format`. JSON is part of the core; any other is imported by {@link loadCodec} before the first attempt.
 *
 * @typedef {object} Codec
 * @property {string} protocol  The subprotocol that is offered, and under which several messages may share a frame.
 * @property {(message: object) => any} encode  One message, at once: the page may change its objects afterwards.
 * @property {(encoded: any) => number} size  In bytes.
 * @property {(encoded: any[]) => any} batch  Several encoded messages as one frame.
 * @property {(data: any) => any} decode  A frame's data: a message, or an array of them. Throws on anything else.
 */

import { ofThisBuild } from "./parts.js";
import { byteLength } from "./values.js";

export const PROTOCOL = "realtime.v1.json";

/** @type {Codec} */
export const JSON_CODEC = {
  protocol: PROTOCOL,
  encode: (message) => JSON.stringify(message),
  size: byteLength,
  batch: (encoded) => `[${encoded.join(",")}]`,
  decode: (data) => JSON.parse(data),
};

/** The one that is not part of the core. @returns {Promise<Codec>} */
export const loadCodec = () => ofThisBuild(import("./msgpack.js")).then(({ codec }) => codec);

/** @param {string} protocol @returns {Codec | Promise<Codec>} */
export const codecOf = (protocol) => (protocol === PROTOCOL ? JSON_CODEC : loadCodec());
