"""nginx and HAProxy with the configurations that the deployment guide ships; only ports and paths are replaced."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.servers import HOST, ROOT, Server, free_port, run_server

SHIPPED = ROOT / "docs" / "howto" / "deploy"
COMMAND_TIMEOUT_S = 30.0


def program(name: str) -> str:
    """The proxy's path. Without it: a skip, or a failure where CI is set."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if path is None:
        reason = f"there is no {name} here; install Debian's package of that name"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """The text with each of these replaced, all of which must be there."""
    for old, new in replacements.items():
        assert old in text, f"the configuration has no {old!r}"
        text = text.replace(old, new)
    return text


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running proxy; ``server`` is what clients connect to."""

    server: Server
    directory: Path
    command: tuple[str, ...]

    def reload(self) -> None:
        """``nginx -s reload``."""
        run([*self.command, "-s", "reload"])

    def access_log(self) -> str:
        return (self.directory / "access.log").read_text()

    def workers(self) -> list[int]:
        """The processes that it has started, those that are shutting down included."""
        pid = self.server.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")
        return [int(child) for child in children.read_text().split()]


def run(command: list[str]) -> str:
    """Run a command to its end; an exit status other than 0 fails with what it wrote."""
    result = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, f"{command} ended with {result.returncode}:\n{result.stdout}"
    return result.stdout


@contextmanager
def nginx(*behind: Server, changes: Mapping[str, str] | None = None) -> Iterator[Proxy]:
    """nginx in front of one server or two.

    Args:
        changes: what else to replace in the configuration, to test in seconds what takes minutes.
    """
    path, port = program("nginx"), free_port()
    shipped = (SHIPPED / "nginx.conf").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="nginx-") as name:
        directory = Path(name)
        site = replaced(
            shipped,
            {
                "listen 80;": f"listen {HOST}:{port};",
                "127.0.0.1:8001": f"{HOST}:{behind[0].port}",
                "127.0.0.1:8002": f"{HOST}:{behind[-1].port}",
                "/var/log/nginx/site.access.log": f"{directory}/access.log",
                **(changes or {}),
            },
        )
        (directory / "site.conf").write_text(site, encoding="utf-8")
        (directory / "nginx.conf").write_text(_main(directory), encoding="utf-8")
        command = (path, "-p", name, "-c", f"{name}/nginx.conf", "-e", f"{name}/error.log")
        run([*command, "-t"])
        with run_server(command, port) as server:
            yield Proxy(server, directory, command)


def _main(directory: Path) -> str:
    """The rest of nginx's configuration, which is the machine's and not the site's."""
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"{kind}_temp_path {directory}/{kind};" for kind in temporary)
    return f"""
        {"user root;" if os.geteuid() == 0 else ""}
        daemon off;
        pid {directory}/nginx.pid;
        worker_processes 1;
        events {{ worker_connections 1024; }}
        http {{
            {paths}
            include {directory}/site.conf;
        }}
    """


@contextmanager
def haproxy(*behind: Server, changes: Mapping[str, str] | None = None) -> Iterator[Proxy]:
    """HAProxy in front of one server or two."""
    path, port = program("haproxy"), free_port()
    shipped = (SHIPPED / "haproxy.cfg").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="haproxy-") as name:
        site = replaced(
            shipped,
            {
                "bind :80\n": f"bind {HOST}:{port}\n",
                "127.0.0.1:8001": f"{HOST}:{behind[0].port}",
                "127.0.0.1:8002": f"{HOST}:{behind[-1].port}",
                "hdr Host example.com": f"hdr Host {HOST}",
                "maxconn 50000": "maxconn 500",  # which needs no more file descriptors than there are
                **(changes or {}),
            },
        )
        configuration = Path(name) / "haproxy.cfg"
        configuration.write_text(site, encoding="utf-8")
        command = (path, "-db", "-f", str(configuration))
        run([path, "-c", "-f", str(configuration)])
        with run_server(command, port) as server:
            yield Proxy(server, Path(name), command)


def seconds(configuration: str, directive: str) -> list[float]:
    """The times that a shipped configuration gives this directive."""
    text = (SHIPPED / configuration).read_text(encoding="utf-8")
    found = re.findall(rf"^\s*{directive}\s+(\d+)s;?\s*$", text, re.MULTILINE)
    assert found, f"{configuration} has no {directive}"
    return [float(value) for value in found]
