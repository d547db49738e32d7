"""Clock: a priority queue of items, each due at a moment."""

from __future__ import annotations

import math
import time
from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count, repeat
from operator import itemgetter

from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
ItemT = TypeVar("ItemT")


_FEW = 64
"""The number of items up to which the queue is not searched for items that are over."""


class Clock(Generic[T]):
    """
    Items in the order of their moments, which are times of `time.monotonic`.

    Any thread may call `add`; the other methods may run in one thread at a time. *is_over* returns whether an item is
    not needed any more. The clock skips such items, and removes them before they pile up.
    """

    def __init__(self, is_over: Callable[[T], bool]) -> None:
        self._is_over = is_over
        self._arrivals: deque[tuple[float, int, T]] = deque()
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = count()
        self._limit = _FEW

    def add(self, moment: float, item: T) -> None:
        """Add *item*, which becomes due at *moment*."""
        self._arrivals.append((moment, next(self._numbers), item))

    def has_arrivals(self) -> bool:
        """Return whether an item was added since the last call of `next`."""
        return bool(self._arrivals)

    def is_crowded(self) -> bool:
        """Return whether so many items were added that `next` should be called, which removes those that are over."""
        return len(self._arrivals) > self._limit

    def next(self) -> float:
        """Return the earliest moment of an item that is not over; infinity if there is none."""
        push_all(self._arrivals, self._heap)
        if len(self._heap) > self._limit:
            self._heap = [each for each in self._heap if not self._is_over(each[2])]
            heapify(self._heap)
            self._limit = 2 * len(self._heap) + _FEW
        while self._heap and self._is_over(self._heap[0][2]):
            heappop(self._heap)
        if not self._heap:
            # After many items the limit is high, and items that are over would pile up to it.
            self._limit = _FEW
            return math.inf
        return self._heap[0][0]

    def move_due(self, target: list[T] | deque[T]) -> None:
        """Move the items that are due to *target*, the earliest first."""
        if self._heap or self._arrivals:
            now = time.monotonic()
            while self.next() <= now:
                target.extend(map(itemgetter(2), map(heappop, (self._heap,))))


def push_all(source: deque[ItemT], heap: list[ItemT]) -> None:
    """
    Move all items of *source* to *heap*.

    On CPython this is one step of the interpreter. Between two steps a signal handler may raise, and an item that has
    left *source* would never arrive in *heap*.
    """
    try:
        deque(map(heappush, repeat(heap), iter(source.popleft, None)), 0)  # type: ignore[arg-type]
    except IndexError:  # *source* is empty now: this is how popleft() ends the iteration
        return
