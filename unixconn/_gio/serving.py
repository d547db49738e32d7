"""serve(): a task for each connection, in asyncio, trio and Twisted."""

from __future__ import annotations

import errno
import sys

from unixconn._base.arguments import INT_MAX, as_integer
from unixconn._base.errors import ClosedError, Error
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.listener import AFTER_AN_ERROR, SocketListener
from unixconn._gio.listening import listen
from unixconn._io import twisted_reactor
from unixconn._io.asyncio_loop import LoopUnderTwisted
from unixconn._io.running_loop import running

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from unixconn._gio.connect import Name
    from unixconn._gio.connection import UnixConnection
    from unixconn._gio.listening import UnixListener
    from unixconn._gio.socket_connection import SocketConnection

    Handler = Callable[[Any], Awaitable[object]]
    Report = Callable[[str, BaseException], object]

_PASSING = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""Errors of accepting that may be over at the next attempt. The connection stays in the queue."""


@overload
async def serve(
    handler: Callable[[UnixConnection], Awaitable[object]], path_or_listener: Name | UnixListener, *, limit: int = ...
) -> None: ...


@overload
async def serve(
    handler: Callable[[SocketConnection], Awaitable[object]], path_or_listener: SocketListener, *, limit: int = ...
) -> None: ...


async def serve(handler: Handler, path_or_listener: Name | SocketListener, *, limit: int = 128) -> None:
    """
    Accept connections, and run ``await handler(connection)`` for each in a task of its own, until the listener closes.

    - *path_or_listener* is a listener, or what `listen` takes: a path, an abstract name or an address. Pass a listener
      to have it listen before the first await, or to set options. A listener that this call makes is closed at its end.
    - *limit* is the number of tasks at a time. Further connections stay in the kernel's queue.

    A connection is closed when its handler returns or raises. When the listener is closed, the call waits for the
    handlers that run, and returns. When the call is cancelled, it closes the listener that it has made, cancels the
    handlers, waits for these, and ends as cancelled.

    An exception that a handler raises is treated as in the loop's own servers:

    - In asyncio it goes to the loop's exception handler, and the others run on, as in asyncio.start_unix_server.
    - In trio it cancels the others, and is raised here in an ExceptionGroup, as in trio.serve_listeners.
    - In a coroutine of Twisted (`ensureDeferred`) it goes to Twisted's log, and the others run on.

    If there is no descriptor or memory for a connection, the Error is reported, and accepting is tried again 0.1
    seconds later. It is reported to asyncio's exception handler, to Twisted's log, or else to `sys.excepthook`.

    Raises TypeError if *handler* cannot be called or *limit* is no integer; OverflowError if *limit* is less than 1;
    RuntimeError where none of these loops runs; the errors of `listen`; and other Errors of accepting, in trio within
    the ExceptionGroup.
    """
    if not callable(handler):
        raise TypeError(f"handler must be a coroutine function, not {handler!r}")
    if isinstance(limit, (bool, float)):
        raise TypeError(f"limit must be an integer, not {limit!r}")
    limit = as_integer(limit, "limit", 1, INT_MAX)
    serve_there = _way_here()
    if isinstance(path_or_listener, SocketListener):
        await serve_there(handler, path_or_listener, limit, _nothing)
    else:
        with listen(path_or_listener) as listener:
            await serve_there(handler, listener, limit, listener.close)


serve.__module__ = "unixconn"


def _way_here() -> Callable[..., Awaitable[None]]:
    """Return the function for the loop that runs in this thread."""
    loop = running()
    if loop is None and not twisted_reactor.runs_here():
        raise RuntimeError(
            "serve() must be awaited in asyncio, trio or Twisted, and none of them runs in this thread: accept by "
            "iterating over a listener, in a thread or greenlet for each connection, or use a ThreadedSocketService"
        )
    if loop is None or (isinstance(loop, LoopUnderTwisted) and not loop.runs_a_task()):
        return _serve_in_twisted
    return _serve_in_asyncio if loop.is_asyncio else _serve_in_trio


def _nothing() -> None:
    """Leave the caller's listener open."""


class _Tasks:
    """The tasks of the handlers, in asyncio."""

    def __init__(self, handler: Handler, limit: int) -> None:
        self.asyncio = sys.modules["asyncio"]
        self.free = self.asyncio.Semaphore(limit)
        self._handler = handler
        self._loop = self.asyncio.get_running_loop()
        self._connections: dict[Any, SocketConnection] = {}

    def start(self, connection: SocketConnection) -> None:
        """Run the handler in a task. The caller has acquired `free` for it."""
        task = self._loop.create_task(self._handle(connection))
        self._connections[task] = connection
        task.add_done_callback(self._end)

    async def _handle(self, connection: SocketConnection) -> None:
        await _awaitable(self._handler(connection), self._handler)

    def _end(self, task: Any) -> None:
        # Not in `_handle`: a task that is cancelled before its first step runs no line of it.
        connection = self._connections.pop(task)
        self.free.release()
        try:
            connection.close()
        finally:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self.report(f"the handler of {connection!r} failed", error)

    def report(self, message: str, error: BaseException) -> None:
        """Call the loop's exception handler."""
        self._loop.call_exception_handler({"message": message, "exception": error})

    async def wait(self) -> None:
        """Wait until all tasks have ended."""
        while self._connections:
            await self.asyncio.wait(set(self._connections))

    async def cancel(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        for task in self._connections:
            task.cancel()
        while self._connections:
            try:
                await self.wait()
            except self.asyncio.CancelledError:  # once more: anyio cancels a task until it ends
                continue


async def _serve_in_asyncio(handler: Handler, listener: SocketListener, limit: int, stop: Callable[[], object]) -> None:
    tasks = _Tasks(handler, limit)
    try:
        while True:
            await tasks.free.acquire()
            connection = await accepted(listener, tasks.asyncio.sleep, tasks.report)
            if connection is None:
                break
            tasks.start(connection)
        await tasks.wait()
    finally:
        stop()
        await tasks.cancel()


async def _serve_in_trio(handler: Handler, listener: SocketListener, limit: int, stop: Callable[[], object]) -> None:
    trio = sys.modules["trio"]
    free = trio.Semaphore(limit)

    async def handle(connection: SocketConnection) -> None:
        try:
            await _awaitable(handler(connection), handler)
        finally:
            free.release()
            connection.close()

    async with trio.open_nursery() as nursery:
        try:
            while True:
                await free.acquire()
                connection = await accepted(listener, trio.sleep, report_to_the_hook)
                if connection is None:
                    break
                nursery.start_soon(handle, connection)
        finally:
            stop()


def _awaitable(returned: Awaitable[object], handler: Handler) -> Awaitable[object]:
    """Return what *handler* has *returned*. Raises TypeError if it was a plain function."""
    if not hasattr(returned, "__await__"):
        raise TypeError(f"handler must be a coroutine function, but {handler!r} returned {returned!r}")
    return returned


class _Deferreds:
    """The coroutines of the handlers, in Twisted."""

    def __init__(self, handler: Handler, limit: int) -> None:
        self.free = sys.modules["twisted.internet.defer"].DeferredSemaphore(limit)
        self._handler = handler
        self._running: set[Any] = set()
        self._waiting: list[Any] = []

    def start(self, connection: SocketConnection) -> None:
        """Run the handler, which begins in this call. The caller has acquired `free` for it."""
        deferred = sys.modules["twisted.internet.defer"].ensureDeferred(self._handle(connection))
        self._running.add(deferred)
        deferred.addBoth(self._end, deferred)

    async def _handle(self, connection: SocketConnection) -> None:
        try:
            await _awaitable(self._handler(connection), self._handler)
        except sys.modules["twisted.internet.defer"].CancelledError:
            return
        except Exception as error:  # noqa: BLE001 - goes to the log
            self.report(f"the handler of {connection!r} failed", error)
        finally:
            self.free.release()
            connection.close()

    def _end(self, _result: object, deferred: object) -> None:
        self._running.discard(deferred)
        if not self._running:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def report(self, message: str, error: BaseException) -> None:
        """Write to Twisted's log."""
        failure = sys.modules["twisted.python.failure"].Failure(error)
        sys.modules["twisted.logger"].Logger("unixconn").failure("{message}", failure, message=message)

    async def wait(self) -> None:
        """Wait until all coroutines have ended."""
        while self._running:
            self._waiting.append(sys.modules["twisted.internet.defer"].Deferred())
            await self._waiting[-1]

    async def cancel(self) -> None:
        """Cancel all coroutines, and wait until they have ended."""
        for each in tuple(self._running):
            each.cancel()
        await self.wait()


async def _serve_in_twisted(handler: Handler, listener: SocketListener, limit: int, stop: Callable[[], object]) -> None:
    deferreds = _Deferreds(handler, limit)
    try:
        while True:
            # Twisted does not let others have a turn by itself where nothing has to wait.
            await twisted_reactor.sleep(0)
            await deferreds.free.acquire()
            connection = await accepted(listener, twisted_reactor.sleep, deferreds.report)
            if connection is None:
                break
            deferreds.start(connection)
        await deferreds.wait()
    finally:
        stop()
        await deferreds.cancel()


def report_to_the_hook(_message: str, error: BaseException) -> None:
    """Call sys.excepthook."""
    sys.excepthook(type(error), error, error.__traceback__)


async def accepted(
    listener: SocketListener, sleep: Callable[[float], Awaitable[object]], report: Report
) -> SocketConnection | None:
    """Wait for a connection; return None if the listener is closed."""
    while True:
        try:
            return (await listener.accept_async()).connection
        except ClosedError:
            return None
        except Error as error:
            if getattr(error, "errno", None) not in _PASSING:
                raise
            report("accepting a connection failed", error)
        await sleep(AFTER_AN_ERROR)
