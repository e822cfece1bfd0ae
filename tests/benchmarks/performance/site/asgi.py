"""The application with this package."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.benchmarks.performance.site.settings")
django_application = get_asgi_application()

from channels_realtime.asgi import get_realtime_application  # noqa: E402  # wants the apps

application = get_realtime_application(django_application)
