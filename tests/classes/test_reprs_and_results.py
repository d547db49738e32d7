"""What help() and repr() tell of sockets, addresses, control messages and results; and what cannot be made."""

from __future__ import annotations

import ast
import asyncio
import copy
import enum
import inspect
import os
import pickle
import re
import socket
from pathlib import Path

import pytest

import unixconn
import unixconn.asyncio
from unixconn import (
    Socket,
    SocketAddress,
    SocketControlMessage,
    SocketFamily,
    SocketProtocol,
    SocketType,
    UnixConnection,
    UnixCredentialsMessage,
    UnixFDList,
    UnixFDMessage,
    UnixSocketAddress,
    UnixSocketAddressType,
)
from unixconn._gio import listener, output_stream, socket_types
from unixconn._kernel import epoll, message

RESULTS = [
    (socket_types, "SocketOption", "ok value"),
    (socket_types, "Datagram", "data address"),
    (socket_types, "SocketMessage", "size address messages flags"),
    (listener, "Accepted", "connection source_object"),
    (listener, "AcceptedSocket", "socket source_object"),
    (listener, "AddressAdded", "ok effective_address"),
    (output_stream, "Written", "ok bytes_written"),
]


def new(kind=SocketType.STREAM):
    """Make a Unix socket."""
    return Socket.new(SocketFamily.UNIX, kind, SocketProtocol.DEFAULT)


def docstrings(module, name):
    """Read what type checkers see of the class *name*: its docstring, and those of its fields."""
    tree = ast.parse(inspect.getsource(module))
    [found] = [each for each in ast.walk(tree) if isinstance(each, ast.ClassDef) and each.name == name]
    fields = {}
    for field, text in zip(found.body[1::2], found.body[2::2]):
        assert isinstance(field, ast.AnnAssign)
        fields[ast.unparse(field.target)] = ast.literal_eval(text.value)
    return ast.get_docstring(found), fields


class TestResults:
    @pytest.mark.parametrize(("module", "name", "fields"), RESULTS)
    def test_what_help_shows(self, module, name, fields):
        """Each has a docstring, and so has each field: the same as in the class that type checkers read."""
        kind = getattr(module, name)
        assert kind._fields == tuple(fields.split())
        shown = {field: inspect.getdoc(getattr(kind, field)) for field in kind._fields}
        assert (kind.__doc__, shown) == docstrings(module, name)
        assert "Alias for field" not in str(shown)

    @pytest.mark.parametrize(("kind", "module"), [(unixconn.Message, message), (unixconn.PollFD, epoll)])
    def test_what_help_shows_of_attributes(self, kind, module):
        """Each attribute has a docstring: the same as in the constructor, where an editor looks for it."""
        tree = ast.parse(inspect.getsource(module))
        [found] = [each for each in ast.walk(tree) if isinstance(each, ast.ClassDef) and each.name == kind.__name__]
        [constructor] = [each for each in found.body if getattr(each, "name", "") == "__init__"]
        written = {
            field.target.attr: ast.literal_eval(text.value)
            for field, text in zip(constructor.body, constructor.body[1:])
            if isinstance(field, ast.AnnAssign)
        }
        public = [name for name in kind.__slots__ if not name.startswith("_")]
        assert {name: inspect.getdoc(getattr(kind, name)) for name in public} == written != {}
        assert all(each.__doc__ for each in vars(kind).values() if isinstance(each, property))

    def test_no_two_of_one_name(self):
        """Socket.receive_message and UnixConnection.receive_message return classes of different names."""
        a, b = UnixConnection.create_pair()
        with a, b:
            a.get_output_stream().write(b"xy")
            assert type(b.get_socket().receive_message([bytearray(1)], 0)).__name__ == "SocketMessage"
            assert type(b.receive_message(1)).__name__ == "Message"


class TestSignatures:
    @pytest.mark.parametrize(("name", "result"), [("send_to_async", "int"), ("receive_from_async", "Datagram")])
    def test_what_help_shows(self, name, result):
        """The parameters and the result of an asynchronous method have their real types."""
        signature = inspect.signature(getattr(Socket, name))
        parameters = signature.parameters
        assert parameters["cancellable"].annotation == "Cancellable | None"
        assert parameters["callback"].annotation == "Callback"
        assert parameters["user_data"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        assert parameters["more"].kind is inspect.Parameter.VAR_POSITIONAL
        assert signature.return_annotation == f"Future[{result}] | None"

    def test_bases(self):
        """A Socket is what it is in Gio, and nothing else."""
        assert Socket.__mro__ == (Socket, unixconn.Object, object)


@pytest.mark.parametrize(
    "kind", [each for each in vars(unixconn).values() if inspect.isclass(each) and not issubclass(each, enum.Enum)]
)
def test_wrong_constructor_arguments(kind):
    """The text of the TypeError names a class that users know, not one that lends its constructor."""
    for arguments, named in [((0.5,) * 9, {}), ((), {"nope": 1})]:
        with pytest.raises(TypeError) as caught:
            kind(*arguments, **named)
        found = re.match(r"(\w+)\.__\w+__\(\)", str(caught.value))
        assert found is None or hasattr(unixconn, found[1])


class TestAbstract:
    @pytest.mark.parametrize("kind", [SocketAddress, SocketControlMessage])
    @pytest.mark.parametrize("arguments", [(), ("/run/x",)])
    def test_refused(self, kind, arguments):
        """It cannot be made, and the TypeError names what can."""
        with pytest.raises(TypeError, match=f"{kind.__name__} is abstract and cannot be made: make a Unix"):
            kind(*arguments)

    @pytest.mark.parametrize("kind", [SocketAddress, SocketControlMessage])
    def test_subclasses(self, kind):
        """A class below it can be made, and takes no arguments that it has not asked for."""
        mine = type("Mine", (kind,), {})
        assert isinstance(mine(), kind)
        with pytest.raises(TypeError):
            mine(1)


class TestReprs:
    def test_a_socket(self, tmp_path, monkeypatch):
        """Its representation has the descriptor's number, family and type, and its addresses."""
        monkeypatch.chdir(tmp_path)
        with new() as server, new() as client:
            assert repr(server) == f"<Socket {server.get_fd()} UNIX STREAM local=anonymous>"
            server.bind(UnixSocketAddress.new("x"), False)
            assert repr(server) == f"<Socket {server.get_fd()} UNIX STREAM local='x'>"
            server.listen()
            client.connect(UnixSocketAddress.new("x"))
            assert repr(client) == f"<Socket {client.get_fd()} UNIX STREAM local=anonymous peer='x'>"
            with server.accept() as accepted:
                assert repr(accepted) == f"<Socket {accepted.get_fd()} UNIX STREAM local='x' peer=anonymous>"

    def test_a_closed_socket(self):
        """It says so."""
        sock = new(SocketType.DATAGRAM)
        sock.close()
        assert repr(sock) == "<Socket closed UNIX DATAGRAM>"

    def test_a_socket_that_is_not_initialized(self):
        """Neither is one whose constructor has raised."""
        assert repr(Socket()) == repr(Socket.__new__(Socket)) == "<Socket not initialized>"

    def test_a_descriptor_that_is_no_socket_any_more(self):
        """What somebody else has done to the descriptor is no reason to raise."""
        with new() as sock, Path(os.devnull).open("rb") as null:
            os.dup2(null.fileno(), sock.get_fd())
            assert repr(sock) == f"<Socket {sock.get_fd()} UNIX STREAM>"

    @pytest.mark.skipif(not UnixSocketAddress.abstract_names_supported(), reason="no abstract namespace")
    @pytest.mark.parametrize("kind", [UnixSocketAddressType.ABSTRACT, UnixSocketAddressType.ABSTRACT_PADDED])
    def test_an_abstract_name(self, kind):
        """An abstract name shows its NUL byte, and not those that pad it."""
        name = f"unixconn-repr-{os.getpid()}"
        with new() as sock:
            sock.bind(UnixSocketAddress.new_with_type(name, kind), False)
            assert f"local='\\x00{name}'>" in repr(sock)

    def test_another_family(self):
        """A TCP socket shows its addresses as the socket module has them."""
        plain = socket.create_server(("127.0.0.1", 0))
        port = plain.getsockname()[1]
        with Socket.new_from_fd(plain.detach()) as sock:
            assert repr(sock) == f"<Socket {sock.get_fd()} IPV4 STREAM local=('127.0.0.1', {port})>"

    def test_a_class_of_ones_own(self):
        """It shows its own name."""

        class Mine(Socket):
            """A user's class."""

        assert repr(Mine()) == "<Mine not initialized>"

    def test_addresses(self):
        """An address shows its kind and its name."""
        make = UnixSocketAddress.new_with_type
        assert repr(UnixSocketAddress.new("/x")) == "<UnixSocketAddress PATH b'/x'>"
        assert repr(make(b"\xff", UnixSocketAddressType.ABSTRACT)) == "<UnixSocketAddress ABSTRACT b'\\xff'>"
        assert repr(make("", UnixSocketAddressType.ANONYMOUS)) == "<UnixSocketAddress ANONYMOUS>"
        assert repr(UnixSocketAddress.__new__(UnixSocketAddress)) == "<UnixSocketAddress invalid>"

    def test_control_messages(self):
        """A list of descriptors shows their numbers, a control message what it carries."""
        message = UnixFDMessage.new()
        message.append_fd(0)
        fds = message.get_fd_list()
        assert repr(fds) == f"<UnixFDList {fds.peek_fds()}>"
        assert repr(message) == f"<UnixFDMessage {fds!r}>"
        carrier = UnixCredentialsMessage.new()
        assert repr(carrier) == f"<UnixCredentialsMessage {carrier.get_credentials()!r}>"

    def test_a_message(self, pair):
        """A Message shows how much came, and from whom."""
        a, b = pair
        a.send_message(b"xy", [0])
        with b.receive_message(9) as message:
            assert repr(message) == "<Message: 2 bytes, 1 descriptor, no credentials>"
        b.pass_credentials()
        a.send_message(b"x")
        message = b.receive_message(9)
        assert repr(message) == f"<Message: 1 byte, 0 descriptors, {message.credentials!r}>"

    @pytest.mark.parametrize("kind", [UnixFDList, UnixFDMessage, UnixCredentialsMessage])
    def test_a_constructor_that_has_raised(self, kind):
        """What was not made as a whole has a representation all the same."""
        assert kind.__name__ in repr(kind.__new__(kind))


MADE = {
    "UnixConnection": lambda: UnixConnection.create_pair()[0],
    "Socket": new,
    "FileDescriptor": lambda: unixconn.FileDescriptor(os.dup(0)),
    "UnixFDList": UnixFDList,
    "Credentials": unixconn.Credentials,
    "Cancellable": unixconn.Cancellable,
    "Task": lambda: unixconn.Task.new(None, None, None),
    "UnixSocketAddress": lambda: UnixSocketAddress.new("x"),
    "SocketClient": unixconn.SocketClient,
    "SocketService": unixconn.SocketService,
    "MainLoop": unixconn.MainLoop,
    "MainContext": unixconn.MainContext,
    "Source": unixconn.Source,
    "Idle": unixconn.Idle,
    "a source": lambda: unixconn.Cancellable().source_new(),
    "an input stream": lambda: UnixConnection.create_pair()[0].get_input_stream(),
    "an output stream": lambda: UnixConnection.create_pair()[0].get_output_stream(),
    "a stream over a descriptor": lambda: unixconn.UnixInputStream.new(0, False),
    "props": lambda: unixconn.SocketClient().props,
    "props of a class": lambda: unixconn.SocketClient.props,
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
class TestAll:
    @pytest.mark.parametrize("name", MADE)
    @pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_no_copies(self, name, way):
        """What has a state that a copy would share says that it cannot be copied, under its own name."""
        made = MADE[name]()
        with pytest.raises(TypeError, match=f"^a {type(made).__name__} cannot be copied or pickled"):
            way(made)

    @pytest.mark.parametrize("name", MADE)
    def test_no_private_name(self, name):
        """No representation has the name of a module of the package."""
        assert "unixconn._" not in repr(MADE[name]())

    def test_a_source(self):
        """Its representation has its number and name, and whether it was destroyed."""
        source = unixconn.timeout_source_new(1000)
        assert repr(source) == "<TimeoutSource>"
        number = source.attach(unixconn.MainContext())
        source.set_name("a name")
        assert repr(source) == f"<TimeoutSource {number} 'a name'>"
        source.destroy()
        assert repr(source) == "<TimeoutSource destroyed 'a name'>"

    def test_a_stream(self):
        """Its representation has the number of its descriptor until it is closed, whatever it is built on."""
        a, b = UnixConnection.create_pair()
        with a, b:
            lines = unixconn.DataInputStream.new(a.get_input_stream())
            assert repr(a.get_output_stream()) == f"<SocketOutputStream {a.fileno()}>"
            assert repr(lines) == f"<DataInputStream {a.fileno()}>"
            lines.close()
            assert repr(lines) == "<DataInputStream closed>"
            assert repr(a.get_input_stream()) == "<SocketInputStream closed>"
        assert repr(b.get_input_stream()) == "<SocketInputStream closed>"

    def test_a_stream_whose_constructor_has_failed(self):
        """It has a representation, too."""
        assert repr(unixconn.DataInputStream.__new__(unixconn.DataInputStream)) == "<DataInputStream>"


WRONG = {
    "modify_unix_fd": lambda wrong: unixconn.Source().modify_unix_fd(wrong, 1),
    "query_unix_fd": lambda wrong: unixconn.Source().query_unix_fd(wrong),
    "remove_unix_fd": lambda wrong: unixconn.Source().remove_unix_fd(wrong),
    "remove_poll": lambda wrong: unixconn.Source().remove_poll(wrong),
    "return_int": lambda wrong: unixconn.Task.new(None, None, None).return_int(wrong),
    "run_in_thread": lambda wrong: unixconn.Task.new(None, None, None).run_in_thread(wrong),
    "find_property": lambda wrong: Socket.find_property(wrong),
    "weak_ref": lambda wrong: unixconn.Object().weak_ref(wrong),
    "limit": lambda wrong: asyncio.run(unixconn.asyncio.open_connection("x", limit=wrong)),
    "mode": lambda wrong: unixconn.listen("\0unixconn-wrong", mode=wrong),
    "write": lambda wrong: unixconn.UnixOutputStream.new(0, False).write(wrong),
    "a list to write": lambda wrong: unixconn.UnixOutputStream.new(0, False).write([wrong]),
    "new_from_array": lambda wrong: UnixFDList.new_from_array([wrong]),
    "close_fds": lambda wrong: unixconn.close_fds([wrong]),
}
"""Calls with an argument of a wrong type."""


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_type(name):
    """The TypeError shows the value, not what Python could not do with it."""
    with pytest.raises(TypeError, match=r"^[^']+ (must|not) .*Wrong") as caught:
        WRONG[name](Wrong())
    assert "has no attribute" not in str(caught.value)


class Wrong:
    """What no call takes."""

    def __repr__(self):
        return "Wrong"


def test_a_task_without_a_name():
    """What is said of it names it nevertheless."""
    task = unixconn.Task.new(None, None, None)
    assert repr(task) == "<Task pending>"
    with pytest.raises(ValueError, match=r"^the Task has not ended yet"):
        task.propagate_int()
