/**
 * Chooses among the ways over HTTP, remembers what worked, and looks for the WebSocket meanwhile.
 *
 * In: what became of the last attempt. Out: the constructor of the next, or null for the WebSocket.
 *
 * @import {WayContext} from "../ways.js"
 * @import {HttpSocket} from "./http-socket.js"
 */

import { remember } from "../storage.js";
import { csrfTokens } from "./csrf.js";
import { EventStreamSocket } from "./event-stream.js";
import { PollingSocket } from "./polling.js";

/** @type {Record<string, typeof EventStreamSocket | typeof PollingSocket>} */
const SOCKETS = { sse: EventStreamSocket, polling: PollingSocket };
/** How long a page that is loaded begins with what worked. */
const MEMORY_SECONDS = 600;
/** When to try a WebSocket beside what works: soon, since an outage may have hidden it, then now and then. */
const FIRST_TRIAL_SECONDS = 30;
const TRIAL_SECONDS = 300;
/** How long a WebSocket that is tried may take to bring something. */
const TRIAL_TIMEOUT_SECONDS = 10;
/** The better way is taken when nothing has been said for so long. */
const QUIET_SECONDS = 5;
/** After so many attempts in a row that brought nothing, the WebSocket is tried in between. */
const MAX_FAILURES = 3;

export class Choice {
  #context;
  #ladder;
  /** The way that is used, in the ladder; -1 is the WebSocket. */
  #step = -1;
  #failures = 0;
  /** @type {string | null} Why the way that is used does not work here, though a server answers. */
  #unusable = null;
  /** Whether a WebSocket that was tried works. */
  #better = false;
  #trials = 0;
  /** When the way was chosen, or the one before it given up. */
  #lowered = 0;

  /** @param {WayContext} context */
  constructor(context) {
    this.#context = context;
    this.#ladder = context.transports.filter((name) => name in SOCKETS);
  }

  /** The WebSocket is not used. @param {string | null} [remembered]  The way that worked on an earlier page. */
  begin(remembered) {
    this.#better = false;
    this.#failures = 0;
    this.#lowered = Date.now();
    return this.#way(Math.max(0, this.#ladder.indexOf(remembered ?? "")));
  }

  /** @param {boolean} heard  Whether the last attempt received anything. */
  next(heard) {
    if (this.#step < 0) return null;
    if (this.#better) return this.#way(-1);
    if (this.#unusable !== null) {
      this.#lowered = Date.now();
      return this.#way(this.#step + 1);
    }
    this.#failures = heard ? 0 : this.#failures + 1;
    if (this.#failures >= MAX_FAILURES) return this.#way(-1);
    const old = Date.now() - this.#lowered > TRIAL_SECONDS * 1000;
    return this.#way(old ? 0 : this.#step);
  }

  /** @param {number} step @returns {any} */
  #way(step) {
    const { transports, WebSocket = globalThis.WebSocket } = this.#context;
    this.#unusable = null;
    const over = step < 0 || step >= this.#ladder.length;
    this.#step = over ? (WebSocket && transports.includes("websocket") ? -1 : 0) : step;
    if (over) this.#failures = 0;
    const Socket = SOCKETS[this.#ladder[this.#step]];
    if (!Socket) return null;
    const host = {
      context: this.#context,
      csrfTokens: () => csrfTokens(this.#context.csrfToken),
      unusable: (/** @type {string} */ reason) => (this.#unusable = reason),
      works: (/** @type {HttpSocket} */ socket) => this.#works(socket),
    };
    return function Way() {
      return new Socket(host);
    };
  }

  /** @param {HttpSocket} socket */
  #works(socket) {
    this.#remember(this.#ladder[this.#step]);
    this.#tryLater(socket);
  }

  /** @param {string | null} way */
  #remember(way) {
    remember(`realtime-way ${this.#context.http}`, way, MEMORY_SECONDS);
  }

  /** @param {HttpSocket} socket  Nothing is tried after its end. */
  #tryLater(socket) {
    const { transports, random, WebSocket = globalThis.WebSocket } = this.#context;
    if (!WebSocket || !transports.includes("websocket")) return;
    const seconds = this.#trials === 0 ? FIRST_TRIAL_SECONDS : TRIAL_SECONDS;
    socket._later(seconds * (0.5 + random()), () => {
      this.#trials += 1;
      this.#try(new WebSocket(this.#context.url, [socket.protocol]), socket);
    });
  }

  /** @param {WebSocket} trial @param {HttpSocket} socket */
  #try(trial, socket) {
    const { timers } = this.#context;
    const end = (/** @type {boolean} */ works) => {
      timers.clearTimeout(timer);
      trial.onmessage = trial.onclose = null;
      trial.close(1000);
      if (!socket._alive) return;
      if (works) {
        this.#better = true;
        this.#remember(null);
        socket.leaveWhenQuiet(QUIET_SECONDS);
      } else {
        this.#works(socket);
      }
    };
    const timer = timers.setTimeout(() => end(false), TRIAL_TIMEOUT_SECONDS * 1000);
    trial.onmessage = () => end(true);
    trial.onclose = () => end(false);
  }
}
