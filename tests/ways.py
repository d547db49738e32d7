"""
The ways of calling an operation, for tests of what is the same in all of them.

Each way is a function ``do(owner, name, *arguments, cancellable=None, meanwhile=None)``. It returns the result of the
operation, or raises its error. *meanwhile* is called while the operation waits; without it the operation does not have
to wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import inspect
import time
import warnings

import pytest
from helpers import Background, Calls, come_to_rest, settle

from unixconn import PRIORITY_DEFAULT, Cancellable, Error, MainContext, MainLoop, UnixConnection

CANCELLED = (19, "Operation was cancelled")
PENDING = (20, "Stream has outstanding operation")


def optional(name):
    """Return a module that need not be installed, or skip the test; its warnings do not matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name, exc_type=ImportError)


def iterate(until, context=None):
    """Iterate a context, the default one if none is given, until a condition holds."""
    context = context or MainContext.default()
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end, "it does not come"
        if not context.iteration(False):
            time.sleep(0.001)


def rest(context=None, times=20):
    """Iterate a context for a while, so that whatever might still come to it is called."""
    context = context or MainContext.default()
    for _ in range(times):
        while context.iteration(False):
            pass
        time.sleep(0.001)


@contextlib.contextmanager
def pushed(context):
    """Make a context the thread's default within a with block."""
    context.push_thread_default()
    try:
        yield context
    finally:
        context.pop_thread_default()


@functools.cache
def _has_int(function):
    return "io_priority" in inspect.signature(function).parameters


def start(owner, name, arguments, cancellable=None, *callback, priority=PRIORITY_DEFAULT, **named):
    """Start an operation: without *callback* the call returns a Future. It has the priority if it takes one."""
    method = getattr(owner, f"{name}_async")
    priorities = (priority,) if _has_int(method.__func__) else ()
    return method(*arguments, *priorities, cancellable, *callback, **named)


def in_thread(function, *arguments):
    """Run a blocking call in a thread; return the thread when the call waits, or has ended."""
    running = Background(function, *arguments)
    come_to_rest(running)
    return running


def blocking(owner, name, *arguments, cancellable=None, meanwhile=None):
    """Do an operation by its blocking method: in another thread, where it has to wait."""
    call = getattr(owner, name)
    if meanwhile is None:
        return call(*arguments, cancellable)
    running = in_thread(call, *arguments, cancellable)
    meanwhile()
    outcome = running.outcome()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def with_cancellable(owner, name, *arguments, cancellable=None, meanwhile=None):
    """Do an operation by its blocking method, which also waits for a Cancellable."""
    return blocking(owner, name, *arguments, cancellable=cancellable or Cancellable(), meanwhile=meanwhile)


def by_callback(owner, name, *arguments, cancellable=None, meanwhile=None):
    """Do an operation with a callback, in the default context."""
    calls = Calls()
    assert start(owner, name, arguments, cancellable, calls, "data") is None
    assert calls == []
    if meanwhile is not None:
        meanwhile()
        # What ends an operation does not call its callback itself.
        assert calls == []
    iterate(lambda: calls)
    [(source, result, data)] = calls
    assert (source, data) == (owner, "data")
    return getattr(owner, f"{name}_finish")(result)


def by_future(owner, name, *arguments, cancellable=None, meanwhile=None):
    """Do an operation with a Future, where no event loop runs."""
    future = start(owner, name, arguments, cancellable)
    if meanwhile is not None:
        meanwhile()
    return future.result(60)


_loops: dict[str, asyncio.AbstractEventLoop] = {}


@contextlib.contextmanager
def kept_loop():
    """Let `in_asyncio` and `in_uvloop` each run all in one event loop."""
    _loops["asyncio"] = asyncio.new_event_loop()
    with contextlib.suppress(pytest.skip.Exception):
        _loops["uvloop"] = optional("uvloop").new_event_loop()
    try:
        # What the library keeps for a loop is made when something first waits in it.
        a, b = UnixConnection.create_pair()
        with a, b:
            for loop in _loops.values():
                loop.run_until_complete(_one_byte(a, b))
        yield
    finally:
        while _loops:
            _loops.popitem()[1].close()


async def _one_byte(a, b):
    future = a.get_input_stream().read_async(1)
    b.get_socket().send(b"x")
    assert await future == b"x"


def in_asyncio(main):
    """Run a coroutine to its end in asyncio; return its result."""
    return _loops["asyncio"].run_until_complete(main)


def run_in_uvloop(main):
    """Run a coroutine to its end in uvloop; return its result."""
    return _loops["uvloop"].run_until_complete(main)


async def _awaited(owner, name, arguments, cancellable, meanwhile):
    future = start(owner, name, arguments, cancellable)
    await asyncio.sleep(0)
    failed = []
    if meanwhile is not None:

        def call():
            try:
                meanwhile()
            except BaseException as error:  # noqa: BLE001 - it is raised below
                failed.append(error)

        asyncio.get_running_loop().call_soon(call)
    try:
        return await asyncio.wait_for(future, 60)
    finally:
        if failed:
            raise failed[0]


def by_await(owner, name, *arguments, cancellable=None, meanwhile=None):
    """Do an operation by awaiting it in asyncio."""
    return in_asyncio(_awaited(owner, name, arguments, cancellable, meanwhile))


def in_uvloop(owner, name, *arguments, cancellable=None, meanwhile=None):
    """Do an operation by awaiting it in uvloop."""
    return run_in_uvloop(_awaited(owner, name, arguments, cancellable, meanwhile))


def in_trio(owner, name, *arguments, cancellable=None, meanwhile=None):
    """Do an operation by awaiting it in trio."""
    trio = optional("trio")

    async def later():
        if meanwhile is not None:
            await trio.sleep(0)
            meanwhile()

    async def wait():
        with trio.fail_after(60):
            return await future

    async def main():
        nonlocal future
        future = start(owner, name, arguments, cancellable)
        outcomes = []

        async def awaited():
            try:
                outcomes.append((await wait(), None))
            except Error as error:
                outcomes.append((None, error))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(awaited)
            nursery.start_soon(later)
        return outcomes[0]

    future = None
    value, error = trio.run(main)
    if error is not None:
        raise error
    return value


WAYS = {
    "plain": blocking,
    "cancellable": with_cancellable,
    "callback": by_callback,
    "future": by_future,
    "asyncio": by_await,
    "uvloop": in_uvloop,
    "trio": in_trio,
}
"""All of them, for the table of operations."""
BACKGROUND = tuple(way for way in WAYS if way not in {"plain", "cancellable"})
"""Those of the asynchronous form."""


def needs(way):
    """Return the marks of a test of a way: it is skipped where the way's module is not installed."""
    is_missing = way in {"uvloop", "trio"} and importlib.util.find_spec(way) is None
    return pytest.mark.skipif(is_missing, reason=f"{way} is not installed")


def each_loop(*loops):
    """Parametrize `loop` by names of ways."""
    return pytest.mark.parametrize("loop", [pytest.param(loop, marks=needs(loop)) for loop in loops])


each_way = pytest.mark.parametrize(
    "do", [blocking, by_callback, by_future, by_await], ids=["blocking", "callback", "future", "await"]
)
each_background = pytest.mark.parametrize("do", [by_callback, by_future, by_await], ids=["callback", "future", "await"])


def failure(call, *arguments, **named):
    """Return code and text of the Error that a call raises."""
    with pytest.raises(Error) as caught:
        call(*arguments, **named)
    return caught.value.code, caught.value.message


@contextlib.contextmanager
def iterated():
    """Return, for a with statement, a context that another thread iterates."""
    context = MainContext()
    loop = MainLoop(context)
    thread = Background(loop.run)
    try:
        assert settle(loop.is_running)
        yield context
    finally:
        loop.quit()
        assert thread.outcome() is None
