/**
 * Parts of the core that few pages need, each loaded by the first that needs it. They are handed the core's objects and
 * use their internal names, so they belong to one build of it; they import only pure functions.
 *
 * @template Module
 * @typedef {{load: () => Promise<Module>, module: Module | null}} Part
 */

/** @import * as Delivery from "./delivery/index.js" */
/** @import * as Presence from "./presence.js" */
/** @import * as Tokens from "./tokens.js" */

/** Loads a state, acknowledges, and is iterated over. @type {Part<typeof Delivery>} */
export const delivery = { load: () => import("./delivery/index.js"), module: null };

/** Who is on a channel, and who is typing. @type {Part<typeof Presence>} */
export const presence = { load: () => import("./presence.js"), module: null };

/** `getToken`. @type {Part<typeof Tokens>} */
export const tokens = { load: () => import("./tokens.js"), module: null };

/**
 * Calls back with a part: at once if it is loaded.
 * @template Module
 * @param {Part<Module>} part @param {(module: Module) => void} then @param {(cause: unknown) => void} failed
 */
export function withPart(part, then, failed) {
  if (part.module) then(part.module);
  else part.load().then((module) => then((part.module = module)), failed);
}
