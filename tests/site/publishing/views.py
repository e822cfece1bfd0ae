"""Views that publish. The channel and the payload (JSON) come in the query."""

import json

from django.db import transaction
from django.http import HttpResponse
from django.utils.safestring import mark_safe

from channels_realtime import apublish, publish, publish_html

from .models import Note


def _publication(request):
    return request.GET["channel"], json.loads(request.GET["payload"])


def publish_sync(request):
    publish(*_publication(request))
    return HttpResponse("ok\n")


def publish_fragment(request):
    """HTML, to everybody but the page that asks for it."""
    html = request.GET.get("html")
    publish_html(
        request.GET["channel"],
        html=None if html is None else mark_safe(html),
        target=request.GET.get("target"),
        action=request.GET.get("action", "append"),
        exclude=request,
    )
    return HttpResponse("ok\n")


async def publish_async(request):
    await apublish(*_publication(request))
    return HttpResponse("ok\n")


def publish_in_transaction(request):
    """What is published waits for the commit: a first word, sent at once, overtakes it."""
    channel, payload = _publication(request)
    with transaction.atomic():
        publish(channel, {"committed": payload})
        Note.objects.create(text="in a transaction")
        publish(channel, {"first": payload}, on_commit=False)
    return HttpResponse("ok\n")


class Undo(Exception):
    """Raised to roll back."""


def publish_and_roll_back(request):
    """A transaction and a savepoint that are rolled back, and a savepoint beside it that is not."""
    channel, payload = _publication(request)
    try:
        with transaction.atomic():
            publish(channel, {"rolled back": payload})
            raise Undo
    except Undo:
        pass
    with transaction.atomic():
        try:
            with transaction.atomic():
                publish(channel, {"savepoint rolled back": payload})
                raise Undo
        except Undo:
            pass
        with transaction.atomic():
            publish(channel, {"savepoint kept": payload})
    return HttpResponse("ok\n")


def publish_at_once(request):
    channel, payload = _publication(request)
    try:
        with transaction.atomic():
            publish(channel, payload, on_commit=False)
            raise Undo
    except Undo:
        pass
    return HttpResponse("ok\n")
