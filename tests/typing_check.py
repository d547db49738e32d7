"""
A user's program that names all that is public, for ``mypy --strict``.

Not run by pytest, nor meant to do anything sensible: it has to pass the type checker, and to run.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

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
from unixconn.results import Accepted

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

    def send_fd(self, fd: int, cancellable: Cancellable | None = None) -> bool:
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


def use_cancellables() -> None:
    """Cancel, and be told."""
    cancellable = Cancellable.new()
    told: list[str] = []
    callback: Callable[[], object] = lambda: told.append("told")  # noqa: E731 - a lambda's type is checked
    number: int = cancellable.connect(callback)
    Object.connect(cancellable, "cancelled", lambda owner, word: told.append(word), "and told")
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
            print(made, number, isinstance(broken, BrokenPipeError))


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
    name: str = task.get_name()
    await a.send_fd_async(0)
    fd: int = await b.receive_fd_async(Cancellable())
    os.close(fd)
    closed: bool = await a.close_async()
    print(sent, sender, name, closed, future.done(), future.result().get_unix_user())


async def use_datagrams(one: Socket, other: Socket) -> None:
    """Send to an address, and receive from one."""
    sent: int = one.send_to(None, b"x") + await one.send_to_async(None, b"x")
    data: bytes = other.receive_from(9).data + (await other.receive_from_async(9)).data
    one.send_to_async(None, b"x", None, lambda sock, result: sock.send_to_finish(result))
    other.receive_from_async(9, None, lambda sock, result: sock.receive_from_finish(result))
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
        waiting: Future[Accepted] = listener.accept_async()
        with connect(folder / "a", timeout=3) as client:
            accepted: SocketConnection = (await waiting).connection
            data: bytes = await client.get_input_stream().read_async(1) if client.is_closed() else b""
            written: int = await client.get_output_stream().write_async(b"x")
            flags = IOStreamSpliceFlags.CLOSE_STREAM1
            copying: Future[bool] = accepted.splice_async(accepted, flags)
            copying.cancel()
            print(data, written, OutputStreamSpliceFlags.NONE)
    service: SocketService = ThreadedSocketService.new(2)
    Object.connect(service, "incoming", heard)
    address = UnixSocketAddress.new(folder / "b")
    added: bool = service.add_address(address, SocketType.STREAM, SocketProtocol.DEFAULT).ok
    connection: SocketConnection = await SocketClient(timeout=3).connect_async(address)
    connection.close()
    service.close()
    print(TcpConnection, SocketMsgFlags.PEEK)
    print(added, SocketClientEvent.COMPLETE, SocketListenerEvent.BOUND, SocketListener().list_properties())
    with listen(folder / "c") as server:
        one: UnixListener = server
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


if __name__ == "__main__":
    main()
