"""Objects of the process that all who name the same key share."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Callable, Generic, TypeVar

from spcs_llm.sharing.after_fork import renew_in_child

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SharedObjects(Generic[K, V]):
    """One object for each key. Thread-safe.

    An object that somebody uses is never made a second time. One that nobody uses any more is kept for the next user,
    unless others were asked for since: users come and go, and with them their tokens.

    Args:
        kept: How many of the objects that were asked for last are kept whether they are used or not.
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._alive: weakref.WeakValueDictionary[K, V] = weakref.WeakValueDictionary()
        self._recent: OrderedDict[K, V] = OrderedDict()
        self.renew_after_fork()
        renew_in_child(self)

    def renew_after_fork(self) -> None:
        self._lock = threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The object for a key, which is made if there is none.

        `make` runs without a lock, so that an object that takes long to make keeps nobody from another one. Of two
        that are made for a key at the same time, one is thrown away.

        Args:
            key: What the object is found by.
            make: Makes it.

        Returns:
            The object.
        """
        found = self._alive.get(key)
        return self.put(key, make() if found is None else found)

    def put(self, key: K, value: V) -> V:
        """Has a key stand for an object, too, unless it stands for another one.

        Args:
            key: What the object is to be found by.
            value: The object.

        Returns:
            The object that the key stands for.
        """
        with self._lock:
            value = self._alive.setdefault(key, value)
            self._recent[key] = value
            self._recent.move_to_end(key)
            excess = len(self._recent) - self._kept
            dropped = [self._recent.popitem(last=False) for _ in range(excess)]
        del dropped  # not under the lock: their end may run any code
        return value
