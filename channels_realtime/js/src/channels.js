import { Feed, Selection } from "./channel.js";
import { Subscription } from "./subscription.js";
import { canonical, earliest, positionIn, samePosition } from "./values.js";

/** @import {RealtimeError} from "./errors.js" */
/** @import {SubscriptionHost} from "./subscription.js" */
/** @import {Ending, Member, Message, Position, SubscribedPayload, SubscriptionOptions} from "./typedefs.js" */

/** How many live messages of an automatic channel are held while it recovers. With more, it has not recovered. */
const MAX_HELD_MESSAGES = 1000;
/** Acknowledgements of this time go out as one. */
const ACK_DELAY_SECONDS = 0.1;
/** Errors after which an established subscription is tried again on the same connection. */
const PASSING_ERRORS = new Set(["rate_limited", "timeout", "unavailable", "internal"]);

/** The channels of a client: what is subscribed, and what arrives. */
export class Channels {
  #client;
  /** @type {Map<string, Feed>} */
  _feeds = new Map();
  /** @type {Set<string>} Channels with an acknowledgement to send. */
  #acknowledging = new Set();
  /** @type {any} */
  #ackTimer = null;

  /** @param {import("./client.js").RealtimeClient} client */
  constructor(client) {
    this.#client = client;
  }

  /** @param {string} channel @param {SubscriptionOptions} options @returns {Subscription} */
  _add(channel, options) {
    const key = canonical(options.parameters);
    const feed = this._feeds.get(channel) ?? new Feed(channel);
    this._feeds.set(channel, feed);
    const subscription = new Subscription(channel, options, feed, this.#hostOf(key));
    const selection = feed.selections.get(key);
    if (selection) {
      selection.subscriptions.add(subscription);
      if (selection.presence && !selection.watches && selection.inSession !== "no") this.#watchMembers(feed, key, selection);
      // Not at once: the caller has not added its listeners yet.
      if (selection.reply) queueMicrotask(() => this.#join(subscription, feed, selection));
    } else {
      const added = new Selection(options.parameters);
      added.subscriptions.add(subscription);
      feed.selections.set(key, added);
      if (this.#client._ready) this._subscribe(feed, key, added);
    }
    return subscription;
  }

  /** Forgets all subscriptions. @returns {Subscription[]} Those that were there. */
  _clear() {
    const subscriptions = [...this._feeds.values()].flatMap((feed) => [...feed.subscriptions()]);
    this._feeds.clear();
    return subscriptions;
  }

  /** @param {Subscription[]} subscriptions @param {number} code @param {string} reason */
  _end(subscriptions, code, reason) {
    for (const subscription of subscriptions) subscription._end({ code: "closed", reason: `${code} ${reason}` }, false);
  }

  // The connection

  /** The connection has ended. */
  _lost() {
    this.#client._cancel(this.#ackTimer);
    this.#ackTimer = null;
    for (const feed of this._feeds.values()) {
      // The replay is requested again, from the same position.
      feed.held = null;
      feed.stateFence = "no";
      for (const selection of feed.selections.values()) {
        selection.reply = null;
        this.#client._cancel(selection.retryTimer);
      }
    }
  }

  /** @param {Record<string, SubscribedPayload>} automatic  What the server has subscribed by itself. */
  _welcomed(automatic) {
    // Until it is known what they missed, what is live already waits.
    for (const feed of this._feeds.values()) if (feed.automatic) feed.held = [];
    for (const name of Object.keys(automatic)) this._markAutomatic(name).held ??= [];
  }

  /** @returns {Record<string, Position>} Where a resume begins, for each channel. */
  _positions() {
    /** @type {Record<string, Position>} */
    const since = {};
    for (const feed of this._feeds.values()) {
      const position = feed.resumesFrom();
      if (position) since[feed.name] = position;
    }
    return since;
  }

  /** The server has subscribed this connection. @param {string} name @returns {Feed} */
  _markAutomatic(name) {
    const feed = this._feeds.get(name) ?? new Feed(name);
    this._feeds.set(name, feed);
    const key = canonical(undefined);
    if (!feed.selections.has(key)) feed.selections.set(key, new Selection(undefined));
    if (!feed.automatic) {
      feed.automatic = true;
      this.#client._emit("channel", name, true);
    }
    return feed;
  }

  /** The server does not subscribe this connection any more; the page's own subscriptions stay. @param {Feed} feed */
  _markOrdinary(feed) {
    const key = canonical(undefined);
    feed.automatic = false;
    feed.held = null;
    if (feed.selections.get(key)?.subscriptions.size === 0) this.#forget(feed, key);
    this.#client._emit("channel", feed.name, false);
  }

  // Subscriptions

  /** @param {string} key  Of the selection. @returns {SubscriptionHost} */
  #hostOf(key) {
    return {
      timing: {
        later: (seconds, callback) => this.#client._later(seconds, callback),
        cancel: (handle) => this.#client._cancel(handle),
        delay: (failures, wait) => this.#client._delay(failures, wait),
      },
      release: (subscription) => this.#release(subscription, key),
      acknowledge: (channel) => this.#acknowledgeSoon(channel),
      fail: (error) => this.#client._fail(error),
      client: this.#client,
    };
  }

  /** @param {Feed} feed @param {string} key @param {Selection} selection */
  _subscribe(feed, key, selection) {
    const automatic = feed.automatic && key === canonical(undefined);
    const { presence, requireRecovery, parameters } = selection;
    const had = feed.stateArriving ? null : feed.position;
    selection.since ??= selection.established ? had : earliest([...selection.subscriptions].map(({ _since }) => _since));
    const { since } = selection;
    const now = automatic ? this.#client._welcome.channels?.[feed.name] : null;
    const complete = (feed.held?.length ?? 0) < MAX_HELD_MESSAGES;
    if (now && complete && !presence && (!since || samePosition(since, positionIn(now)))) {
      this._subscribed(feed, selection, since, since ? { ...now, recovered: true } : now, { replayed: false });
      return;
    }
    if (automatic) feed.held ??= []; // It is live already, and its replay must be delivered before new messages.
    if (selection.inSession === "no") selection.inSession = "sent";
    selection.watches = presence;
    const message = {
      type: "subscribe",
      channel: feed.name,
      payload: parameters,
      since: since ?? undefined,
      presence: presence || undefined,
      require_recovery: (since && requireRecovery) || undefined,
    };
    const stands = () => feed.selections.get(key) === selection;
    this.#client._requests._ask(
      message,
      (payload) => stands() && this._subscribed(feed, selection, since, payload),
      (error) => stands() && this.#subscribeFailed(feed, key, selection, since, error),
    );
  }

  /**
   * @param {Feed} feed @param {Selection} selection @param {Position | null} since @param {SubscribedPayload} reply
   * @param {{replayed?: boolean}} [options]  Whether what was missed follows, if it is recovered.
   */
  _subscribed(feed, selection, since, reply, { replayed = true } = {}) {
    const position = positionIn(reply);
    const gap = (since !== null || selection.established) && reply.recovered !== true;
    const recovered = since || selection.established ? reply.recovered === true : null;
    const held = feed.held ?? [];
    if (!recovered || !replayed || held.length === 0) feed.held = null;
    if (!this.#isSubscribed(feed)) feed.stateArriving = false;
    if (feed.live().size === 0) {
      feed.unproven = recovered !== true;
      if (feed.unproven) feed.values.clear(); // The state comes anew.
    }
    selection.reply = reply;
    selection.established = true;
    selection.inSession = "yes";
    selection.since = null;
    selection.failures = 0;
    feed.fresh = !replayed && since === null;
    // With several selections, go back to the replay's start: the others' messages are told apart by their offsets.
    if (since && recovered) feed.position = since;
    else if (reply.recovered && position) {
      // The server knows where this client was: in an inbox, after what its user has acknowledged.
      if (feed.position?.epoch !== position.epoch) feed.position = null;
    } else if (gap) feed.position = position;
    // Not beyond what another selection of the channel has still to receive.
    else if (feed.position?.epoch !== position?.epoch) feed.position = position;
    const members = feed.takeMembers(reply);
    if (!members && selection.presence) this.#fetchMembers(feed, selection);
    for (const subscription of [...selection.subscriptions]) subscription._subscribed(reply, recovered, since);
    if (members) this.#tellMembers(feed);
    if (!recovered || !replayed) for (const message of held) this.#take(feed, message, gap);
    if (feed.held) this.#fence(feed, () => this.#releaseHeld(feed));
  }

  /** What was live before a replay follows it. @param {Feed} feed */
  #releaseHeld(feed) {
    const held = feed.held ?? [];
    feed.held = null;
    for (const message of held) this.#take(feed, message);
    if (held.length >= MAX_HELD_MESSAGES) this._told(feed.name, { ...feed.position, recovered: false }, false);
  }

  /**
   * Calls back once everything has arrived that the server has written by now: its answer comes after that.
   * @param {Feed} feed @param {() => void} then  Not called if the connection or the feed has ended.
   */
  #fence(feed, then) {
    const socket = this.#client._socket;
    const stands = () => socket === this.#client._socket && this._feeds.get(feed.name) === feed;
    this.#client._requests._ask({ type: "ping" }, () => stands() && then(), (error) => error.code === "timeout" && stands() && then());
  }

  /** What the server wrote before its ping has arrived. */
  _pinged() {
    for (const feed of this._feeds.values()) if (this.#isSubscribed(feed)) feed.unproven = false;
    this.#client._requests._send({ type: "pong" });
  }

  /** The position counts only once the whole state has arrived. @param {Feed} feed */
  #stateArrives(feed) {
    feed.stateArriving = true;
    if (feed.stateFence === "asked") feed.stateFence = "again";
    if (feed.stateFence !== "no") return;
    feed.stateFence = "asked";
    this.#fence(feed, () => {
      const again = feed.stateFence === "again"; // More of it came meanwhile.
      feed.stateFence = "no";
      if (again) this.#stateArrives(feed);
      else feed.stateArriving = feed.unproven = false;
    });
  }

  /** One more caller of what is subscribed already. @param {Subscription} subscription @param {Feed} feed @param {Selection} selection */
  #join(subscription, feed, selection) {
    if (!selection.reply || subscription.ended) return; // Subscribed again meanwhile, or about to be.
    subscription._subscribed(selection.reply, true, feed.position);
    if (subscription.presenceWanted && feed.count !== null) subscription._emit("members", feed.members, feed.count);
    for (const message of feed.values.values()) subscription._deliver({ ...message, state: true });
  }

  /**
   * @param {Feed} feed @param {string} key @param {Selection} selection
   * @param {Position | null} since @param {RealtimeError} error
   */
  #subscribeFailed(feed, key, selection, since, error) {
    if (error.code === "connection_lost" || error.code === "disconnected") return; // Subscribed again on reconnect.
    if (error.code === "already_subscribed") {
      const others = feed.selections.size > 1;
      if (others) feed.selective = false; // The first of them has recovered.
      const position = positionIn(error.payload);
      const recovered = since ? others || samePosition(since, position) : undefined;
      const standing = others ? feed.position : position;
      this._subscribed(feed, selection, since && others ? standing : since, { ...standing, recovered });
      return;
    }
    const automatic = feed.automatic && key === canonical(undefined);
    const passing = selection.established && PASSING_ERRORS.has(error.code);
    if (automatic || passing) {
      const heard = [...selection.subscriptions].map((subscription) => subscription._fail(error));
      if (!heard.includes(true)) this.#client._fail(error);
    }
    if (automatic) {
      this._subscribed(feed, selection, since, { recovered: false }); // The server has subscribed it anyway.
    } else if (passing) {
      const delay = this.#client._delay(selection.failures, error.retryAfter ?? 0);
      selection.failures += 1;
      if (error.code === "timeout") this.#unsubscribe(feed, selection); // A late success would not be recognised.
      selection.retryTimer = this.#client._later(delay, () => this._subscribe(feed, key, selection));
    } else {
      this.#forget(feed, key);
      // The server may still carry out the request after this timeout.
      if (error.code === "timeout") this.#unsubscribe(feed, selection);
      for (const subscription of selection.subscriptions) subscription._refuse(error);
    }
  }

  /** @param {Feed} feed @param {string} key */
  #forget(feed, key) {
    this.#client._cancel(feed.selections.get(key)?.retryTimer);
    feed.selections.delete(key);
    if (feed.selections.size === 0) this._feeds.delete(feed.name);
  }

  /** @param {Subscription} subscription @param {string} key @returns {Promise<void>} */
  async #release(subscription, key) {
    const feed = this._feeds.get(subscription.channel);
    const selection = feed?.selections.get(key);
    if (!feed || !selection?.subscriptions.delete(subscription) || selection.subscriptions.size > 0) return;
    if (feed.automatic && key === canonical(undefined)) return; // The server subscribed it for the whole connection.
    this.#forget(feed, key);
    if (this.#client._ready) await this.#unsubscribe(feed, selection);
    else if (selection.inSession !== "no") this.#client._session._giveUp(feed.name, selection.parameters);
  }

  /** @param {Feed} feed @param {Selection} selection @returns {Promise<void>} */
  #unsubscribe(feed, selection) {
    const last = ![...feed.selections.values()].some((other) => other !== selection);
    // Without parameters it would end the others too, so the subscription on the wire stays for them.
    if (!last && (!feed.selective || selection.parameters == null)) return Promise.resolve();
    const payload = last ? undefined : selection.parameters;
    return new Promise((resolve) => {
      /** @param {RealtimeError} [error] */
      const done = (error) => {
        resolve();
        if (error?.code === "connection_lost") this.#client._session._giveUp(feed.name, selection.parameters);
        if (!this.#client._ready || feed.selective || this._feeds.get(feed.name) !== feed) return;
        // Meanwhile `already_subscribed` showed that they shared one subscription, which has now ended.
        for (const [key, other] of feed.selections) this._subscribe(feed, key, other);
      };
      this.#client._requests._ask({ type: "unsubscribe", channel: feed.name, payload }, () => done(), done);
    });
  }

  /** The server ended a subscription. @param {string} channel @param {Ending} ending */
  _taken(channel, ending) {
    const feed = this._feeds.get(channel);
    if (!feed) return;
    const { automatic } = feed;
    if (automatic) feed.automatic = false;
    for (const [key, selection] of [...feed.selections]) {
      if (!selection.reply && !automatic) continue; // Requested after it was ended; the reply is still to come.
      this.#forget(feed, key);
      const detail = { code: ending?.code ?? "unsubscribed", reason: ending?.reason ?? "" };
      for (const subscription of selection.subscriptions) subscription._end(detail, true);
    }
    if (automatic) this.#client._emit("channel", channel, false);
  }

  /**
   * What the server says about a subscription without being asked.
   * @param {string} channel @param {SubscribedPayload} payload
   * @param {boolean} automatic  The server has subscribed this connection.
   */
  _told(channel, payload, automatic) {
    if (automatic) {
      if (!this.#client._ready) {
        // As if `welcome` had said it.
        const welcome = this.#client._welcome;
        if (welcome) welcome.channels = { ...welcome.channels, [channel]: payload };
        this._markAutomatic(channel).held ??= [];
        return;
      }
      const selection = this._markAutomatic(channel).selections.get(canonical(undefined));
      const feed = this._feeds.get(channel);
      if (feed && selection && !selection.reply) this._subscribed(feed, selection, selection.since, payload);
      return;
    }
    const feed = this._feeds.get(channel);
    if (!feed || !this.#isSubscribed(feed)) return;
    if (payload.recovered === false) {
      // The channel's numbers begin anew, or messages that it does not keep any more did not arrive.
      feed.position = positionIn(payload);
      feed.values.clear();
      for (const subscription of feed.live()) subscription._subscribed(payload, false, null);
    }
    if (feed.takeMembers(payload)) this.#tellMembers(feed);
  }

  // Presence

  /** @param {"join" | "leave"} type @param {string} channel @param {{member?: Member, count?: number}} payload */
  _memberMoved(type, channel, { member, count }) {
    const feed = this._feeds.get(channel);
    if (!feed || !member || typeof count !== "number") return;
    const news = type === "join" ? feed.joined(member, count) : feed.left(member, count);
    if (!news) return;
    for (const subscription of feed.live()) if (subscription.presenceWanted) subscription._emit(type, member);
    this.#tellMembers(feed);
  }

  /** @param {Feed} feed */
  #tellMembers(feed) {
    for (const subscription of feed.live()) {
      if (subscription.presenceWanted) subscription._emit("members", feed.members, feed.count ?? feed.members.size);
    }
  }

  /**
   * A caller wants presence of what was subscribed without. It cannot be added, so it is subscribed again, from the
   * last position.
   * @param {Feed} feed @param {string} key @param {Selection} selection
   */
  #watchMembers(feed, key, selection) {
    if (feed.automatic && key === canonical(undefined)) {
      if (selection.reply) this.#fetchMembers(feed, selection);
    } else if (this.#client._ready) {
      this.#unsubscribe(feed, selection);
      selection.reply = null;
      this._subscribe(feed, key, selection);
    } else {
      this.#client._session._giveUp(feed.name, selection.parameters);
      selection.inSession = "no";
    }
  }

  /** Asks for the members of a channel that is subscribed already. @param {Feed} feed @param {Selection} selection */
  #fetchMembers(feed, selection) {
    this.#client._requests._ask(
      { type: "presence", channel: feed.name },
      (payload) => feed.takeMembers(payload) && this.#tellMembers(feed),
      (error) => {
        if (error.code === "connection_lost" || !selection.reply) return; // Asked again after the reconnect.
        const asked = [...selection.subscriptions].filter((subscription) => subscription.presenceWanted);
        if (!asked.map((subscription) => subscription._fail(error)).includes(true)) this.#client._fail(error);
      },
    );
  }

  // Acknowledgements

  /** @param {string} channel */
  #acknowledgeSoon(channel) {
    this.#acknowledging.add(channel);
    if (this.#client._ready) this.#ackTimer ??= this.#client._later(ACK_DELAY_SECONDS, () => this._acknowledge());
  }

  _acknowledge() {
    this.#client._cancel(this.#ackTimer);
    this.#ackTimer = null;
    for (const channel of this.#acknowledging) {
      const position = this._feeds.get(channel)?.acknowledged();
      if (position) this.#client._requests._send({ type: "ack", channel, payload: position });
    }
    this.#acknowledging.clear();
  }

  // Delivery

  /** @param {Message} message */
  _message(message) {
    if (typeof message.channel !== "string") {
      if (message.event === "notice") this.#client._emit("notice", message);
      return;
    }
    const feed = this._feeds.get(message.channel);
    if (!feed) {
      this.#client._emit("message", message);
    } else if (feed.held && (!this.#client._ready || !(message.recovered || message.state))) {
      if (feed.held.length < MAX_HELD_MESSAGES) feed.held.push(message);
    } else if (this.#isSubscribed(feed)) {
      this.#take(feed, message);
    }
  }

  /** @param {Feed} feed @param {Message} message @param {boolean} [anyway]  Though the position says that it is known. */
  #take(feed, message, anyway = false) {
    if (!feed.admits(message) && !anyway) return;
    if (message.state) this.#stateArrives(feed);
    this.#deliver(feed, message);
  }

  /** Whether messages are for this subscription, rather than what is left of an earlier one. @param {Feed} feed */
  #isSubscribed(feed) {
    for (const selection of feed.selections.values()) if (selection.reply) return true;
    return false;
  }

  /** @param {Feed} feed @param {Message} message */
  #deliver(feed, message) {
    feed.keep(message);
    this.#client._emit("message", message);
    for (const subscription of feed.live()) subscription._deliver(message);
  }
}
