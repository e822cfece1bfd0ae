"""What all unit tests share."""

from collections.abc import Iterator

import pytest
from django.utils import translation


@pytest.fixture(autouse=True)
def _language() -> Iterator[None]:
    """The language that a request's middleware has left in this thread is no other test's."""
    yield
    translation.deactivate()
