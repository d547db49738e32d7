"""
Receiving: one try of recvmsg(2), which does not wait.

Each function returns whether something came, and puts it into a list that its caller has already. So an exception
raised by a signal handler, at whatever moment, loses nothing.
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
"""The errors that keep the kernel from making a pidfd though the process has not ended."""
HUNG_UP: int = getattr(select, "POLLRDHUP", 0x2000)
"""POLLRDHUP, for which PyPy has no name: nothing more will come."""

# Bound once, as these are looked up at every message. For the same reason the functions for descriptors and for
# credentials repeat a few lines: one more frame of Python takes a twentieth of the system call's time.
_recvmsg = recvmsg
_FLAGS = SYSTEM.receive_flags
_pop, _append = INCOMING.pop, INCOMING.append
_OF_MESSAGE = CredentialsSource.MESSAGE

# --- descriptors -----------------------------------------------------------------------------------------------------

_unpackers: dict[bytes, Callable[[Any], tuple[int, ...]]] = {}
"""How to read a message with several descriptors and nothing else, by its outcome; learnt as they come."""


def receive_descriptors(handle: Handle, owner: list[int], single: bool = False) -> bool:
    """
    Receive one byte with descriptors into *owner*, an empty list; return whether they came, False if it would block.

    They may be there also where an exception comes out. Credentials and a pidfd that come along are dropped. A message
    without descriptors, or with *single* one with several, is refused: it is consumed, the descriptors are closed, and
    the Error says what it was.
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
    """Let *owner* have the descriptors of *message* if it is one that was wanted, else close them."""
    # With something in the owner, the buffer may be another thread's already.
    if not owner:
        message.user = None
        if message.outcome() == OUTCOME_ONE_DESCRIPTOR or (not single and message.outcome() in _unpackers):
            owner += message.contents().descriptors
        else:
            message.discard()


def _take_leftover(handle: Handle, owner: list[int], *, single: bool) -> bool:
    """Let *owner* have the descriptors of a message whose byte a stream has read; return False if there are none."""
    if not handle.take_leftover(owner):
        return False
    if single and len(owner) != 1:
        count = len(owner)
        close_all(owner)
        raise wrong_number(1, count)
    return True


def _take_descriptors(handle: Handle, message: Incoming, count: int, owner: list[int], *, single: bool) -> None:
    """Let *owner* have the descriptors of *message*, of *count* bytes; refuse another number of them."""
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
    # At the end of a stream Linux adds a zeroed struct ucred. It is nobody's, though it says root.
    if not count and (handle.is_stream or not (handle.is_datagram or credentials or _has_more_to_come(handle))):
        return peer_has_gone()
    if credentials:
        return io_error(IOErrorEnum.FAILED, "Unexpected type of ancillary data")
    return io_error(IOErrorEnum.FAILED, "Expecting 1 control message, got 0")


def wrong_number(wanted: int, found: int) -> Error:
    """Return the Error for a message with *found* descriptors in place of *wanted*. For one it is Gio's text."""
    expected = "one fd" if wanted == 1 else f"{wanted} fds"
    return io_error(IOErrorEnum.FAILED, f"Expecting {expected}, but got {found}" + "\n" * (wanted == 1))


def refused(count: int) -> Error:
    """Return the Error for *count* descriptors that came to a socket that refuses them."""
    return io_error(
        IOErrorEnum.PERMISSION_DENIED, f"{RECEIVING}{count} descriptors came and were closed: this socket refuses them"
    )


# --- credentials -----------------------------------------------------------------------------------------------------


def receive_credentials(handle: Handle, found: list[Credentials]) -> bool:
    """
    Receive one byte with credentials into *found*, an empty list; return whether it came, False if it would block.

    The credentials may be there also where an exception comes out. A pidfd and a label that come along are theirs. The
    socket's SO_PASSCRED has to be on. Where the kernel added no credentials, as the byte was sent before that, they are
    those of the socket's peer.
    """
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
        # With something in the list, the buffer may be another thread's already.
        if not found:
            message.user = None
            numbers = UCRED.unpack(message.credentials)
            # At the end of a stream Linux adds a zeroed struct ucred. It is nobody's, though it says root.
            if message.outcome() == OUTCOME_ONE_CREDENTIALS and numbers[0]:
                found.append(Credentials._of(numbers, _OF_MESSAGE))
            else:
                message.discard()
        raise


def _take_credentials(handle: Handle, message: Incoming, count: int, found: list[Credentials]) -> None:
    """Let *found* have the credentials of *message*, of *count* bytes; refuse a message with descriptors."""
    contents = _credentials_alone(message, count)
    pidfd = FileDescriptor._empty()
    pidfd._owned.extend(map(message.owner.pop, repeat(0, len(contents.pidfds))))
    found.append(_sender_or_peer(handle, contents.credentials or (0, *overflow_ids()), contents, pidfd))


def _credentials_alone(message: Incoming, count: int) -> Contents:
    """Return the contents of *message*, of *count* bytes; refuse one with descriptors. The texts are Gio's."""
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
    """Return the credentials of a message, see `sender`, or the peer's if the kernel has added none to it."""
    # A pidfd says that there is a sender: one of another pid namespace, which has no pid here.
    if are_absent(*numbers) and not (found is not None and found.pidfds):
        return peer_credentials(handle)
    return Credentials._of(numbers, _OF_MESSAGE) if found is None else sender(numbers, found, pidfd)


def sender(numbers: tuple[int, int, int], found: Contents, pidfd: FileDescriptor | Error | None) -> Credentials:
    """Return the credentials of a message with *numbers*, and what else was *found* in it; they own *pidfd* then."""
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


# --- data ------------------------------------------------------------------------------------------------------------


class Received:
    """What `receive_message` took from the socket."""

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
        """The sender's address as the kernel wrote it. Empty for a connected socket, and a sender without a name."""
        self.messages = messages
        """The control messages, in their order."""
        self.flags = flags
        """msg_flags."""
        self.owner = contents.pidfds if refuses else contents.all_descriptors
        """The descriptors in the control messages, which the receiver has to take or to close."""
        self.refused = contents.descriptors if refuses else []
        """Descriptors that have to be closed, as the socket refuses them."""
        self.refused_count = len(self.refused)


def receive_message(
    handle: Handle, vectors: Sequence[bytearray], found: list[Received], flags: int = 0, context: str = RECEIVING
) -> bool:
    """
    Receive into the writable buffers *vectors*, or one byte into nowhere; return False if it would block.

    *found*, an empty list, gets what came, also where an exception raised by a signal handler comes out. *flags* are
    those of recvmsg(2), and *context* is the prefix of an Error's text.
    """
    message = Incoming(vectors, with_address=True)
    # From the system call to this list it is one step of the interpreter.
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
        close_all(found[0].refused)
        return True
    except BaseException as error:
        message.user = None
        if isinstance(error, Error) or not counts or counts[0] < 0:
            message.discard()
        else:  # raised by a signal handler: what came has left the socket
            if not found:
                found.append(_received(handle, message, counts[0]))
            close_all(found[0].refused)
        raise


def _received(handle: Handle, message: Incoming, count: int) -> Received:
    """Return what *message*, of *count* bytes, has brought. The descriptors are the buffer's until that is stored."""
    messages, damage = NATIVE.parse(message.control())
    if damage:
        raise io_error(IOErrorEnum.INVALID_DATA, f"{RECEIVING}{damage}")
    contents, refuses = contents_of(messages), handle.refuses
    if refuses:
        messages = [each for each in messages if each[:2] != (SOL_SOCKET, SCM_RIGHTS)]
    if not count and handle.is_stream:
        # At the end of a stream Linux adds a zeroed struct ucred. It is nobody's, though it says root.
        messages = []
    flags = int(message.header.msg_flags)
    return Received(count, message.address(), messages, flags, contents, refuses=refuses)


# --- what all of them share ------------------------------------------------------------------------------------------


def must_wait(handle: Handle, count: int, context: str = RECEIVING) -> bool:
    """Return whether a try that returned *count* has to be made again; raise the Error for one that has failed."""
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
    Whether nothing can come any more, where poll() says that there is something to receive.

    On Linux recvmsg() tells the end of a datagram socket that was shut down only to a call that waits.
    """
    return SYSTEM.is_linux and bool(handle.poll(HUNG_UP) & HUNG_UP)


def _has_more_to_come(handle: Handle) -> bool:
    """Whether an empty record that a socket for records has just given is a record, and not the end."""
    return SYSTEM.is_linux and handle.number >= 0 and (handle.available_bytes() > 0 or not _is_shut_down(handle))


def whole_contents(message: Incoming) -> Contents:
    """Return what *message* has brought, whose owner has the descriptors then. Raises the Error if it is not whole."""
    found = message.take_over()
    if found.damage:
        raise io_error(IOErrorEnum.INVALID_DATA, f"{RECEIVING}{found.damage}")
    if message.truncated:
        raise table_is_full(len(found.all_descriptors))
    return found


def table_is_full(count: int) -> Error:
    """Return the Error for a message of which only *count* descriptors have found a free number."""
    return system_error(
        errno.EMFILE,
        RECEIVING,
        f"{count} of the message's descriptors found a free number and were closed again, the others are lost: close "
        "some descriptors, or raise the limit (RLIMIT_NOFILE)",
    )


def peer_has_gone() -> Error:
    """Return the Error of an operation that receives at the end of a stream."""
    return io_error(IOErrorEnum.CLOSED, "Connection closed by the peer")
