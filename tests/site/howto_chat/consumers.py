"""Consumers with the mixin, async and sync, for the integration tests."""

from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

from channels_realtime.errors import RealtimeError
from channels_realtime.mixins import RealtimeMixin


class LineConsumer(RealtimeMixin, AsyncJsonWebsocketConsumer):
    """``["subscribe", "lines/a"]`` and the like; ``null`` or an error's code comes back."""

    says_closing = True
    log = []

    async def receive_json(self, content):
        verb, *arguments = content
        try:
            await getattr(self.channels, verb)(*arguments)
        except RealtimeError as error:
            await self.send_json(error.code)
        else:
            await self.send_json(None)

    async def disconnect(self, code):
        self.log.append(code)
        print(f"left with {code}", flush=True)


class OwnLineConsumer(LineConsumer):
    """Takes its publications itself."""

    async def channel_message(self, channel, payload, event, sender):
        await self.send_json({"on": channel, "said": payload})


class SyncLineConsumer(RealtimeMixin, JsonWebsocketConsumer):
    """The same, from the thread of sync consumers."""

    says_closing = True

    def receive_json(self, content):
        verb, *arguments = content
        try:
            getattr(self.channels, verb)(*arguments)
        except RealtimeError as error:
            self.send_json(error.code)
        else:
            self.send_json(None)

    def disconnect(self, code):
        print(f"left with {code}", flush=True)
