"""Which of several server processes does a job that one of them has to do.

The lease lives in Django's cache: in one process's memory every process has its own, in Redis all
share one, and the first to take it keeps it for as long as it renews.
"""

import secrets

from django.core.cache import cache


class Lease:
    """One job's lease, as seen by one process.

    `duration_s` is how long the others wait for a holder that no longer renews.
    """

    def __init__(self, job: str, *, duration_s: int) -> None:
        self._key = f"lease:{job}"
        self._owner = secrets.token_hex(8)
        self._duration_s = duration_s

    def hold(self) -> bool:
        """Take or renew the lease; return whether this process has it now."""
        if cache.add(self._key, self._owner, self._duration_s):
            return True
        if cache.get(self._key) != self._owner:
            return False
        # Between the two calls it can run out and be taken: only what is read last counts.
        cache.touch(self._key, self._duration_s)
        return cache.get(self._key) == self._owner

    def release(self) -> None:
        """Let another process take over at once."""
        if cache.get(self._key) == self._owner:
            cache.delete(self._key)
