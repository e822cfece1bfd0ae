/**
 * MessagePack, as the subprotocol `realtime.v1.msgpack` has it: binary frames, without extension types. A batch is an
 * array. Bytes are a Uint8Array.
 *
 * Written for this protocol: of numbers, integers within 2^53 and doubles; of objects, plain ones, whose fields that are
 * `undefined` are left out as JSON.stringify does it.
 */

/** @import {Codec} from "./codec.js" */

/** As deep as JSON may be in the server. */
const MAX_DEPTH = 64;
const TWO_32 = 2 ** 32;

class Writer {
  #view = new DataView(new ArrayBuffer(256));
  #length = 0;

  /** @param {number} count @returns {number} Where they begin. */
  #room(count) {
    const start = this.#length;
    this.#length += count;
    if (this.#length > this.#view.byteLength) {
      const larger = new Uint8Array(Math.max(2 * this.#view.byteLength, this.#length));
      larger.set(new Uint8Array(this.#view.buffer, 0, start));
      this.#view = new DataView(larger.buffer);
    }
    return start;
  }

  /** @param {number} value */
  byte(value) {
    const at = this.#room(1);
    this.#view.setUint8(at, value);
  }

  /** @param {Uint8Array} bytes */
  bytes(bytes) {
    const at = this.#room(bytes.length);
    new Uint8Array(this.#view.buffer).set(bytes, at);
  }

  /**
   * The head of something of a length. @param {number} length
   * @param {number} fixed  The code of those up to `most`; `most` is -1 if there is none.
   * @param {number} most
   * @param {(number | null)[]} codes  With 8, 16 and 32 bits.
   */
  head(length, fixed, most, [code8, code16, code32]) {
    if (length <= most) this.byte(fixed | length);
    else if (length < 0x100 && code8 !== null) this.sized(code8, 1, length);
    else if (length < 0x10000) this.sized(/** @type {number} */ (code16), 2, length);
    else this.sized(/** @type {number} */ (code32), 4, length);
  }

  /** @param {number} code @param {1 | 2 | 4} size @param {number} value  Unsigned; negative ones in two's complement. */
  sized(code, size, value) {
    this.byte(code);
    const at = this.#room(size);
    if (size === 1) this.#view.setUint8(at, value);
    else if (size === 2) this.#view.setUint16(at, value);
    else this.#view.setUint32(at, value);
  }

  /** @param {number} value */
  integer(value) {
    if (value >= 0) {
      if (value < 0x80) this.byte(value);
      else if (value < 0x100) this.sized(0xcc, 1, value);
      else if (value < 0x10000) this.sized(0xcd, 2, value);
      else if (value < TWO_32) this.sized(0xce, 4, value);
      else this.#long(0xcf, value);
    } else if (value >= -0x20) this.byte(value);
    else if (value >= -0x80) this.sized(0xd0, 1, value);
    else if (value >= -0x8000) this.sized(0xd1, 2, value);
    else if (value >= -0x80000000) this.sized(0xd2, 4, value);
    else this.#long(0xd3, value);
  }

  /** @param {number} code @param {number} value */
  #long(code, value) {
    this.byte(code);
    const at = this.#room(8);
    this.#view.setInt32(at, Math.floor(value / TWO_32));
    this.#view.setUint32(at + 4, value >>> 0);
  }

  /** @param {number} value */
  double(value) {
    this.byte(0xcb);
    const at = this.#room(8);
    this.#view.setFloat64(at, value);
  }

  /** @returns {Uint8Array} */
  written() {
    return new Uint8Array(this.#view.buffer, 0, this.#length);
  }
}

const utf8 = new TextEncoder();
const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @param {any} value @returns {Uint8Array} Throws a TypeError on what JSON has no form for either. */
export function encode(value) {
  const writer = new Writer();
  write(writer, value, 0);
  return writer.written();
}

/** @param {Writer} writer @param {any} value @param {number} depth */
function write(writer, value, depth) {
  if (depth > MAX_DEPTH) throw new TypeError(`a value is nested deeper than ${MAX_DEPTH}`);
  if (value === null || value === undefined) writer.byte(0xc0);
  else if (value === false) writer.byte(0xc2);
  else if (value === true) writer.byte(0xc3);
  else if (typeof value === "number") {
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) writer.integer(value);
    else if (Number.isFinite(value)) writer.double(value);
    else writer.byte(0xc0); // As JSON.stringify.
  } else if (typeof value === "string") {
    const bytes = utf8.encode(value);
    writer.head(bytes.length, 0xa0, 31, [0xd9, 0xda, 0xdb]);
    writer.bytes(bytes);
  } else if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
    const bytes = value instanceof ArrayBuffer ? new Uint8Array(value) : new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    writer.head(bytes.length, 0, -1, [0xc4, 0xc5, 0xc6]);
    writer.bytes(bytes);
  } else if (Array.isArray(value)) {
    writer.head(value.length, 0x90, 15, [null, 0xdc, 0xdd]);
    for (const item of value) write(writer, item, depth + 1);
  } else if (typeof value.toJSON === "function") {
    write(writer, value.toJSON(), depth);
  } else if (typeof value === "object") {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined && typeof field !== "function");
    writer.head(fields.length, 0x80, 15, [null, 0xde, 0xdf]);
    for (const [name, field] of fields) {
      write(writer, name, depth);
      write(writer, field, depth + 1);
    }
  } else {
    throw new TypeError(`a ${typeof value} cannot be sent`);
  }
}

class Reader {
  #view;
  #bytes;
  #at = 0;

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get ended() {
    return this.#at === this.#bytes.length;
  }

  /** @param {number} count @returns {number} Where they begin. */
  #take(count) {
    const start = this.#at;
    this.#at += count;
    if (this.#at > this.#bytes.length) throw new RangeError("the frame ends within a value");
    return start;
  }

  /** @param {number} size */
  #unsigned(size) {
    const at = this.#take(size);
    if (size === 1) return this.#view.getUint8(at);
    if (size === 2) return this.#view.getUint16(at);
    if (size === 4) return this.#view.getUint32(at);
    return this.#view.getUint32(at) * TWO_32 + this.#view.getUint32(at + 4);
  }

  /** @param {number} size */
  #signed(size) {
    const at = this.#take(size);
    if (size === 1) return this.#view.getInt8(at);
    if (size === 2) return this.#view.getInt16(at);
    if (size === 4) return this.#view.getInt32(at);
    return this.#view.getInt32(at) * TWO_32 + this.#view.getUint32(at + 4);
  }

  /** @param {number} length */
  #slice(length) {
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** @param {number} length @param {number} depth */
  #array(length, depth) {
    const items = [];
    for (let index = 0; index < length; index += 1) items.push(this.value(depth + 1));
    return items;
  }

  /** @param {number} length @param {number} depth */
  #map(length, depth) {
    /** @type {[any, any][]} */
    const fields = [];
    for (let index = 0; index < length; index += 1) fields.push([this.value(depth + 1), this.value(depth + 1)]);
    return Object.fromEntries(fields); // Not by assignment, which `__proto__` would divert.
  }

  /** @param {number} depth @returns {any} */
  value(depth) {
    if (depth > MAX_DEPTH + 8) throw new RangeError("a value is nested too deeply");
    const code = this.#unsigned(1);
    if (code < 0x80) return code;
    if (code < 0x90) return this.#map(code & 0xf, depth);
    if (code < 0xa0) return this.#array(code & 0xf, depth);
    if (code < 0xc0) return text.decode(this.#slice(code & 0x1f));
    if (code >= 0xe0) return code - 0x100;
    if (code === 0xc0) return null;
    if (code === 0xc2) return false;
    if (code === 0xc3) return true;
    if (code >= 0xc4 && code <= 0xc6) return this.#slice(this.#unsigned(1 << (code - 0xc4))).slice();
    if (code === 0xca) return this.#view.getFloat32(this.#take(4));
    if (code === 0xcb) return this.#view.getFloat64(this.#take(8));
    if (code >= 0xcc && code <= 0xcf) return this.#unsigned(1 << (code - 0xcc));
    if (code >= 0xd0 && code <= 0xd3) return this.#signed(1 << (code - 0xd0));
    if (code >= 0xd9 && code <= 0xdb) return text.decode(this.#slice(this.#unsigned(1 << (code - 0xd9))));
    if (code === 0xdc || code === 0xdd) return this.#array(this.#unsigned(code === 0xdc ? 2 : 4), depth);
    if (code === 0xde || code === 0xdf) return this.#map(this.#unsigned(code === 0xde ? 2 : 4), depth);
    throw new RangeError(`a value begins with 0x${code.toString(16)}`);
  }
}

/** @param {ArrayBuffer | Uint8Array} data @returns {any} Throws on what is not one value, whole. */
export function decode(data) {
  const reader = new Reader(data instanceof Uint8Array ? data : new Uint8Array(data));
  const value = reader.value(0);
  if (!reader.ended) throw new RangeError("bytes follow the value");
  return value;
}

/** @type {Codec} */
export const codec = {
  protocol: "realtime.v1.msgpack",
  encode,
  size: (encoded) => encoded.byteLength,
  batch: (encoded) => {
    const writer = new Writer();
    writer.head(encoded.length, 0x90, 15, [null, 0xdc, 0xdd]);
    for (const message of encoded) writer.bytes(message);
    return writer.written();
  },
  decode,
};
