"""What callbacks may do, and what they keep alive; what is the same for all operations is in the table."""

from __future__ import annotations

import gc
import os
import weakref

import pytest
from helpers import PYPY, is_open, settle
from operations.kinds import KINDS, check, finish, make_ready, make_wait, start
from ways import CANCELLED, failure, iterate, rest

import unixconn
from unixconn import Cancellable, MainLoop, UnixConnection

pytestmark = pytest.mark.usefixtures("no_linger")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
class TestCallback:
    def test_holds_the_connection(self, calls, kind, later):
        """The connection lives until its callback was called, and no longer."""
        a, b = UnixConnection.create_pair()
        if later:
            make_wait(b, kind)
        else:
            make_ready(a, kind)
        start(b, kind, None, calls)
        there = weakref.ref(b)
        number = b.get_socket().get_fd()
        del b
        gc.collect()
        assert is_open(number)
        if later:
            make_ready(a, kind)
        iterate(lambda: calls)
        assert calls[0][0] is there()
        check(kind, finish(calls[0][0], kind, calls.result))
        calls.clear()
        assert settle(lambda: (gc.collect(), there() is None and not is_open(number))[1])
        a.close()


class TestCallbackActions:
    def test_starts_others(self, pair):
        """A callback may start the next operation, over and over."""
        a, b = pair
        got = []

        def called(connection, result):
            os.close(connection.receive_fd_finish(result))
            got.append(1)
            if len(got) < 200:
                connection.receive_fd_async(None, called)
                if len(got) % 2:
                    a.send_fd(0)
                else:
                    a.send_fd_async(0, None, None)

        b.receive_fd_async(None, called)
        a.send_fd(0)
        iterate(lambda: len(got) == 200)
        rest(times=3)
        assert len(got) == 200

    def test_is_never_called_inside_of_another(self, pair):
        """What a callback starts, though it can end at once, is called back after it."""
        a, b = pair
        depth, deepest, got = 0, 0, []

        def called(connection, result):
            nonlocal depth, deepest
            depth += 1
            deepest = max(depth, deepest)
            got.append(connection.send_credentials_finish(result))
            if len(got) < 20:
                a.send_credentials_async(None, called)
                rest_of = b.receive_credentials()
                assert rest_of.get_unix_pid() == os.getpid()
            depth -= 1

        a.send_credentials_async(None, called)
        iterate(lambda: len(got) == 20)
        assert deepest == 1

    def test_cancels_others(self, pair, calls):
        """A callback may cancel an operation that waits behind it, and one that is ready too."""
        a, b = pair
        one, other = Cancellable(), Cancellable()
        got = []

        def called(connection, result):
            one.cancel()
            other.cancel()
            got.append(connection.receive_fd_finish(result))

        b.receive_fd_async(None, called)
        b.receive_fd_async(one, calls)
        a.receive_fd_async(other, calls)
        a.send_fd(0)
        iterate(lambda: len(calls) == 2)
        assert {failure(connection.receive_fd_finish, result) for connection, result in calls} == {CANCELLED}
        os.close(got[0])

    @pytest.mark.parametrize("how", ["close", "close_async"])
    def test_closes_its_own_connection(self, pair, calls, how):
        """What still waits there ends with CLOSED, and the result at hand stays good."""
        a, b = pair
        got = []

        def called(connection, result):
            if how == "close":
                connection.close()
            else:
                connection.close_async(0, None, None)
            got.append(connection.receive_fd_finish(result))

        b.receive_fd_async(None, called)
        b.receive_fd_async(None, calls)
        b.receive_credentials_async(None, calls)
        a.send_fd(0)
        iterate(lambda: len(calls) == 2)
        os.close(got[0])
        assert failure(b.receive_fd_finish, calls[0][1]) == (18, "Socket is already closed")
        assert failure(b.receive_credentials_finish, calls[1][1]) == (18, "Socket is already closed")
        iterate(b.is_closed)

    def test_runs_a_loop(self, pair, calls):
        """A callback may run a loop of its own, in which others are called."""
        a, b = pair
        got = []

        def called(connection, result):
            got.append(connection.receive_fd_finish(result))
            inner = MainLoop()

            def ends(*arguments):
                calls(*arguments)
                inner.quit()

            connection.receive_fd_async(None, ends)
            a.send_fd(0)
            inner.run()
            got.append(connection.receive_fd_finish(calls.result))

        b.receive_fd_async(None, called)
        a.send_fd(0)
        iterate(lambda: len(got) == 2)
        for fd in got:
            os.close(fd)

    def test_can_wait_itself(self, pair, calls):
        """A callback may use the blocking calls of the same connection."""
        a, b = pair
        got = []

        def called(connection, result):
            got.append(connection.receive_fd_finish(result))
            a.send_fd(0)
            got.append(connection.receive_fd())

        b.receive_fd_async(None, called)
        a.send_fd(0)
        iterate(lambda: len(got) == 2)
        for fd in got:
            os.close(fd)


@pytest.mark.skipif(PYPY, reason="nothing goes there before a collection")
@pytest.mark.parametrize("way", ["callback", "nobody"])
def test_an_error_keeps_nothing(calls, way):
    """A connection goes with its last user, though an operation of it has failed: its frames are not kept."""

    def received(connection, result):
        with pytest.raises(unixconn.PeerClosedError):
            connection.send_credentials_finish(result)
        calls.append(result)

    gc.disable()
    try:
        a, b = UnixConnection.create_pair()
        b.close()
        gone = a.get_socket().weak_ref()
        if way == "callback":
            a.send_credentials_async(None, received)
            iterate(lambda: calls)
        else:
            a.get_output_stream().write_async(b"x", 0, None, None)
        calls.clear()
        del a
        iterate(lambda: gone() is None)
    finally:
        gc.enable()
