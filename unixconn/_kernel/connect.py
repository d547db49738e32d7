"""Binding, connecting and accepting: one non-blocking attempt of bind(2), connect(2) and accept(2)."""

from __future__ import annotations

import _socket as socket
import errno
import os
import select
import stat
from itertools import chain, islice

from unixconn._base.errors import Error, NotFoundError, RefusedError, system_error, translated
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._kernel import unpatched
from unixconn._kernel.handle import Handle, Use
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.receive import HUNG_UP
from unixconn._kernel.sockets import NO_TIMEOUT, SocketType

if TYPE_CHECKING:
    from typing import Any

ErrorT = TypeVar("ErrorT", bound=Exception)

NO_SOCKET = "this file is not a socket"
"""The note of an Error that says that nobody listens there."""
BINDING = "Error binding to address (GUnixSocketAddress): "
_ACCEPTING = "Error accepting connection: "
_EVENTS = select.POLLIN | HUNG_UP
_poll = unpatched.function("poll")
# accept(2) of the class in C: it returns the number of the descriptor, which is close-on-exec, and the address.
_accept: Any = SocketType._accept  # type: ignore[attr-defined]
_idle: list[Use] = []
"""The `Use` objects of calls that have ended: to make one takes longer than the rest of `accept`."""


def accept(handle: Handle, accepted: list[SocketType]) -> bool:
    """
    Accept a connection and append its socket to *accepted*; return False if that would block.

    Raises the Error CLOSED or NOT_INITIALIZED, see `Handle.check`, and the Error for accept(2)'s errno.
    """
    try:
        use = _idle.pop()
    except IndexError:
        use = Use()
    ready: list[tuple[int, int]] = []
    try:
        use.user = handle
        number = handle.number
        if number < 0:
            handle.check()
        # accept(2) takes no MSG_DONTWAIT, and all processes that have the socket share O_NONBLOCK. So poll() tells
        # beforehand whether accept(2) would block.
        poller = _poll()
        poller.register(number, _EVENTS)
        ready = poller.poll(0)
        listening = handle.python
        if not ready and (handle.listens or listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)):
            # A socket that listens does so until it is shut down, which poll() reports.
            handle.listens = True
            return False
        # A socket that does not listen comes here, too, and fails at once. All in one step of the interpreter: the
        # descriptor has no owner in between. It is a socket of the same kind as the one that listens.
        numbers = islice(chain.from_iterable(map(_accept, (listening,))), 1)
        accepted.extend(
            map(SocketType, (listening.family,), (listening.type | NO_TIMEOUT,), (listening.proto,), numbers)
        )
    except BlockingIOError:
        # poll() always reports a listener that was shut down as ready, but no connection will ever come.
        if ready and ready[0][1] & HUNG_UP:
            raise system_error(errno.EINVAL, _ACCEPTING) from None
        return False
    except (OSError, ValueError) as error:
        handle.check()
        raise (translated(error, _ACCEPTING) if isinstance(error, OSError) else error) from None
    finally:
        use.user = None
        _idle.append(use)
        if handle.closed:
            handle.reap()
    return True


def bind(handle: Handle, name: bytes) -> None:
    """
    Bind the Unix socket to *name*.

    Raises the Error NOT_SUPPORTED if the socket is of another family, and the Error for bind(2)'s errno.
    """
    with handle.entered:
        if not handle.is_unix:
            raise about(system_error(errno.EAFNOSUPPORT, BINDING), name)
        try:
            handle.python.bind(name)
        except OSError as error:
            raise about(translated(error, BINDING), name) from None


def about(error: ErrorT, name: bytes) -> ErrorT:
    """
    Return *error*. An Error that is an OSError gets *name* as its ``filename``, as Python's own have a path.

    *name* is an address as the socket module takes it: a path, or an abstract name with its leading NUL byte.
    """
    if name and isinstance(error, Error) and isinstance(error, OSError) and error.filename is None:
        if name[:1] == b"\0" and len(name) >= SYSTEM.path_room:  # a padded one
            name = name.rstrip(b"\0")
        error.filename = os.fsdecode(name)
        if name[:1] == b"@" and isinstance(error, NotFoundError):
            error.__notes__.append(
                'a path that begins with "@" is a file: an abstract name begins with a NUL byte, "\\0", in its place'
            )
        elif isinstance(error, RefusedError) and name[:1] != b"\0" and _is_another_file(name):
            error.__notes__.append(NO_SOCKET)
    return error


def _is_another_file(path: bytes) -> bool:
    try:
        return not stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116 - the path is bytes
    except (FileNotFoundError, NotADirectoryError):  # it has gone meanwhile
        return False


def connect_new(handle: Handle, name: bytes) -> bool:
    """
    Connect to the Unix socket *name*, and clear O_NONBLOCK; return False, with O_NONBLOCK on, if its backlog is full.

    The socket was made by `Socket.new`, so it has O_NONBLOCK, and only the caller knows it yet. Raises as `connect`
    does.
    """
    if not handle.is_unix:
        raise system_error(errno.EAFNOSUPPORT, "")
    try:
        handle.python.connect(name)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno != errno.EISCONN:  # else an exception has interrupted the attempt that connected it
            raise translated(error, "") from None
    try:
        handle.python.setblocking(True)
    except OSError as error:
        raise translated(error, "") from None
    return True


def connect(handle: Handle, name: bytes) -> bool:
    """
    Connect to the Unix socket *name*; return False if its backlog is full.

    Raises the Error CLOSED or NOT_INITIALIZED, see `Handle.check`, NOT_SUPPORTED if the socket is of another family,
    and the Error for connect(2)'s errno.
    """
    with handle.entered:
        number = handle.number
        if number < 0:
            handle.check()
        if not handle.is_unix:
            raise system_error(errno.EAFNOSUPPORT, "")
        # While the backlog is full, a blocking connect(2) waits in the kernel, and only a signal ends that wait. So the
        # socket is non-blocking for this call.
        was_blocking = False
        try:
            was_blocking = os.get_blocking(number)
            if was_blocking:
                os.set_blocking(number, False)
            handle.python.connect(name)
        except BlockingIOError:
            return False
        except OSError as error:
            raise translated(error, "") from None
        finally:
            if was_blocking:
                try:  # noqa: SIM105 - contextlib would be imported for this alone
                    os.set_blocking(number, True)
                except OSError:  # a filter forbids it: the outcome of connect(2) counts more than the flag
                    pass
    return True
