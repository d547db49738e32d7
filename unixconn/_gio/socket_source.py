"""SocketSource: a Source that becomes ready when a socket does."""

from __future__ import annotations

from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.cancellable import Cancellable
from unixconn._io.connecting import AwaitCondition
from unixconn._io.delivery import reactor_of
from unixconn._io.main_context import MainContext, Source
from unixconn._io.waiter import Waiter, try_or_wait
from unixconn._kernel.epoll import IOCondition

if TYPE_CHECKING:
    from collections.abc import Callable

    from unixconn._base.errors import Error
    from unixconn._gio.socket import Socket


class SocketSource(Source):
    """
    A Source for a socket, made by `Socket.create_source`.

    It becomes ready when one of *condition*, ERR or HUP holds for *socket*, when *socket* is closed, and when
    *cancellable* is cancelled. The callback gets (socket, IOCondition, *data); for a socket that was closed, and after
    a cancellation, the IOCondition is empty.
    """

    __slots__ = ("_cancellable", "_condition", "_found", "_socket", "_waiter")

    def __init__(self, socket: Socket, condition: int, cancellable: Cancellable | None) -> None:
        super().__init__()
        self._socket = socket
        self._condition = condition
        self._cancellable = cancellable
        self._found = IOCondition(0)
        self._waiter: Waiter[IOCondition] | None = None

    def set_callback(self, callback: Callable[..., object], *data: object) -> None:
        """
        Set *callback*, which is called with the socket, the conditions that hold, and *data*.

        See `Source.set_callback`. Raises TypeError for a *callback* that cannot be called.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self._call = lambda: callback(self._socket, self._found, *data)

    def destroy(self) -> None:
        """See `Source.destroy`."""
        super().destroy()
        if self._waiter is not None:
            self._waiter.cancel()

    def _prepare(self) -> None:
        self._waiter = try_or_wait(
            self._socket._timed(AwaitCondition(self._socket._handle, self._condition)),
            self._cancellable,
            lambda _operation: reactor_of(self._context or MainContext.default()),
            self._end,
            blocking=True,
        )
        if self._destroyed and self._waiter is not None:  # another thread has destroyed it meanwhile
            self._waiter.cancel()

    def _end(self, result: list[IOCondition], error: Error | None) -> None:
        self._found = result[0] if error is None else IOCondition(0)
        if not self._destroyed:
            self._make_ready()
