"""An ASGI application that writes as it is told, to test how a server writes frames.

It is told by messages of JSON: ``{"burst": count, "size": characters, "way": …}`` sends numbered
messages, ``{"close": code, "reason": text}`` closes, and ``{}`` answers with what the server announced.
The ways are ``direct`` (``direct_write``, else ``send``), ``send``, ``wrapped`` (a middleware's) and
``mixed`` (all three, in turn).
"""

import json

from channels_realtime.servers.daphne import flow_control
from channels_realtime.servers.frames import direct_write


def numbered(number, size):
    return f"{number:08d}".ljust(size, "x")


async def application(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    offered = scope["subprotocols"]
    await send(
        {
            "type": "websocket.accept",
            "subprotocol": offered[0] if offered else None,
            "headers": [(b"x-told", b"accepted")],
        }
    )
    direct = direct_write(scope, send)
    flow = flow_control(send)
    waits = send if flow is None else flow.send
    seen = []

    async def wrapped(event):
        seen.append(event["text"])
        await waits(event)

    directly = 0
    while (event := await receive())["type"] == "websocket.receive":
        told = json.loads(event["text"])
        if "burst" in told:
            for number in range(told["burst"]):
                message = {"type": "websocket.send", "text": numbered(number, told["size"])}
                way = told["way"]
                if way == "mixed":
                    way = ("direct", "send", "wrapped")[number % 3]
                if way == "direct" and direct is not None and direct(message):
                    directly += 1
                else:
                    await (wrapped if way == "wrapped" else waits)(message)
        elif "close" in told:
            await waits(
                {"type": "websocket.close", "code": told["close"], "reason": told["reason"]}
            )
        else:
            state = {
                "extensions": sorted(scope.get("extensions", {})),
                "spec_version": scope["asgi"].get("spec_version"),
                "direct": direct is not None,
                "behind_middleware": direct_write(scope, wrapped) is not None,
                "directly": directly,
                "seen": len(seen),
            }
            await waits({"type": "websocket.send", "text": json.dumps(state)})
