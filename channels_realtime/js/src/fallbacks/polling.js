import { HttpSocket } from "./http-socket.js";

/** How long the server may hold a poll. Proxies give up after 30 s or 60 s. */
const WAIT_SECONDS = 25;
/** A shorter wait is not worth a held poll. */
const LEAST_WAIT_SECONDS = 2;
/** A poll that is not answered so long after its wait has failed. */
const GRACE_SECONDS = 10;
/** Between polls where none can be held: while something comes, and at most. */
const INTERVAL_SECONDS = 1;
const MAX_INTERVAL_SECONDS = 5;
/** A poll that fails is made again so often; then the connection is lost. */
const MAX_FAILURES = 3;

/** A connection whose messages come down as answers to polls. */
export class PollingSocket extends HttpSocket {
  #wait = WAIT_SECONDS;
  #interval = INTERVAL_SECONDS;
  /** @type {string | undefined} It acknowledges what came before it; opaque. */
  #cursor;
  #failures = 0;
  /** Of polls that were held and cut: how long they lasted, in seconds. @type {number[]} */
  #cuts = [];
  /** Ends the pause between two polls. @type {(() => void) | null} */
  #hurry = null;

  async _begin() {
    while (this._alive) {
      // A poll that is made again is not held: it shows whether the holding was the reason.
      const wait = this._session && this.#failures === 0 ? this.#wait : 0;
      const started = Date.now();
      try {
        await this.#poll(wait);
        this.#failures = 0;
      } catch (error) {
        if (!this._session || this.#failures === MAX_FAILURES) throw error;
        this.#failures += 1;
        if (wait > 0) this.#cut((Date.now() - started) / 1000);
        await this.#pause(this.#failures - this._random);
        continue;
      }
      if (!this._session) return; // It waits for a token.
      if (this.#wait > 0) continue;
      await this.#pause(this.#interval);
      this.#interval = Math.min(this.#interval * 2, MAX_INTERVAL_SECONDS);
    }
  }

  _sent() {
    this.#interval = INTERVAL_SECONDS;
    this.#hurry?.();
  }

  /** @param {number} wait */
  async #poll(wait) {
    const body = JSON.stringify({ session_id: this._session ?? undefined, cursor: this.#cursor, wait });
    await this._request("poll/", { body, seconds: wait + GRACE_SECONDS }, async (response) => {
      const { status, headers } = response;
      const ours = headers.get("Content-Type")?.startsWith("application/json");
      if (this._session && !ours && (status >= 500 || status === 408)) throw new Error(`status ${status}`); // Of a proxy.
      if (!response.ok) return this._refused(response);
      const { messages, cursor } = await response.json();
      this.#cursor = cursor;
      if (messages.length > 0) this.#interval = INTERVAL_SECONDS;
      else this._isThere();
      for (const message of messages) {
        this._receive(message);
        if (message.type === "closing") this._end(message.payload.code, message.payload.reason);
      }
    });
  }

  /** A poll that was held has failed after so many seconds: twice means that something on the way cuts them. @param {number} lasted */
  #cut(lasted) {
    this.#cuts.push(lasted);
    if (this.#cuts.length < 2) return;
    const half = Math.floor(Math.min(...this.#cuts) / 2);
    this.#wait = half >= LEAST_WAIT_SECONDS ? Math.min(half, this.#wait) : 0;
    this.#cuts = [];
  }

  /** @param {number} seconds */
  async #pause(seconds) {
    await /** @type {Promise<void>} */ (
      new Promise((resolve) => {
        const timer = this._later(seconds, resolve);
        this.#hurry = () => {
          this._cancel(timer);
          resolve();
        };
      })
    );
    this.#hurry = null;
  }
}
