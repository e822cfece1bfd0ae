"""The admin's site, its crowd and its staff; the example site and its users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.admin_crowd import AdminSite, Client, Crowd, admin_site
from tests.browser.admin_staff import BROWSERS, CROWD, OTHERS, VISITORS, StaffBrowser, picture_all
from tests.browser.example_visitors import Visitors
from tests.example.site import run_demo
from tests.support.servers import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[AdminSite]:
    directory: Path = tmp_path_factory.mktemp("admin")
    with admin_site(directory, redis_url, [*VISITORS, *OTHERS]) as made:
        yield made


@pytest.fixture(scope="session")
def lasting_crowd(site: AdminSite) -> Iterator[Crowd]:
    with Crowd() as crowd:
        yield crowd


@pytest.fixture
def crowd(lasting_crowd: Crowd) -> Iterator[Crowd]:
    """For connections of one test."""
    with lasting_crowd.of_one_test():
        yield lasting_crowd


@pytest.fixture(scope="session")
def everybody(site: AdminSite, lasting_crowd: Crowd) -> list[Client]:
    """Six users and a few anonymous clients, half of them on each process, for all tests."""
    crowd = lasting_crowd
    browsers = list(BROWSERS.values())
    tokens = {
        name: crowd.do(site.a, "mint", user=site.people[name].id, seconds="3600")
        for name in VISITORS
    }
    wanted: list[dict[str, Any]] = []
    for number in range(CROWD):
        visitor = number % len(VISITORS)
        name = VISITORS[visitor]
        anonymous, by_token = number % 8 == 6, number % 8 == 3
        wanted.append(
            {
                "server": (site.a, site.b)[number // len(VISITORS) % 2],
                "name": f"crowd-{number:03}",
                "person": None if anonymous else site.people[name],
                "token": tokens[name] if by_token else None,
                "address": f"10.1.{visitor}.{number // len(VISITORS) + 1}",
                "user_agent": browsers[number % len(browsers)],
                "channels": ["open/lobby", f"open/{name}"],
            }
        )
    return crowd.open_all(wanted)


@pytest.fixture(scope="module")
def staff_browser(chromium: Browser, site: AdminSite) -> StaffBrowser:
    return StaffBrowser(chromium, site)


@pytest.fixture
def staff(staff_browser: StaffBrowser, request: pytest.FixtureRequest) -> Iterator[StaffBrowser]:
    """Closes all pages after the test, which fails if one had a problem."""
    failed = request.session.testsfailed
    try:
        yield staff_browser
        staff_browser.assert_harmless()
    finally:
        if request.session.testsfailed > failed:
            picture_all(staff_browser.browser, request.node.name)
        staff_browser.leave()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with run_demo(Path(tmp_path_factory.mktemp("demo"))) as server:
        yield server


@pytest.fixture
def visitors(chromium: Browser, server: Server) -> Iterator[Visitors]:
    visitors = Visitors(chromium, server)
    try:
        yield visitors
        assert visitors.problems == []
    finally:
        for context in chromium.contexts:
            context.close()


@pytest.fixture
def alice(visitors: Visitors) -> Page:
    return visitors.sign_in("alice")


@pytest.fixture
def bob(visitors: Visitors) -> Page:
    return visitors.sign_in("bob")
