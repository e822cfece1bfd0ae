"""Limits: room in the process, and how much one user or address may use.

In: handshakes, connections, failures, messages. Out: verdicts. Counts of connections are the
node's own. Token buckets of users and addresses are the node's too, and where Django's cache is
shared between processes each node tells the others through it, about once a second, what was used:
a cache operation a message would cost more than the message.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter, OrderedDict

from django.conf import settings as django_settings
from django.core.cache import cache

from ..conversation.throttling import LimitExceeded, Rate, TokenBucket
from ..nodes.node import Node, Service
from ..runtime.tasks import end_tasks
from .client_address import FoundAddress

logger = logging.getLogger(__name__)

MAX_BUCKETS = 20_000
"""Users and addresses that are remembered; those not seen for longest are forgotten first."""

_SHARE_INTERVAL_S = 1.0
_SHARED_KEY_LIFETIME_S = 60
_PRIVATE_CACHES = ("LocMemCache", "DummyCache")


class _Bucket:
    """A bucket that several processes may draw from."""

    __slots__ = ("bucket", "known", "used")

    def __init__(self, rate: Rate, now: float) -> None:
        self.bucket = TokenBucket(rate, now)
        self.used = 0.0  # here, and not told to the others yet
        self.known: float | None = None  # the sum of all, as last read


class AccessLimits(Service):
    """The limits of one node."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        config = node.config
        self._by_address: Counter[str] = Counter()
        self._by_user: Counter[str] = Counter()
        self._rates = {
            "USER_MESSAGES": Rate.of(config.user_messages),
            "ADDRESS_MESSAGES": Rate.of(config.address_messages),
            "ADDRESS_FAILURES": Rate.of(config.address_failures),
        }
        self._limits_messages = bool(config.user_messages or config.address_messages)
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._told_of_proxy = False

    # -- handshakes --------------------------------------------------------------------------------

    def handshake(self, address: str | None) -> tuple[int, str] | None:
        """Whether a handshake may be accepted.

        Args:
            address: the client's; None where it is unknown or a proxy's, here and below.

        Returns:
            None, or the HTTP status and the reason of the refusal.
        """
        config = self._node.config
        refusal: tuple[int, str] | None = None
        if (
            config.max_connections is not None
            and len(self._node.connections) >= config.max_connections
        ):
            refusal = (503, "full")
        elif address is not None:
            most = config.max_connections_per_address
            failures = self._buckets.get(("ADDRESS_FAILURES", address))
            if (most is not None and self._by_address[address] >= most) or (
                failures is not None and failures.bucket.is_empty(self._node.clock.monotonic())
            ):
                refusal = (429, "address")
        if refusal is not None:
            self._node.metrics.refused += 1
        return refusal

    def counted_address(self, found: FoundAddress) -> str | None:
        """The address of a handshake as limits count it: None for a proxy's, which is no client's.

        A proxy that the settings do not name is logged, once.
        """
        if found.shown_by is not None and not self._told_of_proxy:
            self._told_of_proxy = True
            logger.warning(
                "%s is a proxy's address, because it sends %s: its clients all appear with this"
                " address, and no limit by address applies to them. Name your proxies in"
                " CHANNELS_REALTIME['TRUSTED_PROXIES'], and the header in which they pass the client's"
                " address in CLIENT_ADDRESS_HEADER.",
                found.text,
                found.shown_by,
            )
        return None if found.of_proxy else found.text

    def user_is_full(self, user_id: str | None) -> bool:
        """Whether a user holds all the connections of this process that it may."""
        most = self._node.config.max_connections_per_user
        return user_id is not None and most is not None and self._by_user[user_id] >= most

    def count_address(self, address: str | None, change: int) -> None:
        """A connection of an address came (1) or went (-1)."""
        _count(self._by_address, address, change)

    def count_user(self, user_id: str | None, change: int) -> None:
        """A connection of a user came (1) or went (-1)."""
        _count(self._by_user, user_id, change)

    # -- messages and failures ---------------------------------------------------------------------

    def messages(
        self, user_id: str | None, address: str | None, count: int
    ) -> LimitExceeded | None:
        """So many messages came from a user's connection."""
        if not self._limits_messages:
            return None
        if user_id is not None:
            over = self._take("USER_MESSAGES", user_id, count)
            if over is not None:
                return over
        return None if address is None else self._take("ADDRESS_MESSAGES", address, count)

    def failure(self, address: str | None) -> None:
        """A handshake or a credential of this address was refused."""
        if address is not None:
            self._take("ADDRESS_FAILURES", address, 1)

    def _take(self, limit: str, key: str, amount: float) -> LimitExceeded | None:
        rate = self._rates[limit]
        return None if rate is None else self.take(limit, rate, key, amount)

    def take(self, limit: str, rate: Rate, key: str, amount: float) -> LimitExceeded | None:
        """Take from the bucket of a limit that is the caller's own.

        Args:
            limit: its name, by which it is reported.
            rate: of the bucket, where there is none yet.
            key: of the user or address; unique among the buckets of this limit.
            amount: of tokens.
        """
        now = self._node.clock.monotonic()
        entry = self._buckets.get((limit, key))
        if entry is None:
            entry = self._buckets[(limit, key)] = _Bucket(rate, now)
            if len(self._buckets) > MAX_BUCKETS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end((limit, key))
        retry_after = entry.bucket.take(amount, now)
        if retry_after is not None:
            return LimitExceeded(limit, round(retry_after, 3))
        entry.used += amount
        if self._task is None and _cache_is_shared():
            self._task = asyncio.create_task(self._share_for_ever(), name="realtime-limits")
        return None

    # -- between processes -------------------------------------------------------------------------

    async def _share_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_SHARE_INTERVAL_S)
            changed = {key: entry.used for key, entry in self._buckets.items() if entry.used}
            if not changed:
                continue
            try:
                sums = await self._node.background.run(self._tell, changed)
            except Exception as error:
                logger.debug("Limits were not shared: %s", type(error).__name__)
                continue
            self._learn(changed, sums)

    def _tell(self, changed: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
        """Add what was used here to the sums of all processes; blocks."""
        prefix = self._node.config.group_prefix
        sums = {}
        for (limit, key), used in changed.items():
            # Hashed: a user's key may hold what a cache does not take as a name.
            digest = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
            name = f"{prefix}:limit:{limit}:{digest}"
            amount = int(used)
            cache.add(name, 0, timeout=_SHARED_KEY_LIFETIME_S)
            try:
                sums[limit, key] = float(cache.incr(name, amount))
            except ValueError:  # it expired in between; the next round starts again
                continue
        return sums

    def _learn(
        self, told: dict[tuple[str, str], float], sums: dict[tuple[str, str], float]
    ) -> None:
        """Take out of our buckets what the others have used."""
        now = self._node.clock.monotonic()
        for key, total in sums.items():
            entry = self._buckets.get(key)
            if entry is None or entry.used < told[key]:  # forgotten meanwhile, perhaps made again
                continue
            entry.used -= told[key]
            if entry.known is not None and total > entry.known:
                others = total - entry.known - told[key]
                if others > 0:
                    entry.bucket.drain(others, now)
            entry.known = total

    async def stop(self) -> None:
        """Share no more."""
        await end_tasks(self._task)


def _count(counter: Counter[str], key: str | None, change: int) -> None:
    if key is None:
        return
    counter[key] += change
    if counter[key] <= 0:
        del counter[key]


def _cache_is_shared() -> bool:
    backend = django_settings.CACHES.get("default", {}).get("BACKEND", "")
    return not backend.endswith(_PRIVATE_CACHES)
