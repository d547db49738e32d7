"""
Sending: one try of sendmsg(2), which does not wait.

MSG_DONTWAIT makes the try non-blocking. O_NONBLOCK belongs to everybody who shares the socket, and is not touched.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from functools import cache, partial

from unixconn._base.errors import Error, system_error
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._kernel.control_messages import (
    INT_SIZE,
    MAX_DESCRIPTORS,
    CredentialsForm,
    DescriptorForm,
    DescriptorsForm,
    Pool,
    ints,
)
from unixconn._kernel.descriptors import as_descriptor
from unixconn._kernel.native import ffi, sendmsg
from unixconn._kernel.platform import SYSTEM

_IS_PYPY = sys.implementation.name == "pypy"
if _IS_PYPY:
    from array import array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from unixconn._kernel.control_messages import Form, Outgoing
    from unixconn._kernel.handle import Handle

FormT = TypeVar("FormT", bound="Form")

SENDING = "Error sending message: "
AGAIN = (errno.EAGAIN, errno.EINTR)
"""A call that does not wait cannot be interrupted. If it says so all the same, poll() runs Python's signal handlers."""

# Bound once, as these are looked up at every message.
_sendmsg = sendmsg
_FLAGS = SYSTEM.send_flags


class FormPool(Pool[FormT]):
    """Messages of one form, and the descriptors that a value for it refers to."""

    def __init__(self, make: Callable[[], FormT], descriptors_in: Callable[[Any], Sequence[int]]) -> None:
        super().__init__(make)
        self.descriptors_in = descriptors_in


DESCRIPTOR: FormPool[DescriptorForm] = FormPool(DescriptorForm, lambda fd: (fd,))
"""Messages with one descriptor; the value is its number."""
CREDENTIALS: FormPool[CredentialsForm] = FormPool(CredentialsForm, lambda _packed: ())
"""Messages with credentials; the value is pid, uid and gid, packed by `UCRED`."""


@cache
def descriptors_pool(count: int) -> FormPool[DescriptorsForm]:
    """Return the pool of messages with *count* descriptors; the value are their numbers, packed by `ints`."""
    return FormPool(partial(DescriptorsForm, count), ints(count).unpack)


def send(handle: Handle, pool: FormPool[Any], value: Any) -> bool:
    """
    Send a NUL byte with *value*, in a message of *pool*; return whether it went, False where it would block.

    For a caller that is told of an exception in the middle: it cannot know whether the message went. Raises the Error
    for a number that is not open, and for sendmsg(2)'s errno; ValueError and OverflowError for what is no descriptor.
    """
    try:
        message: Form = pool.pop()
    except IndexError:
        message = pool.make()
    try:
        message.fill(value)
        message.user = handle
        sent = _sendmsg(handle.number, message.header, _FLAGS)
    except (ValueError, OverflowError):  # a number that does not fit a C int, or raised by a signal handler
        check_open(pool.descriptors_in(value))
        raise
    finally:
        message.user = None
    if handle.closed:
        handle.reap()
    pool.append(message)
    return sent == 1 or _has_gone(handle, sent, SENDING, pool.descriptors_in(value))


def send_message(handle: Handle, message: Outgoing, sent: list[int], flags: int = 0, context: str = SENDING) -> bool:
    """
    Send *message*; return whether something went, False where it would block.

    *sent* gets the number of data bytes that went, also if an exception comes in the middle: what has gone must not go
    again. *flags* are those of sendmsg(2), and *context* is the prefix of an Error's text.
    """
    # From the system call to this list it is one step of the interpreter.
    counts: list[int] = []
    try:
        try:
            message.user = handle
            counts.extend(map(_sendmsg, (handle.number,), (message.header,), (flags | _FLAGS,)))
        finally:
            message.user = None
        if handle.closed:
            handle.reap()
        return _has_gone(handle, counts[0], context)
    finally:
        if counts and counts[0] >= 0:
            sent += counts


def _has_gone(handle: Handle, sent: int, context: str, descriptors: Sequence[int] = ()) -> bool:
    """Return whether a try that returned *sent* has sent something; raise the Error for one that has failed."""
    if sent >= 0:
        return True
    if ffi.errno in AGAIN:
        return False
    if ffi.errno == errno.EMSGSIZE and SYSTEM.full_is_emsgsize and handle.is_stream:
        # A stream has no longest message: the peer's buffer has no room for the control data.
        return False
    if ffi.errno == errno.EBADF:
        check_open(descriptors)
    raise handle.error(context)


_ONES = slice(0 if sys.byteorder == "little" else INT_SIZE - 1, None, INT_SIZE)
"""Of packed ints the bytes that count ones."""


def pack_descriptors(fds: Any) -> bytes | None:
    """
    Return the numbers *fds* as `send` takes them for a message with several descriptors.

    Returns None for anything but a list or tuple of one to 253 plain numbers, and also for some that are right: 0 and
    1.
    """
    if not isinstance(fds, _PLAIN) or not 1 <= len(fds) <= MAX_DESCRIPTORS:
        return None
    try:
        # A call with some hundred arguments is slow on PyPy.
        packed = array("I", fds).tobytes() if _IS_PYPY else ints(len(fds)).pack(*fds)
    except (struct.error, TypeError, ValueError, OverflowError):
        return None
    # True and False are packed as 1 and 0. To look at the type of each number takes longer than this.
    ones = packed[_ONES]
    return None if 0 in ones or 1 in ones else packed


_PLAIN = (list, tuple)


def check_open(numbers: Iterable[int]) -> None:
    """Raise the Error for the first of *numbers* that is no open descriptor. The text is Gio's, which duplicates it."""
    for number in numbers:
        try:
            os.fstat(number)
        except (OSError, OverflowError):
            raise _not_open(number) from None


def _not_open(fd: int) -> Error:
    as_descriptor(fd)
    return system_error(errno.EBADF, "dup: ", f"fd is {fd}, and no file is open under this number")
