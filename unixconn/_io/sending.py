"""The operations that send descriptors and credentials."""

from __future__ import annotations

import os

from unixconn._base.arguments import INT_MAX, UINT_MAX, as_integer
from unixconn._base.errors import Error, IOErrorEnum, NoSuchProcessError, PermissionDeniedError, io_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.operation import WRITABLE, Operation
from unixconn._kernel.control_messages import MAX_DESCRIPTORS, UCRED
from unixconn._kernel.credentials import explain_unmapped
from unixconn._kernel.descriptors import Owner, as_descriptors, close_all, duplicate_all, listed
from unixconn._kernel.file_descriptor import FileDescriptor, as_own_descriptor, owner_of
from unixconn._kernel.handle import Handle
from unixconn._kernel.outgoing import Outgoing, credentials_message, rights_message
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.send import CREDENTIALS, DESCRIPTOR, check_open, send, send_message
from unixconn._kernel.unwanted import Unwanted, close_left

if TYPE_CHECKING:
    from collections.abc import Iterable

    from unixconn._kernel.descriptors import FileDescriptorLike

# These are names of this module, as they are looked up for each message.
_getpid, _geteuid, _getegid = os.getpid, os.geteuid, os.getegid
_pack = UCRED.pack


class SendDescriptor(Operation[bool]):
    """Send a descriptor."""

    __slots__ = ("_fd", "_owned", "_sent")

    condition = WRITABLE

    def __init__(self, handle: Handle, fd: int) -> None:
        super().__init__(handle)
        self._fd = fd
        self._owned: list[int] = []

    def attempt(self, result: list[bool]) -> bool:
        """See `Operation.attempt`."""
        # An exception that interrupts the first attempt propagates from the caller's own call, so the operation is
        # over. A later attempt may be interrupted and repeated. So it records in `_sent` that the message was sent.
        if not self._owned:
            if not send(self.handle, DESCRIPTOR, self._fd):
                return False
        elif not self._sent and not send_message(self.handle, Outgoing([rights_message(self._owned)]), self._sent):
            return False
        result.append(True)
        return True

    def check(self) -> None:
        """Raise the Error for a number that is not open."""
        check_open((self._fd,))

    def begin(self) -> None:
        """Refuse a socket that would drop the descriptor silently, see `check_carries`."""
        check_carries(self.handle, self._fd)

    def hold(self) -> None:
        """Duplicate the descriptor, as the caller may close it and its number may be reused."""
        self._sent: list[int] = []
        self._owned = Owner()
        duplicate_all(self._owned, (self._fd,))

    def end(self) -> None:
        """Close the duplicate."""
        close_all(self._owned)


class GiveDescriptor(SendDescriptor):
    """
    Send a descriptor, and close it in any case.

    It belongs to the operation from the constructor on. Raises what `as_own_descriptor` raises; no descriptor is closed
    then.
    """

    __slots__ = ()

    def __init__(self, handle: Handle, fd: int | FileDescriptor) -> None:
        number = as_own_descriptor(fd)
        super().__init__(handle, number)
        self._sent = []
        source = owner_of(fd, number)
        # One that a stranger has sent is closed without a wait.
        self._owned = Unwanted() if isinstance(source, Unwanted) else Owner()
        self._owned.extend(map(source.pop, (-1,)))

    def attempt(self, result: list[bool]) -> bool:
        """See `Operation.attempt`."""
        try:
            return super().attempt(result)
        except Error:
            if self.handle.number >= 0 and not self._sent:
                self.check()
            raise

    def check(self) -> None:
        """Raise the Error for a number that is not open, and do not close what another thread may open under it."""
        try:
            super().check()
        except Error:
            self._owned.clear()
            raise

    def hold(self) -> None:
        """Look at the number, as there may have been no attempt yet."""
        if self._owned:
            self.check()

    def end(self) -> None:
        """Close the descriptor."""
        close_left(self._owned)


def check_carries(handle: Handle, what: object) -> None:
    """
    Raise the Error NOT_SUPPORTED if the socket is not a Unix socket.

    The kernel would drop the descriptors, and report that the message was sent. *what* names the descriptors in the
    text.
    """
    handle.check()
    if not handle.is_unix:
        raise io_error(
            IOErrorEnum.NOT_SUPPORTED,
            f"Only a Unix socket carries descriptors, and this is another kind of socket: {what} was not sent",
        )


class SendCredentials(Operation[bool]):
    """Send this process's credentials with a NUL byte."""

    __slots__ = ("_sent",)

    condition = WRITABLE
    prefix = "Error sending credentials: "

    def __init__(self, handle: Handle) -> None:
        super().__init__(handle)
        self._sent: list[int] | None = None

    def attempt(self, result: list[bool]) -> bool:
        """See `Operation.attempt`."""
        # As in `SendDescriptor.attempt`.
        if self._sent is None:
            sent = send(self.handle, CREDENTIALS, _pack(_getpid(), _geteuid(), _getegid()))
        else:
            sent = self._send_once(self._sent, (_getpid(), _geteuid(), _getegid()))
        if sent:
            result.append(True)
        return sent

    def _send_once(self, sent: list[int], numbers: tuple[int, int, int]) -> bool:
        message = Outgoing([credentials_message(numbers)] if SYSTEM.attaches_credentials else [])
        return bool(sent) or send_message(self.handle, message, sent)

    def hold(self) -> None:
        """Record from now on whether the message was sent."""
        self._sent = []

    def explain(self, error: Error) -> None:
        """Add a note if this user namespace does not map the ids."""
        explain_unmapped(error, (_getpid(), _geteuid(), _getegid()))


class SendFakeCredentials(SendCredentials):
    """
    Send the credentials of another process.

    Raises TypeError or OverflowError for what cannot be a pid, uid or gid, and the Error NOT_SUPPORTED on systems other
    than Linux.
    """

    __slots__ = ("_claimed",)

    def __init__(self, handle: Handle, pid: int, uid: int, gid: int) -> None:
        super().__init__(handle)
        # The highest uid_t and gid_t mean "none".
        self._claimed = (
            as_integer(pid, "pid", 1, INT_MAX),
            as_integer(uid, "uid", 0, UINT_MAX - 1),
            as_integer(gid, "gid", 0, UINT_MAX - 1),
        )
        self._sent = []
        if not SYSTEM.is_linux:
            raise io_error(
                IOErrorEnum.NOT_SUPPORTED, "Only Linux lets a process claim to be another one, and this is not Linux"
            )

    def attempt(self, result: list[bool]) -> bool:
        """See `Operation.attempt`."""
        assert self._sent is not None
        sent = self._send_once(self._sent, self._claimed)
        if sent:
            result.append(True)
        return sent

    def hold(self) -> None:
        """See `Operation.hold`."""

    def explain(self, error: Error) -> None:
        """Add a note with the numbers that the kernel has refused, or with those that are not mapped."""
        explain_unmapped(error, self._claimed)
        if isinstance(error, (NoSuchProcessError, PermissionDeniedError)):
            error.__notes__.append("the claimed credentials were pid {}, uid {}, gid {}".format(*self._claimed))


class SendDescriptors(Operation[bool]):
    """Send any number of descriptors, in as many messages as necessary."""

    __slots__ = ("_counts", "_given", "_numbers", "_owned")

    condition = WRITABLE

    def __init__(self, handle: Handle, fds: Iterable[FileDescriptorLike]) -> None:
        super().__init__(handle)
        self._given = listed(fds)
        self._numbers = as_descriptors(self._given)
        # One entry for each message that was sent, even if an exception came just then.
        self._counts: list[int] = []
        self._owned: list[int] = []

    @property
    def _sent(self) -> int:
        return min(len(self._counts) * MAX_DESCRIPTORS, len(self._numbers))

    def is_midway(self) -> bool:
        """See `Operation.is_midway`."""
        return bool(self._counts)

    def attempt(self, result: list[bool]) -> bool:
        """Send the rest, see `Operation.attempt`."""
        try:
            while self._sent < len(self._numbers):
                part = self._numbers[self._sent : self._sent + MAX_DESCRIPTORS]
                if not send_message(self.handle, Outgoing([rights_message(part)]), self._counts):
                    return False
        except Error:
            if self.handle.number >= 0:
                check_open(self._numbers[self._sent :])
            raise
        result.append(True)
        return True

    def check(self) -> None:
        """Raise the Error for the first number that is not open."""
        check_open(self._numbers)

    def begin(self) -> None:
        """Refuse a socket that would drop the descriptors silently, see `check_carries`."""
        check_carries(self.handle, self._numbers)
        if len(self._numbers) > MAX_DESCRIPTORS:
            # This comes before the first message: otherwise a number that is not open would be noticed after others
            # were sent.
            check_open(self._numbers)

    def hold(self) -> None:
        """Duplicate the descriptors, as the caller may close them and their numbers may be reused."""
        self._owned = Owner()
        sent = self._sent
        duplicate_all(self._owned, self._numbers[sent:])
        self._numbers = (*self._numbers[:sent], *self._owned)
        self._given = ()

    def end(self) -> None:
        """Close the duplicates."""
        close_all(self._owned)

    def explain(self, error: Error) -> None:
        """Add a note that says how many descriptors were sent."""
        if self._sent:
            error.__notes__.append(f"{self._sent} of {len(self._numbers)} descriptors had been sent")
