"""A TypeScript interface of a site's routes, which types ``client.subscribe("orders/42", …)``.

What it consists of is said in ``js/src/types.d.ts``. What clients get has all fields; what they send may leave out
those with a default. A type that is used both ways, and has such fields, is written twice.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import NODEFAULT
from msgspec import inspect as shapes

from ..errors import ImproperUse
from ..payload_types import UNTYPED, Event, type_name
from .routes import DescribedRoute, crosses_segments

_ANY_MESSAGE = "{ event?: string; payload?: any }"

_HEAD = """\
// Written by `manage.py realtime_schema --format typescript`; do not edit.
// connect<Routes>() types the client by it.
"""

_SESSION_CHANNEL = """\
  "realtime/sessions/<digest>": {
    name: `realtime/sessions/${string}`;
    messages: { event?: string; payload?: any };
    publish: never;
    actions: {};
    parameters: any;
  };
"""

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*", re.ASCII)


def typescript(routes: Iterable[DescribedRoute]) -> str:
    """The interface ``Routes``, and those of the payloads' types.

    Raises:
        ImproperUse: a type has a field that JSON has no form for.
    """
    routes = list(routes)
    first = _Types(frozenset())
    for route in routes:
        _entry(route, first)
    writer = _Types(first.received)  # now it is known which types are used both ways
    entries = "".join(_entry(route, writer) for route in routes)
    declarations = "".join(f"\n{text}" for text in writer.declarations.values())
    return f"{_HEAD}{declarations}\nexport interface Routes {{\n{entries}{_SESSION_CHANNEL}}}\n"


def _entry(route: DescribedRoute, writer: _Types) -> str:
    messages = _messages(route.messages, writer, sent=False)
    if route.open:
        messages.append(_ANY_MESSAGE)
    lines = [f"name: {_template(route)};"]
    if any(map(crosses_segments, route.placeholders)):
        lines.append("path: true;")
    lines.append(f"messages:{_union(messages)};")
    lines.append(f"publish:{_union(_messages(route.published, writer, sent=True))};")
    lines += _actions(route, writer)
    lines.append(f"parameters: {_parameters(route.parameters, writer)};")
    body = "".join(f"    {line}\n" for line in lines)
    return f"{_comment(route.description, '  ')}  {_quoted(route.route.pattern)}: {{\n{body}  }};\n"


def _template(route: DescribedRoute) -> str:
    if not route.placeholders:
        return _quoted(route.route.pattern)
    texts = (
        part if isinstance(part, str) else "${number}" if part.converter == "int" else "${string}"
        for part in route.route.parts
    )
    return f"`{''.join(texts)}`"


def _messages(types: Mapping[Event, Any], writer: _Types, *, sent: bool) -> list[str]:
    return [
        f"{{ {'event?: undefined' if event is None else f'event: {_quoted(event)}'};"
        f" payload: {writer.of(kind, sent=sent)} }}"
        for event, kind in types.items()
    ]


def _actions(route: DescribedRoute, writer: _Types) -> list[str]:
    if not route.actions:
        return ["actions: {};"]
    methods = (
        f"  {_key(name)}: {{ payload: {writer.of(types.argument, sent=True)};"
        f" result: {writer.of(types.result, sent=False)} }};"
        for name, types in route.actions.items()
    )
    return ["actions: {", *methods, "};"]


def _parameters(kind: Any, writer: _Types) -> str:
    written = writer.of(kind, sent=True)
    if kind is UNTYPED:
        return written
    fields = getattr(shapes.type_info(kind), "fields", ())
    return written if any(field.required for field in fields) else f"{written} | undefined"


def _union(members: list[str]) -> str:
    if len(members) < 2:
        return f" {members[0] if members else 'never'}"
    return "".join(f"\n      | {member}" for member in members)


class _Types:
    """Writes types, and collects the declarations of those that have a name.

    Args:
        received: the classes that clients get: what they send of these is called ``…Input``.
    """

    def __init__(self, received: frozenset[Any]) -> None:
        self.declarations: dict[str, str] = {}
        self._received = received
        self._names: dict[tuple[Any, bool], str] = {}

    @property
    def received(self) -> frozenset[Any]:
        """The classes of what clients get, as far as it was written."""
        return frozenset(kind for kind, sent in self._names if not sent)

    def of(self, kind: Any, *, sent: bool) -> str:
        """Write a type.

        Args:
            kind: the Python type.
            sent: whether clients send it: then fields with a default may be left out.

        Raises:
            ImproperUse: it cannot be read.
        """
        if kind is UNTYPED:
            return "any"
        try:
            shape = shapes.type_info(kind)
        except Exception as error:  # whatever an annotation does when it is evaluated
            raise ImproperUse(
                f"the declared type {type_name(kind)} has no schema: {str(error).splitlines()[-1]};"
                " `manage.py check` names it (E041)"
            ) from error
        return self._write(shape, sent)

    def _write(self, shape: Any, sent: bool) -> str:
        match shape:
            case shapes.Metadata():
                return self._write(shape.type, sent)
            case shapes.NoneType():
                return "null"
            case shapes.BoolType():
                return "boolean"
            case shapes.IntType() | shapes.FloatType():
                return "number"
            case shapes.EnumType():
                return " | ".join(json.dumps(member.value) for member in shape.cls)
            case shapes.LiteralType():
                return " | ".join(json.dumps(value) for value in shape.values)
            case shapes.UnionType():
                members = dict.fromkeys(self._write(member, sent) for member in shape.types)
                return " | ".join(members)
            case shapes.DictType():
                return f"{{ [key: string]: {self._write(shape.value_type, sent)} }}"
            case shapes.TupleType():
                return f"[{', '.join(self._write(kind, sent) for kind in shape.item_types)}]"
            case shapes.CollectionType():
                return f"Array<{self._write(shape.item_type, sent)}>"
            case shapes.NamedTupleType():
                return self._row(shape, sent)
            case shapes.StructType() if shape.array_like:
                return self._row(shape, sent)
            case shapes.StructType() | shapes.DataclassType() | shapes.TypedDictType():
                return self._named(shape, sent)
            case shapes.AnyType() | shapes.RawType() | shapes.CustomType() | shapes.ExtType():
                return "unknown"
            case _:  # text, dates, Decimal, UUID, and bytes in base64
                return "string"

    def _row(self, shape: Any, sent: bool) -> str:
        """An object that is an array on the wire. A client may leave out the last fields with a default."""
        items = [] if getattr(shape, "tag", None) is None else [json.dumps(shape.tag)]
        for field in shape.fields:
            kind = self._write(field.type, sent)
            missing = sent and not field.required
            items.append(f"({kind})?" if missing and "|" in kind else kind + "?" * missing)
        return f"[{', '.join(items)}]"

    def _named(self, shape: Any, sent: bool) -> str:
        """The name of an object's type, which is declared when it is first met."""
        key = (shape.cls, sent)
        if key in self._names:
            return self._names[key]
        if sent and shape.cls in self._received and not _leaves_out(shape, set()):
            return self._named(shape, False)
        name = self._names[key] = self._free(
            shape.cls, "Input" if sent and shape.cls in self._received else ""
        )
        self.declarations[name] = ""  # its place; it may refer to itself
        lines = []
        if getattr(shape, "tag_field", None) is not None:
            lines.append(f"{_key(shape.tag_field)}: {json.dumps(shape.tag)};")
        for field in shape.fields:
            optional = "?" if _may_be_missing(shape, field, sent) else ""
            kind = self._write(field.type, sent)
            lines.append(f"{_key(field.encode_name)}{optional}: {kind};")
        body = "".join(f"  {line}\n" for line in lines)
        comment = _comment(_description(shape.cls), "")
        self.declarations[name] = f"{comment}export interface {name} {{\n{body}}}\n"
        return name

    def _free(self, kind: type, suffix: str) -> str:
        base = re.sub(r"\W+", "_", type_name(kind), flags=re.ASCII).strip("_") or "Payload"
        if base in ("Routes", "Array") or base.islower():  # this file's own, and TypeScript's
            base += "Payload"
        name, number = f"{base}{suffix}", 1
        while name in self.declarations:
            number += 1
            name = f"{base}{number}{suffix}"
        return name


_OBJECTS = (
    shapes.StructType,
    shapes.DataclassType,
    shapes.TypedDictType,
    shapes.NamedTupleType,
)


def _may_be_missing(shape: Any, field: Any, sent: bool) -> bool:
    if sent or isinstance(shape, shapes.TypedDictType):
        return not field.required
    return not field.required and field.default is NODEFAULT and field.default_factory is NODEFAULT


def _leaves_out(shape: Any, seen: set[Any]) -> bool:
    """Whether a client may leave out a field that it gets, here or in what this consists of."""
    if isinstance(shape, _OBJECTS):
        if shape.cls in seen:
            return False
        seen.add(shape.cls)
        return any(
            _may_be_missing(shape, field, True) != _may_be_missing(shape, field, False)
            or _leaves_out(field.type, seen)
            for field in shape.fields
        )
    parts: list[Any] = [
        *getattr(shape, "types", ()),
        *getattr(shape, "item_types", ()),
        *(
            getattr(shape, name)
            for name in ("type", "item_type", "value_type")
            if hasattr(shape, name)
        ),
    ]
    return any(_leaves_out(part, seen) for part in parts)


def _description(kind: Any) -> str:
    text = inspect.cleandoc(getattr(kind, "__doc__", None) or "")
    return (
        "" if text.startswith(f"{type_name(kind)}(") else text
    )  # which dataclasses write themselves


def _comment(text: str, indent: str) -> str:
    if not text:
        return ""
    lines = text.replace("*/", "*\\/").split("\n\n")[0].splitlines()
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    body = "".join(f"{indent} * {line}".rstrip() + "\n" for line in lines)
    return f"{indent}/**\n{body}{indent} */\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _key(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else _quoted(name)
