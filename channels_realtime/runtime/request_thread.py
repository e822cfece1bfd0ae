"""Releases the thread that Django keeps for a request, for responses that last.

Django's ASGI handler runs the synchronous parts of a request, such as most middleware, in a thread per
request that lives, with its database connections, as long as the response. A thousand streams would hold
a thousand unused threads and connections.
"""

from __future__ import annotations

from asgiref.sync import SyncToAsync
from django.db import connections


def release_request_thread() -> None:
    """Release the thread of the running request, and close its database connections.

    What the request runs synchronously afterwards, such as closing its response, gets another thread.
    Does nothing if there is none, or if Django's handler did not create it.
    """
    context = SyncToAsync.thread_sensitive_context.get(None)
    if context is None or getattr(context, "_executor", None) is not None:
        return
    executor = SyncToAsync.context_to_thread_executor.pop(context, None)
    if executor is not None:
        executor.submit(connections.close_all)
        executor.shutdown(wait=False)
