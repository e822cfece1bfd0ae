"""The served project's settings with this app beside it."""

from tests.integration.project.settings import *  # noqa: F403
from tests.integration.project.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tests.howto_chat"]
ASGI_APPLICATION = "tests.howto_chat.asgi.application"
