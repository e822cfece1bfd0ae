/** Who is on a channel, and who is typing. A part of the core, see `parts.js`. */

import { NOT_IN_SESSION } from "./channel.js";

/** @import {Feed, Selection} from "./channel.js" */
/** @import {RealtimeClient} from "./client.js" */
/** @import {Subscription} from "./subscription.js" */
/** @import {Member, Members} from "./typedefs.js" */

/** One notice of typing in this time, in seconds. */
const TYPING_SECONDS = 3;
/** Subscriptions that have sent one in this time. @type {Set<Subscription>} */
const typers = new Set();

/** @param {Feed} feed @param {Partial<Members>} payload @returns {boolean} Whether it tells who is there. */
export function take(feed, { members, count }) {
  if (typeof count !== "number") return false;
  feed._count = count;
  feed._members = new Map((members ?? []).map((member) => [member.id, member]));
  return true;
}

/** @param {Feed} feed */
export function tell(feed) {
  for (const subscription of feed._live) {
    if (subscription._options.presence) subscription._emit("members", feed._members, feed._count ?? feed._members.size);
  }
}

/** @param {"join" | "leave"} type @param {Feed} feed @param {{member?: Member, count?: number}} payload */
export function moved(type, feed, { member, count }) {
  if (!member || typeof count !== "number") return;
  const size = feed._members.size;
  if (type === "join") feed._members.set(member.id, member);
  else feed._members.delete(member.id); // Perhaps unknown: of a large channel only some members are sent.
  const news = size !== feed._members.size || count !== feed._count;
  feed._count = count; // Of all members, with those that were not sent.
  if (!news) return;
  for (const subscription of feed._live) if (subscription._options.presence) subscription._emit(type, member);
  tell(feed);
}

/** Asks for the members of a channel that is subscribed already. @param {RealtimeClient} client @param {Selection} selection */
export function fetch(client, selection) {
  if (!selection._reply) return; // The next subscribe asks for them.
  const feed = selection._feed;
  client._channels._ask(
    selection,
    { type: "presence" },
    (payload) => take(feed, payload) && tell(feed),
    (error) => {
      // After the end of the connection the next subscribe asks again.
      if (error.code !== "connection_lost" && selection._reply) client._channels._failed(selection._watchers, error);
    },
  );
}

/**
 * A caller wants presence for a selection that was subscribed without it. It cannot be added, so the selection is
 * subscribed again, from the last position.
 * @param {RealtimeClient} client @param {Selection} selection
 */
export function watch(client, selection) {
  if (selection._watches || selection._watchers.length === 0) return;
  if (selection._automatic) {
    fetch(client, selection);
  } else if (client._ready) {
    client._channels._unsubscribe(selection);
    selection._reply = null;
    client._channels._subscribe(selection);
  } else {
    client._session._giveUp(selection);
    selection._inSession = NOT_IN_SESSION;
  }
}

/** @param {RealtimeClient} client @param {Subscription} subscription @param {any} payload */
export function typing(client, subscription, payload) {
  if (typers.has(subscription)) return;
  typers.add(subscription);
  client._later(TYPING_SECONDS, () => typers.delete(subscription));
  const options = /** @type {const} */ ({ event: "typing", transient: true, echo: false, whenDisconnected: "reject" });
  client.publish(subscription.channel, payload, options).catch((error) => {
    // Without a connection there is no need for it.
    if (error.code !== "disconnected" && error.code !== "connection_lost") client._channels._failed([subscription], error);
  });
}
