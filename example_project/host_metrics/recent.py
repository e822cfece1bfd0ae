"""The samples of the last minutes, kept in Django's cache."""

from typing import Any

from django.core.cache import cache

KEY = "host_metrics:recent"
MAX_SAMPLES = 180  # three minutes, as the page's charts show


def recent_samples() -> list[dict[str, Any]]:
    """Oldest first."""
    return cache.get(KEY) or []


def remember(sample: dict[str, Any]) -> None:
    """Add a sample and drop the oldest beyond `MAX_SAMPLES`."""
    cache.set(KEY, [*recent_samples(), sample][-MAX_SAMPLES:], timeout=MAX_SAMPLES)
