"""The channel for ``realtime_bench --url``, as its reference has it."""

import channels_realtime.benchmark.channels  # noqa: F401
