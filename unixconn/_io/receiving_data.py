"""The operations that receive data, alone or with descriptors and credentials."""

from __future__ import annotations

import _socket as socket
from itertools import repeat
from operator import itemgetter

from unixconn._base.errors import Error, IOErrorEnum, io_error
from unixconn._base.lock import ending
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.operation import READABLE, Operation
from unixconn._io.receiving import own_all
from unixconn._io.waiter import serve
from unixconn._kernel.control_messages import contents_of
from unixconn._kernel.descriptors import duplicate_all
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.handle import Handle
from unixconn._kernel.message import JoinedMessage, Message, join, of_bytes, receive_whole
from unixconn._kernel.options import enter_passcred, leave_passcred
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.receive import RECEIVING, credentials_of, dropped, peer_has_gone, sent_by
from unixconn._kernel.receive_data import MOST_DATA, Received, receive_message, receive_recorded
from unixconn._kernel.unwanted import close_unwanted

if TYPE_CHECKING:
    from typing import Any


class ReceiveMessage(Operation[Received]):
    """Receive at most *size* bytes of data and control messages."""

    __slots__ = ("_context", "_flags", "_size")

    condition = READABLE

    def __init__(self, handle: Handle, size: int, *, flags: int = 0, context: str = RECEIVING) -> None:
        super().__init__(handle)
        self._size = size
        self._flags = flags
        self._context = context

    def attempt(self, result: list[Received]) -> bool:
        """See `Operation.attempt`."""
        return receive_message(self.handle, self._size, result, self._flags, self._context)

    def discard(self, result: Received) -> None:
        """Close the descriptors."""
        close_unwanted(result.owner)


class ReceiveData(Operation[int]):
    """
    Receive bytes of a stream onto *found*. The result is their number. Descriptors with them are kept in the handle.

    If *target* is a number, these are at most so many bytes. If it is a writable buffer, the bytes go into that, and
    *found* gets their number. Whatever ends the call, *found* has what has come: the caller may have to `keep_bytes`.
    """

    __slots__ = ("_before", "_found", "_target")

    condition = READABLE

    def __init__(self, handle: Handle, target: int | memoryview, found: list[Any]) -> None:
        super().__init__(handle)
        self._target = target
        self._found = found
        self._before = len(found)

    def attempt(self, result: list[int]) -> bool:
        """See `Operation.attempt`."""
        found = self._found
        # What an attempt has found that an exception interrupted is there already.
        if len(found) == self._before and receive_recorded(self.handle, self._target, found) < 0:
            return False
        last = found[-1]
        result.append(last if last.__class__ is int else len(last))
        return True

    def end(self) -> None:
        """Let an operation that waits for descriptors have those that have come."""
        if self.handle.leftovers:
            serve(self.handle, READABLE)


@ending
def keep_bytes(handle: Handle, found: list[bytes]) -> None:
    """Keep the bytes in *found*, which no caller gets, for the next operation that receives data, and empty *found*."""
    while b"" in found:  # the end of the stream, which stays where it is
        found.remove(b"")
    messages = [*map(of_bytes, reversed(found))]
    # In one step of the interpreter, so that the bytes are in one of the two places.
    handle.keep_messages(map(_part_of, zip(map(found.pop, repeat(-1, len(found))), messages)))
    serve(handle, READABLE)


@ending
def keep_message(handle: Handle, found: list[Message]) -> None:
    """Keep the Message in *found*, which no caller gets, for the next operation that receives data."""
    if found:
        handle.keep_messages(map(found.pop, (-1,)))
    serve(handle, READABLE)


class ReceiveWhole(Operation[Message]):
    """
    Receive at most *max_bytes* of data, and what has come with them.

    A record that is longer is an Error, as the rest of it would be lost.
    """

    __slots__ = ("_max_bytes",)

    condition = READABLE

    def __init__(self, handle: Handle, max_bytes: int) -> None:
        super().__init__(handle)
        self._max_bytes = max_bytes

    def begin(self) -> None:
        """Switch SO_PASSCRED on for a SOCK_SEQPACKET socket, see `receive_whole`."""
        if self.handle.is_sequence:
            enter_passcred(self.handle, self)

    def attempt(self, result: list[Message]) -> bool:
        """See `Operation.attempt`."""
        return receive_whole(self.handle, self._max_bytes, result)

    def end(self) -> None:
        """Restore the user's setting of SO_PASSCRED."""
        if self.handle.is_sequence:
            leave_passcred(self.handle, self)

    def discard(self, result: Message) -> None:
        """Close the descriptors."""
        result.close()

    def withdraw(self, result: Message) -> None:
        """Keep the message for the next operation that receives data."""
        keep_message(self.handle, [result])


_MOST_PARTS = 256
"""The number of parts that become one: a peer may send single bytes, and each part takes a few hundred."""


class ReceiveExactly(Operation[JoinedMessage]):
    """
    Receive *size* bytes of a stream, and what has come with them.

    If an Error, a cancellation or an exception ends the call early, what has come is kept in the handle, for the next
    operation that receives data.
    """

    __slots__ = ("_came", "_count", "_parts", "_size", "_whole")

    condition = READABLE

    def __init__(self, handle: Handle, size: int) -> None:
        super().__init__(handle)
        self._size = size
        # What an attempt has just received.
        self._came: list[Message] = []
        # All that was received before, each part with the number of bytes up to its end.
        self._parts: list[tuple[int, Message]] = []
        # All of them together. From then on the parts do not count.
        self._whole: list[JoinedMessage] = []
        self._count = 0

    def begin(self) -> None:
        """Refuse records, of which the rest would be lost."""
        if self.handle.number >= 0 and not self.handle.is_stream:
            raise io_error(
                IOErrorEnum.NOT_SUPPORTED,
                f"{RECEIVING}only a stream has a number of bytes to wait for, and this socket has records: call "
                "receive_message()",
            )

    def attempt(self, result: list[JoinedMessage]) -> bool:
        """See `Operation.attempt`."""
        if not self._whole:
            if not self._receive():
                return False
            self._whole.append(join(map(_part_of, self._parts)))
        for _, part in self._parts:
            if part.pidfd is not None and part.pidfd is not self._whole[0].pidfd:
                part.pidfd.close()
        self._parts.clear()
        result.extend(map(self._whole.pop, (0,)))
        return True

    def _receive(self) -> bool:
        """Receive until all bytes are there; return False if that would block."""
        while True:
            count = self._take()
            if count >= self._size:
                return True
            try:
                if not receive_whole(self.handle, min(self._size - count, MOST_DATA), self._came):
                    return False
            except Error as error:
                if error.partial:  # the data of a message whose descriptors are lost
                    self._came.append(of_bytes(error.partial, error.credentials))
                    self._take()
                error.partial = b"".join(part.data for _, part in self._parts)
                raise

    def _take(self) -> int:
        """Put what has just come to the other parts; return the number of all bytes."""
        count = self._parts[-1][0] if self._parts else 0
        if self._came:
            count += len(self._came[0].data)
            # In one step of the interpreter, so that it is in one of the two lists.
            self._parts.extend(zip((count,), map(self._came.pop, (0,))))
        if len(self._parts) >= _MOST_PARTS:
            whole = join(map(_part_of, self._parts))
            spare = [part.pidfd for _, part in self._parts if part.pidfd is not whole.pidfd]
            self._parts = [(count, whole)]
            for each in spare:
                if each is not None:
                    each.close()
        return count

    def end(self) -> None:
        """Keep what has come for the next operation that receives data."""
        self._count = max(self._count, self._take())
        if self._whole:
            self._parts.clear()
            self.handle.keep_messages(map(self._whole.pop, (0,)))
        elif self._parts:
            self.handle.keep_messages(map(_part_of, map(self._parts.pop, repeat(-1, len(self._parts)))))
        else:
            return
        serve(self.handle, READABLE)

    def explain(self, error: Error) -> None:
        """Add a note that says how many bytes have come."""
        if self._count:
            error.__notes__.append(
                f"{self._count} of {self._size} bytes had come: they are kept for the next call that receives data"
            )

    def discard(self, result: JoinedMessage) -> None:
        """Close the descriptors."""
        result.close()

    def withdraw(self, result: JoinedMessage) -> None:
        """Keep the bytes and the descriptors for the next operation that receives data."""
        if result.data:
            keep_message(self.handle, [result])


_part_of = itemgetter(1)


class PeekMessage(Operation[Message]):
    """Receive duplicates of the next message's descriptors, and its data, and leave it where it is."""

    __slots__ = ("_found", "_made", "_max_bytes")

    condition = READABLE

    def __init__(self, handle: Handle, max_bytes: int) -> None:
        super().__init__(handle)
        self._max_bytes = max_bytes
        self._found: list[Received] = []
        # The result, until it is handed over.
        self._made = [Message()]

    def begin(self) -> None:
        """Switch SO_PASSCRED on for a SOCK_SEQPACKET socket, see `receive_whole`."""
        if not SYSTEM.is_linux:
            raise io_error(
                IOErrorEnum.NOT_SUPPORTED, "Only Linux duplicates descriptors for a peek, and this is not Linux"
            )
        if self.handle.is_sequence:
            enter_passcred(self.handle, self)

    def attempt(self, result: list[Message]) -> bool:
        """See `Operation.attempt`."""
        handle, made = self.handle, self._made[0]
        if handle.is_aside and handle.kept:
            self._look_at_kept(made)
        else:
            # With MSG_TRUNC the kernel returns the real length of a record that does not fit.
            flags = socket.MSG_PEEK | (0 if handle.is_stream else socket.MSG_TRUNC)
            if not self._found and not receive_message(handle, self._max_bytes, self._found, flags):
                return False
            self._fill(made, self._found[0])
        result.extend(map(self._made.pop, (0,)))
        return True

    def _fill(self, made: Message, received: Received) -> None:
        handle = self.handle
        contents = contents_of(received.messages)
        if received.flags & socket.MSG_CTRUNC:
            error = sent_by(contents, dropped(handle, len(contents.all_descriptors)))
            error.__notes__ = ["the message is still in the socket", *error.__notes__[1:]]
            raise error
        if not (received.size or handle.is_datagram or (handle.is_sequence and received.messages)):
            raise peer_has_gone()
        if made.credentials is None:
            made.credentials = credentials_of(contents)
        made.data = received.data
        made.end_of_record = not handle.is_stream and received.size <= self._max_bytes
        if handle.refuses:
            made.refused = getattr(received, "refusals", 0)
        count = len(contents.all_descriptors) - len(contents.pidfds) if not handle.refuses else 0
        own_all(received.owner, made.fds)
        if len(made.fds) > count:
            made.pidfd = made.fds[count]
            del made.fds[count:]

    def _look_at_kept(self, made: Message) -> None:
        with self.handle.entered:
            kept: Message = self.handle.kept[0]
            made.data = kept.data[: self._max_bytes]
            made.credentials, made.refused = kept.credentials, kept.refused
            for each in kept.fds[len(made.fds) :]:
                descriptor = FileDescriptor._empty()
                duplicate_all(descriptor._owned, (each.fileno(),))
                made.fds.append(descriptor._hand_over())
            if kept.pidfd is not None and made.pidfd is None:
                made.pidfd = kept.pidfd.dup()

    def end(self) -> None:
        """Restore the user's setting of SO_PASSCRED, and close what was not handed over."""
        if self.handle.is_sequence:
            leave_passcred(self.handle, self)
        for each in self._made:
            each.close()
        for received in self._found:
            close_unwanted(received.owner)

    def discard(self, result: Message) -> None:
        """Close the descriptors."""
        result.close()
