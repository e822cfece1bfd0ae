"""Channels of every kind, for unit and integration tests."""

from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404

from channels_realtime import Channel, History, Presence, action, register
from channels_realtime.errors import UnknownChannel


@register("public/<str:name>")
class PublicChannel(Channel):
    public = True
    client_events = ("typing",)

    def can_publish(self, connection):
        return True

    @action
    def echo(self, connection, payload):
        return payload

    @action(name="async-echo")
    async def echo_on_the_loop(self, connection, payload):
        return {"echo": payload}


@register("kept/<str:name>")
class KeptChannel(PublicChannel):
    history = History(size=1_000, ttl=600.0)


@register("selected/<str:name>")
class SelectedChannel(KeptChannel):
    select = "symbol"


@register("closed/<str:name>")
class ClosedChannel(Channel):
    pass


@register("members/<int:number>")
class MemberChannel(Channel):
    async def can_subscribe(self, connection):
        return connection.user.is_authenticated

    async def can_publish(self, connection):
        return connection.user.is_staff

    async def sender(self, connection):
        return {"user": connection.user_id, "name": connection.user.get_username()}


@register("stocks")
class StockChannel(Channel):
    public = True
    select = "symbol"

    async def can_publish(self, connection):
        return True


@register("broken/<str:how>")
class BrokenChannel(Channel):
    """Raises what its name says, wherever it can."""

    public = True

    def _raise(self):
        raise {
            "permission": PermissionDenied("not you"),
            "missing": Http404("secret detail"),
            "hidden": UnknownChannel(),
            "invalid": ValidationError("too short"),
            "bug": ZeroDivisionError("planted-secret"),
        }[self.kwargs["how"]]

    def can_subscribe(self, connection):
        self._raise()

    async def can_publish(self, connection):
        self._raise()


@register("hooked/<str:name>")
class HookedChannel(Channel):
    """Records its hooks in ``log`` and changes what is published."""

    public = True
    log: list[tuple[str, str]] = []

    async def can_publish(self, connection):
        return True

    async def on_subscribe(self, connection):
        self.log.append(("subscribe", self.name))

    def on_unsubscribe(self, connection):
        self.log.append(("unsubscribe", self.name))

    async def on_publish(self, connection, payload, event):
        if payload == "refuse":
            raise ValidationError("refused by the hook")
        return {"changed": payload}


@register("states/<int:number>")
class StateChannel(Channel):
    """The newest message of each key; its publishers learn how many connections were told."""

    public = True
    state = "keyed"
    versions = True
    count_deliveries = True
    transient_events = ("typing",)

    async def can_publish(self, connection):
        return True


@register("lounges/<str:name>")
class LoungeChannel(Channel):
    """Tells who is on it."""

    public = True
    presence = Presence(grace=10.0, max_members=1_000)

    def can_publish(self, connection):
        return True

    @classmethod
    def members_info(cls, clients):
        return {client.user_id: {"name": client.user.get_username()} for client in clients}


@register("devices/<str:name>")
class DeviceChannel(Channel):
    """Each connection is a member."""

    public = True
    presence = Presence(grace=0, by_user=False)
