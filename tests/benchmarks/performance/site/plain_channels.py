"""The reference: the same application as one writes it with Channels alone, a group for each channel."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.benchmarks.performance.site.settings")
django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402  # wants the apps
from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.urls import path  # noqa: E402


class ChannelConsumer(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.joined = set()
        await self.accept()

    async def disconnect(self, code):
        for group in self.joined:
            await self.channel_layer.group_discard(group, self.channel_name)

    async def receive_json(self, content):
        kind = content["type"]
        if kind == "subscribe":
            group = content["channel"]
            await self.channel_layer.group_add(group, self.channel_name)
            self.joined.add(group)
            await self.send_json({"type": "subscribed", "channel": group})
        elif kind == "publish":
            group = content["channel"]
            await self.channel_layer.group_send(
                group, {"type": "publication", "channel": group, "payload": content["payload"]}
            )
        elif kind == "ping":
            await self.send_json({"type": "pong"})

    async def publication(self, event):
        await self.send_json(
            {"type": "message", "channel": event["channel"], "payload": event["payload"]}
        )


application = ProtocolTypeRouter(
    {
        "http": django_application,
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([path("ws/", ChannelConsumer.as_asgi())]))
        ),
    }
)
