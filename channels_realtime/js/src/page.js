/** What the page says about its site: where the server is, and what its POSTs carry. */

/**
 * @typedef {{url?: string, http?: string, csrfToken?: string, csrfHeader?: string}} PageConfiguration
 */

/** The JSON in `<script id="realtime-config">`, as the template tag writes it. @returns {PageConfiguration} */
export function pageConfiguration() {
  return JSON.parse(globalThis.document?.getElementById?.("realtime-config")?.textContent || "{}");
}

/** @param {string} name @returns {string | undefined} What the page's `<meta>` of that name says. */
export function pageMeta(name) {
  const meta = globalThis.document?.querySelector(`meta[name="${name}"]`);
  return meta?.getAttribute("content")?.trim();
}

/** The address, absolute, without what a WebSocket's may not have. @param {string | URL} url @returns {string} */
export function absoluteUrl(url) {
  // Not by the setters of URL: React Native's throw, and it appends a slash to what it parses.
  let text = String(url);
  if (!/^\w+:/.test(text)) {
    const page = globalThis.location?.href.replace(/^blob:/, ""); // As of a worker made from a text.
    if (!page) throw new TypeError(`the address '${text}' needs a page; expected one such as 'wss://www.example.com/ws/'`);
    text = new URL(text, page).href;
  }
  return text.replace(/#.*$/, "");
}
