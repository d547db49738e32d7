"""The operations that send data, alone or with descriptors and credentials."""

from __future__ import annotations

from unixconn._base.errors import Error, InvalidArgumentError, IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.operation import WRITABLE, Operation
from unixconn._io.sending import check_carries
from unixconn._kernel.connect import about
from unixconn._kernel.control_messages import INT_SIZE, MAX_DESCRIPTORS, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET, UCRED
from unixconn._kernel.credentials import Credentials, explain_unmapped
from unixconn._kernel.descriptors import Owner, as_descriptors, close_all, duplicate_all
from unixconn._kernel.handle import Handle
from unixconn._kernel.outgoing import Outgoing, credentials_message, rights_message
from unixconn._kernel.send import SENDING, check_open, message_pools, send_data, send_message, send_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, ClassVar

    from unixconn._kernel.control_messages import ControlMessage


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

    def explain(self, error: Error) -> None:
        """Do what `SendMessage` does; *error* names the path, too."""
        super().explain(error)
        about(error, self._message.name())


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

        *fds* are at most 253 descriptors, as `listed` returns them. See `_attached` for the errors of *credentials*,
        and `without_byte` for those of a stream.
        """
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
                sent = send_whole(self.handle, pool, pool.value_of(self._numbers), self._credentials, self._data)
                if sent < 0:
                    return False
                counts.append(sent)
                if sent == size:
                    result.append(size)
                    return True
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


class SendInParts(SendWhole):
    """
    Send all of *data* on a stream, with descriptors that are too many for one message.

    The first 253 and the credentials go with the first byte, the next ones with the second byte, and so on, and the
    last ones with all the rest.
    """

    __slots__ = ("_messages",)

    def __init__(
        self, handle: Handle, data: bytes, fds: tuple[Any, ...], credentials: Credentials | bool | None
    ) -> None:
        """Prepare to send. Raises the Error INVALID_ARGUMENT for a record, and for too few bytes."""
        super().__init__(handle, data, fds, credentials)
        self._messages = -(-len(fds) // MAX_DESCRIPTORS)
        if not handle.is_stream:
            text = f"a record carries {MAX_DESCRIPTORS}: send several, or the descriptors with send_fds()"
        elif len(data) < self._messages:
            text = f"each {MAX_DESCRIPTORS} go with a byte, and data have {len(data)}"
        else:
            return
        raise io_error(IOErrorEnum.INVALID_ARGUMENT, f"{SENDING}{len(fds)} descriptors are too many, as {text}")

    @property
    def _gone(self) -> int:
        """The number of descriptors that were sent."""
        return min(MAX_DESCRIPTORS * sum(self.counts), len(self._numbers))

    def attempt(self, result: list[int]) -> bool:
        """Send the rest, see `Operation.attempt`."""
        while sum(self.counts) < len(self._data):
            if not send_message(self.handle, self._rest(), self.counts):
                return False
        result.append(len(self._data))
        return True

    def _rest(self) -> Outgoing:
        """Return the message with the next descriptors, or with what is still to be sent after them."""
        sent = sum(self.counts)
        if sent >= self._messages:
            return super()._rest()
        controls: list[ControlMessage] = []
        if self._credentials is not None and not sent:
            controls.append((SOL_SOCKET, SCM_CREDENTIALS, self._credentials))
        controls.append(rights_message(self._numbers[sent * MAX_DESCRIPTORS :][:MAX_DESCRIPTORS]))
        message = Outgoing(controls, [self._data])
        message.select(sent, len(self._data) - sent if sent == self._messages - 1 else 1)
        return message

    def begin(self) -> None:
        """See `SendDescriptors.begin`."""
        super().begin()
        check_open(self._numbers)

    def hold(self) -> None:
        """Duplicate the descriptors that were not sent yet."""
        gone = self._gone
        self._owned = Owner()
        duplicate_all(self._owned, self._numbers[gone:])
        self._numbers = (*self._numbers[:gone], *self._owned)
        self._given = ()

    def explain(self, error: Error) -> None:
        """Add notes that say how many bytes and descriptors were sent."""
        if self._gone < len(self._numbers):
            if self.counts:
                error.__notes__.append(f"{self._gone} of {len(self._numbers)} descriptors had been sent")
        else:
            super().explain(error)
