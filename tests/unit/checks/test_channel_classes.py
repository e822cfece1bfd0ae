"""E038 and W052: channel classes whose attributes do not fit together."""

from __future__ import annotations

import pytest

from channels_realtime import checks
from channels_realtime.channels import Channel
from channels_realtime.stores.history.base import History

from .reports import ids, lacking, run


@pytest.fixture
def report(monkeypatch):
    def report(**attributes):
        made = type("OrderChannel", (Channel,), {"__module__": "shop.realtime", **attributes})
        found = [("orders", made)]
        monkeypatch.setattr("channels_realtime.checks.channel_classes.registry", found)
        return run(checks.check_channel_classes)

    return report


def test_e038_an_inbox_without_a_history(report):
    (found,) = report(inbox=True)
    assert found.id == "E038"
    assert lacking(found, ["shop.realtime.OrderChannel.inbox", "history = History("]) == []


@pytest.mark.parametrize("kept", [{"history": History()}, {"state": "last"}, {"versions": True}])
def test_an_inbox_with_a_history_is_fine(report, kept):
    assert report(inbox=True, **kept) == []


def test_w052_a_time_without_an_inbox(report):
    assert ids(report(unacknowledged_after=60.0)) == ["W052"]
    assert report(unacknowledged_after=60.0, inbox=True, history=History()) == []
