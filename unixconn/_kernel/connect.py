"""Connecting and accepting: one try of each, which does not wait."""

from __future__ import annotations

import errno
import os
import select
import socket

from unixconn._base.errors import system_error, translated
from unixconn._kernel.handle import Handle, Use
from unixconn._kernel.receive import HUNG_UP


def accept(handle: Handle, accepted: list[socket.socket]) -> bool:
    """Accept a connection into *accepted*; return False if it would block."""
    use = Use()
    try:
        use.user = handle
        handle.check()
        # accept() knows no MSG_DONTWAIT, and O_NONBLOCK belongs to everybody who has the socket.
        events = handle.poll(select.POLLIN | HUNG_UP)
        if not events and handle.python.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        # A socket that does not listen fails at once.
        accepted.append(handle.python.accept()[0])
    except BlockingIOError:
        # A listener that was shut down is always ready, and has no connection.
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
    """Connect to the Unix socket *name*; return False while its backlog is full."""
    with handle.lock.entered:
        handle.check()
        if not handle.is_unix:
            raise system_error(errno.EAFNOSUPPORT, "")
        number = handle.number
        # A connect() that finds the backlog full waits in the kernel, where only a signal ends it.
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
