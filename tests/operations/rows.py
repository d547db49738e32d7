"""The rows of the table of operations: each operation that has an asynchronous form."""

from __future__ import annotations

import contextlib
import os

from helpers import collect, fill, is_on, settle, take
from operations.row import NUMBERS, Operation
from ways import BACKGROUND, WAYS, iterate

from unixconn import (
    BufferedInputStream,
    Bytes,
    Credentials,
    DataInputStream,
    FileDescriptor,
    IOCondition,
    IOStreamSpliceFlags,
    Line,
    OutputStreamSpliceFlags,
    Socket,
    SocketClient,
    SocketFamily,
    SocketListener,
    SocketProtocol,
    SocketType,
    Text,
    UnixConnection,
    UnixSocketAddress,
    UnixSocketAddressType,
)


class OfConnection(Operation):
    """One of a connection's own."""

    def open(self):
        """Make a pair."""
        self.owner, self.peer = (self.stack.enter_context(each) for each in UnixConnection.create_pair())

    def settled(self):
        """Fail if SO_PASSCRED has stayed on, too."""
        super().settled()
        if not self.owner.is_closed():
            assert not is_on(self.owner)


class Receiving(OfConnection):
    """What waits for a message."""

    gone = (18, "Connection closed by the peer")
    keeps_a_descriptor = True

    def ready(self):
        """Send a file."""
        self.is_ready = True
        self.peer.send_fd(self.file())

    def done(self):
        assert settle(lambda: self.owner.get_socket().get_available_bytes() == 0)
        self.forget()

    def check(self, value):
        """Look at the file, and see that there is no more."""
        self.check_file(value)

    def again(self):
        """See that the message was not consumed, and that there is one."""
        super().again()
        assert self.owner.get_socket().get_available_bytes() == 0


class ReceiveFd(Receiving):
    name = "receive_fd"
    symbol = "g_unix_connection_receive_fd"


class ReceiveDescriptor(Receiving):
    name = "receive_descriptor"
    symbol = "unixconn_receive_descriptor"


class ReceiveFds(Receiving):
    name = "receive_fds"
    symbol = "unixconn_receive_fds"

    def arguments(self):
        return {"count": None}

    def check(self, value):
        [found] = value
        self.check_file(found)


class ReceiveSoManyFds(ReceiveFds):
    """A count that comes with several messages."""

    def arguments(self):
        return {"count": 3}

    def ready(self):
        self.is_ready = True
        for _ in range(3):
            self.peer.send_fd(self.file())

    def check(self, value):
        assert len(value) == 3
        for each in value:
            self.check_file(each)


class ReceiveDescriptors(ReceiveFds):
    name = "receive_descriptors"
    symbol = "unixconn_receive_descriptors"


class ReceiveMessage(Receiving):
    name = "receive_message"
    symbol = "unixconn_receive_message"

    def arguments(self):
        return {"max_bytes": 100}

    def ready(self):
        self.is_ready = True
        self.peer.send_message(b"hello", [self.file()])

    def check(self, value):
        assert (value.data, value.credentials, value.pidfd, len(value.fds)) == (b"hello", None, None, 1)
        self.check_file(value.fds[0])
        value.close()


class ReceiveExactly(ReceiveMessage):
    """Bytes of two messages; the descriptor comes with the first."""

    name = "receive_exactly"
    symbol = "unixconn_receive_exactly"

    def arguments(self):
        return {"size": 5}

    def ready(self):
        self.is_ready = True
        self.peer.send_message(b"hel", [self.file()])
        self.peer.send_message(b"lo")

    def check(self, value):
        assert value.offsets == (range(3),)
        super().check(value)


class PeekMessage(ReceiveMessage):
    """What it leaves there is what `check` takes."""

    name = "peek_message"
    symbol = "unixconn_peek_message"
    several = None

    def done(self):
        assert settle(lambda: self.owner.get_socket().get_available_bytes() > 0)
        self.owner.receive_message(100).close()
        self.forget()

    def check(self, value):
        with self.owner.receive_message(100) as message:
            assert (message.data, len(message.fds)) == (value.data, 1)
        super().check(value)


class ReceiveCredentials(Receiving):
    name = "receive_credentials"
    symbol = "g_unix_connection_receive_credentials"
    gone = (0, "Expecting to read a single byte for receiving credentials but read zero bytes")
    keeps_a_descriptor = False

    def ready(self):
        self.is_ready = True
        self.peer.send_credentials()

    def check(self, value):
        assert isinstance(value, Credentials)
        assert (value.get_unix_pid(), value.get_unix_user()) == (os.getpid(), os.geteuid())


class Sending(OfConnection):
    """What waits for room in the queue."""

    gone = (44, "Error sending message: Broken pipe")

    def block(self):
        """Fill the queue."""
        fill(self.owner)

    def unblock(self, _count=1):
        """Take what was there, and no more: what the operation sends stays."""
        self.is_ready = True
        take(self.peer, self.peer.get_socket().get_available_bytes())

    def ready(self):
        """Take what may be there."""
        self.unblock()

    def done(self):
        self.check(True)

    def check(self, value):
        """Receive what was sent."""
        assert value is True
        self.check_file(self.peer.receive_fd())

    def again(self):
        """See that what has failed has sent nothing."""
        if not self.owner.is_closed():
            self.unblock()
        self.forget()
        super().again()
        assert self.peer.get_socket().get_available_bytes() == 0


class SendFd(Sending):
    name = "send_fd"
    symbol = "g_unix_connection_send_fd"

    def arguments(self):
        return {"fd": self.file()}


class GiveFd(Sending):
    """What is given away is closed in any case: here, or when the test counts the descriptors."""

    name = "give_fd"
    symbol = "unixconn_give_fd"

    def arguments(self):
        self.given = FileDescriptor(os.dup(self.file()))
        return {"fd": self.given}

    def check(self, value):
        assert self.given.closed
        super().check(value)


class SendFds(Sending):
    name = "send_fds"
    symbol = "unixconn_send_fds"

    def arguments(self):
        return {"fds": [self.file(), self.file()]}

    def check(self, value):
        assert value is True
        for each in self.peer.receive_fds(2):
            self.check_file(each)


class SendMessage(Sending):
    name = "send_message"
    symbol = "unixconn_send_message"

    def arguments(self):
        return {"data": b"hello", "fds": [self.file()], "credentials": None}

    def done(self):
        self.check(5)

    def check(self, value):
        assert value == 5
        with self.peer.receive_message(100) as message:
            assert message.data == b"hello"
            self.check_file(message.fds[0])


class SendCredentials(Sending):
    name = "send_credentials"
    symbol = "g_unix_connection_send_credentials"
    prefix = "Error sending credentials: "
    gone = (44, "Error sending credentials: Error sending message: Broken pipe")
    closed = f"{prefix}Socket is already closed"
    closed_meanwhile = closed
    timed_out = f"{prefix}Operation timed out"
    cancelled = f"{prefix}Operation was cancelled"

    def check(self, value):
        assert value is True
        assert self.peer.receive_credentials().get_unix_pid() == os.getpid()


class SendFakeCredentials(SendCredentials):
    name = "send_fake_credentials"
    symbol = "g_unix_connection_send_fake_credentials"

    def arguments(self):
        return {"pid": os.getpid(), "uid": os.geteuid(), "gid": os.getegid()}


class Datagrams(Operation):
    """Two sockets with names of their own."""

    def open(self):
        self.owner, self.other = (
            self.stack.enter_context(Socket.new(SocketFamily.UNIX, SocketType.DATAGRAM, SocketProtocol.DEFAULT))
            for _ in range(2)
        )
        for each in (self.owner, self.other):
            each.bind(new_address(), False)
        self.address = self.other.get_local_address()

    def sockets(self):
        return [self.owner]


class SendTo(Datagrams):
    name = "send_to"
    symbol = "unixconn_socket_send_to"
    gone = (39, "Error sending message: Connection refused")
    count = 0

    def arguments(self):
        return {"address": self.address, "buffer": b"hello"}

    def block(self):
        self.owner.set_blocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.owner.send_to(self.address, b"x")
                self.count += 1
        self.owner.set_blocking(True)

    def unblock(self, _count=1):
        self.is_ready = True
        while self.count:
            assert self.other.receive(9) == b"x"
            self.count -= 1

    def ready(self):
        self.unblock()

    def leave(self):
        self.other.close()

    def done(self):
        self.check(5)

    def check(self, value):
        assert value == 5
        data, sender = self.other.receive_from(9)
        assert (data, sender.get_path()) == (b"hello", self.owner.get_local_address().get_path())

    def again(self):
        self.unblock()
        super().again()
        assert self.other.get_available_bytes() == 0


class ReceiveFrom(Datagrams):
    name = "receive_from"
    symbol = "unixconn_socket_receive_from"
    waits_anyway = BACKGROUND

    def arguments(self):
        return {"size": 9}

    def ready(self):
        self.is_ready = True
        self.other.send_to(self.owner.get_local_address(), b"hello")

    def done(self):
        assert settle(lambda: self.owner.get_available_bytes() == 0)

    def check(self, value):
        assert value.data == b"hello"
        assert value.address.get_path() == self.address.get_path()


class OfStream(Operation):
    """One of a stream's."""

    several = "pending"
    has_int = True
    waits_anyway = tuple(WAYS)
    closed = "Stream is already closed"

    def open(self):
        self.connection, self.peer = (self.stack.enter_context(each) for each in UnixConnection.create_pair())

    def close_meanwhile(self):
        """Close the connection: a stream alone is pending."""
        self.connection.close()

    def sockets(self):
        return [self.connection.get_socket()]


class Read(OfStream):
    name = "read"
    symbol = "g_input_stream_read"
    count, result, gone = 9, b"hello", b""

    def open(self):
        super().open()
        self.owner = self.connection.get_input_stream()

    def arguments(self):
        return {"count": self.count}

    def ready(self):
        self.is_ready = True
        self.peer.get_output_stream().write(b"hello")

    def done(self):
        iterate(lambda: not self.owner.has_pending())
        assert self.connection.get_socket().get_available_bytes() == 0

    def check(self, value):
        assert (type(value), value) == (type(self.result), self.result)


class ReadBytes(Read):
    name = "read_bytes"
    symbol = "g_input_stream_read_bytes"
    result, gone = Bytes(b"hello"), Bytes(b"")


class ReadAll(Read):
    name = "read_all"
    symbol = "g_input_stream_read_all"
    count = 5


class Skip(Read):
    name = "skip"
    symbol = "g_input_stream_skip"
    count, result, gone = 5, 5, 0


class Fill(Read):
    name = "fill"
    symbol = "g_buffered_input_stream_fill"
    result, gone = 5, 0

    def open(self):
        super().open()
        self.owner = BufferedInputStream(self.owner)


class ReadLine(Read):
    name = "read_line"
    symbol = "g_data_input_stream_read_line"
    result, gone = Line(b"hello", 5), Line(b"", 0)

    def open(self):
        super().open()
        self.owner = DataInputStream(self.owner)

    def arguments(self):
        return {}

    def ready(self):
        self.is_ready = True
        self.peer.get_output_stream().write(b"hello\n")


class ReadUpto(ReadLine):
    name = "read_upto"
    symbol = "g_data_input_stream_read_upto"
    result, gone = Text("hello", 5), Text(None, 0)

    def arguments(self):
        return {"stop_chars": ";\n", "stop_chars_len": -1}

    def done(self):
        super().done()
        self.take_stop()

    def check(self, value):
        super().check(value)
        if value == self.result:
            self.take_stop()

    def take_stop(self):
        """Take the character that has ended the text."""
        assert self.owner.read_byte() == ord("\n")


class Write(OfStream):
    name = "write"
    symbol = "g_output_stream_write"
    data = b"hello"
    result: object = 5
    gone = (44, "Error sending data: Broken pipe")

    def open(self):
        super().open()
        self.owner = self.connection.get_output_stream()

    def arguments(self):
        return {"buffer": self.data}

    def block(self):
        fill(self.connection)

    def unblock(self, _count=1):
        self.is_ready = True
        take(self.peer, self.peer.get_socket().get_available_bytes())

    def ready(self):
        self.unblock()

    def done(self):
        iterate(lambda: not self.owner.has_pending())
        self.check(self.result)

    def check(self, value):
        assert value == self.result
        assert self.peer.get_input_stream().read_all(5) == b"hello"

    def again(self):
        self.unblock()
        super().again()
        assert self.peer.get_socket().get_available_bytes() == 0


class WriteBytes(Write):
    name = "write_bytes"
    symbol = "g_output_stream_write_bytes"
    data = Bytes(b"hello")

    def arguments(self):
        return {"bytes": self.data}


class WriteAll(Write):
    name = "write_all"
    symbol = "g_output_stream_write_all"
    result = (True, 5)


class Flush(Write):
    name = "flush"
    symbol = "g_output_stream_flush"
    waits = False
    # As in Gio: the plain form does nothing that could be cancelled.
    plain_heeds_cancellable = False

    def arguments(self):
        return {}

    def done(self):
        iterate(lambda: not self.owner.has_pending())

    def check(self, value):
        assert value is True


class Splice(OfStream):
    """From one connection to another, until the first one's end."""

    name = "splice"
    symbol = "g_output_stream_splice"
    repeats = False
    gone = 0

    def open(self):
        super().open()
        self.target, self.last = (self.stack.enter_context(each) for each in UnixConnection.create_pair())
        self.owner = self.target.get_output_stream()

    def arguments(self):
        return {"source": self.connection.get_input_stream(), "flags": OutputStreamSpliceFlags.NONE}

    def ready(self):
        self.is_ready = True
        self.peer.get_output_stream().write(b"hello")
        self.peer.get_socket().shutdown(False, True)

    def done(self):
        assert self.last.get_input_stream().read_all(5) == b"hello"

    def check(self, value):
        assert value == 5
        assert self.last.get_input_stream().read_all(5) == b"hello"

    def settled(self):
        super().settled()
        assert not self.connection.get_input_stream().has_pending()


class SpliceBoth(Splice):
    """Both ways, until one ends."""

    name = "splice"
    symbol = "g_io_stream_splice"
    finish_is_of_an_object = False
    is_blocking = False
    gone = True
    closed = "Socket is already closed"

    def open(self):
        super().open()
        self.owner = self.connection

    def arguments(self):
        return {"stream2": self.target, "flags": IOStreamSpliceFlags.NONE}

    def check(self, value):
        assert value is True
        assert self.last.get_input_stream().read_all(5) == b"hello"


class Close(OfConnection):
    """It never waits, and has closed also where it fails."""

    name = "close"
    symbol = "g_io_stream_close"
    waits = False
    closes = True
    has_int = True

    def done(self):
        iterate(self.owner.is_closed)

    def check(self, value):
        assert value is True
        assert self.owner.is_closed()
        assert self.owner.get_socket().is_closed()


class CloseInput(Read):
    name = "close"
    symbol = "g_input_stream_close"
    waits = False
    closes = True
    has_int = True

    def arguments(self):
        return {}

    def ready(self):
        self.is_ready = True

    def done(self):
        iterate(self.owner.is_closed)

    def check(self, value):
        assert value is True
        assert self.owner.is_closed()
        assert not self.connection.is_closed()
        self.connection.get_output_stream().write(b"x")
        assert self.peer.get_input_stream().read(9) == b"x"


class CloseOutput(Write):
    name = "close"
    symbol = "g_output_stream_close"
    waits = False
    closes = True
    has_int = True

    def arguments(self):
        return {}

    def done(self):
        iterate(self.owner.is_closed)

    def check(self, value):
        assert value is True
        assert self.owner.is_closed()
        assert not self.connection.is_closed()
        self.peer.get_output_stream().write(b"x")
        assert self.connection.get_input_stream().read(9) == b"x"


def ended(sock):
    """Return whether the peer of a Socket has closed it, after a collection."""
    collect()
    return bool(sock.condition_check(IOCondition.HUP))


def new_address():
    """Return a name that nobody has, of no file."""
    return UnixSocketAddress.new_with_type(
        f"unixconn-{os.getpid()}-{next(NUMBERS)}".encode(), UnixSocketAddressType.ABSTRACT
    )


class Connecting(Operation):
    """To a socket that has room for one more, or for none."""

    several = None
    repeats = False
    gone = (39, "Connection refused")

    def open(self):
        self.address = new_address()
        self.server = self.stack.enter_context(Socket.new(SocketFamily.UNIX, SocketType.STREAM, SocketProtocol.DEFAULT))
        self.server.bind(self.address, False)
        self.server.set_listen_backlog(0)
        self.server.listen()

    def block(self):
        self.stack.enter_context(SocketClient().connect(self.address))

    def unblock(self, _count=1):
        self.is_ready = True
        self.server.accept().close()

    def leave(self):
        self.server.close()

    def ready(self):
        """Accept whoever waits."""
        self.is_ready = True
        self.server.set_blocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.server.accept().close()
        self.server.set_blocking(True)

    def arguments(self):
        return {"address": self.address}

    def check(self, value):
        """Talk to who accepts."""
        self.check_connection(value)
        with self.server.accept() as accepted:
            assert accepted.send(b"x") == 1
            assert value.get_socket().receive(9) == b"x"


class SocketConnects(Connecting):
    name = "connect"
    symbol = "g_socket_connection_connect"

    def open(self):
        super().open()
        sock = Socket.new(SocketFamily.UNIX, SocketType.STREAM, SocketProtocol.DEFAULT)
        self.owner = self.stack.enter_context(UnixConnection(socket=sock))

    def done(self):
        assert settle(self.owner.is_connected)

    def check(self, value):
        assert value is True
        assert self.owner.is_connected()
        with self.server.accept() as accepted:
            assert accepted.send(b"x") == 1
            assert self.owner.get_socket().receive(9) == b"x"


class ClientConnects(Connecting):
    name = "connect"
    symbol = "g_socket_client_connect"
    begins_at_once = False
    prefix = "Could not connect: "
    gone = (39, "Could not connect: Connection refused")
    timed_out = f"{prefix}Operation timed out"
    waits_anyway = tuple(WAYS)
    keeps_a_descriptor = True
    closed = None

    def open(self):
        super().open()
        self.owner = SocketClient()

    def arguments(self):
        return {"connectable": self.address}

    def done(self):
        """Accept it, and see that it is closed, as nobody has it."""
        iterate(lambda: self.server.condition_check(IOCondition.IN))
        with self.server.accept() as accepted:
            iterate(lambda: ended(accepted))

    def check(self, value):
        assert type(value) is UnixConnection
        assert value.get_remote_address().get_path() == self.address.get_path()
        with value, self.server.accept() as accepted:
            assert accepted.send(b"x") == 1
            assert value.get_socket().receive(9) == b"x"

    def sockets(self):
        return [self.owner]


class Accepting(Operation):
    """From a listener of one socket."""

    closed = "Listener is already closed"
    closed_meanwhile = "Listener is already closed"
    waits_anyway = tuple(WAYS)
    keeps_a_descriptor = True

    has_timeout = False

    def sockets(self):
        return []

    def open(self):
        self.owner = self.stack.enter_context(SocketListener())
        self.address = new_address()
        self.owner.add_address(self.address, SocketType.STREAM, SocketProtocol.DEFAULT)
        self.clients = []

    def ready(self):
        self.is_ready = True
        self.clients.append(self.stack.enter_context(SocketClient().connect(self.address)))

    def done(self):
        """See that what was accepted is closed, as nobody has it."""
        client = self.clients.pop(0)
        iterate(lambda: ended(client.get_socket()))

    def check_socket(self, accepted):
        """Talk to the client that has come first."""
        assert not os.get_inheritable(accepted.get_fd())
        client = self.clients.pop(0)
        assert client.get_output_stream().write(b"x") == 1
        assert accepted.receive(9) == b"x"


class Accept(Accepting):
    name = "accept"
    symbol = "g_socket_listener_accept"

    def check(self, value):
        with value.connection as accepted:
            assert value == (accepted, None)
            assert type(accepted) is UnixConnection
            self.check_socket(accepted.get_socket())


class AcceptSocket(Accepting):
    name = "accept_socket"
    symbol = "g_socket_listener_accept_socket"

    def check(self, value):
        with value.socket as accepted:
            assert value == (accepted, None)
            self.check_socket(accepted)
