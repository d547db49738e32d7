"""
File descriptors and their owners.

A system call returns the number of a new descriptor. If a signal handler raises before the number is stored, the number
is lost, and the descriptor stays open for good. So each descriptor has an owner, a list that exists before the call. A
number enters and leaves the list in one step of the interpreter, such as ``owner.extend(map(...))``, which is C from
end to end: no signal handler can run between the system call and the list. The code that holds the list closes what is
left in it.
"""

from __future__ import annotations

import errno
import os
import sys
from collections import deque
from itertools import chain, filterfalse, starmap

from unixconn._base.arguments import INT_MAX
from unixconn._base.errors import Error, IOErrorEnum, io_error, translated
from unixconn._base.typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from socket import socket
    from types import TracebackType
    from typing import Any, Protocol, Union

    class HasFileno(Protocol):
        """An object with a file descriptor."""

        def fileno(self) -> int:
            """Return the number of the descriptor."""

    FileDescriptorLike = Union[int, HasFileno]
    """A file descriptor: its number, or an object with ``fileno()``. typeshed has a type of the same name."""

T = TypeVar("T")

RETURN_IS_ATOMIC = sys.implementation.name != "pypy" and sys.version_info >= (3, 11)
"""Whether no signal handler can run between a Python function's return and the caller's store of the result."""


def adopt(owner: list[int], create: Callable[..., int], *arguments: Any) -> int:
    """Call *create* with *arguments*, append the descriptor that it returns to *owner*, and return its number."""
    owner.extend(starmap(create, (arguments,)))
    return owner[-1]


def take(owner: list[T]) -> T:
    """
    Remove the last item of *owner* and return it. If a signal handler raises before the return, the item is put back.

    Raises IndexError if *owner* is empty.
    """
    taken: list[T] = []
    try:
        taken.extend(map(owner.pop, (-1,)))
        return taken[0]
    except BaseException:
        owner += taken
        raise


def duplicate_all(owner: list[int], numbers: Sequence[int]) -> None:
    """Append a duplicate of each of the descriptors *numbers* to *owner*. Raises the Error for dup(2)'s errno."""
    try:
        # In one step of the interpreter. After an error, the owner has the duplicates that were made before it.
        owner.extend(map(os.dup, numbers))
    except OSError as error:
        raise translated(error, "dup: ", note_about(error.errno, *numbers)) from None


def note_about(code: int | None, *fds: int) -> str:
    """Return the note for the Error of a system call that has failed with the errno *code* for one of *fds*."""
    if code == errno.ENOTSOCK:
        return f"the file under the number {fds[0]} is not a socket"
    closed = next(filterfalse(is_open, fds), None) if code == errno.EBADF else None
    return "" if closed is None else f"no file is open under the number {closed}: was it closed?"


def is_open(fd: int) -> bool:
    """Return whether a file is open under the number *fd*. Raises OverflowError if that does not fit a C int."""
    try:
        os.fstat(fd)
    except OSError as error:
        # Any other errno is one of an open file, such as ESTALE where a server has lost it.
        return error.errno != errno.EBADF
    return True


def make_pipe(owner: list[int]) -> None:
    """Append the ends of a new pipe to *owner*, the one to read first. Raises OSError for the errno of pipe(2)."""
    owner.extend(chain.from_iterable(starmap(os.pipe, ((),))))


def detach(owner: list[int], sock: socket) -> None:
    """Move the descriptor of *sock*, a socket of the standard library, to *owner*. Raises CLOSED if it is closed."""
    number = sock.fileno()
    if number < 0:
        raise not_open(sock)
    try:
        owner.extend(starmap(sock.detach, ((),)))
    finally:
        # detach() is Python code: a signal handler may have raised when the socket had let go of the descriptor.
        if not owner and sock.fileno() < 0:
            owner.append(number)


def not_open(sock: object) -> Error:
    """Return the Error for a socket of the standard library that is closed."""
    return io_error(IOErrorEnum.CLOSED, f"sock must be open, and {sock!r} is not")


def attach(sock: socket, owner: list[int]) -> None:
    """Undo `detach`: move the descriptor in *owner*, if there is one, back to *sock*."""
    # The library's class, such as socket.socket or gevent's: not a user's, which may have another constructor, and not
    # _socket.socket, whose constructor is a part of it.
    kinds = [kind for kind in type(sock).__mro__ if "detach" in vars(kind) and kind.__module__ != "_socket"]
    kind: Any = kinds[-1] if kinds else type(sock)
    timeout = sock.gettimeout()
    try:
        if owner:
            kind.__init__(sock, sock.family, sock.type, sock.proto, owner[0])
            owner.clear()
            try:  # noqa: SIM105 - contextlib would be imported for this alone
                sock.settimeout(timeout)
            except OSError:  # the caller raises an Error already, and the socket is as the system left it
                pass
    finally:
        if owner:  # an exception raised by a signal handler
            kind.detach(sock)
            close_all(owner)


_close = os.close


def close_all(owner: list[int], _close: Callable[[int], object] = _close) -> None:
    """Close the descriptors in *owner*, and remove them from it. A number that is not open is only removed."""
    try:
        while owner:
            try:  # noqa: SIM105 - which costs more
                next(map(_close, map(owner.pop, (-1,))))
            except OSError:  # not "continue": see "Signal handlers that raise" in CONTRIBUTING.md
                pass
    except IndexError:  # a signal handler has closed the last one meanwhile
        return
    except BaseException:  # raised by a signal handler: close the others anyway
        close_all(owner)
        raise


class Owner(list[int]):
    """
    A list of descriptors that closes those left in it: at the end of a ``with`` block, and when the list is dropped.

    If a signal handler raises at the first step of `__exit__`, that closes nothing. The destructor does it then.
    """

    __slots__ = ()

    def __enter__(self) -> Owner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_all(self)

    # A destructor may run when the interpreter has cleared the names of modules already.
    def __del__(self, _close_all: Callable[[list[int]], None] = close_all) -> None:
        if self:
            _close_all(self)


def move_all(source: list[int], target: list[int]) -> None:
    """Move all items of *source* to *target*, in their order."""
    while source:
        try:
            target.extend(map(source.pop, (0,)))
        except IndexError:  # a signal handler has taken the last one meanwhile
            return


_NUMBERS_ALONE = frozenset((int,))


def close_fds(fds: Iterable[int]) -> None:
    """
    Close the descriptors *fds*, a list of numbers in any order.

    Consecutive numbers are closed by one `os.closerange`, which is one system call where the system has close_range(2).
    All are closed in one step of the interpreter: if a signal handler raises an exception, either none or all of them
    were closed. A number that is not an open descriptor is ignored, as the kernel does not report it.

    Raises TypeError if *fds* is not a list of numbers, including a list that contains an object with ``fileno()``, as
    that closes its descriptor itself; ValueError for a negative number and for one that occurs twice; and OverflowError
    for a number that does not fit a C int. No descriptor is closed then.
    """
    values = listed(fds)
    if not _NUMBERS_ALONE.issuperset(map(type, values)):
        index, wrong = next((index, each) for index, each in enumerate(values) if type(each) is not int)
        raise TypeError(f"fds[{index}] must be the number of a descriptor, not {wrong!r}")
    numbers = sorted(values)
    if numbers:
        if numbers[0] < 0 or numbers[-1] > INT_MAX:
            as_descriptors(values)
        deque(starmap(os.closerange, _rows(numbers)), 0)


close_fds.__module__ = "unixconn"


def _rows(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """
    Return the ranges of consecutive numbers in *numbers*, which is sorted.

    A range is a pair of its first number, and its last number plus one. Raises ValueError for a number that occurs
    twice.
    """
    rows = []
    first = last = numbers[0]
    for each in numbers[1:]:
        if each != last + 1:
            if each == last:
                raise ValueError(f"fds must be different descriptors, but {each} occurs twice")
            rows.append((first, last + 1))
            first = each
        last = each
    rows.append((first, last + 1))
    return rows


_TEXTS = (str, bytes, bytearray, memoryview)


def listed(values: Iterable[Any]) -> tuple[Any, ...]:
    """
    Return the descriptors *values* as a tuple.

    The tuple keeps the objects in *values* alive, and with them their descriptors, until these are sent.

    Raises TypeError if *values* is not iterable; also for text and bytes, whose items are not meant as descriptors, and
    for a single object with ``fileno()``, such as a file, whose items are its lines.
    """
    if isinstance(values, _TEXTS) or hasattr(values, "fileno") or not hasattr(values, "__iter__"):
        raise TypeError(f"fds must be a list of descriptors, not {values!r}")
    return tuple(values)


def as_descriptors(values: Sequence[Any]) -> tuple[int, ...]:
    """
    Return the numbers of the descriptors *values*.

    Raises ValueError if there are none, and otherwise as `as_descriptor` does.
    """
    if not values:
        raise ValueError("fds must be a list of at least one descriptor, not an empty one")
    return tuple(as_descriptor(each, f"fds[{index}]") for index, each in enumerate(values))


def as_descriptor(value: Any, name: str = "fd") -> int:
    """
    Return the number of the descriptor *value*: an integer, or an object with ``fileno()``.

    Raises TypeError for anything else, including a bool or a float; ValueError for a negative number; and OverflowError
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
        raise OverflowError(f"{name} must fit a C int, but {value} does not")
    if value < 0:
        raise ValueError(f"{name} must be the number of an open descriptor, not {value}")
    return int(value)
