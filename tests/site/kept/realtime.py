import os

from channels_realtime import Channel, History, register

SIZE = int(os.environ.get("SITE_HISTORY_SIZE", "100"))
TTL_S = 3_600.0


class Open(Channel):
    """Everybody may do everything."""

    public = True

    def can_publish(self, connection):
        return True


@register("checked/<str:name>")
class CheckedChannel(Open):
    history = History(size=SIZE, ttl=TTL_S)


@register("checked-keyed/<str:name>")
class KeyedChannel(Open):
    history = History(size=SIZE, ttl=TTL_S)
    state = "keyed"
    versions = True


@register("checked-inbox/<str:name>")
class InboxChannel(Open):
    history = History(size=SIZE, ttl=TTL_S)
    inbox = True
