"""The operations that receive, and the Message that one of them returns."""

from __future__ import annotations

import socket

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error
from unixconn._base.managed import Managed
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

    from unixconn._kernel.control_messages import Contents


class ReceiveDescriptors(Operation[list[int]]):
    """
    Receive *count* descriptors, over as many messages as it takes; without a count those of the next message.

    If something ends the wait, the descriptors that have come are left to the next operation that receives. A wrong
    message and the end of the stream close them.
    """

    __slots__ = ("_count", "_guard", "_messages", "owner")

    condition = READABLE
    takes_leftovers = True

    def __init__(self, handle: Handle, count: int | None, owner: list[int]) -> None:
        """Let *owner* have the descriptors in the end."""
        super().__init__(handle)
        self._count = count
        self._messages: list[list[int]] = [[]]
        self.owner = owner

    def attempt(self, result: list[list[int]]) -> bool:
        """Receive the rest."""
        try:
            while self._messages and not self._has_all():
                if self._messages[-1]:
                    self._messages.append([])
                if not receive_descriptors(self.handle, self._messages[-1]):
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
        """Close what has come if the operation is dropped while it waits."""
        self._guard = _Guard(self._messages)

    def end(self) -> None:
        """Give back descriptors that were not enough."""
        if self.handle.give_back(self._messages):
            serve(self.handle, READABLE)  # another operation may be waiting for just these

    def discard(self, result: list[int]) -> None:
        """Close the descriptors."""
        close_all(result)


class _Guard:
    """
    Closes the descriptors in *messages* when it is dropped.

    Made where an operation starts to wait, and for no more than that: an exception that a signal handler raises in a
    destructor goes no further.
    """

    __slots__ = ("_messages",)

    def __init__(self, messages: list[list[int]]) -> None:
        self._messages = messages

    def __del__(self) -> None:
        # Also after a constructor that an exception broke off.
        for message in getattr(self, "_messages", ()):
            close_all(message)


class ReceiveDescriptor(Operation[int]):
    """Receive a descriptor."""

    __slots__ = ()

    condition = READABLE
    takes_leftovers = True

    def attempt(self, result: list[int]) -> bool:
        """Receive it."""
        if not self.handle.refuses:
            return receive_descriptors(self.handle, result, single=True)
        with Owner() as owner:
            if receive_descriptors(self.handle, owner):
                raise refused(len(owner))
        return False

    def discard(self, result: int) -> None:
        """Close the descriptor."""
        close_all([result])


class ReceiveOwned(Operation[list[FileDescriptor]]):
    """Receive descriptors as `ReceiveDescriptors` does, each with an owner."""

    __slots__ = ("_numbers", "_owners")

    condition = READABLE
    takes_leftovers = True

    def __init__(self, handle: Handle, count: int | None) -> None:
        super().__init__(handle)
        self._numbers = ReceiveDescriptors(handle, count, [])
        # One list, until it is handed over.
        self._owners: list[list[FileDescriptor]] = [[]]

    def attempt(self, result: list[list[FileDescriptor]]) -> bool:
        """Receive the rest."""
        if not self._numbers.attempt([]):
            return False
        own_all(self._numbers.owner, self._owners[0])
        result.extend(map(self._owners.pop, (0,)))
        return True

    def hold(self) -> None:
        """See `ReceiveDescriptors.hold`."""
        self._numbers.hold()

    def end(self) -> None:
        """Give back descriptors that were not enough, and close those that were not handed over."""
        self._numbers.end()
        close_all(self._numbers.owner)
        for each in self._owners:
            self.discard(each)

    def discard(self, result: list[FileDescriptor]) -> None:
        """Close the descriptors."""
        for each in result:
            each.close()


class ReceiveOwner(Operation[FileDescriptor]):
    """Receive one descriptor, with an owner."""

    __slots__ = ("_descriptors", "_found")

    condition = READABLE
    takes_leftovers = True

    def __init__(self, handle: Handle) -> None:
        super().__init__(handle)
        self._descriptors = ReceiveOwned(handle, 1)
        # A list with one, until that is handed over.
        self._found: list[list[FileDescriptor]] = []

    def attempt(self, result: list[FileDescriptor]) -> bool:
        """Receive it."""
        if not self._found and not self._descriptors.attempt(self._found):
            return False
        result.extend(map(self._found[0].pop, (0,)))
        return True

    def hold(self) -> None:
        """See `ReceiveDescriptors.hold`."""
        self._descriptors.hold()

    def end(self) -> None:
        """Close what was not handed over."""
        self._descriptors.end()
        for each in self._found:
            self._descriptors.discard(each)

    def discard(self, result: FileDescriptor) -> None:
        """Close it."""
        result.close()


def own_all(numbers: list[int], owners: list[FileDescriptor]) -> None:
    """Let *owners* have all descriptors of *numbers*, in their order. May be called again after an exception."""
    while numbers:
        if not owners or not owners[-1].closed:
            owners.append(FileDescriptor._empty())
        owners[-1]._take_first(numbers)
    for each in owners:
        each._hand_over()


class ReceiveCredentials(Operation[Credentials]):
    """Receive credentials, with SO_PASSCRED on until the end."""

    __slots__ = ()

    condition = READABLE

    def attempt(self, result: list[Credentials]) -> bool:
        """Receive them."""
        return receive_credentials(self.handle, result)

    def begin(self) -> None:
        """Have the kernel add credentials to what comes from now on."""
        self.handle.enter_passcred(self)

    def end(self) -> None:
        """Leave the option as the user has set it."""
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
        """Receive it."""
        return receive_message(self.handle, self._vectors, result, self._flags, self._context)

    def discard(self, result: Received) -> None:
        """Close the descriptors."""
        close_all(result.owner)


class Message(Managed):
    """
    A message of `UnixConnection.receive_message`.

    ``with message:`` closes the descriptors that are still in it at the end. Take one out by ``message.fds.pop(0)``, or
    by ``message.fds[0].detach()``.
    """

    __slots__ = ("credentials", "data", "end_of_record", "fds", "pidfd", "refused")

    def __init__(self) -> None:
        self.data: bytes = b""
        """The bytes."""
        self.fds: list[FileDescriptor] = []
        """The descriptors, in their order."""
        self.credentials: Credentials | None = None
        """The sender's credentials if the kernel has added them, see `UnixConnection.pass_credentials`."""
        self.pidfd: FileDescriptor | None = None
        """A pidfd of the process that sent it, see `UnixConnection.pass_pidfds`."""
        self.end_of_record: bool = False
        """Whether the data end where the sender's do, which a stream does not tell."""
        self.refused: int = 0
        """The number of descriptors that were closed, see `UnixConnection.refuse_fds`."""

    def close(self) -> None:
        """Close the descriptors that were not taken out."""
        while self.fds:
            self.fds.pop().close()
        if self.pidfd is not None:
            self.pidfd.close()

    def __repr__(self) -> str:
        return f"<Message of {len(self.data)} bytes, {len(self.fds)} descriptors, {self.credentials!r}>"


class ReceiveWhole(Operation[Message]):
    """Receive data, and what comes with them; of a record all of it."""

    __slots__ = ("_buffer", "_found", "_message")

    condition = READABLE

    def __init__(self, handle: Handle, max_bytes: int) -> None:
        super().__init__(handle)
        self._buffer = bytearray(max_bytes)
        # What has come, until it is handed over, also where an exception comes before that.
        self._found: list[Received] = []
        self._message = Message()

    def begin(self) -> None:
        """Have the kernel add credentials to an empty record. It adds none to the end, which looks the same else."""
        if self.handle.is_sequence:
            self.handle.enter_passcred(self)

    def attempt(self, result: list[Message]) -> bool:
        """Receive it."""
        if not self._found:
            # To be told how long a record is that does not fit. On a stream the flag would throw the bytes away.
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
            # The last one that came.
            message.pidfd = message.pidfd or message.fds[-1]
            del message.fds[len(contents.descriptors) :]
        message.credentials = _credentials(contents, message.pidfd)
        result.append(message)
        return True

    def _check(self, found: Received, contents: Contents) -> None:
        if found.flags & socket.MSG_CTRUNC:
            raise table_is_full(len(found.owner) + found.refused_count)
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
        """Close what was not handed over, and leave the option as the user has set it."""
        if self.handle.is_sequence:
            self.handle.leave_passcred(self)
        for found in self._found:
            close_all(found.owner)

    def discard(self, result: Message) -> None:
        """Close the descriptors."""
        result.close()


def _credentials(contents: Contents, pidfd: FileDescriptor | None) -> Credentials | None:
    numbers = contents.credentials
    # A pidfd says that there is a sender: one of another pid namespace, which has no pid here.
    if numbers is None or (are_absent(*numbers) and pidfd is None):
        return None
    copy: FileDescriptor | Error | None = None
    if pidfd is not None:
        # A duplicate, as the message's own pidfd may be closed before.
        try:
            copy = pidfd._duplicate()
        except Error as error:
            copy = error.with_traceback(None)
    return sender(numbers, contents, copy)
