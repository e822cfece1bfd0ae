/** Throws at once where a page has misspelt or forgotten something. */

/**
 * @param {string} kind  What the names stand for: "option", "event".
 * @param {string[]} given
 * @param {string[]} known
 * @param {boolean} [open]  Whether other names are possible too. Then only a name that differs by one letter is a mistake.
 */
export function checkNames(kind, given, known, open) {
  for (const name of given) {
    if (known.includes(name)) continue;
    const near = known.find((other) => alike(name.toLowerCase(), other.toLowerCase(), open ? 1 : 2));
    if (near || !open) {
      throw new TypeError(`unknown ${kind} '${name}'; ${near ? `did you mean '${near}'?` : `expected one of ${known.join(", ")}`}`);
    }
  }
}

/** @param {string} name  The option or handler. @param {unknown} value */
export function checkFunction(name, value) {
  if (typeof value !== "function") throw new TypeError(`${name} is ${value === null ? value : typeof value}; expected a function`);
}

/** @param {string} a @param {string} b @param {number} edits  How many letters may be missing, added or different. @returns {boolean} */
function alike(a, b, edits) {
  if (a === b) return true;
  const [restA, restB] = [a.slice(1), b.slice(1)];
  if (a[0] === b[0]) return alike(restA, restB, edits);
  return edits > 0 && (alike(restA, b, edits - 1) || alike(a, restB, edits - 1) || alike(restA, restB, edits - 1));
}
