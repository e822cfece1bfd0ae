"""The queue of frames for a slow client, limited in messages and in bytes.

Frames are queued in order. When the queue is full, the policy of the frame's channel applies:

- ``close``: the connection is closed with 4430, so that no message is lost unnoticed; the client
  reconnects with its positions;
- ``drop_oldest``: the oldest frames of such channels are dropped;
- ``latest``: only the newest frame of each such channel is queued, also when the queue is not full.

Frames that may be dropped make room for those that may not. So a reply or a ping does not close a
connection if its channels allow losses.
"""

from __future__ import annotations

from collections import deque

from ..protocol.frames import Frame, Policy


class Outbox:
    """The queued frames of one connection.

    Args:
        max_messages: how many frames may be queued.
        max_bytes: how many bytes they may have in total.
    """

    __slots__ = ("_frames", "_max_bytes", "_max_messages", "dropped", "size")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._frames: deque[Frame] = deque()
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self.size = 0
        """The queued bytes."""
        self.dropped = 0
        """How many frames a policy has dropped."""

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame, *, last: bool = False) -> bool:
        """Queue a frame by its policy.

        Args:
            frame: the frame.
            last: queue it even if the queue is full, for a connection's ``closing`` and close.

        Returns:
            False if there is no room and the frame was not queued.
        """
        if frame.policy is Policy.LATEST and frame.channel is not None:
            self.dropped += self.discard(frame.channel)
        if not (last or self._fits(frame) or self._make_room(frame)):
            return False
        self._frames.append(frame)
        self.size += frame.size
        return True

    def _fits(self, frame: Frame) -> bool:
        return len(self._frames) < self._max_messages and self.size + frame.size <= self._max_bytes

    def _make_room(self, frame: Frame) -> bool:
        """Drop the oldest frames that may be dropped until ``frame`` fits; none if it can never fit."""
        if frame.size > self._max_bytes:
            return False
        kept: deque[Frame] = deque()
        while self._frames and not self._fits_with(frame, kept):
            oldest = self._frames.popleft()
            if oldest.policy is Policy.CLOSE:
                kept.append(oldest)
            else:
                self.size -= oldest.size
                self.dropped += 1
        fits = self._fits_with(frame, kept)
        self._frames.extendleft(reversed(kept))
        return fits

    def _fits_with(self, frame: Frame, kept: deque[Frame]) -> bool:
        return (
            len(self._frames) + len(kept) < self._max_messages
            and self.size + frame.size <= self._max_bytes
        )

    def get(self) -> Frame | None:
        """Take the oldest frame, or None."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self.size -= frame.size
        return frame

    def discard(self, channel: str) -> int:
        """Discard the queued frames of ``channel``; returns how many there were."""
        kept = deque(frame for frame in self._frames if frame.channel != channel)
        discarded = len(self._frames) - len(kept)
        if discarded:
            self._frames = kept
            self.size = sum(frame.size for frame in kept)
        return discarded

    def clear(self) -> None:
        """Discard all frames: the connection ends."""
        self._frames.clear()
        self.size = 0
