"""
asyncio's streams over a UnixConnection: they keep descriptors with their bytes.

`open_connection` and `start_server` take the place of asyncio.open_unix_connection and asyncio.start_unix_server.
`StreamReader` and `StreamWriter` are subclasses of asyncio's own, with two more methods: `StreamWriter.write_fds` sends
descriptors with bytes, and `StreamReader.take_fds` returns the descriptors that have come with the bytes read so far.
"""

from __future__ import annotations

import asyncio
from functools import partial

from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.connect import connect_async
from unixconn._gio.connection import UnixConnection
from unixconn._gio.listener import SocketListener
from unixconn._gio.listening import listen
from unixconn._gio.serving import accepted
from unixconn._gio.socket_types import SocketType
from unixconn._gio.stream_reader import StreamReader
from unixconn._gio.stream_writer import StreamWriter, Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, Union

    from unixconn._gio.connect import Name
    from unixconn._gio.socket_connection import SocketConnection

    Connected = Callable[[StreamReader, StreamWriter], Union[Awaitable[object], None]]

__all__ = ["Server", "StreamReader", "StreamWriter", "open_connection", "start_server"]

_LIMIT = 2**16
"""The default of asyncio's readers."""


def _check_limit(limit: int) -> None:
    if not isinstance(limit, int):
        raise TypeError(f"limit must be an integer, not {limit!r}")
    if limit < 1:
        raise ValueError(f"limit must be a positive number of bytes, not {limit}")


def _streams(connection: object, limit: int) -> tuple[StreamReader, StreamWriter, Transport]:
    if not isinstance(connection, UnixConnection):
        raise TypeError(f"connection must be a UnixConnection, not {connection!r}")
    if connection.get_socket().get_socket_type() is not SocketType.STREAM:
        raise ValueError(f"connection must be a stream, not one of records: {connection!r}")
    loop = asyncio.get_running_loop()
    reader = StreamReader(connection, limit, loop)
    protocol = asyncio.StreamReaderProtocol(reader, None, loop)
    transport = Transport(connection, reader._kept, protocol, loop)
    return reader, StreamWriter(transport, protocol, reader, loop), transport


async def open_connection(
    path: Name | UnixConnection, *, limit: int = _LIMIT, timeout: int = 0, peer_uid: int | None = None
) -> tuple[StreamReader, StreamWriter]:
    """
    Connect to *path*, and return a reader and a writer, as asyncio.open_unix_connection does.

    *path*, *timeout* (in seconds) and *peer_uid* are those of `connect`. *path* may also be a `UnixConnection`, which
    belongs to the streams from then on. *limit* is that of asyncio: the most bytes of a line.

    Raises the errors of `connect`; ValueError for a connection whose socket is not a STREAM, and for a *limit* of less
    than 1; TypeError for a *limit* that is not an int; and RuntimeError where asyncio does not run.
    """
    asyncio.get_running_loop()
    _check_limit(limit)
    if not isinstance(path, UnixConnection):
        path = await connect_async(path, timeout=timeout, peer_uid=peer_uid)
    return _streams(path, limit)[:2]


class Server(asyncio.AbstractServer):
    """
    A server that accepts connections, as asyncio.Server does; `start_server` makes it.

    ``async with server:`` closes it at the end of the block, and waits as `wait_closed` does.
    """

    def __init__(self, connected: Connected, listener: SocketListener, limit: int) -> None:
        self.listener = listener
        """The listener, which the server closes."""
        self._connected = connected
        self._limit = limit
        self._loop = asyncio.get_running_loop()
        self._open: set[Transport] = set()
        self._tasks: set[asyncio.Future[Any]] = set()
        self._accepting = self._loop.create_task(self._accept())

    async def _accept(self) -> None:
        try:
            while True:
                connection = await accepted(self.listener, asyncio.sleep, self._report)
                if connection is None:
                    break
                self._begin(connection)
        finally:
            self.listener.close()

    def _report(self, message: str, error: BaseException) -> None:
        self._loop.call_exception_handler({"message": message, "exception": error})

    def _begin(self, connection: SocketConnection) -> None:
        try:
            reader, writer, transport = _streams(connection, self._limit)
        except (TypeError, ValueError) as error:
            self._report(f"no streams can be made over {connection!r}", error)
            connection.close()
            return
        self._open.add(transport)
        transport.ended.add_done_callback(lambda _: self._open.discard(transport))
        try:
            result = self._connected(reader, writer)
        except Exception as error:  # noqa: BLE001 - goes to the loop, as with asyncio's server
            self._fail(transport, error)
            return
        if asyncio.iscoroutine(result):
            task = self._loop.create_task(result)
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, transport))

    def _ended(self, transport: Transport, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            transport.close()
        else:
            error = task.exception()
            if error is not None:
                self._fail(transport, error)

    def _fail(self, transport: Transport, error: BaseException) -> None:
        self._report(f"Unhandled exception in client_connected_cb of {transport!r}", error)
        transport.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.listener!r}, {len(self._open)} open>"

    def close(self) -> None:
        """Close the listener. The connections that are open stay so."""
        self.listener.close()

    def close_clients(self) -> None:
        """Close all connections that the server has accepted, when what was written to them is sent."""
        for each in tuple(self._open):
            each.close()

    def abort_clients(self) -> None:
        """Close all connections that the server has accepted, at once."""
        for each in tuple(self._open):
            each.abort()

    def is_serving(self) -> bool:
        """Return whether the server accepts connections."""
        return not self._accepting.done() and not self.listener._closed

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop in which the server runs."""
        return self._loop

    async def start_serving(self) -> None:
        """Do nothing: the server accepts connections from the beginning."""

    async def serve_forever(self) -> None:
        """
        Wait until the server and all connections that it has accepted are closed.

        If the call is cancelled, it closes the server, and waits for the connections. Raises the Error if accepting
        fails for good.
        """
        try:
            await asyncio.shield(self._accepting)
        finally:
            self.close()
            await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the server and all connections that it has accepted are closed."""
        await asyncio.wait([self._accepting])
        while self._open:
            await asyncio.wait([each.ended for each in self._open])

    async def __aexit__(self, *error: object) -> None:
        self.close()
        await self.wait_closed()


async def start_server(
    client_connected_cb: Connected, path_or_listener: Name | SocketListener, *, limit: int = _LIMIT
) -> Server:
    """
    Accept connections, and call ``client_connected_cb(reader, writer)`` for each, as asyncio.start_unix_server does.

    - *client_connected_cb* is a function, or a coroutine function, which runs in a task of its own. An exception goes
      to the loop's exception handler, and closes the connection.
    - *path_or_listener* is what `listen` takes, or a listener, which belongs to the server from then on.
    - *limit* is that of asyncio: the most bytes of a line.

    The number of connections has no limit. To set one, call `serve`, and ``open_connection(connection)`` in its
    handler.

    Raises TypeError if *client_connected_cb* cannot be called, or *limit* is not an int; ValueError for a *limit* of
    less than 1; RuntimeError where asyncio does not run; and the errors of `listen`.
    """
    asyncio.get_running_loop()
    if not callable(client_connected_cb):
        raise TypeError(f"client_connected_cb must be callable, not {client_connected_cb!r}")
    _check_limit(limit)
    listener = path_or_listener if isinstance(path_or_listener, SocketListener) else listen(path_or_listener)
    return Server(client_connected_cb, listener, limit)
