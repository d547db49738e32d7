"""GObject.Signal and GObject.Property: how a program's class declares signals and properties as its attributes."""

from __future__ import annotations

from unixconn._base.enums import GFlags
from unixconn._base.object import DeclaredProperty, DeclaredSignal, Object
from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class SignalFlags(GFlags, prefix="G_SIGNAL_", dash="_"):
    """When a signal's default handler runs, and whether the signal has details (GObject.SignalFlags)."""

    RUN_FIRST = 1
    RUN_LAST = 2
    RUN_CLEANUP = 4
    NO_RECURSE = 8
    DETAILED = 16
    ACTION = 32
    NO_HOOKS = 64
    MUST_COLLECT = 128
    DEPRECATED = 256
    ACCUMULATOR_FIRST_RUN = 1 << 17


class ParamFlags(GFlags, prefix="G_PARAM_", dash="_"):
    """How a property can be used (GObject.ParamFlags)."""

    READABLE = 1
    WRITABLE = 2
    READWRITE = 3
    CONSTRUCT = 4
    CONSTRUCT_ONLY = 8
    LAX_VALIDATION = 16
    STATIC_NAME = 32
    PRIVATE = 32
    STATIC_NICK = 64
    STATIC_BLURB = 128
    EXPLICIT_NOTIFY = 1 << 30
    DEPRECATED = 1 << 31


SIGNAL_RUN_FIRST, SIGNAL_RUN_LAST, SIGNAL_RUN_CLEANUP, SIGNAL_NO_RECURSE = (
    SignalFlags.RUN_FIRST,
    SignalFlags.RUN_LAST,
    SignalFlags.RUN_CLEANUP,
    SignalFlags.NO_RECURSE,
)
SIGNAL_DETAILED, SIGNAL_ACTION, SIGNAL_NO_HOOKS = SignalFlags.DETAILED, SignalFlags.ACTION, SignalFlags.NO_HOOKS
PARAM_READABLE, PARAM_WRITABLE, PARAM_READWRITE = ParamFlags.READABLE, ParamFlags.WRITABLE, ParamFlags.READWRITE
PARAM_CONSTRUCT, PARAM_CONSTRUCT_ONLY = ParamFlags.CONSTRUCT, ParamFlags.CONSTRUCT_ONLY
TYPE_BOOLEAN, TYPE_INT, TYPE_DOUBLE, TYPE_STRING, TYPE_PYOBJECT, TYPE_OBJECT = bool, int, float, str, object, Object


def _integers(name: str, lowest: int, highest: int) -> type[int]:
    return type(name, (int,), {"limits": (lowest, highest), "__module__": "unixconn"})


TYPE_UINT = _integers("TYPE_UINT", 0, 2**32 - 1)
TYPE_INT64 = TYPE_LONG = _integers("TYPE_INT64", -(2**63), 2**63 - 1)
TYPE_UINT64 = TYPE_ULONG = _integers("TYPE_UINT64", 0, 2**64 - 1)


class BoundSignal(str):
    """A `Signal` of one object: the name, with the methods of the object that take it."""

    __slots__ = ("_function", "_owner")
    _owner: Object
    _function: Callable[..., object] | None

    def __repr__(self) -> str:
        return f'BoundSignal("{self}")'

    def __call__(self, *values: object) -> object:
        """Call the default handler alone."""
        if self._function is None:
            raise TypeError(f"the signal {str(self)!r} has no default handler of its own")
        return self._function(self._owner, *values)

    def connect(self, callback: Callable[..., object], *data: object) -> int:
        """See `Object.connect`."""
        return self._owner.connect(str(self), callback, *data)

    def connect_detailed(self, callback: Callable[..., object], detail: str, *data: object) -> int:
        """See `Object.connect`; *detail* follows the name after two colons."""
        return self._owner.connect(f"{self}::{detail}", callback, *data)

    def disconnect(self, handler_id: int) -> None:
        """See `Object.disconnect`."""
        self._owner.disconnect(handler_id)

    def emit(self, *values: object) -> Any:
        """See `Object.emit`."""
        return self._owner.emit(str(self), *values)


class Signal(str):  # noqa: SLOT000 - it has a docstring of its own
    """
    A signal that a class declares as its attribute (GObject.Signal), also as the decorator of its default handler.

    As an attribute of the class, it is the signal's name.

    Raises TypeError and ValueError for a type, flag or accumulator that is not supported.
    """

    def __new__(cls, name: str | Callable[..., object] = "", *_others: Any, **_named: Any) -> Signal:
        return super().__new__(cls, name if isinstance(name, str) else "")

    def __init__(
        self,
        name: str | Callable[..., object] = "",
        func: Callable[..., object] | None = None,
        flags: int = SignalFlags.RUN_FIRST,
        return_type: type | None = None,
        arg_types: tuple[type, ...] | None = None,
        doc: str = "",
        accumulator: object = None,
        accu_data: object = None,
    ) -> None:
        if not isinstance(name, str):
            func = name
        self._name = name if isinstance(name, str) else ""
        self._rest = (flags, return_type, arg_types, accumulator, accu_data)
        self._function: Callable[..., object] | None = None
        self.__doc__ = doc
        if func is not None:
            self(func)
        self._declared(self._name or "unnamed")

    def __call__(self, func: Callable[..., object]) -> Signal:
        """Take the default handler: the use as a decorator."""
        self._function = func
        self._name = self._name or func.__name__
        self.__doc__ = self.__doc__ or func.__doc__
        flags, result, types, *rest = self._rest
        if not result and not types:
            found = dict(func.__annotations__)
            result = found.pop("return", None)
            self._rest = (flags, result, tuple(found.values()), *rest)
        self._declared(self._name)
        return self

    def _declared(self, name: str) -> DeclaredSignal:
        flags, result, types, accumulator, data = self._rest
        return DeclaredSignal(name, flags, result, types or (), accumulator, data)

    def __set_name__(self, owner: type[Object], name: str) -> None:
        self._name = self._name or name
        declared = self._declared(self._name)
        owner._add_signal(declared)
        method = declared.method or declared.cleanup
        if self._function is not None and method and not hasattr(owner, method):
            setattr(owner, method, self._function)

    def __get__(self, instance: Object | None, _owner: type[Object]) -> Signal | BoundSignal:
        if instance is None:
            named = str.__new__(Signal, self._name)
            named.__dict__.update(self.__dict__)
            return named
        bound = BoundSignal(self._name)
        bound._owner, bound._function = instance, self._function
        return bound


class Property:
    """
    A property that a class declares as its attribute (GObject.Property), also as the decorator of its getter.

    *minimum* and *maximum* are the range of a number. Raises TypeError and ValueError for a type, flag or default that
    is not supported.
    """

    def __init__(
        self,
        getter: Callable[[Any], Any] | None = None,
        setter: Callable[[Any, Any], object] | None = None,
        type: Any = None,  # noqa: A002 - as in PyGObject
        default: Any = None,
        nick: str = "",
        blurb: str = "",
        flags: int = ParamFlags.READWRITE,
        minimum: Any = None,
        maximum: Any = None,
    ) -> None:
        kind = object if type is None else type
        if default is None and kind in (int, float, str, TYPE_UINT, TYPE_INT64, TYPE_UINT64):
            default = 0.0 if kind is float else "" if kind is str else 0
            if minimum is not None and kind is not str:
                default = max(default, minimum)
        if kind is bool and not isinstance(default, bool):
            raise TypeError(f"default must be True or False, not {default!r}")
        if kind is object and default is not None:
            raise TypeError(f"a property of any type has no default, but this has {default!r}")
        self._arguments = (kind, nick, blurb, minimum, maximum, default, flags)
        self._read, self._write = getter, setter
        self._name = ""
        self.__doc__ = blurb or (getter.__doc__ if getter else None)
        DeclaredProperty("unnamed", *self._arguments)

    def __call__(self, getter: Callable[[Any], Any]) -> Property:
        """Take the getter: the use as a decorator with arguments."""
        return self.getter(getter)

    def getter(self, fget: Callable[[Any], Any]) -> Property:
        """Take the getter *fget*."""
        self._read = fget
        self.__doc__ = fget.__doc__ or self.__doc__
        return self

    def setter(self, fset: Callable[[Any, Any], object]) -> Property:
        """Take the setter *fset*. Its name does not matter."""
        self._write = fset
        if self._read is not None:
            self._name = self._name or self._read.__name__
        return self

    def __set_name__(self, owner: type[Object], name: str) -> None:
        self._name = self._name or name
        if any(each.name == self._name.replace("_", "-") for each in owner.__dict__.get("_properties", ())):
            return  # the second name of a getter and its setter
        kind, nick, blurb, minimum, maximum, default, flags = self._arguments
        spec = DeclaredProperty(self._name, kind, nick, self.__doc__ or blurb, minimum, maximum, default, flags)
        if self._write is None and self._read is not None:
            spec.setter = None
        elif self._write is not None and self._read is None:
            spec.flags &= ~1
        place = f"_property_helper_{self._name}"
        plain: Any = spec.default_value
        read = self._read or (lambda each: each.__dict__.get(place, plain))
        owner._add_property(spec, read, self._write or (lambda each, value: each.__dict__.__setitem__(place, value)))

    def __get__(self, instance: Object | None, _owner: type[Object]) -> Any:
        return self if instance is None else instance.get_property(self._name)

    def __set__(self, instance: Object, value: object) -> None:
        instance.set_property(self._name, value)


for _each in (SignalFlags, ParamFlags, BoundSignal, Signal, Property):
    _each.__module__ = "unixconn"
