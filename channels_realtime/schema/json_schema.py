"""JSON Schema 2020-12 of what subscribers get, and the schemas that AsyncAPI is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ..errors import ImproperUse
from ..payload_types import Event, type_name
from .routes import DescribedRoute

Schema = dict[str, Any]


def json_schema(routes: Iterable[DescribedRoute], *, title: str) -> Schema:
    """A schema of every ``message`` that a client may get, with the payloads' types in ``$defs``.

    Raises:
        ImproperUse: a type has a field that JSON has no form for.
    """
    routes = list(routes)
    frames: list[Schema] = []
    declared = [kind for route in routes for kind in route.messages.values()]
    payloads, definitions = components(declared, "#/$defs/{name}")
    position = 0
    for route in routes:
        for event in route.messages:
            frames.append(message_frame(route, event, payloads[position]))
            position += 1
        if route.open:
            frames.append(open_frame(route))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "anyOf": frames,
        "$defs": definitions,
    }


def components(types: Iterable[Any], template: str) -> tuple[tuple[Schema, ...], Schema]:
    """The schema of each type, and those that they refer to, by name.

    Raises:
        ImproperUse: a type has a field that JSON has no form for.
    """
    types = list(types)
    try:
        return msgspec.json.schema_components(types, ref_template=template)
    except Exception as error:  # whatever an annotation does when it is evaluated
        raise ImproperUse(
            f"the declared type {_without_schema(types)} has no schema: {str(error).splitlines()[-1]};"
            " `manage.py check` names it (E041)"
        ) from error


def _without_schema(types: Iterable[Any]) -> str:
    for kind in types:
        try:
            msgspec.json.schema(kind)
        except Exception:  # as above
            return type_name(kind)
    return "of a message"


def message_frame(route: DescribedRoute, event: Event, payload: Schema) -> Schema:
    """The schema of a ``message`` with an event, or without one."""
    title = f"{route.channel_class.__name__}: {event or 'without an event'}"
    return _frame(title, "message", route, event, payload)


def open_frame(route: DescribedRoute) -> Schema:
    """The schema of a ``message`` with any event and payload."""
    frame = _frame(route.channel_class.__name__, "message", route, None, {})
    del frame["properties"]["event"]
    return frame


def publish_frame(route: DescribedRoute, event: Event, payload: Schema) -> Schema:
    """The schema of a client's ``publish``."""
    title = f"{route.channel_class.__name__}: publish {event or 'without an event'}"
    return _frame(title, "publish", route, event, payload)


def _frame(title: str, kind: str, route: DescribedRoute, event: Event, payload: Schema) -> Schema:
    return {
        "title": title,
        "type": "object",
        "properties": {
            "type": {"const": kind},
            "channel": {"type": "string", "pattern": route.regex},
            "event": False if event is None else {"const": event},
            "payload": payload,
        },
        "required": ["type", "channel", *(() if event is None else ("event",)), "payload"],
    }
