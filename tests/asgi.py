import os

from django.core.asgi import get_asgi_application

from channels_realtime.asgi import get_realtime_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

application = get_realtime_application(get_asgi_application())
