"""The counters of one node: one object that the admin, the samples and exporters read.

Each counter only grows, from 0 when the node is made; readers take differences. To add a metric, add
a field here and count it where it happens.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left

LATENCY_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the buckets of latency, in seconds; one more bucket takes what is later.

1, 2, 5 in each decade: an estimate is off by a factor of 2.5 at most, and samples of any node and
interval add up. Less than the first is the time that one process needs by itself, more than the last
is an outage.
"""

LATENCY_BUCKETS = len(LATENCY_BOUNDS_S) + 1

MAX_KEYS = 200
"""Reasons that a node counts one by one in its life; a site's consumer may close with 5,000 codes. The
rest are ``OTHER``."""

OTHER = "other"

_MAX_KEY_LENGTH = 50


@dataclasses.dataclass(slots=True)
class Metrics:
    """What a node has done since it was made."""

    connected: int = 0
    """Connections that were accepted."""
    messages_in: int = 0
    """Messages that clients sent."""
    published: int = 0
    """Publications of this node's clients and of this process."""
    received: int = 0
    """Publications that came from the channel layer."""
    delivered: int = 0
    """Frames handed to subscribers."""
    rejoined: int = 0
    """Times that a membership of a group was found lost and taken up again."""
    refused: int = 0
    """Handshakes refused because of a limit."""
    revoked: int = 0
    """Connections closed because their credentials were revoked."""
    blocked: int = 0
    """Connections closed because a block came into force."""
    throttled: int = 0
    """Messages over a limit."""
    slow: int = 0
    """Connections that did not keep up."""
    dropped: int = 0
    """Frames dropped for slow connections."""
    recovered: int = 0
    """Subscriptions with a position that got all that they had missed."""
    unrecovered: int = 0
    """Subscriptions with a position that had to start over: ``recovered: false``."""
    healed_gaps: int = 0
    """Times that publications which the channel layer had lost were read from the history."""
    healed: int = 0
    """Those publications."""
    resets: int = 0
    """Streams that had to start over under live subscribers: another epoch, or a gap that is gone."""
    resumed: int = 0
    """Sessions that were resumed here."""
    store_errors: int = 0
    """Requests to the stores that failed or took too long."""
    disconnects: dict[str, int] = dataclasses.field(default_factory=dict)
    """Ended connections by ``Connection.end``."""
    denials: dict[str, int] = dataclasses.field(default_factory=dict)
    """Refused handshakes and credentials by the reason that the signal ``denied`` has."""
    latencies: list[int] = dataclasses.field(default_factory=lambda: [0] * LATENCY_BUCKETS)
    """Publications by how long they took from the publisher to this node."""

    def count_disconnect(self, end: str) -> None:
        """A connection ended; ``end`` as ``Connection.end``."""
        _count(self.disconnects, end)

    def count_denial(self, reason: str) -> None:
        """A handshake or credentials were refused."""
        _count(self.denials, reason)

    def observe_latency(self, seconds: float) -> None:
        """A publication came, this long after it was published.

        Less than 0, where the clocks of two hosts disagree, counts as 0.
        """
        self.latencies[bisect_left(LATENCY_BOUNDS_S, seconds)] += 1

    def copy(self) -> Metrics:
        """The counters at this moment."""
        return dataclasses.replace(
            self,
            disconnects=dict(self.disconnects),
            denials=dict(self.denials),
            latencies=list(self.latencies),
        )


def _count(counts: dict[str, int], key: str) -> None:
    if key not in counts:
        # As any database takes it in JSON: no NUL, no lone surrogates.
        key = key[:_MAX_KEY_LENGTH].replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
        if key not in counts and len(counts) >= MAX_KEYS - 1:
            key = OTHER
    counts[key] = counts.get(key, 0) + 1


def difference(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """What was counted between two copies, by key; without keys that were not."""
    return {key: more for key, count in after.items() if (more := count - before.get(key, 0)) != 0}
