"""Channels with permissions that stand in the database."""

import os
import time

from channels_realtime import Channel, register

from .models import Seat


class _SeatChannel(Channel):
    def can_subscribe(self, connection):
        return Seat.objects.filter(room=self.kwargs["room"], user_pk=connection.user_id).exists()


@register("rooms/<str:room>")
class RoomChannel(_SeatChannel):
    pass


@register("watched/<str:room>")
class WatchedChannel(_SeatChannel):
    recheck_interval = 0.5


@register("slow/<str:room>")
class SlowChannel(_SeatChannel):
    """Its permission check takes 0.4 s."""

    def can_subscribe(self, connection):
        verdict = super().can_subscribe(connection)
        time.sleep(0.4)
        return verdict


@register("staff")
class StaffChannel(Channel):
    def can_subscribe(self, connection):
        return connection.user.is_staff


@register("open/<str:name>")
class OpenChannel(Channel):
    public = True


if "SITE_SERVER_SIDE" in os.environ:
    from . import server_side  # noqa: F401 - registers its channels
