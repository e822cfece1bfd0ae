"""The checker, for some seconds: nothing lost, repeated or out of order where it was recovered.

``python -m tests.checker`` runs it for five minutes; ``docs/topics/what-you-can-rely-on.md``.
"""

import dataclasses

from tests.checker.rounds import run as run_rounds
from tests.checker.run import Options, run

SMALL = Options(
    seconds=10.0,
    rate=100.0,
    channels=10,
    publishers=2,
    subscribers=4,
    follows=5,
    size=20,
    cut_every=0.15,
    kill_every=2.0,
    away=0.1,
)


def test_subscribers_miss_nothing_on_a_layer_that_loses_repeats_and_reorders() -> None:
    result = run(SMALL)
    print(result.table())
    assert result.verdict.faults == []
    # It has seen what it is for.
    counts = result.verdict.counts
    assert result.truth.count > 200
    assert counts["recovered"] > 20
    assert counts["received later"] > 20
    assert result.clients["resumed"] > 5
    assert result.of_servers("healed") > 10
    assert result.disturbances["connections cut"] > 10
    assert result.disturbances["clients of Redis killed (normal)"] > 0
    assert result.disturbances["clients of Redis killed (pubsub)"] > 0


def test_subscribers_miss_nothing_with_the_adapter_and_frames_that_are_made_once() -> None:
    """As the figures are measured: over the layer itself, whose connections Redis ends all the time."""
    servers = ("uvicorn-frames", "daphne-frames")
    result = run(dataclasses.replace(SMALL, layer="pubsub", servers=servers, kill_every=0.5))
    print(result.table())
    assert result.verdict.faults == []
    counts = result.verdict.counts
    assert result.truth.count > 200
    assert counts["recovered"] > 20
    assert result.clients["resumed"] > 5
    assert result.disturbances["connections cut"] > 10
    assert result.disturbances["clients of Redis killed (pubsub)"] > 5


def test_page_and_subscription_leave_no_gap_between_them() -> None:
    outcome = run_rounds(20, 5)
    assert outcome.faults == []
    assert outcome.rounds == 20
    assert outcome.between > 40
