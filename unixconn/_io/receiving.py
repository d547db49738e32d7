"""The operations that receive, and Message, the result of one of them."""

from __future__ import annotations

import socket

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.operation import READABLE, Operation
from unixconn._io.waiter import serve
from unixconn._kernel.control_messages import contents_of
from unixconn._kernel.credentials import Credentials, are_absent
from unixconn._kernel.descriptors import Owner, close_all, move_all
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.handle import Handle
from unixconn._kernel.receive import (
    NO_ROOM,
    RECEIVING,
    Received,
    peer_has_gone,
    receive_credentials,
    receive_descriptors,
    receive_message,
    refused,
    sender,
    table_is_full,
    wrong_number,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Self

    from unixconn._kernel.control_messages import Contents


class ReceiveDescriptors(Operation[list[int]]):
    """
    Receive *count* descriptors, from as many messages as necessary, or if it is None, those of the next message.

    If a timeout, a cancellation or an exception ends the wait early, the descriptors that have come are kept for the
    next operation that receives descriptors. If a message is wrong or the stream ends, they are closed.
    """

    __slots__ = ("_count", "_guard", "_messages", "owner")

    condition = READABLE
    takes_leftovers = True

    def __init__(self, handle: Handle, count: int | None, owner: list[int]) -> None:
        """Prepare to receive. *owner* is the list that gets all the descriptors at the end."""
        super().__init__(handle)
        self._count = count
        self._messages: list[list[int]] = [[]]
        self.owner = owner

    def attempt(self, result: list[list[int]]) -> bool:
        """Receive the rest, see `Operation.attempt`."""
        try:
            while self._messages and not self._has_all():
                if self._messages[-1]:
                    self._messages.append([])
                if not receive_descriptors(self.handle, self._messages[-1], single=False):
                    return False
                if self.handle.refuses:
                    raise refused(len(self._messages[-1]))
        except Error:
            for message in self._messages:
                close_all(message)
            raise
        for message in self._messages:
            move_all(message, self.owner)
        self._messages.clear()
        result.append(self.owner)
        return True

    def _has_all(self) -> bool:
        found = len(self.owner) + sum(map(len, self._messages))
        if self._count is None:
            return found > 0
        if found > self._count:
            raise wrong_number(self._count, found)
        return found == self._count

    def hold(self) -> None:
        """Ensure that the descriptors are closed if the operation is dropped while it waits."""
        self._guard = _Guard(self._messages)

    def end(self) -> None:
        """Put the descriptors back into the handle if there were not enough."""
        if self.handle.give_back(self._messages):
            serve(self.handle, READABLE)  # another operation may be waiting for descriptors

    def discard(self, result: list[int]) -> None:
        """Close the descriptors."""
        close_all(result)


class _Guard:
    """
    Closes the descriptors in *messages* when it is dropped.

    It is made only when an operation starts to wait, as Python ignores an exception that a signal handler raises in a
    destructor.
    """

    __slots__ = ("_messages",)

    def __init__(self, messages: list[list[int]]) -> None:
        self._messages = messages

    def __del__(self) -> None:
        # The attribute is missing if an exception interrupted the constructor.
        for message in getattr(self, "_messages", ()):
            close_all(message)


class ReceiveDescriptor(Operation[int]):
    """Receive one descriptor. The result is its number."""

    __slots__ = ()

    condition = READABLE
    takes_leftovers = True

    def attempt(self, result: list[int]) -> bool:
        """See `Operation.attempt`."""
        if not self.handle.refuses:
            return receive_descriptors(self.handle, result)
        with Owner() as owner:
            if receive_descriptors(self.handle, owner, single=False):
                raise refused(len(owner))
        return False

    def discard(self, result: int) -> None:
        """Close the descriptor."""
        close_all([result])


class ReceiveFileDescriptors(Operation[list[FileDescriptor]]):
    """Receive descriptors as `ReceiveDescriptors` does. The result is a list of FileDescriptors."""

    __slots__ = ("_numbers", "_owners")

    condition = READABLE
    takes_leftovers = True

    def __init__(self, handle: Handle, count: int | None) -> None:
        super().__init__(handle)
        self._numbers = ReceiveDescriptors(handle, count, [])
        # One list, the result, until `attempt` hands it over.
        self._owners: list[list[FileDescriptor]] = [[]]

    def attempt(self, result: list[list[FileDescriptor]]) -> bool:
        """Receive the rest, see `Operation.attempt`."""
        if not self._numbers.attempt([]):
            return False
        own_all(self._numbers.owner, self._owners[0])
        result.extend(map(self._owners.pop, (0,)))
        return True

    def hold(self) -> None:
        """See `ReceiveDescriptors.hold`."""
        self._numbers.hold()

    def end(self) -> None:
        """Put descriptors back into the handle if there were not enough, and close those that were not handed over."""
        self._numbers.end()
        close_all(self._numbers.owner)
        for each in self._owners:
            self.discard(each)

    def discard(self, result: list[FileDescriptor]) -> None:
        """Close the descriptors."""
        for each in result:
            each.close()


class ReceiveFileDescriptor(Operation[FileDescriptor]):
    """Receive one descriptor. The result is a FileDescriptor."""

    __slots__ = ("_descriptors", "_found")

    condition = READABLE
    takes_leftovers = True

    def __init__(self, handle: Handle) -> None:
        super().__init__(handle)
        self._descriptors = ReceiveFileDescriptors(handle, 1)
        # A list with one FileDescriptor, from its receipt until `attempt` hands it over.
        self._found: list[list[FileDescriptor]] = []

    def attempt(self, result: list[FileDescriptor]) -> bool:
        """See `Operation.attempt`."""
        if not self._found and not self._descriptors.attempt(self._found):
            return False
        result.extend(map(self._found[0].pop, (0,)))
        return True

    def hold(self) -> None:
        """See `ReceiveDescriptors.hold`."""
        self._descriptors.hold()

    def end(self) -> None:
        """Close a descriptor that was not handed over."""
        self._descriptors.end()
        for each in self._found:
            self._descriptors.discard(each)

    def discard(self, result: FileDescriptor) -> None:
        """Close the descriptor."""
        result.close()


def own_all(numbers: list[int], owners: list[FileDescriptor]) -> None:
    """
    Move all descriptors in *numbers* into new FileDescriptors, which are appended to *owners* in their order.

    May be called again after an exception has interrupted it.
    """
    while numbers:
        if not owners or not owners[-1].closed:
            owners.append(FileDescriptor._empty())
        owners[-1]._take_first(numbers)
    for each in owners:
        each._hand_over()


class ReceiveCredentials(Operation[Credentials]):
    """Receive credentials. SO_PASSCRED is on from the beginning to the end."""

    __slots__ = ()

    condition = READABLE

    def attempt(self, result: list[Credentials]) -> bool:
        """See `Operation.attempt`."""
        return receive_credentials(self.handle, result)

    def begin(self) -> None:
        """Switch SO_PASSCRED on, so that the kernel adds credentials to the messages that are sent from now on."""
        self.handle.enter_passcred(self)

    def end(self) -> None:
        """Restore the user's setting of SO_PASSCRED."""
        self.handle.leave_passcred(self)


class ReceiveMessage(Operation[Received]):
    """Receive data and control messages."""

    __slots__ = ("_context", "_flags", "_vectors")

    condition = READABLE

    def __init__(
        self, handle: Handle, vectors: Sequence[bytearray], *, flags: int = 0, context: str = RECEIVING
    ) -> None:
        super().__init__(handle)
        self._vectors = vectors
        self._flags = flags
        self._context = context

    def attempt(self, result: list[Received]) -> bool:
        """See `Operation.attempt`."""
        return receive_message(self.handle, self._vectors, result, self._flags, self._context)

    def discard(self, result: Received) -> None:
        """Close the descriptors."""
        close_all(result.owner)


class Message:
    """
    A message that `UnixConnection.receive_message` returns: data, and what has come with them.

    The message owns its descriptors. ``with message:`` closes those that are still in it at the end of the block. To
    keep one, take it out with ``message.fds.pop(0)``, or take its number with ``message.fds[0].detach()``.
    """

    __module__ = "unixconn"

    # For help(), which does not see the docstrings below.
    __slots__ = {
        "credentials": (
            "The sender's credentials; None if the kernel has added none, see `UnixConnection.pass_credentials`."
        ),
        "data": "The data.",
        "end_of_record": (
            "Whether the data end where the sender's data ended. Always False for a stream, which has no boundaries."
        ),
        "fds": "The descriptors, in the order in which they were sent.",
        "pidfd": "A pidfd of the sending process; None if the kernel has added none, see `UnixConnection.pass_pidfds`.",
        "refused": "The number of descriptors that came and were closed, see `UnixConnection.refuse_fds`.",
    }

    def __init__(self) -> None:
        self.data: bytes = b""
        """The data."""
        self.fds: list[FileDescriptor] = []
        """The descriptors, in the order in which they were sent."""
        self.credentials: Credentials | None = None
        """The sender's credentials; None if the kernel has added none, see `UnixConnection.pass_credentials`."""
        self.pidfd: FileDescriptor | None = None
        """A pidfd of the sending process; None if the kernel has added none, see `UnixConnection.pass_pidfds`."""
        self.end_of_record: bool = False
        """Whether the data end where the sender's data ended. Always False for a stream, which has no boundaries."""
        self.refused: int = 0
        """The number of descriptors that came and were closed, see `UnixConnection.refuse_fds`."""

    def close(self) -> None:
        """Close the descriptors that are still in the message, and the pidfd. A second call has no effect."""
        while self.fds:
            self.fds.pop().close()
        if self.pidfd is not None:
            self.pidfd.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Message of {len(self.data)} bytes, {len(self.fds)} descriptors, {self.credentials!r}>"


class ReceiveWhole(Operation[Message]):
    """
    Receive at most *max_bytes* of data, and what has come with them.

    A record that is longer is an Error, as the rest of it would be lost.
    """

    __slots__ = ("_buffer", "_found", "_message")

    condition = READABLE

    def __init__(self, handle: Handle, max_bytes: int) -> None:
        super().__init__(handle)
        self._buffer = bytearray(max_bytes)
        # What has come, kept here in case an exception comes before `attempt` has handed it over.
        self._found: list[Received] = []
        self._message = Message()

    def begin(self) -> None:
        """
        Switch SO_PASSCRED on for a SOCK_SEQPACKET socket.

        The kernel then adds credentials to an empty record, but none at the end of the connection. Without them the two
        would look the same.
        """
        if self.handle.is_sequence:
            self.handle.enter_passcred(self)

    def attempt(self, result: list[Message]) -> bool:
        """See `Operation.attempt`."""
        if not self._found:
            # With MSG_TRUNC the kernel returns the real length of a record that does not fit. On a stream the flag
            # would discard the data.
            flags = 0 if self.handle.is_stream else socket.MSG_TRUNC
            if not receive_message(self.handle, [self._buffer], self._found, flags):
                return False
        found = self._found[0]
        contents = contents_of(found.messages)
        self._check(found, contents)
        message = self._message
        message.data = bytes(self._buffer[: found.size])
        message.end_of_record = not self.handle.is_stream
        message.refused = found.refused_count
        own_all(found.owner, message.fds)
        if contents.pidfds:
            # The last pidfd that came. It is already set if an exception has interrupted the previous attempt.
            message.pidfd = message.pidfd or message.fds[-1]
            del message.fds[len(contents.descriptors) :]
        message.credentials = _credentials(contents, message.pidfd)
        result.append(message)
        return True

    def _check(self, found: Received, contents: Contents) -> None:
        if found.flags & socket.MSG_CTRUNC:
            raise table_is_full(len(found.owner) + found.refused_count)
        if contents.no_pidfd in NO_ROOM:
            raise system_error(
                contents.no_pidfd,
                RECEIVING,
                "the kernel had no room for the sender's pidfd, which is lost: close some descriptors, or raise the "
                "limit (RLIMIT_NOFILE)",
            )
        if not found.size and (self.handle.is_stream or (self.handle.is_sequence and not found.messages)):
            raise peer_has_gone()
        if found.size > len(self._buffer):
            raise io_error(
                IOErrorEnum.MESSAGE_TOO_LARGE,
                f"{RECEIVING}a record of {found.size} bytes came and is lost, as max_bytes is {len(self._buffer)}: "
                "receive with a larger one",
            )

    def end(self) -> None:
        """Close descriptors that were not handed over, and restore the user's setting of SO_PASSCRED."""
        if self.handle.is_sequence:
            self.handle.leave_passcred(self)
        for found in self._found:
            close_all(found.owner)

    def discard(self, result: Message) -> None:
        """Close the descriptors."""
        result.close()


def _credentials(contents: Contents, pidfd: FileDescriptor | None) -> Credentials | None:
    numbers = contents.credentials
    # With a pidfd, pid 0 does not mean that the kernel has added none: the sender is in another pid namespace.
    if numbers is None or (are_absent(*numbers) and pidfd is None):
        return None
    copy: FileDescriptor | Error | None = None
    if pidfd is not None:
        # A duplicate, as the user may close the message and keep the credentials.
        try:
            copy = pidfd._duplicate()
        except Error as error:
            copy = error.with_traceback(None)
    return sender(numbers, contents, copy)
