"""The operations that send."""

from __future__ import annotations

import os

from unixconn._base.errors import Error, IOErrorEnum, NoSuchProcessError, PermissionDeniedError, io_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.operation import WRITABLE, Operation
from unixconn._kernel.control_messages import (
    MAX_DESCRIPTORS,
    UCRED,
    Outgoing,
    credentials_message,
    rights_message,
)
from unixconn._kernel.credentials import Credentials
from unixconn._kernel.descriptors import Owner, as_descriptors, close_all, duplicate_all, listed
from unixconn._kernel.handle import Handle
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.send import CREDENTIALS, DESCRIPTOR, SENDING, check_open, send, send_message

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, ClassVar

    from unixconn._kernel.control_messages import ControlMessage
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


class SendFakeCredentials(SendCredentials):
    """
    Send credentials of another process: *claimed* are its pid, uid and gid.

    Raises the Error NOT_SUPPORTED on systems other than Linux.
    """

    __slots__ = ("_claimed",)

    def __init__(self, handle: Handle, claimed: tuple[int, int, int]) -> None:
        super().__init__(handle)
        self._claimed = claimed
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
        """Add a note with the numbers that the kernel has refused."""
        if isinstance(error, (NoSuchProcessError, PermissionDeniedError)):
            error.__notes__.append("the claimed credentials were pid {}, uid {}, gid {}".format(*self._claimed))


class SendMessage(Operation[int]):
    """Send data and control messages. The result is the number of bytes that were sent."""

    __slots__ = ("_context", "_flags", "_message")

    condition = WRITABLE

    def __init__(
        self,
        handle: Handle,
        vectors: Sequence[bytes],
        controls: Sequence[ControlMessage] = (),
        *,
        flags: int = 0,
        address: bytes = b"",
        context: str = SENDING,
    ) -> None:
        super().__init__(handle)
        self._message = Outgoing(controls, vectors, address)
        self._flags = flags
        self._context = context

    def attempt(self, result: list[int]) -> bool:
        """See `Operation.attempt`."""
        return send_message(self.handle, self._message, result, self._flags, self._context)


class SendTo(SendMessage):
    """
    Send data and control messages to an address.

    The operation is tried again at intervals: poll() always reports a socket without a peer as writable, even while the
    receiver's buffer is full.
    """

    __slots__ = ()

    condition = 0
    interval: ClassVar[float] = 0.01


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


_AT_ONCE = 2**20
"""The most bytes that are passed to one sendmsg(2) on a stream. The kernel takes about 200,000 bytes at a time."""


class SendWhole(Operation[int]):
    """
    Send all of *data*. Descriptors and credentials go with its first byte.

    The result is the number of bytes.
    """

    __slots__ = ("_counts", "_credentials", "_data", "_fds", "_given", "_message", "_owned")

    condition = WRITABLE

    def __init__(self, handle: Handle, data: bytes, fds: tuple[Any, ...], credentials: ControlMessage | None) -> None:
        """
        Prepare to send.

        *fds* are descriptors as `listed` returns them, *credentials* a control message or None.
        """
        super().__init__(handle)
        self._data = data
        self._given = fds
        self._fds = as_descriptors(fds) if fds else ()
        self._credentials = credentials
        # The number of bytes that each attempt has sent, including an attempt that an exception has interrupted.
        self._counts: list[int] = []
        self._message: tuple[int, Outgoing] | None = None
        self._owned: list[int] = []

    def attempt(self, result: list[int]) -> bool:
        """Send the rest, see `Operation.attempt`."""
        try:
            while not self._counts or sum(self._counts) < len(self._data):
                if not send_message(self.handle, self._next(), self._counts):
                    return False
        except Error:
            if self.handle.number >= 0 and not self._counts:
                check_open(self._fds)
            raise
        result.append(len(self._data))
        return True

    def _next(self) -> Outgoing:
        """Return a message with the rest of the data: the same object as before if the last attempt sent nothing."""
        sent = sum(self._counts)
        if self._counts:
            self._counts[:] = (sent,)
        if self._message is None or self._message[0] != sent:
            end = sent + _AT_ONCE if self.handle.is_stream else None
            self._message = sent, Outgoing(self._controls(), [self._data[sent:end]])
        return self._message[1]

    def _controls(self) -> list[ControlMessage]:
        if self._counts:  # they were sent with the first byte
            return []
        controls = [self._credentials] if self._credentials is not None else []
        if self._fds:
            controls.append(rights_message(self._fds))
        return controls

    def check(self) -> None:
        """Raise the Error for the first number that is not open."""
        check_open(self._fds)

    def begin(self) -> None:
        """Refuse a socket that would drop the descriptors silently, see `check_carries`."""
        if self._fds:
            check_carries(self.handle, self._fds)

    def hold(self) -> None:
        """Duplicate the descriptors, as the caller may close them and their numbers may be reused."""
        if self._counts:  # the descriptors were sent already
            return
        self._owned = Owner()
        duplicate_all(self._owned, self._fds)
        self._fds = tuple(self._owned)
        self._given = ()
        self._message = None

    def end(self) -> None:
        """Close the duplicates."""
        close_all(self._owned)

    def explain(self, error: Error) -> None:
        """Add a note that says how many bytes were sent. A stream is of little use after an incomplete message."""
        sent = sum(self._counts)
        if sent:
            error.__notes__.append(f"{sent} of {len(self._data)} bytes had been sent, with all descriptors")


def attached_credentials(credentials: Credentials | bool | None) -> ControlMessage | None:
    """
    Return the control message for *credentials*, or for those of this process if that is True; None for none.

    Raises TypeError for anything else, and the Error INVALID_DATA if a number is missing.
    """
    if credentials is None or credentials is False:
        return None
    if credentials is True:
        credentials = Credentials()
    if not isinstance(credentials, Credentials):
        raise TypeError(f"credentials must be a Credentials, True or None, not {credentials!r}")
    # These raise the Error. An overflow id stands for a missing number here, and may be a user's in another namespace.
    for ask in (credentials.get_unix_pid, credentials.get_unix_user, credentials.get_unix_group):
        ask()
    return credentials_message(credentials._numbers)
