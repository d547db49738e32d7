"""The writer of unixconn.asyncio, and the transport that sends for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from functools import partial

from unixconn._base.arguments import as_copy
from unixconn._base.errors import (
    ClosedError,
    Error,
    IOErrorEnum,
    NotConnectedError,
    PeerClosedError,
    PeerResetError,
    io_error,
)
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.operation import WRITABLE
from unixconn._kernel.descriptors import Owner, as_descriptors, duplicate_all, listed
from unixconn._kernel.receive_data import MOST_KEPT
from unixconn._kernel.send import send_data
from unixconn._kernel.sockets import SocketType as KernelSocket

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable
    from typing import Any

    from unixconn._gio.connection import UnixConnection
    from unixconn._gio.control_messages import BytesLike
    from unixconn._gio.future import Future
    from unixconn._gio.stream_reader import StreamReader
    from unixconn._kernel.descriptors import FileDescriptorLike
    from unixconn._kernel.message import Message


class StreamWriter(asyncio.StreamWriter):
    """
    The sending side of a connection, as asyncio.StreamWriter, with descriptors.

    `open_connection` and `start_server` make it. `drain` also waits while more than 253 descriptors are to be sent.
    """

    __module__ = "unixconn.asyncio"

    def __init__(
        self,
        transport: Transport,
        protocol: asyncio.StreamReaderProtocol,
        reader: StreamReader | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(transport, protocol, reader, loop)
        self._sender = transport

    @property
    def connection(self) -> UnixConnection:
        """The connection: for the peer's credentials, and options. What it sends and receives passes by the streams."""
        return self._sender.connection

    def write_fds(self, data: BytesLike, fds: Iterable[FileDescriptorLike]) -> None:
        """
        Send *data*, and with its first byte the descriptors *fds*, behind all that was written before, as `write` does.

        *fds* are numbers or objects with ``fileno()``. The caller may close them when the call returns: those that
        have to wait are duplicated. More than 253 go with the next bytes, as `UnixConnection.send_message` says. Follow
        it with ``await writer.drain()``.

        Raises these Errors if the descriptors cannot be sent, and sends nothing then:

        - CLOSED if the writer is closed, or its connection has broken
        - FAILED for a number that is not open, or (`TooManyReferencesError`) if too many descriptors are in flight
        - TOO_MANY_OPEN_FILES if there is no room for the duplicates
        - PERMISSION_DENIED if the peer refuses descriptors

        An Error that comes up later ends the connection, and `drain` raises it, or a ConnectionResetError. Raises
        TypeError, ValueError or OverflowError for wrong arguments, such as *fds* without *data*; and RuntimeError after
        `write_eof`.
        """
        self._sender.write_fds(data, fds)


class Transport(asyncio.WriteTransport):
    """
    What sends for the writer.

    One operation sends at a time. What comes behind it waits here.
    """

    __module__ = "unixconn.asyncio"

    def __init__(
        self,
        connection: UnixConnection,
        received: Message,
        protocol: asyncio.StreamReaderProtocol,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(_names(connection))
        self.connection = connection
        self._received = received
        """The descriptors that the reader keeps, which are closed with the connection."""
        self.ended: asyncio.Future[None] = loop.create_future()
        """Done when the connection is closed, and the protocol knows it."""
        self._protocol = protocol
        self._loop = loop
        self._python_socket: socket.socket | None = None
        self._sending: Future[int] | None = None
        self._queue: deque[tuple[bytearray, Owner]] = deque()
        """What is to be sent later: bytes, and duplicates of the descriptors that go with the first one."""
        self._size = self._number = 0
        """The number of bytes, and of descriptors, that are being sent, or are to be sent."""
        self._is_full = self._is_shut = self._is_closing = self._is_over = False
        self._high, self._low = 65536, 16384
        protocol.connection_made(self)

    # --- sending ---

    def write(self, data: BytesLike) -> None:
        """Send *data*, later if it has to wait."""
        self.write_fds(data, ())

    def write_fds(self, data: BytesLike, fds: Iterable[FileDescriptorLike]) -> None:
        """See `StreamWriter.write_fds`."""
        content, fds = as_copy(data), listed(fds)
        if fds and not content:
            raise ValueError("data must not be empty: the descriptors go with its first byte")
        if self._is_shut:
            raise RuntimeError("write_eof() was called, and nothing can be sent after that")
        if fds and self._is_closing:
            raise io_error(IOErrorEnum.CLOSED, "the writer is closed, and sends no descriptors any more")
        if not content or self._is_closing:
            return
        if self._sending is None:
            try:
                error = self._send(content, fds) if fds else self._send_alone(content)
            except Error as caught:
                error = caught.with_traceback(None)
            if error is not None:
                if fds and not isinstance(error, (ClosedError, PeerClosedError, PeerResetError)):
                    raise error
                self._end(error)
        else:
            self._put_behind(content, fds)
        self._control_flow()

    def _put_behind(self, content: bytes, fds: tuple[Any, ...]) -> None:
        """Have *content* and *fds* sent after all that is being sent."""
        if fds:
            operation = self.connection._send_message_operation(content, fds)  # checks the arguments
            operation.check()
            owner = Owner()
            duplicate_all(owner, as_descriptors(fds))
            self._append(bytearray(content), owner)
        elif self._queue and not self._queue[-1][1]:
            self._queue[-1][0].extend(content)
            self._size += len(content)
        else:
            self._append(bytearray(content), Owner())

    def _append(self, data: bytearray, owner: Owner) -> None:
        self._queue.append((data, owner))
        self._size += len(data)
        self._number += len(owner)

    def _send_alone(self, data: bytes) -> Error | None:
        """Send what the socket takes now, and start to send the rest; return the Error if there is one at once."""
        handle = self.connection.get_socket()._handle
        sent: list[int] = []
        # Otherwise something else waits for its turn.
        if WRITABLE not in handle.waiting and send_data(handle, data, sent) == len(data):
            return None
        return self._send(data[sum(sent) :], ())

    def _send(self, data: bytes | bytearray, fds: tuple[Any, ...] | Owner) -> Error | None:
        """Start to send; return the Error if there is one at once."""
        future = self.connection.send_message_async(data, fds)
        if future.done():
            return future.exception()
        self._sending = future
        size, number = len(data), len(fds)
        self._size += size
        self._number += number
        future.add_done_callback(partial(self._sent, size, number))
        return None

    def _sent(self, size: int, number: int, future: Future[int]) -> None:
        self._sending = None
        self._size -= size
        self._number -= number
        error = future.exception()
        while error is None and self._queue and self._sending is None:
            data, owner = self._queue.popleft()
            self._size -= len(data)
            self._number -= len(owner)
            with owner:
                error = self._send(data, owner)
        if error is not None:
            self._end(error)
            return
        self._control_flow()
        if self._sending is None:
            if self._is_closing:
                self._end(None)
            elif self._is_shut:
                self._shut_down()

    def _control_flow(self) -> None:
        """Have the protocol make `drain` wait, or end the wait."""
        if not self._is_full and (self._size > self._high or self._number > MOST_KEPT):
            self._is_full = True
            self._protocol.pause_writing()
        elif self._is_full and self._size <= self._low and self._number <= MOST_KEPT:
            self._is_full = False
            self._protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the numbers of bytes from which `drain` waits, and up to which it does; see asyncio.WriteTransport."""
        if high is None:
            high = 65536 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high must not be less than low, and low not less than 0, and they are {high} and {low}")
        self._high, self._low = high, low
        self._control_flow()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return (low, high)."""
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that are being sent, or wait for it."""
        return self._size

    def can_write_eof(self) -> bool:
        """Return True."""
        return True

    def write_eof(self) -> None:
        """Shut the sending side down when all is sent."""
        if not (self._is_shut or self._is_closing):
            self._is_shut = True
            if self._sending is None:
                self._shut_down()

    def _shut_down(self) -> None:
        try:
            self.connection.get_socket().shutdown(False, True)
        except Error as error:
            self._end(error)

    # --- the end ---

    def is_closing(self) -> bool:
        """Return whether the connection is closed, or is to be closed."""
        return self._is_closing

    def close(self) -> None:
        """Close the connection when all is sent."""
        if not self._is_closing:
            self._is_closing = True
            if self._sending is None:
                self._end(None)

    def abort(self) -> None:
        """Close the connection now."""
        self._end(None)

    def _end(self, error: Error | None) -> None:
        if self._is_over:
            return
        self._is_over = self._is_closing = True
        self.connection.close()
        if self._python_socket is not None:
            self._python_socket.close()
        self._queue.clear()  # its owners close the descriptors
        if not self._loop.is_closed():
            self._loop.call_soon(self._tell, error)

    def _tell(self, error: Error | None) -> None:
        self._protocol.connection_lost(error)
        self._received.close()
        self.ended.set_result(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """
        Return "sockname", "peername", or "socket": a socket of the standard library with a descriptor of its own.

        The socket is closed with the connection, and *default* is returned afterwards.
        """
        if name != "socket" or self._is_over:
            return super().get_extra_info(name, default)
        if self._python_socket is None:
            self._python_socket = self.connection.to_socket()
        return self._python_socket

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol

    def __repr__(self) -> str:
        return f"<transport of {self.connection!r}>"


def _names(connection: UnixConnection) -> dict[str, Any]:
    """Return the socket's addresses as asyncio's transports have them."""
    handle = connection.get_socket()._handle
    found: dict[str, Any] = {}
    for name, ask in ("sockname", KernelSocket.getsockname), ("peername", KernelSocket.getpeername):
        with contextlib.suppress(NotConnectedError):
            found[name] = handle.call(ask, context="")
    return found
