"""Settings of the served site, from environment variables that ``tests.support.site`` sets."""

import json
import os
from urllib.parse import urlsplit

from tests.support.databases import postgres_settings

SECRET_KEY = "only-for-tests-and-long-enough-to-sign-a-token-with"
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "channels_realtime",
    "tests.integration.project",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "tests.integration.project.urls"
ASGI_APPLICATION = "tests.integration.project.asgi.application"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def database(url):
    """``sqlite:///path`` or ``postgresql://user@host:port/name``."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        # IMMEDIATE: several processes write, and a lock that is upgraded late is refused at once.
        options = {"timeout": 20, "transaction_mode": "IMMEDIATE"}
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": parts.path,
            "OPTIONS": options,
        }
    return {
        **postgres_settings(url),
        **json.loads(os.environ.get("SITE_DATABASE_OPTIONS", "{}")),
    }


def channel_layer(kind, url, prefix):
    """The layer ``memory``, ``pubsub`` or ``core``."""
    if kind == "memory":
        return {"BACKEND": "channels.layers.InMemoryChannelLayer"}
    # No socket timeout: with redis-py 8 its default ends the core layer's idle receiver after 5 s.
    hosts = [{"address": url, "socket_timeout": None}]
    backend = {
        "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "core": "channels_redis.core.RedisChannelLayer",
    }[kind]
    return {"BACKEND": backend, "CONFIG": {"hosts": hosts, "prefix": prefix}}


DATABASES = {"default": database(os.environ["SITE_DATABASE_URL"])}
CHANNEL_LAYERS = {
    "default": channel_layer(
        os.environ.get("SITE_LAYER", "memory"),
        os.environ.get("SITE_REDIS_URL", ""),
        os.environ.get("SITE_REDIS_PREFIX", "site"),
    )
}
SILENCED_SYSTEM_CHECKS = [
    "channels_realtime.W001",  # the in-memory layer is meant
    "channels_realtime.E011",  # nobody uses tickets in two processes
]
CHANNELS_REALTIME = {
    "ALLOW_ANONYMOUS": True,
    **json.loads(os.environ.get("SITE_REALTIME", "{}")),
}
