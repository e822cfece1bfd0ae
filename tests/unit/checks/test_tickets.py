"""E011, W010 and W035: tickets, and the cache that remembers which were used."""

from __future__ import annotations

from functools import partial

import pytest
from django.core.cache.backends.locmem import LocMemCache
from django.urls import include, path
from django.views.decorators.cache import never_cache

from channels_realtime import checks
from channels_realtime.auth.revoking import _SHORT_S
from channels_realtime.auth.tickets import Ticket
from channels_realtime.http.tickets import ticket
from channels_realtime.settings import MAX_TICKET_LIFETIME_S

from .reports import Report, ids, lacking, run

PUBSUB = {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}}
BACKENDS = "django.core.cache.backends"
LOCMEM = f"{BACKENDS}.locmem.LocMemCache"
FILES = f"{BACKENDS}.filebased.FileBasedCache"
DUMMY = f"{BACKENDS}.dummy.DummyCache"


class OwnTicket(Ticket):
    pass


class OwnCache(LocMemCache):
    pass


class UrlsOf:
    """A URLconf of these patterns."""

    def __init__(self, *urlpatterns):
        self.urlpatterns = list(urlpatterns)


def view(request, name):
    raise NotImplementedError


def reports(*, cache: str | None = None, **settings) -> list[Report]:
    if cache is not None:
        settings["CACHES"] = {"default": {"BACKEND": cache, "LOCATION": "nowhere"}}
    return run(checks.check_tickets, **settings)


@pytest.mark.parametrize("cache", [LOCMEM, FILES, DUMMY, f"{__name__}.OwnCache"])
def test_e011_cache_that_is_not_shared(cache):
    settings = {"ROOT_URLCONF": UrlsOf(path("ticket/", ticket)), "CHANNEL_LAYERS": PUBSUB}
    (found,) = reports(cache=cache, **settings)
    assert found.id == "E011"
    assert lacking(found, [f"CACHES['default'] is {cache.rpartition('.')[2]}"]) == []


@pytest.mark.parametrize(
    "cache", [f"{BACKENDS}.redis.RedisCache", f"{BACKENDS}.db.DatabaseCache", "nope.Nope"]
)
def test_shared_cache_is_fine(cache):
    assert reports(cache=cache, CHANNEL_LAYERS=PUBSUB) == []


@pytest.mark.parametrize(("cache", "expected"), [(LOCMEM, []), (FILES, []), (DUMMY, ["W010"])])
def test_w010_one_process_and_a_cache_that_stores_nothing(cache, expected):
    found = reports(cache=cache)
    assert ids(found) == expected
    assert all(lacking(report, ["CACHES['default'] is DummyCache"]) == [] for report in found)


def test_cache_is_fine_where_the_layer_is_missing():
    assert reports(cache=LOCMEM, CHANNEL_LAYERS={}) == []


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (f"{__name__}.OwnTicket", ["E011"]),
        ("channels_realtime.auth.login_session.LoginSession", []),
    ],
)
def test_e011_only_where_tickets_are_accepted(named, expected):
    settings = {"AUTHENTICATORS": [named]}
    assert ids(reports(CHANNELS_REALTIME=settings, CHANNEL_LAYERS=PUBSUB)) == expected


@pytest.mark.parametrize(
    "urlpatterns",
    [
        [path("ticket/", ticket)],
        [path("ticket/", never_cache(ticket))],
        [path("api/", include([path("realtime/", ticket)]))],
        [path("", include("channels_realtime.urls")), path("ticket/", ticket)],
    ],
)
def test_e011_wherever_the_view_is(urlpatterns):
    assert ids(reports(ROOT_URLCONF=UrlsOf(*urlpatterns), CHANNEL_LAYERS=PUBSUB)) == ["E011"]


PROBES = [
    path("realtime/", include("channels_realtime.urls")),
    path("api/", include([path("realtime/", include("channels_realtime.urls"))])),
    path("", include(("channels_realtime.urls", "channels_realtime"), namespace="probes")),
]


@pytest.mark.parametrize("pattern", PROBES)
@pytest.mark.parametrize("cache", [None, LOCMEM, FILES, DUMMY])
def test_w035_site_that_may_want_the_probes_alone_is_not_stopped(pattern, cache):
    settings = {"ROOT_URLCONF": UrlsOf(pattern), "CHANNEL_LAYERS": PUBSUB}
    (found,) = reports(cache=cache, **settings)
    assert found.id == "W035"
    assert lacking(found, ["issues no tickets", "list AUTHENTICATORS without Ticket"]) == []


def test_w035_is_silent_where_e011_is_silenced():
    silenced = {"SILENCED_SYSTEM_CHECKS": ["channels_realtime.E011"]}
    assert reports(CHANNEL_LAYERS=PUBSUB, **silenced) == []


@pytest.mark.parametrize(
    "urlconf",
    [
        UrlsOf(path("<str:name>/", view)),
        UrlsOf(path("", partial(view, name="a view without a name"))),
        UrlsOf(),
        None,
    ],
)
def test_site_that_issues_no_tickets_is_fine(urlconf):
    """The default site: a shared layer, no CACHES, ``Ticket`` among the default authenticators."""
    assert reports(ROOT_URLCONF=urlconf, CHANNEL_LAYERS=PUBSUB) == []


def test_longest_ticket_ends_before_the_revocation_of_its_session():
    assert MAX_TICKET_LIFETIME_S * 2 <= _SHORT_S
