import { INSIDES } from "./insides.js";
import { loadFailed, ofThisBuild } from "./parts.js";

/**
 * One connection for all tabs of a site: the part of it in the core. The rest is loaded when it is needed.
 *
 * @param {import("./client.js").RealtimeClient} client
 * @param {Omit<import("./page.js").PageConfiguration, "http"> & {http: string | null}} page
 * @param {import("./ways.js").NextWay} alone  For tabs that cannot share.
 * @returns {import("./ways.js").NextWay}
 */
export function sharedWays(client, page, alone) {
  const { constructor: Client, url, _options: options } = client;
  /** @type {any} */
  let Way;
  let told = false;
  return (heard) =>
    Way ??
    ofThisBuild(import("./tabs/shared-socket.js")).then(
      ({ share }) => (Way = share({ ...INSIDES, Client, url, options, page })) ?? alone(heard),
      (cause) => {
        if (!told) client._fail(loadFailed(cause));
        told = true;
        return alone(heard);
      },
    );
}
