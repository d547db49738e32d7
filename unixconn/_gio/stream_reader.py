"""The reader of unixconn.asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from itertools import repeat
from operator import attrgetter, index

from unixconn._base.arguments import as_copy
from unixconn._base.errors import ClosedError, Error, IOErrorEnum, TimedOutError, WouldBlockError, io_error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.asynchronous import start
from unixconn._gio.triples import AWAIT
from unixconn._io.operation import READABLE, Operation
from unixconn._kernel.message import Message, of_bytes, receive_chosen
from unixconn._kernel.receive_data import MOST_KEPT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sized
    from typing import Any, Protocol, Union

    from typing_extensions import Buffer

    from unixconn._gio.connection import UnixConnection
    from unixconn._kernel.credentials import Credentials
    from unixconn._kernel.file_descriptor import FileDescriptor
    from unixconn._kernel.handle import Handle

    class SizedBuffer(Buffer, Sized, Protocol):
        """A bytes-like object."""

    Separator = Union[SizedBuffer, tuple[SizedBuffer, ...]]

_PIECE = 2**16
"""The most bytes that are received at a time."""
_DATA = attrgetter("data")


class StreamReader(asyncio.StreamReader):
    """
    The receiving side of a connection, as asyncio.StreamReader, with descriptors and credentials.

    `open_connection` and `start_server` make it. It receives when one of its methods needs more bytes. It reads ahead
    only bytes without descriptors. So the kernel holds most of what the program has not read, and stops a peer that
    sends too much.

    The methods that need more bytes raise these Errors:

    - TOO_MANY_OPEN_FILES while the reader has more than 253 descriptors that `take_fds` has not returned, so that it
      keeps at most 506
    - that of the connection if it breaks, such as a `PeerResetError`, which is a ConnectionResetError
    """

    __module__ = "unixconn.asyncio"

    if TYPE_CHECKING:
        _buffer: bytearray

    def __init__(self, connection: UnixConnection, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit, loop)
        self._connection = connection
        self._choose: Callable[[bytes], int] = len
        """How many of the bytes that wait in the socket the method takes that runs, if descriptors are among them."""
        self._arrived: list[Message] = []
        """What has been received, and is not in the buffer yet: for one moment, or after an exception."""
        self._kept = Message()
        """The descriptors that have come, and that nobody has taken."""
        self._credentials: Credentials | None = None
        self._lost: list[Error] = []
        """The Errors of messages whose descriptors the kernel has dropped, until `take_fds` has raised them."""
        self._is_receiving = False

    # --- what has come with the bytes ---

    def take_fds(self, count: int | None = None) -> list[FileDescriptor]:
        """
        Return the descriptors that have come with the bytes read so far, in their order, each of them once.

        With *count*, these are the first *count* ones. The caller has to close them. A descriptor comes with the first
        byte of the message with which it was sent. Those that no call returns are closed with the connection.

        Raises the Error FAILED, and returns none, if there are fewer than *count*. Raises TOO_MANY_OPEN_FILES or
        PERMISSION_DENIED, once, and returns none, if the kernel has dropped descriptors of a message: this process had
        no free number for them, or a security module denies them. The bytes of that message are there all the same.
        """
        if self._lost:
            raise self._lost.pop(0)
        fds = self._kept.fds
        if count is None:
            count = len(fds)
        elif not 0 <= count <= len(fds):
            raise io_error(IOErrorEnum.FAILED, f"Expecting {count} fds, but got {len(fds)}")
        taken = fds[:count]
        del fds[:count]
        return [each._hand_over() for each in taken]

    @property
    def credentials(self) -> Credentials | None:
        """
        The credentials of the sender of the byte that was read last.

        None if the kernel has added none: see `UnixConnection.pass_credentials`, and *pass_credentials* of `listen`.
        """
        return self._credentials

    # --- reading: asyncio's methods, which call _wait_for_data() when the buffer has too few bytes ---

    async def read(self, n: int = -1) -> bytes:
        """Read at most *n* bytes; without *n*, until the end. See asyncio.StreamReader."""
        self._choose = partial(_at_most, index(n))
        return await super().read(n)

    async def readexactly(self, n: int) -> bytes:
        """Read *n* bytes. See asyncio.StreamReader."""
        most = index(n)
        self._choose = lambda data: _at_most(most - len(self._buffer), data)
        return await super().readexactly(n)

    async def readuntil(self, separator: Separator = b"\n") -> bytes:
        """Read up to the first *separator*, and that, too. See asyncio.StreamReader."""
        ends = separator if isinstance(separator, tuple) else (separator,)
        # What cannot be one is refused here: the loop could not tell the caller.
        self._choose = partial(self._up_to, tuple(map(as_copy, ends)))
        any_separator: Any = separator  # which may be a tuple from Python 3.13 on
        return await super().readuntil(any_separator)

    def _up_to(self, ends: tuple[bytes, ...], data: bytes) -> int:
        """Return how many bytes of *data*, which follow the buffer, there are up to one of *ends*, or else all."""
        size = len(data)
        for each in ends:
            before = self._buffer[max(0, len(self._buffer) - len(each) + 1) :]
            found = (before + data).find(each)
            if found >= 0:
                size = min(size, found + len(each) - len(before))
        return size

    async def _wait_for_data(self, func_name: str) -> None:
        if self._is_receiving:
            raise RuntimeError(f"{func_name}() called while another coroutine is already waiting for incoming data")
        if len(self._kept.fds) > MOST_KEPT:
            raise io_error(
                IOErrorEnum.TOO_MANY_OPEN_FILES,
                f"{len(self._kept.fds)} descriptors have come that nobody has taken, which is more than {MOST_KEPT}: "
                "take them with take_fds(), or refuse them with connection.refuse_fds()",
            )
        self._is_receiving = True
        try:
            await self._receive()
        except ClosedError:
            self.feed_eof()
        except Error as error:
            if not isinstance(error, (TimedOutError, WouldBlockError)):
                self.set_exception(error)
            raise
        finally:
            self._is_receiving = False

    def _receive(self) -> Awaitable[None]:
        connection = self._connection
        socket = connection.get_socket()
        operation = _Receive(socket._handle, self)
        future: Any = start(connection, "unixconn_asyncio_read", operation, None, AWAIT, (), socket)
        return future  # type: ignore[no-any-return]

    def _absorb(self) -> None:
        """Move what has arrived to where it is kept. After an exception, the next call goes on from there."""
        for message in self._arrived:
            for each in message.fds:
                each._warns = False  # until the caller has it
            self._kept.fds.extend(map(message.fds.pop, repeat(0, len(message.fds))))
            self._credentials = message.credentials
            message.close()
        # In one step of the interpreter, so that an exception neither loses the bytes nor doubles them.
        messages = map(self._arrived.pop, repeat(0, len(self._arrived)))
        deque(map(self._buffer.extend, map(_DATA, messages)), 0)


class _Receive(Operation[None]):
    """Receive bytes for a reader, and what has come with them."""

    __slots__ = ("_reader",)

    condition = READABLE

    def __init__(self, handle: Handle, reader: StreamReader) -> None:
        super().__init__(handle)
        self._reader = reader

    def attempt(self, result: list[None]) -> bool:
        """See `Operation.attempt`. The reader has the bytes at once, so that cancelling loses none."""
        reader = self._reader
        try:
            if not reader._arrived and not receive_chosen(self.handle, _PIECE, reader._choose, reader._arrived):
                return False
        except Error as error:
            if not error.partial:
                raise
            # The kernel has dropped descriptors that came with these bytes.
            reader._lost.append(error.copy())
            reader._arrived.append(of_bytes(error.partial, error.credentials))
        reader._absorb()
        result.append(None)
        return True


def _at_most(most: int, data: bytes) -> int:
    return min(most, len(data))
