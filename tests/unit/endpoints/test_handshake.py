"""The state of a handshake, and what is left of it afterwards."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from channels_realtime.access.client_address import FoundAddress
from channels_realtime.config import Config
from channels_realtime.endpoints.handshake import STATE, HandshakeState, begin, forget_handshake


def scope_after(given: dict[str, Any], **added: Any) -> Any:
    connection: Any = SimpleNamespace(scope={**given, **added})
    forget_handshake(connection, given)
    return connection.scope


def test_copy_of_a_scope_goes_with_the_handshake():
    given = {"type": "websocket", "headers": [], "user": Uncomparable()}
    assert scope_after(given, **{STATE: HandshakeState(FoundAddress("127.0.0.1"))}) is given
    assert list(given) == ["type", "headers", "user"]


def test_copy_of_a_scope_stays_where_something_was_added():
    given = {"type": "websocket"}
    found = scope_after(given, tenant="a", **{STATE: HandshakeState(FoundAddress("127.0.0.1"))})
    assert found == {"type": "websocket", "tenant": "a"}
    assert given == {"type": "websocket"}


def test_copy_of_a_scope_stays_where_something_was_changed():
    found = scope_after({"type": "websocket", "path": "/a/"}, path="/b/")
    assert found == {"type": "websocket", "path": "/b/"}


def test_state_of_a_handshake_stays_where_an_outer_layer_has_made_it():
    given = {"type": "websocket", STATE: HandshakeState(FoundAddress("127.0.0.1"))}
    assert scope_after(given) is given
    assert STATE in given


def test_headers_are_those_that_the_serving_layer_sees_and_not_an_outer_ones():
    scope: dict[str, Any] = {
        "client": ("192.0.2.1", 1),
        "headers": [(b"origin", b"https://a.example")],
    }
    outer = begin(scope, Config())
    scope["headers"].insert(0, (b"host", b"b.example"))
    scope["headers"][1] = (b"origin", b"https://b.example")
    inner = begin(scope, Config())
    assert inner is outer
    assert inner.address.text == "192.0.2.1"
    assert inner.headers is not None
    assert inner.headers.values(b"origin") == ["https://b.example"]


class Uncomparable:
    """As a user that is read from the database when something is asked of it."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")
