"""Signal handlers that raise in the midst of an operation."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import signal
import sys
import threading
import time

import pytest
from helpers import Calls, close, settle
from internals import RETURN_IS_ATOMIC, handle, main_context, reactor, steps, streams, waiter
from ways import iterate

import unixconn
from unixconn import Cancellable, MainContext, MainLoop, UnixConnection


class StopError(BaseException):
    """What a signal handler raises."""


@pytest.fixture
def interrupted(on_alarm):
    """Runs a function, and has a signal handler raise in the midst of it, after so long."""
    armed = False

    def handler(*_):
        if armed:
            raise StopError

    def run(work, seconds):
        nonlocal armed
        with contextlib.suppress(StopError):
            try:
                armed = True
                # Again, where a destructor has swallowed the first one.
                signal.setitimer(signal.ITIMER_REAL, seconds, 0.01)
                work()
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        # On a busy machine, the next one has perhaps come before that end.
        with contextlib.suppress(StopError):
            armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    on_alarm(handler, 0)
    return run


class TestSignals:
    def test_a_storm(self, many, on_alarm):
        """Signals that come all the time take nothing away from anybody."""
        seen, got = [], Calls()
        on_alarm(lambda *_: seen.append(1), 0.0005, 0.0005)
        for _ in range(2):
            futures = [b.receive_fd_async() for _, b in many]
            for _, b in many:
                b.receive_fd_async(None, got)
            for a, _ in many:
                a.send_fd_async(0, None, None)
                a.send_fd_async(0, None, None)
            iterate(lambda: len(got) == 100)
            for future in futures:
                close(future.result(60))
            for b, result in got:
                close(b.receive_fd_finish(result))
            got.clear()
        assert settle(lambda: len(seen) > 20)


@pytest.mark.breaks_off
# pytest before 8.4 puts its own hook in front of a fixture's.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(
    not RETURN_IS_ATOMIC, reason="an exception can come between the end of a with block and its exit there"
)
class TestRaisingHandlers:
    @pytest.fixture(autouse=True)
    def no_report(self, monkeypatch):
        """A destructor that runs when a signal comes swallows what the handler raises, and reports it in C."""
        monkeypatch.setattr(sys, "unraisablehook", bool)

    def test_a_handler_that_raises(self, many, interrupted):
        """Whatever is interrupted, a loop that sleeps or one that works, goes on afterwards; each result comes."""
        got, futures = {}, []
        chance = random.Random(4)
        context = MainContext.default()
        for a, b in many:
            # In C, so that the result is here or is still to come, wherever an exception strikes.
            b.receive_fd_async(None, got.__setitem__)
            futures.append(a.receive_fd_async())

        def work():
            while len(got) < 100:
                context.iteration(False)

        for _ in range(20):
            interrupted(work, chance.uniform(0.0001, 0.001))
        interrupted(MainLoop().run, 0.01)
        assert not got
        for a, b in many:
            a.send_fd(0)
            b.send_fd(0)
        end = time.monotonic() + 1
        while len(got) < 100 and time.monotonic() < end:
            interrupted(work, chance.uniform(0.00005, 0.0004))
        assert settle(lambda: context.iteration(False) is None or len(got) == 100), len(got)
        for future in futures:
            close(future.result(60))
        for b, result in got.items():
            close(b.receive_fd_finish(result))
        # Gives back what an interrupted one could not.
        context.iteration(False)
        for _ in range(3):
            gc.collect()
        assert len(got) == 100

    def test_a_start_that_is_interrupted(self, many, interrupted):
        """An exception in the midst of a start loses no descriptor, and leaves the line in order."""
        chance = random.Random(5)
        for a, b in many:
            cancellable, started = Cancellable(), []

            def start(b=b, started=started, cancellable=cancellable):
                while True:
                    started.append(b.receive_fd_async(cancellable))

            a.send_fd(0)
            interrupted(start, chance.uniform(0.00001, 0.0002))
            cancellable.cancel()
            last = b.receive_fd_async()
            a.send_fd(0)
            close(last.result(60))
            for future in started:
                with contextlib.suppress(unixconn.CancelledError):
                    close(future.result(0))


def breaks_off(monkeypatch, target, name, kind=KeyboardInterrupt):
    """Have *name* of *target* raise once, in place of being called, as a signal handler would."""
    original = getattr(target, name)

    def broken(*arguments, **named):
        monkeypatch.setattr(target, name, original)
        raise kind

    monkeypatch.setattr(target, name, broken)


class TestBrokenOff:
    """What a signal handler raises comes out, and each operation has its end all the same."""

    @pytest.mark.parametrize("how", ["cancellable", "cancel", "close"])
    def test_an_end_is_told(self, pair, monkeypatch, how):
        """Who was waiting is told of the end, also where that is broken off: nothing would tell of it again."""
        _, b = pair
        cancellable = Cancellable()
        futures = [b.receive_fd_async(cancellable), b.receive_credentials_async(cancellable)]
        end = {"cancellable": cancellable.cancel, "cancel": futures[0].cancel, "close": b.close}[how]
        breaks_off(monkeypatch, waiter, "_to_tell")
        with pytest.raises(KeyboardInterrupt):
            end()
        for each in futures[: 1 if how == "cancel" else 2]:
            with pytest.raises((unixconn.CancelledError, unixconn.ClosedError)):
                each.result(60)
        cancellable.cancel()

    def test_watchers_are_told(self, pair, monkeypatch):
        """A cancel() that is broken off after it has set the flag has told those who wait."""
        _, b = pair
        cancellable = Cancellable()
        future = b.receive_fd_async(cancellable)
        breaks_off(monkeypatch, waiter.Waiter, "_look")
        with pytest.raises(KeyboardInterrupt):
            cancellable.cancel()
        with pytest.raises(unixconn.CancelledError):
            future.result(60)

    def test_a_connection_is_closed(self, pair, monkeypatch):
        """A close() that is broken off at the socket has closed it: a second one does nothing."""
        _, b = pair
        b.get_input_stream()
        breaks_off(monkeypatch, handle.Handle, "close_unguarded")
        with pytest.raises(KeyboardInterrupt):
            b.close()
        assert b.get_socket().is_closed()

    def test_a_connection_is_closed_once_more(self, pair, monkeypatch):
        """Nor does a close() leave it open, or pending, that is broken off before it has begun."""
        _, b = pair
        breaks_off(monkeypatch, b, "_close")
        with pytest.raises(KeyboardInterrupt):
            b.close()
        assert (b.is_closed(), b.has_pending(), b.get_socket().is_closed()) == (True, False, True)

    @pytest.mark.parametrize(
        ("method", "name", "closed"),
        [
            ("close", "_close", True),
            ("close_async", "take_turn_to_close", False),
            ("close_async", "_close", True),
            ("close_async", "ended", True),
        ],
    )
    def test_nothing_stays_pending(self, pair, monkeypatch, method, name, closed):
        """A close() or close_async() that is broken off closes, or may be called again."""
        _, b = pair
        breaks_off(monkeypatch, b if name == "_close" else streams, name)
        with contextlib.suppress(KeyboardInterrupt):
            getattr(b, method)()
        while b.has_pending() and MainContext.default().iteration(False):
            pass
        assert (b.is_closed(), b.has_pending(), b.get_socket().is_closed()) == (closed, False, closed)
        assert b.close()

    def test_a_listener_is_closed(self, tmp_path, monkeypatch):
        """A second close() does what the first one has not come to: the socket is closed, and the file is gone."""
        listener = unixconn.listen(tmp_path / "s")
        for target, name in ((os, "unlink"), (type(listener._entries[0]), "let_go")):
            kept = listener._entries[0].socket
            breaks_off(monkeypatch, target, name)
            with pytest.raises(KeyboardInterrupt):
                listener.close()
            listener.close()
            assert kept.is_closed()
            assert not (tmp_path / "s").exists()
            listener = unixconn.listen(tmp_path / "s")
        listener.close()

    def test_a_service_goes_on(self, tmp_path, monkeypatch):
        """A start() that is broken off does not leave a service that accepts nothing."""
        context, got = MainContext.default(), []
        with unixconn.SocketService() as service:
            service.connect("incoming", lambda _service, connection, _: got.append(connection.close()))
            service.stop()
            service.add_address(
                unixconn.UnixSocketAddress.new(tmp_path / "s"),
                unixconn.SocketType.STREAM,
                unixconn.SocketProtocol.DEFAULT,
                None,
            )
            breaks_off(monkeypatch, service, "_accept_operation")
            with pytest.raises(KeyboardInterrupt):
                service.start()
            with unixconn.connect(tmp_path / "s"):
                assert settle(lambda: not context.iteration(False) and bool(got))
        while context.iteration(False):
            pass

    @pytest.mark.parametrize("target", ["start", "_go_on", "_do", "_begin", "_end", "claim"])
    @pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
    def test_a_stream_is_free_again(self, pair, calls, monkeypatch, kind, target):
        """What is broken off between two steps has told its end, or left what came; and the next one may begin."""
        a, b = pair
        a.get_socket().send(b"abc")
        b.get_socket().set_timeout(60)  # of each step
        stream = b.get_input_stream()
        breaks_off(monkeypatch, steps._Step if target == "claim" else steps.Sequence, target, kind)
        with pytest.raises(kind):
            stream.read_all_async(3, 0, None, calls)
        assert settle(lambda: not (MainContext.default().iteration(False) or stream.has_pending()))
        if target in ("_end", "claim"):
            assert stream.read_all_finish(calls[0][1]) == b"abc"
        else:
            assert stream.read(3) == b"abc"
            for _, result in calls:
                with pytest.raises(unixconn.CancelledError):
                    stream.read_all_finish(result)

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
    def test_several_steps(self, pair, calls, monkeypatch, kind):
        """An operation of several steps does none of them twice, and ends."""
        a, b = pair
        b.get_socket().set_timeout(60)
        stream = b.get_input_stream()
        context = MainContext.default()
        monkeypatch.setattr(sys, "excepthook", lambda *_: None)
        stream.read_all_async(6, 0, None, calls)
        a.get_socket().send(b"abc")
        breaks_off(monkeypatch, waiter.Waiter, "_perform", kind)
        with contextlib.suppress(KeyboardInterrupt):
            while waiter.Waiter._perform.__name__ == "broken":
                context.iteration(False)
        a.get_socket().send(b"def")
        iterate(lambda: calls)
        with pytest.raises(unixconn.CancelledError):
            stream.read_all_finish(calls[0][1])
        assert not stream.has_pending()

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
    def test_a_callback(self, pair, calls, monkeypatch, kind):
        """A callback comes, once."""
        a, b = pair
        context = MainContext()
        monkeypatch.setattr(sys, "excepthook", lambda *_: None)
        context.push_thread_default()
        b.receive_fd_async(None, calls)
        context.pop_thread_default()
        a.send_fd(0)
        breaks_off(monkeypatch, MainContext, "_call_as_default", kind)
        end = time.monotonic() + 60
        while not calls and time.monotonic() < end:
            with contextlib.suppress(KeyboardInterrupt):
                context.iteration(False)
        assert len(calls) == 1
        close(b.receive_fd_finish(calls[0][1]))

    def test_no_context_stays_pushed(self, pair, calls, monkeypatch):
        """The context of a callback is the thread's no longer, though it was broken off just when it became that."""

        class Breaking(list):
            def append(self, each):
                super().append(each)
                if len(broken) < 1:
                    broken.append(each)
                    raise KeyboardInterrupt

        broken = []
        a, b = pair
        context = MainContext()
        context.push_thread_default()
        b.receive_fd_async(None, calls)
        context.pop_thread_default()
        a.send_fd(0)
        monkeypatch.setattr(main_context.pushed_contexts, "entries", Breaking())
        with pytest.raises(KeyboardInterrupt):
            while not broken:
                context.iteration(False)
        assert MainContext.get_thread_default() is None
        iterate(lambda: calls, context)
        close(b.receive_fd_finish(calls[0][1]))

    def test_an_epoll_that_was_stopped(self, monkeypatch):
        """The next wait can be ended from elsewhere, though the end of the last one was broken off."""
        a, b = UnixConnection.create_pair()
        context = MainContext()
        context.push_thread_default()
        try:
            b.receive_fd_async(None, bool)
            timer = threading.Timer(0.05, a.send_fd, (0,))
            timer.start()
            breaks_off(monkeypatch, reactor.Wakeup, "close_unless")
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    context.iteration(True)
            timer.join()
            b.receive_fd_async(None, bool)
        finally:
            context.pop_thread_default()
        waker = threading.Timer(0.1, context.wakeup)
        rescuer = threading.Timer(60, b.close)
        waker.start()
        rescuer.start()
        context.iteration(True)
        rescuer.cancel()
        assert not b.is_closed()
        waker.join()
        b.close()
