"""Socket: waiting for conditions, timeouts, and signals meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from helpers import SO_PASSCRED, Background, fill, new_socket, settle, signal_at_rest
from internals import handle
from ways import failure, iterate, rest

import unixconn
from unixconn import Cancellable, IOCondition, Socket, UnixConnection, UnixSocketAddress

SOL_SOCKET = socket.SOL_SOCKET
IN, OUT, HUP, ERR, NVAL = IOCondition.IN, IOCondition.OUT, IOCondition.HUP, IOCondition.ERR, IOCondition.NVAL


@pytest.fixture
def storm():
    """Lets SIGALRM come every 10 ms; gives the list that grows by one each time."""
    calls = []
    before = signal.signal(signal.SIGALRM, lambda *_: calls.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    yield calls
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class TestNoSignalOfASend:
    """Where SIGPIPE is kept away by an option of the socket; here another option stands for it."""

    def test_however_it_is_made(self, monkeypatch, listener):
        """Opened, adopted, of a pair, or accepted: each has it."""
        monkeypatch.setattr(handle, "_NO_SIGPIPE", socket.SO_KEEPALIVE)
        client = new_socket()
        client.connect(UnixSocketAddress.new(listener.path))
        one, other = UnixConnection.create_pair()
        made = [client, listener.accept(), one.get_socket(), other.get_socket()]
        made.append(Socket.new_from_fd(os.dup(listener.get_fd())))
        try:
            assert [each.get_option(SOL_SOCKET, socket.SO_KEEPALIVE).value for each in made] == [1] * len(made)
        finally:
            for each in made:
                each.close()

    def test_one_that_is_shut_down(self, monkeypatch):
        """It refuses the option on macOS, which is no reason not to have the socket."""
        monkeypatch.setattr(handle, "_NO_SIGPIPE", -1)
        with pytest.raises(OSError, match="available"), socket.socket(socket.AF_UNIX) as plain:
            plain.setsockopt(SOL_SOCKET, -1, 1)
        new_socket().close()


class TestTimeouts:
    @pytest.mark.parametrize("what", ["receive", "receive_message", "accept", "condition_wait", "send"])
    def test_end_a_wait(self, sockets, listener, what):
        """Whatever waits ends with TIMED_OUT."""
        a, _ = sockets
        if what == "send":
            fill(UnixConnection(socket=a))
        used, call = {
            "receive": (a, lambda: a.receive(9)),
            "receive_message": (a, lambda: a.receive_message([], 0)),
            "condition_wait": (a, lambda: a.condition_wait(IN)),
            "send": (a, lambda: a.send(b"x")),
            "accept": (listener, listener.accept),
        }[what]
        used.set_timeout(1)
        with pytest.raises(TimeoutError) as caught:
            call()
        assert (caught.value.code, caught.value.message) == (24, "Socket I/O timed out")

    @pytest.mark.parametrize("what", ["receive", "condition_wait"])
    def test_signals_neither_stretch_nor_shrink_them(self, sockets, storm, what):
        """A second is a second however many signals come meanwhile (D20)."""
        a, _ = sockets
        a.set_timeout(1)
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            a.receive(9) if what == "receive" else a.condition_wait(IN)
        # The machine may be slow, so the upper end is far off; without an end it would never come.
        assert 1.0 <= time.monotonic() - start < 60.0
        assert len(storm) >= 5

    def test_signals_in_a_timed_wait(self, sockets, storm):
        """The same for a wait with a time of its own."""
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            sockets[0].condition_timed_wait(IN, 1_000_000)
        assert 1.0 <= time.monotonic() - start < 60.0
        assert len(storm) >= 5

    def test_microseconds_of_a_timed_wait(self, sockets):
        """A time of its own comes before the Socket's; -1 means the Socket's."""
        a, _ = sockets
        a.set_timeout(600)
        with pytest.raises(TimeoutError):
            a.condition_timed_wait(IN, 1000)
        with pytest.raises(TimeoutError):
            a.condition_timed_wait(IN, 0)
        a.set_timeout(1)
        with pytest.raises(TimeoutError):
            a.condition_timed_wait(IN, -1)

    def test_the_longest(self, sockets):
        """A timeout of 136 years is waited for as any other."""
        a, b = sockets
        a.set_timeout(2**32 - 1)
        waiting = Background(a.receive, 9)
        assert waiting.is_waiting()
        b.send(b"x")
        assert waiting.outcome() == b"x"
        waiting = Background(a.condition_timed_wait, IN, 2**63 - 1)
        assert waiting.is_waiting()
        b.send(b"x")
        assert waiting.outcome() is True


class TestSignals:
    def test_a_storm_changes_nothing(self, sockets, storm):
        """A call that signals interrupt, with handlers that return, goes on and gets its message."""
        a, b = sockets
        sending = Background(lambda: settle(lambda: len(storm) >= 30) and b.send(b"hello"))
        assert a.receive(9) == b"hello"
        assert sending.outcome() == 5

    def test_children_that_end(self, sockets):
        """SIGCHLD does not end a wait."""
        a, b = sockets
        calls = []
        before = signal.signal(signal.SIGCHLD, lambda *_: calls.append(1))
        try:
            children = [subprocess.Popen([sys.executable, "-S", "-c", ""]) for _ in range(3)]

            def reap():
                for child in children:
                    child.wait()
                settle(lambda: calls)
                b.send(b"hello")

            reaper = Background(reap)
            assert a.receive(9) == b"hello"
            reaper.outcome()
        finally:
            signal.signal(signal.SIGCHLD, before)
        assert calls

    @pytest.mark.parametrize(
        "what", ["receive", "receive_message", "accept", "condition_wait", "send", "receive_fd", "receive_credentials"]
    )
    def test_ctrl_c(self, sockets, listener, what):
        """Ctrl-C ends a blocked call at once, and what comes later is still there (D9)."""
        a, b = sockets
        connection = UnixConnection(socket=a)
        if what == "send":
            fill(connection)
        call = {
            "receive": lambda: a.receive(9),
            "receive_message": lambda: a.receive_message([], 0),
            "condition_wait": lambda: a.condition_wait(IN),
            "send": lambda: a.send(b"x"),
            "accept": listener.accept,
            "receive_fd": connection.receive_fd,
            "receive_credentials": connection.receive_credentials,
        }[what]
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                killer = signal_at_rest(signal.SIGINT)
                call()
        finally:
            killer.join()
            signal.signal(signal.SIGINT, before)
        assert a.get_option(SOL_SOCKET, SO_PASSCRED).value == 0
        if what != "send":
            b.send(b"later")
            assert a.receive(9) == b"later"

    @pytest.mark.parametrize("kind", [TimeoutError, OSError, BlockingIOError, InterruptedError])
    def test_an_exception_out_of_a_handler(self, sockets, kind):
        """It comes out as it is, also if it is of a kind that system calls raise."""

        class Mine(kind):
            pass

        def handler(*_):
            raise Mine

        before = signal.signal(signal.SIGALRM, handler)
        try:
            with pytest.raises(Mine):
                killer = signal_at_rest(signal.SIGALRM)
                sockets[0].receive(9)
        finally:
            killer.join()
            signal.signal(signal.SIGALRM, before)

    def test_closing_in_a_handler(self, sockets):
        """A signal handler may close what its thread waits for."""
        a, _ = sockets
        before = signal.signal(signal.SIGALRM, lambda *_: a.close())
        try:
            killer = signal_at_rest(signal.SIGALRM)
            with pytest.raises(unixconn.ClosedError):
                a.receive(9)
        finally:
            killer.join()
            signal.signal(signal.SIGALRM, before)

    def test_using_it_in_a_handler(self, sockets):
        """A signal handler may send and receive on the socket that its thread waits for."""
        a, b = sockets
        got = []

        def handler(*_):
            b.send(b"xy")
            got.append(a.receive(1))

        before = signal.signal(signal.SIGALRM, handler)
        try:
            killer = signal_at_rest(signal.SIGALRM)
            got.append(a.receive(1))
        finally:
            killer.join()
            signal.signal(signal.SIGALRM, before)
        assert got == [b"x", b"y"]


class TestConditions:
    def test_check(self, sockets):
        """It tells what holds now, and does not wait."""
        a, b = sockets
        assert a.condition_check(IN) == 0
        assert a.condition_check(IN | OUT) == OUT
        b.send(b"x")
        assert a.condition_check(IN) == IN
        assert isinstance(a.condition_check(IN), IOCondition)
        b.close()
        assert a.condition_check(IN) == IN | HUP
        assert a.condition_check(IOCondition(0)) == HUP

    def test_wait(self, sockets):
        """It waits until the condition holds, and takes nothing."""
        a, b = sockets
        assert a.condition_wait(OUT) is True
        waiting = Background(a.condition_wait, IN)
        assert waiting.is_waiting()
        b.send(b"x")
        assert waiting.outcome() is True
        assert a.condition_wait(IN) is True
        assert a.receive(9) == b"x"

    def test_end_of_the_stream(self, sockets):
        """The peer's end is something to read."""
        a, b = sockets
        waiting = Background(a.condition_wait, IN)
        assert waiting.is_waiting()
        b.close()
        assert waiting.outcome() is True

    def test_waits_although_it_does_not_block(self, sockets):
        """A Socket that is set not to block waits here all the same."""
        a, b = sockets
        a.set_blocking(False)
        waiting = Background(a.condition_wait, IN)
        assert waiting.is_waiting()
        b.send(b"x")
        assert waiting.outcome() is True

    def test_is_cancelled(self, sockets):
        """A Cancellable ends it; it wins over a condition that holds."""
        a, b = sockets
        cancellable = Cancellable()
        waiting = Background(a.condition_wait, IN, cancellable)
        assert waiting.is_waiting()
        cancellable.cancel()
        assert isinstance(waiting.outcome(), unixconn.CancelledError)
        b.send(b"x")
        with pytest.raises(unixconn.CancelledError):
            a.condition_wait(IN, cancellable)
        with pytest.raises(unixconn.CancelledError):
            a.condition_timed_wait(IN, 1000, cancellable)

    @pytest.mark.parametrize("wrong", ["IN", None, object()])
    def test_wrong_types(self, sockets, wrong):
        """A condition is a number."""
        a, _ = sockets
        for call in (a.condition_check, a.condition_wait, lambda wrong: a.condition_timed_wait(wrong, 1000)):
            with pytest.raises(TypeError):
                call(wrong)


@pytest.mark.usefixtures("no_linger")
class TestSource:
    """Socket.create_source."""

    def test_says_what_holds(self, sockets, calls):
        """The callback gets the Socket, the condition that has come true, and the data; once, as it returns None."""
        a, b = sockets
        source = b.create_source(IN)
        source.set_callback(calls, "data")
        source.attach()
        rest(times=2)
        assert calls == []
        a.send(b"x")
        iterate(lambda: calls)
        rest(times=2)
        assert calls == [(b, IN, "data")]
        assert source.is_destroyed()

    def test_comes_again(self, sockets):
        """As long as the callback returns a true value, and the condition holds."""
        a, b = sockets
        found = []

        def called(sock, condition):
            found.append((condition, sock.receive(1)))
            return len(found) < 3

        source = b.create_source(IN)
        source.set_callback(called)
        source.attach()
        a.send(b"abcd")
        iterate(source.is_destroyed)
        assert found == [(IN, b"a"), (IN, b"b"), (IN, b"c")]

    @pytest.mark.parametrize("before", [False, True], ids=["after", "before"])
    @pytest.mark.parametrize("again", [False, True])
    def test_of_a_socket_that_is_closed(self, sockets, calls, again, before):
        """NVAL is told once, and not again and again (F12)."""
        _, b = sockets
        source = b.create_source(IN | OUT * before)
        source.set_callback(lambda *arguments: calls(*arguments) or again)
        if before:
            b.close()
        source.attach()
        rest(times=2)
        b.close()
        iterate(lambda: calls)
        rest(times=5)
        assert calls == [(b, NVAL)]
        assert source.is_destroyed() != again
        source.destroy()

    def test_whose_number_is_another_file_s(self, sockets, calls):
        """It does not tell what holds for a file that has the number of the closed Socket (F12)."""
        _, b = sockets
        number = b.get_fd()
        source = b.create_source(IN)
        source.set_callback(lambda *arguments: calls(*arguments) or True)
        source.attach()
        b.close()
        r, w = os.pipe()
        os.dup2(r, number)
        os.write(w, b"x")
        iterate(lambda: calls)
        rest(times=5)
        for fd in {r, w, number}:
            os.close(fd)
        assert calls == [(b, NVAL)]
        source.destroy()

    @pytest.mark.parametrize("how", ["cancel", "time"])
    def test_of_a_cancellable(self, sockets, calls, how):
        """A cancellation is told once, and so is the next one; what holds for the Socket is told in between (F12)."""
        a, b = sockets
        cancellable = Cancellable() if how == "cancel" else Cancellable.with_timeout(0.001)
        source = b.create_source(IN, cancellable)
        source.set_callback(lambda sock, found: calls(found, found and sock.receive(9)) or True)
        source.attach()
        cancellable.cancel()
        iterate(lambda: calls)
        rest(times=5)
        assert calls == [(0, 0)]
        a.send(b"x")
        iterate(lambda: len(calls) > 1)
        rest(times=5)
        assert calls[1:] == [(IN, b"x")]
        cancellable.reset()
        cancellable.cancel()
        iterate(lambda: len(calls) > 2)
        rest(times=5)
        assert calls[2:] == [(0, 0)]
        cancellable.reset()
        a.send(b"y")
        iterate(lambda: len(calls) > 3)
        cancellable.cancel()
        iterate(lambda: len(calls) > 4)
        rest(times=5)
        assert calls[3:] == [(IN, b"y"), (0, 0)]
        source.destroy()
        cancellable.reset()
        cancellable.cancel()
        b.close()
        rest(times=5)
        assert len(calls) == 5

    def test_cancelled_while_it_is_called(self, sockets, calls):
        """A cancellation during the callback is told after it (F12)."""
        a, b = sockets
        cancellable = Cancellable()
        source = b.create_source(IN, cancellable)

        def called(_sock, found):
            cancellable.reset()
            cancellable.cancel()
            return calls(found) or len(calls) < 4

        source.set_callback(called)
        source.attach()
        a.send(b"x")
        iterate(source.is_destroyed)
        assert calls == [(IN,), (0,), (0,), (0,)]

    def test_timeout(self, sockets, calls):
        """When the timeout has passed, those of IN and OUT that were asked for are told, each time (F12)."""
        a, _ = sockets
        fill(UnixConnection(socket=a))
        a.set_timeout(1)
        conditions = [IN, OUT, IN | OUT, IOCondition.PRI]
        start = time.monotonic()
        for condition in conditions:
            source = a.create_source(condition)
            source.set_callback(
                lambda _, found, wanted: calls((wanted, found)) or calls.count(calls[-1]) < 2, condition
            )
            source.attach()
        iterate(lambda: len(calls) == 2 * len(conditions))
        assert [calls.count(((each, each & (IN | OUT)),)) for each in conditions] == [2] * len(conditions)
        assert time.monotonic() - start >= 2

    def test_operation_after_the_timeout(self, sockets):
        """In the callback, what would have to wait is TIMED_OUT; what is there is received (F12)."""
        a, b = sockets
        c = UnixConnection(socket=a)
        a.set_timeout(1)
        found = []

        def called(*_):
            a.set_timeout(3600)  # which whatever waits by mistake waits for
            for blocking in (True, False):
                a.set_blocking(blocking)
                found.append((failure(c.receive_message, 9), failure(c.receive_message_async(9).result, 5)))
                b.send(b"x")
                assert c.receive_message(9).data == b"x"
                b.send(b"x")
                assert c.receive_message_async(9).result(60).data == b"x"
            found.append(Background(c.receive_message, 9).outcome().code)

        source = a.create_source(IN)
        source.set_callback(called)
        source.attach()
        iterate(source.is_destroyed)
        over = (24, "Socket I/O timed out")
        assert found == [(over, over), (over, over), unixconn.IOErrorEnum.WOULD_BLOCK]
        assert failure(c.receive_message, 9)[0] == unixconn.IOErrorEnum.WOULD_BLOCK

    def test_that_is_not_initialized(self, calls):
        """Nothing can hold for a Socket without a descriptor; that is told once (F12)."""
        one = Socket()
        source = one.create_source(IN)
        source.set_callback(lambda *arguments: calls(*arguments) or True)
        source.attach()
        iterate(lambda: calls)
        rest(times=5)
        assert calls == [(one, NVAL)]
        source.destroy()
