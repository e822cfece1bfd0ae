/** The script of the SharedWorker that has the connection of all tabs. Its name is that of what they share. */
import { RealtimeClient } from "../client.js";
import { INSIDES } from "../insides.js";
import { hostOf } from "./host.js";
import { hold } from "./locks.js";
import { Switchboard } from "./switchboard.js";

const scope = /** @type {any} */ (globalThis);
const { locks } = scope.navigator;
const switchboard = new Switchboard(hostOf({ ...INSIDES, Client: RealtimeClient }, {}, locks));
// Tabs wait for it to learn that this worker has ended.
const alive = hold(locks, `${scope.name}/worker`);
// The build writes the version into the address and into the script. After an upgrade, a page asks for the old one.
const current = new URL(scope.location.href).searchParams.get("v") === (scope.realtimeVersion ?? null);

scope.onconnect = async (/** @type {MessageEvent} */ { ports: [port] }) => {
  await alive;
  switchboard.admit(/** @type {any} */ (port));
  port.postMessage({ type: "ready", current });
};
