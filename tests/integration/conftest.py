"""The served site, with a database of its own in each test process."""

from pathlib import Path

import pytest

from tests.support.site import Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The site on a file of SQLite and the in-memory layer."""
    path: Path = tmp_path_factory.mktemp("site") / "site.sqlite3"
    made = Site(
        {
            "DJANGO_SETTINGS_MODULE": "tests.integration.project.settings",
            "SITE_DATABASE_URL": f"sqlite://{path}",
        }
    )
    made.manage("prepare")
    return made
