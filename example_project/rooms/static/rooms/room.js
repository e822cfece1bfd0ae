/** A chat room: who is here, the last messages by a call, new ones by the subscription, and who is typing. */
import { call, clearError, client, follow, publish, showError } from "site";

const MAX_SHOWN = 600;
const SAME_AUTHOR_MS = 3 * 60 * 1000;
const TYPING_SHOWN_MS = 4500; // longer than the client waits between two notices
const AVATARS_SHOWN = 6;
const NAMES_SHOWN = 3;

const room = document.querySelector("#room");
const list = document.querySelector("#messages");
const empty = document.querySelector("#no-messages");
const composer = document.querySelector("#composer");
const typing = document.querySelector("#typing");
const channel = `rooms/${room.dataset.slug}`;
const ownName = document.body.dataset.name;
const pageSize = Number(list.dataset.page);

/* Messages */

/** A device sends a text, a page an object with one. */
const textOf = (payload) => payload.text ?? payload;

/** A circle with the name's first letter, in a colour computed from the name. */
function avatar(name) {
  const node = document.createElement("span");
  node.className = "avatar";
  node.setAttribute("aria-hidden", "true");
  node.textContent = (name[0] ?? "?").toUpperCase();
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  node.style.setProperty("--hue", hash);
  return node;
}

/** Keys of the messages shown: one that came both by the call and live is shown once. */
const keys = new Set();

function messageNode({ text, name, at, id }) {
  const item = document.createElement("li");
  item.className = `message${name === ownName ? " own" : ""}`;
  item.dataset.name = name;
  item.dataset.at = at;
  if (id) item.dataset.id = id;

  const head = document.createElement("p");
  head.className = "message-head";
  const author = document.createElement("b");
  author.textContent = name === ownName ? "You" : name;
  const time = document.createElement("time");
  const date = new Date(at);
  time.dateTime = date.toISOString();
  const today = date.toDateString() === new Date().toDateString();
  const options = today ? {} : { day: "numeric", month: "short" };
  time.textContent = date.toLocaleString([], { hour: "2-digit", minute: "2-digit", ...options });
  head.append(author, " ", time);

  const bubble = document.createElement("p");
  bubble.className = "bubble";
  bubble.textContent = text;
  item.append(avatar(name), head, bubble);
  return item;
}

/** A message soon after another one by the same author has no head of its own. */
function joinAuthors(item) {
  const before = item?.previousElementSibling;
  const same =
    before?.dataset.name === item?.dataset.name && item?.dataset.at - before?.dataset.at < SAME_AUTHOR_MS;
  item?.classList.toggle("same", same === true);
}

/** Whether the message is to be shown; remembers its key. */
function isNew({ key }) {
  if (key && keys.has(key)) return false;
  if (key) keys.add(key);
  return true;
}

/** Own messages that wait for a connection, by their keys. */
const waiting = new Map();

function showWaiting(key, text) {
  const item = messageNode({ text, name: ownName, at: Date.now() });
  item.classList.add("waiting");
  item.querySelector("time").textContent = "waiting for the connection";
  waiting.set(key, item);
  list.append(item);
  list.scrollTop = list.scrollHeight;
  empty.hidden = true;
}

function endWaiting(key) {
  waiting.get(key)?.remove();
  waiting.delete(key);
}

function append(message, { fresh = true } = {}) {
  endWaiting(message.key);
  if (!isNew(message)) return;
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const item = messageNode(message);
  item.classList.toggle("fresh", fresh);
  list.append(item);
  joinAuthors(item);
  if (list.children.length > MAX_SHOWN) list.firstElementChild.remove();
  if (atEnd || message.name === ownName) list.scrollTop = list.scrollHeight;
  empty.hidden = true;
}

const stored = ({ id, text, name, key, sent_at: sentAt }) => ({ id, text, name, key, at: Date.parse(sentAt) });

function showLast({ messages }) {
  list.replaceChildren();
  keys.clear();
  for (const message of messages) append(stored(message), { fresh: false });
  list.append(...waiting.values());
  list.scrollTop = list.scrollHeight;
  empty.hidden = list.children.length > 0;
  complete = messages.length < pageSize;
  clearError("room-error");
}

/* Earlier messages, when the list is scrolled to its beginning */

let complete = false;
let fetching = false;

async function showEarlier() {
  const first = list.querySelector("[data-id]");
  if (complete || fetching || !first || list.children.length >= MAX_SHOWN) return;
  fetching = true;
  try {
    const { messages } = await call(channel, "recent", { before: Number(first.dataset.id) });
    if (!first.isConnected) return; // The list was shown anew meanwhile.
    complete = messages.length < pageSize;
    const height = list.scrollHeight;
    const items = messages.map(stored).filter(isNew).map(messageNode);
    list.setAttribute("aria-live", "off"); // They are not news.
    list.prepend(...items);
    for (const item of [...items, first]) joinAuthors(item);
    list.scrollTop += list.scrollHeight - height; // What was in view stays there.
    requestAnimationFrame(() => list.setAttribute("aria-live", "polite"));
  } catch (error) {
    showError("room-error", error, "Earlier messages were not loaded");
  } finally {
    fetching = false;
  }
}

list.addEventListener("scroll", () => {
  if (list.scrollTop < 60) showEarlier();
});

/* Who is here */

const here = document.querySelector("#here");
const hereList = document.querySelector("#here-list");
let shownNames = null;

function showMembers(members, count) {
  const names = [...members.values()].map(({ info }) => info?.name ?? "unknown");
  names.sort((a, b) => (b === ownName) - (a === ownName) || a.localeCompare(b));
  const labels = names.map((name) => (name === ownName ? "you" : name));
  const shown = names.slice(0, AVATARS_SHOWN).map((name, index) => {
    const item = document.createElement("li");
    const text = document.createElement("span");
    text.className = "hidden";
    text.textContent = labels[index];
    item.title = labels[index];
    item.append(avatar(name), text);
    return item;
  });
  hereList.replaceChildren(...shown);
  const others = count - Math.min(count, NAMES_SHOWN);
  const more = others > 0 ? ` and ${others} more` : "";
  document.querySelector("#here-count").textContent = `${count} here`;
  document.querySelector("#here-names").textContent = `: ${labels.slice(0, NAMES_SHOWN).join(", ")}${more}`;
  here.hidden = false;
  announce(names);
  for (const name of typingTimers.keys()) if (!names.includes(name)) showTyping(name, false);
}

/** Says who came and who left, for screen readers. */
function announce(names) {
  const before = shownNames;
  shownNames = new Set(names);
  if (!before) return;
  const came = names.filter((name) => !before.has(name)).map((name) => `${name} is here`);
  const left = [...before].filter((name) => !shownNames.has(name)).map((name) => `${name} left`);
  document.querySelector("#here-announcement").textContent = [...came, ...left].join(", ");
}

/* Who is typing: transient messages, which no one stores */

/** The names of users who are typing, each with the timer that removes it. */
const typingTimers = new Map();

function showTyping(name, active) {
  clearTimeout(typingTimers.get(name));
  typingTimers.delete(name);
  if (active) typingTimers.set(name, setTimeout(() => showTyping(name, false), TYPING_SHOWN_MS));
  const names = [...typingTimers.keys()];
  const who = names.length > 3 ? "Several people" : names.join(" and ");
  typing.textContent = names.length ? `${who} ${names.length > 1 ? "are" : "is"} typing…` : "";
}

/* The subscription */

const followed = follow(channel, {
  onMessage(payload, { event, sender }) {
    const name = sender?.name ?? "unknown";
    if (event === "typing") {
      if (name !== ownName) showTyping(name, true);
      return;
    }
    showTyping(name, false);
    append({ text: textOf(payload), name, at: Date.now(), key: payload?.key });
  },
  load: () => call(channel, "recent"),
  onLoaded: showLast,
  onMembers: showMembers,
  onError: (error) => showError("room-error", error),
});

document.querySelector(".chat-rooms [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

/* The composer */

composer.addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = composer.elements.text;
  const text = input.value;
  // `randomUUID` exists only on https and localhost.
  const key = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("");
  try {
    input.value = "";
    if (client.state === "connecting" || client.state === "reconnecting") showWaiting(key, text);
    await publish(channel, { text, key }, { key });
    clearError("room-error");
  } catch (error) {
    if (!input.value) input.value = text;
    showError("room-error", error, "The message was not sent");
  } finally {
    endWaiting(key);
  }
  input.focus();
});

composer.elements.text.addEventListener("input", (event) => {
  if (event.target.value) followed.typing();
});
