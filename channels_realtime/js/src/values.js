/** Pure functions for what is on the wire: names, positions, sizes. Extras may import them too. */

/** @import {Position} from "./typedefs.js" */

/**
 * Makes any text one segment of a channel name, as `channels_realtime.quote` in Python: letters, digits and `_-.:@` stay,
 * any other character becomes `=` and two hexadecimal digits for each byte of its UTF-8 encoding.
 *
 * @param {unknown} value
 * @returns {string}
 */
export function quote(value) {
  return String(value).replace(/[^A-Za-z0-9_.:@=-]|=(?=[0-9A-F]{2})/gu, (character) => {
    const encoded = encodeURIComponent(character); // React Native has it; it leaves !'()*~ as they are
    return encoded === character
      ? "=" + character.charCodeAt(0).toString(16).toUpperCase()
      : encoded.replaceAll("%", "=");
  });
}

/** @param {any} value @returns {Position | null} */
export function positionIn(value) {
  return typeof value?.offset === "number" ? { epoch: value.epoch, offset: value.offset } : null;
}

/** @param {any} value  A position, or its JSON text as a template writes it. @returns {Position | null} */
export function readPosition(value) {
  const parsed = typeof value === "string" ? JSON.parse(value.trim() || "null") : value;
  return positionIn(Array.isArray(parsed) ? { epoch: parsed[0], offset: parsed[1] } : parsed);
}

/** @param {Position | null} known @param {Position | null} other @returns {boolean} Whether `other` is at or before `known`. */
export function covers(known, other) {
  return known?.epoch === other?.epoch && /** @type {any} */ (other)?.offset <= /** @type {any} */ (known)?.offset;
}

/** @param {(Position | null)[]} positions @returns {Position | null} The lowest, of those with the epoch of the first. */
export function earliest(positions) {
  const known = /** @type {Position[]} */ (positions.filter((position) => position !== null));
  return known.reduce((lowest, position) => (covers(lowest, position) ? position : lowest), known[0] ?? null);
}

/** @param {Position | null} left @param {Position | null} right @returns {boolean} */
export function samePosition(left, right) {
  return left?.epoch === right?.epoch && left?.offset === right?.offset;
}

/** @param {unknown} value @returns {number | null} */
export function asSeconds(value) {
  return typeof value === "number" && value >= 0 ? value : null;
}

/** The length in UTF-8, without TextEncoder, which React Native may lack. @param {string} text  As of JSON.stringify. */
export function byteLength(text) {
  return encodeURIComponent(text).replace(/%../g, " ").length;
}

/** Returns the same text for equal JSON values, in any order of keys. @param {any} value @returns {string} */
export function canonical(value) {
  const sorted = (/** @type {string} */ _key, /** @type {any} */ inner) =>
    typeof inner === "object" && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner;
  return JSON.stringify(value, sorted) ?? "";
}

/** The outcome of a listener that threw. The same wherever this module is bundled. */
export const FAILED = Symbol.for("channels_realtime.failed");

/** @param {unknown} error */
export function report(error) {
  (globalThis.reportError ?? console.error)(error);
}
