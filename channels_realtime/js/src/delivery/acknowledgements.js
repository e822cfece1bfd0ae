import { covers } from "../values.js";

/** @import {RealtimeClient} from "../client.js" */
/** @import {Subscription} from "../subscription.js" */

/** Acknowledgements within this time are sent as one. */
const ACK_DELAY_SECONDS = 0.1;

/** Tells the server how far all subscriptions of a channel have handled it: as far as the slowest. */
export class Acknowledgements {
  #client;
  /** @type {Set<string>} Channels with an acknowledgement to send. */
  #due = new Set();
  /** @type {any} */
  #timer = null;

  /** @param {RealtimeClient} client */
  constructor(client) {
    this.#client = client;
  }

  /** @param {string} channel */
  soon(channel) {
    this.#due.add(channel);
    if (this.#client._ready) this.#timer ??= this.#client._later(ACK_DELAY_SECONDS, () => this.send());
  }

  send() {
    this.#client._cancel(this.#timer);
    this.#timer = null;
    if (!this.#client._ready) return; // After the next connection.
    for (const channel of this.#due) {
      const payload = this.#slowest(channel);
      if (payload) this.#client._requests._send({ type: "ack", channel, payload });
    }
    this.#due.clear();
  }

  /** @param {string} channel */
  #slowest(channel) {
    const selections = [...(this.#client._channels._feeds.get(channel)?._selections.values() ?? [])];
    let lowest = null;
    for (const { _acknowledged: position } of selections.flatMap((selection) => [...selection._subscriptions])) {
      if (position && (!lowest || covers(lowest, position))) lowest = position;
    }
    return lowest;
  }
}
