/** The configuration in the page: where the server is, and what POST requests have to carry. */

/**
 * @typedef {{url?: string, http?: string, csrfToken?: string, csrfHeader?: string}} PageConfiguration
 */

/** The JSON in `<script id="realtime-config">`, as the template tag writes it. @returns {PageConfiguration} */
export function pageConfiguration() {
  return JSON.parse(globalThis.document?.getElementById?.("realtime-config")?.textContent || "{}");
}

/** @param {string} name @returns {string | undefined} The content of the page's `<meta>` of that name. */
export function pageMeta(name) {
  const meta = globalThis.document?.querySelector(`meta[name="${name}"]`);
  return meta?.getAttribute("content")?.trim();
}

/** The address, absolute, and without a fragment, which a WebSocket may not have. @param {string | URL} url @returns {string} */
export function absoluteUrl(url) {
  // Without the setters of URL: in React Native they throw, and it appends a slash to what it parses.
  let text = String(url);
  if (!/^\w+:/.test(text)) {
    const page = globalThis.location?.href.replace(/^blob:/, ""); // The location of a worker made from a text.
    if (!page) throw new TypeError(`the address '${text}' needs a page; expected one such as 'wss://www.example.com/ws/'`);
    text = new URL(text, page).href;
  }
  return text.replace(/#.*$/, "");
}
