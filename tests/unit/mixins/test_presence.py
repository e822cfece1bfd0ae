"""Presence of the clients of a site's own consumer."""

from __future__ import annotations

from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import User

from channels_realtime.mixins import ChannelsMixin
from tests.support.asgi_socket import AsgiSocket


class Chat(ChannelsMixin, AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.accept()
        found = await self.channels.subscribe("lounges/own", presence=True)
        await self.send_json({"here": [member.user for member in found.members]})


async def test_consumer_gets_the_members_and_its_client_the_joins(node):
    async with AsgiSocket(Chat.as_asgi(), user=User(pk=1, username="ann")) as ann:
        assert await ann.read() == {"here": ["1"]}
        async with AsgiSocket(Chat.as_asgi(), user=User(pk=2, username="bob")) as bob:
            assert await bob.read() == {"here": ["1", "2"]}
            joined = await ann.read()
            member = {"id": "user:2", "user": "2", "info": {"name": "bob"}}
            expected = {"member": member, "count": 2}
            assert joined == {"type": "join", "channel": "lounges/own", "payload": expected}


async def test_consumer_with_its_own_words_is_told_of_members(node):
    class Own(Chat):
        async def channel_message(self, channel, payload, event, sender):
            raise AssertionError("nothing was published")

        async def channel_member(self, channel, kind, member, count):
            await self.send_json({kind: member["info"]["name"], "on": channel, "count": count})

    async with AsgiSocket(Own.as_asgi(), user=User(pk=1, username="ann")) as ann:
        assert await ann.read() == {"here": ["1"]}
        async with AsgiSocket(Chat.as_asgi(), user=User(pk=2, username="bob")):
            assert await ann.read() == {"join": "bob", "on": "lounges/own", "count": 2}


async def test_own_words_fall_back_on_the_wires(node):
    class Own(Chat):
        async def channel_message(self, channel, payload, event, sender):
            raise AssertionError("nothing was published")

    async with AsgiSocket(Own.as_asgi(), user=User(pk=1, username="ann")) as ann:
        await ann.read()
        async with AsgiSocket(Chat.as_asgi(), user=User(pk=2, username="bob")):
            assert (await ann.read())["type"] == "join"
