/** A chat room: the last lines by a call, the next ones as they are said. */
import { call, clearError, follow, publish, showError } from "site";
import { avatar, textOf } from "./lines.js";

const MAX_SHOWN = 300;
const SAME_SPEAKER_MS = 3 * 60 * 1000;
const TYPING_SHOWN_MS = 3000;

const room = document.querySelector("#room");
const list = document.querySelector("#lines");
const empty = document.querySelector("#lines-empty");
const composer = document.querySelector("#composer");
const typing = document.querySelector("#typing");
const channel = `rooms/${room.dataset.slug}`;
const ownName = document.body.dataset.name;

/** Keys of the lines shown, so that one which came by the call and live is shown once. */
const keys = new Set();

function show({ text, name, at, key }, { fresh = true } = {}) {
  if (key && keys.has(key)) return;
  if (key) keys.add(key);
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const before = list.lastElementChild;
  const line = document.createElement("li");
  const same = before && before.dataset.name === name && at - Number(before.dataset.at) < SAME_SPEAKER_MS;
  line.className = `line${name === ownName ? " own" : ""}${same ? " same" : ""}${fresh ? " fresh" : ""}`;
  line.dataset.name = name;
  line.dataset.at = at;

  const saidBy = document.createElement("p");
  saidBy.className = "said-by";
  const who = document.createElement("b");
  who.textContent = name === ownName ? "You" : name;
  const when = document.createElement("time");
  const date = new Date(at);
  when.dateTime = date.toISOString();
  const today = date.toDateString() === new Date().toDateString();
  const options = today ? {} : { day: "numeric", month: "short" };
  when.textContent = date.toLocaleString([], { hour: "2-digit", minute: "2-digit", ...options });
  saidBy.append(who, " ", when);

  const bubble = document.createElement("p");
  bubble.className = "bubble";
  bubble.textContent = text;
  line.append(avatar(name), saidBy, bubble);
  list.append(line);
  if (list.children.length > MAX_SHOWN) list.firstElementChild.remove();
  if (atEnd || name === ownName) list.scrollTop = list.scrollHeight;
  empty.hidden = true;
}

/** Names of who is typing, each with the timer that forgets it. */
const typists = new Map();

function showTyping(name, active) {
  clearTimeout(typists.get(name));
  typists.delete(name);
  if (active) typists.set(name, setTimeout(() => showTyping(name, false), TYPING_SHOWN_MS));
  const names = [...typists.keys()];
  typing.textContent = names.length ? `${names.join(" and ")} ${names.length > 1 ? "are" : "is"} typing…` : "";
}

/** Live lines that arrive while the earlier ones are being asked for; null: show them at once. */
let waiting = null;

function receive(line) {
  if (waiting) waiting.push(line);
  else show(line);
}

follow(channel, {
  onMessage(payload, message) {
    const name = message.sender?.name ?? "somebody";
    if (message.event === "typing") {
      if (name !== ownName) showTyping(name, true);
      return;
    }
    showTyping(name, false);
    receive({ text: textOf(payload), name, at: Date.now(), key: payload?.key });
  },
  async onReady() {
    waiting = [];
    try {
      const { lines } = await call(channel, "recent");
      list.replaceChildren();
      keys.clear();
      for (const { text, name, key, said_at: saidAt } of lines) {
        show({ text, name, key, at: Date.parse(saidAt) }, { fresh: false });
      }
      list.scrollTop = list.scrollHeight;
      empty.hidden = list.children.length > 0;
      clearError("room-error");
    } finally {
      const lines = waiting;
      waiting = null;
      for (const line of lines) show(line);
    }
  },
  onError: (error) => showError("room-error", error),
});

document.querySelector(".chat-rooms [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

composer.addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = composer.elements.text;
  const text = input.value;
  // `randomUUID` exists on https and localhost alone.
  const key = Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join("");
  try {
    input.value = "";
    lastTypingAt = 0;
    await publish(channel, { text, key });
    clearError("room-error");
  } catch (error) {
    if (!input.value) input.value = text;
    showError("room-error", error, "The line was not sent");
  }
  input.focus();
});

let lastTypingAt = 0;
composer.elements.text.addEventListener("input", (event) => {
  if (!event.target.value || Date.now() - lastTypingAt < TYPING_SHOWN_MS / 2) return;
  lastTypingAt = Date.now();
  // A lost word of who is typing is no loss.
  publish(channel, null, { event: "typing" }).catch(() => {});
});
