"""How many connections were told, where a channel class asks for it."""

from __future__ import annotations

import logging

import pytest

from channels_realtime.errors import Unavailable
from channels_realtime.nodes import deliveries
from channels_realtime.nodes.deliveries import Deliveries, acount, answer
from channels_realtime.nodes.node import place
from channels_realtime.protocol.messages import Publication
from channels_realtime.publications import outgoing_of
from tests.support.kept_channels import register_kinds
from tests.support.nodes import NodeHarness, subscribe
from tests.support.scripted_layer import ScriptedLayer
from tests.support.virtual_time import in_virtual_time, settle


def harness(layer: ScriptedLayer | None = None) -> NodeHarness:
    made = NodeHarness(layer=layer)
    register_kinds(made.node.routes)
    return made


def outgoing(site: NodeHarness, name: str):
    return outgoing_of(
        site.node.routes.resolve(name),
        Publication(name, 1),
        key=None,
        condition=None,
        transient=False,
    )


@pytest.mark.parametrize("name", ["counted/1", "counted-and-kept/1"])
@in_virtual_time
async def test_connections_of_every_node_are_counted(name):
    layer = ScriptedLayer()
    async with harness(layer) as one, harness(layer) as two, harness(layer) as none:
        place(one.node)
        for site in (one, one, two):
            client = await site.open()
            await client.ask(subscribe(name))
        await none.open()
        sent = outgoing(one, name)
        outcome = await one.node.publish(sent)
        await settle()
        assert await answers(sent, one, two, none) == [2, 1, 0]
        assert outcome.duplicate is False


async def answers(sent, *sites: NodeHarness) -> list[int]:
    arguments = {"channel": sent.publication.key, "uid": sent.publication.uid}
    return [await answer(site.node, arguments) for site in sites]


@in_virtual_time
async def test_publication_that_is_about_to_arrive_is_waited_for():
    counts = Deliveries()
    async with NodeHarness() as site:
        found = []
        site.node.spawn(collect(counts, "uid", found), "ask")
        await settle()
        counts.note("uid", 3)
        await settle()
        assert found == [3]
        assert await counts.told("uid") == 3


async def collect(counts: Deliveries, uid: str, found: list[int]) -> None:
    found.append(await counts.told(uid))


@in_virtual_time
async def test_publication_that_never_arrives_told_nobody():
    assert await Deliveries().told("lost") == 0


@in_virtual_time
async def test_only_the_newest_are_remembered():
    counts = Deliveries()
    for number in range(1_001):
        counts.note(str(number), 1)
    assert await counts.told("0") == 0
    assert await counts.told("1000") == 1


@in_virtual_time
async def test_channel_that_does_not_ask_is_not_counted():
    async with harness() as site:
        sent = outgoing(site, "numbered/1")
        outcome = await site.node.publish(sent)
        assert sent.publication.uid == ""
        assert await acount([sent], [outcome], frozenset) == [None]


@in_virtual_time
async def test_count_that_cannot_be_had_is_none_and_logged(monkeypatch, caplog):
    async def fails(*args, **options):
        raise Unavailable("no layer")

    async with harness() as site:
        monkeypatch.setattr(deliveries, "arequest", fails)
        sent = outgoing(site, "counted/1")
        outcome = await site.node.publish(sent)
        with caplog.at_level(logging.WARNING):
            assert await acount([sent], [outcome], lambda: frozenset({"a"})) == [None]
        assert "Who was told on 'counted/1' is not known: no layer" in caplog.text
