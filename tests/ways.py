"""The ways of calling an operation, for tests of what is the same in all of them."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from helpers import Background, Calls

from unixconn import Error, MainContext, UnixConnection


def iterate(until, context=None):
    """Iterate a context, the default one, until a condition holds."""
    context = context or MainContext.default()
    end = time.monotonic() + 5
    while not until():
        assert time.monotonic() < end, "it does not come"
        if not context.iteration(False):
            time.sleep(0.001)


def by_callback(owner, name, *arguments, cancellable=None, meanwhile=lambda: None):
    """Do an operation, and *meanwhile*, in Gio's way."""
    calls = Calls()
    assert getattr(owner, f"{name}_async")(*arguments, cancellable, calls, "data") is None
    assert calls == []
    meanwhile()
    iterate(lambda: calls)
    [(source, result, data)] = calls
    assert (source, data) == (owner, "data")
    return getattr(owner, f"{name}_finish")(result)


def by_future(owner, name, *arguments, cancellable=None, meanwhile=lambda: None):
    """Do an operation, and *meanwhile*, where no loop runs."""
    future = getattr(owner, f"{name}_async")(*arguments, cancellable)
    meanwhile()
    return future.result(5)


_loops: list[asyncio.AbstractEventLoop] = []


@contextlib.contextmanager
def kept_loop():
    """Let `in_asyncio` run all in one event loop."""
    _loops.append(asyncio.new_event_loop())
    try:
        # What the library keeps for a loop is made when something first waits in it.
        a, b = UnixConnection.create_pair()
        with a, b:
            _loops[0].run_until_complete(_one_byte(a, b))
        yield
    finally:
        _loops.pop().close()


async def _one_byte(a, b):
    future = a.get_input_stream().read_async(1)
    b.get_socket().send(b"x")
    assert await future == b"x"


def in_asyncio(main):
    """Run a coroutine to its end; give its result."""
    return _loops[0].run_until_complete(main)


def by_await(owner, name, *arguments, cancellable=None, meanwhile=lambda: None):
    """Do an operation, and *meanwhile*, in asyncio."""

    async def main():
        future = getattr(owner, f"{name}_async")(*arguments, cancellable)
        await asyncio.sleep(0)
        meanwhile()
        return await asyncio.wait_for(future, 5)

    return in_asyncio(main())


def blocking(owner, name, *arguments, cancellable=None, meanwhile=lambda: None):
    """Do an operation in a thread, and *meanwhile* when it waits."""
    running = Background(getattr(owner, name), *arguments, cancellable)
    running.join(0.05)
    meanwhile()
    outcome = running.outcome()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


each_way = pytest.mark.parametrize(
    "do", [blocking, by_callback, by_future, by_await], ids=["blocking", "callback", "future", "await"]
)


def failure(call, *arguments, **named):
    """Give code and text of the Error that a call raises."""
    with pytest.raises(Error) as caught:
        call(*arguments, **named)
    return caught.value.code, caught.value.message
