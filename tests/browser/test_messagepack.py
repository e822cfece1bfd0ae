"""The JavaScript client with binary frames, in Chromium against real servers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.site import new_site, publish

if TYPE_CHECKING:
    from playwright.sync_api import Page

CONNECT = """async (build) => {
  const { connect } = await import(`/static/channels_realtime/${build}`);
  window.got = [];
  window.protocols = [];
  class Recorded extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols);
      this.addEventListener("message", ({ data }) => window.protocols.push([this.protocol, data.constructor.name]));
    }
  }
  window.client = connect(null, { format: "msgpack", WebSocket: Recorded });
  const { ready } = window.client.subscribe("kept/a", ({ payload }) => window.got.push(payload));
  await ready;
  const bytes = Uint8Array.of(0, 255);
  const called = await window.client.call("public/a", "echo", { text: "ü", number: -1.5, none: null });
  await window.client.publish("kept/a", { bytes });
  return called;
}"""


@pytest.mark.parametrize(
    ("kind", "build"), [("daphne", "realtime.js"), ("uvicorn", "realtime.min.js")]
)
def test_a_page_speaks_messagepack(page: Page, tmp_path: Path, kind: str, build: str) -> None:
    with new_site(tmp_path).serve(kind) as server:
        page.goto(server.url("/"))
        assert page.evaluate(CONNECT, build) == {"text": "ü", "number": -1.5, "none": None}
        publish(server, "kept/a", [1, 2**40, "x" * 300])
        page.wait_for_function("window.got.length === 2", timeout=10_000)
        first = page.evaluate("[window.got[0].bytes.constructor.name, [...window.got[0].bytes]]")
        assert first == ["Uint8Array", [0, 255]]
        assert page.evaluate("window.got[1]") == [1, 2**40, "x" * 300]
        kinds = page.evaluate("[...new Set(window.protocols.map(String))]")
        assert kinds == ["realtime.v1.msgpack,ArrayBuffer"]
