"""What a channel class may say of its history."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from channels_realtime.errors import ImproperUse
from channels_realtime.stores.history.base import History


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "100", None, 1_000_001])
def test_size_that_is_none_is_refused(size):
    with pytest.raises(ImproperUse, match=r"^History.size is .*; expected 1 to 1,000,000 pub"):
        History(size=size)


@pytest.mark.parametrize(
    "ttl", [0, -1, True, "60", None, float("nan"), float("inf"), timedelta(hours=1), Decimal(60)]
)
def test_time_that_is_no_number_of_seconds_is_refused(ttl):
    with pytest.raises(ImproperUse, match=r"^History.ttl is .*; expected seconds greater than 0$"):
        History(ttl=ttl)
