"""A registry with rows, staff with permissions, and nodes that answer as a test says."""

from __future__ import annotations

import datetime
import secrets
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db.models.functions import Now
from django.test import Client
from django.utils import timezone

from channels_realtime import operations
from channels_realtime.errors import Unavailable
from channels_realtime.models import ConnectionRecord, NodeRecord, SubscriptionRecord
from channels_realtime.operations import Outcome

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


@pytest.fixture
def make_node(db):
    """Adds a node; its lease expires in ``lease_s`` seconds."""

    def make(host: str = "web1", pid: int = 101, *, lease_s: float = 60.0, **fields: Any):
        node = NodeRecord.objects.create(
            id=secrets.token_hex(16),
            host=host,
            pid=pid,
            server="daphne",
            version="1.0",
            started_at=timezone.now(),
            lease_until=Now() + datetime.timedelta(seconds=lease_s),
            **fields,
        )
        node.refresh_from_db()
        return node

    return make


@pytest.fixture
def node(make_node):
    return make_node()


@pytest.fixture
def connect(node):
    """Adds a connection, on ``node`` unless another is given."""

    def make(user: str = "", *channels: str, **fields: Any):
        now = timezone.now()
        record = ConnectionRecord.objects.create(
            **{
                "connection_id": secrets.token_hex(8),
                "node": node,
                "user_pk": f"pk-{user}"[:255] if user else "",
                "user_label": user,
                "address": "192.0.2.7",
                "transport": "websocket",
                "origin": "https://example.com",
                "user_agent": FIREFOX,
                "auth_method": "session" if user else "anonymous",
                "channels": len(channels),
                "connected_at": now,
                "seen_at": now,
                **fields,
            }
        )
        SubscriptionRecord.objects.bulk_create(
            SubscriptionRecord(connection=record, channel=channel) for channel in channels
        )
        return record

    return make


@pytest.fixture
def staff(db):
    """A client of staff with these permissions of the package; ``None`` for a superuser."""

    def sign_in(*permissions: str | None) -> Client:
        if permissions == (None,):
            user = User.objects.create_superuser(f"root-{secrets.token_hex(3)}")
        else:
            user = User.objects.create(username=f"staff-{secrets.token_hex(3)}", is_staff=True)
            found = Permission.objects.filter(
                content_type__app_label="channels_realtime", codename__in=permissions
            )
            assert len(found) == len(permissions)
            user.user_permissions.set(found)
        client = Client()
        client.force_login(user)
        client.user = user
        return client

    return sign_in


@pytest.fixture
def viewer(staff):
    return staff("view_connectionrecord")


@pytest.fixture
def actor(staff):
    return staff("view_connectionrecord", "act_on_connection", "add_blockrecord")


@pytest.fixture
def tracer(staff):
    return staff("view_connectionrecord", "trace_connection")


def inspection(record: ConnectionRecord, **changes: Any) -> dict[str, Any]:
    """What a node would answer about this connection."""
    channels = record.subscriptions.values_list("channel", flat=True)
    return {
        "id": record.pk,
        "user_id": record.user_pk or None,
        "user": record.user_label,
        "address": record.address,
        "transport": record.transport,
        "dialect": "realtime.v1.json",
        "origin": record.origin,
        "user_agent": record.user_agent,
        "client_id": record.client_id,
        "auth": {"method": record.auth_method, "source": "cookie", "expires_at": None},
        "connected_at": record.connected_at.timestamp(),
        "seen_at": record.seen_at.timestamp(),
        "closed": False,
        "subscriptions": [
            {"channel": name, "paused": False, "selections": 1, "offset": None} for name in channels
        ],
        "subscriptions_total": len(channels),
        "received": 1234,
        "received_bytes": 2048,
        "sent": 1,
        "sent_bytes": 512,
        "queued": 0,
        "queued_bytes": 0,
        "round_trips": [0.010, 0.034, 0.0125],
        "errors": 2,
        "throttled": 0,
        "headers": [["host", "testserver"], ["user-agent", record.user_agent]],
        "traced": False,
        **changes,
    }


class Nodes:
    """Replaces ``operations``: records the calls, and answers what the test says."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.gone: set[str] = set()
        self.silent: set[str] = set()
        self.impossible: set[str] = set()
        self.inspections: dict[str, Any] = {}
        self.parts: list[Any] = []
        self.blocks: list[Any] = []

    def _outcome(self, ids: Any) -> Outcome:
        ids = list(ids)
        return Outcome(
            done=tuple(i for i in ids if i not in self.gone | self.silent | self.impossible),
            gone=tuple(i for i in ids if i in self.gone),
            silent=tuple(i for i in ids if i in self.silent),
            impossible=tuple(i for i in ids if i in self.impossible),
        )

    def _answer(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def inspect(self, connection_id):
        return self._answer(self.inspections.get(connection_id))

    def disconnect(self, ids, *, may_return=False, retry_after=None, reason=""):
        self.asked.append(("disconnect", list(ids), may_return, retry_after))
        return self._outcome(ids)

    def send_notice(self, ids, payload):
        self.asked.append(("send_notice", list(ids), payload))
        return self._outcome(ids)

    def unsubscribe(self, ids, channel):
        self.asked.append(("unsubscribe", list(ids), channel))
        return self._outcome(ids)

    def ask_for_credentials(self, ids, *, within=30.0):
        self.asked.append(("ask_for_credentials", list(ids), within))
        return self._outcome(ids)

    def revoke_user(self, user_pk):
        self.asked.append(("revoke_user", user_pk))
        if user_pk in self.silent:
            raise Unavailable

    def block(self, **asked):
        self.asked.append(("block", asked))
        if {asked.get("user_pk"), asked.get("address")} & self.silent:
            raise Unavailable
        from channels_realtime.models import BlockRecord

        seconds = asked.pop("seconds")
        until = timezone.now() + datetime.timedelta(seconds=seconds)
        return BlockRecord.objects.create(until=until, **asked)

    def read_trace(self, connection_id, *, viewer, after=0, payloads=False):
        self.asked.append(("read_trace", connection_id, viewer, after, payloads))
        return self._answer(self.parts.pop(0) if self.parts else None)

    def stop_trace(self, connection_id, *, viewer):
        self.asked.append(("stop_trace", connection_id, viewer))


@pytest.fixture
def nodes(monkeypatch) -> Nodes:
    """Nodes that answer what the test says."""
    fake = Nodes()
    for name in (
        "inspect",
        "disconnect",
        "send_notice",
        "unsubscribe",
        "ask_for_credentials",
        "revoke_user",
        "block",
        "read_trace",
        "stop_trace",
    ):
        monkeypatch.setattr(operations, name, getattr(fake, name))
    return fake
