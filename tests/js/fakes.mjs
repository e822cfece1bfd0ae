/** What the tests of realtime.js put in the place of the browser: a socket, a clock, a window. No imports. */

/** Timers that fire only when the test advances them. */
export class FakeTimers {
  now = 0;
  #timers = new Map();
  #lastHandle = 0;

  setTimeout = (callback, milliseconds) => {
    this.#timers.set(++this.#lastHandle, { callback, due: this.now + milliseconds });
    return this.#lastHandle;
  };

  clearTimeout = (handle) => {
    this.#timers.delete(handle);
  };

  get count() {
    return this.#timers.size;
  }

  /** Lets time pass, in order of the due times, and lets promises settle after each. */
  async advance(seconds) {
    const until = this.now + seconds * 1000;
    for (;;) {
      const [next] = [...this.#timers].filter(([, timer]) => timer.due <= until).sort((a, b) => a[1].due - b[1].due);
      if (!next) break;
      this.#timers.delete(next[0]);
      this.now = next[1].due;
      next[1].callback();
      await settle();
    }
    this.now = until;
  }
}

/** Lets every promise that can settle do so. */
export async function settle() {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

/** A WebSocket with the test as its server. */
export class FakeWebSocket {
  /** Every socket since `reset`, oldest first. */
  static all = [];

  static reset() {
    FakeWebSocket.all = [];
  }

  static get last() {
    return FakeWebSocket.all.at(-1);
  }

  onmessage = null;
  onclose = null;
  protocol = "";
  frames = [];
  closedWith = null;

  constructor(url, protocols) {
    this.url = url;
    this.protocols = protocols;
    FakeWebSocket.all.push(this);
  }

  send(text) {
    this.frames.push(JSON.parse(text));
  }

  close(code) {
    this.closedWith ??= code;
  }

  // The server's side

  /** Takes what was sent so far, batches unfolded. */
  take() {
    return this.frames.splice(0).flat();
  }

  async receive(...frames) {
    for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
    await settle();
  }

  async receiveText(data) {
    this.onmessage?.({ data });
    await settle();
  }

  /** Welcomes, and knows no earlier session. */
  async welcome(payload = {}) {
    await this.welcomeBack(payload);
    if (this.frames.flat().some((message) => message.type === "resume")) await this.refuseResume();
  }

  /** Welcomes; the test answers a `resume`. */
  async welcomeBack(payload = {}) {
    this.protocol = "realtime.v1.json";
    await this.receive({ type: "welcome", payload: { ...WELCOME, ...payload } });
  }

  async refuseResume(code = "unknown_session") {
    return this.answer("resume", { type: "error", request: "resume", payload: { code, reason: "" } });
  }

  /** Answers the oldest untaken request of a type. */
  async answer(type, reply) {
    const request = this.frames.flat().find((message) => message.type === type);
    if (!request) throw new Error(`no '${type}' among ${JSON.stringify(this.frames)}`);
    this.frames = this.frames.flat().filter((message) => message !== request);
    await this.receive({ channel: request.channel, id: request.id, ...reply });
    return request;
  }

  async end(code, closing) {
    if (closing) await this.receive({ type: "closing", payload: { code, reason: "said", ...closing } });
    this.onclose?.({ code, reason: "" });
    await settle();
  }
}

export const WELCOME = {
  session_id: "secret-session",
  connection_id: "c1",
  version: 1,
  user: "7",
  expires_at: null,
  heartbeat: { interval: 25, timeout: 10 },
  limits: { max_frame: 1000, max_payload: 500, max_batch: 3, max_subscriptions: 256, max_in_flight: 16 },
  capabilities: [],
  channels: {},
};
