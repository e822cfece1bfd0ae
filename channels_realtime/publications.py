"""Makes a publication of what a publisher gives, and says how it is kept.

In: a channel, a payload and what is asked for it, from ``publishing`` or a client. Out: an ``Outgoing``.
All that can be wrong is raised here, in the caller, before anything is sent.
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
import time
from collections.abc import Mapping
from typing import Any, TypedDict

import msgspec
from django.apps import apps

from .channels import OWN_CHANNELS_PREFIX, RESERVED_EVENT_PREFIX, Channel, registry
from .errors import BadPayload, TooLarge, UnknownChannel, Unsupported
from .namespaces import current_namespace
from .nodes.outgoing import Expectation, Outgoing
from .protocol.dialects.realtime import MAX_EPOCH_LENGTH, MAX_EVENT_LENGTH, MAX_KEY_LENGTH
from .protocol.messages import MAX_ID_INTEGER, Position, Publication
from .runtime.encoding import normalise_payload, payload_size
from .settings import get_config
from .stores.history.base import Condition

SERVER_SCOPE = "server:"
"""Begins the keys of all that a site's own code publishes."""

_digested = msgspec.msgpack.Encoder(order="deterministic").encode


class PublicationOptions(TypedDict, total=False):
    """Options of every publication; see ``publish``."""

    key: str | None
    version: int | None
    state_key: str | None
    removed: bool
    only_if: Mapping[str, Any] | None
    transient: bool


class PublishOptions(PublicationOptions, total=False):
    """Options of a publication, besides its channel and payload; see ``publish``."""

    event: str | None
    exclude: Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What became of a publication.

    Args:
        position: its place in the channel's history; of a duplicate ``key``, that of the first one.
            None where the channel keeps no history, or the version was too old.
        duplicate: nothing was sent: the key was used before, or the version is not new.
        told: how many connections were told, where the channel class has ``count_deliveries``; those
            of nodes that did not answer in time are not in it. Otherwise None.
    """

    position: Position | None = None
    duplicate: bool = False
    told: int | None = None

    @property
    def epoch(self) -> str | None:
        """The position's epoch; None without a position."""
        return None if self.position is None else self.position.epoch

    @property
    def offset(self) -> int | None:
        """The position's offset; None without a position."""
        return None if self.position is None else self.position.offset


def prepare(
    channel: str,
    payload: Any,
    *,
    event: str | None = None,
    key: str | None = None,
    version: int | None = None,
    state_key: str | None = None,
    removed: bool = False,
    only_if: Mapping[str, Any] | None = None,
    exclude: tuple[str, str | None] | None = None,
    transient: bool = False,
    reserved: bool = False,
) -> Outgoing:
    """Check what the site's own code publishes.

    Args:
        reserved: whether the event is one of the package itself, with a reserved name.
        exclude: a connection's id and, where it has to be that of a user, the user's key; see
            ``exclusion``.

    Raises:
        BadChannel, UnknownChannel, BadPayload, TooLarge, Unsupported: as ``publish`` says.
    """
    found = check_channel(channel)
    check_texts(event=event, key=key, state_key=state_key)
    if event is not None and event.startswith(RESERVED_EVENT_PREFIX) and not reserved:
        raise BadPayload(
            f"event {event!r} begins with {RESERVED_EVENT_PREFIX!r}, which is reserved for the"
            " package; expected another name"
        )
    _check_version("version", version)
    for name, flag in (("removed", removed), ("transient", transient)):
        if not isinstance(flag, bool):
            raise BadPayload(f"{name} is {flag!r:.100}; expected True or False")
    config = get_config()
    normal = normalise_payload(payload, max_depth=config.max_payload_depth)
    types = None if reserved or (removed and normal is None) else found.payload_types
    if types is not None:
        normal = types.publishable(channel, event, normal, max_depth=config.max_payload_depth)
    size = payload_size(normal)
    if size > config.max_publication_bytes:
        raise TooLarge(
            f"a payload of {size} bytes for {channel!r}; expected at most"
            f" {config.max_publication_bytes} (MAX_PUBLICATION_BYTES)"
        )
    excluded, excluded_user = (None, None) if exclude is None else exclude
    publication = Publication(
        channel=channel,
        payload=normal,
        event=event,
        namespace=current_namespace(),
        version=version,
        state_key=state_key,
        removed=removed,
        exclude=excluded,
        exclude_user=excluded_user,
    )
    return outgoing_of(
        found,
        publication,
        key=None if key is None else SERVER_SCOPE + key,
        condition=_condition(only_if),
        transient=transient,
    )


def outgoing_of(
    channel: Channel,
    publication: Publication,
    *,
    key: str | None,
    condition: Condition | None,
    transient: bool,
) -> Outgoing:
    """Say how a publication is kept, if its channel can do what is asked for.

    Args:
        channel: where it is published.
        publication: what is published, as it was given: the key stands for this.
        key: an idempotency key with its scope in it, or None.
        condition: when it is taken.
        transient: it is not kept.

    Raises:
        BadPayload: what is asked for does not go together.
        Unsupported: the channel's class does not have what is asked for.
    """
    history = None if transient else channel.kept()
    if (
        key is not None
        or condition is not None
        or publication.version is not None
        or publication.state_key is not None
        or publication.removed
    ):
        _check_options(channel, publication, key=key, condition=condition, transient=transient)
    expectation = None
    if history is not None and channel.looks_after_inboxes():
        now = time.time()
        publication = msgspec.structs.replace(publication, kept_at=now)
        users = tuple(map(str, channel.inbox_users()))
        assert channel.unacknowledged_after is not None
        expectation = Expectation(users, now + channel.unacknowledged_after)
    if channel.count_deliveries:
        publication = msgspec.structs.replace(publication, uid=secrets.token_hex(8))
    return Outgoing(
        publication=publication,
        history=history,
        key=key,
        digest="" if key is None else _digest_of(publication),
        condition=condition,
        state_key="" if channel.state == "last" else publication.state_key,
        state_ttl=channel.state_ttl,
        transient=transient,
        counted=channel.count_deliveries,
        expectation=expectation,
    )


def _check_options(
    channel: Channel,
    publication: Publication,
    *,
    key: str | None,
    condition: Condition | None,
    transient: bool,
) -> None:
    """Refuse options that do not go together, or with the channel's class; at least one is given."""
    asked = {
        "key": key is not None,
        "version": publication.version is not None,
        "state_key": publication.state_key is not None,
        "removed": publication.removed,
        "only_if": condition is not None,
    }
    name = channel.name
    if transient:
        kept = next(option for option, given in asked.items() if given)
        raise BadPayload(
            f"{kept!r} with 'transient': a transient message is not kept; expected one of them"
        )
    if asked["key"] and channel.kept() is None:
        raise Unsupported(
            f"{name!r} keeps no history, so it cannot know a 'key' again; expected no key, or"
            f" history = History(…) on {type(channel).__name__}"
        )
    if asked["version"] and not channel.versions:
        raise Unsupported(
            f"{name!r} has no versions; expected no 'version', or versions = True on"
            f" {type(channel).__name__}"
        )
    if asked["state_key"] and channel.state != "keyed":
        raise Unsupported(
            f"{name!r} is not keyed; expected no 'state_key', or state = \"keyed\" on"
            f" {type(channel).__name__}"
        )
    for option in ("removed", "only_if"):
        if asked[option] and not asked["state_key"]:
            raise BadPayload(f"{option!r} is about the state of a key; expected a 'state_key' too")
    if condition is not None and condition.version is not None and not channel.versions:
        raise Unsupported(
            f"{name!r} has no versions; expected 'only_if' with 'new', or versions = True on"
            f" {type(channel).__name__}"
        )


def _digest_of(publication: Publication) -> str:
    """What an idempotency key stands for: another digest with the same key is a conflict."""
    what = (
        publication.payload,
        publication.event,
        publication.version,
        publication.state_key,
        publication.removed,
    )
    return hashlib.blake2b(_digested(what), digest_size=16).hexdigest()


def check_channel(name: str) -> Channel:
    """Check that a route matches, for code of the site; clients are not told the routes.

    Raises:
        BadChannel: the name is malformed.
        UnknownChannel: no route matches; the reason lists those that there are.
    """
    try:
        return registry.resolve(name)
    except UnknownChannel:
        own = [pattern for pattern, _ in registry if not pattern.startswith(OWN_CHANNELS_PREFIX)]
        routes = ", ".join(map(repr, own)) or "none"
        missing = "the app with its realtime.py"
        if not apps.is_installed("channels_realtime"):  # then no realtime.py was imported
            missing = "'channels_realtime'"
        raise UnknownChannel(
            f"channel {name!r} matches no registered route; there are: {routes}."
            f" Is {missing} in INSTALLED_APPS?"
        ) from None


def check_texts(*, event: Any, key: Any, state_key: Any = None) -> None:
    """Check what a publication is named with.

    Raises:
        BadPayload: one of them is malformed.
    """
    if event is not None and not _is_text(event, MAX_EVENT_LENGTH):
        raise BadPayload(
            f"event {event!r:.100} is not a name; expected text of 1 to 100 characters"
        )
    for name, text in (("key", key), ("state_key", state_key)):
        if text is not None and not _is_text(text, MAX_KEY_LENGTH):
            raise BadPayload(
                f"{name} {text!r:.100} is not a key; expected text of 1 to {MAX_KEY_LENGTH} characters"
            )


def _is_text(value: Any, longest: int) -> bool:
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        return False
    return value.isascii() or not any("\ud800" <= one <= "\udfff" for one in value)


def _check_version(name: str, version: Any) -> None:
    if version is not None and (type(version) is not int or abs(version) > MAX_ID_INTEGER):
        raise BadPayload(f"{name} is {version!r:.100}; expected an integer within 2**53")


def as_position(since: Any) -> Position | None:
    """A position, in any form in which one may be given; None where it is malformed."""
    found = since.position if isinstance(since, Published) else since
    epoch: Any
    offset: Any
    if isinstance(found, Position):
        epoch, offset = found.epoch, found.offset
    elif isinstance(found, Mapping):
        epoch, offset = found.get("epoch"), found.get("offset")
    else:
        return None
    well_formed = type(offset) is int and 0 <= offset <= MAX_ID_INTEGER
    return Position(epoch, offset) if well_formed and _is_text(epoch, MAX_EPOCH_LENGTH) else None


def _condition(only_if: Any) -> Condition | None:
    if only_if is None:
        return None
    if isinstance(only_if, Mapping):
        if dict(only_if) == {"new": True} and only_if["new"] is True:
            return Condition(new=True)
        if only_if.keys() == {"version"} and only_if["version"] is not None:
            _check_version("only_if['version']", only_if["version"])
            return Condition(version=only_if["version"])
    raise BadPayload(
        f"only_if is {only_if!r:.100}; expected {{'new': True}} or {{'version': <integer>}}"
    )


def shown_condition(condition: Condition) -> dict[str, Any]:
    """A condition as ``only_if`` has it."""
    return {"new": True} if condition.new else {"version": condition.version}
