/**
 * Shared by all pages: the connection, the indicator of its state, and error messages.
 */
import { pageClient } from "channels_realtime";

const PULSE_INTERVAL_MS = 900;
const byId = (id) => document.getElementById(id);

/** "json" or "msgpack", as chosen in the indicator. */
const format = localStorage.getItem("realtime-format") ?? "json";

/**
 * The client of the page and its elements. All tabs of a user share one connection where the browser can: in a worker, or
 * else in one of the tabs. The server of a demo is often restarted, so the delay between attempts stays short.
 */
export const client = pageClient({
  shareConnection: true,
  shareKey: `${document.body.dataset.user} ${format}`,
  format,
  backoffCapSeconds: 10,
});

/* Channels. Closing the client ends its subscriptions; the page keeps its own list, to subscribe again. */

/** @type {Set<{channel: string, options: object, subscription: any}>} */
const followed = new Set();

/**
 * Follow a channel for as long as the page is open.
 *
 * @param {string} channel
 * @param {object} options
 * @param {(payload: any, message: object) => void} options.onMessage
 * @param {string} [options.since] The position of what the page shows already.
 * @param {() => Promise<any>} [options.load] Fetches the state, wherever messages may be missing.
 * @param {(state: any) => void} [options.onLoaded] Shows it; the messages that follow it come after.
 * @param {(members: Map<string, object>, count: number) => void} [options.onMembers] Who is on the channel.
 * @param {(error: Error) => void} [options.onError] The server refused or ended the subscription, or `load` failed.
 * @param {any} [options.parameters]
 * @param {string} [options.select]
 * @returns {{end: () => void, typing: () => void}}
 */
export function follow(channel, options) {
  const entry = { channel, options, subscription: null, since: options.since };
  followed.add(entry);
  begin(entry);
  return {
    end() {
      followed.delete(entry);
      entry.subscription?.unsubscribe();
      showChannels();
    },
    /** Tells the others that this user is typing. */
    typing() {
      entry.subscription?.typing();
    },
  };
}

function begin(entry) {
  const { onMessage, load, onLoaded, onMembers, onError = report, parameters, select } = entry.options;
  entry.subscription = client.subscribe(entry.channel, {
    parameters,
    select,
    since: entry.since,
    load,
    presence: onMembers !== undefined,
    onMessage(message) {
      // For a subscription after "Disconnect" and "Connect": it goes on from here.
      if (entry.since && message.offset && !message.state) entry.since = { epoch: message.epoch, offset: message.offset };
      onMessage(message.payload, message);
    },
    onLoaded(state) {
      if (entry.since) entry.since = state.position;
      onLoaded(state);
    },
    onMembers,
    onError: (error) => onError(error.code === "load_failed" ? error.cause : error),
    onUnsubscribed: ({ code, reason }) => {
      if (code !== "unsubscribed" && code !== "closed") onError({ code, reason });
    },
  });
  showChannels();
}

function report(error) {
  byId("connection-reason").textContent = errorText(error);
  byId("connection-reason").hidden = false;
}

/** @returns {Promise<any>} The result's payload. */
export const call = (channel, method, payload) => client.call(channel, method, payload);

/** While the connection is away it waits for up to two minutes. */
export const publish = (channel, payload, options) => client.publish(channel, payload, options);

/* Errors */

const REASONS = {
  disconnected: "there is no connection at the moment",
  connection_lost: "the connection was lost before the server answered",
  forbidden: "you are not allowed to",
};

/** An error as text for users. */
export function errorText(error) {
  const reason = REASONS[error.code] ?? error.reason ?? error.message ?? String(error);
  return error.code ? `${reason} (${error.code})` : reason;
}

export function showError(id, error, what = "The request failed") {
  // The indicator shows a lost connection, and the request is repeated after a reconnect.
  if (error.code === "connection_lost" && what === "The request failed") return;
  const node = byId(id);
  node.textContent = `${what}: ${errorText(error)}.`.replace(/\.+$/, ".");
  node.hidden = false;
}

export function clearError(id) {
  byId(id).hidden = true;
}

/* The connection indicator */

const pill = byId("connection");
const toggle = byId("connection-toggle");
const LABELS = { idle: "Connecting…", connecting: "Connecting…", connected: "Live", reconnecting: "Reconnecting" };
let connectedAt = 0;
let connections = 0;
let received = 0;
let nextTryAt = 0;

function showState(state, { nextDelay, code, reason } = {}) {
  const over = state === "closed" || state === "unauthenticated";
  pill.dataset.state = over ? "closed" : state === "idle" ? "connecting" : state;
  byId("connection-id").textContent = (!over && client.connectionId) || "–";
  if (state === "connected") {
    connectedAt = Date.now();
    connections += 1;
  } else {
    connectedAt = 0;
  }
  nextTryAt = state === "reconnecting" && nextDelay ? Date.now() + nextDelay * 1000 : 0;
  byId("connection-reconnects").textContent = Math.max(0, connections - 1);
  const detail = { 1000: "by this page", 1006: "the server does not respond" }[code] ?? reason;
  const end = state === "closed" ? `Closed${detail ? `: ${detail}` : ""}` : "Signed out";
  byId("connection-state").textContent = LABELS[state] ?? end;
  const reasonNode = byId("connection-reason");
  reasonNode.hidden = state === "connected" || !code;
  reasonNode.textContent = code ? `Closed with ${code}${detail ? `: ${detail}` : ""}.` : "";
  if (state === "unauthenticated") reasonNode.append(" ", signInLink());
  toggle.textContent = over ? "Connect" : "Disconnect";
  tick();
}

function signInLink() {
  const link = document.createElement("a");
  link.href = `${document.body.dataset.login}?next=${encodeURIComponent(location.pathname)}`;
  link.textContent = "Sign in again";
  return link;
}

/** Updates each second, outside the live region, so that screen readers do not announce it. */
function tick() {
  const wait = Math.ceil((nextTryAt - Date.now()) / 1000);
  byId("connection-countdown").textContent = nextTryAt && wait > 0 ? ` in ${wait} s` : "";
  const seconds = Math.floor((Date.now() - connectedAt) / 1000);
  byId("connection-age").textContent = connectedAt
    ? `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`
    : "–";
}

function showChannels() {
  const elements = document.querySelectorAll("realtime-channel, realtime-presence");
  const names = [...followed].map(({ channel }) => channel).concat([...elements].map((each) => each.getAttribute("name")));
  byId("connection-channels").textContent = new Set(names).size;
}

let lastPulseAt = 0;
function showMessage() {
  received += 1;
  byId("connection-messages").textContent = received;
  byId("connection-count").textContent = received;
  if (Date.now() - lastPulseAt < PULSE_INTERVAL_MS) return;
  lastPulseAt = Date.now();
  pill.classList.remove("pulse");
  void pill.offsetWidth; // restart the animation
  pill.classList.add("pulse");
}

client.on("state", showState);
client.on("message", showMessage);
client.on("error", report);
toggle.addEventListener("click", () => {
  if (client.state === "closed" || client.state === "unauthenticated") {
    client.connect();
    for (const entry of followed) if (!entry.subscription || entry.subscription.ended) begin(entry);
  } else {
    client.close();
  }
});
byId("connection-format").value = format;
byId("connection-format").addEventListener("change", (event) => {
  localStorage.setItem("realtime-format", event.target.value);
  location.reload();
});
document.addEventListener("click", (event) => {
  if (!pill.contains(event.target)) pill.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && pill.open) {
    pill.open = false;
    pill.querySelector("summary").focus();
  }
});
setInterval(tick, 1000);
showChannels();
showState(client.state);
