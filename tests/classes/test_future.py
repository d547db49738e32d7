"""Future where no event loop runs."""

from __future__ import annotations

import gc
import os
import socket
import threading

import pytest
from helpers import Background, adopt
from loops.event_loops import later, take

import unixconn
from unixconn import Credentials, Future, Task


class TestWithoutALoop:
    def test_exception(self, raw):
        """exception() gives the error that result() raises."""
        peer, connection = raw
        future = connection.receive_fd_async()
        later(peer.send, b"x")
        error = future.exception(60)
        assert isinstance(error, unixconn.Error)
        with pytest.raises(unixconn.Error) as caught:
            future.result()
        assert caught.value is error

    @pytest.mark.parametrize("seconds", [0, 0.02, -0.5])
    def test_result_takes_too_long(self, pair, null, seconds):
        """TimeoutError, as of other futures, and the operation goes on."""
        a, b = pair
        future = b.receive_fd_async()
        for call in (future.result, future.exception):
            with pytest.raises(TimeoutError) as caught:
                call(timeout=seconds)
            assert not isinstance(caught.value, unixconn.Error)
        assert not future.done()
        a.send_fd(null)
        os.close(future.result(60))

    def test_several_threads_wait(self, pair):
        """All of them get the same."""
        a, b = pair
        future = b.receive_credentials_async()
        threads = [Background(future.result, 60) for _ in range(5)]
        assert threads[0].is_waiting()
        a.send_credentials()
        found = {id(each.outcome()) for each in threads}
        assert found == {id(future.result())}

    def test_cancel(self, pair, null):
        """It ends the wait of another thread, and the message stays."""
        a, b = pair
        future = b.receive_fd_async()
        waiting = Background(future.result)
        assert waiting.is_waiting()
        assert future.cancel() is True
        assert isinstance(waiting.outcome(), unixconn.CancelledError)
        a.send_fd(null)
        take(b)

    def test_done_callback(self, pair, reports):
        """Another thread calls it; its exception is reported, and the next one is called."""
        a, b = pair
        called = threading.Event()
        found = []

        def note(future):
            found.append((future, threading.get_ident()))
            called.set()

        future = b.receive_credentials_async()
        future.add_done_callback(lambda _: 1 / 0)
        future.add_done_callback(note)
        a.send_credentials()
        assert called.wait(60)
        assert [each[0] for each in found] == [future]
        assert found[0][1] != threading.get_ident()
        assert [type(each) for each in reports] == [ZeroDivisionError]
        called.clear()
        future.add_done_callback(note)
        assert called.wait(60)
        future.result()

    def test_await_needs_a_loop(self, pair):
        """Elsewhere it raises, and the operation goes on."""
        a, b = pair
        future = b.receive_credentials_async()

        async def wait():
            return await future

        coroutine = wait()
        with pytest.raises(RuntimeError, match="await needs asyncio, trio or Twisted"):
            coroutine.send(None)
        assert not future.done()
        a.send_credentials()
        assert isinstance(future.result(60), Credentials)

    def test_keyboard_interrupt(self, pair, null, alarm_at_rest):
        """A signal handler's exception comes out of result(), and the operation goes on."""
        a, b = pair
        future = b.receive_fd_async()

        def handler(*_):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            alarm_at_rest(handler)
            future.result()
        assert not future.done()
        a.send_fd(null)
        os.close(future.result(60))

    def test_connection_in_the_future(self):
        """A Future keeps the connection that it is of."""
        one, other = socket.socketpair()
        with one:
            future = adopt(other).receive_fd_async()
            gc.collect()
            one.close()
            with pytest.raises(unixconn.ClosedError, match="by the peer"):
                future.result(60)
        future.get_source_object().close()

    def test_subscript(self):
        """Annotations name what it gives."""
        assert Future[int] is not None
        assert issubclass(Future, Task)
