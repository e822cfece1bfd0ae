"""Views that publish, and one that shows the server's state. Parameters come in the query."""

import asyncio
import dataclasses
import gc
import json
import os

from django.contrib import auth
from django.db import transaction
from django.http import HttpResponse, JsonResponse

from channels_realtime import apublish, publish
from channels_realtime.access.limits import AccessLimits
from channels_realtime.access.revocation import Revocations
from channels_realtime.connections.connection import Connection
from channels_realtime.services import current_node

from .models import Note


def _publication(request):
    return request.GET["channel"], json.loads(request.GET["payload"])


def login(request):
    user = auth.authenticate(request, username=request.GET["user"], password=request.GET["user"])
    if user is None:
        return HttpResponse("no such user\n", status=403)
    auth.login(request, user)
    return HttpResponse("ok\n")


def publish_sync(request):
    publish(*_publication(request))
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


async def state(request):
    """How many tasks the server's event loop has, and the node's counters."""
    statistics = current_node().statistics()
    return JsonResponse(
        {
            "tasks": len(asyncio.all_tasks()),
            "connections": statistics.connections,
            "channels": statistics.channels,
            "received": statistics.metrics.received,
            "rejoined": statistics.metrics.rejoined,
        }
    )


def _flat(statistics):
    return {**statistics, **statistics.pop("metrics")}


async def insides(request):
    """Everything that a connection may leave behind, after a collection of garbage."""
    gc.collect()
    node = current_node()
    return JsonResponse(
        {
            "tasks": len(asyncio.all_tasks()),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "objects": sum(type(each) is Connection for each in gc.get_objects()),
            "closing": sum(connection.closed for connection in node.connections.values()),
            "timers": len(node.timers),
            "hub": len(node.hub),
            "groups": len(node.broker._memberships),
            "guarded": len(node.service(Revocations)._by_key),
            "addresses": sum(node.service(AccessLimits)._by_address.values()),
            "users": sum(node.service(AccessLimits)._by_user.values()),
            "spawned": len(node._tasks),
            "statistics": _flat(dataclasses.asdict(node.statistics())),
        }
    )
