"""Channel layers with faults."""

import asyncio
import json
import os
import random
import secrets

from channels_redis.pubsub import RedisPubSubChannelLayer


class DeafLayer(RedisPubSubChannelLayer):
    """Loses every control message, but delivers publications."""

    async def group_send(self, group, message):
        if message.get("type") != "realtime.control":
            await self._get_layer().group_send(group, message)


class UnrulyLayer(RedisPubSubChannelLayer):
    """Loses, repeats and reorders publications, at random.

    ``SITE_LAYER_FAULTS`` says how often, from 0 to 1: ``lose`` for all receivers, ``miss`` for one
    receiver, ``repeat``, and ``delay`` for up to 0.1 s, so that later ones overtake it.
    """

    faults = {"lose": 0.0, "miss": 0.0, "repeat": 0.0, "delay": 0.0} | json.loads(
        os.environ.get("SITE_LAYER_FAULTS", "{}")
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._late = set()

    async def group_send(self, group, message):
        if message.get("type") != "realtime.publication":
            await self._get_layer().group_send(group, message)
            return
        chance = random.random
        if chance() < self.faults["repeat"]:
            # Half of them as another message: a repetition of a sender, which no name gives away.
            other = {"name": secrets.token_hex(8)} if chance() < 0.5 else {}
            self._send_late(group, {**message, **other})
        if chance() < self.faults["lose"]:
            return
        if chance() < self.faults["delay"]:
            self._send_late(group, message)
        else:
            await self._get_layer().group_send(group, message)

    async def receive(self, channel):
        while True:
            message = await self._get_layer().receive(channel)
            publication = message.get("type") == "realtime.publication"
            if not publication or random.random() >= self.faults["miss"]:
                return message

    def _send_late(self, group, message):
        layer = self._get_layer()

        async def send():
            await asyncio.sleep(random.uniform(0.0, 0.1))
            try:
                await layer.group_send(group, message)
            except Exception:
                pass  # lost as well

        task = asyncio.get_running_loop().create_task(send())
        self._late.add(task)
        task.add_done_callback(self._late.discard)
