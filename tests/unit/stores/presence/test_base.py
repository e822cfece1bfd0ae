"""What a channel class may say of its presence."""

from __future__ import annotations

from datetime import timedelta

import pytest

from channels_realtime.errors import ImproperUse
from channels_realtime.stores.presence.base import Presence


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("grace", value) for value in (-1, 3_601, True, "5", None, timedelta(seconds=5))),
        *(("max_members", value) for value in (-1, 10_001, True, 1.5, "5", None)),
        *(("by_user", value) for value in (1, None, "yes")),
        ("announces", 0),
    ],
)
def test_what_is_no_such_value_is_refused(name, value):
    with pytest.raises(ImproperUse, match=rf"^Presence.{name} is .*; expected "):
        Presence(**{name: value})
