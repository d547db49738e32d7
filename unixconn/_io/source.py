"""Source, Idle, Timeout, and watches of descriptors: what a MainContext calls when it is ready (GLib.Source)."""

from __future__ import annotations

import sys
import time
import warnings

from unixconn._base.arguments import INT_MAX, UINT_MAX, as_int, as_integer
from unixconn._base.object import refuse_copy
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._io.main_context import BasicSource, arrival_numbers, context_of, default_context, source_numbers
from unixconn._io.polling import poll_in
from unixconn._io.priorities import PRIORITY_DEFAULT, PRIORITY_DEFAULT_IDLE
from unixconn._kernel.descriptors import as_descriptor
from unixconn._kernel.epoll import IOCondition, PollFD
from unixconn._kernel.wakeup import LONGEST_POLL

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from typing_extensions import Self

    from unixconn._io.main_context import MainContext
    from unixconn._kernel.descriptors import FileDescriptorLike

T = TypeVar("T")

_NEVER = -1
_LATEST = 2**63 - 1


class _Tag(PollFD):
    """What `Source.add_unix_fd` returns."""

    __slots__ = ()


def source_remove(tag: int) -> bool:
    """
    Remove the source with the number *tag* from the default context, and return True (g_source_remove).

    Returns False, with a RuntimeWarning, if there is no such source, for example because its function has returned a
    false value. Raises TypeError if *tag* is not a number, and OverflowError if it is not from 0 to 2**32 - 1.
    """
    source = default_context._sources.get(as_integer(tag, "tag", 0, UINT_MAX))
    if source is None:
        warnings.warn(
            f"the default context has no source with the number {tag}: it has ended, or there never was one",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    source.destroy()
    return True


source_remove.__module__ = "unixconn"


class Source(BasicSource):
    """
    A source of calls: when it is ready, the context that it is attached to calls its callback (GLib.Source).

    `Cancellable.source_new` and `Socket.create_source` return sources, which the caller has to `attach`. `idle_add` and
    `timeout_add` make and attach one themselves. A plain ``Source(priority)`` is an idle source, which is always ready.

    A subclass may have methods of its own, as with PyGObject. Each iteration calls them in this order:

    - ``prepare()`` returns whether the source is ready, and after how many milliseconds to ask again, -1 for no limit:
      ``(False, 100)``. It may return a bool alone. Without this method the source is not ready.
    - ``check()``, after the wait, returns whether the source is ready. Without this method it is not.
    - ``dispatch(callback, args)`` is called if the source is ready; both are None without `set_callback`. The source is
      destroyed when it returns a false value. Without this method the callback is called.

    If a method raises an exception, that goes to `sys.excepthook`, and the source is destroyed. With one of these
    three, ``finalize()`` is called when the source is dropped.

    A smaller *priority* is more urgent. Raises TypeError if it is not a number, and OverflowError if it does not fit a
    C int.
    """

    __module__ = "unixconn"

    # Most sources need none of these, so they have no value until they are set.
    _depth: int
    """How many calls of a source with methods of its own run."""
    __slots__ = ("__weakref__", "_attached", "_depth", "_given", "_given_name", "_given_polls", "_moment", "_recurses")

    _is_polled: ClassVar[bool] = False
    """Whether each iteration asks the source whether it is ready."""
    _final: ClassVar[type[Source]]
    """The class of the objects of a class with finalize()."""
    _kind: ClassVar[str | None] = None
    """The name of a source that was given none."""

    if TYPE_CHECKING:

        def __init__(self, priority: int = PRIORITY_DEFAULT) -> None: ...

    else:
        # Without a frame of its own. The texts of TypeErrors have the class that users know.
        __init__ = BasicSource.__init__
        __init__.__qualname__ = "Source.__init__"

    def __init_subclass__(cls, **others: Any) -> None:
        super().__init_subclass__(**others)
        if not cls._is_polled and any(hasattr(cls, name) for name in ("prepare", "check", "dispatch")):
            cls._is_polled = True
            # As with PyGObject, __init__ of a subclass need not call that of Source.
            setattr(cls, "__new__", _new_polled)  # noqa: B010 - type checkers would take it for the signature
            for name in ("_dispatch", "_prepare", "_set"):
                setattr(cls, name, getattr(Source, f"{name}_polled"))

    __reduce__ = refuse_copy

    def __repr__(self) -> str:
        state = " destroyed" if self._destroyed else f" {self._id}" if self._id else ""
        name = getattr(self, "_given_name", None)
        return f"<{type(self).__name__}{state}{'' if name is None else f' {name!r}'}>"

    def set_callback(self, callback: Callable[..., object], user_data: object = None, *more: object) -> None:
        """
        Set *callback*, which is called with the data each time the source is ready, until it returns a false value.

        Without data, it is called with None, as with PyGObject. See g_source_set_callback. Raises TypeError if
        *callback* is not callable.
        """
        self._set(callback, (user_data, *more))

    def _set_polled(self, callback: Callable[..., object], data: tuple[object, ...]) -> None:
        super()._set(callback, data)
        self._given: tuple[Any, Any] = (callback, data)

    def get_priority(self) -> int:
        """Return the priority. Of several sources that are ready, the one with the lowest number is called first."""
        return self._priority

    def set_priority(self, priority: int) -> None:
        """Set the priority. Raises TypeError if it is not a number, and OverflowError if it does not fit a C int."""
        self._priority = as_int(priority, "priority")
        if self._context is not None:
            self._context._reorder(self)

    @property
    def priority(self) -> int:
        """The priority, see `get_priority`."""
        return self._priority

    @priority.setter
    def priority(self, priority: int) -> None:
        self.set_priority(priority)

    def attach(self, context: MainContext | None = None) -> int:
        """
        Add the source to *context*, None for the default context, and return its number (g_source_attach).

        Raises ValueError if the source was attached or destroyed before, and TypeError if *context* is neither a
        MainContext nor None.
        """
        found = default_context if context is None else context_of(context)
        if self._destroyed or self._context is not None:
            raise ValueError(f"{self!r} was attached or destroyed before, and cannot be attached: make a new one")
        sources = found._sources
        number = next(source_numbers)
        while number in sources:
            number = next(source_numbers)
        self._context = found
        self._id = number
        sources[number] = self
        self._prepare()
        return number

    def is_destroyed(self) -> bool:
        """Return whether the source was destroyed: by `destroy`, or because its callback has returned a false value."""
        return self._destroyed

    def get_id(self) -> int:
        """Return the number that `attach` has returned; 0 before `attach`."""
        return self._id

    def get_context(self) -> MainContext | None:
        """Return the context that the source was attached to; None before `attach` (g_source_get_context)."""
        return self._context

    def get_name(self) -> str | None:
        """Return the name, which helps in debugging; None if the source has none (g_source_get_name)."""
        return getattr(self, "_given_name", self._kind)

    def set_name(self, name: str) -> None:
        """Set the name. Raises TypeError if it is not a string."""
        if not isinstance(name, str):
            raise TypeError(f"name must be a string, not {name!r}")
        self._given_name = name

    def get_time(self) -> int:
        """Return the microseconds of the clock of `get_monotonic_time` (g_source_get_time)."""
        return time.monotonic_ns() // 1000

    def get_can_recurse(self) -> bool:
        """Return whether the source may be called while its own callback runs (g_source_get_can_recurse)."""
        return getattr(self, "_recurses", False)

    def set_can_recurse(self, can_recurse: bool) -> None:
        """
        Set whether the source may be called while its own callback iterates the context.

        Only a source with methods of its own, or for a descriptor, is called then.
        """
        self._recurses = bool(can_recurse)

    @property
    def can_recurse(self) -> bool:
        """Whether the source may be called while its own callback runs, see `set_can_recurse`."""
        return self.get_can_recurse()

    @can_recurse.setter
    def can_recurse(self, can_recurse: bool) -> None:
        self.set_can_recurse(can_recurse)

    def destroy(self) -> None:
        """Remove the source from its context (g_source_destroy). Its callback is not called again."""
        # The lines of `BasicSource.destroy`.
        self._destroyed = True
        if self._context is not None:
            self._context._sources.pop(self._id, None)
            if self._is_polled:
                self._context._polled.pop(self, None)

    if TYPE_CHECKING:

        @staticmethod
        def remove(tag: int) -> bool: ...

    else:
        remove = staticmethod(source_remove)

    # --- what a source with methods of its own waits for ---

    @property
    def _polls(self) -> list[PollFD]:
        """The descriptors that the source waits for."""
        try:
            return self._given_polls
        except AttributeError:
            self._given_polls: list[PollFD] = []
            return self._given_polls

    def add_poll(self, fd: PollFD) -> None:
        """
        End the context's wait when one of the conditions of *fd* holds (g_source_add_poll).

        ``check()`` finds the conditions that hold in ``fd.revents``. If the descriptor is not open, that is NVAL, once.
        Raises TypeError if *fd* is not a PollFD.
        """
        if not isinstance(fd, PollFD):
            raise TypeError(f"fd must be a PollFD, not {fd!r}")
        fd.revents = IOCondition(0)
        self._polls.append(fd)
        self._wake()

    def remove_poll(self, fd: PollFD) -> None:
        """Undo `add_poll`. Has no effect for another *fd*. Raises TypeError if *fd* is not a PollFD."""
        if not isinstance(fd, PollFD):
            raise TypeError(f"fd must be a PollFD, not {fd!r}")
        self._given_polls = [each for each in self._polls if each is not fd]
        fd.revents = IOCondition(0)

    def add_unix_fd(self, fd: FileDescriptorLike, events: int) -> PollFD:
        """
        Let the source be ready when one of *events* holds for *fd*, and return a tag for it (g_source_add_unix_fd).

        Raises TypeError, ValueError or OverflowError for an *fd* that cannot be a descriptor.
        """
        tag = _Tag(as_descriptor(fd), as_condition(events))
        self.add_poll(tag)
        return tag

    def modify_unix_fd(self, tag: PollFD, new_events: int) -> None:
        """
        Wait for *new_events* instead. *tag* is what `add_unix_fd` has returned.

        Raises TypeError for another *tag*, and if *new_events* is not a number.
        """
        _as_tag(tag).events = as_condition(new_events)
        self._wake()

    def query_unix_fd(self, tag: PollFD) -> IOCondition:
        """Return the conditions that hold. *tag* is what `add_unix_fd` has returned. Raises TypeError for another."""
        return _as_tag(tag).revents

    def remove_unix_fd(self, tag: PollFD) -> None:
        """Undo `add_unix_fd`, which has returned *tag*. Raises TypeError for another *tag*."""
        self.remove_poll(_as_tag(tag))

    def get_ready_time(self) -> int:
        """Return the time of `set_ready_time`; -1 for none."""
        return getattr(self, "_moment", _NEVER)

    def set_ready_time(self, ready_time: int) -> None:
        """
        Let the source be ready at *ready_time*, in microseconds of `get_monotonic_time`; -1 for never.

        Only a source with methods of its own takes it into account. Raises TypeError if *ready_time* is not a number.
        """
        self._moment = as_integer(ready_time, "ready_time", _NEVER, _LATEST)
        self._wake()

    def _wake(self) -> None:
        """Let the context, which may be waiting in another thread, ask again."""
        if self._context is not None and self._context._waits:
            self._context._ring()

    def _prepare_polled(self) -> None:
        if self._context is not None:
            self._attached = next(arrival_numbers)
            self._context._polled[self] = None
            poll_in(self._context)
            self._wake()

    # --- for the PollingReactor ---

    def _blocks(self) -> bool:
        """Return whether the source must not be asked now, as its own callback runs."""
        return self._depth > 0 and not self.get_can_recurse()

    def _ask(self) -> tuple[bool, float]:
        """Return whether the source is ready before the wait, and the longest wait in seconds, -1 for no limit."""
        is_ready, milliseconds = self._call_own("prepare", _prepared, (False, _NEVER))
        moment = self.get_ready_time()
        if moment < 0:
            return is_ready, milliseconds / 1000 if milliseconds >= 0 else -1.0
        left = max(0, moment - self.get_time())
        return is_ready or not left, min(left / 1e6, milliseconds / 1000 if milliseconds >= 0 else LONGEST_POLL)

    def _is_ready(self) -> bool:
        """Return whether the source is ready after the wait."""
        return (
            self._call_own("check", bool, False)
            or any(each.revents and isinstance(each, _Tag) for each in self._polls)
            or 0 <= self.get_ready_time() <= self.get_time()
        )

    def _call_own(self, name: str, converted: Callable[[object], T], otherwise: T) -> T:
        """Return what the method *name* returns, or *otherwise* if it is missing or raises, which ends the source."""
        method = getattr(self, name, None)
        try:
            return otherwise if method is None else converted(method())
        except Exception:  # noqa: BLE001 - a source that fails must not stop the others, nor fail again and again
            try:
                try:
                    sys.excepthook(*sys.exc_info())
                finally:
                    self.destroy()
            finally:  # as in `BasicSource._dispatch`
                self.destroy()
            return otherwise

    def _dispatch_polled(self) -> None:
        if self._due and not self._destroyed:
            self._due = False
            is_settled = False
            try:
                self._depth += 1
                try:
                    again = self._run(*self._given)
                finally:
                    self._depth -= 1
                if not again:
                    self.destroy()
                is_settled = True
            finally:
                if not is_settled:
                    try:
                        self.destroy()
                    finally:  # as in `BasicSource._dispatch`
                        self.destroy()

    def _run(self, callback: Callable[..., object] | None, data: tuple[object, ...] | None) -> object:
        dispatch = getattr(self, "dispatch", None)
        if dispatch is not None:
            return dispatch(callback, data)
        return callback is not None and callback(*(data or ()))


def _as_tag(tag: object) -> _Tag:
    if not isinstance(tag, _Tag):
        raise TypeError(f"tag must be what add_unix_fd() has returned, not {tag!r}")
    return tag


def _new_polled(cls: type[Source], *_arguments: object, **_others: object) -> Source:
    if hasattr(cls, "finalize") and not hasattr(cls, "__del__"):
        # PyPy would ignore a __del__ that a class gets later.
        if "_final" not in cls.__dict__:
            cls._final = type(cls.__name__, (cls,), {"__del__": _finalize, "__module__": cls.__module__})
        cls = cls._final
    source: Source = object.__new__(cls)
    BasicSource.__init__(source)
    source._depth = 0
    source._given = (None, None)
    return source


def _finalize(source: Any) -> None:
    source.finalize()


def _prepared(result: object) -> tuple[bool, int]:
    """Return what ``prepare()`` means by *result*. Raises TypeError if that is not clear."""
    if not isinstance(result, tuple):
        return bool(result), _NEVER
    if len(result) != 2:
        raise TypeError(f"prepare() must return whether the source is ready and the milliseconds, not {result!r}")
    return bool(result[0]), as_integer(result[1], "the milliseconds of prepare()", -INT_MAX - 1, INT_MAX)


class IdleSource(Source):
    """What `idle_add` and `idle_source_new` make."""

    __slots__ = ()

    _kind = "GIdleSource"


class Idle(IdleSource):
    """
    A source that is always ready (PyGObject's GLib.Idle).

    A smaller *priority* is more urgent. Raises TypeError if it is not a number, and OverflowError if it does not fit a
    C int.
    """

    __module__ = "unixconn"

    __slots__ = ()

    def __new__(cls, *_arguments: object, **_others: object) -> Self:
        """Make a source, also for a subclass whose own __init__ does not call that of Idle."""
        source = super().__new__(cls)
        BasicSource.__init__(source, PRIORITY_DEFAULT_IDLE)
        return source

    def __init__(self, priority: int = PRIORITY_DEFAULT_IDLE) -> None:
        self.set_priority(priority)


class TimeoutSource(Source):
    """A source that becomes ready *interval* seconds after `attach`, and as long after each callback."""

    __slots__ = ("_interval",)

    def __init__(self, interval: float, priority: int = PRIORITY_DEFAULT) -> None:
        super().__init__(priority)
        self._interval = interval

    def _prepare(self) -> None:
        if self._context is not None:
            self._context._arrive_at(time.monotonic() + self._interval, self)


class Timeout(TimeoutSource):
    """
    A source that is ready every *interval* milliseconds (PyGObject's GLib.Timeout).

    A smaller *priority* is more urgent. Raises TypeError if one of them is not a number, and OverflowError if
    *interval* is not from 0 to 2**32 - 1, or *priority* does not fit a C int.
    """

    __module__ = "unixconn"

    __slots__ = ()

    def __new__(cls, interval: int = 0, *_arguments: object, **_others: object) -> Self:
        """Make a source, also for a subclass whose own __init__ does not call that of Timeout."""
        source = super().__new__(cls)
        TimeoutSource.__init__(source, as_integer(interval, "interval", 0, UINT_MAX) / 1000)
        return source

    def __init__(self, interval: int = 0, priority: int = PRIORITY_DEFAULT) -> None:
        self.set_priority(priority)


class DescriptorSource(Source):
    """
    A source that is ready when one of *condition*, ERR or HUP holds for the descriptor *number*.

    Its callback is called with *channel*, the conditions that hold, and its data. After the condition NVAL it ends.
    *is_channel* says whether it is one of `io_add_watch`.
    """

    __slots__ = ("_channel", "_is_channel")

    _is_polled = True

    def __init__(self, number: int, condition: int, channel: object, *, is_channel: bool = False) -> None:
        super().__init__()
        self._depth = 0
        self._given = (None, ())
        self._channel = channel
        self._given_polls = [PollFD(number, as_condition(condition))]
        self._is_channel = is_channel
        if is_channel:
            self._given_name = "GIOChannel (Unix)"

    _dispatch, _prepare, _set = Source._dispatch_polled, Source._prepare_polled, Source._set_polled

    def set_callback(self, callback: Callable[..., object], *data: object) -> None:
        """Set *callback*, which is called with the descriptor, the conditions that hold, and *data*."""
        self._set(callback, data)

    def _ask(self) -> tuple[bool, float]:
        return False, -1.0

    def _is_ready(self) -> bool:
        return bool(self._polls[0].revents)

    def _run(self, callback: Any, data: Any) -> object:
        if callback is None:
            return False
        poll = self._polls[0]
        found = poll.revents
        # With io_add_watch, GLib leaves out what was not asked for. If that is all there is, it looks again and again.
        told = found & poll._events or found if self._is_channel else found
        return callback(self._channel, told, *data) and not found & IOCondition.NVAL


def as_condition(value: Any) -> IOCondition:
    """Return *value* as conditions of poll(2). Raises TypeError and OverflowError for what cannot be any."""
    return IOCondition(as_integer(value, "condition", 0, 0x3F))
