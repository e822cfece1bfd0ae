/** How a room's messages are shown, on its page and on the home page. */

/** A publication's text; any other payload as JSON. */
export function textOf(payload) {
  if (typeof payload === "string") return payload;
  if (payload && typeof payload.text === "string") return payload.text;
  return JSON.stringify(payload);
}

/** A circle with the name's first letter, in a colour computed from the name. */
export function avatar(name) {
  const node = document.createElement("span");
  node.className = "avatar";
  node.setAttribute("aria-hidden", "true");
  node.textContent = (name[0] ?? "?").toUpperCase();
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + letter.codePointAt(0)) % 360;
  node.style.setProperty("--hue", hash);
  return node;
}
