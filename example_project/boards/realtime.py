"""`boards/<id>`: the cards of one board as they are saved, and the calls of its page.

Clients cannot publish here. Their calls change the model, and the model's signals publish. The types of both
are declared: what does not fit is refused, and `manage.py realtime_schema` writes them for other languages.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from django.db import transaction
from msgspec import Meta

from channels_realtime import Channel, Client, History, action, position, register
from channels_realtime.errors import BadPayload, UnknownChannel

from .models import Board, Card, CardPayload

Id = Annotated[int, Meta(ge=1, lt=2**53)]


@dataclass
class CardId:
    id: Id


@dataclass
class Move:
    """Where a card goes: to a column, before another card or to its end."""

    card: Id
    status: Literal["todo", "doing", "done"]
    before: Id | None = None


class Cards(TypedDict):
    cards: list[CardPayload]
    position: dict[str, Any]


@register("boards/<int:board_id>/summary")
class SummaryChannel(Channel):
    """What the home page shows of a board: HTML alone, which the signals render."""

    messages = {}
    history = History(size=50, ttl=600)

    async def can_subscribe(self, connection: Client) -> bool:
        return connection.user.is_authenticated


@register("boards/<int:board_id>")
class BoardChannel(Channel):
    messages = {"card.saved": CardPayload, "card.deleted": CardId}
    history = History(size=200, ttl=600)

    def can_subscribe(self, connection: Client) -> bool:
        if not connection.user.is_authenticated:
            return False
        if not Board.objects.filter(pk=self.kwargs["board_id"]).exists():
            raise UnknownChannel()  # the same answer as when no route matches
        return True

    @action
    def cards(self, connection: Client, payload: None) -> Cards:
        """All cards of the board, for a page whose position is older than the channel's history."""
        at = position(self.name)  # before the rows: what is saved from now on comes as a message
        cards = Card.objects.filter(board_id=self.kwargs["board_id"])
        return {
            "cards": [card.as_payload() for card in cards],
            "position": {"epoch": at.epoch, "offset": at.offset},
        }

    @action
    def move(self, connection: Client, payload: Move) -> CardPayload:
        with transaction.atomic():
            card = self._card(payload.card)
            before = None if payload.before is None else self._card(payload.before)
            if before is not None and (before.status != payload.status or before.pk == card.pk):
                before = None  # another user has just moved it
            card.place(payload.status, before=before)
        return card.as_payload()

    @action
    def delete(self, connection: Client, payload: CardId) -> None:
        self._card(payload.id).delete()

    def _card(self, card_id: int) -> Card:
        card = Card.objects.filter(board_id=self.kwargs["board_id"], pk=card_id).first()
        if card is None:
            raise BadPayload("The card is not on this board; it may have been deleted.")
        return card
