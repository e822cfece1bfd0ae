"""Follows a page of the documentation literally: writes its files, runs its commands, starts its server."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.support.servers import HOST, ROOT, Server, free_port, run_server

PASSWORD = "correct-horse-battery-staple"
USER = "admin"

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(?:# |<!-- )(?P<path>[\w./-]+\.\w+)(?P<end>, at its end)?(?: -->)?\n")
_GIVEN = ("python -m venv", ". .venv", "pip install")
"""What the tests' own environment has already."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command of the page that was run.

    Args:
        command: as the page has it.
        server: that runs now, or None before the first.
        output: what the command wrote.
    """

    command: str
    server: Server | None
    output: str = ""


def follow(page: Path, directory: Path, *, replace: dict[str, str]) -> Iterator[Step]:
    """Take the steps of a page, and yield after each command, with its server running.

    Args:
        page: whose code blocks name their file in the first line, with ``, at its end`` for those to
            append.
        directory: to make the project in.
        replace: texts of the page that are others here, such as the address of Redis.
    """
    with ExitStack() as running:
        server: Server | None = None
        for language, text in _FENCE.findall(page.read_text(encoding="utf-8")):
            for mine, yours in replace.items():
                text = text.replace(mine, yours)
            if language != "console":
                _write(directory, text)
                continue
            for command in re.findall(r"^\$ (.+)$", text, re.MULTILINE):
                if command.startswith(_GIVEN):
                    continue
                if command == "python manage.py runserver":
                    running.close()
                    server = running.enter_context(_serve(directory))
                    yield Step(command, server)
                else:
                    yield Step(command, server, _run(directory, command))


def _write(directory: Path, text: str) -> None:
    found = _FILE.match(text)
    assert found is not None, f"no file is named in the first line of:\n{text}"
    path = directory / found["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a" if found["end"] else "w", encoding="utf-8") as file:
        file.write(text[found.end() :])


def _environment() -> dict[str, str]:
    # Nothing of the tests' own settings; the package is that of this checkout.
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(ROOT),
        "DJANGO_SUPERUSER_USERNAME": USER,
        "DJANGO_SUPERUSER_EMAIL": "admin@example.com",
        "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
    }


def _serve(directory: Path):  # type: ignore[no-untyped-def]
    port = free_port()
    command = [sys.executable, "manage.py", "runserver", "--noreload", f"{HOST}:{port}"]
    return run_server(
        command, port, cwd=directory, environment=_environment(), inherit_environment=False
    )


def _run(directory: Path, command: str) -> str:
    arguments = shlex.split(command)
    program = {"python": [sys.executable], "django-admin": [sys.executable, "-m", "django"]}
    arguments[:1] = program[arguments[0]]
    if "createsuperuser" in arguments:
        arguments.append("--noinput")  # the name and the password are in the environment
    done = subprocess.run(
        arguments, cwd=directory, env=_environment(), capture_output=True, text=True, timeout=60
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"{command}:\n{output}"
    return output
