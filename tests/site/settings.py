"""Settings of the site, from environment variables that ``tests.support.site`` sets.

SITE_DATABASE_URL: ``sqlite:///path``, or ``postgresql`` or ``mysql`` and ``://user:password@host:port/name``.
SITE_DATABASE_OPTIONS: JSON of more keys of a PostgreSQL database.
SITE_USE_TZ: ``0`` for a site without time zones; SITE_TIME_ZONE: by default UTC.
SITE_LAYER: ``memory`` (the default), ``pubsub``, ``core``, ``deaf`` or ``unruly``.
SITE_LAYER_FAULTS: JSON; what the unruly layer does to publications, see ``tests.site.members.layers``.
SITE_HISTORY_SIZE: how many publications the channels of ``tests.site.kept`` keep.
SITE_REDIS_SENTINELS: JSON ``[[host, port], …]`` instead of SITE_REDIS_URL, with SITE_REDIS_MASTER.
SITE_REDIS_URL, SITE_REDIS_PREFIX: of the layers and the cache; without a URL the cache is in memory.
SITE_REALTIME: JSON of ``CHANNELS_REALTIME``.
SITE_LOG_LEVEL: of the package's loggers and asyncio's.
SITE_BENCHMARKED: whether the site has the channel of ``realtime_bench``.
SITE_TENANTS: a tenant for each host; see ``tests.site.tenants``.
"""

import json
import os
import sys
from datetime import timedelta

from tests.support.databases import database_settings

# Django REST framework imports these where they are installed; a server would take a third longer to start.
sys.modules.update(dict.fromkeys(["django.contrib.postgres", "requests", "yaml"]))

SECRET_KEY = "only-for-tests-and-long-enough-to-sign-a-token-with"
DEBUG = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
USE_TZ = os.environ.get("SITE_USE_TZ", "1") == "1"
TIME_ZONE = os.environ.get("SITE_TIME_ZONE", "UTC")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "rest_framework",
    "rest_framework_simplejwt",
    "rest_framework_simplejwt.token_blacklist",
    "channels_realtime",
    "tests.site",
    "tests.site.publishing",
    "tests.site.members",
    "tests.site.database_hooks",
    "tests.site.howto_chat",
    "tests.site.kept",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
if "SITE_BENCHMARKED" in os.environ:
    INSTALLED_APPS += ["tests.site.benchmarked"]
if "SITE_TENANTS" in os.environ:
    ALLOWED_HOSTS += [".localhost"]
    INSTALLED_APPS += ["tests.site.tenants"]
    MIDDLEWARE.insert(0, "tests.site.tenants.TenantMiddleware")
ROOT_URLCONF = "tests.site.urls"
ASGI_APPLICATION = "tests.site.asgi.application"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Their tables are made from the models: 30 migrations take a second for each database.
MIGRATION_MODULES = dict.fromkeys(["auth", "contenttypes", "sessions", "token_blacklist"])
SIMPLE_JWT = {
    "TOKEN_OBTAIN_SERIALIZER": "channels_realtime.auth.simplejwt.FamilyTokenObtainPairSerializer",
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
}
_log_level = os.environ.get("SITE_LOG_LEVEL", "INFO")
# Without propagation: Daphne gives the root logger a handler of its own.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        name: {"handlers": ["console"], "level": level, "propagate": False}
        for name, level in {
            "channels_realtime": _log_level,
            "asyncio": _log_level,
            "django": "INFO",
        }.items()
    },
}

_LAYERS = {
    "memory": "channels.layers.InMemoryChannelLayer",
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
    "deaf": "tests.site.members.layers.DeafLayer",
    "unruly": "tests.site.members.layers.UnrulyLayer",
}
_redis_url = os.environ.get("SITE_REDIS_URL", "")
_redis_prefix = os.environ.get("SITE_REDIS_PREFIX", "site")


def _channel_layer(kind):
    if kind == "memory":
        return {"BACKEND": _LAYERS[kind]}
    # No socket timeout: with redis-py 8 its default ends the core layer's idle receiver after 5 s.
    hosts = [{"address": _redis_url, "socket_timeout": None}]
    if "SITE_REDIS_SENTINELS" in os.environ:
        sentinels = [tuple(each) for each in json.loads(os.environ["SITE_REDIS_SENTINELS"])]
        hosts = [{"sentinels": sentinels, "master_name": os.environ["SITE_REDIS_MASTER"]}]
    return {"BACKEND": _LAYERS[kind], "CONFIG": {"hosts": hosts, "prefix": _redis_prefix}}


DATABASES = {
    "default": database_settings(
        os.environ.get("SITE_DATABASE_URL", "sqlite:///:memory:"),
        **json.loads(os.environ.get("SITE_DATABASE_OPTIONS", "{}")),
    )
}
CHANNEL_LAYERS = {"default": _channel_layer(os.environ.get("SITE_LAYER", "memory"))}
if _redis_url:
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": _redis_url,
            "KEY_PREFIX": _redis_prefix,
        }
    }
SILENCED_SYSTEM_CHECKS = [
    "channels_realtime.W001",  # the in-memory layer is meant
    "channels_realtime.E011",  # so is the cache in memory: tests use tickets in one process
]
CHANNELS_REALTIME = {
    "ALLOW_ANONYMOUS": True,
    **json.loads(os.environ.get("SITE_REALTIME", "{}")),
}
