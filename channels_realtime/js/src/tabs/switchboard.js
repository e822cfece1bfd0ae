/**
 * One connection for many tabs.
 *
 * A switchboard runs in the one place that has the connection: a SharedWorker, or the tab that was elected. It has a
 * client of its own, and speaks the wire protocol with each tab's client over a port. So a tab's client needs to know
 * nothing of the others: what it subscribes to with `since` comes once and in order, whether the connection has the
 * channel already or not.
 *
 * A port has `postMessage`, `onmessage` and `close`, as a MessagePort and a BroadcastChannel have. On it go:
 *
 * - from a tab: `open` (who it is), `frame` (of the wire protocol), `read` (how many frames it has handled), `token` (the
 *   answer to `getToken`), `wake` (the network has changed, or the page is back), `close`;
 * - to a tab: `frame`, `state` (of the connection, before `welcome`), `getToken`, `close`.
 *
 * When the connection is lost, all tabs' sockets close with 1012, and each tab's client comes back at once: it waits
 * here until the connection is back, and subscribes again with its positions. Meanwhile its old subscriptions stay, so
 * that the session that is resumed still has them, and nothing has to go over the wire.
 */
import { Recent } from "./recent.js";
import { Tab } from "./tab.js";

/** @import {Codec} from "../codec.js" */
/** @import {Message, Position, StateDetail, Timers} from "../typedefs.js" */
/** @import {Line} from "./line.js" */

/**
 * How long a lost connection waits for a tab to come back, and subscriptions of the tabs that it closed wait for theirs
 * once it is back.
 */
const RETURN_SECONDS = 10;
const CLOSE_RESTART = 1012;

/**
 * @typedef {object} Port
 * @property {(message: any) => void} postMessage
 * @property {((event: any) => void) | null} onmessage
 * @property {() => void} close
 *
 * @typedef {object} Host
 * @property {(options: {settings: any, getToken: (context: {reason: string}) => Promise<string | null>,
 *   wakeTarget: EventTarget}) => any} createClient  An idle client.
 * @property {(client: any) => any} welcomeOf  The payload of its connection's `welcome`.
 * @property {(client: any, channel: string) => Position | null} positionOf  Up to where it has the channel.
 * @property {(protocol: string) => Codec | Promise<Codec>} codecOf
 * @property {{request: (name: string, options: any, callback: () => any) => Promise<any>}} locks
 * @property {Timers} timers
 * @property {() => void} [onEmpty]  Called when the last tab has gone.
 */

/** Has the connection, and gives each tab its part of it. */
export class Switchboard {
  /** @type {any} The client, while there are tabs. */
  client = null;
  /** @type {Set<string>} Channels that the server has subscribed. */
  automatic = new Set();
  /** @type {Set<Tab>} */
  #tabs = new Set();
  /** @type {Map<string, Recent>} */
  #recents = new Map();
  /** @type {Set<Line>} Of tabs that the lost connection has closed. */
  #staying = new Set();
  /** Whether the tabs that the lost connection has closed are expected back. */
  #awaiting = false;
  /** @type {any} */
  #stayTimer = null;
  #wakeTarget = new EventTarget();
  /** @type {StateDetail} */
  #detail = {};
  /** @type {{codec: Codec | null, message: object | null, data: any, size: number}} The frame that was made last. */
  #frame = { codec: null, message: null, data: null, size: 0 };

  /** @param {Host} host */
  constructor(host) {
    this.host = host;
  }

  /** @param {Port} port  Of a tab, which says `open` next. */
  admit(port) {
    new Tab(this, port);
  }

  /** Closes the connection, and each tab's socket with 1012: another switchboard takes over. */
  close() {
    for (const tab of [...this.#tabs]) tab.end(CLOSE_RESTART, "the connection moves to another tab");
  }

  /** @param {Tab} tab @param {any} settings */
  join(tab, settings) {
    this.#tabs.add(tab);
    if (!this.client) this.#begin(settings);
    else if (this.client.state === "connected") tab.greet();
    else tab.tell(this.client.state, this.#detail);
  }

  /** @param {Tab} tab */
  left(tab) {
    this.#tabs.delete(tab);
    if (this.#tabs.size === 0 && this.#staying.size === 0 && !this.#awaiting) this.#leave();
  }

  /** A tab's network has changed, or its page is back: a timer here may be late. @param {"online" | "offline"} event */
  wake(event) {
    this.#wakeTarget.dispatchEvent(new Event(event));
  }

  /** A tab has signed the connection in. @param {Tab} tab @param {string | null} user */
  signedIn(tab, user) {
    if (user === this.client.user) return;
    this.client.user = user;
    for (const other of [...this.#tabs]) if (other !== tab && other.greeted) other.end(CLOSE_RESTART, "signed in");
  }

  /** @param {string} channel @returns {Recent} */
  recent(channel) {
    const recent = this.#recents.get(channel) ?? new Recent();
    this.#recents.set(channel, recent);
    return recent;
  }

  /** A subscription to it has ended. @param {string} channel */
  released(channel) {
    const recent = this.recent(channel);
    recent.lines -= 1;
    if (recent.lines <= 0) this.#recents.delete(channel);
  }

  /** @param {string} channel @returns {Position | null} Up to where the connection has it. */
  position(channel) {
    return this.host.positionOf(this.client, channel);
  }

  /**
   * A message for several tabs is encoded once.
   * @param {Codec} codec @param {any} message @param {object} shared
   */
  encode(codec, message, shared) {
    if (this.#frame.codec !== codec || this.#frame.message !== shared) {
      const data = codec.encode(message);
      this.#frame = { codec, message: shared, data, size: codec.size(data) };
    }
    return this.#frame;
  }

  /** @param {any} settings */
  #begin(settings) {
    const client = this.host.createClient({
      settings,
      getToken: ({ reason }) => this.#token(reason),
      wakeTarget: this.#wakeTarget,
    });
    this.client = client;
    client.on("state", (/** @type {string} */ state, /** @type {StateDetail} */ detail) => this.#stateChanged(state, detail));
    client.on("message", (/** @type {Message} */ message) => this.#recents.get(message.channel)?.add(message));
    client.on("notice", (/** @type {Message} */ message) => this.#greeted().forEach((tab) => tab.deliver(message)));
    client.on("channel", (/** @type {string} */ name, /** @type {boolean} */ on) => this.#automaticChanged(name, on));
    client.on("error", (/** @type {any} */ { code, reason }) => {
      for (const tab of this.#greeted()) tab.send({ type: "error", payload: { code, reason } });
    });
    client.connect();
  }

  /** No tab is left. */
  #leave() {
    const { client } = this;
    if (!client) return;
    this.client = null;
    this.#awaiting = false;
    this.#staying.clear();
    this.#recents.clear();
    this.automatic.clear();
    this.host.timers.clearTimeout(this.#stayTimer);
    client.close();
    this.host.onEmpty?.();
  }

  #greeted() {
    return [...this.#tabs].filter((tab) => tab.greeted);
  }

  /** @param {string} state @param {StateDetail} detail */
  #stateChanged(state, detail) {
    if (!this.client) return; // Closed from here.
    this.#detail = detail;
    if (state === "connected") {
      this.#awaiting = this.#tabs.size === 0;
      for (const tab of [...this.#tabs]) tab.greet();
      this.#wait();
      return;
    }
    const { code = CLOSE_RESTART, reason = "" } = detail;
    if (state === "closed" || state === "unauthenticated") {
      // The tab's client decides by the code, and makes an attempt of its own where the credentials were refused.
      const closing = { reconnect: state === "unauthenticated" };
      for (const tab of [...this.#tabs]) tab.end(code, reason, { closing, lines: this.#staying });
      this.#leave();
      return;
    }
    if (this.#greeted().length > 0) {
      this.#awaiting = true;
      this.#wait();
    }
    for (const tab of [...this.#tabs]) {
      if (tab.greeted) tab.end(CLOSE_RESTART, `${code} ${reason}`.trim(), { lines: this.#staying });
      else tab.tell(state, detail);
    }
  }

  /** Who has not come back by then does not. */
  #wait() {
    const { timers } = this.host;
    timers.clearTimeout(this.#stayTimer);
    this.#stayTimer = timers.setTimeout(() => {
      this.#awaiting = false;
      if (this.#tabs.size === 0) this.#leave();
      else if (this.client.state === "connected") this.#letGo();
    }, RETURN_SECONDS * 1000);
  }

  #letGo() {
    const lines = [...this.#staying];
    this.#staying.clear();
    for (const line of lines) line.end();
  }

  /** @param {string} name @param {boolean} on */
  #automaticChanged(name, on) {
    if (on) this.automatic.add(name);
    else this.automatic.delete(name);
    for (const tab of this.#greeted()) {
      if (on) tab.addAutomatic(name);
      else tab.removeAutomatic(name);
    }
  }

  /** @param {string} reason @returns {Promise<string | null>} */
  async #token(reason) {
    // The newest first: it is the most likely to be in front.
    for (const tab of [...this.#tabs].reverse()) {
      if (!tab.suppliesTokens || tab.ended) continue;
      const answer = await tab.askForToken(reason);
      if (answer?.error !== undefined) throw new Error(answer.error);
      if (answer) return answer.token ?? null;
    }
    return null;
  }
}
