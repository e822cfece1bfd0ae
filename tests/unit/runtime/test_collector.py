"""The garbage collector of a process that serves: tuned unless the site has set it."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator

import pytest

from channels_realtime.runtime import collector
from channels_realtime.runtime.collector import THRESHOLD, tune_garbage_collector

DEFAULT = (700, 10, 10)


class Collector:
    """The interpreter's, as far as it is asked; freezing is only noted, as it would last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.frozen = 0
        monkeypatch.setattr(gc, "collect", lambda: self.calls.append("collect"))
        monkeypatch.setattr(gc, "freeze", lambda: self.calls.append("freeze"))
        monkeypatch.setattr(gc, "get_freeze_count", lambda: self.frozen)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    before = gc.get_threshold()
    gc.set_threshold(*DEFAULT)
    yield Collector(monkeypatch)
    gc.set_threshold(*before)


def test_tune_collects_then_freezes_then_sets_the_threshold(found: Collector) -> None:
    tune_garbage_collector()
    assert found.calls == ["collect", "freeze"]
    assert gc.get_threshold()[:2] == THRESHOLD[:2]


def test_tune_does_nothing_a_second_time(found: Collector) -> None:
    tune_garbage_collector()
    tune_garbage_collector()
    assert found.calls == ["collect", "freeze"]


def test_tune_leaves_a_threshold_of_the_sites_own(found: Collector) -> None:
    gc.set_threshold(50_000, 20, 20)
    tune_garbage_collector()
    assert found.calls == []
    assert gc.get_threshold()[:2] == (50_000, 20)


def test_tune_does_nothing_where_the_site_has_frozen_its_objects(found: Collector) -> None:
    found.frozen = 100_000
    tune_garbage_collector()
    assert found.calls == []
    assert gc.get_threshold() == DEFAULT


def test_tune_takes_no_notice_of_what_the_interpreter_froze(found: Collector) -> None:
    found.frozen = 375  # Python 3.12
    tune_garbage_collector()
    assert found.calls == ["collect", "freeze"]


def test_tune_does_nothing_where_the_collector_is_disabled(found: Collector) -> None:
    gc.disable()
    try:
        tune_garbage_collector()
    finally:
        gc.enable()
    assert found.calls == []
    assert gc.get_threshold() == DEFAULT


def test_the_numbers_of_this_interpreter_are_known() -> None:
    command = [sys.executable, "-S", "-c", "import gc; print(*gc.get_threshold())"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert tuple(map(int, printed.split())) in collector._DEFAULT_THRESHOLDS
