import { IN_SESSION, NOT_IN_SESSION, SENT } from "./channel.js";

/** @import {Feed, Selection} from "./channel.js" */
/** @import {Position, SubscribedPayload} from "./typedefs.js" */

/** How many subscriptions that were given up without a connection are remembered for a resume. */
const MAX_ABANDONED = 100;

/**
 * What outlives a connection: resumes it after `welcome`, or begins anew.
 *
 * @param {import("./client.js").RealtimeClient} client
 */
export function createSession(client) {
  /** @type {string | null} The session that the next connection resumes. A secret: never shown or logged. */
  let id = null;
  /** @type {Selection[]} Given up without a connection; a resume would bring them back. */
  let abandoned = [];

  /** Resumes the last session where there is one; otherwise subscribes anew. */
  function begin() {
    if (!client._welcome || client._ready) return;
    const { session_id: own = null, connection_id: publicId = null } = client._welcome;
    const same = client._sameConnection();
    const anew = () => {
      id = own;
      client.connectionId = publicId;
      start(null);
    };
    if (!id) {
      anew();
      return;
    }
    client._requests._ask(
      { type: "resume", session_id: id, since: client._channels._positions() },
      (payload) => {
        id = payload.session_id ?? own;
        client.connectionId = payload.connection_id ?? client.connectionId ?? publicId;
        start(payload.channels ?? {});
      },
      (error) => {
        if (!same() || error.code === "connection_lost") return; // The next connection tries again.
        forget();
        if (error.code === "timeout") client._connection._abandon("no answer to 'resume'"); // It may still take effect here.
        else anew();
      },
    );
  }

  /**
   * Begins to work on a new connection.
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
      if (!stays) delete resumed[channel]; // What the page asks for anew is subscribed anew.
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

  /** The session had this channel: one replay for all its selections. @param {Feed} feed @param {SubscribedPayload} reply */
  function takeUp(feed, reply) {
    const selections = [...feed._selections.values()];
    const alone = selections.length === 1; // Then what was sent and not answered is what the session has.
    const stands = selections.filter(({ _inSession }) => _inSession === IN_SESSION || (alone && (_inSession === SENT || feed._automatic)));
    const from = feed._resumesFrom;
    for (const selection of stands) client._channels._subscribed(selection, from, reply);
  }

  /** What a resume is to end: it was given up, and the server may not know. @param {Selection} selection */
  function giveUp(selection) {
    abandoned.push(selection);
    if (abandoned.length > MAX_ABANDONED) forget(); // Subscribe anew.
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
