"""What the server's node holds, as JSON. No other module of the site reads the package's internals."""

import asyncio
import dataclasses
import gc
import os
from collections import Counter

from django.http import JsonResponse

from channels_realtime.access.limits import AccessLimits
from channels_realtime.access.revocation import Revocations
from channels_realtime.connections.connection import Connection
from channels_realtime.endpoints.polling import Polls
from channels_realtime.services import current_node


async def state(request):
    """Tasks of the event loop, connections, channels, open connections by user, and the counters.

    With ``?channel=…`` also the subscribers of that channel.
    With ``?insides`` also everything that a connection may leave behind, after a garbage collection.
    """
    node = current_node()
    statistics = node.statistics()
    found = {
        "node_id": statistics.node_id,
        "tasks": len(asyncio.all_tasks()),
        "connections": statistics.connections,
        "channels": statistics.channels,
        "users": _open_connections_by_user(node),
        "metrics": dataclasses.asdict(statistics.metrics),
    }
    if "channel" in request.GET:
        found["subscribers"] = node.hub.count(request.GET["channel"])
    if "insides" in request.GET:
        found |= _insides(node)
    return JsonResponse(found)


def _open_connections_by_user(node):
    open_connections = (each for each in node.connections.values() if not each.closed)
    return Counter(each.user_id or "anonymous" for each in open_connections)


def _insides(node):
    gc.collect()
    limits = node.service(AccessLimits)
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "objects": sum(type(each) is Connection for each in gc.get_objects()),
        "closing": sum(connection.closed for connection in node.connections.values()),
        "timers": len(node.timers),
        "hub": len(node.hub),
        "polls": sum(each._waiting is not None for each in node.service(Polls)._polled.values()),
        "groups": len(node.broker._memberships),
        "revocation_keys": len(node.service(Revocations)._by_key),
        "addresses": sum(limits._by_address.values()),
        "limited_users": sum(limits._by_user.values()),
        "spawned": len(node._tasks),
    }
