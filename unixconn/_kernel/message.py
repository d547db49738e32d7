"""Message: what `UnixConnection.receive_message` returns, and the attempt that receives one."""

from __future__ import annotations

import _socket as socket
import errno
from collections import deque
from itertools import starmap
from operator import setitem

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error, translated
from unixconn._base.lock import ending
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.control_messages import (
    DATA_ALONE,
    MESSAGES,
    NATIVE,
    ONE_CREDENTIALS,
    ONE_DESCRIPTOR,
    ROOM,
    ROOM_FOR_DATA,
    UCRED,
    Incoming,
    contents_of,
    messages_of,
)
from unixconn._kernel.credentials import Credentials, CredentialsSource
from unixconn._kernel.descriptors import Owner
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.native import recvmsg
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.receive import RECEIVING, credentials_of, dropped, must_wait, peer_has_gone
from unixconn._kernel.unwanted import Unwanted, close_unwanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from typing_extensions import Self

    from unixconn._kernel.control_messages import Contents
    from unixconn._kernel.handle import Handle

# These are names of this module, as they are looked up for each message.
_recvmsg = recvmsg
_FLAGS = SYSTEM.receive_flags
# With MSG_TRUNC the kernel returns the real length of a record that does not fit. On a stream the flag would discard
# the data.
_RECORD_FLAGS = SYSTEM.receive_flags | socket.MSG_TRUNC
# By `Handle.is_stream`.
_FLAGS_OF = (_RECORD_FLAGS, _FLAGS)
_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT
_new = object.__new__


class Message:
    """
    What `UnixConnection.receive_message` returns: data, descriptors and credentials.

    The message owns its descriptors, which are close-on-exec. ``with message:`` closes those that are still in it at
    the end of the block. To keep one, take it out with ``message.fds.pop(0)``, or take its number with
    ``message.fds[0].detach()``.
    """

    __module__ = "unixconn"

    # For help(), which does not see the docstrings below.
    __slots__ = {
        "credentials": (
            "The sender's credentials; None if the kernel has added none, see `UnixConnection.pass_credentials`."
        ),
        "data": "The data.",
        "end_of_record": (
            "Whether the data end where the sender's data ended. Always False for a stream, which has no boundaries."
        ),
        "fds": "The descriptors, in the order in which they were sent.",
        "pidfd": "A pidfd of the sender; None without `UnixConnection.pass_pidfds`, or if there was no room for it.",
        "refused": "The number of descriptors that came and were closed, see `UnixConnection.refuse_fds`.",
    }

    def __init__(self) -> None:
        self.data: bytes = b""
        """The data."""
        self.fds: list[FileDescriptor] = []
        """The descriptors, in the order in which they were sent."""
        self.credentials: Credentials | None = None
        """The sender's credentials; None if the kernel has added none, see `UnixConnection.pass_credentials`."""
        self.pidfd: FileDescriptor | None = None
        """A pidfd of the sender; None without `UnixConnection.pass_pidfds`, or if there was no room for it."""
        self.end_of_record: bool = False
        """Whether the data end where the sender's data ended. Always False for a stream, which has no boundaries."""
        self.refused: int = 0
        """The number of descriptors that came and were closed, see `UnixConnection.refuse_fds`."""

    def close(self) -> None:
        """Close the descriptors that are still in the message, and the pidfd. A second call has no effect."""
        fds = self.fds
        while fds:
            last = fds.pop()
            close_unwanted(last._owned)
        if self.pidfd is not None:
            self.pidfd.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        size = "1 byte" if len(self.data) == 1 else f"{len(self.data)} bytes"
        fds = "1 descriptor" if len(self.fds) == 1 else f"{len(self.fds)} descriptors"
        credentials = "no credentials" if self.credentials is None else repr(self.credentials)
        return f"<Message: {size}, {fds}, {credentials}>"


class JoinedMessage(Message):
    """
    What `UnixConnection.receive_exactly` returns: the bytes of several reads, and what came with them.

    ``credentials`` and ``pidfd`` are also None if the bytes have more than one sender.
    """

    __module__ = "unixconn"

    # For help(), which does not see the docstring below.
    __slots__ = {
        "offsets": (
            "A range of offsets in *data* for each received descriptor: it was sent with one of these bytes. The "
            "kernel does not report which one."
        ),
    }

    def __init__(self) -> None:
        super().__init__()
        self.offsets: tuple[range, ...] = ()
        """
        A range of offsets in *data* for each received descriptor: it was sent with one of these bytes.

        The kernel does not report which one.
        """


def join(parts: Iterable[Message]) -> JoinedMessage:
    """Return one message with what is in *parts*, which then own nothing that is not in it, but for their pidfds."""
    made = JoinedMessage()
    data: list[bytes] = []
    offsets: list[range] = []
    start = 0
    senders: list[Message] = []
    for part in parts:
        data.append(part.data)
        own = part.offsets if isinstance(part, JoinedMessage) else (range(len(part.data)),) * len(part.fds)
        offsets += (range(start + each.start, start + each.stop) for each in own)
        made.fds += part.fds
        made.refused += part.refused
        start += len(part.data)
        senders.append(part)
    made.data = b"".join(data)
    made.offsets = tuple(offsets)
    if senders:
        known = senders[0] if len(senders) == 1 else _sender_of(senders)
        made.credentials, made.pidfd = known.credentials, known.pidfd
    return made


def _sender_of(parts: list[Message]) -> Message:
    """Return the one of *parts* whose credentials and pidfd hold for all of them; a message of nobody if none do."""
    if not all(_have_one_sender(parts[0], each) for each in parts[1:]):
        return Message()
    # A part without a pidfd may be of another process that had the same pid.
    return next((each for each in parts if each.pidfd is None), parts[0])


def _have_one_sender(one: Message, other: Message) -> bool:
    if one.credentials is None or other.credentials is None:
        if one.credentials is not other.credentials:
            return False
    elif one.credentials._numbers != other.credentials._numbers or one.credentials._label != other.credentials._label:
        return False
    # Another process may have got the pid meanwhile.
    return one.pidfd is None or other.pidfd is None or one.pidfd.samefile(other.pidfd)


def of_bytes(data: bytes, credentials: Credentials | None = None) -> Message:
    """Return a message of *data* without descriptors, from the sender with *credentials*."""
    made = Message()
    made.data, made.credentials = data, credentials
    return made


def take_kept(handle: Handle, max_bytes: int, found: list[Message]) -> bool:
    """
    Move the first of `Handle.kept`, or its first *max_bytes* bytes, to *found*; return False if there is none.

    The descriptors of a message that is divided go with its beginning.
    """
    with handle.entered:
        kept = handle.kept
        if not kept:
            return False
        first = kept[0]
        if len(first.data) <= max_bytes:
            found.extend(map(deque.popleft, (kept,)))
        else:
            begin, rest = join((first,)), of_bytes(first.data[max_bytes:], first.credentials)
            begin.data = first.data[:max_bytes]
            # In one step of the interpreter, so that no byte is in both, or in none.
            deque(map(setitem, (found, kept), (slice(0, 0), 0), ([begin], rest)), 0)
        if not kept:
            handle.is_aside = handle.is_file
    return True


def take_bytes(handle: Handle, target: int | memoryview, found: list[Any]) -> int:
    """
    Do what `receive_recorded` does with the first of `Handle.kept`: its descriptors are kept for who asks for them.

    Returns the number of bytes, -1 if there are none.
    """
    parts: list[Message] = []
    before = len(found)
    try:
        if not take_kept(handle, target if isinstance(target, int) else len(target), parts):
            return -1
    finally:
        for each in parts:
            _take_over(handle, each, target, found, before, [])
    return len(parts[0].data)


@ending
def _take_over(
    handle: Handle, part: Message, target: int | memoryview, found: list[Any], before: int, numbers: list[list[int]]
) -> None:
    """Put the bytes of *part* to *found*, which had *before* items, or into *target*, and keep its descriptors."""
    data = part.data
    if len(found) == before:
        if not isinstance(target, int):
            target[: len(data)] = data
        found.append(data if isinstance(target, int) else len(data))
    if part.fds and not handle.refuses:
        numbers.append([])
        for each in part.fds:
            if not each.closed:
                numbers[-1].extend(map(each._owned.pop, (-1,)))
    handle.keep(numbers)
    part.close()


def receive_whole(handle: Handle, max_bytes: int, found: list[Message]) -> bool:
    """
    Receive at most *max_bytes* of data, and what has come with them; return False if that would block, else True.

    The Message is appended to *found*, an empty list, even if a signal handler raises an exception. A SOCK_SEQPACKET
    socket needs SO_PASSCRED: the kernel then adds credentials to an empty record, but none at the end of the
    connection. Without them the two would look the same.

    A message that is not whole is refused: its descriptors are closed, and the Error is INVALID_DATA, that of
    `dropped`, or MESSAGE_TOO_LARGE for a record of more than *max_bytes*. It has the data, see `Error.partial`. At the
    end of the connection it is CLOSED. Also raises the Error for recvmsg(2)'s errno.
    """
    if handle.is_aside and take_kept(handle, max_bytes, found):
        return True
    pool = MESSAGES if max_bytes <= ROOM_FOR_DATA else messages_of(max_bytes)
    try:
        message = pool.pop()
    except IndexError:
        message = pool.make()
    message.room[0] = ROOM
    message.size[0] = max_bytes
    made: Message = _new(Message)
    owner: Unwanted | None = None
    owners: list[Owner] = []
    # The result of the system call enters this list in one step of the interpreter, so an exception cannot lose it.
    counts: list[int] = []
    try:
        message.user = handle
        counts += starmap(_recvmsg, ((handle.number, message.header, _FLAGS_OF[handle.is_stream]),))
        message.user = None
        if handle.closed:
            handle.reap()
        count = counts[0]
        # The two most common kinds are read here, as `_read` would: more calls would take as long as the system call.
        if message.kind == ONE_DESCRIPTOR and not handle.refuses:
            descriptor: FileDescriptor = _new(FileDescriptor)
            descriptor._owned = owner = Unwanted()
            descriptor._warns = True
            owners.append(owner)
            made.fds = [descriptor]
        elif message.start == DATA_ALONE and count:
            made.fds = []
        elif must_wait(handle, count):
            pool.append(message)
            return False
        else:
            descriptors = _read(handle, message, count, max_bytes, made, owners)
            _hand_over(made, owners, descriptors, found)
            pool.append(message)
            return True
        made.data = message.data[:count]
        made.credentials = made.pidfd = None
        made.end_of_record = not handle.is_stream
        made.refused = 0
        if owner is not None:
            owner.append(message.descriptors[0])
        found.append(made)
        pool.append(message)
        return True
    except BaseException:  # the Error for a refused message, or an exception raised by a signal handler
        # If it has the Message, or nothing has come, the buffer may be back in the pool, and be used by another thread.
        if not found and not (counts and counts[0] < 0):
            message.user = None
            _rescue(handle, message, counts, max_bytes, made, owners, found)
        raise


def receive_chosen(handle: Handle, most: int, choose: Callable[[bytes], int], found: list[Message]) -> bool:
    """
    Receive from a stream as `receive_whole` does, but leave what comes behind the bytes that the caller wants.

    If no descriptors come with what is there, that is at most *most* bytes. Otherwise it is as many as ``choose(data)``
    returns for the bytes that are there: then the descriptors that come are those of these bytes. The same holds if
    the socket asks for credentials.
    """
    # The lines of `Handle.call`, which would make an Error where nothing is there yet.
    with handle.entered:
        try:
            # MSG_CTRUNC says that control messages are there, for which this call has no room.
            data, _, flags, _ = handle.python.recvmsg(most, 0, _PEEK)
        except BlockingIOError:
            return False
        except OSError as error:
            handle.check()
            raise translated(error, RECEIVING) from None
    wanted = choose(data) if flags & socket.MSG_CTRUNC else len(data)
    # Without data it is the end, which receive_whole() reports.
    return receive_whole(handle, max(wanted, 1), found)


def _hand_over(made: Message, owners: list[Owner], descriptors: list[int], found: list[Message]) -> None:
    """Append *made* to *found* when its owners have the *descriptors*, and close those that the socket refuses."""
    # In one step of the interpreter, so that no descriptor has two owners, or none.
    deque(map(list.append, owners, descriptors), 0)
    found.append(made)
    if made.refused:
        close_unwanted(owners[0])


def _rescue(
    handle: Handle,
    message: Incoming,
    counts: list[int],
    max_bytes: int,
    made: Message,
    owners: list[Owner],
    found: list[Message],
) -> None:
    """Append what came in *message* to *found* if that is whole; otherwise close the descriptors."""
    # Nothing has come, or `_read` has refused it and emptied the buffer: read once more, it would look whole.
    is_empty = message.room[0] >= ROOM
    try:
        if not is_empty:
            is_given = owners and owners[0]
            descriptors = [] if is_given else _read(handle, message, counts[0], max_bytes, made, owners)
            _hand_over(made, owners, descriptors, found)
    except Error:
        is_empty = True
    if is_empty:
        message.discard()


def _read(
    handle: Handle, message: Incoming, count: int, max_bytes: int, made: Message, owners: list[Owner]
) -> list[int]:
    """
    Fill *made* with what came in *message*, which has *count* bytes, and *owners* with the owners of its descriptors.

    Returns the descriptors, which belong to *message* until `_hand_over`. Those that the socket refuses come first, and
    have the same owner. Raises the Error for a message that is not whole.
    """
    made.__init__()  # type: ignore[misc]
    made.data = message.data[:count]
    made.end_of_record = not handle.is_stream
    if message.kind == ONE_CREDENTIALS and (numbers := UCRED.unpack(message.credentials))[0]:
        made.credentials = Credentials._of(numbers, CredentialsSource.MESSAGE)
        return []
    messages, damage = NATIVE.parse(message.control())
    contents = contents_of(messages, damage)
    # With SO_PASSCRED an empty record has credentials, and the end of a SOCK_SEQPACKET connection has none.
    is_end = not (count or handle.is_datagram or (handle.is_sequence and messages))
    error = _refusal(handle, message, contents, count, max_bytes, is_end=is_end)
    if error is not None:
        error.partial = message.data[: min(count, max_bytes)]
        if not is_end:
            error.credentials = credentials_of(contents)
        # An Owner has the descriptors now, and closes them even if the next steps are interrupted.
        message.take_over()
        try:
            raise error
        finally:
            # The traceback refers to this frame. In a cycle, the Owner would live until a collection, at any moment: in
            # its destructor Python ignores what a signal handler raises.
            del error
    made.refused = len(contents.descriptors) if handle.refuses else 0
    owners[:] = [Unwanted()] * made.refused
    for _ in contents.all_descriptors[made.refused :]:
        descriptor = FileDescriptor._empty(Unwanted)._hand_over()
        owners.append(descriptor._owned)
        made.fds.append(descriptor)
    if contents.pidfds:
        made.pidfd = made.fds[-1]
        del made.fds[len(contents.descriptors) - made.refused :]
    made.credentials = credentials_of(contents)
    return contents.all_descriptors


def _refusal(
    handle: Handle, message: Incoming, contents: Contents, count: int, max_bytes: int, *, is_end: bool
) -> Error | None:
    """Return the Error for a message that is not whole, else None; *is_end* says that it is the connection's end."""
    if contents.damage:
        return io_error(IOErrorEnum.INVALID_DATA, f"{RECEIVING}{contents.damage}")
    if message.truncated:
        return dropped(handle, len(contents.all_descriptors))
    if is_end:
        return peer_has_gone()
    if count > max_bytes:
        text = f"{RECEIVING}a record of {count} bytes came, and is lost, as max_bytes is {max_bytes}: "
        return system_error(errno.EMSGSIZE, text)
    return None
