"""AsyncResult and Task: the result of an asynchronous operation, and the call of its callback."""

from __future__ import annotations

import threading
from itertools import starmap

from unixconn._base.arguments import as_int, as_integer
from unixconn._base.errors import CancelledError, Error
from unixconn._base.object import Object, Property
from unixconn._base.typing import TYPE_CHECKING, result_tuple
from unixconn._gio.cancellable import Cancellable
from unixconn._io.delivery import here
from unixconn._io.main_context import default_context, pushed_contexts
from unixconn._io.operation import READABLE
from unixconn._io.priorities import PRIORITY_DEFAULT
from unixconn._io.thread import shared
from unixconn._io.waiter import Waiter
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar

    from unixconn._io.main_context import MainContext
    from unixconn._io.operation import Operation
    from unixconn._io.reactor import Reactor


_Propagated: Any = result_tuple("Propagated", "The result of `Task.propagate_value`.", ok="True.", value="The result.")


def ignore(*_arguments: object) -> None:
    """Do nothing: the callback of an operation that was started with callback=None."""


class AsyncResult(Object):
    """
    The result of an asynchronous operation, which a method named ``*_finish`` takes (Gio.AsyncResult).

    This class is abstract, as in Gio: asynchronous methods make a `Task`, or a `Future`.
    """

    __module__ = "unixconn"

    _source: Object | None

    def __init__(self) -> None:
        if type(self) is AsyncResult:
            raise TypeError("AsyncResult is abstract and cannot be made: methods named *_async make Tasks and Futures")
        super(Object, self).__init__()

    def get_source_object(self) -> Object | None:
        """
        Return the object whose method started the operation (g_async_result_get_source_object).

        It is None for an operation that a function started, such as `connect_async`.
        """
        return self._source

    def get_user_data(self) -> None:
        """Return None: as in PyGObject, the callback gets the user's data as arguments."""

    def is_tagged(self, source_tag: object = None) -> bool:
        """Return False: a tag is the address of a C function in Gio, and there is none here."""
        return False

    def legacy_propagate_error(self) -> bool:
        """Return False, as Gio does for every `Task`."""
        return False


class Task(AsyncResult, Waiter):
    """
    A pending asynchronous operation, and later its result (Gio.Task).

    Methods named ``*_async`` make Tasks, and pass them to the callback. The result can be taken once, by a method named
    ``*_finish`` or by one named ``propagate_*``. An Error is raised each time. Descriptors in a result that was not
    taken are closed when the Task is dropped.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (Property("completed", bool, "get_completed", default=False),)

    def __init__(self, source: Object | None, name: str, cancellable: Cancellable | None) -> None:
        """Prepare the Task. Asynchronous methods call this."""
        self._source = source
        self._name = name
        self._cancellable = cancellable

    # These are defaults: a Task has only those that differ.
    _operation: Any = None
    _result: Any = ()
    _discard: Callable[[Any], object] | None = None
    """Closes a result that no caller has taken; None if the operation's own method does."""
    _ended = False
    """Whether the result is known. The callback may not have been called yet."""
    _is_held = False
    """
    Whether the loop has to start the operation.

    The task that has called the method may be in a cancelled scope. The await is cancelled then, and has to leave
    everything as it is: not even the first attempt is made before that. Or other tasks are to have their turn first,
    see `Loop.left`: nothing has been received yet that a cancellation in the meantime could lose.
    """
    _completed = False
    _before: Callable[[], object] | None = None
    """Is called just before the callback."""
    _callback: Any = None
    _data: tuple[object, ...] = ()
    _due: Any = False
    """
    A list with the arguments of the callback, from the end of the operation until the call.

    They leave the list in the step of the interpreter in which the callback is called. So an exception that a signal
    handler raises finds it called or not.
    """
    _was_missed: Any = False
    """The same list: until the call, the context puts the Task back."""
    _destroyed = False
    # Typed Any: an assertion that there is one would run for each callback.
    _place: Any = None
    """The reactor of the context or the event loop that calls the callback."""
    _priority = PRIORITY_DEFAULT

    # --- a program's own operations ---

    _is_own = False
    """Whether a program has made it, with `new`."""
    _checks = True

    @staticmethod
    def new(
        source_object: Object | None = None,
        cancellable: Cancellable | None = None,
        callback: Callable[..., object] | None = None,
        *callback_data: object,
    ) -> Task:
        """
        Return the Task of the program's own operation, which ends it with a method named ``return_*`` (g_task_new).

        The context that was the thread's default at this call then calls *callback* with (*source_object*, the Task,
        *callback_data). Methods named ``propagate_*`` return the result. Raises TypeError for arguments of other types.
        """
        if not (source_object is None or isinstance(source_object, Object)):
            raise TypeError(f"source_object must be an Object or None, not {source_object!r}")
        check_cancellable(cancellable)
        if callback is not None and not callable(callback):
            raise TypeError(f"callback must be callable or None, not {callback!r}")
        task = Task(source_object, "", cancellable)
        task._callback = ignore if callback is None else callback
        task._data = callback_data
        task._place = here()
        task._is_own = True
        return task

    def return_value(self, result: object) -> None:
        """
        End the program's own operation with *result* (g_task_return_value). May be called in any thread.

        If the Cancellable is cancelled by now, the result is the Error CANCELLED instead; see `set_check_cancellable`.
        Raises ValueError if the operation has ended, or belongs to a method of this library.
        """
        self._return([result], None)

    def return_boolean(self, result: bool) -> None:
        """End the operation with a bool; see `return_value` (g_task_return_boolean)."""
        self._return([bool(result)], None)

    def return_int(self, result: int) -> None:
        """
        End the operation with an int; see `return_value` (g_task_return_int).

        Raises TypeError if *result* is not a number, and OverflowError if it does not fit 64 bits.
        """
        self._return([as_integer(result, "result", -(2**63), 2**63 - 1)], None)

    def return_error(self, error: Error) -> None:
        """End the operation with an Error; see `return_value` (g_task_return_error). Raises TypeError if it is none."""
        if not isinstance(error, Error):
            raise TypeError(f"error must be an Error, not {error!r}")
        self._return([], error)

    def return_error_if_cancelled(self) -> bool:
        """End the operation with CANCELLED if the Cancellable is cancelled; return whether (see `return_value`)."""
        if self._cancellable is None or not self._cancellable.is_cancelled():
            return False
        self._return([], None)
        return True

    def _return(self, result: list[Any], error: Error | None) -> None:
        if not self._is_own or self._ended:
            raise ValueError(f"{self!r} cannot be ended: only a Task of Task.new() can, and once")
        if self._cancellable is not None and (self._checks or not (result or error)):
            try:
                self._cancellable.set_error_if_cancelled()
            except Error as cancelled:
                error = cancelled.copy()
        self._end(result, error)

    def run_in_thread(self, task_func: Callable[..., object]) -> None:
        """
        Call *task_func* with (this Task, its source object, None, the Cancellable) in a thread of its own.

        See g_task_run_in_thread. *task_func* ends the operation. Its exceptions go to `threading.excepthook`. Raises
        TypeError if it is not callable.
        """
        if not callable(task_func):
            raise TypeError(f"task_func must be callable, not {task_func!r}")
        arguments = (self, self._source, None, self._cancellable)
        threading.Thread(target=task_func, args=arguments, name="unixconn: a Task", daemon=True).start()

    def set_check_cancellable(self, check_cancellable: bool) -> None:
        """Set whether the methods ``return_*`` look at the Cancellable (g_task_set_check_cancellable)."""
        self._checks = bool(check_cancellable)

    def set_name(self, name: str | None = None) -> None:
        """Set the name that `get_name` returns (g_task_set_name)."""
        if not self._is_own:
            raise ValueError(f"{self!r} has its name from the method that made it")
        self._name = "" if name is None else str(name)

    def set_priority(self, priority: int) -> None:
        """Set the priority of the callback (g_task_set_priority). Raises TypeError or OverflowError if it is none."""
        self._priority = as_int(priority, "priority")

    # --- Gio's getters ---

    def get_cancellable(self) -> Cancellable | None:
        """Return the Cancellable that was given to the asynchronous method (g_task_get_cancellable)."""
        return self._cancellable

    def get_name(self) -> str | None:
        """Return the C function that would start the operation in Gio, or what `set_name` was given, if anything."""
        return self._name or None

    def get_context(self) -> MainContext | None:
        """Return the context that calls the callback, None if an event loop does (g_task_get_context)."""
        return self._place.context if self._place is not None else None

    def get_priority(self) -> int:
        """Return the priority of the callback in its context (g_task_get_priority)."""
        return self._priority

    def get_check_cancellable(self) -> bool:
        """
        Return whether the Cancellable ends the operation: True (g_task_get_check_cancellable).

        `set_check_cancellable` changes that. An Error that is the result is replaced by CANCELLED as long as the
        Cancellable is cancelled, as in Gio. A value is not replaced, unlike in Gio.
        """
        return self._checks

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
        return _Propagated(True, self._propagate(None))  # type: ignore[no-any-return]

    def _propagate(self, kind: type | None) -> Any:
        if self._ended and self._result and kind is not None:
            found = self._result[0]
            if (type(found) if isinstance(found, int) else object) is not kind:
                raise ValueError(f"the result of {self._name or 'the Task'} is {found!r}: use propagate_value()")
        return self._take()

    def _take(self) -> Any:
        if not self._ended:
            raise ValueError(f"{self._name or 'the Task'} has not ended yet")
        if self._error is not None:
            error = self._error
            if error.__class__ is CancelledError:
                raise error.copy()
            if not isinstance(error, Error):  # of a function of the user's, see `UserError`
                raise error
            if self._cancellable is not None and self._checks and not isinstance(error, CancelledError):
                # As in Gio, for an Error. A value stays the result: it may be a message, which would be lost.
                try:
                    self._cancellable.set_error_if_cancelled()
                except Error as cancelled:
                    # If this is what has ended the operation, its own text says more.
                    if (error.domain, error.code) != (cancelled.domain, cancelled.code):
                        raise
            # A copy: the traceback of the raised error refers to frames that refer to this Task. With the error itself
            # that would be a cycle, and the Task would stay alive until a garbage collection.
            raise error.copy()
        # The lines of `take`, without the call.
        taken: list[Any] = []
        try:
            taken.extend(map(self._result.pop, (-1,)))
            return taken[0]
        except IndexError:
            raise ValueError(f"the result of {self._name or 'the Task'} was already taken") from None
        except BaseException:
            self._result += taken
            raise

    # --- from the operation's end to the callback ---

    def _post(self, call: Callable[[], object]) -> None:
        """Schedule *call* in the context or the event loop that calls the callback."""
        context = self.get_context()
        if context is not None:
            context._post(call, self._priority)
        else:
            self._place.post(call)

    def _waker_for(self, operation: Operation[Any]) -> Reactor:
        if (operation.condition == READABLE and self._callback is not ignore) or self._place.context is None:
            return self._place  # type: ignore[no-any-return]
        # Without a callback, the program may never iterate the context. Sending must not depend on that either, as the
        # peer waits for the data.
        return shared()

    def _end(self, result: list[Any], error: Error | None) -> None:
        """
        End with the item of the list *result*, which belongs to the Task from now on, or with *error*.

        It may be called twice, and does its work once.
        """
        if error is None:
            self._result = result
        self._error = error
        self._tell()

    def _tell(self) -> None:
        if not self._ended:
            # Not [..., *self._data], which takes two bytecodes more.
            self._due = self._was_missed = [(self._source, self) + self._data]  # noqa: RUF005
        self._ended = True
        self._place.deliver(self)

    def _dispatch(self) -> None:
        """Call the callback, unless it was called. The context is the thread's default meanwhile."""
        due = self._due
        if not due:
            return
        context = self._place.context
        pushed = pushed_contexts.entries
        if context is not None and context is not (pushed[-1] if pushed else default_context):
            context._call_as_default(self._dispatch)
            return
        try:
            if self._before is not None:
                self._before()
            next(starmap(self._callback, map(due.pop, (-1,))))
        finally:
            if not due:
                self._callback = None
                self._completed = True
                # As `_notify` does, without the call: each operation notifies, and there rarely is a listener.
                if self._handler_list is not None or self._hears_notify:
                    self._notify("completed")
            elif context is None:
                # A signal handler raised an exception before the call. A context sees that, and calls this again.
                self._place.deliver(self)

    def __repr__(self) -> str:
        # The attributes are missing if the constructor has failed.
        name, error = self.__dict__.get("_name", ""), self.__dict__.get("_error")
        state = f"failed: {error}" if error is not None else "done" if self._ended else "pending"
        return f"<{type(self).__name__} {name + ' ' if name else ''}{state}>"

    def __del__(self) -> None:
        if self._result:
            self._drop(self._result.pop())

    def _drop(self, result: Any) -> None:
        """Close the descriptors in *result*, which no caller has taken."""
        if self._discard is not None:
            self._discard(result)
        elif self._operation is not None:
            self._operation.discard(result)
