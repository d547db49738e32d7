"""The operations that connect, accept, and wait for a condition of a socket."""

from __future__ import annotations

from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.operation import READABLE, Operation
from unixconn._kernel.connect import about, accept, connect
from unixconn._kernel.epoll import IOCondition
from unixconn._kernel.handle import Handle
from unixconn._kernel.sockets import SocketType, close_socket

if TYPE_CHECKING:
    from typing import ClassVar

    from unixconn._base.errors import Error


class Accept(Operation[SocketType]):
    """Accept a connection. The result is a socket of the same kind."""

    __slots__ = ()

    condition = READABLE

    def attempt(self, result: list[SocketType]) -> bool:
        """See `Operation.attempt`."""
        return accept(self.handle, result)

    def discard(self, result: SocketType) -> None:
        """Close the connection."""
        close_socket(result)


class Connect(Operation[bool]):
    """
    Connect to the Unix socket *name*.

    The operation is tried again at intervals, as the kernel does not report when a full backlog has room again.
    """

    __slots__ = ("_name",)

    condition = 0
    interval: ClassVar[float] = 0.01

    def __init__(self, handle: Handle, name: bytes) -> None:
        super().__init__(handle)
        self._name = name

    def attempt(self, result: list[bool]) -> bool:
        """See `Operation.attempt`."""
        if not connect(self.handle, self._name):
            return False
        result.append(True)
        return True

    def explain(self, error: Error) -> None:
        """See `Operation.explain`: *error* names the path."""
        about(error, self._name)


class AwaitCondition(Operation[IOCondition]):
    """
    Wait until one of the conditions *wanted*, ERR or HUP holds. The numbers are those of poll(2).

    The result are the conditions that hold.
    """

    __slots__ = ("condition",)

    def __init__(self, handle: Handle, wanted: int) -> None:
        super().__init__(handle)
        self.condition = wanted  # type: ignore[misc]

    def attempt(self, result: list[IOCondition]) -> bool:
        """See `Operation.attempt`."""
        found = self.handle.poll(self.condition)
        if not found:
            return False
        result.append(IOCondition(found))
        return True
