"""The raw reference: an ASGI application with one hub that encodes once and sends in a loop.

It checks nothing and promises nothing. With BENCH_REDIS_URL publications go through Redis, by redis-py,
so that several processes could share them; without, they stay in the process. With BENCH_PING each client
is sent a ping so often, in seconds, and nobody looks whether it answers.
"""

import asyncio
import json
import os
import time

import redis.asyncio

_sends: dict[str, dict] = {}
_bus = None
_pings: dict = {}
_pinging = None

PING_INTERVAL_S = float(os.environ.get("BENCH_PING") or 0)
PING = {"type": "websocket.send", "text": '{"type":"ping"}'}


class Bus:
    """Publications through Redis pub/sub."""

    def __init__(self, url):
        self.redis = redis.asyncio.from_url(url, socket_timeout=None)
        self.pubsub = self.redis.pubsub(ignore_subscribe_messages=True)
        self.reader = None
        # redis-py connects twice if the first two subscriptions come at once.
        self.lock = asyncio.Lock()

    async def subscribe(self, channel):
        async with self.lock:
            await self.pubsub.subscribe(channel)
        if self.reader is None:
            self.reader = asyncio.create_task(self.read())

    async def read(self):
        async for message in self.pubsub.listen():
            await deliver(message["channel"].decode(), message["data"].decode())


async def deliver(channel, text):
    frame = {"type": "websocket.send", "text": text}
    for send in tuple(_sends.get(channel, ())):
        await send(frame)


async def ping_all():
    """Send the pings that are due; the first of the dict is the next."""
    while True:
        await asyncio.sleep(0.25)
        now = time.monotonic()
        while _pings:
            send = next(iter(_pings))
            if _pings[send] > now:
                break
            _pings[send] = _pings.pop(send) + PING_INTERVAL_S
            await send(PING)


async def on_message(message, send, joined):
    global _bus
    kind = message["type"]
    if kind == "pong":
        return
    if kind == "ping":
        await send({"type": "websocket.send", "text": '{"type":"pong"}'})
        return
    channel = message["channel"]
    if _bus is None and (url := os.environ.get("BENCH_REDIS_URL")):
        _bus = Bus(url)
    if kind == "subscribe":
        if channel not in _sends:
            _sends[channel] = {}
            if _bus is not None:
                await _bus.subscribe(channel)
        _sends[channel][send] = None
        joined.append(channel)
        await send({"type": "websocket.send", "text": '{"type":"subscribed"}'})
    elif kind == "publish":
        text = json.dumps(
            {"type": "message", "channel": channel, "payload": message["payload"]},
            separators=(",", ":"),
        )
        if _bus is not None:
            await _bus.redis.publish(channel, text)
        else:
            await deliver(channel, text)


async def application(scope, receive, send):
    global _pinging
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    joined = []
    if PING_INTERVAL_S:
        _pings[send] = time.monotonic() + PING_INTERVAL_S
        _pinging = _pinging or asyncio.create_task(ping_all())
    try:
        while (event := await receive())["type"] == "websocket.receive":
            await on_message(json.loads(event["text"]), send, joined)
    finally:
        _pings.pop(send, None)
        for channel in joined:
            _sends[channel].pop(send, None)
