"""The pidfds in Credentials that a program drops are closed before the descriptor table is full."""

from __future__ import annotations

import resource
from contextlib import contextmanager

import pytest
from helpers import collect, needs_passed_pidfds, open_descriptors

ROUNDS = 500
pytestmark = needs_passed_pidfds


@contextmanager
def few_descriptors(count):
    """Let this process have no more than *count* descriptors beyond those that are open."""
    collect()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_descriptors()) + 1 + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def of_credentials(a, b):
    """Receive credentials."""
    a.send_credentials()
    return b.receive_credentials()


def of_message(a, b):
    """Receive a message, and close what the program has to close."""
    a.send_message(b"x")
    with b.receive_message(9) as message:
        return message.credentials


def of_peer(_a, b):
    """Ask for the peer's."""
    return b.get_peer_credentials()


@pytest.mark.parametrize("receive", [of_credentials, of_message, of_peer])
def test_dropped(pair, receive):
    """Those of many messages, on an interpreter that collects them when there is enough garbage."""
    a, b = pair
    b.pass_credentials()
    b.pass_pidfds()
    with few_descriptors(120):
        for _ in range(ROUNDS):
            assert receive(a, b).is_alive()
    collect()


def test_kept(pair):
    """Those that the program keeps stay open, and their number doubles between two collections."""
    a, b = pair
    b.pass_pidfds()
    before = len(open_descriptors())
    kept = [of_credentials(a, b) for _ in range(ROUNDS)]
    assert len(open_descriptors()) == before + ROUNDS
    assert all(each.is_alive() for each in kept)
    kept.clear()
    collect()
    assert len(open_descriptors()) == before
