import { codecOf } from "./codec.js";

/** @import {RealtimeClient} from "./client.js" */
/** @import {Position} from "./typedefs.js" */

/** What a switchboard needs of a client, besides what is public: an extra does not know the names of what is internal. */
export const INSIDES = {
  /** @param {RealtimeClient} client @returns {any} The payload of its connection's `welcome`. */
  welcomeOf: (client) => client._welcome,
  /** @param {RealtimeClient} client @param {string} channel @returns {Position | null} Up to where it has the channel. */
  positionOf: (client, channel) => client._channels._feeds.get(channel)?._position ?? null,
  codecOf,
};
