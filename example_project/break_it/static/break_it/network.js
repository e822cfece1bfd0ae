/**
 * A network that a page can break: what the client is given in the place of `WebSocket` and `fetch`.
 *
 * What is lost here is lost as in a real network: without a word, and with all that was on its way. Requests carry no
 * cookies, since the page authenticates with a token.
 */

const CLOSED_WITHOUT_A_WORD = { code: 1006, reason: "", wasClean: false };
/** The views of the client's requests over HTTP, and the transport that they are of. */
const TRANSPORTS = { sse: "sse", poll: "polling" };

export class Network {
  offline = false;
  /** Transports that do not work: "websocket", "sse". */
  blocked = new Set();
  /** What the client uses at the moment, as far as it got an answer. */
  transport = null;
  /** What is open, each with a method `lose`. */
  #open = new Set();

  constructor() {
    const network = this;
    this.WebSocket = class {
      constructor(url, protocols) {
        return new Socket(network, url, protocols);
      }
    };
  }

  /** Everything that is open is gone. */
  drop() {
    for (const each of [...this.#open]) each.lose();
  }

  isBlocked(transport) {
    return this.offline || this.blocked.has(transport);
  }

  opened(each, transport) {
    this.#open.add(each);
    this.transport = transport;
  }

  ended(each) {
    this.#open.delete(each);
  }

  fetch = async (url, options = {}) => {
    if (this.offline) throw new TypeError("Failed to fetch");
    const transport = TRANSPORTS[/([a-z]+)\/$/.exec(new URL(url, location.href).pathname)?.[1]];
    // As a proxy does that lets nothing through but pages.
    if (transport && this.isBlocked(transport)) return new Response("Blocked.", { status: 403 });
    const aborts = new AbortController();
    const request = { lose: () => aborts.abort(new TypeError("network error")) };
    options.signal?.addEventListener("abort", () => {
      this.ended(request);
      aborts.abort();
    });
    this.#open.add(request);
    const response = await fetch(url, { ...options, credentials: "omit", signal: aborts.signal });
    if (transport && response.ok) this.transport = transport;
    return response;
  };
}

/** A WebSocket that can be lost. */
class Socket {
  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;
  #socket = null;
  #network;

  constructor(network, url, protocols) {
    this.#network = network;
    if (network.isBlocked("websocket")) {
      setTimeout(() => this.onclose?.(CLOSED_WITHOUT_A_WORD));
      return;
    }
    this.#socket = new WebSocket(url, protocols);
    this.#socket.onopen = (event) => {
      network.opened(this, "websocket");
      this.onopen?.(event);
    };
    this.#socket.onmessage = (event) => this.onmessage?.(event);
    this.#socket.onclose = (event) => {
      network.ended(this);
      this.onclose?.(event);
    };
  }

  lose() {
    const socket = this.#socket;
    socket.onmessage = socket.onclose = null;
    socket.close(4000);
    this.#network.ended(this);
    this.onclose?.(CLOSED_WITHOUT_A_WORD);
  }

  send(data) {
    this.#socket?.send(data);
  }

  close(code, reason) {
    this.#socket?.close(code, reason);
  }

  set binaryType(type) {
    if (this.#socket) this.#socket.binaryType = type;
  }

  get protocol() {
    return this.#socket?.protocol ?? "";
  }

  get readyState() {
    return this.#socket?.readyState ?? WebSocket.CLOSED;
  }
}
