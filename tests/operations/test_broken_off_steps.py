"""What a signal handler raises while a connection is made of a socket, or a stream is used: at each step in turn."""

from __future__ import annotations

import contextlib
import gc
import random
import signal
import socket

import pytest
from helpers import open_descriptors
from internals import connection, streams

from unixconn import MainContext, Socket, UnixConnection

pytestmark = pytest.mark.breaks_off


class BrokenOffError(Exception):
    """What the handler raises."""


@pytest.fixture
def breaks_off(monkeypatch):
    """Return a function that has a name of a target raise once: before it is called, or after that."""

    def break_off(target, name, *, after=False):
        original = getattr(target, name)

        def broken(*arguments, **named):
            monkeypatch.setattr(target, name, original)
            if after:
                original(*arguments, **named)
            raise BrokenOffError

        monkeypatch.setattr(target, name, broken)

    return break_off


class Detaching(socket.socket):
    """A socket whose detach(), Python code as that of the standard library, is broken off."""

    def __init__(self, *arguments, after, **named):
        super().__init__(*arguments, **named)
        self.after = after

    def detach(self):
        """Raise before the descriptor is let go, or after that."""
        if self.after:
            super().detach()
        raise BrokenOffError


class TestFromSocket:
    @pytest.mark.parametrize("after", [False, True])
    def test_detach(self, after):
        """The descriptor is the socket's still, or closed."""
        gc.collect()
        before = open_descriptors()
        with Detaching(socket.AF_UNIX, after=after) as sock:
            with pytest.raises(BrokenOffError):
                UnixConnection.from_socket(sock)
            assert (sock.fileno() < 0) is after
        gc.collect()
        assert open_descriptors() == before

    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize(("target", "name"), [(connection, "adopt_socket"), (Socket, "_take")])
    def test_later(self, breaks_off, target, name, after):
        """The descriptor is closed."""
        gc.collect()
        before = open_descriptors()
        with socket.socket(socket.AF_UNIX) as sock:
            breaks_off(target, name, after=after)
            with pytest.raises(BrokenOffError):
                UnixConnection.from_socket(sock)
        gc.collect()
        assert open_descriptors() == before

    @pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
    def test_at_random(self):
        """No descriptor is left, whenever it comes."""
        gc.collect()
        before = open_descriptors()
        chance = random.Random(1)

        def handle(*_):
            if armed:
                raise BrokenOffError

        armed: list[bool] = []
        old = signal.signal(signal.SIGALRM, handle)
        for _ in range(2000):
            # Here, and not within the time: what is raised in a destructor goes no further.
            made = None
            sock = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(BrokenOffError):
                try:
                    armed.append(True)
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-6, 60e-6))
                    made = UnixConnection.from_socket(sock)
                finally:
                    armed.clear()
            signal.setitimer(signal.ITIMER_REAL, 0)
            if made is not None:
                made.close()
            sock.close()
        signal.signal(signal.SIGALRM, old)
        del made
        gc.collect()
        assert open_descriptors() == before


class TestStreams:
    @pytest.mark.parametrize("get", ["get_input_stream", "get_output_stream"])
    @pytest.mark.parametrize("method", ["close", "close_async"])
    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("name", ["take_turn_to_close", "_close", "ended", "give_back_turn"])
    def test_closing(self, breaks_off, monkeypatch, get, method, name, after):
        """A stream stays not pending, and can be closed again."""
        one, other = UnixConnection.create_pair()
        with one, other:
            stream = getattr(one, get)()
            breaks_off(stream if name == "_close" else streams, name, after=after)
            with contextlib.suppress(BrokenOffError):
                getattr(stream, method)()
            monkeypatch.undo()  # close_async() does not come to all of them
            while stream.has_pending() and MainContext.default().iteration(False):
                pass
            assert not stream.has_pending()
            assert stream.close()
            assert stream.is_closed()
            assert not one.get_socket().is_closed()

    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("name", ["take_turn", "give_back_turn"])
    def test_an_operation(self, breaks_off, name, after):
        """The next one finds the stream free."""
        one, other = UnixConnection.create_pair()
        with one, other:
            other.get_output_stream().write_all(b"ab")
            stream = one.get_input_stream()
            breaks_off(streams, name, after=after)
            with pytest.raises(BrokenOffError):
                stream.read(1)
            assert not stream.has_pending()
            assert stream.read(1)
