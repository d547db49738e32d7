"""Gio.UnixConnection's own four operations, by their names: for tests of what is not the same for others."""

from __future__ import annotations

import os

from helpers import fill, same, take

from unixconn import Credentials

RECEIVING = ["receive_fd", "receive_credentials"]
SENDING = ["send_fd", "send_credentials"]
KINDS = RECEIVING + SENDING


def start(connection, kind, *arguments):
    """Start an operation; what there is to send is standard input."""
    return getattr(connection, f"{kind}_async")(*([0] if kind == "send_fd" else []), *arguments)


def finish(connection, kind, result):
    """Finish it."""
    return getattr(connection, f"{kind}_finish")(result)


def check(kind, value):
    """Fail unless *value* is the result of an operation; close it."""
    if kind == "receive_fd":
        assert same(value, 0)
        os.close(value)
    elif kind == "receive_credentials":
        assert isinstance(value, Credentials)
        assert value.get_unix_pid() == os.getpid()
    else:
        assert value is True


def make_wait(connection, kind):
    """Make an operation wait."""
    if kind in SENDING:
        fill(connection)


def make_ready(peer, kind):
    """Let an operation of the peer's peer go on."""
    if kind == "receive_fd":
        peer.send_fd(0)
    elif kind == "receive_credentials":
        peer.send_credentials()
    else:
        # No more than what was there: what waits goes just now.
        take(peer, peer.get_socket().get_available_bytes())
