"""
Sending: one non-blocking attempt of sendmsg(2).

MSG_DONTWAIT makes the attempt non-blocking. O_NONBLOCK is not changed, as all processes that have the socket share it.
"""

from __future__ import annotations

import errno
import struct
import sys
from functools import partial

from unixconn._base.errors import Error, PermissionDeniedError, system_error
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._kernel.control_messages import INT_SIZE, IS_PYPY, MAX_DESCRIPTORS, UCRED, Pool, ints
from unixconn._kernel.credentials import explain_unmapped
from unixconn._kernel.descriptors import as_descriptor, is_open, note_about
from unixconn._kernel.handle import IDLE_USES, Use
from unixconn._kernel.native import ffi, sendmsg
from unixconn._kernel.outgoing import COPIED_SIZE, CredentialsForm, DescriptorForm, DescriptorsForm, MessageForm
from unixconn._kernel.platform import SYSTEM

if IS_PYPY:
    from array import array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from unixconn._kernel.handle import Handle
    from unixconn._kernel.outgoing import Form, Outgoing

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
_pop_use, _append_use = IDLE_USES.pop, IDLE_USES.append


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


class _DescriptorsPools(dict[int, DescriptorsPool]):
    def __missing__(self, count: int) -> DescriptorsPool:
        if not 1 <= count <= MAX_DESCRIPTORS:
            raise ValueError(f"a message carries 1 to {MAX_DESCRIPTORS} descriptors, not {count}")
        return self.setdefault(count, DescriptorsPool(count))


descriptors_pools = _DescriptorsPools()
"""
The pools of messages with descriptors alone. The key is their number; it raises ValueError for none, and for over 253.

This is no function with a cache, as it is looked up for each message.
"""


class MessagePool(FormPool[MessageForm]):
    """The pool of messages with data, see `MessageForm`. A value is what `value_of` returns."""

    def __init__(self, count: int, identified: bool) -> None:
        unpack: Callable[[Any], Sequence[int]] = ints(count).unpack
        if count < 2:
            unpack = (lambda fd: (fd,)) if count else (lambda _none: ())
        super().__init__(partial(MessageForm, count, identified=identified), unpack)

    @staticmethod
    def value_of(numbers: Sequence[int]) -> Any:
        """Return the value for *numbers*, which `as_descriptors` has checked."""
        if len(numbers) < 2:
            return numbers[0] if numbers else None
        return pack_on_pypy(numbers) if IS_PYPY else ints(len(numbers)).pack(*numbers)


class _MessagePools(dict[int, MessagePool]):
    def __missing__(self, key: int) -> MessagePool:
        return self.setdefault(key, MessagePool(key if key >= 0 else ~key, key < 0))


message_pools = _MessagePools()
"""
The pools of messages with data. The key is the number of descriptors, or ``~number`` for a message with credentials.
"""


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
    return has_gone(handle, sent, SENDING, pool.descriptors_in(value))


def send_whole(
    handle: Handle,
    pool: MessagePool,
    value: Any,
    credentials: bytes | None,
    data: bytes | bytearray,
    flags: int = _FLAGS,
    context: str = SENDING,
) -> int:
    """
    Send *data* or their beginning, with a value and credentials of *pool*; return the number of bytes that were sent.

    Returns -1 if that would block. *credentials* are pid, uid and gid, packed by `UCRED`; None for none. *flags* are
    those of sendmsg(2) with those of SYSTEM.send_flags, and *context* is the prefix of an Error's text. Otherwise as
    `send`, of which this has the lines: one more call takes a twentieth of the system call's time.
    """
    try:
        message: MessageForm = pool.pop()
    except IndexError:
        message = pool.make()
    size = len(data)
    try:
        if size <= COPIED_SIZE:
            message.data[:size] = data
        else:
            message.point_at(data)
        message.size[0] = size
        message.payload[0] = value
        if credentials is not None:
            message.credentials[0] = credentials
        message.user = handle
        sent: int = _sendmsg(handle.number, message.header, flags)
    except (ValueError, OverflowError):  # as in `send`
        check_open(pool.descriptors_in(value))
        raise
    finally:
        message.user = None
    if handle.closed:
        handle.reap()
    if size > COPIED_SIZE:
        message.point_at(None)
    pool.append(message)
    if sent < 0:
        has_gone(handle, sent, context, pool.descriptors_in(value), credentials)
    return sent


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
        return has_gone(handle, counts[0], context)
    finally:
        if counts and counts[0] >= 0:
            sent += counts


SENDING_DATA = "Error sending data: "
MOST_DATA = 1 << 20
"""The most bytes that one attempt sends. PyPy copies what is not a bytes object, even if the kernel takes less."""
_FLAGS_ALONE = (_FLAGS,)


def send_data(handle: Handle, data: bytes | memoryview, sent: list[int]) -> int:
    """
    Send *data*, or on a stream its beginning; return the number of bytes, and -1 if that would block.

    The number is appended to *sent*, even if a signal handler raises in the middle, so that the caller does not send
    these bytes again.

    Raises the Error CLOSED after `Handle.close`, and the Error for send(2)'s errno.
    """
    if handle.is_file:
        return handle.python.write(handle, data, sent)  # type: ignore[no-any-return]
    try:
        use = _pop_use()
    except IndexError:
        use = Use()
    try:
        use.user = handle
        if handle.number < 0:
            handle.check()
        try:
            # The standard library is faster here than cffi. In one step of the interpreter, as in `send_message`.
            sent += map(
                handle.python.send, (data if len(data) <= MOST_DATA else memoryview(data)[:MOST_DATA],), _FLAGS_ALONE
            )
            count = sent[-1]
        except OSError as error:
            if error.errno is None:  # raised by a signal handler
                raise
            ffi.errno = error.errno
            count = -1
    finally:
        use.user = None
    if handle.closed:
        handle.reap()
    _append_use(use)
    if count < 0:
        has_gone(handle, count, SENDING_DATA)
    return count


def has_gone(
    handle: Handle,
    sent: int,
    context: str,
    descriptors: Sequence[int] = (),
    credentials: bytes | memoryview | None = None,
) -> bool:
    """
    Return whether a sendmsg(2) that has just returned *sent* has sent something. Raises the Error if it has failed.

    *descriptors* are those in the message. The Error for one that is not open names it. *credentials* are those in the
    message, packed by `UCRED`; None if the caller explains an Error for them itself.
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
    # Not by a variable: the error's traceback has this frame, and the two would form a cycle.
    raise _explained(handle.error(context), descriptors, credentials)


LOW_BYTES = slice(0 if sys.byteorder == "little" else INT_SIZE - 1, None, INT_SIZE)
"""The bytes of packed ints that hold the lowest 8 bits."""


def pack_on_pypy(fds: Sequence[int]) -> bytes:
    """Return *fds* as `DescriptorsPool.pack` does. On PyPy a call with some hundred arguments is slow."""
    return array("I", fds).tobytes()


def packed(fds: Sequence[Any]) -> bytes | None:
    """
    Return several *fds* as a value of `MessagePool`; None if there are none or too many, or each has to be looked at.

    True and False would be packed as 1 and 0, and have to be refused. Checking each number's type takes longer than
    leaving lists with such a lowest byte to `as_descriptors`.
    """
    if not 2 <= len(fds) <= MAX_DESCRIPTORS:
        return None
    try:
        value = pack_on_pypy(fds) if IS_PYPY else ints(len(fds)).pack(*fds)
    except (struct.error, TypeError, ValueError, OverflowError):
        return None
    low = value[LOW_BYTES]
    return None if 0 in low or 1 in low else value


def check_open(numbers: Iterable[int]) -> None:
    """
    Raise the Error for the first of *numbers* that is not an open descriptor.

    Its text begins with "dup: " as in Gio, which notices this when it duplicates the descriptor.
    """
    for number in numbers:
        as_descriptor(number)  # a number that cannot be one has an error of its own
        if not is_open(number):
            raise system_error(errno.EBADF, "dup: ", note_about(errno.EBADF, number))


def _explained(error: Error, descriptors: Sequence[int], credentials: bytes | memoryview | None) -> Error:
    if descriptors and isinstance(error, PermissionDeniedError) and error.errno == errno.EPERM:
        error.__notes__.append("the receiver may have refused descriptors by refuse_fds() (SO_PASSRIGHTS)")
    if credentials is not None:
        explain_unmapped(error, UCRED.unpack(credentials))
    return error
