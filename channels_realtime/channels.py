"""The channel classes that a site writes in its apps' ``realtime.py``, and their routes.

In: a channel's name, from a client or a publisher. Out: an instance of the class with the matching
route. It decides who may subscribe, publish and call.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, ClassVar, TypeVar, overload

from django.urls.converters import get_converters
from django.utils.module_loading import autodiscover_modules

from .errors import BadPayload, ImproperUse, UnknownChannel
from .hook_client import Client
from .payload_types import (
    ActionTypes,
    PayloadTypes,
    action_types,
    check_parameters_type,
    payload_types,
    read,
)
from .protocol.frames import Policy
from .protocol.names import (
    MAX_NAME_LENGTH,
    QuotedConverter,
    Route,
    channel_key,
    check_name,
    quote,
    unquote,
)
from .protocol.selection import ALL, Selection, selection_of
from .runtime.encoding import normalise_payload
from .stores.history.base import History
from .stores.presence.base import Presence

USER_CHANNEL_PREFIX = "users/"
"""Reserved: ``users/<id>`` is every user's own channel."""

USER_PATTERN = USER_CHANNEL_PREFIX + "<user_id>"
"""The one pattern there, for a subclass of ``UserChannel``."""

_HASHED = "=FF"

_REMEMBERED_NAMES = 4_096
"""Names whose routes are remembered, some 500 bytes each; those not asked for the longest go first."""

OWN_CHANNELS_PREFIX = "realtime/"
"""Channels of the package itself, such as the one that updates the admin's list."""

SESSION_CHANNEL_PREFIX = OWN_CHANNELS_PREFIX + "sessions/"
"""``realtime/sessions/<digest>`` is a session's own channel."""

RESERVED_EVENT_PREFIX = "realtime."
"""Only the server may send events with this prefix."""


SHORT_HISTORY = History(size=100, ttl=300.0)
"""What a channel with state keeps that sets no history: enough for a client that reconnects."""

HOOKS: Mapping[str, tuple[str, ...]] = {
    "can_subscribe": ("connection",),
    "can_publish": ("connection",),
    "can_call": ("connection", "method"),
    "on_subscribe": ("connection",),
    "on_unsubscribe": ("connection",),
    "on_publish": ("connection", "payload", "event"),
    "sender": ("connection",),
    "inbox_users": (),
    "on_unacknowledged": ("user_id", "publications"),
}
"""The hooks of a channel class, and the arguments of each."""


class Channel:
    """A kind of channel. Subclass it in an app's ``realtime.py`` and put ``@register`` above.

    Each request about a channel gets a new instance, so instances keep no state. A hook is either
    a normal method, run in a bounded thread pool, or an ``async`` method, which must not block. It
    may raise the errors in ``channels_realtime.errors``, or Django's ``PermissionDenied``
    (``forbidden``), ``Http404`` (``unknown_channel``) and ``ValidationError`` (``bad_payload``).
    For any other exception, the client gets ``internal`` and the log a traceback.
    """

    public: ClassVar[bool] = False
    """Whether every connection may subscribe, unless ``can_subscribe`` is overridden."""

    select: ClassVar[str | None] = None
    """The payload key by which subscribers may filter. With ``"symbol"``, a subscriber with the
    parameters ``{"symbol": "AAPL"}`` gets only publications with that value in their payload."""

    messages: ClassVar[Any] = None
    """The types of published payloads, by event: ``{"status": StatusChanged, None: Note}``. The key None stands
    for messages without an event; a type alone means ``{None: type}``. Types are dataclasses,
    ``msgspec.Struct``, ``TypedDict`` or unions of them, or None for no payload. Payloads of another type, and
    other events, are ``bad_payload``. By default nothing is declared, and any payload is accepted."""

    undeclared_events: ClassVar[bool] = False
    """Whether events that are not in ``messages`` may be published too, with any payload."""

    parameters_type: ClassVar[Any] = None
    """The type of a subscriber's parameters, such as a dataclass: ``self.parameters`` is then an instance of
    it, with its defaults, and other parameters are ``bad_payload``. None accepts any parameters."""

    client_events: ClassVar[Collection[str | None]] = ()
    """The event names that clients may use when they publish; by default none. As a mapping,
    ``{"note": NewNote, None: …}``, also the types of what clients publish, if they differ from ``messages``."""

    slow_policy: ClassVar[str | None] = None
    """What to do when a slow client's queue is full: ``"close"`` (close the connection with 4430),
    ``"drop_oldest"`` or ``"latest"`` (queue only the newest). None uses ``SLOW_POLICY``."""

    publish_rate: ClassVar[tuple[float, float] | None] = None
    """How much one connection may publish here: (messages per second, burst). The settings' limits
    apply too."""

    permission_lifetime: ClassVar[float | None] = 5.0
    """How long, in seconds, a connection may go on publishing here without ``can_publish`` being asked
    again. A refusal is never kept, and a ``recheck()``, a revocation or another user ends it at once. 0 or
    None asks at every publication."""

    max_payload_bytes: ClassVar[int | None] = None
    """The largest payload in bytes that a client may publish here; below ``MAX_PAYLOAD_BYTES``."""

    history: ClassVar[History | None] = None
    """What is kept of the publications, ``History(size=100, ttl=3600)``; None keeps nothing, and what is
    published while a client is away is gone."""

    state: ClassVar[str | None] = None
    """``"last"``: each new subscriber first gets the newest publication. ``"keyed"``: it gets the newest
    of each state key. None: no state. A channel with state has a history, by default a short one."""

    state_ttl: ClassVar[float | None] = None
    """Seconds after which the state of a key expires; None keeps it until it is replaced or removed."""

    versions: ClassVar[bool] = False
    """Whether publications may carry a ``version``, of which an older one is dropped."""

    presence: ClassVar[Presence | None] = None
    """Whether and how the channel tells who is on it, ``Presence(grace=5)``; None does not."""

    transient_events: ClassVar[Collection[str]] = ()
    """Event names that clients may publish without a trace, such as ``"typing"``: such a message is not
    kept in the history and has no offset. A mapping has their types, as for ``client_events``."""

    transient_rate: ClassVar[tuple[float, float]] = (5.0, 10.0)
    """How many transient messages one connection may publish here: (per second, burst)."""

    count_deliveries: ClassVar[bool] = False
    """Whether ``publish()`` waits for the number of connections that were told."""

    inbox: ClassVar[bool] = False
    """Whether the channel remembers what each user has acknowledged: a ``subscribe`` without a position
    then begins after it. Needs a ``history``. Anonymous clients have no inbox."""

    unacknowledged_after: ClassVar[float | None] = None
    """Seconds after which ``on_unacknowledged`` is called for a user of the inbox; None never does."""

    reauthorize_on_resume: ClassVar[bool] = True
    """Whether ``can_subscribe`` is asked again where a client resumes its session within
    ``RESUME_WINDOW``. False spares its queries, except after a ``recheck()`` or a revocation."""

    recheck_interval: ClassVar[float | None] = None
    """How often ``can_subscribe`` is checked again, in seconds; None checks only on ``recheck()``."""

    actions: ClassVar[Mapping[str, str]] = {}
    """The methods that clients may call, by their name on the wire. ``@action`` fills it."""

    payload_types: ClassVar[PayloadTypes | None] = None
    """The declared types, compiled from ``messages`` and the events above."""

    _action_types: ClassVar[dict[str, ActionTypes]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for option in ("client_events", "transient_events"):
            events = getattr(cls, option)
            if isinstance(events, str):
                raise ImproperUse(
                    f"{cls.__qualname__}.{option} is the text {events!r};"
                    f" expected names, such as ({events!r},)"
                )
        for hook in HOOKS:
            method = getattr(cls, hook)
            if not callable(method) and not (hook == "can_call" and method is None):
                raise ImproperUse(
                    f"{cls.__qualname__}.{hook} is {method!r}; expected a method. For a channel that"
                    " every connection may subscribe to: public = True"
                )
        if cls.state not in (None, "last", "keyed"):
            raise ImproperUse(
                f"{cls.__qualname__}.state is {cls.state!r}; expected 'last', 'keyed' or None"
            )
        if cls.state_ttl is not None and not (cls.state_ttl > 0 and cls.state is not None):
            raise ImproperUse(
                f"{cls.__qualname__}.state_ttl is {cls.state_ttl!r} with state = {cls.state!r};"
                " expected seconds greater than 0, for a state"
            )
        lifetime = cls.permission_lifetime
        if lifetime is not None and not (type(lifetime) in (int, float) and lifetime >= 0):
            raise ImproperUse(
                f"{cls.__qualname__}.permission_lifetime is {lifetime!r}; expected seconds, 0 or None"
            )
        if not isinstance(cls.history, (History, NoneType)):
            raise ImproperUse(
                f"{cls.__qualname__}.history is {cls.history!r}; expected History(size=…, ttl=…) or None"
            )
        if not isinstance(cls.presence, (Presence, NoneType)):
            raise ImproperUse(
                f"{cls.__qualname__}.presence is {cls.presence!r}; expected Presence(…) or None"
            )
        for hook, argument in (("members_info", "clients"), ("automatic", "connection")):
            if not isinstance(inspect.getattr_static(cls, hook), classmethod):
                raise ImproperUse(
                    f"{cls.__qualname__}.{hook} is no classmethod; expected @classmethod above"
                    f" def {hook}(cls, {argument})"
                )
        policies = [policy.value for policy in Policy]
        if cls.slow_policy is not None and cls.slow_policy not in policies:
            raise ImproperUse(
                f"{cls.__qualname__}.slow_policy is {cls.slow_policy!r};"
                f" expected {', '.join(map(repr, policies))} or None"
            )
        cls.payload_types = payload_types(
            cls.__qualname__,
            messages=cls.messages,
            client_events=cls.client_events,
            transient_events=cls.transient_events,
            undeclared_events=cls.undeclared_events,
        )
        check_parameters_type(cls.__qualname__, cls.parameters_type)
        actions = dict(cls.actions)
        for attribute, value in vars(cls).items():
            name = getattr(value, "_realtime_action", None)
            if name is not None:
                actions[name] = attribute
        cls.actions = actions
        cls._action_types = {}

    namespace: str = ""
    """The namespace of the connection that a hook is called for; ``""`` for none."""

    def __init__(self, name: str, kwargs: Mapping[str, Any], parameters: Any = None) -> None:
        self.name = name
        self.kwargs = kwargs
        self.parameters = parameters
        self.plain_parameters = parameters

    plain_parameters: Any
    """The parameters in JSON types, with the defaults of ``parameters_type``."""

    granted_by: str = ""
    """Who made the subscription that this instance stands for: ``""`` the client, which was asked for
    its right; ``"automatic"`` the class's ``automatic``; ``"operation"`` the site, by
    ``operations.subscribe``."""

    # -- rights ------------------------------------------------------------------------------------

    @classmethod
    def automatic(cls, connection: Client) -> Any:
        """The channels of this class that a connection is on from the start, without subscribing.

        Called when a connection is accepted, when it signs in, and by ``recheck(user=…)``, which then
        ends and makes subscriptions as the answer has changed. ``can_subscribe`` is not asked. A
        failure is logged, and the connection is accepted without these channels.

        Returns:
            names, at most ``MAX_SUBSCRIPTIONS``; a generator may yield them.
        """
        return ()

    @classmethod
    def is_automatic(cls) -> bool:
        """Whether the class overrides ``automatic``."""
        return getattr(cls.automatic, "__func__", None) is not _NOT_AUTOMATIC

    def can_subscribe(self, connection: Client) -> Any:
        """Whether the connection may subscribe; by default the value of ``public``."""
        return self.public

    def can_publish(self, connection: Client) -> Any:
        """Whether the connection may publish here; by default False."""
        return False

    can_call: ClassVar[Callable[[Any, Client, str], Any] | None] = None
    """Whether the connection may call ``method``; by default, if it may subscribe.
    Override it as ``def can_call(self, connection, method)``, sync or async."""

    # -- hooks -------------------------------------------------------------------------------------

    def on_subscribe(self, connection: Client) -> Any:
        """Called when subscribing is allowed, before the client gets the reply. Raise to refuse."""

    def on_unsubscribe(self, connection: Client) -> Any:
        """Called after a subscription has ended, for any reason."""

    def on_publish(self, connection: Client, payload: Any, event: str | None) -> Any:
        """Validate or transform a client's payload before it is published.

        Returns:
            The payload to publish.
        """
        return payload

    def inbox_users(self) -> Any:
        """The users whom the channel's publications are for, though they may never have subscribed.

        Called in ``publish()``, in sync and in async code, so it must not block: take them from
        ``self.kwargs``. Those who have subscribed are known anyway.

        Returns:
            users' primary keys.
        """
        return ()

    def on_unacknowledged(self, user_id: str, publications: Any) -> Any:
        """Called when a user has acknowledged nothing for ``unacknowledged_after`` seconds.

        Called once over all processes, by one that serves connections; again only where it failed, or its
        process has died meanwhile. Whether the user may still have them is for the hook to look up.

        Args:
            user_id: the user's primary key as text.
            publications: all that the user has not acknowledged, oldest first, without those of
                an earlier call; at most 1,000.
        """

    def sender(self, connection: Client) -> Any:
        """What other clients see of the publishing client, as ``sender``. None shows nothing."""
        return {"user": connection.user_id}

    @classmethod
    def members_info(cls, clients: Sequence[Client]) -> Any:
        """What others may see of members, by user id or connection id; by default nothing.

        Called for those who enter channels of this class, many at once, so that a query serves all::

            @classmethod
            def members_info(cls, clients):
                return {client.user_id: {"name": client.user.get_short_name()} for client in clients}

        Sync or async, like a hook. Where it fails, they are members without information.

        Args:
            clients: connections of one namespace, on whatever channels of the class.

        Returns:
            a dict of JSON types, at most 4,096 bytes each. Its keys are ``client.user_id``, or
            ``client.id`` for one connection; numbers count as their text.
        """
        return {}

    @classmethod
    def has_members_info(cls) -> bool:
        """Whether the class says something about members."""
        return cls.members_info.__func__ is not Channel.members_info.__func__  # type: ignore[attr-defined]

    # -- declared types ----------------------------------------------------------------------------

    @classmethod
    def action_types(cls, attribute: str) -> ActionTypes:
        """The types in the annotations of an ``@action`` method; evaluated on first use.

        Args:
            attribute: the method's name in the class.
        """
        found = cls._action_types.get(attribute)
        if found is None:
            found = cls._action_types[attribute] = action_types(cls, attribute)
        return found

    def read_parameters(self) -> None:
        """Convert ``self.parameters`` to ``parameters_type``.

        Raises:
            BadPayload: they are not of that type.
        """
        if self.parameters_type is not None:
            given = {} if self.parameters is None else self.parameters
            self.parameters = read(given, self.parameters_type)
            self.plain_parameters = normalise_payload(self.parameters)

    # -- selection ---------------------------------------------------------------------------------

    def subscriber_selection(self) -> Selection:
        """Return the subscriber's filter, from ``self.parameters``.

        Raises:
            BadPayload: the parameter has a type that cannot be filtered by.
        """
        if self.select is None or not isinstance(self.plain_parameters, dict):
            return ALL
        value = self.plain_parameters.get(self.select)
        if value is None:
            return ALL
        try:
            return selection_of(value)
        except TypeError as error:
            raise BadPayload(f"parameter {self.select!r}: {error}") from None

    @classmethod
    def publication_selection(cls, payload: Any) -> Selection:
        """Return the filter value that a payload matches, or ``ALL`` for none."""
        if cls.select is None or not isinstance(payload, dict):
            return ALL
        try:
            return selection_of(payload.get(cls.select))
        except TypeError:
            return ALL

    @classmethod
    def looks_after_inboxes(cls) -> bool:
        """Whether ``on_unacknowledged`` is to be called."""
        wants = cls.inbox and cls.unacknowledged_after is not None
        return wants and cls.overrides("on_unacknowledged")

    @classmethod
    def kept(cls) -> History | None:
        """What is kept of the publications; a channel with state has a short history at least."""
        if cls.history is None and (cls.state is not None or cls.versions):
            return SHORT_HISTORY
        return cls.history

    @property
    def qualified_name(self) -> str:
        """The name, told apart from the same name in another namespace."""
        return channel_key(self.namespace, self.name)

    @classmethod
    def overrides(cls, hook: str) -> bool:
        """Whether the class overrides ``hook``; if not, the call can be left out."""
        return getattr(cls, hook) is not getattr(Channel, hook)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


_NOT_AUTOMATIC = Channel.automatic.__func__  # type: ignore[attr-defined]

_Function = TypeVar("_Function", bound=Callable[..., Any])


@overload
def action(function: _Function, /) -> _Function: ...
@overload
def action(*, name: str) -> Callable[[_Function], _Function]: ...
def action(function: Any = None, /, *, name: str | None = None) -> Any:
    """Let clients call a method: ``{"type": "call", "channel": …, "method": <its name>}``.

    The method takes ``(self, connection, payload)`` and returns the payload of the ``result``. If the
    payload's annotation is a type, such as a dataclass, a call with another payload is ``bad_payload``.

    Args:
        name: the name on the wire; by default the method's name.
    """

    def mark(function: _Function) -> _Function:
        function._realtime_action = name or function.__name__  # type: ignore[attr-defined]
        return function

    return mark if function is None else mark(function)


def user_channel_name(user_id: str) -> str:
    """The name of a user's own channel: ``users/`` and the quoted primary key.

    A key that is empty or whose name would be too long becomes ``=FF`` and its SHA-256 digest: ``quote``
    never returns ``=FF``, because the byte 255 does not occur in UTF-8.
    """
    quoted = quote(user_id)
    if not quoted or len(USER_CHANNEL_PREFIX) + len(quoted) > MAX_NAME_LENGTH:
        quoted = _HASHED + hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()
    return USER_CHANNEL_PREFIX + quoted


class UserChannel(Channel):
    """``users/<id>``: a user's own channel. All connections of the user are subscribed from the start.

    Subclass it to give it a history, an inbox and so on, with ``@register("users/<user_id>")`` above. The
    connections are on it from the start whatever ``can_subscribe`` says.
    """

    def can_subscribe(self, connection: Client) -> bool:
        """Only this user may subscribe."""
        return connection.user_id is not None and self.name == user_channel_name(connection.user_id)

    def inbox_users(self) -> tuple[str, ...]:
        """The user that it is of; unknown where the key is too long for a name."""
        quoted: str = self.kwargs["user_id"]
        return () if quoted.startswith(_HASHED) else (unquote(quoted),)


def session_channel_name(key: str) -> str:
    """The name of a session's own channel, which does not reveal the session's key."""
    digest = hashlib.sha256(b"channels_realtime.session:" + key.encode()).hexdigest()
    return SESSION_CHANNEL_PREFIX + digest[:40]


class SessionChannel(Channel):
    """``realtime/sessions/<digest>``: a session's own channel, for visitors without a login too."""

    def can_subscribe(self, connection: Client) -> bool:
        """Only connections with this session may subscribe, while it exists."""
        key = connection.session.session_key
        return key is not None and self.name == session_channel_name(key)


def _converters() -> dict[str, Any]:
    # The site's own one of that name, registered with Django, comes first.
    return {"quoted": QuotedConverter(), **get_converters()}


_Candidate = tuple[str, Route, type[Channel] | None, dict[str, str]]
"""A name, a route that may match it, its class, and the texts in the name."""


class ChannelRegistry:
    """Routes to channel classes, tried in the order of registration."""

    def __init__(self) -> None:
        self._routes: dict[str, tuple[Route, type[Channel]]] = {}
        self._candidates = functools.lru_cache(_REMEMBERED_NAMES)(self._match)
        self._user_route = Route(USER_CHANNEL_PREFIX + "<str:user_id>", _converters())
        self.user_class: type[UserChannel] = UserChannel
        """The class of ``users/<id>``."""
        self._automatic: tuple[type[Channel], ...] | None = None  # until they are asked for

    def register(self, pattern: str, channel_class: type[Channel]) -> None:
        """Add a route.

        Raises:
            ImproperUse: the pattern is malformed, reserved or taken, or ``channel_class`` is not a
                subclass of ``Channel``.
        """
        if not (isinstance(channel_class, type) and issubclass(channel_class, Channel)):
            got = getattr(channel_class, "__qualname__", repr(channel_class))
            raise ImproperUse(f"@register({pattern!r}) is for subclasses of Channel; got {got}")
        self._automatic = None
        if pattern.startswith(USER_CHANNEL_PREFIX):
            self._register_user_class(pattern, channel_class)
            return
        taken = self._routes.get(pattern)
        if taken is not None and _path(taken[1]) != _path(channel_class):  # else a reload
            raise ImproperUse(f"channel route {pattern!r} is taken by {_path(taken[1])}")
        try:
            route = Route(pattern, _converters())
        except ValueError as error:
            raise ImproperUse(str(error)) from None
        self._routes[pattern] = (route, channel_class)
        self._candidates.cache_clear()

    def _register_user_class(self, pattern: str, channel_class: type[Channel]) -> None:
        if pattern != USER_PATTERN or not issubclass(channel_class, UserChannel):
            raise ImproperUse(
                f"channel route {pattern!r}: {USER_CHANNEL_PREFIX!r} is reserved for users' own"
                f" channels; expected another first segment, or {USER_PATTERN!r} and a subclass of"
                " UserChannel"
            )
        taken = self.user_class
        if taken is not UserChannel and _path(taken) != _path(channel_class):  # else a reload
            raise ImproperUse(f"channel route {pattern!r} is taken by {_path(taken)}")
        self.user_class = channel_class

    def unregister(self, pattern: str) -> None:
        """Remove a route (for tests).

        Raises:
            KeyError: there is no such route.
        """
        self._automatic = None
        if pattern == USER_PATTERN:
            self.user_class = UserChannel
            return
        del self._routes[pattern]
        self._candidates.cache_clear()

    def __iter__(self) -> Iterator[tuple[str, type[Channel]]]:
        if self.user_class is not UserChannel:
            yield USER_PATTERN, self.user_class
        yield from ((pattern, found[1]) for pattern, found in self._routes.items())

    def routes(self) -> Iterator[tuple[Route, type[Channel]]]:
        """The routes, with that of users' own channels, which is there without being registered."""
        yield self._user_route, self.user_class
        yield from self._routes.values()

    def automatic_classes(self) -> tuple[type[Channel], ...]:
        """The classes that put connections on channels from the start, each once."""
        if self._automatic is None:
            self._automatic = tuple(dict.fromkeys(kind for _, kind in self if kind.is_automatic()))
        return self._automatic

    def resolve(self, name: str, parameters: Any = None) -> Channel:
        """Return the channel with this name.

        Raises:
            BadChannel: the name is malformed.
            UnknownChannel: no route matches.
        """
        if not isinstance(name, str) or name.startswith(SESSION_CHANNEL_PREFIX):
            return SessionChannel(check_name(name), {}, parameters)
        for known, route, channel_class, texts in self._candidates(name):
            kwargs = route.converted(texts)
            if kwargs is not None:
                return (channel_class or self.user_class)(known, kwargs, parameters)
        raise UnknownChannel()

    def class_of(self, name: str) -> type[Channel] | None:
        """The class of the first route that the name matches, whatever its converters say; else None.

        Raises:
            BadChannel: the name is malformed.
        """
        if not isinstance(name, str) or name.startswith(SESSION_CHANNEL_PREFIX):
            return None
        for _, _, channel_class, _ in self._candidates(name):
            return channel_class or self.user_class
        return None

    def _match(self, name: str) -> tuple[_Candidate, ...]:
        """The routes whose patterns match, and the texts in them; their converters may refuse yet.

        The name is there too: the channel of each connection has that of the first, not one of its own.

        The class of a user's own channel is None. What is remembered is the same for ever, unlike what
        converters make of it, which are the site's.

        Raises:
            BadChannel: the name is malformed.
        """
        check_name(name)
        routes: Iterable[tuple[Route, type[Channel] | None]] = self._routes.values()
        if name.startswith(USER_CHANNEL_PREFIX):
            routes = [(self._user_route, None)]  # reserved: the site's routes must not match it
        found = ((route, kind, route.texts(name)) for route, kind in routes)
        return tuple(
            (name, route, kind, texts) for route, kind, texts in found if texts is not None
        )


def _path(channel_class: type[Channel]) -> str:
    return f"{channel_class.__module__}.{channel_class.__qualname__}"


registry = ChannelRegistry()
"""The routes of this process, filled when the apps are ready."""


def register(pattern: str) -> Callable[[type[_ChannelClass]], type[_ChannelClass]]:
    """Route channel names to the class below.

    Args:
        pattern: such as ``"orders/<int:order_id>"``, with Django's path converters. It must match
            the whole name.

    Raises:
        ImproperUse: the pattern is malformed, reserved (``users/``) or taken, or there is none.
    """

    if not isinstance(pattern, str):
        # Without parentheses it is the class, which would be replaced by a function, silently.
        got = pattern.__qualname__ if isinstance(pattern, type) else repr(pattern)
        raise ImproperUse(
            f"@register got {got}; expected a pattern, such as @register('orders/<int:order_id>')"
        )

    def decorate(channel_class: type[_ChannelClass]) -> type[_ChannelClass]:
        registry.register(pattern, channel_class)
        return channel_class

    return decorate


_ChannelClass = TypeVar("_ChannelClass", bound=Channel)


def autodiscover() -> None:
    """Import each installed app's ``realtime.py``."""
    autodiscover_modules("realtime")
