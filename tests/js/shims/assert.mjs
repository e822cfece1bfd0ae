/** What the tests use of node:assert/strict, for browsers. */

class AssertionError extends Error {}

function fail(message, actual, expected) {
  const shown = (value) => JSON.stringify(value, (_, item) => (item === undefined ? "undefined" : item));
  throw new AssertionError(message ?? `got ${shown(actual)}, expected ${shown(expected)}`);
}

function same(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (a instanceof Map || a instanceof Set) return same([...a], [...b]);
  const keys = Reflect.ownKeys(a).filter((key) => Object.prototype.propertyIsEnumerable.call(a, key));
  const others = Reflect.ownKeys(b).filter((key) => Object.prototype.propertyIsEnumerable.call(b, key));
  return (
    keys.length === others.length &&
    (!Array.isArray(a) || a.length === b.length) &&
    keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]))
  );
}

function matches(error, expected) {
  if (expected === undefined) return true;
  if (expected instanceof RegExp) return expected.test(String(error));
  if (typeof expected === "function") {
    return expected.prototype instanceof Error || expected === Error
      ? error instanceof expected
      : expected(error) === true;
  }
  return Object.entries(expected).every(([key, value]) =>
    value instanceof RegExp ? value.test(String(error[key])) : same(error[key], value),
  );
}

function assert(value, message) {
  if (!value) fail(message, value, true);
}

export default Object.assign(assert, {
  ok: assert,
  equal: (actual, expected, message) => Object.is(actual, expected) || fail(message, actual, expected),
  notEqual: (actual, expected, message) => !Object.is(actual, expected) || fail(message, actual, expected),
  deepEqual: (actual, expected, message) => same(actual, expected) || fail(message, actual, expected),
  match: (actual, expected, message) => expected.test(actual) || fail(message, actual, String(expected)),
  throws: (action, expected, message) => {
    try {
      action();
    } catch (error) {
      return matches(error, expected) || fail(message, String(error), String(expected));
    }
    return fail(message ?? "nothing was thrown");
  },
  rejects: async (promise, expected, message) => {
    try {
      await (typeof promise === "function" ? promise() : promise);
    } catch (error) {
      return matches(error, expected) || fail(message, String(error), JSON.stringify(expected));
    }
    return fail(message ?? "nothing was rejected");
  },
});
