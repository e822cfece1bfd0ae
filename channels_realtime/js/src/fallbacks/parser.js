/** The format of server-sent events (HTML standard, section 9.2.6), from text in chunks that may be cut anywhere. */

/** How many characters a line, and the data of an event, may have. More is not from our server. */
const MAX_CHARACTERS = 64 * 1024 * 1024;

/** @typedef {{event: string, data: string, id: string}} StreamEvent */

export class EventStreamParser {
  #onEvent;
  #onComment;
  #line = "";
  /** Whether nothing was read yet, so that a byte order mark may come. */
  #atStart = true;
  /** Whether the last chunk ended with CR, which an LF would belong to. */
  #afterReturn = false;
  #event = "";
  /** @type {string[]} */
  #data = [];
  #size = 0;
  /** The last `id` lasts until the next. */
  #id = "";

  /**
   * @param {(event: StreamEvent) => void} onEvent  An `event` that is absent is "message".
   * @param {() => void} [onComment]
   */
  constructor(onEvent, onComment) {
    this.#onEvent = onEvent;
    this.#onComment = onComment;
  }

  /**
   * Reads on. What ends without an empty line is not an event.
   * @param {string} text  Decoded with `ignoreBOM: true`.
   * @throws {RangeError} A line or an event does not end.
   */
  push(text) {
    let start = 0;
    if (text && this.#atStart) {
      this.#atStart = false;
      if (text[0] === "\ufeff") start = 1;
    }
    for (let at = start; at < text.length; at += 1) {
      const character = text[at];
      if (character !== "\n" && character !== "\r") {
        this.#afterReturn = false;
        continue;
      }
      const second = character === "\n" && this.#afterReturn;
      this.#afterReturn = character === "\r";
      if (!second) {
        const line = this.#line + text.slice(start, at);
        this.#line = "";
        this.#read(line);
      }
      start = at + 1;
    }
    this.#line += text.slice(start);
    if (this.#line.length + this.#size > MAX_CHARACTERS) throw new RangeError("an event does not end");
  }

  /** @param {string} line */
  #read(line) {
    if (line === "") {
      this.#dispatch();
      return;
    }
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (field === "data") {
      this.#data.push(value);
      this.#size += value.length + 1;
    } else if (field === "event") this.#event = value;
    else if (field === "id" && !value.includes("\0")) this.#id = value;
    else if (field === "") this.#onComment?.();
  }

  #dispatch() {
    const event = { event: this.#event || "message", data: this.#data.join("\n"), id: this.#id };
    const any = this.#data.length > 0;
    this.#event = "";
    this.#data = [];
    this.#size = 0;
    if (any) this.#onEvent(event);
  }
}
