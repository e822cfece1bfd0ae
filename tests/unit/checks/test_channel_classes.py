"""E038, E041, W052 and W055: channel classes whose attributes do not fit together."""

from __future__ import annotations

import dataclasses

import pytest

from channels_realtime import checks
from channels_realtime.channels import Channel, action
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


@dataclasses.dataclass
class Untypable:
    channel: Channel


@dataclasses.dataclass
class Unresolved:
    order: Order  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ({"messages": {"a": Untypable}}, ["messages['a'] is Untypable", "Channel"]),
        ({"messages": Unresolved}, ["messages[None] is Unresolved", "name 'Order' is not defined"]),
        ({"client_events": {"a": Untypable}}, ["messages['a'] is Untypable"]),
        (
            {"parameters_type": Untypable},
            ["shop.realtime.OrderChannel.parameters_type is Untypable"],
        ),
    ],
)
def test_e041_a_type_that_json_has_no_form_for(report, attributes, says):
    (found,) = report(**attributes)
    assert found.id == "E041"
    assert lacking(found, says) == []


def test_w055_an_annotation_that_cannot_be_resolved(report):
    @action
    def move(self, connection, payload: Order): ...  # type: ignore[name-defined]  # noqa: F821

    (found,) = report(move=move)
    assert found.id == "W055"
    assert lacking(found, ["OrderChannel.move", "payload: name 'Order' is not defined"]) == []
