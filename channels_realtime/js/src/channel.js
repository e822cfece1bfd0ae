import { covers, positionIn } from "./values.js";

/** @import {Subscription} from "./subscription.js" */
/** @import {Member, Members, Message, Position, SubscribedPayload} from "./typedefs.js" */

/** How many offsets of a channel with several selections are remembered, whose replays overlap. */
const MAX_SEEN_OFFSETS = 1000;
/** How many keys of a channel's state are kept for callers that subscribe later. The oldest is forgotten. */
const MAX_STATE_KEYS = 10000;

/** One subscription on the wire: a channel with one set of parameters. */
export class Selection {
  /** @type {Set<Subscription>} Empty only if the channel is automatic. */
  subscriptions = new Set();
  /** @type {SubscribedPayload | null} The reply on the current connection. */
  reply = null;
  /** Whether it was ever accepted. */
  established = false;
  /**
   * Whether the session that a reconnect resumes has it; "sent" if that was not answered.
   * @type {"no" | "sent" | "yes"}
   */
  inSession = "no";
  /** Whether it was subscribed with presence. */
  watches = false;
  /** @type {Position | null} From where a subscribe begins that has not been answered yet. */
  since = null;
  failures = 0;
  /** @type {any} */
  retryTimer = null;

  /** @param {any} parameters */
  constructor(parameters) {
    this.parameters = parameters;
  }

  get presence() {
    return [...this.subscriptions].some((subscription) => subscription.presenceWanted);
  }

  get requireRecovery() {
    return this.subscriptions.size > 0 && [...this.subscriptions].every((subscription) => subscription.requireRecovery);
  }
}

/** The client's state of one channel. */
export class Feed {
  /** @type {Map<string, Selection>} */
  selections = new Map();
  /** @type {Position | null} The last position received, or where the subscription began. */
  position = null;
  /** @type {Set<number>} Offsets received, in the epoch of the position, where there are several selections. */
  #seen = new Set();
  /** Whether the server subscribed this connection by itself. */
  automatic = false;
  /** False after other parameters were `already_subscribed`: all share one subscription. */
  selective = true;
  /** @type {Message[] | null} Live messages of an automatic channel that wait for its replay. */
  held = null;
  /** @type {Map<string, Member>} */
  members = new Map();
  /** @type {number | null} */
  count = null;
  /** @type {Map<string, Message>} The newest message of each state key. */
  values = new Map();
  /** Whether the state may be on its way, so that the position does not stand for what was received. */
  stateArriving = false;
  /** @type {"no" | "asked" | "again"} Whether the server was asked for the end of the state. */
  stateFence = "no";
  #lastValue = false;
  /** Whether nothing shows yet that what the reply promised has arrived: the state, if the channel has one. */
  unproven = false;
  /** Whether what an inbox still has may follow `welcome`, from a position that the server alone knows. */
  fresh = false;

  /** @param {string} name */
  constructor(name) {
    this.name = name;
  }

  /** Advances the position. @param {Message} message @returns {boolean} Whether it is new. */
  admits(message) {
    const position = positionIn(message);
    if (!position || message.state) return true;
    const { offset } = position;
    if (this.fresh && message.recovered) this.position = null;
    this.fresh = false;
    this.unproven = false;
    const known = this.position?.epoch === position.epoch ? this.position.offset : -1;
    if (this.selections.size > 1) {
      // A selection's replay may come while another one's live messages are ahead of it.
      if (known < 0) this.#seen.clear();
      if (this.#seen.has(offset) || (offset <= known && !message.recovered)) return false;
      this.#seen.add(offset);
      if (this.#seen.size > MAX_SEEN_OFFSETS) this.#seen.delete(/** @type {number} */ (this.#seen.values().next().value));
    } else if (offset <= known) {
      return false;
    }
    if (offset > known) this.position = position;
    if (this.selections.size === 1) this.stateArriving = false; // What is live follows the state.
    return true;
  }

  /** Keeps what belongs to the channel's state. @param {Message} message */
  keep(message) {
    if (message.state && message.state_key === undefined) this.#lastValue = true;
    const positioned = message.state || positionIn(message) !== null;
    const key = message.state_key ?? (this.#lastValue && positioned ? "" : undefined);
    if (key === undefined) return;
    this.values.delete(key); // So that the newest is the last.
    if (!message.removed) this.values.set(key, message);
    if (this.values.size > MAX_STATE_KEYS) this.values.delete(/** @type {string} */ (this.values.keys().next().value));
  }

  /** @param {Partial<Members>} payload @returns {boolean} Whether it says who is there. */
  takeMembers({ members, count }) {
    if (typeof count !== "number") return false;
    this.count = count;
    this.members = new Map((members ?? []).map((member) => [member.id, member]));
    return true;
  }

  /** @param {Member} member @param {number} count @returns {boolean} Whether that is news. */
  joined(member, count) {
    const known = this.members.has(member.id);
    this.members.set(member.id, member);
    return this.#counted(count) || !known;
  }

  /** @param {Member} member @param {number} count @returns {boolean} Whether that is news. */
  left(member, count) {
    const known = this.members.delete(member.id);
    return this.#counted(count) || known; // Unknown: one of those that were too many to be sent.
  }

  /** @param {number} count  Of all members, those that were not sent included. @returns {boolean} Whether it is another. */
  #counted(count) {
    const before = this.count;
    this.count = count;
    return before !== count;
  }

  /** @returns {Set<Subscription>} */
  subscriptions() {
    return new Set([...this.selections.values()].flatMap((selection) => [...selection.subscriptions]));
  }

  /** @returns {Set<Subscription>} Those that are subscribed on the current connection. */
  live() {
    const selections = [...this.selections.values()].filter((selection) => selection.reply);
    return new Set(selections.flatMap((selection) => [...selection.subscriptions]));
  }

  /** @returns {Position | null} Where a resume begins: nothing before it is missing in any selection. Null: the server knows. */
  resumesFrom() {
    if (this.stateArriving || this.unproven) return null;
    let from = this.position;
    for (const { since } of this.selections.values()) {
      if (since && (!from || (since.epoch === from.epoch && since.offset < from.offset))) from = since;
    }
    return from;
  }

  /** @returns {Position | null} What all its subscriptions have handled. */
  acknowledged() {
    let lowest = null;
    for (const { _acknowledged: position } of this.subscriptions()) {
      if (position && (!lowest || covers(lowest, position))) lowest = position;
    }
    return lowest;
  }
}
