"""InputStream: what comes from the peer."""

from __future__ import annotations

import sys

from unixconn._base.arguments import INT_MAX, as_integer, as_writable
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.asynchronous import AWAIT, finish
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.future import Future
from unixconn._gio.streams import Bytes, SocketStream
from unixconn._gio.task import AsyncResult
from unixconn._io.main_context import PRIORITY_DEFAULT
from unixconn._kernel.epoll import IOCondition

if TYPE_CHECKING:
    from typing import Any

    from unixconn._gio.asynchronous import Callback
    from unixconn._io.steps import Steps


_LARGEST_READ = 1 << 20
"""Bytes that one step reads at most: nobody has to have room for what may never come."""


def _as_count(count: int) -> int:
    return as_integer(count, "count", 0, INT_MAX)


class InputStream(SocketStream):
    """
    What comes from the peer (Gio.InputStream); see streams.py for what its methods have in common.

    A byte that carries a descriptor may be among those that are read. The descriptor is kept then, and is what the
    connection's `receive_fd` gives next; it is closed with the connection.
    """

    def readable(self) -> bool:
        """Give True."""
        return True

    def read(self, count: int | None = None, cancellable: Cancellable | None = None) -> bytes:
        """
        Read at most *count* bytes, at least one; none at the end of the stream. Without a count, all until that.

        Errors: TIMED_OUT, CANCELLED, CLOSED, PENDING, BROKEN_PIPE.
        """
        if count is None:
            return self._complete(self._read_all(sys.maxsize), cancellable)
        size = _as_count(count)
        return self._complete(self._read(size), cancellable, size)

    def read_bytes(self, count: int, cancellable: Cancellable | None = None) -> Bytes:
        """`read` with the result as `Bytes`."""
        size = _as_count(count)
        return self._complete(self._read_bytes(size), cancellable, size)

    def read_all(self, count: int, cancellable: Cancellable | None = None) -> bytes:
        """Read *count* bytes, less only where the stream ends. Errors as of `read`; what came before one is lost."""
        size = _as_count(count)
        return self._complete(self._read_all(size), cancellable, size)

    def skip(self, count: int, cancellable: Cancellable | None = None) -> int:
        """Read at most *count* bytes, and give how many there were. Errors as of `read`."""
        size = _as_count(count)
        return self._complete(self._skip(size), cancellable, size)

    def readinto(self, buffer: Any) -> int:
        """Read into *buffer*, a writable bytes-like object, and give how many bytes there were."""
        target = as_writable(buffer)
        data = self._complete(self._read(len(target)), None)
        target[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        """`read` without a count; io.BufferedReader calls it, in PyPy `read` itself."""
        return self.read()

    def flush(self) -> None:
        """Do nothing; io.BufferedReader calls it."""

    def is_readable(self) -> bool:
        """Tell whether a read would find something, or the end of the stream, without waiting."""
        return bool(self._socket.condition_check(IOCondition.IN))

    @overload
    def read_async(
        self,
        count: int,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Cancellable | None = None,
    ) -> Future[bytes]: ...

    @overload
    def read_async(
        self,
        count: int,
        io_priority: int = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def read_async(
        self,
        count: int,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """Start what `read` does, without waiting for its end; see streams.py for the arguments."""
        steps = self._read(_as_count(count))
        return self._start("g_input_stream_read_async", steps, io_priority, cancellable, callback, user_data)

    def read_finish(self, result: AsyncResult) -> bytes:
        """Give the bytes, or raise the Error, for the *result* of `read_async`."""
        return finish(self, "g_input_stream_read_async", result)  # type: ignore[no-any-return]

    @overload
    def read_bytes_async(
        self,
        count: int,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Cancellable | None = None,
    ) -> Future[Bytes]: ...

    @overload
    def read_bytes_async(
        self,
        count: int,
        io_priority: int = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def read_bytes_async(
        self,
        count: int,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """Start what `read_bytes` does, without waiting for its end; see streams.py for the arguments."""
        steps = self._read_bytes(_as_count(count))
        return self._start("g_input_stream_read_bytes_async", steps, io_priority, cancellable, callback, user_data)

    def read_bytes_finish(self, result: AsyncResult) -> Bytes:
        """Give the `Bytes`, or raise the Error, for the *result* of `read_bytes_async`."""
        return finish(self, "g_input_stream_read_bytes_async", result)  # type: ignore[no-any-return]

    @overload
    def read_all_async(
        self,
        count: int,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Cancellable | None = None,
    ) -> Future[bytes]: ...

    @overload
    def read_all_async(
        self,
        count: int,
        io_priority: int = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def read_all_async(
        self,
        count: int,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """Start what `read_all` does, without waiting for its end; see streams.py for the arguments."""
        steps = self._read_all(_as_count(count))
        return self._start("g_input_stream_read_all_async", steps, io_priority, cancellable, callback, user_data)

    def read_all_finish(self, result: AsyncResult) -> bytes:
        """Give the bytes, or raise the Error, for the *result* of `read_all_async`."""
        return finish(self, "g_input_stream_read_all_async", result)  # type: ignore[no-any-return]

    @overload
    def skip_async(
        self,
        count: int,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Cancellable | None = None,
    ) -> Future[int]: ...

    @overload
    def skip_async(
        self,
        count: int,
        io_priority: int = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def skip_async(
        self,
        count: int,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """Start what `skip` does, without waiting for its end; see streams.py for the arguments."""
        steps = self._skip(_as_count(count))
        return self._start("g_input_stream_skip_async", steps, io_priority, cancellable, callback, user_data)

    def skip_finish(self, result: AsyncResult) -> int:
        """Give how many bytes there were, or raise the Error, for the *result* of `skip_async`."""
        return finish(self, "g_input_stream_skip_async", result)  # type: ignore[no-any-return]

    # --- step by step ---

    def _read(self, count: int) -> Steps[bytes]:
        if not count:  # there is nothing to wait for
            return b""
        return (yield from self._socket._receiving(min(count, _LARGEST_READ)))

    def _read_bytes(self, count: int) -> Steps[Bytes]:
        return Bytes((yield from self._read(count)))

    def _read_all(self, count: int) -> Steps[bytes]:
        parts = []
        while count and (data := (yield from self._read(count))):
            parts.append(data)
            count -= len(data)
        return b"".join(parts)

    def _skip(self, count: int) -> Steps[int]:
        return len((yield from self._read(count)))
