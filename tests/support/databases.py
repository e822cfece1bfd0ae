"""The databases of served sites and benchmarks, from a URL to what Django's settings have."""

from typing import Any
from urllib.parse import urlsplit


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
