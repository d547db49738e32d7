"""Fixtures of the tests by class."""

from __future__ import annotations

import pytest
from helpers import new_socket

from unixconn import SocketType, UnixConnection, UnixSocketAddress


@pytest.fixture
def address(tmp_path):
    """Where to listen."""
    return UnixSocketAddress.new(tmp_path / "s")


@pytest.fixture
def sock():
    """A Unix stream socket without a peer."""
    made = new_socket()
    yield made
    made.close()


@pytest.fixture
def sockets():
    """Two Sockets, each the other's peer."""
    a, b = UnixConnection.create_pair()
    with a, b:
        yield a.get_socket(), b.get_socket()


@pytest.fixture
def receiver(tmp_path):
    """A datagram Socket at the path `receiver.path`."""
    made = new_socket(SocketType.DATAGRAM)
    made.path = str(tmp_path / "receiver")
    made.bind(UnixSocketAddress.new(made.path), False)
    yield made
    made.close()


@pytest.fixture
def listener(tmp_path):
    """A Socket that listens at the path `listener.path`."""
    made = new_socket()
    made.path = str(tmp_path / "listener")
    made.bind(UnixSocketAddress.new(made.path), False)
    made.listen()
    yield made
    made.close()
