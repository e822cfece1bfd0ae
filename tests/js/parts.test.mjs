/** What is loaded only when a subscription needs it: nothing is lost or reordered meanwhile. */
import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";

import { settle } from "./fakes.mjs";
import { answerSubscribe, at, errors, heard, messages, position, sent, setUp, socket, states, subscribed, timers, welcomed } from "./harness.mjs";
import { credentials, delivery } from "../../channels_realtime/js/src/parts.js";

setUp();

/** Takes a part away before each test of a suite. */
function without(part) {
  const { module, load } = part;
  let loading;

  beforeEach(() => {
    part.module = null;
    part.load = () => new Promise((resolve, reject) => (loading = { resolve, reject }));
  });

  afterEach(() => {
    part.module = module;
    part.load = load;
  });

  return {
    async arrives() {
      loading.resolve(module);
      await settle();
    },
    async fails() {
      loading.reject(new Error("offline"));
      await settle();
    },
  };
}

describe("a delivery that is not loaded yet", () => {
  const { arrives, fails } = without(delivery);

  test("a state is loaded once it is there, and what arrived before comes after the state", async () => {
    const client = await welcomed();
    const calls = [];
    const load = async () => calls.push("load");
    const { log } = await subscribed(client, "a", { load }, position(1));
    await socket().receive(at(2), at(3));
    assert.deepEqual([calls, log.map(([event]) => event)], [[], ["subscribed"]]);
    await arrives();
    await socket().receive(at(4));
    assert.deepEqual(log.slice(1), [["loaded", 1], ["message", 2], ["message", 3], ["message", 4]]);
  });

  test("messages wait for it where they are acknowledged, and keep their order", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", { ack: true }, position(1));
    await socket().receive(at(2), at(3));
    assert.deepEqual(messages(log), []);
    await arrives();
    await socket().receive(at(4));
    assert.deepEqual(messages(log), [2, 3, 4]);
    await timers.advance(0.1);
    assert.deepEqual(sent(), [{ type: "ack", channel: "a", payload: position(4) }]);
  });

  test("a loop gets what arrived before, also after the client was closed", async () => {
    const client = await welcomed();
    const subscription = client.subscribe("a");
    await answerSubscribe();
    await socket().receive(at(1));
    const seen = [];
    const collected = (async () => {
      for await (const message of subscription) seen.push(message.payload);
    })();
    await socket().receive(at(2));
    client.close();
    await arrives();
    await collected;
    assert.deepEqual(seen, [1, 2]);
  });

  test("nothing is heard from one that has ended meanwhile", async () => {
    const client = await welcomed();
    const { subscription, log } = await subscribed(client, "a", { load: () => assert.fail("loaded") });
    await socket().receive(at(1));
    subscription.unsubscribe();
    await arrives();
    assert.deepEqual(log.map(([event]) => event), ["subscribed", "unsubscribed"]);
  });

  test("without a listener the oldest are dropped and counted; with `ack` the subscription ends", async () => {
    const client = await welcomed();
    const buffered = client.subscribe("a", { onSubscribed() {}, bufferSize: 2 });
    const acknowledged = client.subscribe("a", { bufferSize: 2, ack: true, onMessage: () => {} });
    const log = heard(acknowledged);
    await answerSubscribe(position(0));
    for (let n = 1; n <= 3; n += 1) await socket().receive(at(n));
    assert.equal(buffered.dropped, 1);
    assert.deepEqual(log.at(-1), ["unsubscribed", "overflow"]);
    await arrives();
    assert.deepEqual(messages(log), []);
  });

  test("that cannot be loaded is reported, and tried again with backoff", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a", { load: async () => "state" });
    await fails();
    assert.deepEqual(log.at(-1), ["error", "load_failed"]);
    await timers.advance(1);
    await arrives();
    assert.deepEqual(log.at(-1), ["loaded", "state"]);
  });

  test("a listener without a loop needs nothing more", async () => {
    const client = await welcomed();
    const { log } = await subscribed(client, "a");
    await socket().receive(at(1));
    assert.deepEqual(messages(log), [1]);
    assert.equal(delivery.module, null);
  });
});

describe("what renews credentials and is not loaded yet", () => {
  const { arrives, fails } = without(credentials);

  test("decides about a 4401 once it is there, and the client is not connected until then", async () => {
    await welcomed();
    await socket().end(4401);
    assert.deepEqual(states.slice(-2), ["connected", "reconnecting"]);
    await timers.advance(60);
    assert.equal(states.at(-1), "reconnecting");
    await arrives();
    await timers.advance(2);
    assert.equal(states.at(-1), "connecting");
    await socket().end(4401);
    assert.equal(states.at(-1), "unauthenticated");
  });

  test("changes nothing where the client was closed meanwhile", async () => {
    const client = await welcomed();
    await socket().end(4401);
    client.close();
    await arrives();
    await timers.advance(60);
    assert.equal(client.state, "closed");
  });

  test("is reported and replaced by a new attempt with backoff where it cannot be loaded", async () => {
    await welcomed();
    await socket().end(4401);
    await fails();
    assert.deepEqual(errors.map(({ code }) => code), ["load_failed"]);
    await timers.advance(1);
    assert.equal(states.at(-1), "connecting");
  });

  test("signs in once it is there, before anything is subscribed", async () => {
    const client = await welcomed({ getToken: () => "token" }, { user: null });
    client.subscribe("a", () => {});
    await settle();
    assert.deepEqual(sent(), []);
    await arrives();
    assert.deepEqual(sent(), [{ type: "auth", token: "token" }]);
  });
});
