"""The application: the package's endpoints, the how-to's consumers, and a bare WebSocket to measure against."""

import gc
import os

gc.disable()  # until all is imported: there is nothing to collect, and hundreds of servers start in the tests

from django.core.asgi import get_asgi_application  # noqa: E402

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.site.settings")
django_application = get_asgi_application()

from channels_realtime.asgi import get_realtime_application  # noqa: E402  # wants the apps
from tests.site.howto_chat.routing import consumers  # noqa: E402


async def baseline(scope, receive, send):
    """The least that a WebSocket application can do: accept, then read until the end."""
    while True:
        event = await receive()
        if event["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        elif event["type"] == "websocket.disconnect":
            return


async def other_websockets(scope, receive, send):
    """Every path that is not the package's."""
    howto = scope["path"].startswith(("/ws/chat/", "/ws/lines/"))
    await (consumers if howto else baseline)(scope, receive, send)


application = get_realtime_application(django_application, websocket=other_websockets)
gc.enable()
