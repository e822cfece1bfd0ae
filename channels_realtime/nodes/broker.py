"""Carries publications between processes over any Channels layer, through one inbox a process.

In: publications of this process, and from the layer those of every process. Out: each publication
of a joined group, once, to the receiver (the node). A publication costs one ``group_send``,
whatever the number of subscribers; a connection costs the layer nothing.

The layer is reached through its adapter: by its public API (``new_channel``, ``receive``, ``group_add``,
``group_discard``, ``group_send``), or in a faster way where its exact type is known. No layer promises
delivery, and some lose memberships silently (a Redis that was flushed, a membership that expired). So
the broker sends probes to itself: one before groups count as joined, and others at intervals. Where a
probe does not come back, it joins the group again. What is joined while a join is under way is one burst,
with one probe for as many groups as the layer lets one prove.

Nor does a layer promise to deliver once: ``RedisChannelLayer`` puts what it handed out into its
queue again where the connection that was to take it off breaks, and a client of Redis sends again
what was not answered. So each message has a name, and a name that came before is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import logging
import math
import random
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Protocol

from ..errors import Unavailable
from ..protocol.messages import Publication
from ..runtime.tasks import end_tasks
from .adapters.choice import adapter_of
from .breaker import breaker_of
from .envelope import is_foreign, send_over, unwrap, unwrap_control, wrap
from .groups import control_group, group_name, node_group
from .metrics import Metrics

logger = logging.getLogger(__name__)

_LINGER_S = 2.0
"""How long a group without subscribers stays joined: a page that reloads comes back sooner."""

_PROBE_DELAYS_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Waits between the tries of a probe; the pub/sub layer does not say when it has subscribed."""

_CHECK_TIMEOUT_S = 3.0
"""How long a check's probe may be away; of the order of a layer's longest pause."""

_PROBE_TIMEOUT_S = sum(_PROBE_DELAYS_S) + _CHECK_TIMEOUT_S
"""How long a probe waits in all."""

_JOINED_AT_ONCE = 50
"""Groups that are joined in one burst; each may need a probe, and an inbox may hold 100 messages."""

_JOIN_PATIENCE_S = 0.02
"""How long the next burst of joins waits for the one before: a round trip, but not for a lost probe."""

_CHECKED_GROUPS = 25
"""Groups that a check probes, of however many there are; a probe is a message to each process."""

_PROVEN_SHARE = 1 / 3
"""Of the check interval: so long a process relies on a probe that has come through a group."""

_REJOIN_INTERVAL_S = 3_600.0
"""``RedisChannelLayer`` drops members a day after they joined (``group_expiry``, 86,400 s)."""

_REMEMBERED = 1_000
"""Names of messages kept, to know a repeated one; a layer repeats within the next few."""


class Receiver(Protocol):
    """What the broker hands publications to."""

    def receive(self, publication: Publication, sent_at: float | None = None) -> None:
        """Take a publication; never waits.

        Args:
            publication: what came.
            sent_at: when it was sent, in seconds since the epoch, where that is known.
        """
        ...

    def lost(self) -> None:
        """Publications may have been lost: the layer failed, or had forgotten a group. Never waits."""
        ...

    def control(self, message: dict[str, Any]) -> None:
        """Take a control message; never waits."""
        ...


class _Membership:
    """One group that this process is in, or is joining or leaving."""

    __slots__ = ("group", "idle_since", "joined", "joining", "lock", "proven_at", "references")

    def __init__(self, group: str) -> None:
        self.group = group
        self.references = 0
        self.joined = False
        self.joining: _Join | None = None
        self.idle_since: float | None = None
        self.proven_at = -math.inf  # when a probe, of any process, last came through it
        self.lock = asyncio.Lock()


class _Join:
    """One attempt to join a group, and those that wait for it."""

    __slots__ = ("locked", "membership", "waiting")

    def __init__(self, membership: _Membership) -> None:
        self.membership = membership
        self.waiting: list[asyncio.Future[None]] = []
        self.locked = False

    async def lock(self) -> None:
        await self.membership.lock.acquire()
        self.locked = True

    def succeed(self) -> None:
        self.membership.joined = True
        for one in self._end():
            one.set_result(None)

    def fail(self, error: Exception | None) -> None:
        """Does nothing where it is over. Without an error: the layer took all, and nothing came back."""
        for one in self._end():
            failure = Unavailable("the channel layer does not deliver")
            if error is not None:
                failure = Unavailable(f"the channel layer did not answer: {type(error).__name__}")
                failure.__cause__ = error
            one.set_exception(failure)

    def _end(self) -> list[asyncio.Future[None]]:
        """Let go of the group; returns those that still wait for the outcome."""
        waiting, self.waiting = self.waiting, []
        if self.locked:
            self.locked = False
            self.membership.lock.release()
        if self.membership.joining is self:
            self.membership.joining = None
        return [one for one in waiting if not one.done()]


class Broker:
    """The live path of one process; belongs to the event loop that it was started on.

    Args:
        layer: a Channels layer.
        prefix: begins the name of every group.
        node_id: names this process's own group.
        receiver: takes what arrives.
        metrics: counts publications received and memberships taken up again.
        subscribe_timeout: seconds that joining a group may take.
        publish_timeout: seconds that sending may take.
        check_interval: seconds between checks of the memberships.
    """

    def __init__(
        self,
        layer: Any,
        *,
        prefix: str,
        node_id: str,
        receiver: Receiver,
        metrics: Metrics,
        subscribe_timeout: float,
        publish_timeout: float,
        check_interval: float,
    ) -> None:
        self._layer: Any = adapter_of(layer)
        self._breaker = breaker_of(layer)
        self._prefix = prefix
        self._receiver = receiver
        self._metrics = metrics
        self._subscribe_timeout = subscribe_timeout
        self._publish_timeout = publish_timeout
        self._check_interval = check_interval
        self._own = _Membership(node_group(prefix, node_id))
        self._all = _Membership(control_group(prefix))
        self._memberships: dict[str, _Membership] = {}
        self._to_join: list[_Join] = []
        self._next_join: asyncio.Handle | None = None
        self._joins: set[asyncio.Task[None]] = set()
        self._probes: dict[str, asyncio.Future[None]] = {}
        self._probe_numbers = itertools.count()
        self._probe_secret = secrets.token_hex(8)
        self._inbox: str | None = None
        self._starting = asyncio.Lock()
        self._tender: asyncio.Task[None] | None = None
        self._names: OrderedDict[str, None] = OrderedDict()
        self._warned = False
        self._lost_groups = False

    # -- life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the inbox; does nothing where it is open.

        Raises:
            Unavailable: the layer did not answer.
        """
        if self._inbox is None:
            # Its tasks and the layer's own outlive the connection that happens to be the first, so
            # they run in a context of their own: not in that client's trace, language or tenant.
            await asyncio.create_task(self._open(), context=contextvars.Context())

    async def _open(self) -> None:
        async with self._starting:
            if self._inbox is not None:
                return
            inbox: str | None = None
            try:
                async with asyncio.timeout(self._subscribe_timeout):
                    inbox = await self._layer.new_channel()
                    await self._layer.group_add(self._own.group, inbox)
                    await self._layer.group_add(self._all.group, inbox)
                    self._layer.listen(inbox, self._take, self._receiver.lost)
                    if not await self._probe(self._all.group):
                        raise Unavailable("the channel layer does not deliver")
            except BaseException as error:
                if inbox is not None:
                    self._layer.stop_listening(inbox)
                if not isinstance(error, Exception):
                    raise
                raise Unavailable(
                    f"the channel layer did not open an inbox: {type(error).__name__}"
                ) from error
            self._inbox = inbox
            self._own.joined = self._all.joined = True
            self._tender = asyncio.create_task(self._tend(), name="realtime-groups")

    @property
    def inbox(self) -> str | None:
        """Its channel of the layer, once it is open."""
        return self._inbox

    async def forget_inbox(self, node_id: str, inbox: str, channels: Iterable[str]) -> None:
        """Take a process that died out of its groups, where the layer would keep it in them.

        Args:
            node_id: of its node.
            inbox: its channel of the layer.
            channels: that it had subscribers of, as far as is known.
        """
        groups = [
            node_group(self._prefix, node_id),
            control_group(self._prefix),
            *(group_name(self._prefix, channel) for channel in channels),
        ]
        try:
            for group in groups:
                async with asyncio.timeout(self._publish_timeout):
                    await self._layer.group_discard(group, inbox)
        except Exception as error:  # a layer forgets in time by itself
            logger.info("A dead process stays in its groups: %s", type(error).__name__)

    async def stop(self) -> None:
        """Leave every group and close the inbox."""
        if self._inbox is None:
            return
        joined = [
            membership
            for membership in (self._own, self._all, *self._memberships.values())
            if membership.joined or membership.joining is not None
        ]
        if self._next_join is not None:
            self._next_join.cancel()
            self._next_join = None
        for join in self._to_join:
            join.fail(ConnectionError("the broker stops"))
        self._to_join = []
        await end_tasks(self._tender, *self._joins, self._layer.stop_listening(self._inbox))
        self._memberships.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._subscribe_timeout):
                for membership in joined:
                    await self._discard(membership)
        self._inbox = None

    # -- groups ------------------------------------------------------------------------------------

    async def join(self, channel: str) -> None:
        """Be in the channel's group; each ``join`` needs its ``leave``.

        Returns once a probe sent through the group has come back, so that what is published from
        then on arrives.

        Raises:
            Unavailable: that did not happen in time.
        """
        if self._inbox is None:
            await self.start()
        outcome = self.begin_join(channel)
        if outcome is not None:
            try:
                await outcome
            except BaseException:
                self.leave(channel)
                raise

    def begin_join(self, channel: str) -> asyncio.Future[None] | None:
        """As ``join``, once the broker has started, for a caller that does not wait here.

        Returns:
            what is done when ``join`` would return; where it fails, or is cancelled, it needs its ``leave``
            too. None where the process is in the group already.
        """
        group = group_name(self._prefix, channel)
        membership = self._memberships.get(group)
        if membership is None:
            membership = self._memberships[group] = _Membership(group)
        membership.references += 1
        membership.idle_since = None
        if membership.joined:
            return None
        loop = asyncio.get_running_loop()
        if membership.joining is None:
            membership.joining = _Join(membership)
            self._to_join.append(membership.joining)
            if self._next_join is None:
                self._next_join = loop.call_soon(self._begin_joins)
        # Several may wait for one join, each for itself: one that is cancelled ends it for no other.
        outcome: asyncio.Future[None] = loop.create_future()
        membership.joining.waiting.append(outcome)
        return outcome

    def leave(self, channel: str) -> None:
        """Take one ``join`` back. The last one leaves the group a little later."""
        membership = self._memberships.get(group_name(self._prefix, channel))
        if membership is not None:
            self._release(membership)

    def _release(self, membership: _Membership) -> None:
        membership.references -= 1
        if membership.references <= 0:
            membership.idle_since = asyncio.get_running_loop().time()

    def _begin_joins(self) -> None:
        """Join what waits, in one burst; what comes meanwhile is the next one."""
        self._next_join = None
        if not self._to_join:
            return
        batch, self._to_join = self._to_join[:_JOINED_AT_ONCE], self._to_join[_JOINED_AT_ONCE:]
        loop = asyncio.get_running_loop()
        self._next_join = loop.call_later(_JOIN_PATIENCE_S, self._begin_joins)
        # One that is being left waits for that by itself.
        bursts = [[join] for join in batch if join.membership.lock.locked()]
        bursts.append([join for join in batch if not join.membership.lock.locked()])
        for burst in filter(None, bursts):
            # As in `start`: the layer may open a connection, with a task that stays.
            joining = loop.create_task(
                self._join(burst), name="realtime-join", context=contextvars.Context()
            )
            self._joins.add(joining)
            joining.add_done_callback(self._end_join)

    def _end_join(self, joining: asyncio.Task[None]) -> None:
        self._joins.discard(joining)
        if not self._joins and self._next_join is not None:
            self._next_join.cancel()
            self._begin_joins()

    async def _join(self, burst: list[_Join]) -> None:
        """Join groups, and tell those that wait for each as soon as it is proven."""
        failure: Exception | None = None
        try:
            async with asyncio.timeout(self._subscribe_timeout):
                for join in burst:
                    await join.lock()
                groups = [join.membership.group for join in burst]
                errors = await self._layer.group_add_all(groups, self._inbox)
                proofs: dict[Any, list[_Join]] = {}
                for join, error in zip(burst, errors, strict=True):
                    if error is None:
                        key = self._layer.probe_key(join.membership.group)
                        proofs.setdefault(key, []).append(join)
                    else:
                        failure = error
                        join.fail(error)
                if len(proofs) == 1:
                    await self._prove(*proofs.values())
                else:
                    await asyncio.gather(*map(self._prove, proofs.values()))
        except Exception as error:
            failure = error
        finally:
            for join in burst:
                join.fail(failure or ConnectionError("the broker stops"))
        if failure is not None:
            logger.warning("Cannot join a group of the channel layer: %r", failure)

    async def _prove(self, joins: list[_Join]) -> None:
        """Probe the last of the groups that prove each other; all of them are joined then, or none."""
        proven = await self._probe(joins[-1].membership.group)
        for join in joins:
            if proven:
                join.succeed()
            else:
                join.fail(None)

    async def _part(self, membership: _Membership) -> bool:
        """Leave a group that has been idle, unless it has a subscriber again; False if that failed."""
        async with membership.lock:
            if membership.references > 0:
                return True
            membership.joined = False
            if not await self._discard(membership):
                membership.joined = True  # perhaps still in it; tried again later
                return False
        if membership.references <= 0:
            self._memberships.pop(membership.group, None)
        return True

    async def _discard(self, membership: _Membership) -> bool:
        try:
            async with asyncio.timeout(self._subscribe_timeout):
                await self._layer.group_discard(membership.group, self._inbox)
        except Exception as error:
            logger.warning(
                "Cannot leave a group of the channel layer: %s: %s", type(error).__name__, error
            )
            return False
        return True

    # -- probes ------------------------------------------------------------------------------------

    async def _probe(self, group: str) -> bool:
        """Whether what is sent to the group comes back."""
        nonce = f"{self._probe_secret}.{next(self._probe_numbers)}"
        back = self._probes[nonce] = asyncio.get_running_loop().create_future()
        try:
            for delay in _PROBE_DELAYS_S:
                await self._layer.group_send(
                    group, {"type": "realtime.probe", "nonce": nonce, "group": group}
                )
                done, _ = await asyncio.wait([back], timeout=delay)
                if done:
                    return True
            done, _ = await asyncio.wait([back], timeout=_CHECK_TIMEOUT_S)
            return bool(done)
        finally:
            del self._probes[nonce]

    async def _tend(self) -> None:
        """Leave idle groups, check memberships, renew them; once a second, for ever."""
        loop = asyncio.get_running_loop()
        next_check = loop.time() + self._until_next_check()
        next_renewal = loop.time() + _REJOIN_INTERVAL_S
        await asyncio.sleep(random.random())  # processes that start together do not check together
        while True:
            await asyncio.sleep(1.0)
            try:
                now = loop.time()
                await self._leave_idle(now)
                if now >= next_check:
                    next_check = now + self._until_next_check()
                    await self._check()
                if now >= next_renewal:
                    next_renewal = now + _REJOIN_INTERVAL_S
                    await self._join_again(force=False)
            except Exception:
                logger.exception("Tending the groups of the channel layer failed")

    def _until_next_check(self) -> float:
        """A part of the interval: a proof may be old already by ``_PROVEN_SHARE`` of it.

        At random, so that one of the processes that share a group is before the others.
        """
        return random.uniform(_PROVEN_SHARE, 1.0 - _PROVEN_SHARE) * self._check_interval

    async def _leave_idle(self, now: float) -> None:
        for membership in tuple(self._memberships.values()):
            idle = membership.idle_since
            is_over = idle is not None and now - idle > _LINGER_S
            if is_over and not await self._part(membership):
                return  # the layer is away, and the others would wait for it one by one

    async def _check(self) -> None:
        """Probe this process's own groups and some of the others, in turn; join again where lost.

        A probe goes to every process in the group, so one that came from another process just now is
        as good: of all that share a group, one probes. Otherwise n processes would get n probes each.
        """
        checked = [self._own, self._all]
        used = (m for m in self._memberships.values() if m.joined and m.references > 0)
        checked += itertools.islice(used, _CHECKED_GROUPS)
        recently = asyncio.get_running_loop().time() - _PROVEN_SHARE * self._check_interval
        unproven = [self._own, *(m for m in checked[1:] if m.proven_at < recently)]
        try:
            # Longer than a probe waits for its return: what runs out here is a layer that hangs,
            # and one that does not bring the probe back has lost the group.
            async with asyncio.timeout(_PROBE_TIMEOUT_S + self._publish_timeout):
                alive = await asyncio.gather(*(self._probe(m.group) for m in unproven))
        except Exception as error:
            self._breaker.failing = True
            logger.warning("The channel layer does not answer: %s", error)
            return  # nothing to join while it is away; the next check sees what it lost
        if self._breaker.failing:
            self._receiver.lost()
        self._breaker.sent()
        if self._lost_groups or not all(alive):
            self._lost_groups = True  # until all were joined again: the next check may not see it
            logger.warning("The channel layer lost this process's groups; joining them again")
            await self._join_again(force=True)
            self._lost_groups = False
            return
        for membership in checked[2:]:  # to the end of the queue
            if self._memberships.get(membership.group) is membership:
                self._memberships[membership.group] = self._memberships.pop(membership.group)

    async def _join_again(self, *, force: bool) -> None:
        """Join every group again; ``force`` leaves it first, for layers that take it for joined."""
        for membership in (self._own, self._all, *tuple(self._memberships.values())):
            async with asyncio.timeout(self._subscribe_timeout), membership.lock:
                if membership.joined:
                    if force:
                        await self._layer.group_discard(membership.group, self._inbox)
                    await self._layer.group_add(membership.group, self._inbox)
        if force:
            self._metrics.rejoined += 1
            self._receiver.lost()

    # -- messages ----------------------------------------------------------------------------------

    async def publish(self, publication: Publication, timeout: float | None = None) -> None:
        """Send a publication to every process that has a subscriber, this one included.

        Args:
            publication: what to send.
            timeout: seconds that it may take; by default ``publish_timeout``.

        Raises:
            Unavailable: the layer failed or did not take it in time.
        """
        failing = self._breaker.failing
        await send_over(
            self._layer,
            self._breaker,
            group_name(self._prefix, publication.key),
            wrap(publication),
            self._publish_timeout if timeout is None else timeout,
            "publication",
        )
        if failing:  # and now it is back: what others sent meanwhile may not have arrived
            self._receiver.lost()

    def sends_at_once(self, channel: str) -> bool:
        """Whether ``publish`` to the channel does not wait now."""
        sends: bool = self._layer.sends_at_once(group_name(self._prefix, channel))
        return sends

    def _take(self, message: dict[str, Any]) -> None:
        nonce = message.get("nonce")
        if nonce is not None:
            self._note_proof(message.get("group"))
            back = self._probes.get(nonce) if isinstance(nonce, str) else None
            if back is not None and not back.done():
                back.set_result(None)
            return
        name = message.get("name")
        if isinstance(name, str) and self._is_duplicate(name):
            return
        if message.get("control") is not None:
            if is_foreign(message):
                self._warn_once_of_another_site()
                return
            try:
                self._receiver.control(unwrap_control(message))
            except Exception:
                logger.exception("A control message failed")
            return
        publication = unwrap(message)
        if publication is None:
            logger.warning(
                "The inbox got a message of another sender; use another GROUP_PREFIX there or here"
            )
            return
        self._metrics.received += 1
        try:
            self._receiver.receive(publication, message.get("at"))
        except Exception:
            logger.exception(
                "Delivering a publication failed", extra={"channel": publication.channel}
            )

    def _note_proof(self, group: Any) -> None:
        """A probe came through the group; other versions do not say which it was."""
        if isinstance(group, str):
            membership = self._all if group == self._all.group else self._memberships.get(group)
            if membership is not None:
                membership.proven_at = asyncio.get_running_loop().time()

    def _warn_once_of_another_site(self) -> None:
        if self._warned:
            return
        self._warned = True
        logger.warning(
            "A message of another site (with another SECRET_KEY) came over the channel layer and is"
            " ignored, as are all that follow. Publications of the two sites reach each other: give"
            " each its own GROUP_PREFIX in CHANNELS_REALTIME, or its own prefix in CHANNEL_LAYERS."
            " If there is one site only, its processes need the same SECRET_KEY."
        )

    def _is_duplicate(self, name: str) -> bool:
        """Whether a message of this name was taken already; from now on it was."""
        if name in self._names:
            return True
        self._names[name] = None
        if len(self._names) > _REMEMBERED:
            self._names.popitem(last=False)
        return False
