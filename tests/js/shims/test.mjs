/** What the tests use of node:test, for browsers: collects the tests, and `run` runs them in order. */

const tests = [];
const names = [];
const before = [];
const after = [];

export function describe(name, define) {
  names.push(name);
  define();
  names.pop();
}

export function test(name, run) {
  tests.push({ name: [...names, name].join(" > "), run });
}

export const it = test;
export const beforeEach = (hook) => before.push(hook);
export const afterEach = (hook) => after.push(hook);

export async function run() {
  const failures = [];
  for (const { name, run } of tests) {
    try {
      for (const hook of before) await hook();
      await run();
    } catch (error) {
      failures.push(`${name}: ${error.stack ?? error}`);
    } finally {
      for (const hook of after) await hook();
    }
  }
  return { count: tests.length, failures };
}
