import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.howto_chat.settings")
django_application = get_asgi_application()

from channels.routing import URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from channels_realtime.asgi import get_realtime_application  # noqa: E402
from tests.howto_chat import consumers, steps  # noqa: E402

application = get_realtime_application(
    django_application,
    websocket=URLRouter(
        [
            *(
                path(f"ws/chat/{number}/<slug:room_name>/", steps.step(number).as_asgi())
                for number in range(steps.COUNT)
            ),
            path("ws/lines/async/", consumers.LineConsumer.as_asgi()),
            path("ws/lines/own/", consumers.OwnLineConsumer.as_asgi()),
            path("ws/lines/sync/", consumers.SyncLineConsumer.as_asgi()),
        ]
    ),
)
