"""`manage.py realtime_schema`."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator

import pytest
from django.core.management import CommandError, call_command

from channels_realtime import Channel
from channels_realtime.channels import registry
from tests.support.typed_channels import OrderChannel


@pytest.fixture(autouse=True)
def route() -> Iterator[None]:
    registry.register("typed/<int:order_id>", OrderChannel)
    yield
    registry.unregister("typed/<int:order_id>")


def written(*arguments: str) -> str:
    out = io.StringIO()
    call_command("realtime_schema", *arguments, stdout=out)
    return out.getvalue()


def test_writes_asyncapi_by_default():
    document = json.loads(
        written("--title", "Shop", "--api-version", "2", "--server", "ws://a/ws/")
    )
    assert (document["asyncapi"], document["info"]) == ("3.0.0", {"title": "Shop", "version": "2"})
    assert "typed_order_id" in document["channels"]


def test_writes_the_format_that_is_asked_for():
    assert "$defs" in json.loads(written("--format", "json-schema"))
    assert '  "typed/<int:order_id>": {\n' in written("--format", "typescript")


def test_file_is_written_and_checked(tmp_path):
    file = tmp_path / "routes.d.ts"
    arguments = ("--format", "typescript", "--output", str(file))
    stale = (
        f"{file} is not what the channel classes say. Write it with:"
        f" manage.py realtime_schema --format typescript --output {file}"
    )
    with pytest.raises(CommandError) as missing:
        written(*arguments, "--check")
    assert str(missing.value) == stale
    assert not file.exists()
    assert written(*arguments) == ""
    assert written(*arguments, "--check") == ""
    file.write_text(file.read_text() + "\n")
    with pytest.raises(CommandError) as other:
        written(*arguments, "--check")
    assert str(other.value) == stale


def test_check_needs_a_file():
    with pytest.raises(CommandError) as refused:
        written("--check")
    assert str(refused.value) == "--check compares a file: give it with --output FILE."


def test_file_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(CommandError) as refused:
        written("--output", str(tmp_path))
    assert str(refused.value) == f"{tmp_path}: Is a directory."


def test_type_without_a_schema_is_said():
    broken = dataclasses.make_dataclass("Broken", [("x", Channel)])
    registry.register("broken", type("X", (Channel,), {"messages": broken}))
    try:
        with pytest.raises(CommandError) as refused:
            written()
    finally:
        registry.unregister("broken")
    assert str(refused.value) == (
        "the declared type Broken has no schema: type <class 'channels_realtime.channels.Channel'> is"
        " not supported; `manage.py check` names it (E041)"
    )
