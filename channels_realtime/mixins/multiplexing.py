"""Channels for a site's own consumer: many on one WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec
from asgiref.sync import async_to_sync

from ..channels import user_channel_name
from ..config import Config
from ..connections import commands
from ..connections.connection import Connection
from ..errors import ConnectionClosed, ImproperUse, RealtimeError, TooLarge
from ..nodes.node import Node
from ..protocol import messages as m
from ..protocol.codecs import JSON
from ..protocol.dialects.realtime_objects import publication_object, push_object
from ..protocol.names import check_name
from ..publications import check_texts
from ..runtime.encoding import normalise_payload, payload_size
from ..runtime.hooks import translate
from .base import ConsumerMixin
from .transport import ConsumerOptions

_decode = msgspec.msgpack.Decoder().decode

_HOOKS = ("channel_message", "channel_member", "channel_missed", "channel_ended")


class ConsumerChannels:
    """The channels that one client of a consumer is on; ``self.channels``.

    Subscribing and publishing ask the channel class for the right, as if the client had asked.
    """

    def __init__(self, node: Node, connection: Connection) -> None:
        self._node = node
        self._connection = connection
        self._turn = asyncio.Lock()

    def __contains__(self, channel: object) -> bool:
        return channel in self._connection.subscriptions

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._connection.subscriptions))

    def __len__(self) -> int:
        return len(self._connection.subscriptions)

    async def subscribe(
        self, channel: str, parameters: Any = None, *, presence: bool = False
    ) -> m.Members | None:
        """Put the client on a channel; once this returns, what is published there arrives.

        It is on its user's own channel, ``users/<id>``, already: that is nothing to subscribe to, and
        no error.

        Args:
            channel: its name, such as ``"orders/42"``.
            parameters: where the channel class selects by them.
            presence: tell the client who comes and goes, where the channel class has presence.

        Returns:
            who is on the channel, where that was asked for.

        Raises:
            Forbidden, UnknownChannel, BadChannel, AlreadySubscribed, TooManySubscriptions,
            Unavailable, or what the channel's hooks raise.
        """
        command = m.Subscribe(
            channel=check_name(channel), parameters=normalise_payload(parameters), presence=presence
        )
        async with self._turn:
            if self._is_own(channel) and channel in self:
                return None
            reply = await self._serve(command)
            return reply.members if isinstance(reply, m.Subscribed) else None

    def _is_own(self, channel: str) -> bool:
        user_id = self._connection.user_id
        return user_id is not None and channel == user_channel_name(user_id)

    async def unsubscribe(self, channel: str, parameters: Any = None) -> None:
        """Take the client off a channel; nothing of it follows.

        Raises:
            NotSubscribed: it is not on the channel, or not with these parameters.
            BadChannel: the name is malformed.
        """
        command = m.Unsubscribe(
            channel=check_name(channel), parameters=normalise_payload(parameters)
        )
        async with self._turn:
            await self._serve(command)

    async def publish(
        self,
        channel: str,
        payload: Any,
        event: str | None = None,
        *,
        key: str | None = None,
        echo: bool = True,
        transient: bool = False,
    ) -> None:
        """Publish in the client's name: with its rights, and with it as the ``sender``.

        The site itself publishes with ``apublish``.

        Args:
            channel: the channel's name.
            payload: as for ``publish``.
            event: a name that the channel class lets clients use.
            key: an idempotency key of the client's user.
            echo: False reaches everybody but this client.
            transient: it is not kept; only for events that the class lists.

        Raises:
            Forbidden, BadChannel, UnknownChannel, BadPayload, TooLarge, RateLimited, Unsupported, Conflict,
            Unavailable, or what the channel's hooks raise.
        """
        check_texts(event=event, key=key)
        config = self._node.config
        payload = normalise_payload(payload, max_depth=config.max_payload_depth)
        size = payload_size(payload)
        if size > config.max_payload_bytes:
            raise TooLarge(
                f"a payload of {size} bytes; expected at most {config.max_payload_bytes}"
            )
        await self._serve(
            m.Publish(
                channel=channel,
                payload=payload,
                event=event,
                key=key,
                echo=echo,
                transient=transient,
            )
        )

    async def _serve(self, command: m.Command) -> m.Push | None:
        if self._connection.closed:
            raise ConnectionClosed
        try:
            reply = await commands.serve(self._node, self._connection, command)
            if isinstance(reply, m.Subscribed):  # the state of a channel that has one
                for publication in reply.missed:
                    self._connection.hand(publication)
            return reply
        except RealtimeError:
            raise
        except Exception as error:
            known = translate(error)
            if known is None:
                raise
            raise known from error


class SyncConsumerChannels:
    """``self.channels`` of a sync consumer: the same, without ``await``, from its own thread."""

    def __init__(self, channels: ConsumerChannels) -> None:
        self._channels = channels
        # Made here, on the event loop that they are to run on.
        self.subscribe = async_to_sync(channels.subscribe)
        self.unsubscribe = async_to_sync(channels.unsubscribe)
        self.publish = async_to_sync(channels.publish)

    def __contains__(self, channel: object) -> bool:
        return channel in self._channels

    def __iter__(self) -> Iterator[str]:
        return iter(self._channels)

    def __len__(self) -> int:
        return len(self._channels)


class ChannelsMixin(ConsumerMixin):
    """Puts a consumer's clients on channels: ``await self.channels.subscribe("orders/42")``.

    A user's connection is on that user's own channel from the start: ``publish_to_user`` reaches it.

    A publication reaches this process once, however many connections here are on its channel, and
    is written to them as the wire's ``message``, encoded once for all; the consumer does not run for
    it. A class with a ``channel_message`` of its own is handed each publication instead, between its
    other events.
    """

    channels: Any
    """``ConsumerChannels``, or ``SyncConsumerChannels`` in a sync consumer; from ``connect()`` on."""

    channel_layer_alias: ClassVar[str | None] = None
    """No layer channel for each connection, which groups would need: name the layer to have it."""

    _realtime_needs_layer: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not getattr(cls, "_sync", False):
            cls._realtime_expect_async(ChannelsMixin, *_HOOKS)
        for hook in _HOOKS:
            cls._realtime_refuse_in_sync(
                ChannelsMixin,
                hook,
                "each publication would wait, for each connection, for the one thread that all sync"
                " consumers share; expected an async consumer, or the wire's messages as they are",
            )
        if getattr(cls, "groups", None) and cls.channel_layer_alias is None:
            raise ImproperUse(
                f"{cls.__qualname__} has groups {cls.groups!r} and no layer channel; subscribe to"  # type: ignore[attr-defined]
                " channels in connect(), or set channel_layer_alias = 'default'"
            )

    async def channel_message(
        self, channel: str, payload: Any, event: str | None, sender: Any
    ) -> None:
        """A publication, in the order of its channel; by default sent as the wire's ``message``.

        Called between the consumer's other events, never at the same time. ``payload`` is this
        connection's own copy. What it does not get through in time waits, bounded as for any slow
        client; then the channel's policy applies.

        Args:
            channel: where it was published.
            payload: what was published, in JSON types (and ``bytes``).
            event: its name, or None.
            sender: what the channel class shows of the client that published it, or None.
        """
        publication = m.Publication(channel=channel, payload=payload, event=event, sender=sender)
        await self.send(text_data=JSON.encode(publication_object(publication)))  # type: ignore[attr-defined]

    async def channel_member(
        self, channel: str, kind: str, member: dict[str, Any], count: int
    ) -> None:
        """Somebody joined or left a channel that was subscribed to with ``presence``.

        Called as ``channel_message``, and only in a class that overrides that; by default the wire's
        ``join`` or ``leave`` is sent.

        Args:
            channel: the channel's name.
            kind: ``"join"`` or ``"leave"``.
            member: its ``id``, ``user`` and ``info``.
            count: how many members there are now.
        """
        publication = m.Publication(
            channel=channel,
            payload={"member": member, "count": count},
            kind="join" if kind == "join" else "leave",
        )
        await self.send(text_data=JSON.encode(publication_object(publication)))  # type: ignore[attr-defined]

    async def channel_missed(self, channel: str, epoch: str, offset: int) -> None:
        """Publications of a channel with history were lost; it goes on after this position.

        Called as ``channel_message``, in its order, and only in a class that overrides that; by default
        the wire's ``subscribed`` is sent, with ``recovered: false``. Without history nothing is known of
        what is lost, and this is never called.

        Args:
            channel: the channel's name.
            epoch, offset: the position.
        """
        position = m.Position(epoch, offset)
        push = m.Subscribed(channel=channel, position=position, recovered=False)
        await self.send(text_data=JSON.encode(push_object(push)))  # type: ignore[attr-defined]

    async def channel_ended(self, channel: str, code: str, reason: str) -> None:
        """The server took a subscription away; nothing of the channel follows.

        By default the wire's ``unsubscribed`` is sent.
        """
        push = m.Unsubscribed(channel=channel, code=code, reason=reason)
        await self.send(text_data=JSON.encode(push_object(push)))  # type: ignore[attr-defined]

    def _realtime_options(self, config: Config) -> ConsumerOptions:
        options = super()._realtime_options(config)
        own_ends = self._realtime_overrides(ChannelsMixin, "channel_ended")
        return msgspec.structs.replace(
            options,
            says=options.says | ({m.Subscribed} if own_ends else {m.Subscribed, m.Unsubscribed}),
            own_messages=self._realtime_overrides(ChannelsMixin, "channel_message"),
            own_ends=own_ends,
            channels=True,
        )

    def _realtime_identified(self, node: Node) -> None:
        channels = ConsumerChannels(node, self.realtime)
        self.channels = (
            SyncConsumerChannels(channels) if getattr(self, "_sync", False) else channels
        )
        if self.channel_layer_alias is None:
            self.channel_layer = _NoLayer(type(self).__qualname__)
        super()._realtime_identified(node)

    async def _realtime_deliver(self) -> None:
        # Not through Channels' dispatch: that crosses to the one shared thread for every message.
        frame = self._realtime_transport.next_delivery()
        if frame is None:  # taken back since
            return
        ended = frame.content.get("ended")
        if ended is not None:
            await self.channel_ended(ended.channel, str(ended.code), ended.reason)
            return
        missed = frame.content.get("missed")
        if missed is not None:
            position = missed.position
            await self.channel_missed(missed.channel, position.epoch, position.offset)
            return
        message = _decode(frame.content["bytes"])
        if message["type"] in ("join", "leave"):
            found = message["payload"]
            await self.channel_member(
                message["channel"], message["type"], found["member"], found["count"]
            )
            return
        await self.channel_message(
            message["channel"], message["payload"], message.get("event"), message.get("sender")
        )


class _NoLayer:
    """Where ``self.channel_layer`` would be."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, attribute: str) -> Any:
        raise ImproperUse(
            f"{self._name} has no channel_layer: ChannelsMixin spares each connection a layer channel."
            " Subscribe to channels, or set channel_layer_alias = 'default' to have groups as well"
        )
