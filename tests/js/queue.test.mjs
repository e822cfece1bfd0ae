/** Publications that wait for a connection, or for an answer that was lost with it. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { FakeWebSocket, settle } from "./fakes.mjs";
import { answerResume, comeBack, open, position, sent, setUp, socket, subscribed, timers, welcomed } from "./harness.mjs";

setUp();

const published = () => sent().filter(({ type }) => type === "publish");

describe("publications without a connection", () => {
  test("wait two minutes, other requests as long as for an answer", async () => {
    const client = open({ connectTimeoutSeconds: 1000 });
    const publication = assert.rejects(client.publish("a", 1), { code: "timeout", reason: "no answer to 'publish' within 120 s" });
    const hurried = assert.rejects(client.publish("a", 1, { timeoutSeconds: 5 }), { code: "timeout" });
    const call = assert.rejects(client.call("a", "move"), { code: "timeout" });
    await timers.advance(5);
    await hurried;
    await timers.advance(30);
    await call;
    await timers.advance(85);
    await publication;
  });

  test("are bounded in bytes", async () => {
    const client = open({ maxQueuedBytes: 200 });
    client.publish("a", "x".repeat(80)).catch(() => {});
    await assert.rejects(client.publish("a", "x".repeat(80)), {
      code: "queue_full",
      reason: "publications of more than 200 bytes wait for a connection",
    });
    client.publish("a", "y").catch(() => {});
    await socket().welcome();
    assert.deepEqual(published().map(({ payload }) => payload.length), [80, 1]);
    client.publish("a", "x".repeat(300)).catch(() => {}); // Not one that waits.
    await settle();
    assert.equal(published().length, 1);
  });
});

describe("publications whose answer is lost", () => {
  async function inHistory() {
    const client = await welcomed();
    await subscribed(client, "a", {}, position(4));
    return client;
  }

  test("are sent again with the same key, in order, before those that waited", async () => {
    const client = await inHistory();
    const outcomes = [client.publish("a", 1), client.publish("a", 2)];
    await settle();
    const first = published();
    assert.deepEqual(first.map(({ payload }) => payload), [1, 2]);
    assert.match(first[0].key, /^[0-9a-z.]{10,100}$/);
    assert.notEqual(first[0].key, first[1].key);
    await socket().end(1006);
    outcomes.push(client.publish("a", 3));
    await timers.advance(1);
    await socket().welcomeBack({ session_id: "second" });
    await answerResume({ a: { ...position(4), recovered: true } });
    const again = socket().take().filter(({ type }) => type === "publish");
    assert.deepEqual(again.map(({ payload }) => payload), [1, 2, 3]);
    assert.deepEqual(again.slice(0, 2).map(({ key }) => key), first.map(({ key }) => key));
    for (const { id } of again) await socket().receive({ type: "published", id, payload: { ...position(5), duplicate: true } });
    assert.deepEqual((await Promise.all(outcomes)).map(({ duplicate }) => duplicate), [true, true, true]);
  });

  for (const [what, options] of [["a transient one", { transient: true }], ["one to another channel", { channel: "b" }]]) {
    test(`${what} fails as before`, async () => {
      const client = await inHistory();
      const { channel = "a", ...rest } = options;
      const outcome = assert.rejects(client.publish(channel, 1, rest), { code: "connection_lost" });
      await settle();
      assert.equal("key" in published()[0], false);
      await socket().end(1006);
      await outcome;
    });
  }

  test("one of a visitor fails as before: the server knows a visitor's keys by the connection", async () => {
    const client = await welcomed({}, { user: null });
    await subscribed(client, "a", {}, position(4));
    const outcome = assert.rejects(client.publish("a", 1, { key: "k" }), { code: "connection_lost" });
    await settle();
    await socket().end(1006);
    await outcome;
  });

  test("is not sent again as another user", async () => {
    const client = await inHistory();
    const outcome = assert.rejects(client.publish("a", 1), { code: "connection_lost" });
    await settle();
    await comeBack({ session_id: "second", user: "8" });
    await socket().refuseResume();
    await outcome;
    assert.deepEqual(published(), []);
  });

  test("gives up after two minutes, and with close()", async () => {
    const client = await inHistory();
    const late = assert.rejects(client.publish("a", 1), { code: "timeout" });
    await settle();
    await socket().end(1006);
    await timers.advance(121);
    await late;
    const closed = assert.rejects(client.publish("a", 1), { code: "disconnected" });
    client.close();
    await closed;
    assert.ok(FakeWebSocket.all.length > 1);
  });

  /** Publishes, and returns a function that says with what code it has failed. */
  function publish(client, options) {
    let outcome = null;
    client.publish("a", 1, options).catch(({ code }) => (outcome = code));
    return () => outcome;
  }

  /** Loses the connection, and comes back. */
  async function flap() {
    await comeBack({ session_id: "second" });
    await answerResume({ a: { ...position(4), recovered: true } });
  }

  test("gives up two minutes after the first loss, however many follow", async () => {
    const client = await inHistory();
    const outcome = publish(client);
    await settle();
    for (let losses = 0; losses < 6; losses += 1) {
      await flap();
      await timers.advance(18.9);
    }
    assert.deepEqual([outcome(), published().length], [null, 1]);
    await timers.advance(1);
    assert.equal(outcome(), "timeout");
  });

  test("gives up when the time is over that the caller gave it", async () => {
    const client = await inHistory();
    const outcome = publish(client, { timeoutSeconds: 5 });
    await settle();
    await socket().end(1006);
    await timers.advance(5);
    assert.equal(outcome(), "timeout");
  });

  test("gives up two minutes after it was made without a connection", async () => {
    const client = await inHistory();
    await socket().end(1006);
    const outcome = publish(client);
    for (let losses = 0; losses < 6; losses += 1) {
      await flap();
      await timers.advance(19);
    }
    assert.equal(outcome(), "timeout");
  });
});
