"""
The operations that make, take or close descriptors, and the sockets that they use.

test_storms.py and storms.py have signal handlers raise in them, injections.py lets their system calls fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import itertools
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import unixconn
from unixconn import Cancellable, Error, FileDescriptor, MainContext, Socket, SocketType, UnixConnection
from unixconn._cli.ending import Closer
from unixconn._cli.main import main
from unixconn._cli.receiver import Receiver

PYPY = sys.implementation.name == "pypy"
RETURN_IS_ATOMIC = not PYPY and sys.version_info >= (3, 11)
PASSCRED = (socket.SOL_SOCKET, getattr(socket, "SO_PASSCRED", 16))  # PyPy has no name for it
STREAM, SEQPACKET = SocketType.STREAM, SocketType.SEQPACKET


class Place:
    """The sockets that the operations use, and what is under way in them."""

    def __init__(self, folder: Path) -> None:
        self.pairs = {kind: UnixConnection.create_pair(kind) for kind in (STREAM, SEQPACKET, SocketType.DATAGRAM)}
        self.a, self.b = self.pairs[STREAM]
        self.fds = [os.open(os.devnull, os.O_RDONLY), os.open(os.devnull, os.O_RDONLY)]
        self.folder = folder
        self.address = unixconn.UnixSocketAddress.new(folder / "socket")
        self.listening = Socket.new(unixconn.SocketFamily.UNIX, STREAM, unixconn.SocketProtocol.DEFAULT)
        self.listening.bind(self.address, False)
        self.listening.set_listen_backlog(4000)
        self.listening.listen()
        self.listener = unixconn.SocketListener()
        self.listener.add_socket(self.listening)
        self.cancellable = Cancellable.with_timeout(3600)
        self.before = open_count()
        """How many descriptors were open when they were counted."""
        self.deadlines: list[Cancellable] = []
        self.numbers = itertools.count()
        self.open: list[Any] = []
        """What a round has made beside its operation, to be closed after it."""
        self.sent: bytes | None = None
        """The bytes that came to the operation of this round, if these are counted."""
        self.rest: Callable[[list[Any]], bytes] = lambda _: b""
        """Returns the bytes in the operation's result, if there is one, and all that are left for the next reads."""
        self.missing: list[tuple[str, bytes]] = []
        """The operations that have lost or doubled bytes, and what came of them."""

    def keep(self, made: Any) -> Any:
        """Return *made*, which is closed after this round."""
        self.open.append(made)
        return made

    def new_path(self) -> Path:
        """Return a path that nobody has used, as a socket that was dropped may live until a collection."""
        path = self.folder / f"door {next(self.numbers)}"
        self.keep(Closing(lambda: path.unlink(missing_ok=True)))
        return path

    def deadline(self) -> Cancellable:
        """
        Return a Cancellable with a deadline that is near, and keep it, so that its descriptor is seen.

        Not where a handler may also run between an Error and the try statement that follows it: the descriptor of a
        wait may then stay open until the Cancellable is dropped.
        """
        made = Cancellable.with_timeout(0.0005)
        if RETURN_IS_ATOMIC:
            self.deadlines.append(made)
        return made

    def silent(self, kind: SocketType = STREAM) -> UnixConnection:
        """Return a connection to which nothing comes; for the same reason one that is closed after this round."""
        end = self.pairs[kind][1]
        if not RETURN_IS_ATOMIC:
            end, _ = (self.keep(each) for each in UnixConnection.create_pair(kind))
        return end

    def descriptor(self) -> FileDescriptor:
        """Return a FileDescriptor."""
        return self.keep(FileDescriptor(os.dup(self.fds[0])))  # type: ignore[no-any-return]

    def count_bytes(self, name: str, results: list[Any]) -> None:
        """Note the operation *name* if not all bytes came."""
        if self.sent is not None:
            came = self.rest(results)
            if came != self.sent:
                self.missing.append((name, came))
            self.sent = None
            results.clear()

    def tidy(self, results: list[Any]) -> bool:
        """Close *results*, and what is under way; return whether SO_PASSCRED is as it was."""
        while (context := MainContext.get_thread_default()) is not None:
            context.pop_thread_default()
        while results:
            shut(results.pop())
        while self.open:
            shut(self.open.pop())
        is_off = True
        for each in self.pairs.values():
            for end in each:
                if end.get_socket().get_option(*PASSCRED).value:
                    is_off = False
                    end.get_socket().set_option(*PASSCRED, 0)
                self.empty(end)
        while select_in(self.listening.get_fd()):
            self.listening.accept().close()
        return is_off

    @staticmethod
    def empty(connection: UnixConnection) -> None:
        """Take what has come."""
        inner = connection.get_socket()
        handle = inner._handle
        if not (handle.leftovers or handle.is_aside or select_in(inner.get_fd())):
            return
        inner.set_blocking(False)
        for receive in (lambda: connection.receive_message(10), connection.receive_fds):
            try:
                while True:
                    shut(receive())
            except unixconn.WouldBlockError:
                pass
            except Error:
                continue
        inner.set_blocking(True)

    def close(self) -> None:
        """Close all."""
        for each in self.pairs.values():
            for end in each:
                end.close()
        for fd in self.fds:
            os.close(fd)
        self.listener.close()


def select_in(fd: int) -> bool:
    """Return whether something has come."""
    import select

    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


def shut(result: Any) -> None:
    """Close what an operation has returned, or the descriptors in it."""
    if isinstance(result, bool):
        return
    if isinstance(result, int):
        os.close(result)
    elif hasattr(result, "messages"):
        shut(result.messages)
    elif isinstance(result, (tuple, list)) and not hasattr(result, "close"):
        for each in result:
            shut(each)
    elif isinstance(result, unixconn.UnixFDMessage):
        unixconn.close_fds(result.steal_fds())
    elif hasattr(result, "close"):
        if isinstance(result, FileDescriptor) and not result.closed:
            os.fstat(result.fileno())  # fails if it has had another owner, which has closed it
        result.close()


Taken = tuple[Callable[..., Any], tuple[Any, ...]]
"""What is interrupted: a function, and its arguments."""


def fds_came(place: Place, *counts: int, kind: SocketType = STREAM, data: bytes = b"abc") -> UnixConnection:
    """Send messages with so many descriptors, and return the connection that they come to."""
    a, b = place.pairs[kind]
    for count in counts:
        a.send_message(data, place.fds[:count])
    return b


def fd_came(place: Place, *counts: int) -> UnixConnection:
    """Send messages of one byte, and return the connection that they come to."""
    for count in counts or (1,):
        place.a.send_fds(place.fds[:count])
    return place.b


def kept_came(place: Place) -> UnixConnection:
    """Return a connection to which two descriptors came, and which is closed after this round."""
    a, b = (place.keep(each) for each in UnixConnection.create_pair())
    a.send_fds(place.fds)
    return b  # type: ignore[no-any-return]


def one_came(place: Place) -> UnixConnection:
    """Return a connection as `Place.silent` does, to which one message came."""
    if RETURN_IS_ATOMIC:
        return fd_came(place)
    a, b = (place.keep(each) for each in UnixConnection.create_pair())
    a.send_fd(place.fds[0])
    return b  # type: ignore[no-any-return]


def too_few_came(place: Place) -> UnixConnection:
    """Return a connection that keeps three bytes and two descriptors, as more bytes were asked for."""
    a, b = (place.keep(each) for each in UnixConnection.create_pair())
    a.send_message(b"abc", place.fds)
    b.get_socket().set_blocking(False)
    with contextlib.suppress(unixconn.WouldBlockError):
        b.receive_exactly(6)
    b.get_socket().set_blocking(True)
    return b  # type: ignore[no-any-return]


def refusing(place: Place, kind: SocketType = STREAM) -> UnixConnection:
    """Return a connection that refuses the descriptors that have come to it."""
    a, b = (place.keep(each) for each in UnixConnection.create_pair(kind))
    a.send_fds(place.fds)
    b.refuse_fds()
    return b  # type: ignore[no-any-return]


def identified(place: Place) -> UnixConnection:
    """Return a connection to which a descriptor came, with the sender's credentials and pidfd."""
    a, b = (place.keep(each) for each in UnixConnection.create_pair())
    b.pass_credentials()
    with contextlib.suppress(Error):
        b.pass_pidfds()
    a.send_fd(place.fds[0])
    return b  # type: ignore[no-any-return]


def non_blocking(connection: UnixConnection) -> UnixConnection:
    """Return a connection that does not wait."""
    connection.get_socket().set_blocking(False)
    return connection


def lines_of(connection: UnixConnection) -> unixconn.DataInputStream:
    """Return a stream that reads ahead from a connection, and does not close it."""
    return unixconn.DataInputStream(connection.get_input_stream(), close_base_stream=False)


def met(place: Place) -> UnixConnection:
    """Return a connection of which a stream has read the byte that a descriptor came with."""
    fd_came(place).get_input_stream().read(1)
    return place.b


def result_of(place: Place, name: str, *arguments: Any) -> Taken:
    """Start an asynchronous form, iterate until its callback, and return what takes the result."""
    found: list[Any] = []
    getattr(place.b, name + "_async")(*arguments, None, lambda _, result: found.append(result))
    while not found:
        MainContext.default().iteration(True)

    def close() -> None:
        if found[0]._result:
            shut(getattr(place.b, name + "_finish")(found[0]))

    place.keep(Closing(close))
    return getattr(place.b, name + "_finish"), (found[0],)


class Closing:
    """Has something that closes."""

    def __init__(self, close: Callable[[], None]) -> None:
        self.close = close


def in_context(connection: UnixConnection, name: str, *arguments: Any) -> Taken:
    """Return what starts an asynchronous form, and iterates until its callback has the result."""
    context = MainContext()
    start, finish = getattr(connection, name + "_async"), getattr(connection, name + "_finish")
    found: dict[Any, Any] = {}
    context.push_thread_default()

    def call() -> Any:
        # A callback in C, as an exception that comes in a function of the user's is not the library's.
        start(*arguments, None, found.setdefault)
        while not found:
            context.iteration(True)
        return finish(found[connection])

    return call, ()


def without_result(taken: Taken) -> Taken:
    """Return *taken* for an operation whose result is a number, and no descriptor."""
    function, arguments = taken

    def call() -> None:
        function(*arguments)

    return call, ()


def by_future(owner: Any, name: str, *arguments: Any) -> Taken:
    """Return what starts an asynchronous form, and waits for its Future."""
    start = getattr(owner, name + "_async")
    return (lambda: start(*arguments).result(60)), ()


def in_loop(place: Place, owner: Any, name: str, *arguments: Any) -> Taken:
    """Return what awaits an asynchronous form in an event loop of asyncio."""
    loop = asyncio.new_event_loop()
    # What a handler raises in a callback of the loop's goes no further.
    loop.set_exception_handler(lambda *_: None)

    async def perform() -> Any:
        return await getattr(owner, name + "_async")(*arguments)

    task = loop.create_task(perform())

    place.keep(Closing(lambda: end_task(loop, task)))
    return loop.run_until_complete, (task,)


def end_task(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """End a task, and its loop."""
    # A handler may have raised in the end of run_forever. On CPython 3.13, no `finally` covers the jump back before it.
    loop._thread_id = None  # type: ignore[attr-defined]
    asyncio._set_running_loop(None)
    # They would keep the loop, and with it what the library has for it.
    sys.set_asyncgen_hooks(None, None)
    task.cancel()
    # A handler may have raised in asyncio's own steps: the task may never end, or its end stop the loop early.
    with contextlib.suppress(RuntimeError):
        loop.run_until_complete(asyncio.wait([task], timeout=0.1))
    loop.close()


def fds_and_more(place: Place) -> Taken:
    """A Socket receives a message."""
    inner = fds_came(place, 2).get_socket()
    return inner.receive_message, ([bytearray(9)], 0)


def shown(cancellable: Cancellable) -> None:
    """Have the descriptor of a Cancellable, and give it back."""
    cancellable.get_fd()
    cancellable.release_fd()


def fd_list(place: Place) -> unixconn.UnixFDList:
    """Return a list of two descriptors."""
    made = unixconn.UnixFDList.new()
    made.append(place.fds[0])
    made.append(place.fds[1])
    place.keep(Closing(lambda: unixconn.close_fds(made.steal_fds())))
    return made


def plain(place: Place) -> socket.socket:
    """Return a socket of the standard library."""
    return place.keep(socket.socket(socket.AF_UNIX))  # type: ignore[no-any-return]


def duplicate(place: Place) -> FileDescriptor:
    """Return a FileDescriptor that has a socket which listens."""
    return place.keep(FileDescriptor(os.dup(place.listening.get_fd())))  # type: ignore[no-any-return]


def given(place: Place) -> FileDescriptor:
    """Return a FileDescriptor that has a socket."""
    return place.keep(FileDescriptor(socket.socket(socket.AF_UNIX).detach()))  # type: ignore[no-any-return]


def dropped(make: Callable[[], object]) -> None:
    """Make something, and drop it."""
    make()


def dropping(made: object) -> Taken:
    """The last reference to *made* goes."""
    kept = [made]
    del made
    return kept.clear, ()


def cancelled() -> Cancellable:
    """Return a Cancellable that is cancelled."""
    made = Cancellable()
    made.cancel()
    return made


def with_leftovers(place: Place) -> UnixConnection:
    """Return a connection of which a stream has read the bytes that two messages with descriptors came with."""
    a, b = UnixConnection.create_pair()
    place.keep(a)
    for _ in range(2):
        a.send_fds(place.fds)
        b.get_input_stream().read(1)
    return b


def ended(future: Any) -> Any:
    """Return a Future that has its result."""
    while not future.done():
        MainContext.default().iteration(True)
    return future


def shown_for_good() -> Cancellable:
    """Return a Cancellable whose descriptor nobody gives back."""
    made = Cancellable()
    made.get_fd()
    return made


def splicing(place: Place) -> Taken:
    """What a stream reads is written to another, and the descriptors that come with it are kept."""
    a, b = (place.keep(each) for each in UnixConnection.create_pair())
    c, _ = (place.keep(each) for each in UnixConnection.create_pair())
    a.send_fds(place.fds)
    a.get_socket().shutdown(False, True)
    flags = unixconn.OutputStreamSpliceFlags.NONE
    return c.get_output_stream().splice, (b.get_input_stream(), flags)


def serving(
    place: Place,
    kind: type[unixconn.SocketService] = unixconn.SocketService,
    name: str = "incoming",
    seconds: float = 0.02,
) -> Taken:
    """A service accepts a connection, and emits the signal *name*: unless a handler has raised before that."""
    called_at(place)
    service = place.keep(kind())
    service.add_socket(Socket.new_from_fd(os.dup(place.listening.get_fd())))
    found: list[UnixConnection] = []
    service.connect(name, lambda _, connection, __: found.append(connection))

    def call() -> None:
        end = time.monotonic() + seconds
        while not found and time.monotonic() < end:
            MainContext.default().iteration(False)

    place.keep(Closing(lambda: shut(found)))
    return call, ()


def receiver(place: Place) -> Taken:
    """What ``unixconn receive`` does: a descriptor comes, and its name."""
    path = place.new_path()
    listener = place.keep(unixconn.listen(path, pass_credentials=True))
    place.keep(unixconn.connect(path)).send_message(b"name", place.fds[:1])
    closer = Closer()
    made = Receiver(
        listener,
        {os.geteuid()},
        1,
        place=lambda each: each,
        room=100,
        longest_name=255,
        closer=closer,
        say=str,
        report=str,
    )

    def end() -> None:
        # A command that is broken off ends its process. Here its accept goes on, and so do its connections.
        listener.close()
        while MainContext.default().iteration(False):
            pass
        for peer in tuple(made._peers.values()):
            made._close(peer)
        # A handler may have raised while one thread was being started: then there are two.
        for _ in range(2):
            closer.__exit__(None, None, None)

    place.keep(Closing(end))
    # What comes in a callback goes no further, and then nothing else ends the loop.
    unixconn.timeout_add(50, made._loop.quit)
    return (lambda: [each.descriptor for each in made.run()]), ()


def command(place: Place, name: str, *arguments: str) -> Taken:
    """A command is run; whoever listens does not take the connection meanwhile."""
    silence = contextlib.ExitStack()
    for redirect in (contextlib.redirect_stdout, contextlib.redirect_stderr):
        silence.enter_context(redirect(io.StringIO()))
    place.keep(silence)
    return without_result((main, ([name, os.fspath(place.address.get_path()), *arguments],)))


def serving_tasks(place: Place) -> Taken:
    """A connection has a task of its own in an event loop."""
    path = place.new_path()
    listener = place.keep(unixconn.listen(path))
    place.keep(unixconn.connect(path))

    async def handle(_: UnixConnection) -> None:
        listener.close()

    async def perform() -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(unixconn.serve(handle, listener), 0.05)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    task = loop.create_task(perform())
    place.keep(Closing(lambda: end_task(loop, task)))
    return loop.run_until_complete, (task,)


def called_at(place: Place) -> unixconn.SocketListener:
    """Return the listener, to which a socket has connected."""
    plain(place).connect(os.fspath(place.address.get_path()))
    return place.listener


def listening(place: Place) -> Taken:
    """A path is listened on."""
    path = Path(os.fspath(place.address.get_path())).with_name("other")
    return unixconn.listen, (path,)


def closing(place: Place, *, leftovers: bool = False) -> Taken:
    """A connection is closed."""
    a, b = (place.keep(each) for each in UnixConnection.create_pair())
    if leftovers:
        a.send_fds(place.fds)
        b.get_input_stream().read(1)
    return b.close, ()


DATA = b"ab\ncd\nef"


def bytes_came(place: Place, *, cut: bool = False) -> unixconn.InputStream:
    """Send bytes, with *cut* in two parts, and the end, and return the stream that they come to."""
    a, b = (place.keep(each) for each in UnixConnection.create_pair())
    if cut:  # no read takes bytes of two messages with descriptors
        a.send_message(DATA[:4], place.fds)
        a.send_message(DATA[4:], place.fds)
    else:
        a.send_message(DATA)
    a.get_socket().shutdown(False, True)
    place.sent = DATA
    return b.get_input_stream()  # type: ignore[no-any-return]


def counted(
    place: Place,
    name: str,
    *arguments: Any,
    buffered: bool = False,
    cut: bool = False,
    convert: Callable[[Any], bytes] = bytes,
) -> Taken:
    """Bytes are read, and counted."""
    source = bytes_came(place, cut=cut)
    stream = unixconn.DataInputStream(source, close_base_stream=False) if buffered else source
    place.rest = lambda results: b"".join(map(convert, results)) + stream.read()
    return getattr(stream, name), arguments


def counted_after(place: Place, name: str, *arguments: Any, **options: Any) -> Taken:
    """The same where the bytes are in the stream's buffer already."""
    taken = counted(place, name, *arguments, buffered=True, **options)
    taken[0].__self__.fill(-1)
    return taken


def counted_future(place: Place, name: str, *arguments: Any, **options: Any) -> Taken:
    """The same of an asynchronous form, whose Future is kept."""
    start, _ = counted(place, name + "_async", **options)
    rest = place.rest
    futures: list[Any] = []

    def call() -> None:
        futures.extend(itertools.starmap(start, (arguments,)))
        futures[0].result(60)

    place.rest = lambda _: rest([each.result(60) for each in futures])
    return call, ()


def counted_buffer(place: Place, size: int, *, buffered: bool = False) -> Taken:
    """Bytes are read into a buffer."""
    target = bytearray(size)
    return counted(place, "readinto", target, buffered=buffered, convert=lambda count: bytes(target[:count]))


def counted_socket(place: Place) -> Taken:
    """Bytes are received by a Socket."""
    stream = bytes_came(place)
    place.rest = lambda results: b"".join(results) + stream.read()
    return stream._socket.receive, (4,)


def as_line(line: unixconn.Line) -> bytes:
    """Return the bytes that were read."""
    return line.line + b"\n"


def as_text(text: Any) -> bytes:
    """Return the bytes that were read."""
    return (text.text + "\n").encode()  # type: ignore[no-any-return]


READS: dict[str, Callable[[Place], Taken]] = {
    "bytes read": lambda p: counted(p, "read", 4),
    "bytes read, cut": lambda p: counted(p, "read", 9, cut=True),
    "bytes read, many": lambda p: counted(p, "read", 100_000),
    "bytes read cancellable": lambda p: counted(p, "read", 4, p.cancellable),
    "bytes read until the end": lambda p: counted(p, "read", cut=True),
    "bytes read_all": lambda p: counted(p, "read_all", 7, cut=True),
    "bytes read_all cancellable": lambda p: counted(p, "read_all", 7, p.cancellable, cut=True),
    "bytes skip": lambda p: counted(p, "skip", 4, convert=lambda count: DATA[:count]),
    "bytes readinto, many": lambda p: counted_buffer(p, 100_000),
    "bytes Socket.receive": counted_socket,
    "bytes BufferedInputStream.read": lambda p: counted(p, "read", 4, buffered=True),
    "bytes BufferedInputStream.read_bytes": lambda p: counted(
        p, "read_bytes", 4, buffered=True, convert=unixconn.Bytes.get_data
    ),
    "bytes BufferedInputStream.read_all": lambda p: counted(p, "read_all", 7, buffered=True, cut=True),
    "bytes BufferedInputStream.skip": lambda p: counted_after(p, "skip", 4, convert=lambda count: DATA[:count]),
    "bytes BufferedInputStream.readinto": lambda p: counted_buffer(p, 4, buffered=True),
    "bytes fill": lambda p: counted(p, "fill", -1, buffered=True, convert=lambda _: b""),
    "bytes read_line": lambda p: counted(p, "read_line", buffered=True, convert=as_line),
    "bytes read_line in the buffer": lambda p: counted_after(p, "read_line", convert=as_line),
    "bytes read_line, cut": lambda p: counted(p, "read_line", buffered=True, cut=True, convert=as_line),
    "bytes read_line_utf8": lambda p: counted(p, "read_line_utf8", buffered=True, convert=as_text),
    "bytes read_upto": lambda p: counted(
        p, "read_upto", "d", 1, buffered=True, convert=lambda text: text.text.encode()
    ),
    "bytes read_uint32": lambda p: counted(
        p, "read_uint32", buffered=True, convert=lambda number: number.to_bytes(4, "big")
    ),
}
"""
What reads bytes: also these are counted, and none may be missing or come twice.

Where a handler may run between a function's return and the step that keeps its result, these alone can lose nothing:
the others hand a result or a Future on from one function to the next.
"""
if RETURN_IS_ATOMIC:
    READS.update(
        {
            "bytes read_bytes": lambda p: counted(p, "read_bytes", 4, convert=unixconn.Bytes.get_data),
            "bytes readinto": lambda p: counted_buffer(p, 4),
            "bytes read_async": lambda p: counted_future(p, "read", 4),
            "bytes read_all_async": lambda p: counted_future(p, "read_all", 7, cut=True),
            "bytes BufferedInputStream.read_async": lambda p: counted_future(p, "read", 4, buffered=True),
            "bytes read_line_async": lambda p: counted_future(p, "read_line", buffered=True, convert=as_line),
            "bytes read_line_async, cut": lambda p: counted_future(
                p, "read_line", buffered=True, cut=True, convert=as_line
            ),
            "bytes next": lambda p: counted(p, "__next__", buffered=True, convert=lambda line: line + b"\n"),
        }
    )


OPERATIONS: dict[str, Callable[[Place], Taken]] = {
    # What has come is handed over.
    "receive_fd": lambda p: (fd_came(p).receive_fd, ()),
    "receive_fd cancellable": lambda p: (fd_came(p).receive_fd, (p.cancellable,)),
    "receive_fd after read": lambda p: (met(p).receive_fd, ()),
    "receive_fd_async": lambda p: in_context(fd_came(p), "receive_fd"),
    "receive_fd_finish": lambda p: result_of(fd_came(p) and p, "receive_fd"),
    "receive_fds": lambda p: (fd_came(p, 2).receive_fds, ()),
    "receive_fds several": lambda p: (fd_came(p, 1, 1).receive_fds, (2,)),
    "receive_fds_async": lambda p: in_context(fd_came(p, 1, 1), "receive_fds", 2),
    "receive_descriptor": lambda p: (fd_came(p).receive_descriptor, ()),
    "receive_descriptor cancellable": lambda p: (fd_came(p).receive_descriptor, (p.cancellable,)),
    "receive_descriptor_async": lambda p: in_context(fd_came(p), "receive_descriptor"),
    "receive_descriptors": lambda p: (fd_came(p, 2).receive_descriptors, ()),
    "receive_descriptors several": lambda p: (fd_came(p, 1, 1).receive_descriptors, (2, p.cancellable)),
    "receive_message one": lambda p: (fds_came(p, 1).receive_message, (9,)),
    "receive_message two": lambda p: (fds_came(p, 2).receive_message, (9,)),
    "receive_message record": lambda p: (fds_came(p, 2, kind=SEQPACKET).receive_message, (9,)),
    "receive_message pidfd": lambda p: (identified(p).receive_message, (9,)),
    "receive_message_async": lambda p: in_context(fds_came(p, 2), "receive_message", 9),
    "receive_credentials pidfd": lambda p: (lambda c: c.get_pidfd(), (with_pidfd(p),)),
    "Socket.receive_message": fds_and_more,
    "receive_descriptors_async": lambda p: in_context(fd_came(p, 1, 1), "receive_descriptors", 2),
    "receive_credentials_async pidfd": lambda p: in_context(came_with_pidfd(p), "receive_credentials"),
    "receive_fd Future": lambda p: by_future(fd_came(p), "receive_fd"),
    "receive_descriptors Future": lambda p: by_future(fd_came(p, 1, 1), "receive_descriptors", 2),
    "receive_message Future": lambda p: by_future(fds_came(p, 2), "receive_message", 9),
    "receive_descriptor asyncio": lambda p: in_loop(p, fd_came(p), "receive_descriptor"),
    "receive_descriptors asyncio": lambda p: in_loop(p, fd_came(p, 1, 1), "receive_descriptors", 2),
    "receive_message asyncio": lambda p: in_loop(p, fds_came(p, 2), "receive_message", 9),
    "receive_exactly": lambda p: (fds_came(p, 1, 1).receive_exactly, (6,)),
    "receive_exactly_async": lambda p: in_context(fds_came(p, 1, 1), "receive_exactly", 6),
    "receive_exactly Future": lambda p: by_future(fds_came(p, 1, 1), "receive_exactly", 6),
    "receive_exactly asyncio": lambda p: in_loop(p, fds_came(p, 1, 1), "receive_exactly", 6),
    "receive_exactly of what was kept": lambda p: (too_few_came(p).receive_exactly, (3,)),
    "receive_message of what was kept": lambda p: (too_few_came(p).receive_message, (1,)),
    "read of what was kept": lambda p: (too_few_came(p).get_input_stream().read, (1,)),
    "close of what was kept": lambda p: (too_few_came(p).close, ()),
    "peek_message": lambda p: (fds_came(p, 2).peek_message, (9,)),
    "peek_message_async": lambda p: in_context(fds_came(p, 2), "peek_message", 9),
    "peek_message of what was kept": lambda p: (too_few_came(p).peek_message, (9,)),
    "splice": lambda p: without_result(splicing(p)),
    "read_async": lambda p: in_context(kept_came(p).get_input_stream(), "read", 1, 0),
    "read": lambda p: (fd_came(p, 2).get_input_stream().read, (1,)),
    "read_byte": lambda p: without_result((lines_of(fd_came(p, 2)).read_byte, ())),
    "fill_async": lambda p: without_result(in_context(lines_of(kept_came(p)), "fill", -1, 0)),
    "UnixInputStream.new": lambda p: (unixconn.UnixInputStream.new, (given(p), True)),
    "UnixInputStream.close": lambda p: (unixconn.UnixInputStream.new(given(p), True).close, ()),
    "readinto": lambda p: (fd_came(p, 2).get_input_stream().read_all, (1,)),
    # What has come is refused.
    "refused receive_fd": lambda p: (fd_came(p, 2).receive_fd, ()),
    "refused receive_fd cancellable": lambda p: (fd_came(p, 2).receive_fd, (p.cancellable,)),
    "refused receive_fds": lambda p: (fd_came(p, 2).receive_fds, (1,)),
    "refused receive_fds too few": lambda p: (non_blocking(fd_came(p)).receive_fds, (2,)),
    "timed out receive_fd": lambda p: (p.silent().receive_fd, (p.deadline(),)),
    "timed out receive_fds": lambda p: (one_came(p).receive_fds, (2, p.deadline())),
    "timed out receive_exactly": lambda p: (too_few_came(p).receive_exactly, (6, p.deadline())),
    "timed out receive_credentials": lambda p: (p.silent().receive_credentials, (p.deadline(),)),
    "timed out receive_message": lambda p: (p.silent(SEQPACKET).receive_message, (9, p.deadline())),
    "refused receive_fds_async": lambda p: in_context(fd_came(p, 2), "receive_fds", 1),
    "refused receive_descriptor Future": lambda p: by_future(fd_came(p, 2), "receive_descriptor"),
    "refused receive_descriptor asyncio": lambda p: in_loop(p, fd_came(p, 2), "receive_descriptor"),
    "refused Socket.receive_message": lambda p: (refusing(p).get_socket().receive_message, ([bytearray(9)], 0)),
    "refused receive_descriptor": lambda p: (fd_came(p, 2).receive_descriptor, ()),
    "refused receive_descriptors": lambda p: (fd_came(p, 2).receive_descriptors, (1,)),
    "refused receive_credentials": lambda p: (fd_came(p, 2).receive_credentials, ()),
    "refused receive_credentials_async": lambda p: in_context(fd_came(p, 2), "receive_credentials"),
    "refused receive_message": lambda p: (fds_came(p, 2, kind=SEQPACKET).receive_message, (1,)),
    "refused receive_message_async": lambda p: in_context(fds_came(p, 2, kind=SEQPACKET), "receive_message", 1),
    "refuse_fds receive_fd": lambda p: (refusing(p).receive_fd, ()),
    "refuse_fds receive_fds": lambda p: (refusing(p).receive_fds, ()),
    "refuse_fds receive_message": lambda p: (refusing(p).receive_message, (9,)),
    "refuse_fds read": lambda p: (refusing(p).get_input_stream().read, (1,)),
    # Descriptors are made.
    "create_pair": lambda _: (UnixConnection.create_pair, ()),
    "create_pair datagram": lambda _: (UnixConnection.create_pair, (SocketType.DATAGRAM,)),
    "create_pair dropped": lambda _: (dropped, (UnixConnection.create_pair,)),
    "Socket.new": lambda _: (Socket.new, (unixconn.SocketFamily.UNIX, STREAM, unixconn.SocketProtocol.DEFAULT)),
    "Socket.new_from_fd": lambda p: (Socket.new_from_fd, (given(p),)),
    "from_socket": lambda p: (UnixConnection.from_socket, (plain(p),)),
    "borrow": lambda p: (UnixConnection.borrow, (plain(p),)),
    "peer_credentials": lambda p: (lambda s: unixconn.peer_credentials(s).get_pidfd(), (p.b.get_socket().get_fd(),)),
    "UnixListener.from_socket": lambda p: (unixconn.UnixListener.from_socket, (duplicate(p),)),
    "to_socket": lambda p: (p.b.to_socket, ()),
    "accept": lambda p: (called_at(p).accept, ()),
    "accept cancellable": lambda p: (called_at(p).accept, (p.cancellable,)),
    "accept_socket": lambda p: (called_at(p).accept_socket, ()),
    "accept_async": lambda p: in_context(called_at(p), "accept"),
    "accept_socket_async": lambda p: in_context(called_at(p), "accept_socket"),
    "accept Future": lambda p: by_future(called_at(p), "accept"),
    "accept asyncio": lambda p: in_loop(p, called_at(p), "accept"),
    "Socket.accept": lambda p: (called_at(p) and p.listening.accept, ()),
    "SocketService": serving,
    "connect_async": lambda p: in_context(unixconn.SocketClient(), "connect", p.address),
    "connect Future": lambda p: by_future(unixconn.SocketClient(), "connect", p.address),
    "connect asyncio": lambda p: in_loop(p, unixconn.SocketClient(), "connect", p.address),
    "connect": lambda p: (unixconn.connect, (p.address.get_path(),)),
    "connect peer_uid": lambda p: (partial(unixconn.connect, peer_uid=os.geteuid()), (p.address.get_path(),)),
    "connect cancellable": lambda p: (unixconn.SocketClient().connect, (p.address, p.cancellable)),
    "listen": listening,
    "get_peer_credentials": lambda p: (p.b.get_peer_credentials, ()),
    "get_pidfd of one's own": lambda _: (unixconn.Credentials().get_pidfd, ()),
    "get_pidfd": lambda p: (p.b.get_peer_credentials().get_pidfd, ()),
    "Cancellable.get_fd": lambda _: (shown, (Cancellable(),)),
    "MainContext": lambda _: (dropped, (MainContext,)),
    "FileDescriptor": lambda p: (FileDescriptor, (p.descriptor(),)),
    "FileDescriptor.dup": lambda p: (p.descriptor().dup, ()),
    "FileDescriptor.detach": lambda p: (p.descriptor().detach, ()),
    "FileDescriptor.to_file": lambda p: (p.descriptor().to_file, ("rb",)),
    "FileDescriptor.to_socket": lambda p: (given(p).to_socket, ()),
    "FileDescriptor.close": lambda p: (p.descriptor().close, ()),
    "UnixFDList.append": lambda p: (dropped, (lambda: fd_list(p),)),
    "UnixFDList.get": lambda p: (fd_list(p).get, (0,)),
    "UnixFDList.steal_fds": lambda p: (fd_list(p).steal_fds, ()),
    "UnixFDList.new_from_array": lambda p: (unixconn.UnixFDList.new_from_array, ([p.descriptor(), p.descriptor()],)),
    "UnixFDMessage.append_fd": lambda p: (dropped, (lambda: unixconn.UnixFDMessage().append_fd(p.fds[0]),)),
    # They are duplicated until they are sent, or closed.
    "send_fd_async": lambda p: in_context(p.a, "send_fd", p.fds[0]),
    "send_fd Future": lambda p: by_future(p.a, "send_fd", p.fds[0]),
    "send_fd asyncio": lambda p: in_loop(p, p.a, "send_fd", p.fds[0]),
    "give_fd": lambda p: (p.a.give_fd, (p.descriptor(),)),
    "give_fd cancelled": lambda p: (p.a.give_fd, (p.descriptor(), cancelled())),
    "give_fd_async": lambda p: in_context(p.a, "give_fd", p.descriptor()),
    "give_fd Future": lambda p: by_future(p.a, "give_fd", p.descriptor()),
    "give_fd asyncio": lambda p: in_loop(p, p.a, "give_fd", p.descriptor()),
    "send_fds_async": lambda p: in_context(p.a, "send_fds", p.fds),
    "send_message_async": lambda p: without_result(in_context(p.a, "send_message", b"abc", p.fds, None)),
    "Message.close": lambda p: (p.keep(fds_came(p, 2).receive_message(9)).close, ()),
    "close": closing,
    "close leftovers": lambda p: closing(p, leftovers=True),
    "dropped connection": lambda p: dropping(with_leftovers(p)),
    "dropped FileDescriptor": lambda p: dropping(FileDescriptor(os.dup(p.fds[0]))),
    "dropped Message": lambda p: dropping(fds_came(p, 2).receive_message(9)),
    "dropped UnixFDList": lambda p: dropping(unixconn.UnixFDList.new_from_array([os.dup(p.fds[0])])),
    "dropped Cancellable": lambda _: dropping(shown_for_good()),
    "dropped credentials": lambda p: dropping(with_pidfd(p)),
    "UnixListener.detach": lambda p: (p.keep(unixconn.listen(p.new_path())).detach, ()),
    "dropped listener": lambda p: dropping(unixconn.listen(p.new_path())),
    "dropped result of accept": lambda p: dropping(ended(called_at(p).accept_async())),
}


PROGRAMS: dict[str, Callable[[Place], Taken]] = {
    "serve": serving_tasks,
    "command receive": receiver,
    "command send": lambda p: command(p, "send", os.devnull),
    "command send, refused": lambda p: command(p, "send", os.devnull, "--to-uid", "12345"),
    "command peer": lambda p: command(p, "peer", "--json"),
}
"""
What has thousands of steps, and threads that a handler can leave behind: for random moments alone.

The commands themselves have no handler that raises, see _cli/ending.py.
"""


def came_with_pidfd(place: Place) -> UnixConnection:
    """Return a connection to which credentials came, with a pidfd."""
    a, b = (place.keep(each) for each in UnixConnection.create_pair())
    with contextlib.suppress(Error):
        b.pass_pidfds()
    a.send_credentials()
    return b  # type: ignore[no-any-return]


def with_pidfd(place: Place) -> Any:
    """Return the credentials of a message, with a pidfd."""
    return came_with_pidfd(place).receive_credentials()


@contextlib.contextmanager
def a_place() -> Iterator[Place]:
    """Make a Place in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        try:
            yield place
        finally:
            place.close()


def open_count(before: int = -1, seconds: float = 10) -> int:
    """
    Return how many descriptors this process has, when nothing is left to collect.

    It waits until these are *before*, for so long: a thread may be about to close some, or a source of a command.
    """
    end = time.monotonic() + seconds * (before >= 0)
    while True:
        while MainContext.default().iteration(False):
            pass
        # A collection takes longer than most rounds.
        count = len(os.listdir("/proc/self/fd"))
        if count == before:
            return count
        for _ in range(4 if PYPY else 1):
            gc.collect()
        count = len(os.listdir("/proc/self/fd"))
        if count == before or time.monotonic() > end:
            return count
        time.sleep(0.005)
