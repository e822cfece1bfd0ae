"""What all unit tests share."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management.color import no_style
from django.db import connections
from django.test import TransactionTestCase
from django.utils import translation

from channels_realtime.asgi import get_realtime_application
from channels_realtime.nodes.node import running_node
from tests.unit.auth.credentials import no_http

KEPT_TABLES = {"auth_permission", "django_content_type"}


def empty_databases(case: TransactionTestCase) -> None:
    """Delete what the test wrote, but not what the migrations did.

    Django's own way deletes permissions and content types too and makes them anew: 60 ms after each of 700 tests.
    """
    for alias in case._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
        connection = connections[alias]
        tables = connection.introspection.django_table_names(
            only_existing=True, include_views=False
        )
        statements = connection.ops.sql_flush(no_style(), sorted(set(tables) - KEPT_TABLES))
        connection.ops.execute_sql_flush(statements)


@pytest.fixture(scope="session", autouse=True)
def _fast_flush() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", empty_databases)
        yield


@pytest.fixture(autouse=True)
def _language() -> Iterator[None]:
    """The language that a request's middleware has left in this thread is no other test's."""
    yield
    translation.deactivate()


@pytest.fixture
def other_database(django_db_setup: Any, django_db_blocker: Any, tmp_path: Path) -> Iterator[str]:
    """A second database beside ``default``, without tables. Both commit; the test cleans ``default``."""
    connections.settings["other"] = {
        **connections.settings["default"],
        "NAME": str(tmp_path / "other.sqlite3"),
    }
    with django_db_blocker.unblock():  # a TestCase would refuse the database that it does not know
        yield "other"
        connections["other"].close()
    del connections["other"]
    del connections.settings["other"]


@pytest.fixture
def realtime(settings: Any) -> Callable[..., None]:
    """Change ``CHANNELS_REALTIME``: hooks in asgiref's own thread, no anonymous connections."""

    def configure(**changes: Any) -> None:
        settings.CHANNELS_REALTIME = {**settings.CHANNELS_REALTIME, **changes}

    # The sweep and the poll are asked for where they are tested.
    settings.CHANNELS_REALTIME = {
        "HOOK_THREADS": 0,
        "REVOCATION_POLL_INTERVAL": 1_000.0,
        "SWEEP_INTERVAL": 1_000.0,
    }
    return configure


@pytest.fixture
async def application(realtime: Any) -> AsyncIterator[Any]:
    """The ASGI application; change the settings before the first connection."""
    yield get_realtime_application(no_http)
    node = running_node()
    if node is not None:
        await node.stop()
