"""The presence store of a single process passes the contract."""

from channels_realtime.stores.presence.memory import MemoryPresence
from channels_realtime.testing import PresenceStoreContract


class TestMemoryPresence(PresenceStoreContract):
    def setup_method(self) -> None:
        self.now = 1_000.0
        self._store = MemoryPresence(clock=lambda: self.now)

    async def make_store(self):
        return self._store

    async def advance(self, seconds):
        self.now += seconds
