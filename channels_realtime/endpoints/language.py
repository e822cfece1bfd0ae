"""The language of a connection, in which its hooks run and their errors are written."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

from django.conf import settings
from django.http import HttpRequest
from django.middleware.locale import LocaleMiddleware
from django.utils import translation
from django.utils.module_loading import import_string

from ..auth.base import Handshake
from ..settings import get_config


def activate_language(scope: Mapping[str, Any]) -> None:
    """Activate the language of a handshake in the task that serves its connection.

    Only where ``LocaleMiddleware`` does so for requests: otherwise the whole site has one language.
    As there, the language cookie comes first, then ``Accept-Language``, then ``LANGUAGE_CODE``. Every
    hook of the connection runs in a copy of the task's context, in threads too.
    """
    if not _has_locale_middleware(tuple(settings.MIDDLEWARE)):
        return
    handshake = Handshake(scope, get_config())
    request = SimpleNamespace(
        COOKIES=handshake.cookies,
        META={"HTTP_ACCEPT_LANGUAGE": ",".join(handshake.headers("accept-language"))},
    )
    translation.activate(translation.get_language_from_request(cast(HttpRequest, request)))


@functools.lru_cache(maxsize=4)
def _has_locale_middleware(paths: tuple[str, ...]) -> bool:
    found = (import_string(path) for path in paths)
    return any(isinstance(each, type) and issubclass(each, LocaleMiddleware) for each in found)
