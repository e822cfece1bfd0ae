"""Payloads: converts any value to JSON types that every codec can encode.

In: a Python value from a view, a signal or a task, or what a codec decoded from a client's frame.
Out: the same value as ``None, bool, int, float, str, bytes, list, dict`` with string keys. It is
checked once, so that no subscriber's codec can fail on it later.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from typing import Any

import msgspec

from ..errors import BadPayload

DEFAULT_MAX_DEPTH = 32
"""How deep containers may be nested. It bounds the recursion; pages need no more."""

MIN_INTEGER = -(2**63)
MAX_INTEGER = 2**64 - 1
"""The range of integers in MessagePack (its specification, "int format family")."""

Convert = Callable[[Any], Any]
"""Converts a value of another type to one of the JSON types, or raises TypeError."""


def _refuse(value: Any) -> Any:
    raise TypeError


def normalise(value: Any, *, convert: Convert = _refuse, max_depth: int = DEFAULT_MAX_DEPTH) -> Any:
    """Return ``value`` in JSON types.

    Enums become their values, dataclasses and ``msgspec.Struct`` become objects, tuples become arrays, and keys become
    strings as in ``json.dumps``. Bytes stay bytes: MessagePack has them, JSON gets base64.

    Args:
        value: the value to publish.
        convert: converts further types (dates, decimals, lazy strings), or raises TypeError.
        max_depth: how deep containers may be nested.

    Raises:
        BadPayload: a value cannot be encoded; the reason names its path.
    """
    try:
        return _normalise(value, convert, max_depth)
    except _Refused as refused:
        path = "payload" + "".join(reversed(refused.path))
        raise BadPayload(f"{path[:120]}: {refused}") from None


class _Refused(Exception):
    """Collects the path to the value while it is raised through the containers, so success costs nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[str] = []


def _normalise(value: Any, convert: Convert, room: int) -> Any:
    kind = type(value)
    if kind is str:
        return value if value.isascii() else _text(value)
    if value is None or kind is bool or kind is bytes:
        return value
    if kind is int:
        return _integer(value)
    if kind is float:
        return _number(value)
    if kind is dict:
        return _object(value, convert, room)
    if kind is list or kind is tuple:
        return _array(value, convert, room)
    return _other(value, convert, room)


def _object(value: dict[Any, Any], convert: Convert, room: int) -> dict[str, Any]:
    if room <= 0:
        raise _Refused("nested too deeply")
    result: dict[str, Any] = {}
    for key, item in value.items():
        name = key if type(key) is str and key.isascii() else _key(key, convert)
        if name in result:
            raise _Refused(f"two keys become {name!r}")
        try:
            result[name] = _normalise(item, convert, room - 1)
        except _Refused as refused:
            refused.path.append(f".{name}")
            raise
    return result


def _array(value: Any, convert: Convert, room: int) -> list[Any]:
    if room <= 0:
        raise _Refused("nested too deeply")
    result = []
    for item in value:
        try:
            result.append(_normalise(item, convert, room - 1))
        except _Refused as refused:
            refused.path.append(f"[{len(result)}]")
            raise
    return result


def _key(key: Any, convert: Convert) -> str:
    if key is True or key is False or key is None:
        return {True: "true", False: "false", None: "null"}[key]  # as json.dumps
    if isinstance(key, enum.Enum):
        return _key(key.value, convert)
    if isinstance(key, str):
        return _text(str.__str__(key))
    if isinstance(key, (int, float)):
        return str(key)
    try:
        converted = convert(key)
    except TypeError:
        converted = None
    if not isinstance(converted, str):
        raise _Refused(f"a key of type {_type_name(key)} cannot be encoded; expected text")
    return _text(str.__str__(converted))


def _other(value: Any, convert: Convert, room: int) -> Any:
    if isinstance(value, enum.Enum):
        return _normalise(value.value, convert, room)
    if isinstance(value, str):
        return _text(str.__str__(value))  # str(SafeString) would still be a SafeString
    if isinstance(value, int):
        return _integer(int(value))
    if isinstance(value, float):
        return _number(float(value))
    if isinstance(value, dict):
        return _object(value, convert, room)
    if isinstance(value, (list, tuple)):
        return _array(value, convert, room)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        given = {name: item for name, item in fields.items() if item is not msgspec.UNSET}
        return _object(given, convert, room)
    if isinstance(value, msgspec.Struct):
        return _struct(value, convert, room)
    try:
        converted = convert(value)
    except TypeError:
        raise _Refused(
            f"a value of type {_type_name(value)} cannot be encoded; expected JSON types, dates,"
            " times, Decimal, UUID, enums, dataclasses or lazy strings"
            " (make a list or dict of anything else first)"
        ) from None
    if room <= 0:
        raise _Refused("nested too deeply")
    return _normalise(converted, convert, room - 1)


def _struct(value: msgspec.Struct, convert: Convert, room: int) -> Any:
    """A Struct as msgspec encodes it: with its tag and its encoded names, without ``msgspec.UNSET``."""
    if room <= 0:
        raise _Refused("nested too deeply")
    config = value.__struct_config__
    if config.array_like:
        fields = [getattr(value, name) for name in value.__struct_fields__]
        return _array(fields if config.tag is None else [config.tag, *fields], convert, room)
    result: dict[str, Any] = {} if config.tag_field is None else {config.tag_field: config.tag}
    names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
    for name, wire in names:
        item = getattr(value, name)
        if item is msgspec.UNSET:
            continue
        try:
            result[wire] = _normalise(item, convert, room - 1)
        except _Refused as refused:
            refused.path.append(f".{wire}")
            raise
    return result


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _Refused("text with a lone surrogate is not Unicode") from None
    return value


def _integer(value: int) -> int:
    if MIN_INTEGER <= value <= MAX_INTEGER:
        return value
    raise _Refused(
        f"an integer of {value.bit_length()} bits cannot be encoded;"
        " expected -2**63 to 2**64 - 1 (send it as text)"
    )


def _number(value: float) -> float:
    if math.isfinite(value):
        return value
    raise _Refused(f"{value} cannot be encoded; JSON has finite numbers only")
