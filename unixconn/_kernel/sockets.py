"""The sockets of the standard library that a Handle owns: how to make one without losing its descriptor."""

from __future__ import annotations

import _socket as socket
import os

from unixconn._base.errors import system_error, translated
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._kernel.descriptors import note_about
from unixconn._kernel.native import ffi, lib

if TYPE_CHECKING:
    from typing import Protocol

    class Closeable(Protocol):
        """What has a descriptor."""

        def close(self) -> object:
            """Close the descriptor."""


SocketT = TypeVar("SocketT", bound=socket.socket)

SocketType = socket.socket
"""The class in C that `socket.socket` extends. It makes and closes sockets without a step of Python."""
NO_TIMEOUT: int = getattr(socket, "SOCK_NONBLOCK", 0)
"""
Part of a socket's type that makes the standard library leave the socket's blocking mode alone.

Without it, `socket.setdefaulttimeout` would apply, and set O_NONBLOCK.
"""

_FROM_FD = "creating GSocket from fd: "
_UNIX, _STREAM = socket.AF_UNIX, socket.SOCK_STREAM
_OF_STREAM = _STREAM | NO_TIMEOUT
_set_inheritable = os.set_inheritable
_SOL_SOCKET = lib.SOL_SOCKET
_SO_TYPE = lib.SO_TYPE
_INT_SIZE = ffi.sizeof("int")


def adopt_socket(owner: list[int], kind: type[SocketT]) -> SocketT:
    """
    Return a socket of the class *kind* that takes over the descriptor in *owner*, and make that close-on-exec.

    *kind* is `socket.socket`, or `SocketType`, the class in C that it extends.

    Raises the Error for getsockopt(2)'s errno if the descriptor is not a socket. *owner* keeps it then.
    """
    # Made in two steps, so that the object can be detached if __init__() fails or is interrupted: otherwise it would
    # close the descriptor, which *owner* still has, when it is dropped.
    made = kind.__new__(kind)
    try:
        try:
            # With -1 the standard library determines the value itself, in the same step.
            kind.__init__(made, -1, _OF_STREAM, -1, owner[0])
            is_stream = made.getsockopt(_SOL_SOCKET, _SO_TYPE) == _STREAM
        except OSError:  # it is not a socket, or one whose address the standard library does not understand
            is_stream = False
        if not is_stream:
            made.detach()
            kind.__init__(made, *_ask_kind(owner[0]), owner[0])
        try:
            _set_inheritable(owner[0], False)
        except OSError as error:
            raise translated(error, _FROM_FD, note_about(error.errno, owner[0])) from None
        owner.clear()
    finally:
        if owner:  # an Error, or an exception raised by a signal handler
            made.detach()
    return made


def close_socket(sock: Closeable) -> None:
    """Close *sock*, or an epoll. A failure of close(2) is ignored, as the kernel has closed the descriptor before."""
    try:  # noqa: SIM105 - contextlib would be imported for this alone
        sock.close()
    except OSError:
        pass


def kernel_pair(kind: int) -> tuple[SocketType, SocketType]:
    """
    Return two connected Unix sockets of the type *kind*, close-on-exec. Raises the Error for socketpair(2)'s errno.

    No step of Python comes between the system call and the owners of the descriptors, unlike in `socket.socketpair`.
    """
    try:
        ends = socket.socketpair(_UNIX, kind)
    except OSError as error:
        raise translated(error, "Unable to create socket: ") from None
    if ends[0].gettimeout() is not None:  # of socket.setdefaulttimeout(), which has set O_NONBLOCK as well
        for each in ends:
            each.setblocking(True)
    return ends


def _ask_kind(fd: int) -> tuple[int, int, int]:
    """Return the family, the type and the protocol of the socket *fd*, as the standard library takes them."""
    kind = _ask(fd, _SO_TYPE)
    family = _ask(fd, lib.SO_DOMAIN) if hasattr(lib, "SO_DOMAIN") else -1
    protocol = _ask(fd, lib.SO_PROTOCOL) if hasattr(lib, "SO_PROTOCOL") else -1
    return family, kind | NO_TIMEOUT, protocol


def _ask(fd: int, name: int) -> int:
    value, length = ffi.new("int *"), ffi.new("socklen_t *", _INT_SIZE)
    if lib.getsockopt(fd, lib.SOL_SOCKET, name, value, length) < 0:
        number = ffi.errno
        raise system_error(number, _FROM_FD, note_about(number, fd))
    return int(value[0])
