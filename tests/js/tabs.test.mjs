/** One connection for all tabs: what each tab sees, and what the server sees. */
import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";

import { FakeWebSocket } from "./fakes.mjs";
import { at, heard, messages, position } from "./harness.mjs";
import { World } from "./tab-fakes.mjs";

let world;

beforeEach(() => {
  world = new World();
});

/** What the server got since it was last asked. */
const sent = () => world.socket.take().map(({ id, ...message }) => message);

/** Tabs with one welcomed connection. */
async function tabs(count, options, welcome) {
  const opened = [await world.open(options)];
  await greet(welcome);
  while (opened.length < count) opened.push(await world.open(options));
  return opened;
}

async function greet(welcome) {
  await world.socket.welcome(welcome);
  await world.settle();
}

async function receive(...frames) {
  await world.socket.receive(...frames);
  await world.settle();
}

async function answer(type, reply) {
  await world.socket.answer(type, reply);
  await world.settle();
}

/** Subscribes one after the other; the server answers the first. */
async function subscribe(opened, channel, options = {}, payload = position(5)) {
  const logs = [];
  for (const tab of opened) {
    const subscription = tab.client.subscribe(channel, { onMessage() {}, ...options });
    logs.push(heard(subscription));
    tab.subscription = subscription;
    await world.settle();
    if (logs.length === 1) await answer("subscribe", { type: "subscribed", payload });
  }
  return logs;
}

const payloads = (logs) => logs.map(messages);
const states = (tab) => tab.states.map(([state]) => state);

describe("tabs share a connection", () => {
  test("which subscribes to a channel once, and gives each tab each message once", async () => {
    const opened = await tabs(4);
    const logs = await subscribe(opened, "a");
    assert.equal(FakeWebSocket.all.length, 1);
    assert.deepEqual(sent(), []);
    await receive(at(6), [at(7), at(8)], at(8));
    assert.deepEqual(payloads(logs), [[6, 7, 8], [6, 7, 8], [6, 7, 8], [6, 7, 8]]);
    assert.deepEqual(opened.map(({ client }) => [client.state, client.user, client.connectionId]), Array(4).fill(["connected", "7", "c1"]));
  });

  test("and unsubscribes with the last tab that wants the channel", async () => {
    const opened = await tabs(2);
    const logs = await subscribe(opened, "a");
    opened[0].subscription.unsubscribe();
    await world.settle();
    assert.deepEqual(sent(), []);
    await receive(at(6));
    assert.deepEqual(payloads(logs), [[], [6]]);
    opened[1].client.close();
    await world.settle();
    assert.deepEqual(world.sockets.length, 1);
    opened[0].client.close();
    await world.settle();
    assert.deepEqual([world.sockets.length, FakeWebSocket.all[0].closedWith], [0, 1000]);
  });

  test("requests and their answers find their tab", async () => {
    const [one, two] = await tabs(2);
    const results = [one, two].map(({ client }, index) => client.call("a", "move", index));
    const refused = one.client.publish("a", 1).catch(({ code, reason, retryAfter }) => [code, reason, retryAfter]);
    await world.settle();
    const [first, second, third] = world.socket.take().sort((a, b) => a.type.localeCompare(b.type));
    assert.deepEqual([first.payload, second.payload, third.type], [0, 1, "publish"]);
    await receive({ type: "result", id: second.id, payload: "two" }, { type: "result", id: first.id, payload: "one" });
    await receive({ type: "error", id: third.id, request: "publish", payload: { code: "rate_limited", reason: "slow", retry_after: 2 } });
    assert.deepEqual([await Promise.all(results), await refused], [["one", "two"], ["rate_limited", "slow", 2]]);
  });

  test("a refusal and what the server takes away reach those whom they concern", async () => {
    const [one, two] = await tabs(2);
    const failed = heard(one.client.subscribe("b"));
    await world.settle();
    await answer("subscribe", { type: "error", request: "subscribe", payload: { code: "forbidden", reason: "no" } });
    assert.deepEqual(failed, [["error", "forbidden"], ["unsubscribed", "forbidden"]]);
    const logs = await subscribe([one, two], "a");
    await receive({ type: "unsubscribed", channel: "a", payload: { code: "revoked", reason: "" } }, at(6));
    assert.deepEqual(logs.map((log) => log.slice(1)), [[["unsubscribed", "revoked"]], [["unsubscribed", "revoked"]]]);
    assert.deepEqual(sent().length, 0);
  });

  test("notices and errors of the connection reach all", async () => {
    const opened = await tabs(2);
    const notices = [];
    for (const { client } of opened) client.on("notice", ({ payload }) => notices.push(payload));
    await receive({ type: "message", event: "notice", payload: "soon" }, { type: "error", payload: { code: "bad_message", reason: "?" } });
    assert.deepEqual([notices, opened.map(({ errors }) => errors.map(({ code }) => code))], [["soon", "soon"], [["bad_message"], ["bad_message"]]]);
  });

  test("a channel cannot be paused, and a tab's silence is answered here", async () => {
    const [{ client }] = await tabs(1);
    await assert.rejects(client.request({ type: "flow", channel: "a", payload: { paused: true } }), {
      message: "unsupported: a connection that tabs share cannot pause a channel",
    });
    sent();
    await world.advance(34);
    await receive({ type: "ping" });
    sent();
    await world.advance(11);
    assert.deepEqual(sent(), []);
    assert.equal(client.state, "connected");
  });

  test("with another key there is another connection, and with another login too", async () => {
    await tabs(2, { shareKey: "a" });
    for (const options of [{ shareKey: "b" }, { cookie: "x=1; csrftoken=abc" }, { cookie: "csrftoken=abd" }]) {
      await world.open(options);
      await greet();
    }
    await world.open({ cookie: "csrftoken=abc" });
    assert.equal(world.sockets.length, 4);
  });

  test("without a cookie, the CSRF secret that pages carry with a mask keeps logins apart", async () => {
    // Made by Django: twice one secret, and that of the next login.
    const [one, two, next] = [
      "Evc6stEHl3VQvezSmOnYyMEH07tRoi3aGI8o3GKrE39fHpojGMR8CiaLuyCMfknu",
      "TTMNfifhNSfLCQiguo0DgvoeUsYcVS1TV6I5Qvl16StaO17HOmuNk1UioT77MUld",
      "gATtuoJqLWxUSupUD65PSbrnx9ZhXg1MwbK9TQ5iSaQoIzD1A09Ojhy19UGJtgK7",
    ];
    await tabs(1, { cookie: "", page: { csrfToken: one } });
    await world.open({ cookie: "", page: { csrfToken: two } });
    await world.open({ cookie: "csrftoken=cn6sLngUtaozmlZBu8EkeGGeEBj51cuu" });
    assert.equal(world.sockets.length, 1);
    await world.open({ cookie: "", page: { csrfToken: next } });
    // A page from before the login, and the cookie from after it.
    await world.open({ cookie: "csrftoken=qL1QzCw2hotE0foh74e9BghOMVRCGaTv", page: { csrfToken: one } });
    assert.equal(world.sockets.length, 3);
  });

  test("where nothing says who is signed in, each tab has its own, and the console says why", async () => {
    const { warn } = console;
    const warned = [];
    console.warn = (text) => warned.push(text);
    try {
      for (const options of [{ cookie: "" }, { getToken: () => "token" }]) {
        await world.open(options);
        await world.open(options);
      }
    } finally {
      console.warn = warn;
    }
    assert.equal(world.sockets.length, 4);
    assert.deepEqual(warned, Array(4).fill(
      "channels_realtime: this tab has its own connection, since nothing says who is signed in. " +
        "Set the option shareKey, such as to the user's primary key. See docs/howto/tabs.md",
    ));
  });
});

describe("a tab that comes later", () => {
  test("begins where the connection is", async () => {
    const [one, two] = await tabs(2);
    const [first] = await subscribe([one], "a");
    await receive(at(6), at(7));
    const second = heard(two.client.subscribe("a"));
    await world.settle();
    await receive(at(8));
    assert.deepEqual([messages(first), second], [[6, 7, 8], [["subscribed", position(7)], ["message", 8]]]);
    assert.deepEqual(sent(), []);
  });

  test("gets what follows its position, once and in order, from what is at hand", async () => {
    const [one, two] = await tabs(2);
    const [first] = await subscribe([one], "a");
    await receive(at(6), at(7));
    const second = heard(two.client.subscribe("a", { onMessage() {}, since: position(5) }));
    await receive(at(8));
    await receive(at(9));
    assert.deepEqual([messages(first), messages(second)], [[6, 7, 8, 9], [6, 7, 8, 9]]);
    assert.deepEqual(second[1], ["recovered", { ...second[1][1], recovered: true }]);
    assert.deepEqual(sent(), []);
  });

  test("gets it from the history, and holds what is live meanwhile", async () => {
    const [one, two] = await tabs(2);
    await subscribe([one], "a");
    await receive(at(6));
    const second = heard(two.client.subscribe("a", { onMessage() {}, since: position(3) }));
    await world.settle();
    await receive(at(7));
    await answer("history", { type: "history", payload: { messages: [at(4)], ...position(4) } });
    await receive(at(8));
    await answer("history", { type: "history", payload: { messages: [at(5), at(6), at(7)], ...position(7) } });
    await receive(at(9));
    assert.deepEqual(messages(second), [4, 5, 6, 7, 8, 9]);
    assert.equal(second[1][1].recovered, true);
  });

  test("is told where the history does not have it", async () => {
    const [one, two] = await tabs(2);
    await subscribe([one], "a");
    const subscription = two.client.subscribe("a", { onMessage() {}, since: position(3) });
    const required = heard(two.client.subscribe("b", { onMessage() {} }));
    const second = heard(subscription);
    await world.settle();
    await receive(at(6));
    await answer("history", { type: "error", request: "history", payload: { code: "not_recoverable", reason: "" } });
    await receive(at(7));
    assert.deepEqual(second, [
      ["subscribed", { ...position(5), recovered: false }],
      ["recovered", { ...position(5), recovered: false }],
      ["message", 6],
      ["message", 7],
    ]);
    assert.deepEqual(required, []);
  });

  test("may require it", async () => {
    const [one, two] = await tabs(2);
    await subscribe([one], "a");
    const second = heard(two.client.subscribe("a", { onMessage() {}, since: position(3, "older"), requireRecovery: true }));
    await world.settle();
    assert.deepEqual(second, [["error", "not_recoverable"], ["unsubscribed", "not_recoverable"]]);
  });

  test("gets the state of a keyed channel, and who is there", async () => {
    const [one, two] = await tabs(2);
    const member = (id) => ({ id, user: id, info: null });
    await subscribe([one], "a", { presence: true }, { ...position(2), members: [member("x")], count: 1 });
    await receive(at(1, { state: true, state_key: "k" }), at(2, { state: true, state_key: "l" }), at(3, { state_key: "k" }));
    await receive({ type: "join", channel: "a", payload: { member: member("y"), count: 2 } });
    const subscription = two.client.subscribe("a", { onMessage() {}, presence: true });
    const second = heard(subscription);
    const moves = [];
    for (const move of ["join", "leave"]) subscription.on(move, ({ id }) => moves.push([move, id, subscription.count]));
    await world.settle();
    assert.deepEqual([messages(second), [...subscription.members.keys()], subscription.count], [[2, 3], ["x", "y"], 2]);
    await receive({ type: "leave", channel: "a", payload: { member: member("x"), count: 1 } });
    assert.deepEqual([moves, [...one.subscription.members.keys()]], [[["leave", "x", 1]], ["y"]]);
  });

  test("has the channels that the server has subscribed, from where they are", async () => {
    const [one] = await tabs(1, {}, { channels: { "users/7": position(3) } });
    const got = [];
    one.client.on("message", ({ payload }) => got.push(payload));
    await receive({ ...at(4), channel: "users/7" });
    const two = await world.open();
    const second = heard(two.client.subscribe("users/7"));
    await world.settle();
    await receive({ ...at(5), channel: "users/7" });
    assert.deepEqual([got, second], [[4, 5], [["subscribed", position(4)], ["message", 5]]]);
    const told = [];
    for (const { client } of [one, two]) client.on("channel", (name, on) => told.push([name, on]));
    await receive({ type: "subscribed", channel: "calls/1", payload: position(1), automatic: true });
    await receive({ type: "unsubscribed", channel: "users/7", payload: { code: "unsubscribed", reason: "" } });
    assert.deepEqual(told, [["calls/1", true], ["calls/1", true], ["users/7", false], ["users/7", false]]);
  });

  test("waits for the connection, as long as it takes, and says so", async () => {
    const [one] = await tabs(1);
    await world.socket.end(1006);
    await world.advance(0);
    const two = await world.open();
    assert.deepEqual(two.states.at(-1), ["reconnecting", { attempt: 2, nextDelay: 1, code: 1006, reason: "" }]);
    assert.deepEqual(states(one).slice(-3), ["reconnecting", "connecting", "reconnecting"]);
    await world.advance(1);
    assert.deepEqual([states(one).at(-1), states(two).at(-1)], ["connecting", "connecting"]);
    await world.advance(19);
    await greet();
    assert.deepEqual([one.client.state, two.client.state], ["connected", "connected"]);
  });
});

describe("the connection is lost", () => {
  test("and resumed: each tab gets what was missed once, and nothing is subscribed again", async () => {
    const opened = await tabs(2);
    const logs = await subscribe(opened, "a");
    await receive(at(6));
    const request = opened[0].client.call("a", "move").catch(({ code }) => code);
    await world.settle();
    await world.socket.end(1006);
    await world.advance(1);
    assert.equal(await request, "connection_lost");
    await world.socket.welcomeBack({ session_id: "second", connection_id: "c2" });
    const channels = { a: { ...position(8), recovered: true } };
    const payload = { session_id: "second", connection_id: "c1", channels, dropped: {} };
    const { since } = await world.socket.answer("resume", { type: "resumed", payload });
    await receive(at(7, { recovered: true }), at(8, { recovered: true }), at(9));
    assert.deepEqual([since, payloads(logs)], [{ a: position(6) }, [[6, 7, 8, 9], [6, 7, 8, 9]]]);
    assert.deepEqual(sent(), []);
    for (const { states, client } of opened) {
      assert.deepEqual(states.map(([state]) => state).slice(-4), ["connecting", "reconnecting", "connecting", "connected"]);
      assert.equal(client.connectionId, "c1");
    }
    await world.advance(10);
    assert.deepEqual(sent(), []);
  });

  test("before a publication was answered: it is repeated with its key, for the tab that made it", async () => {
    const opened = await tabs(2);
    await subscribe(opened, "a");
    const published = opened[1].client.publish("a", 1);
    await world.settle();
    const [{ key }] = sent();
    await world.socket.end(1006);
    await world.advance(1);
    await world.socket.welcomeBack({ session_id: "second" });
    const payload = { session_id: "second", connection_id: "c1", channels: { a: { ...position(6), recovered: true } } };
    await answer("resume", { type: "resumed", payload });
    const repeated = world.socket.take().filter(({ type }) => type === "publish");
    assert.ok(repeated.length > 0 && repeated.every((message) => message.key === key));
    for (const { id } of repeated) await receive({ type: "published", id, payload: { ...position(6), duplicate: true } });
    assert.deepEqual(await published, { ...position(6), duplicate: true });
  });

  test("with a gap: each tab loads its state", async () => {
    const opened = await tabs(2);
    const logs = await subscribe(opened, "a");
    await receive(at(6));
    await world.socket.end(1006);
    await world.advance(1);
    await greet();
    await answer("subscribe", { type: "subscribed", payload: { ...position(1, "f"), recovered: false } });
    await receive(at(2, { epoch: "f" }));
    for (const log of logs) {
      assert.deepEqual(log.slice(2), [
        ["subscribed", { ...position(1, "f"), recovered: false }],
        ["recovered", { ...position(1, "f"), recovered: false }],
        ["message", 2],
      ]);
    }
  });

  test("for good: all tabs are closed", async () => {
    const opened = await tabs(2);
    const logs = await subscribe(opened, "a");
    await world.socket.end(4403, { code: 4403, reconnect: false });
    await world.settle();
    for (const { states } of opened) assert.deepEqual(states.at(-1), ["closed", { code: 4403, reason: "said" }]);
    assert.deepEqual(logs.map((log) => log.at(-1)), Array(2).fill(["unsubscribed", "closed"]));
    assert.equal(world.sockets.length, 0);
  });

  test("because the login ended: the tabs stop after a bounded number of attempts", async () => {
    const opened = await tabs(2);
    for (let attempt = 0; attempt < 10; attempt += 1) {
      if (world.socket) await world.socket.end(4401, { code: 4401, reconnect: true });
      await world.advance(2);
    }
    assert.deepEqual(opened.map(({ client }) => client.state), ["unauthenticated", "unauthenticated"]);
    assert.equal(FakeWebSocket.all.length, 4);
    opened[1].client.connect();
    await world.settle();
    await greet();
    assert.deepEqual(opened.map(({ client }) => client.state), ["unauthenticated", "connected"]);
  });
});

describe("the connection of a user whose login ended", () => {
  test("does not go on as a visitor's where those are allowed", async () => {
    const opened = await tabs(2);
    await world.socket.end(4401, { code: 4401, reconnect: true });
    for (let attempt = 0; attempt < 5; attempt += 1) {
      await world.advance(2);
      if (world.socket) await greet({ user: null });
    }
    assert.deepEqual(opened.map(({ client }) => [client.state, client.user]), Array(2).fill(["unauthenticated", "7"]));
  });

  test("goes on where a new attempt has a new one, and tabs learn who it is", async () => {
    const opened = await tabs(2);
    await world.socket.end(4401, { code: 4401, reconnect: true });
    await world.advance(2);
    await greet({ user: "8" });
    assert.deepEqual(opened.map(({ client }) => [client.state, client.user]), Array(2).fill(["connected", "8"]));
  });
});

describe("a page that is back, or its network", () => {
  test("ends the wait for the next attempt, and has the connection tested", async () => {
    const opened = await tabs(2);
    const [, two] = opened;
    two.owner.window.dispatchEvent(new Event("online"));
    await world.settle();
    assert.deepEqual(sent(), [{ type: "ping" }]);
    await world.socket.end(1006);
    await world.advance(0);
    assert.equal(world.sockets.length, 0);
    two.owner.window.dispatchEvent(new Event("online"));
    await world.settle();
    await greet();
    assert.deepEqual(opened.map(({ client }) => client.state), ["connected", "connected"]);
  });
});

describe("the tab that leads", () => {
  test("is in the background, where timers are late: a tab in front has it reconnect", async () => {
    await tabs(1, { timers: { setTimeout: () => 0, clearTimeout: () => {} } });
    await world.socket.end(1006);
    await world.settle();
    const two = await world.open();
    assert.deepEqual(two.states.at(-1), ["reconnecting", { attempt: 2, nextDelay: 1, code: 1006, reason: "" }]);
    await world.advance(1.9);
    assert.equal(world.sockets.length, 0);
    await world.advance(0.1);
    await greet();
    assert.equal(two.client.state, "connected");
  });

  async function numbered(count = 3) {
    const opened = await tabs(count);
    const logs = await subscribe(opened, "a");
    await receive(at(6));
    return { opened, logs };
  }

  test("closes its client: the page leads on for the others", async () => {
    const { opened, logs } = await numbered();
    opened[0].client.close();
    await world.settle();
    await receive(at(7));
    assert.deepEqual([payloads(logs), FakeWebSocket.all.length], [[[6], [6, 7], [6, 7]], 1]);
  });

  test("crashes: another one goes on, and no message is lost or comes twice", async () => {
    const { opened, logs } = await numbered();
    world.socket.closedWith = 1006;
    await world.crash(opened[0]);
    await world.advance(0);
    await greet();
    await answer("subscribe", { type: "subscribed", payload: { ...position(7), recovered: true } });
    await receive(at(7, { recovered: true }), at(8));
    assert.deepEqual(payloads(logs.slice(1)), [[6, 7, 8], [6, 7, 8]]);
    assert.deepEqual(states(opened[1]).slice(-4).at(-1), "connected");
  });

  for (const [away, back] of [["pagehide", "pageshow"], ["freeze", "resume"]]) {
    test(`is suspended by the browser (${away}): another one goes on, and it comes back`, async () => {
      const { opened, logs } = await numbered(2);
      opened[0].owner.window.dispatchEvent(new Event(away));
      await world.settle();
      assert.equal(FakeWebSocket.all[0].closedWith, 1000);
      await world.advance(0);
      await greet();
      await answer("subscribe", { type: "subscribed", payload: { ...position(7), recovered: true } });
      await receive(at(7, { recovered: true }));
      opened[0].owner.window.dispatchEvent(new Event(back));
      await world.advance(0);
      await receive(at(8));
      assert.equal(world.sockets.length, 1);
      assert.deepEqual(payloads(logs), [[6, 7, 8], [6, 7, 8]]);
    });
  }

  test("does not answer: another one takes its place", async () => {
    const [one] = await tabs(1);
    one.owner.frozen = true;
    const two = await world.open();
    await world.advance(10);
    await greet();
    assert.deepEqual([two.client.state, world.sockets.length], ["connected", 1]);
  });

  test("is told that a tab crashed, and unsubscribes what it had", async () => {
    const [one, two] = await tabs(2);
    await subscribe([two], "a");
    await world.crash(two);
    assert.deepEqual(sent(), [{ type: "unsubscribe", channel: "a" }]);
    assert.equal(one.client.state, "connected");
  });

  test("keeps a tab that handles few messages, but large ones", async () => {
    const [one, two] = await tabs(2);
    const logs = await subscribe([one, two], "a");
    const large = "x".repeat(250_000);
    for (let offset = 6; offset < 90; offset += 1) await receive(at(offset, { payload: large }));
    assert.deepEqual(logs.map((log) => messages(log).length), [84, 84]);
    assert.deepEqual(states(two), ["connecting", "connected"]);
  });

  test("closes the socket of a tab that does not handle what it gets, and the others go on", async () => {
    const [one, two] = await tabs(2);
    const logs = await subscribe([one, two], "a");
    two.owner.frozen = true;
    for (let batch = 0; batch < 60; batch += 1) await receive(Array.from({ length: 100 }, (_, index) => at(6 + batch * 100 + index)));
    two.owner.frozen = false;
    assert.deepEqual([logs[0].length, logs[1].length], [6001, 1]);
  });
});

describe("tokens", () => {
  test("come from the newest tab that has some, and the next is asked where one does not answer", async () => {
    const asked = [];
    const getToken = (name) => ({ reason }) => asked.push([name, reason]) && `${name}-token`;
    await tabs(1, { shareKey: "7", getToken: getToken("one") }, { user: "7" });
    await world.open({ shareKey: "7" });
    const three = await world.open({ shareKey: "7", getToken: getToken("three") });
    sent();
    await receive({ type: "auth_expiring", payload: { expires_at: 1 } });
    assert.deepEqual([asked, sent()], [[["three", "expiring"]], [{ type: "auth", token: "three-token" }]]);
    three.owner.frozen = true;
    await receive({ type: "auth_expiring", payload: { expires_at: 1 } });
    await world.advance(10);
    assert.deepEqual(sent().filter(({ type }) => type === "auth"), [{ type: "auth", token: "one-token" }]);
  });

  test("are asked for where the server waits for one, and a tab without one is unauthenticated", async () => {
    const one = await world.open({ shareKey: "7", getToken: () => null });
    await world.socket.receive({ type: "auth_required", payload: { timeout: 10 } });
    await world.settle();
    await world.advance(2);
    await receive({ type: "auth_required", payload: { timeout: 10 } });
    assert.deepEqual([one.client.state, FakeWebSocket.all.length], ["unauthenticated", 2]);
  });

  test("a getToken that fails is an error of the connection's, which goes on", async () => {
    const getToken = ({ reason }) => {
      if (reason === "expiring") throw new Error("no network");
      return "t";
    };
    const [one] = await tabs(1, { shareKey: "7", getToken });
    await receive({ type: "auth_expiring", payload: { expires_at: 1 } });
    assert.deepEqual(one.errors.map(({ code, reason }) => [code, reason]), [["token_unavailable", "getToken failed"]]);
    assert.equal(one.client.state, "connected");
  });

  test("a tab that signs the connection in makes the others greet it anew", async () => {
    let token = null;
    const opened = await tabs(2, { shareKey: "page", getToken: () => token }, { user: null });
    assert.deepEqual(opened.map(({ client }) => client.user), [null, null]);
    token = "t";
    const three = world.open({ shareKey: "page", getToken: () => token });
    await three;
    await answer("auth", { type: "auth_ok", payload: { user: "7", expires_at: null } });
    await world.advance(0);
    assert.deepEqual(world.tabs.map(({ client }) => client.user), ["7", "7", "7"]);
    assert.equal(world.sockets.length, 1);
  });
});

describe("a SharedWorker", () => {
  test("has the connection where there is one; no tab leads", async () => {
    const SharedWorker = world.sharedWorker();
    const opened = await tabs(2, { SharedWorker });
    const logs = await subscribe(opened, "a");
    opened[0].client.close();
    await world.settle();
    await receive(at(6));
    assert.deepEqual([payloads(logs), FakeWebSocket.all.length, world.workers.size], [[[], [6]], 1, 1]);
  });

  test("that cannot be loaded, or has no answer, is replaced by a tab that leads", async () => {
    await tabs(2, { SharedWorker: world.sharedWorker({ works: false }) });
    assert.deepEqual([world.sockets.length, world.workers.size], [1, 0]);
    const thrown = class {
      constructor() {
        throw new DOMException("of another origin", "SecurityError");
      }
    };
    const third = await world.open({ SharedWorker: thrown });
    const silent = class {
      port = { close() {} };
    };
    const fourth = await world.open({ SharedWorker: silent });
    assert.deepEqual([third.client.state, fourth.client.state], ["connected", "connecting"]);
    await world.advance(10);
    assert.deepEqual([fourth.client.state, world.sockets.length], ["connected", 1]);
  });

  test("that the browser ends is started again", async () => {
    const opened = await tabs(2, { SharedWorker: world.sharedWorker() });
    const logs = await subscribe(opened, "a");
    world.endWorkers();
    await world.settle();
    await world.advance(0);
    await greet();
    await answer("subscribe", { type: "subscribed", payload: { ...position(6), recovered: true } });
    await receive(at(6, { recovered: true }), at(7));
    assert.deepEqual([payloads(logs), world.sockets.length], [[[6, 7], [6, 7]], 1]);
  });
});
