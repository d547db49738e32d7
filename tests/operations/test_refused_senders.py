"""Who has sent a message that is refused: the Error has the credentials, as nobody can ask for them any more."""

from __future__ import annotations

import errno
import os
import pickle

import pytest
from helpers import collect, needs_passed_pidfds, open_descriptors, room
from ways import each_way

import unixconn
from unixconn import Error, IOErrorEnum, SocketType, UnixConnection

pytestmark = pytest.mark.usefixtures("event_loop")

REFUSALS = {
    # Dropped descriptors, of which none or one has room.
    "receive_fd": ((), 2, b"x", 0),
    "receive_fds": ((2,), 2, b"x", 1),
    "receive_descriptor": ((), 2, b"x", 1),
    "receive_descriptors": ((None,), 2, b"x", 0),
    "receive_credentials": ((), 2, b"x", 1),
    "receive_message": ((9,), 2, b"data", 1),
    "peek_message": ((9,), 2, b"data", 0),
    # There is room.
    "receive_fd of two": ((), 2, b"x", 9),
    "receive_fd of none": ((), 0, b"x", 9),
    "receive_fds of none": ((None,), 0, b"x", 9),
    "receive_credentials with a descriptor": ((), 1, b"x", 9),
    "receive_message of fewer bytes": ((2,), 1, b"data", 9),
}


@each_way
@pytest.mark.parametrize("kind", [SocketType.STREAM, SocketType.DATAGRAM, SocketType.SEQPACKET], ids=str)
@pytest.mark.parametrize("name", REFUSALS)
def test_who_has_sent_it(null, do, kind, name):
    """F15: the Error has the sender's credentials, also if the kernel has dropped the descriptors."""
    arguments, count, data, free = REFUSALS[name]
    if name == "receive_message of fewer bytes" and kind is SocketType.STREAM:
        pytest.skip("a stream keeps the rest")
    a, b = UnixConnection.create_pair(kind)
    with a, b:
        b.pass_credentials()
        a.send_message(data, [null] * count)
        before = open_descriptors()
        waited = do(b, "peek_message", 9)  # what the way needs descriptors for, it has now
        waited.close()
        with room(free), pytest.raises(Error) as caught:
            do(b, name.split()[0], *arguments)
        assert open_descriptors() == before
        found = caught.value.credentials
        assert (found.get_unix_pid(), found.get_unix_user(), found.source) == (os.getpid(), os.geteuid(), "message")
        assert caught.value.copy().credentials is found


@pytest.mark.parametrize("kind", [SocketType.STREAM, SocketType.SEQPACKET], ids=str)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [("receive_fd", ()), ("receive_fds", ()), ("receive_credentials", ()), ("receive_message", (9,))],
)
def test_nobody_has_sent_the_end(kind, name, arguments):
    """At the end of a stream Linux adds credentials of root, who has sent nothing."""
    a, b = UnixConnection.create_pair(kind)
    with b:
        b.pass_credentials()
        a.close()
        with pytest.raises(unixconn.ClosedError) as caught:
            getattr(b, name)(*arguments)
        assert caught.value.credentials is None


def test_nobody_was_asked_for(pair, null):
    """Without pass_credentials the kernel adds none."""
    a, b = pair
    a.send_message(b"x", [null, null])
    with pytest.raises(Error) as caught:
        b.receive_fd()
    assert caught.value.credentials is None


@needs_passed_pidfds
def test_pidfd(pair, null):
    """A pidfd that came comes with them, and is closed with the Error; it goes into no pickle."""
    a, b = pair
    b.pass_credentials()
    b.pass_pidfds()
    before = open_descriptors()
    a.send_message(b"x", [null, null])
    with pytest.raises(Error) as caught:
        b.receive_fd()
    assert caught.value.credentials.is_alive()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.message, again.code, again.credentials) == (caught.value.message, IOErrorEnum.FAILED, None)
    del caught
    collect()
    assert open_descriptors() == before


def test_exactly(pair, null):
    """What receive_exactly keeps of a message whose descriptors are lost has its sender, too."""
    a, b = pair
    b.pass_credentials()
    a.send_message(b"abc", [null])
    with room(0), pytest.raises(unixconn.TooManyOpenFilesError) as caught:
        b.receive_exactly(6)
    assert (caught.value.partial, caught.value.errno) == (b"abc", errno.EMFILE)
    assert caught.value.credentials.get_unix_pid() == os.getpid()
    a.send_message(b"def")
    with b.receive_exactly(6) as message:
        assert (message.data, message.credentials.get_unix_pid()) == (b"abcdef", os.getpid())
