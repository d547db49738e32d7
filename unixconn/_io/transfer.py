"""The operations: what can be done with a socket that may have to wait."""

from __future__ import annotations

import socket

from unixconn._base.errors import IOErrorEnum, NoSuchProcessError, PermissionDeniedError, io_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.operation import READABLE, WRITABLE, Operation
from unixconn._kernel.attempt import (
    RECEIVING,
    SENDING,
    WOULD_BLOCK,
    Received,
    check_open,
    receive_descriptor,
    receive_message,
    refused,
    send_descriptor,
    send_message,
    send_once,
)
from unixconn._kernel.attempt_credentials import receive_credentials, send_credentials
from unixconn._kernel.attempt_many import receive_descriptors
from unixconn._kernel.connect import accept, connect
from unixconn._kernel.control_messages import Outgoing, credentials_message
from unixconn._kernel.credentials import Credentials
from unixconn._kernel.descriptors import Guard, close_all, duplicate_all
from unixconn._kernel.handle import Handle
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unixconn._kernel.attempt import WouldBlock
    from unixconn._kernel.control_data import ControlMessage


class SendDescriptor(Operation[bool]):
    """Send a descriptor."""

    __slots__ = ("_fd", "_guard", "_owned")

    condition = WRITABLE

    def __init__(self, handle: Handle, fd: int) -> None:
        super().__init__(handle)
        self._fd = fd
        self._owned: list[int] = []

    def attempt(self) -> bool | WouldBlock:
        """Send it."""
        return send_descriptor(self.handle, self._owned[0] if self._owned else self._fd, self.kept)

    def check(self) -> None:
        """Refuse a number that is not open."""
        check_open((self._fd,))

    def begin(self) -> None:
        """Refuse a socket that would lose the descriptor, and say that it went."""
        check_carries(self.handle, self._fd)

    def hold(self) -> None:
        """Keep the file: the caller's number may be another one's by the next try."""
        self._guard = Guard([self._owned])
        duplicate_all(self._owned, (self._fd,))

    def end(self) -> None:
        """Close the copy."""
        close_all(self._owned)


def check_carries(handle: Handle, what: object) -> None:
    """Raise the Error NOT_SUPPORTED where the kernel would drop descriptors, *what* to send."""
    handle.check()
    if not handle.is_unix:
        raise io_error(
            IOErrorEnum.NOT_SUPPORTED, f"Only a Unix socket can carry descriptors, and this is no such: {what}"
        )


class ReceiveDescriptor(Operation[int]):
    """Receive a descriptor."""

    __slots__ = ()

    condition = READABLE
    takes_strays = True

    def attempt(self) -> int | WouldBlock:
        """Receive it."""
        if not self.handle.refuses:
            return receive_descriptor(self.handle, self.kept)
        owner: list[int] = []
        try:
            if receive_descriptors(self.handle, owner) is WOULD_BLOCK:
                return WOULD_BLOCK
            raise refused(len(owner))
        finally:
            close_all(owner)

    def discard(self, result: int) -> None:
        """Close the descriptor."""
        close_all([result])


class SendCredentials(Operation[bool]):
    """Send this process's credentials."""

    __slots__ = ()

    condition = WRITABLE
    prefix = "Error sending credentials: "

    def attempt(self) -> bool | WouldBlock:
        """Send them."""
        return send_credentials(self.handle, self.kept)


class SendFakeCredentials(Operation[bool]):
    """Send credentials as they are claimed: pid, uid and gid."""

    __slots__ = ("_claimed", "_message")

    condition = WRITABLE
    prefix = SendCredentials.prefix

    def __init__(self, handle: Handle, claimed: tuple[int, int, int]) -> None:
        super().__init__(handle)
        self._claimed = claimed
        if not SYSTEM.is_linux:
            raise io_error(IOErrorEnum.NOT_SUPPORTED, "Only Linux lets a process claim to be another one")
        self._message = Outgoing([credentials_message(claimed)])

    def attempt(self) -> bool | WouldBlock:
        """Send them."""
        try:
            return send_once(self.handle, self._message, self.kept)
        except (NoSuchProcessError, PermissionDeniedError) as error:
            error.__notes__.append("what was claimed is pid {}, uid {}, gid {}".format(*self._claimed))
            raise


class ReceiveCredentials(Operation[Credentials]):
    """Receive credentials, with SO_PASSCRED on until the end."""

    __slots__ = ()

    condition = READABLE

    def attempt(self) -> Credentials | WouldBlock:
        """Receive them."""
        return receive_credentials(self.handle, self.kept)

    def begin(self) -> None:
        """Have the kernel add credentials to what comes from now on."""
        self.handle.enter_passcred(self)

    def end(self) -> None:
        """Leave the flag as the user has set it."""
        self.handle.leave_passcred(self)


class SendMessage(Operation[int]):
    """Send data and control messages."""

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

    def attempt(self) -> int | WouldBlock:
        """Send it, or its beginning."""
        return send_message(self.handle, self._message, self._flags, self._context, self.kept)


class SendTo(SendMessage):
    """
    Send data and control messages to an address.

    poll() says that a socket without a peer is writable, however full the receiver is.
    """

    __slots__ = ()

    condition = 0
    interval = 0.01


class ReceiveMessage(Operation[Received]):
    """Receive data and control messages."""

    __slots__ = ("_context", "_flags", "_vectors", "owner")

    condition = READABLE

    def __init__(
        self, handle: Handle, vectors: Sequence[bytearray], *, flags: int = 0, context: str = RECEIVING
    ) -> None:
        super().__init__(handle)
        self._vectors = vectors
        self._flags = flags
        self._context = context
        self.owner: list[int] = []
        """Has the descriptors that came, for the caller to take or to close."""

    def attempt(self) -> Received | WouldBlock:
        """Receive it."""
        return receive_message(self.handle, self._vectors, self._flags, self._context, self.owner, self.kept)

    def discard(self, result: Received) -> None:
        """Close the descriptors."""
        close_all(self.owner)


class Accept(Operation[socket.socket]):
    """Accept a connection."""

    __slots__ = ()

    condition = READABLE

    def attempt(self) -> socket.socket | WouldBlock:
        """Accept it."""
        return accept(self.handle)

    def discard(self, result: socket.socket) -> None:
        """Close it."""
        result.close()


class Connect(Operation[bool]):
    """Connect to a Unix socket."""

    __slots__ = ("_name",)

    condition = 0
    interval = 0.01

    def __init__(self, handle: Handle, name: str | bytes) -> None:
        super().__init__(handle)
        self._name = name

    def attempt(self) -> bool | WouldBlock:
        """Connect."""
        return connect(self.handle, self._name)
