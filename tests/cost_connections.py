"""Forms: making, accepting, serving and closing connections."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any

from cost_forms import NULL, form, iterate_until, pair

from unixconn import (
    Cancellable,
    MainContext,
    Socket,
    SocketClient,
    SocketListener,
    SocketProtocol,
    SocketService,
    SocketType,
    UnixConnection,
    UnixSocketAddress,
    connect,
    listen,
)


@form()
def create_pair() -> Iterator[Any]:
    """Make two connections, and close them."""

    def once() -> None:
        a, b = UnixConnection.create_pair()
        a.close()
        b.close()

    yield once


def raw_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets of the standard library."""
    return socket.socketpair()


@form()
def new_from_fd() -> Iterator[Any]:
    """Make a connection of a descriptor, and close it."""

    def once(sockets: tuple[socket.socket, socket.socket]) -> None:
        UnixConnection(socket=Socket.new_from_fd(sockets[0].detach())).close()
        sockets[1].close()

    yield raw_pair, once


@form()
def from_socket() -> Iterator[Any]:
    """Make a connection of a socket of the standard library, and close it."""

    def once(sockets: tuple[socket.socket, socket.socket]) -> None:
        UnixConnection.from_socket(sockets[0]).close()
        sockets[1].close()

    yield raw_pair, once


@form()
def close() -> Iterator[Any]:
    """Close two connections."""

    def once(connections: tuple[UnixConnection, UnixConnection]) -> None:
        for each in connections:
            each.close()

    yield pair, once


@form("close-callback")
def close_by_callback() -> Iterator[Any]:
    """Close a connection with a callback."""
    ended: list[Any] = []

    def call(connection: UnixConnection, result: Any) -> None:
        ended.append(connection.close_finish(result))

    def once(connections: tuple[UnixConnection, UnixConnection]) -> None:
        connections[0].close_async(0, None, call)
        iterate_until(ended)
        connections[1].close()

    yield pair, once


@form("close-asyncio", "asyncio")
def close_by_await() -> Iterator[Any]:
    """Close a connection in asyncio."""

    async def once(connections: tuple[UnixConnection, UnixConnection]) -> None:
        await connections[0].close_async()
        connections[1].close()

    yield pair, once


@form()
def socket_close() -> Iterator[Any]:
    """Make a Socket of a descriptor, and close it."""

    def once(sockets: tuple[socket.socket, socket.socket]) -> None:
        Socket.new_from_fd(sockets[0].detach()).close()
        sockets[1].close()

    yield raw_pair, once


def listening(folder: str) -> tuple[SocketListener, UnixSocketAddress]:
    """Return a listener in *folder*, and its address."""
    address = UnixSocketAddress.new(f"{folder}/listener")
    listener = SocketListener()
    listener.add_address(address, SocketType.STREAM, SocketProtocol.DEFAULT, None)
    return listener, address


@form()
def client_and_accept() -> Iterator[Any]:
    """Connect by a SocketClient, accept, and close both connections."""
    with tempfile.TemporaryDirectory() as folder:
        listener, address = listening(folder)
        client = SocketClient()

        def once() -> None:
            ours = client.connect(address)
            theirs = listener.accept().connection
            ours.close()
            theirs.close()

        yield once
        listener.close()


@form("client_and_accept-callback")
def client_and_accept_by_callback() -> Iterator[Any]:
    """Accept, and connect by a SocketClient, with callbacks, and close both connections."""
    with tempfile.TemporaryDirectory() as folder:
        listener, address = listening(folder)
        client = SocketClient()
        connected: list[Any] = []
        accepted: list[Any] = []

        def call(_client: object, result: Any) -> None:
            connected.append(client.connect_finish(result))

        def accept(_listener: object, result: Any) -> None:
            accepted.append(listener.accept_finish(result).connection)

        def once() -> None:
            listener.accept_async(None, accept)
            client.connect_async(address, None, call)
            iterate_until(connected).close()
            iterate_until(accepted).close()

        yield once
        listener.close()


@form("client_and_accept-asyncio", "asyncio")
def client_and_accept_by_await() -> Iterator[Any]:
    """Accept, and connect by a SocketClient, in asyncio, and close both connections."""
    with tempfile.TemporaryDirectory() as folder:
        listener, address = listening(folder)
        client = SocketClient()

        async def once() -> None:
            accepting = listener.accept_async()
            (await client.connect_async(address)).close()
            (await accepting).connection.close()

        yield once
        listener.close()


@form()
def connect_and_accept() -> Iterator[Any]:
    """Connect by connect(), accept, and close both connections."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/listener"
        with listen(path) as listener:

            def once() -> None:
                ours = connect(path)
                theirs = listener.accept().connection
                ours.close()
                theirs.close()

            yield once


@form()
def listen_and_close() -> Iterator[Any]:
    """Listen by listen(), and close the listener."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/listener"

        def once() -> None:
            listen(path).close()

        yield once


@form("client_and_accept-cancellable")
def client_and_accept_cancellably() -> Iterator[Any]:
    """The same with a Cancellable."""
    with tempfile.TemporaryDirectory() as folder:
        listener, address = listening(folder)
        client = SocketClient()
        cancellable = Cancellable()

        def once() -> None:
            ours = client.connect(address, cancellable)
            theirs = listener.accept(cancellable).connection
            ours.close()
            theirs.close()

        yield once
        listener.close()


def serving(count: int) -> Iterator[Any]:
    """
    Serve *count* connections of a SocketService that come at once.

    It reads a byte of each with a callback, answers by a descriptor, and closes the connection.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/service"
        server = SocketService.new()
        server.add_address(UnixSocketAddress.new(path), SocketType.STREAM, SocketProtocol.DEFAULT, None)
        answered: list[bool] = []

        def incoming(_service: object, connection: UnixConnection, _source_object: object) -> bool:
            connection.get_input_stream().read_bytes_async(1, 0, None, asked, connection)
            return True

        def asked(stream: Any, result: Any, connection: UnixConnection) -> None:
            stream.read_bytes_finish(result)
            connection.send_fd(NULL)
            connection.close()
            answered.append(True)

        server.connect("incoming", incoming)
        clients: list[socket.socket] = []

        def ask() -> None:
            while clients:
                clients.pop().close()
            for _ in range(count):
                clients.append(socket.socket(socket.AF_UNIX))
                clients[-1].connect(path)
                clients[-1].send(b"?")

        def once(_asked: object) -> None:
            for _ in range(count):
                iterate_until(answered)

        yield ask, once
        server.close()
        while MainContext.default().iteration(False):
            pass


form("service")(partial(serving, 1))
form("service-crowd")(partial(serving, 10))
