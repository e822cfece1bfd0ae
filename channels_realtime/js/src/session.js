import { IN_SESSION, NOT_IN_SESSION, SENT } from "./channel.js";

/** @import {Feed, Selection} from "./channel.js" */
/** @import {Position, SubscribedPayload} from "./typedefs.js" */

/** How many subscriptions that ended while disconnected are remembered for a resume. */
const MAX_ABANDONED = 100;

/**
 * Keeps the session across connections: resumes it after `welcome`, or starts a new one.
 *
 * @param {import("./client.js").RealtimeClient} client
 */
export function createSession(client) {
  /** @type {string | null} The session that the next connection resumes. A secret: never shown or logged. */
  let id = null;
  /** @type {Selection[]} Ended while disconnected. A resume would bring them back. */
  let abandoned = [];

  /** Resumes the last session if there is one; otherwise subscribes again in a new one. */
  function begin() {
    if (!client._welcome || client._ready) return;
    const same = client._sameConnection();
    const startNew = () => {
      id = client._welcome.session_id;
      client.connectionId = client._welcome.connection_id ?? null;
      start(null);
    };
    if (!id) {
      startNew();
      return;
    }
    client._requests._ask(
      { type: "resume", session_id: id, since: client._channels._positions() },
      (payload) => {
        id = payload.session_id;
        client.connectionId = payload.connection_id ?? client.connectionId;
        start(payload.channels);
      },
      (error) => {
        if (!same() || error.code === "connection_lost") return; // The next connection tries again.
        forget();
        if (error.code === "timeout") client._connection._abandon("no answer to 'resume'"); // It may still take effect here.
        else startNew();
      },
    );
  }

  /**
   * Subscribes and sends what waits, on a new connection.
   * @param {Record<string, SubscribedPayload> | null} resumed  The channels of a resumed session.
   */
  function start(resumed) {
    const { _channels, _requests } = client;
    const same = client._sameConnection();
    const feeds = _channels._feeds;
    const waiting = [..._requests._pending.values()];
    const givenUp = abandoned;
    abandoned = [];
    client._ready = true;
    for (const feed of [...feeds.values()]) {
      if (feed._automatic && !(feed._name in { ...client._welcome.channels, ...resumed })) _channels._markOrdinary(feed);
      if (!resumed) for (const selection of feed._selections.values()) selection._inSession = NOT_IN_SESSION;
    }
    for (const { _feed: { _name: channel }, _parameters: parameters } of givenUp) {
      if (!resumed || !(channel in resumed)) continue;
      const others = [...(feeds.get(channel)?._selections.values() ?? [])];
      const stays = others.some((selection) => selection._inSession === IN_SESSION);
      _requests._ask({ type: "unsubscribe", channel, payload: stays ? parameters : undefined });
      if (!stays) delete resumed[channel]; // If the page wants the channel again, it is subscribed again.
    }
    for (const name of Object.keys(resumed ?? {})) if (!feeds.has(name)) _channels._markAutomatic(name);
    for (const feed of [...feeds.values()]) {
      const reply = resumed?.[feed._name];
      if (reply) takeUp(feed, reply);
      for (const selection of [...feed._selections.values()]) if (!selection._reply) _channels._subscribe(selection);
    }
    for (const request of waiting) _requests._transmit(request);
    client._acknowledgements?.send();
    if (same()) client._setState("connected", {});
  }

  /** The session has this channel: one replay serves all its selections. @param {Feed} feed @param {SubscribedPayload} reply */
  function takeUp(feed, reply) {
    const selections = [...feed._selections.values()];
    const alone = selections.length === 1; // Then a subscribe without an answer is the one that the session has.
    const stands = selections.filter(({ _inSession }) => _inSession === IN_SESSION || (alone && (_inSession === SENT || feed._automatic)));
    const from = feed._resumesFrom;
    for (const selection of stands) client._channels._subscribed(selection, from, reply);
  }

  /** Remembers a subscription that the next resume has to end, because the server may not know that it ended. @param {Selection} selection */
  function giveUp(selection) {
    abandoned.push(selection);
    if (abandoned.length > MAX_ABANDONED) forget(); // Then everything is subscribed again.
  }

  function forget() {
    id = null;
    abandoned = [];
  }

  return {
    _begin: begin,
    _giveUp: giveUp,
    _forget: forget,
  };
}
