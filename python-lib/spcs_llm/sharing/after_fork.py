"""What a forked child must not take over from its parent: locks that are held, queues and counts of other threads.

DSS may fork a process in which queries are under way. In the child only the thread that forked goes on, so whatever
the others held or waited for would stay held forever.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """Something that a forked child must not take over as it is."""

    def renew_after_fork(self) -> None:
        """Puts the object back to the state of one that nobody uses. Called in the child, before anything else."""


_renewable: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_in_child(thing: Renewable) -> None:
    """Has an object renewed in every child that this process forks, as long as the object lives.

    Args:
        thing: The object.
    """
    _renewable.add(thing)


def _renew_all() -> None:
    for thing in list(_renewable):
        thing.renew_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
