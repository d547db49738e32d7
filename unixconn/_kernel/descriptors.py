"""
File descriptors and their owners.

An exception raised by a signal handler loses a number that a system call has just returned and that is not stored yet.
So an owner, a list, exists before the call, and numbers enter and leave it within one step of the interpreter: nothing
of Python runs between the system call and the list. Whatever holds the list closes what is left in it.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from itertools import starmap

from unixconn._base.arguments import INT_MAX
from unixconn._base.errors import translated
from unixconn._base.typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Any, Protocol, Union

    class HasFileno(Protocol):
        """An object with a file descriptor."""

        def fileno(self) -> int:
            """Return the number of the descriptor."""

    FileDescriptorLike = Union[int, HasFileno]
    """A file descriptor: its number, or an object with ``fileno()``. What typeshed has under the same name."""

T = TypeVar("T")

RETURN_IS_ATOMIC = sys.implementation.name != "pypy" and sys.version_info >= (3, 11)
"""Whether a caller stores what a Python function returns before any signal handler can run."""


def adopt(owner: list[int], create: Callable[..., int], *arguments: Any) -> int:
    """Call *create* with *arguments*, let *owner* have the descriptor that it returns, and return the number."""
    owner.extend(starmap(create, (arguments,)))
    return owner[-1]


def take(owner: list[T]) -> T:
    """
    Take the last item out of *owner*, and return it. If a signal handler raises meanwhile, the item is put back.

    Raises IndexError if there is none.
    """
    taken: list[T] = []
    try:
        taken.extend(map(owner.pop, (-1,)))
        return taken[0]
    except BaseException:
        owner += taken
        raise


def duplicate_all(owner: list[int], numbers: Iterable[int]) -> None:
    """Duplicate the descriptors *numbers* into *owner*. Raises the Error for dup(2)'s errno."""
    try:
        for number in numbers:
            adopt(owner, os.dup, number)
    except OSError as error:
        raise translated(error, "dup: ") from None


def close_all(owner: list[int], but: int = 0) -> None:
    """Close all that *owner* has, *but* so many at its start. A number that is no open descriptor is passed over."""
    try:
        while len(owner) > but:
            try:
                next(map(os.close, map(owner.pop, (-1,))))
            except OSError:
                continue
    except IndexError:  # a signal handler has closed it
        return
    except BaseException:  # raised by a signal handler: the others have to be closed, too
        close_all(owner, but)
        raise


class Owner(list[int]):
    """
    A list of descriptors that closes what is left in it, at the end of a ``with`` block and when it is dropped.

    An exception raised by a signal handler at the first step of the exit keeps that from closing anything. The
    destructor does it then.
    """

    __slots__ = ()

    def __enter__(self) -> Owner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_all(self)

    def __del__(self) -> None:
        if self:
            close_all(self)


def move_all(source: list[int], target: list[int]) -> None:
    """Move all items of *source* to *target*, in their order."""
    while source:
        try:
            target.extend(map(source.pop, (0,)))
        except IndexError:  # a signal handler has taken it
            return


_NUMBERS_ALONE = frozenset((int,))


def close_fds(fds: Iterable[int]) -> None:
    """
    Close the descriptors *fds*, numbers in any order. Consecutive numbers take one system call.

    All are closed in one step of the interpreter: when an exception raised by a signal handler comes out, either none
    is closed or all are. Uses `os.closerange`, which is close_range(2) where the system has it. A number that is no
    open descriptor is passed over, as the kernel does not report it.

    Raises TypeError for an item that is no integer, also for an object with ``fileno()``, which closes its descriptor
    itself; ValueError for a negative number and for one that occurs twice; OverflowError for one that does not fit a C
    int. No descriptor is closed then.
    """
    values = listed(fds)
    if not _NUMBERS_ALONE.issuperset(map(type, values)):
        wrong = next(each for each in values if type(each) is not int)
        raise TypeError(f"fds must be numbers of descriptors, not {wrong!r}")
    numbers = sorted(values)
    if numbers:
        if numbers[0] < 0 or numbers[-1] > INT_MAX:
            for each in numbers:
                as_descriptor(each, "fds")
        deque(starmap(os.closerange, _rows(numbers)), 0)


def _rows(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return the rows of consecutive numbers in *numbers*, which are sorted: the first, and the last plus one."""
    rows = []
    first = last = numbers[0]
    for each in numbers[1:]:
        if each != last + 1:
            if each == last:
                raise ValueError(f"fds must be different descriptors, and {each} occurs twice")
            rows.append((first, last + 1))
            first = each
        last = each
    rows.append((first, last + 1))
    return rows


_TEXTS = (str, bytes, bytearray, memoryview)


def listed(values: Iterable[Any]) -> tuple[Any, ...]:
    """
    Return the descriptors *values* as a tuple, which keeps objects that nobody else has until they are sent.

    Raises TypeError for an argument that is no list of descriptors, also for bytes, whose numbers are not meant, and
    for a file, which would iterate over its lines.
    """
    if isinstance(values, _TEXTS) or hasattr(values, "fileno") or not hasattr(values, "__iter__"):
        raise TypeError(f"fds must be a list of descriptors, not {values!r}")
    return tuple(values)


def as_descriptors(values: Sequence[Any]) -> tuple[int, ...]:
    """Return the numbers of the descriptors *values*, see `as_descriptor`. Raises ValueError for an empty list."""
    if not values:
        raise ValueError("fds must have at least one descriptor")
    return tuple(as_descriptor(each, f"fds[{index}]") for index, each in enumerate(values))


def as_descriptor(value: Any, name: str = "fd") -> int:
    """
    Return the number of the descriptor *value*: an integer, or an object with ``fileno()``.

    Raises TypeError for anything else, also for a bool and a float, ValueError for a negative number, and OverflowError
    for a number that does not fit a C int. The text names *name* and the value.
    """
    if isinstance(value, bool) or value is None:
        raise TypeError(f"{name} must be a descriptor's number or an object with fileno(), not {value!r}")
    if not isinstance(value, int):
        if hasattr(value, "fileno"):
            return as_descriptor(value.fileno(), f"{name}.fileno()")
        if not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be a descriptor's number or an object with fileno(), not {value!r}")
        value = value.__index__()
    if not -INT_MAX - 1 <= value <= INT_MAX:
        raise OverflowError(f"{name} must fit a C int, and {value} does not")
    if value < 0:
        raise ValueError(f"{name} must be the number of an open descriptor, not {value}")
    return int(value)
