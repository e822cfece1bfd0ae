"""A channel layer that loses every control message, but delivers publications."""

from channels_redis.pubsub import RedisPubSubChannelLayer


class DeafLayer(RedisPubSubChannelLayer):
    async def group_send(self, group, message):
        if message.get("type") != "realtime.control":
            await self._get_layer().group_send(group, message)
