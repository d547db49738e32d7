"""Results of asynchronous operations, and the callbacks that are told them (Gio.AsyncResult, Gio.Task)."""

from __future__ import annotations

from functools import partial

from unixconn._base.errors import Error
from unixconn._base.object import Object, Property
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.cancellable import Cancellable
from unixconn._io.delivery import Delivery, reactor_of
from unixconn._io.main_context import PRIORITY_DEFAULT
from unixconn._io.operation import READABLE
from unixconn._io.thread import shared
from unixconn._kernel.descriptors import take

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from unixconn._io.main_context import MainContext
    from unixconn._io.operation import Operation
    from unixconn._io.reactor import Reactor


class AsyncResult(Object):
    """What an asynchronous operation came to (Gio.AsyncResult); its method for that is the one named ``*_finish``."""

    _source: Object

    def get_source_object(self) -> Object:
        """Give the object whose method started the operation."""
        return self._source

    def get_user_data(self) -> None:
        """Give None: the data go to the callback."""

    def is_tagged(self, source_tag: object) -> bool:
        """Give False: Gio's tags are addresses of functions in C."""
        return False

    def legacy_propagate_error(self) -> bool:
        """Give False, as for every `Task`."""
        return False


class Task(AsyncResult):
    """
    An operation under way, and its result (Gio.Task).

    The result is handed out once, and what nobody has taken when the Task goes, a descriptor, is closed. An Error is
    raised as often as it is asked for.
    """

    _properties: ClassVar[tuple[Property, ...]] = (Property("completed", bool, "get_completed", default=False),)

    def __init__(
        self, source: Object, name: str, discard: Callable[[Any], object] | None, cancellable: Cancellable | None
    ) -> None:
        """Take *discard*, which closes a result that nobody takes."""
        self._source = source
        self._name = name
        self._discard = discard
        self._cancellable = cancellable
        # The list owns the result until it is handed out.
        self._result: list[Any] = []
        self._error: Error | None = None

    _ended = False
    """The result is known, though nobody may have been told yet."""
    _told = False
    """The callback was called, or is being called."""
    _returned = False
    """It has come back."""
    _completed = False
    _callback: Callable[[], object] | None = None
    _delivery: Delivery | None = None
    _priority = PRIORITY_DEFAULT

    # --- what Gio tells of it ---

    def get_cancellable(self) -> Cancellable | None:
        """Give the Cancellable that the operation was given."""
        return self._cancellable

    def get_name(self) -> str:
        """Give the name of the C function that would have started it."""
        return self._name

    def get_context(self) -> MainContext | None:
        """Give the context that its callback is called in; None where an event loop calls it."""
        return self._delivery.context if self._delivery is not None else None

    def get_priority(self) -> int:
        """Give the priority of its callback among others."""
        return self._priority

    def get_check_cancellable(self) -> bool:
        """Give True: its cancellable ends it. A result that is there already stays, unlike in Gio."""
        return True

    def get_return_on_cancel(self) -> bool:
        """Give False."""
        return False

    def get_completed(self) -> bool:
        """Tell whether the callback was called, and has come back."""
        return self._completed

    def had_error(self) -> bool:
        """Tell whether the operation has failed."""
        return self._error is not None

    @staticmethod
    def is_valid(result: AsyncResult, source_object: Object | None = None) -> bool:
        """
        Tell whether *result* is a Task that a method of *source_object* has started.

        Raises TypeError for what is no AsyncResult, or no Object.
        """
        if not isinstance(result, AsyncResult):
            raise TypeError(f"result must be an AsyncResult, not {result!r}")
        if source_object is not None and not isinstance(source_object, Object):
            raise TypeError(f"source_object must be an Object or None, not {source_object!r}")
        return isinstance(result, Task) and result._source is source_object

    # --- the result ---

    def propagate_boolean(self) -> bool:
        """Give the result of an operation that gives a bool; see `propagate_value`."""
        return self._propagate(bool)  # type: ignore[no-any-return]

    def propagate_int(self) -> int:
        """Give the result of an operation that gives an integer, a descriptor's number; see `propagate_value`."""
        return self._propagate(int)  # type: ignore[no-any-return]

    def propagate_pointer(self) -> Any:
        """Give the result of an operation that gives an object; see `propagate_value`."""
        return self._propagate(object)

    def propagate_value(self) -> tuple[bool, Any]:
        """
        Give (True, result), or raise the operation's Error.

        Raises ValueError before the operation has ended, and if the result was handed out already, or is of a type that
        the method is not for.
        """
        return True, self._propagate(None)

    def _propagate(self, kind: type | None) -> Any:
        if self._ended and self._result and kind is not None:
            found = self._result[0]
            if (type(found) if isinstance(found, int) else object) is not kind:
                raise ValueError(f"the result of {self._name} is {found!r}: another method of Task is for that")
        return self._take()

    def _take(self) -> Any:
        if not self._ended:
            raise ValueError(f"{self._name} has not ended yet")
        if self._error is not None:
            # Not the very same: its traceback has the frames that have this, which nothing would free at once then.
            raise self._error.copy()
        try:
            return take(self._result)
        except IndexError:
            raise ValueError(f"the result of {self._name} was handed out already") from None

    # --- its way ---

    def call_back(self, callback: Callable[..., object] | None, data: tuple[object, ...], priority: int) -> None:
        """Have *callback* told the end, where callbacks of this thread are called."""
        if callback is not None:
            self._callback = partial(callback, self._source, self, *data)
        self._priority = priority
        self._delivery = Delivery()

    def post(self, call: Callable[[], object]) -> None:
        """Have *call* called where the callback is."""
        assert self._delivery is not None
        self._delivery.post(call, self._priority)

    def reactor_for(self, operation: Operation[Any]) -> Reactor:
        """Give who is to look after *operation*."""
        assert self._delivery is not None
        if self._delivery.loop is not None:
            return self._delivery.loop
        if self._delivery.context is None or self._callback is None or operation.condition != READABLE:
            # What nobody, or the peer, waits for does not wait until a context is iterated.
            return shared()
        return reactor_of(self._delivery.context)

    def end(self, result: list[Any], error: Error | None, before: Callable[[], None] | None = None) -> None:
        """Take *result*, a list with the result that belongs to this from now on, or *error*; call *before* first."""
        if error is None:
            self._result = result
        self._error = error
        self._ended = True
        try:
            self._tell(before)
        except BaseException:  # of a signal handler: once more, as nothing of it is done twice
            self._tell(before)
            raise

    def _tell(self, before: Callable[[], None] | None) -> None:
        if before is not None:
            self.post(before)
        self.post(self._deliver)

    def _deliver(self) -> None:
        # Called again if a signal handler has raised on the way, and by a loop that the callback runs.
        if self._told and not self._returned:
            return
        context = self.get_context()
        try:
            if context is not None:
                context._call_as_default(self._call)
            else:
                self._call()
            self._complete()
        except BaseException:
            if self._returned:
                self._complete()
            elif not self._told:  # of a signal handler, and who has called this may take it for the callback's own
                self.post(self._deliver)
            raise

    def _call(self) -> None:
        try:
            if self._callback is not None and not self._told:
                self._told = True
                self._callback()
        finally:
            if self._told or self._callback is None:
                self._returned = True

    def _complete(self) -> None:
        if not self._completed:
            self._callback = None
            self._completed = True
            self._notify("completed")

    def __del__(self) -> None:
        # Also where a signal handler has raised before the constructor's end.
        result = getattr(self, "_result", None)
        if result and self._discard is not None:
            self._discard(result.pop())
