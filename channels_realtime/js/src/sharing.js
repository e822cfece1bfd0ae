import { INSIDES } from "./insides.js";
import { ofThisBuild } from "./parts.js";

/**
 * One connection for all tabs of a site: the part of it in the core. The rest is loaded when it is needed.
 *
 * @param {import("./client.js").RealtimeClient} client
 * @param {Omit<import("./page.js").PageConfiguration, "http"> & {http: string | null}} page
 * @param {import("./ways.js").Ways} alone  For tabs that cannot share.
 */
export function sharedWays({ constructor: Client, url, _options: options }, page, alone) {
  /** @type {any} */
  let Way;
  return {
    next: () =>
      Way ??
      ofThisBuild(import("./tabs/shared-socket.js")).then(
        ({ share }) => (Way = share({ ...INSIDES, Client, url, options, page })) ?? alone.next(),
      ),
    set heard(/** @type {boolean} */ heard) {
      alone.heard = heard;
    },
  };
}
