"""
Ancillary data: control messages, packed into and read from cffi buffers.

A buffer serves one call at a time; the pools below lend them out, since making one takes longer than the system call.
Nothing here waits, and nothing here knows what a message is for.
"""

from __future__ import annotations

import errno
import struct
import sys
from functools import cache

from unixconn._base.errors import IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._kernel.control_data import NATIVE
from unixconn._kernel.handle import Use
from unixconn._kernel.native import ffi, lib, sendmsg
from unixconn._kernel.platform import SYSTEM, set_close_on_exec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from unixconn._kernel.control_data import ControlMessage

SOL_SOCKET = lib.SOL_SOCKET
SCM_RIGHTS = lib.SCM_RIGHTS
SCM_CREDENTIALS = SYSTEM.credentials_type
"""By Linux's name; -1 where no message has any."""
SCM_SECURITY = SYSTEM.constant("SCM_SECURITY")
SCM_PIDFD = SYSTEM.constant("SCM_PIDFD")

_LABEL_SIZE = 4096
"""A security label is at most a page."""

ADDRESS_SIZE = 128
"""struct sockaddr_storage."""
HEADER_SIZE = NATIVE.header_size
INT_SIZE = ffi.sizeof("int")


def _max_descriptors() -> int:
    most = 253
    # On 64 bits musl copies the control data, up to 1.2.3 no more than 1024 bytes of it: ENOMEM, before the kernel is
    # asked, which would say that -1 is not open. Whoever runs is asked, as a wheel serves all versions.
    size = NATIVE.space(most * INT_SIZE)
    control, header = ffi.new("char[]", size), ffi.new("struct msghdr *")
    header.msg_control, header.msg_controllen = control, size
    if sendmsg(-1, header, 0) < 0 and ffi.errno == errno.ENOMEM:
        return int((1024 - NATIVE.header_size) // INT_SIZE)
    return most


MAX_DESCRIPTORS = _max_descriptors()
"""In one message that is sent: Linux's SCM_MAX_FD, 253, and within what other systems take; 252 with an old musl."""
UCRED = SYSTEM.credentials
"""pid, uid and gid in a credentials message: struct ucred on Linux."""

# What is cut off for want of room is lost for ever, so there is always room for all that a kernel can add to a message:
# beside descriptors credentials, with Solaris's privileges the longest, a pidfd and a label.
ROOM = (
    NATIVE.space(SYSTEM.most_descriptors * INT_SIZE)
    + NATIVE.space(max(UCRED.size, 0 if SYSTEM.is_linux else 1024))
    + NATIVE.space(INT_SIZE)
    + NATIVE.space(_LABEL_SIZE)
)


class Contents:
    """What a control buffer holds."""

    __slots__ = ("credentials", "damage", "descriptors", "label", "no_pidfd", "pidfds")

    def __init__(self, damage: str = "") -> None:
        self.descriptors: list[int] = []
        """Of all SCM_RIGHTS messages, in their order."""
        self.pidfds: list[int] = []
        """Of SCM_PIDFD messages: descriptors too, that nobody may have asked for."""
        self.credentials: tuple[int, int, int] | None = None
        """pid, uid and gid of the last credentials message of the right length."""
        self.no_pidfd = 0
        """The errno that an SCM_PIDFD message has in the place of a descriptor."""
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
        if not SYSTEM.has_credentials_messages:
            raise io_error(IOErrorEnum.NOT_SUPPORTED, "This system has no credentials messages: it knows peers only")
        attached = SYSTEM.attaches_credentials
        super().__init__([(SOL_SOCKET, SCM_CREDENTIALS, bytes(UCRED.size))] if attached else [])
        # Elsewhere the receiver asks for them, and the kernel knows them.
        self.credentials = ffi.buffer(self.control + HEADER_SIZE, UCRED.size) if attached else bytearray(UCRED.size)


@cache
def ints(count: int) -> struct.Struct:
    """Give the format of *count* descriptors: to take it apart takes as long as to pack some."""
    return struct.Struct(f"{count}I")


class ManyDescriptors(Outgoing):
    """A NUL byte with ``count`` descriptors, whose numbers go to ``payload[place]`` as ``pack`` packs them."""

    __slots__ = ("_cmsghdr", "count", "pack", "payload", "place")

    def __init__(self) -> None:
        super().__init__([(SOL_SOCKET, SCM_RIGHTS, bytes(MAX_DESCRIPTORS * INT_SIZE))])
        self._cmsghdr = ffi.cast("struct cmsghdr *", self.control)
        self.payload = ffi.buffer(self.control + HEADER_SIZE, MAX_DESCRIPTORS * INT_SIZE)
        self.resize(MAX_DESCRIPTORS)

    def resize(self, count: int) -> None:
        """Have it carry *count* descriptors, one to `MAX_DESCRIPTORS`; ValueError for others."""
        if not 1 <= count <= MAX_DESCRIPTORS:
            raise ValueError(f"a message carries 1 to {MAX_DESCRIPTORS} descriptors, not {count}")
        self.count = count
        self.pack = ints(count).pack
        self.place = slice(0, count * INT_SIZE)
        self._cmsghdr.cmsg_len = NATIVE.length(count * INT_SIZE)
        self.header.msg_controllen = NATIVE.space(count * INT_SIZE)


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
        self.payload = ffi.buffer(self._control + HEADER_SIZE, SYSTEM.most_descriptors * INT_SIZE)
        """The same, whatever it is, with room for the longest SCM_RIGHTS."""

    def contents(self) -> Contents:
        """Read what came. Nothing, if no system call has filled this buffer since it was offered whole."""
        return contents_of(*NATIVE.parse(self.control()))

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


def rights_message(numbers: Sequence[int]) -> ControlMessage:
    """Make the control message with the descriptors *numbers*."""
    return SOL_SOCKET, SCM_RIGHTS, ints(len(numbers)).pack(*numbers)


def credentials_message(numbers: tuple[int, int, int]) -> ControlMessage:
    """
    Make the control message with pid, uid and gid, which on FreeBSD and its kin the kernel writes anew.

    Raises the Error NOT_SUPPORTED where no sender attaches any.
    """
    if not SYSTEM.attaches_credentials:
        raise io_error(IOErrorEnum.NOT_SUPPORTED, "On this system no sender attaches credentials to its messages")
    return SOL_SOCKET, SCM_CREDENTIALS, UCRED.pack(*numbers)


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
            if not SYSTEM.closes_on_exec:
                set_close_on_exec(_ints(data))
        elif kind == SCM_PIDFD:
            # An errno in the place of a descriptor is negative.
            numbers = _ints(data)
            found.pidfds += (number for number in numbers if number >= 0)
            found.no_pidfd = 0 if found.pidfds else max((-number for number in numbers), default=0)
        elif kind == SCM_SECURITY:
            found.label = data.rstrip(b"\0")
        else:
            found.credentials = SYSTEM.read_credentials(kind, data) or found.credentials
    return found


def _outcome_of(message: ControlMessage) -> bytes:
    """Give what `Incoming.outcome` gives after the receipt of *message*, whole and alone; b"" if that is unknown."""
    if not SYSTEM.is_linux:
        return b""
    filled = Incoming()
    packed = NATIVE.pack(message)
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
