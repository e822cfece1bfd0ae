/**
 * The page's CSRF tokens: of its configuration, its `<meta name="csrf-token">` and its cookie. What the page says is old
 * after a login in another tab, and the cookie may have another name.
 *
 * @param {string | string[] | undefined} configured
 * @param {any} [page]
 * @returns {string[]}  In the order in which to try them.
 */
export function csrfTokens(configured, page = globalThis.document) {
  const meta = page?.querySelector('meta[name="csrf-token"]')?.getAttribute("content");
  const cookie = page?.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1];
  return [...new Set([configured, meta, cookie].flat())].filter(Boolean);
}
