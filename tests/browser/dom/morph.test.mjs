/** Morphing, in a document. */

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { morph, morphChildren } from "/channels_realtime/js/src/elements/morph.js";
import { parse } from "/channels_realtime/js/src/elements/swap.js";

const { moveBefore } = Element.prototype;

afterEach(() => {
  document.body.replaceChildren();
  if (moveBefore) Element.prototype.moveBefore = moveBefore;
});

/** The body with this content. */
function shown(html) {
  document.body.innerHTML = html;
  return document.body;
}

function become(html) {
  morphChildren(document.body, parse(html));
}

const $ = (selector) => document.querySelector(selector);

test("the result is the new content", () => {
  const contents = [
    "",
    "text",
    "<p>a</p>",
    "<p>a</p><p>b</p>",
    "<p id=b>b</p>text<p id=a class=x>a <b>c</b></p><!-- d -->",
    "<p id=a>a</p><p id=b>b</p><p id=c>c</p>",
    "<p id=c>c</p><p id=a>a</p><p id=b>b</p>",
    "<ul><li>1</li><li>2</li></ul>",
    "<ul>\n<li id=x>0</li>\n<li>1</li>\n<li>2</li>\n</ul><template><p>a</p></template>",
    "<p id=a><span id=c>c</span></p><div id=b></div>",
    '<table><tbody><tr id="r"><td>1</td></tr></tbody></table><template><p>b</p></template>',
  ];
  for (const before of contents) {
    for (const after of contents) {
      shown(before);
      become(after);
      const expected = document.createElement("body");
      expected.innerHTML = after;
      assert.equal(document.body.innerHTML, expected.innerHTML, `from ${before} to ${after}`);
    }
  }
});

/** Contents of any shape, the same ones at each run. */
function* contents(count) {
  let seed = 1;
  const below = (limit) => (seed = (seed * 1103515245 + 12345) % 2147483648) % limit;
  const some = (depth, ids) => {
    let html = "";
    for (let left = below(5); left > 0; left -= 1) {
      const id = `i${below(8)}`;
      const attributes = below(2) && !ids.has(id) ? ` id="${id}"` : below(3) === 0 ? ` name="n${below(3)}"` : "";
      if (attributes.includes("id=")) ids.add(id);
      const tag = ["div", "span", "x-x", "input", "#text"][below(5)];
      if (tag === "#text") html += `t${below(4)}<!--c-->`;
      else if (tag === "input") html += `<input${attributes}>`;
      else html += `<${tag}${attributes}>${depth ? some(depth - 1, ids) : ""}</${tag}>`;
    }
    return html;
  };
  while (count--) yield some(3, new Set());
}

for (const modern of [true, false]) {
  test(`any content becomes any other, and the focus stays${modern ? "" : ", without moveBefore"}`, () => {
    if (!modern) Element.prototype.moveBefore = undefined;
    let before = "";
    for (const after of contents(500)) {
      const input = $("input:last-of-type");
      input?.focus();
      become(after);
      assert.equal(document.body.innerHTML, after, `from ${before}`);
      if (input?.isConnected) assert.equal(document.activeElement, input, `from ${before} to ${after}`);
      before = after;
    }
  });
}

test("elements with an id are the same elements wherever they stand", () => {
  shown("<p id=a>a</p><p id=b>b</p><p id=c>c</p>");
  const before = { a: $("#a"), b: $("#b"), c: $("#c") };
  become("<p id=c>C</p><p id=n>new</p><p id=a>A</p>");
  assert.equal($("#a"), before.a);
  assert.equal($("#c"), before.c);
  assert.equal(before.a.textContent, "A");
  assert.equal(before.b.isConnected, false);
});

test("an element with another id is another element", () => {
  shown("<li id=a><input></li>");
  const input = $("input");
  input.value = "for a";
  become("<li id=b><input></li>");
  assert.equal($("input").value, "");
});

test("what a removed element stood before is not moved", () => {
  shown("<p id=a></p><p id=b></p><p id=c></p>");
  const moved = [];
  const observer = new MutationObserver((records) => moved.push(...records));
  observer.observe(document.body, { childList: true });
  become("<p id=b></p><p id=c></p>");
  const nodes = observer.takeRecords().flatMap(({ addedNodes }) => [...addedNodes]);
  observer.disconnect();
  assert.deepEqual(nodes, []);
});

test("nothing is touched where nothing differs", () => {
  const html = '<p id="a" class="x">text <b>b</b></p><input name="n" value="v"><!-- c -->';
  shown(html);
  const observer = new MutationObserver(() => {});
  observer.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
  become(html);
  assert.deepEqual(observer.takeRecords(), []);
  observer.disconnect();
});

for (const modern of [true, false]) {
  test(`focus and selection survive a move${modern ? "" : ", without moveBefore"}`, () => {
    if (!modern) Element.prototype.moveBefore = undefined;
    shown("<p id=a>a</p><p id=b>b</p><p id=c><input name=n value=text></p><p id=d>d</p>");
    const input = $("input");
    input.focus();
    input.setSelectionRange(1, 3);
    become("<p id=d>d</p><p id=c>new <input name=n value=text></p><p id=b>B</p><p id=a>A</p>");
    assert.equal(document.activeElement, input);
    assert.deepEqual([input.selectionStart, input.selectionEnd], [1, 3]);
    assert.equal(document.body.textContent, "dnew BA");
  });
}

test("what the visitor has typed stays, and what was not touched follows the server", () => {
  shown('<input name="a" value="1"><input name="b" value="1"><textarea name="c">1</textarea><input name="d" type="checkbox">');
  $("[name=a]").value = "typed";
  $("[name=d]").click();
  become('<input name="a" value="2"><input name="b" value="2"><textarea name="c">2</textarea><input name="d" type="checkbox">');
  assert.equal($("[name=a]").value, "typed");
  assert.equal($("[name=b]").value, "2");
  assert.equal($("[name=c]").value, "2");
  assert.equal($("[name=d]").checked, true);
});

test("a field with another name is another field", () => {
  shown("<input name=a>");
  $("input").value = "typed";
  become("<input name=b>");
  assert.equal($("input").value, "");
});

test("scroll positions survive", () => {
  shown('<div id="box" style="height: 50px; overflow: auto"><p style="height: 500px">a</p></div>');
  $("#box").scrollTop = 100;
  become('<p>first</p><div id="box" style="height: 50px; overflow: auto"><p style="height: 500px">b</p></div>');
  assert.equal($("#box").scrollTop, 100);
});

test("details and dialogs that the visitor has opened stay open", () => {
  shown("<details><summary>s</summary>a</details>");
  $("details").open = true;
  become("<details><summary>s</summary>b</details>");
  assert.equal($("details").open, true);
  assert.equal($("details").textContent, "sb");
});

test("what is to be kept is left alone", () => {
  shown('<div data-realtime-keep class="a"><p>own</p></div>');
  become('<div data-realtime-keep class="b"><p>server</p></div>');
  assert.equal(document.body.innerHTML, '<div data-realtime-keep="" class="a"><p>own</p></div>');
});

test("a form with fields named like properties is morphed", () => {
  shown("<form id=f><input name=id><input name=name><input name=children></form>");
  const form = $("form");
  $("[name=children]").value = "typed";
  become("<form id=f class=x><input name=id><input name=name><input name=children></form>");
  assert.equal($("form"), form);
  assert.equal(form.className, "x");
  assert.equal($("[name=children]").value, "typed");
});

test("an element becomes another one by being replaced", () => {
  shown("<p id=a>a</p>");
  morph($("#a"), parse("<div id=a>b</div>").firstChild);
  assert.equal(document.body.innerHTML, '<div id="a">b</div>');
});

test("a thousand elements in the reverse order are quick", () => {
  const items = Array.from({ length: 1000 }, (_, index) => `<li id="i${index}">${index}</li>`);
  shown(items.join(""));
  const start = performance.now();
  become(items.reverse().join(""));
  assert.equal(document.body.firstChild.id, "i999");
  assert.ok(performance.now() - start < 1000);
});
