"""`manage.py demo`, and what its process does and refuses."""

import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.example.site import MANAGE, Visitor, environment, manage, run_demo
from tests.support.servers import HOST, STOP_TIMEOUT_S

SERVERS = ["daphne", "uvicorn"]


@pytest.mark.parametrize("name", SERVERS)
def test_demo_serves_pages_static_files_and_sockets_by_each_server(
    name: str, tmp_path: Path
) -> None:
    with run_demo(tmp_path, SERVER=name) as server:
        visitor = Visitor(server)
        assert "This site has demo accounts" in visitor.get("/")
        assert "RealtimeClient" in visitor.get("/static/channels_realtime/realtime.js")
        assert ":root" in visitor.get("/static/site/site.css")
        with visitor.sign_in("alice").socket() as page:
            page.subscribe("rooms/lobby")
            page.send(type="publish", channel="rooms/lobby", payload={"text": name})
            assert page.message("rooms/lobby")["payload"] == {"text": name}
        assert "Traceback" not in server.log()


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_ends_at_once_on_a_signal(name: str, number: signal.Signals, tmp_path: Path) -> None:
    with run_demo(tmp_path, SERVER=name) as server:
        visitor = Visitor(server).sign_in("alice")
        with visitor.socket() as page:
            page.subscribe("host/metrics")
            server.process.send_signal(number)
            server.process.wait(STOP_TIMEOUT_S)
            assert "Traceback" not in server.log()


def test_demo_prints_its_address_and_accounts_when_started(tmp_path: Path) -> None:
    with run_demo(tmp_path) as server:
        log = server.log()
    assert f"http://{HOST}:{server.port}/" in log
    assert "admin/admin, alice/alice, bob/bob" in log
    assert "These passwords are public" in log
    assert "This publication reaches no client" not in log


def test_demo_names_another_port_when_its_own_is_taken(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        result = manage(tmp_path, "demo", PORT=str(port))
    assert result.returncode == 1
    assert result.stderr.strip().endswith(
        f"Port {port} of {HOST} is taken; choose another one: PORT={port + 1}"
    )


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PORT": "http"}, "PORT is 'http'; expected a number from 1 to 65535."),
        ({"PORT": "70000"}, "PORT is '70000'; expected a number from 1 to 65535."),
        ({"SERVER": "gunicorn"}, "SERVER is 'gunicorn'; expected one of: daphne, uvicorn."),
    ],
)
def test_demo_refuses_bad_variables(
    variables: dict[str, str], message: str, tmp_path: Path
) -> None:
    result = manage(tmp_path, "demo", **variables)
    assert result.returncode == 1
    assert message in result.stderr


def test_demos_share_a_new_database_when_started_at_the_same_moment(tmp_path: Path) -> None:
    together = threading.Barrier(3)

    def prepare() -> subprocess.CompletedProcess[str]:
        together.wait()
        return manage(tmp_path, "demo", "--prepare-only")

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: prepare(), range(3)))
    assert [result.returncode for result in results] == [0, 0, 0], results

    with ExitStack() as stack:
        first, second = (stack.enter_context(run_demo(tmp_path)) for _ in range(2))
        Visitor(first).sign_in("alice").submit("/rooms/", {"name": "Harbour"})
        assert "Harbour" in Visitor(second).get("/rooms/")


def test_demo_resets_its_accounts_and_leaves_others_alone(tmp_path: Path) -> None:
    assert manage(tmp_path, "demo", "--prepare-only").returncode == 0
    spoil = (
        "from django.contrib.auth.models import User\n"
        "alice = User.objects.get(username='alice'); alice.set_password('other')\n"
        "alice.is_active = False; alice.is_staff = True; alice.save()\n"
        "bob = User.objects.get(username='bob'); bob.groups.clear(); bob.set_password('own')\n"
        "bob.save()\n"
    )
    assert manage(tmp_path, "shell", "-c", spoil).returncode == 0
    assert manage(tmp_path, "demo", "--prepare-only").returncode == 0
    show = (
        "from django.contrib.auth.models import User\n"
        "a = User.objects.get(username='alice'); b = User.objects.get(username='bob')\n"
        "print(a.check_password('alice'), a.is_active, a.is_staff, b.check_password('own'))\n"
        "print(User.objects.count())\n"
    )
    assert manage(tmp_path, "shell", "-v", "0", "-c", show).stdout.split() == [
        *("True", "True", "False", "True"),
        "3",
    ]


def test_run_feeds_is_refused_over_the_in_memory_layer(tmp_path: Path) -> None:
    result = manage(tmp_path, "run_feeds")
    assert result.returncode == 1
    assert "REDIS_URL is not set" in result.stderr


FAILING_FEED = """
import threading
from demo.feeds import run_feed

stopped = threading.Event()


class FailingFeed:
    interval_s = 0.01
    calls = 0

    def publish(self):
        self.calls += 1
        if self.calls < 4:
            raise OSError("no Redis")
        stopped.set()


run_feed(FailingFeed, stopped)
"""


def test_a_feed_logs_its_first_failure_and_continues(tmp_path: Path) -> None:
    log = manage(tmp_path, "shell", "-v", "0", "-c", FAILING_FEED).stderr
    assert log.count("FailingFeed failed; it tries again every interval.") == 1
    assert log.count("OSError: no Redis") == 1
    assert log.count("FailingFeed works again.") == 1


APPS_BEFORE_SETUP = """
import sys
import django

setup = django.setup


def setup_and_show(*args, **kwargs):
    apps = {"boards", "channels_realtime", "demo", "host_metrics", "rooms", "stocks"}
    print(sorted(name for name in sys.modules if name.partition(".")[0] in apps))
    setup(*args, **kwargs)


django.setup = setup_and_show
import site_config.asgi
"""


def test_asgi_imports_no_app_before_django_is_set_up(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", APPS_BEFORE_SETUP],
        cwd=MANAGE.parent,
        env={**os.environ, **environment(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "[]\n"), result.stderr


def test_a_shell_over_the_in_memory_layer_says_that_nobody_hears(tmp_path: Path) -> None:
    assert manage(tmp_path, "demo", "--prepare-only").returncode == 0
    save = "from boards.models import Card; Card.objects.first().save()"
    result = manage(tmp_path, "shell", "-c", save)
    assert result.returncode == 0
    assert "This publication reaches no client" in result.stderr
