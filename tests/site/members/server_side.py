"""Channels that the server puts connections on, and inboxes; only where SITE_SERVER_SIDE is set.

Each connection of a site would pay for them.
"""

from channels_realtime import Channel, History, UserChannel, register

from .models import Seat

UNACKNOWLEDGED_AFTER_S = 2.0


@register("seated/<str:room>")
class SeatedChannel(Channel):
    """Connections are on the rooms that their users have a seat in."""

    @classmethod
    def automatic(cls, connection):
        seats = Seat.objects.filter(user_pk=str(connection.user_id)).order_by("room")
        rooms = seats.exclude(room__startswith="mail: ")
        return [f"seated/{room}" for room in rooms.values_list("room", flat=True)]


@register("duties/<str:team>")
class DutyChannel(Channel):
    public = True
    history = History(size=100, ttl=600.0)
    inbox = True


@register("users/<user_id>")
class OwnChannel(UserChannel):
    """Writes down whom the site would send a mail: a seat in the room ``mail: …``."""

    history = History(size=100, ttl=600.0)
    inbox = True
    unacknowledged_after = UNACKNOWLEDGED_AFTER_S

    def on_unacknowledged(self, user_id, publications):
        payloads = ", ".join(str(publication.payload) for publication in publications)
        Seat.objects.create(room=f"mail: {payloads}", user_pk=user_id)
