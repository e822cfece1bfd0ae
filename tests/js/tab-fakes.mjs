/** A browser with several tabs: what they share is locks, channels and workers. No time passes between two messages. */
import { FakeTimers, FakeWebSocket, settle } from "./fakes.mjs";
import { RealtimeClient } from "../../channels_realtime/js/src/index.js";
import { INSIDES } from "../../channels_realtime/js/src/insides.js";
import { hostOf } from "../../channels_realtime/js/src/tabs/host.js";
import { share } from "../../channels_realtime/js/src/tabs/shared-socket.js";
import { Switchboard } from "../../channels_realtime/js/src/tabs/switchboard.js";

export const URL = "wss://example.test/ws/";
const aborted = () => new DOMException("aborted", "AbortError");

/** Web Locks. Each owner has its own view of them, and loses its locks together when it crashes. */
class FakeLocks {
  #held = [];
  #queue = [];

  of(owner) {
    return { request: (name, ...rest) => this.#request(owner, name, rest.length > 1 ? rest[0] : {}, rest.at(-1)) };
  }

  crash(owner) {
    this.#queue = this.#queue.filter((request) => request.owner !== owner);
    this.#held = this.#held.filter((request) => request.owner !== owner);
    this.#grant();
  }

  #request(owner, name, { mode = "exclusive", signal, steal = false }, callback) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(aborted());
        return;
      }
      const request = { owner, name, mode, callback, resolve, reject };
      signal?.addEventListener("abort", () => {
        if (!this.#queue.includes(request)) return;
        this.#queue = this.#queue.filter((other) => other !== request);
        reject(aborted());
      });
      if (steal) {
        for (const other of this.#held.filter((held) => held.name === name)) {
          this.#held = this.#held.filter((held) => held !== other);
          other.reject(aborted());
        }
        this.#queue.unshift(request);
      } else this.#queue.push(request);
      this.#grant();
    });
  }

  #grant() {
    const passed = new Set();
    for (const request of [...this.#queue]) {
      const { name, mode } = request;
      const busy = this.#held.some((held) => held.name === name && (mode === "exclusive" || held.mode === "exclusive"));
      if (busy || passed.has(name)) {
        passed.add(name);
        continue;
      }
      this.#queue = this.#queue.filter((other) => other !== request);
      this.#held.push(request);
      Promise.resolve()
        .then(() => request.callback())
        .then(request.resolve, request.reject)
        .finally(() => {
          this.#held = this.#held.filter((other) => other !== request);
          this.#grant();
        });
    }
  }
}

/** Two ports of a pipe. */
function pipe() {
  const make = () => ({ onmessage: null, closed: false, close() { this.closed = true; } });
  const [left, right] = [make(), make()];
  for (const [from, to] of [[left, right], [right, left]]) {
    from.postMessage = (data) => {
      const copy = structuredClone(data);
      if (!from.closed) queueMicrotask(() => to.closed || to.onmessage?.({ data: copy }));
    };
  }
  return [left, right];
}

export class World {
  locks = new FakeLocks();
  timers = new FakeTimers();
  tabs = [];
  workers = new Map();
  #channels = new Set();
  #lastId = 0;

  constructor() {
    FakeWebSocket.reset();
  }

  /** The connections that stand. */
  get sockets() {
    return FakeWebSocket.all.filter((socket) => socket.closedWith === null);
  }

  get socket() {
    return this.sockets.at(-1);
  }

  broadcastChannel(owner) {
    const channels = this.#channels;
    return class {
      onmessage = null;

      constructor(name) {
        this.name = name;
        this.owner = owner;
        channels.add(this);
      }

      postMessage(data) {
        const copy = structuredClone(data);
        const others = [...channels].filter((other) => other !== this && other.name === this.name);
        for (const other of others) queueMicrotask(() => channels.has(other) && !other.owner.frozen && other.onmessage?.({ data: copy }));
      }

      close() {
        channels.delete(this);
      }
    };
  }

  /** The class that a page calls SharedWorker. */
  sharedWorker({ works = true } = {}) {
    const world = this;
    return class {
      constructor(_url, { name }) {
        const [port, inner] = pipe();
        this.port = port;
        if (!works) {
          queueMicrotask(() => this.onerror?.(new Event("error")));
          return;
        }
        if (!world.workers.has(name)) {
          const owner = {};
          const locks = world.locks.of(owner);
          const alive = new Promise((resolve) => locks.request(`${name}/worker`, () => new Promise(() => resolve())));
          const options = { WebSocket: FakeWebSocket, timers: world.timers, random: () => 1 };
          const switchboard = new Switchboard(hostOf({ ...INSIDES, Client: RealtimeClient }, options, locks));
          world.workers.set(name, { owner, alive, switchboard });
        }
        const { alive, switchboard } = world.workers.get(name);
        alive.then(() => {
          switchboard.admit(inner);
          inner.postMessage({ type: "ready", current: true });
        });
      }
    };
  }

  /** The browser ends the workers, without a word. */
  endWorkers() {
    for (const { owner, switchboard } of this.workers.values()) {
      switchboard.admit = () => {};
      this.locks.crash(owner);
    }
    this.workers.clear();
    for (const socket of this.sockets) socket.closedWith = 1006;
  }

  /** A page with a client that shares its connection. */
  async open({ SharedWorker, cookie = "csrftoken=abc", page = {}, ...options } = {}) {
    const owner = { window: new EventTarget(), frozen: false };
    const browser = {
      locks: this.locks.of(owner),
      SharedWorker,
      BroadcastChannel: this.broadcastChannel(owner),
      window: owner.window,
      randomId: () => `id-${++this.#lastId}`,
      document: { cookie, querySelector: () => null },
    };
    const common = { timers: this.timers, random: () => 1, wakeTarget: owner.window };
    const core = { ...INSIDES, Client: RealtimeClient, url: URL, options: { ...common, WebSocket: FakeWebSocket, ...options }, page };
    const client = new RealtimeClient(URL, { ...common, ...options, WebSocket: share(core, browser) ?? FakeWebSocket });
    const tab = { client, owner, states: [], errors: [] };
    client.on("state", (state, detail) => tab.states.push([state, detail]));
    client.on("error", (error) => tab.errors.push(error));
    this.tabs.push(tab);
    client.connect();
    await this.settle();
    return tab;
  }

  /** The tab is gone, without a word. */
  async crash(tab) {
    for (const channel of [...this.#channels]) if (channel.owner === tab.owner) this.#channels.delete(channel);
    this.locks.crash(tab.owner);
    await this.settle();
  }

  async settle() {
    for (let turn = 0; turn < 10; turn += 1) await settle();
  }

  async advance(seconds) {
    await this.timers.advance(seconds);
    await this.settle();
  }
}
