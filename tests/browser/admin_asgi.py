"""The ASGI application of the site, with static files and a channel with a hostile name."""

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.browser.admin_settings")
django_application = ASGIStaticFilesHandler(get_asgi_application())

from channels_realtime import Channel, register  # noqa: E402  # wants the settings
from channels_realtime.asgi import get_realtime_application  # noqa: E402


@register("javascript:<path:rest>")
class HostileChannel(Channel):
    """The most dangerous name that is a valid channel name."""

    public = True


application = get_realtime_application(django_application)
