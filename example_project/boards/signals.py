"""Publishes every save and delete of a card, wherever it happens.

`publish` waits for the commit of the current transaction, so a change that is rolled back is never shown.
"""

from typing import Any

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from channels_realtime import publish, publish_html

from .models import Board, Card
from .realtime import CardId


@receiver(post_save, sender=Card)
def publish_saved_card(instance: Card, *, raw: bool, using: str, **kwargs: Any) -> None:
    if raw:  # loading a fixture: related rows may not exist yet
        return
    shown_on = instance.shown_on_board_id
    if shown_on is not None and shown_on != instance.board_id:
        publish(f"boards/{shown_on}", CardId(instance.pk), event="card.deleted", using=using)
        show_summary(Board.objects.get(pk=shown_on), f"Moved away: {instance.title}", using)
    instance.shown_on_board_id = instance.board_id
    publish(f"boards/{instance.board_id}", instance.as_payload(), event="card.saved", using=using)
    show_summary(instance.board, f"Last saved: {instance.title}", using)


@receiver(post_delete, sender=Card)
def publish_deleted_card(instance: Card, *, using: str, **kwargs: Any) -> None:
    shown_on = instance.shown_on_board_id or instance.board_id
    publish(f"boards/{shown_on}", CardId(instance.pk), event="card.deleted", using=using)
    show_summary(instance.board, f"Deleted: {instance.title}", using)


def show_summary(board: Board, news: str, using: str) -> None:
    """Show on the home page how many cards the board has now: HTML, rendered here."""
    publish_html(
        f"boards/{board.pk}/summary",
        "boards/summary.html",
        {"board": board, "news": news},
        target=f"#board-summary-{board.pk}",
        action="morph",
        using=using,
    )
