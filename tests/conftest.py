"""Fixtures for all tests; the servers behind them are in `support`."""

import gc
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings

from tests.support.redis_server import redis_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM_PATH = "/usr/bin/chromium"
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# A machine that is busy is no failure; CI tries the same examples each time, and with the other Pythons and Djangos
# (.ci/run) a fifth of them: a test that wants another number than 100 multiplies `settings.default.max_examples`.
hypothesis_settings.register_profile("default", deadline=None)
hypothesis_settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis_settings.register_profile(
    "matrix", hypothesis_settings.get_profile("ci"), max_examples=20
)
hypothesis_settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
)


# What a shell without job control starts in the background ignores SIGINT, and so do all its children: a server
# under test that respects that, as Daphne does, would never hear the SIGINT of a test. A handler, unlike the
# ignoring, does not survive `exec`. Here, because only a main thread may, and tests start servers in others.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The directory says the markers."""
    here = Path(__file__).parent
    for item in items:
        for marker in ("integration", "browser"):
            if item.path.is_relative_to(here / marker):
                item.add_marker(marker)
        if item.path.is_relative_to(here / "unit"):
            item.add_marker(pytest.mark.filterwarnings("error::ResourceWarning"))


def pytest_collection_finish() -> None:
    """What is imported by now stays; looking through it again and again took a fifth of the unit tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def pytest_sessionfinish() -> None:
    """pytest collects garbage once more at the end, and then of everything."""
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def _garbage() -> Iterator[None]:
    """A socket or a database that a module leaves open is that module's, not a later one's.

    For a unit test it is an error. Of an integration test it is only said: libraries leave some when a server dies.

    What outlives its module is not looked through after each later one: 80 ms for each of 300 modules.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis that may be shared with others: use it with `redis_prefix`."""
    with redis_server() as url:
        yield url


@pytest.fixture
def redis_prefix(redis_url: str) -> Iterator[str]:
    """A key and pub/sub prefix of the test's own; its keys are gone afterwards."""
    import redis  # only tests that want a Redis need the client

    prefix = f"test-{uuid.uuid4().hex}"
    yield prefix
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"*{prefix}*", count=1000):
            client.delete(key)


def chromium_path() -> str:
    """Where Chromium is. Without one on the machine: a skip, or a failure where CI is set."""
    path = os.environ.get("CHROMIUM", CHROMIUM_PATH)
    if not os.access(path, os.X_OK):
        reason = f"no Chromium at {path}; install one or name it in the variable CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


# A browser lives for one module: Playwright's sync API leaves its event loop marked as running in the thread,
# and neither asynchronous tests nor Django's database code work beneath that.
@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """A Chromium without a window. Without one on the machine: a skip, or a failure where CI is set."""
    path = chromium_path()
    from playwright.sync_api import sync_playwright  # only in the `dev` extra

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def page(chromium: "Browser") -> "Iterator[Page]":
    """A page of a fresh browser context (`page.context.browser.new_context()` makes a second visitor)."""
    context = chromium.new_context()
    try:
        yield context.new_page()
    finally:
        context.close()
