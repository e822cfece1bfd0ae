"""The client for Python programs: services, scripts and tests. It needs no Django set up.

In: a server's address and credentials. Out: an asynchronous ``Client`` that stays connected, and
subscriptions that miss nothing which the server can give again. It is on ``websockets``
(``pip install channels-realtime[client]``).

    async with connect("wss://www.example.com/ws/", token=get_token) as client:
        async for message in client.subscribe("orders/42"):
            ...
"""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("websockets") is None:
    raise ImportError(
        "channels_realtime.client needs the package 'websockets'; install channels-realtime[client]"
    )

from ..protocol.messages import Member, Members, Position
from .client import Client, connect
from .core import Limits, State
from .errors import (
    BadMessages,
    Blocked,
    ClientError,
    Closed,
    ConnectFailed,
    ConnectionLost,
    FrameTooLarge,
    HandshakeRefused,
    QueueFull,
    Replaced,
    SignedOut,
    VersionRefused,
)
from .subscriptions import Subscription
from .values import Event, History, Joined, Left, Loaded, Message, Published, Recovered, Subscribed

__all__ = [
    "BadMessages",
    "Blocked",
    "Client",
    "ClientError",
    "Closed",
    "ConnectFailed",
    "ConnectionLost",
    "Event",
    "FrameTooLarge",
    "HandshakeRefused",
    "History",
    "Joined",
    "Left",
    "Limits",
    "Loaded",
    "Member",
    "Members",
    "Message",
    "Position",
    "Published",
    "QueueFull",
    "Recovered",
    "Replaced",
    "SignedOut",
    "State",
    "Subscribed",
    "Subscription",
    "VersionRefused",
    "connect",
]
