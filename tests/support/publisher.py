"""Numbered publications, as long as a test breaks what hears them."""

import threading
from typing import Self

from tests.support.servers import Server
from tests.support.site import publish

INTERVAL_S = 0.02
WAIT_S = 20.0


class Publisher:
    """Publishes 0, 1, 2 … on a channel until the block ends, from another process than the page's server."""

    def __init__(self, server: Server, channel: str) -> None:
        self._server = server
        self._channel = channel
        self._changed = threading.Condition()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher")
        self._error: Exception | None = None
        self.count = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stopped.set()
        self._thread.join()

    def publish_more(self, count: int = 10) -> None:
        """Wait until so many more have been published."""
        with self._changed:
            wanted = self.count + count
            enough = self._changed.wait_for(lambda: self._error or self.count >= wanted, WAIT_S)
        assert self._error is None
        assert enough

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL_S):
            try:
                publish(self._server, self._channel, self.count)
            except OSError as error:
                self._error = error
            with self._changed:
                self.count += 1
                self._changed.notify_all()
            if self._error:
                return
