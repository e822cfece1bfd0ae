import { HttpSocket } from "./http-socket.js";
import { EventStreamParser } from "./parser.js";

/** A proxy that holds the stream back may hold its headers back as well; so may a server with much to do. */
const HEADERS_SECONDS = 8;
/** The server writes `welcome` with the headers. If it does not arrive, a proxy holds the stream back. */
const FIRST_EVENT_SECONDS = 3;

/**
 * A connection whose messages come down as server-sent events, by `fetch`: an `EventSource` could send no credentials and
 * would hide the status.
 */
export class EventStreamSocket extends HttpSocket {
  async _begin() {
    const limit = (/** @type {number} */ seconds) =>
      this._later(seconds, () => this._unusable(`nothing of the event stream arrived within ${seconds} s`));
    let timer = limit(HEADERS_SECONDS);
    await this._request("sse/", { accept: "text/event-stream" }, async (response) => {
      this._cancel(timer);
      if (response.status !== 200) return this._refused(response);
      if (!/^text\/event-stream\b/i.test(response.headers.get("Content-Type") ?? "") || !response.body?.getReader) {
        this._unusable("the answer cannot be read as an event stream");
        return;
      }
      timer = limit(FIRST_EVENT_SECONDS);
      const parser = new EventStreamParser(({ event, data }) => {
        this._cancel(timer);
        const message = JSON.parse(data);
        if (event === "message") this._receive(message, data);
        else if (event === "close") this._end(message.code, message.reason);
      }, () => this._alive && this._isThere());
      const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
      const reader = response.body.getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        parser.push(decoder.decode(value, { stream: true }));
      }
      this._lost("the event stream ended");
    });
  }
}
