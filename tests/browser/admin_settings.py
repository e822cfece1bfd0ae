"""The members' site with Django's admin, a strict policy for scripts, and its pages in any language."""

from tests.site.settings import *  # noqa: F403
from tests.site.settings import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    *INSTALLED_APPS,
]
MIDDLEWARE = [
    "tests.browser.admin_urls.strict_policy",
    *MIDDLEWARE,
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
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
    },
]
ROOT_URLCONF = "tests.browser.admin_urls"
ASGI_APPLICATION = "tests.browser.admin_asgi.application"
STATIC_URL = "static/"
USE_I18N = True
TIME_ZONE = "UTC"
