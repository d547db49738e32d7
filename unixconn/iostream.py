"""IOStream: a stream for each direction, closed together."""

from __future__ import annotations

from abc import abstractmethod
from enum import IntFlag

from unixconn._typing import TYPE_CHECKING, overload
from unixconn.arguments import as_member, as_priority
from unixconn.asynchronous import AWAIT, finish, start_both
from unixconn.cancellable import Cancellable
from unixconn.closable import Closable
from unixconn.errors import Error
from unixconn.future import Future
from unixconn.inputstream import InputStream
from unixconn.maincontext import PRIORITY_DEFAULT
from unixconn.object import Property
from unixconn.outputstream import OutputStream, OutputStreamSpliceFlags
from unixconn.task import AsyncResult

if TYPE_CHECKING:
    from typing import Any, ClassVar

    from unixconn.asynchronous import Callback
    from unixconn.sequence import Steps


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
