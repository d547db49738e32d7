"""Options of Unix sockets: what the kernel adds to each message, and what it refuses."""

from __future__ import annotations

import errno

from unixconn._base.errors import Error, IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.control_messages import SOL_SOCKET
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from unixconn._kernel.handle import Handle


def pass_credentials(handle: Handle, wanted: bool) -> None:
    """Set SO_PASSCRED, or what stands for it. Raises the Error NOT_SUPPORTED on a system without such an option."""
    if SYSTEM.credentials_option is None:
        text = "Error asking for credentials of senders: this system has no option for that, a sender attaches them"
        raise io_error(IOErrorEnum.NOT_SUPPORTED, text)
    handle.check()
    handle.set_option(*SYSTEM.credentials_option, wanted, "")


def pass_pidfds(handle: Handle, wanted: bool) -> None:
    """Set SO_PASSPIDFD. Raises the Error NOT_SUPPORTED before Linux 6.5."""
    if not _switch(handle, "SO_PASSPIDFD", wanted):
        text = "Error asking for pidfds of senders: SO_PASSPIDFD needs Linux 6.5 or later"
        raise io_error(IOErrorEnum.NOT_SUPPORTED, text)


def refuse_rights(handle: Handle, refused: bool) -> None:
    """Clear or set SO_PASSRIGHTS, which Linux has from 6.16 on, and have receivers close the descriptors that come."""
    _switch(handle, "SO_PASSRIGHTS", not refused)
    # Set even if the kernel refuses descriptors: those already in flight pass.
    handle.refuses = refused


def _switch(handle: Handle, name: str, on: bool) -> bool:
    """Switch an option that older kernels do not have; return whether this one has it."""
    option = SYSTEM.constant(name)
    if option is None:
        return False
    handle.check()
    try:
        handle.set_option(SOL_SOCKET, option, on, "")
    except Error as error:
        if getattr(error, "errno", None) != errno.ENOPROTOOPT:
            raise
        return False
    return True
