from dataclasses import dataclass
from typing import Any, Self

from django.db import models
from django.urls import reverse


@dataclass
class CardPayload:
    """A card, as pages get it."""

    id: int
    title: str
    notes: str
    status: str
    position: float


class Board(models.Model):
    name = models.CharField(max_length=80)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("board", args=[self.pk])

    def counts(self) -> dict[str, int]:
        """How many cards each column has."""
        found = self.cards.order_by().values_list("status").annotate(models.Count("pk"))
        return dict.fromkeys(Card.Status.values, 0) | dict(found)


class Card(models.Model):
    """A task. `signals` publishes every save and delete to the board's channel."""

    class Status(models.TextChoices):
        TODO = "todo", "To do"
        DOING = "doing", "In progress"
        DONE = "done", "Done"

    board = models.ForeignKey(Board, on_delete=models.CASCADE, related_name="cards")
    title = models.CharField(max_length=120)
    notes = models.CharField(max_length=300, blank=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.TODO)
    position = models.FloatField(
        default=0, help_text="Cards of one column are shown in this order, lowest first."
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return self.title

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        card = super().from_db(*args, **kwargs)
        # The board that shows the card until a form moves it to another one.
        card.shown_on_board_id = card.__dict__.get("board_id")
        return card

    shown_on_board_id: int | None = None

    def as_payload(self) -> "CardPayload":
        return CardPayload(
            id=self.pk,
            title=self.title,
            notes=self.notes,
            status=self.status,
            position=self.position,
        )

    def place(self, status: str, *, before: "Card | None") -> None:
        """Move the card to a column, in front of the card `before` or to the end, and save it.

        Positions are fractions, so that a move writes one row. `before` must be in that column.
        """
        column = Card.objects.filter(board_id=self.board_id, status=status).exclude(pk=self.pk)
        if before is None:
            last = column.aggregate(last=models.Max("position"))["last"]
            self.position = 0.0 if last is None else last + 1.0
        else:
            above = column.filter(position__lt=before.position).aggregate(
                last=models.Max("position")
            )["last"]
            upper = before.position - 2.0 if above is None else above
            self.position = (upper + before.position) / 2
            if not upper < self.position < before.position:
                # About fifty moves into one gap exhaust a float: renumber the column.
                self._renumber(column)
                before.refresh_from_db()
                self.position = before.position - 0.5
        self.status = status
        self.save()

    @staticmethod
    def _renumber(column: "models.QuerySet[Card]") -> None:
        for number, card in enumerate(column.order_by("position", "pk")):
            card.position = float(number)
            card.save()
