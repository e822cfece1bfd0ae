"""`rooms/<slug>`: every signed-in user may read and write, and sees who is there and who is typing.

A page publishes {"text": …, "key": …}; a device on `/ws/bare/rooms/<slug>` sends plain text. Subscribers
receive it unchanged. The server adds the author as the message's `sender`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NotRequired, TypedDict

from django.db.models import QuerySet
from msgspec import UNSET, Meta, Struct, UnsetType

from channels_realtime import Channel, Client, History, Presence, action, position, register
from channels_realtime.errors import BadPayload

from . import live
from .models import MAX_TEXT_CHARACTERS, Message, Room

RECENT_MESSAGES = 60
CLEAN_UP_EVERY = 100  # messages


class Said(Struct):
    """What a page sends: a text, and the page's own id of it."""

    text: str
    key: str | UnsetType = UNSET


class StoredMessage(TypedDict):
    id: int
    text: str
    key: str
    name: str
    sent_at: datetime


class Recent(TypedDict):
    messages: list[StoredMessage]
    position: NotRequired[dict[str, Any]]


@dataclass
class Earlier:
    before: Annotated[int, Meta(ge=1, lt=2**53)]


@register("rooms")
class RoomsChannel(Channel):
    """What the list of rooms and the home page show of them: HTML alone, which `live` renders."""

    messages = {}
    history = History(size=100, ttl=600)

    async def can_subscribe(self, connection: Client) -> bool:
        return connection.user.is_authenticated


@register("rooms/<slug:slug>")
class RoomChannel(Channel):
    messages = Said | str
    history = History(size=200, ttl=3600)
    presence = Presence(grace=5)
    transient_events = {"typing": None}  # not stored, and limited in rate
    transient_rate = (1.0, 3.0)

    async def can_subscribe(self, connection: Client) -> bool:
        return connection.user.is_authenticated

    async def can_publish(self, connection: Client) -> bool:
        return connection.user.is_authenticated

    def sender(self, connection: Client) -> dict[str, Any]:
        return {"user": connection.user_id, "name": connection.user.get_username()}

    @classmethod
    def members_info(cls, clients: Sequence[Client]) -> dict[str, dict[str, str]]:
        """What others see of those who are there, many at once."""
        return {str(client.user_id): {"name": client.user.get_username()} for client in clients}

    def on_publish(
        self, connection: Client, payload: Said | str | None, event: str | None
    ) -> Said | str | None:
        """Refuse empty messages and store the others."""
        if payload is not None:  # not typing
            said = Said(payload) if isinstance(payload, str) else payload
            if not said.text.strip():
                raise BadPayload("The message is empty.")
            self._store(connection.user, said.text, said.key or "")
        return payload

    def _store(self, user: Any, text: str, key: str) -> None:
        """Store a message of an existing room, unless the database would refuse it: it is too long
        or contains NUL. Subscribers receive it anyway.
        """
        room = Room.objects.filter(slug=self.kwargs["slug"]).first()
        if room is not None and len(text) <= MAX_TEXT_CHARACTERS and "\x00" not in text + key:
            message = Message.objects.create(room=room, user=user, text=text, key=key[:64])
            if message.pk % CLEAN_UP_EVERY == 0:
                room.delete_old_messages()
            live.show_messages(room)

    @action
    def recent(self, connection: Client, payload: Earlier | None) -> Recent:
        """The last messages, oldest first, with the channel's position; or those before one."""
        messages = Message.objects.filter(room__slug=self.kwargs["slug"]).select_related("user")
        if payload is not None:
            return {"messages": self._page(messages.filter(pk__lt=payload.before))}
        # Before the rows: what is published from now on comes as a message.
        at = position(self.name)
        return {
            "messages": self._page(messages),
            "position": {"epoch": at.epoch, "offset": at.offset},
        }

    def _page(self, messages: "QuerySet[Message]") -> list[StoredMessage]:
        return [message.as_payload() for message in reversed(messages[:RECENT_MESSAGES])]
