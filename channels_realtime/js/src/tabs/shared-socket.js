/**
 * A socket that is a part of the connection that all tabs share. It has the WebSocket's interface; behind it is a port
 * to the switchboard.
 */
import { csrfTokens } from "../fallbacks/csrf.js";
import { hostOf } from "./host.js";
import { Leadership } from "./leadership.js";
import { hold } from "./locks.js";
import { reachWorker } from "./worker-port.js";

/** @import {StateDetail} from "../typedefs.js" */
/** @import {Host, Port} from "./switchboard.js" */

const CLOSE_ABNORMAL = 1006;
/** How late a reconnect is when a tab that is in front asks for it. */
const LATE_SECONDS = 1;
const WAKING_EVENTS = ["online", "offline", "visibilitychange"];
/** Frames that were handled are reported together: so many, or so much. */
const READ_FRAMES = 100;
const READ_LENGTH = 2 ** 18;
const SECRET_LENGTH = 32;
const TOKEN_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/**
 * @typedef {object} Share  What tabs share.
 * @property {string} name  The same for all tabs that share.
 * @property {any} settings  The options that make the connection; they are copied to a worker.
 * @property {((context: {reason: any}) => (string | null | Promise<string | null>)) | undefined} getToken  This tab's.
 * @property {Host} host  Where this tab leads.
 * @property {Leadership} leadership
 *
 * @typedef {object} Browser  What is used of the browser.
 * @property {any} locks
 * @property {any} SharedWorker
 * @property {any} BroadcastChannel
 * @property {any} window
 * @property {() => string} randomId
 * @property {any} document
 */

/** @returns {Browser | null} Null where tabs cannot share: without Web Locks, which only secure pages have. */
function thisBrowser() {
  const { navigator, SharedWorker, BroadcastChannel, window, crypto, document } = /** @type {any} */ (globalThis);
  if (!navigator?.locks || !BroadcastChannel || !crypto?.randomUUID) return null;
  return { locks: navigator.locks, SharedWorker, BroadcastChannel, window, document, randomId: () => crypto.randomUUID() };
}

/**
 * Django makes a new CSRF secret at each login. Its cookie has the secret itself, a page has it masked, each time with
 * another mask (`_unmask_cipher_token` in `django.middleware.csrf`).
 * @param {string} token
 */
function secretOf(token) {
  const mask = token.slice(0, SECRET_LENGTH);
  const cipher = token.slice(SECRET_LENGTH);
  if (cipher.length !== SECRET_LENGTH) return token;
  const place = (/** @type {string} */ character) => TOKEN_CHARACTERS.indexOf(character);
  return [...cipher].map((character, index) => TOKEN_CHARACTERS.at(place(character) - place(mask[index]))).join("");
}

/**
 * Tells logins apart by all that the page knows: a page that is older than the login, or the cookie of another site on
 * this host, is not enough to share.
 * @param {string[]} tokens  The page's CSRF tokens.
 */
function loginKey(tokens) {
  let hash = 0;
  for (const character of [...new Set(tokens.map(secretOf))].join(" ")) hash = (Math.imul(hash, 31) + character.charCodeAt(0)) | 0;
  return hash.toString(36);
}

/**
 * The way to the server of a client that shares its connection.
 *
 * @param {any} core  `url`, `options` and `page` of the client, its class `Client`, and what else is needed of it.
 * @param {Browser | null} [browser]
 * @returns {(new (url: string, protocols: string[]) => SharedSocket) | undefined}  Undefined where tabs cannot share, or may not.
 */
export function share(core, browser = thisBrowser()) {
  if (!browser) return undefined;
  const available = browser;
  const { url, page, options } = core;
  const { getToken, shareKey, httpUrl: _, ...rest } = options; // `page` has its address, absolute.
  const tokens = csrfTokens(page?.csrfToken, available.document);
  // The page's tokens say nothing of a user that `getToken` signs in.
  const key = shareKey ?? (getToken || tokens.length === 0 ? undefined : loginKey(tokens));
  if (key === undefined) {
    console.warn(
      "channels_realtime: this tab has its own connection, since nothing says who is signed in. " +
        "Set the option shareKey, such as to the user's primary key. See docs/howto/tabs.md",
    );
    return undefined;
  }
  // What can be copied: not functions, nor objects that have them.
  const plain = Object.entries(rest).filter(([, value]) => Object(value) !== value || Array.isArray(value));
  const configuration = { ...page, csrfToken: tokens }; // A worker has neither elements nor cookies.
  const settings = { ...Object.fromEntries(plain), url, page: configuration };
  const host = hostOf(core, rest, available.locks);
  const name = `channels_realtime ${url} ${key}`;
  const shared = { name, settings, getToken, host };
  const leadership = new Leadership(shared, available);
  return class extends SharedSocket {
    /** @param {string} _url @param {string[]} protocols */
    constructor(_url, protocols) {
      super({ ...shared, leadership }, available, protocols[0]);
    }
  };
}

export class SharedSocket {
  /** @type {((event: {data: any}) => void) | null} */
  onmessage = null;
  /** @type {((event: {code: number, reason: string, immediate?: boolean}) => void) | null} */
  onclose = null;
  /** Called with the connection's state, as long as there is no `welcome`. @type {((state: any, detail: StateDetail) => void) | null} */
  onstate = null;
  #share;
  #browser;
  /** @type {Port | null} */
  #port = null;
  #read = 0;
  #readLength = 0;
  #ended = false;
  /** @type {any} */
  #nudge = null;
  /** Aborts what waits for a lock. */
  #abort = new AbortController();
  /** Lets go of what it holds, in the reverse order. @type {(() => void)[]} */
  #held = [];

  /** @param {Share} share @param {Browser} browser @param {string} protocol */
  constructor(share, browser, protocol) {
    this.#share = share;
    this.#browser = browser;
    this.protocol = protocol;
    this.#begin().catch((/** @type {unknown} */ error) => this.#end(CLOSE_ABNORMAL, String(error)));
  }

  /** @param {any} data */
  send(data) {
    this.#port?.postMessage({ type: "frame", data });
  }

  /** @param {number} [code] @param {string} [_reason] */
  close(code, _reason) {
    if (this.#ended) return;
    this.#port?.postMessage({ type: "close", code });
    this.onclose = null;
    this.#end(CLOSE_ABNORMAL, "");
  }

  async #begin() {
    await Promise.resolve(); // No listener is called in the constructor.
    const { name, getToken, settings } = this.#share;
    const { locks, randomId } = this.#browser;
    const lock = `${name}/${randomId()}`;
    // The switchboard waits for it to learn that this tab has gone, crashed or not.
    this.#keep(await hold(locks, lock));
    const port = await this.#reach(lock);
    if (this.#ended) {
      port.close();
      return;
    }
    this.#keep(() => port.close());
    this.#port = port;
    port.onmessage = (event) => this.#receive(event.data);
    port.postMessage({ type: "open", protocol: this.protocol, suppliesTokens: Boolean(getToken), lock, settings });
    const { window } = this.#browser;
    for (const event of WAKING_EVENTS) window?.addEventListener?.(event, this.#wake, true); // Some are the document's.
    this.#keep(() => {
      for (const event of WAKING_EVENTS) window?.removeEventListener?.(event, this.#wake, true);
    });
  }

  /** @param {string} lock @returns {Promise<Port>} To where the connection is. */
  async #reach(lock) {
    const { signal } = this.#abort;
    const gone = () => this.#end(CLOSE_ABNORMAL, "the connection was in a tab that has gone", true);
    const port = await reachWorker(this.#share.name, this.#browser, this.#share.host.timers, signal, gone);
    if (port) return port;
    const { leadership } = this.#share;
    leadership.enter();
    this.#keep(() => leadership.leave());
    return leadership.reach(lock, signal, gone);
  }

  /** @param {any} message */
  async #receive(message) {
    if (this.#ended) return;
    if (message.type === "frame") {
      this.#share.host.timers.clearTimeout(this.#nudge);
      this.onmessage?.({ data: message.data });
      this.#read += 1;
      this.#readLength += message.data.length;
      if (this.#read < READ_FRAMES && this.#readLength < READ_LENGTH) return;
      this.#port?.postMessage({ type: "read", count: this.#read });
      this.#read = this.#readLength = 0;
    } else if (message.type === "state") {
      this.#follow(message.detail);
      this.onstate?.(message.state, message.detail);
    } else if (message.type === "close") {
      this.#end(message.code, message.reason, message.code === 1012);
    } else if (message.type === "getToken") {
      const answer = await this.#token(message.reason);
      this.#port?.postMessage({ type: "token", ...answer });
    }
  }

  /** The timers of a tab that leads in the background may be a minute late. @param {StateDetail} detail */
  #follow({ nextDelay }) {
    const { timers } = this.#share.host;
    timers.clearTimeout(this.#nudge);
    if (typeof nextDelay !== "number") return;
    this.#nudge = timers.setTimeout(() => this.#wake({ type: "online" }), (nextDelay + LATE_SECONDS) * 1000);
  }

  /** @param {string} reason */
  async #token(reason) {
    try {
      return { token: (await this.#share.getToken?.({ reason })) ?? null };
    } catch (error) {
      return { error: String(error) };
    }
  }

  /** @param {number} code @param {string} reason @param {boolean} [immediate]  Whether to come back without a delay. */
  #end(code, reason, immediate = false) {
    if (this.#ended) return;
    this.#ended = true;
    this.#abort.abort();
    this.#share.host.timers.clearTimeout(this.#nudge);
    this.#port = null;
    for (const release of this.#held.splice(0).reverse()) release();
    this.onclose?.({ code, reason, immediate });
  }

  /** @param {() => void} release  Called at the end. */
  #keep(release) {
    if (this.#ended) release();
    else this.#held.push(release);
  }

  /** What has this page look whether its connection stands, for the connection that it shares. @param {{type: string}} event */
  #wake = ({ type }) => {
    if (globalThis.document?.visibilityState === "hidden") return;
    this.#port?.postMessage({ type: "wake", event: type === "offline" ? type : "online" });
  };
}
