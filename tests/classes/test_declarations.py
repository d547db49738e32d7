"""Classes of a program that declare signals and properties as with PyGObject."""

from __future__ import annotations

import inspect
import re
from typing import ClassVar

import pytest

import unixconn
from unixconn import Object, ParamFlags, Property, Signal, SignalFlags, UnixConnection, signal_accumulator_true_handled


class Framer(Object):
    """Declares in each way."""

    __gsignals__: ClassVar = {
        "first": (SignalFlags.RUN_FIRST, None, (int, str)),
        "with-dashes": (SignalFlags.RUN_LAST, bool, ()),
        "at-end": (SignalFlags.RUN_CLEANUP, None, ()),
        "detailed": (SignalFlags.RUN_LAST | SignalFlags.DETAILED, None, (object,)),
        "handled": (SignalFlags.RUN_LAST, bool, (), signal_accumulator_true_handled),
        "number": (SignalFlags.RUN_LAST, int, ()),
        "notify": "override",
    }
    count = Property(type=int, default=3, minimum=0, maximum=10, nick="n", blurb="b")
    some_text = Property(type=str)
    anything = Property(type=object)

    def __init__(self, **properties):
        super().__init__(**properties)
        self.log = []

    def do_first(self, number, text):
        self.log.append(("own", number, text))

    def do_with_dashes(self):
        self.log.append("own")
        return True

    def do_at_end(self):
        self.log.append("own")

    @Property
    def fixed(self):
        """Return a number."""
        return 5

    @Property(type=float)
    def speed(self):
        """Return a number that can be set."""
        return self._speed

    @speed.setter
    def set_the_speed(self, value):
        self._speed = value

    @Signal
    def pushed(self):
        self.log.append("pushed")

    @Signal(flags=SignalFlags.RUN_LAST, return_type=bool, arg_types=(object,))
    def pulled(self, value):
        self.log.append(value)
        return True

    bare = Signal()
    named = Signal("another-name", arg_types=(int,))


class TestSignals:
    @pytest.mark.parametrize(
        ("signal", "values", "order"),
        [("first", (1, "x"), ["own", "plain", "after"]), ("at-end", (), ["plain", "after", "own"])],
    )
    def test_the_order(self, signal, values, order):
        """The default handler runs where the flags say."""
        framer = Framer()
        framer.connect_after(signal, lambda each, *_: each.log.append("after"))
        framer.connect(signal, lambda each, *_: each.log.append("plain"))
        framer.emit(signal, *values)
        assert [each[0] if isinstance(each, tuple) else each for each in framer.log] == order

    def test_values_are_converted(self):
        """As GObject does: a float loses its fraction, and any object becomes a text."""
        framer = Framer()
        framer.emit("first", 1.5, None)
        framer.emit("first", True, 3)
        assert framer.log == [("own", 1, None), ("own", 1, "3")]

    @pytest.mark.parametrize(
        ("values", "kind"), [(("x", "y"), TypeError), ((1,), TypeError), ((2**31, ""), OverflowError)]
    )
    def test_wrong_values(self, values, kind):
        """The emission raises, and no handler runs."""
        framer = Framer()
        with pytest.raises(kind, match="first"):
            framer.emit("first", *values)
        assert framer.log == []

    def test_results(self):
        """The last handler's result counts, as the declared type; without a handler it is the type's zero."""
        framer = Framer()
        assert framer.emit("with_dashes") is True
        assert framer.emit("number") == 0
        framer.connect("number", lambda _: 7)
        assert framer.emit("number") == 7
        assert framer.emit("pushed") is None

    def test_true_ends_the_emission(self):
        """With the accumulator, the handlers after the first true one do not run."""
        framer = Framer()
        framer.connect("handled", lambda each: each.log.append(1))
        framer.connect("handled", lambda _: True)
        framer.connect("handled", lambda each: each.log.append(2))
        assert framer.emit("handled") is True
        assert framer.log == [1]

    def test_details(self):
        """A detailed signal calls the handlers of its detail, and those without."""
        framer, seen = Framer(), []
        framer.connect("detailed::x", lambda _, value: seen.append(value))
        framer.emit("detailed::x", 1)
        framer.emit("detailed::y", 2)
        framer.emit("detailed", 3)
        assert seen == [1]
        with pytest.raises(TypeError, match="first::x"):
            framer.connect("first::x", print)

    def test_bound_signals(self):
        """A Signal as an attribute connects and emits; called, it is its default handler."""
        framer, seen = Framer(), []
        number = framer.named.connect(lambda _, value, word: seen.append((value, word)), "data")
        framer.named.emit(4)
        framer.emit("another-name", 5)
        framer.named.disconnect(number)
        framer.named.emit(6)
        assert seen == [(4, "data"), (5, "data")]
        framer.pushed.emit()
        assert framer.pulled(8) is True
        assert framer.pulled.emit(9) is True
        assert framer.log == ["pushed", 8, 9]
        assert (str(framer.bare), repr(framer.named)) == ("bare", 'BoundSignal("another-name")')

    def test_stopping(self):
        """No handler runs after stop_emission_by_name(); outside of an emission it has no effect."""
        framer = Framer()
        framer.stop_emission_by_name("pulled")
        framer.connect("pulled", lambda each, value: each.stop_emission_by_name("pulled"))
        framer.connect("pulled", lambda each, value: each.log.append("never"))
        framer.emit("pulled", 1)
        assert framer.log == []
        with pytest.raises(TypeError, match="nosuch"):
            framer.stop_emission_by_name("nosuch")
        framer.emit("first", 1, "x")
        assert framer.log == [("own", 1, "x")]

    def test_a_subclass_overrides(self):
        """By a method of the name do_<signal>, and super() is the one before."""

        class Louder(Framer):
            def do_first(self, number, text):
                super().do_first(number + 1, text.upper())

        louder = Louder()
        louder.emit("first", 1, "x")
        assert louder.log == [("own", 2, "X")]

    def test_a_class_of_the_library(self):
        """A subclass of a connection's class has its own signals beside the library's."""

        class Mine(UnixConnection):
            __gsignals__: ClassVar = {"parsed": (SignalFlags.RUN_FIRST, None, (object,))}
            size = Property(type=int)

        ours, theirs = UnixConnection.create_pair()
        seen = []
        with theirs, ours, Mine(socket=ours.get_socket()) as mine:
            Object.connect(mine, "parsed", lambda _, frame: seen.append(frame))
            Object.connect(mine, "notify::size", lambda each, _: seen.append(each.size))
            mine.emit("parsed", b"x")
            mine.size = 4
        assert seen == [b"x", 4]

    def test_by_function(self):
        """The latest handler with the function is disconnected or blocked."""
        framer, seen = Framer(), []

        def hear(_, *data):
            seen.append(data)

        first = framer.connect("bare", hear)
        framer.connect("bare", hear, 1)
        assert framer.disconnect_by_func(hear) == 1
        framer.bare.emit()
        assert (seen, framer.handler_is_connected(first)) == ([()], True)
        assert framer.handler_block_by_func(hear) == 1
        framer.bare.emit()
        assert framer.handler_unblock_by_func(hear) == 1
        framer.bare.emit()
        assert seen == [(), ()]
        framer.disconnect_by_func(hear)
        for method in (framer.disconnect_by_func, framer.handler_block_by_func, framer.handler_unblock_by_func):
            with pytest.raises(TypeError, match="nothing is connected"):
                method(hear)


# Arguments for the constructors of the library's classes, given a pair of connections.
GIVEN = {
    **dict.fromkeys(
        ["Cancellable", "Credentials", "SocketListener", "SocketService", "UnixCredentialsMessage", "UnixFDList"],
        lambda _: {},
    ),
    "SocketClient": lambda _: {"timeout": 2},
    "ThreadedSocketService": lambda _: {"max_threads": 2},
    "UnixSocketAddress": lambda _: {"path": "/nowhere"},
    "UnixFDMessage": lambda _: {"fd_list": unixconn.UnixFDList.new()},
    "Socket": lambda _: {"timeout": 3},
    **dict.fromkeys(["UnixConnection", "SocketConnection"], lambda pair: {"socket": pair[0].get_socket()}),
    **dict.fromkeys(
        ["BufferedInputStream", "DataInputStream"],
        lambda pair: {"base_stream": pair[0].get_input_stream(), "close_base_stream": False},
    ),
    "DataOutputStream": lambda pair: {"base_stream": pair[0].get_output_stream(), "close_base_stream": False},
    **dict.fromkeys(
        ["UnixInputStream", "UnixOutputStream"],
        lambda pair: {"fd": pair[0].get_socket().get_fd(), "close_fd": False},
    ),
}


class TestProperties:
    def test_as_attributes(self):
        """Attribute, props and get_property are one value; to set it notifies."""
        framer, seen = Framer(some_text="x"), []
        framer.connect("notify::count", lambda each, spec: seen.append((spec.name, each.count)))
        assert (framer.count, framer.some_text, framer.anything, framer.fixed) == (3, "x", None, 5)
        framer.count = 4.7
        framer.props.count = 5
        framer.set_property("count", 6)
        assert seen == [("count", 4), ("count", 5), ("count", 6)]
        assert framer.get_property("some-text") == framer.props.some_text == "x"
        framer.speed = 2
        assert repr(framer.speed) == "2.0"

    @pytest.mark.parametrize(
        ("name", "value", "kind"),
        [
            ("count", 11, ValueError),
            ("count", "x", TypeError),
            ("count", 2**40, OverflowError),
            ("fixed", 1, TypeError),
        ],
    )
    def test_wrong_values(self, name, value, kind):
        """The value stays."""
        framer = Framer()
        before = getattr(framer, name)
        with pytest.raises(kind, match=name):
            setattr(framer, name, value)
        with pytest.raises(kind, match=name):
            Framer(**{name: value})
        assert getattr(framer, name) == before

    def test_the_list(self):
        """The class lists each property once, with what was declared, in the order of the names, as GLib does."""
        specs = {each.name: each for each in Framer.list_properties()}
        assert list(specs) == ["anything", "count", "fixed", "some-text", "speed"]
        count = specs["count"]
        assert (count.nick, count.blurb, count.minimum, count.maximum, count.default_value) == ("n", "b", 0, 10, 3)
        assert specs["fixed"].blurb == "Return a number."

    def test_gproperties(self):
        """They go through do_get_property and do_set_property; construct properties are set at the beginning."""
        log = []

        class Classic(Object):
            __gproperties__: ClassVar = {
                "num": (int, "nick", "blurb", 0, 10, 5, unixconn.ParamFlags.READWRITE),
                "fixed": (str, "", "", "text", unixconn.ParamFlags.READABLE),
                "secret": (str, "", "", "text", unixconn.ParamFlags.WRITABLE),
                "once": (str, "", "", "text", unixconn.ParamFlags.READWRITE | unixconn.ParamFlags.CONSTRUCT_ONLY),
            }

            def do_get_property(self, spec):
                return self.__dict__[spec.name]

            def do_set_property(self, spec, value):
                log.append((spec.name, value))
                self.__dict__[spec.name] = value

        classic = Classic(num=4)
        assert log == [("once", "text"), ("num", 4)]
        assert classic.get_property("num") == 4
        assert Classic(once="mine").get_property("once") == "mine"
        for name in ("fixed", "once"):
            with pytest.raises(TypeError, match=name):
                classic.set_property(name, "x")
        classic.set_property("secret", "x")
        with pytest.raises(TypeError, match="secret"):
            classic.get_property("secret")
        with pytest.raises(ValueError, match="num"):
            classic.set_property("num", 11)

    def test_constructed(self):
        """do_constructed() runs after the construct properties are set, and before the others."""
        seen = []

        class Built(Object):
            early = Property(type=int, flags=ParamFlags.READWRITE | ParamFlags.CONSTRUCT)
            late = Property(type=int)

            def do_constructed(self):
                seen.append((self.early, self.late))

        Built(late=2, early=1)
        Built()
        assert seen == [(1, 0), (0, 0)]

    def test_a_subclass_declares_it_anew(self):
        """The subclass's declaration counts for it: what it takes, and whether it can be set."""

        class Base(Object):
            fixed = Property(type=int, default=1, flags=ParamFlags.READABLE)
            limited = Property(type=int, default=1, maximum=5)

        class Derived(Base):
            fixed = Property(type=int, default=5)
            limited = Property(type=str, default="x")
            third = Property(type=int)

        made = Derived(fixed=4)
        made.fixed += 1
        made.set_property("limited", "text")
        assert (made.fixed, made.limited) == (5, "text")
        found = Derived.list_properties()
        assert [(each.name, each.value_type) for each in found] == [("fixed", int), ("limited", str), ("third", int)]
        assert [Derived.find_property(each.name) for each in found] == found
        assert Base.find_property("limited").maximum == 5
        with pytest.raises(TypeError, match="'fixed'"):
            Base(fixed=4)

    @pytest.mark.parametrize("kind", GIVEN)
    def test_subclasses_of_the_library(self, kind, pair):
        """What a subclass declares, its constructor takes as well; a construct property has its default."""
        given = GIVEN[kind](pair)
        seen = []

        class Made(getattr(unixconn, kind)):
            note = Property(type=str, default="none")
            level = Property(type=int, default=3, flags=ParamFlags.READWRITE | ParamFlags.CONSTRUCT)

            def do_constructed(self):
                seen.append((self.note, self.level))

        class Derived(Made):
            is_set = Property(type=bool, default=False)

            def __init__(self, note, **others):
                super().__init__(note=note, **others)

        for made, values in (
            (Made(**given), ("none", 3)),
            (Made(note="a", level=4, **given), ("a", 4)),
            (Derived("b", is_set=True, **given), ("b", 3)),
        ):
            assert (made.note, made.level) == values
            assert all(made.get_property(name) == value for name, value in given.items() if name != "fd")
        assert made.is_set is True
        assert seen == [("none", 3), ("none", 4), ("none", 3)]
        with pytest.raises(TypeError, match="nosuch"):
            Made(nosuch=1, **given)
        with pytest.raises(TypeError, match="level"):
            Made(level="x", **given)

    def test_subclasses_that_only_look(self):
        """do_constructed() is called without a declaration, too; others are made as before."""
        seen = []

        class Looks(unixconn.ThreadedSocketService):
            def do_constructed(self):
                seen.append(self.props.max_threads)

        Looks(max_threads=4).close()
        unixconn.ThreadedSocketService(max_threads=5).close()
        assert seen == [4]
        assert inspect.signature(unixconn.ThreadedSocketService).parameters["max_threads"].default == 10
        with pytest.raises(TypeError, match="nosuch"):
            unixconn.ThreadedSocketService(nosuch=5)

    def test_found_by_name(self):
        """find_property() returns None for a name that is none."""
        assert Framer.find_property("some_text") is Framer.find_property("some-text") is not None
        assert Framer.find_property("nosuch") is None

    def test_a_name_that_is_no_property(self):
        """The constructor refuses it."""
        with pytest.raises(TypeError, match="nosuch"):
            Framer(nosuch=1)
        with pytest.raises(TypeError):
            Object(nosuch=1)


class TestMistakes:
    """What is not supported is an error at the class statement."""

    @pytest.mark.parametrize(
        ("declared", "kind", "text"),
        [
            ([1], TypeError, "must be a dict"),
            ({"x": 3}, TypeError, "'x' must be (flags"),
            ({"x": (1, None)}, TypeError, "'x' must be (flags"),
            ({"x": (1, None, int)}, TypeError, "must be a tuple"),
            ({"x": (1, None, ("foo",))}, TypeError, "'foo'"),
            ({"x": (1, None, (bytes,))}, TypeError, "bytes"),
            ({"x": (1, list, ())}, TypeError, "list"),
            ({"x": (8, None, ())}, ValueError, "flags 8"),
            ({"x": (5, None, ())}, ValueError, "flags 5"),
            ({"x": (1, bool, (), print)}, TypeError, "accumulator"),
            ({"x y": (1, None, ())}, ValueError, "'x y'"),
            ({"": (1, None, ())}, ValueError, "''"),
            ({3: (1, None, ())}, TypeError, "3"),
            ({"nosuch": "override"}, TypeError, "nosuch"),
        ],
    )
    def test_signals(self, declared, kind, text):
        """The text names what is wrong."""
        with pytest.raises(kind, match=re.escape(text)):
            type("Mine", (Object,), {"__gsignals__": declared})

    @pytest.mark.parametrize(
        ("declared", "kind"),
        [
            ([1], TypeError),
            ({"x": (int,)}, TypeError),
            ({"x": (list, "", "", 3)}, TypeError),
            ({"x": (int, "", "", 0, 5, 9, 3)}, ValueError),
        ],
    )
    def test_properties(self, declared, kind):
        """So with properties."""
        with pytest.raises(kind):
            type("Mine", (Object,), {"__gproperties__": declared})

    @pytest.mark.parametrize(
        "arguments",
        [{"type": list}, {"type": bool}, {"type": int, "default": "x"}, {"default": 4}, {"type": bool, "default": 4}],
    )
    def test_property(self, arguments):
        """The declaration itself raises."""
        with pytest.raises(TypeError):
            Property(**arguments)

    def test_twice(self):
        """A name is declared once."""
        names = {"__gsignals__": {"x": (1, None, ())}, "x": Signal()}
        with pytest.raises(ValueError, match="twice"):
            type("Mine", (Object,), names)

    @pytest.mark.parametrize(
        ("base", "name"),
        [
            (unixconn.InputStream, "do_read_fn"),
            (unixconn.OutputStream, "do_write_fn"),
            (unixconn.IOStream, "do_get_input_stream"),
            (unixconn.BufferedInputStream, "do_fill"),
            (unixconn.DataInputStream, "do_skip"),
            (unixconn.SocketControlMessage, "do_serialize"),
            (unixconn.SocketService, "do_changed"),
        ],
    )
    def test_virtual_methods(self, base, name):
        """One that would never be called is an error at the class statement."""
        with pytest.raises(TypeError, match=rf"Own\.{name}\(\) would never be called"):
            type("Own", (base,), {name: lambda self: None})
