/** The page that breaks its own connection, counts what arrives, and tells what the client does about it. */
import { RealtimeClient } from "channels_realtime";
import { Network } from "./network.js";

const CHANNEL = "break/ticks";
const SHOWN_NUMBERS = 80;
const SHOWN_ENTRIES = 30;
const NAMES = { websocket: "WebSocket", sse: "Server-sent events", polling: "Long polling" };
const byId = (id) => document.getElementById(id);

const script = byId("page-script").dataset;
const network = new Network();
/** A client for this page alone: no other tab's connection breaks. */
const client = new RealtimeClient(`${script.websocket}?credentials=token`, {
  getToken,
  WebSocket: network.WebSocket,
  fetch: network.fetch,
  backoffBaseSeconds: 0.5,
  backoffCapSeconds: 5,
});

/* The token */

const RENEWED = {
  expiring: "The token was about to end: the client has sent another",
  refused: "The token was refused: the client has fetched another",
};
let token = null;
let tokens = 0;
let tokenEndsAt = 0;

/** Called by the client when the server asks for a token, when one is about to end, and when one was refused. */
async function getToken({ reason }) {
  const response = await post(script.token);
  if (response.status === 401) return null; // Signed out in another tab.
  if (!response.ok) throw new Error(`the server answered with ${response.status}`);
  const answer = await response.json();
  token = answer.token;
  tokens += 1;
  tokenEndsAt = performance.now() + answer.expires_in * 1000;
  byId("tokens").textContent = tokens;
  if (RENEWED[reason]) note(RENEWED[reason]);
  return token;
}

/* The numbers */

const tally = { received: 0, late: 0, twice: 0 };
const seen = new Set();
/** Numbers that did not come though later ones did, each with its place on the page. */
const missing = new Map();
let last = null;

/** @param {number} number @param {"live" | "replayed" | "loaded"} how */
function take(number, how) {
  if (seen.has(number)) {
    if (how === "loaded") return; // The state has what the page has as well.
    tally.twice += 1;
    note(`${number} came twice`);
  } else {
    seen.add(number);
    tally.received += 1;
    if (how !== "live") tally.late += 1;
    const gap = missing.get(number);
    if (gap) {
      missing.delete(number);
      gap.replaceWith(cell(number, how));
    } else {
      for (let lost = (last ?? number - 1) + 1; lost < number; lost += 1) {
        missing.set(lost, show(cell(lost, "missing")));
      }
      last = Math.max(last ?? number, number);
      show(cell(number, how));
    }
  }
  showTally();
}

function cell(number, how) {
  const node = document.createElement("li");
  node.className = `number ${how}`;
  node.textContent = number;
  return node;
}

function show(node) {
  const list = byId("numbers");
  list.append(node);
  while (list.children.length > SHOWN_NUMBERS) list.firstElementChild.remove();
  return node;
}

function showTally() {
  for (const [name, value] of Object.entries(tally)) byId(name).textContent = value;
  byId("missing").textContent = missing.size;
}

let caughtUp = 0;

client.subscribe(CHANNEL, {
  since: byId("numbers").dataset.position,
  onMessage({ payload, recovered }) {
    if (recovered) caughtUp += 1;
    take(payload.number, recovered ? "replayed" : "live");
  },
  onRecovered({ recovered }) {
    if (healing) note(recovered ? "The history has all that was missed" : "The history is gone: loading from the database");
  },
  load: () => client.call(CHANNEL, "missed", { after: last ?? 0 }),
  onLoaded({ numbers }) {
    for (const number of numbers) take(number, "loaded");
  },
});

/* The connection */

let brokenAt = null;
let healing = false;
let healed = 0;
let attempts = 0;
let nextTryAt = 0;

client.on("state", (state, { attempt, nextDelay, code, reason } = {}) => {
  byId("health").dataset.state = state;
  nextTryAt = state === "reconnecting" && nextDelay ? performance.now() + nextDelay * 1000 : 0;
  if (state === "connected") {
    byId("state").textContent = "Live";
    byId("transport").textContent = NAMES[network.transport] ?? "–";
    if (brokenAt !== null) {
      const seconds = ((performance.now() - brokenAt) / 1000).toFixed(1);
      healed += 1;
      byId("outage").textContent = `${seconds} s`;
      note(`Live again after ${seconds} s, by ${NAMES[network.transport]}`);
      brokenAt = null;
    }
  } else if (state === "reconnecting") {
    if (brokenAt === null) {
      brokenAt = performance.now();
      healing = true;
      note(`Connection lost (${code}${reason ? `: ${reason}` : ""})`);
    }
    byId("state").textContent = "Reconnecting";
    byId("transport").textContent = "–";
  } else if (state === "connecting") {
    if (brokenAt !== null) attempts += 1;
    byId("state").textContent = attempt > 1 ? `Attempt ${attempt}…` : "Connecting…";
  } else {
    byId("state").textContent = `${state === "closed" ? "Closed" : "Signed out"} (${code}${reason ? `: ${reason}` : ""})`;
    note(byId("state").textContent);
  }
  byId("reload").hidden = state !== "closed" && state !== "unauthenticated";
  byId("attempts").textContent = attempts;
  byId("healed").textContent = healed;
  countDown();
});

function countDown() {
  const wait = (nextTryAt - performance.now()) / 1000;
  byId("countdown").textContent = nextTryAt && wait > 0 ? `again in ${wait.toFixed(1)} s` : "";
  const left = Math.ceil((tokenEndsAt - performance.now()) / 1000);
  byId("token-left").textContent = tokens ? `${Math.max(0, left)} s` : "–";
}
setInterval(countDown, 100);

function note(text) {
  const entry = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString([], { hour12: false });
  entry.append(time, ` ${text}`);
  const journal = byId("journal");
  journal.prepend(entry);
  while (journal.children.length > SHOWN_ENTRIES) journal.lastElementChild.remove();
}

/* The buttons */

byId("drop").addEventListener("click", () => network.drop());

for (const transport of ["websocket", "sse"]) {
  byId(transport).addEventListener("click", ({ currentTarget }) => {
    const block = press(currentTarget);
    if (block) network.blocked.add(transport);
    else network.blocked.delete(transport);
    note(`${NAMES[transport]}: ${block ? "blocked" : "allowed, and tried again within a minute"}`);
    if (block && network.transport === transport) network.drop();
  });
}

byId("offline").addEventListener("click", ({ currentTarget }) => {
  network.offline = press(currentTarget);
  note(network.offline ? "Offline" : "Online");
  if (network.offline) network.drop();
  window.dispatchEvent(new Event(network.offline ? "offline" : "online"));
});

function press(button) {
  const pressed = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", pressed);
  return pressed;
}

byId("expire-token").addEventListener("click", () => ask(script.expireToken, "The token ends now", { token }));
byId("restart").addEventListener("click", () => ask(script.restart, "The server restarts"));

/** These requests do not go through the network that is broken, and carry the login session's cookie. */
function post(url, fields = {}) {
  const csrfToken = document.querySelector("[name=csrfmiddlewaretoken]").value;
  return fetch(url, { method: "POST", headers: { "X-CSRFToken": csrfToken }, body: new URLSearchParams(fields) });
}

async function ask(url, what, fields) {
  byId("break-error").hidden = true;
  note(what);
  try {
    const response = await post(url, fields);
    if (!response.ok) throw new Error(`the server answered with ${response.status}`);
  } catch (error) {
    byId("break-error").textContent = `That did not work: ${error.message}.`;
    byId("break-error").hidden = false;
  }
}

client.connect();
