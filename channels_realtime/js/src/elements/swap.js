/** Puts the server's HTML into the page. */

import { csrfTokens } from "../fallbacks/csrf.js";
import { pageConfiguration } from "../page.js";
import { morph } from "./morph.js";

/** @typedef {{action: string, html?: string, target?: string}} Fragment  The payload of the event `realtime.html`. */

/** @type {{createHTML: (html: string) => any} | undefined} For pages that require trusted types. */
let policy;

/**
 * HTML as nodes of this document. Its scripts do not run, as with `innerHTML`.
 * @param {string} html
 * @param {(content: DocumentFragment) => Node} [choose]  What of it.
 * @returns {any}
 */
export function parse(html, choose = (content) => content) {
  policy ??= /** @type {any} */ (globalThis).trustedTypes?.createPolicy("channels-realtime", {
    createHTML: (/** @type {string} */ text) => text,
  });
  const template = document.createElement("template");
  template.innerHTML = policy ? policy.createHTML(html) : html;
  // The server has written it for everybody, without one visitor's token.
  for (const field of template.content.querySelectorAll('input[name="csrfmiddlewaretoken"]')) {
    field.setAttribute("value", csrfToken());
  }
  return document.importNode(choose(template.content), true);
}

/** The page's token; its cookie last, which is the newest. @returns {string} */
function csrfToken() {
  const field = /** @type {HTMLInputElement | null} */ (document.querySelector('input[name="csrfmiddlewaretoken"]'));
  return csrfTokens(pageConfiguration().csrfToken).at(-1) ?? field?.value ?? "";
}

/** Has htmx, where the page has it, look at new elements. @param {Iterable<Node>} nodes */
export function process(nodes) {
  for (const node of nodes) if (node instanceof Element) /** @type {any} */ (globalThis).htmx?.process(node);
}

/**
 * @param {Fragment} fragment
 * @param {Element} element  Where it arrived: the target if it has none.
 * @returns {Element[]}  What was changed. An action that this version does not know changes nothing.
 */
export function swap({ action, html = "", target }, element) {
  const root = /** @type {ParentNode} */ (/** @type {unknown} */ (element.getRootNode()));
  const targets = target ? [...root.querySelectorAll(target)] : [element];
  return targets.filter((one) => {
    const content = parse(html);
    const added = [...content.childNodes];
    if (action === "remove") one.remove();
    else if (action === "update") one.replaceChildren(content);
    else if (action === "replace") one.replaceWith(content);
    else if (action === "morph") {
      const [first] = content.children;
      if (!first) return false;
      morph(one, first);
      added.push(one);
    } else if (action === "append" || action === "prepend") {
      // What comes twice, such as in the page and in the first message, is there once.
      const ids = new Set([...content.children].map(({ id }) => id));
      for (const child of [...one.children]) if (child.id && ids.has(child.id)) child.remove();
      one[action](content);
    } else return false;
    process(added.filter((node) => node.isConnected));
    return true;
  });
}
