"""``GET …/health/`` and ``GET …/ready/``: for load balancers and Kubernetes probes.

Health says that the process answers. Readiness says whether new connections should come here: not
while it drains. Both tell of the node of this process, or that it has none yet, which is no fault.
"""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..nodes.node import serving_node


@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """200 while the process answers."""
    node = serving_node()
    return JsonResponse({"status": "ok", "node": None if node is None else node.id})


@never_cache
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """200 while new connections are welcome here, else 503."""
    node = serving_node()
    draining = node is not None and node.drain.begun
    body = {"status": "draining" if draining else "ready"}
    return JsonResponse(body, status=503 if draining else 200)
