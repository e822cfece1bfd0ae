/** What the tests use of node:test, for browsers: collects the tests, and `run` runs them in order. */

const tests = [];
const names = [];
let before = [];
let after = [];

/** To be called before each file is imported: hooks are those of one file. */
export function beginFile() {
  before = [];
  after = [];
}

export function describe(name, define) {
  names.push(name);
  define();
  names.pop();
}

export function test(name, run) {
  tests.push({ name: [...names, name].join(" > "), run, before, after });
}

export const it = test;
export const beforeEach = (hook) => before.push(hook);
export const afterEach = (hook) => after.push(hook);

export async function run() {
  const failures = [];
  for (const { name, run, before, after } of tests) {
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
