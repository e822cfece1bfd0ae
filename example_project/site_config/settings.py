"""Settings of the example, read from the environment so that one checkout serves them all.

SECRET_KEY     needed with DEBUG=0
DEBUG          1 (default) or 0
HOST           the address the demo listens on; it becomes an allowed host
ALLOWED_HOSTS  more of them, with commas
DATABASE_URL   postgres://… or sqlite://…; default: a SQLite file in var/
REDIS_URL      redis://…: the channel layer and the cache go there, so that any number of server
               processes act as one site; default: in the memory of the one process
"""

import os
import socket
from datetime import timedelta
from pathlib import Path

import psutil
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"
VAR_DIR.mkdir(exist_ok=True)

DEBUG = os.environ.get("DEBUG", "1").lower() in {"1", "true", "yes", "on"}

# Every process of the demo has to share it, or they could not read each other's sessions.
SECRET_KEY = os.environ.get("SECRET_KEY") or (
    "django-insecure-known-to-everybody-and-good-for-the-demo-alone" if DEBUG else ""
)
if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY is not set; it is needed when DEBUG is off.")

REDIS_URL = os.environ.get("REDIS_URL", "")
DATABASE_URL = os.environ.get("DATABASE_URL", "")


def own_host_names(listen_address: str) -> list[str]:
    """What a browser may call this machine: names, and its addresses when listening on all."""
    names = {"localhost", ".localhost", "127.0.0.1", "[::1]", socket.gethostname().lower()}
    if listen_address in {"0.0.0.0", "::"}:
        for addresses in psutil.net_if_addrs().values():
            for entry in addresses:
                address = entry.address.partition("%")[0]
                if entry.family == socket.AF_INET:
                    names.add(address)
                elif entry.family == socket.AF_INET6:
                    names.add(f"[{address}]")
    elif listen_address:
        names.add(f"[{listen_address}]" if ":" in listen_address else listen_address.lower())
    extra = os.environ.get("ALLOWED_HOSTS", "").split(",")
    return sorted(names | {name.strip() for name in extra if name.strip()})


ALLOWED_HOSTS = own_host_names(os.environ.get("HOST", ""))

INSTALLED_APPS = [
    "daphne",  # first, so that `runserver` is an ASGI server too
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "rest_framework_simplejwt",
    "rest_framework_simplejwt.token_blacklist",
    "channels",
    "channels_realtime",
    "demo",
    "rooms",
    "boards",
    "host_metrics",
    "stocks",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "site_config.urls"
ASGI_APPLICATION = "site_config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "demo.context_processors.demo",
            ],
        },
    },
]

if DATABASE_URL:
    # Imported here so that the demo runs without it on its SQLite file.
    import dj_database_url

    DATABASES = {"default": dj_database_url.parse(DATABASE_URL)}
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": VAR_DIR / "demo.sqlite3",
        }
    }
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # Several server processes share the file: readers never wait in WAL mode, writers take
    # their turn at the start of a transaction and wait up to `timeout` seconds for it.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }

if REDIS_URL:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL]},
        }
    }
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "realtime-example",
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

CHANNELS_REALTIME = {
    "ALLOW_ANONYMOUS": False,
}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "home"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework_simplejwt.authentication.JWTAuthentication",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
}
SIMPLE_JWT = {
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=5),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=1),
    # All tokens of a login carry its family: blacklisting one of them ends that login's sockets.
    "TOKEN_OBTAIN_SERIALIZER": ("channels_realtime.auth.simplejwt.FamilyTokenObtainPairSerializer"),
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        # Both say it once: without these, Django's own handlers would print it again.
        "django": {"handlers": [], "level": "WARNING"},
        # A missing page is no news; a view that fails is.
        "django.request": {"level": "ERROR"},
    },
}
