"""Databases of served sites and benchmarks: from a URL to Django's settings, and new ones for a test."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

POSTGRES_URL = os.environ.get("POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


def database_settings(url: str, **postgres_options: Any) -> dict[str, Any]:
    """An entry of ``DATABASES`` for ``sqlite:///path`` or a URL of PostgreSQL.

    Args:
        postgres_options: more keys of the entry, where it is PostgreSQL's.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        # IMMEDIATE: several processes write, and a lock that is upgraded late is refused at once.
        options = {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        }
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.path, "OPTIONS": options}
    return {**postgres_settings(url), "OPTIONS": {"connect_timeout": 3}, **postgres_options}


def postgres_settings(url: str) -> dict[str, Any]:
    """An entry of ``DATABASES`` for ``postgresql://user:password@host:port/name``."""
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "PASSWORD": parts.password or "",
        "NAME": parts.path.removeprefix("/"),
    }


@contextmanager
def own_database(kind: str, directory: Path) -> Iterator[str]:
    """The URL of a database of the test's own, ``sqlite`` or ``postgres``, without tables."""
    if kind == "sqlite":
        yield f"sqlite://{directory / (uuid.uuid4().hex + '.sqlite3')}"
        return
    import psycopg  # only where there is a PostgreSQL

    name = f"site_{uuid.uuid4().hex[:12]}"
    parts = urlsplit(POSTGRES_URL)
    with psycopg.connect(POSTGRES_URL, autocommit=True, connect_timeout=3) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield parts._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def postgres_answers() -> bool:
    try:
        import psycopg

        psycopg.connect(POSTGRES_URL, connect_timeout=2).close()
    except Exception:
        return False
    return True
