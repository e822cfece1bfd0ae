import { codecOf } from "./codec.js";

/** @import {RealtimeClient} from "./client.js" */
/** @import {Position} from "./typedefs.js" */

/** The internal values of a client that a switchboard needs: an extra does not know the internal names. */
export const INSIDES = {
  /** @param {RealtimeClient} client @returns {any} The payload of its connection's `welcome`. */
  welcomeOf: (client) => client._welcome,
  /** @param {RealtimeClient} client @param {string} channel @returns {Position | null} The position up to which it has the channel. */
  positionOf: (client, channel) => client._channels._feeds.get(channel)?._position ?? null,
  codecOf,
};
