"""The consumers' paths."""

from channels.routing import URLRouter
from django.urls import path

from . import steps
from .consumers import LineConsumer, OwnLineConsumer, SyncLineConsumer

consumers = URLRouter(
    [
        *(
            path(f"ws/chat/{number}/<slug:room_name>/", steps.step(number).as_asgi())
            for number in range(steps.COUNT)
        ),
        path("ws/lines/async/", LineConsumer.as_asgi()),
        path("ws/lines/own/", OwnLineConsumer.as_asgi()),
        path("ws/lines/sync/", SyncLineConsumer.as_asgi()),
    ]
)
