/** What a page has misspelt or forgotten is said at once. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { FakeWebSocket } from "./fakes.mjs";
import { URL as ADDRESS, at, errors, open, sent, setUp, socket, subscribed, timers, welcomed } from "./harness.mjs";
import { RealtimeClient, connect } from "../../channels_realtime/js/src/index.js";

setUp();

const refuses = (run, message) => assert.throws(run, { name: "TypeError", message });

describe("mistakes", () => {
  test("a misspelt option of the client", () => {
    refuses(() => connect(ADDRESS, { getTokn: () => "t" }), "unknown option 'getTokn'; did you mean 'getToken'?");
    refuses(() => connect(ADDRESS, { gettoken: () => "t" }), "unknown option 'gettoken'; did you mean 'getToken'?");
    assert.throws(() => connect(ADDRESS, { reconnect: true }), { message: /^unknown option 'reconnect'; expected one of getToken, backoff/ });
    assert.equal(FakeWebSocket.all.length, 0);
  });

  test("a getToken that is no function", () => {
    refuses(() => connect(ADDRESS, { getToken: "eyJ" }), "getToken is string; expected a function");
    new RealtimeClient(ADDRESS, { getToken: undefined });
  });

  test("a misspelt or unknown event of the client, and a listener that is no function", () => {
    const client = open();
    refuses(() => client.on("mesage", () => {}), "unknown event 'mesage'; did you mean 'message'?");
    refuses(() => client.on("open", () => {}), "unknown event 'open'; expected one of state, message, notice, channel, error");
    refuses(() => client.on("message", undefined), "the listener of 'message' is undefined; expected a function");
    refuses(() => client.off("stat", () => {}), "unknown event 'stat'; did you mean 'state'?");
  });

  test("a misspelt option or handler of a subscription", () => {
    const client = open();
    refuses(() => client.subscribe("a", { onMesage: () => {} }), "unknown option 'onMesage'; did you mean 'onMessage'?");
    refuses(() => client.subscribe("a", { sinse: null, onMessage: () => {} }), "unknown option 'sinse'; did you mean 'since'?");
    refuses(() => client.subscribe("a", { onMessage: "show" }), "onMessage is string; expected a function");
    refuses(() => client.subscribe("a", { onMessage: () => {}, load: "/cards/" }), "load is string; expected a function");
  });

  test("a subscribe with a second argument that takes no message", () => {
    const client = open();
    const handlers = {};
    refuses(() => client.subscribe("a", handlers.misspelt), "subscribe('a', undefined): expected a function or options");
    refuses(() => client.subscribe("a", null), "subscribe('a', null): expected a function or options");
    const message = "subscribe('a') has options and no handler; give it onMessage, or iterate: true for a loop";
    refuses(() => client.subscribe("a", {}), message);
    refuses(() => client.subscribe("a", { since: null, onMessage: undefined }), message);
  });

  test("a subscribe without one is for `on` and for loops, one with `iterate` for loops", () => {
    const client = open();
    client.subscribe("a");
    client.subscribe("a", { iterate: true });
  });

  test("a misspelt option of publish() and of other requests", () => {
    const client = open();
    refuses(() => client.publish("a", 1, { evnt: "status" }), "unknown option 'evnt'; did you mean 'event'?");
    refuses(() => client.call("a", "move", {}, { timeout: 3 }), "unknown option 'timeout'; expected one of timeoutSeconds, whenDisconnected");
  });
});

describe("one listener an event name", () => {
  test("hears the publications with that event alone; `message` hears all", async () => {
    const client = await welcomed();
    const { subscription } = await subscribed(client, "a");
    const seen = [];
    const stop = subscription.on("status", ({ payload }) => seen.push(["status", payload]));
    subscription.on("message", ({ payload }) => seen.push(["message", payload]));
    const message = { type: "message", channel: "a" };
    await socket().receive({ ...message, event: "status", payload: 1 }, { ...message, event: "other", payload: 2 }, { ...message, payload: 3 });
    stop();
    await socket().receive({ ...message, event: "status", payload: 4 });
    assert.deepEqual(seen, [["message", 1], ["status", 1], ["message", 2], ["message", 3], ["message", 4]]);
  });

  test("an event with the name of the subscription's own is `event:join`, which a server's join is not", async () => {
    const client = await welcomed();
    const { subscription } = await subscribed(client, "a", { presence: true }, { members: [], count: 0 });
    const seen = [];
    subscription.on("event:join", ({ payload }) => seen.push(payload));
    await socket().receive({ type: "join", channel: "a", payload: { member: { id: "m", user: null, info: null }, count: 1 } });
    await socket().receive({ type: "message", channel: "a", event: "join", payload: "published" });
    assert.deepEqual(seen, ["published"]);
  });

  test("a name that differs by one letter from an event of the subscription is a mistake", () => {
    const subscription = open().subscribe("a");
    refuses(() => subscription.on("mesage", () => {}), "unknown event 'mesage'; did you mean 'message'?");
    subscription.on("event:mesage", () => {});
    subscription.on("status", () => {});
  });

  test("counts for acknowledging as a listener of messages does", async () => {
    const client = await welcomed();
    const { subscription } = await subscribed(client, "a", { ack: true }, { epoch: "e", offset: 1 });
    subscription.on("status", () => {
      throw new Error("not handled");
    });
    await socket().receive(at(2), at(3, { event: "status" }), at(4));
    await timers.advance(1);
    assert.deepEqual(sent(), [{ type: "ack", channel: "a", payload: { epoch: "e", offset: 2 } }]);
  });
});

describe("typing", () => {
  test("goes out at most every three seconds, is not kept, and does not come back", async () => {
    const client = await welcomed();
    const { subscription } = await subscribed(client, "a");
    const notice = { type: "publish", channel: "a", payload: null, event: "typing", transient: true, echo: false };
    subscription.typing();
    subscription.typing();
    await timers.advance(2.9);
    subscription.typing();
    assert.deepEqual(sent(), [notice]);
    await timers.advance(0.1);
    subscription.typing({ field: "title" });
    await timers.advance(0);
    assert.deepEqual(sent(), [{ ...notice, payload: { field: "title" } }]);
  });

  test("is not sent later where there is no connection, and an error is told", async () => {
    const client = open();
    client.subscribe("a").typing();
    await timers.advance(3);
    await socket().welcome();
    assert.deepEqual(sent().map(({ type }) => type), ["subscribe"]);
    client.subscribe("a").typing();
    await timers.advance(0);
    await socket().answer("publish", { type: "error", payload: { code: "forbidden", reason: "" } });
    assert.deepEqual(errors.map(({ code }) => code), ["forbidden"]);
  });
});
