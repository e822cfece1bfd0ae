"""A PostgreSQL database of a benchmark's own."""

import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.databases import POSTGRES_URL


@contextmanager
def database() -> Iterator[str]:
    """The URL of an empty database, which is dropped afterwards."""
    import psycopg  # only where there is a PostgreSQL

    name = f"benchmark_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(POSTGRES_URL, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urllib.parse.urlsplit(POSTGRES_URL)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
