"""receive_bytes and receive_bytes_from: methods of `Socket` that newer versions of GLib have (2.80)."""

from __future__ import annotations

from unixconn._base.arguments import as_integer
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.streams import Bytes
from unixconn._io.blocking import complete
from unixconn._io.connecting import AwaitCondition
from unixconn._kernel.epoll import READABLE

if TYPE_CHECKING:
    from unixconn._gio.address import SocketAddress
    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.socket import Socket


def _wait(socket: Socket, timeout_us: int, cancellable: Cancellable | None) -> None:
    """Wait until there are bytes, as long as *timeout_us* says; not at all for 0, as receiving waits by itself."""
    microseconds = as_integer(timeout_us, "timeout_us", -(2**63), 2**63 - 1)
    if microseconds and socket._blocking:
        operation = AwaitCondition(socket._handle, READABLE)
        operation.timeout = microseconds / 1e6 if microseconds > 0 else None
        complete(operation, cancellable)


def receive_bytes(self: Socket, size: int, timeout_us: int, cancellable: Cancellable | None = None) -> Bytes:
    """
    Receive as `Socket.receive` does, and return the bytes as `Bytes` (g_socket_receive_bytes).

    A positive *timeout_us* is the longest time to wait in microseconds, in place of the Socket's timeout; a negative
    one waits without a limit, and 0 stands for the Socket's timeout. Raises the Error TIMED_OUT when the time has
    passed, and those of `Socket.receive`.
    """
    _wait(self, timeout_us, cancellable)
    return Bytes(self.receive(size, cancellable))


def receive_bytes_from(
    self: Socket, size: int, timeout_us: int, cancellable: Cancellable | None = None
) -> tuple[Bytes, SocketAddress | None]:
    """
    Receive as `Socket.receive_from` does, and return (`Bytes`, address) (g_socket_receive_bytes_from).

    *timeout_us* is as in `Socket.receive_bytes`.
    """
    _wait(self, timeout_us, cancellable)
    data, address = self.receive_from(size, cancellable)
    return Bytes(data), address


for _each in (receive_bytes, receive_bytes_from):
    _each.__module__, _each.__qualname__ = "unixconn", f"Socket.{_each.__name__}"
