"""Object: properties and signals."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings

import pytest
from helpers import PYPY, collect

from unixconn import (
    Cancellable,
    IOStream,
    MainContext,
    Object,
    ParamFlags,
    Socket,
    SocketClient,
    SocketConnection,
    SocketListener,
    SocketService,
    ThreadedSocketService,
    UnixConnection,
    UnixFDList,
    UnixFDMessage,
)

READWRITE = ParamFlags.READWRITE


class Bell(Cancellable):
    """Records its class handler's calls."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def do_cancelled(self):
        """Note the class handler's turn."""
        self.heard.append("class")


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

    def test_props_as_a_list(self, pair):
        """They can be iterated, and not deleted."""
        assert list(pair[0].props) == pair[0].list_properties() != []
        with pytest.raises(TypeError, match="'closed'"):
            del pair[0].props.closed

    def test_props_of_a_class(self):
        """They are the specifications, as in PyGObject; only an object's can be set."""
        assert list(UnixConnection.props) == UnixConnection.list_properties()
        assert dir(UnixConnection.props) == ["closed", "input_stream", "output_stream", "socket"]
        spec = UnixFDMessage.props.fd_list
        assert spec is UnixFDMessage.find_property("fd-list")
        assert (spec.nick, spec.blurb, spec.flags) == ("fd-list", None, READWRITE | ParamFlags.CONSTRUCT_ONLY)
        assert (Socket.props.timeout.flags, Socket.props.local_address.flags) == (READWRITE, ParamFlags.READABLE)
        with pytest.raises(AttributeError, match="Socket has no property 'nothing'"):
            Socket.props.nothing  # noqa: B018 - reading it is the test
        with pytest.raises(TypeError, match="'timeout' must be set on an object, and not on the class Socket"):
            Socket.props.timeout = 3

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
        with pytest.raises(TypeError, match="name"):
            sock.get_properties()

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


class TestCopies:
    """An object has one owner, itself: two that own one descriptor would close it twice."""

    @pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps])
    def test_refused(self, pair, way):
        """Neither copied nor pickled, whatever it owns."""
        owner = UnixFDList.new()
        owner.append(0)
        for each in (owner, UnixFDMessage(fd_list=owner), pair[0], pair[0].get_socket(), Cancellable()):
            with pytest.raises(TypeError, match=type(each).__name__):
                way(each)
        assert owner.get_length() == 1

    def test_of_a_subclass_that_can_be(self):
        """A class of the user's may say how."""

        class Named(Cancellable):
            def __reduce__(self):
                return Cancellable, ()

        assert type(copy.copy(Named())) is Cancellable


class TestHandlers:
    """What can be done with handlers beyond connecting them."""

    def test_block(self, bell):
        """A blocked one is passed over until it was unblocked as often."""
        number = connect(bell, "x")
        connect(bell, "y")
        bell.handler_block(number)
        bell.handler_block(number)
        bell.emit("cancelled")
        bell.handler_unblock(number)
        bell.emit("cancelled")
        assert bell.heard == [("y",), "class"] * 2
        assert bell.handler_is_connected(number)
        bell.handler_unblock(number)
        bell.emit("cancelled")
        assert bell.heard[4:] == [("x",), ("y",), "class"]

    def test_block_within_with(self, bell):
        """`with` unblocks at its end, also when an exception passes."""
        number = connect(bell, "x")
        with bell.handler_block(number):
            bell.emit("cancelled")
        with pytest.raises(ZeroDivisionError), bell.handler_block(number):
            1 / 0  # noqa: B018 - to raise
        assert bell.heard == ["class"]
        bell.emit("cancelled")
        assert bell.heard == ["class", ("x",), "class"]

    def test_block_one_that_comes_after(self, bell):
        """Those of connect_after, too; and a handler may block one that is to come."""
        number = bell.connect_after("cancelled", lambda _: bell.heard.append("after"))
        Object.connect(bell, "cancelled", lambda _: bell.handler_block(number))
        bell.emit("cancelled")
        assert bell.heard == ["class"]

    def test_block_what_is_none(self, bell):
        """A number without a handler is a TypeError, unblocking what is not blocked a ValueError."""
        number = connect(bell, "x")
        with pytest.raises(ValueError, match=str(number)):
            bell.handler_unblock(number)
        Object.disconnect(bell, number)
        for call in (bell.handler_block, bell.handler_unblock):
            with pytest.raises(TypeError, match=str(number)):
                call(number)

    def test_connect_object(self, bell):
        """The callback gets another object in the place of the emitter, and the data."""
        got, other = [], UnixFDList.new()
        number = bell.connect_object("cancelled", lambda *arguments: got.append(arguments), other, 1, "x")
        assert bell.handler_is_connected(number)
        bell.cancel()
        assert got == [(other, 1, "x")]

    def test_connect_object_keeps_it(self, bell):
        """The handler keeps the other object alive, as with PyGObject, until it is disconnected."""
        got = []
        number = bell.connect_object("cancelled", lambda *arguments: got.append(arguments), UnixFDList.new())
        after = bell.connect_object_after("cancelled", lambda *arguments: got.append(arguments), UnixFDList.new(), 1)
        collect()
        bell.cancel()
        assert [(type(other), *data) for other, *data in got] == [(UnixFDList,), (UnixFDList, 1)]
        gone = [other.weak_ref() for other, *_ in got]
        got.clear()
        for each in (number, after):
            Object.disconnect(bell, each)
        collect()
        assert [each() for each in gone] == [None, None]

    @pytest.mark.skipif(PYPY, reason="nothing goes there before a collection")
    @pytest.mark.parametrize("way", ["connect", "connect_after", "connect_data", "connect_object"])
    def test_a_handler_keeps_nothing(self, way):
        """An object goes with its last user, as without handlers: it is in none of its own."""
        gc.disable()
        try:
            emitter = UnixConnection.create_pair()[0]
            getattr(Object, way)(emitter, "notify::closed", print, *([Bell] if way == "connect_object" else []))
            gone = emitter.weak_ref()
            del emitter
            assert gone() is None
        finally:
            gc.enable()

    def test_connect_object_wrongly(self, bell):
        """An unknown signal, or what can not be called, is a TypeError."""
        with pytest.raises(TypeError):
            bell.connect_object("nonsense", print, bell)
        with pytest.raises(TypeError):
            bell.connect_object("cancelled", None, bell)

    def test_connect_data(self, bell):
        """Its flags are those of connect_after, and of swapping the object with the data."""
        got = []

        def note(*arguments):
            got.append((arguments, list(bell.heard)))

        bell.connect_data("cancelled", note, 1)
        bell.connect_data("cancelled", note, 2, connect_flags=1)
        bell.connect_data("cancelled", note, 3, connect_flags=2)
        bell.connect_data("cancelled", note, 4, connect_flags=3)
        bell.cancel()
        assert got == [((bell, 1), []), ((3, bell), []), ((bell, 2), ["class"]), ((4, bell), ["class"])]
        with pytest.raises(ValueError, match="swapped"):
            bell.connect_data("cancelled", note, connect_flags=2)


class TestFreezing:
    @pytest.fixture
    def sock(self, pair):
        """An object with properties."""
        return pair[0].get_socket()

    @pytest.fixture
    def heard(self, sock):
        """What it notifies of."""
        found = []
        Object.connect(sock, "notify", lambda _, changed: found.append(changed.name))
        return found

    def test_one_of_each(self, sock, heard):
        """However often a property has changed meanwhile, one notification is left, in the order of the first ones."""
        sock.freeze_notify()
        for number in (1, 2, 3):
            sock.set_timeout(number)
            sock.set_listen_backlog(number)
        assert heard == []
        sock.thaw_notify()
        assert heard == ["listen-backlog", "timeout"]  # as GObject: the last one to change is the first
        sock.set_timeout(9)
        assert heard == ["listen-backlog", "timeout", "timeout"]

    def test_nested(self, sock, heard):
        """The last thaw_notify notifies."""
        sock.freeze_notify()
        with sock.freeze_notify():
            sock.set_timeout(1)
        assert heard == []
        sock.thaw_notify()
        assert heard == ["timeout"]
        with pytest.raises(ValueError, match="freeze_notify"):
            sock.thaw_notify()

    def test_after_an_exception(self, sock, heard):
        """`with` thaws all the same."""
        with pytest.raises(ZeroDivisionError), sock.freeze_notify():
            sock.set_timeout(1)
            1 / 0  # noqa: B018 - to raise
        assert heard == ["timeout"]

    def test_of_one_object(self, pair, sock, heard):
        """Others are not concerned."""
        other, more = pair[1].get_socket(), []
        Object.connect(other, "notify", lambda *_: more.append(1))
        with sock.freeze_notify():
            other.set_timeout(1)
            assert more == [1]
        assert heard == []

    def test_a_handler_that_changes_more(self, sock, heard):
        """That is told, too."""
        Object.connect(sock, "notify::timeout", lambda *_: sock.set_listen_backlog(7))
        with sock.freeze_notify():
            sock.set_timeout(1)
        assert heard == ["timeout", "listen-backlog"]

    def test_setters(self, sock, heard):
        """A setter notifies on change only, setting by property always, and once."""
        sock.set_timeout(0)
        sock.set_blocking(True)
        assert heard == []
        sock.set_timeout(5)
        sock.set_timeout(5)
        sock.set_blocking(False)
        assert heard == ["timeout", "blocking"]
        sock.set_property("timeout", 5)
        sock.props.timeout = 6
        sock.set_properties(blocking=False, timeout=6)
        assert heard == ["timeout", "blocking", "timeout", "timeout", "timeout", "blocking"]

    def test_a_setter_that_fails(self, sock, heard):
        """Nothing is notified, and nothing stays frozen."""
        with pytest.raises(TypeError):
            sock.set_property("timeout", "long")
        assert heard == []
        sock.set_timeout(5)
        assert heard == ["timeout"]


class TestWeakReferences:
    def test_weak_ref(self):
        """It gives the object as long as that lives, then None."""
        one = UnixFDList.new()
        found = one.weak_ref()
        assert found() is one
        del one
        collect()
        assert found() is None

    def test_callback(self):
        """It is called with its data when the object has gone."""
        one, called = UnixFDList.new(), []
        found = one.weak_ref(lambda *data: called.append(data), 1, "x")
        assert called == []
        del one
        collect()
        assert called == [(1, "x")]
        assert found() is None

    @pytest.mark.parametrize("in_a_cycle", [False, True])
    def test_callback_of_a_reference_that_nobody_keeps(self, in_a_cycle):
        """It is called as well, once, as with PyGObject."""
        one, called = UnixFDList.new(), []
        if in_a_cycle:
            one.itself = one
        one.weak_ref(called.append, 1)
        one.weak_ref(called.append, 2)
        collect()
        assert called == []
        del one
        collect()
        assert sorted(called) == [1, 2]


class TestPropertiesThemselves:
    def test_what_they_tell(self):
        """Each has a name, a type and a default."""
        found = {each.name: each for each in Socket.list_properties()}
        assert [
            (found[name].value_type, found[name].default_value)
            for name in ("timeout", "blocking", "listen-backlog", "fd")
        ] == [(int, 0), (bool, True), (int, 10), (int, -1)]
        assert found["family"].default_value == 0
        assert issubclass(found["family"].value_type, int)

    def test_defaults_are_of_the_type(self):
        """Or None; and a new object has them."""
        for kind in (SocketClient, SocketListener, SocketService, ThreadedSocketService, Cancellable, UnixFDMessage):
            made = kind()
            for each in kind.list_properties():
                assert each.default_value is None or isinstance(each.default_value, each.value_type)
                if each.default_value is not None:
                    assert made.get_property(each.name) == each.default_value

    def test_repr(self):
        """It tells what can be done with it."""
        texts = " ".join(repr(each) for each in Socket.list_properties())
        assert "'timeout': int, read-write" in texts
        assert "'fd': int, construct-only" in texts
        assert "'local-address': SocketAddress, read-only" in texts
