"""The interface of a site's routes in TypeScript."""

from __future__ import annotations

import dataclasses
import datetime
import uuid
from typing import Any, NamedTuple, Optional

import msgspec
import pytest

from channels_realtime import Channel
from channels_realtime.channels import ChannelRegistry
from channels_realtime.errors import ImproperUse
from channels_realtime.schema.routes import describe
from channels_realtime.schema.typescript import typescript
from tests.support.servers import ROOT
from tests.support.typed_channels import typed_routes


def test_written_routes_are_those_that_are_compiled() -> None:
    # `python -m tests.support.typed_channels > tests/js/types/routes.d.ts` writes it anew.
    file = ROOT / "tests/js/types/routes.d.ts"
    assert file.read_text(encoding="utf-8") == typescript(describe(typed_routes()))


class Pair(msgspec.Struct, array_like=True, tag="pair"):
    a: int
    b: bytes


class Point(NamedTuple):
    x: float
    y: float


@dataclasses.dataclass
class Everything:
    """All (*that* there is), of */ one object.

    Not this.
    """

    id: uuid.UUID
    days: dict[datetime.date, bool | None]
    anything: Any
    pair: Pair
    point: Point
    parent: Optional[Everything] = None  # noqa: UP045 - it is not defined yet
    tags: frozenset[str] = frozenset()
    unset: msgspec.UnsetType | int = msgspec.UNSET


def written(channel_class: type[Channel]) -> str:
    routes = ChannelRegistry()
    routes.register("x", channel_class)
    return typescript(describe(routes))


def test_every_kind_of_field_has_its_type() -> None:
    text = written(type("X", (Channel,), {"messages": Everything}))
    assert (
        """\
/** All (*that* there is), of *\\/ one object. */
export interface Everything {
  id: string;
  days: { [key: string]: boolean | null };
  anything: unknown;
  pair: ["pair", number, string];
  point: [number, number];
  parent: Everything | null;
  tags: Array<string>;
  unset?: number;
}
"""
        in text
    )


def test_client_may_leave_out_the_last_items_of_an_array() -> None:
    class Row(msgspec.Struct, array_like=True):
        a: int
        b: int | None = None

    class Spot(NamedTuple):
        x: float
        y: float = 0.0

    Grid = dataclasses.make_dataclass("Grid", [("row", Row), ("spot", Spot)])
    attributes = {"messages": {"a": Grid}, "client_events": ("a",), "can_publish": len}
    text = written(type("X", (Channel,), attributes))
    assert "interface Grid {\n  row: [number, number | null];\n  spot: [number, number];\n}" in text
    assert (
        "interface GridInput {\n  row: [number, (number | null)?];\n  spot: [number, number?];\n}"
        in text
    )


@pytest.mark.parametrize("name", ["Array", "Routes", "string"])
def test_name_that_typescript_or_the_file_has_is_not_taken(name: str) -> None:
    kind = dataclasses.make_dataclass(name, [("rows", list[int])])
    text = written(type("X", (Channel,), {"messages": kind}))
    assert f"export interface {name}Payload {{\n  rows: Array<number>;\n}}" in text


def test_types_of_one_name_get_numbers() -> None:
    other = dataclasses.make_dataclass("Everything", [("x", int)])
    text = written(type("X", (Channel,), {"messages": {"a": Everything, "b-c": other}}))
    assert "export interface Everything2 {\n  x: number;\n}\n" in text
    assert '| { event: "b-c"; payload: Everything2 };\n' in text


def test_type_that_cannot_be_read_is_refused() -> None:
    broken = dataclasses.make_dataclass("Broken", [("x", "Missing")])
    with pytest.raises(ImproperUse) as refused:
        written(type("X", (Channel,), {"messages": broken}))
    assert refused.value.reason == (
        "the declared type Broken has no schema: name 'Missing' is not defined;"
        " `manage.py check` names it (E041)"
    )
