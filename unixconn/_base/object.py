"""
Object: the base class of Gio's classes, with properties and signals (GObject.Object).

A class declares the properties that it adds in `_properties`, each with the names of the methods that get and set it,
and its signals in `_signals`. Constructors take properties as ordinary keyword arguments. Programs declare theirs as
with PyGObject: see declarations.py.
"""

from __future__ import annotations

import itertools
import sys
import warnings
import weakref
from enum import IntEnum
from functools import wraps

from unixconn._base.arguments import INT_MAX, as_integer
from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, ClassVar


class Property:
    """One property of a class (GObject.ParamSpec)."""

    __slots__ = ("_type", "blurb", "construct_only", "default_value", "flags", "getter", "name", "nick", "setter")

    def __init__(
        self,
        name: str,
        value_type: type | Callable[[], type],
        getter: str,
        setter: str | None = None,
        *,
        default: object = None,
        construct_only: bool = False,
    ) -> None:
        """*value_type* is the type, or a function that loads and returns it."""
        self.name: str = name
        """The name with dashes, as Gio writes it."""
        self._type = value_type
        self.getter: str = getter
        """The name of the method that returns the value."""
        self.setter: str | None = setter
        """The name of the method; None for a property that is read-only, or that only the constructor takes."""
        self.default_value: object = default
        """The value of a new object if the constructor was given none."""
        self.construct_only: bool = construct_only
        """Whether only the constructor takes it."""
        self.nick: str = name
        """What its declaration calls it, or the name, as in later versions of GLib."""
        self.blurb: str | None = None
        """What its declaration says of it."""
        self.flags: int = 11 if construct_only else 1 if setter is None else 3
        """The `ParamFlags`."""

    @property
    def value_type(self) -> type:
        """The type of the values."""
        return self._type if isinstance(self._type, type) else self._type()

    def __repr__(self) -> str:
        access = "construct-only" if self.construct_only else "read-only" if self.setter is None else "read-write"
        return f"<Property {self.name!r}: {self.value_type.__name__}, {access}>"


def refuse_copy(self: object) -> str | tuple[Any, ...]:
    """Raise TypeError: a copy would share the state of the object, and close the same descriptors a second time."""
    raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")


class Props:
    """The properties of an object, with underscores for dashes; of a class, each `Property` (GObject's ``props``)."""

    __module__ = "unixconn"

    __slots__ = ("_of",)
    _of: Any

    __reduce__ = refuse_copy

    def __init__(self, of: Object | type[Object] | None) -> None:
        object.__setattr__(self, "_of", of)

    def __get__(self, instance: Object | None, owner: type[Object]) -> Props:
        return Props(owner if instance is None else instance)

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(self._of, "_property" if isinstance(self._of, type) else "get_property")(name)
        except TypeError as error:
            raise AttributeError(str(error)) from None

    def __setattr__(self, name: str, value: object) -> None:
        getattr(self, name)
        if isinstance(self._of, type):
            raise TypeError(f"the property {name!r} must be set on an object, and not on the class {self._of.__name__}")
        self._of.set_property(name, value)

    def __delattr__(self, name: str) -> None:
        raise TypeError(f"properties cannot be deleted, such as {name!r}")

    def __iter__(self) -> Iterator[Property]:
        return iter(self._of.list_properties())

    def __dir__(self) -> list[str]:
        return [each.name.replace("-", "_") for each in self]

    def __repr__(self) -> str:
        return f"<properties of {self._of!r}>"


class Signal:
    """A signal of a class. *default* is the method that runs after the plain handlers, and that subclasses override."""

    __slots__ = ("count", "default", "ends_when_true", "method")

    run_first = False
    """Whether the class's own handler runs before the others. If not, it runs before those of `connect_after`."""
    detailed = False
    """Whether the signal can be connected and emitted with a detail."""

    def __init__(self, default: Callable[..., object] | None, *, ends_when_true: bool = False) -> None:
        self.default = default
        if default is not None:
            self.method: str = default.__name__
            """The name of the method."""
            self.count: int = default.__code__.co_argcount - 1
            """The number of values."""
        self.ends_when_true = ends_when_true
        """Whether a handler that returns True ends the emission, and `Object.emit` returns its result."""


def signal_accumulator_true_handled(*_arguments: object) -> None:
    """Stand for g_signal_accumulator_true_handled in a declaration: a handler that returns True ends the emission."""


signal_accumulator_true_handled.__module__ = "unixconn"


def checked_type(kind: Any, where: str) -> type:
    """Return *kind*, a type of values. Raises TypeError if values of signals and properties cannot be of it."""
    if isinstance(kind, type) and (
        kind in (int, float, bool, str, object)
        or issubclass(kind, Object)
        or kind.__module__.partition(".")[0] == "unixconn"
    ):
        return kind
    raise TypeError(f"{where}: values cannot be of the type {kind!r}; object stands for any value")


def checked_name(name: Any, where: str) -> str:
    """Return *name* with dashes. Raises TypeError if it is no string, and ValueError if it cannot be a name."""
    if not isinstance(name, str):
        raise TypeError(f"{where}: a name must be a string, not {name!r}")
    found = name.replace("_", "-")
    if not (found.replace("-", "").isalnum() and found.isascii() and found[0].isalpha()):
        raise ValueError(f"{where}: a name must be of letters, digits and dashes, not {name!r}")
    return found


def converted(value: Any, kind: type, name: str) -> Any:
    """Return *value* as one of the type *kind*, as GObject does. Raises TypeError and OverflowError if it cannot be."""
    if kind is object:
        return value
    if kind is bool:
        return bool(value)
    if issubclass(kind, int) and not issubclass(kind, IntEnum):
        return as_integer(value, name, *getattr(kind, "limits", (-INT_MAX - 1, INT_MAX)))
    if kind is float:
        if not hasattr(value, "__float__"):
            raise TypeError(f"{name} must be a number, not {value!r}")
        return float(value)
    if kind is str:
        return value if value is None else str(value)
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, not {value!r}")
    return value


class DeclaredSignal(Signal):
    """A signal that a program declares. Raises TypeError and ValueError for what is not supported."""

    __slots__ = ("_kind", "_types", "cleanup", "detailed", "is_plain", "name", "plain", "run_first")

    def __init__(
        self, name: Any, flags: Any, result: Any, types: Any, accumulator: object = None, data: object = None
    ) -> None:
        where = f"the signal {name!r}"
        super().__init__(None, ends_when_true=accumulator is signal_accumulator_true_handled)
        self.name: str = checked_name(name, where)
        bits = as_integer(flags, f"{where}: the flags", 0, INT_MAX)
        if bits & ~0x177 or bits & 7 not in (0, 1, 2, 4):
            raise ValueError(f"{where}: the flags {flags!r} are not supported")
        if not (accumulator is None or self.ends_when_true) or data is not None:
            raise TypeError(f"{where}: the accumulator {accumulator!r} is not supported")
        if not isinstance(types, (tuple, list)):
            raise TypeError(f"{where}: the types of its values must be a tuple, not {types!r}")
        self.run_first = bool(bits & 1)
        self.detailed = bool(bits & 16)
        # Without a flag that says when, GObject never calls the default handler.
        method = "do_" + self.name.replace("-", "_")
        self.method = method if bits & 3 else ""
        self.cleanup: str = method if bits & 4 else ""
        """The name of the default handler if it runs after all others."""
        self.count = len(types)
        self._kind = None if result is None else checked_type(result, where)
        self._types = [checked_type(each, where) for each in types]
        self.plain: list[Any] = [
            each if each in (int, float, bool, str, object) or issubclass(each, Object) else None
            for each in self._types
        ]
        """The types of the values of which those of exactly this type stay as they are; None for other types."""
        self.is_plain = self._kind is None and not self.cleanup
        """Whether `Object.emit` always returns None, and no default handler runs after all others."""

    def values(self, values: tuple[object, ...]) -> tuple[object, ...]:
        """Return *values* as handlers get them. Raises TypeError and OverflowError if they are not of the types."""
        return tuple(
            converted(value, kind, f"a value of the signal {self.name}") for value, kind in zip(values, self._types)
        )

    def result(self, result: object) -> object:
        """Return the result of the last handler as `Object.emit` returns it."""
        kind = self._kind
        if kind is None:
            return None
        if result is None:
            return kind() if kind in (bool, int, float) else None
        return converted(result, kind, f"the result of the signal {self.name}")


class DeclaredProperty(Property):
    """A property that a program declares. Raises TypeError and ValueError for what is not supported."""

    __slots__ = ("maximum", "minimum", "writer")

    def __init__(
        self, name: Any, kind: Any, nick: str, blurb: str, minimum: Any, maximum: Any, default: Any, flags: Any
    ) -> None:
        where = f"the property {name!r}"
        found = checked_name(name, where)
        bits = as_integer(flags, f"{where}: the flags", 0, 2**32 - 1)
        self.writer: str = f"_set_declared_{found}"
        """The name of the method that sets it, also for the constructor alone."""
        super().__init__(
            found,
            checked_type(kind, where),
            f"_get_declared_{found}",
            self.writer if bits & 2 and not bits & 8 else None,
            default=default,
            construct_only=bool(bits & 8),
        )
        self.nick, self.blurb, self.flags, self.minimum, self.maximum = nick, blurb, bits, minimum, maximum
        self.default_value = None if default is None else self.value(default)

    def value(self, value: object) -> Any:
        """Return *value* as the property takes it. Raises TypeError, OverflowError, and ValueError out of its range."""
        found = converted(value, self.value_type, f"the property {self.name}")
        low, high = self.minimum, self.maximum
        if (low is not None and found < low) or (high is not None and found > high):
            raise ValueError(f"the property {self.name} must be from {low} to {high}, not {value!r}")
        return found


class Handler:
    """A callback that is connected to a signal."""

    __slots__ = ("after", "blocked", "call", "detail", "function", "number", "signal")

    def __init__(
        self, signal: str, detail: str, function: Callable[..., object], call: Callable[..., object], *, after: bool
    ) -> None:
        self.number = next(_handler_numbers)
        self.signal = signal
        self.detail = detail
        """For the signal notify, the name of the property; "" for all properties."""
        self.function = function
        """What `Object.connect` was given."""
        self.call = call
        self.after = after
        self.blocked: list[None] = []
        """One entry for each `Object.handler_block` without its `Object.handler_unblock`."""


_handler_numbers = itertools.count(1)
_weak_refs: dict[int, Callable[[], Object | None]] = {}
"""The weak references with a callback, which Python does not call for a reference that is gone, by their identities."""
_LARGEST_NUMBER = 2**64 - 1
"""The largest handler number that GLib's gulong holds."""


class _AtExit:
    """A context manager that does nothing at its beginning, and calls *undo* at its end."""

    __slots__ = ("_undo",)

    def __init__(self, undo: Callable[[], object]) -> None:
        self._undo = undo

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, *_error: object) -> None:
        self._undo()


def run_handler(call: Callable[..., object], *args: object) -> object:
    """Call a handler and return its result. If it raises, report the exception to `sys.excepthook` and return None."""
    try:
        return call(*args)
    except Exception:  # noqa: BLE001 - a handler that fails must not stop the others
        sys.excepthook(*sys.exc_info())
        return None


class Object:
    """The base class of Gio's classes: properties that are known by name, and signals (GObject.Object)."""

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = ()
    """The properties that this class adds."""

    _handler_list: list[Handler] | None = None
    _hears_notify = False
    """Whether the class overrides `do_notify`."""

    _taker: ClassVar[type[Object] | None] = None
    """The class whose constructor takes what a program's class declares, see `_take_properties`."""

    _initial: tuple[DeclaredProperty, ...] = ()
    """The properties that each new object is given, if only their default."""

    _uncalled: ClassVar[str] = ""
    """The names of virtual methods that a subclass can override in Gio. They are never called here."""

    _plans: ClassVar[dict[str, tuple[str, Any]]] = {}
    """The name and the `Signal` for each string, without a detail, that the class's objects have emitted."""

    def __init_subclass__(cls, **others: Any) -> None:
        super().__init_subclass__(**others)
        cls._plans = {}
        cls._hears_notify = cls.do_notify is not Object.do_notify
        for name in cls._uncalled.split():
            if name in cls.__dict__:
                raise TypeError(f"{cls.__name__}.{name}() would never be called: unixconn has no such virtual method")
        if "do_constructed" in cls.__dict__:
            cls._take_properties()
        if "__gsignals__" in cls.__dict__ or "__gproperties__" in cls.__dict__:
            cls._read_declarations()

    @classmethod
    def _read_declarations(cls) -> None:
        """Add what the class declares in ``__gsignals__`` and ``__gproperties__``."""
        for attribute in ("__gsignals__", "__gproperties__"):
            if not isinstance(cls.__dict__.get(attribute, {}), dict):
                raise TypeError(f"{attribute} of {cls.__name__} must be a dict, not {cls.__dict__[attribute]!r}")
        for name, values in cls.__dict__.get("__gsignals__", {}).items():
            if values == "override":
                cls._parse(name)
            elif not isinstance(values, tuple) or not 3 <= len(values) <= 5:
                raise TypeError(f"the signal {name!r} must be (flags, type of the result, types), not {values!r}")
            else:
                cls._add_signal(DeclaredSignal(name, *values))
        for name, values in cls.__dict__.get("__gproperties__", {}).items():
            kind = values[0] if isinstance(values, tuple) and values else None
            has_range = isinstance(kind, type) and issubclass(kind, (int, float)) and kind is not bool
            missing = (None, None) if not has_range else ()
            if not isinstance(values, tuple) or len(values) + len(missing) not in (6, 7):
                raise TypeError(f"the property {name!r} must be (type, nick, blurb, ..., flags), not {values!r}")
            default = (None,) if len(values) + len(missing) == 6 else ()
            cls._add_property(DeclaredProperty(name, *values[:3], *missing, *default, *values[3:]))

    @classmethod
    def _add_signal(cls, signal: DeclaredSignal) -> None:
        known = cls.__dict__.get("_signals", {})
        if signal.name in known:
            raise ValueError(f"the class {cls.__name__} declares the signal {signal.name!r} twice")
        cls._signals = {**known, signal.name: signal}

    @classmethod
    def _add_property(
        cls,
        spec: DeclaredProperty,
        read: Callable[[Any], Any] | None = None,
        write: Callable[[Any, Any], object] | None = None,
    ) -> None:
        """Add a property with functions that read and write it; without them, with do_get_property and the like."""
        known = cls.__dict__.get("_properties", ())
        if any(each.name == spec.name for each in known):
            raise ValueError(f"the class {cls.__name__} declares the property {spec.name!r} twice")

        def read_checked(self: Any) -> Any:
            if not spec.flags & 1:
                raise TypeError(f"the property {spec.name!r} of {cls.__name__} cannot be read")
            return read(self) if read is not None else self.do_get_property(spec)

        setattr(cls, spec.getter, read_checked)

        def write_checked(self: Any, value: object) -> None:
            found = spec.value(value)
            if write is not None:
                write(self, found)
            else:
                self.do_set_property(spec, found)

        setattr(cls, spec.writer, write_checked)
        # In the order in which GLib lists them.
        cls._properties = tuple(sorted((*known, spec), key=lambda each: each.name))
        if spec.flags & 12:
            cls._initial = (*cls._initial, spec)
        cls._take_properties()

    @classmethod
    def _take_properties(cls) -> None:
        """Have the constructor of the library's class that *cls* is derived from take the properties of *cls*, too."""
        cls._taker = taker = next(
            each for each in cls.__mro__ if each.__module__ == "unixconn" and "__init__" in each.__dict__
        )
        make = vars(taker)["__init__"]
        if taker is Object or hasattr(make, "takes"):
            return

        # It costs time only where a program declares something: other objects are made as before.
        @wraps(make)
        def take(self: Object, *arguments: Any, **properties: Any) -> None:
            found = {name: self.find_property(name) for name in properties if self._taker is taker}
            own = {name: properties.pop(name) for name, each in found.items() if isinstance(each, DeclaredProperty)}
            make(self, *arguments, **properties)
            if self._taker is taker:
                Object.__init__(self, **own)

        vars(take)["takes"] = True
        setattr(taker, "__init__", take)  # noqa: B010 - for type checkers, which refuse the plain form

    def do_get_property(self, spec: Property) -> Any:
        """Return the value of a property from ``__gproperties__``. Classes that declare one override this method."""
        raise NotImplementedError(f"{type(self).__name__} has no do_get_property() for {spec.name!r}")

    def do_set_property(self, spec: Property, value: Any) -> None:
        """Set a property from ``__gproperties__`` to *value*. Classes that declare one override this method."""
        raise NotImplementedError(f"{type(self).__name__} has no do_set_property() for {spec.name!r}, {value!r}")

    def __init__(self, **properties: object) -> None:
        """
        Make an object, and set *properties* that its class declares.

        Raises TypeError if the class has no property of a name, or one that cannot be set.
        """
        # The library's own classes skip this method, with super(Object, self): they are made for each operation, and
        # their constructors take their properties themselves.
        super().__init__()
        initial = {each.name: each.default_value for each in self._initial}
        count = len(initial)
        initial.update({self._property(name).name: value for name, value in properties.items()})
        for number, (name, value) in enumerate(initial.items()):
            if number == count:
                self.do_constructed()
            given = self._property(name)
            if isinstance(given, DeclaredProperty) and given.construct_only:
                getattr(self, given.writer)(value)
            else:
                self.set_property(name, value)
        if len(initial) == count:
            self.do_constructed()

    def do_constructed(self) -> None:
        """Do what a subclass wants after its construct properties are set, and before others. Subclasses override."""

    @property
    def _handlers(self) -> list[Handler]:
        # The list is changed and copied only in single steps of the interpreter: a signal handler may call connect() at
        # any moment.
        return self.__dict__.setdefault("_handler_list", [])  # type: ignore[no-any-return]

    __reduce__ = refuse_copy

    def weak_ref(self, callback: Callable[..., object] | None = None, *data: object) -> Callable[[], Object | None]:
        """
        Return a weak reference: a function that returns this object, or None when the object is gone.

        *callback*, unless it is None, is called with *data* when the object is destroyed. The caller need not keep the
        reference for that. Raises TypeError if it is not callable.
        """
        if callback is None:
            return weakref.ref(self)
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")

        kept = _weak_refs

        def call(gone: object) -> None:
            del kept[id(gone)]
            callback(*data)

        made = weakref.ref(self, call)
        kept[id(made)] = made
        return made

    # --- properties ---

    props: ClassVar[Props] = Props(None)
    """The properties as attributes: ``obj.props.fd_list``."""

    @classmethod
    def list_properties(cls) -> list[Property]:
        """Return the properties of this class and of its base classes, of each name the one that the class has."""
        every = (each for base in reversed(cls.__mro__) for each in base.__dict__.get("_properties", ()))
        return list({each.name: each for each in every}.values())

    @classmethod
    def _property(cls, name: str) -> Property:
        found = cls.find_property(name)
        if found is not None:
            return found
        raise TypeError(f"{cls.__name__} has no property {name!r}")

    @classmethod
    def find_property(cls, property_name: str) -> Property | None:
        """
        Return the property *property_name* of this class, None if it has none (g_object_class_find_property).

        Raises TypeError if *property_name* is not a string.
        """
        if not isinstance(property_name, str):
            raise TypeError(f"the name of a property must be a string, not {property_name!r}")
        wanted = property_name.replace("_", "-")
        for base in cls.__mro__:
            for each in base.__dict__.get("_properties", ()):
                if each.name == wanted:
                    return each  # type: ignore[no-any-return]
        return None

    def get_property(self, name: str) -> Any:
        """
        Return the value of the property *name*, which may have dashes or underscores.

        Raises TypeError if the class has no property of this name.
        """
        return getattr(self, self._property(name).getter)()

    def get_properties(self, name: str, *names: str) -> tuple[Any, ...]:
        """Return the values of the properties *name* and *names*, in their order; see `get_property`."""
        return tuple(self.get_property(each) for each in (name, *names))

    def set_property(self, name: str, value: object) -> None:
        """
        Set the property *name* to *value*, and emit ``notify``, even if the property had this value before.

        Raises TypeError if the class has no property of this name, and for a property that is read-only or can only be
        given to the constructor.
        """
        setter = self._property(name).setter
        if setter is None:
            raise TypeError(f"the property {name!r} of {type(self).__name__} cannot be set on an existing object")
        with self.freeze_notify():
            getattr(self, setter)(value)
            self.notify(name)

    def set_properties(self, **values: object) -> None:
        """Set the properties that the keywords name, in their order; see `set_property`."""
        with self.freeze_notify():
            for name, value in values.items():
                self.set_property(name, value)

    def notify(self, property_name: str) -> None:
        """
        Emit the signal ``notify`` for the property *property_name*.

        Raises TypeError if the class has no property of this name.
        """
        self._property(property_name)
        self._notify(property_name)

    def _notify(self, name: str) -> None:
        # The cheapest test for a listener: each asynchronous operation notifies, and there rarely is one.
        if self._handler_list is not None or self._hears_notify:
            changed = self._property(name)
            self._changed[changed] = True
            self._emit_changes()

    def _change(self, name: str, value: object) -> None:
        """Store *value* as the property *name*, and notify if that changes it: for setters, as in Gio."""
        if getattr(self, attribute := "_" + name.replace("-", "_")) != value:
            setattr(self, attribute, value)
            self._notify(name)

    # Both collections are changed and copied only in single steps of the interpreter, as other threads may use them at
    # any moment.

    @property
    def _freezes(self) -> list[None]:
        return self.__dict__.setdefault("_freeze_list", [])  # type: ignore[no-any-return]

    @property
    def _changed(self) -> dict[Property, bool]:
        return self.__dict__.setdefault("_changed_properties", {})  # type: ignore[no-any-return]

    def _emit_changes(self) -> None:
        # The latest change first, as in GObject.
        for each in reversed(list(self._changed)):
            if self._freezes:
                return
            if self._changed.pop(each, False):
                self._emit("notify", each.name, each)

    def freeze_notify(self) -> _AtExit:
        """
        Hold back the signal ``notify`` until `thaw_notify`, or until the end of a ``with`` block.

        The signal is then emitted once for each property that has changed, in the reverse order of the first changes.
        """
        self._freezes.append(None)
        return _AtExit(self.thaw_notify)

    def thaw_notify(self) -> None:
        """
        Undo one `freeze_notify`. Undoing the last one emits the signals that were held back.

        Raises ValueError without a `freeze_notify`.
        """
        try:
            self._freezes.pop()
        except IndexError:
            raise ValueError("thaw_notify() without a freeze_notify() before it") from None
        self._emit_changes()

    def do_notify(self, changed: Property) -> None:
        """Handle the signal ``notify`` after the plain handlers. Subclasses override this method."""

    # --- signals ---

    _signals: ClassVar[dict[str, Signal]] = {"notify": Signal(do_notify)}
    """The signals that this class adds."""

    def connect(self, signal: str, callback: Callable[..., object], *data: object) -> int:
        """
        Call *callback* with this object, the signal's values and *data* each time that *signal* is emitted.

        Returns the number of the handler. The signal ``notify::name`` is emitted when the property *name* changes, with
        its `Property` as the value, and ``notify`` when any property changes. Handlers run in the order in which they
        were connected. Raises TypeError if the class has no signal of this name, or *callback* is not callable.
        """
        return self._connect_with(signal, callback, data, after=False)

    def _connect_with(
        self, signal: str, callback: Callable[..., object], data: tuple[object, ...], *, after: bool
    ) -> int:
        call = (lambda emitter, *values: callback(emitter, *values, *data)) if data else callback
        return self._connect(signal, callback, call, after=after)

    def connect_after(self, signal: str, callback: Callable[..., object], *data: object) -> int:
        """Connect *callback* as `connect` does, but to run after the class's own handler."""
        return self._connect_with(signal, callback, data, after=True)

    def connect_data(
        self, detailed_signal: str, handler: Callable[..., object], *data: object, connect_flags: int = 0
    ) -> int:
        """
        Connect *handler* as `connect` does, or as `connect_after` if *connect_flags* has the bit 1.

        With the bit 2, *data* must be one object, which changes places with this object in its arguments.
        Raises ValueError if it is not one.
        """
        after = bool(connect_flags & 1)
        if not connect_flags & 2:
            return self._connect_with(detailed_signal, handler, data, after=after)
        if len(data) != 1:
            raise ValueError(f"with the flag 2, data must be one object to be swapped with this one, not {data!r}")
        return self._connect(
            detailed_signal, handler, lambda emitter, *values: handler(*data, *values, emitter), after=after
        )

    def connect_object(self, signal: str, callback: Callable[..., object], owner: object, *data: object) -> int:
        """Connect *callback* as `connect` does, with *owner* in place of this object as the first argument."""
        return self._connect(signal, callback, lambda _, *values: callback(owner, *values, *data), after=False)

    def connect_object_after(self, signal: str, callback: Callable[..., object], owner: object, *data: object) -> int:
        """Connect *callback* as `connect_object` does, but to run after the class's own handler."""
        return self._connect(signal, callback, lambda _, *values: callback(owner, *values, *data), after=True)

    def _connect(self, name: str, callback: Callable[..., object], call: Callable[..., object], *, after: bool) -> int:
        """
        Call *call*, which calls *callback*, with this object and the signal's values.

        *call* must not keep a reference to this object: the two would keep each other alive.
        """
        signal, detail = self._parse(name)
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        handler = Handler(signal, detail, callback, call, after=after)
        self.__dict__.setdefault("_emission_stack", [])
        self._handlers.append(handler)
        return handler.number

    def disconnect(self, handler_id: int) -> None:
        """
        Disconnect the handler with the number *handler_id*.

        Issues a RuntimeWarning if there is no such handler. Raises TypeError if *handler_id* is not a number, and
        OverflowError if it does not fit into a C unsigned long.
        """
        if not self._disconnect(handler_id):
            warnings.warn(f"{type(self).__name__} has no handler {handler_id!r}", RuntimeWarning, stacklevel=2)

    handler_disconnect = disconnect

    def _disconnect(self, handler_id: int) -> bool:
        found = self._find(handler_id)
        try:
            self._handlers.remove(found)  # type: ignore[arg-type]
        except ValueError:  # there was no such handler, or another thread has just removed it
            return False
        return True

    def _find(self, handler_id: int) -> Handler | None:
        number = as_integer(handler_id, "handler_id", 0, _LARGEST_NUMBER)
        return next((each for each in tuple(self._handlers) if each.number == number), None)

    def _handler(self, handler_id: int) -> Handler:
        found = self._find(handler_id)
        if found is None:
            raise TypeError(f"{type(self).__name__} has no handler {handler_id!r}")
        return found

    def _by_function(self, function: Callable[..., object]) -> list[Handler]:
        """Return the handlers that call *function*, the latest first. Raises TypeError if there is none."""
        found = [each for each in reversed(tuple(self._handlers)) if each.function == function]
        if not found:
            raise TypeError(f"nothing is connected to {function!r}")
        return found

    def disconnect_by_func(self, function: Callable[..., object]) -> int:
        """
        Disconnect the latest handler that calls *function*, and return 1, the number of handlers.

        Raises TypeError if no handler calls it.
        """
        return int(self._disconnect(self._by_function(function)[0].number))

    def handler_block_by_func(self, function: Callable[..., object]) -> int:
        """Block the latest handler that calls *function*, and return 1. Raises TypeError if there is none."""
        self._by_function(function)[0].blocked.append(None)
        return 1

    def handler_unblock_by_func(self, function: Callable[..., object]) -> int:
        """Undo one `handler_block_by_func`, and return 1. Raises as `handler_unblock` does."""
        self.handler_unblock(self._by_function(function)[0].number)
        return 1

    def handler_is_connected(self, handler_id: int) -> bool:
        """Return whether the handler with the number *handler_id* is connected. Raises TypeError if it is no number."""
        return self._find(handler_id) is not None

    def handler_block(self, handler_id: int) -> _AtExit:
        """
        Do not call the handler with the number *handler_id* until `handler_unblock`, or the end of a ``with`` block.

        Raises TypeError if there is no such handler.
        """
        self._handler(handler_id).blocked.append(None)
        return _AtExit(lambda: self.handler_unblock(handler_id))

    def handler_unblock(self, handler_id: int) -> None:
        """Undo one `handler_block`. Raises TypeError if there is no such handler, ValueError if it is not blocked."""
        try:
            self._handler(handler_id).blocked.pop()
        except IndexError:
            raise ValueError(f"the handler {handler_id!r} is not blocked") from None

    def emit(self, signal: str, *values: object) -> Any:
        """
        Call the handlers of *signal* with *values*: the plain ones, the class's own, then those of `connect_after`.

        An exception raised by a handler goes to `sys.excepthook`, and the other handlers still run. For a signal that
        has a result, this method returns the result of the last handler. Raises TypeError if the class has no signal of
        this name, or the number of values is not that of the signal.
        """
        try:
            name, declared = self._plans[signal]
            detail = ""
        except (KeyError, TypeError):
            name, detail, declared = self._plan(signal)
        if len(values) != declared.count:
            raise TypeError(
                f"the signal {name!r} of {type(self).__name__} takes {declared.count} values, not {len(values)}"
            )
        if declared.default is not None:
            return self._emit(name, detail, *values)
        for value, kind in zip(values, declared.plain):
            # The lines of `converted`, for values that stay as they are.
            if kind is not object and (
                value.__class__ is not kind or (kind is int and not -INT_MAX <= value <= INT_MAX)  # type: ignore[operator]
            ):
                values = declared.values(values)
                break
        result = self._emit(name, detail, *values)
        if declared.is_plain:
            return None
        last = getattr(self, declared.cleanup, None)
        return run_handler(declared.result, result if last is None else run_handler(last, *values))

    @classmethod
    def _plan(cls, name: str) -> tuple[str, str, Any]:
        """Return what `_parse` does, and the signal."""
        signal, detail = cls._parse(name)
        declared = cls._signal(signal)
        if not detail:
            cls._plans[name] = signal, declared
        return signal, detail, declared

    @classmethod
    def _parse(cls, name: str) -> tuple[str, str]:
        """Return a signal's name and its detail. Raises TypeError if the class has no such signal."""
        if not isinstance(name, str):
            raise TypeError(f"the name of a signal must be a string, not {name!r}")
        signal, colons, detail = name.partition("::")
        declared = cls._signal(signal)
        if declared is not None:
            if not colons:
                return signal, ""
            if signal == "notify":
                return signal, cls._property(detail).name if detail else ""
            if declared.detailed:
                return signal, detail
        elif "_" in signal:
            return cls._parse(signal.replace("_", "-") + colons + detail)
        raise TypeError(f"{cls.__name__} has no signal {name!r}")

    @classmethod
    def _signal(cls, name: str) -> Signal | None:
        for base in cls.__mro__:
            if name in base.__dict__.get("_signals", ()):
                return base.__dict__["_signals"][name]  # type: ignore[no-any-return]
        return None

    def _is_heard(self, signal: str) -> bool:
        if self._handler_list is not None:
            return True
        return self._overridden(self._signal(signal)) is not None  # type: ignore[arg-type]

    def _overridden(self, declared: Signal) -> Callable[..., object] | None:
        """Return the method that overrides the signal's default; None if there is none."""
        method: Any = getattr(self, declared.method, None)
        return None if getattr(method, "__func__", method) is declared.default else method

    def _emit(self, signal: str, detail: str, *values: object) -> object:
        try:
            declared = self._plans[signal][1]
        except KeyError:
            declared = self._plan(signal)[2]
        own = getattr(self, declared.method, None)
        if own is not None and getattr(own, "__func__", own) is declared.default:
            own = None
        handlers = self._handler_list
        # Nested emissions count, too: `stop_emission_by_name` stops the innermost one.
        if own is not None or (handlers is not None and len(handlers) != 1) or self._emission_stack:
            return self._emit_to_all(signal, detail, declared, own, values)
        for each in tuple(handlers or ()):
            if each.signal == signal and not (each.blocked or (each.detail and each.detail != detail)):
                # The lines of `run_handler`: most signals have one handler.
                try:
                    return each.call(self, *values)
                except Exception:  # noqa: BLE001 - a handler that fails must not stop the others
                    sys.excepthook(*sys.exc_info())
        return None

    def _emit_to_all(
        self, signal: str, detail: str, declared: Any, own: Callable[..., object] | None, values: tuple[object, ...]
    ) -> object:
        """Do what `_emit` does for any number of handlers; *own* is the class's own one, if it has one."""
        known = self._handler_list or ()
        result: object = None
        early: list[Handler | None] = []
        late: list[Handler | None] = []
        if own is not None:
            (early if declared.run_first else late).append(None)
        for each in tuple(known):
            if each.signal == signal and (not each.detail or each.detail == detail):
                (late if each.after else early).append(each)
        handlers = early + late
        running = self._emission_stack
        running.append(handlers)
        for handler in handlers:
            if handler is None:  # the turn of the class's own one
                result = run_handler(own, *values)  # type: ignore[arg-type]
            # A handler may disconnect or block those that come after it.
            elif handler in known and not handler.blocked:
                result = run_handler(handler.call, self, *values)
            if result and declared.ends_when_true:
                break
        running.pop()
        return result

    _emission_stack: ClassVar[list[list[Handler | None]]] = []
    """
    The handlers of the emissions that run now, the innermost last. `_connect` makes a list for the object.

    What an exception raised by a signal handler leaves behind is never the last of a signal that is emitted.
    """

    def stop_emission_by_name(self, detailed_signal: str) -> None:
        """
        Stop the running emission of a signal: call no more handlers (g_signal_stop_emission_by_name).

        Of several that are nested, it is the innermost one. Without one, this has no effect. Raises TypeError if the
        class has no signal of this name.
        """
        signal, _detail = self._parse(detailed_signal)
        for handlers in reversed(self._emission_stack):
            if any(each is not None and each.signal == signal for each in handlers):
                # The loop over them ends after the handler that calls this.
                del handlers[1:]
                break

    stop_emission = stop_emission_by_name
    emit_stop_by_name = stop_emission_by_name
