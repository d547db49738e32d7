"""Connections of a service that no handler keeps are closed without a collection of the program's own."""

from __future__ import annotations

import sys
import threading

import pytest
from helpers import Background
from ways import iterate

from unixconn import Error, SocketClient, SocketProtocol, SocketService, SocketType, ThreadedSocketService

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")

KINDS = {"incoming": SocketService, "run": ThreadedSocketService}
each_kind = pytest.mark.parametrize("signal", KINDS)


class HandlerError(Exception):
    """What a handler raises."""


def returns(_service, _connection, _source):
    """Take the connection, and do not keep it."""
    return True


def leaves(_service, _connection, _source):
    """Do nothing."""
    return False


def fails(_service, _connection, _source):
    """Raise an exception."""
    raise HandlerError


@pytest.fixture
def told(monkeypatch):
    """Return the classes of the exceptions that are reported. Who keeps these keeps the connection, too."""
    kinds = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: kinds.append(arguments[0]))
    monkeypatch.setattr(sys, "excepthook", lambda kind, *_: kinds.append(kind))
    return kinds


def listening(signal, address, handler):
    """Return a service with a handler."""
    service = KINDS[signal]()
    service.connect(signal, handler)
    service.add_address(address, SocketType.STREAM, SocketProtocol.DEFAULT)
    return service


def ends(address, count):
    """Connect as often, one after the other, and return how often the other end is closed."""
    found = 0
    for _ in range(count):
        with SocketClient(timeout=60).connect(address) as client:
            found += client.get_input_stream().read(1) == b""
    return found


@each_kind
@pytest.mark.parametrize("handler", [returns, leaves, fails])
def test_nobody_keeps_it(address, told, signal, handler):
    """F4: each client sees the end soon."""
    with listening(signal, address, handler):
        running = Background(ends, address, 3)
        iterate(lambda: not running.is_alive())
        assert running.outcome() == 3
    assert told == [HandlerError] * (3 if handler is fails else 0)


@each_kind
def test_kept(address, signal):
    """F4: a connection that a handler keeps stays open, even if others are closed meanwhile."""
    kept = []

    def keep_first(_service, connection, _source):
        if not kept:
            kept.append(connection)

    with listening(signal, address, keep_first), SocketClient(timeout=60).connect(address) as client:
        iterate(lambda: kept)
        running = Background(ends, address, 3)
        iterate(lambda: not running.is_alive())
        assert running.outcome() == 3
        kept[0].send_fd(0)
        client.receive_descriptor().close()
        kept.pop().close()


def test_no_thread(address, monkeypatch, told):
    """F4: where no thread can be had, the connection is closed."""

    def start(_thread):
        raise RuntimeError("can't start new thread")

    with listening("run", address, returns):
        client = SocketClient(timeout=60).connect(address)
        with client, monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            iterate(lambda: told)
            iterate(client.get_input_stream().is_readable)
            assert client.get_input_stream().read(1) == b""
    assert told == [Error]
