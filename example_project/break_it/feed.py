"""Counts to `break/ticks`."""

from channels_realtime import publish

from .models import MAX_TICKS, Tick
from .realtime import Number


class TickFeed:
    interval_s = 0.5

    def publish(self) -> None:
        number = Tick.objects.create().pk
        if number % 100 == 0:
            Tick.objects.filter(pk__lte=number - MAX_TICKS).delete()
        publish("break/ticks", Number(number), event="tick")
