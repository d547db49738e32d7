"""SO_PASSCRED while operations receive credentials: it is on while one waits, and then as the user has set it."""

from __future__ import annotations

import contextlib
import os
import random

import pytest
from helpers import PASSCRED, Background, Calls, forked, forks, is_on, settle
from ways import CANCELLED, failure, iterate, rest

import unixconn
from unixconn import Cancellable, CredentialsSource

pytestmark = pytest.mark.usefixtures("no_linger")


class TestPasscred:
    @pytest.mark.parametrize("end", ["message", "another message", "cancelled", "end of file"])
    @pytest.mark.parametrize("before", [False, True], ids=["off", "on"])
    def test_is_restored(self, pair, calls, end, before):
        """It is on while an operation waits, and as it was before when that has ended, however it has."""
        a, b = pair
        b.get_socket().set_option(*PASSCRED, before)
        cancellable = Cancellable()
        b.receive_credentials_async(cancellable, calls)
        assert is_on(b)
        if end == "message":
            a.send_credentials()
        elif end == "another message":
            a.send_fd(0)
        elif end == "cancelled":
            cancellable.cancel()
        else:
            a.close()
        iterate(lambda: calls)
        assert is_on(b) is before

    @pytest.mark.parametrize("before", [False, True], ids=["off", "on"])
    def test_of_one_that_ends_at_once(self, pair, calls, before):
        """The same where there was nothing to wait for, in the callback already."""
        a, b = pair
        b.get_socket().set_option(*PASSCRED, before)
        a.send_credentials()
        b.receive_credentials_async(None, calls)
        assert is_on(b) is before
        iterate(lambda: calls)
        assert b.receive_credentials_finish(calls.result).get_unix_pid() == os.getpid()

    @pytest.mark.parametrize("value", [False, True], ids=["off", "on"])
    def test_the_user_sets_it_meanwhile(self, pair, calls, value):
        """It takes effect when nobody waits any more."""
        a, b = pair
        b.get_socket().set_option(*PASSCRED, not value)
        b.receive_credentials_async(None, calls)
        b.receive_credentials_async(None, calls)
        b.get_socket().set_option(*PASSCRED, value)
        assert is_on(b)
        a.send_credentials()
        iterate(lambda: calls)
        assert is_on(b)
        a.send_credentials()
        iterate(lambda: len(calls) == 2)
        assert is_on(b) is value

    def test_forms_are_counted_together(self, pair, calls):
        """It is on until the last of all has ended: blocking, with a callback, with a Future, with none."""
        a, b = pair
        cancellables = [Cancellable() for _ in range(4)]
        b.receive_credentials_async(cancellables[0], calls)
        future = b.receive_credentials_async(cancellables[1])
        b.receive_credentials_async(cancellables[2], None)
        blocking = Background(b.receive_credentials, cancellables[3])
        assert blocking.is_waiting()
        for index in (1, 3, 0):
            cancellables[index].cancel()
            if index == 3:
                assert isinstance(blocking.outcome(), unixconn.CancelledError)
            assert is_on(b)
        assert future.cancelled()
        cancellables[2].cancel()
        assert not is_on(b)
        rest()
        assert failure(b.receive_credentials_finish, calls.result) == CANCELLED
        a.send_credentials()
        b.receive_credentials()

    @forks
    @pytest.mark.parametrize("how", ["message", "cancelled", "blocking one cancelled"])
    def test_one_leaves_early(self, raw, calls, how):
        """Who still waits gets the true sender of a plain byte, after another receiver has ended (D6)."""
        sock, connection = raw
        first, cancellable = Calls(), Cancellable()
        if how == "blocking one cancelled":
            blocking = Background(connection.receive_credentials, cancellable)
            assert blocking.is_waiting()
        else:
            connection.receive_credentials_async(cancellable, first)
        connection.receive_credentials_async(None, calls)
        if how == "message":
            sock.send(b"x")
            iterate(lambda: first)
            assert connection.receive_credentials_finish(first.result).get_unix_pid() == os.getpid()
        else:
            cancellable.cancel()
            if how == "cancelled":
                iterate(lambda: first)
            else:
                assert isinstance(blocking.outcome(), unixconn.CancelledError)
        pid = forked(lambda: sock.send(b"x"))
        os.waitpid(pid, 0)
        iterate(lambda: calls)
        credentials = connection.receive_credentials_finish(calls.result)
        assert (credentials.get_unix_pid(), credentials.source) == (pid, CredentialsSource.MESSAGE)

    @forks
    def test_the_byte_came_before(self, raw, calls):
        """A byte from before the start has no sender to be had: the answer is the peer, and says so."""
        sock, connection = raw
        os.waitpid(forked(lambda: sock.send(b"x")), 0)
        connection.receive_credentials_async(None, calls)
        iterate(lambda: calls)
        credentials = connection.receive_credentials_finish(calls.result)
        assert (credentials.get_unix_pid(), credentials.source) == (os.getpid(), CredentialsSource.PEER)

    @forks
    def test_never_a_wrong_identity(self, raw):
        """Whoever comes and goes, each byte that a child sends while somebody waits is the child's (D6)."""
        with sending_child(raw[0]) as (pid, send):
            crowd = Crowd(raw[1], send)
            for _ in range(200):
                crowd.play()
            crowd.go_home()
        assert len(crowd.found) > 200
        assert set(crowd.found) == {(pid, CredentialsSource.MESSAGE)}
        assert not is_on(raw[1])


@contextlib.contextmanager
def sending_child(sock):
    """Return the pid of a child, and a function that has it send a plain byte."""
    orders, order = os.pipe()

    def child():
        os.close(order)
        while os.read(orders, 1):
            sock.send(b"x")
        return True

    pid = forked(child)
    os.close(orders)
    try:
        yield pid, lambda: os.write(order, b"x")
    finally:
        os.close(order)
        os.waitpid(pid, 0)


class Crowd:
    """Receivers of credentials on one connection, some of which are cancelled."""

    def __init__(self, connection, send):
        self.connection = connection
        self.chance = random.Random(7)
        self.order = send
        self.found = []
        self.steady = 0
        """How many wait that are never cancelled."""
        self.fickle = []

    def play(self):
        """Let some come, and some go, while bytes come; each of these is received."""
        self.fickle = [Cancellable() for _ in range(self.chance.randint(0, 3))]
        for cancellable in [*self.fickle, None]:
            self.steady += cancellable is None
            self.connection.receive_credentials_async(cancellable, self.called, cancellable is None)
        self.leave(0.3)
        rest(times=self.chance.randint(0, 1))
        self.receive()
        while self.fickle:
            self.leave(1)
        rest(times=1)
        while self.steady and self.chance.random() < 0.6:
            self.receive()

    def receive(self):
        """Have a byte sent, while at least one waits, and others may just be on their way out."""
        expected = len(self.found) + 1
        assert is_on(self.connection)
        self.order()
        if self.chance.random() < 0.5:
            assert settle(lambda: self.connection.get_socket().get_available_bytes())
        self.leave(0.5)
        iterate(lambda: len(self.found) == expected)

    def leave(self, probability):
        """Cancel one, perhaps."""
        if self.fickle and self.chance.random() < probability:
            self.fickle.pop(self.chance.randrange(len(self.fickle))).cancel()

    def called(self, connection, result, steady):
        """Keep what a byte's sender was said to be."""
        self.steady -= steady
        with contextlib.suppress(unixconn.CancelledError):
            credentials = connection.receive_credentials_finish(result)
            self.found.append((credentials.get_unix_pid(), credentials.source))

    def go_home(self):
        """Let all have their byte."""
        while self.steady:
            self.receive()
