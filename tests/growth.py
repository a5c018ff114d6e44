"""How much more CPU time a larger input costs, on a machine that may be busy with something else."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable

ROUNDS = 12
LONG = 1.0  # seconds of one run, over which what else the machine does evens out


def cpu_seconds(run: Callable[[], object]) -> float:
    """The CPU time of one run in this thread, without Python's garbage collector."""
    return timeit.timeit(run, timer=time.thread_time, number=1)


def growth(
    cost: Callable[[int], float], size: int, factor: int, *, most: float, least: float = 0.001
) -> float:
    """How many times as much `factor` times the size costs.

    A processor that others use too is slower for a while, also in CPU time, and a long run has more of it than a
    short one. So the small input is run as many times as it takes to last as long, by turns with the large one, and
    the least of each counts. What seems to cost more than `most` is measured again: only what really does stays there.

    Args:
        cost: the CPU seconds of one run with an input of that size.
        size: of the small input.
        factor: how many times as large the large one is.
        most: the growth that is still expected.
        least: seconds; what costs less is too small to be compared, and counts as that much.
    """
    small = large = float("inf")
    for _ in range(ROUNDS):
        small = min(small, sum(cost(size) for _ in range(factor)) / factor)
        large = min(large, cost(size * factor))
        found = large / max(small, least)
        if found <= most or large > LONG:
            break
    return found
