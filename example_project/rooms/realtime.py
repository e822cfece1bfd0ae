"""`rooms/<slug>`: every signed-in user may read and write.

A page publishes {"text": …, "key": …}; a device on `/ws/bare/rooms/<slug>` sends plain text. Subscribers
receive it unchanged. The server adds the author as the message's `sender`.
"""

from typing import Any

from channels_realtime import Channel, Client, action, register
from channels_realtime.errors import BadPayload

from .models import MAX_TEXT_CHARACTERS, Message, Room

RECENT_MESSAGES = 60
CLEAN_UP_EVERY = 100  # messages


@register("rooms/<slug:slug>")
class RoomChannel(Channel):
    client_events = ("typing",)

    async def can_subscribe(self, connection: Client) -> bool:
        return connection.user.is_authenticated

    async def can_publish(self, connection: Client) -> bool:
        return connection.user.is_authenticated

    def sender(self, connection: Client) -> dict[str, Any]:
        return {"user": connection.user_id, "name": connection.user.get_username()}

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
        """The last messages, oldest first. A page calls this after each subscribe, to miss none."""
        messages = Message.objects.filter(room__slug=self.kwargs["slug"]).select_related("user")
        recent = reversed(messages[:RECENT_MESSAGES])
        return {"messages": [message.as_payload() for message in recent]}
