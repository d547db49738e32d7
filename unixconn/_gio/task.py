"""AsyncResult and Task: the result of an asynchronous operation, and the call of its callback."""

from __future__ import annotations

from itertools import starmap

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
    """
    The result of an asynchronous operation, which a method named ``*_finish`` takes (Gio.AsyncResult).

    This class is abstract, as in Gio: asynchronous methods make a `Task`, or a `Future`.
    """

    __module__ = "unixconn"

    _source: Object

    def __init__(self) -> None:
        if type(self) is AsyncResult:
            raise TypeError("AsyncResult is abstract and cannot be made: methods named *_async make Tasks and Futures")
        super().__init__()

    def get_source_object(self) -> Object:
        """Return the object whose method started the operation (g_async_result_get_source_object)."""
        return self._source

    def get_user_data(self) -> None:
        """Return None: as in PyGObject, the callback gets the user's data as arguments."""

    def is_tagged(self, source_tag: object) -> bool:
        """Return False: a tag is the address of a C function in Gio, and there is none here."""
        return False

    def legacy_propagate_error(self) -> bool:
        """Return False, as Gio does for every `Task`."""
        return False


class Task(AsyncResult):
    """
    A pending asynchronous operation, and later its result (Gio.Task).

    Methods named ``*_async`` make Tasks, and give them to the callback. The result can be taken once, by a method named
    ``*_finish`` or by one named ``propagate_*``; an Error is raised each time. Descriptors in a result that was not
    taken are closed when the Task is dropped.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (Property("completed", bool, "get_completed", default=False),)

    def __init__(
        self, source: Object, name: str, discard: Callable[[Any], object] | None, cancellable: Cancellable | None
    ) -> None:
        """Prepare the Task. Asynchronous methods call this. *discard* closes a result that no caller has taken."""
        self._source = source
        self._name = name
        self._discard = discard
        self._cancellable = cancellable
        # The list owns the result until it is taken.
        self._result: list[Any] = []
        self._error: Error | None = None

    _ended = False
    """Whether the result is known. The callback may not have been called yet."""
    _returned = False
    """Whether the callback has returned."""
    _completed = False
    _callback: Any = None
    _arguments: Any = ()
    """The arguments of the callback, until it is called."""
    # Typed Any: an assertion that `_set_callback` has come before would run for each callback.
    _delivery: Any = None
    _priority = PRIORITY_DEFAULT

    # --- Gio's getters ---

    def get_cancellable(self) -> Cancellable | None:
        """Return the Cancellable that was given to the asynchronous method (g_task_get_cancellable)."""
        return self._cancellable

    def get_name(self) -> str:
        """Return the name of the C function that would start the operation in Gio (g_task_get_name)."""
        return self._name

    def get_context(self) -> MainContext | None:
        """Return the context that calls the callback, None if an event loop does (g_task_get_context)."""
        return self._delivery.context if self._delivery is not None else None

    def get_priority(self) -> int:
        """Return the priority of the callback in its context (g_task_get_priority)."""
        return self._priority

    def get_check_cancellable(self) -> bool:
        """
        Return True: the Cancellable ends the operation (g_task_get_check_cancellable).

        Unlike in Gio, cancelling does not replace a result that is already there.
        """
        return True

    def get_return_on_cancel(self) -> bool:
        """Return False: a cancelled operation returns when it has ended (g_task_get_return_on_cancel)."""
        return False

    def get_completed(self) -> bool:
        """Return whether the callback was called, and has returned (g_task_get_completed)."""
        return self._completed

    def had_error(self) -> bool:
        """Return whether the operation has ended with an Error (g_task_had_error)."""
        return self._error is not None

    @staticmethod
    def is_valid(result: AsyncResult, source_object: Object | None = None) -> bool:
        """
        Return whether *result* is a Task that a method of *source_object* started (g_task_is_valid).

        Raises TypeError if *result* is not an AsyncResult, or *source_object* is not an Object or None.
        """
        if not isinstance(result, AsyncResult):
            raise TypeError(f"result must be an AsyncResult, not {result!r}")
        if source_object is not None and not isinstance(source_object, Object):
            raise TypeError(f"source_object must be an Object or None, not {source_object!r}")
        return isinstance(result, Task) and result._source is source_object

    # --- the result ---

    def propagate_boolean(self) -> bool:
        """Take a result that is a bool; see `propagate_value` (g_task_propagate_boolean)."""
        return self._propagate(bool)  # type: ignore[no-any-return]

    def propagate_int(self) -> int:
        """Take a result that is an integer, such as a descriptor; see `propagate_value` (g_task_propagate_int)."""
        return self._propagate(int)  # type: ignore[no-any-return]

    def propagate_pointer(self) -> Any:
        """Take a result that is any other object; see `propagate_value` (g_task_propagate_pointer)."""
        return self._propagate(object)

    def propagate_value(self) -> tuple[bool, Any]:
        """
        Take the result, and return (True, result), or raise the operation's Error (g_task_propagate_value).

        Raises ValueError if the operation has not ended, or the result was already taken. The methods for one type also
        raise it for a result of another type.
        """
        return True, self._propagate(None)

    def _propagate(self, kind: type | None) -> Any:
        if self._ended and self._result and kind is not None:
            found = self._result[0]
            if (type(found) if isinstance(found, int) else object) is not kind:
                raise ValueError(f"the result of {self._name} is {found!r}: use propagate_value()")
        return self._take()

    def _take(self) -> Any:
        if not self._ended:
            raise ValueError(f"{self._name} has not ended yet")
        if self._error is not None:
            # A copy: the traceback of the raised error refers to frames that refer to this Task. With the error itself
            # that would be a cycle, and the Task would stay alive until a garbage collection.
            raise self._error.copy()
        try:
            return take(self._result)
        except IndexError:
            raise ValueError(f"the result of {self._name} was already taken") from None

    # --- from the operation's end to the callback ---

    def _set_callback(self, callback: Callable[..., object] | None, data: tuple[object, ...], priority: int) -> None:
        """Set *callback*, which the context or the event loop of this thread will call at the end."""
        if callback is not None:
            self._callback = callback
            self._arguments = [(self._source, self, *data)]
        self._priority = priority
        self._delivery = Delivery()

    def _post(self, call: Callable[[], object]) -> None:
        """Schedule *call* in the context or the event loop that calls the callback."""
        self._delivery.post(call, self._priority)

    def _reactor_for(self, operation: Operation[Any]) -> Reactor:
        """Return the Reactor that waits for *operation*."""
        delivery: Delivery = self._delivery
        if delivery.loop is not None:
            return delivery.loop
        if delivery.context is None or self._callback is None or operation.condition != READABLE:
            # Without a callback, the program may never iterate the context. Sending must not depend on that either, as
            # the peer waits for the data.
            return shared()
        return reactor_of(delivery.context)

    def _end(self, result: list[Any], error: Error | None, before: Callable[[], None] | None = None) -> None:
        """
        End with the item of the list *result*, which belongs to the Task from now on, or with *error*.

        *before* is called before the callback.
        """
        # The caller calls this again if an exception interrupts it. No part of it has an effect twice.
        if error is None:
            self._result = result
        self._error = error
        self._ended = True
        self._tell(before)

    def _tell(self, before: Callable[[], None] | None) -> None:
        if before is not None:
            self._post(before)
        self._post(self._deliver)

    def _deliver(self) -> None:
        # This may be called again: after an exception raised by a signal handler, or by a loop that the callback runs.
        if not self._arguments and not self._returned and self._callback is not None:
            return
        context = self.get_context()
        try:
            if context is not None:
                context._call_as_default(self._call)
            else:
                self._call()
        finally:
            if self._returned:
                self._complete()
            elif self._arguments:
                # A signal handler raised an exception before the callback was called. The caller may think that the
                # callback raised it.
                self._post(self._deliver)

    def _call(self) -> None:
        try:
            if self._arguments:
                # The arguments leave their list in the step of the interpreter in which the callback is called: an
                # exception of a signal handler finds it called or not.
                next(starmap(self._callback, map(self._arguments.pop, (-1,))))
        finally:
            self._returned = not self._arguments

    def _complete(self) -> None:
        if not self._completed:
            self._callback = None
            self._completed = True
            self._notify("completed")

    def __repr__(self) -> str:
        # The attributes are missing if the constructor has failed.
        name, error = self.__dict__.get("_name", ""), self.__dict__.get("_error")
        state = f"failed: {error}" if error is not None else "done" if self._ended else "pending"
        return f"<{type(self).__name__} {name} {state}>"

    def __del__(self) -> None:
        # The attribute is missing if a signal handler raised an exception in the constructor.
        result = getattr(self, "_result", None)
        if result and self._discard is not None:
            self._discard(result.pop())
