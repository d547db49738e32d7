"""A loop that a callback runs."""

from __future__ import annotations

from helpers import close
from ways import iterate

from unixconn import MainContext


def test_completed_after_a_nested_loop(pair, calls):
    """A loop that a callback runs does not say that this callback has come back."""
    a, b = pair
    seen = []

    def received(connection, result):
        while MainContext.default().iteration(False):
            pass
        seen.append(result.get_completed())
        close(connection.receive_fd_finish(result))
        calls(connection, result)

    b.receive_fd_async(None, received)
    a.send_fd(0)
    iterate(lambda: calls)
    assert seen == [False]
    assert calls[0][1].get_completed()
