"""``GET …/health/`` and ``GET …/ready/``: for load balancers and Kubernetes probes.

Health: the process responds; a channel layer or a store that fails is named, since a restart
does not mend it.
Readiness: the process accepts new connections, which it does not while
it drains. A process that has no node yet is healthy and ready.
"""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ..nodes.breaker import is_failing
from ..nodes.layers import made_layer
from ..nodes.node import serving_node
from ..nodes.stores import stores_of
from ..settings import get_config


@login_not_required  # LoginRequiredMiddleware would redirect a probe, which takes that for success
@never_cache
@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Respond 200, with the id of this process's node, or null if it has none yet.

    While the channel layer does not take what the process sends, ``channel_layer`` is "failing"; while
    the history store does not answer it, ``history`` is, and likewise ``inboxes``, ``presence`` and ``sessions``.
    """
    node = serving_node()
    body = {"status": "ok", "node": None if node is None else node.id}
    config = get_config()
    layer = made_layer(config.channel_layer) if node is None else node.layer
    if layer is not None:
        if is_failing(layer):
            body["channel_layer"] = "failing"
        body |= dict.fromkeys(stores_of(layer, config).failing, "failing")
    return JsonResponse(body)


@login_not_required  # LoginRequiredMiddleware would redirect a probe, which takes that for success
@never_cache
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Respond 200, or 503 while the process drains its connections."""
    node = serving_node()
    draining = node is not None and node.drain.begun
    body = {"status": "draining" if draining else "ready"}
    return JsonResponse(body, status=503 if draining else 200)
