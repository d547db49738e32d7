"""
Messages over a socket: one non-blocking try of each kind; attempt_many.py and attempt_credentials.py have more of them.

Each function makes one system call and gives its result, or WOULD_BLOCK where the caller should wait and come again.
MSG_DONTWAIT makes the try non-blocking: O_NONBLOCK belongs to everybody who shares the socket, and is not touched.
"""

from __future__ import annotations

import errno
import os
import select
from enum import Enum

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel import control_messages as ancillary
from unixconn._kernel.control_data import NATIVE
from unixconn._kernel.control_messages import (
    OUTCOME_ONE_DESCRIPTOR,
    ROOM,
    Contents,
    Incoming,
    Outgoing,
)
from unixconn._kernel.credentials import are_absent
from unixconn._kernel.descriptors import as_descriptor, close_all, close_numbers, take
from unixconn._kernel.handle import Handle
from unixconn._kernel.native import ffi, recvmsg, sendmsg
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, Literal

    from unixconn._kernel.control_data import ControlMessage


class _WouldBlock(Enum):
    WOULD_BLOCK = "would block"


if TYPE_CHECKING:
    WouldBlock = Literal[_WouldBlock.WOULD_BLOCK]
WOULD_BLOCK: Final = _WouldBlock.WOULD_BLOCK

SEND_FLAGS = SYSTEM.send_flags
RECEIVE_FLAGS = SYSTEM.receive_flags
SENDING = "Error sending message: "
RECEIVING = "Error receiving message: "
# EINTR can not happen to a call that does not wait. If it does, the caller's poll() runs Python's signal handlers.
_AGAIN = (errno.EAGAIN, errno.EINTR)

HUNG_UP: int = getattr(select, "POLLRDHUP", 0x2000)
"""POLLRDHUP, which PyPy has no name for: nothing more is to come."""

_NOTHING: list[int] = []

# Bound once, as these are looked up at every message. For the same reason the functions for a descriptor and for
# credentials repeat a few lines: one more frame of Python takes a twentieth of the time that the kernel does.
_sendmsg = sendmsg
_recvmsg = recvmsg
_pop_descriptor, _append_descriptor = ancillary.outgoing_descriptor.pop, ancillary.outgoing_descriptor.append
_pop_incoming, _append_incoming = ancillary.incoming.pop, ancillary.incoming.append


# --- sending ---


def send_descriptor(handle: Handle, fd: int, kept: list[bool] | None = None) -> bool | WouldBlock:
    """Send a NUL byte with the descriptor *fd*; see `send_once` for *kept*."""
    try:
        message = _pop_descriptor()
    except IndexError:
        message = ancillary.OneDescriptor()
    try:
        message.descriptors[0] = fd
    except (ValueError, OverflowError):
        raise not_open(fd) from None
    if kept is not None:
        return send_once(handle, message, kept)
    try:
        message.user = handle
        sent = _sendmsg(handle.number, message.header, SEND_FLAGS)
    finally:
        message.user = None
    if handle.number < 0:
        handle.reap()
    _append_descriptor(message)
    if sent == 1:
        return True
    if ffi.errno == errno.EBADF:
        check_open((fd,))
    return check_sent(handle, sent, SENDING) is not WOULD_BLOCK or WOULD_BLOCK


def not_open(fd: int) -> Error:
    """Make the error for a descriptor that is not open, or can not be. The text is Gio's, which duplicates it first."""
    as_descriptor(fd)
    return system_error(errno.EBADF, "dup: ", f"fd is {fd}, and no file is open under this number")


def check_open(numbers: Sequence[int]) -> None:
    """Raise the Error for the first of *numbers* that is not open."""
    for number in numbers:
        try:
            os.fstat(number)
        except (OSError, OverflowError):
            raise not_open(number) from None


def send_message(
    handle: Handle, message: Outgoing, flags: int, context: str, kept: list[int] | None = None
) -> int | WouldBlock:
    """
    Send *message*; give the number of data bytes that went. *context* is an error's prefix.

    *kept* gets the number, also if a signal handler raises meanwhile: what has gone must not go again.
    """
    # From the system call to this list is one step of the interpreter.
    counts: list[int] = []
    try:
        try:
            message.user = handle
            counts.extend(map(_sendmsg, (handle.number,), (message.header,), (flags | SEND_FLAGS,)))
        finally:
            message.user = None
        if handle.number < 0:
            handle.reap()
        return check_sent(handle, counts[0], context)
    finally:
        if kept is not None and counts and counts[0] >= 0:
            kept += counts


def send_once(handle: Handle, message: Outgoing, kept: list[bool] | None) -> bool | WouldBlock:
    """Send *message*; in the background *kept* gets True if a signal handler raises when it has gone."""
    counts: list[int] = []
    try:
        return send_message(handle, message, 0, SENDING, counts) is not WOULD_BLOCK or WOULD_BLOCK
    except BaseException:
        if counts and kept is not None:
            kept.append(True)
        raise


def check_sent(handle: Handle, sent: int, context: str) -> int | WouldBlock:
    """Give what sendmsg() has returned, or WOULD_BLOCK; raise for a try that has failed."""
    if sent >= 0:
        return sent
    if ffi.errno in _AGAIN:
        return WOULD_BLOCK
    if ffi.errno == errno.EMSGSIZE and SYSTEM.full_is_emsgsize and handle.is_stream:
        # A stream has no longest message: the peer's buffer has no room for the control data.
        return WOULD_BLOCK
    raise handle.error(context)


# --- receiving ---


def receive_descriptor(handle: Handle, kept: list[int] | None = None) -> int | WouldBlock:
    """
    Receive one byte with one descriptor, and give its number.

    Credentials and a pidfd that come along are dropped. Any other message is refused: it is consumed, what came with it
    is closed, and the error says what it was. If a signal handler raises meanwhile, *kept* gets the descriptor; without
    that it is closed.
    """
    if handle.strays and (stray := _stray(handle)) is not None:
        return stray
    try:
        message = _pop_incoming()
    except IndexError:
        message = Incoming()
    message.room[0] = ROOM
    fd: int = -1
    extra = _NOTHING
    try:
        message.user = handle
        count = _recvmsg(handle.number, message.header, RECEIVE_FLAGS)
        message.user = None
        if handle.number < 0:
            handle.reap()
        if count == 1 and message.outcome() == OUTCOME_ONE_DESCRIPTOR:
            fd = message.descriptors[0]
            _append_incoming(message)
            return fd
        if not must_wait(handle, count):
            fd, extra = _only_descriptor(handle, message, count)
            close_all(extra)
            return fd
    except BaseException:  # a refused message, or of a signal handler
        if fd < 0:
            message.user = None
            fd, extra = _rescue(message, kept)
        if kept is not None and fd >= 0:
            kept.append(fd)
            fd = -1
        close_all([*extra, fd] if fd >= 0 else extra)
        raise
    _append_incoming(message)
    return WOULD_BLOCK


def _rescue(message: Incoming, kept: list[int] | None) -> tuple[int, list[int]]:
    """Give the descriptor that *message* has brought, and others to close; all are to close if nobody keeps one."""
    found = message.contents().all_descriptors
    if kept is not None and message.outcome() == OUTCOME_ONE_DESCRIPTOR:
        return found[0], found[1:]
    return -1, found


def _stray(handle: Handle) -> int | None:
    """Give the descriptor of a message whose byte a stream has read, None if another thread was quicker."""
    owner: list[int] = []
    try:
        if not handle.take_stray(owner):
            return None
        if len(owner) == 1:
            return take(owner)
        count = len(owner)
        close_all(owner)
    except BaseException:  # of a signal handler
        handle.give_back([owner])
        raise
    raise wrong_number(1, count)


class Received:
    """What `receive_message` took from the socket."""

    __slots__ = ("address", "flags", "messages", "refused", "size")

    def __init__(self, size: int, address: bytes, messages: list[ControlMessage], flags: int, refused: int = 0) -> None:
        self.size = size
        """Data bytes."""
        self.address = address
        """The sender's address as the kernel wrote it; empty for a connected socket, or a sender without a name."""
        self.messages = messages
        """The control messages, in their order; the descriptors in them belong to the caller."""
        self.flags = flags
        """msg_flags."""
        self.refused = refused
        """How many descriptors were closed, as the socket refuses them."""


def receive_message(
    handle: Handle,
    vectors: Sequence[bytearray],
    flags: int,
    context: str,
    owner: list[int],
    kept: list[Received] | None = None,
) -> Received | WouldBlock:
    """
    Receive into the writable buffers *vectors*, or one byte into nowhere.

    *owner*, an empty list, gets the descriptors that came; *context* is an error's prefix. *kept* gets what
    came, also if a signal handler raises meanwhile.
    """
    message = Incoming(vectors, with_address=True)
    # From the system call to this list is one step of the interpreter.
    counts: list[int] = []
    owned: list[bool] = []
    try:
        message.user = handle
        counts.extend(map(_recvmsg, (handle.number,), (message.header,), (flags | RECEIVE_FLAGS,)))
        message.user = None
        if handle.number < 0:
            handle.reap()
        if must_wait(handle, counts[0], context):
            return WOULD_BLOCK
        result = _received(handle, message, counts[0], owner, owned)
        if kept is not None:
            kept.append(result)
        return result
    except BaseException as error:
        message.user = None
        if not isinstance(error, Error) and kept is not None and counts and counts[0] >= 0:  # of a signal handler
            if not kept:
                kept.append(_received(handle, message, counts[0], owner, owned))
        elif not owner and not owned:
            discard(message)
        raise


def _received(handle: Handle, message: Incoming, count: int, owner: list[int], owned: list[bool]) -> Received:
    """Read *message*. It can be called again if a signal handler raises: *owned* says that *owner* has what came."""
    messages, damage = NATIVE.parse(message.control())
    if damage:
        raise _damaged(damage)
    found = ancillary.contents_of(messages)
    if not owned:
        refuses = handle.refuses
        # What is refused comes last, for `close_all`.
        owner += found.pidfds + found.descriptors if refuses else found.all_descriptors
        owned.append(refuses)
    if not count and handle.is_stream:
        # The end of the stream, to which Linux adds a zeroed struct ucred: nobody's, though it says root.
        messages = []
    closed = 0
    if owned[0]:
        closed = len(found.descriptors)
        messages = [each for each in messages if each[:2] != (ancillary.SOL_SOCKET, ancillary.SCM_RIGHTS)]
        close_all(owner, len(found.pidfds))
    return Received(count, message.address(), messages, int(message.header.msg_flags), closed)


def must_wait(handle: Handle, count: int, context: str = RECEIVING) -> bool:
    """Tell a try that has to be made again from one that has brought something; raise for one that has failed."""
    if count >= 0:
        return False
    if ffi.errno in _AGAIN:
        if handle.is_datagram and _is_shut_down(handle):
            raise peer_has_gone()
        return True
    if ffi.errno == errno.EMSGSIZE and SYSTEM.full_is_emsgsize:
        raise table_is_full(0)
    raise handle.error(context)


def _is_shut_down(handle: Handle) -> bool:
    """
    Tell whether nothing can come any more, where poll() says that there is something to receive.

    On Linux a datagram socket that was shut down gives no end to who does not wait in recvmsg() itself.
    """
    return SYSTEM.is_linux and bool(handle.poll(HUNG_UP) & HUNG_UP)


def _has_more_to_come(handle: Handle) -> bool:
    """Tell whether what a socket for records has just given is an empty record, and not the end."""
    return SYSTEM.is_linux and handle.number >= 0 and (handle.available_bytes() > 0 or not _is_shut_down(handle))


def discard(message: Incoming) -> None:
    """Close the descriptors of *message*."""
    close_numbers(message.contents().all_descriptors)


def whole_contents(message: Incoming) -> Contents:
    """Read *message*, and raise if it is not whole."""
    found = message.contents()
    if found.damage:
        raise _damaged(found.damage)
    if message.truncated:
        raise table_is_full(len(found.all_descriptors))
    return found


def table_is_full(count: int) -> Error:
    """Make the error for a message of which only *count* descriptors have found a free number."""
    return system_error(
        errno.EMFILE,
        RECEIVING,
        f"{count} of the message's descriptors found a free number and were closed again, the others are lost: close "
        "some descriptors, or raise the limit (RLIMIT_NOFILE)",
    )


def refused(count: int) -> Error:
    """Make the error for *count* descriptors that have come though they are refused."""
    return io_error(
        IOErrorEnum.PERMISSION_DENIED, f"{RECEIVING}{count} descriptors came and were closed: this socket refuses them"
    )


def peer_has_gone() -> Error:
    """Make the error of who receives at the end of a stream."""
    return io_error(IOErrorEnum.CLOSED, "Connection closed by the peer")


def _damaged(damage: str) -> Error:
    return io_error(IOErrorEnum.INVALID_DATA, f"{RECEIVING}{damage}")


def _only_descriptor(handle: Handle, message: Incoming, count: int) -> tuple[int, list[int]]:
    """Give the one descriptor of *message*, and others to close; refuse a message without one, or with several."""
    found = contents_with_descriptors(handle, message, count)
    if len(found.descriptors) == 1:
        return found.descriptors[0], found.pidfds
    raise wrong_number(1, len(found.descriptors))


def wrong_number(wanted: int, found: int) -> Error:
    """Make the error of who wants *wanted* descriptors, and gets *found*. For one it is Gio's, newline and all."""
    expected = "one fd" if wanted == 1 else f"{wanted} fds"
    return io_error(IOErrorEnum.FAILED, f"Expecting {expected}, but got {found}" + "\n" * (wanted == 1))


def contents_with_descriptors(handle: Handle, message: Incoming, count: int) -> Contents:
    """Read *message*, of *count* bytes; refuse one without descriptors. The texts are Gio's."""
    found = whole_contents(message)
    if found.descriptors:
        return found
    credentials = found.credentials is not None and not are_absent(*found.credentials)
    # At the end of a stream Linux adds a zeroed struct ucred: nobody's, though it says root.
    if not count and (handle.is_stream or not (handle.is_datagram or credentials or _has_more_to_come(handle))):
        raise peer_has_gone()
    if credentials:
        raise io_error(IOErrorEnum.FAILED, "Unexpected type of ancillary data")
    raise io_error(IOErrorEnum.FAILED, "Expecting 1 control message, got 0")
