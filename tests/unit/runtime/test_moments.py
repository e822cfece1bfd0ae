"""Times that every database stores, on sites with and without time zones."""

from __future__ import annotations

import datetime
import math

import pytest
from django.utils import timezone

from channels_realtime.runtime.moments import earliest_moment, moment_of, timestamp_of

# In Berlin, the clock went from 3:00 back to 2:00 at this moment.
SET_BACK_AT = datetime.datetime(2026, 10, 25, 1, tzinfo=datetime.UTC).timestamp()


@pytest.fixture
def no_time_zones(settings):
    settings.USE_TZ = False
    settings.TIME_ZONE = "Europe/Berlin"


def test_moment_is_aware_where_the_site_has_time_zones():
    assert moment_of(1_700_000_000.5).isoformat() == "2023-11-14T22:13:20.500000+00:00"
    assert timestamp_of(moment_of(1_700_000_000.5)) == 1_700_000_000.5


def test_moment_is_naive_in_the_sites_time_zone_whatever_a_request_has_activated(no_time_zones):
    with timezone.override("Asia/Tokyo"):
        assert moment_of(1_700_000_000.5).isoformat() == "2023-11-14T23:13:20.500000"
        assert timestamp_of(moment_of(1_700_000_000.5)) == 1_700_000_000.5


@pytest.mark.parametrize(
    ("timestamp", "year"),
    [
        (0.0, 1970),
        (-1e20, 1970),
        (-math.inf, 1970),
        (math.nan, 1970),
        (1e20, 9999),
        (math.inf, 9999),
    ],
)
def test_moment_is_one_that_every_database_can_store(timestamp, year):
    assert moment_of(timestamp).year == year


@pytest.mark.parametrize("stored_after", [-50.0, -10.0, 10.0, 50.0])
def test_earliest_moment_is_before_all_that_was_stored_though_the_clock_was_set_back(
    no_time_zones, stored_after
):
    since, now = SET_BACK_AT - 60.0, SET_BACK_AT + 60.0
    assert earliest_moment(since, now) < moment_of(SET_BACK_AT + stored_after)
    assert earliest_moment(since, now) == datetime.datetime(2026, 10, 25, 1, 59)
    assert earliest_moment(since, since + 30.0) == moment_of(since)
