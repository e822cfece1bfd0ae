"""The reference for fan-out: an ASGI application with one hub that encodes once and sends in a loop."""

import json

_sends: dict = {}


async def application(scope, receive, send):
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept", "subprotocol": scope["subprotocols"][0]})
    try:
        while (event := await receive())["type"] == "websocket.receive":
            message = json.loads(event["text"])
            if message["type"] == "subscribe":
                _sends[send] = None
                await send({"type": "websocket.send", "text": '{"type":"subscribed"}'})
            elif message["type"] == "publish":
                text = json.dumps(
                    {
                        "type": "message",
                        "channel": message["channel"],
                        "payload": message["payload"],
                    },
                    separators=(",", ":"),
                )
                frame = {"type": "websocket.send", "text": text}
                for one in tuple(_sends):
                    await one(frame)
    finally:
        _sends.pop(send, None)
