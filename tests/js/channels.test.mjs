/** Presence, state, history, publishing and acknowledgements. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { settle } from "./fakes.mjs";
import {
  answerResume, answerSubscribe, at, comeBack, errors, heard, loads, messages, position, reconnect, reported, sent, setUp, socket, subscribed, timers,
  welcomed,
} from "./harness.mjs";

setUp();

const member = (id, name = id) => ({ id, user: id, info: { name } });
const moved = (type, one, count) => ({ type, channel: "a", payload: { member: one, count } });

/** Records what a subscription tells of the members. */
function seen(subscription) {
  const log = [];
  for (const event of ["join", "leave"]) subscription.on(event, ({ id }) => log.push(`${event} ${id}`));
  subscription.on("members", (members, count) => log.push(`${[...members.keys()].join(",")} of ${count}`));
  return log;
}

describe("presence", () => {
  test("asks for the members, and keeps them by joins and leaves", async () => {
    const client = await welcomed();
    const subscription = client.subscribe("a", { onSubscribed() {}, presence: true });
    const log = seen(subscription);
    const request = await answerSubscribe({ members: [member("1"), member("2")], count: 2 });
    assert.equal(request.presence, true);
    await socket().receive(moved("join", member("3"), 3), moved("leave", member("1"), 2));
    assert.deepEqual(log, ["1,2 of 2", "join 3", "1,2,3 of 3", "leave 1", "2,3 of 2"]);
    assert.deepEqual([[...subscription.members.keys()], subscription.count], [["2", "3"], 2]);
  });

  test("onMembers hears each change", async () => {
    const client = await welcomed();
    const counts = [];
    client.subscribe("a", { presence: true, onMembers: (_members, count) => counts.push(count) });
    await answerSubscribe({ members: [member("1")], count: 1 });
    await socket().receive(moved("join", member("2"), 2));
    assert.deepEqual(counts, [1, 2]);
  });

  test("a repeated join is no news but keeps the newer information, and a repeated leave is none", async () => {
    const client = await welcomed();
    const subscription = client.subscribe("a", { onSubscribed() {}, presence: true });
    const log = seen(subscription);
    await answerSubscribe({ members: [member("1", "old")], count: 1 });
    await socket().receive(moved("join", member("1", "new"), 1), moved("leave", member("9"), 1));
    assert.deepEqual([log, subscription.members.get("1").info.name], [["1 of 1"], "new"]);
  });

  test("the count is of all, those that were not sent included", async () => {
    const client = await welcomed();
    const subscription = client.subscribe("a", { onSubscribed() {}, presence: true });
    const log = seen(subscription);
    await answerSubscribe({ members: [member("1")], count: 500 });
    await socket().receive(moved("leave", member("9"), 499), moved("join", member("2"), 500));
    assert.deepEqual(log, ["1 of 500", "leave 9", "1 of 499", "join 2", "1,2 of 500"]);
  });

  test("the server may say who is there anew", async () => {
    const client = await welcomed();
    const log = seen(client.subscribe("a", { onSubscribed() {}, presence: true }));
    await answerSubscribe({ members: [member("1")], count: 1 });
    await socket().receive({ type: "subscribed", channel: "a", payload: { members: [member("2"), member("3")], count: 2 } });
    assert.deepEqual(log, ["1 of 1", "2,3 of 2"]);
  });

  test("after a reconnect it is who is there then", async () => {
    const client = await welcomed();
    const subscription = client.subscribe("a", { onSubscribed() {}, presence: true });
    const log = seen(subscription);
    await answerSubscribe({ members: [member("1")], count: 1 });
    await reconnect();
    const request = await answerSubscribe({ members: [member("2")], count: 1 });
    assert.deepEqual([request.presence, log], [true, ["1 of 1", "2 of 1"]]);
  });

  test("is not told to a caller that did not ask", async () => {
    const client = await welcomed();
    const log = seen(client.subscribe("a"));
    await answerSubscribe();
    await socket().receive(moved("join", member("1"), 1), { type: "join", channel: "a" });
    assert.deepEqual([log, errors, reported], [[], [], []]);
  });

  test("a caller that wants it later has the channel subscribed again, from the last position", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", {}, position(3));
    await socket().receive(at(4));
    const late = client.subscribe("a", { onSubscribed() {}, presence: true });
    const told = seen(late);
    await settle();
    await socket().answer("unsubscribe", { type: "unsubscribed" });
    await socket().receive(at(5)); // Of before; it comes again.
    const request = await answerSubscribe({ ...position(5), recovered: true, members: [member("1")], count: 1 });
    await socket().receive(at(5, { recovered: true }));
    assert.deepEqual([request.since, request.presence, messages(log), told], [position(4), true, [4, 5], ["1 of 1"]]);
  });

  test("wanted while there is no connection, it is not taken from the resumed session", async () => {
    const client = await welcomed();
    await subscribed(client, "a", {}, position(3));
    await socket().end(1006);
    client.subscribe("a", { onSubscribed() {}, presence: true });
    await timers.advance(1);
    await socket().welcomeBack({ session_id: "second" });
    await answerResume({ a: { ...position(3), recovered: true } });
    assert.deepEqual(sent().map(({ type, since, presence }) => [type, since, presence]), [
      ["unsubscribe", undefined, undefined], ["subscribe", position(3), true],
    ]);
  });

  test("of the user's own channel it is asked for once", async () => {
    const client = await welcomed({}, { channels: { a: {} } });
    client.subscribe("a");
    await settle();
    const told = seen(client.subscribe("a", { onSubscribed() {}, presence: true }));
    await settle();
    await socket().answer("presence", { type: "presence", payload: { members: [member("1")], count: 1 } });
    assert.deepEqual([told, sent()], [["1 of 1"], []]);
  });

  test("presence() asks once, without a subscription", async () => {
    const client = await welcomed();
    const reply = { members: [member("1")], count: 1 };
    const asked = client.presence("a");
    await settle();
    await socket().answer("presence", { type: "presence", payload: reply });
    assert.deepEqual(await asked, reply);
  });
});

describe("state", () => {
  test("comes first whatever its offsets, and does not move the position", async () => {
    const client = await welcomed();
    const { subscription, log } = await subscribed(client, "a", {}, position(9));
    await socket().receive(
      at(3, { state: true, state_key: "x" }), at(7, { state: true, state_key: "y" }), at(10, { state_key: "x" }), at(10, { state_key: "x" }),
    );
    assert.deepEqual(messages(log), [3, 7, 10]);
    assert.deepEqual([...subscription.values].map(([key, { payload }]) => [key, payload]), [["y", 7], ["x", 10]]);
    await reconnect();
    assert.deepEqual(sent()[0].since, position(10));
  });

  test("a key that is removed is gone", async () => {
    const client = await welcomed();
    const { subscription, log } = await subscribed(client, "a", {}, position(3));
    await socket().receive(at(3, { state: true, state_key: "x" }), at(4, { state_key: "x", removed: true }));
    assert.deepEqual([subscription.values.size, messages(log)], [0, [3, 4]]);
  });

  test("a caller that comes later gets the state too", async () => {
    const client = await welcomed();
    await subscribed(client, "a", {}, position(9));
    await socket().receive(at(3, { state: true, state_key: "x" }), at(10, { state_key: "y" }));
    const late = [];
    client.subscribe("a", (message) => late.push([message.state_key, message.payload, message.state]));
    await settle();
    assert.deepEqual(late, [["x", 3, true], ["y", 10, true]]);
  });

  test("of a last-value channel a later caller gets the newest", async () => {
    const client = await welcomed();
    const { subscription } = await subscribed(client, "a", {}, position(9));
    await socket().receive(at(9, { state: true }), at(10), { type: "message", channel: "a", payload: "transient" });
    const log = heard(client.subscribe("a"));
    await settle();
    assert.deepEqual([messages(log), subscription.values.get("").payload], [[10], 10]);
  });

  test("a position does not count before the state has arrived", async () => {
    const client = await welcomed();
    await subscribed(client, "a", {}, position(9));
    await socket().receive(at(3, { state: true, state_key: "x" }));
    await settle();
    await socket().receive(at(7, { state: true, state_key: "y" })); // After the question, so it is asked again.
    await socket().answer("ping", { type: "pong" });
    await comeBack();
    assert.deepEqual(sent(), [{ type: "resume", session_id: "secret-session", since: {} }]);
  });

  for (const [what, frames, since] of [
    ["the server knows whether a state was still to come", [], {}],
    ["a ping shows that nothing was", [{ type: "ping" }], { a: position(9) }],
    ["a live message shows that nothing was", [at(10)], { a: position(10) }],
  ]) {
    test(`lost soon after the reply, ${what}`, async () => {
      const client = await welcomed();
      await subscribed(client, "a", {}, position(9));
      await socket().receive(...frames);
      await comeBack();
      assert.deepEqual(sent(), [{ type: "resume", session_id: "secret-session", since }]);
    });
  }

  test("a position counts once the state has arrived", async () => {
    const client = await welcomed();
    await subscribed(client, "a", {}, position(9));
    await socket().receive(at(3, { state: true, state_key: "x" }));
    await socket().answer("ping", { type: "pong" });
    await comeBack();
    assert.deepEqual(sent()[0].since, { a: position(9) });
  });

  test("it begins anew where something may be missing", async () => {
    const client = await welcomed();
    const { subscription } = await subscribed(client, "a", {}, position(3));
    await socket().receive(at(3, { state: true, state_key: "x" }));
    await reconnect();
    await answerSubscribe({ ...position(9), recovered: false });
    await socket().receive(at(8, { state: true, state_key: "y" }));
    assert.deepEqual([...subscription.values.keys()], ["y"]);
  });

  test("it stays where nothing is missing", async () => {
    const client = await welcomed();
    const { subscription } = await subscribed(client, "a", {}, position(3));
    await socket().receive(at(3, { state: true, state_key: "x" }));
    await reconnect();
    await answerSubscribe({ ...position(4), recovered: true });
    await socket().receive(at(4, { state_key: "y", recovered: true }));
    assert.deepEqual([...subscription.values.keys()], ["x", "y"]);
  });
});

describe("history", () => {
  test("of a subscription or of any channel", async () => {
    const client = await welcomed();
    const reply = { messages: [at(4)], ...position(4) };
    const { subscription } = await subscribed(client, "a");
    for (const [asked, fields] of [
      [subscription.history({ since: position(3), limit: 10 }), { since: position(3), limit: 10 }],
      [client.history("a", { reverse: true }), { reverse: true }],
      [client.history("a"), {}],
    ]) {
      await settle();
      const { id, ...request } = await socket().answer("history", { type: "history", payload: reply });
      assert.deepEqual(request, { type: "history", channel: "a", ...fields });
      assert.deepEqual(await asked, reply);
    }
  });
});

describe("publishing", () => {
  test("every option goes out as the protocol names it", async () => {
    const client = await welcomed();
    client.publish("a", 1, { event: "e", key: "k", echo: false, version: 3, stateKey: "x", removed: true, onlyIf: { new: true } });
    client.publish("a", undefined, { event: "typing", transient: true });
    await settle();
    assert.deepEqual(sent(), [
      { type: "publish", channel: "a", payload: 1, event: "e", key: "k", echo: false, version: 3, state_key: "x", removed: true, only_if: { new: true } },
      { type: "publish", channel: "a", payload: null, event: "typing", transient: true },
    ]);
  });

  test("an HTTP request names the connection", async () => {
    const client = await welcomed({}, { connection_id: "abc" });
    assert.deepEqual([client.connectionId, client.headers], ["abc", { "X-Realtime-Connection": "abc" }]);
  });

  test("a server without ids gives no header", async () => {
    const client = await welcomed({}, { connection_id: undefined });
    assert.deepEqual([client.connectionId, client.headers], [null, {}]);
  });
});

describe("acknowledging", () => {
  const acks = () => sent().filter(({ type }) => type === "ack").map(({ payload }) => payload.offset);

  test("one goes out for all messages of a moment, without an id", async () => {
    const client = await welcomed();
    await subscribed(client, "a", { ack: true, onMessage: () => {} }, position(3));
    await socket().receive(at(4), at(5), at(6));
    assert.deepEqual(acks(), []);
    await timers.advance(0.1);
    assert.deepEqual(socket().take(), [{ type: "ack", channel: "a", payload: position(6) }]);
    await timers.advance(1);
    assert.deepEqual(acks(), []);
  });

  test("a message counts when its asynchronous handler is done, in the order of arrival", async () => {
    const client = await welcomed();
    const handling = [];
    const onMessage = () => new Promise((resolve) => handling.push(resolve));
    await subscribed(client, "a", { ack: true, onMessage }, position(3));
    await socket().receive(at(4), at(5));
    handling[1]();
    await timers.advance(1);
    assert.deepEqual(acks(), []);
    handling[0]();
    await settle();
    await timers.advance(1);
    assert.deepEqual(acks(), [5]);
  });

  test("one whose handler fails is not acknowledged, nor what follows", async () => {
    for (const fail of [() => { throw new Error("broken"); }, () => Promise.reject(new Error("broken"))]) {
      const client = await welcomed();
      const onMessage = ({ payload }) => (payload === 5 ? fail() : undefined);
      await subscribed(client, "a", { ack: true, onMessage }, position(3));
      await socket().receive(at(4), at(5));
      await socket().receive(at(6));
      await timers.advance(1);
      assert.deepEqual([acks(), reported.splice(0).map(String)], [[4], ["Error: broken"]]);
      await reconnect(); // The page has had it, so only another subscription gets it again.
      await answerSubscribe({ ...position(6), recovered: true });
      await socket().receive(at(7));
      await timers.advance(1);
      assert.deepEqual(acks(), []);
      client.close();
    }
  });

  test("a loop acknowledges a message when it asks for the next", async () => {
    const client = await welcomed();
    const subscription = client.subscribe("a", { ack: true, iterate: true });
    await answerSubscribe(position(3));
    await socket().receive(at(4), at(5));
    await subscription.next();
    await timers.advance(1);
    assert.deepEqual(acks(), []);
    await subscription.next();
    await timers.advance(1);
    assert.deepEqual(acks(), [4]);
  });

  test("a loaded state is acknowledged up to its position", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    await subscribed(client, "a", { ack: true, load, onMessage: () => {} }, position(3));
    calls[0].resolve({ position: position(9) });
    await settle();
    await timers.advance(1);
    assert.deepEqual(acks(), [9]);
  });

  test("of several callers the slowest counts", async () => {
    const client = await welcomed();
    await subscribed(client, "a", { ack: true, onMessage: () => {} }, position(3));
    const slow = client.subscribe("a", { ack: true, iterate: true });
    await settle();
    await socket().receive(at(4), at(5));
    await slow.next();
    await slow.next();
    await timers.advance(1);
    assert.deepEqual(acks(), [4]);
  });

  test("what was not sent goes out after the reconnect, and with close()", async () => {
    const client = await welcomed();
    await subscribed(client, "a", { ack: true, onMessage: () => {} }, position(3));
    await socket().receive(at(4));
    await reconnect();
    assert.deepEqual(acks(), [4]);
    await socket().answer("subscribe", { type: "subscribed", payload: { ...position(4), recovered: true } }).catch(() => {});
  });

  test("close() sends the last one", async () => {
    const client = await welcomed();
    await subscribed(client, "a", { ack: true, onMessage: () => {} }, position(3));
    await socket().receive(at(4));
    client.close();
    assert.deepEqual([acks(), timers.count], [[4], 0]);
  });

  test("what an inbox still has comes first, without a position of the page", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", { ack: true, onMessage: () => {} }, { ...position(9), recovered: true });
    await socket().receive(at(8, { recovered: true }), at(9, { recovered: true }), at(9), at(10));
    assert.deepEqual(messages(log), [8, 9, 10]);
    assert.deepEqual(log[1], ["recovered", { ...position(9), recovered: true }]);
    await comeBack();
    assert.deepEqual(sent()[0].since, { a: position(10) });
  });

  test("what the user's own inbox still has follows welcome", async () => {
    for (const resumes of [false, true]) {
      const client = await welcomed({}, resumes ? {} : { channels: { a: position(9) } });
      const seen = [];
      client.on("message", (message) => seen.push(message.payload));
      if (resumes) await comeBack({ session_id: "second", channels: { a: position(9) } });
      await socket().receive(at(8, { recovered: true }), at(9, { recovered: true }));
      if (resumes) await socket().refuseResume();
      await socket().receive(at(9), at(10));
      assert.deepEqual(seen, [8, 9, 10]);
      client.close();
    }
  });

  test("an inbox that holds less than was missed says so", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { log } = await subscribed(client, "a", { ack: true, load }, { ...position(9), recovered: false });
    assert.deepEqual([log[1], calls.length], [["recovered", { ...position(9), recovered: false }], 1]);
  });

  test("by hand, for one message and all before it", async () => {
    const client = await welcomed();
    const { subscription } = await subscribed(client, "a", {}, position(3));
    await socket().receive(at(4), at(5));
    subscription.ack(at(5));
    subscription.ack(at(4));
    await timers.advance(1);
    assert.deepEqual(acks(), [5]);
  });
});
