"""Connecting and accepting: one try of each that does not wait; beside attempt.py, which has those for messages."""

from __future__ import annotations

import errno
import os
import select
import socket

from unixconn._base.errors import system_error, translated
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.attempt import HUNG_UP, WOULD_BLOCK
from unixconn._kernel.handle import Handle, Use

if TYPE_CHECKING:
    from unixconn._kernel.attempt import WouldBlock


def accept(handle: Handle) -> socket.socket | WouldBlock:
    """Accept a connection."""
    use = Use()
    try:
        use.user = handle
        handle.check()
        # accept() knows no MSG_DONTWAIT, and O_NONBLOCK belongs to everybody who has the socket.
        events = handle.poll(select.POLLIN | HUNG_UP)
        if not events and handle.python.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return WOULD_BLOCK
        # One that does not listen says so at once.
        accepted, _ = handle.python.accept()
    except BlockingIOError:
        # A listener that was shut down is ready for ever, and has nothing.
        if events & HUNG_UP:
            raise system_error(errno.EINVAL, "Error accepting connection: ") from None
        return WOULD_BLOCK
    except (OSError, ValueError) as error:
        handle.check()
        raise (translated(error, "Error accepting connection: ") if isinstance(error, OSError) else error) from None
    finally:
        use.user = None
        if handle.number < 0:
            handle.reap()
    return accepted


def connect(handle: Handle, name: str | bytes) -> bool | WouldBlock:
    """Connect to the Unix socket *name*; it would block while too many peers wait to be accepted there."""
    with handle.lock.entered:
        handle.check()
        if not handle.is_unix:
            raise system_error(errno.EAFNOSUPPORT, "")
        number = handle.number
        # A connect() that finds the listener's queue full waits in the kernel, where nothing but a signal ends it.
        was_blocking = os.get_blocking(number)
        try:
            if was_blocking:
                os.set_blocking(number, False)
            handle.python.connect(name)
        except BlockingIOError:
            return WOULD_BLOCK
        except OSError as error:
            raise translated(error, "") from None
        finally:
            if was_blocking:
                os.set_blocking(number, True)
    return True
