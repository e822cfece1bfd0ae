"""Fan-out in one process: channel to local subscribers.

In: a publication from the broker. Out: one encoded frame for each encoding, handed to every
subscriber that takes it. This is the hot path: no container is made for a delivery, and a
subscriber's ``deliver`` never waits.

A subscriber is indexed under one selection or several (``Channel.select``). ``ALL`` covers the
others: a subscriber under ``ALL`` is under nothing else, so that no subscriber gets a frame twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from operator import length_hint
from typing import Any, Protocol

from ..protocol.dialects.base import Encoding
from ..protocol.frames import Frame, Policy
from ..protocol.messages import Position, Publication
from ..protocol.selection import ALL, Selection
from .metrics import Metrics


class Outlet(Protocol):
    """What a delivery is written to."""

    @property
    def is_free(self) -> bool:
        """Whether a frame may be written to it at once; then it is a writer (``connections.writer``)."""
        ...

    def deliver(self, frame: Frame, publication: Publication) -> None:
        """Take a publication's frame; never waits, never raises."""
        ...


class Subscriber(Protocol):
    """What the hub delivers to."""

    @property
    def encoding(self) -> Encoding:
        """How it is written to; shared by all that get the same frame."""
        ...

    @property
    def outlet(self) -> Outlet:
        """Takes its deliveries; the hub keeps it as long as the subscription."""
        ...

    def started_anew(self, channel: str, position: Position) -> None:
        """The channel's history goes on from a position; what came before may be missing.

        Never waits, never raises.
        """
        ...


_Subscribers = dict[Subscriber, Outlet]
"""The subscribers of one encoding, with their outlets: a delivery looks at nothing else of them."""

RATE_WINDOW_S = 10.0
"""The time over which the rate of a channel's publications is measured."""

_NOTHING: frozenset[Selection] = frozenset()
_ALL: frozenset[Selection] = frozenset({ALL})


class _Topic:
    """One channel's subscribers, by selection, then by encoding."""

    __slots__ = ("earlier", "recent", "selections", "selections_of", "since")

    def __init__(self, now: float) -> None:
        self.since = now  # when the running window began
        self.recent = 0  # publications in it
        self.earlier = 0  # in the window before it
        self.selections: dict[Selection, dict[Encoding, _Subscribers]] = {}
        self.selections_of: dict[Subscriber, frozenset[Selection]] = {}

    def turn(self, now: float) -> None:
        """Begin a new window where the running one is over."""
        windows = int((now - self.since) / RATE_WINDOW_S)
        if windows > 0:
            self.earlier = self.recent if windows == 1 else 0
            self.recent = 0
            self.since += windows * RATE_WINDOW_S

    def index(self, subscriber: Subscriber, selection: Selection) -> None:
        encodings = self.selections.setdefault(selection, {})
        encodings.setdefault(subscriber.encoding, {})[subscriber] = subscriber.outlet

    def unindex(self, subscriber: Subscriber, selection: Selection) -> None:
        encodings = self.selections[selection]
        subscribers = encodings[subscriber.encoding]
        del subscribers[subscriber]
        if not subscribers:
            del encodings[subscriber.encoding]
            if not encodings:
                del self.selections[selection]


class Hub:
    """The local subscribers of one process.

    Args:
        metrics: counts what is delivered.
        clock: monotonic seconds.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._topics: dict[str, _Topic] = {}

    def __contains__(self, channel: str) -> bool:
        return channel in self._topics

    def __len__(self) -> int:
        return len(self._topics)

    def channels(self) -> Iterator[str]:
        """The channels that have a subscriber here."""
        return iter(tuple(self._topics))

    def count(self, channel: str) -> int:
        """How many subscribers the channel has here."""
        topic = self._topics.get(channel)
        return 0 if topic is None else len(topic.selections_of)

    def subscribers(self, channel: str) -> list[Subscriber]:
        """The channel's subscribers here, each once."""
        topic = self._topics.get(channel)
        return [] if topic is None else list(topic.selections_of)

    def rate(self, channel: str) -> float:
        """Recent publications a second on the channel."""
        topic = self._topics.get(channel)
        if topic is None:
            return 0.0
        now = self._clock()
        topic.turn(now)
        passed = (now - topic.since) / RATE_WINDOW_S
        return (topic.earlier * (1.0 - passed) + topic.recent) / RATE_WINDOW_S

    def add(self, channel: str, subscriber: Subscriber, selection: Selection = ALL) -> bool:
        """Subscribe; False where the subscriber has this selection already."""
        topic = self._topics.get(channel)
        if topic is None:
            topic = self._topics[channel] = _Topic(self._clock())
        held = topic.selections_of.get(subscriber, _NOTHING)
        if selection in held:
            return False
        if selection is ALL:
            for covered in held:
                topic.unindex(subscriber, covered)
            topic.index(subscriber, ALL)
        elif ALL not in held:
            topic.index(subscriber, selection)
        # Most have all of a channel and nothing else: they share one set.
        topic.selections_of[subscriber] = (
            held | {selection} if held or selection is not ALL else _ALL
        )
        return True

    def selections(self, channel: str, subscriber: Subscriber) -> frozenset[Selection]:
        """What the subscriber has selected of the channel; empty where it is not on it."""
        topic = self._topics.get(channel)
        return _NOTHING if topic is None else topic.selections_of.get(subscriber, _NOTHING)

    def remove_selection(self, channel: str, subscriber: Subscriber, selection: Selection) -> bool:
        """Remove one selection; True if it was the subscriber's last on the channel."""
        topic = self._topics[channel]
        held = topic.selections_of[subscriber]
        held -= {selection}
        topic.selections_of[subscriber] = held
        if selection is ALL:
            topic.unindex(subscriber, ALL)
            for uncovered in held:
                topic.index(subscriber, uncovered)
        elif ALL not in held:
            topic.unindex(subscriber, selection)
        if held:
            return False
        self._forget(channel, topic, subscriber)
        return True

    def remove(self, channel: str, subscriber: Subscriber) -> bool:
        """End all its subscriptions to the channel; False where it had none."""
        topic = self._topics.get(channel)
        held = None if topic is None else topic.selections_of.get(subscriber)
        if topic is None or held is None:
            return False
        for selection in (ALL,) if ALL in held else held:
            topic.unindex(subscriber, selection)
        self._forget(channel, topic, subscriber)
        return True

    def _forget(self, channel: str, topic: _Topic, subscriber: Subscriber) -> None:
        del topic.selections_of[subscriber]
        if not topic.selections_of:
            del self._topics[channel]

    def deliver(
        self,
        publication: Publication,
        selection: Selection = ALL,
        policy: Policy = Policy.CLOSE,
    ) -> int:
        """Hand a publication to its subscribers; return how many there were.

        Args:
            publication: what came from the broker.
            selection: the value that its payload has for the channel's ``select``, ALL without one.
            policy: what happens to it where a client is slow.
        """
        topic = self._topics.get(publication.key)
        if topic is None:
            return 0
        topic.turn(self._clock())
        topic.recent += 1
        frames: dict[Encoding, Frame] = {}
        handed = self._hand_out(topic.selections.get(ALL), publication, policy, frames)
        if selection is not ALL:
            chosen = topic.selections.get(selection)
            handed += self._hand_out(chosen, publication, policy, frames)
        self._metrics.delivered += handed
        return handed

    def _hand_out(
        self,
        encodings: dict[Encoding, _Subscribers] | None,
        publication: Publication,
        policy: Policy,
        frames: dict[Encoding, Frame],
    ) -> int:
        if not encodings:
            return 0
        handed = 0
        # Snapshots: a delivery that fails removes its subscriber while this loop runs.
        for encoding, subscribers in tuple(encodings.items()):
            frame = frames.get(encoding)
            if frame is None:
                frame = encoding.publication_frame(publication, policy)
                if frame is None:
                    continue
                frames[encoding] = frame
            chosen = tuple(subscribers.values())
            if publication.exclude is not None:
                chosen = _without_excluded(subscribers, publication)
            _hand_to_each(chosen, frame, publication)
            handed += len(chosen)
        return handed


def _hand_to_each(outlets: tuple[Outlet, ...], frame: Frame, publication: Publication) -> None:
    """Hand over a frame, without waiting for any of the outlets.

    One coroutine awaits one ``send`` after the other: starting each by itself costs twice as much.
    Where one waits, the coroutine is left to its outlet, and another goes on with the rest.
    """
    rest = iter(outlets)
    while True:
        step = _write_to_each(rest, frame, publication).__await__()
        for pending in step:
            waiting: Any = outlets[-1 - length_hint(rest)]
            waiting.suspended(step, pending)
            break
        else:
            return


async def _write_to_each(outlets: Iterator[Any], frame: Frame, publication: Publication) -> None:
    content, size = frame.content, frame.size
    for outlet in outlets:
        if not outlet.is_free:
            outlet.deliver(frame, publication)
            continue
        outlet.sent += 1
        outlet.sent_bytes += size
        write, try_write = outlet.write_content, outlet.try_write
        try:
            if try_write is None or not try_write(content):
                await write(content)
        except (Exception, asyncio.CancelledError) as error:
            # A server's own cancellation (its keepalive gave up), not that of the task that runs.
            outlet.failed(error)


def _without_excluded(subscribers: _Subscribers, publication: Publication) -> tuple[Outlet, ...]:
    # What is subscribed inside the process has no public id, and is nobody's connection.
    connection_id = publication.exclude
    assert connection_id is not None
    chosen = tuple(subscribers.values())
    for index, one in enumerate(subscribers):
        if getattr(one, "id", None) == connection_id:
            if publication.excludes(connection_id, getattr(one, "user_id", None)):
                return chosen[:index] + chosen[index + 1 :]
            break
    return chosen
