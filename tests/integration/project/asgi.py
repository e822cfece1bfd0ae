"""The served application, and beside it a WebSocket with nothing of ours, to measure against."""

import gc
import os

from django.core.asgi import get_asgi_application

from channels_realtime.asgi import get_realtime_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.integration.project.settings")


async def baseline(scope, receive, send):
    """The least that a WebSocket application can do: accept, then read until the end."""
    while True:
        event = await receive()
        if event["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif event["type"] == "websocket.disconnect":
            return


application = get_realtime_application(get_asgi_application(), websocket=baseline)

if "SITE_COLLECTOR" in os.environ:
    # As the deployment guide has it for many connections.
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)
