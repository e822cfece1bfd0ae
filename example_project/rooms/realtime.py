"""`rooms/<slug>`: every signed-in user may read and write, and sees who is there and who is typing.

A page publishes {"text": …, "key": …}; a device on `/ws/bare/rooms/<slug>` sends plain text. Subscribers
receive it unchanged. The server adds the author as the message's `sender`.
"""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet

from channels_realtime import Channel, Client, History, Presence, action, position, register
from channels_realtime.errors import BadPayload

from .models import MAX_TEXT_CHARACTERS, Message, Room

RECENT_MESSAGES = 60
CLEAN_UP_EVERY = 100  # messages


@register("rooms/<slug:slug>")
class RoomChannel(Channel):
    history = History(size=200, ttl=3600)
    presence = Presence(grace=5)
    transient_events = ("typing",)  # not stored, and limited in rate
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

    def on_publish(self, connection: Client, payload: Any, event: str | None) -> Any:
        """Refuse empty messages and store the others."""
        text = payload.get("text") if isinstance(payload, dict) else payload
        if event is None and isinstance(text, str):
            if not text.strip():
                raise BadPayload("The message is empty.")
            key = payload.get("key") if isinstance(payload, dict) else None
            self._store(connection.user, text, key if isinstance(key, str) else "")
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

    @action
    def recent(self, connection: Client, payload: Any) -> dict[str, Any]:
        """The last messages, oldest first, with the channel's position; or those before {"before": 57}."""
        before = payload.get("before") if isinstance(payload, dict) else None
        messages = Message.objects.filter(room__slug=self.kwargs["slug"]).select_related("user")
        if type(before) is int and 0 < before < 2**53:
            return {"messages": self._page(messages.filter(pk__lt=before))}
        at = position(
            self.name
        )  # before the rows: what is published from now on comes as a message
        return {
            "messages": self._page(messages),
            "position": {"epoch": at.epoch, "offset": at.offset},
        }

    def _page(self, messages: "QuerySet[Message]") -> list[dict[str, object]]:
        return [message.as_payload() for message in reversed(messages[:RECENT_MESSAGES])]
