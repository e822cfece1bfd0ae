"""An AsyncAPI 3.0 document of a site's channels, as the frames that go over the WebSocket.

The document is written from the site's side, as AsyncAPI has it: ``send`` is what the site sends to
subscribers, ``receive`` is what clients send to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings

from ..config import Config
from ..errors import ImproperUse
from ..payload_types import UNTYPED, Event
from .json_schema import Schema, components, message_frame, open_frame, publish_frame
from .routes import DescribedRoute

_AUTH = "channels_realtime.auth"


def asyncapi(
    routes: Iterable[DescribedRoute],
    *,
    config: Config,
    title: str,
    version: str = "1.0.0",
    server: str | None = None,
) -> Schema:
    """The document.

    Args:
        routes: what is described.
        config: the site's settings, for its credentials.
        title: the document's title.
        version: of the site's interface.
        server: the address of the WebSocket, such as ``wss://example.com/ws/``; None for no servers.

    Raises:
        ImproperUse: ``server`` is no such address, or a type has a field that JSON has no form for.
    """
    routes = list(routes)
    types = [kind for route in routes for _, kind in _types(route)]
    schemas, definitions = components(types, "#/components/schemas/{name}")
    remaining = iter(schemas)
    channels: Schema = {}
    operations: Schema = {}
    for route in routes:
        found = {place: next(remaining) for place, _ in _types(route)}
        name = _free(_slug(_address(route)), channels)
        channels[name] = _Channel(name, route, found).write(operations)
    schemes = dict(_security_schemes(config))
    document: Schema = {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version},
        "defaultContentType": "application/json",
    }
    if server is not None:
        document["servers"] = {"default": _server(server, schemes)}
    document["channels"] = channels
    document["operations"] = operations
    document["components"] = {"schemas": definitions, "securitySchemes": schemes}
    written: Schema = _as_asyncapi(document)
    return written


_Place = tuple[str, Any]


def _types(route: DescribedRoute) -> Iterator[tuple[_Place, Any]]:
    """Every type of a route, with its place."""
    for event, kind in route.messages.items():
        yield ("message", event), kind
    for event, kind in route.published.items():
        yield ("publish", event), kind
    for method, types in route.actions.items():
        yield ("call", method), types.argument
        yield ("result", method), types.result
    yield ("subscribe", None), route.parameters


class _Channel:
    """Writes a route's channel with its messages, and the operations on it."""

    def __init__(self, name: str, route: DescribedRoute, schemas: Mapping[_Place, Schema]) -> None:
        self._name = name
        self._route = route
        self._schemas = schemas
        self._messages: Schema = {}

    def write(self, operations: Schema) -> Schema:
        route = self._route
        sent = [
            self._add(_named("message", event), message_frame(route, event, payload))
            for event, payload in self._of("message")
        ]
        if route.open:
            sent.append(self._add("any_message", open_frame(route)))
        self._operate(operations, "messages", "send", sent)
        if route.parameters is not UNTYPED:
            frame = self._request("subscribe", {"payload": self._schemas["subscribe", None]})
            self._operate(operations, "subscribe", "receive", [self._add("subscribe", frame)])
        published = [
            self._add(_named("publish", event), publish_frame(route, event, payload))
            for event, payload in self._of("publish")
        ]
        if published:
            self._operate(operations, "publish", "receive", published)
        for method, payload in self._of("call"):
            fields = {"method": {"const": method}, "payload": payload}
            asked = self._add(_named("call", method), self._request("call", fields))
            result = self._request("result", {"payload": self._schemas["result", method]})
            answer = self._add(_named("result", method), result)
            self._operate(operations, _named("call", method), "receive", [asked], answer)
        channel: Schema = {"address": _address(route), "title": route.channel_class.__name__}
        if route.description:
            channel["description"] = route.description
        if route.placeholders:
            channel["parameters"] = {
                part.name: {"description": f"Matches {part.regex} ({part.converter})."}
                for part in route.placeholders
            }
        return {**channel, "messages": self._messages}

    def _of(self, kind: str) -> Iterator[tuple[Any, Schema]]:
        for (place, name), schema in self._schemas.items():
            if place == kind:
                yield name, schema

    def _add(self, name: str, frame: Schema) -> Schema:
        name = _free(name, self._messages)
        message: Schema = {"name": name, "payload": frame}
        if "id" in frame["properties"]:
            message["correlationId"] = {"location": "$message.payload#/id"}
        self._messages[name] = message
        return {"$ref": f"#/channels/{self._name}/messages/{name}"}

    def _request(self, kind: str, fields: Schema) -> Schema:
        return {
            "title": f"{self._route.channel_class.__name__}: {kind}",
            "type": "object",
            "properties": {
                "type": {"const": kind},
                "id": {"type": ["string", "integer"]},
                "channel": {"type": "string", "pattern": self._route.regex},
                **fields,
            },
            "required": ["type", "id", "channel"],
        }

    def _operate(
        self,
        operations: Schema,
        name: str,
        action: str,
        messages: list[Schema],
        answer: Schema | None = None,
    ) -> None:
        channel = {"$ref": f"#/channels/{self._name}"}
        operation: Schema = {"action": action, "channel": channel, "messages": messages}
        if answer is not None:
            operation["reply"] = {"channel": channel, "messages": [answer]}
        operations[_free(f"{self._name}.{name}", operations)] = operation


def _address(route: DescribedRoute) -> str:
    return "".join(
        part if isinstance(part, str) else f"{{{part.name}}}" for part in route.route.parts
    )


def _named(kind: str, name: Event) -> str:
    return kind if name is None else f"{kind}.{_slug(name)}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "_"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _server(url: str, schemes: Schema) -> Schema:
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.netloc:
        raise ImproperUse(f"server is {url!r}; expected an address such as 'wss://example.com/ws/'")
    server: Schema = {"host": parts.netloc, "protocol": parts.scheme}
    if parts.path:
        server["pathname"] = parts.path
    if schemes:
        server["security"] = [{"$ref": f"#/components/securitySchemes/{name}"} for name in schemes]
    return server


def _security_schemes(config: Config) -> Iterator[tuple[str, Schema]]:
    accepted = set(config.authenticators)
    tokens = config.token_verifier is not None
    if f"{_AUTH}.tokens.HeaderToken" in accepted and tokens:
        yield "bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    if f"{_AUTH}.tickets.Ticket" in accepted:
        yield "ticket", {"type": "httpApiKey", "name": "ticket", "in": "query"}
    if f"{_AUTH}.tokens.QueryToken" in accepted and tokens and config.query_token:
        yield "queryToken", {"type": "httpApiKey", "name": "token", "in": "query"}
    if f"{_AUTH}.tokens.CookieToken" in accepted and tokens and config.jwt_cookie:
        yield "tokenCookie", {"type": "httpApiKey", "name": config.jwt_cookie, "in": "cookie"}
    if f"{_AUTH}.login_session.LoginSession" in accepted:
        name = django_settings.SESSION_COOKIE_NAME
        yield "loginSession", {"type": "httpApiKey", "name": name, "in": "cookie"}


def _as_asyncapi(node: Any) -> Any:
    """AsyncAPI's own schemas are those of JSON Schema draft 7: tuples and discriminators are other."""
    if isinstance(node, list):
        return [_as_asyncapi(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {name: _as_asyncapi(item) for name, item in node.items()}
    if "prefixItems" in found:
        found["additionalItems"] = found.pop("items", True)
        found["items"] = found.pop("prefixItems")
    discriminator = found.get("discriminator")
    if isinstance(discriminator, dict) and "propertyName" in discriminator:
        found["discriminator"] = discriminator["propertyName"]
    return found
