"""Publishes every save and delete of a card, wherever it happens.

`publish` waits for the commit of the current transaction, so a change that is rolled back is never shown.
"""

from typing import Any

from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from channels_realtime import publish

from .models import Card
from .realtime import CardId


@receiver(post_save, sender=Card)
def publish_saved_card(instance: Card, *, raw: bool, using: str, **kwargs: Any) -> None:
    if raw:  # loading a fixture: related rows may not exist yet
        return
    shown_on = instance.shown_on_board_id
    if shown_on is not None and shown_on != instance.board_id:
        publish(f"boards/{shown_on}", CardId(instance.pk), event="card.deleted", using=using)
    instance.shown_on_board_id = instance.board_id
    publish(f"boards/{instance.board_id}", instance.as_payload(), event="card.saved", using=using)


@receiver(post_delete, sender=Card)
def publish_deleted_card(instance: Card, *, using: str, **kwargs: Any) -> None:
    shown_on = instance.shown_on_board_id or instance.board_id
    publish(f"boards/{shown_on}", CardId(instance.pk), event="card.deleted", using=using)
