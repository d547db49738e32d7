"""IOStream: a stream for each direction, closed together."""

from __future__ import annotations

from abc import abstractmethod
from enum import IntFlag

from unixconn._base.arguments import as_member, as_priority
from unixconn._base.errors import Error
from unixconn._base.object import Property
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.asynchronous import AWAIT, finish, start_both
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.closable import Closable
from unixconn._gio.future import Future
from unixconn._gio.input_stream import InputStream
from unixconn._gio.output_stream import OutputStream, OutputStreamSpliceFlags
from unixconn._gio.task import AsyncResult
from unixconn._io.main_context import PRIORITY_DEFAULT

if TYPE_CHECKING:
    from typing import Any, ClassVar

    from unixconn._gio.asynchronous import Callback
    from unixconn._io.steps import Steps


_SPLICE = "g_io_stream_splice_async"


class IOStreamSpliceFlags(IntFlag):
    """What `IOStream.splice_async` waits for, and closes at its end (Gio.IOStreamSpliceFlags)."""

    NONE = 0
    CLOSE_STREAM1 = 1
    CLOSE_STREAM2 = 2
    WAIT_FOR_BOTH = 4


class IOStream(Closable):
    """A pair of streams that are closed together (Gio.IOStream)."""

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("input-stream", InputStream, "get_input_stream"),
        Property("output-stream", OutputStream, "get_output_stream"),
        Property("closed", bool, "is_closed", default=False),
    )

    @abstractmethod
    def get_input_stream(self) -> InputStream:
        """Give the stream of what comes."""

    @abstractmethod
    def get_output_stream(self) -> OutputStream:
        """Give the stream of what goes."""

    @overload
    def splice_async(
        self,
        stream2: IOStream,
        flags: IOStreamSpliceFlags = IOStreamSpliceFlags.NONE,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Cancellable | None = None,
    ) -> Future[bool]: ...

    @overload
    def splice_async(
        self,
        stream2: IOStream,
        flags: IOStreamSpliceFlags = ...,
        io_priority: int = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def splice_async(
        self,
        stream2: IOStream,
        flags: IOStreamSpliceFlags = IOStreamSpliceFlags.NONE,
        io_priority: int = PRIORITY_DEFAULT,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """
        Write what comes from each of the two streams to the other one, until one of them ends, and start that only.

        *flags* says whether to wait for the end of the other, too, and what to close then. *callback* gets (stream,
        result, *user_data), and calls `splice_finish`; without one, None being one too, a `Future` is given. Errors as
        of reading and writing.
        """
        if not isinstance(stream2, IOStream):
            raise TypeError(f"stream2 must be an IOStream, not {stream2!r}")
        wanted = as_member(IOStreamSpliceFlags, flags)

        def close() -> Error | None:
            first = None
            for each, flag in ((self, IOStreamSpliceFlags.CLOSE_STREAM1), (stream2, IOStreamSpliceFlags.CLOSE_STREAM2)):
                try:
                    if wanted & flag:
                        each.close()
                except Error as error:
                    first = first or error
            return first

        return start_both(
            self,
            _SPLICE,
            (_copied(self, stream2), _copied(stream2, self)),
            cancellable,
            callback,
            user_data,
            priority=as_priority(io_priority, "io_priority"),
            wait_for_both=bool(wanted & IOStreamSpliceFlags.WAIT_FOR_BOTH),
            at_end=close,
        )

    def splice_finish(self, result: AsyncResult) -> bool:
        """
        Give True, or raise the Error, for the *result* of `splice_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another stream or operation, or whose
        value was handed out already.
        """
        return finish(self, _SPLICE, result)  # type: ignore[no-any-return]


def _copied(source: IOStream, target: IOStream) -> Steps[int]:
    output = target.get_output_stream()
    return output._exclusively(output._splice(source.get_input_stream(), OutputStreamSpliceFlags.NONE))
