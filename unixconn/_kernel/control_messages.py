"""
Control messages, and the buffers in which sendmsg(2) and recvmsg(2) exchange them with the kernel.

Control messages follow one another in a buffer. Each consists of a header (length, level and type), its payload, and
padding up to the next message. The layout differs from machine to machine. The length covers the header with the
padding after it, and the payload, but not the padding after the payload. See cmsg(3), and RFC 3542, section 20.

A buffer is used by one system call at a time. It is taken from a pool and returned to it, as creating a buffer takes
longer than the system call.
"""

from __future__ import annotations

import errno
import struct
import sys
from functools import cache
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
"""The type of a control message with credentials, under Linux's name for it; -1 on a system that has none."""
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
        """Return the value of cmsg_len in the header of a message with *size* bytes of payload: CMSG_LEN()."""
        return self.header_size + size

    def space(self, size: int) -> int:
        """Return the number of bytes that a message with *size* bytes of payload occupies: CMSG_SPACE()."""
        return self.header_size + -(-size // self._alignment) * self._alignment

    def pack(self, message: ControlMessage) -> bytes:
        """Return the bytes of a control message, with its header and padding."""
        level, kind, data = message
        head = self._header.pack(self.length(len(data)), level, kind).ljust(self.header_size, b"\0")
        return (head + data).ljust(self.space(len(data)), b"\0")

    def parse(self, control: bytes) -> tuple[list[ControlMessage], str]:
        """
        Split a buffer into its control messages. No length in the buffer is trusted.

        Returns the messages, and a description of what is wrong with the buffer, "" if nothing is. A message whose
        length exceeds the rest of the buffer is returned with the bytes that are there, as there may be descriptors
        among them. Parsing ends with it.
        """
        messages: list[ControlMessage] = []
        offset, size = 0, len(control)
        while size - offset >= self.header_size:
            length, level, kind = self._header.unpack_from(control, offset)
            if length < self.header_size:
                text = f"the control message at byte {offset} has the length {length}, shorter than its header"
                return messages, text
            messages.append((level, kind, control[offset + self.header_size : offset + length]))
            if length > size - offset:
                text = f"the control message at byte {offset} has the length {length}, but {size - offset} are left"
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
"""The most bytes that a security label may have: a page."""
ADDRESS_SIZE = 128
"""sizeof(struct sockaddr_storage)."""
HEADER_SIZE = NATIVE.header_size
INT_SIZE = ffi.sizeof("int")


def _max_descriptors() -> int:
    most = 253
    # On 64-bit machines musl's sendmsg() copies the control data. Up to version 1.2.3 it returns ENOMEM for more than
    # 1024 bytes, without a system call; anything else reaches the kernel, which returns EBADF for the descriptor -1.
    # This is tested at run time, as one wheel serves all versions of musl.
    size = NATIVE.space(most * INT_SIZE)
    control, header = ffi.new("char[]", size), ffi.new("struct msghdr *")
    header.msg_control, header.msg_controllen = control, size
    if sendmsg(-1, header, 0) < 0 and ffi.errno == errno.ENOMEM:
        return int((1024 - NATIVE.header_size) // INT_SIZE)
    return most


MAX_DESCRIPTORS = _max_descriptors()
"""
The most descriptors that one message can carry: 253, or 252 with an old musl.

253 is Linux's SCM_MAX_FD. The limits of other systems are not lower.
"""
UCRED = SYSTEM.credentials
"""The format of pid, uid and gid in a message with credentials: struct ucred on Linux."""

# The kernel drops control messages that do not fit into the buffer. So there is room for all that a message can have:
# descriptors, credentials (the longest are those of Solaris, with privileges), a pidfd and a security label.
ROOM = (
    NATIVE.space(SYSTEM.most_descriptors * INT_SIZE)
    + NATIVE.space(max(UCRED.size, 0 if SYSTEM.is_linux else 1024))
    + NATIVE.space(INT_SIZE)
    + NATIVE.space(_LABEL_SIZE)
)


@cache
def ints(count: int) -> struct.Struct:
    """
    Return the format of *count* descriptors.

    Formats are cached, as making one takes as long as packing a few descriptors.
    """
    return struct.Struct(f"{count}I")


# --- messages to send ------------------------------------------------------------------------------------------------


class Outgoing(Use):
    """A message to send: the header, its data and its control messages, in memory that the kernel can read."""

    __slots__ = ("_alive", "control", "header")

    def __init__(
        self, messages: Sequence[ControlMessage], vectors: Sequence[bytes] = (b"\0",), address: bytes = b""
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
        self.payload = _items(self.control + HEADER_SIZE, "int")


class DescriptorsForm(Form):
    """A message with *count* descriptors. The value is their numbers, packed by `ints`."""

    __slots__ = ()

    def __init__(self, count: int) -> None:
        super().__init__([(SOL_SOCKET, SCM_RIGHTS, bytes(count * INT_SIZE))])
        self.payload = ffi.cast(f"char(*)[{count * INT_SIZE}]", self.control + HEADER_SIZE)


class CredentialsForm(Form):
    """A message with credentials. The value is pid, uid and gid, packed by `UCRED`."""

    __slots__ = ()

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


# --- received messages -----------------------------------------------------------------------------------------------


class Contents:
    """The contents of the control messages that came with one message."""

    __slots__ = ("credentials", "damage", "descriptors", "label", "no_pidfd", "pidfds")

    def __init__(self, damage: str = "") -> None:
        self.descriptors: list[int] = []
        """The descriptors of all SCM_RIGHTS messages, in their order."""
        self.pidfds: list[int] = []
        """The descriptors of SCM_PIDFD messages. They have to be closed even if this process did not ask for them."""
        self.credentials: tuple[int, int, int] | None = None
        """pid, uid and gid of the last credentials message that has the right length."""
        self.no_pidfd = 0
        """The errno that an SCM_PIDFD message has instead of a descriptor; 0 for none."""
        self.label: bytes | None = None
        """The security label of an SCM_SECURITY message."""
        self.damage = damage
        """What is wrong with the buffer, "" if nothing is. See `Layout.parse`."""

    @property
    def all_descriptors(self) -> list[int]:
        """All descriptors that came. The caller has to take or close them."""
        return self.descriptors + self.pidfds


class Incoming(Use):
    """
    A buffer for one received message: its header, its data and its control messages.

    The data go into *vectors*, or if there are none, into one byte. There is room for all control messages that the
    kernel can add. *with_address* adds room for the sender's address.
    """

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
        # The header and the control messages are in one block, so that one comparison (`outcome`) covers all that the
        # kernel has written.
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
        """
        Returns the bytes from msg_controllen to the end of the first control message's header.

        They are equal for all messages of one kind, such as one descriptor and nothing else.
        """
        self.room = _items(ffi.addressof(self.header, "msg_controllen"), "msg_controllen_t")
        """Item 0 is msg_controllen, which has to be set to ROOM before each system call."""
        self.room[0] = ROOM
        self.descriptors = _items(self._control + HEADER_SIZE, "int")
        """Item 0 is the first descriptor, if the first control message is SCM_RIGHTS."""
        self.credentials = ffi.buffer(self._control + HEADER_SIZE, UCRED.size)
        """The payload of the first control message, if that is SCM_CREDENTIALS."""
        self.payload = ffi.buffer(self._control + HEADER_SIZE, SYSTEM.most_descriptors * INT_SIZE)
        """The payload of the first control message, with room for the longest SCM_RIGHTS."""
        self.owner: list[int] = []
        """The descriptors that `take_over` has moved out of the buffer; an `Owner` if there are any."""

    def take_over(self) -> Contents:
        """Move all descriptors to `owner`, first those of SCM_RIGHTS messages, and return the contents."""
        found = self.contents()
        if found.descriptors or found.pidfds:
            # An Owner is made only when it is needed, as Python ignores an exception that a signal handler raises in
            # its destructor.
            if not isinstance(self.owner, Owner):
                self.owner = Owner()
            self.owner += found.all_descriptors
        # From here on the buffer counts as empty, and only the owner has the descriptors.
        self.room[0] = ROOM
        return found

    def discard(self) -> None:
        """Close all descriptors that came, except those that were taken out of `owner`."""
        if not self.owner:
            self.take_over()
        close_all(self.owner)

    def contents(self) -> Contents:
        """Return the contents. They are empty if `room` was set after the last system call."""
        return contents_of(*NATIVE.parse(self.control()))

    def control(self) -> bytes:
        """Return the bytes of the control messages. There are none if `room` was set after the last system call."""
        size = int(self.header.msg_controllen)
        return b"" if size >= ROOM else bytes(ffi.buffer(self._control, size))

    def address(self) -> bytes:
        """Return the sender's address as the kernel wrote it, a struct sockaddr."""
        return bytes(ffi.buffer(self._name, min(int(self.header.msg_namelen), len(self._name))))

    @property
    def truncated(self) -> bool:
        """Whether the kernel has dropped control messages or some of the descriptors in one (MSG_CTRUNC)."""
        return bool(self.header.msg_flags & lib.MSG_CTRUNC)


def _items(address: Any, kind: str) -> Any:
    """
    Return an object whose item 0 is the integer of the C type *kind* at *address*.

    On CPython it is a memoryview, which is twice as fast as cffi's pointer.
    """
    if sys.implementation.name == "pypy":
        return ffi.cast(f"{kind} *", address)
    item = memoryview(ffi.buffer(ffi.cast("char *", address), ffi.sizeof(kind)))
    return item.cast("i" if item.nbytes == INT_SIZE else "q")


def _ints(data: bytes) -> tuple[int, ...]:
    return struct.unpack_from(f"{len(data) // INT_SIZE}i", data)


def contents_of(messages: Sequence[ControlMessage], damage: str = "") -> Contents:
    """
    Return the contents of *messages*, sorted by type. Messages of unknown types are ignored.

    *damage* is what is wrong with the buffer, see `Layout.parse`.
    """
    found = Contents(damage)
    for level, kind, data in messages:
        if level != SOL_SOCKET:
            continue
        if kind == SCM_RIGHTS:
            found.descriptors += _ints(data)
            if not SYSTEM.closes_on_exec:
                set_close_on_exec(_ints(data))
        elif kind == SCM_PIDFD:
            # A negative number is a negated errno instead of a descriptor.
            numbers = _ints(data)
            found.pidfds += (number for number in numbers if number >= 0)
            found.no_pidfd = 0 if found.pidfds else max((-number for number in numbers), default=0)
        elif kind == SCM_SECURITY:
            found.label = data.rstrip(b"\0")
        else:
            found.credentials = SYSTEM.read_credentials(kind, data) or found.credentials
    return found


def _outcome_of(message: ControlMessage) -> bytes:
    """
    Return what `Incoming.outcome` returns after *message* has come, whole and without any other control message.

    Returns b"", which no outcome equals, on systems other than Linux, where the result is not known beforehand.
    """
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
    A pool of buffers that are not in use.

    `pop` and `append` are the methods of a list. They are atomic with and without the GIL, so no two threads get the
    same buffer, and no lock is needed. `pop` raises IndexError if all buffers are in use; the caller then makes another
    one by `make`. If an exception interrupts the use of a buffer, it is not returned, and the garbage collector frees
    it.
    """

    def __init__(self, make: Callable[[], BufferT]) -> None:
        idle: list[BufferT] = []
        self.pop = idle.pop
        self.append = idle.append
        self.make = make


INCOMING: Pool[Incoming] = Pool(Incoming)
"""The pool of buffers for received messages."""
