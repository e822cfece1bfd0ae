"""Channels of signed-in users and of staff, of a model, and for slow clients."""

import asyncio

from channels_realtime import Channel, action, register

from .models import Note


@register("quotes")
class QuoteChannel(Channel):
    """Staff publish here."""

    public = True
    select = "symbol"

    def can_publish(self, connection):
        return connection.user.is_staff


@register("signed-in/<slug:room>")
class SignedInChannel(Channel):
    def can_subscribe(self, connection):
        return connection.user.is_authenticated

    def can_publish(self, connection):
        return connection.user.is_authenticated


@register("client")
class ClientChannel(Channel):
    """Tells a client what the server knows of it."""

    public = True

    @action
    def address(self, connection, payload):
        return connection.client_address


@register("notes")
class NotesChannel(Channel):
    public = True


@register("notes/<int:pk>")
class NoteChannel(Channel):
    def can_subscribe(self, connection):
        return Note.objects.filter(pk=self.kwargs["pk"]).exists()


# -- clients that are slow, and handlers that are --------------------------------------------------


@register("lossy/<str:name>")
class LossyChannel(Channel):
    public = True
    slow_policy = "drop_oldest"

    def can_publish(self, connection):
        return True


@register("newest/<str:name>")
class NewestChannel(Channel):
    public = True
    slow_policy = "latest"

    def can_publish(self, connection):
        return True


@register("handled/<str:name>")
class SlowlyHandledChannel(Channel):
    """A client's publications take their time here."""

    public = True
    permission_lifetime = 0

    async def can_publish(self, connection):
        await asyncio.sleep(0.05)
        return True
