/** A client with a fake socket, clock and window for each test, and what it told. */
import { afterEach, beforeEach } from "node:test";

import { FakeTimers, FakeWebSocket, settle } from "./fakes.mjs";
import { connect } from "../../channels_realtime/js/src/index.js";
import * as parts from "../../channels_realtime/js/src/parts.js";

// What is loaded when needed is there already, so that no test waits for it. parts.test.mjs takes it away.
for (const part of [parts.delivery, parts.presence, parts.credentials]) part.module = await part.load();

export const URL = "wss://example.test/ws/";
export let timers;
export let errors;
export let states;
export let reported;
let originalReportError;

/** To be called by each file of tests. */
export function setUp() {
  beforeEach(() => {
    FakeWebSocket.reset();
    timers = new FakeTimers();
    errors = [];
    states = [];
    reported = [];
    originalReportError = globalThis.reportError;
    globalThis.reportError = (error) => reported.push(error);
  });

  afterEach(() => {
    globalThis.reportError = originalReportError;
  });
}

export const socket = () => FakeWebSocket.last;

/** What was sent, without ids, since it was last taken. */
export const sent = () => socket().take().map(({ id, ...message }) => message);

export function open(options = {}) {
  const client = connect(URL, { WebSocket: FakeWebSocket, timers, random: () => 1, wakeTarget: new EventTarget(), ...options });
  client.on("state", (state) => states.push(state));
  client.on("error", (error) => errors.push(error));
  return client;
}

export async function welcomed(options, welcome) {
  const client = open(options);
  await socket().welcome(welcome);
  return client;
}

/** A publication of epoch "e". */
export function at(offset, fields = {}) {
  return { type: "message", channel: "a", payload: offset, epoch: "e", offset, ...fields };
}

export const position = (offset, epoch = "e") => ({ epoch, offset });

/** Records what a subscription tells. */
export function heard(subscription) {
  const log = [];
  for (const event of ["message", "subscribed", "recovered", "loaded", "unsubscribed", "error"]) {
    subscription.on(event, (value) => log.push([event, event === "message" ? value.payload : (value?.code ?? value)]));
  }
  return log;
}

/** The payloads of the messages in such a record. */
export const messages = (log) => log.filter(([event]) => event === "message").map(([, payload]) => payload);

export async function answerSubscribe(payload = {}) {
  await settle();
  return socket().answer("subscribe", { type: "subscribed", payload });
}

export async function subscribed(client, channel, options, payload = {}) {
  const subscription = client.subscribe(channel, { onSubscribed() {}, ...options });
  const log = heard(subscription);
  await answerSubscribe(payload);
  return { subscription, log };
}

/** Loses the connection and makes the next one, with a session that is known no more. */
export async function reconnect(welcome) {
  await socket().end(1006);
  await timers.advance(1);
  await socket().welcome(welcome);
}

/** The same, with the client's `resume` left to the test. */
export async function comeBack(welcome = { session_id: "second", connection_id: "c2" }) {
  await socket().end(1006);
  await timers.advance(1);
  await socket().welcomeBack(welcome);
}

export async function answerResume(channels = {}, fields = {}) {
  return socket().answer("resume", { type: "resumed", payload: { session_id: "second", channels, dropped: {}, ...fields } });
}

/** A function that fetches, as the test says: each call waits for `resolve` or `reject`. */
export function loads() {
  const calls = [];
  const load = ({ signal }) => new Promise((resolve, reject) => calls.push({ resolve, reject, signal }));
  return { load, calls };
}
