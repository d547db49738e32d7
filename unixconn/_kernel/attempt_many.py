"""Messages with any number of descriptors: one non-blocking try of each kind; attempt.py has those with one."""

from __future__ import annotations

import errno
import struct
import sys

from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel import control_messages as ancillary
from unixconn._kernel.attempt import (
    RECEIVE_FLAGS,
    SEND_FLAGS,
    SENDING,
    WOULD_BLOCK,
    check_open,
    check_sent,
    contents_with_descriptors,
    must_wait,
)
from unixconn._kernel.control_data import NATIVE
from unixconn._kernel.control_messages import INT_SIZE, ROOM, Incoming
from unixconn._kernel.descriptors import close_all
from unixconn._kernel.handle import Handle
from unixconn._kernel.native import ffi, recvmsg, sendmsg
from unixconn._kernel.platform import SYSTEM

_IS_PYPY = sys.implementation.name == "pypy"
if _IS_PYPY:
    from array import array

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from unixconn._kernel.attempt import WouldBlock

# Bound once, as in attempt.py.
_sendmsg = sendmsg
_recvmsg = recvmsg
_pop_outgoing, _append_outgoing = ancillary.outgoing_descriptors.pop, ancillary.outgoing_descriptors.append
_pop_incoming, _append_incoming = ancillary.incoming.pop, ancillary.incoming.append

# Of packed ints the bytes that count ones.
_ONES = slice(0 if sys.byteorder == "little" else INT_SIZE - 1, None, INT_SIZE)


_unpackers: dict[bytes, Callable[[Any], tuple[int, ...]]] = {}
"""How to read the payload of a message with descriptors alone, by the outcome that it leaves; learnt as they come."""


def send_descriptors(handle: Handle, numbers: Sequence[Any]) -> bool | WouldBlock:
    """
    Send a NUL byte with the descriptors *numbers*, one to 253.

    Gives False, and sends nothing, if any is not plainly the number of a descriptor, and also for some that are right,
    0 and 1 among them.
    """
    try:
        message = _pop_outgoing()
    except IndexError:
        message = ancillary.ManyDescriptors()
    try:
        if message.count != len(numbers):
            message.resize(len(numbers))
        # A call with some hundred arguments is slow on PyPy.
        packed = array("I", numbers).tobytes() if _IS_PYPY else message.pack(*numbers)
    except (struct.error, TypeError, ValueError, OverflowError):
        _append_outgoing(message)
        return False
    # True and False are packed as well. To look at the type of each number takes longer than this.
    ones = packed[_ONES]
    if 0 in ones or 1 in ones:
        _append_outgoing(message)
        return False
    message.payload[message.place] = packed
    try:
        message.user = handle
        count = _sendmsg(handle.number, message.header, SEND_FLAGS)
    finally:
        message.user = None
    if handle.number < 0:
        handle.reap()
    _append_outgoing(message)
    if count == 1:
        return True
    if ffi.errno == errno.EBADF:
        check_open(numbers)
    return check_sent(handle, count, SENDING) is not WOULD_BLOCK or WOULD_BLOCK


def receive_descriptors(handle: Handle, owner: list[int]) -> bool | WouldBlock:
    """
    Receive one byte with descriptors, which *owner*, an empty list, has from then on, whatever comes.

    A message without descriptors is refused: it is consumed, and the error says what it was. Credentials and a pidfd
    that come along are dropped.
    """
    if handle.strays and handle.take_stray(owner):
        return True
    try:
        message = _pop_incoming()
    except IndexError:
        message = Incoming()
    message.room[0] = ROOM
    found = None
    result: bool | WouldBlock = True
    try:
        message.user = handle
        count = _recvmsg(handle.number, message.header, RECEIVE_FLAGS)
        message.user = None
        if handle.number < 0:
            handle.reap()
        unpack = _unpackers.get(message.outcome()) if count == 1 else None
        if unpack is not None:
            owner += unpack(message.payload)
        elif must_wait(handle, count):
            result = WOULD_BLOCK
        else:
            found = contents_with_descriptors(handle, message, count)
            owner += found.descriptors
            close_all(found.pidfds)
            _learn(message, count, len(owner))
    except BaseException:  # a refused message, or of a signal handler
        message.user = None
        if not owner:
            close_all(message.contents().all_descriptors)
        elif found is not None:
            close_all(found.pidfds)
        raise
    _append_incoming(message)
    return result


def _learn(message: Incoming, count: int, descriptors: int) -> None:
    """Keep how to read one like this *message* of *count* bytes, if it has so many *descriptors* and nothing else."""
    if count == 1 and SYSTEM.is_linux and message.header.msg_controllen == NATIVE.space(descriptors * INT_SIZE):
        _unpackers[message.outcome()] = ancillary.ints(descriptors).unpack_from
