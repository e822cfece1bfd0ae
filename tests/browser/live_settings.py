"""The site with pages that are live without JavaScript: hashed static files, and a strict policy for scripts.

LIVE_STATIC_ROOT: a directory, into which ``collectstatic`` has put the static files.
"""

import os

from tests.site.settings import *  # noqa: F403
from tests.site.settings import INSTALLED_APPS, MIDDLEWARE

INSTALLED_APPS = ["django.contrib.staticfiles", *INSTALLED_APPS]
MIDDLEWARE = ["tests.browser.live_urls.strict_policy", *MIDDLEWARE]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    },
]
ROOT_URLCONF = "tests.browser.live_urls"
STATIC_URL = "static/"
STATIC_ROOT = os.environ["LIVE_STATIC_ROOT"]
STORAGES = {
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"}
}
