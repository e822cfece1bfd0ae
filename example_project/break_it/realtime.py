"""`break/ticks`: a number twice a second, kept for a page that was away.

The history bridges a lost connection. Where it is gone too (the memory of a server that was restarted), the page
loads the numbers from the database.
"""

from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from channels_realtime import Channel, Client, History, action, position, register

from .models import MAX_TICKS, Tick


@dataclass
class Number:
    number: int


@dataclass
class After:
    after: Annotated[int, Meta(ge=0, lt=2**53)]


class Missed(TypedDict):
    numbers: list[int]
    position: dict[str, Any]


@register("break/ticks")
class TicksChannel(Channel):
    messages = {"tick": Number}
    history = History(size=MAX_TICKS, ttl=600)

    async def can_subscribe(self, connection: Client) -> bool:
        return connection.user.is_authenticated

    @action
    def missed(self, connection: Client, payload: After) -> Missed:
        """The numbers after one, and up to which position of the channel they go."""
        at = position(self.name)  # before the rows: what comes from now on is a message
        numbers = Tick.objects.filter(pk__gt=payload.after).values_list("pk", flat=True)
        return {
            "numbers": list(numbers),
            "position": {"epoch": at.epoch, "offset": at.offset},
        }
