/**
 * Shows what one connection sends and receives, while this page is open.
 *
 * Start requests a key from the server, which records the trace in the admin log. With the key the page requests new events
 * once a second. Values are set as text, never as markup.
 */

const INTERVAL_MS = 1000;
const FETCH_TIMEOUT_MS = 15000;

/** Rows in the table; older ones are removed. */
const MAX_ROWS = 1000;

class Trace {
  /** @type {string | null} Null while no trace runs. */
  #key = null;
  #after = 0;
  #lost = 0;
  /** Incremented by each start and stop, to ignore responses to earlier requests. */
  #run = 0;
  #payloads = false;

  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.form = form;
    this.state = /** @type {HTMLElement} */ (document.getElementById("realtime-trace-state"));
    this.mark = /** @type {HTMLElement} */ (document.getElementById("realtime-trace-live"));
    this.rows = /** @type {HTMLElement} */ (document.getElementById("realtime-trace-events"));
    this.box = /** @type {HTMLInputElement} */ (document.getElementById("realtime-trace-payloads"));
    this.offersPayloads = !this.box.disabled; // A setting of the site.
    this.starter = /** @type {HTMLButtonElement} */ (document.getElementById("realtime-trace-start"));
    this.stopper = /** @type {HTMLButtonElement} */ (document.getElementById("realtime-trace-stop"));
    this.clearer = /** @type {HTMLButtonElement} */ (document.getElementById("realtime-trace-clear"));
  }

  listen() {
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    this.stopper.addEventListener("click", () => this.#stop());
    this.clearer.addEventListener("click", () => this.rows.replaceChildren());
    window.addEventListener("pagehide", () => this.#stop());
    this.clearer.disabled = false;
    this.#enable(false);
  }

  async #start() {
    if (this.#key !== null) return;
    const run = ++this.#run;
    this.starter.disabled = true;
    this.#say("starting");
    try {
      const response = await this.#ask(this.form.dataset.start, { method: "POST", body: new FormData(this.form) });
      if (!response || run !== this.#run) return;
      const answer = await response.json();
      if (!response.ok) {
        this.#end("refused", answer.text);
        return;
      }
      this.#key = answer.key;
      this.#payloads = answer.payloads === true;
    } catch {
      if (run === this.#run) this.#end("failing");
      return;
    }
    this.#after = 0;
    this.#lost = 0;
    this.#enable(true);
    this.#poll(run); // The first response confirms that the node traces.
  }

  /** @param {number} run */
  async #poll(run) {
    while (run === this.#run && this.#key !== null) {
      try {
        const url = `${this.form.dataset.events}?after=${this.#after}`;
        const response = await this.#ask(url, { headers: this.#headers(), cache: "no-store" });
        if (!response || run !== this.#run) return;
        const answer = await response.json();
        if (run !== this.#run) return;
        if (answer.state === "on") this.#show(answer);
        else if (answer.state === "silent") this.#say("failing", answer.text);
        else this.#end(answer.state, answer.text);
      } catch {
        if (run === this.#run) this.#say("failing");
      }
      await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
    }
  }

  /**
   * @param {string | undefined} url @param {RequestInit} options
   * @returns {Promise<Response | null>}  Null where the user has been logged out.
   */
  async #ask(url, options) {
    const response = await fetch(url ?? "", {
      credentials: "same-origin",
      redirect: "manual",
      signal: AbortSignal.timeout(FETCH_TIMEOUT_MS),
      ...options,
    });
    if (response.type !== "opaqueredirect") return response;
    this.#end("signed_out");
    return null;
  }

  #headers() {
    return { [this.form.dataset.keyHeader ?? ""]: this.#key ?? "" };
  }

  #stop() {
    if (this.#key === null) return;
    const body = new FormData();
    body.set("csrfmiddlewaretoken", /** @type {string} */ (new FormData(this.form).get("csrfmiddlewaretoken")));
    body.set("key", this.#key);
    // Also while the page unloads. If this request is lost, the trace ends by itself.
    fetch(this.form.dataset.stop ?? "", { method: "POST", body, credentials: "same-origin", keepalive: true }).catch(() => {});
    this.#end("stopped");
  }

  /** @param {string} state @param {string} [words] */
  #end(state, words) {
    this.#run += 1;
    this.#key = null;
    this.#enable(false);
    this.#say(state, words);
  }

  /** @param {boolean} running */
  #enable(running) {
    this.starter.disabled = running;
    this.box.disabled = running || !this.offersPayloads;
    this.stopper.disabled = !running;
  }

  #watching() {
    const lost = this.#lost ? ` ${this.form.getAttribute("data-words-lost")} ${this.#lost}` : "";
    const state = this.#payloads ? "on_payloads" : "on";
    this.#say("live", `${this.form.getAttribute(`data-words-${state}`)}${lost}`);
  }

  /** @param {string} state @param {string} [words] */
  #say(state, words) {
    this.mark.dataset.state = state;
    const text = words ?? this.form.getAttribute(`data-words-${state}`) ?? "";
    if (this.state.textContent !== text) this.state.textContent = text;
  }

  /** @param {{events: any[], next: number, lost: number}} part */
  #show({ events, next, lost }) {
    this.#after = next;
    this.#lost += lost;
    const box = /** @type {HTMLElement} */ (this.rows.closest(".realtime-trace"));
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
    this.rows.append(...events.map((event) => this.#row(event)));
    while (this.rows.childElementCount > MAX_ROWS) this.rows.firstElementChild?.remove();
    if (atEnd && events.length) box.scrollTop = box.scrollHeight; // Unless the user has scrolled back.
    this.#watching();
  }

  /** @param {any} event */
  #row(event) {
    const row = document.createElement("tr");
    if (event.out) row.className = "realtime-out";
    row.append(this.#cell(event.at), this.#direction(event.out));
    for (const name of ["type", "channel", "event", "id", "code"]) row.append(this.#cell(event[name]));
    row.append(this.#cell(String(event.size ?? ""), "realtime-number"));
    const payload = event.payload ?? event.withheld ?? "";
    row.append(this.#cell(payload, event.payload === undefined ? "realtime-quiet" : "realtime-payload"));
    return row;
  }

  /** @param {string} text @param {string} [className] */
  #cell(text, className = "") {
    const cell = document.createElement("td");
    cell.textContent = text;
    cell.dir = "auto";
    if (className) cell.className = className;
    return cell;
  }

  /** @param {boolean} out */
  #direction(out) {
    const cell = document.createElement("td");
    const arrow = document.createElement("span");
    arrow.textContent = out ? "↓" : "↑";
    arrow.setAttribute("aria-hidden", "true");
    const words = document.createElement("span");
    words.className = "realtime-hidden";
    words.textContent = this.form.getAttribute(out ? "data-words-out" : "data-words-in") ?? "";
    cell.title = words.textContent;
    cell.append(arrow, words);
    return cell;
  }
}

const form = document.getElementById("realtime-trace");
if (form instanceof HTMLFormElement) new Trace(form).listen();
