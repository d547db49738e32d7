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
from _socket import CMSG_LEN, CMSG_SPACE
from functools import cache, partial

from unixconn._base.typing import TYPE_CHECKING, Generic, TypeVar
from unixconn._kernel.handle import Stack, Use
from unixconn._kernel.native import ffi, lib, sendmsg
from unixconn._kernel.platform import SYSTEM, set_close_on_exec
from unixconn._kernel.unwanted import Unwanted, close_unwanted

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

    The data go into *vectors*; if there are none, into memory of *room* bytes. There is room for all control messages
    that the kernel can add. *with_address* adds room for the sender's address.
    """

    __slots__ = (
        "_alive",
        "_control",
        "_name",
        "credentials",
        "data",
        "descriptors",
        "header",
        "kind",
        "owner",
        "payload",
        "room",
        "size",
        "start",
    )

    def __init__(self, vectors: Sequence[bytearray] = (), *, room: int = 1, with_address: bool = False) -> None:
        super().__init__()
        # The header and the control messages are in one block, so that one comparison (`kind`) covers all that the
        # kernel has written.
        start = ffi.sizeof("struct msghdr")
        block = ffi.new("char[]", start + ROOM)
        parts = [ffi.from_buffer("char[]", each, require_writable=True) for each in vectors] or [
            _new_raw("char[]", room)
        ]
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
        self.data = ffi.buffer(parts[0])
        """The memory for data, if there were no *vectors*."""
        self.size = items(ffi.addressof(vector[0], "iov_len"), "size_t")
        """Item 0 is how many bytes of `data` the kernel may write."""
        written = ffi.offsetof("struct msghdr", "msg_controllen")
        view = memoryview(ffi.buffer(block))
        self.kind = comparable(view[written : start + HEADER_SIZE])
        """
        The bytes from msg_controllen to the end of the first control message's header, see `comparable`.

        They are equal for all messages of one kind, such as one descriptor and nothing else.
        """
        self.start = comparable(view[written:start])
        """The bytes from msg_controllen to the end of the header, which tell whether there are any control messages."""
        self.room = items(ffi.addressof(self.header, "msg_controllen"), "msg_controllen_t")
        """Item 0 is msg_controllen, which has to be set to ROOM before each system call."""
        self.room[0] = ROOM
        self.descriptors = items(self._control + HEADER_SIZE, "int")
        """Item 0 is the first descriptor, if the first control message is SCM_RIGHTS."""
        self.credentials = ffi.buffer(self._control + HEADER_SIZE, UCRED.size)
        """The payload of the first control message, if that is SCM_CREDENTIALS."""
        self.payload = ffi.buffer(self._control + HEADER_SIZE, SYSTEM.most_descriptors * INT_SIZE)
        """The payload of the first control message, with room for the longest SCM_RIGHTS."""
        self.owner: list[int] = []
        """The descriptors that `take_over` has moved out of the buffer; an `Unwanted` if there are any."""

    def take_over(self) -> Contents:
        """Move all descriptors to `owner`, first those of SCM_RIGHTS messages, and return the contents."""
        found = self.contents()
        if found.descriptors or found.pidfds:
            # An Unwanted is made only when it is needed, as Python ignores an exception that a signal handler raises in
            # its destructor.
            if not isinstance(self.owner, Unwanted):
                self.owner = Unwanted()
            # Not added: an exception may have interrupted this before the next step.
            self.owner[:] = found.all_descriptors
        # From here on the buffer counts as empty, and only the owner has the descriptors.
        self.room[0] = ROOM
        return found

    def discard(self) -> None:
        """Close all descriptors that came, except those that were taken out of `owner`."""
        if not self.owner:
            self.take_over()
        close_unwanted(self.owner)

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


KEPT_DATA = 16384
"""
The number of data bytes for which a buffer of `STREAM_BUFFERS` has room.

Above that, the bytes are copied out of a buffer more slowly than the standard library receives them into a new object.
"""

IS_PYPY = sys.implementation.name == "pypy"
# The kernel writes the data before anybody reads them.
_new_raw = ffi.new_allocator(should_clear_after_alloc=False)


def items(address: Any, kind: str) -> Any:
    """
    Return an object whose item 0 is the integer of the C type *kind* at *address*.

    On CPython it is a memoryview, which is twice as fast as cffi's pointer.
    """
    if IS_PYPY:
        return ffi.cast(f"{kind} *", address)
    item = memoryview(ffi.buffer(ffi.cast("char *", address), ffi.sizeof(kind)))
    return item.cast("i" if item.nbytes == INT_SIZE else "q")


class _ComparableOnPyPy:
    """Bytes that may change. PyPy compares the items of memoryviews one by one."""

    __slots__ = ("tobytes",)

    def __init__(self, view: memoryview) -> None:
        self.tobytes = view.tobytes

    def __eq__(self, other: object) -> bool:
        return self.tobytes() == other

    __hash__ = None  # type: ignore[assignment]


def comparable(view: memoryview) -> Any:
    """
    Return an object that is equal to another one made by this function while both have the same bytes.

    On CPython it is a memoryview of large items, which takes half of the time of a copy of the bytes.
    """
    if IS_PYPY:
        return bytes(view) if view.readonly else _ComparableOnPyPy(view)
    return view.cast("I" if view.nbytes % 8 else "Q")


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


def _kind_of(*messages: ControlMessage) -> bytes:
    """
    Return the bytes of `Incoming.kind` after *messages*, one or none, have come whole and without any other.

    Returns b"", which no kind equals, on systems other than Linux, where the result is not known beforehand.
    """
    if not SYSTEM.is_linux:
        return b""
    filled = Incoming()
    packed = b"".join(map(NATIVE.pack, messages))
    filled.header.msg_controllen = len(packed)
    filled.header.msg_flags = lib.MSG_CMSG_CLOEXEC
    return filled.kind.tobytes()[:-HEADER_SIZE] + packed[:HEADER_SIZE]  # type: ignore[no-any-return]


# Values of `Incoming.kind`, and of `Incoming.start` for a message without control messages.
ONE_DESCRIPTOR = comparable(memoryview(_kind_of((SOL_SOCKET, SCM_RIGHTS, bytes(INT_SIZE)))))
ONE_CREDENTIALS = comparable(memoryview(_kind_of((SOL_SOCKET, SCM_CREDENTIALS, bytes(UCRED.size)))))
DATA_ALONE = comparable(memoryview(_kind_of()))

# --- pools -----------------------------------------------------------------------------------------------------------

BufferT = TypeVar("BufferT")


class Pool(Generic[BufferT]):
    """
    A pool of buffers that are not in use.

    `pop` and `append` are the methods of a `Stack`. They are atomic with and without the GIL, so no two threads get the
    same buffer, and no lock is needed. `pop` raises IndexError if all buffers are in use; the caller then makes another
    one by `make`. If an exception interrupts the use of a buffer, it is not returned, and the garbage collector frees
    it.
    """

    def __init__(self, make: Callable[[], BufferT]) -> None:
        idle = Stack()
        self.pop = idle.pop
        self.append = idle.append
        self.make = make


INCOMING: Pool[Incoming] = Pool(Incoming)
"""The pool of buffers for received messages."""
ROOM_FOR_DATA = 2**16
"""The most bytes of a message that are received into memory that is kept."""
MESSAGES: Pool[Incoming] = Pool(partial(Incoming, room=ROOM_FOR_DATA, with_address=True))
"""The pool of buffers for received messages with data, and with the sender's address."""


def messages_of(size: int) -> Pool[Incoming]:
    """Return the pool of buffers for at most *size* bytes of data: a new one that is used once if these are many."""
    return MESSAGES if size <= ROOM_FOR_DATA else Pool(partial(Incoming, room=size, with_address=True))


STREAM_BUFFERS: Pool[Incoming] = Pool(partial(Incoming, room=KEPT_DATA))
"""The pool of buffers for the bytes of streams."""
