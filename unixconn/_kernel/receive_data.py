"""
Receiving data: one non-blocking attempt to receive a message with all that came with it, or the bytes of a stream.

As in receive.py, each function puts what came into a list that the caller passes in.
"""

from __future__ import annotations

import _socket as socket
from itertools import repeat, starmap

from unixconn._base.errors import Error, IOErrorEnum, io_error
from unixconn._base.lock import ending
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.control_messages import (
    ADDRESS_SIZE,
    DATA_ALONE,
    KEPT_DATA,
    NATIVE,
    ROOM,
    SCM_RIGHTS,
    SOL_SOCKET,
    STREAM_BUFFERS,
    contents_of,
    messages_of,
)
from unixconn._kernel.handle import IDLE_USES, Use
from unixconn._kernel.message import take_bytes
from unixconn._kernel.native import ffi, recvmsg
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.receive import RECEIVING, Lost, must_wait
from unixconn._kernel.unwanted import close_unwanted

if TYPE_CHECKING:
    from typing import Any

    from unixconn._kernel.control_messages import Contents, ControlMessage, Incoming
    from unixconn._kernel.handle import Handle

# These are names of this module, as they are looked up for each message.
_recvmsg = recvmsg
_FLAGS = SYSTEM.receive_flags
_TRUNC = int(socket.MSG_TRUNC)
_pop_buffer, _append_buffer = STREAM_BUFFERS.pop, STREAM_BUFFERS.append
LOST = int(socket.MSG_CTRUNC)
"""The flag with which the kernel reports that it has dropped descriptors."""


class Received:
    """A message that `receive_message` took from the socket."""

    __slots__ = ("address", "data", "flags", "messages", "owner", "pidfds", "refusals", "refused", "size")

    refusals: int
    """How many descriptors the socket has refused, if these were any."""

    def __init__(
        self,
        size: int,
        data: bytes,
        address: bytes,
        messages: list[ControlMessage],
        flags: int,
        contents: Contents,
        *,
        refuses: bool,
    ) -> None:
        self.size = size
        """The number of data bytes, with MSG_TRUNC also of those that found no room."""
        self.data = data
        """The data."""
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
        self.pidfds = len(contents.pidfds)
        """How many of the descriptors, the last ones, are pidfds."""


def receive_message(handle: Handle, size: int, found: list[Received], flags: int = 0, context: str = RECEIVING) -> bool:
    """
    Receive at most *size* bytes and control messages; return True if they came, False if that would block.

    The message is appended to *found*, an empty list, even if a signal handler raises an exception. *flags* are those
    of recvmsg(2), and *context* is the prefix of an Error's text.

    Raises the Error for recvmsg(2)'s errno, and INVALID_DATA for damaged control messages.
    """
    pool = messages_of(size)
    try:
        message = pool.pop()
    except IndexError:
        message = pool.make()
    message.room[0] = ROOM
    message.size[0] = size
    message.header.msg_namelen = ADDRESS_SIZE
    # The result of the system call enters this list in one step of the interpreter, so an exception cannot lose it.
    counts: list[int] = []
    over = False
    if flags & _TRUNC and handle.is_stream and not handle.is_unix:
        size = 0  # TCP drops the bytes, and the memory has those of an earlier message
    try:
        message.user = handle
        counts += starmap(_recvmsg, ((handle.number, message.header, flags | _FLAGS),))
        message.user = None
        if handle.closed:
            handle.reap()
        came = not must_wait(handle, counts[0], context)
        if came:
            found.append(_received(handle, message, counts[0], size))
            if found[0].refused:
                found[0].refusals = len(found[0].refused)
                close_unwanted(found[0].refused)
        over = True
    finally:
        if not over:
            message.user = None
            if counts and counts[0] >= 0:  # the message has left the socket, so the caller has to get it
                _rescue(handle, message, counts[0], size, found)
    pool.append(message)
    return came


@ending
def _rescue(handle: Handle, message: Incoming, count: int, size: int, found: list[Received]) -> None:
    """Append what came in *message* to *found*, after an exception; close its descriptors if it is damaged."""
    try:
        if not found:
            found.append(_received(handle, message, count, size))
    except Error:
        message.discard()
    for each in found:
        close_unwanted(each.refused)


def _received(handle: Handle, message: Incoming, count: int, size: int) -> Received:
    """
    Return what came in *message*, which has *count* bytes, of which *size* had room.

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
    data = message.data[: min(count, size)]
    return Received(count, data, message.address(), messages, flags, contents, refuses=refuses)


# --- the bytes of a stream -------------------------------------------------------------------------------------------

RECEIVING_DATA = "Error receiving data: "
MOST_DATA = 1 << 20
"""The most bytes that one attempt receives, so that no memory is reserved for bytes that may never come."""
MOST_KEPT = 253
"""
The number of kept descriptors above which no more bytes are received: as many as one message can bring.

One more message may come when so many are kept, so there are never more than twice as many.
"""


def receive_data(handle: Handle, size: int, found: list[Any]) -> int:
    """
    Receive at most *size* bytes; return their number, 0 at the end of a stream, and -1 if that would block.

    The bytes are appended to *found*, even if a signal handler raises in the middle. Descriptors that come with them
    are kept in `Handle.leftovers`. If the kernel has dropped some, as this process has no room for them, the others are
    closed, and a `Lost` is kept instead.

    Raises the Error for recvmsg(2)'s errno, INVALID_DATA for damaged control messages, and TOO_MANY_OPEN_FILES, before
    anything is received, if more than MOST_KEPT descriptors are kept.
    """
    if size > KEPT_DATA or handle.is_aside:
        return receive_recorded(handle, size, found)
    if handle.leftovers:
        check_kept(handle)
    # The first steps are those of `receive_descriptors`.
    try:
        message = _pop_buffer()
    except IndexError:
        message = STREAM_BUFFERS.make()
    message.room[0] = ROOM
    message.size[0] = size
    over = False
    try:
        message.user = handle
        # In one step of the interpreter, as in `receive_message`. The number is where the bytes are to be.
        found += starmap(_recvmsg, ((handle.number, message.header, _FLAGS),))
        message.user = None
        if handle.closed:
            handle.reap()
        count: int = found[-1]
        if count < 0:
            del found[-1]
            must_wait(handle, count, RECEIVING_DATA)
        else:
            if message.start != DATA_ALONE:
                _keep_contents(handle, message, [])
            found[-1] = message.data[:count]
        over = True
        _append_buffer(message)
        return count
    finally:
        # Once it is in the pool, the buffer may be another thread's.
        if not over:
            message.user = None
            _finish(handle, message, found)


@ending
def _finish(handle: Handle, message: Incoming, found: list[Any]) -> None:
    """Do the rest of `receive_data` if what came in *message* was not put to *found* yet."""
    if found and found[-1].__class__ is int:
        if found[-1] < 0:
            del found[-1]
        else:
            _keep_contents(handle, message, [])
            found[-1] = message.data[: found[-1]]


@ending
def _keep_contents(handle: Handle, message: Incoming, owner: list[list[int]]) -> None:
    """
    Keep the descriptors in *message* as `receive_data` does. *owner*, first an empty list, has them meanwhile.

    Raises the Error INVALID_DATA for damaged control messages.
    """
    if not owner:
        contents = message.contents()
        lost = message.truncated and not handle.refuses
        # Before any is closed, see `dropped`.
        losses = (Lost(handle, len(contents.all_descriptors)),) if lost and message.room[0] < ROOM else ()
        owner += (contents.pidfds, contents.descriptors, *losses)
        # From here on the buffer counts as empty.
        message.room[0] = ROOM
        if contents.damage:
            raise io_error(IOErrorEnum.INVALID_DATA, f"{RECEIVING}{contents.damage}")
    message.room[0] = ROOM
    _keep_parts(handle, owner)


def _keep_parts(handle: Handle, owner: list[list[int]]) -> bool:
    """
    Close the first list in *owner*, the pidfds, and keep the others, unless they are refused or not whole.

    Returns whether any are kept.
    """
    if owner:
        close_unwanted(owner[0])
        if handle.refuses or isinstance(owner[-1], Lost):
            for each in owner:
                close_unwanted(each)
    return handle.keep(owner)


def check_kept(handle: Handle) -> None:
    """
    Raise the Error TOO_MANY_OPEN_FILES if more than MOST_KEPT descriptors are kept, unless they are refused now.

    A message whose descriptors were dropped counts as one.
    """
    kept = sum(len(each) or 1 for each in handle.leftovers.copy())
    if kept > MOST_KEPT and not handle.refuses:
        raise io_error(
            IOErrorEnum.TOO_MANY_OPEN_FILES,
            f"{RECEIVING_DATA}{kept} descriptors have come with the bytes and were not received, and the limit is "
            f"{MOST_KEPT}: receive them with UnixConnection.receive_fds(), or refuse them with refuse_fds()",
        )


def keep_received(handle: Handle, found: Received) -> bool:
    """Keep the descriptors in *found* as `receive_data` does; return if any are kept."""
    owner, pidfds = found.owner, found.pidfds
    parts: list[list[int]] = [[], []]
    if found.flags & LOST and not handle.refuses:
        # Before any is closed, see `dropped`.
        parts.append(Lost(handle, len(owner)))
    try:
        parts[0].extend(map(owner.pop, repeat(-1, pidfds)))
        parts[1].extend(map(owner.pop, repeat(0, len(owner))))
        return _keep_parts(handle, parts)
    finally:
        for each in parts:
            close_unwanted(each)


def receive_recorded(handle: Handle, target: int | memoryview, found: list[Any]) -> int:  # noqa: C901, PLR0912 - one frame for each message
    """
    Do what `receive_data` does, and append to *found* what has come, even if a signal handler raises in the middle.

    If *target* is a number, these are at most so many bytes. If it is a writable buffer, the bytes go into that, and
    *found* gets their number.

    The standard library receives them: without a copy, and into memory that nobody has cleared.
    """
    if handle.is_aside:
        if handle.kept:
            return take_bytes(handle, target, found)
        if handle.is_file:
            return handle.python.read(handle, target, found)  # type: ignore[no-any-return]
    if handle.leftovers:
        check_kept(handle)
    try:
        use = IDLE_USES.pop()
    except IndexError:
        use = Use()
    came: list[tuple[bytes | int, list[ControlMessage], int, Any]] = []
    owner: list[list[int]] = []
    before = len(found)
    over = False
    try:
        use.user = handle
        if handle.number < 0:
            handle.check()
        try:
            # In one step of the interpreter, as in `receive_message`.
            if target.__class__ is int:
                came += starmap(handle.python.recvmsg, ((min(target, MOST_DATA), ROOM, _FLAGS),))
            else:
                came += starmap(handle.python.recvmsg_into, (([target], ROOM, _FLAGS),))
        except OSError as error:
            if came or error.errno is None:  # raised by a signal handler
                raise
            ffi.errno = error.errno
        use.user = None
        if handle.closed:
            handle.reap()
        if came:
            data, messages, flags, _ = came[0]
            if messages or flags & LOST:
                _record(handle, came, found, before, owner)
            else:
                found.append(data)
            count = data if isinstance(data, int) else len(data)
        else:
            count = -1
            must_wait(handle, count, RECEIVING_DATA)
        over = True
        IDLE_USES.append(use)
        return count
    finally:
        if not over:
            use.user = None
            if came:
                _record(handle, came, found, before, owner)


def _record(
    handle: Handle,
    came: list[tuple[bytes | int, list[ControlMessage], int, Any]],
    found: list[Any],
    before: int,
    owner: list[list[int]],
) -> None:
    """
    Append the data in *came* to *found*, which had *before* items, and keep the descriptors as `receive_data` does.

    May be called again if an exception has interrupted it. *owner*, first an empty list, has the descriptors meanwhile.
    """
    data, messages, flags, _ = came[0]
    if len(found) == before:
        found.append(data)
    if messages or flags & LOST:
        if not owner:
            contents = contents_of(messages)
            lost = flags & LOST and not handle.refuses
            losses = (Lost(handle, len(contents.all_descriptors)),) if lost else ()
            owner += (contents.pidfds, contents.descriptors, *losses)
        came[0] = (data, [], 0, None)
    _keep_parts(handle, owner)
