"""The thread that Django keeps for a request, and what a response that lasts has to do about it.

Django's ASGI handler runs the synchronous parts of a request, such as most middleware, in one thread
that is the request's own and lives as long as its response, with its database connections. A thousand
streams would hold a thousand unused threads and connections.
"""

from __future__ import annotations

from asgiref.sync import SyncToAsync
from django.db import connections


def release_request_thread() -> None:
    """Let the thread of the running request go, and close its database connections.

    What the request still runs synchronously, such as closing its response, gets another one. Does
    nothing where there is none, and where a server of its own has made it.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is None or getattr(context, "_executor", None) is not None:
        return
    executor = SyncToAsync.context_to_thread_executor.pop(context, None)
    if executor is not None:
        executor.submit(connections.close_all)
        executor.shutdown(wait=False)
