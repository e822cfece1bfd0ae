/** What `<realtime-channel>` and `<realtime-presence>` have in common: a subscription while they are in the document. */

import { pageClient } from "../page-client.js";

/** @import {Subscription} from "../subscription.js" */
/** @import {Position, SubscriptionOptions} from "../typedefs.js" */

/** A server that renders pages has no elements, and may still import the module. */
const Element = /** @type {typeof HTMLElement} */ (globalThis.HTMLElement ?? class {});

/**
 * Its events are named `realtime:…` and bubble.
 * @abstract
 */
export class Subscriber extends Element {
  static observedAttributes = ["name"];

  /** @type {Subscription | null} */
  #subscription = null;
  /** @type {Position | null} Of the last message: there it goes on, wherever it is put. */
  #position = null;
  /** @type {() => void} */
  #forgetState = () => {};

  /** The subscription of the page's client, for scripts; null while there is none. */
  get subscription() {
    return this.#subscription;
  }

  connectedCallback() {
    if (!this.#subscription) this.#begin(); // Otherwise it was moved.
  }

  /** With this, `moveBefore` does not disconnect it. */
  connectedMoveCallback() {}

  disconnectedCallback() {
    queueMicrotask(() => this.isConnected || this.#end());
  }

  /** @param {string} _name @param {string | null} before @param {string | null} value */
  attributeChangedCallback(_name, before, value) {
    if (before === value || !this.isConnected) return;
    this.#end();
    this.#position = null;
    this.#begin();
  }

  /** @returns {SubscriptionOptions} */
  _options() {
    return {};
  }

  /**
   * @param {string} type @param {any} detail
   * @returns {boolean}  False if a listener called `preventDefault()`.
   */
  _tell(type, detail) {
    return this.dispatchEvent(new CustomEvent(`realtime:${type}`, { bubbles: true, cancelable: true, detail }));
  }

  #begin() {
    this.#forgetState();
    const channel = this.getAttribute("name");
    if (!channel) {
      console.error("channels_realtime: an element without a channel; expected name=\"…\"", this);
      return;
    }
    const client = pageClient();
    this.#state(client.state, {});
    this.#forgetState = client.on("state", (state, detail) => {
      if (!subscription.ended) this.#state(state, detail);
      else if (state === "connecting") this.#begin(); // A page has closed its client, and connects again.
    });
    const options = this._options();
    const subscription = client.subscribe(channel, {
      ...options,
      since: this.#position ?? options.since,
      onMessage: (message) => {
        const { epoch, offset, state } = message;
        if (epoch !== undefined && offset !== undefined && !state) this.#position = { epoch, offset };
        options.onMessage?.(message);
      },
      onSubscribed: (payload) => this._tell("subscribed", payload),
      onRecovered: (recovery) => {
        this._tell("recovered", recovery);
        if (!recovery.recovered) this._tell("missed", recovery);
      },
      onUnsubscribed: (ending) => {
        if (this.#subscription !== subscription) return; // The element has ended it.
        if (ending.code !== "closed") this.#forgetState();
        this.#state("ended", ending);
      },
      onError: (error) => {
        if (this._tell("error", error)) console.warn(`channels_realtime: '${channel}': ${error.message}`, this);
      },
    });
    this.#subscription = subscription;
  }

  #end() {
    this.#forgetState();
    const subscription = this.#subscription;
    this.#subscription = null;
    subscription?.unsubscribe();
  }

  /** @param {string} state @param {any} detail */
  #state(state, detail) {
    this.setAttribute("state", state);
    this._tell("state", { ...detail, state });
  }
}
