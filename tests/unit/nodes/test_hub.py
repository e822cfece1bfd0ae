"""Fan-out in one process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_realtime.endpoints.websocket import (
    BARE_ENCODING,
    ENCODINGS,
    HTML_BARE_ENCODING,
    WebSocketTransport,
)
from channels_realtime.nodes.hub import Hub
from channels_realtime.nodes.metrics import Metrics
from channels_realtime.protocol.dialects.base import Encoding
from channels_realtime.protocol.frames import Frame, Policy
from channels_realtime.protocol.messages import Publication
from channels_realtime.protocol.selection import ALL, selection_of


class Counting(Encoding):
    """An encoding that counts what it encodes."""

    name = "counting"

    def __init__(self) -> None:
        super().__init__(WebSocketTransport.wrap)
        self.count = 0

    def encode_publication(self, publication: Publication) -> str:
        self.count += 1
        return str(publication.payload)


class Client:
    """A subscriber that keeps what it gets."""

    def __init__(self, encoding=BARE_ENCODING) -> None:
        self.encoding = encoding
        self.frames: list[Frame] = []

    is_free = False

    @property
    def outlet(self):
        return self

    def started_anew(self, channel, position) -> None:
        raise AssertionError("not expected")

    def deliver(self, frame: Frame, publication: Publication) -> None:
        self.frames.append(frame)

    @property
    def texts(self) -> list[str]:
        return [frame.content.get("text", frame.content.get("bytes")) for frame in self.frames]


def publication(payload="x", channel="a") -> Publication:
    return Publication(channel, payload)


def test_publication_reaches_every_subscriber_of_its_channel_and_nobody_else():
    metrics = Metrics()
    hub, one, two, other = Hub(metrics), Client(), Client(), Client()
    hub.add("a", one)
    hub.add("a", two)
    hub.add("b", other)
    assert hub.deliver(publication("hello")) == 2
    assert (one.texts, two.texts, other.texts) == (["hello"], ["hello"], [])
    assert metrics.delivered == 2


def test_publication_without_subscribers_reaches_nobody():
    assert Hub(Metrics()).deliver(publication()) == 0


def test_publication_that_an_encoding_does_not_tell_of_reaches_the_others_alone():
    metrics = Metrics()
    hub, html, other = Hub(metrics), Client(HTML_BARE_ENCODING), Client()
    hub.add("a", html)
    hub.add("a", other)
    assert hub.deliver(publication("text")) == 1
    assert (html.texts, other.texts, metrics.delivered) == ([], ["text"], 1)


def test_publications_keep_their_order():
    hub, client = Hub(Metrics()), Client()
    hub.add("a", client)
    for n in range(5):
        hub.deliver(publication(str(n)))
    assert client.texts == ["0", "1", "2", "3", "4"]


def test_publication_is_encoded_once_for_all_who_share_an_encoding():
    hub, encoding = Hub(Metrics()), Counting()
    clients = [Client(encoding) for _ in range(100)]
    for client in clients:
        hub.add("a", client)
    hub.deliver(publication())
    assert encoding.count == 1
    assert len({id(client.frames[0]) for client in clients}) == 1


def test_publication_is_encoded_once_when_selections_share_an_encoding():
    hub, encoding = Hub(Metrics()), Counting()
    everything, some = Client(encoding), Client(encoding)
    hub.add("a", everything)
    hub.add("a", some, "k")
    assert hub.deliver(publication(), "k") == 2
    assert encoding.count == 1


def test_every_client_gets_its_own_codec():
    hub = Hub(Metrics())
    json, msgpack, bare = Client(ENCODINGS["json"]), Client(ENCODINGS["msgpack"]), Client()
    for client in (json, msgpack, bare):
        hub.add("a", client)
    hub.deliver(publication({"n": 1}))
    assert json.texts == ['{"type":"message","channel":"a","payload":{"n":1}}']
    assert msgpack.texts == [ENCODINGS["msgpack"].encode_publication(publication({"n": 1}))]
    assert bare.texts == ['{"n":1}']


def test_frame_names_its_channel_and_its_size_in_bytes():
    assert BARE_ENCODING.publication_frame(publication("ä"), Policy.LATEST) == Frame(
        {"type": "websocket.send", "text": "ä"}, 2, "a", Policy.LATEST
    )
    assert BARE_ENCODING.frame(b"xyz") == Frame(
        {"type": "websocket.send", "bytes": b"xyz"}, 3, None
    )


# -- selections ------------------------------------------------------------------------------------


def test_subscriber_with_a_selection_gets_only_what_matches():
    hub, apple, google, everything = Hub(Metrics()), Client(), Client(), Client()
    hub.add("a", apple, "AAPL")
    hub.add("a", google, "GOOG")
    hub.add("a", everything)
    assert hub.deliver(publication("1"), "AAPL") == 2
    assert hub.deliver(publication("2"), "MSFT") == 1
    assert hub.deliver(publication("3")) == 1
    assert (apple.texts, google.texts, everything.texts) == (["1"], [], ["1", "2", "3"])


def test_subscriber_gets_a_publication_once_when_it_selects_all_and_one():
    hub, client = Hub(Metrics()), Client()
    hub.add("a", client, "AAPL")
    hub.add("a", client)
    hub.add("a", client, "GOOG")
    for selection in ("AAPL", "GOOG", "MSFT", ALL):
        assert hub.deliver(publication(), selection) == 1
    assert hub.selections("a", client) == {"AAPL", "GOOG", ALL}


def test_selections_hold_again_when_all_is_taken_back():
    hub, client = Hub(Metrics()), Client()
    hub.add("a", client, "AAPL")
    hub.add("a", client)
    hub.add("a", client, "GOOG")
    assert not hub.remove_selection("a", client, ALL)
    assert [hub.deliver(publication(), s) for s in ("AAPL", "GOOG", "MSFT", ALL)] == [1, 1, 0, 0]


def test_last_selection_taken_back_ends_the_subscription():
    hub, client = Hub(Metrics()), Client()
    hub.add("a", client, "AAPL")
    hub.add("a", client, "GOOG")
    assert not hub.remove_selection("a", client, "AAPL")
    assert hub.remove_selection("a", client, "GOOG")
    assert "a" not in hub
    assert hub.selections("a", client) == frozenset()


def test_adding_a_selection_twice_is_false():
    hub, client = Hub(Metrics()), Client()
    assert hub.add("a", client, "k")
    assert not hub.add("a", client, "k")
    assert hub.add("a", client)
    assert not hub.add("a", client)
    assert hub.deliver(publication(), "k") == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (1, True, False),
        (0, False, False),
        (1, 1.0, True),
        ("1", 1, False),
        (True, True, True),
        ("a", "a", True),
    ],
)
def test_selection_of_a_value_keeps_apart_what_json_keeps_apart(one, other, same):
    assert (selection_of(one) == selection_of(other)) is same


@pytest.mark.parametrize("value", [None, [], {}, [1], {"a": 1}])
def test_nothing_is_selected_by_what_is_no_scalar(value):
    with pytest.raises(TypeError, match="only text, numbers and booleans select"):
        selection_of(value)


# -- the end of subscriptions ----------------------------------------------------------------------


def test_nothing_reaches_who_has_left():
    hub, one, two = Hub(Metrics()), Client(), Client()
    hub.add("a", one)
    hub.add("a", two)
    assert hub.remove("a", one)
    hub.deliver(publication())
    assert (one.texts, two.texts) == ([], ["x"])


def test_leaving_is_false_when_there_was_no_subscription():
    hub, one, two = Hub(Metrics()), Client(), Client()
    assert not hub.remove("a", one)
    hub.add("a", two)
    assert not hub.remove("a", one)


def test_leaving_takes_all_selections_along():
    hub, client = Hub(Metrics()), Client()
    for selection in ("x", ALL, "y"):
        hub.add("a", client, selection)
    assert hub.remove("a", client)
    assert [hub.deliver(publication(), s) for s in ("x", "y", ALL)] == [0, 0, 0]
    assert len(hub) == 0
    assert hub._topics == {}


def test_hub_counts_channels_and_subscribers():
    hub, one, two = Hub(Metrics()), Client(), Client()
    hub.add("a", one)
    hub.add("a", one, "k")
    hub.add("a", two)
    hub.add("b", one)
    assert (len(hub), hub.count("a"), hub.count("b"), hub.count("c")) == (2, 2, 1, 0)
    assert sorted(hub.channels()) == ["a", "b"]
    assert "a" in hub
    assert "c" not in hub


def test_subscriber_may_leave_while_a_publication_is_handed_out():
    hub, late = Hub(Metrics()), Client()

    class Leaver(Client):
        def deliver(self, frame, publication):
            super().deliver(frame, publication)
            hub.remove("a", self)
            hub.remove("a", late)

    leavers = [Leaver(), Leaver()]
    for client in (*leavers, late):
        hub.add("a", client)
    hub.deliver(publication())
    assert [len(leaver.frames) for leaver in leavers] == [1, 1]
    assert "a" not in hub


CLIENTS = [Client(ENCODINGS["json"]), Client(ENCODINGS["json"]), Client()]
SELECTIONS = st.sampled_from([ALL, "x", "y"])


@given(
    st.lists(st.tuples(st.sampled_from(["add", "take", "remove"]), st.integers(0, 2), SELECTIONS))
)
def test_hub_delivers_to_exactly_who_selected_it_whatever_came_before(steps):
    hub, model = Hub(Metrics()), {0: set(), 1: set(), 2: set()}
    for kind, number, selection in steps:
        client, held = CLIENTS[number], model[number]
        if kind == "add":
            assert hub.add("a", client, selection) is (selection not in held)
            held.add(selection)
        elif kind == "take" and selection in held:
            held.remove(selection)
            assert hub.remove_selection("a", client, selection) is (not held)
        elif kind == "remove":
            assert hub.remove("a", client) is bool(held)
            held.clear()
        for published in (ALL, "x", "y", "z"):
            for each in CLIENTS:
                each.frames.clear()
            expected = [n for n, held in model.items() if ALL in held or published in held - {ALL}]
            assert hub.deliver(publication(), published) == len(expected)
            assert [n for n, each in enumerate(CLIENTS) if len(each.frames) == 1] == expected
    assert ("a" in hub) == any(model.values())
