"""send_fd and receive_fd (CONTRACT: UnixConnection)."""

from __future__ import annotations

from helpers import same


def test_passes_an_open_file(pair, null):
    """The receiver gets a descriptor of its own for the same open file, close-on-exec."""
    import os

    a, b = pair
    assert a.send_fd(null) is True
    got = b.receive_fd()
    assert got != null
    assert same(got, null)
    assert not os.get_inheritable(got)
    os.close(got)
