"""What an ASGI server runs: Django's pages, `/ws/`, and the threads that feed the live pages."""

import os

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

from channels_realtime.asgi import get_realtime_application
from host_metrics.feed import HostFeed
from stocks.feed import PriceFeed

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_config.settings")

django_application = get_asgi_application()
if settings.DEBUG:
    # Daphne and uvicorn serve no static files by themselves; `runserver` does.
    django_application = ASGIStaticFilesHandler(django_application)

application = get_realtime_application(django_application)

# Only a process that serves comes here: no `migrate`, no `shell`.
for feed in (HostFeed(), PriceFeed()):
    feed.start()
