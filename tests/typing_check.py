"""
A user's program that names everything public, for type checkers: see check_types.py.

``python typing_check.py`` runs its first half; the rest is for the checkers alone. `assert_type` fails where a checker
sees another type, also where it sees Any. A mistake that a checker does not find is an error too: the comment that
excuses it is reported as unnecessary.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import unixconn
from unixconn import (
    BACKEND,
    PRIORITY_DEFAULT,
    PRIORITY_DEFAULT_IDLE,
    PRIORITY_HIGH,
    PRIORITY_HIGH_IDLE,
    PRIORITY_LOW,
    SOURCE_CONTINUE,
    SOURCE_REMOVE,
    Accepted,
    AcceptedSocket,
    AddressAdded,
    AsyncResult,
    Bytes,
    Cancellable,
    CancelledError,
    ClosedError,
    Credentials,
    CredentialsSource,
    Error,
    FileDescriptor,
    Future,
    GError,
    InputStream,
    InvalidArgumentError,
    InvalidDataError,
    IOCondition,
    IOErrorEnum,
    IOStream,
    IOStreamSpliceFlags,
    JoinedMessage,
    MainContext,
    MainLoop,
    Message,
    NoSuchProcessError,
    NotConnectedError,
    NotFoundError,
    NotInitializedError,
    NotSupportedError,
    Object,
    OutputStream,
    OutputStreamSpliceFlags,
    PeerClosedError,
    PeerResetError,
    PendingError,
    PermissionDeniedError,
    PollFD,
    RefusedError,
    Socket,
    SocketAddress,
    SocketClient,
    SocketClientEvent,
    SocketConnection,
    SocketControlMessage,
    SocketFamily,
    SocketListener,
    SocketListenerEvent,
    SocketMsgFlags,
    SocketProtocol,
    SocketService,
    SocketType,
    Source,
    SystemCallError,
    Task,
    TcpConnection,
    ThreadedSocketService,
    TimedOutError,
    TooManyOpenFilesError,
    TooManyReferencesError,
    UnixConnection,
    UnixCredentialsMessage,
    UnixFDList,
    UnixFDMessage,
    UnixListener,
    UnixSocketAddress,
    UnixSocketAddressType,
    WouldBlockError,
    connect,
    idle_add,
    io_error_from_errno,
    io_error_quark,
    listen,
    source_remove,
    timeout_add,
    timeout_add_seconds,
)

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike
    from typing_extensions import assert_type

    from unixconn.anyio import UnixStream, UnixStreamListener
    from unixconn.asyncio import Server, StreamReader, StreamWriter, open_connection, start_server

T = TypeVar("T")

KINDS: tuple[type[Error], ...] = (
    CancelledError,
    ClosedError,
    InvalidArgumentError,
    InvalidDataError,
    NoSuchProcessError,
    NotConnectedError,
    NotFoundError,
    NotInitializedError,
    NotSupportedError,
    PeerClosedError,
    PeerResetError,
    PendingError,
    PermissionDeniedError,
    RefusedError,
    SystemCallError,
    TimedOutError,
    TooManyOpenFilesError,
    TooManyReferencesError,
    WouldBlockError,
)


class Named(UnixConnection):
    """A user's connection."""

    def __init__(self, *, socket: Socket, name: str = "") -> None:
        super().__init__(socket=socket)
        self.name: str = name

    def send_fd(self, fd: FileDescriptorLike, cancellable: Cancellable | None = None) -> bool:
        """Send it."""
        return super().send_fd(fd, cancellable)


class Noting(Cancellable):
    """A user's Cancellable."""

    def do_cancelled(self) -> None:
        """Note it."""
        self.noted: bool = True


def pass_things() -> None:
    """Pass a descriptor and credentials."""
    ours, theirs = UnixConnection.create_pair()
    cancellable: Cancellable = Noting()
    with ours, theirs as peer:
        sent: bool = ours.send_fd(0, cancellable)
        got: int = peer.receive_fd(cancellable=cancellable)
        os.close(got)
        sent = ours.send_credentials() and sent
        credentials: Credentials = peer.receive_credentials()
        source: CredentialsSource = credentials.source
        numbers: tuple[int, int] = (credentials.get_unix_pid(), credentials.get_unix_user())
        print(sent, source, numbers, credentials.to_string(), credentials.is_same_user(Credentials.new()))
        both: tuple[bool, bool] = (ours.is_connected(), peer.is_closed())
        address: SocketAddress | None = ours.get_local_address()
        print(both, address)


def ask_who_it_is() -> None:
    """Ask for all that is known of the peer, and claim to be somebody."""
    ours, theirs = UnixConnection.create_pair()
    with ours, theirs:
        peer: Credentials = ours.get_peer_credentials()
        is_peer: bool = peer.source == "peer"
        group: int = peer.get_unix_group()
        try:
            pidfd: FileDescriptor = peer.get_pidfd()
            with pidfd:
                alive: bool = peer.is_alive()
            groups: list[int] = peer.get_groups()
            label: bytes = peer.get_security_label()
            print(alive, groups, label)
        except NotSupportedError as error:
            print(error.message)
        own = (os.getpid(), os.getuid(), os.getgid())
        sent: bool = ours.send_fake_credentials(*own)
        future: Future[bool] = ours.send_fake_credentials_async(*own, Cancellable())
        ours.send_fake_credentials_async(*own, None, faked)
        print(is_peer, group, sent, future.result(1))


def faked(connection: UnixConnection, result: AsyncResult) -> None:
    """Be a callback."""
    sent: bool = connection.send_fake_credentials_finish(result)
    print(sent)


def pass_things_by_a_class_of_ones_own() -> None:
    """A pair of one's own class is of that class."""
    one, other = Named.create_pair()
    with one as named, other:
        label: str = named.name
        labels: list[str] = [label, other.name]
        print(labels)


def use_streams(connection: SocketConnection) -> None:
    """Read and write."""
    stream: IOStream = connection
    reader: InputStream = stream.get_input_stream()
    writer: OutputStream = stream.get_output_stream()
    count: int = writer.write(b"hello", None)
    ok, written = writer.write_all(bytearray(b"hello"))
    result: tuple[bool, int] = (ok, written)
    data: Bytes = reader.read_bytes(10)
    content: bytes = data.get_data()
    print(count, result, content, data.get_size(), stream.close(None))


def use_sockets() -> None:
    """Make sockets, and send messages."""
    a: Socket = Socket.new(SocketFamily.UNIX, SocketType.DATAGRAM, SocketProtocol.DEFAULT)
    name = UnixSocketAddress.new_with_type(b"typing-check-%d" % os.getpid(), UnixSocketAddressType.ABSTRACT)
    a.bind(name, False)
    a.set_timeout(5)
    fds: UnixFDList = UnixFDList.new()
    index: int = fds.append(0)
    numbers: list[int] = fds.peek_fds()
    message: UnixFDMessage = UnixFDMessage.new_with_fd_list(fds)
    messages: list[SocketControlMessage] = [message, UnixCredentialsMessage.new()]
    sent: int = a.send_message(name, [b"hello", bytearray(b"you")], messages, 0, None)
    buffer = bytearray(100)
    size, sender, controls, flags = a.receive_message([buffer], 0, None)
    summary: tuple[int, SocketAddress | None, int] = (size, sender, flags)
    for control in controls:
        if isinstance(control, UnixFDMessage):
            for fd in control.steal_fds():
                os.close(fd)
    found: SocketControlMessage | None = SocketControlMessage.deserialize(1, 99, b"")
    ready: IOCondition = a.condition_check(IOCondition.IN | IOCondition.OUT)
    option: int = a.get_option(1, 3).value
    connection: SocketConnection = a.connection_factory_create_connection()
    print(index, numbers, sent, summary, found, ready, option, connection.close())


def note(_owner: Cancellable, told: list[str], word: str) -> None:
    """Be a handler of a signal."""
    told.append(word)


def use_cancellables() -> None:
    """Cancel, and be told."""
    cancellable = Cancellable.new()
    told: list[str] = []
    callback: Callable[[], object] = lambda: told.append("told")  # noqa: E731 - a lambda's type is checked
    number: int = cancellable.connect(callback)
    Object.connect(cancellable, "cancelled", note, told, "and told")
    pollfd = PollFD(0, 0)
    made: bool = cancellable.make_pollfd(pollfd)
    events: IOCondition = pollfd.events
    cancellable.cancel()
    cancellable.release_fd()
    cancellable.disconnect(number)
    current: Cancellable | None = Cancellable.get_current()
    deadline: Cancellable = Cancellable.with_timeout(0.5)
    ours: Noting = Noting.with_timeout(3)
    print(told, made, events, current, deadline, ours)


def use_errors() -> None:
    """Catch errors by their kinds, and by Python's."""
    try:
        Socket().accept()
    except NotInitializedError as error:
        code: int = error.code
        text: str = error.message
        same: bool = error.matches(io_error_quark(), IOErrorEnum.NOT_INITIALIZED)
        copied: Error = error.copy()
        print(code, text, same, copied, error.domain)
    enumerated: IOErrorEnum = io_error_from_errno(32)
    made: Error = Error.new_literal(io_error_quark(), "text", int(enumerated))
    a, b = UnixConnection.create_pair()
    b.close()
    with a:
        try:
            a.send_fd(0)
        except PeerClosedError as broken:
            number: int | None = broken.errno
            python: BrokenPipeError = broken
            print(made, number, python)


def received(connection: UnixConnection, result: AsyncResult, loop: MainLoop) -> None:
    """Be a callback."""
    os.close(connection.receive_fd_finish(result))
    loop.quit()


def of_glib(error: BaseException) -> bool:
    """Return whether an error has GLib's parts, by the name that it has there."""
    return isinstance(error, GError) and bool(error.domain) and error.code >= 0


def use_callbacks() -> None:
    """Wait in a main loop."""
    a, b = UnixConnection.create_pair()
    loop = MainLoop(MainContext.default())
    b.receive_fd_async(Cancellable(), received, loop)
    b.receive_fd_async(callback=received)
    a.send_fd_async(0, None, None)
    tag: int = timeout_add(1000, loop.quit, priority=PRIORITY_LOW)
    again: int = timeout_add_seconds(1, loop.quit)
    idle: int = idle_add(print, "idle", priority=PRIORITY_HIGH_IDLE)
    source: Source = Cancellable().source_new()
    source.set_callback(loop.quit)
    source.set_priority(PRIORITY_HIGH)
    number: int = source.attach(MainContext.default())
    loop.run()
    removed: list[bool] = [source_remove(each) for each in (tag, again)]
    print(idle, number, removed, PRIORITY_DEFAULT, PRIORITY_DEFAULT_IDLE, SOURCE_CONTINUE, SOURCE_REMOVE)


async def use_futures() -> None:
    """Wait in an event loop."""
    a, b = UnixConnection.create_pair()
    future: Future[Credentials] = b.receive_credentials_async()
    sent: bool = await a.send_credentials_async()
    sender: Credentials = await future
    task: Task = future
    name: str | None = task.get_name()
    await a.send_fd_async(0)
    fd: int = await b.receive_fd_async(Cancellable())
    os.close(fd)
    closed: bool = await a.close_async()
    print(sent, sender, name, closed, future.done(), future.result().get_unix_user())


async def use_datagrams(one: Socket, other: Socket) -> None:
    """Send to an address, and receive from one."""
    sent: int = one.send_to(None, b"x") + await one.send_to_async(None, b"x")
    data: bytes = other.receive_from(9).data + (await other.receive_from_async(9)).data
    print(sent, data)


async def use_many_and_messages() -> None:
    """Pass any number of descriptors, owners, and data with them."""
    a, b = UnixConnection.create_pair(SocketType.SEQPACKET)
    sent: bool = a.send_fds([0, 1]) and await a.send_fds_async((0, 1))
    numbers: list[int] = b.receive_fds(4) + await b.receive_fds_async()
    unixconn.close_fds(numbers)
    with b.receive_descriptor() as one, await b.receive_descriptor_async() as other:
        same: bool = one.samefile(other) or one == other
        number: int = one.dup().detach()
    owners: list[FileDescriptor] = b.receive_descriptors(2) + await b.receive_descriptors_async(None, Cancellable())
    for each in owners:
        each.to_file("rb").close()
    size: int = a.send_message(b"data", owners, Credentials()) + await a.send_message_async(b"data", (), True)
    b.pass_credentials()
    b.pass_pidfds(False)
    b.refuse_fds()
    with b.receive_message(100) as message, await b.receive_message_async(100, None) as another:
        sender: Credentials | None = message.credentials
        received: Message = another
    a.receive_message_async(100, None, print, "data")
    data, address = b.get_socket().receive_from(10)
    length: int = b.get_socket().send_to(address, data)
    print(sent, numbers, same, number, size, sender, received.data, message.end_of_record, message.pidfd, length)


def heard(service: SocketService, connection: SocketConnection, source: Object | None) -> bool:
    """Be a handler of `incoming`."""
    print(service.is_active(), connection.is_connected(), source)
    return True


async def use_servers(folder: Path) -> None:
    """Listen and connect."""
    async with listen(folder / "a", mode=0o600) as listener:
        waiting: Future[Accepted[UnixConnection]] = listener.accept_async()
        with connect(folder / "a", timeout=3) as client:
            accepted: UnixConnection = (await waiting).connection
            data: bytes = await client.get_input_stream().read_async(1) if client.is_closed() else b""
            written: int = await client.get_output_stream().write_async(b"x")
            flags = IOStreamSpliceFlags.CLOSE_STREAM1
            copying: Future[bool] = accepted.splice_async(accepted, flags)
            copying.cancel()
            print(data, written, OutputStreamSpliceFlags.NONE)
    service: SocketService = ThreadedSocketService.new(2)
    Object.connect(service, "incoming", heard)
    address = UnixSocketAddress.new(folder / "b")
    added: AddressAdded = service.add_address(address, SocketType.STREAM, SocketProtocol.DEFAULT)
    connection: UnixConnection = await SocketClient(timeout=3).connect_async(address)
    connection.close()
    service.close()
    print(TcpConnection, SocketMsgFlags.PEEK)
    print(added.ok, SocketClientEvent.COMPLETE, SocketListenerEvent.BOUND, SocketListener().list_properties())
    with listen(folder / "c") as server:
        one: UnixListener = server
        with SocketClient().connect(UnixSocketAddress.new(folder / "c")) as caller:
            caller.send_fd(0)
            for each in one:
                os.close(each.receive_fd())
                break
        with connect(folder / "c"):
            taken: AcceptedSocket = one.accept_socket()
            taken.socket.close()
        print(one)


def main() -> None:
    """Use everything."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(use_servers(Path(folder)))
    use_callbacks()
    asyncio.run(use_futures())
    backend: str = BACKEND
    print(backend, unixconn.__version__, len(KINDS))
    pass_things()
    ask_who_it_is()
    pass_things_by_a_class_of_ones_own()
    one, other = UnixConnection.create_pair()
    with other:
        other.get_output_stream().write(b"x")
        use_streams(one)
    use_sockets()
    use_cancellables()
    use_errors()


# --- for the checkers alone ------------------------------------------------------------------------------------------


def descriptors_and_their_owners(connection: UnixConnection, owner: FileDescriptor, path: Path) -> None:
    """Whatever has a ``fileno()`` is taken where the descriptor stays the caller's."""
    with path.open("rb") as binary, path.open() as text, socket.socket() as python:
        assert_type(connection.send_fd(0), bool)
        assert_type(connection.send_fd(text), bool)
        assert_type(connection.send_fd(binary), bool)
        assert_type(connection.send_fd(python), bool)
        assert_type(connection.send_fd(owner), bool)
        assert_type(connection.send_fd(connection), bool)
        assert_type(connection.send_fd_async(text), "Future[bool]")
        assert_type(result_of(lambda: connection.send_fd_async(owner, None, told)), None)
        assert_type(connection.send_fds([text, text]), bool)
        assert_type(connection.send_fds((0, text, binary, python, owner)), bool)
        assert_type(connection.send_fds(each for each in (text, text)), bool)
        assert_type(connection.send_fds_async([binary, owner]), "Future[bool]")
        assert_type(connection.send_message(b"", [text, python]), int)
        assert_type(connection.send_message_async(memoryview(b""), (0, owner), True), "Future[int]")
        assert_type(UnixFDList.new().append(text), int)
        assert_type(UnixFDMessage.new().append_fd(python), bool)
        assert_type(owner.samefile(text), bool)


def descriptors_that_change_hands(owner: FileDescriptor, numbers: list[int]) -> None:
    """A number or a FileDescriptor is taken where the descriptor belongs to the new object from then on."""
    assert_type(Socket.new_from_fd(3), Socket)
    assert_type(Socket.new_from_fd(owner), Socket)
    assert_type(UnixFDList.new_from_array(numbers), UnixFDList)
    assert_type(UnixFDList.new_from_array([owner]), UnixFDList)
    assert_type(UnixFDList.new_from_array((3, owner)), UnixFDList)
    assert_type(FileDescriptor(3).fileno(), int)
    assert_type(FileDescriptor(owner).detach(), int)
    assert_type(owner.to_socket(), socket.socket)
    unixconn.close_fds(numbers)
    unixconn.close_fds(range(3, 9))


async def serve_one(connection: UnixConnection) -> None:
    """Be a handler of connections on a Unix address."""
    await connection.send_fd_async(0)


async def serve_any(connection: SocketConnection) -> int:
    """Be a handler of any connection."""
    return await connection.get_output_stream().write_async(b"x")


async def serve_streams(reader: StreamReader, writer: StreamWriter) -> None:
    """Be a handler of streams."""
    writer.write_fds(await reader.readline(), reader.take_fds())


async def serve_anyio(stream: UnixStream) -> None:
    """Be a handler of anyio."""
    await stream.send(b"x")


async def serve_asyncio_streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Be a handler that was written for asyncio."""
    writer.write(await reader.readline())


async def connections_by_a_path(path: Path, address: UnixSocketAddress) -> None:
    """What is connected to, or accepted on, a Unix address is a UnixConnection."""
    with connect(path) as connected:
        assert_type(connected, UnixConnection)
    assert_type(connect(str(path), Cancellable(), timeout=1).receive_fd(), int)
    assert_type(unixconn.connect(os.fsencode(path), peer_uid=0).receive_fd(), int)
    for connection in unixconn.listen(path):
        assert_type(connection.receive_fd(), int)
    async for connection in unixconn.listen(path):
        assert_type(await connection.receive_fd_async(), int)
    assert_type(next(listen(path)), UnixConnection)
    assert_type(listen(sock=3), UnixListener)
    listen(path, sock=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    assert_type(listen(path).accept().connection.receive_fd(), int)
    with listen(path) as listener:
        assert_type(listener, UnixListener)
        accepted, source = listener.accept()
        assert_type(accepted, UnixConnection)
        assert_type(source, "Object | None")
        accepted, source = await listener.accept_async()
        assert_type(accepted, UnixConnection)
        assert_type(source, "Object | None")
    with listen(path) as listener:
        await unixconn.serve(serve_one, path, limit=3)
        async with UnixStream(await unixconn.connect_async(path)) as stream:
            assert_type(stream, UnixStream)
            assert_type(await stream.receive_fds(1, 1), "tuple[bytes, list[int]]")
            assert_type(stream.connection.receive_fd(), int)
            assert_type(await UnixStreamListener(listener).accept(), UnixStream)
            await UnixStreamListener(listener).serve(serve_anyio)
        reader, writer = await open_connection(path, limit=100)
        assert_type((reader, writer), "tuple[StreamReader, StreamWriter]")
        assert_type(await reader.readline(), bytes)
        assert_type(reader.take_fds(1), list[FileDescriptor])
        assert_type(reader.credentials, "Credentials | None")
        writer.write_fds(b"", [connected, 0])
        assert_type(writer.connection, UnixConnection)
        assert_type(await start_server(serve_streams, listener), Server)
        assert_type(await start_server(serve_asyncio_streams, path), Server)
        await start_server(serve_one, path)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        await unixconn.serve(serve_one, listener)
        await unixconn.serve(serve_any, SocketListener())
        await unixconn.serve(serve_any, address)
        await unixconn.serve(serve_one, SocketListener())  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
        await unixconn.serve(print, path)  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    client = SocketClient.new()
    assert_type(client.connect(address), UnixConnection)
    assert_type(client.connect(address, Cancellable()).receive_fd(), int)
    assert_type(client.connect_async(address), "Future[UnixConnection]")
    assert_type(await client.connect_async(address), UnixConnection)
    assert_type((await client.connect_async(address, None)).receive_fd(), int)


def connections_by_any_address(client: SocketClient, listener: SocketListener, address: SocketAddress) -> None:
    """Elsewhere a look at it tells, as in Gio."""
    connections: list[SocketConnection] = [client.connect(address), listener.accept().connection]
    for connection in connections:
        if isinstance(connection, UnixConnection):
            assert_type(connection.receive_fd(), int)


# --- asynchronous methods: a Future without a callback, None with one, None being one too ---


def told(source: object, result: AsyncResult, *data: object) -> None:
    """Be a callback."""


def result_of(call: Callable[[], T]) -> T:
    """Return what *call* returns, of which mypy would say that it is None and must not be looked at."""
    return call()


async def what_a_future_is(future: Future[list[int]]) -> None:
    """A Future has the type of its result."""
    assert_type(await future, "list[int]")
    assert_type(future.result(), "list[int]")
    assert_type(future.result(0.5), "list[int]")
    assert_type(future.exception(), "Error | None")
    assert_type(future.done(), bool)
    assert_type(future.cancel(), bool)
    assert_type(future.cancellable, Cancellable)
    future.add_done_callback(lambda done: unixconn.close_fds(done.result()))
    assert_type(await asyncio.create_task(future), "list[int]")
    assert_type(asyncio.run(future), "list[int]")
    result: AsyncResult = future
    assert_type(result.get_source_object(), "Object | None")


def methods_of_a_connection(connection: UnixConnection, result: AsyncResult) -> None:
    """Those for descriptors, credentials and messages."""
    assert_type(connection.send_fd_async(0), "Future[bool]")
    assert_type(result_of(lambda: connection.send_fd_async(0, None, told, "data")), None)
    assert_type(result_of(lambda: connection.send_fd_async(0, None, None)), None)
    assert_type(result_of(lambda: connection.send_fd_async(0, callback=told)), None)
    assert_type(connection.send_fd_finish(result), bool)
    assert_type(connection.receive_fd_async(), "Future[int]")
    assert_type(connection.receive_fd_async(cancellable=Cancellable()), "Future[int]")
    assert_type(result_of(lambda: connection.receive_fd_async(None, told, "data")), None)
    assert_type(result_of(lambda: connection.receive_fd_async(None, None)), None)
    assert_type(connection.receive_fd_finish(result), int)
    assert_type(connection.send_credentials_async(), "Future[bool]")
    assert_type(result_of(lambda: connection.send_credentials_async(None, told, "data")), None)
    assert_type(connection.send_credentials_finish(result), bool)
    assert_type(connection.receive_credentials_async(), "Future[Credentials]")
    assert_type(result_of(lambda: connection.receive_credentials_async(None, told, "data")), None)
    assert_type(connection.receive_credentials_finish(result), Credentials)
    assert_type(connection.send_fake_credentials_async(1, 2, 3), "Future[bool]")
    assert_type(result_of(lambda: connection.send_fake_credentials_async(1, 2, 3, None, told, "data")), None)
    assert_type(connection.send_fake_credentials_finish(result), bool)
    assert_type(connection.send_fds_async([0]), "Future[bool]")
    assert_type(result_of(lambda: connection.send_fds_async([0], None, told, "data")), None)
    assert_type(connection.send_fds_finish(result), bool)
    assert_type(connection.receive_fds_async(), "Future[list[int]]")
    assert_type(connection.receive_fds_async(3, Cancellable()), "Future[list[int]]")
    assert_type(result_of(lambda: connection.receive_fds_async(3, None, told, "data")), None)
    assert_type(connection.receive_fds_finish(result), "list[int]")
    assert_type(connection.receive_descriptor_async(), "Future[FileDescriptor]")
    assert_type(result_of(lambda: connection.receive_descriptor_async(None, told, "data")), None)
    assert_type(connection.receive_descriptor_finish(result), FileDescriptor)
    assert_type(connection.receive_descriptors_async(), "Future[list[FileDescriptor]]")
    assert_type(result_of(lambda: connection.receive_descriptors_async(3, None, told, "data")), None)
    assert_type(connection.receive_descriptors_finish(result), "list[FileDescriptor]")
    assert_type(connection.send_message_async(b""), "Future[int]")
    assert_type(result_of(lambda: connection.send_message_async(b"", [0], Credentials(), None, told, "data")), None)
    assert_type(connection.send_message_finish(result), int)
    assert_type(connection.receive_message_async(9), "Future[Message]")
    assert_type(result_of(lambda: connection.receive_message_async(9, None, told, "data")), None)
    assert_type(connection.receive_message_finish(result), Message)
    assert_type(connection.receive_exactly(9), JoinedMessage)
    assert_type(connection.receive_exactly_async(9), "Future[JoinedMessage]")
    assert_type(connection.receive_exactly_finish(result).offsets, "tuple[range, ...]")
    assert_type(connection.peek_message_async(9), "Future[Message]")
    assert_type(connection.give_fd(FileDescriptor(3)), bool)
    assert_type(connection.give_fd_async(3), "Future[bool]")


def methods_of_streams(connection: SocketConnection, result: AsyncResult) -> None:
    """Those for bytes, with Gio's priority before the cancellable."""
    reader, writer = connection.get_input_stream(), connection.get_output_stream()
    assert_type(reader.read_async(9), "Future[bytes]")
    assert_type(result_of(lambda: reader.read_async(9, PRIORITY_LOW, None, told, "data")), None)
    assert_type(reader.read_finish(result), bytes)
    assert_type(reader.read_all_async(9), "Future[bytes]")
    assert_type(result_of(lambda: reader.read_all_async(9, PRIORITY_LOW, None, told, "data")), None)
    assert_type(reader.read_all_finish(result), bytes)
    assert_type(reader.read_bytes_async(9), "Future[Bytes]")
    assert_type(result_of(lambda: reader.read_bytes_async(9, PRIORITY_LOW, None, told, "data")), None)
    assert_type(reader.read_bytes_finish(result), Bytes)
    assert_type(reader.skip_async(9), "Future[int]")
    assert_type(result_of(lambda: reader.skip_async(9, PRIORITY_LOW, None, told, "data")), None)
    assert_type(reader.skip_finish(result), int)
    assert_type(writer.write_async(b""), "Future[int]")
    assert_type(result_of(lambda: writer.write_async(b"", PRIORITY_LOW, None, told, "data")), None)
    assert_type(writer.write_finish(result), int)
    assert_type(writer.write_bytes_async(Bytes(b"")), "Future[int]")
    assert_type(result_of(lambda: writer.write_bytes_async(Bytes(b""), PRIORITY_LOW, None, told, "data")), None)
    assert_type(writer.write_bytes_finish(result), int)
    assert_type(writer.write_all_async(b"").result().bytes_written, int)
    assert_type(result_of(lambda: writer.write_all_async(b"", PRIORITY_LOW, None, told, "data")), None)
    assert_type(writer.write_all_finish(result).ok, bool)
    assert_type(writer.flush_async(), "Future[bool]")
    assert_type(result_of(lambda: writer.flush_async(PRIORITY_LOW, None, told, "data")), None)
    assert_type(writer.flush_finish(result), bool)
    assert_type(writer.splice_async(reader), "Future[int]")
    to_the_end = OutputStreamSpliceFlags.CLOSE_TARGET
    assert_type(result_of(lambda: writer.splice_async(reader, to_the_end, PRIORITY_LOW, None, told, "data")), None)
    assert_type(writer.splice_finish(result), int)
    assert_type(connection.splice_async(connection), "Future[bool]")
    flags = IOStreamSpliceFlags.WAIT_FOR_BOTH
    assert_type(result_of(lambda: connection.splice_async(connection, flags, PRIORITY_LOW, None, told, "data")), None)
    assert_type(connection.splice_finish(result), bool)
    for stream in (connection, reader, writer):
        assert_type(stream.close_async(), "Future[bool]")
        assert_type(stream.close_finish(result), bool)
    assert_type(result_of(lambda: connection.close_async(PRIORITY_LOW, None, told, "data")), None)
    assert_type(result_of(lambda: reader.close_async(PRIORITY_LOW, None, told, "data")), None)
    assert_type(result_of(lambda: writer.close_async(PRIORITY_LOW, None, told, "data")), None)


def methods_of_sockets(sock: Socket, connection: SocketConnection, address: SocketAddress, result: AsyncResult) -> None:
    """Those of datagrams, and of connecting a connection that is there."""
    assert_type(sock.send_to_async(address, b""), "Future[int]")
    assert_type(result_of(lambda: sock.send_to_async(None, b"", None, told, "data")), None)
    assert_type(sock.send_to_finish(result), int)
    assert_type(sock.receive_from_async(9).result().address, "SocketAddress | None")
    assert_type(result_of(lambda: sock.receive_from_async(9, None, told, "data")), None)
    assert_type(sock.receive_from_finish(result).data, bytes)
    assert_type(connection.connect_async(address), "Future[bool]")
    assert_type(result_of(lambda: connection.connect_async(address, None, told, "data")), None)
    assert_type(connection.connect_finish(result), bool)


def methods_of_clients_and_listeners(
    client: SocketClient, listener: SocketListener, unix: UnixListener, address: UnixSocketAddress, result: AsyncResult
) -> None:
    """Those that end with a connection or a Socket."""
    assert_type(client.connect_async(address), "Future[UnixConnection]")
    assert_type(result_of(lambda: client.connect_async(address, None, told, "data")), None)
    connected: SocketConnection = client.connect_finish(result)
    accepting: SocketConnection = listener.accept_async().result().connection
    assert_type(result_of(lambda: listener.accept_async(None, told, "data")), None)
    accepted: SocketConnection = listener.accept_finish(result).connection
    assert_type(listener.accept_socket_async().result().socket, Socket)
    assert_type(result_of(lambda: listener.accept_socket_async(None, told, "data")), None)
    assert_type(listener.accept_socket_finish(result).socket, Socket)
    assert_type(unix.accept_async().result().connection, UnixConnection)
    assert_type(result_of(lambda: unix.accept_async(None, told, "data")), None)
    assert_type(unix.accept_finish(result).connection, UnixConnection)
    print(connected, accepting, accepted)


# --- mistakes ---


def names_that_are_not_there(connection: UnixConnection, stream: IOStream) -> None:
    """A misspelt name is an error, of the module, a class, an enum and a result."""
    unixconn.Cancelable()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    connection.recieve_fd()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    stream.send_fd(0)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    connection.receive_message(9).files()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    connection.get_socket().get_option(1, 3).number()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    IOErrorEnum.TIMEOUT.bit_length()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def arguments_that_are_none(connection: UnixConnection) -> None:
    """What would raise TypeError is an error."""
    connection.send_fd("0")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    connection.send_fd(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    connection.send_fds(0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    connection.send_fds(["0"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    connection.send_fd_async(0, told)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    connection.receive_fd_async(told)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    connection.receive_fd(0.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Socket.new_from_fd(socket.socket())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    # Without a code, as mypy has changed it.
    UnixConnection("/run/socket")  # type: ignore  # pyright: ignore[reportCallIssue]
    UnixConnection()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    connect(0)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    connect("/run/socket", timeout=0.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    listen("/run/socket", mode="0600")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
