"""The channels of one client: positions, what is missed, duplicates, presence. No I/O.

In: replies and messages of the server, from the core. Out: items for the ``Sink`` of each subscription, and
requests through the core. A channel has one subscription in a client, or one for each value of its
parameters by which it selects.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import AlreadySubscribed, ImproperUse, RealtimeError, RequestTimeout, TooSlow
from ..protocol.messages import Member, Position
from .errors import ClientError, ConnectionLost, answered
from .values import (
    Event,
    Joined,
    Left,
    Message,
    Recovered,
    Subscribed,
    covers,
    member_from,
    members_from,
    message_from,
    position_in,
    position_object,
)

if TYPE_CHECKING:
    from .core import Core, Handle

MAX_HELD_MESSAGES = 1_000
"""How many live messages of an automatic channel are held while it recovers. With more, it has not recovered."""

MAX_ABANDONED = 100
"""How many subscriptions that were given up without a connection are remembered for a resume."""

ACK_DELAY_S = 0.1
"""Acknowledgements of this time go out as one."""

PASSING_ERRORS = frozenset(("rate_limited", "timeout", "unavailable", "internal"))
"""After these an established subscription is tried again on the same connection."""


class Sink(Protocol):
    """Where the items of a subscription go."""

    @property
    def full(self) -> bool:
        """Whether it takes no message now; ``Feeds.drained`` is called once it does."""
        ...

    def put(self, item: Event) -> None:
        """Take an item; never waits."""
        ...

    def end(self, error: RealtimeError | None, *, discard: bool) -> None:
        """Nothing follows. ``discard``: what it holds may not be seen any more."""
        ...


@dataclasses.dataclass(slots=True, eq=False, kw_only=True)
class Feed:
    """The client's state of one channel that it is subscribed to."""

    channel: str
    sink: Sink
    parameters: Any = None
    select: str | None = None
    """The field of the payloads that must be as in the parameters."""
    presence: bool = False
    since: Position | None = None
    """From where a subscribe begins that was not answered yet."""
    position: Position | None = None
    """Of the last message that the sink took, or where the subscription began."""
    fresh: bool = False
    """Whether what an inbox still has may follow, from a position that the server alone knows."""
    live: bool = False
    """Subscribed on this connection."""
    established: bool = False
    """Was ever subscribed."""
    in_session: bool = False
    """Whether the session that a reconnect resumes may have it."""
    suspended: bool = False
    """Given up, because the sink was full, until it is drained."""
    unproven: bool = False
    """Nothing shows yet that what the reply promised has arrived: the state, if the channel has one."""
    state_arriving: bool = False
    """The position does not stand for what was received: the state may still be on its way."""
    fenced: bool = False
    """Whether the server was asked for the end of the state, by a ping that it answers after it."""
    state_goes_on: bool = False
    """More of it came since."""
    held: list[Message] | None = None
    """Live messages of an automatic channel that wait for its replay."""
    gap: Position | None = None
    """Messages before this position are missing, and it is not known yet whether the state is sent again."""
    failures: int = 0
    retry_timer: Handle | None = None
    members: dict[str, Member] = dataclasses.field(default_factory=dict)
    count: int | None = None

    @property
    def resumes_from(self) -> Position | None:
        """Where a resume begins; None: the server knows."""
        if self.since is not None:  # the reply may have told of a gap, and was not received
            return self.since
        return None if self.state_arriving or self.unproven else self.position

    @property
    def key(self) -> str:
        """Tells the subscriptions to a channel apart."""
        return json.dumps(self.parameters, sort_keys=True, default=str)

    def takes(self, message: Message) -> bool:
        """Whether a message is of this selection, where others of the channel may arrive too."""
        if self.select is None:
            return True
        found = message.payload.get(self.select) if isinstance(message.payload, dict) else None
        wanted = self.parameters[self.select]
        return bool(found == wanted) and isinstance(found, bool) == isinstance(wanted, bool)

    def cancel_retry(self) -> None:
        """Do not subscribe again by itself."""
        if self.retry_timer is not None:
            self.retry_timer.cancel()


class Feeds:
    """The channels of one client."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._feeds: dict[str, dict[str, Feed]] = {}
        """By channel, and then by their parameters."""
        self.automatic: dict[str, Position | None] = {}
        """The channels that the server has subscribed this connection to, with their last position."""
        self._unread: dict[str, deque[Message]] = {}
        """What an inbox still had at the beginning of this connection, until its channel is subscribed."""
        self._abandoned: list[Feed] = []
        """Given up, and the server may not know: a resume would bring them back."""
        self._acknowledging: dict[str, Position] = {}
        self._ack_timer: Handle | None = None

    # -- the program's side ------------------------------------------------------------------------

    def add(self, feed: Feed) -> None:
        """Subscribe.

        Raises:
            ImproperUse: the client is subscribed to the channel already.
        """
        others = self._of(feed.channel)
        if any(feed.key == other.key or None in (feed.select, other.select) for other in others):
            raise ImproperUse(
                f"this client is already subscribed to {feed.channel!r}: share that subscription between"
                " tasks or, if the channel class has a 'select', give each subscription its parameters"
                " and select='…'"
            )
        self._feeds.setdefault(feed.channel, {})[feed.key] = feed
        if self._core.ready:
            self._subscribe(feed)

    def remove(self, feed: Feed) -> None:
        """Unsubscribe; does nothing where it has ended."""
        if not self._stands(feed):
            return
        self._forget(feed)
        if feed.channel in self.automatic:
            self.automatic[feed.channel] = feed.position or self.automatic[feed.channel]
        elif feed.suspended:
            return
        elif self._core.ready:
            self._unsubscribe(feed)
        elif feed.in_session:
            self._abandon(feed)

    def _unsubscribe(self, feed: Feed) -> None:
        message: dict[str, Any] = {"type": "unsubscribe", "channel": feed.channel}
        if any(other.in_session for other in self._of(feed.channel) if other is not feed):
            message["payload"] = feed.parameters  # without, it would end the others too
        feed.in_session = False

        def done(_payload: Any, error: RealtimeError | None) -> None:
            if isinstance(error, ConnectionLost):
                self._abandon(feed)

        self._core.requests.ask(message, done)

    def _abandon(self, feed: Feed) -> None:
        self._abandoned.append(feed)
        if len(self._abandoned) > MAX_ABANDONED:
            self._abandoned.clear()
            self._core.session.forget()

    def drained(self, feed: Feed) -> None:
        """The sink takes messages again."""
        if feed.suspended and self._stands(feed):
            feed.suspended = False
            if self._core.ready:
                self._subscribe(feed)

    def acknowledge(self, channel: str, position: Position) -> None:
        """Say soon that everything up to a position was received."""
        self._acknowledging[channel] = position
        if self._core.ready and self._ack_timer is None:
            self._ack_timer = self._core.later(ACK_DELAY_S, self.acknowledge_now)

    def acknowledge_now(self) -> None:
        """Send the acknowledgements that are due, if there is a connection."""
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if not self._core.ready:
            return
        due, self._acknowledging = self._acknowledging, {}
        for channel, position in due.items():
            payload = position_object(position)
            self._core.requests.tell({"type": "ack", "channel": channel, "payload": payload})

    # -- the core's side ---------------------------------------------------------------------------

    def positions(self) -> dict[str, Any]:
        """``since`` of a ``resume``."""
        found = {}
        for channel in self._feeds:
            feeds = [feed for feed in self._of(channel) if feed.in_session]
            known = [at for feed in feeds if (at := feed.resumes_from) is not None]
            unanswered = any(feed.since is not None for feed in feeds)
            # One replay for all of a channel, from where nothing is missing in any.
            whole = len(known) == len(feeds) or unanswered
            if known and whole and len({at.epoch for at in known}) == 1:
                found[channel] = position_object(min(known, key=lambda at: at.offset))
        return found

    def welcomed(self, channels: Any) -> None:
        """A connection was welcomed, with these automatic channels."""
        channels = channels if isinstance(channels, dict) else {}
        self.automatic = {name: position_in(at) for name, at in channels.items()}
        self._unread.clear()
        for name in self.automatic:
            for feed in self._of(name):  # it is live already, and what it missed is not known yet
                feed.held = []

    def connected(self, resumed: Mapping[str, Any] | None) -> None:
        """Requests can be sent; with the channels of a resumed session, or None."""
        resumed = resumed or {}
        abandoned, self._abandoned = self._abandoned, []
        since = self.positions()
        for feed in self._all():
            feed.in_session = feed.in_session and feed.channel in resumed
        for feed in abandoned:
            after = [other for other in self._of(feed.channel) if other.in_session]
            again = any(feed.select is None or other.key == feed.key for other in after)
            if feed.channel in resumed and feed.channel not in self.automatic and not again:
                self._unsubscribe(feed)
        for name in resumed.keys() - self._feeds.keys() - {feed.channel for feed in abandoned}:
            self.automatic.setdefault(name, position_in(resumed[name]))  # the server's own doing
        for feed in self._all():
            reply = resumed.get(feed.channel)
            if feed.suspended:
                continue
            if feed.in_session and isinstance(reply, dict):
                self._subscribed(feed, reply, position_in(since.get(feed.channel)))
            else:
                self._subscribe(feed)
        self.acknowledge_now()

    def disconnected(self) -> None:
        """The connection has ended."""
        self.acknowledge_now()
        for feed in self._all():
            if feed.gap is not None:
                self._tell_gap(feed, state=False)
            feed.live = feed.fenced = False
            feed.held = None
            feed.cancel_retry()

    def end(self, error: RealtimeError | None) -> None:
        """The client has ended."""
        feeds, self._feeds = self._all(), {}
        for feed in feeds:
            feed.sink.end(error, discard=False)

    def pinged(self) -> None:
        """What the server wrote before its ping has arrived."""
        for feed in self._all():
            if feed.live:
                feed.unproven = False

    def handle(self, kind: str, message: Mapping[str, Any]) -> None:
        """A message about a channel, which is no reply."""
        channel = message["channel"]
        payload = message.get("payload")
        feeds = self._of(channel)
        if kind == "message":
            if channel in self.automatic and not feeds:
                self.automatic[channel] = position_in(message) or self.automatic[channel]
            received = message_from(message)
            if channel in self.automatic and not feeds and received.recovered:
                unread = self._unread.setdefault(channel, deque(maxlen=MAX_HELD_MESSAGES))
                unread.append(received)
            for feed in feeds:
                if feed.takes(received):
                    self._message(feed, received)
        elif kind == "subscribed":
            self._told(channel, payload, automatic=message.get("automatic") is True)
        elif kind == "unsubscribed":
            self.automatic.pop(channel, None)
            for feed in feeds:
                if feed.live:  # else it is subscribed again, and the reply is to come
                    self._forget(feed)
                    feed.sink.end(answered(payload), discard=True)
        elif kind in ("join", "leave"):
            for feed in feeds:
                if feed.live and feed.presence:
                    self._moved(feed, kind, payload)

    # -- subscribing -------------------------------------------------------------------------------

    def _stands(self, feed: Feed) -> bool:
        return self._feeds.get(feed.channel, {}).get(feed.key) is feed

    def _of(self, channel: str) -> list[Feed]:
        return list(self._feeds.get(channel, {}).values())

    def _all(self) -> list[Feed]:
        return [feed for feeds in self._feeds.values() for feed in feeds.values()]

    def _forget(self, feed: Feed) -> None:
        feed.cancel_retry()
        feed.live = False
        del self._feeds[feed.channel][feed.key]
        if not self._feeds[feed.channel]:
            del self._feeds[feed.channel]

    def _subscribe(self, feed: Feed) -> None:
        automatic = feed.channel in self.automatic
        if feed.established and feed.since is None:
            feed.since = None if feed.state_arriving else feed.position
        since = feed.since
        if automatic and since is None and not feed.presence and not feed.established:
            # It is on the channel from the start, and asks for nothing that it missed.
            at = self.automatic[feed.channel]
            self._subscribed(feed, {} if at is None else position_object(at), None)
            feed.fresh = True
            for missed in self._unread.pop(feed.channel, ()):
                self._message(feed, missed)
            return
        if automatic and feed.held is None:
            feed.held = []  # it is live already, and its replay comes before what is new
        feed.in_session = True
        message = {
            "type": "subscribe",
            "channel": feed.channel,
            "since": None if since is None else position_object(since),
            "presence": feed.presence or None,
        }
        if feed.parameters is not None:
            message["payload"] = feed.parameters

        def done(payload: Any, error: RealtimeError | None) -> None:
            if not self._stands(feed) or feed.suspended or isinstance(error, ClientError):
                return
            if isinstance(error, AlreadySubscribed):
                at = error.position
                payload = {} if at is None else position_object(at)
                payload["recovered"] = None if since is None else since == at
                error = None
            if error is None:
                self._subscribed(feed, payload if isinstance(payload, dict) else {}, since)
            else:
                self._refused(feed, error)

        self._core.requests.ask(message, done)

    def _refused(self, feed: Feed, error: RealtimeError) -> None:
        if not (feed.established and error.code in PASSING_ERRORS):
            if isinstance(error, RequestTimeout):  # it may still take effect
                self._unsubscribe(feed)
            self._forget(feed)
            feed.sink.end(error, discard=True)
            return
        delay = self._core.backoff(feed.failures, error.retry_after or 0.0)
        feed.failures += 1

        def again() -> None:
            if self._stands(feed) and self._core.ready:
                self._subscribe(feed)

        feed.retry_timer = self._core.later(delay, again)

    def _subscribed(self, feed: Feed, reply: Mapping[str, Any], since: Position | None) -> None:
        position = position_in(reply)
        returns = since is not None or feed.established
        complete = reply.get("recovered") is True
        recovered = complete if returns else reply.get("recovered")  # an inbox says it unasked
        feed.unproven = position is not None and not complete
        feed.live = feed.established = feed.in_session = True
        feed.state_arriving = False
        feed.since = None
        feed.failures = 0
        if since is not None and complete:
            if feed.position is None or not covers(feed.position, since):
                feed.position = since  # else it is another selection that misses more
        elif complete and position is not None:
            # The server knows where this client was: in an inbox, after what its user has acknowledged.
            if feed.position is None or feed.position.epoch != position.epoch:
                feed.position = None
        else:
            feed.position = position
        if feed.presence and not self._take_members(feed, reply):
            self._fetch_members(feed)
        if recovered is False and position is not None:
            self._await_state(feed, position)
        else:
            feed.sink.put(Subscribed(feed.position))
            if isinstance(recovered, bool):
                feed.sink.put(Recovered(recovered, position))
        if feed.held is not None:
            self._release(feed, wait=complete)

    def _await_state(self, feed: Feed, position: Position) -> None:
        """Tell of missing messages once it is known whether the state follows."""
        feed.gap = position

        def done(_payload: Any, error: RealtimeError | None) -> None:
            if feed.gap is position and not isinstance(error, ClientError):
                self._tell_gap(feed, state=False)

        self._core.requests.ask(
            {"type": "ping"}, done
        )  # answered after all that was written before

    def _tell_gap(self, feed: Feed, *, state: bool) -> None:
        position, feed.gap = feed.gap, None
        feed.sink.put(Recovered(False, position, state))

    def _release(self, feed: Feed, *, wait: bool) -> None:
        """Deliver what was live, after the replay where there is one."""

        def release(_payload: Any = None, error: RealtimeError | None = None) -> None:
            if isinstance(error, ClientError) or not self._stands(feed):
                return
            held, feed.held = feed.held or [], None
            for message in held:
                self._message(feed, message)
            if len(held) >= MAX_HELD_MESSAGES:
                feed.sink.put(Recovered(False, feed.position))

        if wait:
            self._core.requests.ask(
                {"type": "ping"}, release
            )  # answered after all that was written before
        else:
            release()

    def _told(self, channel: str, payload: Any, *, automatic: bool) -> None:
        """What the server says about a subscription without being asked."""
        payload = payload if isinstance(payload, dict) else {}
        if automatic:
            self.automatic[channel] = position_in(payload)
            return
        for feed in self._of(channel):
            if not feed.live:
                continue
            if payload.get("recovered") is False:
                # The channel's numbers begin again, or messages that it does not keep did not arrive.
                feed.position = position_in(payload)
                feed.sink.put(Recovered(False, feed.position))
            self._take_members(feed, payload)

    # -- messages ----------------------------------------------------------------------------------

    def _message(self, feed: Feed, message: Message) -> None:
        if feed.held is not None and not (feed.live and (message.recovered or message.state)):
            if len(feed.held) < MAX_HELD_MESSAGES:
                feed.held.append(message)
            return
        if not feed.live or feed.suspended:
            return  # what is left of an earlier subscription
        if feed.gap is not None:
            self._tell_gap(feed, state=message.state)
        if message.state:
            self._state_arrives(feed)
            feed.sink.put(message)
            return
        position, known = message.position, feed.position
        if position is not None:
            feed.unproven = feed.state_arriving = False
            if feed.fresh and message.recovered:
                known = None
            feed.fresh = False
            if known is not None and covers(known, position):
                return  # a duplicate
        if feed.sink.full:
            self._suspend(feed, message)
            return
        if position is not None:
            feed.position = position
        feed.sink.put(message)

    def _suspend(self, feed: Feed, message: Message) -> None:
        """The sink is full: leave the rest to the history, or end where there is none."""
        if message.position is None and feed.position is None:
            self.remove(feed)
            feed.sink.end(
                TooSlow(
                    f"the buffer of {feed.channel!r} is full; expected a faster consumer, a larger"
                    " buffer or a channel with history"
                ),
                discard=False,
            )
            return
        if feed.position is None and message.position is not None:
            # Nothing of it was taken yet: what comes before this message is known to have been nothing.
            feed.position = Position(message.position.epoch, message.position.offset - 1)
        feed.live = False
        feed.suspended = True
        if feed.channel not in self.automatic:
            feed.in_session = False
            self._unsubscribe(feed)

    def _state_arrives(self, feed: Feed) -> None:
        """The position counts only once the whole state has arrived."""
        feed.state_arriving = True
        if feed.fenced:
            feed.state_goes_on = True
            return
        feed.fenced, feed.state_goes_on = True, False

        def done(_payload: Any, error: RealtimeError | None) -> None:
            if isinstance(error, ClientError):
                return
            feed.fenced = False
            if error is None and feed.state_goes_on:
                self._state_arrives(feed)
            elif error is None:
                feed.state_arriving = feed.unproven = False

        self._core.requests.ask({"type": "ping"}, done)

    # -- presence ----------------------------------------------------------------------------------

    def _take_members(self, feed: Feed, payload: Any) -> bool:
        members = members_from(payload)
        if members is not None:
            feed.count = members.count
            feed.members = {one.id: one for one in members.members}
        return members is not None

    def _fetch_members(self, feed: Feed) -> None:
        """Ask who is there where the reply did not say: the server has subscribed it by itself."""

        def done(payload: Any, error: RealtimeError | None) -> None:
            if error is None and self._stands(feed):
                self._take_members(feed, payload)

        self._core.requests.ask({"type": "presence", "channel": feed.channel}, done)

    def _moved(self, feed: Feed, kind: str, payload: Any) -> None:
        payload = payload if isinstance(payload, dict) else {}
        member, count = member_from(payload.get("member")), payload.get("count")
        if member is None or type(count) is not int:
            return
        before = (len(feed.members), feed.count)
        feed.count = count
        if kind == "join":
            feed.members[member.id] = member
        else:
            feed.members.pop(member.id, None)  # unknown: one of those that were too many to be sent
        if before == (len(feed.members), count):
            return  # it was known already
        if not feed.sink.full:  # a slow consumer sees it in the members
            feed.sink.put(Joined(member, count) if kind == "join" else Left(member, count))
