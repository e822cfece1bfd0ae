/**
 * Updates the pages of the admin while they are open: the list of connections, one connection, nodes and others.
 *
 * In: messages on the site's own WebSocket that rows have changed, or a timer. The script then fetches the page again
 * from its own URL, so that the server applies permissions, filters, order and language, and replaces what differs.
 * Focus, selection, ticked boxes and opened details stay. Text from clients arrives as escaped HTML, as on a reload.
 */

const REFRESH_HEADER = "X-Realtime-Refresh";

/** Least time from one fetch to the next. */
const LEAST_MS = 1000;
const FETCH_TIMEOUT_MS = 15000;

/** States in which the page stops updating. */
const ENDS = new Set(["gone", "refused", "signed_out"]);

/**
 * The parts of a fetched page that replace those shown; the list also replaces rows and choices. `data-key` identifies
 * rows.
 * @type {Record<string, string[]>}
 */
const PARTS = {
  list: [".paginator", "#toolbar .quiet", "#realtime-empty"],
  detail: ["#realtime-connection"],
  page: ["#realtime-content"],
};

/* -- the checkboxes of the list ------------------------------------------------------------------------------------ */

/**
 * Django's actions.js gets the checkboxes once, when the page has loaded. It gets this array instead, which is updated
 * with the rows.
 * @type {HTMLInputElement[]}
 */
const boxes = [];
/** @type {((found: any, options?: object) => void) | undefined} */
const djangoActions = /** @type {any} */ (window).Actions;
let actionsBegun = false;

/** @param {Iterable<HTMLInputElement>} found @param {object} [options] */
function beginActions(found, options) {
  boxes.splice(0, boxes.length, ...found);
  actionsBegun = true;
  djangoActions?.(boxes, options);
}

if (djangoActions) /** @type {any} */ (window).Actions = beginActions;
document.addEventListener("change", (event) => {
  if (event.target instanceof Element && event.target.matches("#result_list input.action-select")) followBoxes();
});

/** Updates the array and the counters after the rows have changed. */
function followBoxes() {
  const found = /** @type {HTMLInputElement[]} */ ([...document.querySelectorAll("#result_list input.action-select")]);
  const toggle = /** @type {HTMLInputElement | null} */ (document.getElementById("action-toggle"));
  if (!actionsBegun && djangoActions && toggle && found.length > 0) beginActions(found);
  boxes.splice(0, boxes.length, ...found);
  const across = /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("input.select-across"));
  if ([...across].some((input) => input.value === "1")) {
    for (const box of found) box.checked = true; // All pages are selected, so new rows are too.
  }
  for (const box of found) box.closest("tr")?.classList.toggle("selected", box.checked);
  const chosen = found.filter((box) => box.checked).length;
  if (toggle) toggle.checked = found.length > 0 && chosen === found.length;
  for (const counter of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("span.action-counter"))) {
    counter.dataset.actionsIcnt = String(found.length);
    const { interpolate, ngettext } = /** @type {any} */ (window);
    if (!interpolate || !ngettext) continue;
    const format = ngettext("%(sel)s of %(cnt)s selected", "%(sel)s of %(cnt)s selected", chosen);
    setText(counter, interpolate(format, { sel: chosen, cnt: found.length }, true));
  }
}

/* -- replacing what differs ---------------------------------------------------------------------------------------- */

/** @param {Node} node @returns {string} Identifies a node among its siblings; empty without an id or key. */
function keyOf(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return "";
  const element = /** @type {Element} */ (node);
  if (element.id) return `#${element.id}`;
  const isRow = element.localName === "tr" || element.localName === "tbody"; // Some themes have a body for each row.
  const key = isRow ? element.querySelector("[data-key]")?.getAttribute("data-key") : null;
  return key ? `=${key}` : "";
}

/** @param {Node} node */
function isBlank(node) {
  return node.nodeType === Node.TEXT_NODE && /** @type {Text} */ (node).data.trim() === "";
}

/** @param {Element} current @param {Element} fresh */
function morphAttributes(current, fresh) {
  for (const { name } of [...current.attributes]) {
    if (isReaders(current, name) || fresh.hasAttribute(name)) continue;
    current.removeAttribute(name);
  }
  for (const { name, value } of [...fresh.attributes]) {
    if (isReaders(current, name) || current.getAttribute(name) === value) continue;
    current.setAttribute(name, value);
  }
}

/** Whether the user sets an attribute: opened details, ticked and selected rows. @param {Element} element @param {string} name */
function isReaders(element, name) {
  if (name === "open") return element.localName === "details";
  if (name === "checked") return element.localName === "input";
  return name === "class" && element.localName === "tr";
}

/** Makes `current` equal to `fresh`, and leaves what is equal untouched. @param {Node} current @param {Node} fresh */
export function morph(current, fresh) {
  if (current.nodeType !== Node.ELEMENT_NODE) {
    if (current.nodeValue !== fresh.nodeValue) current.nodeValue = fresh.nodeValue;
    return;
  }
  morphAttributes(/** @type {Element} */ (current), /** @type {Element} */ (fresh));
  morphChildren(current, fresh);
}

/** @param {Node} current @param {Node} fresh */
function morphChildren(current, fresh) {
  const wanted = new Set([...fresh.childNodes].map(keyOf));
  /** @type {Map<string, ChildNode>} */
  const keyed = new Map();
  for (const child of [...current.childNodes]) {
    const key = keyOf(child);
    if (!key) continue;
    if (wanted.has(key) && !keyed.has(key)) keyed.set(key, child);
    else child.remove(); // Before the others, so that they need not be moved and lose the focus.
  }
  let next = current.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = keyOf(child);
    while (next && isBlank(next) && !isBlank(child)) {
      const blank = next;
      next = next.nextSibling;
      blank.remove();
    }
    const match = key ? keyed.get(key) : next && !keyOf(next) && next.nodeName === child.nodeName ? next : null;
    if (!match || match.nodeName !== child.nodeName) {
      current.insertBefore(document.importNode(child, true), next);
      continue;
    }
    if (match === next) next = next.nextSibling;
    else current.insertBefore(match, next);
    morph(match, child);
  }
  while (next) {
    const left = next;
    next = next.nextSibling;
    left.remove();
  }
}

/** @param {Element} element @param {string} text */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {Document} fresh @param {string} kind */
function place(fresh, kind) {
  for (const part of PARTS[kind]) {
    const current = document.querySelector(part);
    const replacement = fresh.querySelector(part);
    if (current && replacement) morph(current, replacement);
  }
  if (kind === "list") {
    placeRows(fresh);
    placeFilters(fresh);
    placeCounts(fresh);
    followBoxes();
  }
}

/** The table exists only with rows. Its head stays: Django's script has listeners there. @param {Document} fresh */
function placeRows(fresh) {
  const current = /** @type {HTMLTableElement | null} */ (document.getElementById("result_list"));
  const replacement = /** @type {HTMLTableElement | null} */ (fresh.getElementById("result_list"));
  const box = current?.parentElement;
  if (!current || !box) {
    const table = replacement?.parentElement;
    if (table) document.getElementById("realtime-empty")?.before(document.importNode(table, true));
    return;
  }
  box.hidden = !replacement;
  if (!replacement) {
    for (const body of current.tBodies) body.replaceChildren();
  } else if (current.tBodies.length === 1 && replacement.tBodies.length === 1) {
    morph(current.tBodies[0], replacement.tBodies[0]); // The body stays for the same reason.
  } else {
    replacement.tHead?.remove();
    const head = current.tHead;
    head?.remove();
    morphChildren(current, replacement);
    if (head) current.prepend(head);
  }
}

/** The choices of the filters, except for the one with the focus. @param {Document} fresh */
function placeFilters(fresh) {
  const lists = "#changelist-filter details[data-filter-title] > ul";
  const replacements = [...fresh.querySelectorAll(lists)];
  const present = [...document.querySelectorAll(lists)];
  if (present.length !== replacements.length) return;
  present.forEach((list, number) => {
    if (!list.contains(document.activeElement)) morph(list, replacements[number]);
  });
}

/** The counts in the action bar; its buttons have listeners and stay. @param {Document} fresh */
function placeCounts(fresh) {
  for (const part of [".actions .question a", ".actions .all"]) {
    const replacements = fresh.querySelectorAll(part);
    document.querySelectorAll(part).forEach((element, number) => {
      if (replacements[number]) setText(element, replacements[number].textContent ?? "");
    });
  }
}

/* -- timing -------------------------------------------------------------------------------------------------------- */

/** A page that updates itself. */
class Page {
  /** @type {"connecting" | "live" | "polling"} How the page learns of changes. */
  #way = "connecting";
  #state = "off";
  #paused = false;
  #failed = false;
  #fetching = false;
  #wanted = false;
  #fetchedAt = performance.now();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {any} */
  #client = null;

  /** @param {HTMLElement} bar  Has the configuration and the texts from the server. */
  constructor(bar) {
    this.bar = bar;
    this.kind = bar.dataset.kind ?? "list";
    this.words = /** @type {HTMLElement} */ (bar.querySelector("#realtime-live-state"));
    this.button = /** @type {HTMLButtonElement} */ (bar.querySelector("#realtime-live-pause"));
    this.intervalMs = Number(bar.dataset.interval) * 1000;
    this.idleMs = Number(bar.dataset.idle) * 1000;
  }

  start() {
    this.button.hidden = false;
    this.button.addEventListener("click", () => this.#pause(!this.#paused));
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#want();
    });
    // Back from the back/forward cache: the page may be outdated.
    window.addEventListener("pageshow", (event) => event.persisted && this.#want());
    if (this.bar.dataset.channel) {
      this.#say();
      this.#listen();
    } else {
      this.#way = "live";
      this.#say();
    }
    this.#plan();
  }

  /** Subscribes to changes on the site's WebSocket, where it connects. */
  async #listen() {
    const { path = "/ws/", channel = "", client = "" } = this.bar.dataset;
    try {
      const { connect } = await import(client);
      this.#client = connect(path);
    } catch (error) {
      console.warn("This page is not live:", error);
      this.#setWay("polling");
      return;
    }
    this.#client.on("state", (/** @type {string} */ state) => {
      if (state !== "connected" && state !== "connecting") this.#setWay("polling");
    });
    this.#client.on("error", () => {}); // Handled by the states.
    this.#client.subscribe(channel, {
      onMessage: () => this.#want(),
      onSubscribed: () => {
        this.#setWay("live");
        this.#want();
      },
      onUnsubscribed: () => this.#setWay("polling"),
      onError: () => this.#setWay("polling"),
    });
  }

  /** @param {"live" | "polling"} way */
  #setWay(way) {
    this.#way = way;
    this.#say();
    this.#plan();
  }

  /** @param {boolean} paused */
  #pause(paused) {
    this.#paused = paused;
    setText(this.button, this.bar.getAttribute(paused ? "data-words-resume" : "data-words-pause") ?? "");
    this.#say();
    if (!paused) this.#want();
  }

  #say() {
    if (ENDS.has(this.#state)) return;
    this.#enter(this.#paused ? "paused" : this.#failed ? "failing" : this.#way);
  }

  /** @param {string} state */
  #enter(state) {
    this.#state = state;
    this.bar.dataset.state = state;
    setText(this.words, this.bar.getAttribute(`data-words-${state}`) ?? "");
    if (!ENDS.has(state)) return;
    clearTimeout(this.#timer);
    this.button.hidden = true;
    this.#client?.close();
  }

  /** Plans a fetch because something may have changed. */
  #want() {
    this.#wanted = true;
    this.#plan();
  }

  #plan() {
    clearTimeout(this.#timer);
    if (this.#paused || this.#fetching || document.hidden || ENDS.has(this.#state)) return;
    const pause = this.#wanted && !this.#failed ? LEAST_MS : this.#way === "live" ? this.idleMs : this.intervalMs;
    const since = performance.now() - this.#fetchedAt;
    this.#timer = setTimeout(() => this.#fetch(), Math.max(0, pause - since));
  }

  async #fetch() {
    this.#wanted = false;
    this.#fetching = true;
    this.#fetchedAt = performance.now();
    let end = "";
    try {
      end = await this.#renew();
      this.#failed = false;
    } catch {
      this.#failed = true; // Network, server or timeout; the state shows it.
    }
    this.#fetching = false;
    if (end) this.#enter(end);
    else this.#say();
    this.#plan();
  }

  /** @returns {Promise<string>} The state that stops the updates, or empty. */
  async #renew() {
    const response = await fetch(location.href, {
      headers: { [REFRESH_HEADER]: "1" },
      credentials: "same-origin",
      cache: "no-store",
      redirect: "manual", // A redirect leads to the login page.
      signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
    });
    if (response.type === "opaqueredirect") return "signed_out";
    if (response.status === 403) return "refused";
    const gone = response.status === 404 && this.kind === "detail";
    if (!response.ok && !gone) throw new Error(`status ${response.status}`);
    const text = await response.text();
    if (!this.#paused) place(new DOMParser().parseFromString(text, "text/html"), this.kind);
    return gone ? "gone" : "";
  }
}

const bar = document.getElementById("realtime-live");
if (bar) new Page(bar).start();
