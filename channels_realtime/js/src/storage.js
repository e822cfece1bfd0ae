/** Values that this site's pages remember for a time. Without storage, nothing is remembered. */

/** @param {string} key @param {any} value  JSON. @param {number} seconds */
export function remember(key, value, seconds) {
  try {
    globalThis.localStorage.setItem(key, JSON.stringify([value, Date.now() + seconds * 1000]));
  } catch {
    // Not a page, or its user does not allow storage.
  }
}

/** @param {string} key @returns {any} Null if there is nothing, or its time has passed. */
export function recall(key) {
  try {
    const [value, until] = JSON.parse(globalThis.localStorage.getItem(key) ?? "[]");
    return Date.now() < until ? value : null;
  } catch {
    return null;
  }
}
