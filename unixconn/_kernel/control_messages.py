"""
Control messages, and the buffers in which sendmsg(2) and recvmsg(2) exchange them with the kernel.

Control messages stand behind each other in a buffer. Each has a header of a length, a level and a type, then its
payload, and padding up to the next message. The layout differs from machine to machine; the length covers the header
with its padding, but not the padding behind the payload. See cmsg(3), and RFC 3542, section 20.

A buffer serves one system call at a time. It is taken from a pool and brought back, as making one takes longer than the
system call.
"""

from __future__ import annotations

import errno
import struct
import sys
from functools import cache, partial
from socket import CMSG_LEN, CMSG_SPACE

from unixconn._base.errors import IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._kernel.descriptors import Owner, close_all
from unixconn._kernel.handle import Use
from unixconn._kernel.native import ffi, lib, sendmsg
from unixconn._kernel.platform import SYSTEM, set_close_on_exec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    ControlMessage = tuple[int, int, bytes]
    """One control message: level, type and payload."""

SOL_SOCKET = lib.SOL_SOCKET
SCM_RIGHTS = lib.SCM_RIGHTS
SCM_CREDENTIALS = SYSTEM.credentials_type
"""The type of a message with credentials, under Linux's name; -1 on a system that has none."""
SCM_SECURITY = SYSTEM.constant("SCM_SECURITY")
SCM_PIDFD = SYSTEM.constant("SCM_PIDFD")

# --- the layout ------------------------------------------------------------------------------------------------------


class Layout:
    """The layout of control messages on one machine."""

    __slots__ = ("_alignment", "_header", "header_size")

    def __init__(self, header: str, header_size: int, alignment: int) -> None:
        """
        Describe a layout.

        *header* is the `struct` format of length, level and type, *header_size* the number of bytes in front of the
        payload, and *alignment* the number of bytes to a multiple of which the payload is padded.
        """
        self._header = struct.Struct(header)
        self.header_size = header_size
        self._alignment = alignment

    def length(self, size: int) -> int:
        """Return the length that the header of a message with *size* bytes of payload states: CMSG_LEN."""
        return self.header_size + size

    def space(self, size: int) -> int:
        """Return the number of bytes that a message with *size* bytes of payload takes: CMSG_SPACE."""
        return self.header_size + -(-size // self._alignment) * self._alignment

    def pack(self, message: ControlMessage) -> bytes:
        """Return the bytes of a control message, with its header and padding."""
        level, kind, data = message
        head = self._header.pack(self.length(len(data)), level, kind).ljust(self.header_size, b"\0")
        return (head + data).ljust(self.space(len(data)), b"\0")

    def parse(self, control: bytes) -> tuple[list[ControlMessage], str]:
        """
        Take a buffer of control messages apart, trusting nothing in it.

        Returns the messages, and a description of what is wrong with the buffer, or "". A message whose length reaches
        beyond the end gets the bytes that are there, since descriptors may be among them; nothing behind it is read.
        """
        messages: list[ControlMessage] = []
        offset, size = 0, len(control)
        while size - offset >= self.header_size:
            length, level, kind = self._header.unpack_from(control, offset)
            if length < self.header_size:
                text = f"the control message at byte {offset} has the length {length}, less than its header's"
                return messages, text
            messages.append((level, kind, control[offset + self.header_size : offset + length]))
            if length > size - offset:
                text = f"the control message at byte {offset} has the length {length}, and {size - offset} are left"
                return messages, text
            offset += self.space(length - self.header_size)
        return messages, ""


def _native() -> Layout:
    fields: Sequence[str] = ("cmsg_len", "cmsg_level", "cmsg_type")
    header, end = "=", 0
    for name in fields:
        start, size = ffi.offsetof("struct cmsghdr", name), ffi.sizeof("int")
        if name == "cmsg_len":
            size = ffi.sizeof("cmsg_len_t")
        header += f"{start - end}x" + (("I" if size == ffi.sizeof("int") else "Q") if name == "cmsg_len" else "i")
        end = start + size
    return Layout(header, CMSG_LEN(0), CMSG_SPACE(1) - CMSG_LEN(0))


NATIVE = _native()
"""The layout of this machine."""

# --- sizes -----------------------------------------------------------------------------------------------------------

_LABEL_SIZE = 4096
"""Bytes of a security label at most: a page."""
ADDRESS_SIZE = 128
"""sizeof(struct sockaddr_storage)."""
HEADER_SIZE = NATIVE.header_size
INT_SIZE = ffi.sizeof("int")


def _max_descriptors() -> int:
    most = 253
    # On 64 bits musl copies the control data. Up to 1.2.3 it copies at most 1024 bytes, and returns ENOMEM for more,
    # before the kernel could say that the descriptor -1 is not open. Asked at run time, as one wheel serves all
    # versions.
    size = NATIVE.space(most * INT_SIZE)
    control, header = ffi.new("char[]", size), ffi.new("struct msghdr *")
    header.msg_control, header.msg_controllen = control, size
    if sendmsg(-1, header, 0) < 0 and ffi.errno == errno.ENOMEM:
        return int((1024 - NATIVE.header_size) // INT_SIZE)
    return most


MAX_DESCRIPTORS = _max_descriptors()
"""
Descriptors in one message that is sent, at most: 253, Linux's SCM_MAX_FD, which is within the limits of other systems.

252 with an old musl.
"""
UCRED = SYSTEM.credentials
"""The format of pid, uid and gid in a message with credentials: struct ucred on Linux."""

# The kernel drops what does not fit into the buffer. So there is room for all that it can add to a message: beside
# descriptors the credentials (the longest are Solaris's, with privileges), a pidfd and a security label.
ROOM = (
    NATIVE.space(SYSTEM.most_descriptors * INT_SIZE)
    + NATIVE.space(max(UCRED.size, 0 if SYSTEM.is_linux else 1024))
    + NATIVE.space(INT_SIZE)
    + NATIVE.space(_LABEL_SIZE)
)


@cache
def ints(count: int) -> struct.Struct:
    """Return the format of *count* descriptors. Cached, as making one takes as long as packing a few."""
    return struct.Struct(f"{count}I")


# --- messages to send ------------------------------------------------------------------------------------------------


class Outgoing(Use):
    """A message to send: data, and control messages."""

    __slots__ = ("_alive", "control", "header")

    def __init__(
        self, messages: Sequence[ControlMessage], vectors: Sequence[bytes] = (b"\0",), address: bytes = b""
    ) -> None:
        # Not by memoryviews: CPython's garbage collector crashes on one that is exported, which from_buffer() does.
        super().__init__()
        if len(messages) > 1 and not SYSTEM.several_in_one_send:
            text = f"This system sends one control message at a time, and these are {len(messages)}"
            raise io_error(IOErrorEnum.NOT_SUPPORTED, text)
        control = b"".join(map(NATIVE.pack, messages))
        self.control = ffi.new("char[]", control) if control else ffi.NULL
        parts = [ffi.from_buffer("char[]", each) for each in vectors]
        vector = ffi.new("struct iovec[]", [(part, len(part)) for part in parts])
        self.header = ffi.new("struct msghdr *")
        self.header.msg_iov = vector
        self.header.msg_iovlen = len(parts)
        self.header.msg_control = self.control
        name = ffi.new("char[]", address) if address else ffi.NULL
        self.header.msg_name = name
        self.header.msg_namelen = len(address)
        self.header.msg_controllen = len(control)
        self._alive = (parts, vector, name)


class Form(Outgoing):
    """A message of one NUL byte whose control message is the same each time, but for the value that `fill` writes."""

    __slots__ = ("fill",)

    fill: Callable[[Any], object]
    """Writes the value. A function in C, as a frame of Python takes a twentieth of the system call's time."""


class DescriptorForm(Form):
    """One descriptor; the value is its number."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__([(SOL_SOCKET, SCM_RIGHTS, bytes(INT_SIZE))])
        self.fill = partial(_items(self.control + HEADER_SIZE, "int").__setitem__, 0)


class DescriptorsForm(Form):
    """*count* descriptors; the value is their numbers, packed by `ints`."""

    __slots__ = ()

    def __init__(self, count: int) -> None:
        super().__init__([(SOL_SOCKET, SCM_RIGHTS, bytes(count * INT_SIZE))])
        payload = ffi.buffer(self.control + HEADER_SIZE, count * INT_SIZE)
        self.fill = partial(payload.__setitem__, slice(None))


class CredentialsForm(Form):
    """Credentials; the value is pid, uid and gid, packed by `UCRED`."""

    __slots__ = ()

    def __init__(self) -> None:
        if not SYSTEM.has_credentials_messages:
            raise io_error(IOErrorEnum.NOT_SUPPORTED, "This system has no credentials messages: it knows peers only")
        attached = SYSTEM.attaches_credentials
        super().__init__([(SOL_SOCKET, SCM_CREDENTIALS, bytes(UCRED.size))] if attached else [])
        # Elsewhere the receiver asks for credentials, and the kernel knows them.
        payload = ffi.buffer(self.control + HEADER_SIZE, UCRED.size) if attached else bytearray(UCRED.size)
        self.fill = partial(payload.__setitem__, slice(None))


def rights_message(numbers: Sequence[int]) -> ControlMessage:
    """Return a control message with the descriptors *numbers*."""
    return SOL_SOCKET, SCM_RIGHTS, ints(len(numbers)).pack(*numbers)


def credentials_message(numbers: tuple[int, int, int]) -> ControlMessage:
    """
    Return a control message with pid, uid and gid. FreeBSD's kernel and its kin overwrite them.

    Raises the Error NOT_SUPPORTED on a system where no sender attaches credentials.
    """
    if not SYSTEM.attaches_credentials:
        raise io_error(IOErrorEnum.NOT_SUPPORTED, "On this system no sender attaches credentials to its messages")
    return SOL_SOCKET, SCM_CREDENTIALS, UCRED.pack(*numbers)


# --- messages that are received --------------------------------------------------------------------------------------


class Contents:
    """What the control messages of one message hold."""

    __slots__ = ("credentials", "damage", "descriptors", "label", "no_pidfd", "pidfds")

    def __init__(self, damage: str = "") -> None:
        self.descriptors: list[int] = []
        """Those of all SCM_RIGHTS messages, in their order."""
        self.pidfds: list[int] = []
        """Those of SCM_PIDFD messages. They are descriptors, too, and nobody may have asked for them."""
        self.credentials: tuple[int, int, int] | None = None
        """pid, uid and gid of the last credentials message of the right length."""
        self.no_pidfd = 0
        """The errno that an SCM_PIDFD message has in place of a descriptor."""
        self.label: bytes | None = None
        """The security label of an SCM_SECURITY message."""
        self.damage = damage
        """What is wrong with the buffer, or ""."""

    @property
    def all_descriptors(self) -> list[int]:
        """All descriptors that have to be closed."""
        return self.descriptors + self.pidfds


class Incoming(Use):
    """Room for one byte, or for *vectors*, and for every control message that can come with them."""

    __slots__ = (
        "_alive",
        "_control",
        "_name",
        "credentials",
        "descriptors",
        "header",
        "outcome",
        "owner",
        "payload",
        "room",
    )

    def __init__(self, vectors: Sequence[bytearray] = (), *, with_address: bool = False) -> None:
        super().__init__()
        # One block for the header and the control messages, so that one comparison covers all that the kernel wrote.
        start = ffi.sizeof("struct msghdr")
        block = ffi.new("char[]", start + ROOM)
        parts = [ffi.from_buffer("char[]", each, require_writable=True) for each in vectors] or [ffi.new("char[1]")]
        vector = ffi.new("struct iovec[]", [(part, len(part)) for part in parts])
        self._control = block + start
        self._name = ffi.new("char[]", ADDRESS_SIZE if with_address else 0)
        self.header = ffi.cast("struct msghdr *", block)
        self.header.msg_name = self._name if with_address else ffi.NULL
        self.header.msg_namelen = len(self._name)
        self.header.msg_iov = vector
        self.header.msg_iovlen = len(parts)
        self.header.msg_control = self._control
        self._alive = (block, parts, vector)
        written = ffi.offsetof("struct msghdr", "msg_controllen")
        self.outcome = memoryview(ffi.buffer(block))[written : start + HEADER_SIZE].tobytes
        """Returns the bytes from msg_controllen to the end of the first control message's header."""
        self.room = _items(ffi.addressof(self.header, "msg_controllen"), "msg_controllen_t")
        """msg_controllen, which has to be set to ROOM before each use."""
        self.room[0] = ROOM
        self.descriptors = _items(self._control + HEADER_SIZE, "int")
        """The payload of the first control message, if that is SCM_RIGHTS."""
        self.credentials = ffi.buffer(self._control + HEADER_SIZE, UCRED.size)
        """The payload of the first control message, if that is SCM_CREDENTIALS."""
        self.payload = ffi.buffer(self._control + HEADER_SIZE, SYSTEM.most_descriptors * INT_SIZE)
        """The payload of the first control message, with room for the longest SCM_RIGHTS."""
        self.owner = Owner()
        """The descriptors that `take_over` has taken out of the buffer."""

    def take_over(self) -> Contents:
        """Return what came, and let `owner` have all its descriptors, first those of SCM_RIGHTS messages."""
        found = self.contents()
        self.owner += found.all_descriptors
        # The buffer has none from here on.
        self.room[0] = ROOM
        return found

    def discard(self) -> None:
        """Close all descriptors that came, and that nobody has taken out of `owner`."""
        if not self.owner:
            self.take_over()
        close_all(self.owner)

    def contents(self) -> Contents:
        """Return what came. Empty if no system call has filled this buffer since msg_controllen was set to ROOM."""
        return contents_of(*NATIVE.parse(self.control()))

    def control(self) -> bytes:
        """Return the bytes of the control messages that came."""
        size = int(self.header.msg_controllen)
        return b"" if size >= ROOM else bytes(ffi.buffer(self._control, size))

    def address(self) -> bytes:
        """Return the sender's address as the kernel wrote it, beginning with the family."""
        return bytes(ffi.buffer(self._name, min(int(self.header.msg_namelen), len(self._name))))

    @property
    def truncated(self) -> bool:
        """Whether the kernel had to drop control messages, or descriptors of one (MSG_CTRUNC)."""
        return bool(self.header.msg_flags & lib.MSG_CTRUNC)


def _items(address: Any, kind: str) -> Any:
    """Return an object whose item 0 is the integer of type *kind* at *address*. On CPython twice as fast as cffi's."""
    if sys.implementation.name == "pypy":
        return ffi.cast(f"{kind} *", address)
    item = memoryview(ffi.buffer(ffi.cast("char *", address), ffi.sizeof(kind)))
    return item.cast("i" if item.nbytes == INT_SIZE else "q")


def _ints(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from(f"{len(data) // INT_SIZE}i", data)


def contents_of(messages: Sequence[ControlMessage], damage: str = "") -> Contents:
    """Return what *messages* hold, sorted by kind. Unknown kinds are passed over."""
    found = Contents(damage)
    for level, kind, data in messages:
        if level != SOL_SOCKET:
            continue
        if kind == SCM_RIGHTS:
            found.descriptors += _ints(data)
            if not SYSTEM.closes_on_exec:
                set_close_on_exec(_ints(data))
        elif kind == SCM_PIDFD:
            # A negative number is an errno in place of a descriptor.
            numbers = _ints(data)
            found.pidfds += (number for number in numbers if number >= 0)
            found.no_pidfd = 0 if found.pidfds else max((-number for number in numbers), default=0)
        elif kind == SCM_SECURITY:
            found.label = data.rstrip(b"\0")
        else:
            found.credentials = SYSTEM.read_credentials(kind, data) or found.credentials
    return found


def _outcome_of(message: ControlMessage) -> bytes:
    """Return what `Incoming.outcome` returns when *message* came whole and alone; b"" where that is not known."""
    if not SYSTEM.is_linux:
        return b""
    filled = Incoming()
    packed = NATIVE.pack(message)
    filled.header.msg_controllen = len(packed)
    filled.header.msg_flags = lib.MSG_CMSG_CLOEXEC
    return filled.outcome()[:-HEADER_SIZE] + packed[:HEADER_SIZE]


OUTCOME_ONE_DESCRIPTOR = _outcome_of((SOL_SOCKET, SCM_RIGHTS, bytes(INT_SIZE)))
OUTCOME_ONE_CREDENTIALS = _outcome_of((SOL_SOCKET, SCM_CREDENTIALS, bytes(UCRED.size)))

# --- pools -----------------------------------------------------------------------------------------------------------

BufferT = TypeVar("BufferT")


class Pool(Generic[BufferT]):
    """
    Buffers that are not in use.

    `pop` and `append` are those of a list, which are atomic with and without the GIL: no two threads get the same
    buffer, and no lock is needed. `pop` raises IndexError where all are in use; `make` makes another one then. A buffer
    that is not brought back, as an exception broke off its use, is collected.
    """

    def __init__(self, make: Callable[[], BufferT]) -> None:
        idle: list[BufferT] = []
        self.pop = idle.pop
        self.append = idle.append
        self.make = make


INCOMING: Pool[Incoming] = Pool(Incoming)
"""Room for messages to be received."""
