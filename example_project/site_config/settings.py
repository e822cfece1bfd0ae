"""The site's settings. These come from the environment:

SECRET_KEY         required when DEBUG is 0
DEBUG              1 (default) or 0
ALLOWED_HOSTS      host names, separated by commas; default: this machine's local names
FORCE_SCRIPT_NAME  the path of the site behind a proxy that passes it on, such as /app
DATABASE_URL       postgres://… or sqlite://…; default: a SQLite file in var/
REDIS_URL          redis://… for the channel layer and the cache, which all server processes share;
                   default: both are in memory, for a single process
"""

import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import dj_database_url

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"
VAR_DIR.mkdir(exist_ok=True)

DEBUG = os.environ.get("DEBUG", "1").lower() in {"1", "true", "yes", "on"}

# All processes of a site need the same key, to read each other's sessions.
SECRET_KEY = os.environ.get("SECRET_KEY") or ("django-insecure-for-the-demo-only" if DEBUG else "")

LOCAL_HOSTS = ".localhost,127.0.0.1,[::1]"
ALLOWED_HOSTS = (os.environ.get("ALLOWED_HOSTS") or LOCAL_HOSTS).replace(" ", "").split(",")

INSTALLED_APPS = [
    "channels_realtime",  # before Daphne, so that `runserver` writes frames as the demo's server does
    "daphne",  # before the static files, so that `runserver` is an ASGI server too
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
    "demo",
    "rooms",
    "boards",
    "host_metrics",
    "stocks",
    "break_it",
    "guestbook",
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

FORCE_SCRIPT_NAME = os.environ.get("FORCE_SCRIPT_NAME") or None
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

SQLITE_URL = f"sqlite:///{quote((VAR_DIR / 'demo.sqlite3').as_posix())}"
DATABASES = {"default": dj_database_url.parse(os.environ.get("DATABASE_URL") or SQLITE_URL)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # For several processes on one file: in WAL mode readers do not wait for a writer, and writers
    # wait for each other at the start of a transaction, for up to `timeout` seconds.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }

REDIS_URL = os.environ.get("REDIS_URL", "")
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
    "ALLOW_ANONYMOUS": False,  # the default: only signed-in users may open a WebSocket
    "AUTHENTICATORS": [
        "channels_realtime.auth.tokens.HeaderToken",
        "channels_realtime.auth.tokens.SubprotocolToken",
        "channels_realtime.auth.tickets.Ticket",
        # In the place of LoginSession, so that the page `/break/` can use tokens.
        "break_it.authenticators.LoginSessionUnlessToken",
    ],
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
    # Links all tokens of one login: blacklisting one of them closes that login's WebSockets.
    "TOKEN_OBTAIN_SERIALIZER": "channels_realtime.auth.simplejwt.FamilyTokenObtainPairSerializer",
}

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"  # beneath the site's prefix: see static_files
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "site_config.static_files.SiteStaticFilesStorage"},
}
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
        # No handlers of its own: Django's would print each line a second time.
        "django": {"handlers": [], "level": "WARNING"},
        # Log views that fail, but not every 404.
        "django.request": {"level": "ERROR"},
    },
}
