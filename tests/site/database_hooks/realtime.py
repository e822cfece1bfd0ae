"""Channels with hooks that use the database, each in a sync and an async form."""

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.db import connection as database
from django.db import transaction

from channels_realtime import Channel, register


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
