"""
Sending: one non-blocking attempt of sendmsg(2).

MSG_DONTWAIT makes the attempt non-blocking. O_NONBLOCK is not changed, as all processes that have the socket share it.
"""

from __future__ import annotations

import errno
import os
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

IS_PYPY = sys.implementation.name == "pypy"
if IS_PYPY:
    from array import array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from unixconn._kernel.control_messages import Form, Outgoing
    from unixconn._kernel.handle import Handle

FormT = TypeVar("FormT", bound="Form")

SENDING = "Error sending message: "
AGAIN = (errno.EAGAIN, errno.EINTR)
"""
The errors after which another attempt is made, when poll() reports the socket as writable.

A call that does not wait cannot be interrupted. If the kernel returns EINTR anyway, Python's signal handlers run in
poll().
"""

# These are names of this module, as they are looked up for each message.
_sendmsg = sendmsg
_FLAGS = SYSTEM.send_flags


class FormPool(Pool[FormT]):
    """
    A pool of messages of one form.

    *descriptors_in* returns the descriptors that a value for a `Form` stands for.
    """

    def __init__(self, make: Callable[[], FormT], descriptors_in: Callable[[Any], Sequence[int]]) -> None:
        super().__init__(make)
        self.descriptors_in = descriptors_in


DESCRIPTOR: FormPool[DescriptorForm] = FormPool(DescriptorForm, lambda fd: (fd,))
"""The pool of messages with one descriptor. The value is its number."""
CREDENTIALS: FormPool[CredentialsForm] = FormPool(CredentialsForm, lambda _packed: ())
"""The pool of messages with credentials. The value is pid, uid and gid, packed by `UCRED`."""


class DescriptorsPool(FormPool[DescriptorsForm]):
    """The pool of messages with *count* descriptors. The value is their numbers, as `pack` returns them."""

    def __init__(self, count: int) -> None:
        super().__init__(partial(DescriptorsForm, count), ints(count).unpack)
        self.pack = ints(count).pack


@cache
def descriptors_pool(count: int) -> DescriptorsPool:
    """Return the pool of messages with *count* descriptors. Raises ValueError for none, and for more than 253."""
    if not 1 <= count <= MAX_DESCRIPTORS:
        raise ValueError(f"a message carries 1 to {MAX_DESCRIPTORS} descriptors, not {count}")
    return DescriptorsPool(count)


def send(handle: Handle, pool: FormPool[Any], value: Any) -> bool:
    """
    Send a NUL byte with *value* in a message of *pool*; return True if it was sent, False if that would block.

    If a signal handler raises in the middle, the caller does not learn whether the message was sent. A caller that has
    to know calls `send_message`.

    Raises the Error for a number that is not open, and for sendmsg(2)'s errno; ValueError and OverflowError for a
    number that cannot be a descriptor.
    """
    try:
        message: Form = pool.pop()
    except IndexError:
        message = pool.make()
    try:
        message.payload[0] = value
        message.user = handle
        sent = _sendmsg(handle.number, message.header, _FLAGS)
    except (ValueError, OverflowError):  # for a number that does not fit a C int, or raised by a signal handler
        check_open(pool.descriptors_in(value))
        raise
    finally:
        message.user = None
    if handle.closed:
        handle.reap()
    pool.append(message)
    if sent == 1:
        return True
    return _has_gone(handle, sent, SENDING, pool.descriptors_in(value))


def send_message(handle: Handle, message: Outgoing, sent: list[int], flags: int = 0, context: str = SENDING) -> bool:
    """
    Send *message* or its beginning; return True if something was sent, False if that would block.

    The number of data bytes sent is appended to *sent*, even if a signal handler raises in the middle, so that the
    caller does not send them again. *flags* are those of sendmsg(2), and *context* is the prefix of an Error's text.

    Raises the Error CLOSED after `Handle.close`, and the Error for sendmsg(2)'s errno.
    """
    # The result of the system call enters this list in one step of the interpreter, so an exception cannot lose it.
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
    """
    Return whether a sendmsg(2) that has just returned *sent* has sent something. Raises the Error if it has failed.

    *descriptors* are those in the message. The Error for one that is not open names it.
    """
    if sent >= 0:
        return True
    if ffi.errno in AGAIN:
        return False
    if ffi.errno == errno.EMSGSIZE and SYSTEM.full_is_emsgsize and handle.is_stream:
        # On a stream no message is too long, so this means that the peer's buffer has no room for the control messages.
        return False
    if ffi.errno == errno.EBADF:
        check_open(descriptors)
    raise handle.error(context)


LOW_BYTES = slice(0 if sys.byteorder == "little" else INT_SIZE - 1, None, INT_SIZE)
"""The bytes of packed ints that hold the lowest 8 bits."""


def pack_on_pypy(fds: Sequence[int]) -> bytes:
    """Return *fds* as `DescriptorsPool.pack` does. On PyPy a call with some hundred arguments is slow."""
    return array("I", fds).tobytes()


def check_open(numbers: Iterable[int]) -> None:
    """
    Raise the Error for the first of *numbers* that is not an open descriptor.

    Its text begins with "dup: " as in Gio, which notices this when it duplicates the descriptor.
    """
    for number in numbers:
        try:
            os.fstat(number)
        except (OSError, OverflowError):
            raise _not_open(number) from None


def _not_open(fd: int) -> Error:
    as_descriptor(fd)
    return system_error(errno.EBADF, "dup: ", f"fd is {fd}, but no file is open under this number: was it closed?")
