"""
Owning descriptors.

A number that a system call has returned and that nobody has stored yet is lost when a signal handler raises just then.
So an owner, a list, exists before the call, and numbers enter and leave it within one step of the interpreter: nothing
of Python runs between the system call and the list. Whoever holds the list closes what is left in it.
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
    from typing import Any, Protocol, Union

    class HasFileno(Protocol):
        """An object with a file descriptor."""

        def fileno(self) -> int:
            """Return the number of the descriptor."""

    FileDescriptorLike = Union[int, HasFileno]
    """A file descriptor: its number, or an object with ``fileno()``. What typeshed has under the same name."""

T = TypeVar("T")

RETURN_IS_ATOMIC = sys.implementation.name != "pypy" and sys.version_info >= (3, 11)
"""Whether a value that a Python function returns is stored by its caller before any signal handler can run."""


def adopt(owner: list[int], create: Callable[..., int], *arguments: Any) -> int:
    """Call *create* with *arguments*, let *owner* have the descriptor that it returns, and give its number."""
    owner.extend(starmap(create, (arguments,)))
    return owner[-1]


def take(owner: list[T]) -> T:
    """
    Take the last one that *owner* has, and give it; if a signal handler raises meanwhile, it is there again.

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
    """Let *owner* have a duplicate of each of *numbers*. Raises the Error for dup(2)'s errno."""
    try:
        for number in numbers:
            adopt(owner, os.dup, number)
    except OSError as error:
        raise translated(error, "dup: ") from None


def close_all(owner: list[int], but: int = 0) -> None:
    """Close all that *owner* has *but* so many at its start. A number that is not open any more is passed over."""
    while len(owner) > but:
        try:
            next(map(os.close, map(owner.pop, (-1,))))
        except OSError:
            continue
        except IndexError:  # a signal handler has closed it
            return


def move_all(source: list[int], target: list[int]) -> None:
    """Move all that *source* has to *target*, in their order."""
    while source:
        try:
            target.extend(map(source.pop, (0,)))
        except IndexError:  # a signal handler has taken it
            return


class Guard:
    """
    Closes what *owners*, lists of descriptors, have when it goes.

    Made where something starts to wait, and may be dropped while it does. Not for more: an exception that a signal
    handler raises in a destructor goes no further.
    """

    __slots__ = ("_owners",)

    def __init__(self, owners: Sequence[list[int]]) -> None:
        self._owners = owners

    def __del__(self) -> None:
        # Also where a signal handler has raised before the constructor's end.
        for owner in getattr(self, "_owners", ()):
            close_all(owner)


def close_numbers(numbers: Iterable[int]) -> None:
    """Close *numbers*, which nobody else owns."""
    close_all(list(numbers))


_NUMBERS_ALONE = frozenset((int,))


def close_fds(fds: Iterable[int]) -> None:
    """
    Close the descriptors *fds*, numbers in any order; those in a row by one system call, as they come from the kernel.

    It is one step that no signal handler comes between: either none is closed when an exception comes out, or all are.
    By `os.closerange`, which is close_range(2) where there is one. A number that is not open is passed over, as the
    kernel does not tell.

    Raises TypeError, ValueError or OverflowError for what can not be the number of a descriptor, TypeError also for an
    object that has one, as it closes it itself; ValueError for a number that is there twice. None is closed then.
    """
    values = listed(fds)
    if not _NUMBERS_ALONE.issuperset(map(type, values)):
        wrong = next(each for each in values if type(each) is not int)
        raise TypeError(f"fds must be numbers of descriptors, not {wrong!r}")
    numbers = sorted(values)
    for each in numbers[:1] + numbers[-1:]:
        as_descriptor(each, "fds")
    if numbers:
        deque(starmap(os.closerange, _rows(numbers)), 0)


def _rows(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Give the first number of each row in *numbers*, which are sorted, and the one after its last."""
    rows = []
    first = last = numbers[0]
    for each in numbers[1:]:
        if each != last + 1:
            if each == last:
                raise ValueError(f"fds must be different descriptors, and {each} is there twice")
            rows.append((first, last + 1))
            first = each
        last = each
    rows.append((first, last + 1))
    return rows


_TEXTS = (str, bytes, bytearray, memoryview)


def listed(values: Iterable[Any]) -> tuple[Any, ...]:
    """
    Give descriptors, numbers or objects, to be kept until they are sent: what a generator makes is nobody else's.

    Raises TypeError for what is no list of any: bytes, whose numbers are not meant, and a file, whose lines it has.
    """
    if isinstance(values, _TEXTS) or hasattr(values, "fileno") or not hasattr(values, "__iter__"):
        raise TypeError(f"fds must be descriptors, and {values!r} is no list of any")
    return tuple(values)


def as_descriptors(values: Sequence[Any]) -> tuple[int, ...]:
    """Give the numbers of descriptors; see `as_descriptor`. Raises ValueError for none at all."""
    if not values:
        raise ValueError("fds must have at least one descriptor")
    return tuple(as_descriptor(each, f"fds[{index}]") for index, each in enumerate(values))


def as_descriptor(value: Any, name: str = "fd") -> int:
    """
    Give the number of the descriptor *value*: an integer, or an object with ``fileno()``.

    Raises TypeError for anything else, a bool and a float among them, ValueError for a negative number and
    OverflowError for one that no descriptor can have; each names *name* and the value.
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
