"""Lists as CSV files, for a spreadsheet.

In: rows of plain values. Out: a response to save. Text from clients stays text: a spreadsheet takes what
begins with ``=`` or the like for a formula.
"""

from __future__ import annotations

import csv
import datetime
import io
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from django.http import HttpResponse
from django.utils import timezone

from .display import visible

MOST = 50_000
"""Rows of a file; its name says so where there are more."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What begins a formula (OWASP, "CSV Injection")."""


def csv_response(
    name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> tuple[HttpResponse, int]:
    """The file, and how many rows it has.

    Args:
        name: of the file, without its ending.
        columns: the first line.
        rows: in the order of the columns; at most ``MOST`` are used.
    """
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(columns)
    remaining, count = iter(rows), 0
    for row in itertools.islice(remaining, MOST):
        writer.writerow([_cell(value) for value in row])
        count += 1
    if next(remaining, None) is not None:
        name += f"-first-{MOST}"
    # With a byte order mark, without which Excel takes UTF-8 for something else.
    response = HttpResponse(
        "\N{BYTE ORDER MARK}" + file.getvalue(), content_type="text/csv; charset=utf-8"
    )
    response["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response, count


def _cell(value: Any) -> str:
    if isinstance(value, datetime.datetime):
        moment = timezone.localtime(value) if timezone.is_aware(value) else value
        return moment.isoformat(timespec="seconds")
    text = visible("" if value is None else value)
    return f"'{text}" if text.startswith(_FORMULA) else text
