"""The served site, with a database of its own in each test process."""

import pytest

from tests.support.site import Site, new_site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The site on a file of SQLite and the in-memory layer."""
    return new_site(tmp_path_factory.mktemp("site"))
