/**
 * `<realtime-channel name="orders/42">`: dispatches what comes on a channel as events, and where it has the attribute
 * `swap`, puts the server's HTML into the page.
 *
 * HTML is taken from the event `realtime.html` alone, which only the server can publish.
 */

import { pageClient } from "../page-client.js";
import { morphChildren } from "./morph.js";
import { Subscriber } from "./subscriber.js";
import { parse, process, swap } from "./swap.js";

/** @import {Message, SubscriptionOptions} from "../typedefs.js" */

/** Events of the elements: a message's event of such a name would be taken for one. */
const OWN_EVENTS = /^(message|html|swapped|loaded|subscribed|recovered|missed|error|state|members)$/;

/** Messages that were swapped already: several elements may be on one channel. @type {WeakSet<Message>} */
const swapped = new WeakSet();

export class RealtimeChannel extends Subscriber {
  /** @returns {SubscriptionOptions} */
  _options() {
    const parameters = this.getAttribute("parameters");
    return {
      since: this.getAttribute("since"),
      parameters: parameters === null ? undefined : JSON.parse(parameters),
      select: this.getAttribute("select") ?? undefined,
      onMessage: (message) => this.#message(message),
      ...(this.hasAttribute("src") && {
        load: (/** @type {{signal: AbortSignal}} */ { signal }) => this.#load(signal),
        onLoaded: (/** @type {any} */ { content }) => this.#loaded(content),
      }),
    };
  }

  /** @param {Message} message */
  #message(message) {
    if (!this.isConnected) return; // It is about to unsubscribe.
    const { event } = message;
    this._tell("message", message);
    if (event === "realtime.html") {
      if (this._tell("html", message) && this.hasAttribute("swap")) this.#swap(message);
    } else if (event && !OWN_EVENTS.test(event)) {
      this._tell(event, message);
    }
  }

  /** @param {Message} message */
  #swap(message) {
    const fragment = message.payload;
    if (fragment.target) {
      if (swapped.has(message)) return;
      swapped.add(message);
    }
    this._tell("swapped", { ...fragment, elements: swap(fragment, this) });
  }

  /** Fetches its content again. @param {AbortSignal} signal */
  async #load(signal) {
    const url = this.getAttribute("src") || location.href;
    const response = await fetch(url, { headers: { Accept: "text/html", ...pageClient().headers }, signal });
    if (!response.ok) throw new Error(`${url} was answered with ${response.status}`);
    const name = this.getAttribute("name");
    /** @type {string | null} */
    let position = null;
    const content = parse(await response.text(), (found) => {
      // A whole page has this element in it, with the position of its content.
      const same = [...found.querySelectorAll("realtime-channel")].find((one) => one.getAttribute("name") === name);
      if (!same && response.redirected) throw new Error(`${url} was redirected to a page without this channel`);
      position = same?.getAttribute("since") ?? null;
      return same ?? found;
    });
    return { position, content };
  }

  /** @param {ParentNode & Node} content */
  #loaded(content) {
    morphChildren(this, content);
    process(this.children);
    this._tell("loaded", null);
  }
}
