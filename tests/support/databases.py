"""Databases of served sites and benchmarks: from a URL to Django's settings, and new ones for a test."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

POSTGRES_URL = os.environ.get("POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")
MARIADB_URL = os.environ.get("MARIADB_URL", "mysql://root@127.0.0.1:3306/test")


def database_settings(url: str, **postgres_options: Any) -> dict[str, Any]:
    """An entry of ``DATABASES`` for ``sqlite:///path`` or a URL of PostgreSQL or MariaDB.

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
    if parts.scheme == "mysql":
        return mariadb_settings(url)
    return {**postgres_settings(url), "OPTIONS": {"connect_timeout": 3}, **postgres_options}


def postgres_settings(url: str) -> dict[str, Any]:
    """An entry of ``DATABASES`` for ``postgresql://user:password@host:port/name``."""
    return {"ENGINE": "django.db.backends.postgresql", **_address(url)}


def mariadb_settings(url: str) -> dict[str, Any]:
    """An entry of ``DATABASES`` for ``mysql://user:password@host:port/name``.

    The server's time zone is neither the site's nor UTC.
    """
    import pymysql  # only where there is a MariaDB

    pymysql.install_as_MySQLdb()
    options = {"init_command": "SET time_zone = '+05:30'", "connect_timeout": 3}
    return {"ENGINE": "django.db.backends.mysql", "OPTIONS": options, **_address(url)}


def _address(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "PASSWORD": parts.password or "",
        "NAME": parts.path.removeprefix("/"),
    }


@contextmanager
def own_database(kind: str, directory: Path) -> Iterator[str]:
    """The URL of a database of the test's own, without tables.

    Args:
        kind: ``sqlite``, ``postgres`` or ``mariadb``.
        directory: of the file, where it is SQLite.
    """
    if kind == "sqlite":
        yield f"sqlite://{directory / (uuid.uuid4().hex + '.sqlite3')}"
        return
    name = f"site_{uuid.uuid4().hex[:12]}"
    execute, url, drop = {
        "postgres": (_postgres, POSTGRES_URL, f"DROP DATABASE {name} WITH (FORCE)"),
        "mariadb": (_mariadb, MARIADB_URL, f"DROP DATABASE {name}"),
    }[kind]
    execute(f"CREATE DATABASE {name}")
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        execute(drop)


def _postgres(statement: str) -> None:
    import psycopg  # only where there is a PostgreSQL

    with psycopg.connect(POSTGRES_URL, autocommit=True, connect_timeout=3) as connection:
        connection.execute(statement)


def _mariadb(statement: str) -> None:
    import pymysql  # only where there is a MariaDB

    parts = urlsplit(MARIADB_URL)
    with (
        pymysql.connect(
            host=parts.hostname,
            port=parts.port or 3306,
            user=parts.username,
            password=parts.password or "",
            connect_timeout=3,
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


def postgres_answers() -> bool:
    """Whether there is a PostgreSQL at ``POSTGRES_URL``."""
    return _answers(_postgres)


def mariadb_answers() -> bool:
    """Whether there is a MariaDB at ``MARIADB_URL``."""
    return _answers(_mariadb)


def _answers(execute: Callable[[str], None]) -> bool:
    try:
        execute("SELECT 1")
    except Exception:
        return False
    return True


if __name__ == "__main__":  # for `make databases`
    answering = [(postgres_answers, POSTGRES_URL), (mariadb_answers, MARIADB_URL)]
    print(*(url for answers, url in answering if answers()))
