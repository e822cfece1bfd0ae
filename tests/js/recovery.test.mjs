/** From the page to the socket, `load`, and what a reconnect recovers. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { settle } from "./fakes.mjs";
import {
  answerResume, answerSubscribe, at, comeBack, errors, heard, loads, messages, open, position, reconnect, reported, sent, setUp, socket,
  subscribed, timers, welcomed,
} from "./harness.mjs";

setUp();

describe("since", () => {
  test("is taken as an object and as the text that a template writes", async () => {
    const client = await welcomed();
    for (const since of [position(3), '{"epoch": "e", "offset": 3}', ["e", 3], " \n", "", "null", null]) {
      const subscription = client.subscribe("a", { onSubscribed() {}, since });
      await settle();
      const [{ since: on_wire }] = sent();
      assert.deepEqual(on_wire, [" \n", "", "null", null].includes(since) ? undefined : position(3));
      subscription.unsubscribe();
      await settle();
      sent();
    }
  });

  test("what followed comes first, and what the page has already does not come", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", { since: position(3) }, { ...position(5), recovered: true });
    await socket().receive(at(3), at(4, { recovered: true }), at(5, { recovered: true }), at(6), at(6), at(5));
    assert.deepEqual(messages(log), [4, 5, 6]);
    assert.deepEqual(log[1], ["recovered", { ...position(5), recovered: true }]);
  });

  test("a subscribe that was never answered begins there again", async () => {
    const client = await welcomed();
    client.subscribe("a", { onSubscribed() {}, since: position(3) });
    await settle();
    await reconnect();
    assert.deepEqual(sent(), [{ type: "subscribe", channel: "a", since: position(3) }]);
  });

  test("of several callers the earliest goes out, and each gets what follows its own", async () => {
    const client = open();
    const [later, sooner] = [5, 3].map((offset) => heard(client.subscribe("a", { onSubscribed() {}, since: position(offset) })));
    await socket().welcome();
    const request = await answerSubscribe({ ...position(6), recovered: true });
    assert.deepEqual(request.since, position(3));
    await socket().receive(...[4, 5, 6].map((offset) => at(offset, { recovered: true })));
    assert.deepEqual([messages(sooner), messages(later)], [[4, 5, 6], [6]]);
  });

  test("a caller that comes after the subscribe learns whether it misses something", async () => {
    const client = await welcomed();
    await subscribed(client, "a", {}, position(5));
    await socket().receive(at(6));
    const [behind, ahead] = [5, 6].map((offset) => heard(client.subscribe("a", { onSubscribed() {}, since: position(offset) })));
    await settle();
    assert.deepEqual([behind[1][1].recovered, ahead[1][1].recovered], [false, true]);
  });
});

describe("load", () => {
  test("is called at the first subscribe, holds live messages, and drops those that its position has", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { log } = await subscribed(client, "a", { load }, position(3));
    await socket().receive(at(4), at(5));
    assert.deepEqual([calls.length, log], [1, [["subscribed", position(3)]]]);
    calls[0].resolve({ rows: 2, position: position(4) });
    await settle();
    await socket().receive(at(6));
    assert.deepEqual(log.slice(1), [["loaded", { rows: 2, position: position(4) }], ["message", 5], ["message", 6]]);
  });

  test("a state that is ahead of the connection keeps its messages away when they come", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { log } = await subscribed(client, "a", { load }, position(3));
    calls[0].resolve({ position: JSON.stringify(position(6)) });
    await settle();
    await socket().receive(at(4), at(5), at(6), at(7));
    assert.deepEqual(messages(log), [7]);
  });

  test("without a position what was held follows the state", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { log } = await subscribed(client, "a", { load });
    await socket().receive({ type: "message", channel: "a", payload: "live" });
    calls[0].resolve();
    await settle();
    assert.deepEqual(log.slice(1), [["loaded", undefined], ["message", "live"]]);
  });

  test("is not called where the page has a position and nothing is missing", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    await subscribed(client, "a", { load, since: position(3) }, { ...position(3), recovered: true });
    await reconnect();
    await answerSubscribe({ ...position(3), recovered: true });
    assert.equal(calls.length, 0);
  });

  test("is called whenever recovered is false, and where the channel keeps nothing", async () => {
    for (const reply of [{ ...position(1, "f"), recovered: false }, {}]) {
      const client = await welcomed();
      const { load, calls } = loads();
      const { log } = await subscribed(client, "a", { load, since: position(3) }, reply);
      assert.equal(calls.length, 1);
      calls[0].resolve("state");
      await settle();
      await reconnect();
      await answerSubscribe(reply);
      assert.equal(calls.length, 2);
      assert.deepEqual(log.filter(([event]) => event === "recovered").map(([, { recovered }]) => recovered), [false, false]);
      client.close();
    }
  });

  test("each of several callers loads", async () => {
    const client = await welcomed();
    const first = loads();
    await subscribed(client, "a", { load: first.load }, position(3));
    const second = loads();
    client.subscribe("a", { onSubscribed() {}, load: second.load });
    await settle();
    assert.deepEqual([first.calls.length, second.calls.length], [1, 1]);
  });

  test("one that fails is reported and tried again with backoff", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { log } = await subscribed(client, "a", { load }, position(3));
    await socket().receive(at(4));
    for (const [attempt, seconds] of [[0, 1], [1, 2]]) {
      calls[attempt].reject(new Error("no route"));
      await settle();
      assert.deepEqual(log.at(-1), ["error", "load_failed"]);
      await timers.advance(seconds - 0.1);
      assert.equal(calls.length, attempt + 1);
      await timers.advance(0.1);
      assert.equal(calls.length, attempt + 2);
    }
    calls[2].resolve({ position: position(3) });
    await settle();
    assert.deepEqual(log.slice(-2), [["loaded", { position: position(3) }], ["message", 4]]);
  });

  test("one that throws at once is an error like any other", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", { load: () => JSON.parse("{") });
    assert.deepEqual(log.at(-1), ["error", "load_failed"]);
    client.close();
  });

  test("without a listener its error goes to the client's", async () => {
    const client = await welcomed();
    client.subscribe("a", { onSubscribed() {}, load: () => Promise.reject(new Error("no")) });
    await answerSubscribe();
    assert.deepEqual(errors.map(({ code, cause }) => [code, cause.message]), [["load_failed", "no"]]);
  });

  test("too many held messages mean loading again, unless the state has them", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { log } = await subscribed(client, "a", { load, bufferSize: 2 }, position(0));
    await socket().receive(at(1), at(2), at(3), at(4));
    calls[0].resolve({ position: position(1) });
    await settle();
    assert.deepEqual(log.at(-1), ["error", "overflow"]);
    await timers.advance(1);
    await socket().receive(at(5));
    calls[1].resolve({ position: position(3) });
    await settle();
    assert.deepEqual(messages(log), [4, 5]);
  });

  test("it goes on through a reconnect that misses nothing", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { log } = await subscribed(client, "a", { load }, position(3));
    await socket().receive(at(4));
    await reconnect();
    await answerSubscribe({ ...position(5), recovered: true });
    await socket().receive(at(5, { recovered: true }), at(6));
    assert.deepEqual([calls.length, calls[0].signal.aborted, messages(log)], [1, false, []]);
    calls[0].resolve({ position: position(4) });
    await settle();
    assert.deepEqual(messages(log), [5, 6]);
  });

  test("a reconnect that misses something aborts it and loads anew", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { log } = await subscribed(client, "a", { load }, position(3));
    await socket().receive(at(4));
    await reconnect();
    await answerSubscribe({ ...position(9), recovered: false });
    assert.deepEqual([calls.length, calls[0].signal.aborted], [2, true]);
    calls[0].resolve("old");
    await settle();
    await socket().receive(at(10));
    calls[1].resolve("new");
    await settle();
    assert.deepEqual(log.filter(([event]) => event === "loaded"), [["loaded", "new"]]);
    assert.deepEqual(messages(log), [10]);
  });

  test("one that ends while there is no connection is told, and what follows is recovered", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { log } = await subscribed(client, "a", { load }, position(3));
    await socket().receive(at(4));
    await socket().end(1006);
    calls[0].resolve({ position: position(3) });
    await settle();
    assert.deepEqual(log.slice(-2), [["loaded", { position: position(3) }], ["message", 4]]);
    await timers.advance(1);
    await socket().welcome();
    const request = await answerSubscribe({ ...position(5), recovered: true });
    assert.deepEqual(request.since, position(4));
    await socket().receive(at(5, { recovered: true }));
    assert.deepEqual([messages(log), calls.length], [[4, 5], 1]);
  });

  test("one that fails while there is no connection is tried again after the reconnect", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { log } = await subscribed(client, "a", { load }, position(3));
    await socket().end(1006);
    calls[0].reject(new Error("offline"));
    await settle();
    await timers.advance(1);
    assert.equal(calls.length, 1);
    await socket().welcome();
    await answerSubscribe({ ...position(3), recovered: true });
    assert.equal(calls.length, 2);
    await socket().receive(at(4));
    calls[1].resolve();
    await settle();
    assert.deepEqual(messages(log), [4]);
  });

  test("unsubscribing aborts it, and nothing of it is told", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { subscription, log } = await subscribed(client, "a", { load }, position(3));
    await socket().receive(at(4));
    subscription.unsubscribe();
    calls[0].resolve("state");
    await settle();
    assert.deepEqual(log.slice(1), [["unsubscribed", "unsubscribed"]]);
    assert.equal(calls[0].signal.aborted, true);
  });

  test("unsubscribing between two attempts leaves no timer", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { subscription } = await subscribed(client, "a", { load }, position(3));
    subscription.on("error", () => subscription.unsubscribe());
    calls[0].reject(new Error("no"));
    await settle();
    await timers.advance(60);
    assert.equal(calls.length, 1);
  });
});

describe("the server's own word", () => {
  test("recovered false without a request: load runs, and numbers begin anew", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    const { log } = await subscribed(client, "a", { load, since: position(8) }, { ...position(8), recovered: true });
    await socket().receive({ type: "subscribed", channel: "a", payload: { ...position(0, "f"), recovered: false } });
    await socket().receive(at(1, { epoch: "f" }));
    assert.deepEqual([calls.length, log.at(-1)], [1, ["recovered", { ...position(0, "f"), recovered: false }]]);
    calls[0].resolve({ position: position(0, "f") });
    await settle();
    assert.deepEqual(messages(log), [1]);
    await reconnect();
    assert.deepEqual(sent()[0].since, position(1, "f"));
  });

  test("of a channel that the page does not have it is ignored", async () => {
    const client = await welcomed();
    await socket().receive({ type: "subscribed", channel: "a", payload: { recovered: false } });
    client.subscribe("a");
    await socket().receive({ type: "subscribed", channel: "a", payload: { recovered: false } });
    assert.deepEqual([errors, reported], [[], []]);
  });

  test("requireRecovery ends a subscription that misses something, and takes it back", async () => {
    const client = await welcomed();
    const { subscription, log } = await subscribed(client, "a", { requireRecovery: true }, position(8));
    await socket().receive({ type: "subscribed", channel: "a", payload: { ...position(0, "f"), recovered: false } });
    assert.deepEqual(log.slice(1), [["error", "not_recoverable"], ["unsubscribed", "not_recoverable"]]);
    assert.equal(subscription.ended, true);
    assert.deepEqual(sent(), [{ type: "unsubscribe", channel: "a" }]);
  });

  test("requireRecovery goes with the position, and the refusal ends it", async () => {
    const client = await welcomed();
    const subscription = client.subscribe("a", { onSubscribed() {}, since: position(2), requireRecovery: true });
    subscription.ready.catch(() => {});
    await settle();
    const error = { type: "error", payload: { code: "not_recoverable", reason: "gone" } };
    const request = await socket().answer("subscribe", error);
    assert.deepEqual([request.require_recovery, subscription.ended], [true, true]);
    await assert.rejects(subscription.ready, { code: "not_recoverable" });
  });

  test("a channel that the server subscribed is told, and subscribing to it needs no request", async () => {
    const client = await welcomed();
    const told = [];
    let log;
    client.on("channel", (name, on) => {
      told.push([name, on]);
      if (on) log = heard(client.subscribe(name));
    });
    await socket().receive({ type: "subscribed", channel: "a", automatic: true, payload: position(3) });
    await socket().receive(at(4));
    await socket().receive({ type: "unsubscribed", channel: "a", payload: { code: "forbidden", reason: "" } });
    assert.deepEqual(told, [["a", true], ["a", false]]);
    assert.deepEqual(log, [["subscribed", position(3)], ["message", 4], ["unsubscribed", "forbidden"]]);
    assert.deepEqual(sent(), []);
  });

  test("a server's subscription to what the page has already changes nothing", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", {}, position(3));
    await socket().receive(at(4), { type: "subscribed", channel: "a", automatic: true, payload: position(4) }, at(5));
    assert.deepEqual(log.slice(1), [["message", 4], ["message", 5]]);
  });
});

describe("resume", () => {
  test("is the first message after welcome, with the positions, and nothing is subscribed again", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", {}, position(3));
    await socket().receive(at(4));
    await comeBack();
    assert.deepEqual(sent(), [{ type: "resume", session_id: "secret-session", since: { a: position(4) } }]);
    assert.equal(client.state, "connecting");
  });

  test("what was missed follows, then what is live", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", {}, position(3));
    await socket().receive(at(4));
    await comeBack();
    await answerResume({ a: { ...position(6), recovered: true } });
    await socket().receive(at(5, { recovered: true }), at(6, { recovered: true }), at(7), at(6));
    assert.deepEqual(messages(log), [4, 5, 6, 7]);
    assert.deepEqual([sent(), client.state, client.connectionId], [[], "connected", "c1"]);
  });

  test("the next one names the session that the server then said", async () => {
    const client = await welcomed();
    await subscribed(client, "a", {}, position(3));
    await comeBack();
    await answerResume({ a: { ...position(3), recovered: true } }, { session_id: "another", connection_id: "c9" });
    assert.equal(client.connectionId, "c9");
    await comeBack({ session_id: "third", connection_id: "c3" });
    assert.equal(sent()[0].session_id, "another");
  });

  test("unknown_session: subscribes with the positions, as another connection", async () => {
    const client = await welcomed();
    await subscribed(client, "a", {}, position(3));
    await comeBack();
    await socket().refuseResume();
    assert.deepEqual(sent(), [{ type: "subscribe", channel: "a", since: position(3) }]);
    assert.equal(client.connectionId, "c2");
    await comeBack({ session_id: "third" });
    assert.equal(sent()[0].session_id, "second");
  });

  test("a subscribe with a position whose answer was lost begins there again, as the answer may have told of a gap", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", {}, position(3));
    await comeBack();
    await socket().refuseResume();
    assert.deepEqual(sent(), [{ type: "subscribe", channel: "a", since: position(3) }]);
    await comeBack({ session_id: "third" });
    const { since } = await answerResume({ a: { ...position(9), recovered: false } });
    assert.deepEqual(since, { a: position(3) });
    assert.deepEqual(log.at(-1), ["recovered", { ...position(9), recovered: false }]);
  });

  test("a channel that it lost is asked for again", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", {}, position(3));
    await subscribed(client, "b");
    await comeBack();
    await answerResume({ b: {} }, { dropped: { a: "forbidden" } });
    assert.deepEqual(await socket().answer("subscribe", { type: "error", payload: { code: "forbidden", reason: "" } }).then(({ channel }) => channel), "a");
    assert.deepEqual(log.slice(-1), [["unsubscribed", "forbidden"]]);
  });

  test("recovered false loads again", async () => {
    const client = await welcomed();
    const { load, calls } = loads();
    await subscribed(client, "a", { load, since: position(3) }, { ...position(3), recovered: true });
    await comeBack();
    await answerResume({ a: { ...position(1, "f"), recovered: false } });
    assert.equal(calls.length, 1);
  });

  test("a connection lost before its answer tries the same session again", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", {}, position(3));
    await comeBack();
    await comeBack({ session_id: "third" });
    assert.equal(sent()[0].session_id, "secret-session");
    assert.deepEqual([errors, log], [[], [["subscribed", position(3)]]]);
  });

  test("a connection lost in the middle of its replay goes on from the last message", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", {}, position(3));
    await subscribed(client, "b", {}, position(8));
    await comeBack();
    await answerResume({ a: { ...position(6), recovered: true }, b: { ...position(9), recovered: true } });
    await socket().receive(at(4, { recovered: true }));
    await comeBack({ session_id: "third" });
    assert.deepEqual(sent()[0].since, { a: position(4), b: position(8) });
    await socket().receive({ type: "error", id: 4, request: "resume", payload: { code: "unknown_session", reason: "" } });
    assert.deepEqual(messages(log), [4]);
  });

  test("one that is not answered ends the connection, and the next subscribes anew", async () => {
    const client = await welcomed({ requestTimeoutSeconds: 5 });
    await subscribed(client, "a", {}, position(3));
    await comeBack({ session_id: "second", heartbeat: { interval: 0, timeout: 0 } });
    await timers.advance(5);
    await timers.advance(1);
    await socket().welcomeBack({ session_id: "third" });
    assert.deepEqual(sent(), [{ type: "subscribe", channel: "a", since: position(3) }]);
  });

  test("what was given up meanwhile is ended, and what was asked for meanwhile is subscribed", async () => {
    const client = await welcomed();
    const { subscription } = await subscribed(client, "a", {}, position(3));
    await socket().end(1006);
    subscription.unsubscribe();
    const log = heard(client.subscribe("b"));
    await timers.advance(1);
    await socket().welcomeBack({ session_id: "second" });
    await answerResume({ a: position(3) });
    await socket().receive(at(4, { recovered: true }));
    assert.deepEqual(sent(), [{ type: "unsubscribe", channel: "a" }, { type: "subscribe", channel: "b" }]);
    assert.deepEqual(log, []);
  });

  test("given up and asked for again, it is a new subscription, without what the old one missed", async () => {
    const client = await welcomed();
    const { subscription } = await subscribed(client, "a", {}, position(3));
    await socket().end(1006);
    subscription.unsubscribe();
    const log = heard(client.subscribe("a"));
    await timers.advance(1);
    await socket().welcomeBack({ session_id: "second" });
    await answerResume({ a: position(5) });
    await socket().receive(at(4, { recovered: true }), at(5, { recovered: true }));
    assert.deepEqual(sent().map(({ type }) => type), ["unsubscribe", "subscribe"]);
    assert.deepEqual(log, []);
  });

  test("an unsubscribe that was not answered is asked again", async () => {
    const client = await welcomed();
    const { subscription } = await subscribed(client, "a", {}, position(3));
    subscription.unsubscribe();
    await settle();
    await comeBack();
    await answerResume({ a: position(3) });
    assert.deepEqual(sent(), [{ type: "unsubscribe", channel: "a" }]);
  });

  test("a subscribe whose answer was lost is part of it", async () => {
    const client = await welcomed();
    const log = heard(client.subscribe("a", { onSubscribed() {}, since: position(3) }));
    await settle();
    await comeBack();
    assert.deepEqual(sent()[0].since, { a: position(3) });
    await socket().receive({ type: "resumed", id: 2, payload: { session_id: "second", channels: { a: { ...position(4), recovered: true } } } });
    await socket().receive(at(4, { recovered: true }));
    assert.deepEqual([messages(log), sent()], [[4], []]);
  });

  test("brings back what the server subscribed", async () => {
    const client = await welcomed();
    const told = [];
    client.on("channel", (name, on) => told.push([name, on]));
    const seen = [];
    client.on("message", (message) => seen.push(message.payload));
    await socket().receive({ type: "subscribed", channel: "a", automatic: true, payload: position(3) });
    await socket().receive({ type: "ping" });
    await comeBack();
    assert.deepEqual(sent()[0].since, { a: position(3) });
    await socket().receive({ type: "resumed", id: 1, payload: { session_id: "second", channels: { a: { ...position(4), recovered: true } } } });
    await socket().receive(at(4, { recovered: true }), at(5));
    assert.deepEqual([told, seen, sent()], [[["a", true]], [4, 5], []]);
  });

  test("without it, what the server subscribed is gone, and is told", async () => {
    const client = await welcomed();
    const told = [];
    client.on("channel", (name, on) => told.push([name, on]));
    await socket().receive({ type: "subscribed", channel: "a", automatic: true, payload: position(3) });
    await reconnect();
    assert.deepEqual([told, sent()], [[["a", true], ["a", false]], []]);
  });

  test("live messages of the user's own channel wait for it", async () => {
    const channels = (offset) => ({ channels: { a: position(offset) } });
    const client = await welcomed({}, channels(3));
    const seen = [];
    client.on("message", (message) => seen.push(message.payload));
    await comeBack({ session_id: "second", ...channels(5) });
    await socket().receive(at(6));
    await answerResume({ a: { ...position(6), recovered: true } });
    await socket().receive(at(4, { recovered: true }), at(5, { recovered: true }));
    await socket().receive(at(7));
    assert.deepEqual(seen, [4, 5]);
    await socket().answer("ping", { type: "pong" });
    await socket().receive(at(8));
    assert.deepEqual(seen, [4, 5, 6, 7, 8]);
  });

  test("a connection lost before they follow gets them again", async () => {
    const channels = (offset) => ({ channels: { a: position(offset) } });
    const client = await welcomed({}, channels(3));
    const seen = [];
    client.on("message", (message) => seen.push(message.payload));
    await comeBack({ session_id: "second", ...channels(5) });
    await socket().receive(at(6));
    await answerResume({ a: { ...position(6), recovered: true } });
    await socket().receive(at(4, { recovered: true }));
    await comeBack({ session_id: "third", ...channels(6) });
    assert.deepEqual([sent()[0].since, seen], [{ a: position(4) }, [4]]);
  });

  test("more of them than can be held are a gap", async () => {
    const channels = (offset) => ({ channels: { a: position(offset) } });
    const client = await welcomed({}, channels(3));
    const log = heard(client.subscribe("a"));
    await settle();
    await comeBack({ session_id: "second", ...channels(5) });
    for (let offset = 6; offset <= 1010; offset += 1) await socket().receive(at(offset));
    await answerResume({ a: { ...position(1010), recovered: true } });
    await socket().answer("ping", { type: "pong" });
    assert.deepEqual(log.at(-1), ["recovered", { ...position(1005), recovered: false }]);
  });

  test("what the server subscribes before it was resumed waits as well", async () => {
    const client = await welcomed();
    const seen = [];
    client.on("message", (message) => seen.push(message.payload));
    await comeBack();
    await socket().receive({ type: "subscribed", channel: "a", automatic: true, payload: position(5) }, at(6));
    assert.deepEqual(seen, []);
    await answerResume();
    assert.deepEqual([seen, client.state], [[6], "connected"]);
  });

  test("live messages of the user's own channel are kept where the session is unknown", async () => {
    const channels = (offset) => ({ channels: { a: position(offset) } });
    const client = await welcomed({}, channels(3));
    const seen = [];
    client.on("message", (message) => seen.push(message.payload));
    await comeBack({ session_id: "second", ...channels(3) });
    await socket().receive(at(4));
    await socket().refuseResume();
    assert.deepEqual([seen, sent()], [[4], []]);
  });

  test("after close() there is no session to resume", async () => {
    const client = await welcomed();
    client.close();
    client.connect();
    await socket().welcomeBack({ session_id: "second" });
    assert.deepEqual([sent(), client.state], [[], "connected"]);
  });

  test("several selections have one replay, and a message of each comes once", async () => {
    const client = await welcomed();
    const logs = [];
    for (const parameters of ["X", "Y"]) logs.push((await subscribed(client, "a", { parameters }, position(1))).log);
    await comeBack();
    await answerResume({ a: { ...position(3), recovered: true } });
    await socket().receive(at(2, { recovered: true }), at(3, { recovered: true }), at(3), at(4));
    assert.deepEqual(logs.map(messages), [[2, 3, 4], [2, 3, 4]]);
    assert.deepEqual(sent(), []);
  });

  test("a selection whose subscribe was lost begins where it would have", async () => {
    const client = await welcomed();
    await subscribed(client, "a", { parameters: "X" }, position(3));
    await subscribed(client, "a", { parameters: "Y" }, position(3));
    await reconnect();
    await answerSubscribe({ ...position(9), recovered: true });
    await socket().receive(at(9, { recovered: true }));
    await reconnect();
    assert.deepEqual(sent().map(({ payload, since }) => [payload, since]), [["X", position(9)], ["Y", position(3)]]);
  });
});
