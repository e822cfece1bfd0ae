/** A chat room: the last messages come by a call, new ones by the subscription. */
import { call, clearError, follow, publish, showError } from "site";
import { avatar, textOf } from "./messages.js";

const MAX_SHOWN = 300;
const SAME_AUTHOR_MS = 3 * 60 * 1000;
const TYPING_SHOWN_MS = 3000;

const room = document.querySelector("#room");
const list = document.querySelector("#messages");
const empty = document.querySelector("#no-messages");
const composer = document.querySelector("#composer");
const typing = document.querySelector("#typing");
const channel = `rooms/${room.dataset.slug}`;
const ownName = document.body.dataset.name;

/** Keys of the messages shown: one that came both by the call and live is shown once. */
const keys = new Set();

function show({ text, name, at, key }, { fresh = true } = {}) {
  if (key && keys.has(key)) return;
  if (key) keys.add(key);
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const before = list.lastElementChild;
  const item = document.createElement("li");
  const same = before && before.dataset.name === name && at - Number(before.dataset.at) < SAME_AUTHOR_MS;
  item.className = `message${name === ownName ? " own" : ""}${same ? " same" : ""}${fresh ? " fresh" : ""}`;
  item.dataset.name = name;
  item.dataset.at = at;

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
  list.append(item);
  if (list.children.length > MAX_SHOWN) list.firstElementChild.remove();
  if (atEnd || name === ownName) list.scrollTop = list.scrollHeight;
  empty.hidden = true;
}

/** The names of users who are typing, each with the timer that removes it. */
const typingTimers = new Map();

function showTyping(name, active) {
  clearTimeout(typingTimers.get(name));
  typingTimers.delete(name);
  if (active) typingTimers.set(name, setTimeout(() => showTyping(name, false), TYPING_SHOWN_MS));
  const names = [...typingTimers.keys()];
  typing.textContent = names.length ? `${names.join(" and ")} ${names.length > 1 ? "are" : "is"} typing…` : "";
}

/** Messages that arrive while the call for earlier ones runs; null: show them at once. */
let pending = null;

function receive(message) {
  if (pending) pending.push(message);
  else show(message);
}

follow(channel, {
  onMessage(payload, message) {
    const name = message.sender?.name ?? "unknown";
    if (message.event === "typing") {
      if (name !== ownName) showTyping(name, true);
      return;
    }
    showTyping(name, false);
    receive({ text: textOf(payload), name, at: Date.now(), key: payload?.key });
  },
  async onReady() {
    pending = [];
    try {
      const { messages } = await call(channel, "recent");
      list.replaceChildren();
      keys.clear();
      for (const { text, name, key, sent_at: sentAt } of messages) {
        show({ text, name, key, at: Date.parse(sentAt) }, { fresh: false });
      }
      list.scrollTop = list.scrollHeight;
      empty.hidden = list.children.length > 0;
      clearError("room-error");
    } finally {
      const messages = pending;
      pending = null;
      for (const message of messages) show(message);
    }
  },
  onError: (error) => showError("room-error", error),
});

document.querySelector(".chat-rooms [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

composer.addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = composer.elements.text;
  const text = input.value;
  // `randomUUID` exists only on https and localhost.
  const key = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("");
  try {
    input.value = "";
    lastTypingAt = 0;
    await publish(channel, { text, key });
    clearError("room-error");
  } catch (error) {
    if (!input.value) input.value = text;
    showError("room-error", error, "The message was not sent");
  }
  input.focus();
});

let lastTypingAt = 0;
composer.elements.text.addEventListener("input", (event) => {
  if (!event.target.value || Date.now() - lastTypingAt < TYPING_SHOWN_MS / 2) return;
  lastTypingAt = Date.now();
  // Losing this event does no harm.
  publish(channel, null, { event: "typing" }).catch(() => {});
});
