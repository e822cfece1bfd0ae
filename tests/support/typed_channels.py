"""Channel classes that declare what one can: what is published, by whom, parameters and calls.

``python -m tests.support.typed_channels > tests/js/types/routes.d.ts`` writes their TypeScript.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import sys
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import msgspec

from channels_realtime import Channel, action
from channels_realtime.channels import ChannelRegistry
from channels_realtime.schema.routes import describe
from channels_realtime.schema.typescript import typescript


class Status(enum.Enum):
    PAID = "paid"
    SENT = "sent"


@dataclasses.dataclass
class StatusChanged:
    status: Status
    total: decimal.Decimal
    at: datetime.datetime | None = None


class Line(msgspec.Struct, rename="camel"):
    product_name: str
    pieces: Annotated[int, msgspec.Meta(ge=1)] = 1


class Note(msgspec.Struct):
    """A note that somebody wrote."""

    text: str
    author: str
    lines: list[Line] = []


class NewNote(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    lines: list[Line] = []

    def __post_init__(self) -> None:
        if self.text == "bug":
            raise TypeError("unsupported operand of the site's own code")
        if not self.text.strip():
            raise ValueError("a note needs a text")


class Typing(TypedDict):
    name: str
    since: NotRequired[float]


class Card(msgspec.Struct, tag="card"):
    last4: str


class Cash(msgspec.Struct, tag="cash"):
    pass


class Filter(msgspec.Struct):
    symbol: str = "AAPL"
    depth: Literal[1, 5] = 1


class Rename(msgspec.Struct):
    name: str


class OrderChannel(Channel):
    public = True
    messages = {
        "status": StatusChanged,
        "note": Note,
        "paid": Card | Cash,
        "cleared": None,
        "said": str | Card,
        None: Line,
    }
    client_events = {"note": NewNote, "paid": Card | Cash}
    transient_events = {"typing": Typing}
    parameters_type = Filter

    async def can_publish(self, connection):
        return True

    async def on_publish(self, connection, payload, event):
        if isinstance(payload, NewNote):
            return Note(text=payload.text, author="anna", lines=payload.lines)
        return payload

    @action
    async def rename(self, connection, payload: Rename) -> Line:
        assert isinstance(payload, Rename)
        return Line(product_name=payload.name)

    @action
    async def anything(self, connection, payload: Any):
        return payload

    @action
    async def double(self, connection, payload: int) -> int:
        return payload * 2


class PriceChannel(OrderChannel):
    select = "symbol"


class BoardChannel(OrderChannel):
    """A board.

    With a second paragraph.
    """

    undeclared_events = True
    parameters_type = None
    actions = {}


class FileChannel(Channel):
    """Declares nothing."""

    client_events = ("moved",)

    def can_publish(self, connection):
        return False


class ReadOnlyChannel(Channel):
    messages = Card

    @action(name="count-all")
    def count_all(self, connection, payload: list[Filter]) -> dict[str, tuple[int, str]]:
        return {}


def typed_routes() -> ChannelRegistry:
    """A site's routes, overlapping and of every kind of placeholder."""
    routes = ChannelRegistry()
    routes.register("orders/<int:order_id>", OrderChannel)
    routes.register("boards/<slug:board>", BoardChannel)
    routes.register("boards/<slug:board>/cards", ReadOnlyChannel)
    routes.register("files.d/<path:name>", FileChannel)
    routes.register("prices", PriceChannel)
    return routes


if __name__ == "__main__":  # writes tests/js/types/routes.d.ts
    sys.stdout.write(typescript(describe(typed_routes())))
