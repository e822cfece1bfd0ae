"""Starts the ASGI server of `manage.py demo`, and tells in plain words what prevents it."""

import errno
import json
import os
import socket
import subprocess
import sys

import psutil
from django.conf import settings
from django.core.management.base import CommandError

from .restarting import COMMAND

SERVERS = ("daphne", "uvicorn")
SITE = "site_config.asgi:application"
SITE_AND_FEEDS = "demo.asgi:application"
ALL_ADDRESSES = ("0.0.0.0", "::")
THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


def read_port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise CommandError(f"PORT is {text!r}; expected a number from 1 to 65535.")
    return int(text)


def require_free_port(host: str, port: int) -> None:
    """Refuse an address that the server could not listen on, before any work is done."""
    try:
        (family, _, _, _, address), *_ = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise CommandError(f"HOST is {host!r}, which is no address here: {error}") from error
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            # Servers set it too: connections of one that has ended may still linger. A port that
            # another process listens on is refused all the same.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                message = f"Port {port} of {host} is taken; choose another one: PORT={port + 1}"
            else:
                message = f"Cannot listen on {host}, port {port}: {error.strerror}"
            raise CommandError(message) from error


def allowed_hosts(listen_address: str) -> list[str]:
    """What a browser may call this machine: the names of `ALLOWED_HOSTS`, this machine's own name,
    and the address that the server listens on, or all of this machine's when it listens on all.
    """
    names = {*settings.ALLOWED_HOSTS, "localhost", socket.gethostname().lower()}
    if listen_address in ALL_ADDRESSES:
        for addresses in psutil.net_if_addrs().values():
            for entry in addresses:
                address = entry.address.partition("%")[0]
                if entry.family == socket.AF_INET:
                    names.add(address)
                elif entry.family == socket.AF_INET6:
                    names.add(f"[{address}]")
    else:
        names.add(f"[{listen_address}]" if ":" in listen_address else listen_address.lower())
    return sorted(names)


def serve(host: str, port: int, server: str) -> None:
    """Replace this process with the server, so that signals reach it directly."""
    options = {
        "daphne": ["-v", "0", "-b", host, "-p", str(port)],
        "uvicorn": [
            *("--host", host, "--port", str(port), "--log-level", "warning"),
            *("--ws-max-size", "1048576"),  # its default of 16 MiB lets clients fill the memory
        ],
    }[server]
    application = SITE if settings.REDIS_URL else SITE_AND_FEEDS
    # Daphne by the entry point of the package: frames are made once, and closes have their codes.
    module = {"daphne": "channels_realtime.servers.daphne"}.get(server, server)
    command = [sys.executable, "-m", module, *options, application]
    roots = [str(settings.BASE_DIR), str(settings.BASE_DIR.parent)]
    if os.environ.get("PYTHONPATH"):
        roots.append(os.environ["PYTHONPATH"])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(roots),
        "PYTHONUNBUFFERED": "1",
        "DJANGO_SETTINGS_MODULE": os.environ["DJANGO_SETTINGS_MODULE"],
        "ALLOWED_HOSTS": ",".join(allowed_hosts(host)),
    }
    if settings.DEBUG and os.name == "posix" and host in THIS_MACHINE:
        environment[COMMAND] = json.dumps(command)
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execve(sys.executable, command, environment)
    sys.exit(subprocess.call(command, env=environment))
