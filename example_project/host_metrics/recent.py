"""The samples of the last minutes, kept in Django's cache."""

from django.core.cache import cache

from .sample import Sample

KEY = "host_metrics:recent"
MAX_SAMPLES = 180  # three minutes, as the page's charts show


def recent_samples() -> list[Sample]:
    """Oldest first."""
    return cache.get(KEY) or []


def remember(sample: Sample) -> None:
    """Add a sample and drop the oldest beyond `MAX_SAMPLES`."""
    cache.set(KEY, [*recent_samples(), sample][-MAX_SAMPLES:], timeout=MAX_SAMPLES)
