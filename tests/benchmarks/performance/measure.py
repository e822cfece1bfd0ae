"""Starts a candidate on its server, lets the load generator loose on it, and returns what it measured.

The server has the first processor to itself; the load generator, Redis and this process share the
second. On a machine with one processor nothing is pinned.
"""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from tests.support.redis_server import private_redis_server
from tests.support.servers import HOST, ROOT, Server, free_port, run_server

HERE = Path(__file__).parent
PACKAGE = "tests.benchmarks.performance"
BACKLOG = 4096
LOAD_TIMEOUT_S = 240.0
INSTALL_TIMEOUT_S = 120.0

Figures = Mapping[str, float]
"""What one run of the load generator printed."""


class NotAvailable(Exception):
    """Something that a candidate needs is not there; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """What a client says to a server, as the load generator's options have it."""

    subscribe: str
    publish: str
    subscribed: str = '"subscribed"'
    ask: str = '{"type":"ping"}'
    path: str = "/ws/"
    greeting: str = ""
    answers: Sequence[str] = ()
    headers: Sequence[str] = ()

    def options(self) -> list[str]:
        found = [f"--path={self.path}", f"--subscribe={self.subscribe}"]
        found += [f"--subscribed={self.subscribed}", f"--publish={self.publish}"]
        found += [f"--answer={answer}" for answer in self.answers]
        return [*found, f"--greeting={self.greeting}"] if self.greeting else found


def realtime_wire(pattern: str) -> Wire:
    """What the package's own browser client says."""
    return Wire(
        subscribe=f'{{"type":"subscribe","channel":"{pattern}/%d"}}',
        publish=f'{{"type":"publish","channel":"{pattern}/%d","payload":%s}}',
        answers=('{"type":"ping"}={"type":"pong"}',),
        headers=("Sec-WebSocket-Protocol: realtime.v1.json",),
    )


PLAIN_WIRE = Wire(
    subscribe='{"type":"subscribe","channel":"bench.%d"}',
    publish='{"type":"publish","channel":"bench.%d","payload":%s}',
)
SOCKET_IO_WIRE = Wire(
    path="/socket.io/?EIO=4&transport=websocket",
    greeting="40",
    answers=("0=40", "2=3"),
    subscribe='42["subscribe",{"channel":"bench.%d"}]',
    publish='42["publish",{"channel":"bench.%d","payload":%s}]',
    ask='42["ask"]',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Something to measure.

    Args:
        name: its key among the results.
        label: its name in a table.
        kind: ``ours``, ``plain``, ``raw`` or ``node``; also its colour in the plot.
        layer: of Channels; ``memory`` means without Redis for the others too.
        lane: whether the package makes frames once, see ``docs/howto/deploy/servers.md``.
        uvloop: whether uvicorn runs on uvloop and httptools, and not on asyncio's loop and h11.
        ping: how often the raw reference sends a ping, in seconds; 0 for never.
    """

    name: str
    label: str
    kind: str
    wire: Wire
    layer: str = "pubsub"
    lane: bool = False
    uvloop: bool = False
    ping: int = 0

    def application(self) -> str:
        return {
            "ours": f"{PACKAGE}.site.asgi:application",
            "plain": f"{PACKAGE}.site.plain_channels:application",
            "raw": f"{PACKAGE}.bare:application",
        }[self.kind]


def server_command(candidate: Candidate, server: str, port: int, redis_url: str) -> list[str]:
    """What starts a candidate on a port.

    Raises:
        NotAvailable: it cannot be started here.
    """
    if candidate.kind == "node":
        url = [] if candidate.layer == "memory" else [redis_url]
        return [node(), str(installed_peer()), str(port), *url]
    command = [sys.executable, "-m"]
    if server == "daphne":
        command += ["channels_realtime.servers.daphne" if candidate.lane else "daphne"]
        endpoint = f"tcp:port={port}:interface={HOST}:backlog={BACKLOG}"
        command += ["-e", endpoint, "--websocket_timeout", "-1", "-v", "0"]
    else:
        command += ["uvicorn", "--host", HOST, "--port", str(port), "--backlog", str(BACKLOG)]
        command += ["--ws-max-size", "1048576"]
        loop, http = ("uvloop", "httptools") if candidate.uvloop else ("asyncio", "h11")
        command += ["--loop", loop, "--http", http]
        if candidate.lane:
            command += ["--ws", "channels_realtime.servers.uvicorn.frames:FrameProtocol"]
        command += ["--lifespan", "off", "--no-access-log", "--log-level", "warning"]
    return [*command, candidate.application()]


@functools.cache
def node() -> str:
    """The program itself: what is on the path may be a script that starts it."""
    if shutil.which("node") is None:
        raise NotAvailable("node is not installed")
    command = ["node", "--print", "process.execPath"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@functools.cache
def installed_peer() -> Path:
    """The script of the Node peer, with its packages beside it."""
    folder = HERE / "node"
    if not (folder / "node_modules").exists():
        if shutil.which("npm") is None:
            raise NotAvailable("npm is not installed")
        done = subprocess.run(
            ["npm", "ci", "--silent", "--no-audit", "--no-fund"],
            cwd=folder,
            check=False,
            timeout=INSTALL_TIMEOUT_S,
        )
        if done.returncode:
            raise NotAvailable("npm could not install the packages of the Node peer")
    return folder / "server.js"


# -- the bench -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bench:
    """What all measurements of a run share.

    Args:
        load_generator: the compiled program.
        database: a SQLite file with the site's tables and one signed-in user.
        cookie: that user's session.
        server_prefix: what pins a command to the server's processor.
    """

    load_generator: Path
    redis_url: str
    database: Path
    cookie: str
    server_prefix: Sequence[str] = field(default=())

    def measure(
        self,
        candidate: Candidate,
        server: str,
        load: Mapping[str, object],
        *,
        ask: bool = False,
        login: bool = False,
    ) -> Figures:
        """One run: a new server process, and the load generator once.

        Args:
            server: ``daphne`` or ``uvicorn``; without meaning for Node.
            load: options of the load generator, with ``_`` for ``-``.
            ask: whether the clients send pings in place of publications.
            login: whether the connections carry a session's cookie.

        Raises:
            NotAvailable: the candidate cannot be started here.
            RuntimeError: the server or the load generator failed.
        """
        with self.serve(candidate, server) as started:
            headers = [*candidate.wire.headers, *([f"Cookie: {self.cookie}"] if login else [])]
            command = [str(self.load_generator), f"--port={started.port}"]
            command += [f"--pid={started.process.pid}", *candidate.wire.options()]
            command += ["--headers=" + "".join(f"{line}\r\n" for line in headers)]
            command += [f"--{name.replace('_', '-')}={value}" for name, value in load.items()]
            if ask:
                command += [f"--ask={candidate.wire.ask}"]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=LOAD_TIMEOUT_S, check=False
            )
            if done.returncode or done.stderr:
                log = started.log()[-2000:]
                raise RuntimeError(f"{candidate.name}: {done.stderr or done.stdout}\n{log}")
        found: dict[str, float] = json.loads(done.stdout)
        if found["connected"] != load["connections"] or found["closed"]:
            raise RuntimeError(
                f"{candidate.name}: of {load['connections']} connections {found['connected']} came,"
                f" and the server closed {found['closed']}"
            )
        return found

    @contextmanager
    def serve(self, candidate: Candidate, server: str, *options: str) -> Iterator[Server]:
        """A server with a database of its own, and an empty Redis.

        Args:
            options: more of the server's.
        """
        port = free_port()
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()  # the core layer's groups still have what an earlier server left
        command = server_command(candidate, server, port, self.redis_url)
        with tempfile.TemporaryDirectory(prefix="channels-realtime-benchmark-") as directory:
            database = Path(directory) / "site.sqlite3"
            shutil.copy(self.database, database)
            environment = site_environment(
                candidate.kind, candidate.layer, database, self.redis_url
            )
            environment["BENCH_PING"] = str(candidate.ping)
            with run_server(
                [*self.server_prefix, *command, *options], port, environment=environment
            ) as started:
                yield started


def site_environment(kind: str, layer: str, database: Path, redis_url: str) -> dict[str, str]:
    """The variables that ``site.settings`` and ``bare`` read."""
    return {
        "DJANGO_SETTINGS_MODULE": f"{PACKAGE}.site.settings",
        "BENCH_APPLICATION": kind,
        "BENCH_LAYER": layer,
        "BENCH_DATABASE": str(database),
        "BENCH_REDIS_URL": "" if layer == "memory" else redis_url,
    }


@contextmanager
def bench() -> Iterator[Bench]:
    """Compile, prepare the database, start a Redis, and pin this process. Sets how it ends on SIGTERM.

    Raises:
        NotAvailable: there is no C compiler.
    """
    signal.signal(signal.SIGTERM, _end)
    prefix = pin_to_second_processor()
    with tempfile.TemporaryDirectory(prefix="channels-realtime-benchmark-") as directory:
        program = compile_load_generator(Path(directory))
        database = Path(directory) / "template.sqlite3"
        prepared = subprocess.run(
            [sys.executable, "-m", f"{PACKAGE}.site.prepare"],
            cwd=ROOT,
            env={**os.environ, **site_environment("ours", "memory", database, "")},
            capture_output=True,
            text=True,
            check=True,
        )
        with private_redis_server() as redis_url:
            yield Bench(program, redis_url, database, prepared.stdout.strip(), prefix)


def _end(number: int, frame: object) -> None:
    """End by an exception, so that the servers end too."""
    raise SystemExit(128 + number)


def pin_to_second_processor() -> list[str]:
    """Pin this process and what it starts; returns what pins a command to the first processor."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        return []
    os.sched_setaffinity(0, processors[1:2])
    pin = f"import os, sys; os.sched_setaffinity(0, [{processors[0]}]); os.execvp(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-c", pin]


def compile_load_generator(directory: Path) -> Path:
    """Compile ``loadgen.c`` into a directory.

    Raises:
        NotAvailable: there is no C compiler.
    """
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NotAvailable("the load generator is written in C: install a compiler, such as gcc")
    program = directory / "loadgen"
    subprocess.run([compiler, "-O2", "-o", str(program), str(HERE / "loadgen.c")], check=True)
    return program
