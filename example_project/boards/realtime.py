"""`boards/<id>`: the cards of one board as they are saved, and the calls of its page.

Clients cannot publish here. Their calls change the model, and the model's signals publish.
"""

from typing import Any

from django.db import transaction

from channels_realtime import Channel, Client, History, action, position, register
from channels_realtime.errors import BadPayload, UnknownChannel

from .models import Board, Card


@register("boards/<int:board_id>")
class BoardChannel(Channel):
    history = History(size=200, ttl=600)

    def can_subscribe(self, connection: Client) -> bool:
        if not connection.user.is_authenticated:
            return False
        if not Board.objects.filter(pk=self.kwargs["board_id"]).exists():
            raise UnknownChannel()  # the same answer as when no route matches
        return True

    @action
    def cards(self, connection: Client, payload: Any) -> dict[str, Any]:
        """All cards of the board, for a page whose position is older than the channel's history."""
        at = position(self.name)  # before the rows: what is saved from now on comes as a message
        cards = Card.objects.filter(board_id=self.kwargs["board_id"])
        return {
            "cards": [card.as_payload() for card in cards],
            "position": {"epoch": at.epoch, "offset": at.offset},
        }

    @action
    def move(self, connection: Client, payload: Any) -> dict[str, Any]:
        """{"card": 7, "status": "done", "before": 9 or null}"""
        status = payload.get("status") if isinstance(payload, dict) else None
        if status not in Card.Status.values:
            raise BadPayload(f"`status` must be one of: {', '.join(Card.Status.values)}.")
        with transaction.atomic():
            card = self._card(payload.get("card"))
            before_id = payload.get("before")
            before = None if before_id is None else self._card(before_id)
            if before is not None and (before.status != status or before.pk == card.pk):
                before = None  # another user has just moved it
            card.place(status, before=before)
        return card.as_payload()

    @action
    def delete(self, connection: Client, payload: Any) -> dict[str, Any]:
        """{"card": 7}"""
        card = self._card(payload.get("card") if isinstance(payload, dict) else None)
        card.delete()
        return {}

    def _card(self, card_id: Any) -> Card:
        if type(card_id) is int and abs(card_id) < 2**53:
            card = Card.objects.filter(board_id=self.kwargs["board_id"], pk=card_id).first()
            if card is not None:
                return card
        raise BadPayload("The card is not on this board; it may have been deleted.")
