"""`rooms/<slug>`: whoever is signed in listens and speaks.

A page publishes {"text": …, "key": …}; a device on `/ws/bare/rooms/<slug>` sends plain text. What is
published goes out as it came in: who said it is in the message's `sender`, which the server writes.
"""

from typing import Any

from channels_realtime import Channel, Client, action, register
from channels_realtime.errors import BadPayload

from .models import MAX_TEXT_CHARACTERS, Line, Room

RECENT_LINES = 60
TRIM_EVERY = 100


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
        """Refuse an empty line and keep what a later visitor should see."""
        text = payload.get("text") if isinstance(payload, dict) else payload
        if event is None and isinstance(text, str):
            if not text.strip():
                raise BadPayload("The line is empty.")
            key = payload.get("key") if isinstance(payload, dict) else None
            self._keep(connection.user, text, key if isinstance(key, str) else "")
        return payload

    def _keep(self, user: Any, text: str, key: str) -> None:
        """Store the line. What does not fit (longer, or NUL, which databases refuse) only passes."""
        room = Room.objects.filter(slug=self.kwargs["slug"]).first()
        if room is not None and len(text) <= MAX_TEXT_CHARACTERS and "\x00" not in text + key:
            line = Line.objects.create(room=room, user=user, text=text, key=key[:64])
            if line.pk % TRIM_EVERY == 0:
                room.trim()

    @action
    def recent(self, connection: Client, payload: Any) -> dict[str, Any]:
        """The last lines, oldest first: asked for after each subscribe, so none is missed."""
        lines = Line.objects.filter(room__slug=self.kwargs["slug"]).select_related("user")
        return {"lines": [line.as_payload() for line in reversed(lines[:RECENT_LINES])]}
