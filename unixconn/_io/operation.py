"""
Operations: what can be done with a socket, and may have to wait.

An `Operation` is one thing to do with a socket, such as to receive a descriptor. Its method `attempt` makes one
attempt, which does not wait. All ways of calling an operation make the same attempts, and differ only in the wait
between them: blocking.py waits in the calling thread with poll(2), waiter.py waits in the background.
"""

from __future__ import annotations

import errno
import math
import threading
from abc import abstractmethod

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._kernel.epoll import READABLE, WRITABLE
from unixconn._kernel.handle import Handle

if TYPE_CHECKING:
    from typing import Any, ClassVar

__all__ = ["OVERDUE", "READABLE", "WRITABLE", "Operation", "UserError", "is_overdue", "timed_out", "would_block"]

T = TypeVar("T")


class Operation(Generic[T]):
    """
    Something to do with a socket that may have to wait.

    The order of calls: `begin`; `attempt`, again and again until it returns True; `hold` once before the first wait;
    finally `end`, whatever has happened before. `discard` is called for a result that no caller takes.
    """

    __slots__ = ("handle", "timeout")

    condition: ClassVar[int]
    """The condition of the socket that the operation waits for: READABLE or WRITABLE; 0 if the kernel reports none."""
    interval: ClassVar[float] = math.inf
    """Seconds after which the next attempt is made even if the kernel has not reported the condition."""
    takes_leftovers: ClassVar[bool] = False
    """Whether the operation takes descriptors from `Handle.leftovers`. The kernel does not report these."""
    prefix: str = ""
    """The prefix of the text of each Error that ends the operation."""

    def __init__(self, handle: Handle) -> None:
        self.handle: Handle = handle
        self.timeout: float | None = None
        """The most seconds to wait, None for no limit: the Socket's setting."""

    @abstractmethod
    def attempt(self, result: list[T]) -> bool:
        """
        Make one attempt, which does not wait; append the result to *result* and return True, or return False.

        False means that the operation would block. After an exception raised by a signal handler the method may be
        called again, and goes on from there: what was received or sent before is recorded here or in *result*.
        """

    def is_midway(self) -> bool:
        """Whether a part was sent, and nothing else may be sent before the rest."""
        return False

    def check(self) -> None:
        """Raise the Error for wrong arguments. Gio reports it before an Error of the socket or the cancellable."""

    def explain(self, error: Error) -> None:
        """Add a note to *error*, which has ended the operation, that says how far the operation had come."""

    def begin(self) -> None:
        """Prepare the first attempt. `end` is called in any case, even if this raises an exception."""

    def hold(self) -> None:
        """Prepare to wait. During the wait the caller may do other things, and close descriptors that it passed."""

    def end(self) -> None:
        """Release what `begin`, `hold` and the attempts have acquired. May be called again."""

    def discard(self, result: T) -> None:
        """Close the descriptors of a result that no caller takes."""

    def withdraw(self, result: T) -> None:
        """Take back, at once, a result whose caller was cancelled or interrupted before it had it."""
        self.discard(result)


class UserError(Error):
    """
    Ends an operation with *raised*, an exception that a function of the user's has raised in an attempt.

    An attempt may raise nothing but an Error: any other exception counts as that of a signal handler, which goes to
    whoever made the attempt, and after which another attempt is made.
    """

    def __init__(self, raised: Exception) -> None:
        super().__init__(str(raised))
        self.raised = raised

    def prefixed(self, prefix: str) -> Any:
        """Return the user's exception."""
        return self.raised


def would_block(handle: Handle) -> Error:
    """Return the Error for an operation on *handle* that would block and is not allowed to: usually WOULD_BLOCK."""
    return timed_out() if OVERDUE and is_overdue(handle) else system_error(errno.EAGAIN, "")


OVERDUE: dict[int, Handle] = {}
"""For a thread that is in a callback which tells that the timeout of a socket has passed, the Handle of that socket."""


def is_overdue(handle: Handle) -> bool:
    """Return whether an operation on *handle* in this thread may not wait any more, see `OVERDUE`."""
    return OVERDUE.get(threading.get_ident()) is handle


def timed_out() -> Error:
    """Return the Error TIMED_OUT, for an operation that has waited for all of its timeout."""
    return io_error(IOErrorEnum.TIMED_OUT, "Socket I/O timed out")
