"""The operations for whole messages: data with descriptors and credentials; beside transfer.py."""

from __future__ import annotations

import socket

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.message import Message
from unixconn._io.operation import READABLE, WRITABLE, Operation
from unixconn._io.transfer import check_carries
from unixconn._io.transfer_many import own_all
from unixconn._kernel.attempt import (
    RECEIVING,
    SENDING,
    WOULD_BLOCK,
    Received,
    check_open,
    peer_has_gone,
    receive_message,
    send_message,
    table_is_full,
)
from unixconn._kernel.attempt_credentials import NO_ROOM, sender
from unixconn._kernel.control_messages import Outgoing, contents_of, rights_message
from unixconn._kernel.credentials import Credentials, are_absent
from unixconn._kernel.descriptors import Guard, as_descriptors, close_all, duplicate_all
from unixconn._kernel.handle import Handle

if TYPE_CHECKING:
    from typing import Any

    from unixconn._kernel.attempt import WouldBlock
    from unixconn._kernel.control_data import ControlMessage
    from unixconn._kernel.control_messages import Contents
    from unixconn._kernel.file_descriptor import FileDescriptor

_AT_ONCE = 2**20
"""Bytes of a stream that are offered to the kernel at a time, which takes about 200,000 at most."""


class SendWhole(Operation[int]):
    """Send all of *data*, with *fds* and another control message at its first byte."""

    __slots__ = ("_counts", "_credentials", "_data", "_fds", "_given", "_guard", "_message", "_owned")

    condition = WRITABLE

    def __init__(self, handle: Handle, data: bytes, fds: tuple[Any, ...], credentials: ControlMessage | None) -> None:
        """Take *fds* as `listed` gives them."""
        super().__init__(handle)
        self._data = data
        self._given = fds
        self._fds = as_descriptors(fds) if fds else ()
        self._credentials = credentials
        # Of the bytes that each try has sent, also where a signal handler raised just then.
        self._counts: list[int] = []
        self._message: tuple[int, Outgoing] | None = None
        self._owned: list[int] = []

    def attempt(self) -> int | WouldBlock:
        """Send what is left."""
        try:
            while not self._all_has_gone():
                sent = send_message(self.handle, self._next(), 0, SENDING, self._counts)
                if sent is WOULD_BLOCK:
                    return WOULD_BLOCK
            return len(self._data)
        except Error:
            if self.handle.number >= 0 and not self._counts:
                check_open(self._fds)
            raise
        except BaseException:  # of a signal handler
            if self.kept is not None and self._all_has_gone():
                self.kept.append(len(self._data))
            raise

    def _all_has_gone(self) -> bool:
        return bool(self._counts) and sum(self._counts) >= len(self._data)

    def _next(self) -> Outgoing:
        """Give the message with what is left, the one of the last try if that has sent nothing."""
        sent = sum(self._counts)
        if self._counts:
            self._counts[:] = (sent,)
        if self._message is None or self._message[0] != sent:
            end = sent + _AT_ONCE if self.handle.is_stream else None
            self._message = sent, Outgoing(self._controls(), [self._data[sent:end]])
        return self._message[1]

    def _controls(self) -> list[ControlMessage]:
        if self._counts:  # they have gone with the first byte
            return []
        controls = [self._credentials] if self._credentials is not None else []
        if self._fds:
            controls.append(rights_message(self._fds))
        return controls

    def check(self) -> None:
        """Refuse a number that is not open."""
        check_open(self._fds)

    def begin(self) -> None:
        """Refuse a socket that would lose the descriptors, and say that they went."""
        if self._fds:
            check_carries(self.handle, self._fds)

    def hold(self) -> None:
        """Keep the files: the caller's numbers may be others' by the next try."""
        if self._counts:
            return
        self._guard = Guard([self._owned])
        duplicate_all(self._owned, self._fds)
        self._fds = tuple(self._owned)
        self._given = ()
        self._message = None

    def end(self) -> None:
        """Close the copies."""
        close_all(self._owned)

    def explain(self, error: Error) -> None:
        """Say what went: a stream that has the half of a message is of little more use."""
        sent = sum(self._counts)
        if sent:
            error.__notes__.append(f"{sent} of {len(self._data)} bytes had been sent, with all descriptors")


class ReceiveWhole(Operation[Message]):
    """Receive data, and what comes with them; of a record all of it."""

    __slots__ = ("_buffer", "_found", "_owner", "_result")

    condition = READABLE

    def __init__(self, handle: Handle, max_bytes: int) -> None:
        super().__init__(handle)
        self._buffer = bytearray(max_bytes)
        self._owner: list[int] = []
        # What has come, also where a signal handler raised before it was handed over.
        self._found: list[Received] = []
        self._result = Message()

    def begin(self) -> None:
        """Have a record of no bytes differ from the end, to which the kernel adds no credentials."""
        if self.handle.is_sequence:
            self.handle.enter_passcred(self)

    def attempt(self) -> Message | WouldBlock:
        """Receive it."""
        try:
            if not self._found:
                # To be told how long a record is that does not fit; of a stream it would throw away the bytes.
                flags = 0 if self.handle.is_stream else socket.MSG_TRUNC
                found = receive_message(self.handle, [self._buffer], flags, RECEIVING, self._owner, self._found)
                if found is WOULD_BLOCK:
                    return WOULD_BLOCK
            return self._whole(self._found[0])
        except BaseException as error:
            if self.kept is not None and self._found and not isinstance(error, Error):  # of a signal handler
                try:  # noqa: SIM105 - contextlib would be imported for this alone
                    self.kept.append(self._whole(self._found[0]))
                except Error:  # the next try tells
                    pass
            raise

    def _whole(self, found: Received) -> Message:
        """Make the Message; it can be called again if a signal handler raises."""
        contents = contents_of(found.messages)
        self._check(found, contents)
        result = self._result
        result.data = bytes(self._buffer[: found.size])
        result.end_of_record = not self.handle.is_stream
        result.refused = found.refused
        own_all(self._owner, result.fds)
        if contents.pidfds:
            # The last one that came.
            result.pidfd = result.pidfd or result.fds[-1]
            del result.fds[len(contents.descriptors) :]
        result.credentials = _credentials(contents, result.pidfd)
        return result

    def _check(self, found: Received, contents: Contents) -> None:
        if found.flags & socket.MSG_CTRUNC:
            raise table_is_full(len(self._owner) + found.refused)
        if contents.no_pidfd in NO_ROOM:
            raise system_error(contents.no_pidfd, RECEIVING, "there was no room for the sender's pidfd: it is lost")
        if not found.size and (self.handle.is_stream or (self.handle.is_sequence and not found.messages)):
            raise peer_has_gone()
        if found.size > len(self._buffer):
            raise io_error(
                IOErrorEnum.MESSAGE_TOO_LARGE,
                f"{RECEIVING}a record of {found.size} bytes came, and max_bytes is {len(self._buffer)}: it is lost",
            )

    def end(self) -> None:
        """Close what was not handed over, and leave the flag as the user has set it."""
        if self.handle.is_sequence:
            self.handle.leave_passcred(self)
        close_all(self._owner)

    def discard(self, result: Message) -> None:
        """Close the descriptors."""
        result.close()


def _credentials(contents: Contents, pidfd: FileDescriptor | None) -> Credentials | None:
    numbers = contents.credentials
    # With a pidfd there is a sender: nobody by name, and of another pid namespace.
    if numbers is None or (are_absent(*numbers) and pidfd is None):
        return None
    copy: FileDescriptor | Error | None = None
    if pidfd is not None:
        # One of its own: the message's may be closed before.
        try:
            copy = pidfd._duplicate()
        except Error as error:
            copy = error.with_traceback(None)
    return sender(numbers, contents, copy)
