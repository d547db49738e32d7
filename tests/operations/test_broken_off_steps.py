"""What a signal handler raises while a connection is made of a socket, or a stream is used: at each step in turn."""

from __future__ import annotations

import contextlib
import gc
import random
import signal
import socket
import sys
from pathlib import Path

import pytest
from helpers import open_descriptors
from internals import connection, streams

import unixconn
from unixconn import Bytes, Cancellable, MainContext, Socket, UnixConnection

pytestmark = pytest.mark.breaks_off

LIBRARY = str(Path(unixconn.__file__).parent)


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
        """The descriptor is the socket's still, or again."""
        gc.collect()
        before = open_descriptors()
        with Detaching(socket.AF_UNIX, after=after) as sock:
            number = sock.fileno()
            with pytest.raises(BrokenOffError):
                UnixConnection.from_socket(sock)
            assert sock.fileno() == number
            sock.getsockname()
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


class Steps:
    """Raises at each step of the library where a signal handler may, in one call after another."""

    def __init__(self):
        self.last = 0
        self._is_over = False
        self._error = None

    def go_on(self):
        """Whether the last call has not come to its end yet."""
        self.last += 1
        self._error = None
        return not self._is_over

    def break_off(self, call, *arguments):
        """Call *call*, and raise at one step further than the last time."""
        seen = []

        def look(frame, event, argument):
            # No handler runs between a with block and its exit, see lock.py. Raising there would keep a context's lock.
            if getattr(argument, "__name__", "") == "__exit__":
                return
            if event != "return" and frame.f_code.co_filename.startswith(LIBRARY):
                seen.append(event)
                if len(seen) == self.last:
                    sys.setprofile(None)
                    raise BrokenOffError

        try:
            sys.setprofile(look)
            call(*arguments)
            self._is_over = len(seen) < self.last
        except BrokenOffError as error:
            # Kept, and with it the frames: what has been broken off has let go all the same.
            self._error = error
        finally:
            sys.setprofile(None)


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

    @pytest.mark.parametrize("cancellable", [None, Cancellable()], ids=["plain", "cancellable"])
    @pytest.mark.parametrize("count", [1, 100_000])
    @pytest.mark.parametrize("method", ["read", "read_bytes", "read_all", "skip", "readinto"])
    def test_reading(self, null, method, count, cancellable):
        """At each step: the stream is free, what it waits for comes next, and a descriptor is kept or closed."""
        if method in {"read_all", "skip"}:
            count = 1
        argument = bytearray(count) if method == "readinto" else count
        arguments = (argument,) if cancellable is None or method == "readinto" else (argument, cancellable)
        gc.collect()
        before = open_descriptors()
        steps = Steps()
        while steps.go_on():
            one, other = UnixConnection.create_pair()
            with one, other:
                number = one.get_socket().get_fd()
                other.send_fd(null)
                stream = one.get_input_stream()
                steps.break_off(getattr(stream, method), *arguments)
                assert not stream.has_pending()
                other.get_output_stream().write_all(b"abc")
                assert stream.read(3) in (b"abc", b"\0ab", b"\0")
                one.close()
                assert number not in open_descriptors()
        assert steps.last > 10
        gc.collect()
        assert open_descriptors() == before

    @pytest.mark.parametrize("cancellable", [None, Cancellable()], ids=["plain", "cancellable"])
    @pytest.mark.parametrize("size", [3, 1_000_000])
    @pytest.mark.parametrize("method", ["write", "write_bytes", "write_all"])
    def test_writing(self, method, size, cancellable):
        """At each step: the stream is free, and the next write goes on behind what has gone."""
        if method == "write_all":
            size = 3
        argument = Bytes(b"x" * size) if method == "write_bytes" else b"x" * size
        steps = Steps()
        while steps.go_on():
            one, other = UnixConnection.create_pair()
            with one, other:
                number = one.get_socket().get_fd()
                stream = one.get_output_stream()
                steps.break_off(getattr(stream, method), argument, *([] if cancellable is None else [cancellable]))
                assert not stream.has_pending()
                found = other.get_socket().get_available_bytes()
                assert other.get_input_stream().read(found) == b"x" * found
                stream.write(b"abc")
                assert other.get_input_stream().read(3) == b"abc"
                one.close()
                assert number not in open_descriptors()
        assert steps.last > 10

    # What is raised in a destructor goes no further.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("is_there", [False, True])
    @pytest.mark.parametrize("method", ["read", "read_bytes", "read_all", "skip"])
    def test_reading_in_the_background(self, method, is_there):
        """At each step of the start: it has begun, and ends, or it has not, and the stream is free."""
        steps = Steps()
        while steps.go_on():
            one, other = UnixConnection.create_pair()
            with one, other:
                stream, seen = one.get_input_stream(), []
                if is_there:
                    other.get_output_stream().write_all(b"abc")
                steps.break_off(
                    getattr(stream, f"{method}_async"), 3, 0, None, lambda _, each, seen=seen: seen.append(each)
                )
                if not is_there:
                    other.get_output_stream().write_all(b"abc")
                while MainContext.default().iteration(False):
                    pass
                assert not stream.has_pending()
                for each in seen:
                    getattr(stream, f"{method}_finish")(each)
                assert len(seen) < 2
                other.get_output_stream().write_all(b"def")
                assert stream.read_all(3) in ((b"def",) if seen else (b"abc", b"def") if is_there else (b"abc",))
        assert steps.last > 10

    # What is raised in a destructor goes no further.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("method", ["write", "write_bytes", "write_all"])
    def test_writing_in_the_background(self, method):
        """The same for writing."""
        steps = Steps()
        while steps.go_on():
            one, other = UnixConnection.create_pair()
            with one, other:
                stream, seen = one.get_output_stream(), []
                data = Bytes(b"abc") if method == "write_bytes" else b"abc"
                steps.break_off(
                    getattr(stream, f"{method}_async"), data, 0, None, lambda _, each, seen=seen: seen.append(each)
                )
                while MainContext.default().iteration(False):
                    pass
                assert not stream.has_pending()
                assert len(seen) < 2
                stream.write_all(b"def")
                assert other.get_input_stream().read(9) in (b"def", b"abcdef")
        assert steps.last > 10

    @pytest.mark.parametrize("flags", [0, 3])
    def test_splicing(self, flags):
        """At each step: both streams are free, and what was written is the beginning of what was read."""
        steps = Steps()
        while steps.go_on():
            ends = [*UnixConnection.create_pair(), *UnixConnection.create_pair()]
            ends[0].get_output_stream().write_all(b"abc")
            ends[0].get_socket().shutdown(False, True)
            source, target = ends[1].get_input_stream(), ends[2].get_output_stream()
            steps.break_off(target.splice, source, flags)
            assert not source.has_pending()
            assert not target.has_pending()
            ends[2].close()
            assert ends[3].get_input_stream().read_all(9) in (b"", b"abc")
            for each in ends:
                each.close()
        assert steps.last > 10
