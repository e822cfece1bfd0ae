"""The channels of the served site."""

import asyncio

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connection as database
from django.db import transaction

from channels_realtime import Channel, action, register

from .models import Note


@register("public/<str:name>")
class PublicChannel(Channel):
    public = True
    client_events = ("typing",)

    def can_publish(self, connection):
        return True

    @action
    def echo(self, connection, payload):
        return payload

    @action
    def address(self, connection, payload):
        return connection.client_address


@register("stocks")
class StockChannel(Channel):
    public = True
    select = "symbol"

    def can_publish(self, connection):
        return connection.user.is_staff


@register("rooms/<slug:room>")
class RoomChannel(Channel):
    def can_subscribe(self, connection):
        return connection.user.is_authenticated

    def can_publish(self, connection):
        return connection.user.is_authenticated


@register("closed/<str:name>")
class ClosedChannel(Channel):
    pass


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

    async def can_publish(self, connection):
        await asyncio.sleep(0.05)
        return True


# -- hooks that use the database -------------------------------------------------------------------


@register("orm/sync/<int:number>")
class SyncHooks(Channel):
    def can_subscribe(self, connection):
        return get_user_model().objects.filter(username="alice").exists()

    def on_subscribe(self, connection):
        with transaction.atomic():
            get_user_model().objects.select_for_update().get(username="alice")

    def on_unsubscribe(self, connection):
        get_user_model().objects.count()


@register("orm/async/<int:number>")
class AsyncHooks(Channel):
    async def can_subscribe(self, connection):
        return await get_user_model().objects.filter(username="alice").aexists()

    async def on_subscribe(self, connection):
        await sync_to_async(SyncHooks.on_subscribe)(self, connection)

    async def on_unsubscribe(self, connection):
        await get_user_model().objects.acount()


@register("orm/broken/sync/<int:number>")
class BrokenSyncHooks(Channel):
    """Fails inside a transaction."""

    def can_subscribe(self, connection):
        with transaction.atomic(), database.cursor() as cursor:
            cursor.execute("SELECT planted_error FROM nowhere")


@register("orm/broken/async/<int:number>")
class BrokenAsyncHooks(Channel):
    async def can_subscribe(self, connection):
        return await sync_to_async(BrokenSyncHooks.can_subscribe)(self, connection)


def sleep_in_database(channel):
    with transaction.atomic(), database.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [channel.kwargs["tenths"] / 10])
    return True


@register("orm/slow/sync/<int:tenths>/<int:number>")
class SlowSyncHooks(Channel):
    def can_subscribe(self, connection):
        return sleep_in_database(self)


@register("orm/slow/async/<int:tenths>/<int:number>")
class SlowAsyncHooks(Channel):
    async def can_subscribe(self, connection):
        return await sync_to_async(sleep_in_database)(self)


@register("orm/forgotten/sync/<int:number>")
class ForgottenSyncTransaction(Channel):
    """Begins a transaction and leaves it open: careless, but it must not live on in the pool."""

    public = True

    def on_subscribe(self, connection):
        database.set_autocommit(False)
        get_user_model().objects.count()


@register("orm/forgotten/async/<int:number>")
class ForgottenAsyncTransaction(Channel):
    public = True

    async def on_subscribe(self, connection):
        await sync_to_async(ForgottenSyncTransaction.on_subscribe)(self, connection)
