"""Any number of descriptors, and descriptors with owners: what Gio does not have."""

from __future__ import annotations

from unixconn._base.arguments import INT_MAX, as_integer
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.asynchronous import AWAIT, finish
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.future import Future
from unixconn._gio.socket_connection import SocketConnection
from unixconn._gio.task import AsyncResult
from unixconn._io.receiving import ReceiveDescriptors, ReceiveOwned, ReceiveOwner
from unixconn._io.sending import SendDescriptors
from unixconn._kernel.descriptors import RETURN_IS_ATOMIC, close_all
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.receive import receive_descriptors
from unixconn._kernel.send import descriptors_pool, pack_descriptors, send

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from unixconn._gio.asynchronous import Callback

_SEND_FDS = "unixconn_send_fds_async"
_RECEIVE_FDS = "unixconn_receive_fds_async"
_RECEIVE_DESCRIPTOR = "unixconn_receive_descriptor_async"
_RECEIVE_DESCRIPTORS = "unixconn_receive_descriptors_async"


class DescriptorPassing(SocketConnection):
    """
    The methods for any number of descriptors, and for such with owners, of `UnixConnection`.

    Their common errors are those of `UnixConnection.send_fd` and `UnixConnection.receive_fd`.
    """

    def send_fds(self, fds: Iterable[Any], cancellable: Cancellable | None = None) -> bool:
        """
        Send descriptors, numbers or objects with ``fileno()``, and give True.

        At most 253 go with one message of one NUL byte, more are split over several. They stay the caller's. If it is
        ended after some messages went, these stay sent, and a note of the Error says so. See unix(7), SCM_RIGHTS.

        Errors: those of `UnixConnection.send_fd`; ValueError for none at all.
        """
        handle = self._socket._handle
        packed = pack_descriptors(fds) if cancellable is None and handle.is_unix else None
        if packed is not None and send(handle, descriptors_pool(len(fds)), packed):  # type: ignore[arg-type]
            return True
        return self._socket._complete(SendDescriptors(handle, fds), cancellable, tried=packed is not None)

    def receive_fds(self, count: int | None = None, cancellable: Cancellable | None = None) -> list[int]:
        """
        Receive descriptors, and give their numbers: they are close-on-exec, and the caller's to close.

        Without *count* those of the next message, one or more; with it exactly so many, over as many messages as that
        takes. What ends the wait before all are there, CANCELLED or TIMED_OUT, leaves those that came to the next one
        who receives.

        Errors: those of `UnixConnection.receive_fd`, but for the number; FAILED, ``Expecting N fds, but got M``, if a
        message brings more than are missing. After these, and CLOSED at the end of the stream, all that came is closed.
        """
        handle = self._socket._handle
        owner: list[int] = []
        try:
            tried = count is None and cancellable is None and not handle.refuses
            if not tried or not receive_descriptors(handle, owner):
                operation = ReceiveDescriptors(handle, _count(count), owner)
                self._socket._complete(operation, cancellable, tried=tried)
            if not RETURN_IS_ATOMIC:
                # PyPy's compiled code looks for signals where a loop goes round; see UnixConnection.receive_fd.
                for _ in (0, 1):
                    pass
            return owner
        except BaseException:
            close_all(owner)
            raise

    def receive_descriptor(self, cancellable: Cancellable | None = None) -> FileDescriptor:
        """
        Receive one descriptor as `UnixConnection.receive_fd` does, with an owner.

        So no exception loses it, at whatever moment a signal handler raises one.
        """
        return self._socket._complete(ReceiveOwner(self._socket._handle), cancellable)

    def receive_descriptors(
        self, count: int | None = None, cancellable: Cancellable | None = None
    ) -> list[FileDescriptor]:
        """Receive descriptors as `receive_fds` does, each with an owner."""
        return self._socket._complete(ReceiveOwned(self._socket._handle, _count(count)), cancellable)

    # --- in the background ---

    @overload
    def send_fds_async(self, fds: Iterable[Any], cancellable: Cancellable | None = None) -> Future[bool]: ...

    @overload
    def send_fds_async(
        self,
        fds: Iterable[Any],
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def send_fds_async(
        self, fds: Iterable[Any], cancellable: Any = None, callback: Any = AWAIT, *user_data: Any
    ) -> Any:
        """
        Start what `send_fds` does, without waiting for its end.

        *callback* gets (connection, result, *user_data), and calls `send_fds_finish`; without one, None being
        one too, a `Future` is given, to be awaited. The descriptors may be closed at once.
        """
        operation = SendDescriptors(self._socket._handle, fds)
        return self._start(_SEND_FDS, operation, cancellable, callback, user_data)

    def send_fds_finish(self, result: AsyncResult) -> bool:
        """
        Give True, or raise the Error, for the *result* of `send_fds_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another connection or operation, or whose
        value was handed out already.
        """
        return finish(self, _SEND_FDS, result)  # type: ignore[no-any-return]

    @overload
    def receive_fds_async(
        self, count: int | None = None, cancellable: Cancellable | None = None
    ) -> Future[list[int]]: ...

    @overload
    def receive_fds_async(
        self,
        count: int | None = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def receive_fds_async(
        self, count: int | None = None, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any
    ) -> Any:
        """
        Start what `receive_fds` does, without waiting for its end.

        *callback* gets (connection, result, *user_data), and calls `receive_fds_finish`; without one, None being
        one too, a `Future` is given, to be awaited. Descriptors that nobody takes are closed with their result.
        """
        operation = ReceiveDescriptors(self._socket._handle, _count(count), [])
        return self._start(_RECEIVE_FDS, operation, cancellable, callback, user_data)

    def receive_fds_finish(self, result: AsyncResult) -> list[int]:
        """
        Give the numbers, the caller's to close, or raise the Error, for the *result* of `receive_fds_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another connection or operation, or whose
        value was handed out already.
        """
        return finish(self, _RECEIVE_FDS, result)  # type: ignore[no-any-return]

    @overload
    def receive_descriptor_async(self, cancellable: Cancellable | None = None) -> Future[FileDescriptor]: ...

    @overload
    def receive_descriptor_async(
        self,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def receive_descriptor_async(self, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any) -> Any:
        """
        Start what `receive_descriptor` does, without waiting for its end.

        *callback* gets (connection, result, *user_data), and calls `receive_descriptor_finish`; without one, None being
        one too, a `Future` is given, to be awaited.
        """
        operation = ReceiveOwner(self._socket._handle)
        return self._start(_RECEIVE_DESCRIPTOR, operation, cancellable, callback, user_data)

    def receive_descriptor_finish(self, result: AsyncResult) -> FileDescriptor:
        """
        Give the FileDescriptor, or raise the Error, for the *result* of `receive_descriptor_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another connection or operation, or whose
        value was handed out already.
        """
        return finish(self, _RECEIVE_DESCRIPTOR, result)  # type: ignore[no-any-return]

    @overload
    def receive_descriptors_async(
        self, count: int | None = None, cancellable: Cancellable | None = None
    ) -> Future[list[FileDescriptor]]: ...

    @overload
    def receive_descriptors_async(
        self,
        count: int | None = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def receive_descriptors_async(
        self, count: int | None = None, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any
    ) -> Any:
        """
        Start what `receive_descriptors` does, without waiting for its end.

        *callback* gets (connection, result, *user_data), and calls `receive_descriptors_finish`; without one, None
        being one too, a `Future` is given, to be awaited.
        """
        operation = ReceiveOwned(self._socket._handle, _count(count))
        return self._start(_RECEIVE_DESCRIPTORS, operation, cancellable, callback, user_data)

    def receive_descriptors_finish(self, result: AsyncResult) -> list[FileDescriptor]:
        """
        Give the FileDescriptors, or raise the Error, for the *result* of `receive_descriptors_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another connection or operation, or whose
        value was handed out already.
        """
        return finish(self, _RECEIVE_DESCRIPTORS, result)  # type: ignore[no-any-return]


def _count(count: int | None) -> int | None:
    return None if count is None else as_integer(count, "count", 1, INT_MAX)
