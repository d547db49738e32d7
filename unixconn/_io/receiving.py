"""The operations that receive descriptors and credentials."""

from __future__ import annotations

from itertools import chain, repeat
from operator import iadd

from unixconn._base.errors import Error
from unixconn._io.operation import READABLE, Operation
from unixconn._io.waiter import serve
from unixconn._kernel.control_messages import INCOMING, ONE_DESCRIPTOR, ROOM, Incoming
from unixconn._kernel.credentials import Credentials
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.handle import Handle
from unixconn._kernel.native import recvmsg
from unixconn._kernel.options import enter_passcred, leave_passcred
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.receive import (
    must_wait,
    receive_credentials,
    receive_descriptors,
    refused,
    rescue,
    take_descriptors,
    take_leftover,
    wrong_number,
)
from unixconn._kernel.unwanted import Guard, Unwanted, close_unwanted

# These are names of this module, as they are looked up for each message.
_pop, _append = INCOMING.pop, INCOMING.append
_FLAGS = SYSTEM.receive_flags


class ReceiveDescriptors(Operation[list[int]]):
    """
    Receive *count* descriptors, from as many messages as necessary, or if it is None, those of the next message.

    If a timeout, a cancellation or an exception ends the wait early, the descriptors that have come are kept for the
    next operation that receives descriptors. If a message is wrong or the stream ends, they are closed.
    """

    __slots__ = ("_count", "_guards", "_messages", "owner")

    condition = READABLE
    takes_leftovers = True

    def __init__(self, handle: Handle, count: int | None, owner: list[int]) -> None:
        """
        Prepare to receive.

        *owner* is the list that gets all the descriptors at the end. What is in it at the beginning counts as received.
        """
        super().__init__(handle)
        self._count = count
        self._messages: list[list[int]] = [[]]
        self.owner = owner

    def begin(self) -> None:
        """Take over the descriptors that the caller has received."""
        if self.owner:
            # In one step of the interpreter, as a message must not be given back in part.
            self._messages[0].extend(map(self.owner.pop, repeat(0, len(self.owner))))

    def attempt(self, result: list[list[int]]) -> bool:
        """Receive the rest, see `Operation.attempt`."""
        try:
            while self._messages and not self._has_all():
                if self._messages[-1]:
                    # A handler may also raise while `end` gives them back after an Error.
                    self.hold()
                    self._messages.append([])
                if not receive_descriptors(self.handle, self._messages[-1]):
                    return False
                if self.handle.refuses:
                    raise refused(len(self._messages[-1]))
        except Error:
            # What interrupts this leaves them to the guard, as `end` would give back what is refused.
            self.hold()
            refuse, self._messages = self._messages, []
            for message in refuse:
                close_unwanted(message)
            raise
        # In one step of the interpreter, as `end` looks after the messages, and the caller after the result.
        came = chain.from_iterable(map(self._messages.pop, repeat(0, len(self._messages))))
        result.extend(map(iadd, (self.owner,), (came,)))
        return True

    def _has_all(self) -> bool:
        found = len(self.owner) + sum(map(len, self._messages))
        if self._count is None:
            return found > 0
        if found > self._count:
            raise wrong_number(self._count, found)
        return found == self._count

    def hold(self) -> None:
        """
        Ensure that the descriptors are closed if the operation is dropped while it waits. May be called again.

        Not before it waits, as Python ignores an exception that a signal handler raises in a destructor.
        """
        if not hasattr(self, "_guards"):
            self._guards = Guard(self._messages), Guard(self._messages)

    def end(self) -> None:
        """Put the descriptors back into the handle if there were not enough."""
        if self.handle.give_back(self._messages):
            serve(self.handle, READABLE)  # another operation may be waiting for descriptors

    def discard(self, result: list[int]) -> None:
        """Close the descriptors."""
        close_unwanted(result)


class ReceiveDescriptor(Operation[int]):
    """Receive one descriptor. The result is its number."""

    __slots__ = ()

    condition = READABLE
    takes_leftovers = True

    def attempt(self, result: list[int]) -> bool:
        """See `Operation.attempt`."""
        handle = self.handle
        if handle.refuses:
            return self._refuse()
        if handle.leftovers and take_leftover(handle, result, single=True):
            return True
        # The lines of `receive_descriptors`, without the call.
        try:
            message = _pop()
        except IndexError:
            message = Incoming()
        message.room[0] = ROOM
        try:
            message.user = handle
            count = recvmsg(handle.number, message.header, _FLAGS)
            message.user = None
            if handle.closed:
                handle.reap()
            if message.kind == ONE_DESCRIPTOR:
                result.append(message.descriptors[0])
                _append(message)
                return True
            if not must_wait(handle, count):
                take_descriptors(handle, message, count, result)
                return True
        except BaseException:  # the Error for a refused message, or an exception raised by a signal handler
            rescue(message, result, single=True)
            raise
        _append(message)
        return False

    def _refuse(self) -> bool:
        with Unwanted() as owner:
            if receive_descriptors(self.handle, owner):
                raise refused(len(owner))
        return False

    def discard(self, result: int) -> None:
        """Close the descriptor."""
        close_unwanted([result])


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
        close_unwanted(self._numbers.owner)
        for each in self._owners:
            self.discard(each)

    def discard(self, result: list[FileDescriptor]) -> None:
        """Close the descriptors."""
        for each in result:
            close_unwanted(each._owned)


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
        close_unwanted(result._owned)


def own_all(numbers: list[int], owners: list[FileDescriptor]) -> None:
    """
    Move all descriptors in *numbers* into new FileDescriptors, which are appended to *owners* in their order.

    May be called again after an exception has interrupted it.
    """
    while numbers:
        if not owners or not owners[-1].closed:
            owners.append(FileDescriptor._empty(Unwanted))
        owners[-1]._take_first(numbers)
    for each in owners:
        each._hand_over()


class ReceiveCredentials(Operation[Credentials]):
    """Receive credentials. SO_PASSCRED is on from the first attempt to the end."""

    __slots__ = ()

    condition = READABLE

    def attempt(self, result: list[Credentials]) -> bool:
        """See `Operation.attempt`. One that would block leaves SO_PASSCRED on."""
        return receive_credentials(self.handle, result, self)

    def hold(self) -> None:
        """Switch SO_PASSCRED on, so that the kernel adds credentials to the messages that are sent from now on."""
        # No attempt was made if others wait already.
        if self not in self.handle.passcred_users:
            enter_passcred(self.handle, self)

    def end(self) -> None:
        """Restore the user's setting of SO_PASSCRED."""
        if self.handle.passcred_users:
            leave_passcred(self.handle, self)


class ReceiveCredentialsUnlocked(ReceiveCredentials):
    """`ReceiveCredentials` for a caller that does not hold the handle's lock, as a `Waiter` does."""

    __slots__ = ()

    def attempt(self, result: list[Credentials]) -> bool:
        """See `Operation.attempt`."""
        with self.handle.entered:
            return receive_credentials(self.handle, result, self)
