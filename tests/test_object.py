"""Object: properties and signals."""

from __future__ import annotations

import sys
import warnings

import pytest

from unixconn import (
    Cancellable,
    IOStream,
    MainContext,
    Object,
    Socket,
    SocketConnection,
    UnixConnection,
    UnixFDList,
    UnixFDMessage,
)


class Bell(Cancellable):
    """Records its class handler's calls."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def do_cancelled(self):
        """Note the class handler's turn."""
        self.heard.append("class")


@pytest.fixture
def reports(monkeypatch):
    """What went to sys.excepthook."""
    found = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: found.append(error))
    return found


@pytest.fixture
def bell():
    """An object with a signal and a class handler."""
    return Bell()


def connect(bell, what, *data):
    """Connect a handler that notes *what* and the data: Cancellable.connect hides Object's."""
    return Object.connect(bell, "cancelled", lambda owner, *rest: bell.heard.append((what, *rest)), *data)


class TestProperties:
    @pytest.mark.parametrize("name", ["fd-list", "fd_list"])
    def test_dashes_and_underscores(self, name):
        """Both spellings name one property."""
        message = UnixFDMessage.new()
        assert message.get_property(name) is message.get_fd_list()

    def test_props(self):
        """A property is an attribute of props, too."""
        message = UnixFDMessage.new()
        assert message.props.fd_list is message.get_fd_list()
        assert "fd_list" in dir(message.props)

    def test_constructor(self):
        """A property is a keyword of the constructor, and never positional."""
        fds = UnixFDList.new()
        assert UnixFDMessage(fd_list=fds).get_fd_list() is fds
        with pytest.raises(TypeError):
            UnixFDMessage(fds)
        with pytest.raises(TypeError):
            UnixFDMessage(nonsense=fds)

    def test_several(self, pair):
        """get_properties gives values in the order that was asked for."""
        sock = pair[0].get_socket()
        assert sock.get_properties("timeout", "blocking", "listen-backlog") == (0, True, 10)
        sock.set_properties(timeout=3, listen_backlog=4)
        assert sock.get_properties("listen_backlog", "timeout") == (4, 3)

    def test_setting(self, pair):
        """set_property and props call the setter."""
        sock = pair[0].get_socket()
        sock.set_property("timeout", 7)
        assert sock.get_timeout() == 7
        sock.props.listen_backlog = 5
        assert sock.get_listen_backlog() == 5

    def test_unknown(self, pair):
        """A name that does not exist is a TypeError, by props an AttributeError."""
        connection, _ = pair
        with pytest.raises(TypeError, match="nonsense"):
            connection.get_property("nonsense")
        with pytest.raises(TypeError, match="nonsense"):
            connection.get_properties("closed", "nonsense")
        with pytest.raises(TypeError, match="nonsense"):
            connection.set_property("nonsense", 1)
        with pytest.raises(AttributeError, match="nonsense"):
            connection.props.nonsense  # noqa: B018 - reading it is the test
        with pytest.raises(AttributeError, match="nonsense"):
            connection.props.nonsense = 1

    @pytest.mark.parametrize("name", ["closed", "input-stream", "output-stream", "socket"])
    def test_read_only(self, pair, name):
        """A property that is read-only, or given to the constructor only, can not be set."""
        connection, _ = pair
        before = connection.get_property(name)
        with pytest.raises(TypeError, match=name):
            connection.set_property(name, before)
        assert connection.get_property(name) is before

    def test_list(self):
        """list_properties gives the class's own and those above it."""
        assert [each.name for each in UnixConnection.list_properties()] == [
            "input-stream",
            "output-stream",
            "closed",
            "socket",
        ]
        assert [each.name for each in IOStream.list_properties()] == ["input-stream", "output-stream", "closed"]
        assert {"family", "type", "protocol", "fd", "blocking", "timeout", "listen-backlog", "keepalive"} <= {
            each.name for each in Socket.list_properties()
        }

    def test_of_a_subclass(self, pair):
        """A user's class has the properties of its base."""

        class Mine(SocketConnection):
            pass

        sock = pair[0].get_socket()
        assert Mine(socket=sock).props.socket is sock

    def test_identity(self, pair):
        """An object equals itself only, can be hashed, and keeps Python attributes."""
        a, b = pair
        assert a == a  # noqa: PLR0124 - equality is the test
        assert a != b
        assert len({a, b, a}) == 2
        a.get_socket().mine = 5
        assert a.props.socket.mine == 5


class TestSignals:
    def test_order(self, bell):
        """Plain handlers in their order, the class handler, then those that come after it."""
        bell.connect_after("cancelled", lambda _: bell.heard.append("after"))
        connect(bell, "one")
        connect(bell, "two")
        bell.cancel()
        assert bell.heard == [("one",), ("two",), "class", "after"]

    def test_arguments(self, bell):
        """A handler gets the object and the data."""
        got = []
        Object.connect(bell, "cancelled", lambda *arguments: got.append(arguments), 1, "x")
        bell.connect_after("cancelled", lambda *arguments: got.append(arguments), 2)
        bell.cancel()
        assert got == [(bell, 1, "x"), (bell, 2)]

    def test_numbers(self, bell):
        """Handlers have numbers above 0, no two the same."""
        numbers = [connect(bell, "x") for _ in range(5)]
        assert min(numbers) > 0
        assert len(set(numbers)) == 5

    def test_disconnect(self, bell):
        """A handler that was removed does not run; removing it again is a warning."""
        number = connect(bell, "x")
        assert bell.handler_is_connected(number)
        Object.disconnect(bell, number)
        assert not bell.handler_is_connected(number)
        bell.cancel()
        assert bell.heard == ["class"]
        with pytest.warns(RuntimeWarning, match=str(number)):
            Object.disconnect(bell, number)

    def test_a_handler_removes_another(self, bell):
        """A handler that was removed during the emission does not run any more."""
        numbers = []
        Object.connect(bell, "cancelled", lambda _: Object.disconnect(bell, numbers[0]))
        numbers.append(connect(bell, "x"))
        bell.cancel()
        assert bell.heard == ["class"]

    def test_a_handler_adds_another(self, bell):
        """A handler that is added during an emission runs from the next one on."""
        Object.connect(bell, "cancelled", lambda _: connect(bell, "new"))
        bell.emit("cancelled")
        assert bell.heard == ["class"]
        bell.emit("cancelled")
        assert bell.heard == ["class", ("new",), "class"]

    def test_an_exception_harms_nobody(self, bell, reports):
        """It goes to sys.excepthook; the other handlers run, and cancel() returns."""
        Object.connect(bell, "cancelled", lambda _: 1 / 0)
        connect(bell, "x")
        assert bell.cancel() is None
        assert bell.heard == [("x",), "class"]
        assert [type(each) for each in reports] == [ZeroDivisionError]

    def test_a_class_handler_s_exception(self, reports):
        """The class handler's exceptions are treated alike."""

        class Bad(Cancellable):
            def do_cancelled(self):
                raise ValueError("bad")

        bad = Bad()
        after = []
        bad.connect_after("cancelled", after.append)
        bad.cancel()
        assert [str(each) for each in reports] == ["bad"]
        assert after == [bad]

    def test_emit(self, bell):
        """Emit runs handlers, and does not cancel."""
        connect(bell, "x")
        bell.emit("cancelled")
        assert bell.heard == [("x",), "class"]
        assert not bell.is_cancelled()

    def test_unknown_signal(self, bell):
        """It is a TypeError to connect to it and to emit it."""
        for call in (
            lambda: Object.connect(bell, "nonsense", print),
            lambda: bell.connect_after("nonsense", print),
            lambda: bell.emit("nonsense"),
            lambda: Object.connect(UnixFDList.new(), "cancelled", print),
        ):
            with pytest.raises(TypeError, match=r"nonsense|cancelled"):
                call()

    @pytest.mark.parametrize("callback", [None, 5, "x"])
    def test_what_can_not_be_called(self, bell, callback):
        """It is a TypeError, and nothing is connected."""
        with pytest.raises(TypeError):
            Object.connect(bell, "cancelled", callback)
        with pytest.raises(TypeError):
            bell.connect_after("cancelled", callback)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bell.cancel()
        assert bell.heard == ["class"]


class TestNotify:
    def connect(self, sock, signal, heard, *data):
        """Connect a handler that notes what it gets: Socket.connect hides Object's."""
        return Object.connect(sock, signal, lambda *given: heard.append(given), *data)

    @pytest.mark.parametrize("name", ["listen-backlog", "listen_backlog"])
    def test_one_property(self, pair, name):
        """A handler of notify::name gets the object, the property and its data, and hears of no other."""
        sock = pair[0].get_socket()
        heard = []
        self.connect(sock, f"notify::{name}", heard, 1, "two")
        sock.notify("timeout")
        assert heard == []
        sock.notify(name)
        ((owner, changed, *data),) = heard
        assert (owner, changed.name, data) == (sock, "listen-backlog", [1, "two"])
        assert changed in Socket.list_properties()

    def test_all_properties(self, pair):
        """A handler of notify hears of each."""
        sock = pair[0].get_socket()
        heard = []
        self.connect(sock, "notify", heard)
        sock.notify("timeout")
        sock.notify("blocking")
        assert [changed.name for _, changed in heard] == ["timeout", "blocking"]

    def test_order(self, pair):
        """Plain handlers in their order, whatever the detail, then those that come after."""
        sock = pair[0].get_socket()
        heard = []
        sock.connect_after("notify::timeout", lambda *_: heard.append("after"))
        Object.connect(sock, "notify", lambda *_: heard.append("all"))
        Object.connect(sock, "notify::timeout", lambda *_: heard.append("one"))
        sock.notify("timeout")
        assert heard == ["all", "one", "after"]

    def test_class_handler(self):
        """A subclass overrides do_notify, which runs between the two kinds."""
        heard = []

        class Mine(UnixFDMessage):
            def do_notify(self, changed):
                heard.append(changed.name)

        message = Mine()
        message.notify("fd-list")
        Object.connect(message, "notify::fd-list", lambda *_: heard.append("plain"))
        message.connect_after("notify::fd-list", lambda *_: heard.append("after"))
        message.notify("fd_list")
        assert heard == ["fd-list", "plain", "fd-list", "after"]

    def test_disconnect(self, pair):
        """What was removed hears nothing."""
        sock = pair[0].get_socket()
        heard = []
        number = self.connect(sock, "notify::timeout", heard)
        Object.disconnect(sock, number)
        sock.notify("timeout")
        assert heard == []

    def test_unknown(self, pair):
        """A property that does not exist is a TypeError, which names it; so is a detail of another signal."""
        sock = pair[0].get_socket()
        for call in (
            lambda: self.connect(sock, "notify::nonsense", []),
            lambda: sock.connect_after("notify::nonsense", print),
            lambda: Object.connect(Cancellable(), "cancelled::nonsense", print),
        ):
            with pytest.raises(TypeError, match="nonsense"):
                call()
        self.connect(sock, "notify", [])
        with pytest.raises(TypeError, match="nonsense"):
            sock.notify("nonsense")

    def test_unknown_though_nobody_listens(self, pair):
        """A wrong name is found whether or not somebody listens."""
        with pytest.raises(TypeError, match="nonsense"):
            pair[0].get_socket().notify("nonsense")

    def test_an_exception_harms_nobody(self, pair, reports):
        """It goes to sys.excepthook, and the others are told."""
        sock = pair[0].get_socket()
        heard = []
        Object.connect(sock, "notify::timeout", lambda *_: 1 / 0)
        self.connect(sock, "notify::timeout", heard)
        assert sock.notify("timeout") is None
        assert len(heard) == 1
        assert [type(each) for each in reports] == [ZeroDivisionError]

    def test_task(self, pair):
        """A Task tells that it is completed: once, after its callback."""
        heard, results = [], []

        def note(_source, result):
            result.connect("notify::completed", lambda task, changed: heard.append((task, changed.name)))
            assert result.props.completed is False
            results.append(result)

        pair[0].send_credentials_async(None, note)
        while not heard:
            MainContext.default().iteration()
        MainContext.default().iteration(False)
        assert heard == [(results[0], "completed")]
        assert results[0].props.completed is True
