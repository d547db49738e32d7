"""
Ancillary data: control messages, packed into and read from cffi buffers.

A buffer serves one call at a time; the pools below lend them out, since making one takes longer than the system call.
Nothing here waits, and nothing here knows what a message is for.
"""

from __future__ import annotations

import struct
import sys
from socket import CMSG_LEN, CMSG_SPACE

from unixconn._native import ffi, lib
from unixconn._typing import TYPE_CHECKING, Generic, TypeVar
from unixconn.handle import Use

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    ControlMessage = tuple[int, int, bytes]
    """One control message: level, type and payload."""

SOL_SOCKET = lib.SOL_SOCKET
SCM_RIGHTS = lib.SCM_RIGHTS
SCM_CREDENTIALS = lib.SCM_CREDENTIALS
SCM_SECURITY = lib.SCM_SECURITY
SCM_PIDFD = lib.SCM_PIDFD

SO_PASSCRED = lib.SO_PASSCRED
SO_PASSPIDFD = lib.SO_PASSPIDFD
SO_PASSRIGHTS = lib.SO_PASSRIGHTS

MAX_DESCRIPTORS = 253
"""The kernel's SCM_MAX_FD."""
_LABEL_SIZE = 4096
"""A security label is at most a page."""

ADDRESS_SIZE = 128
"""struct sockaddr_storage."""
HEADER_SIZE = CMSG_LEN(0)
INT_SIZE = ffi.sizeof("int")
UCRED = struct.Struct("iII")
"""struct ucred: pid, uid, gid."""

# What is cut off for want of room is lost for ever, so there is always room for all that a kernel can add to a message.
ROOM = CMSG_SPACE(MAX_DESCRIPTORS * INT_SIZE) + CMSG_SPACE(UCRED.size) + CMSG_SPACE(INT_SIZE) + CMSG_SPACE(_LABEL_SIZE)


class Contents:
    """What a control buffer holds."""

    __slots__ = ("credentials", "damage", "descriptors", "label", "pidfds", "sender_has_ended")

    def __init__(self, damage: str = "") -> None:
        self.descriptors: list[int] = []
        """Of all SCM_RIGHTS messages, in their order."""
        self.pidfds: list[int] = []
        """Of SCM_PIDFD messages: descriptors too, that nobody may have asked for."""
        self.credentials: tuple[int, int, int] | None = None
        """pid, uid and gid of the last SCM_CREDENTIALS message of the right length."""
        self.sender_has_ended = False
        """Whether an SCM_PIDFD message says so, in the place of a descriptor: before Linux 6.16."""
        self.label: bytes | None = None
        """Of an SCM_SECURITY message."""
        self.damage = damage
        """What is wrong with the buffer, or ""."""

    @property
    def all_descriptors(self) -> list[int]:
        """All that somebody has to close."""
        return self.descriptors + self.pidfds


class Outgoing(Use):
    """A message to send: data, and control messages packed behind each other."""

    __slots__ = ("_alive", "control", "header")

    def __init__(
        self, messages: Sequence[ControlMessage], vectors: Sequence[bytes] = (b"\0",), address: bytes = b""
    ) -> None:
        # Not memoryviews: CPython's garbage collector crashes on one that is exported, which from_buffer() does.
        super().__init__()
        control = b"".join(pack(each) for each in messages)
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


class OneDescriptor(Outgoing):
    """A NUL byte with one descriptor, whose number goes to ``descriptors[0]``."""

    __slots__ = ("descriptors",)

    def __init__(self) -> None:
        super().__init__([(SOL_SOCKET, SCM_RIGHTS, bytes(INT_SIZE))])
        self.descriptors = _items(self.control + HEADER_SIZE, "int")


class OneCredentials(Outgoing):
    """A NUL byte with credentials, which go to ``credentials``."""

    __slots__ = ("credentials",)

    def __init__(self) -> None:
        super().__init__([(SOL_SOCKET, SCM_CREDENTIALS, bytes(UCRED.size))])
        self.credentials = ffi.buffer(self.control + HEADER_SIZE, UCRED.size)


class ManyDescriptors(Outgoing):
    """A NUL byte with up to `MAX_DESCRIPTORS` descriptors, whose numbers go to ``payload[place]``, packed as ints."""

    __slots__ = ("_cmsghdr", "payload", "place", "size")

    def __init__(self) -> None:
        super().__init__([(SOL_SOCKET, SCM_RIGHTS, bytes(MAX_DESCRIPTORS * INT_SIZE))])
        self._cmsghdr = ffi.cast("struct cmsghdr *", self.control)
        self.payload = ffi.buffer(self.control + HEADER_SIZE, MAX_DESCRIPTORS * INT_SIZE)
        self.resize(MAX_DESCRIPTORS * INT_SIZE)

    def resize(self, size: int) -> None:
        """Have it carry *size* bytes of numbers."""
        self.size = size
        self.place = slice(0, size)
        self._cmsghdr.cmsg_len = CMSG_LEN(size)
        self.header.msg_controllen = CMSG_SPACE(size)


class Incoming(Use):
    """Room for one byte, or for *vectors*, and for every control message that can come with it."""

    __slots__ = ("_alive", "_control", "_name", "credentials", "descriptors", "header", "outcome", "payload", "room")

    def __init__(self, vectors: Sequence[bytearray] = (), *, with_address: bool = False) -> None:
        super().__init__()
        # One block for header and control data, so that one comparison covers all that the kernel wrote.
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
        """Gives the bytes from msg_controllen to the end of the first control message's header."""
        self.room = _items(ffi.addressof(self.header, "msg_controllen"), "msg_controllen_t")
        """msg_controllen: set it to ROOM before each use."""
        self.room[0] = ROOM
        self.descriptors = _items(self._control + HEADER_SIZE, "int")
        """The payload of the first control message, if that is SCM_RIGHTS."""
        self.credentials = ffi.buffer(self._control + HEADER_SIZE, UCRED.size)
        """The same, if that is SCM_CREDENTIALS."""
        self.payload = ffi.buffer(self._control + HEADER_SIZE, MAX_DESCRIPTORS * INT_SIZE)
        """The same, whatever it is, with room for the longest SCM_RIGHTS."""

    def contents(self) -> Contents:
        """Read what came. Nothing, if no system call has filled this buffer since it was offered whole."""
        return contents_of(*parse(self.control()))

    def control(self) -> bytes:
        """Give the bytes of the control messages that came."""
        size = int(self.header.msg_controllen)
        return b"" if size >= ROOM else bytes(ffi.buffer(self._control, size))

    def address(self) -> bytes:
        """Give the sender's address as the kernel wrote it, family first."""
        return bytes(ffi.buffer(self._name, min(int(self.header.msg_namelen), len(self._name))))

    @property
    def truncated(self) -> bool:
        """Tell whether the kernel had to drop control messages, or descriptors of one."""
        return bool(self.header.msg_flags & lib.MSG_CTRUNC)


def _items(address: Any, kind: str) -> Any:
    """Give an item of the integer type *kind* at *address* as ``[0]``; on CPython twice as fast as by cffi."""
    if sys.implementation.name == "pypy":
        return ffi.cast(f"{kind} *", address)
    item = memoryview(ffi.buffer(ffi.cast("char *", address), ffi.sizeof(kind)))
    return item.cast("i" if item.nbytes == INT_SIZE else "q")


def pack(message: ControlMessage) -> bytes:
    """Give the bytes of a control message with header and padding."""
    level, kind, data = message
    header = ffi.new("struct cmsghdr *", (CMSG_LEN(len(data)), level, kind))
    head = bytes(ffi.buffer(header)).ljust(HEADER_SIZE, b"\0")
    return (head + data).ljust(CMSG_SPACE(len(data)), b"\0")


def parse(control: bytes) -> tuple[list[ControlMessage], str]:
    """
    Take a control buffer apart, trusting nothing in it.

    Gives the messages, and a description of what is wrong with the buffer, or "". A message that claims to reach beyond
    the end gets the bytes that are there, since descriptors may be among them; nothing after it is looked at.
    """
    messages: list[ControlMessage] = []
    start = ffi.from_buffer(control)
    offset, size = 0, len(control)
    while size - offset >= HEADER_SIZE:
        header = ffi.cast("struct cmsghdr *", start + offset)
        length = int(header.cmsg_len)
        if length < HEADER_SIZE:
            return messages, f"the control message at byte {offset} has the length {length}, less than its header's"
        data = control[offset + HEADER_SIZE : offset + length]
        messages.append((int(header.cmsg_level), int(header.cmsg_type), data))
        if length > size - offset:
            return (
                messages,
                f"the control message at byte {offset} has the length {length}, and {size - offset} are left",
            )
        offset += CMSG_SPACE(length - HEADER_SIZE)
    return messages, ""


def _ints(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from(f"{len(data) // INT_SIZE}i", data)


def contents_of(messages: Sequence[ControlMessage], damage: str = "") -> Contents:
    """Sort *messages* by what they carry; unknown ones are passed over."""
    found = Contents(damage)
    for level, kind, data in messages:
        if level != SOL_SOCKET:
            continue
        if kind == SCM_RIGHTS:
            found.descriptors += _ints(data)
        elif kind == SCM_PIDFD:
            # An errno in the place of a descriptor is negative.
            found.pidfds += (number for number in _ints(data) if number >= 0)
            found.sender_has_ended = not found.pidfds
        elif kind == SCM_SECURITY:
            found.label = data.rstrip(b"\0")
        elif kind == SCM_CREDENTIALS and len(data) == UCRED.size:
            found.credentials = UCRED.unpack(data)
    return found


def _outcome_of(message: ControlMessage) -> bytes:
    """Give what `Incoming.outcome` gives after the receipt of *message*, whole and alone."""
    filled = Incoming()
    packed = pack(message)
    filled.header.msg_controllen = len(packed)
    filled.header.msg_flags = lib.MSG_CMSG_CLOEXEC
    return filled.outcome()[:-HEADER_SIZE] + packed[:HEADER_SIZE]


OUTCOME_ONE_DESCRIPTOR = _outcome_of((SOL_SOCKET, SCM_RIGHTS, bytes(INT_SIZE)))
OUTCOME_ONE_CREDENTIALS = _outcome_of((SOL_SOCKET, SCM_CREDENTIALS, bytes(UCRED.size)))

BufferT = TypeVar("BufferT")


class Pool(Generic[BufferT]):
    """
    Buffers that wait for their next use.

    `pop` and `append` are those of a list, which are atomic with and without the GIL: no two threads get the same
    buffer, and no lock is needed. `pop` raises IndexError where all are in use, for another to be made. A buffer that
    is never brought back, as its user was interrupted, is simply collected.
    """

    def __init__(self) -> None:
        idle: list[BufferT] = []
        self.pop = idle.pop
        self.append = idle.append


outgoing_descriptor: Pool[OneDescriptor] = Pool()
outgoing_descriptors: Pool[ManyDescriptors] = Pool()
outgoing_credentials: Pool[OneCredentials] = Pool()
incoming: Pool[Incoming] = Pool()
