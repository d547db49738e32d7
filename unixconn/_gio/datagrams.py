"""Datagrams: what a socket sends to addresses, and receives from them."""

from __future__ import annotations

from unixconn._base.arguments import INT_MAX, as_copy, as_integer
from unixconn._base.object import Object
from unixconn._base.typing import TYPE_CHECKING, TypeVar, overload
from unixconn._gio.address import SocketAddress, UnixSocketAddress, from_kernel
from unixconn._gio.asynchronous import AWAIT, finish, start, start_sequence
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.future import Future
from unixconn._gio.results import Datagram
from unixconn._gio.task import AsyncResult
from unixconn._io.operation import READABLE, Operation
from unixconn._io.receiving import ReceiveMessage
from unixconn._io.sending import SendMessage, SendTo
from unixconn._io.steps import complete_all
from unixconn._io.waiter import serve
from unixconn._kernel.control_messages import contents_of
from unixconn._kernel.descriptors import close_all
from unixconn._kernel.trigger import check_cancellable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from unixconn._gio.asynchronous import Callback
    from unixconn._io.steps import Steps
    from unixconn._kernel.control_messages import ControlMessage
    from unixconn._kernel.handle import Handle

T = TypeVar("T")
OperationT = TypeVar("OperationT", bound="Operation[Any]")

_SEND_TO = "unixconn_socket_send_to_async"
_RECEIVE_FROM = "unixconn_socket_receive_from_async"


def unix_address(value: object) -> UnixSocketAddress:
    """Give *value*, an address of a Unix socket. Raises TypeError for what is none."""
    if not isinstance(value, UnixSocketAddress):
        raise TypeError(f"address must be a UnixSocketAddress, not {value!r}")
    return value


def name_of(address: SocketAddress | None) -> bytes:
    """Give *address* as the kernel takes it, empty for the peer's. Raises TypeError for what is none."""
    return b"" if address is None else unix_address(address)._for_kernel()


class DatagramPassing(Object):
    """The methods for data with addresses, of `Socket`."""

    if TYPE_CHECKING:
        _blocking: bool
        _handle: Handle

        def _timed(self, operation: OperationT) -> OperationT: ...
        def _complete(self, operation: Operation[T], cancellable: Cancellable | None) -> T: ...

    def send_to(self, address: SocketAddress | None, buffer: Any, cancellable: Cancellable | None = None) -> int:
        """
        Send the bytes of *buffer* to *address*, None for the peer; give how many went.

        Errors: CONNECTION_REFUSED where nobody receives, NOT_FOUND, and those of sendmsg(2)'s errno.
        """
        return self._complete(self._sending_to(name_of(address), [as_copy(buffer)]), cancellable)

    def receive_from(self, size: int, cancellable: Cancellable | None = None) -> Datagram:
        """
        Receive at most *size* bytes, and give (data, address): the sender's, None if it has none.

        Descriptors that come with them are kept for a connection's `UnixConnection.receive_fd`.
        """
        steps = self._receiving_from(as_integer(size, "size", 0, INT_MAX))
        check_cancellable(cancellable)
        return complete_all(steps, cancellable, blocking=self._blocking)

    def _sending_to(
        self, name: bytes, buffers: Sequence[bytes], controls: Sequence[ControlMessage] = (), flags: int = 0
    ) -> SendMessage:
        return (SendTo if name else SendMessage)(self._handle, buffers, controls, flags=flags, address=name)

    def _receiving_from(self, size: int) -> Steps[Datagram]:
        buffer = bytearray(size)
        messages: list[list[int]] = []
        try:
            found = yield self._timed(ReceiveMessage(self._handle, [buffer], context="Error receiving data: "))
            messages.append(found.owner)
            # A pidfd that the kernel has added is nobody's.
            close_all(found.owner, len(contents_of(found.messages).descriptors))
            if self._handle.keep(messages):
                serve(self._handle, READABLE)  # somebody may be waiting for just this
        finally:
            for message in messages:
                close_all(message)
        return Datagram(bytes(buffer[: found.size]), from_kernel(found.address))

    # --- in the background ---

    @overload
    def send_to_async(
        self, address: SocketAddress | None, buffer: Any, cancellable: Cancellable | None = None
    ) -> Future[int]: ...

    @overload
    def send_to_async(
        self,
        address: SocketAddress | None,
        buffer: Any,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def send_to_async(
        self,
        address: SocketAddress | None,
        buffer: Any,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """
        Start what `send_to` does, without waiting for its end.

        *callback* gets (socket, result, *user_data), and calls `send_to_finish`; without one, None being one too, a
        `Future` is given, to be awaited. The bytes of *buffer* are those of now.
        """
        operation = self._timed(self._sending_to(name_of(address), [as_copy(buffer)]))
        return start(self, _SEND_TO, operation, cancellable, callback, user_data, blocking=self._blocking)

    def send_to_finish(self, result: AsyncResult) -> int:
        """
        Give how many bytes went, or raise the Error, for the *result* of `send_to_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another socket or operation, or whose
        value was handed out already.
        """
        return finish(self, _SEND_TO, result)  # type: ignore[no-any-return]

    @overload
    def receive_from_async(self, size: int, cancellable: Cancellable | None = None) -> Future[Datagram]: ...

    @overload
    def receive_from_async(
        self, size: int, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: Any
    ) -> None: ...

    def receive_from_async(self, size: int, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any) -> Any:
        """
        Start what `receive_from` does, without waiting for its end; it waits also if the socket is set not to block.

        *callback* gets (socket, result, *user_data), and calls `receive_from_finish`; without one, None being one too,
        a `Future` is given, to be awaited.
        """
        steps = self._receiving_from(as_integer(size, "size", 0, INT_MAX))
        return start_sequence(self, _RECEIVE_FROM, steps, cancellable, callback, user_data)

    def receive_from_finish(self, result: AsyncResult) -> Datagram:
        """
        Give (data, address), or raise the Error, for the *result* of `receive_from_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another socket or operation, or whose
        value was handed out already.
        """
        return finish(self, _RECEIVE_FROM, result)  # type: ignore[no-any-return]
