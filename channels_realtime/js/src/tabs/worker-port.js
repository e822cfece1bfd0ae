/** The way to a SharedWorker that has the connection. */

/** @import {Browser} from "./shared-socket.js" */
/** @import {Port} from "./switchboard.js" */

/** From its start to its first word; loading its script included. */
const WORKER_SECONDS = 10;

/** Of a page where a worker failed: blocked by a policy, not found, or of another version. @type {WeakSet<any>} */
const blocked = new WeakSet();

/**
 * @param {string} name  Of the worker: tabs with the same name share it.
 * @param {Browser} browser
 * @param {import("../typedefs.js").Timers} timers
 * @param {AbortSignal} signal
 * @param {() => void} gone  Called when the worker has ended: a browser may do that where it needs the memory.
 * @returns {Promise<Port | null>}  Null where there can be none.
 */
export async function reachWorker(name, { SharedWorker, locks }, timers, signal, gone) {
  if (!SharedWorker || blocked.has(SharedWorker)) return null;
  /** @type {any} */
  let worker;
  try {
    // Bundlers recognise a worker by this form alone.
    worker = new SharedWorker(new URL("./worker.js", import.meta.url), { type: "module", name });
  } catch {
    blocked.add(SharedWorker); // Another origin, such as a CDN's.
    return null;
  }
  const { port } = worker;
  const ready = await new Promise((resolve) => {
    const timer = timers.setTimeout(() => resolve(false), WORKER_SECONDS * 1000);
    const answer = (/** @type {boolean} */ value) => {
      timers.clearTimeout(timer);
      resolve(value);
    };
    worker.onerror = () => answer(false);
    port.onmessage = (/** @type {{data: any}} */ { data }) => answer(data.current);
    signal.addEventListener("abort", () => answer(true));
  });
  if (ready) {
    // The worker holds this lock as long as it lives.
    locks.request(`${name}/worker`, { mode: "shared", signal }, gone).catch(() => {});
    return port;
  }
  blocked.add(SharedWorker);
  port.close();
  return null;
}
