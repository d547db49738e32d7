"""Clock: a priority queue of items, each due at a moment."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from heapq import heapify, heappop, heappush
from itertools import count, repeat

from unixconn._base.lock import ending
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

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
        self._first = popping(self._heap)
        self._numbers = count()
        self._limit = _FEW
        self.is_in_use = False
        """Whether `next` has to be asked: an item was added since it has last returned infinity."""

    def add(self, moment: float, item: T) -> None:
        """Add *item*, which becomes due at *moment*."""
        self._arrivals.append((moment, next(self._numbers), item))
        self.is_in_use = True

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
            self._heap[:] = [each for each in self._heap if not self._is_over(each[2])]
            heapify(self._heap)
            self._limit = 2 * len(self._heap) + _FEW
        while self._heap and self._is_over(self._heap[0][2]):
            next(map(*self._first))
        if not self._heap:
            # After many items the limit is high, and items that are over would pile up to it.
            self._limit = _FEW
            self.is_in_use = False
            if self._arrivals:  # added since, perhaps before the line above
                self.is_in_use = True
            return math.inf
        return self._heap[0][0]

    def move_due(self, target: list[T] | deque[T]) -> None:
        """Move the items that are due to *target*, the earliest first."""
        if self._heap or self._arrivals:
            now = time.monotonic()
            while self.next() <= now:
                target.extend(map(tuple.__getitem__, map(*self._first), (2,)))


# Between two steps of the interpreter a signal handler may raise an exception, and an item that has left one container
# would never arrive in the next one. So an item moves in one step. A function that is written in Python has many:
# PyPy's heapq is. There the heap is a sorted list, which is a heap, too.

if sys.implementation.name == "pypy":

    @ending
    def push_all(source: deque[ItemT], heap: list[ItemT]) -> None:
        """Move all items of *source* to *heap*, a sorted list from which others only remove items."""
        while True:
            # If an exception has come before the sorting, the next call does it. Only the last item can be out of
            # order.
            last = heap[-2:]
            if last[-1:] < last[:1]:
                heap.sort()
            if not source:
                return
            try:
                heap.extend(map(deque.popleft, (source,)))
            except IndexError:  # a signal handler has moved it
                continue

    def popping(heap: list[ItemT]) -> tuple[Any, ...]:
        """Return the arguments of a `map` that removes the first item of *heap* and has it as its only item."""
        return list.pop, (heap,), (0,)

    push: Callable[[list[Any], Any], None] | None = None

else:

    def push_all(source: deque[ItemT], heap: list[ItemT]) -> None:
        """Move all items of *source* to *heap*."""
        try:
            deque(map(heappush, repeat(heap), iter(source.popleft, None)), 0)  # type: ignore[arg-type]
        except IndexError:  # *source* is empty now: this is how popleft() ends the iteration
            return

    def popping(heap: list[ItemT]) -> tuple[Any, ...]:
        """Return the arguments of a `map` that removes the first item of *heap* and has it as its only item."""
        return heappop, (heap,)

    push = heappush
    """Push an item to a heap in one step; None where that takes several."""
