import { RealtimeError } from "./errors.js";
import { covers, positionIn, readPosition } from "./values.js";

/** @import {Message, Position, Timing} from "./typedefs.js" */

/**
 * Fetches a channel's state for one subscription, and holds its messages meanwhile.
 *
 * A load that fails is tried again with backoff. One that a newer load or the end of the subscription has overtaken is
 * aborted, and its result is ignored.
 */
export class Loader {
  #load;
  #host;
  /** @type {Message[] | null} Null while no load is due. */
  #held = null;
  /** @type {Message | null} The newest of those that found no room. */
  #dropped = null;
  /** @type {AbortController | null} Of the running load. */
  #running = null;
  #failures = 0;
  /** @type {any} */
  #timer = null;
  /** Whether the next attempt waits for the connection. */
  #waiting = false;

  /**
   * @param {(context: {signal: AbortSignal}) => any} load
   * @param {{channel: string, limit: number, timing: Timing, isLive: () => boolean,
   *   fail: (error: RealtimeError) => void, done: (result: any, position: Position | null, held: Message[]) => void}} host
   */
  constructor(load, host) {
    this.#load = load;
    this.#host = host;
  }

  /** Loads anew. What is held is dropped: the state that is read from now on contains it. */
  start() {
    this.stop();
    this.#held = [];
    this.#run();
  }

  /** After a reconnect that missed nothing: makes the attempt that waited for it. */
  goOn() {
    if (this.#waiting) this.#run();
  }

  stop() {
    this.#running?.abort();
    this.#host.timing.cancel(this.#timer);
    this.#running = this.#held = this.#dropped = this.#timer = null;
    this.#failures = 0;
    this.#waiting = false;
  }

  /** @param {Message} message @returns {boolean} Whether it is held, because a load is due. */
  hold(message) {
    if (!this.#held) return false;
    this.#held.push(message);
    if (this.#held.length > this.#host.limit) this.#dropped = this.#held.shift() ?? null;
    return true;
  }

  async #run() {
    const { channel, limit, done } = this.#host;
    const running = new AbortController();
    this.#running = running;
    this.#waiting = false;
    let result;
    try {
      result = await this.#load({ signal: running.signal });
    } catch (cause) {
      if (running !== this.#running) return;
      this.#again(new RealtimeError("load_failed", `load of '${channel}' failed`, { cause, channel }));
      return;
    }
    if (running !== this.#running) return;
    const position = readPosition(result?.position);
    const dropped = this.#dropped;
    if (dropped && !covers(position, positionIn(dropped))) {
      this.#dropped = null;
      const reason = `more than ${limit} messages of '${channel}' arrived during load; the state is loaded again`;
      this.#again(new RealtimeError("overflow", reason, { channel }));
      return;
    }
    const held = this.#held ?? [];
    this.#running = this.#held = this.#dropped = null;
    this.#failures = 0;
    done(result, position, held);
  }

  /** @param {RealtimeError} error */
  #again(error) {
    const { timing, isLive, fail } = this.#host;
    this.#running = null;
    this.#timer = timing.later(timing.delay(this.#failures, error.retryAfter ?? 0), () => {
      if (isLive()) this.#run();
      else this.#waiting = true;
    });
    this.#failures += 1;
    fail(error);
  }
}
