/**
 * Which tab has the connection, where there is no SharedWorker: the one that holds a lock. All others wait for it, so
 * when that tab closes, crashes or is suspended by the browser, the next one has it.
 *
 * Tabs find the leader on a BroadcastChannel, the lobby: a tab says `hello` with the name of a channel of its own, and
 * the leader answers there. A new leader says `leader` in the lobby.
 */
import { Switchboard } from "./switchboard.js";

/** @import {Browser, Share} from "./shared-socket.js" */
/** @import {Port} from "./switchboard.js" */

/** A leader that does not answer for that long is frozen, and loses its place. */
const ANSWER_SECONDS = 10;

/** What one client's sockets, one after the other, have of it. */
export class Leadership {
  #share;
  #browser;
  #lobby;
  /** Whether there is a socket. */
  #wanted = false;
  /** Aborts waiting for the lock. @type {AbortController | null} */
  #waiting = null;
  /** @type {Switchboard | null} While this page leads. */
  #switchboard = null;
  /** Releases the lock. @type {() => void} */
  #release = () => {};
  #id = "";

  /** @param {Omit<Share, "leadership">} share @param {Browser} browser */
  constructor(share, browser) {
    this.#share = share;
    this.#browser = browser;
    this.#lobby = `${share.name}/lobby`;
  }

  /** There is a socket. */
  enter() {
    this.#wanted = true;
    this.#stand();
  }

  /** It has ended. A page that leads goes on as long as others need it. */
  leave() {
    this.#wanted = false;
    this.#waiting?.abort();
  }

  /**
   * @param {string} own  The name of the tab's own channel.
   * @param {AbortSignal} signal
   * @param {() => void} gone  Called when another tab leads.
   * @returns {Promise<Port>}
   */
  reach(own, signal, gone) {
    const { BroadcastChannel } = this.#browser;
    const { timers } = this.#share.host;
    const port = new BroadcastChannel(own);
    const lobby = new BroadcastChannel(this.#lobby);
    /** @type {string | null} */
    let leader = null;
    return new Promise((resolve) => {
      const timer = timers.setTimeout(() => this.#stand(true), ANSWER_SECONDS * 1000);
      signal.addEventListener("abort", () => {
        timers.clearTimeout(timer);
        lobby.close();
        resolve(port);
      });
      port.onmessage = (/** @type {{data: any}} */ { data }) => {
        if (data.type !== "ready" || leader) return;
        leader = data.leader;
        timers.clearTimeout(timer);
        resolve(port);
      };
      lobby.onmessage = (/** @type {{data: any}} */ { data }) => {
        if (data.type !== "leader" || data.leader === leader) return;
        if (leader) gone();
        else hello();
      };
      const hello = () => lobby.postMessage({ type: "hello", own });
      hello();
    });
  }

  /** Waits for the lock, or takes it from a leader that does not answer. */
  #stand(steal = false) {
    if (this.#switchboard) return;
    this.#waiting?.abort();
    const waiting = new AbortController();
    this.#waiting = waiting;
    const options = steal ? { steal } : { signal: waiting.signal };
    this.#browser.locks
      .request(`${this.#share.name}/leader`, options, () => new Promise((release) => this.#lead(release)))
      .catch(() => waiting.signal.aborted || this.#resign()); // It was taken from this page.
  }

  /** @param {(value: any) => void} release */
  #lead(release) {
    const { BroadcastChannel, window, randomId } = this.#browser;
    const leader = randomId();
    const lobby = new BroadcastChannel(this.#lobby);
    const switchboard = new Switchboard({ ...this.#share.host, onEmpty: () => this.#resign() });
    /** @type {Set<string>} */
    const admitted = new Set();
    this.#switchboard = switchboard;
    this.#waiting = null;
    lobby.onmessage = (/** @type {{data: any}} */ { data }) => {
      if (data.type !== "hello" || admitted.has(data.own)) return;
      admitted.add(data.own);
      const port = new BroadcastChannel(data.own);
      const close = () => BroadcastChannel.prototype.close.call(port);
      port.close = () => {
        admitted.delete(data.own);
        close();
      };
      switchboard.admit(port);
      port.postMessage({ type: "ready", leader });
    };
    // A page in the back/forward cache, or frozen, must not keep the connection that others need.
    const away = () => this.#resign();
    for (const event of ["pagehide", "freeze"]) window?.addEventListener?.(event, away, true);
    this.#release = () => {
      for (const event of ["pagehide", "freeze"]) window?.removeEventListener?.(event, away, true);
      lobby.close();
      release(undefined);
    };
    lobby.postMessage({ type: "leader", leader });
  }

  #resign() {
    const switchboard = this.#switchboard;
    if (!switchboard) return;
    this.#switchboard = null;
    switchboard.close();
    this.#release();
    if (this.#wanted) this.#stand();
  }
}
