"""The application of `manage.py demo` with the in-memory layer: the site and its feeds in one process.

That layer carries events within one process only, so the feeds run where the connections are.
"""

import atexit
import threading

from site_config.asgi import application

from .feeds import start_feeds  # below the line above, which loads the apps

__all__ = ["application"]

stopped = threading.Event()
start_feeds(stopped)
atexit.register(stopped.set)
