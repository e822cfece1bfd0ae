/**
 * Parts of the core that few pages need, each loaded when it is first needed. They are handed the core's objects and use
 * their internal names, so they belong to one build of it. They import only pure functions.
 *
 * @template Module
 * @typedef {{load: () => Promise<Module>, module: Module | null}} Part
 */

import { RealtimeError } from "./errors.js";

/** @import * as Delivery from "./delivery/index.js" */
/** @import * as Presence from "./presence.js" */
/** @import * as Credentials from "./credentials.js" */

/**
 * Refuses a file of another version than the one that this core was built with. The sources have no versions.
 * @template Module
 * @param {Promise<Module>} loading @param {string} [version]  The build adds it.
 * @returns {Promise<Module>}
 */
export async function ofThisBuild(loading, version) {
  const module = await loading;
  if (/** @type {any} */ (module).version !== version) throw new Error("another version is installed: reload the page");
  return module;
}

/** Loads a state, acknowledges, and feeds loops. @type {Part<typeof Delivery>} */
export const delivery = { load: () => ofThisBuild(import("./delivery/index.js")), module: null };

/** Who is on a channel, and who is typing. @type {Part<typeof Presence>} */
export const presence = { load: () => ofThisBuild(import("./presence.js")), module: null };

/** Fetches tokens, and renews what was refused. @type {Part<typeof Credentials>} */
export const credentials = { load: () => ofThisBuild(import("./credentials.js")), module: null };

/**
 * Calls back with a part: at once if it is loaded.
 * @template Module
 * @param {Part<Module>} part @param {(module: Module) => void} then @param {(error: RealtimeError) => void} failed
 */
export function withPart(part, then, failed) {
  if (part.module) {
    then(part.module);
    return;
  }
  part.load().then(
    (module) => then((part.module = module)),
    (cause) => failed(loadFailed(cause)),
  );
}

/** @param {unknown} cause */
export function loadFailed(cause) {
  return new RealtimeError("load_failed", "a part of the client could not be loaded", { cause });
}
