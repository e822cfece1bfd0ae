/** @import {Host} from "./switchboard.js" */

/** The most unanswered requests of a connection that tabs share. Each tab has its own limit. */
const MAX_PENDING_REQUESTS = 10000;

/**
 * Where a switchboard runs, as it sees it.
 *
 * @param {any} core  The client's class, and what else is needed of the core.
 * @param {any} options  Of the clients that are made here, besides a tab's settings.
 * @param {any} locks
 * @returns {Host}
 */
export function hostOf({ Client, welcomeOf, positionOf, codecOf }, options, locks) {
  return {
    createClient({ settings: { url, page, ...settings }, getToken, wakeTarget }) {
      const own = { shareConnection: false, maxPendingRequests: MAX_PENDING_REQUESTS, getToken, wakeTarget };
      return new Client(url, { ...options, ...settings, ...own }, page);
    },
    ...{ welcomeOf, positionOf, codecOf, locks },
    timers: options.timers ?? {
      setTimeout: (/** @type {() => void} */ callback, /** @type {number} */ milliseconds) => setTimeout(callback, milliseconds),
      clearTimeout: (/** @type {any} */ handle) => clearTimeout(handle),
    },
  };
}
