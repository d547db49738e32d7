"""
Object: properties, and signals, under every class (GObject.Object).

A class names its properties once, in `_properties`, each with the methods that read and write it; constructors take
them as ordinary keyword arguments. A class names its signals in `_signals`.
"""

from __future__ import annotations

import itertools
import sys
import warnings

from unixconn._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, ClassVar


class Property:
    """One property of a class: its name, with dashes as Gio writes it, and the methods that read and write it."""

    __slots__ = ("getter", "name", "setter")

    def __init__(self, name: str, getter: str, setter: str | None = None) -> None:
        self.name = name
        self.getter = getter
        self.setter = setter
        """None for one that is read-only, or given to the constructor only."""


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


class Handler:
    """A callback that is connected to a signal."""

    __slots__ = ("after", "call", "detail", "number", "signal")

    def __init__(self, signal: str, detail: str, call: Callable[..., object], *, after: bool) -> None:
        self.number = next(_handler_numbers)
        self.signal = signal
        self.detail = detail
        """Of notify, the property's name; "" for all of them."""
        self.call = call
        self.after = after


_handler_numbers = itertools.count(1)


def run_handler(call: Callable[..., object], *args: object) -> None:
    """Run a handler; an exception in it is reported and harms nobody else."""
    try:
        call(*args)
    except Exception:  # noqa: BLE001 - whatever a handler raises must not stop the others
        sys.excepthook(*sys.exc_info())


class Object:
    """What all classes share: properties by name, and signals (GObject.Object)."""

    _properties: ClassVar[tuple[Property, ...]] = ()
    """The properties that this class adds."""

    @property
    def _handlers(self) -> list[Handler]:
        # Only changed and copied in single steps of the interpreter: a signal handler may connect at any moment.
        return self.__dict__.setdefault("_handler_list", [])  # type: ignore[no-any-return]

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
        Set the property *name* to *value*.

        Raises TypeError for a name that the class does not have, and for a property that is read-only or can be given
        to the constructor only.
        """
        setter = self._property(name).setter
        if setter is None:
            raise TypeError(f"the property {name!r} of {type(self).__name__} can not be set on an existing object")
        getattr(self, setter)(value)

    def set_properties(self, **values: Any) -> None:
        """Set several properties, named by keywords."""
        for name, value in values.items():
            self.set_property(name, value)

    # --- signals ---

    def connect(self, signal: str, callback: Callable[..., object], *data: object) -> int:
        """
        Call *callback* with this object and *data* whenever *signal* is emitted; give the handler's number.

        The signal ``notify::name`` says that the property *name* has changed, ``notify`` that any has; its handlers get
        the `Property` before *data*. Handlers run in the order in which they were connected. Raises TypeError for an
        unknown signal and for a callback that can not be called.
        """
        return self._connect(signal, callback, (self,), data, after=False)

    def connect_after(self, signal: str, callback: Callable[..., object], *data: object) -> int:
        """Like `connect`, but for a callback that runs after the class's own handler."""
        return self._connect(signal, callback, (self,), data, after=True)

    def _connect(
        self,
        name: str,
        callback: Callable[..., object],
        first: tuple[object, ...],
        last: tuple[object, ...],
        *,
        after: bool,
    ) -> int:
        signal, detail = self._signal(name)
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        handler = Handler(signal, detail, lambda *values: callback(*first, *values, *last), after=after)
        self._handlers.append(handler)
        return handler.number

    @classmethod
    def _signal(cls, name: str) -> tuple[str, str]:
        """Take apart a signal's name and its detail. Raises TypeError for one that the class does not have."""
        signal, colons, detail = name.partition("::")
        if cls._default_handler(signal) is None or (colons and signal != "notify"):
            raise TypeError(f"{cls.__name__} has no signal {name!r}")
        return signal, cls._property(detail).name if detail else ""

    @classmethod
    def _default_handler(cls, signal: str) -> Callable[..., None] | None:
        for base in cls.__mro__:
            if signal in base.__dict__.get("_signals", ()):
                return base.__dict__["_signals"][signal]  # type: ignore[no-any-return]
        return None

    def disconnect(self, handler_id: int) -> None:
        """Remove the handler with the number *handler_id*; a RuntimeWarning where there is none."""
        if not self._disconnect(handler_id):
            warnings.warn(f"{type(self).__name__} has no handler {handler_id!r}", RuntimeWarning, stacklevel=2)

    def _disconnect(self, handler_id: int) -> bool:
        for each in tuple(self._handlers):
            if each.number == handler_id:
                try:
                    self._handlers.remove(each)
                except ValueError:  # somebody else was quicker
                    return False
                return True
        return False

    def handler_is_connected(self, handler_id: int) -> bool:
        """Tell whether the handler with the number *handler_id* is connected."""
        return any(each.number == handler_id for each in tuple(self._handlers))

    def emit(self, signal: str) -> None:
        """
        Run the handlers of *signal*: plain ones, the class's own, then those of `connect_after`.

        An exception in one of them goes to `sys.excepthook`, and the others still run.
        """
        self._emit(*self._signal(signal))

    def notify(self, name: str) -> None:
        """Tell those who have connected to ``notify::name`` that the property *name* has changed."""
        if self._is_heard("notify"):
            changed = self._property(name)
            self._emit("notify", changed.name, changed)

    def do_notify(self, changed: Property) -> None:
        """Run when a property has changed, after the plain handlers. For subclasses."""

    _signals: ClassVar[dict[str, Callable[..., None]]] = {"notify": do_notify}
    """The signals that a class adds, each with its method for subclasses to override; as it is, that does nothing."""

    def _is_heard(self, signal: str) -> bool:
        return "_handler_list" in self.__dict__ or self._overridden(signal) is not None

    def _emit(self, signal: str, detail: str, *values: object) -> None:
        if self._is_heard(signal):
            for call in self._emission(signal, detail):
                run_handler(call, *values)

    def _overridden(self, signal: str) -> Callable[..., object] | None:
        default = self._default_handler(signal)
        assert default is not None
        method = getattr(self, default.__name__)
        return None if getattr(method, "__func__", method) is default else method

    def _emission(self, signal: str, detail: str) -> Iterator[Callable[..., object]]:
        handlers = [each for each in tuple(self._handlers) if each.signal == signal and each.detail in ("", detail)]
        for each in handlers:
            if not each.after and each in self._handlers:
                yield each.call
        own = self._overridden(signal)
        if own is not None:
            yield own
        for each in handlers:
            if each.after and each in self._handlers:
                yield each.call
