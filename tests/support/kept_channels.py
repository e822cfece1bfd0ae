"""Channels that keep something, of each kind, and names of them that no other test uses."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import msgspec

from channels_realtime import Channel, History
from channels_realtime.channels import ChannelRegistry
from channels_realtime.stores.history.base import Append, HistoryStore

_numbers = itertools.count(1)


def fresh(kind: str) -> str:
    """The name of a channel that nothing was published to, such as ``numbered/7``."""
    return f"{kind}/{next(_numbers)}"


class Open(Channel):
    public = True
    client_events = ("said",)
    transient_events = ("typing",)
    transient_rate = (1.0, 2.0)

    async def can_publish(self, connection):
        return True


class Kept(Open):
    history = History(size=20, ttl=60.0)


class Last(Open):
    state = "last"
    versions = True


class Keyed(Open):
    state = "keyed"
    versions = True


class Unversioned(Open):
    state = "keyed"


class Counted(Open):
    count_deliveries = True


class CountedAndKept(Kept):
    count_deliveries = True


class Private(Kept):
    public = False

    async def can_publish(self, connection):
        return False


KINDS: dict[str, type[Channel]] = {
    "open": Open,
    "numbered": Kept,
    "last": Last,
    "keyed": Keyed,
    "unversioned": Unversioned,
    "counted": Counted,
    "counted-and-kept": CountedAndKept,
    "private": Private,
}


async def keep_unreadable(store: HistoryStore, stream: str, state_key: str | None = None) -> None:
    """Append what this version of the package cannot read, as another one might have written it."""
    body = msgspec.msgpack.encode({"another": "version"})
    await store.append(
        Append(stream=stream, uid="u", body=body, history=Kept.history, state_key=state_key)
    )


def register_kinds(routes: ChannelRegistry) -> None:
    """Register every kind, as ``<kind>/<number>``."""
    for kind, channel_class in KINDS.items():
        routes.register(f"{kind}/<int:number>", channel_class)


@contextlib.contextmanager
def registered(routes: ChannelRegistry) -> Iterator[None]:
    """The kinds, for as long as a test runs."""
    register_kinds(routes)
    try:
        yield
    finally:
        for kind in KINDS:
            routes.unregister(f"{kind}/<int:number>")
