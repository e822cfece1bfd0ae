"""What a connection keeps for its session: how it may be resumed, and what its client has received.

In: subscriptions with positions, acknowledgements, pings and their answers. Out: for each channel with
history, the last position that the client has proven to have received. A message that was written may
have been lost with the connection; the answer to a ping that was written after it proves it. So a
session that is resumed without positions goes on from there: at least once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..conversation.nothing import NOTHING
from ..protocol.messages import Position
from ..protocol.selection import Selection
from ..stores.sessions.base import SavedSubscription


class Receipt:
    """What a session keeps of one subscription, beside the channel itself.

    Args:
        position: up to here the client has received the channel; None without history, and while it is not
            proven that the channel's state has arrived.
    """

    __slots__ = ("position", "selections")

    def __init__(self, position: Position | None = None) -> None:
        self.position = position
        self.selections: dict[Selection, Any] = {}
        """The parameters of its selections, where the channel selects by them."""


class Receipts:
    """The part of a connection that its session is made of; small, because each connection has one."""

    __slots__ = (
        "_by_channel",
        "_pinged",
        "ended_by_client",
        "fresh",
        "greeted",
        "owner",
        "replaced",
        "restoring",
        "write_again_at",
    )

    def __init__(self) -> None:
        self.greeted = False
        """Whether the client was told the id of its session."""
        self.fresh = True
        """Whether the client has neither subscribed nor resumed yet."""
        self.replaced = False
        """Whether another connection has resumed the session."""
        self.ended_by_client = False
        """Whether the client closed the connection with 1000, and so gave the session up."""
        self.restoring: tuple[SavedSubscription, ...] = ()
        """Of a session that was resumed: what is being restored, and would be lost with the connection."""
        self.owner: str | None = None
        """Its token, once its session was written."""
        self.write_again_at = 0.0
        """When its session is written again though nothing has changed, in monotonic seconds."""
        self._by_channel: Mapping[str, Receipt] = NOTHING
        self._pinged: Mapping[str, Position] | None = None

    def get(self, channel: str) -> Receipt | None:
        """What is kept of the subscription to a channel; None where there is nothing to keep."""
        return self._by_channel.get(channel)

    def of(self, channel: str) -> Receipt:
        """What is kept of the subscription to a channel, to write it down."""
        receipt = self._by_channel.get(channel)
        if receipt is None:
            receipt = Receipt()
            if isinstance(self._by_channel, dict):
                self._by_channel[channel] = receipt
            else:
                self._by_channel = {channel: receipt}
        return receipt

    def forget(self, channel: str) -> None:
        """The connection has left the channel."""
        if isinstance(self._by_channel, dict):
            self._by_channel.pop(channel, None)

    # -- proof -------------------------------------------------------------------------------------

    @property
    def awaits_answer(self) -> bool:
        """Whether a ping is on its way whose answer proves something."""
        return self._pinged is not None

    def pinged(self, positions: Mapping[str, Position]) -> None:
        """A ping was written after everything up to these positions.

        While an earlier ping is unanswered, this one proves nothing: the next answer may be to that.
        """
        if self._pinged is None and positions:
            self._pinged = positions

    def answered(self) -> bool:
        """The client answered a ping; True where that proves something new."""
        pinged, self._pinged = self._pinged, None
        moved = False
        for channel, position in (pinged or {}).items():
            moved = self.received(channel, position) or moved
        return moved

    def received(self, channel: str, position: Position) -> bool:
        """The client has everything of the channel up to there; False where that says nothing new."""
        receipt = self._by_channel.get(channel)
        if receipt is None:
            return False
        known = receipt.position
        if known is not None and known.epoch == position.epoch and known.offset >= position.offset:
            return False
        receipt.position = position
        return True
