"""What each route's channels carry: the one description that every format is written from.

In: the registered channel classes. Out: their routes with names, types and methods.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Mapping
from typing import Any

from ..channels import OWN_CHANNELS_PREFIX, Channel, ChannelRegistry, UserChannel
from ..payload_types import UNTYPED, ActionTypes, Event
from ..protocol.names import Placeholder, Route


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DescribedRoute:
    """A route, and what its channels carry.

    Args:
        route: the route.
        channel_class: its class.
        messages: the type of what subscribers get, by event.
        open: whether there may be other messages, with any payload.
        published: the type of what clients may publish, by event; ``UNTYPED`` for any payload.
        actions: the types of the methods that clients may call, by their names on the wire.
        parameters: the type of a subscriber's parameters, or ``UNTYPED``.
    """

    route: Route
    channel_class: type[Channel]
    messages: Mapping[Event, Any]
    open: bool
    published: Mapping[Event, Any]
    actions: Mapping[str, ActionTypes]
    parameters: Any

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """The parts of the name that differ from channel to channel."""
        return tuple(part for part in self.route.parts if isinstance(part, Placeholder))

    @property
    def regex(self) -> str:
        """A regular expression of ECMA-262 that matches the names, and no others."""
        texts = (
            part.replace(".", r"\.") if isinstance(part, str) else f"(?:{part.regex})"
            for part in self.route.parts
        )
        return f"^{''.join(texts)}$"

    @property
    def description(self) -> str:
        """What the class says of itself, or nothing."""
        if self.channel_class is UserChannel:
            return "A user's own channel."
        return inspect.cleandoc(self.channel_class.__doc__ or "")


def crosses_segments(placeholder: Placeholder) -> bool:
    """Whether the text may contain slashes."""
    return re.fullmatch(placeholder.regex, "a/b") is not None


def describe(registry: ChannelRegistry) -> list[DescribedRoute]:
    """Describe every route of the site's, in the order in which they are tried."""
    return [
        _describe(route, channel_class)
        for route, channel_class in registry.routes()
        if not route.pattern.startswith(OWN_CHANNELS_PREFIX)
    ]


def _describe(route: Route, channel_class: type[Channel]) -> DescribedRoute:
    types = channel_class.payload_types
    declared = channel_class.parameters_type
    return DescribedRoute(
        route=route,
        channel_class=channel_class,
        messages={} if types is None else types.published,
        open=types is None or not types.closed,
        published=_published_by_clients(channel_class),
        actions={
            name: channel_class.action_types(attribute)
            for name, attribute in channel_class.actions.items()
        },
        parameters=UNTYPED if declared is None else declared,
    )


def _published_by_clients(channel_class: type[Channel]) -> dict[Event, Any]:
    if not channel_class.overrides("can_publish"):
        return {}
    types = channel_class.payload_types
    events = (None, *channel_class.client_events, *channel_class.transient_events)
    found: dict[Event, Any] = {}
    for event in events:
        if types is None:
            found[event] = UNTYPED
        elif event in types.given:
            found[event] = types.given[event]
        elif event in types.published:
            found[event] = types.published[event]
        elif not types.closed:
            found[event] = UNTYPED
    return found
