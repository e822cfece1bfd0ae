"""Settings of the measured site, as a new site has them.

BENCH_APPLICATION: ``ours``, or ``plain`` for Channels without this package.
BENCH_LAYER: ``pubsub``, ``core`` or ``memory``.
BENCH_DATABASE: the path of a SQLite file.
BENCH_REDIS_URL: of the layer and the cache.
"""

import os

SECRET_KEY = "only-for-benchmarks-and-long-enough-to-sign-a-session-with"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "channels",
]
if os.environ["BENCH_APPLICATION"] == "ours":
    INSTALLED_APPS += ["channels_realtime", "tests.benchmarks.performance.site"]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
ROOT_URLCONF = "tests.benchmarks.performance.site.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["BENCH_DATABASE"],
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}

_url = os.environ["BENCH_REDIS_URL"]
_layers = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}
if os.environ["BENCH_LAYER"] == "memory":
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
else:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": _layers[os.environ["BENCH_LAYER"]],
            # No socket timeout: with redis-py 8 its default ends the core layer's idle receiver.
            "CONFIG": {"hosts": [{"address": _url, "socket_timeout": None}]},
        }
    }
    CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": _url}
    }

CHANNELS_REALTIME = {"ALLOW_ANONYMOUS": True}
