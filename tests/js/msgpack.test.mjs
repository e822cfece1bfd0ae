/** MessagePack: the codec, and a client that uses it. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { codec, decode, encode } from "../../channels_realtime/js/src/msgpack.js";
import { FakeWebSocket, settle, WELCOME } from "./fakes.mjs";
import { at, errors, open, setUp, socket, timers } from "./harness.mjs";
import vectors from "./msgpack-vectors.mjs";

setUp();

const hex = (bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const bytesOf = (text) => Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

describe("MessagePack", () => {
  test("encodes what the server's encoder does, and reads it", () => {
    for (const [value, encoded] of vectors) {
      assert.equal(hex(encode(value)), encoded);
      assert.deepEqual(decode(bytesOf(encoded)), value);
    }
  });

  test("reads forms that the server's encoder does not choose", () => {
    const forms = { ca3fc00000: 1.5, cf0000000000000007: 7, d3fffffffffffffff9: -7, d2fffffff9: -7, d900: "", dc0001c0: [null], de0000: {} };
    for (const [encoded, value] of Object.entries(forms)) assert.deepEqual(decode(bytesOf(encoded)), value);
  });

  test("keeps bytes as bytes, from any view of them", () => {
    const bytes = Uint8Array.of(0, 255, 7);
    assert.equal(hex(encode(bytes)), "c40300ff07");
    assert.equal(hex(encode(bytes.buffer)), "c40300ff07");
    assert.equal(hex(encode(new Uint8Array(bytes.buffer, 1, 2))), "c402ff07");
    assert.deepEqual(decode(encode({ a: bytes })), { a: bytes });
  });

  test("a field may have any name", () => {
    const value = JSON.parse('{"__proto__": 1, "": 2}');
    assert.equal(hex(encode(value)), "82a95f5f70726f746f5f5f01a002");
    assert.equal(JSON.stringify(decode(encode(value))), '{"__proto__":1,"":2}');
  });

  test("has long values too", () => {
    for (const value of ["z".repeat(70_000), new Array(70_000).fill(1), new Uint8Array(70_000)]) {
      assert.deepEqual(decode(encode(value)), value);
    }
  });

  test("leaves out and turns to null what JSON does, and asks toJSON", () => {
    const value = { a: undefined, b: NaN, c: [undefined, -Infinity], d: new Date(0), e: () => {} };
    assert.deepEqual(decode(encode(value)), JSON.parse(JSON.stringify(value)));
    assert.ok(Object.is(decode(encode(-0)), -0));
  });

  test("refuses what has no form, and what is nested without end", () => {
    const loop = {};
    loop.loop = loop;
    assert.throws(() => encode(loop), { message: "a value is nested deeper than 64" });
    assert.throws(() => encode({ a: Symbol("s") }), { message: "a symbol cannot be sent" });
  });

  test("throws on a frame that is cut, goes on, or is not of this protocol", () => {
    for (const [encoded, message] of [
      ["93 01 02", "the frame ends within a value"],
      ["", "the frame ends within a value"],
      ["01 01", "bytes follow the value"],
      ["c7 01 00 00", "a value begins with 0xc7"],
      ["c1", "a value begins with 0xc1"],
      ["91".repeat(200), "a value is nested too deeply"],
    ]) {
      assert.throws(() => decode(bytesOf(encoded.replaceAll(" ", ""))), { message });
    }
    assert.throws(() => decode(bytesOf("a1ff")));
  });

  test("a batch is an array", () => {
    const messages = Array.from({ length: 20 }, (_, id) => ({ type: "ping", id }));
    assert.deepEqual(decode(codec.batch(messages.map(encode))), messages);
  });
});

/** A socket whose frames are binary. */
class BinaryWebSocket extends FakeWebSocket {
  send(data) {
    this.frames.push(decode(data));
  }

  async receive(...frames) {
    for (const frame of frames) this.onmessage?.({ data: encode(frame).slice().buffer });
    await settle();
  }

  async welcome(payload) {
    this.protocol = codec.protocol;
    await this.receive({ type: "welcome", payload: { ...WELCOME, ...payload } });
  }
}

async function loaded() {
  // The codec is imported: that takes more turns than promises do.
  for (let turn = 0; !socket() && turn < 1000; turn += 1) await new Promise((resolve) => setTimeout(resolve));
}

describe("a client with format: 'msgpack'", () => {
  test("offers the subprotocol, and sends and receives binary frames, batches too", async () => {
    const client = open({ format: "msgpack", WebSocket: BinaryWebSocket });
    await loaded();
    assert.deepEqual([socket().protocols, socket().binaryType], [["realtime.v1.msgpack"], "arraybuffer"]);
    await socket().welcome();
    const got = [];
    client.subscribe("a", ({ payload }) => got.push(payload));
    client.publish("a", { bytes: Uint8Array.of(1, 2) });
    await settle();
    assert.deepEqual(socket().frames, [
      [
        { type: "subscribe", channel: "a", id: 1 },
        { type: "publish", channel: "a", payload: { bytes: Uint8Array.of(1, 2) }, id: 2 },
      ],
    ]);
    await socket().answer("subscribe", { type: "subscribed", payload: {} });
    await socket().receive([at(1), at(2, { payload: Uint8Array.of(9) })]);
    assert.deepEqual(got, [1, Uint8Array.of(9)]);
  });

  test("requests that were made before the codec was loaded go out as they were then", async () => {
    const client = open({ format: "msgpack", WebSocket: BinaryWebSocket });
    const payload = { bytes: Uint8Array.of(1), n: 1 };
    client.publish("a", payload);
    payload.n = 2;
    await loaded();
    await socket().welcome();
    assert.deepEqual(socket().take().map(({ payload }) => payload), [{ bytes: Uint8Array.of(1), n: 1 }]);
  });

  test("reports a frame that cannot be read and stays", async () => {
    const client = open({ format: "msgpack", WebSocket: BinaryWebSocket });
    await loaded();
    await socket().welcome();
    await socket().receiveText(bytesOf("c1").buffer);
    assert.deepEqual(errors.map(({ message }) => message), ["bad_message: the server sent a frame that cannot be read"]);
    assert.equal(client.state, "connected");
    assert.ok(timers.count > 0);
  });

  test("another format throws", () => {
    assert.throws(() => open({ format: "xml" }), { message: "unknown format 'xml'; expected one of json, msgpack" });
  });
});
