"""Channel names: their grammar, the quoting of text in them, and the routes that match them.

Who calls: the dialects (grammar of what a client sent), ``channels`` (routes) and sites (``quote``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from ..errors import BadChannel

MAX_NAME_LENGTH = 200
"""The longest channel name, in characters (the wire protocol, "Channels")."""

_NAME = re.compile(r"[A-Za-z0-9_\-.:/@=]{1,200}", re.ASCII)
_QUOTED = re.compile(rb"=([0-9A-F]{2})")
_UNQUOTED = re.compile(r"[^A-Za-z0-9_\-.:@=]|=(?=[0-9A-F]{2})")
_PARAMETER = re.compile(r"<(?:(?P<converter>[^>:]+):)?(?P<parameter>[^>]+)>")


def is_name(name: object) -> bool:
    """Whether ``name`` is a channel name: 1 to 200 ASCII characters of ``A-Z a-z 0-9 _-.:/@=``."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def check_name(name: object) -> str:
    """Return ``name`` if it is a channel name.

    Raises:
        BadChannel: it is not a channel name; the reason says what is allowed.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    got = repr(name[:60]) if isinstance(name, str) else f"a value of type {type(name).__name__}"
    raise BadChannel(
        f"channel {got} is not a name; expected 1 to {MAX_NAME_LENGTH} characters"
        " of A-Z a-z 0-9 _ - . : / @ ="
    )


def quote(value: object) -> str:
    """Return any text as one segment of a channel name.

    ``A-Z a-z 0-9 _ - . : @`` stay as they are. Any other character, ``/`` among them, becomes ``=`` and two
    upper-case hexadecimal digits for each byte of its UTF-8 encoding (the encoding of RFC 2045, section 6.7).
    A ``=`` that could be taken for such an escape is escaped too. Different texts have different results.

    Args:
        value: converted by ``str``, for example a primary key.

    >>> quote("jürgen"), quote("a/b:c"), quote("ann@example.com")
    ('j=C3=BCrgen', 'a=2Fb:c', 'ann@example.com')
    """
    return _UNQUOTED.sub(_escape, str(value))


def _escape(match: re.Match[str]) -> str:
    # "surrogatepass": a lone surrogate, which UTF-8 cannot encode, must not make quote() fail.
    return "".join(f"={byte:02X}" for byte in match.group().encode("utf-8", "surrogatepass"))


def unquote(segment: str) -> str:
    """Return the text that ``quote`` was given.

    Raises:
        ValueError: ``segment`` is not what ``quote`` returns for any text. Therefore one text has one name.
    """
    raw = _QUOTED.sub(lambda match: bytes.fromhex(match[1].decode()), segment.encode())
    text = raw.decode("utf-8", "surrogatepass")
    if quote(text) != segment:
        raise ValueError(
            f"{segment[:60]!r} is not quoted text; expected what quote({text[:60]!r}) returns"
        )
    return text


class QuotedConverter:
    """The path converter ``quoted``: one segment of a channel name, which the hook sees unquoted."""

    regex = "[^/]+"

    def to_python(self, value: str) -> str:
        """Return the unquoted text; raises ``ValueError`` if it was not quoted by ``quote``."""
        return unquote(value)


class Converter(Protocol):
    """A Django path converter."""

    regex: str

    def to_python(self, value: str) -> Any: ...


class Placeholder(NamedTuple):
    """A part of a pattern that matches text: its name, its converter's name, and what that matches."""

    name: str
    converter: str
    regex: str


class Route:
    """A pattern of channel names, such as ``orders/<int:order_id>``. It must match the whole name.

    Args:
        pattern: literal text and ``<converter:parameter>`` parts. The default converter is ``str``.
        converters: the path converters by name (Django's, and those that the site registered).

    Raises:
        ValueError: the pattern is malformed; the message says where.
    """

    __slots__ = ("_converters", "_regex", "parts", "pattern")

    parts: tuple[str | Placeholder, ...]
    """The pattern's literal texts and placeholders, in order."""

    def __init__(self, pattern: str, converters: Mapping[str, Converter]) -> None:
        self.pattern = pattern
        self._converters: dict[str, Converter] = {}
        self._regex = re.compile(self._translate(pattern, converters))

    def _translate(self, pattern: str, converters: Mapping[str, Converter]) -> str:
        if not pattern or pattern.startswith("/") or pattern.endswith("/"):
            raise ValueError(
                f"channel route {pattern!r} is empty or begins or ends with '/';"
                " expected a name such as 'orders/<int:order_id>'"
            )
        parts: list[str | Placeholder] = []
        position = 0
        for match in _PARAMETER.finditer(pattern):
            parts.append(self._literal(pattern[position : match.start()]))
            position = match.end()
            parameter = match["parameter"]
            if not parameter.isidentifier():
                raise ValueError(
                    f"channel route {pattern!r}: parameter {parameter!r} is not an identifier"
                )
            if parameter in self._converters:
                raise ValueError(f"channel route {pattern!r}: parameter {parameter!r} is repeated")
            name = match["converter"] or "str"
            if name not in converters:
                raise ValueError(
                    f"channel route {pattern!r}: unknown converter {name!r};"
                    f" expected one of {', '.join(sorted(converters))}"
                )
            self._converters[parameter] = converters[name]
            parts.append(Placeholder(parameter, name, converters[name].regex))
        parts.append(self._literal(pattern[position:]))
        self.parts = tuple(part for part in parts if part)
        return "".join(
            re.escape(part) if isinstance(part, str) else f"(?P<{part.name}>{part.regex})"
            for part in self.parts
        )

    def _literal(self, text: str) -> str:
        if text and not is_name(text):
            raise ValueError(
                f"channel route {self.pattern!r}: {text!r} has characters that no name may have;"
                " allowed are A-Z a-z 0-9 _ - . : / @ ="
            )
        return text

    def match(self, name: str) -> dict[str, Any] | None:
        """Return the converted parameters if the whole ``name`` matches, else None."""
        texts = self.texts(name)
        return None if texts is None else self.converted(texts)

    def texts(self, name: str) -> dict[str, str] | None:
        """Return the texts of the parameters if the whole ``name`` matches, else None; always the same."""
        match = self._regex.fullmatch(name)
        return None if match is None else match.groupdict()

    def converted(self, texts: Mapping[str, str]) -> dict[str, Any] | None:
        """Return the converted parameters; None if a converter, which is the site's, refuses its text."""
        try:
            return {key: self._converters[key].to_python(text) for key, text in texts.items()}
        except ValueError:  # by Django's rule, a converter raises it if the value does not match
            return None

    def __repr__(self) -> str:
        return f"<Route {self.pattern!r}>"


def namespaced(namespace: str, name: str) -> str:
    """A user's key, told apart from the same key in another namespace."""
    return f"{namespace}|{name}" if namespace else name


def channel_key(namespace: str, channel: str) -> str:
    """A channel, told apart from that of the same name in another namespace; no name contains ``|``.

    The package's own channels are in no namespace.
    """
    return channel if channel.startswith("realtime/") else namespaced(namespace, channel)


def split_key(key: str) -> tuple[str, str]:
    """The namespace and the channel of what ``channel_key`` returned."""
    namespace, bar, channel = key.partition("|")
    return (namespace, channel) if bar else ("", key)


def is_key(key: object) -> bool:
    """Whether this is what ``channel_key`` returns: a channel's name, perhaps with its namespace."""
    if not isinstance(key, str):
        return False
    namespace, bar, channel = key.partition("|")
    return is_name(channel) and is_namespace(namespace) if bar else is_name(key)


def is_namespace(namespace: object) -> bool:
    """Whether this is a namespace: 1 to 63 characters of ``A-Z a-z 0-9 _ - .``."""
    return isinstance(namespace, str) and _NAMESPACE.fullmatch(namespace) is not None


_NAMESPACE = re.compile(r"[A-Za-z0-9_.\-]{1,63}", re.ASCII)
