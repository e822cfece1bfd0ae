import { covers, positionIn } from "./values.js";

/** @import {Subscription} from "./subscription.js" */
/** @import {Member, Message, Position, SubscribedPayload} from "./typedefs.js" */

/** How many offsets of a channel with several selections are remembered, whose replays overlap. */
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
  /** Whether it was ever accepted. */
  _established = false;
  /** One of the three constants above. @type {number} */
  _inSession = NOT_IN_SESSION;
  /** Whether it was subscribed with presence. */
  _watches = false;
  /** @type {Position | null} From where a subscribe begins that has not been answered yet. */
  _since = null;
  _failures = 0;
  /** @type {any} */
  _retryTimer = null;

  /** @param {Feed} feed @param {string} key  The text of the parameters. @param {any} parameters */
  constructor(feed, key, parameters) {
    this._feed = feed;
    this._key = key;
    this._parameters = parameters;
  }

  /** Whether the server subscribed this connection to it by itself. */
  get _automatic() {
    return this._feed._automatic && !this._key;
  }

  /** Those who want to hear of the members. */
  get _watchers() {
    return [...this._subscriptions].filter((subscription) => subscription._presence);
  }
}

/** The client's state of one channel. */
export class Feed {
  /** By the text of their parameters. @type {Map<string, Selection>} */
  _selections = new Map();
  /** @type {Position | null} The last position received, or where the subscription began. */
  _position = null;
  /** @type {Set<number>} Offsets received, in the epoch of the position, where there are several selections. */
  #seen = new Set();
  /** Whether the server subscribed this connection by itself. */
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
  /** Whether the state may be on its way, so that the position does not stand for what was received. */
  _stateArriving = false;
  /** How often the server was asked for the end of the state: once more, if more of it came meanwhile. */
  _fences = 0;
  #lastValue = false;
  /** Whether nothing shows yet that what the reply promised has arrived: the state, if the channel has one. */
  _unproven = false;
  /** Whether what an inbox still has may follow `welcome`, from a position that the server alone knows. */
  _fresh = false;

  /** @param {string} name */
  constructor(name) {
    this._name = name;
  }

  /** Advances the position. @param {Message} message @returns {boolean} Whether it is new. */
  _admits(message) {
    const position = positionIn(message);
    if (!position || message.state) return true;
    const { offset } = position;
    if (this._fresh && message.recovered) this._position = null;
    this._fresh = this._unproven = false;
    const known = this._position?.epoch === position.epoch ? this._position.offset : -1;
    if (this._selections.size > 1) {
      // A selection's replay may come while another one's live messages are ahead of it.
      if (known < 0) this.#seen.clear();
      if (this.#seen.has(offset) || (offset <= known && !message.recovered)) return false;
      limit(this.#seen.add(offset), MAX_SEEN_OFFSETS);
    } else {
      if (offset <= known) return false;
      this._stateArriving = false; // What is live follows the state.
    }
    if (offset > known) this._position = position;
    return true;
  }

  /** Keeps what belongs to the channel's state. @param {Message} message */
  _keep(message) {
    if (message.state && message.state_key === undefined) this.#lastValue = true;
    const key = message.state_key ?? (this.#lastValue && (message.state || positionIn(message)) ? "" : undefined);
    if (key === undefined) return;
    this._values.delete(key); // So that the newest is the last.
    if (!message.removed) limit(this._values.set(key, message), MAX_STATE_KEYS);
  }

  /** Those that are subscribed on the current connection. @returns {Selection[]} */
  get _standing() {
    return [...this._selections.values()].filter((selection) => selection._reply);
  }

  /** @returns {Set<Subscription>} Those that are subscribed on the current connection. */
  _live() {
    return subscriptionsOf(this._standing);
  }

  /** @returns {Position | null} Where a resume begins: nothing before it is missing in any selection. Null: the server knows. */
  _resumesFrom() {
    if (this._stateArriving || this._unproven) return null;
    let from = this._position;
    for (const { _since: since } of this._selections.values()) if (since && (!from || covers(from, since))) from = since;
    return from;
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
