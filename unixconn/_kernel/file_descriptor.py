"""FileDescriptor: an object that owns an open file descriptor."""

from __future__ import annotations

import os
import sys
import warnings
from itertools import starmap

from unixconn._base.errors import translated
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.descriptors import Owner, as_descriptor, attach, close_all, duplicate_all, note_about, take
from unixconn._kernel.sockets import adopt_socket
from unixconn._kernel.unwanted import close_left

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import IO, Any, Protocol

    from typing_extensions import Self

    from unixconn._kernel.descriptors import FileDescriptorLike

    class Passed(Protocol):
        """A descriptor on its way to another process."""

        def detach(self) -> int:
            """Return the number of a duplicate, which the caller owns, in the process that calls this."""


def _python_socket() -> type[socket.socket]:
    # Imported here: few programs need it, and it takes longer than most of this package.
    try:
        from socket import socket
    except OSError as error:
        raise translated(error, "Loading the module socket: ") from None
    return socket


class FileDescriptor:
    """
    The owner of an open file descriptor. It closes the descriptor when it is dropped, at the latest.

    ``FileDescriptor(fd)`` takes over the descriptor *fd*: a number, or another FileDescriptor, which then has none.

    The object is accepted wherever a descriptor is: it has ``fileno()``, and it converts to its number where an integer
    is expected. A function that takes over a descriptor, such as `Socket.new_from_fd`, detaches it from this object.
    ``with descriptor:`` closes the descriptor at the end of the block. If the object is dropped while it is open, it
    closes the descriptor with a ResourceWarning.
    """

    __module__ = "unixconn"

    __slots__ = ("__weakref__", "_owned", "_warns")

    def __init__(self, fd: int | FileDescriptor) -> None:
        """
        Take over the descriptor *fd*, an integer or a FileDescriptor.

        Raises TypeError for anything else, such as a file or a socket, which would close its descriptor as well;
        ValueError for a negative number; OverflowError for a number that does not fit a C int; and the Error for the
        errno of fstat(2): FAILED (EBADF), an OSError, if no file is open under the number.
        """
        self._prepare()
        number = as_descriptor(fd) if fd.__class__ is int else as_own_descriptor(fd)
        try:
            os.fstat(number)
        except OSError as error:
            raise translated(error, "fstat: ", note_about(error.errno, number)) from None
        if number is fd:
            self._owned.append(number)
        else:
            self._owned.extend(map(owner_of(fd, number).pop, (-1,)))
        self._warns = True

    def _prepare(self) -> None:
        self._warns = False
        # The number is in a list, as it leaves a list in one step of the interpreter. The list is an Owner: if a signal
        # handler raises at the first step of `__del__`, that method closes nothing, and then the list's own destructor
        # does. Only a second signal could interrupt that, too.
        self._owned: Owner = Owner()

    @classmethod
    def _empty(cls, kind: type[Owner] = Owner) -> FileDescriptor:
        """Return an object without a descriptor. The caller puts one into `_owned`, a list of this *kind*, later."""
        made = cls.__new__(cls)
        made._warns = False
        made._owned = kind()
        return made

    def _take_first(self, owner: list[int]) -> None:
        """Take over the first descriptor in the list *owner*."""
        self._owned.extend(map(owner.pop, (0,)))

    def _hand_over(self) -> FileDescriptor:
        """Return this object, which the user has to close from now on: dropping it while it is open gives a warning."""
        self._warns = True
        return self

    def fileno(self) -> int:
        """Return the number of the descriptor. Raises ValueError if it was closed or detached."""
        try:
            return self._owned[0]
        except IndexError:
            raise ValueError("this FileDescriptor was closed or detached, and has no number any more") from None

    __index__ = fileno

    @property
    def closed(self) -> bool:
        """Whether the descriptor was closed or detached."""
        return not self._owned

    def close(self) -> None:
        """Close the descriptor. A second call has no effect."""
        close_all(self._owned)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    def detach(self) -> int:
        """
        Return the number of the descriptor, which the caller has to close from now on.

        Raises ValueError if it was closed or detached before.
        """
        self.fileno()
        return take(self._owned)

    def dup(self) -> FileDescriptor:
        """
        Return a new FileDescriptor for the same open file, close-on-exec; see dup(2).

        Raises ValueError if this one was closed or detached, and the Error TOO_MANY_OPEN_FILES if the descriptor table
        is full.
        """
        return self._duplicate()._hand_over()

    def _duplicate(self) -> FileDescriptor:
        made = FileDescriptor._empty()
        duplicate_all(made._owned, (self.fileno(),))
        return made

    def to_file(self, mode: str = "r", buffering: int = -1, **others: Any) -> IO[Any]:
        """
        Return a file object for the open file, and close this FileDescriptor.

        *mode*, *buffering* and the other arguments are those of `open`. The file object has a duplicate of the
        descriptor. If an exception is raised, this FileDescriptor stays open.

        Raises what `dup` and `open` raise.
        """
        # If open() fails, it may or may not have closed the descriptor that it was given. So it gets a duplicate.
        with self.dup() as copy:
            name = f"<descriptor {self.fileno()}>"
            file = open(name, mode, buffering, opener=lambda *_: copy.detach(), **others)  # noqa: SIM115 - for the caller
            self.close()
        return file

    def to_socket(self) -> socket.socket:
        """
        Return a socket of the standard library that takes over the descriptor.

        Raises ValueError if this one was closed or detached, and otherwise the Error for the errno of a system call,
        such as INVALID_ARGUMENT for a descriptor that is not a socket. The descriptor stays in this object then.
        """
        number = self.fileno()
        try:
            is_blocking = os.get_blocking(number)
        except OSError as error:
            raise translated(error, "fcntl: ") from None
        made = adopt_socket(self._owned, _python_socket())
        if is_blocking:
            # `adopt_socket` made the object with the timeout 0, which fits a non-blocking descriptor. For a blocking
            # one the timeout has to be None. O_NONBLOCK, which all processes that have the socket share, never changes.
            try:
                made.settimeout(None)
            except OSError as error:
                self._owned.extend(starmap(made.detach, ((),)))
                raise translated(error, "setting the blocking mode: ") from None
        return made

    def samefile(self, other: FileDescriptorLike) -> bool:
        """
        Return whether *other* refers to the same file, even if the file was opened twice; see `os.path.sameopenfile`.

        *other* is a number or an object with ``fileno()``. Raises ValueError if this one was closed or detached;
        TypeError, ValueError or OverflowError if *other* cannot be a descriptor; and the Error FAILED (EBADF) if it is
        not open.
        """
        number = self.fileno()
        another = as_descriptor(other, "other")
        try:
            return os.path.sameopenfile(number, another)
        except OSError as error:
            raise translated(error, "fstat: ", note_about(error.errno, number, another)) from None

    def __eq__(self, other: object) -> bool:
        """
        Return whether *other* is this object, or has the same number.

        Two correct owners never have the same number.
        """
        if not isinstance(other, FileDescriptor):
            return NotImplemented
        return self is other or (bool(self._owned) and self._owned == other._owned)

    if TYPE_CHECKING:

        def __hash__(self) -> int: ...

    else:
        __hash__ = object.__hash__

    def __reduce__(self) -> tuple[Any, ...]:
        """Pass the descriptor to another process of multiprocessing, or raise TypeError."""
        if passer() is None:
            raise TypeError(
                "a FileDescriptor cannot be copied or pickled, as two owners would close one number: dup() makes a "
                "duplicate, and UnixConnection.send_fd() sends the descriptor to another process"
            )
        return Passing(self.fileno()).__reduce__()

    def __repr__(self) -> str:
        if not self._owned:
            return "<FileDescriptor closed>"
        number = self._owned[0]
        try:
            return f"<FileDescriptor {number} {os.readlink(f'/proc/self/fd/{number}')!r}>"
        except OSError:
            return f"<FileDescriptor {number}>"

    def __del__(
        self, _warn: Callable[..., None] = warnings.warn, _close_all: Callable[[list[int]], None] = close_all
    ) -> None:
        # The attribute is missing if an exception interrupted the constructor.
        try:
            owned = self._owned
        except AttributeError:
            return
        if owned:
            # At the end of the process the interpreter may have cleared the names of modules.
            if self._warns and os is not None:
                _warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            (close_left or _close_all)(owned)  # type: ignore[truthy-function]


def passer() -> Callable[[int], Passed] | None:
    """Return the function by which multiprocessing passes a descriptor, None if something else calls ``__reduce__``."""
    frame = sys._getframe(1)
    # pickle is Python code on PyPy.
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("unixconn", "pickle"):
        frame = frame.f_back
    # Looked up there, as this package does not import multiprocessing.
    caller = frame.f_globals
    return caller["DupFd"] if caller.get("__name__") == "multiprocessing.reduction" else None


class Passing:
    """A descriptor that multiprocessing passes. Unpickled in the other process, it is a FileDescriptor."""

    __slots__ = ("_passed",)

    def __init__(self, fd: int) -> None:
        """Have multiprocessing pass *fd*. `passer` must have said that it can."""
        pass_on: Any = passer()
        self._passed: Passed = pass_on(fd)

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_other_process, (self._passed,)


def _from_other_process(passed: Passed) -> FileDescriptor:
    made = FileDescriptor._empty()
    made._owned.extend(starmap(passed.detach, ((),)))
    return made._hand_over()


def as_own_descriptor(value: Any, name: str = "fd") -> int:
    """
    Return the number of *value*, a number or a FileDescriptor, for a caller that takes the descriptor over.

    The caller takes it out of `owner_of`. Raises TypeError for any other object with ``fileno()``, and otherwise as
    `as_descriptor` does. The text names *name* and the value.
    """
    if hasattr(value, "fileno") and not isinstance(value, FileDescriptor):
        raise TypeError(
            f"{name} must be a number, as {value!r} would close its descriptor as well: pass the number that its "
            "detach() returns, or a duplicate made by os.dup()"
        )
    return as_descriptor(value, name)


def give_back(given: Any, owner: list[int]) -> None:
    """Move the descriptor in *owner*, if there is one, back to *given*: a socket, a FileDescriptor or a number."""
    if hasattr(given, "getsockname"):
        attach(given, owner)
    elif not isinstance(given, FileDescriptor):
        owner.clear()
    elif owner:
        given._take_first(owner)


def owner_of(fd: Any, number: int) -> list[int]:
    """
    Return the list that has the descriptor *fd*, of this *number*: that of a FileDescriptor, else a new one.

    The number leaves it in one step of the interpreter: there is no moment at which two owners would close it.
    """
    return fd._owned if isinstance(fd, FileDescriptor) and fd._owned else [number]
