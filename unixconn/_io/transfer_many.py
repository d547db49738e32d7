"""The operations for many descriptors, which may take several messages; beside transfer.py."""

from __future__ import annotations

from unixconn._base.errors import Error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.operation import READABLE, WRITABLE, Operation
from unixconn._io.transfer import check_carries
from unixconn._io.waiter import serve
from unixconn._kernel.attempt import SENDING, WOULD_BLOCK, check_open, refused, send_message, wrong_number
from unixconn._kernel.attempt_many import receive_descriptors
from unixconn._kernel.control_messages import MAX_DESCRIPTORS, Outgoing, rights_message
from unixconn._kernel.descriptors import Guard, as_descriptors, close_all, duplicate_all, listed, move_all
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.handle import Handle

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from unixconn._kernel.attempt import WouldBlock


class SendDescriptors(Operation[bool]):
    """Send descriptors, in as many messages as it takes."""

    __slots__ = ("_counts", "_given", "_guard", "_numbers", "_owned")

    condition = WRITABLE

    def __init__(self, handle: Handle, fds: Iterable[Any]) -> None:
        super().__init__(handle)
        self._given = listed(fds)
        self._numbers = as_descriptors(self._given)
        # One for each message that has gone, also where a signal handler raised just then.
        self._counts: list[int] = []
        self._owned: list[int] = []

    @property
    def _sent(self) -> int:
        return min(len(self._counts) * MAX_DESCRIPTORS, len(self._numbers))

    def attempt(self) -> bool | WouldBlock:
        """Send what is left."""
        try:
            while self._sent < len(self._numbers):
                part = self._numbers[self._sent : self._sent + MAX_DESCRIPTORS]
                message = Outgoing([rights_message(part)])
                if send_message(self.handle, message, 0, SENDING, self._counts) is WOULD_BLOCK:
                    return WOULD_BLOCK
            return True
        except Error:
            if self.handle.number >= 0:
                check_open(self._numbers[self._sent :])
            raise
        except BaseException:  # of a signal handler
            if self.kept is not None and self._sent == len(self._numbers):
                self.kept.append(True)
            raise

    def check(self) -> None:
        """Refuse a number that is not open."""
        check_open(self._numbers)

    def begin(self) -> None:
        """Refuse a socket that would lose the descriptors, and say that they went."""
        check_carries(self.handle, self._numbers)
        if len(self._numbers) > MAX_DESCRIPTORS:
            # Before some have gone, and one that is not open is among the others.
            check_open(self._numbers)

    def hold(self) -> None:
        """Keep the files: the caller's numbers may be others' by the next try."""
        self._guard = Guard([self._owned])
        sent = self._sent
        duplicate_all(self._owned, self._numbers[sent:])
        self._numbers = (*self._numbers[:sent], *self._owned)
        self._given = ()

    def end(self) -> None:
        """Close the copies."""
        close_all(self._owned)

    def explain(self, error: Error) -> None:
        """Say what went, as that stays sent."""
        if self._sent:
            error.__notes__.append(f"{self._sent} of {len(self._numbers)} descriptors had been sent")


class ReceiveDescriptors(Operation[list[int]]):
    """
    Receive *count* descriptors, over as many messages as it takes; those of the next message without a count.

    What ends the wait leaves what has come to the next one who receives; a wrong message, the end and whatever else is
    no descriptors, closes it.
    """

    __slots__ = ("_count", "_guard", "_messages", "owner")

    condition = READABLE
    takes_strays = True

    def __init__(self, handle: Handle, count: int | None, owner: list[int]) -> None:
        """Let *owner* have the descriptors in the end."""
        super().__init__(handle)
        self._count = count
        self._messages: list[list[int]] = [[]]
        self.owner = owner

    def attempt(self) -> list[int] | WouldBlock:
        """Receive what is left."""
        try:
            while self._messages and not self._has_all():
                if self._messages[-1]:
                    self._messages.append([])
                if receive_descriptors(self.handle, self._messages[-1]) is WOULD_BLOCK:
                    return WOULD_BLOCK
                if self.handle.refuses:
                    raise refused(len(self._messages[-1]))
        except Error:
            self._close()
            raise
        for message in self._messages:
            move_all(message, self.owner)
        self._messages.clear()
        return self.owner

    def _has_all(self) -> bool:
        found = len(self.owner) + sum(map(len, self._messages))
        if self._count is None:
            return found > 0
        if found > self._count:
            raise wrong_number(self._count, found)
        return found == self._count

    def _close(self) -> None:
        for message in self._messages:
            close_all(message)

    def hold(self) -> None:
        """Close what has come if nobody waits for the rest any more."""
        self._guard = Guard(self._messages)

    def end(self) -> None:
        """Give back what was not enough."""
        if self.handle.give_back(self._messages):
            serve(self.handle, READABLE)  # somebody may be waiting for just this

    def discard(self, result: list[int]) -> None:
        """Close the descriptors."""
        close_all(result)


class ReceiveOwned(Operation[list[FileDescriptor]]):
    """Receive descriptors as `ReceiveDescriptors` does, each with an owner."""

    __slots__ = ("_numbers", "_owners")

    condition = READABLE
    takes_strays = True

    def __init__(self, handle: Handle, count: int | None) -> None:
        super().__init__(handle)
        self._numbers = ReceiveDescriptors(handle, count, [])
        self._owners: list[FileDescriptor] = []

    def attempt(self) -> list[FileDescriptor] | WouldBlock:
        """Receive what is left."""
        if self._numbers.attempt() is WOULD_BLOCK:
            return WOULD_BLOCK
        own_all(self._numbers.owner, self._owners)
        owners, self._owners = self._owners, []
        return owners

    def hold(self) -> None:
        """See `ReceiveDescriptors.hold`."""
        self._numbers.hold()

    def end(self) -> None:
        """Give back what was not enough, and close what was not handed over."""
        self._numbers.end()
        close_all(self._numbers.owner)
        self.discard(self._owners)

    def discard(self, result: list[FileDescriptor]) -> None:
        """Close the descriptors."""
        for each in result:
            each.close()


class ReceiveOwner(Operation[FileDescriptor]):
    """Receive one descriptor, with its owner."""

    __slots__ = ("_descriptors",)

    condition = READABLE
    takes_strays = True

    def __init__(self, handle: Handle) -> None:
        super().__init__(handle)
        self._descriptors = ReceiveOwned(handle, 1)

    def attempt(self) -> FileDescriptor | WouldBlock:
        """Receive it."""
        found = self._descriptors.attempt()
        return WOULD_BLOCK if found is WOULD_BLOCK else found[0]

    def hold(self) -> None:
        """See `ReceiveDescriptors.hold`."""
        self._descriptors.hold()

    def end(self) -> None:
        """Close what was not handed over."""
        self._descriptors.end()

    def discard(self, result: FileDescriptor) -> None:
        """Close it."""
        result.close()


def own_all(numbers: list[int], owners: list[FileDescriptor]) -> None:
    """Let *owners* have all that *numbers* has, in their order; it can be called again if a signal handler raises."""
    while numbers:
        if not owners or not owners[-1].closed:
            owners.append(FileDescriptor._empty())
        owners[-1]._take_first(numbers)
    for each in owners:
        each._hand_over()
