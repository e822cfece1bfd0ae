/** What the client makes of the page's life, and of places other than a page. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { FakeWebSocket, settle } from "./fakes.mjs";
import { URL as ADDRESS, open, sent, setUp, socket, states, timers, welcomed } from "./harness.mjs";
import { RealtimeClient, connect } from "../../channels_realtime/js/src/index.js";

setUp();

describe("the page's life", () => {
  let page;

  beforeEach(() => {
    page = new EventTarget();
  });

  for (const [away, back] of [["pagehide", "pageshow"], ["freeze", "resume"]]) {
    test(`${away} closes the connection, which ${back} opens again and resumes`, async () => {
      const client = await welcomed({ wakeTarget: page });
      const published = client.publish("a", 1);
      page.dispatchEvent(new Event(away));
      assert.deepEqual(sent(), [{ type: "publish", channel: "a", payload: 1 }]);
      assert.deepEqual([socket().closedWith, states.at(-1)], [4408, "reconnecting"]);
      await assert.rejects(published, { code: "connection_lost" });
      page.dispatchEvent(new Event(back));
      assert.equal(FakeWebSocket.all.length, 2);
      await socket().welcomeBack({ session_id: "second" });
      assert.deepEqual(sent().map(({ type, session_id: id }) => [type, id]), [["resume", "secret-session"]]);
    });
  }

  test("a page that goes on after pagehide reconnects by itself, though not at once", async () => {
    await welcomed({ wakeTarget: page, random: () => 0 });
    page.dispatchEvent(new Event("pagehide"));
    page.dispatchEvent(new Event("pagehide"));
    await timers.advance(0.9);
    assert.equal(FakeWebSocket.all.length, 1);
    await timers.advance(0.1);
    assert.equal(FakeWebSocket.all.length, 2);
  });

  test("offline tests the connection, and starts no attempt", async () => {
    await welcomed({ wakeTarget: page });
    page.dispatchEvent(new Event("offline"));
    await settle();
    assert.deepEqual(sent(), [{ type: "ping" }]);
    await timers.advance(10);
    assert.equal(states.at(-1), "reconnecting");
    page.dispatchEvent(new Event("offline"));
    assert.equal(FakeWebSocket.all.length, 1);
  });
});

test("close() by the listener that hears that a way cannot be loaded stays closed", async () => {
  const { _sharedWays } = RealtimeClient;
  RealtimeClient._sharedWays = () => () => Promise.reject(new Error("offline"));
  try {
    const client = open({ shareConnection: true });
    client.on("error", ({ code }) => code === "load_failed" && client.close());
    await settle();
    await timers.advance(60);
    assert.equal(client.state, "closed");
  } finally {
    RealtimeClient._sharedWays = _sharedWays;
  }
});

describe("attempts that fail", () => {
  let warnings;
  const { warn } = console;

  beforeEach(() => {
    warnings = [];
    console.warn = (...words) => warnings.push(words.join(" "));
  });

  afterEach(() => {
    console.warn = warn;
  });

  async function fail(times) {
    for (let attempt = 0; attempt < times; attempt += 1) {
      await socket().end(1006);
      await timers.advance(0);
    }
  }

  test("the third in a row says once what the reason may be", async () => {
    open({ random: () => 0 });
    await fail(2);
    assert.deepEqual(warnings, []);
    await fail(3);
    assert.deepEqual(warnings, [
      "channels_realtime: 3 attempts to connect to wss://example.test/ws/ failed (1006 ). Is the path right, is this " +
        "page's origin allowed, and is the ASGI server running? See docs/troubleshooting.md",
    ]);
  });

  test("a welcome between them starts the count anew", async () => {
    open({ random: () => 0 });
    await fail(2);
    await socket().welcome();
    await fail(2);
    assert.deepEqual(warnings, []);
  });
});

describe("credentials that are refused again and again", () => {
  test("are renewed five times a minute, each time after a welcome, and then no more", async () => {
    let calls = 0;
    const client = open({ getToken: async () => `token ${(calls += 1)}` });
    for (let renewal = 1; renewal <= 5; renewal += 1) {
      await socket().welcome();
      await socket().end(4401);
      await timers.advance(1);
      assert.equal(FakeWebSocket.all.length, renewal + 1);
    }
    await socket().welcome();
    await socket().end(4401);
    assert.deepEqual([client.state, calls], ["unauthenticated", 5]);
    await timers.advance(600);
    assert.equal(FakeWebSocket.all.length, 6);
  });

  test("a token that is about to end when it comes is not fetched for ever", async () => {
    let calls = 0;
    await welcomed({ getToken: async () => `token ${(calls += 1)}` });
    for (let n = 0; n < 20; n += 1) await socket().receive({ type: "auth_expiring", payload: { expires_at: 1 } });
    assert.equal(calls, 5);
  });
});

describe("elsewhere than in a page", () => {
  async function lend(lent, run) {
    const names = Object.keys(lent);
    const before = names.map((name) => Object.getOwnPropertyDescriptor(globalThis, name));
    if (before.some((descriptor) => descriptor?.configurable === false)) return; // A browser's own cannot be replaced.
    for (const name of names) Object.defineProperty(globalThis, name, { value: lent[name], configurable: true, writable: true });
    try {
      await run();
    } finally {
      names.forEach((name, index) => {
        if (before[index]) Object.defineProperty(globalThis, name, before[index]);
        else delete globalThis[name];
      });
    }
  }

  test("importing and creating a client opens nothing", () => {
    const client = new RealtimeClient(ADDRESS, { timers });
    assert.deepEqual([client.state, FakeWebSocket.all.length, timers.count], ["idle", 0, 0]);
  });

  test("without a WebSocket, as in Node 20, connect() says what to pass", async () => {
    await lend({ WebSocket: undefined }, () => {
      assert.throws(() => connect(ADDRESS, { timers, wakeTarget: new EventTarget() }), {
        name: "TypeError",
        message: "there is no WebSocket here; pass one as the option 'WebSocket'",
      });
    });
  });

  test("a worker made from a text connects to the site of its page", async () => {
    await lend({ location: { href: "blob:https://shop.test/9c55-a7" } }, () => {
      assert.equal(new RealtimeClient().url, "wss://shop.test/ws/");
    });
  });

  test("in a worker, which has no window, online ends the wait for the next attempt", async () => {
    const self = new EventTarget();
    const methods = { addEventListener: self.addEventListener.bind(self), removeEventListener: self.removeEventListener.bind(self) };
    await lend({ window: undefined, ...methods }, async () => {
      const client = connect(ADDRESS, { WebSocket: FakeWebSocket, timers, random: () => 1 });
      await socket().end(1006);
      self.dispatchEvent(new Event("online"));
      assert.equal(FakeWebSocket.all.length, 2);
      client.close();
    });
  });
});
