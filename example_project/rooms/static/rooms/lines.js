/** What the lines of a room look like, here and on the home page. */

/** A publication's text, or null where it is no line. */
export function textOf(payload) {
  if (typeof payload === "string") return payload;
  if (payload && typeof payload.text === "string") return payload.text;
  return JSON.stringify(payload);
}

/** A round mark in a colour of the name's own. */
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
