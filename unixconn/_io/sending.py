"""The operations that send."""

from __future__ import annotations

import os

from unixconn._base.arguments import INT_MAX, UINT_MAX, as_integer
from unixconn._base.errors import (
    Error,
    InvalidArgumentError,
    IOErrorEnum,
    NoSuchProcessError,
    PermissionDeniedError,
    io_error,
)
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.operation import WRITABLE, Operation
from unixconn._kernel.control_messages import (
    INT_SIZE,
    MAX_DESCRIPTORS,
    SCM_CREDENTIALS,
    SCM_RIGHTS,
    SOL_SOCKET,
    UCRED,
)
from unixconn._kernel.credentials import Credentials, explain_unmapped
from unixconn._kernel.descriptors import Owner, as_descriptors, close_all, duplicate_all, listed
from unixconn._kernel.handle import Handle
from unixconn._kernel.outgoing import Outgoing, credentials_message, rights_message
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.send import (
    CREDENTIALS,
    DESCRIPTOR,
    SENDING,
    check_open,
    message_pools,
    send,
    send_data,
    send_message,
    send_whole,
)

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


def check_arrive(handle: Handle, controls: Sequence[ControlMessage], size: int, what: object) -> None:
    """
    Raise the Error if the kernel would drop *controls*, and report that the message was sent.

    *size* is the number of bytes that they can go with, see `without_byte`. For another socket than a Unix socket see
    `check_carries`. *what* names the control messages in the text.
    """
    if any(kind == SCM_RIGHTS for _, kind, _ in controls):
        check_carries(handle, what)
    if handle.is_stream and size < 1 and any(payload for _, _, payload in controls):
        raise without_byte(what)


def without_byte(what: object) -> Error:
    """
    Return the Error for a message to a stream without a byte that *what*, descriptors or credentials, can go with.

    They do not go with an out-of-band byte. The kernel would drop them, and report that the message was sent.
    """
    return io_error(
        IOErrorEnum.INVALID_ARGUMENT,
        f"{SENDING}on a stream, data must have a byte for descriptors and credentials to go with: {what} was not sent",
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


class SendMessage(Operation[int]):
    """Send data and control messages. The result is the number of bytes that were sent."""

    __slots__ = ("_context", "_controls", "_flags", "_message")

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
        self._controls = controls
        self._message = Outgoing(controls, vectors, address)
        self._flags = flags
        self._context = context

    def attempt(self, result: list[int]) -> bool:
        """See `Operation.attempt`."""
        return send_message(self.handle, self._message, result, self._flags, self._context)

    def explain(self, error: Error) -> None:
        """Add a note for each of the control messages that the kernel cannot take."""
        if not isinstance(error, InvalidArgumentError):
            return
        for _, kind, data in self._controls:
            if kind == SCM_CREDENTIALS:
                explain_unmapped(error, UCRED.unpack(data))
        count = sum(len(data) // INT_SIZE for _, kind, data in self._controls if kind == SCM_RIGHTS)
        if count > MAX_DESCRIPTORS:
            error.__notes__.append(
                f"a message carries at most {MAX_DESCRIPTORS} descriptors, and this one has {count}: send them in "
                "several messages"
            )


class SendTo(SendMessage):
    """
    Send data and control messages to an address.

    The operation is tried again at intervals: poll() always reports a socket without a peer as writable, even while the
    receiver's buffer is full.
    """

    __slots__ = ()

    condition = 0
    interval: ClassVar[float] = 0.01


class SendData(Operation[int]):
    """
    Send at least *least* bytes of *data*, in one attempt if it is 0. The result is the number of bytes that were sent.

    *sent* has the number of bytes that each attempt has sent, including those before this operation.
    """

    __slots__ = ("_data", "_least", "_sent")

    condition = WRITABLE

    def __init__(self, handle: Handle, data: bytes | memoryview, sent: list[int], least: int) -> None:
        super().__init__(handle)
        self._data = data
        self._sent = sent
        self._least = least

    def is_midway(self) -> bool:
        """See `Operation.is_midway`."""
        return bool(self._sent)

    def attempt(self, result: list[int]) -> bool:
        """See `Operation.attempt`."""
        sent = self._sent
        size = sum(sent)
        while not sent or size < self._least:
            # A view, as a slice of bytes would be a copy.
            count = send_data(self.handle, memoryview(self._data)[size:] if size else self._data, sent)
            if count < 0:
                return False
            size += count
        result.append(size)
        return True


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


def _attached(credentials: Credentials | bool | None) -> bytes | None:
    """
    Return the payload of a control message with *credentials*, True for those of this process; None for None and False.

    Raises the Error of the getter for a number that the credentials do not have, and TypeError for another argument.
    """
    if credentials is None or credentials is False:
        return None
    if credentials is True:
        credentials = Credentials()
    if not isinstance(credentials, Credentials):
        raise TypeError(f"credentials must be a Credentials, True or None, not {credentials!r}")
    # An overflow id, passed on, would be somebody's elsewhere.
    for ask in (credentials.get_unix_pid, credentials.get_unix_user, credentials.get_unix_group):
        ask()
    return credentials_message(credentials._numbers)[2]


class SendWhole(Operation[int]):
    """
    Send all of *data*. Descriptors and credentials go with its first byte.

    The result is the number of bytes.
    """

    __slots__ = ("_credentials", "_data", "_given", "_message", "_numbers", "_owned", "counts")

    condition = WRITABLE

    def __init__(
        self, handle: Handle, data: bytes, fds: tuple[Any, ...], credentials: Credentials | bool | None
    ) -> None:
        """
        Prepare to send.

        *fds* are descriptors as `listed` returns them. Raises ValueError for more than 253; see `_attached` for the
        errors of *credentials*, and `without_byte` for those of a stream.
        """
        if len(fds) > MAX_DESCRIPTORS:
            raise ValueError(f"fds must be at most {MAX_DESCRIPTORS} for one message, and these are {len(fds)}")
        attached = _attached(credentials)
        if not data and handle.is_stream and (fds or attached is not None):
            raise without_byte(fds or credentials)
        super().__init__(handle)
        self._data = data
        self._given = fds
        self._numbers = as_descriptors(fds) if fds else ()
        self._credentials = attached
        self.counts: list[int] = []
        """The number of bytes that each attempt has sent, including an attempt that an exception has interrupted."""
        self._message: Outgoing | None = None
        self._owned: list[int] = []

    def is_midway(self) -> bool:
        """See `Operation.is_midway`."""
        return bool(self.counts)

    def attempt(self, result: list[int]) -> bool:
        """Send the rest, see `Operation.attempt`."""
        counts, size = self.counts, len(self._data)
        try:
            if not counts and self._message is None:
                # The first attempt, as in `SendDescriptor.attempt`.
                count = len(self._numbers)
                pool = message_pools[count if self._credentials is None else ~count]
                value = pool.value_of(self._numbers)
                sent = send_whole(self.handle, pool, value, self._credentials, self._data)
                if sent < 0:
                    return False
                counts.append(sent)
            while not counts or sum(counts) < size:
                if not send_message(self.handle, self._rest(), counts):
                    return False
        except Error:
            if self.handle.number >= 0 and not counts:
                check_open(self._numbers)
            raise
        result.append(size)
        return True

    def _rest(self) -> Outgoing:
        """Return the message with what is still to be sent."""
        if self._message is None:
            self._message = Outgoing([], [self._data])
        if self.counts:
            self._message.skip(sum(self.counts))
        return self._message

    def check(self) -> None:
        """Raise the Error for the first number that is not open."""
        check_open(self._numbers)

    def begin(self) -> None:
        """Refuse a socket that would drop the descriptors silently, see `check_carries`."""
        if self._numbers:
            check_carries(self.handle, self._numbers)

    def hold(self) -> None:
        """Duplicate the descriptors, as the caller may close them and their numbers may be reused."""
        if self.counts:  # the descriptors were sent already
            return
        controls: list[ControlMessage] = []
        if self._credentials is not None:
            controls.append((SOL_SOCKET, SCM_CREDENTIALS, self._credentials))
        if self._numbers:
            self._owned = Owner()
            duplicate_all(self._owned, self._numbers)
            self._numbers = tuple(self._owned)
            self._given = ()
            controls.append(rights_message(self._numbers))
        self._message = Outgoing(controls, [self._data])

    def end(self) -> None:
        """Close the duplicates."""
        close_all(self._owned)

    def explain(self, error: Error) -> None:
        """Add a note that says how many bytes were sent. A stream is of little use after an incomplete message."""
        if self._credentials is not None:
            explain_unmapped(error, UCRED.unpack(self._credentials))
        sent = sum(self.counts)
        if sent:
            error.__notes__.append(f"{sent} of {len(self._data)} bytes had been sent, with all descriptors")
