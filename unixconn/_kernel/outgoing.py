"""
Messages to send, in memory that sendmsg(2) can read.

Most are made once, and used again with another value: making one takes longer than the system call.
"""

from __future__ import annotations

from unixconn._base.errors import IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.control_messages import (
    HEADER_SIZE,
    INT_SIZE,
    IS_PYPY,
    NATIVE,
    SCM_CREDENTIALS,
    SCM_RIGHTS,
    SOL_SOCKET,
    UCRED,
    ints,
    items,
)
from unixconn._kernel.handle import Use
from unixconn._kernel.native import ffi
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from unixconn._kernel.control_messages import ControlMessage

COPIED_SIZE = 4096
"""The most bytes of data that are copied into a message to send: copying more takes longer than to point at them."""


class Outgoing(Use):
    """A message to send: the header, its data and its control messages, in memory that the kernel can read."""

    __slots__ = ("_alive", "control", "header", "part", "vector")

    def __init__(
        self, messages: Sequence[ControlMessage], vectors: Sequence[bytes | bytearray] = (b"\0",), address: bytes = b""
    ) -> None:
        # *vectors* are no memoryviews: from_buffer() exports them, and CPython's garbage collector crashes on an
        # exported memoryview.
        super().__init__()
        if len(messages) > 1 and not SYSTEM.several_in_one_send:
            text = f"This system sends one control message with a message, not {len(messages)}: send them one by one"
            raise io_error(IOErrorEnum.NOT_SUPPORTED, text)
        control = b"".join(map(NATIVE.pack, messages))
        self.control = ffi.new("char[]", control) if control else ffi.NULL
        parts = [ffi.from_buffer("char[]", each) for each in vectors]
        self.part = parts[0]
        self.vector = ffi.new("struct iovec[]", [(part, len(part)) for part in parts])
        self.header = ffi.new("struct msghdr *")
        self.header.msg_iov = self.vector
        self.header.msg_iovlen = len(parts)
        self.header.msg_control = self.control
        name = ffi.new("char[]", address) if address else ffi.NULL
        self.header.msg_name = name
        self.header.msg_namelen = len(address)
        self.header.msg_controllen = len(control)
        self._alive = (parts, name)

    def name(self) -> bytes:
        """Return the name in the address, as the socket module takes it."""
        _, name = SYSTEM.unpack_address(bytes(ffi.buffer(self.header.msg_name, self.header.msg_namelen)))
        return name if name[:1] == b"\0" else name.rstrip(b"\0")

    def skip(self, count: int) -> None:
        """Leave out the control messages and the first *count* bytes of the data, which are in one vector."""
        self.header.msg_controllen = 0
        self.select(count, len(self.part) - count)

    def select(self, start: int, size: int) -> None:
        """Send only *size* bytes of the data, from *start* on, which are in one vector."""
        self.vector[0] = (self.part + start, size)


class Form(Outgoing):
    """
    A reusable message: a NUL byte and a control message, of which only the value changes.

    ``form.payload[0] = value`` writes the value. There is no method for that: a call would take a twentieth of the
    system call's time, even one of a function in C.
    """

    __slots__ = ("payload",)

    payload: Any


class DescriptorForm(Form):
    """A message with one descriptor. The value is its number."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__([(SOL_SOCKET, SCM_RIGHTS, bytes(INT_SIZE))])
        self.payload = items(self.control + HEADER_SIZE, "int")


class DescriptorsForm(Form):
    """A message with *count* descriptors. The value is their numbers, packed by `ints`."""

    __slots__ = ()

    def __init__(self, count: int) -> None:
        super().__init__([(SOL_SOCKET, SCM_RIGHTS, bytes(count * INT_SIZE))])
        self.payload = ffi.cast(f"char(*)[{count * INT_SIZE}]", self.control + HEADER_SIZE)


class CredentialsForm(Form):
    """
    A message with credentials. The value is pid, uid and gid, packed by `UCRED`.

    `numbers` is the memory for the value: ``UCRED.pack_into`` writes it in half of the time.
    """

    __slots__ = ("numbers",)

    def __init__(self) -> None:
        if not SYSTEM.has_credentials_messages:
            raise io_error(
                IOErrorEnum.NOT_SUPPORTED,
                "On this system messages carry no credentials: the receiver has to read those of its peer with "
                "UnixConnection.get_peer_credentials()",
            )
        attached = SYSTEM.attaches_credentials
        super().__init__([(SOL_SOCKET, SCM_CREDENTIALS, bytes(UCRED.size))] if attached else [])
        # On a system where senders do not attach credentials, receivers ask the kernel for them. The value is ignored
        # then.
        kind = f"char(*)[{UCRED.size}]"
        self.payload = ffi.cast(kind, self.control + HEADER_SIZE) if attached else ffi.new(kind)
        self.numbers = memoryview(ffi.buffer(self.payload))


class MessageForm(Form):
    """
    A message with data, and with *count* descriptors, and with credentials if it is *identified*.

    The value is None for no descriptors, the number of one, and the numbers of several, packed by `ints`.
    """

    __slots__ = ("credentials", "data", "size")

    def __init__(self, count: int, *, identified: bool) -> None:
        controls = [credentials_message((0, 0, 0))] if identified else []
        if count:
            controls.append(rights_message((0,) * count))
        super().__init__(controls, [bytearray(COPIED_SIZE)])
        memory = ffi.buffer(self.part)
        self.data = memory if IS_PYPY else memoryview(memory)
        """Memory for at most COPIED_SIZE bytes. The message has other data after `point_at`."""
        self.size = items(ffi.addressof(self.vector[0], "iov_len"), "size_t")
        """Item 0 is the number of bytes of data."""
        self.credentials: Any = ffi.cast(f"char(*)[{UCRED.size}]", self.control + HEADER_SIZE) if identified else None
        """Item 0 is pid, uid and gid, packed by `UCRED`."""
        rights = self.control + HEADER_SIZE + (NATIVE.space(UCRED.size) if identified else 0) if count else None
        if rights is None:
            self.payload = [None]
        elif count == 1:
            self.payload = items(rights, "int")
        else:
            self.payload = ffi.cast(f"char(*)[{count * INT_SIZE}]", rights)

    def point_at(self, data: bytes | bytearray | None) -> None:
        """Send *data*, which have to live until the next call of this method; None for the memory of `data`."""
        self.vector[0].iov_base = self.part if data is None else ffi.from_buffer("char[]", data)


def rights_message(numbers: Sequence[int]) -> ControlMessage:
    """Return a control message with the descriptors *numbers*."""
    return SOL_SOCKET, SCM_RIGHTS, ints(len(numbers)).pack(*numbers)


def credentials_message(numbers: tuple[int, int, int]) -> ControlMessage:
    """
    Return a control message with *numbers*: pid, uid and gid. FreeBSD and systems like it overwrite them.

    Raises the Error NOT_SUPPORTED on a system where senders do not attach credentials.
    """
    if not SYSTEM.attaches_credentials:
        raise io_error(
            IOErrorEnum.NOT_SUPPORTED,
            "On this system a sender cannot attach credentials to its messages: the receiver asks the kernel for them",
        )
    return SOL_SOCKET, SCM_CREDENTIALS, UCRED.pack(*numbers)
