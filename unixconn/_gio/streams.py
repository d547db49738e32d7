"""
What both directions of a connection share.

They wait also if the Socket is set not to block, at most for its timeout in each step. Each has one operation under way
at a time: a second one is PENDING. The methods named ``*_async`` take (..., io_priority, cancellable, callback,
*user_data): with a *callback* they give None, and that gets (stream, result, *user_data) when the operation has ended,
and calls the method named ``*_finish``; without one, None being one too, they give a `Future`.

They are file objects, too, as far as io.BufferedReader, io.BufferedWriter and their like need.
"""

from __future__ import annotations

from functools import partial

from unixconn._base.arguments import as_copy, as_priority
from unixconn._base.object import Object, Property
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._gio.asynchronous import check_arguments, start_sequence
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.closable import Closable
from unixconn._gio.future import Future
from unixconn._io.steps import complete_all
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from typing import Any, ClassVar

    from unixconn._gio.socket import Socket
    from unixconn._io.steps import Steps


T = TypeVar("T")


class Bytes:
    """Bytes that do not change (GLib.Bytes)."""

    __slots__ = ("_data",)

    def __init__(self, data: Any = None) -> None:
        self._data = b"" if data is None else as_copy(data)

    @classmethod
    def new(cls, data: Any = None) -> Bytes:
        """Make one of a copy of *data*, a bytes-like object; None for no bytes."""
        return cls(data)

    def get_data(self) -> bytes:
        """Give the content."""
        return self._data

    def get_size(self) -> int:
        """Give the number of bytes."""
        return len(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bytes) and self._data == other._data

    def __hash__(self) -> int:
        return hash(self._data)

    def __repr__(self) -> str:
        return f"Bytes({self._data!r})"


class SocketStream(Closable):
    """One direction of a connection."""

    _properties: ClassVar[tuple[Property, ...]] = (Property("socket", Object, "_get_socket", construct_only=True),)

    def __init__(self, socket: Socket) -> None:
        super().__init__()
        self._socket = socket

    def _get_socket(self) -> Socket:
        return self._socket

    def get_fd(self) -> int:
        """Give the number of the socket's descriptor, -1 once it is closed."""
        return self._socket.get_fd()

    def _close(self) -> None:
        """Leave the socket alone: the connection closes it."""

    def _exclusively(self, steps: Steps[T]) -> Steps[T]:
        token = object()
        try:
            try:
                self._begin(token)
                return (yield from steps)
            finally:
                self._give_back_pending(token)
        except BaseException:
            # Once more: a signal handler may have raised before the first one had any effect.
            self._give_back_pending(token)
            raise

    def _with_token(self, token: object, steps: Steps[T]) -> Steps[T]:
        self._begin(token)
        return (yield from steps)

    def _complete(self, steps: Steps[T], cancellable: Cancellable | None, size: int | None = None) -> T:
        check_cancellable(cancellable)
        # No bytes are read and written, as in Gio, also where the stream is closed or has an operation under way.
        return complete_all(steps if size == 0 else self._exclusively(steps), cancellable, blocking=True)

    def _start(
        self,
        name: str,
        steps: Steps[T],
        io_priority: int,
        cancellable: Cancellable | None,
        callback: Any,
        data: tuple[object, ...],
    ) -> Future[T] | None:
        check_arguments(cancellable, callback)
        priority, token = as_priority(io_priority, "io_priority"), object()
        # Waiter from the first step on, so that whatever ends the steps ends that, too.
        return start_sequence(
            self,
            name,
            self._with_token(token, steps),
            cancellable,
            callback,
            data,
            priority=priority,
            before=partial(self._give_back_pending, token),
        )

    # --- as a file object ---

    def fileno(self) -> int:
        """Give the number of the socket's descriptor. Raises ValueError once it is closed."""
        if self.get_fd() < 0:
            raise ValueError("the socket is closed, and has no descriptor any more")
        return self.get_fd()

    @property
    def closed(self) -> bool:
        """`is_closed`."""
        return self.is_closed()

    def readable(self) -> bool:
        """Tell whether it can be read from."""
        return False

    def writable(self) -> bool:
        """Tell whether it can be written to."""
        return False

    def seekable(self) -> bool:
        """Give False."""
        return False

    def isatty(self) -> bool:
        """Give False."""
        return False
