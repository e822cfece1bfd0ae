"""Fake time, fake tokens, and simplejwt's settings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from channels.layers import get_channel_layer

from channels_realtime import services
from channels_realtime.auth import issued
from channels_realtime.nodes.node import Node, place
from channels_realtime.settings import get_config
from tests.unit.auth import credentials
from tests.unit.auth.credentials import FakeClock, FakeTokens, KeyPair


@pytest.fixture(autouse=True)
def nobody_revoked_yet() -> Iterator[None]:
    """The tests of a process share one context."""
    mark = issued._revoked.set(None)
    yield
    issued._revoked.reset(mark)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def timed_node(realtime: Any, application: Any, clock: FakeClock) -> Callable[[], Node]:
    """Makes this loop's node, whose clock is ``clock``, with the settings in force by then."""

    def make() -> Node:
        config = get_config()
        node = services.make_node(config, get_channel_layer(config.channel_layer), clock=clock)
        place(node)
        return node

    return make


@pytest.fixture
def tokens(realtime: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTokens]:
    """Tokens without a database, judged when the test says so."""
    made = FakeTokens()
    monkeypatch.setattr(credentials, "fake_tokens", made)
    realtime(TOKEN_VERIFIER="tests.unit.auth.credentials.verify_fake")
    yield made
    made.verdict.set()  # let no thread wait


@pytest.fixture
def simple_jwt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Change ``SIMPLE_JWT``.

    On each of simplejwt's own objects: modules import it by name, and every ``override_settings``
    anywhere in this process has left them with different ones. And with a new backend: simplejwt
    makes one when it is imported, and never again.
    """
    from rest_framework_simplejwt import state
    from rest_framework_simplejwt.backends import TokenBackend
    from rest_framework_simplejwt.settings import api_settings

    def configure(**changes: Any) -> None:
        every = {
            id(held): held
            for module in list(sys.modules.values())
            if (held := getattr(module, "api_settings", None)).__class__ is type(api_settings)
        }
        for held in every.values():
            for name, value in changes.items():
                monkeypatch.setattr(held, name, value)
        backend = TokenBackend(
            api_settings.ALGORITHM,
            api_settings.SIGNING_KEY,
            api_settings.VERIFYING_KEY,
            api_settings.AUDIENCE,
            api_settings.ISSUER,
            api_settings.JWK_URL,
            api_settings.LEEWAY,
            api_settings.JSON_ENCODER,
        )
        monkeypatch.setattr(state, "token_backend", backend)

    return configure


@pytest.fixture(scope="session")
def key_pair() -> KeyPair:
    return KeyPair()


@pytest.fixture(scope="session")
def other_key_pair() -> KeyPair:
    return KeyPair()


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    """Tickets spent by one test are none of the next one's."""
    from django.core.cache import cache

    yield
    cache.clear()
