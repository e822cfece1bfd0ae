"""Why a connection ended, in words."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from ..models import EndedConnectionRecord
from ..monitoring.registry_rows import SERVER_GONE
from .display import text, visible
from .overview import ENDS

REASONS: dict[str, Any] = {**ENDS, SERVER_GONE: _("server process died")}
"""By ``EndedConnectionRecord.end``."""


def reason(ended: EndedConnectionRecord) -> SafeString:
    """The reason, with the code, and what the client was told."""
    words = capfirst(str(REASONS.get(ended.end, _("a site-specific reason"))))
    code = f" ({ended.end})" if ended.end.isdecimal() else ""
    if not ended.detail:
        return format_html("<span>{}{}</span>", words, visible(code))
    return format_html(
        '<span>{}{}</span> <span class="realtime-until">{}</span>',
        words,
        visible(code),
        text(ended.detail),
    )
