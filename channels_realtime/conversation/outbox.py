"""What waits for a client whose transport is behind: bounded in messages and in bytes.

Frames wait in order. When the queue is full, the policy of the frame's channel applies:

- ``close``: the connection is closed with 4430 rather than losing messages in silence, and comes
  back with its positions;
- ``drop_oldest``: the oldest frames of such channels make room;
- ``latest``: of each such channel only the newest frame waits, full queue or not.

Frames that may be dropped make room for those that may not, so that a reply or a ping does not end a
connection whose channels put up with losses.
"""

from __future__ import annotations

from collections import deque

from ..protocol.frames import Frame, Policy


class Outbox:
    """Frames of one connection that its transport could not take yet.

    Args:
        max_messages: frames that may wait.
        max_bytes: their bytes in sum.
    """

    __slots__ = ("_frames", "_max_bytes", "_max_messages", "dropped", "size")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._frames: deque[Frame] = deque()
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self.size = 0
        """Bytes that wait."""
        self.dropped = 0
        """Frames that a policy has dropped."""

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame, *, last: bool = False) -> bool:
        """Queue a frame, by its policy; False where there is no room, and then nothing is queued.

        The ``last`` words of a connection, its ``closing`` and its close, are taken in any case.
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
        """Drop the oldest frames that may be dropped until ``frame`` fits; none where it never can."""
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
        """The oldest frame, or None."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self.size -= frame.size
        return frame

    def discard(self, channel: str) -> int:
        """Take back what waits of ``channel``; returns how many frames that were."""
        kept = deque(frame for frame in self._frames if frame.channel != channel)
        discarded = len(self._frames) - len(kept)
        if discarded:
            self._frames = kept
            self.size = sum(frame.size for frame in kept)
        return discarded

    def clear(self) -> None:
        """Forget everything; the connection is going."""
        self._frames.clear()
        self.size = 0
