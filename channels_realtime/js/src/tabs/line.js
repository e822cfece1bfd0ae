import { covers, positionIn } from "../values.js";

/** @import {Message, Position} from "../typedefs.js" */
/** @import {Switchboard} from "./switchboard.js" */
/** @import {Tab} from "./tab.js" */

/** Messages that wait for one subscription's catch-up. With more, it has not recovered. */
const MAX_HELD_MESSAGES = 1000;
/** Messages that a catch-up reads from the history. With more, the tab loads the state instead. */
const MAX_MISSED_MESSAGES = 1000;

/** One tab's subscription to a channel, with one set of parameters. */
export class Line {
  /** @type {Tab | null} Null once the tab is not told any more. */
  #tab;
  #board;
  #client;
  #request;
  #subscription;
  /** Whether the tab has had the reply. */
  #open = false;
  /** Increased when a catch-up has been overtaken. */
  #attempt = 0;
  /** @type {Message[] | null} What follows a reply that the tab has not had. */
  #held = [];
  /** @type {Position | null} Where what is held begins. */
  #at = null;
  /** @type {Position | null} Up to where a catch-up has come. */
  #caughtUp = null;
  /** @type {boolean | undefined} */
  #recovered;
  /** @type {any} */
  #error = null;
  #moved = false;

  /**
   * @param {Tab} tab @param {Switchboard} board
   * @param {{channel: string, id?: any, payload?: any, since?: Position, presence?: boolean, require_recovery?: boolean}} request
   * @param {"asked" | "told" | "automatic"} origin  "told": the tab's `welcome` says it; "automatic": the server has subscribed it.
   */
  constructor(tab, board, request, origin) {
    this.#tab = tab;
    this.#board = board;
    this.#request = request;
    this.#client = board.client;
    this.channel = request.channel;
    this.origin = origin;
    const recent = board.recent(this.channel);
    recent.lines += 1;
    if (request.payload !== undefined) recent.partial = true;
    const subscription = this.#client.subscribe(this.channel, {
      parameters: request.payload,
      since: request.since,
      presence: request.presence === true,
      onMessage: (/** @type {Message} */ message) => this.#message(message),
      onSubscribed: () => this.#subscribed(),
      onRecovered: (/** @type {{recovered: boolean}} */ recovery) => this.#recovery(recovery.recovered),
      onMembers: () => this.#members(),
      onUnsubscribed: (/** @type {{code: string, reason: string}} */ ending) => this.#ended(ending),
      onError: (/** @type {any} */ error) => (this.#error = error),
    });
    subscription.on("join", (/** @type {any} */ member) => this.#member("join", member));
    subscription.on("leave", (/** @type {any} */ member) => this.#member("leave", member));
    this.#subscription = subscription;
    this.position = board.position(this.channel);
    if (origin !== "told") return;
    this.#open = true;
    this.#held = null;
    recent.begin(this.position, false);
  }

  /** The tab is not told any more; the subscription stays. */
  detach() {
    this.#tab = null;
    this.#held = null;
  }

  /** @returns {Promise<void>} */
  end() {
    this.detach();
    this.#board.released(this.channel);
    return this.#subscription.unsubscribe();
  }

  /** @param {Message} message */
  #message(message) {
    if (!this.#tab) return;
    if (!this.#held) this.#tab.deliver(message);
    else if (this.#held.length < MAX_HELD_MESSAGES || this.#open) this.#held.push(message);
    else {
      this.#attempt += 1;
      this.#at = positionIn(message);
      this.#held = [];
      this.#reply(false);
    }
  }

  #subscribed() {
    const position = this.#board.position(this.channel);
    this.#board.recent(this.channel).begin(position, false);
    this.#recovered = undefined;
    if (!this.#tab) return;
    this.#held ??= [];
    if (!this.#at || this.#open) this.#at = position;
    queueMicrotask(() => this.#settle()); // Whether it has recovered is told next.
  }

  /** @param {boolean} recovered */
  #recovery(recovered) {
    this.#recovered = recovered;
    if (recovered) return;
    const position = this.#board.position(this.channel);
    if (this.#open) {
      this.#board.recent(this.channel).begin(position, true);
    } else {
      this.#at = position;
      this.#held = [];
    }
  }

  /** What follows the reply to a subscribe of the client's own. */
  #settle() {
    if (!this.#tab) return;
    const { since } = this.#request;
    if (this.#open) {
      // The subscription was made anew.
      const members = this.#whoIsThere();
      if (this.#recovered === false) this.#push({ ...this.#at, ...members, recovered: false });
      else if (members) this.#push(members);
      this.#release();
    } else if (this.origin === "automatic") {
      this.#open = true;
      this.#push({ ...this.#at, recovered: this.#recovered }, { automatic: true });
      this.#release();
    } else if (!since) {
      this.#reply(this.#recovered);
    } else if (this.#recovered) {
      // What the tab knows already does not come again as the channel's state.
      this.#held = this.#held?.filter((message) => !message.state) ?? null;
      this.#reply(true);
    } else {
      this.#catchUp(since);
    }
  }

  /** The connection is ahead of this tab. @param {Position} since */
  async #catchUp(since) {
    const attempt = ++this.#attempt;
    const target = this.#at;
    const missed = this.#board.recent(this.channel).after(since) ?? (await this.#history(since, target));
    if (attempt !== this.#attempt || !this.#tab) return;
    if (!missed) {
      this.#reply(false);
      return;
    }
    this.#held = this.#held?.filter((message) => !message.state) ?? null;
    this.#reply(true, missed);
  }

  /** @param {Position} since @param {Position | null} target @returns {Promise<Message[] | null>} */
  async #history(since, target) {
    const selects = this.#request.payload !== undefined; // The history is of all messages.
    if (selects || !target || since.epoch !== target.epoch) return null;
    /** @type {Message[]} */
    const missed = [];
    try {
      for (let at = since; !covers(at, target); ) {
        const { messages, epoch, offset } = await this.#client.history(this.channel, { since: at });
        missed.push(...messages);
        if (epoch !== at.epoch || offset <= at.offset || missed.length > MAX_MISSED_MESSAGES) return null;
        at = { epoch, offset };
      }
    } catch {
      return null;
    }
    return missed;
  }

  /** Answers the tab's subscribe. @param {boolean | undefined} recovered @param {Message[]} [missed] */
  #reply(recovered, missed = []) {
    const { id, require_recovery: required } = this.#request;
    const { channel } = this;
    this.#open = true;
    if (recovered === false && required) {
      this.#tab?.refuse("subscribe", { id, channel }, { code: "not_recoverable", reason: "messages may be missing" });
      this.#tab?.forget(this);
      return;
    }
    const payload = { ...this.#at, ...this.#whoIsThere(), recovered };
    this.#tab?.send({ type: "subscribed", id, channel, payload });
    for (const message of missed) this.#tab?.deliver({ ...message, recovered: true });
    this.#caughtUp = positionIn(missed.at(-1));
    this.#release();
  }

  #release() {
    const held = this.#held ?? [];
    this.#held = null;
    for (const message of held) if (!covers(this.#caughtUp, positionIn(message))) this.#tab?.deliver(message);
  }

  /** @param {any} payload @param {any} [fields] */
  #push(payload, fields) {
    this.#tab?.send({ type: "subscribed", channel: this.channel, payload, ...fields });
  }

  #whoIsThere() {
    const { members, count } = this.#subscription;
    return this.#request.presence && count !== null ? { members: [...members.values()], count } : null;
  }

  /** @param {"join" | "leave"} type @param {any} member */
  #member(type, member) {
    if (!this.#open) return; // The reply has them all.
    this.#moved = true;
    this.#tab?.send({ type, channel: this.channel, payload: { member, count: this.#subscription.count } });
  }

  #members() {
    const news = this.#open && !this.#moved && !this.#held;
    this.#moved = false;
    if (news) this.#push(this.#whoIsThere());
  }

  /** @param {{code: string, reason: string}} ending */
  #ended(ending) {
    const tab = this.#tab;
    if (!tab) return;
    const { channel } = this;
    if (this.#open) tab.send({ type: "unsubscribed", channel, payload: ending });
    else tab.refuse("subscribe", { id: this.#request.id, channel }, this.#error ?? ending);
    tab.forget(this);
  }
}
