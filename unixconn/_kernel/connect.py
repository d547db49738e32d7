"""Connecting and accepting: one non-blocking attempt of connect(2) and of accept(2)."""

from __future__ import annotations

import errno
import os
import select
import socket

from unixconn._base.errors import system_error, translated
from unixconn._kernel.handle import Handle, Use
from unixconn._kernel.receive import HUNG_UP


def accept(handle: Handle, accepted: list[socket.socket]) -> bool:
    """
    Accept a connection and append its socket to *accepted*; return False if that would block.

    Raises the Error CLOSED or NOT_INITIALIZED, see `Handle.check`, and the Error for accept(2)'s errno.
    """
    use = Use()
    try:
        use.user = handle
        handle.check()
        # accept(2) takes no MSG_DONTWAIT, and all processes that have the socket share O_NONBLOCK. So poll() tells
        # beforehand whether accept(2) would block.
        events = handle.poll(select.POLLIN | HUNG_UP)
        if not events and handle.python.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        # A socket that does not listen comes here, too, and fails at once.
        accepted.append(handle.python.accept()[0])
    except BlockingIOError:
        # poll() always reports a listener that was shut down as ready, but no connection will ever come.
        if events & HUNG_UP:
            raise system_error(errno.EINVAL, "Error accepting connection: ") from None
        return False
    except (OSError, ValueError) as error:
        handle.check()
        raise (translated(error, "Error accepting connection: ") if isinstance(error, OSError) else error) from None
    finally:
        use.user = None
        if handle.closed:
            handle.reap()
    return True


def connect(handle: Handle, name: str | bytes) -> bool:
    """
    Connect to the Unix socket *name*; return False if its backlog is full.

    Raises the Error CLOSED or NOT_INITIALIZED, see `Handle.check`, NOT_SUPPORTED if the socket is of another family,
    and the Error for connect(2)'s errno.
    """
    with handle.lock.entered:
        handle.check()
        if not handle.is_unix:
            raise system_error(errno.EAFNOSUPPORT, "")
        number = handle.number
        # While the backlog is full, a blocking connect(2) waits in the kernel, and only a signal ends that wait. So the
        # socket is non-blocking for this call.
        was_blocking = os.get_blocking(number)
        try:
            if was_blocking:
                os.set_blocking(number, False)
            handle.python.connect(name)
        except BlockingIOError:
            return False
        except OSError as error:
            raise translated(error, "") from None
        finally:
            if was_blocking:
                os.set_blocking(number, True)
    return True
