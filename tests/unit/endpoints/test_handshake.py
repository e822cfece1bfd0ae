"""What is left of a handshake that is over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from channels_realtime.access.client_address import FoundAddress
from channels_realtime.endpoints.handshake import STATE, HandshakeState, forget_handshake


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


class Uncomparable:
    """As a user that is read from the database when something is asked of it."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")
