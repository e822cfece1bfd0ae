"""The limits on what one connection may send, which ``welcome`` tells the client."""

from __future__ import annotations

import dataclasses

_PLAIN_FACTOR = 8
"""With the default limit 1 MiB, the most that Daphne takes and the deployment guide's ``--ws-max-size``."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on what a client sends. Sizes are in bytes."""

    max_frame: int = 131_072
    max_payload: int = 65_536
    max_depth: int = 32
    max_batch: int = 64
    max_subscriptions: int = 256
    max_in_flight: int = 16
    max_bad_messages: int = 50

    @property
    def max_plain_frame(self) -> int:
        """The size at which a plain connection is closed.

        Clients of others do not read ``max_frame`` in ``welcome``. A frame over that is answered with
        ``too_large``; one over this is an attack, or would be sent again after each reconnect.
        """
        return self.max_frame * _PLAIN_FACTOR

    def advertised(self) -> dict[str, int]:
        """Return the limits that ``welcome`` contains."""
        return {
            "max_frame": self.max_frame,
            "max_payload": self.max_payload,
            "max_batch": self.max_batch,
            "max_subscriptions": self.max_subscriptions,
            "max_in_flight": self.max_in_flight,
        }
