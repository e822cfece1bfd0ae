"""What an ASGI server runs: Django's pages, and the WebSocket at `/ws/`."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_config.settings")

# Loads the apps: imports of their code come after it.
django_application = get_asgi_application()

from channels_realtime.asgi import get_realtime_application  # noqa: E402
from site_config.static_files import SiteStaticFilesHandler  # noqa: E402

if settings.DEBUG:
    # Daphne and uvicorn serve no static files by themselves; `runserver` does.
    django_application = SiteStaticFilesHandler(django_application)

application = get_realtime_application(django_application)
