from typing import Any, Self

from django.db import models
from django.urls import reverse


class Board(models.Model):
    name = models.CharField(max_length=80)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("board", args=[self.pk])


class Card(models.Model):
    """A thing to do. Every save and delete is published to the board's channel: see `signals`."""

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
        # Which board still shows it, should a form give it to another one.
        card.shown_on_board_id = card.__dict__.get("board_id")
        return card

    shown_on_board_id: int | None = None

    def as_payload(self) -> dict[str, object]:
        return {
            "id": self.pk,
            "title": self.title,
            "notes": self.notes,
            "status": self.status,
            "position": self.position,
        }

    def place(self, status: str, *, before: "Card | None") -> None:
        """Put the card into a column, before another card of it or last, and save it.

        Positions are fractions, so that a move writes one row. `before` has to be in that column.
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
                # Some fifty moves into one gap use up the fractions: number the column anew.
                self._spread(column)
                before.refresh_from_db()
                self.position = before.position - 0.5
        self.status = status
        self.save()

    @staticmethod
    def _spread(column: "models.QuerySet[Card]") -> None:
        for number, card in enumerate(column.order_by("position", "pk")):
            card.position = float(number)
            card.save()
