"""Static files under hashed names alone, as WhiteNoise's ``WHITENOISE_KEEP_ONLY_HASHED_FILES`` leaves them."""

import json
from pathlib import Path

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class FollowsImports(ManifestStaticFilesStorage):
    """Writes the hashed names into the imports of scripts as well."""

    support_js_module_import_aggregation = True


def remove_plain_files(root: Path) -> None:
    """Leave the hashed files."""
    for name, hashed in json.loads((root / "staticfiles.json").read_text())["paths"].items():
        if name != hashed:
            (root / name).unlink()
