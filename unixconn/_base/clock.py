"""Clock: what is to happen at its time."""

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
"""Items that are over are left alone while there are not more than that."""


class Clock(Generic[T]):
    """
    Items, each with a moment, a time of `time.monotonic`.

    Any thread may add; one at a time reads. *is_over* tells of an item whether it has lost its interest meanwhile: such
    ones are left out, and do not pile up.
    """

    def __init__(self, is_over: Callable[[T], bool]) -> None:
        self._is_over = is_over
        self._arrivals: deque[tuple[float, int, T]] = deque()
        self._heap: list[tuple[float, int, T]] = []
        self._numbers = count()
        self._limit = _FEW

    def add(self, moment: float, item: T) -> None:
        """Add *item* for *moment*."""
        self._arrivals.append((moment, next(self._numbers), item))

    def has_arrivals(self) -> bool:
        """Tell whether something was added since `next` was called."""
        return bool(self._arrivals)

    def is_crowded(self) -> bool:
        """Tell whether so much was added since `next` was called that it may be most of what there is."""
        return len(self._arrivals) > self._limit

    def next(self) -> float:
        """Give the earliest moment, infinity if there is none."""
        push_all(self._arrivals, self._heap)
        if len(self._heap) > self._limit:
            self._heap = [each for each in self._heap if not self._is_over(each[2])]
            heapify(self._heap)
            self._limit = 2 * len(self._heap) + _FEW
        while self._heap and self._is_over(self._heap[0][2]):
            heappop(self._heap)
        if not self._heap:
            # Or after a crowd few would pile up to the size of that.
            self._limit = _FEW
            return math.inf
        return self._heap[0][0]

    def move_due(self, target: list[T] | deque[T]) -> None:
        """Move to *target* what has its moment now or had it before."""
        if self._heap or self._arrivals:
            now = time.monotonic()
            while self.next() <= now:
                target.extend(map(itemgetter(2), map(heappop, (self._heap,))))


def push_all(source: deque[ItemT], heap: list[ItemT]) -> None:
    """
    Move what is in *source* to *heap*.

    In one step of the interpreter, where it is CPython: between two steps a signal handler may raise, and an item that
    has left the one would never come to the other.
    """
    try:
        deque(map(heappush, repeat(heap), iter(source.popleft, None)), 0)  # type: ignore[arg-type]
    except IndexError:  # it is empty now
        return
