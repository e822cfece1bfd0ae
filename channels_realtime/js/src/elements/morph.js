/**
 * Changes elements into what new HTML shows, as far as they differ: what stays the same is not touched, so that focus,
 * selection, scroll positions and what the visitor has typed survive.
 *
 * Children are paired by their element, `id` and `name`, in order; what has no pair is removed or inserted. The value
 * that a visitor gave a field stays, as do open `<details>` and `<dialog>`. `data-realtime-keep` leaves an element and
 * all in it alone.
 */

/** Attributes that the visitor or an element itself changes. @param {Element} element @param {string} name */
function isOwn({ nodeName }, name) {
  return name === "open" ? /^(DETAILS|DIALOG)$/.test(nodeName) : name === "state" && nodeName.startsWith("REALTIME-");
}

/** What pairs a child with a new one. @param {Node} node @returns {string} */
function keyOf(node) {
  const { attributes } = /** @type {Partial<Element>} */ (node);
  return [node.nodeName, attributes?.getNamedItem("id")?.value, attributes?.getNamedItem("name")?.value].join("\n");
}

/** @param {Node & ParentNode} parent @param {Node} child @param {Node | null} before */
function move(parent, child, before) {
  const { moveBefore } = /** @type {any} */ (parent);
  if (moveBefore && parent.isConnected) {
    moveBefore.call(parent, child, before); // Keeps the state of what it moves.
  } else if (child.contains(document.activeElement)) {
    for (let other = before; other && other !== child; ) {
      const next = other.nextSibling;
      parent.append(other); // In the place of the element with the focus, which would lose it.
      other = next;
    }
  } else {
    parent.insertBefore(child, before);
  }
}

/**
 * @param {Element} element  Becomes what `to` is; replaced where it is another element.
 * @param {Element} to  Of this document. Parts of it move to the element.
 */
export function morph(element, to) {
  if (keyOf(element) !== keyOf(to)) {
    element.replaceWith(to);
    return;
  }
  if (element.hasAttribute("data-realtime-keep") || element.nodeName === "REALTIME-PRESENCE") return;
  for (const { name, value } of to.attributes) {
    if (element.getAttribute(name) !== value && !isOwn(element, name)) element.setAttribute(name, value);
  }
  for (const { name } of [...element.attributes]) {
    if (!to.hasAttribute(name) && !isOwn(element, name)) element.removeAttribute(name);
  }
  if (element instanceof HTMLTemplateElement) element.innerHTML = to.innerHTML;
  else morphChildren(element, to);
}

/** @param {Node & ParentNode} parent @param {Node & ParentNode} to  The children that it is to have. */
export function morphChildren(parent, to) {
  /** @type {Map<string, ChildNode[]>} */
  const old = new Map();
  for (const child of parent.childNodes) {
    const key = keyOf(child);
    old.set(key, [...(old.get(key) ?? []), child]);
  }
  const pairs = [...to.childNodes].map((next) => /** @type {const} */ ([next, old.get(keyOf(next))?.shift()]));
  for (const child of [...old.values()].flat()) child.remove();
  let at = parent.firstChild;
  for (const [next, child] of pairs) {
    if (!child) {
      parent.insertBefore(next, at);
      continue;
    }
    if (child !== at) move(parent, child, at);
    at = child.nextSibling;
    if (child instanceof Element) morph(child, /** @type {Element} */ (next));
    else if (child.nodeValue !== next.nodeValue) child.nodeValue = next.nodeValue;
  }
}
