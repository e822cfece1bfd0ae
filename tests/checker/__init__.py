"""Proves that nothing is missed: records of subscribers, compared with what the history store said.

    python -m tests.checker [--seconds 300] [--rate 500] [--channels 50]

See ``docs/topics/what-you-can-rely-on.md``.
"""
