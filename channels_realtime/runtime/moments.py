"""Times as every database stores them, with ``USE_TZ`` and without."""

from __future__ import annotations

import datetime

from django.conf import settings
from django.utils import timezone

_FIRST = datetime.datetime(1970, 1, 2, tzinfo=datetime.UTC).timestamp()
_LAST = datetime.datetime(9999, 12, 30, tzinfo=datetime.UTC).timestamp()

NAIVE_DOUBT_S = 3 * 3_600.0
"""How much a naive time may be off: the clock repeats an hour, or two at most, each autumn."""


def moment_of(timestamp: float) -> datetime.datetime:
    """Seconds since the epoch, as a datetime that every database can store under this ``USE_TZ``.

    Without ``USE_TZ``, SQLite and MariaDB refuse aware datetimes, and naive ones are in
    ``TIME_ZONE``, whatever time zone a request has activated.
    """
    # In this order: what is not a number is not greater than the first, and gives that.
    moment = datetime.datetime.fromtimestamp(min(max(_FIRST, timestamp), _LAST), datetime.UTC)
    if settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())


def timestamp_of(moment: datetime.datetime) -> float:
    """A datetime of the database, as seconds since the epoch."""
    if timezone.is_naive(moment):
        moment = moment.replace(tzinfo=timezone.get_default_timezone())
    return moment.timestamp()


def earliest_moment(since: float, now: float) -> datetime.datetime:
    """The earliest datetime that can have been stored between two times.

    Args:
        since, now: in seconds since the epoch. If naive times were set back between them, the
            datetime of ``since`` is later than what was stored after it.
    """
    return min(moment_of(since), moment_of(now) - datetime.timedelta(seconds=now - since))
