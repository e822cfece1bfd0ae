import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { FakeTimers, FakeWebSocket, settle } from "./fakes.mjs";
import "./harness.mjs";
import { RealtimeClient, RealtimeError, connect, quote } from "../../channels_realtime/js/src/index.js";

const URL = "wss://example.test/ws/";
let timers;
let window;
let reported;
let states;
let errors;
let random;
let originalReportError;

beforeEach(() => {
  FakeWebSocket.reset();
  timers = new FakeTimers();
  window = new EventTarget();
  states = [];
  errors = [];
  reported = [];
  random = 1;
  originalReportError = globalThis.reportError;
  globalThis.reportError = (error) => reported.push(error);
});

afterEach(() => {
  globalThis.reportError = originalReportError;
});

function open(options = {}) {
  const client = connect(URL, { WebSocket: FakeWebSocket, timers, random: () => random, wakeTarget: window, ...options });
  client.on("state", (state, detail) => states.push([state, detail]));
  client.on("error", (error) => errors.push(error));
  return client;
}

async function welcomed(options, welcome) {
  const client = open(options);
  await FakeWebSocket.last.welcome(welcome);
  return client;
}

const socket = () => FakeWebSocket.last;
const lastState = () => states.at(-1);
const codes = () => errors.map((error) => error.code);

test("quote makes any text a segment of a channel name, as in Python", () => {
  const quoted = { 42: "42", "foo+tag@example.com": "foo=2Btag@example.com", "jürgen": "j=C3=BCrgen", "a/b:c": "a=2Fb:c",
    "a=b": "a=b", "a=2B": "a=3D2B", "a=2b": "a=2b", "=2+": "=2=2B", "\n": "=0A", "it's (*~!)": "it=27s=20=28=2A=7E=21=29", "😀": "=F0=9F=98=80" };
  for (const [text, expected] of Object.entries(quoted)) assert.equal(quote(text), expected);
});

function publication(channel, payload, fields = {}) {
  return { type: "message", channel, payload, ...fields };
}

/** Records what a subscription tells. */
function heard(subscription) {
  const log = [];
  for (const event of ["message", "subscribed", "recovered", "unsubscribed", "error"]) {
    subscription.on(event, (value) => log.push([event, event === "message" ? value.payload : (value.code ?? value)]));
  }
  return log;
}

async function subscribed(client, channel, options, payload = {}) {
  const subscription = client.subscribe(channel, typeof options === "function" ? options : { onSubscribed() {}, ...options });
  await settle();
  await socket().answer("subscribe", { type: "subscribed", payload });
  return subscription;
}

async function reconnect(welcome) {
  await socket().end(1006);
  await timers.advance(1);
  await socket().welcome(welcome);
}

describe("url", () => {
  const target = (url) => new RealtimeClient(url).url;

  test("http and https become ws and wss, and a fragment goes", () => {
    assert.equal(target("https://example.test/ws/#top"), "wss://example.test/ws/");
    assert.equal(target("http://example.test/ws/"), "ws://example.test/ws/");
  });

  test("relative urls and the default are of the page's own host", () => {
    // A browser's location cannot be replaced; elsewhere there is none, so one is lent.
    const lent = globalThis.location === undefined;
    if (lent) globalThis.location = { href: "https://shop.test/a/b" };
    try {
      const page = new globalThis.URL(globalThis.location.href);
      const host = `${page.protocol === "https:" ? "wss" : "ws"}://${page.host}`;
      assert.equal(target(undefined), `${host}/ws/`);
      assert.equal(target("live/"), `${host}${page.pathname.replace(/[^/]*$/, "")}live/`);
      for (const [content, path] of [["/app/ws/", "/app/ws/"], [" /app/ws/ ", "/app/ws/"], ["", "/ws/"]]) {
        withMeta(content, () => {
          for (const none of [undefined, null, ""]) assert.equal(target(none), `${host}${path}`);
          assert.equal(target("/other/"), `${host}/other/`);
        });
      }
      withMeta("https://live.test/ws/", () => assert.equal(connect(undefined, { WebSocket: FakeWebSocket, timers }).url, "wss://live.test/ws/"));
    } finally {
      if (lent) delete globalThis.location;
    }
  });

  /** Runs a test in a page with `<meta name="realtime-url">`; outside a browser the document is lent too. */
  function withMeta(content, check) {
    if (globalThis.document) {
      const meta = document.createElement("meta");
      meta.name = "realtime-url";
      meta.content = content;
      document.head.append(meta);
      try {
        check();
      } finally {
        meta.remove();
      }
      return;
    }
    const meta = { getAttribute: (name) => (name === "content" ? content : null) };
    globalThis.document = { querySelector: (selector) => (selector === 'meta[name="realtime-url"]' ? meta : null) };
    try {
      check();
    } finally {
      delete globalThis.document;
    }
  }
});

describe("without a browser, as in React Native", () => {
  /** Lends the module what React Native has in the place of a browser's globals. */
  async function inReactNative(run) {
    class SetterlessUrl extends globalThis.URL {
      get protocol() {
        return super.protocol;
      }
      set protocol(_value) {
        throw new Error("URL.protocol is not implemented");
      }
      get hash() {
        return super.hash;
      }
      set hash(_value) {
        throw new Error("URL.hash is not implemented");
      }
    }
    const lent = { URL: SetterlessUrl, window: {}, TextEncoder: undefined, reportError: undefined };
    const original = Object.fromEntries(Object.keys(lent).map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)]));
    const replaced = Object.keys(lent).filter((name) => original[name]?.configurable !== false);
    for (const name of replaced) Object.defineProperty(globalThis, name, { value: lent[name], configurable: true, writable: true });
    try {
      await run();
    } finally {
      for (const name of replaced) {
        delete globalThis[name];
        if (original[name]) Object.defineProperty(globalThis, name, original[name]);
      }
    }
  }

  const nativeOptions = () => ({ WebSocket: FakeWebSocket, timers, random: () => random });

  test("connect() and close() need no setters of URL and no addEventListener of window", async () => {
    await inReactNative(async () => {
      for (const wakeTarget of [undefined, {}]) {
        for (const url of ["wss://example.test/ws/?a=1#top", "https://example.test/ws/?a=1"]) {
          const client = connect(url, { ...nativeOptions(), ...(wakeTarget && { wakeTarget }) });
          assert.equal(socket().url, "wss://example.test/ws/?a=1");
          await socket().welcome();
          assert.equal(client.state, "connected");
          client.close();
          assert.equal(socket().closedWith, 1000);
        }
      }
    });
  });

  test("a socket that does not know its protocol gets one message a frame", async () => {
    await inReactNative(async () => {
      const client = connect(URL, nativeOptions());
      await socket().welcome();
      delete socket().protocol;
      client.subscribe("a");
      client.subscribe("b");
      const published = client.publish("a", "é€😀");
      await settle();
      assert.deepEqual(socket().frames.map((frame) => frame.type), ["subscribe", "subscribe", "publish"]);
      await socket().answer("publish", { type: "published", payload: {} });
      await published;
    });
  });

  test("a close event without a code is a lost connection", async () => {
    await inReactNative(async () => {
      const client = connect(URL, nativeOptions());
      client.on("state", (state, detail) => states.push([state, detail]));
      await socket().welcome();
      socket().onclose({ message: "the network is gone" });
      assert.deepEqual(lastState(), ["reconnecting", { attempt: 2, nextDelay: 1, code: 1006, reason: "" }]);
      await timers.advance(1);
      await socket().welcome();
      assert.equal(client.state, "connected");
    });
  });

  test("a relative address needs a page", () => {
    if (globalThis.location !== undefined) return; // A browser's cannot be taken away.
    assert.throws(() => new RealtimeClient(), {
      name: "TypeError",
      message: "the address '/ws/' needs a page; expected one such as 'wss://www.example.com/ws/'",
    });
  });
});

describe("connection", () => {
  test("offers our subprotocol and is connected after welcome, not after the open", async () => {
    const client = open();
    assert.deepEqual(socket().protocols, ["realtime.v1.json"]);
    assert.equal(client.state, "connecting");
    await socket().welcome();
    assert.equal(client.state, "connected");
    assert.equal(client.user, "7");
  });

  test("answers ping with pong", async () => {
    await welcomed();
    await socket().receive({ type: "ping" });
    assert.deepEqual(socket().take(), [{ type: "pong" }]);
  });

  test("ignores unknown types, fields and entries that are no objects", async () => {
    const client = await welcomed();
    await socket().receive({ type: "novelty", x: 1 }, [null, 3, { type: "ping", more: true }]);
    assert.deepEqual(socket().take(), [{ type: "pong" }]);
    assert.equal(client.state, "connected");
    assert.deepEqual(errors, []);
  });

  test("reports a frame that is not JSON and stays", async () => {
    const client = await welcomed();
    await socket().receiveText("{nonsense");
    assert.deepEqual(codes(), ["bad_message"]);
    assert.equal(client.state, "connected");
  });

  test("gives up on a connection without welcome and tries again", async () => {
    open();
    await timers.advance(20);
    assert.equal(FakeWebSocket.all[0].closedWith, 4408);
    assert.equal(lastState()[0], "reconnecting");
  });

  test("close() closes with 1000, sends what was published before, and leaves no timer", async () => {
    const client = await welcomed();
    const published = client.publish("a", 1);
    client.close();
    assert.equal(socket().take()[0].type, "publish");
    assert.equal(socket().closedWith, 1000);
    assert.deepEqual(lastState(), ["closed", { code: 1000, reason: "closed by the page" }]);
    await assert.rejects(published, { code: "connection_lost" });
    assert.equal(timers.count, 0);
  });

  test("connect() opens again after close()", async () => {
    const client = await welcomed();
    client.close();
    client.connect();
    assert.equal(FakeWebSocket.all.length, 2);
  });

  test("nothing is heard after close(), the rest of the frame included", async () => {
    const client = await welcomed();
    const seen = [];
    client.on("message", (message) => seen.push(message.payload));
    client.on("message", () => client.close());
    await socket().receive([publication("a", 1), publication("a", 2)]);
    assert.deepEqual(seen, [1]);
  });

  test("a notice goes to the notice listeners", async () => {
    const client = await welcomed();
    const notices = [];
    client.on("notice", (message) => notices.push(message.payload));
    await socket().receive({ type: "message", event: "notice", payload: "Restart at noon" });
    assert.deepEqual(notices, ["Restart at noon"]);
  });

  test("a listener that throws is reported and stops no other", async () => {
    const client = await welcomed();
    const seen = [];
    client.on("message", () => {
      throw new Error("broken listener");
    });
    client.on("message", (message) => seen.push(message.payload));
    await socket().receive(publication("a", 1));
    assert.deepEqual(seen, [1]);
    assert.deepEqual(reported.map(String), ["Error: broken listener"]);
  });
});

describe("backoff", () => {
  const delays = () => states.filter(([state]) => state === "reconnecting").map(([, detail]) => detail.nextDelay);

  test("doubles to the cap, with the random share of it", async () => {
    random = 0.5;
    open({ backoffBaseSeconds: 1, backoffCapSeconds: 8 });
    for (let attempt = 0; attempt < 5; attempt += 1) {
      await socket().end(1006);
      await timers.advance(8);
    }
    assert.deepEqual(delays(), [0.5, 1, 2, 4, 4]);
    assert.deepEqual(
      states.filter(([state]) => state === "reconnecting").map(([, detail]) => detail.attempt),
      [2, 3, 4, 5, 6],
    );
  });

  test("starts again after welcome", async () => {
    open();
    await socket().end(1006);
    await timers.advance(1);
    await socket().end(1006);
    await timers.advance(2);
    await socket().welcome();
    await socket().end(1006);
    assert.deepEqual(delays(), [1, 2, 1]);
  });

  test("retry_after is waited out whatever the jitter", async () => {
    random = 0;
    await welcomed();
    await socket().end(4503, { retry_after: 12 });
    assert.deepEqual(delays(), [12]);
    await timers.advance(11.9);
    assert.equal(FakeWebSocket.all.length, 1);
    await timers.advance(0.1);
    assert.equal(FakeWebSocket.all.length, 2);
  });

  test("retry_after gets jitter up to as much again", async () => {
    random = 0.5;
    await welcomed();
    await socket().end(4429, { retry_after: 12 });
    assert.deepEqual(delays(), [18]);
  });
});

describe("close codes", () => {
  for (const code of [4400, 4403, 4406, 4409, 4413, 1002, 1003, 1007, 1009]) {
    test(`${code} is final`, async () => {
      await welcomed();
      await socket().end(code);
      assert.equal(lastState()[0], "closed");
      assert.equal(lastState()[1].code, code);
      await timers.advance(600);
      assert.equal(FakeWebSocket.all.length, 1);
    });
  }
  for (const code of [1000, 1001, 1005, 1006, 1008, 1011, 1012, 1013, 4408, 4429, 4430, 4500, 4503, 4999]) {
    test(`${code} reconnects`, async () => {
      await welcomed();
      await socket().end(code);
      assert.equal(lastState()[0], "reconnecting");
      await timers.advance(1);
      assert.equal(FakeWebSocket.all.length, 2);
    });
  }

  test("4401 without getToken makes one new attempt", async () => {
    await welcomed();
    await socket().end(4401);
    assert.equal(lastState()[0], "reconnecting");
    await timers.advance(2);
    await socket().end(4401);
    assert.equal(lastState()[0], "unauthenticated");
    await timers.advance(600);
    assert.equal(FakeWebSocket.all.length, 2);
  });

  test("closing with reconnect false overrides a code that reconnects", async () => {
    await welcomed();
    await socket().end(4503, { reconnect: false });
    assert.deepEqual(lastState(), ["closed", { code: 4503, reason: "said" }]);
  });

  test("closing with reconnect true overrides a code that is final", async () => {
    await welcomed();
    await socket().end(4403, { reconnect: true });
    assert.equal(lastState()[0], "reconnecting");
  });

  test("the code in closing counts where the socket closed with another", async () => {
    await welcomed();
    await socket().receive({ type: "closing", payload: { code: 4403, reason: "blocked" } });
    await socket().end(1008);
    assert.deepEqual(lastState(), ["closed", { code: 4403, reason: "blocked" }]);
  });

  test("a closing of an older connection does not count for the next", async () => {
    await welcomed();
    await socket().end(4503, { retry_after: 1 });
    await timers.advance(5);
    await socket().end(4403);
    assert.equal(lastState()[0], "closed");
  });

  test("1000 after closing follows closing", async () => {
    await welcomed();
    await socket().end(1000, { reconnect: false });
    assert.equal(lastState()[0], "closed");
  });
});

describe("life", () => {
  test("silence is answered with a ping, and silence after it with a new connection", async () => {
    await welcomed();
    await timers.advance(34.9);
    assert.deepEqual(socket().take(), []);
    await timers.advance(0.1);
    assert.deepEqual(socket().take(), [{ type: "ping" }]);
    await timers.advance(10);
    assert.equal(FakeWebSocket.all[0].closedWith, 4408);
    assert.equal(lastState()[0], "reconnecting");
  });

  test("anything inbound is life", async () => {
    const client = await welcomed();
    await timers.advance(30);
    await socket().receive(publication("a", 1));
    await timers.advance(30);
    assert.deepEqual(socket().take(), []);
    await timers.advance(10);
    await socket().receive({ type: "pong" });
    await timers.advance(20);
    assert.equal(client.state, "connected");
  });

  for (const name of ["online", "pageshow", "visibilitychange"]) {
    test(`${name} ends the wait for the next attempt`, async () => {
      await welcomed();
      await socket().end(1006);
      window.dispatchEvent(new Event(name));
      assert.equal(FakeWebSocket.all.length, 2);
      await timers.advance(5);
      assert.equal(FakeWebSocket.all.length, 2);
    });
  }

  test("waking probes a connection that looks alive", async () => {
    await welcomed();
    window.dispatchEvent(new Event("online"));
    await settle();
    assert.deepEqual(socket().take(), [{ type: "ping" }]);
    await timers.advance(10);
    assert.equal(lastState()[0], "reconnecting");
  });

  test("waking does not shorten a retry_after", async () => {
    await welcomed();
    await socket().end(4429, { retry_after: 30 });
    window.dispatchEvent(new Event("online"));
    assert.equal(FakeWebSocket.all.length, 1);
  });

  test("a closed client does not wake", async () => {
    const client = await welcomed();
    client.close();
    window.dispatchEvent(new Event("online"));
    assert.equal(FakeWebSocket.all.length, 1);
  });
});

describe("credentials", () => {
  const tokens = (...list) => {
    const reasons = [];
    const getToken = async ({ reason }) => {
      reasons.push(reason);
      const token = list.length > 1 ? list.shift() : list[0];
      if (token instanceof Error) throw token;
      return token;
    };
    return { getToken, reasons };
  };
  const required = { type: "auth_required", payload: { timeout: 10 } };

  test("auth_required is answered with the token, which is in no url", async () => {
    const { getToken, reasons } = tokens("t1");
    open({ getToken });
    await socket().receive(required);
    const [auth] = socket().take();
    assert.equal(auth.type, "auth");
    assert.equal(auth.token, "t1");
    assert.deepEqual(reasons, ["required"]);
    assert.equal(socket().url, URL);
  });

  test("auth goes out once where welcome comes before auth_ok", async () => {
    open({ getToken: tokens("t1").getToken });
    await socket().receive(required);
    await socket().welcome();
    assert.deepEqual(socket().take().map((message) => message.type), ["auth"]);
  });

  test("auth_required without a token ends unauthenticated", async () => {
    open();
    await socket().receive(required);
    assert.equal(lastState()[0], "unauthenticated");
    assert.equal(socket().closedWith, 1000);
  });

  test("getToken that fails is reported and tried again with backoff", async () => {
    const { getToken } = tokens(new Error("no network"), "t1");
    open({ getToken });
    await socket().receive(required);
    assert.deepEqual(codes(), ["token_unavailable"]);
    await timers.advance(1);
    await socket().receive(required);
    assert.equal(socket().take()[0].token, "t1");
  });

  test("auth_expiring sends a fresh token, and what goes wrong leaves the connection", async () => {
    const { getToken, reasons } = tokens("t2");
    const client = await welcomed({ getToken });
    await socket().receive({ type: "auth_expiring", payload: { expires_at: 1 } });
    assert.deepEqual(reasons, ["expiring"]);
    await socket().answer("auth", { type: "error", request: "auth", payload: { code: "token_invalid", reason: "no" } });
    assert.deepEqual(codes(), ["token_invalid"]);
    assert.equal(client.state, "connected");
  });

  test("an anonymous welcome is signed in before anything is subscribed", async () => {
    const { getToken, reasons } = tokens("t1");
    const client = open({ getToken });
    client.subscribe("a");
    await socket().welcome({ user: null });
    assert.deepEqual(reasons, ["anonymous"]);
    assert.deepEqual(socket().frames.map((frame) => frame.type), ["auth"]);
    await socket().answer("auth", { type: "auth_ok", payload: { user: "9", expires_at: 1 } });
    assert.equal(client.user, "9");
    assert.deepEqual(socket().take().map((message) => message.type), ["subscribe"]);
  });

  test("an anonymous welcome without a token is simply connected", async () => {
    const { getToken } = tokens(null);
    const client = await welcomed({ getToken }, { user: null });
    assert.equal(client.state, "connected");
  });

  test("4401 fetches a fresh token first and sends that", async () => {
    const { getToken, reasons } = tokens("old", "new", "never");
    open({ getToken });
    await socket().receive(required);
    await socket().end(4401);
    assert.deepEqual(reasons, ["required", "refused"]);
    await timers.advance(1);
    await socket().receive(required);
    assert.equal(socket().take()[0].token, "new");
    assert.equal(reasons.length, 2);
  });

  for (const [what, second] of [["the same token again", "old"], ["no user is logged in", null]]) {
    test(`4401 and ${what} is unauthenticated`, async () => {
      const { getToken } = tokens("old", second);
      open({ getToken });
      await socket().receive(required);
      await socket().end(4401, { reconnect: true });
      assert.equal(lastState()[0], "unauthenticated");
    });
  }

  test("4401 with reconnect true means with new credentials: the second in a row stops", async () => {
    await welcomed();
    await socket().end(4401, { reconnect: true });
    await timers.advance(2);
    await socket().end(4401, { reconnect: true });
    assert.equal(lastState()[0], "unauthenticated");
  });

  test("4401 on a login session that has moved on leads to a new connection", async () => {
    const client = await welcomed();
    await subscribed(client, "a");
    for (let change = 0; change < 3; change += 1) {
      random = 0; // The response with the new cookie gets a second to arrive.
      await socket().end(4401, { reconnect: true });
      assert.deepEqual(lastState(), ["reconnecting", { attempt: 2, nextDelay: 1, code: 4401, reason: "said" }]);
      random = 1;
      await timers.advance(1);
      await socket().welcome();
      assert.equal(client.state, "connected");
      assert.deepEqual(socket().take().map((message) => [message.type, message.channel]), [["subscribe", "a"]]);
    }
  });

  test("4401 on a login session waits for retry_after, and the network's return does not shorten it", async () => {
    await welcomed();
    await socket().end(4401, { retry_after: 5 });
    window.dispatchEvent(new Event("online"));
    await timers.advance(4.9);
    assert.equal(FakeWebSocket.all.length, 1);
    await timers.advance(5.1);
    assert.equal(FakeWebSocket.all.length, 2);
  });

  test("4401 on a login session that has ended stops when the server asks for credentials", async () => {
    await welcomed();
    await socket().end(4401);
    await timers.advance(2);
    await socket().receive(required);
    assert.equal(lastState()[0], "unauthenticated");
    await timers.advance(600);
    assert.equal(FakeWebSocket.all.length, 2);
  });

  test("a user whose login session has ended does not go on as a visitor", async () => {
    const client = await welcomed();
    const subscription = await subscribed(client, "a");
    await socket().end(4401);
    await timers.advance(2);
    await socket().welcome({ user: null });
    assert.deepEqual(lastState(), ["unauthenticated", { code: 4401, reason: "the login session has ended" }]);
    assert.equal(socket().closedWith, 1000);
    assert.equal(subscription.ended, false);
    client.connect();
    await socket().welcome({ user: null }); // The page says so now.
    assert.equal(client.state, "connected");
    assert.equal(client.user, null);
  });

  test("a visitor closed with 4401 comes back as a visitor", async () => {
    const client = await welcomed({}, { user: null });
    await socket().end(4401);
    await timers.advance(2);
    await socket().welcome({ user: null });
    assert.equal(client.state, "connected");
  });

  test("a connection that fails in between does not use up the new attempt", async () => {
    const client = await welcomed();
    await socket().end(4401);
    await timers.advance(2);
    await socket().end(1006);
    await timers.advance(2);
    await socket().welcome();
    assert.equal(client.state, "connected");
  });

  test("connect() after unauthenticated makes a new attempt possible again", async () => {
    const client = await welcomed();
    await socket().end(4401);
    await timers.advance(2);
    await socket().end(4401);
    client.connect();
    await socket().end(4401);
    assert.equal(lastState()[0], "reconnecting");
  });

  test("a fresh token that is refused too is not fetched for ever", async () => {
    const { getToken, reasons } = tokens("old", "new", "newer", "newest");
    open({ getToken });
    await socket().receive(required);
    await socket().end(4401);
    await timers.advance(1);
    await socket().receive(required);
    await socket().end(4401);
    assert.equal(lastState()[0], "unauthenticated");
    assert.deepEqual(reasons, ["required", "refused"]);
    await timers.advance(600);
    assert.equal(FakeWebSocket.all.length, 2);
  });

  test("a consumer that is not ours, and never asks for a token, is not tried for ever", async () => {
    const { getToken, reasons } = tokens("one", "two", "three", "four");
    open({ getToken });
    await socket().end(4401); // no welcome, no closing, no auth_required
    await timers.advance(1);
    await socket().end(4401);
    assert.equal(lastState()[0], "unauthenticated");
    assert.deepEqual(reasons, ["refused"]);
    await timers.advance(600);
    assert.equal(FakeWebSocket.all.length, 2);
  });

  test("getToken without a token leaves the login session its new attempt", async () => {
    const { getToken, reasons } = tokens(null, null);
    const client = await welcomed({ getToken });
    await socket().end(4401);
    await timers.advance(2);
    await socket().welcome();
    assert.equal(client.state, "connected");
    assert.deepEqual(reasons, ["refused"]);
  });

  test("getToken that fails after 4401 is tried again with backoff", async () => {
    const { getToken } = tokens("old", new Error("no network"), "new");
    open({ getToken });
    await socket().receive(required);
    await socket().end(4401);
    assert.deepEqual(codes(), ["token_unavailable"]);
    await timers.advance(1);
    await socket().receive(required);
    assert.equal(socket().take()[0].token, "new");
  });

  test("close() by the listener of the state stays closed", async () => {
    const { getToken, reasons } = tokens("new");
    const client = await welcomed({ getToken });
    client.on("state", (state) => state === "reconnecting" && client.close());
    await socket().end(4401);
    await timers.advance(600);
    assert.equal(client.state, "closed");
    assert.deepEqual(reasons, []);
  });

  test("4401 with reconnect false is final, and no token is asked for", async () => {
    const { getToken, reasons } = tokens("t1");
    await welcomed({ getToken });
    await socket().end(4401, { reconnect: false });
    assert.equal(lastState()[0], "closed");
    assert.deepEqual(reasons, []);
  });

  test("close() while a fresh token is fetched stays closed", async () => {
    let give;
    const client = await welcomed({ getToken: () => new Promise((resolve) => (give = resolve)) });
    await socket().end(4401);
    client.close();
    give("late");
    await settle();
    await timers.advance(600);
    assert.equal(client.state, "closed");
    assert.equal(FakeWebSocket.all.length, 1);
  });

  test("unauthenticated keeps subscriptions for the next connect() and refuses requests", async () => {
    const client = await welcomed();
    await subscribed(client, "a");
    await socket().end(4401);
    await timers.advance(2);
    await socket().end(4401);
    await assert.rejects(client.publish("a", 1), { code: "disconnected" });
    client.connect();
    await socket().welcome();
    assert.deepEqual(socket().take().map((message) => [message.type, message.channel]), [["subscribe", "a"]]);
  });
});

describe("requests", () => {
  test("publish sends what was given and resolves with the position", async () => {
    const client = await welcomed();
    const published = client.publish("a", { x: 1 }, { event: "moved", key: "k" });
    await settle();
    const request = await socket().answer("publish", { type: "published", payload: { epoch: "e", offset: 3 } });
    assert.deepEqual(request, { type: "publish", channel: "a", payload: { x: 1 }, event: "moved", key: "k", id: request.id });
    assert.deepEqual(await published, { epoch: "e", offset: 3 });
  });

  test("call resolves with the result", async () => {
    const client = await welcomed();
    const result = client.call("orders/42", "move", { to: 1 });
    await settle();
    const request = await socket().answer("call", { type: "result", payload: { moved: true } });
    assert.equal(request.method, "move");
    assert.deepEqual(await result, { moved: true });
  });

  test("call resolves with null where the method returned nothing", async () => {
    const client = await welcomed();
    const result = client.call("orders/42", "move");
    await settle();
    await socket().answer("call", { type: "result", payload: null });
    assert.equal(await result, null);
  });

  test("an error reply rejects with code, reason and retryAfter", async () => {
    const client = await welcomed();
    const published = client.publish("a", 1);
    await settle();
    const payload = { code: "rate_limited", reason: "slow down", retry_after: 2.5 };
    await socket().answer("publish", { type: "error", request: "publish", payload });
    await assert.rejects(published, (error) => {
      assert.ok(error instanceof RealtimeError);
      assert.deepEqual([error.code, error.reason, error.retryAfter], ["rate_limited", "slow down", 2.5]);
      assert.deepEqual([error.request, error.channel], ["publish", "a"]);
      return true;
    });
  });

  test("times out, and a late reply is ignored", async () => {
    const client = await welcomed();
    const result = client.call("a", "slow", null, { timeoutSeconds: 2 });
    await settle();
    const outcome = assert.rejects(result, { code: "timeout", reason: "no answer to 'call' within 2 s" });
    await timers.advance(2);
    await outcome;
    await socket().answer("call", { type: "result", payload: {} });
  });

  test("wait for the connection, in their order", async () => {
    const client = open();
    client.publish("a", 1);
    client.publish("a", 2);
    await settle();
    assert.deepEqual(socket().take(), []);
    await socket().welcome();
    assert.deepEqual(socket().take().map((message) => message.payload), [1, 2]);
  });

  test("reject without a connection if asked to", async () => {
    const client = open();
    await assert.rejects(client.publish("a", 1, { whenDisconnected: "reject" }), { code: "disconnected" });
  });

  test("reject beyond the bound", async () => {
    const client = open({ maxPendingRequests: 1 });
    client.publish("a", 1);
    await assert.rejects(client.publish("a", 2), { code: "queue_full" });
  });

  test("those sent reject when the connection ends; those waiting stay", async () => {
    const client = await welcomed();
    const sent = client.publish("a", 1);
    await settle();
    await socket().end(1006);
    await assert.rejects(sent, { code: "connection_lost" });
    client.publish("a", 2);
    await timers.advance(1);
    await socket().welcome();
    assert.deepEqual(socket().take().map((message) => message.payload), [2]);
  });

  test("those waiting stay through connections that never get to welcome", async () => {
    const client = open();
    client.publish("a", 1);
    await socket().end(1006);
    await timers.advance(1);
    await socket().welcome();
    assert.deepEqual(socket().take().map((message) => message.payload), [1]);
  });

  test("one larger than max_frame is refused here, since it would end the connection", async () => {
    const client = await welcomed();
    await assert.rejects(client.publish("a", "é".repeat(500)), { code: "too_large" });
    assert.deepEqual(socket().take(), []);
  });

  for (const [character, bytes] of [["a", 1], ["é", 2], ["€", 3], ["😀", 4]]) {
    test(`the size of ${character} is counted as ${bytes} bytes`, async () => {
      const overhead = JSON.stringify({ type: "publish", channel: "a", payload: "", id: 1 }).length;
      const client = await welcomed({}, { limits: { max_frame: overhead + 10 * bytes } });
      const published = client.publish("a", character.repeat(10));
      await settle();
      await socket().answer("publish", { type: "published", payload: {} });
      await published;
      await assert.rejects(client.publish("a", character.repeat(11)), { code: "too_large" });
    });
  }

  test("those of one task go out as batches within max_batch", async () => {
    const client = await welcomed();
    for (let n = 0; n < 4; n += 1) client.publish("a", n);
    await settle();
    assert.deepEqual(socket().frames.map((frame) => (Array.isArray(frame) ? frame.length : 0)), [3, 0]);
  });

  test("a batch stays within max_frame", async () => {
    const client = await welcomed();
    for (let n = 0; n < 3; n += 1) client.publish("a", "x".repeat(400));
    await settle();
    assert.deepEqual(socket().frames.map((frame) => (Array.isArray(frame) ? frame.length : 0)), [2, 0]);
  });

  for (const [why, options, protocol] of [
    ["batch is off", { batch: false }, "realtime.v1.json"],
    ["the server answered another subprotocol", {}, ""],
  ]) {
    test(`no batches where ${why}`, async () => {
      const client = await welcomed(options);
      socket().protocol = protocol;
      client.publish("a", 1);
      client.publish("a", 2);
      await settle();
      assert.deepEqual(socket().frames.map((frame) => frame.type), ["publish", "publish"]);
    });
  }

  test("an error without a request goes to the error listeners", async () => {
    await welcomed();
    await socket().receive({ type: "error", payload: { code: "bad_message", reason: "what?" } });
    assert.deepEqual(codes(), ["bad_message"]);
  });
});

describe("subscriptions", () => {
  test("subscribe sends the parameters and hears what follows", async () => {
    const client = await welcomed();
    const subscription = client.subscribe("stocks", { onSubscribed() {}, parameters: { symbol: "X" } });
    const log = heard(subscription);
    await settle();
    const request = await socket().answer("subscribe", { type: "subscribed", payload: {} });
    assert.deepEqual(request, { type: "subscribe", channel: "stocks", payload: { symbol: "X" }, id: request.id });
    await socket().receive(publication("stocks", 5), publication("other", 6));
    assert.deepEqual(log, [["subscribed", {}], ["message", 5]]);
    assert.deepEqual(await subscription.ready, {});
  });

  test("a function means onMessage", async () => {
    const client = await welcomed();
    const seen = [];
    await subscribed(client, "a", (message) => seen.push(message.payload));
    await socket().receive(publication("a", 1));
    assert.deepEqual(seen, [1]);
  });

  test("several of one channel share one on the wire until the last leaves", async () => {
    const client = await welcomed();
    const first = await subscribed(client, "a");
    const second = client.subscribe("a");
    const log = heard(second);
    await second.ready;
    assert.deepEqual(log, [["subscribed", {}]]);
    await first.unsubscribe();
    assert.deepEqual(socket().take(), []);
    await socket().receive(publication("a", 1));
    assert.deepEqual(log.at(-1), ["message", 1]);
    const left = second.unsubscribe();
    await settle();
    await socket().answer("unsubscribe", { type: "unsubscribed" });
    await left;
    await socket().receive(publication("a", 2));
    assert.deepEqual(log.slice(2), [["unsubscribed", "unsubscribed"]]);
  });

  test("other parameters are another one on the wire; equal ones are not", async () => {
    const client = await welcomed();
    const x = await subscribed(client, "s", { parameters: { symbol: "X", b: 1 } });
    await subscribed(client, "s", { parameters: { symbol: "Y" } });
    client.subscribe("s", { onSubscribed() {}, parameters: { b: 1, symbol: "X" } }).unsubscribe();
    await settle();
    assert.deepEqual(socket().take(), []);
    x.unsubscribe();
    await settle();
    const [request] = socket().take();
    assert.deepEqual([request.type, request.payload], ["unsubscribe", { symbol: "X", b: 1 }]);
  });

  test("one without parameters is not unsubscribed while there are others, because that would end them", async () => {
    const client = await welcomed();
    const everything = await subscribed(client, "s");
    const x = await subscribed(client, "s", { parameters: { symbol: "X" } });
    await everything.unsubscribe();
    assert.deepEqual(socket().take(), []);
    x.unsubscribe();
    await settle();
    const [request] = socket().take();
    assert.deepEqual([request.type, request.channel, "payload" in request], ["unsubscribe", "s", false]);
  });

  test("select gives each selection its own messages", async () => {
    const client = await welcomed();
    const x = heard(await subscribed(client, "s", { parameters: { symbol: "X" }, select: "symbol" }));
    const y = heard(await subscribed(client, "s", { parameters: { symbol: "Y" }, select: "symbol" }));
    await socket().receive(publication("s", { symbol: "X" }), publication("s", { symbol: "Y" }));
    assert.deepEqual([x, y], [[["message", { symbol: "X" }]], [["message", { symbol: "Y" }]]]);
  });

  test("already_subscribed counts as subscribed", async () => {
    const client = await welcomed();
    const subscription = client.subscribe("a");
    await settle();
    const payload = { code: "already_subscribed", reason: "", epoch: "e", offset: 4 };
    await socket().answer("subscribe", { type: "error", request: "subscribe", payload });
    const { epoch, offset } = await subscription.ready;
    assert.deepEqual([epoch, offset], ["e", 4]);
    assert.deepEqual(errors, []);
  });

  test("of a channel that does not select, the wire is given up with the last one", async () => {
    const client = await welcomed();
    const first = await subscribed(client, "a", { parameters: 1 });
    const second = client.subscribe("a", { onSubscribed() {}, parameters: 2 });
    await settle();
    await socket().answer("subscribe", { type: "error", payload: { code: "already_subscribed" } });
    await first.unsubscribe();
    assert.deepEqual(socket().take(), []);
    second.unsubscribe();
    await settle();
    assert.equal(socket().take()[0].type, "unsubscribe");
  });

  test("a refusal rejects ready, tells error and ends it", async () => {
    const client = await welcomed();
    const subscription = client.subscribe("a");
    const log = heard(subscription);
    await settle();
    await socket().answer("subscribe", { type: "error", payload: { code: "forbidden", reason: "not yours" } });
    await assert.rejects(subscription.ready, { code: "forbidden" });
    assert.deepEqual(log, [["error", "forbidden"], ["unsubscribed", "forbidden"]]);
    assert.equal(subscription.ended, true);
    await subscription.unsubscribe();
    assert.deepEqual(socket().take(), []);
  });

  test("a refusal without a listener goes to the client's error listeners", async () => {
    const client = await welcomed();
    client.subscribe("a");
    await settle();
    await socket().answer("subscribe", { type: "error", payload: { code: "unknown_channel", reason: "" } });
    assert.deepEqual(codes(), ["unknown_channel"]);
  });

  test("one that is not answered is taken back", async () => {
    const client = await welcomed({ requestTimeoutSeconds: 3 });
    client.subscribe("a");
    await settle();
    socket().take();
    await timers.advance(3);
    assert.deepEqual(codes(), ["timeout"]);
    assert.deepEqual(socket().take().map((message) => message.type), ["unsubscribe"]);
  });

  test("taken away by the server it ends, and is not asked for again", async () => {
    const client = await welcomed();
    const log = heard(await subscribed(client, "a"));
    await socket().receive({ type: "unsubscribed", channel: "a", payload: { code: "forbidden", reason: "" } });
    await socket().receive(publication("a", 1));
    assert.deepEqual(log, [["unsubscribed", "forbidden"]]);
    await reconnect();
    assert.deepEqual(socket().take(), []);
  });

  test("requested again before the server ended it, it stays", async () => {
    const client = await welcomed();
    (await subscribed(client, "a")).unsubscribe();
    const again = client.subscribe("a");
    await settle();
    await socket().receive({ type: "unsubscribed", channel: "a", payload: { code: "forbidden", reason: "" } });
    assert.equal(again.ended, false);
  });

  test("made on a closed client it waits for connect()", async () => {
    const client = await welcomed();
    client.close();
    const log = heard(client.subscribe("a"));
    await settle();
    assert.deepEqual(log, []);
    client.connect();
    await socket().welcome();
    await socket().answer("subscribe", { type: "subscribed", payload: {} });
    await socket().receive(publication("a", 1));
    assert.deepEqual(log, [["subscribed", {}], ["message", 1]]);
    assert.deepEqual(errors, []);
  });

  test("made after the server closed for good it waits for connect()", async () => {
    const client = await welcomed();
    await socket().end(4403);
    client.subscribe("a");
    client.connect();
    await socket().welcome();
    assert.deepEqual(socket().take().map((message) => [message.type, message.channel]), [["subscribe", "a"]]);
  });

  for (const [order, childrenFirst] of [["children first", true], ["parents first", false]]) {
    test(`survives a component that is mounted twice, ${order}`, async () => {
      // React's StrictMode: all effects, all clean-ups, all effects again, in one task.
      const client = new RealtimeClient(URL, { WebSocket: FakeWebSocket, timers, random: () => random, wakeTarget: window });
      const received = [];
      const child = () => {
        const subscription = client.subscribe("a", (message) => received.push(message.payload));
        return () => subscription.unsubscribe();
      };
      const parent = () => {
        client.connect();
        return () => client.close();
      };
      const effects = childrenFirst ? [child, parent] : [parent, child];
      for (const cleanUp of effects.map((effect) => effect())) cleanUp();
      for (const effect of effects) effect();
      await socket().welcome();
      assert.equal(client.state, "connected");
      assert.equal(FakeWebSocket.all.length, 2);
      await socket().answer("subscribe", { type: "subscribed", payload: {} });
      assert.deepEqual(socket().take(), []);
      await socket().receive(publication("a", 1));
      assert.deepEqual(received, [1]);
      assert.deepEqual(reported, []);
    });
  }

  test("made on a closed client and given up, it is not asked for", async () => {
    const client = await welcomed();
    client.close();
    await client.subscribe("a").unsubscribe();
    const closed = client.subscribe("b");
    client.close(); // Ends what was made since, too.
    assert.equal(closed.ended, true);
    client.connect();
    await socket().welcome();
    assert.deepEqual(socket().take(), []);
  });

  test("made by a listener of the state closed, it is kept", async () => {
    const client = await welcomed();
    const before = await subscribed(client, "a");
    let after;
    const stop = client.on("state", (state) => {
      if (state !== "closed") return;
      after = client.subscribe("b");
      client.connect();
    });
    client.close();
    stop();
    assert.deepEqual([before.ended, after.ended], [true, false]);
    await socket().welcome();
    assert.deepEqual(socket().take().map((message) => [message.type, message.channel]), [["subscribe", "b"]]);
  });
});

describe("recovery", () => {
  test("a channel without history is subscribed again, and reports a possible gap", async () => {
    const client = await welcomed();
    const log = heard(await subscribed(client, "a"));
    await reconnect();
    const request = await socket().answer("subscribe", { type: "subscribed", payload: {} });
    assert.equal("since" in request, false);
    assert.deepEqual(log, [["subscribed", {}], ["recovered", { recovered: false }]]);
  });

  test("the last offset received goes with the subscribe, and the replay comes through", async () => {
    const client = await welcomed();
    const log = heard(await subscribed(client, "a", {}, { epoch: "e", offset: 4 }));
    await socket().receive(publication("a", "five", { epoch: "e", offset: 5 }));
    await reconnect();
    const reply = { epoch: "e", offset: 7, recovered: true };
    const request = await socket().answer("subscribe", { type: "subscribed", payload: reply });
    assert.deepEqual(request.since, { epoch: "e", offset: 5 });
    await socket().receive(
      publication("a", "six", { epoch: "e", offset: 6, recovered: true }),
      publication("a", "seven", { epoch: "e", offset: 7, recovered: true }),
    );
    assert.deepEqual(log.slice(1), [
      ["subscribed", reply], ["recovered", reply], ["message", "six"], ["message", "seven"],
    ]);
  });

  test("a reply and its replay in one frame are taken in order", async () => {
    const client = await welcomed();
    const log = heard(await subscribed(client, "a", {}, { epoch: "e", offset: 1 }));
    await reconnect();
    const [{ id }] = socket().take();
    await socket().receive([
      { type: "subscribed", channel: "a", id, payload: { epoch: "e", offset: 2, recovered: true } },
      publication("a", "two", { epoch: "e", offset: 2, recovered: true }),
    ]);
    assert.deepEqual(log.at(-1), ["message", "two"]);
  });

  test("recovered false starts from the reply's position", async () => {
    const client = await welcomed();
    const log = heard(await subscribed(client, "a", {}, { epoch: "e", offset: 4 }));
    await reconnect();
    await socket().answer("subscribe", { type: "subscribed", payload: { epoch: "f", offset: 2, recovered: false } });
    assert.deepEqual(log.at(-1), ["recovered", { epoch: "f", offset: 2, recovered: false }]);
    await reconnect();
    assert.deepEqual(socket().take()[0].since, { epoch: "f", offset: 2 });
  });

  test("a position that the server knows nothing of any more is dropped", async () => {
    const client = await welcomed();
    await subscribed(client, "a", {}, { epoch: "e", offset: 4 });
    await reconnect();
    await socket().answer("subscribe", { type: "subscribed", payload: { recovered: false } });
    await reconnect();
    assert.equal("since" in socket().take()[0], false);
  });

  test("duplicates by offset are dropped; a new epoch is not", async () => {
    const client = await welcomed();
    const log = heard(await subscribed(client, "a", {}, { epoch: "e", offset: 4 }));
    for (const [epoch, offset] of [["e", 4], ["e", 5], ["e", 5], ["e", 3], ["e", 9], ["f", 1]]) {
      await socket().receive(publication("a", epoch + offset, { epoch, offset }));
    }
    assert.deepEqual(log.map(([, payload]) => payload), ["e5", "e9", "f1"]);
  });

  test("since of the page's own goes with the first subscribe", async () => {
    const client = await welcomed();
    client.subscribe("a", { onSubscribed() {}, since: { epoch: "e", offset: 0 } });
    await settle();
    assert.deepEqual(socket().take()[0].since, { epoch: "e", offset: 0 });
  });

  test("each of several selections gets its replay", async () => {
    const client = await welcomed();
    const at = { epoch: "e", offset: 1 };
    const log = heard(await subscribed(client, "s", { parameters: "X" }, at));
    await subscribed(client, "s", { parameters: "Y" }, at);
    await reconnect();
    const reply = { type: "subscribed", payload: { epoch: "e", offset: 3, recovered: true } };
    await socket().answer("subscribe", reply);
    await socket().receive(publication("s", "x3", { epoch: "e", offset: 3, recovered: true }));
    await socket().answer("subscribe", reply);
    await socket().receive(publication("s", "y2", { epoch: "e", offset: 2, recovered: true }));
    assert.deepEqual(log.filter(([event]) => event === "message"), [["message", "x3"], ["message", "y2"]]);
  });

  test("a temporary error is reported and tried again", async () => {
    const client = await welcomed();
    const subscription = await subscribed(client, "a");
    const log = heard(subscription);
    await reconnect();
    const payload = { code: "unavailable", reason: "", retry_after: 3 };
    await socket().answer("subscribe", { type: "error", payload });
    assert.deepEqual(log, [["error", "unavailable"]]);
    await timers.advance(6);
    await socket().answer("subscribe", { type: "subscribed", payload: {} });
    assert.equal(log.at(-1)[0], "recovered");
  });

  test("a right that is gone ends it", async () => {
    const client = await welcomed();
    const subscription = await subscribed(client, "a");
    await reconnect();
    await socket().answer("subscribe", { type: "error", payload: { code: "forbidden", reason: "" } });
    assert.equal(subscription.ended, true);
  });

  test("one that was never answered is asked for again", async () => {
    const client = await welcomed();
    client.subscribe("a");
    await settle();
    await reconnect();
    assert.deepEqual(socket().take().map((message) => message.type), ["subscribe"]);
    assert.deepEqual(errors, []);
  });
});

describe("automatic channels", () => {
  const channels = (offset) => ({ channels: { "users/7": offset === undefined ? {} : { epoch: "e", offset } } });
  const news = (offset, fields) => publication("users/7", offset, { epoch: "e", offset, ...fields });

  test("their messages reach the client without a subscribe", async () => {
    const client = await welcomed({}, channels());
    const seen = [];
    client.on("message", (message) => seen.push([message.channel, message.payload]));
    await socket().receive(publication("users/7", "hello"));
    assert.deepEqual(seen, [["users/7", "hello"]]);
    assert.deepEqual(socket().take(), []);
  });

  test("subscribing to one, before or after, needs no request", async () => {
    const client = open();
    const early = client.subscribe("users/7");
    const before = heard(early);
    await socket().welcome(channels(3));
    const subscription = client.subscribe("users/7");
    const after = heard(subscription);
    await settle();
    await socket().receive(news(4));
    const expected = [["subscribed", { epoch: "e", offset: 3 }], ["message", 4]];
    assert.deepEqual([before, after], [expected, expected]);
    await subscription.unsubscribe();
    await early.unsubscribe();
    assert.deepEqual(socket().take(), []);
  });

  test("missed messages are asked for, and come before the live ones", async () => {
    const client = await welcomed({}, channels(3));
    const seen = [];
    client.on("message", (message) => seen.push(message.payload));
    await socket().end(1006);
    await timers.advance(1);
    await socket().welcome(channels(5));
    await socket().receive(news(6));
    const payload = { epoch: "e", offset: 6, recovered: true };
    const request = await socket().answer("subscribe", { type: "subscribed", payload });
    assert.deepEqual(request.since, { epoch: "e", offset: 3 });
    for (const offset of [4, 5]) await socket().receive(news(offset, { recovered: true }));
    await socket().answer("ping", { type: "pong" }); // Everything before it has arrived.
    await socket().receive(news(7));
    assert.deepEqual(seen, [4, 5, 6, 7]);
  });

  test("live ones are kept where nothing can be recovered", async () => {
    const client = await welcomed({}, channels(3));
    const seen = [];
    client.on("message", (message) => seen.push(message.payload));
    await socket().end(1006);
    await timers.advance(1);
    await socket().welcome(channels(5));
    await socket().receive(news(6));
    const payload = { epoch: "e", offset: 6, recovered: false };
    await socket().answer("subscribe", { type: "subscribed", payload });
    await socket().receive(news(6), news(7));
    assert.deepEqual(seen, [6, 7]);
  });

  test("nothing missed, nothing asked", async () => {
    const client = await welcomed({}, channels(3));
    const log = heard(client.subscribe("users/7"));
    await settle();
    await reconnect(channels(3));
    assert.deepEqual(socket().take(), []);
    assert.deepEqual(log.at(-1), ["recovered", { epoch: "e", offset: 3, recovered: true }]);
  });

  test("one of another user is forgotten", async () => {
    await welcomed({}, channels(3));
    await reconnect({ user: "8", channels: { "users/8": {} } });
    assert.deepEqual(socket().take(), []);
  });
});

describe("async iteration", () => {
  async function collect(subscription) {
    const seen = [];
    for await (const message of subscription) seen.push(message.payload);
    return seen;
  }

  test("gives messages from the subscribe on and ends with unsubscribe", async () => {
    const client = await welcomed();
    const subscription = await subscribed(client, "a");
    await socket().receive(publication("a", 1));
    const collected = collect(subscription);
    await settle();
    await socket().receive(publication("a", 2));
    subscription.unsubscribe();
    assert.deepEqual(await collected, [1, 2]);
  });

  test("ends when the client closes, after what was buffered", async () => {
    const client = await welcomed();
    const subscription = await subscribed(client, "a");
    await socket().receive(publication("a", 1));
    client.close();
    assert.deepEqual(await collect(subscription), [1]);
  });

  test("ends on a final close code", async () => {
    const client = await welcomed();
    const collected = collect(await subscribed(client, "a"));
    await socket().end(4403);
    assert.deepEqual(await collected, []);
  });

  test("goes on after a reconnect", async () => {
    const client = await welcomed();
    const collected = collect(await subscribed(client, "a"));
    await reconnect();
    await socket().answer("subscribe", { type: "subscribed", payload: {} });
    await socket().receive(publication("a", 1));
    client.close();
    assert.deepEqual(await collected, [1]);
  });

  test("throws what refused the subscription", async () => {
    const client = await welcomed();
    const collected = collect(client.subscribe("a"));
    await settle();
    const refused = assert.rejects(collected, { code: "forbidden" });
    await socket().answer("subscribe", { type: "error", payload: { code: "forbidden", reason: "" } });
    await refused;
    assert.deepEqual(errors, []);
  });

  test("leaving the loop unsubscribes", async () => {
    const client = await welcomed();
    const subscription = await subscribed(client, "a");
    await socket().receive(publication("a", 1));
    const left = (async () => {
      for await (const message of subscription) return message.payload;
    })();
    await settle();
    await socket().answer("unsubscribe", { type: "unsubscribed" });
    assert.equal(await left, 1);
    assert.equal(subscription.ended, true);
  });

  test("a full buffer drops the oldest, counts them and reports it once", async () => {
    const client = await welcomed();
    const subscription = await subscribed(client, "a", { bufferSize: 2 });
    const told = [];
    subscription.on("error", (error) => told.push(error.code));
    const iterator = subscription[Symbol.asyncIterator]();
    for (let n = 1; n <= 5; n += 1) await socket().receive(publication("a", n));
    assert.equal(subscription.dropped, 3);
    assert.deepEqual(told, ["overflow"]);
    assert.equal((await iterator.next()).value.payload, 4);
  });

  test("nothing is buffered for a loop where a callback takes the messages", async () => {
    const client = await welcomed();
    const subscription = await subscribed(client, "a", { bufferSize: 1, onMessage: () => {} });
    for (let n = 1; n <= 5; n += 1) await socket().receive(publication("a", n));
    assert.equal(subscription.dropped, 0);
  });

  test("what was buffered before a listener came is let go", async () => {
    const client = await welcomed();
    const subscription = await subscribed(client, "a");
    await socket().receive(publication("a", 1));
    subscription.on("message", () => {});
    await socket().receive(publication("a", 2));
    const collected = collect(subscription);
    await settle();
    await socket().receive(publication("a", 3));
    client.close();
    assert.deepEqual(await collected, [3]);
  });
});
