"""What the tests of event loops share: one class for each kind of loop, and what tasks do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading

from ways import optional

import unixconn
from unixconn import UnixConnection

LOOPS = ["asyncio", "uvloop", "trio", "anyio on asyncio", "anyio on trio"]


class OnAsyncio:
    """What the tests need of a loop, by asyncio's own."""

    sleep = staticmethod(asyncio.sleep)

    def run(self, function):
        """Run a coroutine function in a new loop."""
        return asyncio.run(function())

    async def together(self, *functions):
        """Run coroutine functions at a time; return their results."""
        return list(await asyncio.gather(*(each() for each in functions)))

    async def start_soon(self, *methods):
        """Run methods as tasks, as users start these; return when they have ended."""
        await asyncio.gather(*[asyncio.create_task(each()) for each in methods])

    async def within(self, seconds, function):
        """Return the result of *function*; "late" if it was cancelled when the time was over."""
        try:
            return await asyncio.wait_for(function(), seconds)
        except asyncio.TimeoutError as error:
            if isinstance(error, unixconn.Error):
                raise
            return "late"


class OnUvloop(OnAsyncio):
    """The same by uvloop."""

    def __init__(self):
        self.uvloop = optional("uvloop")

    def run(self, function):
        """Run a coroutine function in a new loop."""
        with contextlib.closing(self.uvloop.new_event_loop()) as loop:
            return loop.run_until_complete(function())


class OnTrio:
    """The same by trio."""

    def __init__(self):
        self.trio = optional("trio")
        self.sleep = self.trio.sleep

    def run(self, function):
        """Run a coroutine function."""
        return self.trio.run(function)

    async def together(self, *functions):
        """Run coroutine functions at a time; return their results."""
        results = {}

        async def one(index, function):
            results[index] = await function()

        async with self.trio.open_nursery() as nursery:
            for each in enumerate(functions):
                nursery.start_soon(one, *each)
        return [results[index] for index in range(len(functions))]

    async def start_soon(self, *methods):
        """Run methods as tasks, as users start these; return when they have ended."""
        async with self.trio.open_nursery() as nursery:
            for each in methods:
                nursery.start_soon(each)

    async def within(self, seconds, function):
        """Return the result of *function*; "late" if it was cancelled when the time was over."""
        with self.trio.move_on_after(seconds):
            return await function()
        return "late"


class OnAnyio:
    """The same by anyio, on one of the others."""

    def __init__(self, backend):
        optional(backend)
        self.anyio = optional("anyio")
        self.sleep = self.anyio.sleep
        self.backend = backend

    def run(self, function):
        """Run a coroutine function."""
        return self.anyio.run(function, backend=self.backend)

    async def together(self, *functions):
        """Run coroutine functions at a time; return their results."""
        results = {}

        async def one(index, function):
            results[index] = await function()

        async with self.anyio.create_task_group() as group:
            for each in enumerate(functions):
                group.start_soon(one, *each)
        return [results[index] for index in range(len(functions))]

    async def start_soon(self, *methods):
        """Run methods as tasks, as users start these; return when they have ended."""
        async with self.anyio.create_task_group() as group:
            for each in methods:
                group.start_soon(each)

    async def within(self, seconds, function):
        """Return the result of *function*; "late" if it was cancelled when the time was over."""
        with self.anyio.move_on_after(seconds):
            return await function()
        return "late"


def pairs(count):
    """Make pairs of connections, and a stack that closes them."""
    stack = contextlib.ExitStack()
    made = [UnixConnection.create_pair() for _ in range(count)]
    for each in made:
        stack.enter_context(each[0])
        stack.enter_context(each[1])
    return made, stack


_timers = []


def later(call, *arguments):
    """Call in another thread, when this one had time to wait."""
    timer = threading.Timer(0.05, call, arguments)
    timer.start()
    _timers.append(timer)
    return timer


def wait_for_timers():
    """Wait until all calls of `later` have returned, as they use descriptors that the test is about to close."""
    while _timers:
        _timers.pop().join()


def runs_asyncio():
    """Return whether a loop of asyncio's kind runs, and not trio."""
    return asyncio._get_running_loop() is not None


def cancelled_error():
    """Return what a Future raises here that was cancelled by its cancel()."""
    return asyncio.CancelledError if runs_asyncio() else unixconn.CancelledError


async def wait_for(future):
    """Be a coroutine that awaits *future*."""
    return await future


async def taken(future):
    """Await *future*, close the descriptor that it gives, and tell whether it was of /dev/null."""
    fd = await future
    try:
        return os.path.sameopenfile(fd, fd) and os.readlink(f"/proc/self/fd/{fd}") == os.devnull
    finally:
        os.close(fd)


def take(connection):
    """Receive a descriptor without waiting, and close it."""
    connection.get_socket().set_blocking(False)
    try:
        os.close(connection.receive_fd())
    finally:
        connection.get_socket().set_blocking(True)
