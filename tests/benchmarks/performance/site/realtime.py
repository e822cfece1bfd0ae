"""The channels that are measured. Whoever may subscribe may publish."""

from channels_realtime import Channel, History, register


@register("bench/<int:number>")
class BenchChannel(Channel):
    """As most classes are written: with plain methods, which run in a thread."""

    def can_subscribe(self, connection):
        return True

    def can_publish(self, connection):
        return True


@register("async/<int:number>")
class AsyncChannel(Channel):
    """The same with ``async`` hooks."""

    async def can_subscribe(self, connection):
        return True

    async def can_publish(self, connection):
        return True


@register("kept/<int:number>")
class KeptChannel(BenchChannel):
    """The same with a history."""

    history = History(size=100, ttl=3600)
