"""Closing a connection in the background."""

from __future__ import annotations

import time

import pytest
from helpers import Background
from operations.kinds import KINDS, finish, make_wait, start
from ways import failure, iterate

from unixconn import MainLoop

pytestmark = pytest.mark.usefixtures("no_linger")


class TestClosing:
    def test_close_async(self, pair, calls):
        """The socket is closed at once; the connection says so from the callback on."""
        _, b = pair
        seen = []

        def called(connection, result, word):
            seen.append((connection.is_closed(), connection.has_pending()))
            calls(connection, result, word)

        assert b.close_async(0, None, called, "data") is None
        assert b.get_socket().is_closed()
        assert b.get_socket().get_fd() == -1
        assert not b.is_connected()
        assert not b.is_closed()
        assert b.has_pending()
        iterate(lambda: calls)
        assert seen == [(True, False)]
        [(connection, result, word)] = calls
        assert (connection, word) == (b, "data")
        assert result.get_name() == "g_io_stream_close_async"
        assert b.close_finish(result) is True
        with pytest.raises(ValueError, match="already taken"):
            b.close_finish(result)

    def test_the_peer_sees_it_at_once(self, raw):
        """Nobody has to iterate for that."""
        sock, connection = raw
        connection.close_async(0, None, None)
        assert sock.recv(1) == b""
        assert not connection.is_closed()
        iterate(connection.is_closed)

    def test_streams_are_closed(self, pair, calls):
        """They are closed with the connection."""
        _, b = pair
        streams = [b.get_input_stream(), b.get_output_stream()]
        b.close_async(0, None, calls)
        iterate(lambda: calls)
        assert [stream.is_closed() for stream in streams] == [True, True]
        assert b.close_finish(calls.result) is True

    def test_a_second_one_meanwhile(self, pair, calls):
        """The second is PENDING, close() as well; the first goes its way."""
        _, b = pair
        b.close_async(0, None, calls)
        b.close_async(0, None, calls)
        assert failure(b.close) == (20, "Stream has outstanding operation")
        iterate(lambda: len(calls) == 2)
        assert b.close_finish(calls[0][1]) is True
        assert failure(b.close_finish, calls[1][1]) == (20, "Stream has outstanding operation")
        assert b.is_closed()
        assert b.close() is True

    def test_ends_what_waits(self, pair, calls):
        """Whoever waits on the connection ends with CLOSED, before the one who closes is told."""
        _, b = pair
        order = []
        b.receive_fd_async(None, lambda own, result: order.append(failure(own.receive_fd_finish, result)))
        future = b.receive_credentials_async()
        b.close_async(0, None, lambda own, result: order.append(own.close_finish(result)))
        assert failure(future.result) == (18, "Socket is already closed")
        iterate(lambda: len(order) == 2)
        assert order == [(18, "Socket is already closed"), True]

    def test_arguments(self, pair, calls):
        """What is wrong with them is raised at the call, and nothing is closed."""
        _, b = pair
        for arguments in (("x",), (0, "x"), (0, None, "x"), (0, 5, calls)):
            with pytest.raises(TypeError):
                b.close_async(*arguments)
        with pytest.raises(OverflowError):
            b.close_async(2**31, None, calls)
        assert not b.get_socket().is_closed()
        assert not b.has_pending()

    @pytest.mark.parametrize("kind", KINDS)
    def test_by_another_thread(self, pair, kind):
        """A loop that sleeps is woken, with CLOSED for each."""
        _, b = pair
        make_wait(b, kind)
        found, loop = [], MainLoop()

        def called(connection, result):
            found.append(failure(finish, connection, kind, result)[0])
            if len(found) == 2:
                loop.quit()

        def close():
            time.sleep(0.05)
            b.close()

        for _ in range(2):
            start(b, kind, None, called)
        closer = Background(close)
        loop.run()
        closer.outcome()
        assert found == [18, 18]
