"""Messages with credentials: one non-blocking try of each kind; attempt.py has the others."""

from __future__ import annotations

import errno
import os

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel import control_messages as ancillary
from unixconn._kernel.attempt import (
    RECEIVE_FLAGS,
    SEND_FLAGS,
    SENDING,
    WOULD_BLOCK,
    check_sent,
    discard,
    must_wait,
    send_once,
    whole_contents,
)
from unixconn._kernel.control_messages import OUTCOME_ONE_CREDENTIALS, ROOM, UCRED, Contents, Incoming
from unixconn._kernel.credentials import Credentials, CredentialsSource, are_absent, overflow_ids
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.handle import Handle
from unixconn._kernel.native import recvmsg, sendmsg
from unixconn._kernel.peer import peer_credentials

if TYPE_CHECKING:
    from unixconn._kernel.attempt import WouldBlock

NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""What keeps the kernel from making a pidfd, where the process has not ended."""

_OF_MESSAGE = CredentialsSource.MESSAGE

# Bound once, as in attempt.py.
_sendmsg = sendmsg
_recvmsg = recvmsg
_pop_outgoing, _append_outgoing = ancillary.outgoing_credentials.pop, ancillary.outgoing_credentials.append
_pop_incoming, _append_incoming = ancillary.incoming.pop, ancillary.incoming.append
_pack = UCRED.pack_into
_getpid, _geteuid, _getegid = os.getpid, os.geteuid, os.getegid


def send_credentials(handle: Handle, kept: list[bool] | None = None) -> bool | WouldBlock:
    """Send a NUL byte with this process's pid and effective ids; see `send_once` for *kept*."""
    try:
        message = _pop_outgoing()
    except IndexError:
        message = ancillary.OneCredentials()
    _pack(message.credentials, 0, _getpid(), _geteuid(), _getegid())
    if kept is not None:
        return send_once(handle, message, kept)
    try:
        message.user = handle
        sent = _sendmsg(handle.number, message.header, SEND_FLAGS)
    finally:
        message.user = None
    if handle.number < 0:
        handle.reap()
    _append_outgoing(message)
    if sent == 1:
        return True
    return check_sent(handle, sent, SENDING) is not WOULD_BLOCK or WOULD_BLOCK


def receive_credentials(handle: Handle, kept: list[Credentials] | None = None) -> Credentials | WouldBlock:
    """
    Receive one byte with credentials; a pidfd and a label that come along are theirs.

    The socket's SO_PASSCRED has to be on. Where the kernel added none, as the byte was sent before that, the answer is
    the socket's peer. If a signal handler raises meanwhile, *kept* gets the credentials.
    """
    try:
        message = _pop_incoming()
    except IndexError:
        message = Incoming()
    message.room[0] = ROOM
    count = -1
    numbers = pidfd = None
    in_pool = False
    try:
        message.user = handle
        count = _recvmsg(handle.number, message.header, RECEIVE_FLAGS)
        message.user = None
        if handle.number < 0:
            handle.reap()
        if count == 1 and message.outcome() == OUTCOME_ONE_CREDENTIALS:
            numbers = UCRED.unpack(message.credentials)
            in_pool = True
            _append_incoming(message)
            return Credentials._of(numbers, _OF_MESSAGE) if numbers[0] else _sender_or_peer(handle, numbers)
        if not must_wait(handle, count):
            found = _credentials_alone(message, count)
            pidfd = FileDescriptor._empty()
            # The buffer's until here, and from here on closed with the object.
            pidfd._owned += found.pidfds
            numbers = found.credentials or (0, *overflow_ids())
            in_pool = True
            _append_incoming(message)
            return _sender_or_peer(handle, numbers, found, pidfd)
    except BaseException:  # a refused message, or of a signal handler
        if not in_pool:
            message.user = None
            if pidfd is None or pidfd.closed:
                numbers = _rescue(message, count)
        # At the end of a stream Linux adds a zeroed struct ucred: nobody's, though it says root.
        if kept is not None and numbers is not None and numbers[0]:
            kept.append(Credentials._of(numbers, _OF_MESSAGE))
        raise
    _append_incoming(message)
    return WOULD_BLOCK


def _sender_or_peer(
    handle: Handle, numbers: tuple[int, int, int], found: Contents | None = None, pidfd: FileDescriptor | None = None
) -> Credentials:
    """Give the credentials of a message, see `sender`; the peer's if the kernel has added none to it."""
    # With a pidfd there is a sender: nobody by name, and of another pid namespace.
    if are_absent(*numbers) and not (found is not None and found.pidfds):
        return peer_credentials(handle)
    return Credentials._of(numbers, _OF_MESSAGE) if found is None else sender(numbers, found, pidfd)


def _rescue(message: Incoming, count: int) -> tuple[int, int, int] | None:
    """Give the numbers that *message* has brought, or close what it has brought in their place."""
    if count and message.outcome() == OUTCOME_ONE_CREDENTIALS:
        return UCRED.unpack(message.credentials)
    discard(message)
    return None


def _credentials_alone(message: Incoming, count: int) -> Contents:
    """Read *message*, of *count* bytes; refuse one with descriptors. The texts are Gio's."""
    found = whole_contents(message)
    if not count:
        raise io_error(
            IOErrorEnum.FAILED, "Expecting to read a single byte for receiving credentials but read zero bytes"
        )
    if found.descriptors:
        if found.credentials is None or are_absent(*found.credentials):
            raise io_error(IOErrorEnum.FAILED, "Unexpected type of ancillary data")
        raise io_error(IOErrorEnum.FAILED, "Expecting 1 control message, got 2")
    return found


def sender(numbers: tuple[int, int, int], found: Contents, pidfd: FileDescriptor | Error | None) -> Credentials:
    """Make the credentials of a message with *numbers*, and what else was *found* in it; *pidfd* is theirs then."""
    made = Credentials._of(numbers, _OF_MESSAGE)
    if found.label is not None:
        made._label = found.label
    if found.no_pidfd in NO_ROOM:
        made._pidfd = system_error(found.no_pidfd, "There is no pidfd: ")
    elif found.no_pidfd:  # before Linux 6.16
        made._pidfd = system_error(errno.ESRCH, "There is no pidfd: ", "the sender had ended")
    elif found.pidfds:
        made._pidfd = pidfd
    return made
