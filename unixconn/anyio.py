"""
Use a UnixConnection as a stream of anyio, and a UnixListener as a listener of such streams.

`UnixStream` is an `anyio.abc.UNIXSocketStream`, `UnixStreamListener` an `anyio.abc.SocketListener`. Both work in both
of anyio's backends. They need anyio 4.1 or later, which unixconn does not install.

What `UnixStream` has beyond anyio's own stream:

- If the caller or the process has no room for a descriptor, it raises an Error. anyio's stream loses it silently.
- Received descriptors are close-on-exec.
- The attribute ``connection`` is the `UnixConnection`, for example for credentials.
"""

from __future__ import annotations

import errno
from contextlib import contextmanager

from anyio import BrokenResourceError, ClosedResourceError, EndOfStream, ResourceGuard, sleep
from anyio.abc import SocketAttribute, SocketListener, UNIXSocketStream
from anyio.lowlevel import checkpoint

from unixconn._base.errors import (
    ClosedError,
    NotConnectedError,
    PeerClosedError,
    PeerResetError,
    system_error,
)
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.connection import UnixConnection
from unixconn._gio.listening import UnixListener
from unixconn._gio.serving import accepted, report_to_the_hook
from unixconn._gio.socket import Socket
from unixconn._gio.socket_types import SocketType
from unixconn._kernel.file_descriptor import give_back

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Iterator, Mapping
    from io import IOBase
    from typing import Any

    from anyio.abc import TaskGroup

    from unixconn._kernel.message import Message

__all__ = ["UnixStream", "UnixStreamListener"]


class _HasSocket:
    """What gives anyio a socket of the standard library, with a descriptor of its own."""

    _python_socket: socket.socket | None = None

    def __init__(self, sock: Socket) -> None:
        self._socket = sock

    @property
    def _raw_socket(self) -> socket.socket:
        """The socket, which is made when it is asked for, and which `_close` closes."""
        if self._python_socket is None:
            self._python_socket = self._socket._duplicate()
        return self._python_socket

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """The values of `anyio.abc.SocketAttribute` for a Unix socket that listens."""
        return {
            SocketAttribute.family: lambda: self._raw_socket.family,
            SocketAttribute.local_address: lambda: self._raw_socket.getsockname(),  # noqa: PLW0108
            SocketAttribute.raw_socket: lambda: self._raw_socket,
        }

    def _close(self) -> None:
        if self._python_socket is not None:
            self._python_socket.close()


class UnixStream(_HasSocket, UNIXSocketStream):
    """
    A stream of anyio over *connection*, which belongs to the stream from then on: `aclose` closes both.

    Raises TypeError if *connection* is not a UnixConnection, and ValueError if its socket is not a STREAM.

    The methods raise anyio's errors where it has one, and otherwise unixconn's:

    - ClosedResourceError after `aclose`
    - BusyResourceError while another task sends or receives
    - BrokenResourceError if the peer has gone, or the connection was reset
    - EndOfStream from `receive` and `receive_fds` at the end of the data
    """

    def __init__(self, connection: UnixConnection) -> None:
        if not isinstance(connection, UnixConnection):
            raise TypeError(f"connection must be a UnixConnection, not {connection!r}")
        super().__init__(connection.get_socket())
        if self._socket.get_socket_type() is not SocketType.STREAM:
            raise ValueError(f"connection must be a stream, not one of records: {connection!r}")
        self._connection = connection
        self._sending = ResourceGuard("sending to")
        self._receiving = ResourceGuard("receiving from")

    @classmethod
    async def from_socket(cls, sock_or_fd: socket.socket | int) -> UnixStream:
        """
        Make a stream from a connected Unix socket of the standard library, or from a number, and take it over.

        Raises the Errors of `UnixConnection.from_socket` and `Socket.new_from_fd`, and ValueError for a socket that is
        not a stream. It still belongs to the caller then.
        """
        if isinstance(sock_or_fd, int):
            made = UnixConnection._over(Socket.new_from_fd(sock_or_fd))
        else:
            made = UnixConnection.from_socket(sock_or_fd)
        try:
            return cls(made)
        except ValueError:
            owner: list[int] = []
            made.get_socket()._handle.release(owner)
            give_back(sock_or_fd, owner)
            raise

    @property
    def connection(self) -> UnixConnection:
        """The connection: for credentials, options and the operations that anyio does not have."""
        return self._connection

    async def send(self, item: bytes) -> None:
        """Send all of *item*."""
        with self._sending, self._anyio_errors():
            await self._connection.send_message_async(item)

    async def send_fds(self, message: bytes, fds: Collection[int | IOBase]) -> None:
        """
        Send *message*, and with its first byte the descriptors *fds*: numbers or objects with ``fileno()``.

        Raises ValueError if *message* or *fds* is empty, or for more than 253 descriptors, and the Errors of
        `UnixConnection.send_message`.
        """
        if not message:
            raise ValueError("message must not be empty")
        if not fds:
            raise ValueError("fds must not be empty")
        with self._sending, self._anyio_errors():
            await self._connection.send_message_async(message, fds)

    async def send_eof(self) -> None:
        """Shut the sending side down, so that the peer comes to the end. Receiving goes on."""
        with self._sending, self._anyio_errors():
            self._connection.get_socket().shutdown(False, True)

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """
        Receive at most *max_bytes* bytes.

        Raises EndOfStream at the end, ValueError if *max_bytes* is less than 1, and the Error MESSAGE_TOO_LARGE if
        descriptors have come with the bytes: `receive_fds` takes these. They are closed, and the bytes are in
        `Error.partial`.
        """
        return (await self._receive(max_bytes, 0))[0]

    async def receive_fds(self, msglen: int, maxfds: int) -> tuple[bytes, list[int]]:
        """
        Receive at most *msglen* bytes, and at most *maxfds* descriptors that come with them, which the caller closes.

        The bytes end with the first message that has descriptors. Raises EndOfStream at the end, ValueError if an
        argument is less than 1, the Error MESSAGE_TOO_LARGE for more than *maxfds* descriptors, and TOO_MANY_OPEN_FILES
        or PERMISSION_DENIED as `UnixConnection.receive_message` does. Then all descriptors of the message are closed,
        and its bytes are in `Error.partial`.
        """
        if maxfds < 1:
            raise ValueError(f"maxfds must be a positive integer, not {maxfds}")
        return await self._receive(msglen, maxfds)

    async def _receive(self, most_bytes: int, most_fds: int) -> tuple[bytes, list[int]]:
        if most_bytes < 1:
            raise ValueError(f"the number of bytes must be a positive integer, not {most_bytes}")
        with self._receiving, self._anyio_errors():
            try:
                message = await self._connection.receive_message_async(most_bytes)
            except ClosedError:
                if self._connection.is_closed():
                    raise
                raise EndOfStream from None
        with message:
            if len(message.fds) > most_fds:
                raise _too_many(message, most_fds)
            return message.data, [each.detach() for each in message.fds]

    async def aclose(self) -> None:
        """Close the connection. What waits for it ends with ClosedResourceError. A second call does nothing."""
        self._connection.close()
        self._close()
        await checkpoint()

    @contextmanager
    def _anyio_errors(self) -> Iterator[None]:
        """Raise anyio's errors for a connection that is closed or broken."""
        try:
            yield
        except ClosedError:
            raise ClosedResourceError from None
        except (PeerClosedError, PeerResetError, NotConnectedError) as error:
            raise BrokenResourceError from error

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Those of `anyio.abc.SocketAttribute` for Unix sockets."""
        return {
            **super().extra_attributes,
            SocketAttribute.remote_address: lambda: self._raw_socket.getpeername(),  # noqa: PLW0108
        }


class UnixStreamListener(_HasSocket, SocketListener):
    """
    A listener of anyio over *listener*, which `unixconn.listen` makes: it accepts connections as `UnixStream`.

    ``await listener.serve(handler)`` runs ``await handler(stream)`` for each connection in a task of its own, until it
    is cancelled. The handler closes the stream. *listener* belongs to this object from then on: `aclose` closes it.

    Raises TypeError if *listener* is not a `UnixListener`, and ValueError if its socket is not a STREAM.
    """

    def __init__(self, listener: UnixListener) -> None:
        if not isinstance(listener, UnixListener):
            raise TypeError(f"listener must be a UnixListener, not {listener!r}")
        super().__init__(listener._listening_socket())
        if self._socket.get_socket_type() is not SocketType.STREAM:
            raise ValueError(f"listener must be of streams, not of records: {listener!r}")
        self._listener = listener
        self._accepting = ResourceGuard("accepting connections from")

    @property
    def listener(self) -> UnixListener:
        """The listener of unixconn."""
        return self._listener

    async def accept(self) -> UnixStream:
        """
        Wait for a connection.

        If there is no descriptor or memory for it, the Error goes to `sys.excepthook`, and the next attempt is made 0.1
        seconds later. Raises ClosedResourceError when the listener is closed, and BusyResourceError while another task
        accepts.
        """
        with self._accepting:
            connection = await accepted(self._listener, sleep, report_to_the_hook)
        if connection is None:
            raise ClosedResourceError
        assert isinstance(connection, UnixConnection)
        return UnixStream(connection)

    if TYPE_CHECKING:
        # The streams have the class UnixStream.

        async def serve(self, handler: Callable[[UnixStream], Any], task_group: TaskGroup | None = None) -> None:
            """See `anyio.abc.Listener.serve`."""

    async def aclose(self) -> None:
        """Close the listener. What waits for it ends with ClosedResourceError. A second call does nothing."""
        self._listener.close()
        self._close()
        await checkpoint()


def _too_many(message: Message, most: int) -> Exception:
    text = f"Received {len(message.fds)} descriptors, and the caller takes {most or 'none'}: "
    error = system_error(errno.EMSGSIZE, text)
    error.partial = message.data
    return error
