/** The elements, in a document, with a client that the tests play. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { pageClient } from "/channels_realtime/js/src/elements/index.js";

const CLIENT = Symbol.for("channels_realtime.client");
const realFetch = globalThis.fetch;

class FakeSubscription {
  ended = false;

  constructor(channel, options) {
    Object.assign(this, { channel, options });
  }

  unsubscribe() {
    this.ended = true;
    this.options.onUnsubscribed({ code: "unsubscribed", reason: "" });
  }
}

class FakeClient {
  state = "connected";
  headers = { "X-Realtime-Connection": "c1" };
  subscriptions = [];
  listeners = new Set();

  on(_event, listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  subscribe(channel, options) {
    this.subscriptions.push(new FakeSubscription(channel, options));
    return this.subscriptions.at(-1);
  }
}

let client;
let heard;
const record = (event) => heard.push([event.type, event.detail]);
const EVENTS = ["message", "status", "html", "swapped", "loaded", "subscribed", "recovered", "missed", "error", "state", "members"];

beforeEach(() => {
  client = globalThis[CLIENT] = new FakeClient();
  heard = [];
  for (const name of EVENTS) document.addEventListener(`realtime:${name}`, record);
});

afterEach(async () => {
  for (const name of EVENTS) document.removeEventListener(`realtime:${name}`, record);
  document.body.replaceChildren();
  await null; // The elements unsubscribe.
  delete globalThis[CLIENT];
  delete globalThis.htmx;
  globalThis.fetch = realFetch;
});

const $ = (selector) => document.querySelector(selector);

function show(html) {
  document.body.innerHTML = html;
}

/** Delivers a fragment to the subscriptions that stand. */
function fragment(payload, fields = {}) {
  const message = { channel: "a", event: "realtime.html", payload, ...fields };
  for (const one of client.subscriptions) if (!one.ended) one.options.onMessage(message);
}

const events = (type) => heard.filter(([name]) => name === `realtime:${type}`).map(([, detail]) => detail);

// -- subscribing

test("the element subscribes as its attributes say", () => {
  show(`<realtime-channel name="orders/1" since='{"epoch": "e", "offset": 1}' parameters='{"b": 1}' select="b"></realtime-channel>`);
  const [{ channel, options }] = client.subscriptions;
  assert.equal(channel, "orders/1");
  assert.equal(options.since, '{"epoch": "e", "offset": 1}');
  assert.deepEqual(options.parameters, { b: 1 });
  assert.equal(options.select, "b");
  assert.equal(options.load, undefined);
  assert.equal($("realtime-channel").subscription, client.subscriptions[0]);
});

test("an element that is removed unsubscribes", async () => {
  show('<realtime-channel name="a"></realtime-channel>');
  const element = $("realtime-channel");
  element.remove();
  await null;
  assert.equal(client.subscriptions[0].ended, true);
  assert.equal(element.subscription, null);
  assert.equal(client.listeners.size, 0);
  document.body.append(element);
  assert.equal(client.subscriptions.length, 2);
});

test("an element that is put back goes on where it was, with another name it begins anew", async () => {
  show('<realtime-channel name="a" since="s"></realtime-channel>');
  const element = $("realtime-channel");
  client.subscriptions[0].options.onMessage({ channel: "a", epoch: "e", offset: 7 });
  element.remove();
  await null;
  document.body.append(element);
  element.setAttribute("name", "b");
  const since = client.subscriptions.map(({ options }) => options.since);
  assert.deepEqual(since, ["s", { epoch: "e", offset: 7 }, "s"]);
});

test("an element that is moved keeps its subscription", async () => {
  show('<div></div><realtime-channel name="a"></realtime-channel>');
  $("div").append($("realtime-channel"));
  await null;
  document.body.moveBefore?.($("realtime-channel"), null);
  await null;
  assert.equal(client.subscriptions.length, 1);
  assert.equal(client.subscriptions[0].ended, false);
});

test("an element with another name subscribes to that", () => {
  show('<realtime-channel name="a"></realtime-channel>');
  $("realtime-channel").setAttribute("name", "b");
  assert.deepEqual(client.subscriptions.map(({ channel, ended }) => [channel, ended]), [["a", true], ["b", false]]);
  $("realtime-channel").setAttribute("name", "b");
  assert.equal(client.subscriptions.length, 2);
});

test("an element without a name says so and does nothing", () => {
  const { error } = console;
  const said = [];
  console.error = (text) => said.push(text);
  try {
    show("<realtime-channel></realtime-channel>");
  } finally {
    console.error = error;
  }
  assert.deepEqual(said, ['channels_realtime: an element without a channel; expected name="…"']);
  assert.equal(client.subscriptions.length, 0);
  $("realtime-channel").setAttribute("name", "a");
  assert.equal(client.subscriptions.length, 1);
});

test("a script makes an element", () => {
  const element = document.createElement("realtime-channel");
  element.setAttribute("name", "a");
  assert.equal(client.subscriptions.length, 0);
  document.body.append(element);
  assert.equal(client.subscriptions.length, 1);
});

// -- events

test("messages are events that bubble, by their own name too", () => {
  show('<realtime-channel name="a"></realtime-channel>');
  const message = { channel: "a", event: "status", payload: 1 };
  client.subscriptions[0].options.onMessage(message);
  client.subscriptions[0].options.onMessage({ channel: "a", payload: 2 });
  assert.deepEqual(events("message"), [message, { channel: "a", payload: 2 }]);
  assert.deepEqual(events("status"), [message]);
});

test("a message cannot pass for an event of the element", () => {
  show('<realtime-channel name="a" swap></realtime-channel>');
  heard = [];
  for (const event of EVENTS.filter((name) => name !== "status")) {
    client.subscriptions[0].options.onMessage({ channel: "a", event, payload: { action: "append", html: "<p>" } });
  }
  assert.deepEqual([...new Set(heard.map(([type]) => type))], ["realtime:message"]);
  assert.equal($("p"), null);
});

test("what becomes of the subscription is heard", () => {
  show('<realtime-channel name="a"></realtime-channel>');
  const element = $("realtime-channel");
  const { options } = client.subscriptions[0];
  options.onSubscribed({ offset: 1 });
  options.onRecovered({ recovered: true });
  options.onRecovered({ recovered: false });
  assert.deepEqual(events("subscribed"), [{ offset: 1 }]);
  assert.deepEqual(events("recovered"), [{ recovered: true }, { recovered: false }]);
  assert.deepEqual(events("missed"), [{ recovered: false }]);
  assert.equal(element.getAttribute("state"), "connected");
  for (const listener of client.listeners) listener("reconnecting", { attempt: 1 });
  assert.equal(element.getAttribute("state"), "reconnecting");
  options.onUnsubscribed({ code: "forbidden", reason: "no" });
  assert.equal(element.getAttribute("state"), "ended");
  assert.deepEqual(events("state"), [
    { state: "connected" },
    { state: "reconnecting", attempt: 1 },
    { state: "ended", code: "forbidden", reason: "no" },
  ]);
});

test("an element goes on where it was after the page's client was closed", () => {
  show('<realtime-channel name="a" since="s" swap></realtime-channel>');
  const [{ options }] = client.subscriptions;
  options.onMessage({ channel: "a", epoch: "e", offset: 7 });
  options.onMessage({ channel: "a", epoch: "e", offset: 1, state: true });
  const all = (state) => [...client.listeners].forEach((listener) => listener(state, {}));
  all("closed");
  client.subscriptions[0].ended = true;
  options.onUnsubscribed({ code: "closed", reason: "" });
  assert.equal($("realtime-channel").getAttribute("state"), "ended");
  all("connecting");
  all("connected");
  assert.equal(client.subscriptions.length, 2);
  assert.deepEqual(client.subscriptions[1].options.since, { epoch: "e", offset: 7 });
  assert.equal($("realtime-channel").getAttribute("state"), "connected");
  assert.equal(client.listeners.size, 1);
});

test("an element that was refused stays so", () => {
  show('<realtime-channel name="a"></realtime-channel>');
  client.subscriptions[0].ended = true;
  client.subscriptions[0].options.onUnsubscribed({ code: "forbidden", reason: "" });
  assert.equal(client.listeners.size, 0);
});

test("an error is logged, unless a listener takes it", () => {
  const { warn } = console;
  const said = [];
  console.warn = (text) => said.push(text);
  try {
    show('<realtime-channel name="a"></realtime-channel>');
    const error = new Error("forbidden: no");
    client.subscriptions[0].options.onError(error);
    assert.deepEqual(said, ["channels_realtime: 'a': forbidden: no"]);
    assert.deepEqual(events("error"), [error]);
    $("realtime-channel").addEventListener("realtime:error", (event) => event.preventDefault());
    client.subscriptions[0].options.onError(error);
    assert.equal(said.length, 1);
  } finally {
    console.warn = warn;
  }
});

// -- fragments

const LIST = '<ul id="list"><li id="a">a</li><li id="b">b</li></ul><realtime-channel name="a" swap></realtime-channel>';
const list = () => $("#list")?.innerHTML;

for (const [action, html, expected] of [
  ["append", '<li id="c">c</li>', '<li id="a">a</li><li id="b">b</li><li id="c">c</li>'],
  ["prepend", '<li id="c">c</li>', '<li id="c">c</li><li id="a">a</li><li id="b">b</li>'],
  ["append", '<li id="a">A</li>', '<li id="b">b</li><li id="a">A</li>'],
  ["prepend", '<li id="b">B</li><li id="c">c</li>', '<li id="b">B</li><li id="c">c</li><li id="a">a</li>'],
  ["update", "text", "text"],
  ["replace", '<ol id="list"><li>1</li></ol>', "<li>1</li>"],
  ["morph", '<ul id="list" class="x"><li id="b">B</li></ul>', '<li id="b">B</li>'],
]) {
  test(`${action} ${html}`, () => {
    show(LIST);
    fragment({ action, html, target: "#list" });
    assert.equal(list(), expected);
    assert.deepEqual(events("swapped").map((one) => one.action), [action]);
  });
}

test("remove", () => {
  show(LIST);
  fragment({ action: "remove", target: "#list li" });
  assert.equal(list(), "");
});

test("every target is changed, and none is fine", () => {
  show(LIST);
  fragment({ action: "update", html: "x", target: "li" });
  assert.equal(list(), '<li id="a">x</li><li id="b">x</li>');
  fragment({ action: "update", html: "x", target: "#other" });
  assert.deepEqual(events("swapped").map(({ elements }) => elements.length), [2, 0]);
});

test("an action that is not known changes nothing", () => {
  show(LIST);
  const before = list();
  fragment({ action: "explode", html: "<b>", target: "#list" });
  assert.equal(list(), before);
});

test("without a target it is the element itself", () => {
  show('<realtime-channel name="a" swap><p>1</p></realtime-channel>');
  fragment({ action: "append", html: "<p>2</p>" });
  assert.equal($("realtime-channel").innerHTML, "<p>1</p><p>2</p>");
});

test("several elements on a channel change a target once", () => {
  show('<realtime-channel name="a" swap></realtime-channel><realtime-channel name="a" swap></realtime-channel><p></p>');
  fragment({ action: "append", html: "x", target: "p" });
  fragment({ action: "append", html: "y" });
  assert.equal($("p").textContent, "x");
  assert.deepEqual([...document.querySelectorAll("realtime-channel")].map((one) => one.textContent), ["y", "y"]);
});

test("an element that comes later shows the state that the client keeps", () => {
  show('<realtime-channel name="a" swap></realtime-channel><p></p>');
  const payload = { action: "update", html: "x", target: "p" };
  fragment(payload);
  show('<realtime-channel name="a" swap></realtime-channel><p></p>');
  fragment(payload, { state: true });
  assert.equal($("p").textContent, "x");
});

test("without swap nothing is swapped, and a listener may prevent it", () => {
  show('<realtime-channel name="a"></realtime-channel><p></p>');
  const payload = { action: "append", html: "x", target: "p" };
  fragment(payload);
  assert.equal(events("html").length, 1);
  $("realtime-channel").toggleAttribute("swap");
  $("realtime-channel").addEventListener("realtime:html", (event) => event.preventDefault(), { once: true });
  fragment(payload);
  assert.equal($("p").textContent, "");
  fragment(payload);
  assert.equal($("p").textContent, "x");
});

test("scripts do not run", async () => {
  globalThis.ran = 0;
  show(LIST);
  const script = "<script>globalThis.ran += 1</script><script type=module>globalThis.ran += 1</script>";
  for (const action of ["append", "update", "replace"]) {
    fragment({ action, html: `<div id="list">${script}</div>`, target: "#list" });
  }
  fragment({ action: "morph", html: `<div id="list">${script}<p>${script}</p></div>`, target: "#list" });
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(document.scripts.length > 0, true);
  assert.equal(globalThis.ran, 0);
});

test("custom elements in a fragment come to life, and rows of a table are rows", () => {
  show('<realtime-channel name="a" swap></realtime-channel><table><tbody id="rows"></tbody></table>');
  fragment({ action: "append", html: '<realtime-channel name="b"></realtime-channel>' });
  assert.deepEqual(client.subscriptions.map(({ channel }) => channel), ["a", "b"]);
  fragment({ action: "append", html: "<tr><td>1</td></tr>", target: "#rows" });
  assert.equal($("#rows").innerHTML, "<tr><td>1</td></tr>");
});

test("htmx looks at what is new", () => {
  const processed = [];
  globalThis.htmx = { process: (element) => processed.push(element.id) };
  show(LIST);
  fragment({ action: "append", html: 'text<li id="c"></li>', target: "#list" });
  fragment({ action: "replace", html: '<li id="d"></li>', target: "#a" });
  fragment({ action: "morph", html: '<li id="b" hx-get="/"></li>', target: "#b" });
  fragment({ action: "remove", target: "#c" });
  assert.deepEqual(processed, ["c", "d", "b"]);
});

test("a form gets the token of this page", () => {
  show(`<script type="application/json" id="realtime-config">{"csrfToken": "page"}</script>${LIST}`);
  const html = '<form id="c"><input name="csrfmiddlewaretoken" value="of-the-page"></form>';
  fragment({ action: "append", html, target: "#list" });
  assert.equal($("[name=csrfmiddlewaretoken]").value, "page");
});

// -- loading

function answer(text, { status = 200, redirected = false } = {}) {
  const asked = [];
  globalThis.fetch = async (url, options) => {
    asked.push([url, options.headers]);
    return { ok: status === 200, status, redirected, text: async () => text };
  };
  return asked;
}

const load = () => client.subscriptions[0].options.load({ signal: null });

test("content that may have missed messages is fetched and morphed", async () => {
  const asked = answer('<p id="a">new</p><p id="b"></p>');
  show('<realtime-channel name="a" src="/part/"><p id="a">old</p></realtime-channel>');
  const paragraph = $("#a");
  const { options } = client.subscriptions[0];
  const found = await load();
  assert.equal(found.position, null);
  options.onLoaded(found);
  assert.equal($("realtime-channel").innerHTML, '<p id="a">new</p><p id="b"></p>');
  assert.equal($("#a"), paragraph);
  assert.deepEqual(asked, [["/part/", { Accept: "text/html", "X-Realtime-Connection": "c1" }]]);
  assert.equal(events("loaded").length, 1);
});

test("of a whole page this element is taken, with its position", async () => {
  const position = '{"epoch": "e", "offset": 9}';
  const asked = answer(`<!doctype html><title>t</title><body><h1>h</h1>
    <realtime-channel name="other">other</realtime-channel>
    <realtime-channel name="a" since='${position}'><p>new</p></realtime-channel></body>`, { redirected: true });
  show('<realtime-channel name="a" src><p>old</p></realtime-channel>');
  const found = await load();
  assert.equal(found.position, position);
  client.subscriptions[0].options.onLoaded(found);
  assert.equal($("realtime-channel").innerHTML, "<p>new</p>");
  assert.equal(asked[0][0], location.href);
});

test("what is no such content is an error", async () => {
  show('<realtime-channel name="a" src="/part/"></realtime-channel>');
  answer("", { status: 503 });
  await assert.rejects(load(), { message: "/part/ was answered with 503" });
  answer("<form>Log in</form>", { redirected: true });
  await assert.rejects(load(), { message: "/part/ was redirected to a page without this channel" });
});

// -- presence

const MEMBERS = new Map(
  ["Ann", "<b>Bob</b>"].map((name, index) => [`${index}`, { id: `${index}`, user: null, info: { name } }]),
);

test("presence is a number as text", () => {
  show('<realtime-presence name="a">some</realtime-presence>');
  const { options } = client.subscriptions[0];
  assert.equal(options.presence, true);
  assert.equal($("realtime-presence").textContent, "some");
  options.onMembers(MEMBERS, 12);
  assert.equal($("realtime-presence").textContent, "12");
  assert.deepEqual(events("members"), [{ members: [...MEMBERS.values()], count: 12 }]);
});

test("members are shown by a template, as text", () => {
  show(`<realtime-presence name="a"><b data-count>0</b> here
    <ul><template><li><span data-value="info.name"></span> <i data-value="info.none"></i></li></template></ul></realtime-presence>`);
  const { options } = client.subscriptions[0];
  options.onMembers(MEMBERS, 2);
  const names = () => [...document.querySelectorAll("li span")].map((one) => one.textContent);
  assert.deepEqual(names(), ["Ann", "<b>Bob</b>"]);
  assert.equal($("li b"), null);
  assert.equal($("[data-count]").textContent, "2");
  const [first] = document.querySelectorAll("li");
  options.onMembers(new Map([["0", { id: "0", user: null, info: { name: "Anna" } }]]), 1);
  assert.deepEqual(names(), ["Anna"]);
  assert.equal($("li"), first);
});

// -- the page's client

test("the page has one client, whose options come first", () => {
  assert.equal(pageClient(), client);
  assert.throws(() => pageClient({ getToken: () => "t" }), {
    message: "the page's client exists already; expected its options before the first element of the page",
  });
});

test("htmx' requests to this site carry the connection", () => {
  const sent = (type, detail, headers) => {
    document.dispatchEvent(new CustomEvent(type, { detail }));
    return headers;
  };
  const expected = { "X-Realtime-Connection": "c1" };
  const two = (path, headers = {}) => sent("htmx:configRequest", { path, headers }, headers);
  const four = (action, headers = {}) => sent("htmx:config:request", { ctx: { request: { action, headers } } }, headers);
  for (const version of [two, four]) {
    assert.deepEqual(version("/orders/"), expected);
    assert.deepEqual(version("https://www.example.com/"), {});
  }
  delete globalThis[CLIENT];
  assert.deepEqual(two("/orders/"), {});
});
