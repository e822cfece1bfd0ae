"""WebSocket handshakes that reach Django as plain HTTP are told of, once."""

from __future__ import annotations

import pytest
from django.core.signals import request_started
from django.test import Client

from channels_realtime import asgi
from channels_realtime.asgi import get_realtime_application
from channels_realtime.http import lost_handshakes
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import no_http

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@pytest.fixture(autouse=True)
def _untold(monkeypatch):
    monkeypatch.setattr(lost_handshakes, "_told", False)
    monkeypatch.setattr(asgi, "_logged_paths", set())


def told(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("channels_realtime")]


@pytest.mark.django_db
def test_first_handshake_is_told_of_and_others_are_not(caplog):
    for path in ("/ws/", "/ws/", "/other/"):
        Client(headers={"Sec-WebSocket-Key": KEY}).get(path)
    (message,) = told(caplog)
    assert message.startswith("A WebSocket handshake for '/ws/' reached Django over WSGI")


@pytest.mark.django_db
def test_ordinary_requests_are_not_told_of(caplog):
    Client().get("/ws/", headers={"upgrade": "h2c"})
    request_started.send(sender=object)  # of a handler that says nothing of its request
    request_started.send(sender=object, scope={"type": "http", "path": "/", "headers": []})
    assert told(caplog) == []


@pytest.mark.django_db
def test_long_path_is_cut(caplog):
    environ = {"HTTP_SEC_WEBSOCKET_KEY": KEY, "PATH_INFO": "/" + "x" * 10_000}
    request_started.send(sender=object, environ=environ)
    (message,) = told(caplog)
    assert len(message) < 500


async def test_unserved_path_is_told_of_once_and_others_up_to_a_bound(realtime, caplog):
    application = get_realtime_application(no_http)
    for number in range(30):
        for _ in range(2):
            socket = AsgiSocket(application, f"/nothing/{number}/")
            assert (await socket.connect())["type"] == "websocket.close"
    messages = told(caplog)
    assert len(messages) == len(set(messages)) == 20
    assert messages[0].startswith("Refused a WebSocket at '/nothing/0/' (404)")
