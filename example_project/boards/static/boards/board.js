/**
 * A board. A card moves on the page only once the server has published its save. The page has the cards and the
 * channel's position; what was saved after it comes first.
 */
import { call, clearError, follow, showError } from "site";

const board = document.querySelector("#board");
const announcement = document.querySelector("#board-announcement");
const form = document.querySelector("#new-card");
const template = document.querySelector("#card-template");
const channel = `boards/${board.dataset.board}`;
const columns = [...board.querySelectorAll(".column")];
const listOf = (status) => board.querySelector(`[data-status="${CSS.escape(status)}"] .cards`);
const cardNode = (id) => board.querySelector(`[data-card="${id}"]`);
const titleOf = (node) => node.querySelector(".card-title").textContent;
const statusOf = (node) => node.closest(".column").dataset.status;
const columnTitle = (status) => board.querySelector(`#column-${CSS.escape(status)}`).textContent;

/** Change the page, and animate each card from its old place to its new one. */
function animateMoves(change) {
  const nodes = () => [...board.querySelectorAll(".card")];
  const before = new Map(nodes().map((node) => [node, node.getBoundingClientRect()]));
  change();
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const node of nodes()) {
    const old = before.get(node);
    if (!old) continue;
    const { left, top } = node.getBoundingClientRect();
    if (old.left === left && old.top === top) continue;
    node.animate(
      [{ transform: `translate(${old.left - left}px, ${old.top - top}px)` }, { transform: "none" }],
      { duration: 260, easing: "cubic-bezier(.2, .8, .2, 1)" },
    );
  }
}

function count() {
  for (const column of columns) {
    column.querySelector("[data-count]").textContent = column.querySelectorAll(".card").length;
  }
}

/** Put a card where its status and position say. Create it if it is not on the page. */
function place(card) {
  let node = cardNode(card.id);
  if (!node) {
    node = template.content.firstElementChild.cloneNode(true);
    node.dataset.card = card.id;
  }
  node.querySelector(".card-title").textContent = card.title;
  node.querySelector(".card-notes").textContent = card.notes;
  node.dataset.position = card.position;
  for (const button of node.querySelectorAll("button")) {
    button.setAttribute("aria-label", `${button.title}: ${card.title}`);
  }
  const list = listOf(card.status);
  if (!list) return null;
  const next = [...list.children].find(
    (other) =>
      other !== node &&
      (Number(other.dataset.position) > card.position ||
        (Number(other.dataset.position) === card.position && Number(other.dataset.card) > card.id)),
  );
  // Moving a node removes its focus, so do not move one that is already in its place.
  if (node.parentElement !== list || node.nextElementSibling !== (next ?? null)) {
    const focused = node.contains(document.activeElement) ? document.activeElement : null;
    list.insertBefore(node, next ?? null);
    focused?.focus();
    // At an edge, the button for that direction is hidden: focus another one of the card.
    if (focused && !focused.checkVisibility()) {
      [...node.querySelectorAll("button")].find((button) => button.checkVisibility())?.focus();
    }
  }
  return node;
}

function remove(id) {
  const node = cardNode(id);
  if (!node) return;
  announcement.textContent = `${titleOf(node)} was deleted`;
  node.remove();
}

function apply({ payload, event }) {
  animateMoves(() => {
    if (event === "card.deleted") {
      remove(payload.id);
    } else {
      const known = cardNode(payload.id);
      const from = known ? statusOf(known) : null;
      const node = place(payload);
      if (!node) return;
      node.classList.remove("changed");
      void node.offsetWidth; // restart the animation
      node.classList.add("changed");
      if (from === null) announcement.textContent = `${payload.title} was added to ${columnTitle(payload.status)}`;
      else if (from !== payload.status) announcement.textContent = `${payload.title} moved to ${columnTitle(payload.status)}`;
    }
    count();
  });
}

follow(channel, {
  since: board.dataset.position,
  onMessage: (payload, { event }) => apply({ payload, event }),
  load: () => call(channel, "cards"),
  onLoaded({ cards }) {
    const ids = new Set(cards.map((card) => String(card.id)));
    animateMoves(() => {
      for (const node of board.querySelectorAll(".card")) if (!ids.has(node.dataset.card)) node.remove();
      for (const card of cards) place(card);
      count();
    });
    clearError("board-error");
  },
  onError: (error) => showError("board-error", error),
});

async function request(method, payload) {
  try {
    await call(channel, method, payload);
    clearError("board-error");
  } catch (error) {
    showError("board-error", error, "The card was not changed");
  }
}

const move = (node, status, before) =>
  request("move", {
    card: Number(node.dataset.card),
    status,
    before: before ? Number(before.dataset.card) : null,
  });

/* Buttons, for use without a mouse. */

board.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  const node = button?.closest(".card");
  if (!node) return;
  if ("delete" in button.dataset) {
    request("delete", { id: Number(node.dataset.card) });
    return;
  }
  const column = columns.indexOf(node.closest(".column"));
  const status = statusOf(node);
  const direction = button.dataset.move;
  if (direction === "up" && node.previousElementSibling) move(node, status, node.previousElementSibling);
  if (direction === "down" && node.nextElementSibling) {
    move(node, status, node.nextElementSibling.nextElementSibling);
  }
  const neighbour = columns[column + { left: -1, right: 1 }[direction]];
  if (neighbour) move(node, neighbour.dataset.status, null);
});

/* Drag and drop. */

let dragged = null;

function dropTarget(event) {
  const column = event.target.closest(".column");
  if (!column || !dragged) return null;
  const others = [...column.querySelectorAll(".card")].filter((node) => node !== dragged);
  const before = others.find((node) => {
    const { top, height } = node.getBoundingClientRect();
    return event.clientY < top + height / 2;
  });
  return { column, before: before ?? null };
}

function unmark() {
  for (const node of board.querySelectorAll(".over, .drop-before, .drop-last")) {
    node.classList.remove("over", "drop-before", "drop-last");
  }
}

board.addEventListener("dragstart", (event) => {
  dragged = event.target.closest(".card");
  if (!dragged) return;
  event.dataTransfer.effectAllowed = "move";
  event.dataTransfer.setData("text/plain", titleOf(dragged));
  requestAnimationFrame(() => dragged?.classList.add("dragged"));
});
board.addEventListener("dragover", (event) => {
  const target = dropTarget(event);
  if (!target) return;
  event.preventDefault();
  unmark();
  target.column.classList.add("over");
  if (target.before) target.before.classList.add("drop-before");
  else target.column.querySelector(".cards").classList.add("drop-last");
});
board.addEventListener("drop", (event) => {
  const target = dropTarget(event);
  if (!target) return;
  event.preventDefault();
  move(dragged, target.column.dataset.status, target.before);
});
board.addEventListener("dragend", () => {
  dragged?.classList.remove("dragged");
  dragged = null;
  unmark();
});

/* The form posts as it would without a script. The new card arrives by the channel. */

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const response = await fetch(form.action, {
      method: "POST",
      body: new FormData(form),
      headers: { Accept: "application/json" },
    });
    if (!response.ok) {
      const type = response.headers.get("Content-Type") ?? "";
      const { reason } = type.includes("json") ? await response.json() : {};
      throw new Error(reason ?? `the server responded with ${response.status}`);
    }
    form.reset();
    form.elements.title.focus();
    clearError("board-error");
  } catch (error) {
    showError("board-error", error, "The card was not added");
  } finally {
    button.disabled = false;
  }
});
