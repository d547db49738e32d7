"""
Closing what a peer has sent and nobody has asked for, without waiting.

close(2) of the last descriptor of a TCP socket waits if the socket lingers (SO_LINGER) and has data that its own peer
does not take: for as long as whoever made it likes. So a peer could stop a program that merely refuses a message. It
is the same if a Unix socket is closed while such a socket is in its queue.

- A socket that lingers is told not to. The kernel then sends its data in the background.
- A Unix socket with unread descriptors is closed by a thread of its own. Nothing is changed about these: another
  process that has the socket, too, may still receive them.
"""

from __future__ import annotations

import _thread
import os
import sys
from _socket import AF_UNIX, SO_LINGER, SOL_SOCKET
from collections import deque
from functools import partial
from itertools import starmap

from unixconn._base.lock import ending
from unixconn._base.start import Start
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.descriptors import Owner, adopt, close_all
from unixconn._kernel.native import ffi, lib

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

_MOST_THREADS = 256
"""The most threads that close at a time. With so many, further descriptors stay open until one of them goes on."""
_PATIENCE = 0.01
"""Seconds to wait for such a thread, if no other one is at work. So the number is free after a close that is quick."""
_INT_SIZE = ffi.sizeof("int")
_SO_DOMAIN: int | None = getattr(lib, "SO_DOMAIN", None)
_close = os.close
_new, _getsockopt = ffi.new, lib.getsockopt
# To ask for no bytes of an option tells whether there is one, and needs no memory of the call's own.
_NOTHING, _NO_BYTES = ffi.NULL, _new("socklen_t *", 0)


class Unwanted(Owner):
    """An Owner of descriptors that a peer has sent. Those that are left in it are closed by `close_unwanted`."""

    __slots__ = ()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close_unwanted(self)

    def __del__(self, _close_all: Callable[[list[int]], None] = close_all) -> None:
        if self:
            # When the interpreter has cleared the names of modules already, the process ends, and waits for no peer.
            (close_unwanted or _close_all)(self)  # type: ignore[truthy-function]


def close_unwanted(owner: list[int]) -> None:
    """Close the descriptors in *owner*, which a peer has sent, and remove them from it."""
    # As `ending` does, without its call: this runs for each message.
    is_over = False
    try:
        while True:
            if not owner:
                break
            try:
                if _getsockopt(owner[-1], SOL_SOCKET, SO_LINGER, _NOTHING, _NO_BYTES) < 0:  # it is no socket
                    next(map(_close, map(owner.pop, (-1,))))
                else:
                    _close_socket(owner)
            except IndexError:  # a signal handler has closed the last one, or it is a `Lost`, which has none
                break
            except OSError:  # it is not open any more
                pass
        is_over = True
    finally:
        if not is_over:
            close_unwanted(owner)


class Guard:
    """
    Closes the descriptors in the lists in *container*, which a peer has sent, when it is dropped.

    Make two of them: if a signal handler raises at the first step of a destructor, that closes nothing.
    """

    __slots__ = ("_container",)

    def __init__(self, container: Iterable[list[int]]) -> None:
        self._container = container

    def __del__(self) -> None:
        # The attribute is missing if an exception interrupted the constructor.
        for each in getattr(self, "_container", ()):
            close_unwanted(each)


def close_left(owner: list[int]) -> None:
    """Close the descriptors that are left in *owner*: those that a peer has sent by `close_unwanted`."""
    if isinstance(owner, Unwanted):
        close_unwanted(owner)
    else:
        close_all(owner)


def _close_socket(owner: list[int]) -> None:
    """Close the last descriptor in *owner*, a socket. One that lingers for 0 seconds throws its data away at once."""
    number = owner[-1]
    value, length = _new("int[2]"), _new("socklen_t *", 2 * _INT_SIZE)
    if _getsockopt(number, SOL_SOCKET, SO_LINGER, value, length) == 0 and value[0] and value[1]:
        lib.setsockopt(number, SOL_SOCKET, SO_LINGER, _new("int[2]"), 2 * _INT_SIZE)
    if _is_unix(number) and holds_descriptors(number):
        close_apart(owner.pop)
    else:
        next(map(_close, map(owner.pop, (-1,))))


def _is_unix(number: int) -> bool:
    """Return whether the socket *number* is a Unix socket, as far as the system says."""
    if _SO_DOMAIN is None:
        return True
    value, length = _new("int *"), _new("socklen_t *", _INT_SIZE)
    return _getsockopt(number, SOL_SOCKET, _SO_DOMAIN, value, length) == 0 and value[0] == AF_UNIX


def holds_descriptors(number: int) -> bool:
    """Return whether there are descriptors in the queue of the Unix socket *number*, or True if nobody can say."""
    try:
        with Owner() as owner:
            text = os.read(adopt(owner, os.open, f"/proc/self/fdinfo/{number}", os.O_RDONLY | os.O_CLOEXEC), 4096)
    except OSError:
        return True
    return b"scm_fds: 0\n" not in text


# --- closing in a thread ---------------------------------------------------------------------------------------------

_waiting: deque[int] = deque()
"""Descriptors that a thread is to close."""
_running: list[Start] = []
"""The threads that close."""


@ending
def close_apart(take: Callable[[], int]) -> None:
    """
    Close, in a thread of its own, the descriptor that *take* gives up: for each one, as any of them may have to wait.

    If no thread can be had, it is closed here.
    """
    _waiting.extend(starmap(take, ((),)))
    if sys.is_finalizing() or len(_running) >= _MOST_THREADS:  # the end of the process waits for no peer
        return
    is_alone = not _running
    over = _thread.allocate_lock()
    over.acquire()
    start = Start(partial(_close_waiting, over))
    start.wait()
    if not start.has_begun:
        _close_all_waiting(_close)
    elif is_alone:
        over.acquire(timeout=_PATIENCE)


def _close_waiting(over: _thread.LockType, start: Start) -> None:
    start.begin()
    _running.append(start)
    try:
        _close_all_waiting(_close_freely)
    finally:
        _running.remove(start)
        over.release()


def _close_freely(number: int) -> None:
    """Close the descriptor *number* so that other threads run meanwhile."""
    if sys.implementation.name == "pypy":
        # PyPy keeps the GIL during close(), but not during dup2(), which closes the file just as well.
        try:
            with Owner() as owner:
                os.dup2(adopt(owner, os.open, os.devnull, os.O_RDONLY | os.O_CLOEXEC), number, False)
        except OSError:  # there is no room for another descriptor
            pass
    _close(number)


def _close_all_waiting(close: Callable[[int], None]) -> None:
    while _waiting:
        try:
            next(map(close, starmap(_waiting.popleft, ((),))))
        except (OSError, IndexError):  # not open any more, or another thread has taken the last one
            continue


def _start_in_child() -> None:
    """Close what the parent's threads were to close, as a forked child has none of these."""
    _running.clear()
    _close_all_waiting(_close)


os.register_at_fork(after_in_child=_start_in_child)
