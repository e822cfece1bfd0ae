/** The elements where there are none: a server that renders pages. `tests/browser/dom` tests them in a document. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, pageClient, RealtimeChannel } from "../../channels_realtime/js/src/elements/index.js";

test("importing the elements does nothing where there is no document", () => {
  assert.equal(globalThis[Symbol.for("channels_realtime.client")], undefined);
  assert.equal(globalThis.customElements?.get("realtime-channel") ?? RealtimeChannel, RealtimeChannel);
  assert.equal(typeof connect, typeof pageClient);
});
