"""give_fd: what is sent is closed here, whatever becomes of the call."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import struct

import pytest
from helpers import Background, collect, fill, forked, open_descriptors, same, settle, take
from ways import each_way, failure, iterate

import unixconn
from unixconn import Cancellable, FileDescriptor, IOErrorEnum, Socket, UnixConnection

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")


@pytest.fixture
def file():
    """A file that is like no other."""
    fd = os.memfd_create("given")
    yield fd
    os.close(fd)


def is_open(number):
    """Return whether a file is open under a number."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@each_way
@pytest.mark.parametrize("kind", [int, FileDescriptor])
def test_it_is_gone(pair, file, do, kind):
    """The peer has it, and here it is closed: a number, or what a FileDescriptor had."""
    a, b = pair
    number = os.dup(file)
    given = number if kind is int else FileDescriptor(number)
    assert do(a, "give_fd", given) is True
    assert not is_open(number)
    assert kind is int or given.closed
    with b.receive_descriptor() as found:
        assert same(found.fileno(), file)


@each_way
def test_it_is_this_one_that_waits(pair, file, do):
    """While the peer is slow the operation keeps it, without a duplicate, and its number is not free."""
    a, b = pair
    given = FileDescriptor(os.dup(file))
    number = given.fileno()
    before = len(open_descriptors())

    def meanwhile():
        assert given.closed
        assert is_open(number)
        assert len([each for each in open_descriptors() if same(each, file)]) == 2
        take(b, b.get_socket().get_available_bytes())

    fill(a)
    assert do(a, "give_fd", given, meanwhile=meanwhile) is True
    assert not is_open(number)
    assert settle(lambda: len(open_descriptors()) < before + 3)
    with b.receive_descriptor() as found:
        assert same(found.fileno(), file)


@each_way
@pytest.mark.parametrize("how", ["cancelled", "closed", "closed meanwhile", "cancelled meanwhile", "peer gone", "tcp"])
def test_a_failure_closes_it(pair, file, do, how):
    """Before the first attempt, and while it waits."""
    a, b = pair
    number = os.dup(file)
    cancellable, meanwhile = Cancellable(), None
    if how == "cancelled":
        cancellable.cancel()
    elif how == "closed":
        a.close()
    elif how == "closed meanwhile":
        fill(a)
        meanwhile = a.close
    elif how == "cancelled meanwhile":
        fill(a)
        meanwhile = cancellable.cancel
    elif how == "peer gone":
        b.close()
    else:
        a = UnixConnection(socket=Socket.new_from_fd(socket.socket().detach()))
    code, _ = failure(do, a, "give_fd", number, cancellable=cancellable, meanwhile=meanwhile)
    assert code in (IOErrorEnum.CANCELLED, IOErrorEnum.CLOSED, IOErrorEnum.BROKEN_PIPE, IOErrorEnum.NOT_SUPPORTED)
    assert not is_open(number)
    a.close()


def test_a_wrong_cancellable(pair, file):
    """It has begun, and so it closes the descriptor."""
    a, _ = pair
    for call in (a.give_fd, a.give_fd_async):
        given = FileDescriptor(os.dup(file))
        number = given.fileno()
        with pytest.raises(TypeError, match="cancellable"):
            call(given, 5)
        collect()
        assert given.closed
        assert not is_open(number)


@pytest.mark.parametrize(
    ("wrong", "error"), [(True, TypeError), ("x", TypeError), (-1, ValueError), (2**31, OverflowError)]
)
def test_wrong_arguments(pair, wrong, error):
    """They are named."""
    a, _ = pair
    for call in (a.give_fd, a.give_fd_async):
        with pytest.raises(error, match=str(wrong)):
            call(wrong)


def test_what_has_another_owner(pair, file):
    """A file would close its descriptor as well; a FileDescriptor without one has nothing to give."""
    a, _ = pair
    with os.fdopen(os.dup(file)) as other, pytest.raises(TypeError, match="detach"):
        a.give_fd(other)
    given = FileDescriptor(os.dup(file))
    given.close()
    with pytest.raises(ValueError, match="closed or detached"):
        a.give_fd(given)


@each_way
@pytest.mark.parametrize("waits", [False, True])
def test_a_number_that_is_not_open(pair, do, waits):
    """It is the error of send_fd; and a file that another thread opens under the number is not closed."""
    a, b = pair
    number = 900  # far from those that are given out
    if waits:
        fill(a)
        first = a.send_fd_async(0)
    assert failure(do, a, "give_fd", number) == (IOErrorEnum.FAILED, "dup: Bad file descriptor")
    if waits:
        take(b, b.get_socket().get_available_bytes())
        assert first.result(60) is True


def test_dropped(pair, file):
    """A Future that nobody keeps, and a loop that is closed, close it at the latest."""
    a, _ = pair
    fill(a)
    number = os.dup(file)

    async def main():
        a.give_fd_async(number)
        await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    a.close()
    assert settle(lambda: not is_open(number))


def test_in_a_forked_child(pair, file):
    """The child closes its own copy, and leaves the parent's operation alone."""
    a, b = pair
    fill(a)
    number = os.dup(file)
    future = a.give_fd_async(number)
    os.waitpid(forked(lambda: True), 0)
    take(b, b.get_socket().get_available_bytes())
    assert future.result(60) is True
    assert not is_open(number)


def test_a_socket_that_lingers_goes_on(pair):
    """What a peer has sent is closed without a wait, where it is passed on to nobody."""
    a, b = pair
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 60))
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                client.send(bytes(100000))
        a.send_fd(client)
        client.close()
        given = b.receive_descriptor()
        b.get_socket().set_blocking(False)
        cancelled = Cancellable()
        cancelled.cancel()
        closing = Background(b.give_fd, given, cancelled)
        closing.join(60)
        assert not closing.is_alive()
        assert isinstance(closing.outcome(), unixconn.CancelledError)
        iterate(lambda: given.closed)
