"""The types of what a channel carries, as its class declares them.

In: ``messages``, ``client_events``, ``transient_events`` and ``parameters_type`` of a channel class, and the
annotations of its ``@action`` methods. Out: payloads of those types, or a ``BadPayload`` that says where one
is wrong. A class that declares nothing is not asked.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect as shapes

from .errors import BadPayload, ImproperUse
from .runtime.encoding import normalise_payload

EXPECTED = (
    "a dataclass, a msgspec.Struct, a TypedDict, str, int, float, bool or a union of them;"
    " or None for no payload"
)

_PLAIN = (None, types.NoneType, str, int, float, bool)

Event = str | None
"""An event's name; None stands for messages without an event."""

_LONGEST_REASON = 300


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PayloadTypes:
    """What a channel class declares.

    Args:
        owner: the class's name.
        published: the type of what subscribers get, by event.
        given: the type of what clients publish, by event, where it is declared apart.
        closed: whether events that are not declared are refused.
    """

    owner: str
    published: Mapping[Event, Any]
    given: Mapping[Event, Any]
    closed: bool

    def publishable(self, channel: str, event: Event, payload: Any, *, max_depth: int) -> Any:
        """Return what is published of a payload in JSON types: the fields that its type has.

        Args:
            channel: the channel's name, for the error.
            event: the event, not one of the package's own.
            payload: in JSON types.
            max_depth: how deep it may be nested.

        Raises:
            BadPayload: the event is not declared, or the payload is not of its type.
        """
        if event not in self.published:
            if not self.closed:
                return payload
            raise BadPayload(
                f"channel {channel!r}, {_named(event)}: {self.owner}.messages does not have it;"
                f" expected {_listed(self.published)}"
            )
        declared = self.published[event]
        try:
            value = read(payload, declared)
        except BadPayload as error:
            raise BadPayload(
                f"channel {channel!r}, {_named(event)}: {error.reason}"
                f" ({self.owner}.messages has {type_name(declared)})"
            ) from error.__cause__
        return normalise_payload(value, max_depth=max_depth)

    def read(self, event: Event, payload: Any) -> Any:
        """Return a client's payload as its type has it.

        Raises:
            BadPayload: the channel takes no message without an event, or the payload is not of the type.
        """
        if event in self.given:
            return read(payload, self.given[event])
        if event in self.published:
            return read(payload, self.published[event])
        if not self.closed:
            return payload
        raise BadPayload(f"{_named(event)}: expected {_listed(self.published)}")


def payload_types(
    owner: str,
    *,
    messages: Any,
    client_events: Any,
    transient_events: Any,
    undeclared_events: bool,
) -> PayloadTypes | None:
    """What a channel class declares; None where that is nothing.

    Raises:
        ImproperUse: a declaration is malformed, or names a client's event that ``messages`` has not.
    """
    published: dict[Event, Any] = {}
    if messages is not None:
        by_event = messages if isinstance(messages, Mapping) else {None: messages}
        for event, declared in by_event.items():
            _check(f"{owner}.messages", event, declared)
        published.update(by_event)
    given: dict[Event, Any] = {}
    closed = messages is not None and not undeclared_events
    for option, events in (
        ("client_events", client_events),
        ("transient_events", transient_events),
    ):
        if isinstance(events, Mapping):
            for event, declared in events.items():
                _check(f"{owner}.{option}", event, declared)
                given[event] = declared
                published.setdefault(event, declared)
        elif closed:
            for event in events:
                if event not in published:
                    raise ImproperUse(
                        f"{owner}.{option} has {event!r}, which {owner}.messages does not have;"
                        f" expected {_listed(published)}"
                    )
    if messages is None and not published:
        return None
    return PayloadTypes(owner=owner, published=published, given=given, closed=closed)


def check_parameters_type(owner: str, declared: Any) -> None:
    """Check a channel class's ``parameters_type``.

    Raises:
        ImproperUse: it has no fields.
    """
    if declared is not None and not _has_fields(declared):
        raise ImproperUse(
            f"{owner}.parameters_type is {declared!r:.100};"
            " expected a dataclass, a msgspec.Struct or a TypedDict"
        )


def _check(where: str, event: Any, declared: Any) -> None:
    if not (event is None or (isinstance(event, str) and event)):
        raise ImproperUse(
            f"{where} has the key {event!r:.100}; expected an event's name, or None for messages without"
        )
    if event is not None and event.startswith("realtime."):
        raise ImproperUse(
            f"{where} has the key {event!r:.100}; 'realtime.' is reserved for the package"
        )
    members = typing.get_args(declared) if _is_union(declared) else (declared,)
    if not all(member in _PLAIN or _has_fields(member) for member in members):
        raise ImproperUse(f"{where}[{event!r}] is {declared!r:.100}; expected {EXPECTED}")


def _is_union(declared: Any) -> bool:
    return typing.get_origin(declared) in (typing.Union, types.UnionType)


def _has_fields(declared: Any) -> bool:
    """Whether it is a dataclass, a Struct or a TypedDict, perhaps of parameters, as in ``Page[Note]``."""
    kind = typing.get_origin(declared) or declared
    return isinstance(kind, type) and (
        issubclass(kind, msgspec.Struct)
        or dataclasses.is_dataclass(kind)
        or typing.is_typeddict(kind)
    )


def read(payload: Any, declared: Any) -> Any:
    """Return a payload in JSON types as a value of a type.

    Raises:
        BadPayload: it is not of the type. The reason begins with the path, as in ``$.items[0].name``, and
            tells types and the text of a ``ValueError`` of a type's own check, and no other.
    """
    try:
        return msgspec.convert(payload, declared, str_keys=True)
    except msgspec.ValidationError as error:
        raise BadPayload(_reason(error)) from error


def _reason(error: msgspec.ValidationError) -> str:
    text, _, path = str(error).rpartition(" - at `")
    path = path.replace("`", "") if text else "$"  # of a key: `key` in `$.rows`
    text = text or str(error)
    if error.__cause__ is None:
        text = (text[:1].lower() + text[1:]).replace("`", "'")
    elif not isinstance(error.__cause__, ValueError):
        text = "not accepted"  # a mistake in the type's own code, whose text is not for clients
    return f"{path}: {text}"[:_LONGEST_REASON]


def type_name(declared: Any) -> str:
    """A type, as an error names it."""
    return getattr(declared, "__name__", None) or str(declared)


def _named(event: Event) -> str:
    return "a message without an event" if event is None else f"the event {event!r}"


def _listed(events: Mapping[Event, Any]) -> str:
    names = [repr(event) for event in events if event is not None]
    return " or ".join((*names, *(("no event",) if None in events else ()))) or "HTML alone"


# -- methods that clients call ---------------------------------------------------------------------

UNTYPED: Any = Any
"""The type of what has no annotation: any payload is taken as it is."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ActionTypes:
    """What the annotations of an ``@action`` method say.

    Args:
        argument: the type of its payload.
        result: the type of what it returns.
        unread: annotations that cannot be read, with the reason; they count as ``Any``.
    """

    argument: Any = UNTYPED
    result: Any = UNTYPED
    unread: tuple[str, ...] = ()


def action_types(channel_class: type, attribute: str) -> ActionTypes:
    """The types of an ``@action`` method: its second argument's, and the result's."""
    function = inspect.unwrap(getattr(channel_class, attribute))
    code = getattr(function, "__code__", None)
    if code is None or code.co_argcount < 3:
        return ActionTypes()
    annotations = _annotations(function)
    unread: list[str] = []

    def resolve(name: str) -> Any:
        if name not in annotations:
            return UNTYPED
        holder = types.SimpleNamespace(__annotations__={name: annotations[name]})
        try:
            hint = typing.get_type_hints(
                holder, function.__globals__, dict(vars(channel_class)), include_extras=True
            )[name]
            if isinstance(shapes.type_info(hint), (shapes.CustomType, shapes.RawType)):
                raise TypeError(f"{hint!r} is no type of JSON")
        except Exception as error:  # whatever an annotation does when it is evaluated
            unread.append(f"{name}: {error}")
            return UNTYPED
        return UNTYPED if isinstance(hint, TypeVar) else hint

    argument, result = resolve(code.co_varnames[2]), resolve("return")
    return ActionTypes(argument=argument, result=result, unread=tuple(unread))


def _annotations(function: Any) -> Mapping[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib  # new in 3.14

        return annotationlib.get_annotations(function, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(function)
