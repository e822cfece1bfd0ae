/** The ways to the server without a WebSocket: the stream's format, the two sockets, and which one is used when. */
import { afterEach, test } from "node:test";
import assert from "node:assert/strict";

import { FakeTimers, FakeWebSocket, WELCOME, settle } from "./fakes.mjs";
import { csrfTokens } from "../../channels_realtime/js/src/fallbacks/csrf.js";
import { EventStreamSocket } from "../../channels_realtime/js/src/fallbacks/event-stream.js";
import { EventStreamParser } from "../../channels_realtime/js/src/fallbacks/parser.js";
import { PollingSocket } from "../../channels_realtime/js/src/fallbacks/polling.js";
import { RealtimeClient } from "../../channels_realtime/js/src/index.js";
import { createWays } from "../../channels_realtime/js/src/ways.js";

const HTTP = "https://example.test/realtime/";
const welcome = { type: "welcome", payload: { ...WELCOME, session_id: "s.1" } };

/** Lets promises and streams settle: a stream's chunks take turns of the event loop. */
async function turn() {
  for (let round = 0; round < 5; round += 1) {
    await new Promise((resolve) => setTimeout(resolve, 0));
    await settle();
  }
}

/** A server that answers each request as the test says. */
class FakeServer {
  requests = [];
  /** For `ready/`; null: nothing answers. */
  readiness = 200;

  fetch = (url, { method, headers, body, signal }) => {
    const path = url.replace(HTTP, "");
    if (path === "ready/") {
      return this.readiness === null ? Promise.reject(new TypeError("down")) : Promise.resolve({ status: this.readiness });
    }
    return new Promise((resolve, reject) => {
      const request = { path, method, headers, body: body === undefined ? undefined : JSON.parse(body), aborted: false };
      signal.addEventListener("abort", () => {
        request.aborted = true;
        request.controller?.error(new Error("aborted"));
        reject(new Error("aborted"));
      });
      request.fail = async () => {
        reject(new TypeError("network"));
        await turn();
      };
      request.answer = async (status, answer, more = {}) => {
        const type = typeof answer === "string" ? "text/html" : "application/json";
        const text = typeof answer === "string" ? answer : JSON.stringify(answer);
        resolve(new Response(text, { status, headers: { "Content-Type": type, ...more } }));
        await turn();
      };
      request.stream = async () => {
        const stream = new ReadableStream({ start: (controller) => (request.controller = controller) });
        resolve(new Response(stream, { status: 200, headers: { "Content-Type": "text/event-stream" } }));
        await turn();
      };
      request.write = async (text) => {
        request.controller.enqueue(new TextEncoder().encode(text));
        await turn();
      };
      request.event = (message, event) => request.write(`${event ? `event: ${event}\n` : ""}data: ${JSON.stringify(message)}\n\n`);
      this.requests.push(request);
    });
  };

  get last() {
    return this.requests.at(-1);
  }
}

/** A socket of this class, and what it told. */
async function opened(Socket, context = {}, tokens = []) {
  const server = new FakeServer();
  const timers = new FakeTimers();
  const told = { messages: [], close: null, unusable: null };
  const host = {
    context: { http: HTTP, fetch: server.fetch, timers, random: () => 0, ...context },
    csrfTokens: () => tokens,
    unusable: (reason) => (told.unusable = reason),
    works: () => {},
  };
  const socket = new Socket(host);
  socket.onmessage = ({ data }) => told.messages.push(...[JSON.parse(data)].flat());
  socket.onclose = ({ code, reason }) => (told.close = [code, reason]);
  await turn();
  return { socket, server, timers, told };
}

async function streaming(context, tokens) {
  const open = await opened(EventStreamSocket, context, tokens);
  const stream = open.server.last;
  await stream.stream();
  await stream.event(welcome);
  open.told.messages.length = 0;
  return { ...open, stream };
}

async function polling() {
  const open = await opened(PollingSocket);
  await open.server.last.answer(200, { messages: [welcome], cursor: "1" });
  open.told.messages.length = 0;
  return open;
}

// The format

function parsed(...chunks) {
  const events = [];
  const parser = new EventStreamParser((event) => events.push(event), () => events.push("comment"));
  for (const chunk of chunks) parser.push(chunk);
  return events;
}

const event = (data, fields = {}) => ({ event: "message", data, id: "", ...fields });

test("events have data of several lines, names and ids that last", () => {
  const text = "data: a\ndata:b\ndata:  c\n\nevent: close\nid: 7\ndata\n\ndata: d\n\n";
  assert.deepEqual(parsed(text), [event("a\nb\n c"), event("", { event: "close", id: "7" }), event("d", { id: "7" })]);
});

test("comments, unknown fields, events without data and what does not end are no events", () => {
  assert.deepEqual(parsed(": hello\n\nretry: 5\nfoo: bar\n\nevent: x\n\nid: a\0b\ndata: 1\n\ndata: 2\n"), ["comment", event("1")]);
});

test("one byte order mark is skipped", () => {
  assert.deepEqual(parsed("\ufeffdata: 1\n\n"), [event("1")]);
  assert.deepEqual(parsed("", "\ufeff", "data: 1\n\n"), [event("1")]);
  assert.deepEqual(parsed("\ufeff\ufeffdata: 1\n\ndata: 2\n\n"), [event("2")]);
});

test("an event is there at its last CR, and the LF that follows ends no line", () => {
  assert.deepEqual(parsed("data: 1\r\n\r"), [event("1")]);
  assert.deepEqual(parsed("data: 1\r", "\ndata: 2\r", "\r", "\n"), [event("1\n2")]);
});

/** The standard's rules for a text that is there as a whole, after its last line. */
function read(text) {
  const events = [];
  let data = [];
  let name = "";
  let id = "";
  for (const line of text.split(/\r\n|\r|\n/).slice(0, -1)) {
    const [, field, value] = /^([^:]*)(?::[ ]?(.*))?$/su.exec(line);
    if (line === "") {
      if (data.length > 0) events.push(event(data.join("\n"), { event: name || "message", id }));
      [data, name] = [[], ""];
    } else if (field === "") events.push("comment");
    else if (field === "data") data.push(value ?? "");
    else if (field === "event") name = value ?? "";
    else if (field === "id") id = value ?? "";
  }
  return events;
}

test("the same events are read however the text is cut and its lines end", () => {
  let seed = 1;
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
  const pick = (list) => list[random(list.length)];
  const lines = ["", "", "data: x", "data:", "data", "data:  é\u2028😀", "event: e", "id: 1", "id", ": c", ":", "retry: 1", " data: n", "x:y:z"];
  for (let round = 0; round < 1000; round += 1) {
    const text = Array.from({ length: 1 + random(30) }, () => pick(lines) + pick(["\n", "\r", "\r\n"])).join("");
    const chunks = [];
    for (let at = 0; at < text.length; at += chunks.at(-1).length) chunks.push(text.slice(at, at + 1 + random(4)));
    assert.deepEqual(parsed(...chunks), read(text));
  }
});

// The event stream

test("an event stream is a GET, and its first event opens the socket", async () => {
  const { socket, server, told } = await opened(EventStreamSocket);
  const { path, method, headers, body } = server.last;
  assert.deepEqual([path, method, headers, body], ["sse/", "GET", { Accept: "text/event-stream" }, undefined]);
  await server.last.stream();
  assert.equal(socket.readyState, 0);
  await server.last.event(welcome);
  assert.equal(socket.readyState, 1);
  assert.equal(socket.protocol, "realtime.v1.json");
  assert.deepEqual(told.messages, [welcome]);
});

test("what is sent in one task is one POST, and the next waits for its answer", async () => {
  const { socket, server } = await streaming({ csrfHeader: "X-Token" }, ["t"]);
  socket.send('{"type":"a"}');
  socket.send('[{"type":"b"},{"type":"c"}]');
  await turn();
  socket.send('{"type":"d"}');
  await turn();
  const { path, headers, body } = server.last;
  assert.equal(path, "send/");
  assert.deepEqual(headers, { Accept: "application/json", "Content-Type": "application/json", "X-Token": "t" });
  assert.deepEqual(body, { session_id: "s.1", messages: [{ type: "a" }, { type: "b" }, { type: "c" }] });
  assert.equal(server.requests.length, 2);
  await server.last.answer(202, {});
  assert.deepEqual(server.last.body.messages, [{ type: "d" }]);
});

test("a POST takes no more messages than the server", async () => {
  const { socket, server } = await streaming();
  for (let number = 0; number < 5; number += 1) socket.send(`{"type":"m","n":${number}}`);
  await turn();
  assert.equal(server.last.body.messages.length, WELCOME.limits.max_batch);
  await server.last.answer(202, {});
  assert.deepEqual(server.last.body.messages.map(({ n }) => n), [3, 4]);
});

test("a request that is too large fails, and the connection stays", async () => {
  const { socket, server, told } = await streaming();
  socket.send('{"type":"publish","id":3,"channel":"a"}');
  await turn();
  await server.last.answer(413, { code: "too_large", reason: "no" });
  const payload = { code: "too_large", reason: "the server does not take a request of this size" };
  assert.deepEqual(told.messages, [{ type: "error", request: "publish", id: 3, channel: "a", payload }]);
  assert.equal(told.close, null);
});

test("a comment is a sign of life", async () => {
  const { socket, stream } = await streaming();
  const data = [];
  socket.onmessage = (event) => data.push(event.data);
  await stream.write(": keep-alive\n\n");
  assert.deepEqual(data, ["[]"]);
});

test("a stream that ends closes with 1006, and one that is said to end with its code", async () => {
  const first = await streaming();
  first.stream.controller.close();
  await turn();
  assert.deepEqual(first.told.close, [1006, "the event stream ended"]);
  const second = await streaming();
  await second.stream.event({ code: 4403, reason: "blocked" }, "close");
  assert.deepEqual(second.told.close, [4403, "blocked"]);
});

test("a refusal as a stream is closing and its end", async () => {
  const { server, told } = await opened(EventStreamSocket);
  const closing = { type: "closing", payload: { code: 4503, reason: "full", reconnect: true, retry_after: 3 } };
  await server.last.stream();
  await server.last.event(closing);
  server.last.controller.close();
  await turn();
  assert.deepEqual([told.messages, told.close], [[closing], [1006, "the event stream ended"]]);
});

test("a lost POST loses the connection", async () => {
  const { socket, server, told, stream } = await streaming();
  socket.send('{"type":"a"}');
  await turn();
  await server.last.fail();
  assert.deepEqual(told.close, [1006, "TypeError: network"]);
  assert.equal(stream.aborted, true);
});

test("closing aborts the requests and says nothing", async () => {
  const { socket, told, stream, timers } = await streaming();
  socket.close(1000);
  await turn();
  assert.equal(stream.aborted, true);
  assert.deepEqual([told.close, timers.count], [[1000, ""], 0]);
});

for (const [Socket, path] of [[EventStreamSocket, "sse/"], [PollingSocket, "poll/"]]) {
  test(`${path} asks for a token where the server wants one, and the answer to auth is its welcome`, async () => {
    const { socket, server, told } = await opened(Socket);
    await server.last.answer(401, { code: "unauthenticated", reason: "credentials are needed" });
    assert.deepEqual(told.messages, [{ type: "auth_required", payload: {} }]);
    socket.send('{"type":"auth","token":"jwt","id":1}');
    await turn();
    assert.equal(server.requests.length, 2);
    assert.equal(server.last.path, path);
    assert.equal(server.last.headers.Authorization, "Bearer jwt");
    if (path === "poll/") await server.last.answer(200, { messages: [welcome], cursor: "1" });
    else {
      await server.last.stream();
      await server.last.event(welcome);
    }
    assert.deepEqual(told.messages.slice(1), [{ type: "auth_ok", id: 1, payload: { user: "7", expires_at: null } }, welcome]);
    socket.send('{"type":"auth","token":"newer","id":2}');
    await turn();
    const post = server.requests.find((request) => request.path === "send/");
    assert.equal(post.headers.Authorization, "Bearer newer");
    assert.deepEqual(post.body.messages, [{ type: "auth", token: "newer", id: 2 }]);
  });

  test(`${path} with a token that is refused closes with 4401`, async () => {
    const { socket, server, told } = await opened(Socket);
    await server.last.answer(401, { code: "unauthenticated", reason: "" });
    socket.send('{"type":"auth","token":"jwt","id":1}');
    await turn();
    await server.last.answer(401, { code: "token_expired", reason: "expired" });
    assert.deepEqual(told.messages.slice(1), [
      { type: "error", request: "auth", id: 1, payload: { code: "token_expired", reason: "expired" } },
      { type: "closing", payload: { code: 4401, reason: "expired" } },
    ]);
    assert.deepEqual(told.close, [4401, "expired"]);
  });

  test(`${path} passes on what a status means`, async () => {
    const said = async (status, body, headers) => {
      const { server, told } = await opened(Socket);
      await server.last.answer(status, body, headers);
      return [told.messages[0]?.payload ?? null, told.close, told.unusable];
    };
    const code = (text) => ({ code: text, reason: "r" });
    assert.deepEqual(await said(403, code("forbidden")), [{ code: 4403, reason: "r", reconnect: false }, [4403, "r"], null]);
    assert.deepEqual(await said(429, code("rate_limited"), { "Retry-After": "7" }), [
      { code: 4429, reason: "r", reconnect: true, retry_after: 7 },
      [4429, "r"],
      null,
    ]);
    assert.deepEqual(await said(503, code("unavailable")), [{ code: 4503, reason: "r", reconnect: true }, [4503, "r"], null]);
    assert.deepEqual(await said(502, "bad gateway"), [null, [1006, "status 502"], null]);
    assert.deepEqual(await said(404, "not found"), [null, [1006, "status 404"], "status 404"]);
    assert.deepEqual(await said(501, code("unsupported")), [null, [1006, "r"], "r"]);
  });
}

test("a stream that is held back cannot be used, and a slow server is given more time", async () => {
  const held = await opened(EventStreamSocket);
  await held.server.last.stream();
  await held.timers.advance(3);
  assert.equal(held.told.unusable, "nothing of the event stream arrived within 3 s");
  assert.deepEqual(held.told.close, [1006, held.told.unusable]);
  const slow = await opened(EventStreamSocket);
  await slow.timers.advance(7);
  assert.equal(slow.told.close, null);
  await slow.timers.advance(1);
  assert.equal(slow.told.unusable, "nothing of the event stream arrived within 8 s");
});

test("another CSRF token of the page is tried when one is refused", async () => {
  const { socket, server, told } = await streaming({}, ["old", "new"]);
  socket.send('{"type":"a"}');
  await turn();
  const tokens = [];
  for (let attempt = 0; attempt < 2; attempt += 1) {
    tokens.push(server.last.headers["X-CSRFToken"]);
    await server.last.answer(403, { code: "forbidden", reason: "CSRF" });
  }
  assert.deepEqual(tokens, ["old", "new"]);
  assert.equal(server.requests.length, 3);
  assert.deepEqual(told.close, [4403, "CSRF"]);
});

test("a page has its CSRF tokens in its configuration, a meta element and a cookie", () => {
  const page = { querySelector: () => ({ getAttribute: () => "meta" }), cookie: "a=b; csrftoken=cookie; c=d" };
  assert.deepEqual(csrfTokens("configured", page), ["configured", "meta", "cookie"]);
  assert.deepEqual(csrfTokens(["one", "meta"], page), ["one", "meta", "cookie"]);
  assert.deepEqual(csrfTokens("cookie", { querySelector: () => null, cookie: "csrftoken=cookie" }), ["cookie"]);
  assert.deepEqual(csrfTokens(undefined, { querySelector: () => null, cookie: "xcsrftoken=1" }), []);
});

// Polling

test("a poll begins a connection, the next are held, and each acknowledges the last answer", async () => {
  const { server, told } = await opened(PollingSocket);
  assert.deepEqual([server.last.path, server.last.body], ["poll/", { wait: 0 }]);
  await server.last.answer(200, { messages: [welcome], cursor: "1" });
  assert.deepEqual(server.last.body, { session_id: "s.1", cursor: "1", wait: 25 });
  const message = { type: "message", channel: "a", payload: 1 };
  await server.last.answer(200, { messages: [message], cursor: "2" });
  assert.deepEqual(told.messages, [welcome, message]);
  assert.equal(server.last.body.cursor, "2");
});

test("a poll that fails is made again with its cursor, not held, and the fourth failure loses the connection", async () => {
  const { server, timers, told } = await polling();
  for (const seconds of [1, 2, 3]) {
    await server.last.fail();
    await timers.advance(seconds);
    await turn();
    assert.deepEqual(server.last.body, { session_id: "s.1", cursor: "1", wait: 0 });
  }
  await server.last.fail();
  assert.deepEqual(told.close, [1006, "TypeError: network"]);
});

test("where held polls are cut, polls are short and come at intervals, and sooner after a message up", async () => {
  const { socket, server, timers } = await polling();
  for (let cut = 0; cut < 2; cut += 1) {
    assert.equal(server.last.body.wait, 25);
    await server.last.answer(504, "gateway time-out");
    await timers.advance(1);
    await turn();
    await server.last.answer(200, { messages: [], cursor: "1" });
  }
  const count = server.requests.length;
  for (const seconds of [1, 2, 4, 5, 5]) {
    await timers.advance(seconds - 0.1);
    const before = server.requests.length;
    await timers.advance(0.1);
    await turn();
    assert.equal(server.requests.length, before + 1);
    assert.equal(server.last.body.wait, 0);
    await server.last.answer(200, { messages: [], cursor: "1" });
  }
  assert.equal(server.requests.length, count + 5);
  socket.send('{"type":"a"}');
  await turn();
  await server.last.answer(202, {});
  assert.equal(server.last.path, "poll/");
});

test("a poll that is not answered is given up", async () => {
  const { server, timers } = await polling();
  const { last } = server;
  await timers.advance(35);
  await turn();
  assert.equal(last.aborted, true);
});

test("closing among the messages ends the polls with its code", async () => {
  const { server, told } = await polling();
  const closing = { type: "closing", payload: { code: 4503, reason: "restart", reconnect: true } };
  const count = server.requests.length;
  await server.last.answer(200, { messages: [closing], cursor: "2" });
  assert.deepEqual([told.messages, told.close], [[closing], [4503, "restart"]]);
  assert.equal(server.requests.length, count);
});

test("credentials that end close with 4401", async () => {
  const { server, told } = await polling();
  await server.last.answer(401, { code: "token_expired", reason: "expired" });
  assert.deepEqual(told.messages, [{ type: "closing", payload: { code: 4401, reason: "expired" } }]);
  assert.deepEqual(told.close, [4401, "expired"]);
});

test("a session that is gone loses the connection", async () => {
  const { server, told } = await polling();
  await server.last.answer(404, { code: "unknown_session", reason: "there is no such session" });
  assert.deepEqual(told.close, [1006, "there is no such session"]);
  assert.equal(told.unusable, null);
});

// Which way

const storageOfThePage = Object.getOwnPropertyDescriptor(globalThis, "localStorage");
const { now } = Date;

afterEach(() => {
  Date.now = now;
  if (storageOfThePage) Object.defineProperty(globalThis, "localStorage", storageOfThePage);
  else delete globalThis.localStorage;
});

/** Ways with a fake browser; `attempt` makes one, and says what opened it. */
function choosing(options = {}) {
  const server = new FakeServer();
  const timers = new FakeTimers();
  const stored = new Map();
  const storage = { getItem: (key) => stored.get(key) ?? null, setItem: (key, value) => stored.set(key, value) };
  Object.defineProperty(globalThis, "localStorage", { value: storage, configurable: true });
  FakeWebSocket.reset();
  const context = { url: "wss://example.test/ws/", http: HTTP, transports: ["websocket", "sse", "polling"], ...options };
  const fresh = () => createWays({ WebSocket: FakeWebSocket, fetch: server.fetch, timers, random: () => 0.5, ...context });
  let next = fresh();
  let received = true;
  const names = new Map([["sse/", "sse"], ["poll/", "polling"]]);
  const attempt = async (heard = false) => {
    const Way = await next(received);
    received = false;
    const socket = new Way(context.url, []);
    socket.onmessage = () => (received = true);
    await turn();
    received ||= heard;
    return socket instanceof FakeWebSocket ? "websocket" : names.get(server.last.path);
  };
  return { server, timers, attempt, stored: () => [...stored], reload: () => (next = fresh()) };
}

const stream = async ({ server }) => {
  await server.last.stream();
  await server.last.event(welcome);
};

test("WebSockets that bring nothing while the server answers over HTTP are blocked after the second", async () => {
  const { attempt } = choosing();
  assert.deepEqual([await attempt(), await attempt(), await attempt()], ["websocket", "websocket", "sse"]);
});

test("a server that is down or draining is asked by WebSocket for ever", async () => {
  for (const readiness of [null, 503]) {
    const { server, attempt } = choosing();
    server.readiness = readiness;
    for (let number = 0; number < 6; number += 1) assert.equal(await attempt(), "websocket");
  }
});

test("a WebSocket that has brought something is not blocked", async () => {
  const { attempt } = choosing();
  for (let number = 0; number < 6; number += 1) assert.equal(await attempt(number % 2 === 0), "websocket");
});

test("without an HTTP address, or with one transport, there is one way", async () => {
  for (const options of [{ http: null }, { transports: ["websocket"] }]) {
    const { attempt } = choosing(options);
    for (let number = 0; number < 4; number += 1) assert.equal(await attempt(), "websocket");
  }
  const { attempt } = choosing({ transports: ["polling"] });
  assert.deepEqual([await attempt(), await attempt()], ["polling", "polling"]);
});

test("a transport that there is not is said", () => {
  const make = () => new RealtimeClient("wss://example.test/ws/", { transports: ["websocket", "pollling"] });
  assert.throws(make, { name: "TypeError", message: "unknown transport 'pollling'; did you mean 'polling'?" });
});

test("polling follows a stream that cannot be used", async () => {
  const { server, timers, attempt } = choosing();
  await attempt();
  await attempt();
  assert.equal(await attempt(), "sse");
  await server.last.stream();
  await timers.advance(3);
  assert.equal(await attempt(), "polling");
});

test("after five minutes of polling, a reconnect tries the stream again", async () => {
  const { server, timers, attempt } = choosing();
  await attempt();
  await attempt();
  await attempt();
  await server.last.stream();
  await timers.advance(3);
  assert.equal(await attempt(), "polling");
  Date.now = () => now() + 299_000;
  assert.equal(await attempt(true), "polling");
  Date.now = () => now() + 301_000;
  assert.equal(await attempt(true), "sse");
});

test("when nothing over HTTP brings anything either, the WebSocket is tried again", async () => {
  const { attempt } = choosing();
  const tried = [];
  for (let number = 0; number < 8; number += 1) tried.push(await attempt());
  assert.deepEqual(tried, ["websocket", "websocket", "sse", "sse", "sse", "websocket", "sse", "sse"]);
});

test("the next page begins with what worked, until it is forgotten", async () => {
  const chosen = choosing();
  await chosen.attempt();
  await chosen.attempt();
  await chosen.attempt();
  await stream(chosen);
  const [[key, value]] = chosen.stored();
  assert.equal(key, `realtime-way ${HTTP}`);
  const [way, until] = JSON.parse(value);
  assert.equal(way, "sse");
  assert.ok(until > Date.now() + 590_000 && until <= Date.now() + 600_000);
  chosen.reload();
  assert.equal(await chosen.attempt(), "sse");
});

test("a WebSocket is tried beside the stream, and taken once nothing is said", async () => {
  const chosen = choosing();
  const { server, timers, attempt } = chosen;
  await attempt();
  await attempt();
  await attempt();
  await stream(chosen);
  const { last } = server;
  await timers.advance(30);
  const failed = FakeWebSocket.last;
  await failed.end(1006);
  await timers.advance(299);
  assert.equal(FakeWebSocket.last, failed);
  await timers.advance(1);
  const trial = FakeWebSocket.last;
  assert.equal(trial === failed, false);
  await trial.receive(welcome);
  assert.equal(trial.closedWith, 1000);
  await timers.advance(4);
  await last.event({ type: "message", channel: "a", payload: 1 });
  await timers.advance(4);
  assert.equal(last.aborted, false);
  await last.event({ type: "pong" });
  await timers.advance(1);
  assert.equal(last.aborted, true);
  assert.equal(await attempt(true), "websocket");
  assert.equal(JSON.parse(chosen.stored()[0][1])[0], null);
});
