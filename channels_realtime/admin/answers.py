"""Which servers answered what a page asked all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from django.http import HttpRequest

from .. import operations
from ..errors import Unavailable
from ..models import NodeRecord
from .queries import alive_nodes


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


def ask_nodes(request: HttpRequest) -> tuple[list[operations.NodeReport], dict[str, Any]]:
    """What the nodes say now, or their records alone; and the context of ``silence.html``."""
    unavailable = ""
    try:
        reports = operations.nodes()
    except Unavailable as error:
        records = alive_nodes(request).values()
        reports = [operations.NodeReport(record=node, answer=None) for node in records]
        unavailable = error.reason
    silent = [report.record.pk for report in reports if report.answer is None]
    labels = labels_of(report.record for report in reports)
    return reports, silence(labels, silent, unavailable=unavailable)
