"""Fixtures of the tests of event loops."""

from __future__ import annotations

import sys

import internals
import pytest
from loops.event_loops import LOOPS, OnAnyio, OnAsyncio, OnTrio, OnUvloop, wait_for_timers
from loops.sources import drain
from ways import optional

from unixconn import MainContext


@pytest.fixture
def pair(pair):
    """Two connections, which are closed when nobody uses them any more."""
    yield pair
    wait_for_timers()


@pytest.fixture
def null(null):
    """A descriptor to send, which is closed when nobody sends it any more."""
    yield null
    wait_for_timers()


@pytest.fixture(params=LOOPS)
def loop(request, libuv):
    """A loop of each kind."""
    kind, _, backend = request.param.partition(" on ")
    if kind == "anyio":
        return OnAnyio(backend)
    return {"asyncio": OnAsyncio, "uvloop": OnUvloop, "trio": OnTrio}[kind]()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request, libuv):
    """Runs a coroutine function in a loop of asyncio's kind."""
    return {"asyncio": OnAsyncio, "uvloop": OnUvloop}[request.param]().run


@pytest.fixture
def trio():
    """The module."""
    return optional("trio")


@pytest.fixture
def quick(monkeypatch):
    """Let the worker go as soon as it has nothing to do."""
    monkeypatch.setattr(internals.thread, "_LINGER", 0.0)


@pytest.fixture
def often():
    """Let the interpreter change threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def default():
    """The default context, which every test leaves without anything to call."""
    context = MainContext.default()
    drain()
    yield context
    left = drain()
    assert (left, dict(context._sources)) == (0, {})


@pytest.fixture
def context():
    """A context of one's own."""
    return MainContext.new()
