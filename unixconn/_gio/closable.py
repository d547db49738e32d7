"""What can be closed, and has one operation under way at a time: streams, and connections."""

from __future__ import annotations

from abc import abstractmethod

from unixconn._base.arguments import as_priority
from unixconn._base.errors import Error, IOErrorEnum, io_error
from unixconn._base.managed import Managed
from unixconn._base.object import Object
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.asynchronous import AWAIT, check_arguments, ended, finish
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.future import Future
from unixconn._gio.task import AsyncResult
from unixconn._io.main_context import PRIORITY_DEFAULT
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from typing import Any

    from unixconn._gio.asynchronous import Callback


_CLOSE = "g_io_stream_close_async"


class Closable(Managed, Object):
    """What can be closed once, and has one operation under way at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._closed = False
        # Whose operations are under way: the first has the right to it, and others leave again. Who comes has its token
        # before, so that it can leave whatever happens.
        self._pending: list[object] = []

    def set_pending(self) -> bool:
        """
        Say that an operation is under way, and give True; `clear_pending` says that it has ended.

        Raises the Error CLOSED on a closed object, PENDING if one is under way.
        """
        self._begin(object())
        return True

    def _begin(self, token: object) -> None:
        if self._closed:
            raise io_error(IOErrorEnum.CLOSED, "Stream is already closed")
        self._take_pending(token)

    def _take_pending(self, token: object) -> None:
        self._pending.append(token)
        # None, if who was there before has cleared it just now.
        if next(iter(self._pending), None) is not token:
            self._give_back_pending(token)
            raise io_error(IOErrorEnum.PENDING, "Stream has outstanding operation")

    def _give_back_pending(self, token: object) -> None:
        try:
            self._pending.remove(token)
        except ValueError:  # it was cleared
            return

    def clear_pending(self) -> None:
        """Say that the operation has ended."""
        self._pending.clear()

    def has_pending(self) -> bool:
        """Tell whether an operation is under way."""
        return bool(self._pending)

    def is_closed(self) -> bool:
        """Tell whether `close` was called."""
        return self._closed

    def close(self, cancellable: Cancellable | None = None) -> bool:
        """
        Close it, and give True; a second time does nothing.

        *cancellable* has no effect. Raises the Error PENDING while an operation is under way.
        """
        check_cancellable(cancellable)
        if not self._closed:
            token = object()
            try:
                try:
                    self._take_pending(token)
                    self._close_surely()
                finally:
                    self._give_back_pending(token)
            except BaseException:
                # Once more: a signal handler may have raised before the first one had any effect.
                self._give_back_pending(token)
                raise
        return True

    def _close_surely(self) -> None:
        try:
            self._closed = True
            self._close()
        except BaseException:  # of a signal handler: once more, as the next close() does nothing
            self._close()
            raise

    @overload
    def close_async(
        self, io_priority: int = PRIORITY_DEFAULT, cancellable: Cancellable | None = None
    ) -> Future[bool]: ...

    @overload
    def close_async(
        self,
        io_priority: int = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def close_async(
        self, io_priority: int = PRIORITY_DEFAULT, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any
    ) -> Any:
        """
        Close it at once, but only say so, and only end to be pending, when *callback* is called.

        *callback* gets (object, result, *user_data), and calls `close_finish`; without one, None being one too, a
        `Future` is given. If *cancellable* is cancelled the result is CANCELLED, and it is closed all the same.
        """
        as_priority(io_priority, "io_priority")  # Gio does not heed it
        check_arguments(cancellable, callback)
        error, before, token = None, None, object()
        try:
            try:
                if not self._closed:
                    self._take_pending(token)
                    before = self._say_closed
                    self._close()
                if cancellable is not None:
                    cancellable.set_error_if_cancelled()
            except Error as caught:
                error = caught
            outcome = ([True], error)
            return ended(self, _CLOSE, outcome, cancellable, callback, user_data, before=before)
        except BaseException:  # of a signal handler: perhaps nobody will be told, and it must not be pending for ever
            if before is None:
                self._give_back_pending(token)
            else:
                self._close()
                before()
            raise

    def close_finish(self, result: AsyncResult) -> bool:
        """
        Give True, or raise the Error, for the *result* of `close_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another object or operation, or whose
        value was handed out already.
        """
        return finish(self, _CLOSE, result)  # type: ignore[no-any-return]

    def _say_closed(self) -> None:
        self._closed = True
        self.clear_pending()

    @abstractmethod
    def _close(self) -> None: ...
