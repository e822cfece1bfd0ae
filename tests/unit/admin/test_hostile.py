"""Everything that a client sends is shown as text."""

from __future__ import annotations

import json

import pytest
from django.urls import reverse

from channels_realtime.admin.display import text, visible, whole_text
from channels_realtime.operations import TracePart
from tests.unit.admin.conftest import inspection
from tests.unit.admin.pages_read import read, rows, tags

pytestmark = pytest.mark.django_db

LIST = reverse("admin:channels_realtime_connectionrecord_changelist")

SCRIPT = "<script>alert(1)</script>"
QUOTES = "\"'><img src=x onerror=alert(1)>"
LONG = "ab<c>" * 2_000
OVERRIDE = "evil\u202egpj.exe"
NUL = "before\x00after"
HOSTILE = [SCRIPT, QUOTES, LONG, OVERRIDE, NUL, "\ud800", "{{ 7|add:1 }}", "javascript:alert(1)"]
NAMES = ["script", "quotes", "long", "override", "nul", "surrogate", "template", "url"]


def url(name, *arguments):
    return reverse(f"admin:channels_realtime_connectionrecord_{name}", args=arguments)


def stored(value):
    """As the registry writes it: without NUL and lone surrogates, cut by the column."""
    cleaned = value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    return cleaned.encode("utf-8", "replace").decode()[:255]


def assert_harmless(response):
    """The page has no markup from the client, and nothing that hides or reorders text."""
    content = response.content.decode()
    assert all(tag.get("src", "").startswith(("/", "static/")) or not tag.get("src")
               for tag in tags(response, "script"))  # fmt: skip
    assert "alert(1)" not in "".join(
        str(tag) for tag in tags(response, "script") + tags(response, "img")
    )
    assert not any(tag.get("onerror") for tag in tags(response, "img"))
    assert not any("javascript:" in (tag.get("href") or "") for tag in tags(response, "a"))
    assert not set(content) & set("\x00\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@pytest.mark.parametrize("value", HOSTILE, ids=NAMES)
def test_list_shows_hostile_values_as_text(viewer, connect, value):
    kept = stored(value)
    connect(
        kept,
        kept[:200],
        origin=kept,
        path=kept,
        consumer=kept,
        user_agent=kept,
        client_id=kept,
        address=kept[:45],
        transport=kept[:20],
        auth_method=kept[:30],
    )
    page = viewer.get(LIST, {"columns": "all"})
    assert_harmless(page)
    [row] = rows(page)
    row["user"] = row["user"].rpartition(" ")[0]
    shown = visible(kept)
    for name, limit in (("user", 60), ("path", 40), ("origin", 40), ("client_id", 24)):
        assert row[name].rstrip("…") in (shown, visible(kept[:limit]))


@pytest.mark.parametrize("value", HOSTILE, ids=NAMES)
def test_detail_shows_hostile_values_as_text(viewer, actor, connect, nodes, value):
    record = connect("alice")
    nodes.inspections[record.pk] = inspection(
        record,
        user=value,
        user_agent=value,
        origin=value,
        client_id=value,
        address=value,
        transport=value,
        dialect=value,
        auth={"method": value, "source": value, "expires_at": 1e20},
        connected_at=-1e20,
        headers=[[value, value]],
        subscriptions=[
            {"channel": value, "paused": False, "selections": 1, "epoch": value, "offset": 1}
        ],
    )
    for client in (viewer, actor):
        page = client.get(url("change", record.pk))
        assert page.status_code == 200
        assert_harmless(page)
        assert " ".join(visible(value).split()) in read(page)


@pytest.mark.parametrize("value", HOSTILE, ids=NAMES)
def test_confirmation_page_shows_hostile_values_as_text(actor, connect, nodes, value):
    kept = stored(value)
    record = connect(kept, address=kept[:45])
    page = actor.get(url("act", "unsubscribe"), {"connection": record.pk, "channel": kept[:200]})
    assert_harmless(page)
    assert visible(kept[:80]) in read(page)
    form = {"connections": record.pk, "text": SCRIPT}
    assert_harmless(actor.post(url("act", "notify"), form, follow=True))
    assert_harmless(actor.get(url("history", record.pk)))


@pytest.mark.parametrize("value", HOSTILE, ids=NAMES)
def test_list_shows_the_search_as_text(viewer, connect, value):
    connect("alice")
    for parameter in ("q", "user", "channel", "transport", "method", "process", "since"):
        page = viewer.get(LIST, {parameter: value.encode("utf-8", "replace").decode()[:2_000]})
        assert page.status_code in (200, 302)
        if page.status_code == 200:
            content = page.content.decode()
            assert "<script>alert" not in content
            assert "<img src=x" not in content


def test_trace_returns_text(tracer, connect, nodes):
    record = connect("alice")
    nodes.parts = [
        TracePart(
            events=[
                {
                    "number": 1,
                    "at": 1e20,
                    "direction": "in",
                    "type": SCRIPT,
                    "channel": OVERRIDE,
                    "event": NUL,
                    "id": QUOTES,
                    "code": None,
                    "size": 10,
                    "payload": {"text": OVERRIDE + LONG},
                }
            ],
            next=1,
            lost=0,
        )
    ]
    key = tracer.post(url("trace_start", record.pk), {"payloads": "on"}).json()["key"]
    answer = tracer.get(url("trace_events", record.pk), headers={"X-Realtime-Trace": key})
    assert answer["Content-Type"] == "application/json"
    [event] = json.loads(answer.content)["events"]
    assert (event["type"], event["channel"]) == (SCRIPT, "evil⟨U+202E⟩gpj.exe")
    assert event["event"] == "before⟨U+0000⟩after"
    assert event["payload"].startswith('{"text": "evil⟨U+202E⟩gpj.exeab<c>')
    assert len(event["payload"]) < 4_020


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("näh 漢字 🎉", "näh 漢字 🎉"),
        ("a\u200cb\u200dc", "a\u200cb\u200dc"),
        ("\x00", "⟨U+0000⟩"),
        ("a\nb\tc", "a⟨U+000A⟩b⟨U+0009⟩c"),
        ("\u202e\u2066\u061c\ufeff", "⟨U+202E⟩⟨U+2066⟩⟨U+061C⟩⟨U+FEFF⟩"),
        ("\u2028", "⟨U+2028⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("\x7f\x9b", "⟨U+007F⟩⟨U+009B⟩"),
        ("no\xa0break", "no\xa0break"),
    ],
)
def test_invisible_characters_are_made_visible(raw, shown):
    assert visible(raw) == shown


def test_long_text_is_cut_and_the_whole_is_available():
    cut = text("x" * 100 + "\u202e", limit=5)
    assert cut == (f'<bdi class="realtime-text" title="{"x" * 100}⟨U+202E⟩">xxxxx…</bdi>')
    assert text("x" * 5, limit=5) == '<bdi class="realtime-text">xxxxx</bdi>'
    whole = whole_text("<" * 10, limit=3)
    assert "<summary>" in whole
    assert "&lt;" * 3 + "…" in whole
    assert "&lt;" * 10 in whole
