"""
Object: the base class of Gio's classes, with properties and signals (GObject.Object).

A class declares the properties that it adds in `_properties`, each with the names of the methods that get and set it,
and its signals in `_signals`. Constructors take properties as ordinary keyword arguments.
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
        """The name with dashes, as Gio writes it."""
        self.value_type: type = value_type
        """The type of the values."""
        self.getter: str = getter
        """The name of the method that returns the value."""
        self.setter: str | None = setter
        """The name of the method; None for a property that is read-only, or that only the constructor takes."""
        self.default_value: object = default
        """The value of a new object if the constructor was given none."""
        self.construct_only: bool = construct_only
        """Whether only the constructor takes it."""

    def __repr__(self) -> str:
        access = "construct-only" if self.construct_only else "read-only" if self.setter is None else "read-write"
        return f"<Property {self.name!r}: {self.value_type.__name__}, {access}>"


class Props:
    """The properties of an object as attributes, with underscores for dashes (GObject's ``props``)."""

    __slots__ = ("_object",)
    _object: Object

    def __init__(self, owner: Object) -> None:
        object.__setattr__(self, "_object", owner)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._object.get_property(name)
        except TypeError as error:
            raise AttributeError(str(error)) from None

    def __setattr__(self, name: str, value: object) -> None:
        getattr(self, name)
        self._object.set_property(name, value)

    def __dir__(self) -> list[str]:
        return [each.name.replace("-", "_") for each in self._object.list_properties()]


class Signal:
    """A signal of a class. *default* is the method that runs after the plain handlers, and that subclasses override."""

    __slots__ = ("default", "ends_when_true")

    def __init__(self, default: Callable[..., object], *, ends_when_true: bool = False) -> None:
        self.default = default
        self.ends_when_true = ends_when_true
        """Whether a handler that returns True ends the emission, and `Object.emit` returns its result."""


class Handler:
    """A callback that is connected to a signal."""

    __slots__ = ("after", "blocked", "call", "detail", "number", "signal")

    def __init__(self, signal: str, detail: str, call: Callable[..., object], *, after: bool) -> None:
        self.number = next(_handler_numbers)
        self.signal = signal
        self.detail = detail
        """For the signal notify, the name of the property; "" for all properties."""
        self.call = call
        self.after = after
        self.blocked: list[None] = []
        """One entry for each `Object.handler_block` without its `Object.handler_unblock`."""


_handler_numbers = itertools.count(1)
_LARGEST_NUMBER = 2**64 - 1
"""The largest handler number that GLib's gulong holds."""


class _AtExit:
    """A context manager that does nothing at its beginning, and calls *undo* at its end."""

    __slots__ = ("_undo",)

    def __init__(self, undo: Callable[[], object]) -> None:
        self._undo = undo

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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

    @property
    def _handlers(self) -> list[Handler]:
        # The list is changed and copied only in single steps of the interpreter: a signal handler may call connect() at
        # any moment.
        return self.__dict__.setdefault("_handler_list", [])  # type: ignore[no-any-return]

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Raise TypeError: a copy would own the same descriptors, and close them a second time."""
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled")

    def weak_ref(self, callback: Callable[..., object] | None = None, *data: object) -> Callable[[], Object | None]:
        """
        Return a weak reference: a function that returns this object, or None when the object is gone.

        *callback*, unless it is None, is called with *data* when the object is destroyed.
        """
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
        """Return the properties of this class and of its base classes."""
        return [each for base in reversed(cls.__mro__) for each in base.__dict__.get("_properties", ())]

    @classmethod
    def _property(cls, name: str) -> Property:
        if not isinstance(name, str):
            raise TypeError(f"the name of a property must be a string, not {name!r}")
        wanted = name.replace("_", "-")
        for each in cls.list_properties():
            if each.name == wanted:
                return each
        raise TypeError(f"{cls.__name__} has no property {name!r}")

    def get_property(self, name: str) -> Any:
        """
        Return the value of the property *name*, which may have dashes or underscores.

        Raises TypeError if the class has no property of this name.
        """
        return getattr(self, self._property(name).getter)()

    def get_properties(self, *names: str) -> tuple[Any, ...]:
        """Return the values of the properties *names*, in their order; see `get_property`."""
        return tuple(self.get_property(name) for name in names)

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
        if "_handler_list" in self.__dict__ or type(self).do_notify is not Object.do_notify:
            changed = self._property(name)
            self._changed[changed] = True
            self._emit_changes()

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
        return self._connect(signal, callback, lambda emitter, *values: callback(emitter, *values, *data), after=after)

    def connect_after(self, signal: str, callback: Callable[..., object], *data: object) -> int:
        """Connect *callback* as `connect` does, but to run after the class's own handler."""
        return self._connect_with(signal, callback, data, after=True)

    def connect_data(self, signal: str, callback: Callable[..., object], *data: object, connect_flags: int = 0) -> int:
        """
        Connect *callback* as `connect` does, or as `connect_after` if *connect_flags* has the bit 1.

        With the bit 2, *data* must be one object, which changes places with this object in the callback's arguments.
        Raises ValueError if it is not one.
        """
        after = bool(connect_flags & 1)
        if not connect_flags & 2:
            return self._connect_with(signal, callback, data, after=after)
        if len(data) != 1:
            raise ValueError(f"with the flag 2, data must be one object to be swapped with this one, not {data!r}")
        return self._connect(signal, callback, lambda emitter, *values: callback(*data, *values, emitter), after=after)

    def connect_object(self, signal: str, callback: Callable[..., object], owner: object, *data: object) -> int:
        """
        Connect *callback* as `connect` does, with *owner* in place of this object as the first argument.

        The handler keeps only a weak reference to *owner*, and is disconnected when *owner* is destroyed.
        """
        here = weakref.ref(self)

        def disconnect(_gone: object) -> None:
            emitter = here()
            if emitter is not None:
                emitter._disconnect(number)

        # The handler keeps the reference. So a handler that was disconnected leaves nothing behind in the owner.
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
        Call *call*, which calls *callback*, with this object and the signal's values.

        *call* must not keep a reference to this object: the two would keep each other alive.
        """
        signal, detail = self._parse(name)
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        handler = Handler(signal, detail, call, after=after)
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

    def handler_is_connected(self, handler_id: int) -> bool:
        """Return whether the handler with the number *handler_id* is connected."""
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
        name, detail = self._parse(signal)
        declared = self._signal(name)
        assert declared is not None
        count = declared.default.__code__.co_argcount - 1
        if len(values) != count:
            raise TypeError(f"the signal {name!r} of {type(self).__name__} has {count} values, not {len(values)}")
        return self._emit(name, detail, *values)

    @classmethod
    def _parse(cls, name: str) -> tuple[str, str]:
        """Return a signal's name and its detail. Raises TypeError if the class has no such signal."""
        if not isinstance(name, str):
            raise TypeError(f"the name of a signal must be a string, not {name!r}")
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
