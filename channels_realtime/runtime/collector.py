"""The garbage collector of a process that holds many connections.

A full collection searches all objects of the process, and stops it meanwhile. With the interpreter's own
numbers one starts whenever the number of objects has grown by a quarter: while clients arrive, again
and again.
"""

from __future__ import annotations

import gc

THRESHOLD = (10_000, 10, 10)
"""Of ``gc.set_threshold``. Python 3.14 collects the old objects in small parts instead, a hundredth
of them every 10,000 new ones, and ignores the third number."""

_DEFAULT_THRESHOLDS = frozenset({(700, 10, 10), (2_000, 10, 10), (2_000, 10, 0)})
"""The interpreter's own: Python 3.11 and 3.12, 3.13, and 3.14. Any other is the site's."""

_FROZEN_BY_INTERPRETER = 1_000
"""At most so many objects are frozen when Python 3.12 has started; a site freezes many thousands."""


def tune_garbage_collector() -> None:
    """Have the garbage collector run less often, and leave out what exists by now.

    For processes that hold thousands of connections. Call it once, when the server has imported
    everything: it collects first, which blocks for 0.05 s on a small site (100,000 objects). What the
    site itself has set stays: does nothing where the collector is disabled, where objects are frozen
    already or where ``gc.get_threshold`` is not the interpreter's own.
    """
    if not gc.isenabled() or gc.get_threshold() not in _DEFAULT_THRESHOLDS:
        return
    if gc.get_freeze_count() > _FROZEN_BY_INTERPRETER:
        return
    gc.collect()  # what is garbage would otherwise stay for good
    gc.freeze()
    gc.set_threshold(*THRESHOLD)
