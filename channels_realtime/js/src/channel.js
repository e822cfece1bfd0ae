import { covers, earliest, positionIn } from "./values.js";

/** @import {RealtimeClient} from "./client.js" */
/** @import {Subscription} from "./subscription.js" */
/** @import {Member, Message, Position, SubscribedPayload} from "./typedefs.js" */

/** How many live messages of an automatic channel are held while it recovers. With more, it has not recovered. */
export const MAX_HELD_MESSAGES = 1000;
/** How many offsets of a channel with several selections are remembered. Their replays overlap. */
const MAX_SEEN_OFFSETS = 1000;
/** How many keys of a channel's state are kept for callers that subscribe later. The oldest is forgotten. */
const MAX_STATE_KEYS = 10000;

/** Whether the session that a reconnect resumes has a selection; `SENT` if the subscribe was not answered. */
export const NOT_IN_SESSION = 0;
export const SENT = 1;
export const IN_SESSION = 2;

/** One subscription on the wire: a channel with one set of parameters. */
export class Selection {
  /** @type {Set<Subscription>} Empty only if the channel is automatic. */
  _subscriptions = new Set();
  /** @type {SubscribedPayload | null} The reply on the current connection. */
  _reply = null;
  /** Whether the server has ever accepted it. */
  _established = false;
  /** One of the three constants above. @type {number} */
  _inSession = NOT_IN_SESSION;
  /** Whether it was subscribed with presence. */
  _watches = false;
  /** @type {Position | null} The `since` of a subscribe without an answer yet. */
  _since = null;
  _failures = 0;
  /** @type {any} */
  _retryTimer;

  /** @param {Feed} feed @param {string} key  The text of the parameters. @param {any} parameters */
  constructor(feed, key, parameters) {
    this._feed = feed;
    this._key = key;
    this._parameters = parameters;
    feed._selections.set(key, this);
  }

  /** Whether it is still wanted. */
  get _stands() {
    return this._feed._selections.get(this._key) === this;
  }

  /** Whether the server subscribed this connection to it without a request. */
  get _automatic() {
    return this._feed._automatic && !this._key;
  }

  /** The subscriptions that want to hear of the members. */
  get _watchers() {
    return [...this._subscriptions].filter((subscription) => subscription._options.presence);
  }
}

/** The client's state of one channel: what has arrived, and to which subscriptions it goes. */
export class Feed {
  #client;
  /** By the text of their parameters. @type {Map<string, Selection>} */
  _selections = new Map();
  /** @type {Position | null} The last position received, or where the subscription began. */
  _position = null;
  /** @type {Set<number>} Offsets received, in the epoch of the position, where there are several selections. */
  #seen = new Set();
  /** Whether the server subscribed this connection without a request. */
  _automatic = false;
  /** False after other parameters were `already_subscribed`: all share one subscription. */
  _selective = true;
  /** @type {Message[] | null} Live messages of an automatic channel that wait for its replay. */
  _held = null;
  /** @type {Map<string, Member>} */
  _members = new Map();
  /** @type {number | null} */
  _count = null;
  /** @type {Map<string, Message>} The newest message of each state key. */
  _values = new Map();
  /** Whether part of the state may still be on its way. Then the position does not tell what was received. */
  _stateArriving = false;
  /** Whether the server is being asked for the end of the state. */
  _fenced = false;
  /** Whether state has arrived since the server was asked for its end. */
  #moreState = false;
  #lastValue = false;
  /** Whether the state that the reply promised may be missing: nothing that comes after it has arrived. */
  _unproven = false;
  /** Whether what an inbox still has may follow `welcome`, from a position that only the server knows. */
  _fresh = false;

  /** @param {RealtimeClient} client @param {string} name */
  constructor(client, name) {
    this.#client = client;
    this._name = name;
  }

  /** The selections that are subscribed on the current connection. @returns {Selection[]} */
  get _standing() {
    return [...this._selections.values()].filter((selection) => selection._reply);
  }

  /** The subscriptions that get messages on the current connection. @returns {Set<Subscription>} */
  get _live() {
    return subscriptionsOf(this._standing);
  }

  /** @returns {Position | null} Where a resume begins: nothing before it is missing in any selection. Null: the server knows. */
  get _resumesFrom() {
    const received = this._stateArriving || this._unproven ? null : this._position;
    return earliest([received, ...[...this._selections.values()].map((selection) => selection._since)]);
  }

  /** The connection has ended. */
  _lost() {
    this._held = null; // The replay is requested again, from the same position.
    this._fenced = false;
  }

  /** @param {Message} message */
  _receive(message) {
    const held = this._held;
    if (held && (!this.#client._ready || !(message.recovered || message.state))) {
      if (held.length < MAX_HELD_MESSAGES) held.push(message);
    } else if (this._standing.length > 0) {
      this._take(message); // Otherwise it belongs to a subscription that has ended.
    }
  }

  /** @param {Message} message @param {boolean} [anyway]  Even if the position says that it is known. */
  _take(message, anyway) {
    if (!this.#advance(message) && !anyway) return;
    if (message.state) this.#stateArrives();
    this.#keep(message);
    this.#client._emit("message", message);
    for (const subscription of this._live) subscription._deliver(message);
  }

  /** Hands on the messages that were held, once the replay before them has arrived. */
  _releaseAfterReplay() {
    this.#fence(() => {
      const held = this._held ?? [];
      this._held = null;
      for (const message of held) this._take(message);
      if (held.length >= MAX_HELD_MESSAGES) this._missed({ ...this._position, recovered: false });
    });
  }

  /** Messages did not arrive and are not kept any more, or the channel's numbers begin again. @param {SubscribedPayload} payload */
  _missed(payload) {
    this._position = positionIn(payload);
    this._values.clear();
    for (const subscription of this._live) subscription._subscribed(payload, false, null);
  }

  /** Advances the position. @param {Message} message @returns {boolean} Whether the message is new. */
  #advance(message) {
    const position = positionIn(message);
    if (!position || message.state) return true;
    const { offset } = position;
    if (this._fresh && message.recovered) this._position = null;
    this._fresh = this._unproven = false;
    const known = this._position?.epoch === position.epoch ? this._position.offset : -1;
    if (this._selections.size > 1) {
      // One selection's replay may arrive when another selection's live messages are already ahead of it.
      if (known < 0) this.#seen.clear();
      if (this.#seen.has(offset) || (offset <= known && !message.recovered)) return false;
      limit(this.#seen.add(offset), MAX_SEEN_OFFSETS);
    } else {
      if (offset <= known) return false;
      this._stateArriving = false; // Live messages follow the state.
    }
    if (offset > known) this._position = position;
    return true;
  }

  /** Keeps a message that belongs to the channel's state. @param {Message} message */
  #keep(message) {
    if (message.state && message.state_key === undefined) this.#lastValue = true;
    const key = message.state_key ?? (this.#lastValue && (message.state || positionIn(message)) ? "" : undefined);
    if (key === undefined) return;
    this._values.delete(key); // So that the newest is the last.
    if (!message.removed) limit(this._values.set(key, message), MAX_STATE_KEYS);
  }

  /** The position counts only once the whole state has arrived. */
  #stateArrives() {
    this._stateArriving = this.#moreState = true;
    if (this._fenced) return;
    this._fenced = true;
    this.#moreState = false;
    this.#fence(() => {
      this._fenced = false;
      if (this.#moreState) this.#stateArrives();
      else this._stateArriving = this._unproven = false;
    });
  }

  /**
   * Calls back once everything that the server has sent so far has arrived: its answer to a ping comes after that.
   * @param {() => void} then  Not called if the connection or the feed has ended.
   */
  #fence(then) {
    const same = this.#client._sameConnection();
    const done = () => same() && this._selections.size > 0 && then();
    this.#client._requests._ask({ type: "ping" }, done, ({ code }) => code === "timeout" && done());
  }
}

/** @param {Iterable<Selection>} selections @returns {Set<Subscription>} */
export function subscriptionsOf(selections) {
  return new Set([...selections].flatMap((selection) => [...selection._subscriptions]));
}

/** Drops the oldest beyond a size. @param {Set<any> | Map<any, any>} collection @param {number} size */
function limit(collection, size) {
  if (collection.size > size) collection.delete(collection.keys().next().value);
}
