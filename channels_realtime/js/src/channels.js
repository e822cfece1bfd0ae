import { Feed, IN_SESSION, MAX_HELD_MESSAGES, NOT_IN_SESSION, SENT, Selection, subscriptionsOf } from "./channel.js";
import { presence, withPart } from "./parts.js";
import { Subscription } from "./subscription.js";
import { canonical, earliest, positionIn, samePosition } from "./values.js";

/** @import {RealtimeError} from "./errors.js" */
/** @import * as Presence from "./presence.js" */
/** @import {Ending, Member, Message, Position, SubscribedPayload, SubscriptionOptions} from "./typedefs.js" */

/** Errors after which an established subscription is tried again on the same connection. */
const PASSING_ERRORS = ["rate_limited", "timeout", "unavailable", "internal"];

/**
 * The channels of a client: subscribes, unsubscribes, and hands each channel what the server says about it.
 *
 * @param {import("./client.js").RealtimeClient} client
 */
export function createChannels(client) {
  /** @type {Map<string, Feed>} */
  const feeds = new Map();

  /** @param {string} name @returns {Feed} */
  function feedOf(name) {
    const feed = feeds.get(name) ?? new Feed(client, name);
    feeds.set(name, feed);
    return feed;
  }

  /** @param {Feed} feed @param {any} [parameters] @returns {Selection} */
  function selectionOf(feed, parameters) {
    const key = canonical(parameters);
    return feed._selections.get(key) ?? new Selection(feed, key, parameters);
  }

  /** @param {string} channel @param {SubscriptionOptions} options @returns {Subscription} */
  function add(channel, options) {
    const selection = selectionOf(feedOf(channel), options.parameters);
    const first = selection._subscriptions.size === 0 && !selection._automatic;
    const subscription = new Subscription(channel, options, selection, client);
    selection._subscriptions.add(subscription);
    if (first) {
      if (client._ready) subscribe(selection);
      return subscription;
    }
    if (subscription._options.presence && selection._inSession !== NOT_IN_SESSION) withPresence((part) => part.watch(client, selection));
    // Not at once: the caller has not added its listeners yet.
    if (selection._reply) queueMicrotask(() => join(subscription, selection));
    return subscription;
  }

  /** Forgets all subscriptions. @returns {Iterable<Subscription>} The subscriptions that there were. */
  function clear() {
    const selections = [...feeds.values()].flatMap((feed) => [...feed._selections.values()]);
    for (const selection of selections) forget(selection);
    return subscriptionsOf(selections);
  }

  /** @param {Iterable<Subscription>} subscriptions @param {number} code @param {string} reason */
  function endAll(subscriptions, code, reason) {
    for (const subscription of subscriptions) subscription._end({ code: "closed", reason: `${code} ${reason}` }, false);
  }

  // The connection

  /** The connection has ended. */
  function lost() {
    for (const feed of feeds.values()) {
      feed._lost();
      for (const selection of feed._selections.values()) {
        selection._reply = null;
        client._cancel(selection._retryTimer);
      }
    }
  }

  /** @param {Record<string, SubscribedPayload>} automatic  What the server has subscribed without a request. */
  function welcomed(automatic) {
    // Live messages wait until it is known what was missed before them.
    for (const feed of feeds.values()) if (feed._automatic) feed._held = [];
    for (const name of Object.keys(automatic)) markAutomatic(name)._held ??= [];
  }

  /** @returns {Record<string, Position | undefined>} Where a resume begins, for each channel. */
  function positions() {
    return Object.fromEntries([...feeds].map(([name, feed]) => [name, feed._resumesFrom ?? undefined]));
  }

  /** The server has subscribed this connection. @param {string} name @returns {Feed} */
  function markAutomatic(name) {
    const feed = feedOf(name);
    selectionOf(feed);
    if (!feed._automatic) {
      feed._automatic = true;
      client._emit("channel", name, true);
    }
    return feed;
  }

  /** The server does not subscribe this connection any more; the page's own subscriptions stay. @param {Feed} feed */
  function markOrdinary(feed) {
    feed._automatic = false;
    feed._held = null;
    const selection = selectionOf(feed);
    if (selection._subscriptions.size === 0) forget(selection);
    client._emit("channel", feed._name, false);
  }

  // Subscriptions

  /** @param {Selection} selection */
  function subscribe(selection) {
    const { _feed: feed, _automatic: automatic, _established: established } = selection;
    const subscriptions = [...selection._subscriptions];
    const watches = selection._watchers.length > 0;
    const had = feed._stateArriving ? null : feed._position;
    const since = (selection._since ??= established ? had : earliest(subscriptions.map(({ _since }) => _since)));
    const now = automatic && client._welcome.channels?.[feed._name];
    const complete = (feed._held?.length ?? 0) < MAX_HELD_MESSAGES;
    if (now && complete && !watches && (!since || samePosition(since, positionIn(now)))) {
      subscribed(selection, since, since ? { ...now, recovered: true } : now, false);
      return;
    }
    if (automatic) feed._held ??= []; // Live messages arrive already, and the replay must be delivered before them.
    selection._inSession ||= SENT;
    selection._watches = watches;
    const requireRecovery = since && subscriptions.length > 0 && subscriptions.every(({ _options }) => _options.requireRecovery);
    ask(
      selection,
      {
        type: "subscribe",
        payload: selection._parameters,
        since: since ?? undefined,
        presence: watches || undefined,
        require_recovery: requireRecovery || undefined,
      },
      (payload) => subscribed(selection, since, payload),
      (error) => subscribeFailed(selection, since, error),
    );
  }

  /**
   * Sends a request about a selection. If the selection is gone by the time of the answer, the answer is ignored.
   * @param {Selection} selection @param {{type: string, [field: string]: any}} message
   * @param {(payload: any) => void} onReply @param {(error: RealtimeError) => void} onError
   */
  function ask(selection, message, onReply, onError) {
    client._requests._ask(
      { ...message, channel: selection._feed._name },
      (payload) => selection._stands && onReply(payload),
      (error) => selection._stands && onError(error),
    );
  }

  /**
   * @param {Selection} selection @param {Position | null} since @param {SubscribedPayload} reply
   * @param {boolean} [replayed]  Whether a replay of what was missed follows, if it is recovered.
   */
  function subscribed(selection, since, reply, replayed = true) {
    const feed = selection._feed;
    const position = positionIn(reply);
    const known = since || selection._established;
    const recovered = known ? reply.recovered === true : null;
    const held = feed._held ?? [];
    const replay = recovered && replayed && held.length > 0;
    if (!replay) feed._held = null;
    if (feed._standing.length === 0) feed._stateArriving = false;
    if (feed._live.size === 0) {
      feed._unproven = recovered !== true;
      if (feed._unproven) feed._values.clear(); // The server sends the state again.
    }
    selection._reply = reply;
    selection._established = true;
    selection._inSession = IN_SESSION;
    selection._since = null;
    selection._failures = 0;
    feed._fresh = !replayed && since === null;
    const moved = feed._position?.epoch !== position?.epoch;
    // With several selections, go back to the replay's start: the others' messages are told apart by their offsets.
    if (since && recovered) feed._position = since;
    // The server knows where this client was: in an inbox, after what its user has acknowledged.
    else if (reply.recovered && position) feed._position = moved ? null : feed._position;
    // Not beyond what another selection of the channel has still to receive.
    else if (moved || recovered === false) feed._position = position;
    const members = presence.module?.take(feed, reply);
    for (const subscription of [...selection._subscriptions]) subscription._subscribed(reply, recovered, since);
    if (members || selection._watchers.length > 0) {
      withPresence((part) => (members ? part.tell(feed) : part.fetch(client, selection)));
    }
    if (replay) feed._releaseAfterReplay();
    else for (const message of held) feed._take(message, recovered === false);
  }

  /** One more caller for a selection that is subscribed already. @param {Subscription} subscription @param {Selection} selection */
  function join(subscription, { _reply: reply, _feed: feed }) {
    if (!reply || subscription.ended) return; // It is being subscribed again.
    subscription._subscribed(reply, true, feed._position);
    if (subscription._options.presence && feed._count !== null) subscription._emit("members", feed._members, feed._count);
    for (const message of feed._values.values()) subscription._deliver({ ...message, state: true });
  }

  /** @param {Selection} selection @param {Position | null} since @param {RealtimeError} error */
  function subscribeFailed(selection, since, error) {
    const { code } = error;
    const { _feed: feed, _automatic: automatic } = selection;
    if (code === "connection_lost" || code === "disconnected") return; // Subscribed again on reconnect.
    if (code === "already_subscribed") {
      const others = feed._selections.size > 1;
      if (others) feed._selective = false; // The first of them has recovered.
      const position = positionIn(error.payload);
      const recovered = since ? others || samePosition(since, position) : undefined;
      const standing = others ? feed._position : position;
      subscribed(selection, since && others ? standing : since, { ...standing, recovered });
      return;
    }
    const passing = selection._established && PASSING_ERRORS.includes(code);
    if (automatic || passing) failed([...selection._subscriptions], error);
    if (automatic) {
      subscribed(selection, since, { recovered: false }); // The connection is subscribed without it.
      return;
    }
    if (!passing) forget(selection);
    // The server may still carry out the request after this timeout, and a late success would not be recognised.
    if (code === "timeout") unsubscribe(selection);
    if (passing) {
      const delay = client._delay(selection._failures++, error.retryAfter ?? 0);
      selection._retryTimer = client._later(delay, () => subscribe(selection));
    } else {
      for (const subscription of selection._subscriptions) subscription._refuse(error);
    }
  }

  /** @param {(part: typeof Presence) => void} then */
  function withPresence(then) {
    withPart(presence, then, (error) => client._fail(error));
  }

  /** Tells an error to the subscriptions, or else to the client. @param {Subscription[]} subscriptions @param {RealtimeError} error */
  function failed(subscriptions, error) {
    if (!subscriptions.map((subscription) => subscription._fail(error)).includes(true)) client._fail(error);
  }

  /** @param {Selection} selection */
  function forget({ _feed: { _name: name, _selections: selections }, _key: key, _retryTimer: timer }) {
    client._cancel(timer);
    selections.delete(key);
    if (selections.size === 0) feeds.delete(name);
  }

  /** @param {Subscription} subscription @param {Selection} selection @returns {Promise<void>} */
  async function release(subscription, selection) {
    const subscriptions = selection._subscriptions;
    if (!selection._stands || !subscriptions.delete(subscription) || subscriptions.size > 0) return;
    if (selection._automatic) return; // The server subscribed it for the whole connection.
    forget(selection);
    if (client._ready) await unsubscribe(selection);
    else if (selection._inSession !== NOT_IN_SESSION) client._session._giveUp(selection);
  }

  /** @param {Selection} selection @returns {Promise<void>} */
  function unsubscribe(selection) {
    const { _feed: feed, _parameters: parameters } = selection;
    const last = ![...feed._selections.values()].some((other) => other !== selection);
    return new Promise((resolve) => {
      // An unsubscribe without parameters would end the others too, so the subscription on the wire stays for them.
      if (!last && (!feed._selective || parameters == null)) return resolve();
      /** @param {RealtimeError} [error] */
      const done = (error) => {
        resolve();
        if (error?.code === "connection_lost") client._session._giveUp(selection);
        if (!client._ready || feed._selective) return;
        // In the meantime `already_subscribed` has shown that they shared one subscription, which has now ended.
        for (const other of feed._selections.values()) subscribe(other);
      };
      const message = { type: "unsubscribe", channel: feed._name, payload: last ? undefined : parameters };
      client._requests._ask(message, () => done(), done);
    });
  }

  // What the server says

  /** The server ended a subscription. @param {string} channel @param {Partial<Ending>} ending */
  function taken(channel, { code = "unsubscribed", reason = "" }) {
    const feed = feeds.get(channel);
    if (!feed) return;
    const { _automatic: automatic } = feed;
    feed._automatic = false;
    for (const selection of [...feed._selections.values()]) {
      if (!selection._reply && !automatic) continue; // It was requested after that, and the reply is still to come.
      forget(selection);
      for (const subscription of selection._subscriptions) subscription._end({ code, reason }, true);
    }
    if (automatic) client._emit("channel", channel, false);
  }

  /**
   * The server tells about a subscription without a request.
   * @param {string} channel @param {SubscribedPayload} payload
   * @param {boolean} [automatic]  The server has subscribed this connection.
   */
  function told(channel, payload, automatic) {
    const { _ready: ready, _welcome: welcome } = client;
    if (automatic) {
      const feed = markAutomatic(channel);
      const selection = selectionOf(feed);
      if (ready) {
        if (!selection._reply) subscribed(selection, selection._since, payload);
      } else {
        // As if it had been in `welcome`.
        if (welcome) welcome.channels = { ...welcome.channels, [channel]: payload };
        feed._held ??= [];
      }
      return;
    }
    const feed = feeds.get(channel);
    if (!feed?._standing.length) return;
    if (payload.recovered === false) feed._missed(payload);
    if (presence.module?.take(feed, payload)) presence.module.tell(feed);
  }

  /** @param {"join" | "leave"} type @param {string} channel @param {{member?: Member, count?: number}} payload */
  function memberMoved(type, channel, payload) {
    const feed = feeds.get(channel);
    if (feed) presence.module?.moved(type, feed, payload); // Once it is loaded, it asks who is there.
  }

  /** The server has sent a ping, so everything it sent before that has arrived. */
  function pinged() {
    for (const feed of feeds.values()) if (feed._standing.length > 0) feed._unproven = false;
    client._requests._send({ type: "pong" });
  }

  /** @param {Message} message */
  function receive(message) {
    const feed = feeds.get(message.channel);
    if (feed) feed._receive(message);
    else if (message.channel) client._emit("message", message);
    else if (message.event === "notice") client._emit("notice", message);
  }

  return {
    _feeds: feeds,
    _add: add,
    _clear: clear,
    _end: endAll,
    _lost: lost,
    _welcomed: welcomed,
    _positions: positions,
    _markAutomatic: markAutomatic,
    _markOrdinary: markOrdinary,
    _subscribe: subscribe,
    _subscribed: subscribed,
    _ask: ask,
    _failed: failed,
    _unsubscribe: unsubscribe,
    _pinged: pinged,
    _release: release,
    _taken: taken,
    _told: told,
    _memberMoved: memberMoved,
    _withPresence: withPresence,
    _message: receive,
  };
}
