"""`guestbook`: HTML that the views render. Clients publish nothing here."""

from collections.abc import Sequence
from typing import Any

from channels_realtime import Channel, Client, History, Presence, register


@register("guestbook")
class GuestbookChannel(Channel):
    history = History(size=100, ttl=600)
    presence = Presence(grace=5)

    async def can_subscribe(self, connection: Client) -> bool:
        return connection.user.is_authenticated

    @classmethod
    def members_info(cls, clients: Sequence[Client]) -> dict[str | None, Any]:
        return {client.user_id: {"name": client.user.get_username()} for client in clients}
