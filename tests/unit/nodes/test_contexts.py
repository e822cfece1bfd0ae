"""What a node runs for all connections does not run in the context of the first of them."""

from __future__ import annotations

import asyncio
import contextvars

from channels_realtime.config import Config
from channels_realtime.nodes.node import Node, Service
from channels_realtime.runtime.timers import Timers
from tests.support.scripted_layer import ScriptedLayer
from tests.support.virtual_time import VirtualClock, in_virtual_time, settle

tenant = contextvars.ContextVar("tenant", default="nobody's")


class Noting(Service):
    seen: list[str]

    async def start(self) -> None:
        self.seen.append(f"service {tenant.get()}")
        self.task = asyncio.create_task(self.run())

    async def run(self) -> None:
        self.seen.append(f"its task {tenant.get()}")


class NotingLayer(ScriptedLayer):
    async def receive(self, channel):
        Noting.seen.append(f"reader {tenant.get()}")
        return await super().receive(channel)

    async def group_add(self, group, channel):
        Noting.seen.append(f"layer {tenant.get()}")
        await super().group_add(group, channel)


@in_virtual_time
async def test_services_and_broker_do_not_inherit_the_first_connections_context():
    Noting.seen = []
    node = Node(Config(), NotingLayer(), services=[Noting], clock=VirtualClock())
    tenant.set("the first connection's")
    await node.ready()
    await node.broker.join("public/a")
    await settle()
    assert {line.partition(" ")[0] for line in Noting.seen} == {"service", "its", "reader", "layer"}
    assert all(line.endswith(" nobody's") for line in Noting.seen)
    assert tenant.get() == "the first connection's"
    await node.stop()


@in_virtual_time
async def test_timers_do_not_inherit_the_context_of_the_connection_that_set_them():
    seen = []

    class Alarm:
        early = False

        def due(self, now):
            seen.append(tenant.get())

    timers = Timers(VirtualClock())
    tenant.set("the first connection's")
    timers.set(Alarm(), 10.0)
    await asyncio.sleep(11)
    assert seen == ["nobody's"]
