"""Hooks of the site's that are slow hold up neither revocations nor other users' credentials."""

from __future__ import annotations

import datetime
import threading

import pytest
from django.utils import timezone

from channels_realtime import Channel
from channels_realtime.channels import registry
from channels_realtime.models import RevocationRecord
from tests.support.asgi_socket import AsgiSocket
from tests.unit.auth.credentials import in_thread, outcome
from tests.unit.mixins.consumers import until

HOOKS = 8


def bearer(token: str) -> dict:
    return {"headers": [(b"authorization", f"Bearer {token}".encode())]}


@pytest.fixture
def slow(transactional_db):
    """A channel whose hooks hold all threads of the pool until the test is over."""
    over, running = threading.Event(), threading.Semaphore(0)

    class Slow(Channel):
        def can_subscribe(self, connection):
            running.release()
            return over.wait(20.0)

    registry.register("slow/<int:number>", Slow)
    yield running
    over.set()
    registry.unregister("slow/<int:number>")


def write_row(key: str) -> None:
    """A revocation of another process, none of whose messages arrived."""
    now = timezone.now()
    RevocationRecord.objects.create(
        key=key,
        not_before=now.timestamp(),
        created_at=now,
        expires_at=now + datetime.timedelta(seconds=600),
    )


async def test_eight_slow_hooks_delay_no_revocation_welcome_or_auth(
    slow, realtime, tokens, application
):
    realtime(HOOK_THREADS=HOOKS, REVOCATION_POLL_INTERVAL=0.05)
    for name, user in (("busy", "1"), ("victim", "2"), ("other", "3"), ("fresh", "3")):
        tokens.add(name, user)
    async with (
        AsgiSocket(application, **bearer("busy")) as busy,
        AsgiSocket(application, **bearer("victim")) as victim,
    ):
        await busy.expect("welcome")
        await victim.expect("welcome")
        for number in range(HOOKS):
            busy.send({"type": "subscribe", "channel": f"slow/{number}"})
        taken = 0
        while taken < HOOKS:
            await until(lambda: slow.acquire(blocking=False))
            taken += 1
        await in_thread(write_row)("token:victim")
        assert await outcome(victim) == "4401 the credentials were revoked"
        async with AsgiSocket(application, **bearer("other")) as other:
            await other.expect("welcome")
            reply = await other.ask({"type": "auth", "token": "fresh", "id": 1})
            assert (reply["type"], reply["id"]) == ("auth_ok", 1)
        assert await busy.ask({"type": "ping", "id": 2}) == {"type": "pong", "id": 2}
