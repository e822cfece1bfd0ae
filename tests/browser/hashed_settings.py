"""The site of ``live_settings``, with storages that ``hashed_storage`` describes.

LIVE_STORAGE: ``imports`` for one that follows the imports of scripts, ``names`` for Django's default.
"""

import os

from tests.browser.live_settings import *  # noqa: F403

STORAGES = {
    "staticfiles": {
        "BACKEND": {
            "imports": "tests.browser.hashed_storage.FollowsImports",
            "names": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage",
        }[os.environ["LIVE_STORAGE"]]
    }
}
