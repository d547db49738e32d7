"""OutputStream: what goes to the peer."""

from __future__ import annotations

from collections import namedtuple
from enum import IntFlag

from unixconn._base.arguments import as_bytes, as_member
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.asynchronous import AWAIT, finish
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.future import Future
from unixconn._gio.input_stream import InputStream
from unixconn._gio.streams import Bytes, SocketStream
from unixconn._gio.task import AsyncResult
from unixconn._io.main_context import PRIORITY_DEFAULT
from unixconn._kernel.epoll import IOCondition

if TYPE_CHECKING:
    from typing import Any, NamedTuple

    from unixconn._gio.asynchronous import Callback
    from unixconn._io.steps import Steps


if TYPE_CHECKING:

    class Written(NamedTuple):
        """The result of `OutputStream.write_all`."""

        ok: bool
        """Always True: a failure is raised as an Error."""
        bytes_written: int
        """The number of bytes written."""

else:
    Written = namedtuple("Written", "ok bytes_written")
    Written.__doc__ = "The result of `OutputStream.write_all`."
    Written.ok.__doc__ = "Always True: a failure is raised as an Error."
    Written.bytes_written.__doc__ = "The number of bytes written."


class OutputStreamSpliceFlags(IntFlag):
    """What `OutputStream.splice` closes at its end (Gio.OutputStreamSpliceFlags)."""

    NONE = 0
    CLOSE_SOURCE = 1
    CLOSE_TARGET = 2


class OutputStream(SocketStream):
    """What goes to the peer (Gio.OutputStream); see streams.py for what its methods have in common."""

    def writable(self) -> bool:
        """Give True."""
        return True

    def write(self, buffer: Any, cancellable: Cancellable | None = None) -> int:
        """
        Write the bytes of *buffer*, a bytes-like object, or the beginning of them; give how many went.

        Errors: TIMED_OUT, CANCELLED, CLOSED, PENDING, BROKEN_PIPE.
        """
        data = as_bytes(buffer)
        return self._complete(self._write(data), cancellable, len(data))

    def write_bytes(self, bytes: Bytes, cancellable: Cancellable | None = None) -> int:  # noqa: A002 - Gio's name
        """`write` of a `Bytes`."""
        data = _data_of(bytes)
        return self._complete(self._write(data), cancellable, len(data))

    def write_all(self, buffer: Any, cancellable: Cancellable | None = None) -> Written:
        """Write all bytes of *buffer*; give (True, how many). Errors as of `write`; what went before one has gone."""
        data = as_bytes(buffer)
        return self._complete(self._write_all(data), cancellable, len(data))

    def flush(self, cancellable: Cancellable | None = None) -> bool:
        """Give True: nothing is kept back. Errors: CLOSED, PENDING, CANCELLED."""
        return self._complete(self._flush(cancellable), cancellable)

    def splice(
        self,
        source: InputStream,
        flags: OutputStreamSpliceFlags = OutputStreamSpliceFlags.NONE,
        cancellable: Cancellable | None = None,
    ) -> int:
        """
        Write all that *source* has until its end, and give how many bytes that was.

        *flags* says which of the two to close then. Errors as of `read` and `write`.
        """
        return self._complete(self._splice(_as_source(source), as_member(OutputStreamSpliceFlags, flags)), cancellable)

    def is_writable(self) -> bool:
        """Tell whether a write would find room without waiting."""
        return bool(self._socket.condition_check(IOCondition.OUT))

    @overload
    def write_async(
        self,
        buffer: Any,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Cancellable | None = None,
    ) -> Future[int]: ...

    @overload
    def write_async(
        self,
        buffer: Any,
        io_priority: int = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def write_async(
        self,
        buffer: Any,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """Start what `write` does, without waiting for its end; see streams.py for the arguments."""
        steps = self._write(as_bytes(buffer))
        return self._start("g_output_stream_write_async", steps, io_priority, cancellable, callback, user_data)

    def write_finish(self, result: AsyncResult) -> int:
        """Give how many bytes went, or raise the Error, for the *result* of `write_async`."""
        return finish(self, "g_output_stream_write_async", result)  # type: ignore[no-any-return]

    @overload
    def write_bytes_async(
        self,
        bytes: Bytes,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Cancellable | None = None,
    ) -> Future[int]: ...

    @overload
    def write_bytes_async(
        self,
        bytes: Bytes,
        io_priority: int = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def write_bytes_async(
        self,
        bytes: Bytes,  # noqa: A002
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """Start what `write_bytes` does, without waiting for its end; see streams.py for the arguments."""
        steps = self._write(_data_of(bytes))
        return self._start("g_output_stream_write_bytes_async", steps, io_priority, cancellable, callback, user_data)

    def write_bytes_finish(self, result: AsyncResult) -> int:
        """Give how many bytes went, or raise the Error, for the *result* of `write_bytes_async`."""
        return finish(self, "g_output_stream_write_bytes_async", result)  # type: ignore[no-any-return]

    @overload
    def write_all_async(
        self,
        buffer: Any,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Cancellable | None = None,
    ) -> Future[Written]: ...

    @overload
    def write_all_async(
        self,
        buffer: Any,
        io_priority: int = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def write_all_async(
        self,
        buffer: Any,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """Start what `write_all` does, without waiting for its end; see streams.py for the arguments."""
        steps = self._write_all(as_bytes(buffer))
        return self._start("g_output_stream_write_all_async", steps, io_priority, cancellable, callback, user_data)

    def write_all_finish(self, result: AsyncResult) -> Written:
        """Give (True, how many bytes), or raise the Error, for the *result* of `write_all_async`."""
        return finish(self, "g_output_stream_write_all_async", result)  # type: ignore[no-any-return]

    @overload
    def flush_async(
        self,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Cancellable | None = None,
    ) -> Future[bool]: ...

    @overload
    def flush_async(
        self,
        io_priority: int = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def flush_async(
        self,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """Start what `flush` does, without waiting for its end; see streams.py for the arguments."""
        steps = self._flush(cancellable)
        return self._start("g_output_stream_flush_async", steps, io_priority, cancellable, callback, user_data)

    def flush_finish(self, result: AsyncResult) -> bool:
        """Give True, or raise the Error, for the *result* of `flush_async`."""
        return finish(self, "g_output_stream_flush_async", result)  # type: ignore[no-any-return]

    @overload
    def splice_async(
        self,
        source: InputStream,
        flags: OutputStreamSpliceFlags = OutputStreamSpliceFlags.NONE,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Cancellable | None = None,
    ) -> Future[int]: ...

    @overload
    def splice_async(
        self,
        source: InputStream,
        flags: OutputStreamSpliceFlags = OutputStreamSpliceFlags.NONE,
        io_priority: int = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def splice_async(
        self,
        source: InputStream,
        flags: OutputStreamSpliceFlags = OutputStreamSpliceFlags.NONE,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """Start what `splice` does, without waiting for its end; see streams.py for the arguments."""
        steps = self._splice(_as_source(source), as_member(OutputStreamSpliceFlags, flags))
        return self._start("g_output_stream_splice_async", steps, io_priority, cancellable, callback, user_data)

    def splice_finish(self, result: AsyncResult) -> int:
        """Give how many bytes that was, or raise the Error, for the *result* of `splice_async`."""
        return finish(self, "g_output_stream_splice_async", result)  # type: ignore[no-any-return]

    # --- step by step ---

    def _write(self, data: memoryview) -> Steps[int]:
        if not data:  # not a packet of no bytes either
            return 0
        return (yield self._socket._sending(bytes(data[:_LARGEST_WRITE])))  # type: ignore[no-any-return]

    def _write_all(self, data: memoryview) -> Steps[Written]:
        size = len(data)
        while data:
            data = data[(yield from self._write(data)) :]
        return Written(True, size)

    def _flush(self, cancellable: Cancellable | None) -> Steps[bool]:
        if cancellable is not None:
            cancellable.set_error_if_cancelled()
        yield from ()
        return True

    def _splice(self, source: InputStream, flags: OutputStreamSpliceFlags) -> Steps[int]:
        size = 0
        try:
            while data := (yield from source._exclusively(source._read(_PIECE))):
                size += (yield from self._write_all(memoryview(data))).bytes_written
        finally:
            if flags & OutputStreamSpliceFlags.CLOSE_SOURCE:
                source.close()
            if flags & OutputStreamSpliceFlags.CLOSE_TARGET:
                self._closed = True
        return size


_LARGEST_WRITE = 1 << 20
"""Bytes that one step writes at most."""
_PIECE = 65536
"""Bytes that are read and written at a time."""


def _data_of(data: Bytes) -> memoryview:
    if not isinstance(data, Bytes):
        raise TypeError(f"bytes must be Bytes, not {data!r}")
    return memoryview(data.get_data())


def _as_source(source: InputStream) -> InputStream:
    if not isinstance(source, InputStream):
        raise TypeError(f"source must be an InputStream, not {source!r}")
    return source
