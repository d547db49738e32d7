"""FileDescriptor: a descriptor that belongs to an object."""

from __future__ import annotations

import os
import warnings
import weakref

from unixconn._base.managed import Managed
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.descriptors import as_descriptor, close_all, duplicate_all, take
from unixconn._kernel.handle import adopt_socket

if TYPE_CHECKING:
    import socket
    from typing import IO, Any, NoReturn

    from unixconn._kernel.descriptors import FileDescriptorLike


# What a signal handler raises at the first step of a destructor keeps that from closing anything. A weak reference's
# callback comes after it, and what that would meet is another signal.
_backstop: dict[weakref.ref[FileDescriptor], list[int]] = {}


def _close_left(gone: weakref.ref[FileDescriptor]) -> None:
    close_all(_backstop.pop(gone))


class FileDescriptor(Managed):
    """
    An open file descriptor, which is closed with this object at the latest.

    Made of *fd*, a number or another FileDescriptor, whose descriptor belongs to it from now on. It goes wherever a
    descriptor is accepted: it has ``fileno()``, and it is its number to what wants an integer. What takes a descriptor
    over, such as `Socket.new_from_fd`, takes it out of here. ``with descriptor:`` closes it. One that is dropped while
    it is open is closed with a ResourceWarning.
    """

    __slots__ = ("__weakref__", "_owned", "_warns")

    def __init__(self, fd: int | FileDescriptor) -> None:
        """
        Raises TypeError, ValueError or OverflowError for what can not be a descriptor, an OSError if it is none.

        TypeError is also for a file or a socket, which would close its descriptor as well.
        """
        self._prepare()
        number = as_own_descriptor(fd)
        os.fstat(number)
        self._owned.append(number)
        self._warns = True
        taken_over(fd)

    def _prepare(self) -> None:
        self._warns = False
        # Who owns it is whoever has the number in a list: it leaves in one step of the interpreter.
        self._owned: list[int] = []
        _backstop[weakref.ref(self, _close_left)] = self._owned

    @classmethod
    def _empty(cls) -> FileDescriptor:
        """Make one for a descriptor that is to come, into `_owned`."""
        made = cls.__new__(cls)
        made._prepare()
        return made

    def _take_first(self, owner: list[int]) -> None:
        """Take over the first descriptor that *owner* has."""
        self._owned.extend(map(owner.pop, (0,)))

    def _hand_over(self) -> FileDescriptor:
        """Say that it is its user's to close from now on, and give it."""
        self._warns = True
        return self

    def fileno(self) -> int:
        """Give the number. Raises ValueError once it is closed, or was detached."""
        try:
            return self._owned[0]
        except IndexError:
            raise ValueError("the FileDescriptor is closed, or was detached") from None

    __index__ = fileno

    @property
    def closed(self) -> bool:
        """Whether it is closed, or was detached."""
        return not self._owned

    def close(self) -> None:
        """Close it; a second time does nothing."""
        close_all(self._owned)

    def detach(self) -> int:
        """Give the number, which is the caller's from now on. Raises ValueError once it is closed, or was detached."""
        self.fileno()
        return take(self._owned)

    def dup(self) -> FileDescriptor:
        """
        Make another one for the same open file, close-on-exec.

        Raises the Error TOO_MANY_OPEN_FILES where there is no room for it.
        """
        return self._duplicate()._hand_over()

    def _duplicate(self) -> FileDescriptor:
        made = FileDescriptor._empty()
        duplicate_all(made._owned, (self.fileno(),))
        return made

    def to_file(self, mode: str = "r", buffering: int = -1, **others: Any) -> IO[Any]:
        """
        Make a file object of a duplicate, and close this; *mode* and the others are those of `open`.

        On failure this stays open.
        """
        # Where open() fails it has closed a descriptor or has not: it gets its own.
        with self.dup() as copy:
            name = f"<descriptor {self.fileno()}>"
            file = open(name, mode, buffering, opener=lambda *_: copy.detach(), **others)  # noqa: SIM115 - for the caller
            self.close()
        return file

    def to_socket(self) -> socket.socket:
        """
        Make a socket of the standard library, which has the descriptor from now on.

        Raises the Error for getsockopt()'s errno if it is none; the descriptor stays here then.
        """
        self.fileno()
        made = adopt_socket(self._owned)
        if os.get_blocking(made.fileno()):
            # Else it is as it should be, and O_NONBLOCK, which all who have the socket share, is not touched.
            made.settimeout(None)
        return made

    def samefile(self, other: FileDescriptorLike) -> bool:
        """Tell whether *other*, a descriptor, is of the same file, be it opened anew."""
        return os.path.sameopenfile(self.fileno(), as_descriptor(other, "other"))

    def __eq__(self, other: object) -> bool:
        """Tell whether *other* is this one, or has the same number, which is so only if one of them is wrong."""
        if not isinstance(other, FileDescriptor):
            return NotImplemented
        return self is other or (bool(self._owned) and self._owned == other._owned)

    if TYPE_CHECKING:

        def __hash__(self) -> int: ...

    else:
        __hash__ = object.__hash__

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a FileDescriptor can not be pickled: a number means nothing in another process; UnixConnection sends it"
        )

    def __repr__(self) -> str:
        if not self._owned:
            return "<FileDescriptor closed>"
        number = self._owned[0]
        try:
            return f"<FileDescriptor {number} {os.readlink(f'/proc/self/fd/{number}')!r}>"
        except OSError:
            return f"<FileDescriptor {number}>"

    def __del__(self) -> None:
        # Also where a signal handler has raised before the constructor's end.
        owned = getattr(self, "_owned", None)
        if owned:
            if self._warns:
                warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            close_all(owned)


def as_own_descriptor(value: Any, name: str = "fd") -> int:
    """
    Give the number of *value*, which is to have another owner, see `taken_over`: a number, or a FileDescriptor.

    Raises TypeError for any other object that has one, and otherwise as `as_descriptor` does.
    """
    if hasattr(value, "fileno") and not isinstance(value, FileDescriptor):
        raise TypeError(
            f"{name} must be a number, as {value!r} would close its descriptor as well: give that of its detach(), or "
            "a duplicate, os.dup()"
        )
    return as_descriptor(value, name)


def taken_over(fd: Any) -> None:
    """Have *fd* let go of its descriptor, which has another owner now, if it is a FileDescriptor."""
    if isinstance(fd, FileDescriptor):
        fd._owned.clear()
