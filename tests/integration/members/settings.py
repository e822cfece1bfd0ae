"""Settings of the members' site, from environment variables that ``tests.support.members`` sets."""

import json
import os
from datetime import timedelta
from urllib.parse import urlsplit

from tests.support.databases import postgres_settings

SECRET_KEY = "only-for-tests-and-long-enough-to-sign-a-token-with"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "rest_framework_simplejwt",
    "rest_framework_simplejwt.token_blacklist",
    "channels_realtime",
    "tests.integration.members",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "tests.integration.members.urls"
ASGI_APPLICATION = "tests.integration.members.asgi.application"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"channels_realtime": {"handlers": ["console"], "level": "INFO"}},
}
SIMPLE_JWT = {
    "TOKEN_OBTAIN_SERIALIZER": ("channels_realtime.auth.simplejwt.FamilyTokenObtainPairSerializer"),
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
}


def _database(url):
    """``sqlite:///path`` or ``postgresql://user@host:port/name``."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        # IMMEDIATE: several processes write, and a lock that is upgraded late is refused at once.
        options = {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        }
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.path, "OPTIONS": options}
    return {
        **postgres_settings(url),
        "CONN_MAX_AGE": int(os.environ.get("MEMBERS_CONN_MAX_AGE", "0")),
        "OPTIONS": {"connect_timeout": 3},
    }


_LAYERS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
    "deaf": "tests.integration.members.layers.DeafLayer",
}

DATABASES = {"default": _database(os.environ["MEMBERS_DATABASE_URL"])}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": _LAYERS[os.environ.get("MEMBERS_LAYER", "pubsub")],
        "CONFIG": {
            # No socket timeout: with redis-py 8 its default ends the core layer's receiver after 5 s.
            "hosts": [{"address": os.environ["MEMBERS_REDIS_URL"], "socket_timeout": None}],
            "prefix": os.environ["MEMBERS_REDIS_PREFIX"],
        },
    }
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ["MEMBERS_REDIS_URL"],
        "KEY_PREFIX": os.environ["MEMBERS_REDIS_PREFIX"],
    }
}
CHANNELS_REALTIME = json.loads(os.environ.get("MEMBERS_REALTIME", "{}"))
