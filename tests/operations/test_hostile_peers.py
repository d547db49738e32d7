"""Peers that send whatever they can, and are stopped and killed: a few games of what tests/hostile.py plays."""

from __future__ import annotations

import socket

import pytest
from helpers import PYPY
from hostile import Server, play


@pytest.fixture
def server():
    """The process that makes peers."""
    with Server() as made:
        yield made


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_SEQPACKET], ids=["stream", "seqpacket"])
def test_nothing_is_lost(server, kind):
    """Each byte and each descriptor comes once, in its order, or is told as refused; all ends, and nothing is left."""
    play(server, kind, 8 if PYPY else 25)
