"""Options of Unix sockets: what the kernel adds to each message, and what it refuses."""

from __future__ import annotations

import errno
import os
import weakref

from unixconn._base.errors import Error, IOErrorEnum, io_error, translated
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.control_messages import SOL_SOCKET
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from unixconn._kernel.handle import Handle

_LEVEL, _NAME = SYSTEM.credentials_option or (-1, -1)
# The Handles for which an operation has ever switched SO_PASSCRED on, used as a set.
_receivers: dict[weakref.ref[Handle], None] = {}


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


# --- SO_PASSCRED while credentials are received --- The option belongs to the socket, which several receivers may use
# at the same time. If one of them switched the option off at its end, the kernel would add no credentials to the
# messages for the others, and these would report the process that made the socket instead of the sender. So the
# option stays on until the last receiver leaves.


def become_receiver(handle: Handle) -> None:
    """Have a forked child know that SO_PASSCRED may be on for this process. Call this before the first `add`."""
    handle.passcred_users = set()
    _receivers[weakref.ref(handle, _forget_receiver)] = None
    handle.switched_passcred = False


def enter_passcred(handle: Handle, token: object) -> None:
    """Switch SO_PASSCRED on until `leave_passcred` was called for *token* and all other tokens."""
    with handle.entered:
        if handle.switched_passcred is None:
            become_receiver(handle)
        first = not handle.passcred_users
        handle.passcred_users.add(token)
        if first:
            _switch_on_passcred(handle)


def leave_passcred(handle: Handle, token: object) -> None:
    """Undo `enter_passcred`, even one that failed half-way. The last token restores the user's setting."""
    with handle.entered:
        try:
            handle.passcred_users.discard(token)
            if not handle.passcred_users:
                _restore_passcred(handle)
        except BaseException:  # a second call may find no users, and do nothing
            if not handle.passcred_users:
                _restore_passcred(handle)
            raise


# The standard library is faster than cffi for an integer option on CPython, and as fast on PyPy.


def _switch_on_passcred(handle: Handle) -> None:
    """Switch SO_PASSCRED on, and record whether it was off. `receive_credentials` has the same lines."""
    if _NAME < 0:  # there is no such option: the sender attaches credentials, or messages carry none
        return
    try:
        if not handle.python.getsockopt(_LEVEL, _NAME):
            # Recorded before the change: switching the option off once too often does no harm.
            handle.switched_passcred = True
            handle.python.setsockopt(_LEVEL, _NAME, 1)
    except OSError as error:
        raise no_passcred(handle, error, switched=bool(handle.switched_passcred)) from None


def no_passcred(handle: Handle, error: OSError, *, switched: bool) -> OSError | Error:
    """Return the Error for *error*, with which SO_PASSCRED was not switched on."""
    handle.check()
    doing = "enabling SO_PASSCRED" if switched else "checking if SO_PASSCRED is enabled for socket"
    return translated(error, f"Error {doing}: ")


def switch_back_passcred(handle: Handle) -> None:
    """Switch SO_PASSCRED off after a call that has switched it on, unless an operation needs it by now."""
    if handle.passcred_users:  # a signal handler has started one meanwhile
        handle.switched_passcred = True
    else:
        _switch_off_passcred(handle)


def _restore_passcred(handle: Handle) -> None:
    """Restore the user's setting of SO_PASSCRED, as no operation needs the option any more."""
    if handle.switched_passcred and not handle.passcred_users:  # a signal handler may have started one meanwhile
        _switch_off_passcred(handle)
        handle.switched_passcred = False


def _switch_off_passcred(handle: Handle) -> None:
    if handle.number >= 0:  # a closed socket has no setting to restore
        try:  # noqa: SIM105 - contextlib would be imported for this alone
            handle.python.setsockopt(_LEVEL, _NAME, 0)
        except OSError:  # a filter forbids it: what was received, or the Error, counts more than the option
            pass


def _forget_receiver(gone: weakref.ref[Handle]) -> None:
    _receivers.pop(gone, None)


def _start_in_child() -> None:
    """Forget the parent's receivers, which a forked child does not have."""
    # The child shares the socket, and SO_PASSCRED is on for the parent's receivers. The child must not switch it off,
    # so in the child it counts as the user's setting.
    for receiver in tuple(_receivers):
        handle = receiver()
        if handle is not None:
            handle.passcred_users.clear()
            handle.switched_passcred = False


os.register_at_fork(after_in_child=_start_in_child)
