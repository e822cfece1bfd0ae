"""Workers whose threads gevent or eventlet has replaced, as of gunicorn and Celery."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

from channels_realtime import publish, sending
from channels_realtime.errors import ImproperUse
from channels_realtime.runtime import loops
from channels_realtime.runtime.loops import BackgroundLoop

UNDER_GEVENT = """
    import asyncio, django, gevent
    django.setup()
    from django.contrib.auth.models import User
    from django.core.management import call_command
    from django.db import transaction
    from channels_realtime import publish
    from channels_realtime.runtime import loops

    call_command("migrate", verbosity=0)

    def work(n):
        with transaction.atomic():
            User.objects.create(username=str(n))
            publish("public/a", n)
        publish("public/a", n)
        return User.objects.count()

    first = work(0)
    found = gevent.joinall([gevent.spawn(work, n) for n in range(1, 5)])
    assert all(greenlet.successful() for greenlet in found), found
    assert User.objects.count() == 5

    async def look_up():
        return await asyncio.get_running_loop().getaddrinfo("localhost", 80)

    assert loops.submit(look_up()).result(10)
    print("published")
"""


def test_publishing_leaves_a_gevent_worker_its_queries(tmp_path):
    """The process ends by itself, too: it waits for no thread of the loop's."""
    pytest.importorskip("gevent")
    database = f"settings.DATABASES['default']['NAME'] = {str(tmp_path / 'db.sqlite3')!r}"
    script = f"from tests import settings; {database}\n" + textwrap.dedent(UNDER_GEVENT)
    done = subprocess.run(
        [sys.executable, "-c", "from gevent import monkey; monkey.patch_all()\n" + script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "published\n"), done.stderr


@pytest.fixture
def eventlet(monkeypatch):
    patcher = SimpleNamespace(is_monkey_patched=lambda module: module == "thread")
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    monkeypatch.setattr(loops, "background_loop", BackgroundLoop())


REMEDY = (
    "eventlet has replaced this process's threads, and an event loop cannot run beside it. Use"
    " another kind of worker: gthread or gevent in gunicorn, prefork, threads or gevent in Celery"
)


def test_publishing_under_eventlet_is_refused_and_names_the_remedy(eventlet):
    with pytest.raises(ImproperUse) as caught:
        publish("public/a", 1)
    assert caught.value.reason == REMEDY


def test_publishing_under_eventlet_is_refused_before_the_commit(eventlet, monkeypatch):
    monkeypatch.setattr(sending, "open_transactions", lambda using: ("default",))
    with pytest.raises(ImproperUse) as caught:
        publish("public/a", 1)
    assert caught.value.reason == REMEDY
