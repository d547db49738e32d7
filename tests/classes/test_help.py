"""What help(), inspect and repr() show of connections and streams; and what cannot be made."""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import pydoc
import re
import socket

import pytest

import unixconn
from unixconn import (
    InputStream,
    IOStream,
    Object,
    OutputStream,
    Socket,
    SocketClient,
    SocketConnection,
    SocketListener,
    SocketType,
    TcpConnection,
    UnixConnection,
)

CLASSES = [UnixConnection, SocketConnection, IOStream, InputStream, OutputStream, Socket, SocketClient, SocketListener]
GENERATED = [
    pytest.param(kind, name, id=f"{kind.__name__}.{name}")
    for kind in (UnixConnection, SocketConnection, IOStream, InputStream, OutputStream)
    for name in vars(kind)
    if name.endswith("_async")
]


class TestBases:
    def test_of_connections(self):
        """They are those of Gio's documentation."""
        assert UnixConnection.__mro__ == (UnixConnection, SocketConnection, IOStream, Object, object)
        assert TcpConnection.__mro__ == (TcpConnection, SocketConnection, IOStream, Object, object)

    @pytest.mark.parametrize(("kind", "get"), [(InputStream, "get_input_stream"), (OutputStream, "get_output_stream")])
    def test_of_streams(self, kind, get):
        """A connection's stream is of a class of its own, which is not public, as in Gio."""
        assert kind.__mro__ == (kind, Object, object)
        with UnixConnection.create_pair()[0] as connection:
            stream = getattr(connection, get)()
            assert type(stream).__mro__[1:] == kind.__mro__
            assert stream.props.socket is connection.get_socket()
            public = {name for name in vars(type(stream)) if not name.startswith("_")}
            assert public == set()

    @pytest.mark.parametrize("kind", [UnixConnection, TcpConnection, InputStream, OutputStream])
    def test_help_names_no_other(self, kind):
        """No section of help() is about what is inherited from a class that nobody has heard of."""
        text = pydoc.plaintext.document(kind)
        found = {each.rpartition(".")[2] for each in re.findall(r"inherited from ([\w.]+)", text)}
        assert found <= {"SocketConnection", "IOStream", "Object"}


class TestSignatures:
    @pytest.mark.parametrize(("kind", "name"), GENERATED)
    def test_asynchronous_methods(self, kind, name):
        """The parameters of the plain method, then the cancellable, the callback and its data; the result is named."""
        found = inspect.signature(getattr(kind, name))
        *own, cancellable, callback, data, more = list(found.parameters.values())[1:]
        assert str(cancellable) == "cancellable: 'Cancellable | None' = None"
        assert str(callback) == "callback: 'Callback' = AWAIT"
        assert (str(data), str(more)) == ("user_data: 'object' = NO_DATA", "*more: 'object'")
        finish = inspect.signature(getattr(kind, name.replace("_async", "_finish")))
        # As in Gio, the one of IOStream.splice_async belongs to the class.
        own_finish = (
            "(result: 'AsyncResult')"
            if name == "splice_async" and kind.__name__ == "IOStream"
            else "(self, result: 'AsyncResult')"
        )
        assert str(finish).startswith(own_finish)
        assert found.return_annotation == f"Future[{finish.return_annotation}] | None"
        if own and own[-1].name == "io_priority":
            assert str(own.pop()) == "io_priority: 'int' = 0"
        plain = getattr(kind, name.replace("_async", ""), None)
        if plain is None:
            assert name == "splice_async"
            return
        theirs = inspect.signature(plain)
        assert theirs.return_annotation == finish.return_annotation
        expected = [each for each in theirs.parameters.values() if each.name not in ("self", "cancellable")]
        if name == "read_async":  # only the plain method reads until the end if it is told no number
            expected = [inspect.Parameter("count", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="int")]
        assert own == expected

    def test_a_real_type_for_each(self):
        """In place of Any, help() shows what is expected."""
        assert str(inspect.signature(UnixConnection.send_fd_async)) == (
            "(self, fd: 'FileDescriptorLike', cancellable: 'Cancellable | None' = None, callback: 'Callback' = AWAIT, "
            "user_data: 'object' = NO_DATA, *more: 'object') -> 'Future[bool] | None'"
        )
        for kind in (UnixConnection, SocketConnection, IOStream, InputStream, OutputStream):
            for name, value in vars(kind).items():
                if inspect.isfunction(value) and not name.startswith("_"):
                    assert "Any" not in str(inspect.signature(value)), name

    @pytest.mark.parametrize(("kind", "name"), GENERATED)
    def test_each_says_what_it_returns(self, kind, name):
        """A Future without a callback argument, None with one; and the finish method tells its errors."""
        text = " ".join(inspect.getdoc(getattr(kind, name)).split())
        assert (
            "Without a callback argument the call returns a `Future`; with callback=None it returns None, and the "
            "outcome is dropped."
        ) in text
        finish = name.replace("_async", "_finish")
        assert f"`{finish}`" in text
        text = " ".join(inspect.getdoc(getattr(kind, finish)).split())
        assert "TypeError if *result* is not an AsyncResult; ValueError if it belongs to another" in text

    def test_it_is_true(self):
        """With a callback, be it None, the call returns None."""
        a, b = UnixConnection.create_pair()
        with a, b:
            assert isinstance(a.send_fd_async(0), unixconn.Future)
            assert a.send_fd_async(0, None, None) is None
            assert a.send_fd_async(0, callback=None) is None
            assert a.send_fd_async(0, callback=lambda *_: None) is None

    @pytest.mark.parametrize("kind", [UnixConnection, SocketConnection])
    def test_the_constructor(self, kind):
        """It is shown with the one argument that it takes."""
        assert str(inspect.signature(kind)) == "(*, socket: 'Socket') -> 'None'"

    def test_every_method_has_a_docstring(self):
        """Those of each class, also where help() would show that of a class above it."""
        for kind in (UnixConnection, SocketConnection, IOStream, InputStream, OutputStream):
            for name, value in vars(kind).items():
                if not name.startswith("_"):
                    assert getattr(value, "__func__", value).__doc__, f"{kind.__name__}.{name}"


class TestMaking:
    @pytest.mark.parametrize("kind", [IOStream, InputStream, OutputStream])
    def test_abstract_classes(self, kind):
        """They cannot be made, as in Gio, and the error says who makes one; subclasses can."""
        with pytest.raises(TypeError, match=f"{kind.__name__} is abstract: .*(connection|UnixConnection)"):
            kind()
        assert not type("Own", (kind,), {})().is_closed()

    @pytest.mark.parametrize("kind", [UnixConnection, SocketConnection])
    @pytest.mark.parametrize(
        ("arguments", "keywords"), [(("/run/x",), {}), ((), {"socket": "/run/x"}), (("/run/x",), {"socket": None})]
    )
    def test_what_to_call_instead(self, kind, arguments, keywords):
        """Who gives a path to a constructor is told what takes one."""
        with pytest.raises(TypeError, match=r"'/run/x'\. Call unixconn\.connect\(path\)") as caught:
            kind(*arguments, **keywords)
        assert "UnixConnection.create_pair()" in str(caught.value)
        assert "UnixConnection.from_socket(sock)" in str(caught.value)

    def test_a_connection_that_was_not_made_can_go(self):
        """Nothing is left of it, and its repr does not raise."""
        for arguments in ((), ("/run/x",)):
            made = UnixConnection.__new__(UnixConnection)
            with contextlib.suppress(TypeError):
                made.__init__(*arguments)
            assert repr(made) == "<UnixConnection without a Socket>"
        del made
        gc.collect()


class TestRepr:
    def test_of_a_pair(self):
        """The descriptor, the type, and the process at the other end."""
        a, b = UnixConnection.create_pair(SocketType.SEQPACKET)
        with a, b:
            assert repr(a).startswith(f"<UnixConnection {a.fileno()} UNIX SEQPACKET ")
            assert repr(a).endswith(f" peer_pid={os.getpid()}>")

    def test_of_one_with_a_path(self, tmp_path):
        """The path that it has connected to, or that it was accepted at."""
        path = str(tmp_path / "s")
        with unixconn.listen(path) as listener, unixconn.connect(path) as client:
            accepted = listener.accept().connection
            assert f"peer={path!r}" in repr(client)
            assert f"local={path!r}" in repr(accepted)
            assert f"peer_pid={os.getpid()}" in repr(client)
            accepted.close()

    def test_of_a_closed_one(self):
        """It says so, whoever has closed the Socket."""
        a, b = UnixConnection.create_pair()
        a.close()
        b.get_socket().close()
        for each in (a, b):
            assert repr(each) == "<UnixConnection closed UNIX STREAM>"

    def test_of_one_without_a_peer(self):
        """Its peer is not named."""
        sock = Socket.new(1, 1, 0)
        with SocketConnection(socket=sock) as connection:
            assert re.fullmatch(rf"<SocketConnection {sock.get_fd()} UNIX STREAM( local=\w+)?>", repr(connection))

    def test_of_one_that_was_not_initialized(self):
        """There is nothing to be told of it."""
        assert repr(UnixConnection(socket=Socket())) == "<UnixConnection not initialized>"

    def test_of_another_family(self):
        """A TCP connection has no pid."""
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
            connection = TcpConnection(socket=Socket.new_from_fd(os.dup(one.fileno())))
            assert f"peer={server.getsockname()}" in repr(connection)
            assert "pid" not in repr(connection)
            connection.close()

    def test_it_never_raises(self):
        """What somebody else has done to the descriptor is no reason to."""
        a, b = UnixConnection.create_pair()
        with a, b:
            with open(os.devnull, "rb") as null:  # noqa: PTH123 - as a descriptor
                os.dup2(null.fileno(), a.fileno())
            assert repr(a) == f"<UnixConnection {a.fileno()} UNIX STREAM>"
