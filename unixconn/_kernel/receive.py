"""
Receiving: one non-blocking attempt of recvmsg(2).

Each function returns whether something came, and puts what came into a list that the caller passes in. A return value
would be lost if a signal handler raised before the caller has stored it.
"""

from __future__ import annotations

import errno
import select
from itertools import repeat

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.control_messages import (
    INCOMING,
    INT_SIZE,
    NATIVE,
    OUTCOME_ONE_CREDENTIALS,
    OUTCOME_ONE_DESCRIPTOR,
    ROOM,
    SCM_RIGHTS,
    SOL_SOCKET,
    UCRED,
    Contents,
    Incoming,
    contents_of,
    ints,
)
from unixconn._kernel.credentials import Credentials, CredentialsSource, are_absent, overflow_ids
from unixconn._kernel.descriptors import close_all
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.native import ffi, recvmsg
from unixconn._kernel.peer import peer_credentials
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.send import AGAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from unixconn._kernel.control_messages import ControlMessage
    from unixconn._kernel.handle import Handle

RECEIVING = "Error receiving message: "
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""The errors by which the kernel reports that it had no room for a pidfd, rather than that the process has ended."""
HUNG_UP: int = getattr(select, "POLLRDHUP", 0x2000)
"""POLLRDHUP, for which PyPy has no name: the peer has shut down its sending side, and nothing more will come."""

# These are names of this module, as they are looked up for each message. `receive_descriptors` and
# `receive_credentials` repeat a few lines, also for speed: one more Python frame takes a twentieth of the system call's
# time.
_recvmsg = recvmsg
_FLAGS = SYSTEM.receive_flags
_pop, _append = INCOMING.pop, INCOMING.append
_OF_MESSAGE = CredentialsSource.MESSAGE

# --- descriptors -----------------------------------------------------------------------------------------------------

_unpackers: dict[bytes, Callable[[Any], tuple[int, ...]]] = {}
"""
The functions that unpack the descriptors of messages with several descriptors and nothing else.

The key is `Incoming.outcome` of such a message, which depends on the number of descriptors. An entry is added when the
first message with that number has come.
"""


def receive_descriptors(handle: Handle, owner: list[int], single: bool = True) -> bool:
    """
    Receive one byte with descriptors; return True if it came, False if that would block.

    The descriptors are appended to *owner*, an empty list. They may be there even if an exception is raised.
    Credentials and a pidfd that come along are dropped.

    A message without descriptors, or with *single* a message with more than one, is refused: it is consumed, its
    descriptors are closed, and an Error is raised that says what came. At the end of a stream it is CLOSED. Also raises
    the Error for recvmsg(2)'s errno.
    """
    if handle.leftovers and _take_leftover(handle, owner, single=single):
        return True
    try:
        message = _pop()
    except IndexError:
        message = Incoming()
    message.room[0] = ROOM
    try:
        message.user = handle
        count = _recvmsg(handle.number, message.header, _FLAGS)
        message.user = None
        if handle.closed:
            handle.reap()
        if count == 1:
            outcome = message.outcome()
            if outcome == OUTCOME_ONE_DESCRIPTOR:
                owner.append(message.descriptors[0])
                _append(message)
                return True
            if not single and outcome in _unpackers:
                owner += _unpackers[outcome](message.payload)
                _append(message)
                return True
        came = not must_wait(handle, count)
        if came:
            _take_descriptors(handle, message, count, owner, single=single)
        _append(message)
        return came
    except BaseException:  # the Error for a refused message, or an exception raised by a signal handler
        _rescue(message, owner, single=single)
        raise


def _rescue(message: Incoming, owner: list[int], *, single: bool) -> None:
    """Move the descriptors of *message* to *owner* if it has what the caller asked for; otherwise close them."""
    # If the owner has them already, the buffer may be back in the pool, and another thread may be using it.
    if not owner:
        message.user = None
        if message.outcome() == OUTCOME_ONE_DESCRIPTOR or (not single and message.outcome() in _unpackers):
            owner += message.contents().descriptors
        else:
            message.discard()


def _take_leftover(handle: Handle, owner: list[int], *, single: bool) -> bool:
    """Move the first of `Handle.leftovers` to *owner*; return False if there are none. With *single* refuse several."""
    if not handle.take_leftover(owner):
        return False
    if single and len(owner) != 1:
        count = len(owner)
        close_all(owner)
        raise wrong_number(1, count)
    return True


def _take_descriptors(handle: Handle, message: Incoming, count: int, owner: list[int], *, single: bool) -> None:
    """
    Move the descriptors of *message*, which has *count* bytes, to *owner*.

    Raises the Error for a message without descriptors, and with *single* for one with more than one.
    """
    outcome, size = message.outcome(), message.header.msg_controllen
    found = whole_contents(message)
    descriptors = len(found.descriptors)
    if not descriptors:
        raise _without_descriptors(handle, found, count)
    if single and descriptors != 1:
        raise wrong_number(1, descriptors)
    owner.extend(map(message.owner.pop, repeat(0, descriptors)))
    close_all(message.owner)
    if count == 1 and SYSTEM.is_linux and size == NATIVE.space(descriptors * INT_SIZE):
        _unpackers[outcome] = ints(descriptors).unpack_from


def _without_descriptors(handle: Handle, found: Contents, count: int) -> Error:
    """Return the Error for a message of *count* bytes without descriptors. The texts are Gio's."""
    credentials = found.credentials is not None and not are_absent(*found.credentials)
    # At the end of a stream Linux adds a zeroed struct ucred. It says root, but no process has sent it.
    if not count and (handle.is_stream or not (handle.is_datagram or credentials or _has_more_to_come(handle))):
        return peer_has_gone()
    if credentials:
        return io_error(IOErrorEnum.FAILED, "Unexpected type of ancillary data")
    return io_error(IOErrorEnum.FAILED, "Expecting 1 control message, got 0")


def wrong_number(wanted: int, found: int) -> Error:
    """
    Return the Error for a message with *found* descriptors instead of *wanted*.

    If *wanted* is 1, the text is Gio's.
    """
    expected = "one fd" if wanted == 1 else f"{wanted} fds"
    return io_error(IOErrorEnum.FAILED, f"Expecting {expected}, but got {found}" + "\n" * (wanted == 1))


def refused(count: int) -> Error:
    """Return the Error for *count* descriptors that came to a socket that refuses them."""
    return io_error(
        IOErrorEnum.PERMISSION_DENIED,
        f"{RECEIVING}{count} descriptors came and were closed, as this socket refuses them: see "
        "UnixConnection.refuse_fds",
    )


# --- credentials -----------------------------------------------------------------------------------------------------


def receive_credentials(handle: Handle, found: list[Credentials]) -> bool:
    """
    Receive one byte with credentials; return True if it came, False if that would block.

    The credentials are appended to *found*, an empty list. They may be there even if an exception is raised. A pidfd
    and a security label that come along become part of them.

    The socket's SO_PASSCRED has to be on. If the byte was sent before that, the kernel adds no credentials to it, and
    those of the socket's peer are returned.

    A message with descriptors, or without data, is refused: it is consumed, its descriptors are closed, and an Error is
    raised. Also raises the Error for recvmsg(2)'s errno.
    """
    # The first steps are those of `receive_descriptors`: to share them would take one more call for each message.
    try:
        message = _pop()
    except IndexError:
        message = Incoming()
    message.room[0] = ROOM
    try:
        message.user = handle
        count = _recvmsg(handle.number, message.header, _FLAGS)
        message.user = None
        if handle.closed:
            handle.reap()
        if count == 1 and message.outcome() == OUTCOME_ONE_CREDENTIALS:
            numbers = UCRED.unpack(message.credentials)
            found.append(Credentials._of(numbers, _OF_MESSAGE) if numbers[0] else _sender_or_peer(handle, numbers))
            _append(message)
            return True
        came = not must_wait(handle, count)
        if came:
            _take_credentials(handle, message, count, found)
        _append(message)
        return came
    except BaseException:  # the Error for a refused message, or an exception raised by a signal handler
        # If the list has them already, the buffer may be back in the pool, and another thread may be using it.
        if not found:
            message.user = None
            numbers = UCRED.unpack(message.credentials)
            # At the end of a stream Linux adds a zeroed struct ucred. It says root, but no process has sent it.
            if message.outcome() == OUTCOME_ONE_CREDENTIALS and numbers[0]:
                found.append(Credentials._of(numbers, _OF_MESSAGE))
            else:
                message.discard()
        raise


def _take_credentials(handle: Handle, message: Incoming, count: int, found: list[Credentials]) -> None:
    """Append the credentials of *message*, which has *count* bytes, to *found*, or raise as `_credentials_alone`."""
    contents = _credentials_alone(message, count)
    pidfd = FileDescriptor._empty()
    pidfd._owned.extend(map(message.owner.pop, repeat(0, len(contents.pidfds))))
    found.append(_sender_or_peer(handle, contents.credentials or (0, *overflow_ids()), contents, pidfd))


def _credentials_alone(message: Incoming, count: int) -> Contents:
    """
    Return the contents of *message*, which has *count* bytes.

    Raises the Error FAILED if it has no bytes, or has descriptors. The texts are Gio's.
    """
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


def _sender_or_peer(
    handle: Handle, numbers: tuple[int, int, int], found: Contents | None = None, pidfd: FileDescriptor | None = None
) -> Credentials:
    """Return the credentials of a message, see `sender`, or those of the peer if the kernel has added none."""
    # With a pidfd, pid 0 does not mean that the kernel has added none: the sender is in another pid namespace.
    if are_absent(*numbers) and not (found is not None and found.pidfds):
        return peer_credentials(handle)
    return Credentials._of(numbers, _OF_MESSAGE) if found is None else sender(numbers, found, pidfd)


def sender(numbers: tuple[int, int, int], found: Contents, pidfd: FileDescriptor | Error | None) -> Credentials:
    """
    Return the credentials of a message: *numbers* are pid, uid and gid, and *found* are its contents.

    They own *pidfd* from now on.
    """
    made = Credentials._of(numbers, _OF_MESSAGE)
    if found.label is not None:
        made._label = found.label
    if found.no_pidfd in NO_ROOM:
        made._pidfd = system_error(found.no_pidfd, "There is no pidfd: ")
    elif found.no_pidfd:  # before Linux 6.16
        made._pidfd = system_error(errno.ESRCH, "There is no pidfd: ", "the sender had ended before the receipt")
    elif found.pidfds:
        made._pidfd = pidfd
    return made


# --- data ------------------------------------------------------------------------------------------------------------


class Received:
    """A message that `receive_message` took from the socket."""

    __slots__ = ("address", "flags", "messages", "owner", "refused", "refused_count", "size")

    def __init__(
        self,
        size: int,
        address: bytes,
        messages: list[ControlMessage],
        flags: int,
        contents: Contents,
        *,
        refuses: bool,
    ) -> None:
        self.size = size
        """The number of data bytes."""
        self.address = address
        """The sender's address as the kernel wrote it; b"" if the socket is connected or the sender has no name."""
        self.messages = messages
        """The control messages, in their order."""
        self.flags = flags
        """msg_flags, see recvmsg(2)."""
        self.owner = contents.pidfds if refuses else contents.all_descriptors
        """The descriptors in the control messages, which the caller has to take or to close."""
        self.refused = contents.descriptors if refuses else []
        """Descriptors that are still to be closed, as the socket refuses them."""
        self.refused_count = len(self.refused)
        """The number of descriptors that the socket has refused."""


def receive_message(
    handle: Handle, vectors: Sequence[bytearray], found: list[Received], flags: int = 0, context: str = RECEIVING
) -> bool:
    """
    Receive data and control messages; return True if they came, False if that would block.

    The data go into the writable buffers *vectors*; if there are none, one byte is received and dropped. The message is
    appended to *found*, an empty list, even if a signal handler raises an exception. *flags* are those of recvmsg(2),
    and *context* is the prefix of an Error's text.

    Raises the Error for recvmsg(2)'s errno, and INVALID_DATA for damaged control messages.
    """
    message = Incoming(vectors, with_address=True)
    # The result of the system call enters this list in one step of the interpreter, so an exception cannot lose it.
    counts: list[int] = []
    try:
        message.user = handle
        counts.extend(map(_recvmsg, (handle.number,), (message.header,), (flags | _FLAGS,)))
        message.user = None
        if handle.closed:
            handle.reap()
        if must_wait(handle, counts[0], context):
            return False
        found.append(_received(handle, message, counts[0]))
        if found[0].refused:
            close_all(found[0].refused)
        return True
    except BaseException as error:
        message.user = None
        if isinstance(error, Error) or not counts or counts[0] < 0:
            message.discard()
        else:  # raised by a signal handler. The message has left the socket, so the caller has to get it.
            if not found:
                found.append(_received(handle, message, counts[0]))
            close_all(found[0].refused)
        raise


def _received(handle: Handle, message: Incoming, count: int) -> Received:
    """
    Return what came in *message*, which has *count* bytes.

    The descriptors stay in the buffer until the caller has stored the result, so that it can close them by
    `Incoming.discard`. Raises the Error INVALID_DATA for damaged control messages.
    """
    messages, damage = NATIVE.parse(message.control())
    if damage:
        raise io_error(IOErrorEnum.INVALID_DATA, f"{RECEIVING}{damage}")
    contents, refuses = contents_of(messages), handle.refuses
    if refuses:
        messages = [each for each in messages if each[:2] != (SOL_SOCKET, SCM_RIGHTS)]
    if not count and handle.is_stream:
        # At the end of a stream Linux adds a zeroed struct ucred. It says root, but no process has sent it.
        messages = []
    flags = int(message.header.msg_flags)
    return Received(count, message.address(), messages, flags, contents, refuses=refuses)


# --- what all of them share ------------------------------------------------------------------------------------------


def must_wait(handle: Handle, count: int, context: str = RECEIVING) -> bool:
    """
    Return whether a recvmsg(2) that has just returned *count* would have blocked; raise the Error if it has failed.

    *context* is the prefix of the Error's text.
    """
    if count >= 0:
        return False
    if ffi.errno in AGAIN:
        if handle.is_datagram and _is_shut_down(handle):
            raise peer_has_gone()
        return True
    if ffi.errno == errno.EMSGSIZE and SYSTEM.full_is_emsgsize:
        raise table_is_full(0)
    raise handle.error(context)


def _is_shut_down(handle: Handle) -> bool:
    """
    Return whether the socket was shut down, so that nothing more can come.

    On Linux a datagram socket that was shut down is reported as readable by poll(), but a recvmsg(2) with MSG_DONTWAIT
    returns EAGAIN; only one that waits reports the end.
    """
    return SYSTEM.is_linux and bool(handle.poll(HUNG_UP) & HUNG_UP)


def _has_more_to_come(handle: Handle) -> bool:
    """Return whether the receipt of no bytes from a SOCK_SEQPACKET socket means an empty record, and not the end."""
    return SYSTEM.is_linux and handle.number >= 0 and (handle.available_bytes() > 0 or not _is_shut_down(handle))


def whole_contents(message: Incoming) -> Contents:
    """
    Return the contents of *message*, and move its descriptors to its owner.

    Raises the Error INVALID_DATA if the control messages are damaged, and TOO_MANY_OPEN_FILES if some were dropped.
    """
    found = message.take_over()
    if found.damage:
        raise io_error(IOErrorEnum.INVALID_DATA, f"{RECEIVING}{found.damage}")
    if message.truncated:
        raise table_is_full(len(found.all_descriptors))
    return found


def table_is_full(count: int) -> Error:
    """Return the Error for a message of which only *count* descriptors had room in this process's descriptor table."""
    return system_error(
        errno.EMFILE,
        RECEIVING,
        f"{count} of the message's descriptors had room in the descriptor table and were closed again, the others are "
        "lost: close some descriptors, or raise the limit (RLIMIT_NOFILE)",
    )


def peer_has_gone() -> Error:
    """Return the Error for an operation that receives at the end of a stream, or of a socket that was shut down."""
    return io_error(IOErrorEnum.CLOSED, "Connection closed by the peer")
