from django.contrib.auth import get_user_model

from channels_realtime import Channel, register


@register("named/<str:name>")
class NamedChannel(Channel):
    """For the user with this name, as a table of the tenant has it."""

    def can_subscribe(self, connection):
        user = get_user_model().objects.get(pk=connection.user_id)
        return user.username == self.kwargs["name"]


@register("named-async/<str:name>")
class AsyncNamedChannel(Channel):
    async def can_subscribe(self, connection):
        user = await get_user_model().objects.aget(pk=connection.user_id)
        return user.username == self.kwargs["name"]
