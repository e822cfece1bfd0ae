"""Which servers answered what a page asked all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..models import NodeRecord


def labels_of(records: Iterable[NodeRecord]) -> dict[str, str]:
    """The host and process of each node, by its id."""
    return {record.pk: str(record) for record in records}


def label(labels: Mapping[str, str], node_id: str) -> str:
    """A node's host and process; the start of its id where it came after the labels were read."""
    return labels.get(node_id, node_id[:8])


def silence(
    labels: Mapping[str, str], silent: Collection[str], *, unavailable: str = ""
) -> dict[str, Any]:
    """The context of ``silence.html``, the warning about answers that are missing.

    Args:
        labels: of the nodes that were asked.
        silent: ids of those that did not answer.
        unavailable: why the channel layer cannot be reached.
    """
    names = sorted(label(labels, node_id) for node_id in silent)
    asked = len({*labels, *silent})
    return {
        "silent": names,
        "asked": asked,
        "answered": asked - len(names),
        "nodes": len(labels),
        "unavailable": unavailable,
    }
