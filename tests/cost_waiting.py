"""Forms: cancelling, the main loop, and one of many operations that wait."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

from cost_forms import CROWD, NULL, WAIT, form, iterate_until, pair

from unixconn import (
    Cancellable,
    CancelledError,
    MainContext,
    MainLoop,
    UnixConnection,
    idle_add,
)


@form()
def cancellable() -> Iterator[Any]:
    """Make a Cancellable, and cancel it."""

    def once() -> None:
        Cancellable().cancel()

    yield once


@form("cancellable-with_timeout")
def cancellable_with_timeout() -> Iterator[Any]:
    """Make a Cancellable with a deadline, and cancel it before that."""

    def once() -> None:
        Cancellable.with_timeout(60).cancel()

    yield once


@form("cancellable-handler")
def cancellable_with_handler() -> Iterator[Any]:
    """Connect a handler to a Cancellable, and cancel and reset it."""
    known = Cancellable()
    called: list[bool] = []

    def once() -> None:
        number = known.connect(lambda: called.append(True))
        known.cancel()
        known.disconnect(number)
        known.reset()
        called.pop()

    yield once


@form("cancellable-fd")
def cancellable_with_descriptor() -> Iterator[Any]:
    """Ask for the descriptor of a Cancellable, cancel it, and release the descriptor."""

    def once() -> None:
        made = Cancellable()
        made.get_fd()
        made.cancel()
        made.release_fd()

    yield once


class Crowd:
    """Operations that wait for a descriptor, each on a connection of its own, and the Cancellable that ends them."""

    def __init__(self) -> None:
        self.cancellable = Cancellable()
        self.peers: list[UnixConnection] = []
        self.futures: list[Any] = []
        self.ended: list[Any] = []

    def start_thread(self) -> None:
        """Have the library's thread wait, and stay there, as one operation does not end."""
        self.start_future(self.connection())
        a, b = pair()
        called = threading.Event()
        a.send_credentials_async().add_done_callback(lambda _future: called.set())
        called.wait()
        b.close()
        # CPython 3.13 no longer counts the bytecodes of a function that a thread without a tracer runs meanwhile.
        time.sleep(WAIT)

    def connection(self) -> UnixConnection:
        """Return another connection, of which nobody uses the other end."""
        ours, theirs = pair()
        self.peers.append(theirs)
        return ours

    def start(self, connection: UnixConnection) -> None:
        """Start an operation with a callback."""
        connection.receive_fd_async(self.cancellable, self.end)

    def end(self, _connection: object, result: Any) -> None:
        """Be told that an operation has ended."""
        self.ended.append(result)

    def start_future(self, connection: UnixConnection) -> None:
        """Start an operation that gives a Future."""
        self.futures.append(connection.receive_fd_async(self.cancellable))

    def gather(self) -> None:
        """Let many operations wait that have callbacks."""
        for _ in range(CROWD):
            self.start(self.connection())

    def disperse(self) -> None:
        """End all of them."""
        self.cancellable.cancel()
        while MainContext.default().iteration(False):
            pass


@form("start-callback", keeps=True)
def start_one_of_many() -> Iterator[Any]:
    """Start one of many operations that wait, with a callback, each on a connection of its own."""
    crowd = Crowd()
    yield crowd.connection, crowd.start
    crowd.disperse()


@form("start-callback-no_cancellable", keeps=True)
def start_one_of_many_alone() -> Iterator[Any]:
    """Do the same without a Cancellable."""
    crowd = Crowd()
    kept: list[UnixConnection] = []

    def start(connection: UnixConnection) -> None:
        connection.receive_fd_async(None, crowd.end)
        kept.append(connection)

    yield crowd.connection, start
    for each in kept:
        each.close()
    crowd.disperse()


@form("start-callback-credentials", keeps=True)
def start_credentials_one_of_many() -> Iterator[Any]:
    """Start one of many operations that wait for credentials, with a callback, each on a connection of its own."""
    crowd = Crowd()

    def start(connection: UnixConnection) -> None:
        connection.receive_credentials_async(crowd.cancellable, crowd.end)

    yield crowd.connection, start
    crowd.disperse()


@form("start-callback-same_connection", keeps=True)
def start_behind_others() -> Iterator[Any]:
    """Start one of many operations that wait, with a callback, all of them on one connection."""
    crowd = Crowd()
    one = crowd.connection()
    yield (lambda: one), crowd.start
    crowd.disperse()


@form("start-callback-timeout", keeps=True)
def start_one_of_many_with_timeout() -> Iterator[Any]:
    """Start one of many operations that wait, with a callback, on sockets with a timeout."""
    crowd = Crowd()

    def prepare() -> UnixConnection:
        connection = crowd.connection()
        connection.get_socket().set_timeout(60)
        return connection

    yield prepare, crowd.start
    crowd.disperse()


@form("start-future", is_timed=True, keeps=True)
def start_one_of_many_futures() -> Iterator[Any]:
    """Start one of many operations that wait in the library's thread, each on a connection of its own."""
    crowd = Crowd()
    crowd.start_thread()
    yield crowd.connection, crowd.start_future
    crowd.disperse()


@form("start-callback-with_timeout", is_timed=True, keeps=True)
def start_one_of_many_with_deadline() -> Iterator[Any]:
    """Start one of many operations that wait, with a callback, all with one Cancellable.with_timeout()."""
    crowd = Crowd()
    crowd.cancellable = Cancellable.with_timeout(60)
    # The library's thread looks after the deadline from here on.
    crowd.start_thread()
    yield crowd.connection, crowd.start
    crowd.disperse()


@form("start-asyncio", "asyncio", keeps=True)
def start_one_of_many_in_asyncio() -> Iterator[Any]:
    """Start one of many operations that wait in asyncio, each on a connection of its own."""
    crowd = Crowd()

    async def start(connection: UnixConnection) -> None:
        crowd.start_future(connection)

    yield crowd.connection, start
    crowd.disperse()


@form("cancel-callback")
def cancel_one_of_many() -> Iterator[Any]:
    """Cancel one of many operations that wait, with a callback, and see its end."""
    crowd = Crowd()
    crowd.gather()
    connection = crowd.connection()

    def start() -> Cancellable:
        own = Cancellable()
        connection.receive_fd_async(own, crowd.end)
        return own

    def once(own: Cancellable) -> None:
        own.cancel()
        result = iterate_until(crowd.ended)
        try:
            connection.receive_fd_finish(result)
        except CancelledError:
            return
        raise AssertionError("it was cancelled")

    yield start, once
    crowd.disperse()


@form("cancel-asyncio", "asyncio")
def cancel_one_of_many_in_asyncio() -> Iterator[Any]:
    """Cancel one of many operations that wait in asyncio."""
    crowd = Crowd()
    for _ in range(CROWD):
        crowd.start_future(crowd.connection())
    connection = crowd.connection()

    async def once(future: Any) -> None:
        future.cancel()

    yield connection.receive_fd_async, once
    crowd.disperse()


@form("close-while_waiting")
def close_while_an_operation_waits() -> Iterator[Any]:
    """Close a connection on which an operation with a callback waits, and see its end."""
    crowd = Crowd()

    def start() -> UnixConnection:
        connection = crowd.connection()
        connection.receive_fd_async(None, crowd.end)
        return connection

    def once(connection: UnixConnection) -> None:
        connection.close()
        iterate_until(crowd.ended)
        crowd.peers.pop().close()

    yield start, once


# --- the main loop ---


@form()
def idle() -> Iterator[Any]:
    """Have the default context call a function."""
    called: list[bool] = []

    def call() -> None:
        called.append(True)

    def once() -> None:
        idle_add(call)
        iterate_until(called)

    yield once


@form()
def main_loop() -> Iterator[Any]:
    """Run a main loop until the first callback, of a descriptor that comes later, ends it."""
    a, b = pair()
    loop = MainLoop()

    def call(connection: UnixConnection, result: Any) -> None:
        os.close(connection.receive_fd_finish(result))
        loop.quit()

    def once() -> None:
        b.receive_fd_async(None, call)
        a.send_fd(NULL)
        loop.run()

    yield once
