"""A channel layer that cannot be used is logged once, with its cause, and so is its return."""

from __future__ import annotations

import logging

import pytest

from channels_realtime.errors import Unavailable
from tests.support.nodes import NodeHarness
from tests.support.virtual_time import in_virtual_time


@in_virtual_time
async def test_unusable_layer_is_logged_once_and_its_return_too(caplog):
    caplog.set_level(logging.INFO, logger="channels_realtime.nodes.node")
    async with NodeHarness() as house:
        house.layer.fail("new_channel", *[OSError("no route to host.")] * 2)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await house.node.ready()
        await house.node.ready()
        await house.node.ready()
    own = [record for record in caplog.records if record.name.endswith("nodes.node")]
    assert [(record.levelname, record.getMessage()) for record in own] == [
        (
            "ERROR",
            "The channel layer 'default' (ScriptedLayer) cannot be used: OSError: no route to host."
            " Clients are told to try again later. Check that its server runs, and its address in"
            " CHANNEL_LAYERS.",
        ),
        ("INFO", "The channel layer can be used again"),
    ]


@in_virtual_time
async def test_layer_that_hangs_is_logged_by_its_time_out(caplog):
    async with NodeHarness() as house:
        house.layer.hanging.add("new_channel")
        with pytest.raises(Unavailable):
            await house.node.ready()
        house.layer.hanging.clear()
    (record,) = caplog.records
    assert "cannot be used: TimeoutError. Clients" in record.getMessage()
