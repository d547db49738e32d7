"""Descriptors of any kind, such as pipes, terminals and files: the attempts to read and to write."""

from __future__ import annotations

import errno
import os
import select
import weakref

from unixconn._base.errors import translated
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.descriptors import close_all, note_about
from unixconn._kernel.handle import Handle, Use

if TYPE_CHECKING:
    from typing import Any

_MOST_READ = 1 << 20
_PIECE = select.PIPE_BUF
"""A pipe that is ready takes so many bytes without blocking, whether or not it has O_NONBLOCK."""
_TERMINAL_PIECE = 128
"""The same for a terminal, see tty_buffer_space_avail() in Linux: 256 bytes are free, and a line end may take two."""


class FileHandle(Handle):
    """The Handle of a descriptor that is not known to be a socket. Its `python` is a `File`."""

    __slots__ = ()

    is_file = True

    def __init__(self) -> None:
        super().__init__()
        self._begin_to_keep()


_handles: weakref.WeakValueDictionary[int, FileHandle] = weakref.WeakValueDictionary()


def handle_of(fd: int) -> FileHandle:
    """
    Return the Handle of the descriptor *fd*.

    All streams of the same number share it, as a reactor watches one Handle for each number.
    """
    handle = _handles.get(fd)
    if handle is None or handle.number < 0:
        handle = FileHandle()
        handle.open(File(fd))
        handle.is_aside = True
        _handles[fd] = handle
    return handle


class File:
    """
    A descriptor, with what a Handle needs of a socket, and the attempts that take the place of a socket's.

    The descriptor need not have O_NONBLOCK, so an attempt asks poll(2) first. If another process reads or writes
    meanwhile, it may block, as in Gio.
    """

    family = type = -1

    def __init__(self, fd: int) -> None:
        self._number = fd
        self._piece = _TERMINAL_PIECE if os.isatty(fd) else _PIECE
        self._owned: list[int] = []

    def fileno(self) -> int:
        """Return the number of the descriptor."""
        return self._number

    def own(self, owner: list[int]) -> None:
        """Take the descriptor over from *owner*, to close it."""
        if not self._owned:
            self._owned.extend(map(owner.pop, (-1,)))

    def disown(self) -> None:
        """Leave the descriptor open."""
        self._owned.clear()

    def close(self) -> None:
        """Close the descriptor if it was taken over. May be called again."""
        close_all(self._owned)

    def read(self, handle: Handle, target: int | memoryview, found: list[Any]) -> int:
        """Do what `receive_recorded` does. Raises the Error for read(2)'s errno."""
        use = _ready(handle, select.POLLIN)
        if use is None:
            return -1
        size = target if isinstance(target, int) else len(target)
        came: list[bytes] = found if isinstance(target, int) else []
        try:
            # In one step of the interpreter, as in `receive_recorded`.
            came += map(os.read, (handle.number,), (min(size, _MOST_READ),))
            count = len(came[-1])
            if came is not found:  # PyPy has no os.readv()
                target[:count] = came[0]  # type: ignore[index]
                found.append(count)
            return count
        except OSError as error:
            return _failed(error, "Error reading from file descriptor: ", handle.number)
        finally:
            _leave(handle, use)

    def write(self, handle: Handle, data: bytes | memoryview, sent: list[int]) -> int:
        """Do what `send_data` does. Raises the Error for write(2)'s errno."""
        use = _ready(handle, select.POLLOUT)
        if use is None:
            return -1
        try:
            sent += map(os.write, (handle.number,), (memoryview(data)[: self._piece],))
            return sent[-1]
        except OSError as error:
            return _failed(error, "Error writing to file descriptor: ", handle.number)
        finally:
            _leave(handle, use)


def _ready(handle: Handle, events: int) -> Use | None:
    """Return the `Use` of a *handle* that would not block, else None. Raises the Error CLOSED after `Handle.close`."""
    if not handle.poll(events):
        handle.check()
        return None
    use = Use()
    use.user = handle
    handle.check()
    return use


def _leave(handle: Handle, use: Use) -> None:
    use.user = None
    if handle.closed:
        handle.reap()


def _failed(error: OSError, context: str, number: int) -> int:
    if error.errno == errno.EAGAIN:
        return -1
    raise translated(error, context, note_about(error.errno, number)) from None
