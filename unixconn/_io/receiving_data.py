"""The operations that receive data, alone or with descriptors and credentials."""

from __future__ import annotations

from unixconn._base.typing import TypeVar
from unixconn._io.operation import READABLE, Operation
from unixconn._io.waiter import serve
from unixconn._kernel.handle import Handle
from unixconn._kernel.message import Message, receive_whole
from unixconn._kernel.receive import RECEIVING
from unixconn._kernel.receive_data import Received, receive_message, receive_recorded
from unixconn._kernel.unwanted import close_unwanted

T = TypeVar("T")


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


class ReceiveData(Operation[T]):
    """
    Receive bytes of a stream. Descriptors that come with them are kept in the handle.

    If *target* is a number, the result is at most so many bytes. If it is a writable buffer, the bytes go into that,
    and the result is their number.
    """

    __slots__ = ("_target",)

    condition = READABLE

    def __init__(self, handle: Handle, target: int | memoryview) -> None:
        super().__init__(handle)
        self._target = target

    def attempt(self, result: list[T]) -> bool:
        """See `Operation.attempt`."""
        return receive_recorded(self.handle, self._target, result) >= 0

    def end(self) -> None:
        """Let an operation that waits for descriptors have those that have come."""
        if self.handle.leftovers:
            serve(self.handle, READABLE)


class ReceiveOnto(ReceiveData[int]):
    """Receive bytes as `ReceiveData` does, and append them to *found*. The result is their number."""

    __slots__ = ("_found",)

    def __init__(self, handle: Handle, size: int, found: list[bytes]) -> None:
        super().__init__(handle, size)
        self._found = found

    def attempt(self, result: list[int]) -> bool:
        """See `Operation.attempt`."""
        # What an attempt has found that an exception interrupted is there already.
        if not self._found and receive_recorded(self.handle, self._target, self._found) < 0:
            return False
        result.append(sum(map(len, self._found)))
        return True


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
            self.handle.enter_passcred(self)

    def attempt(self, result: list[Message]) -> bool:
        """See `Operation.attempt`."""
        return receive_whole(self.handle, self._max_bytes, result)

    def end(self) -> None:
        """Restore the user's setting of SO_PASSCRED."""
        if self.handle.is_sequence:
            self.handle.leave_passcred(self)

    def discard(self, result: Message) -> None:
        """Close the descriptors."""
        result.close()
