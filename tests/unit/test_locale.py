"""The German translation is complete, compiled and shown."""

from __future__ import annotations

import ast
import datetime
import gettext
import re
from pathlib import Path

import pytest
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation.template import templatize

import channels_realtime
from channels_realtime.models import ConnectionRecord, NodeRecord
from tests.unit.admin.pages_read import read, rows

PACKAGE = Path(channels_realtime.__file__).parent
PO = PACKAGE / "locale/de/LC_MESSAGES/django.po"
LIST = reverse("admin:channels_realtime_connectionrecord_changelist")
STRING = r"u?(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
CALL = re.compile(rf"\b(?:gettext|_)\({STRING}\)|\bngettext\({STRING}, {STRING}, count\)")
KEPT = re.compile(r"%\(\w+\)\w|%[sd%]|<[^>]+>|\{[^}]*\}|\b[A-Z]+_[A-Z_]+\b")
"""What is the same in every language: placeholders, markup, code."""

Found = dict[str, str | None]  # message ids, with their plurals


def in_python(source: str) -> Found:
    """The messages that a module passes to gettext."""
    found: Found = {}
    for node in ast.walk(ast.parse(source)):
        name = ast.unparse(node.func).split(".")[-1] if isinstance(node, ast.Call) else ""
        assert "pgettext" not in name, "this reader knows no contexts"
        if name.startswith("ngettext"):
            found[ast.literal_eval(node.args[0])] = ast.literal_eval(node.args[1])
        elif name == "_" or name.startswith("gettext"):
            found.setdefault(ast.literal_eval(node.args[0]))
    return found


def in_template(source: str) -> Found:
    """The messages of a template, as makemessages finds them."""
    text = templatize(source)
    calls = CALL.findall(text)
    assert len(calls) == len(re.findall(r"gettext\(|\b_\(", text)), "a call of a kind unknown here"
    return in_python("\n".join(calls))


@pytest.fixture(scope="module")
def entries() -> list[dict[str, str]]:
    """Each by keyword: ``msgid``, ``msgstr``, ``msgstr[0]`` … and ``#,`` for its flags."""
    entries = []
    for block in PO.read_text("utf-8").strip().split("\n\n"):
        entry, keyword = {"#,": ""}, ""
        for line in block.splitlines():
            if line.startswith('"'):
                entry[keyword] += ast.literal_eval(line)
            else:
                keyword, _, rest = line.partition(" ")
                entry[keyword] = rest if line.startswith("#") else ast.literal_eval(rest)
        entries.append(entry)
    return entries


def test_translation_has_every_text_of_the_package_and_no_other(entries):
    found: Found = {}
    for pattern, read_file in (("*.py", in_python), ("*.html", in_template)):
        for path in PACKAGE.rglob(pattern):
            for text, plural in read_file(path.read_text("utf-8")).items():
                found[text] = plural or found.get(text)
    assert {entry["msgid"]: entry.get("msgid_plural") for entry in entries[1:]} == found


def test_translation_leaves_nothing_open(entries):
    for entry in entries:
        texts = {key: text for key, text in entry.items() if key.startswith("msgstr")}
        singular = "msgid_plural" not in entry
        assert texts.keys() == ({"msgstr"} if singular else {"msgstr[0]", "msgstr[1]"})
        assert all(texts.values()), entry
        assert "fuzzy" not in entry["#,"], entry
    assert "#~" not in PO.read_text("utf-8")


def test_translation_keeps_placeholders_and_markup(entries):
    forms = {"msgstr": "msgid", "msgstr[0]": "msgid", "msgstr[1]": "msgid_plural"}
    for entry in entries[1:]:
        for form in forms.keys() & entry.keys():
            assert sorted(KEPT.findall(entry[form])) == sorted(KEPT.findall(entry[forms[form]]))


def test_compiled_translation_says_what_its_source_says(entries):
    expected: dict[str | tuple[str, int], str] = {}
    for entry in entries[1:]:
        for n, form in enumerate(("msgstr[0]", "msgstr[1]")):
            expected |= {(entry["msgid"], n): entry[form]} if form in entry else {}
        expected |= {entry["msgid"]: entry["msgstr"]} if "msgstr" in entry else {}
    with PO.with_suffix(".mo").open("rb") as file:
        compiled = vars(gettext.GNUTranslations(file))["_catalog"]
    assert {key: text for key, text in compiled.items() if key} == expected


def test_list_of_connections_speaks_german(admin_client):
    now = timezone.now()
    node = NodeRecord.objects.create(
        id="n", host="web1", pid=1, started_at=now, lease_until=now + datetime.timedelta(hours=1)
    )
    since = {"connected_at": now - datetime.timedelta(minutes=5), "seen_at": now}
    ConnectionRecord.objects.create(
        connection_id="c1", node=node, health="slow", auth_method="session", **since
    )
    with translation.override(None):  # the middleware's choice would outlast the test
        response = admin_client.get(LIST, headers={"accept-language": "de"})
    assert response.headers["Content-Language"] == "de"
    for words in ("Verbindungen", "Echtzeit", "Zuletzt gesehen", "Nach Verbindungsbeginn"):
        assert words in read(response)
    [row] = rows(response)
    for cell in ("langsam", "vor 5 min"):
        assert cell in row.values()
