"""The settings of ``tests.integration.project``, with all that credentials need."""

from tests.integration.project.settings import *  # noqa: F403
from tests.integration.project.settings import CHANNELS_REALTIME, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django.contrib.staticfiles"]
STATIC_URL = "static/"
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "tests.integration.ways_in.urls"
CHANNELS_REALTIME = {
    "ALLOW_ANONYMOUS": False,
    "QUERY_TOKEN": True,
    "JWT_COOKIE": "access",
    **{key: value for key, value in CHANNELS_REALTIME.items() if key != "ALLOW_ANONYMOUS"},
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "channels_realtime": {"handlers": ["console"], "level": "DEBUG"},
        "django": {"handlers": ["console"], "level": "INFO"},
        "asyncio": {"handlers": ["console"], "level": "DEBUG"},
    },
}
