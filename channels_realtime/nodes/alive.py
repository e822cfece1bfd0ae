"""Which nodes are asked: those whose lease in the database runs, and the one of this process."""

from __future__ import annotations

from django.apps import apps

from .node import serving_node


def alive_nodes() -> frozenset[str]:
    """The ids of the nodes that are alive; from sync code.

    The node of this process is among them even if its row is not written yet, or cannot be.
    """
    # Looked up here: code that publishes may be imported before the apps are ready.
    records = apps.get_model("channels_realtime", "NodeRecord")
    found = frozenset(records.objects.alive().values_list("pk", flat=True))
    node = serving_node()
    return found if node is None else found | {node.id}
