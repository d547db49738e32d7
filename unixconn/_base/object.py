"""
Object: properties, and signals, under every class (GObject.Object).

A class declares the properties that it adds in `_properties`, each with the methods that read and write it, and its
signals in `_signals`. Constructors take properties as ordinary keyword arguments.
"""

from __future__ import annotations

import itertools
import sys
import warnings
import weakref
from functools import partial

from unixconn._base.arguments import as_integer
from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any, ClassVar


class Property:
    """One property of a class (GObject.ParamSpec)."""

    __slots__ = ("construct_only", "default_value", "getter", "name", "setter", "value_type")

    def __init__(
        self,
        name: str,
        value_type: type,
        getter: str,
        setter: str | None = None,
        *,
        default: object = None,
        construct_only: bool = False,
    ) -> None:
        self.name: str = name
        """With dashes, as Gio writes it."""
        self.value_type: type = value_type
        self.getter: str = getter
        self.setter: str | None = setter
        """None for one that is read-only, or given to the constructor only."""
        self.default_value: object = default
        self.construct_only: bool = construct_only

    def __repr__(self) -> str:
        access = "construct-only" if self.construct_only else "read-only" if self.setter is None else "read-write"
        return f"<Property {self.name!r}: {self.value_type.__name__}, {access}>"


class Props:
    """The properties of one object as attributes, with underscores for dashes (GObject's ``props``)."""

    __slots__ = ("_object",)
    _object: Object

    def __init__(self, owner: Object) -> None:
        object.__setattr__(self, "_object", owner)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._object.get_property(name)
        except TypeError as error:
            raise AttributeError(str(error)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        getattr(self, name)
        self._object.set_property(name, value)

    def __dir__(self) -> list[str]:
        return [each.name.replace("-", "_") for each in self._object.list_properties()]


class Signal:
    """One signal of a class: *default* is the method that runs after the plain handlers, for subclasses to override."""

    __slots__ = ("default", "ends_when_true")

    def __init__(self, default: Callable[..., object], *, ends_when_true: bool = False) -> None:
        self.default = default
        self.ends_when_true = ends_when_true
        """Whether a handler that returns True is the last one, and `Object.emit` gives what that returned."""


class Handler:
    """A callback that is connected to a signal."""

    __slots__ = ("after", "blocked", "call", "detail", "number", "signal")

    def __init__(self, signal: str, detail: str, call: Callable[..., object], *, after: bool) -> None:
        self.number = next(_handler_numbers)
        self.signal = signal
        self.detail = detail
        """Of notify, the property's name; "" for all of them."""
        self.call = call
        self.after = after
        self.blocked: list[None] = []
        """As long as the times that it was blocked, and not unblocked."""


_handler_numbers = itertools.count(1)
_LARGEST_NUMBER = 2**64 - 1
"""Of GLib's gulong."""


class _AtExit:
    """A context manager that has been entered already, and calls *undo* at the end."""

    __slots__ = ("_undo",)

    def __init__(self, undo: Callable[[], object]) -> None:
        self._undo = undo

    def __enter__(self) -> None:
        """Do nothing: it is done."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo()


def run_handler(call: Callable[..., object], *args: object) -> object:
    """Run a handler, and give what it returns; an exception in it is reported and harms nobody else."""
    try:
        return call(*args)
    except Exception:  # noqa: BLE001 - whatever a handler raises must not stop the others
        sys.excepthook(*sys.exc_info())
        return None


class Object:
    """What all classes share: properties by name, and signals (GObject.Object)."""

    _properties: ClassVar[tuple[Property, ...]] = ()
    """The properties that this class adds."""

    @property
    def _handlers(self) -> list[Handler]:
        # Only changed and copied in single steps of the interpreter: a signal handler may connect at any moment.
        return self.__dict__.setdefault("_handler_list", [])  # type: ignore[no-any-return]

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Refuse to be copied or pickled: a copy would own the same descriptors, and close them once more."""
        raise TypeError(f"objects of {type(self).__name__} can be neither copied nor pickled")

    def weak_ref(self, callback: Callable[..., object] | None = None, *data: object) -> Callable[[], Object | None]:
        """Give a function that gives this object, or None when it is gone; *callback* is called with *data* then."""
        if callback is None:
            return weakref.ref(self)
        return weakref.ref(self, lambda _gone: callback(*data))

    # --- properties ---

    @property
    def props(self) -> Props:
        """The properties as attributes: ``obj.props.fd_list``."""
        return Props(self)

    @classmethod
    def list_properties(cls) -> list[Property]:
        """Give the properties of this class and of those above it."""
        return [each for base in reversed(cls.__mro__) for each in base.__dict__.get("_properties", ())]

    @classmethod
    def _property(cls, name: str) -> Property:
        if not isinstance(name, str):
            raise TypeError(f"the name of a property must be a str, not {name!r}")
        wanted = name.replace("_", "-")
        for each in cls.list_properties():
            if each.name == wanted:
                return each
        raise TypeError(f"{cls.__name__} has no property {name!r}")

    def get_property(self, name: str) -> Any:
        """
        Give the value of the property *name*, written with dashes or underscores.

        Raises TypeError for a name that the class does not have.
        """
        return getattr(self, self._property(name).getter)()

    def get_properties(self, *names: str) -> tuple[Any, ...]:
        """Give the values of several properties, in the order of *names*."""
        return tuple(self.get_property(name) for name in names)

    def set_property(self, name: str, value: Any) -> None:
        """
        Set the property *name* to *value*, and notify, also if it had this value before.

        Raises TypeError for a name that the class does not have, and for a property that is read-only or can be given
        to the constructor only.
        """
        setter = self._property(name).setter
        if setter is None:
            raise TypeError(f"the property {name!r} of {type(self).__name__} can not be set on an existing object")
        with self.freeze_notify():
            getattr(self, setter)(value)
            self.notify(name)

    def set_properties(self, **values: Any) -> None:
        """Set several properties, named by keywords."""
        with self.freeze_notify():
            for name, value in values.items():
                self.set_property(name, value)

    def notify(self, property_name: str) -> None:
        """Tell those who have connected to ``notify::name`` that the property of this name has changed."""
        self._property(property_name)
        self._notify(property_name)

    def _notify(self, name: str) -> None:
        # Asked in the quickest way: each asynchronous operation notifies, and hardly ever does anybody listen.
        if "_handler_list" in self.__dict__ or type(self).do_notify is not Object.do_notify:
            changed = self._property(name)
            self._changed[changed] = True
            self._tell_changed()

    # Only changed and copied in single steps of the interpreter, as other threads may do the same at any moment.

    @property
    def _freezes(self) -> list[None]:
        return self.__dict__.setdefault("_freeze_list", [])  # type: ignore[no-any-return]

    @property
    def _changed(self) -> dict[Property, bool]:
        return self.__dict__.setdefault("_changed_properties", {})  # type: ignore[no-any-return]

    def _tell_changed(self) -> None:
        # The latest first, as GObject does it.
        for each in reversed(list(self._changed)):
            if self._freezes:
                return
            if self._changed.pop(each, False):
                self._emit("notify", each.name, each)

    def freeze_notify(self) -> _AtExit:
        """
        Keep back notifications until `thaw_notify`, or the end of a ``with``.

        Of each property one will be left, and the one that was the last to change first is the first.
        """
        self._freezes.append(None)
        return _AtExit(self.thaw_notify)

    def thaw_notify(self) -> None:
        """Undo one `freeze_notify`; the last one notifies. Raises ValueError if there was none."""
        try:
            self._freezes.pop()
        except IndexError:
            raise ValueError("thaw_notify() without a freeze_notify() before it") from None
        self._tell_changed()

    def do_notify(self, changed: Property) -> None:
        """Run when a property has changed, after the plain handlers. For subclasses."""

    # --- signals ---

    _signals: ClassVar[dict[str, Signal]] = {"notify": Signal(do_notify)}
    """The signals that this class adds."""

    def connect(self, signal: str, callback: Callable[..., object], *data: object) -> int:
        """
        Call *callback* with this object, what the signal brings, and *data* whenever *signal* is emitted.

        Gives the handler's number. The signal ``notify::name`` says that the property *name* has changed, and brings
        the `Property`; ``notify`` does so for all of them. Handlers run in the order in which they were connected.
        Raises TypeError for an unknown signal and for a callback that can not be called.
        """
        return self._connect_with(signal, callback, data, after=False)

    def _connect_with(
        self, signal: str, callback: Callable[..., object], data: tuple[object, ...], *, after: bool
    ) -> int:
        return self._connect(signal, callback, lambda emitter, *values: callback(emitter, *values, *data), after=after)

    def connect_after(self, signal: str, callback: Callable[..., object], *data: object) -> int:
        """Like `connect`, but for a callback that runs after the class's own handler."""
        return self._connect_with(signal, callback, data, after=True)

    def connect_data(self, signal: str, callback: Callable[..., object], *data: object, connect_flags: int = 0) -> int:
        """`connect`, or `connect_after` if *connect_flags* has the bit 1. The bit 2 swaps this object and the data."""
        after = bool(connect_flags & 1)
        if not connect_flags & 2:
            return self._connect_with(signal, callback, data, after=after)
        if len(data) != 1:
            raise ValueError(f"to be swapped with this object there must be one argument, not {data!r}")
        return self._connect(signal, callback, lambda emitter, *values: callback(*data, *values, emitter), after=after)

    def connect_object(self, signal: str, callback: Callable[..., object], owner: object, *data: object) -> int:
        """Like `connect`, but *callback* gets *owner* in the place of this object, and goes when that does."""
        here = weakref.ref(self)

        def disconnect(_gone: object) -> None:
            emitter = here()
            if emitter is not None:
                emitter._disconnect(number)

        # The handler has it, and so it goes with that: an owner that stays knows of none that was disconnected.
        kept = weakref.ref(owner, disconnect)

        def call(_emitter: Object, *values: object) -> object:
            found = kept()
            return None if found is None else callback(found, *values, *data)

        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        number = self._connect(signal, callback, call, after=False)
        return number

    def _connect(self, name: str, callback: Callable[..., object], call: Callable[..., object], *, after: bool) -> int:
        """
        Have *call*, which calls *callback*, called with this object and what the signal brings.

        It is not to have this object itself, which would have itself then, and stay when it is dropped.
        """
        signal, detail = self._parse(name)
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        handler = Handler(signal, detail, call, after=after)
        self._handlers.append(handler)
        return handler.number

    def disconnect(self, handler_id: int) -> None:
        """
        Remove the handler with the number *handler_id*; a RuntimeWarning where there is none.

        Raises TypeError for what is no number, and OverflowError for one that is none of C's unsigned long.
        """
        if not self._disconnect(handler_id):
            warnings.warn(f"{type(self).__name__} has no handler {handler_id!r}", RuntimeWarning, stacklevel=2)

    def _disconnect(self, handler_id: int) -> bool:
        found = self._find(handler_id)
        try:
            self._handlers.remove(found)  # type: ignore[arg-type]
        except ValueError:  # somebody else was quicker, or it never was
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

    def handler_is_connected(self, handler_id: int) -> bool:
        """Tell whether the handler with the number *handler_id* is connected."""
        return self._find(handler_id) is not None

    def handler_block(self, handler_id: int) -> _AtExit:
        """
        Pass over the handler with the number *handler_id*, until `handler_unblock` or the end of a ``with``.

        Raises TypeError where there is none.
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
        Run the handlers of *signal* with *values*: plain ones, the class's own, then those of `connect_after`.

        An exception in one of them goes to `sys.excepthook`, and the others still run. Gives what the last one has
        returned, for a signal that has a result. Raises TypeError for more or fewer values than the signal has.
        """
        name, detail = self._parse(signal)
        declared = self._signal(name)
        assert declared is not None
        count = declared.default.__code__.co_argcount - 1
        if len(values) != count:
            raise TypeError(f"the signal {name!r} of {type(self).__name__} has {count} values, not {len(values)}")
        return self._emit(name, detail, *values)

    @classmethod
    def _parse(cls, name: str) -> tuple[str, str]:
        """Take apart a signal's name and its detail. Raises TypeError for one that the class does not have."""
        if not isinstance(name, str):
            raise TypeError(f"the name of a signal must be a str, not {name!r}")
        signal, colons, detail = name.partition("::")
        if cls._signal(signal) is None or (colons and signal != "notify"):
            raise TypeError(f"{cls.__name__} has no signal {name!r}")
        return signal, cls._property(detail).name if detail else ""

    @classmethod
    def _signal(cls, name: str) -> Signal | None:
        for base in cls.__mro__:
            if name in base.__dict__.get("_signals", ()):
                return base.__dict__["_signals"][name]  # type: ignore[no-any-return]
        return None

    def _is_heard(self, signal: str) -> bool:
        return "_handler_list" in self.__dict__ or self._own_handler(signal) is not None

    def _own_handler(self, signal: str) -> Callable[..., object] | None:
        declared = self._signal(signal)
        assert declared is not None
        method = getattr(self, declared.default.__name__)
        return None if getattr(method, "__func__", method) is declared.default else method

    def _emit(self, signal: str, detail: str, *values: object) -> object:
        result: object = None
        if self._is_heard(signal):
            declared = self._signal(signal)
            for call in self._emission(signal, detail):
                result = run_handler(call, *values)
                if result and declared is not None and declared.ends_when_true:
                    return result
        return result

    def _emission(self, signal: str, detail: str) -> Iterator[Callable[..., object]]:
        handlers = [each for each in tuple(self._handlers) if each.signal == signal and each.detail in ("", detail)]
        for each in handlers:
            if not each.after and not each.blocked and each in self._handlers:
                yield partial(each.call, self)
        own = self._own_handler(signal)
        if own is not None:
            yield own
        for each in handlers:
            if each.after and not each.blocked and each in self._handlers:
                yield partial(each.call, self)
