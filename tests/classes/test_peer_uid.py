"""Connecting to the socket file of one user alone: the parameter peer_uid of connect()."""

from __future__ import annotations

import os
import socket
import tempfile
from contextlib import contextmanager
from pathlib import Path

import namespaces
import pytest
from helpers import forked, open_descriptors

import unixconn

OTHER = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def path():
    """A name in a folder that everybody may write to, as /tmp is."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder) / "door"


@contextmanager
def listener_of(user, path):
    """
    Have a process of *user* listen on *path*.

    Yields what waits for all that comes with the first connection, until its end, and returns it.
    """
    ready, told = os.pipe()
    answer, answered = os.pipe()

    def listen():
        namespaces.become(user)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        path.chmod(0o777)
        listening.listen()
        os.write(told, b"\0")
        connection, _ = listening.accept()
        data, descriptors, _, _ = socket.recv_fds(connection, 100, 100)
        os.write(answered, b"%d bytes, %d descriptors" % (len(data), len(descriptors)))
        return True

    process = forked(listen)
    try:
        assert os.read(ready, 1) == b"\0"
        yield lambda: os.read(answer, 100)
    finally:
        assert os.waitpid(process, 0)[1] == 0
        for each in (ready, told, answer, answered):
            os.close(each)


@needs_root
def test_another_user(path):
    """S8: who has taken the name gets nothing, and the Error names both users."""
    before = open_descriptors()
    with listener_of(OTHER, path) as outcome:
        with pytest.raises(unixconn.PermissionDeniedError) as caught:
            unixconn.connect(path, peer_uid=0)
        assert caught.value.message == f"Could not connect: uid {OTHER} listens there, and not uid 0"
        assert outcome() == b"0 bytes, 0 descriptors"
    assert open_descriptors() == before


@needs_root
def test_the_user(path):
    """S8: the one that is meant gets what is sent."""
    with listener_of(OTHER, path) as outcome:
        with unixconn.connect(path, peer_uid=OTHER) as connection:
            connection.send_fd(0)
        assert outcome() == b"1 bytes, 1 descriptors"


def test_this_user(path):
    """S8: also the user of this process."""
    with unixconn.listen(path), unixconn.connect(path, peer_uid=os.geteuid()) as connection:
        assert connection.is_connected()


@needs_root
def test_a_user_without_a_number_here(path):
    """S8: in a user namespace the overflow uid stands for all users outside of it, and is none that can be meant."""

    def connect():
        namespaces.enter_user_namespace("0 0 1", "0 0 1")
        with pytest.raises(unixconn.PermissionDeniedError, match="a user without a number in this user namespace"):
            unixconn.connect(path, peer_uid=OTHER)
        return True

    with listener_of(1, path) as outcome:
        code = os.waitstatus_to_exitcode(os.waitpid(forked(connect), 0)[1])
        if code == namespaces.NOT_PERMITTED:
            unixconn.connect(path).close()
        assert outcome() == b"0 bytes, 0 descriptors"
    namespaces.check(code)


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [("0", TypeError), (True, TypeError), (1.0, TypeError), (-1, OverflowError), (2**32 - 1, OverflowError)],
)
def test_no_uid(path, wrong, kind):
    """S8: what is no uid is an error before anything is connected, which names it."""
    with pytest.raises(kind, match=f"peer_uid must be .*{wrong!r}"):
        unixconn.connect(path, peer_uid=wrong)
