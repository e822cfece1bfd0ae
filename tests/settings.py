"""Settings of the unit tests: the site's channels with Django's admin, on SQLite and the in-memory layer.

TEST_DATABASE_URL: another database, ``postgresql`` or ``mysql`` and ``://user:password@host:port/name``.
"""

import os
import tempfile
from pathlib import Path

from tests.support.databases import database_settings

SECRET_KEY = "only-for-tests-and-long-enough-to-sign-a-token-with"
DEBUG = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "rest_framework_simplejwt",
    "rest_framework_simplejwt.token_blacklist",
    "channels_realtime",
    "tests.site",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
ROOT_URLCONF = "tests.urls"
ASGI_APPLICATION = "tests.site.asgi.application"
STATIC_URL = "static/"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": ":memory:",
        # Tests have threads (for hooks and for the database), and those of an in-memory database do not wait for
        # each other's locks: they fail at once.
        "TEST": {
            "NAME": str(Path(tempfile.gettempdir(), f"channels-realtime-{os.getpid()}.sqlite3"))
        },
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA synchronous=OFF; PRAGMA journal_mode=MEMORY;",
        },
    }
}
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
CHANNELS_REALTIME = {"ALLOW_ANONYMOUS": True, "HEARTBEAT_INTERVAL": 25.0}
MIGRATION_MODULES = {"token_blacklist": None}  # thirteen of them, for two tables
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if "TEST_DATABASE_URL" in os.environ:
    DATABASES["default"] = database_settings(os.environ["TEST_DATABASE_URL"])
    DATABASES["default"]["TEST"] = {"NAME": f"channels_realtime_{os.getpid()}"}
    # Made from the models, all at once: foreign keys ask for an order.
    MIGRATION_MODULES |= dict.fromkeys(["admin", "auth", "contenttypes", "sessions"])
