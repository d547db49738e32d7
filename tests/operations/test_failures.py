"""The Errors of Gio.UnixConnection's own four operations, and wrong arguments, in the asynchronous form."""

from __future__ import annotations

import os
import socket
import time

import pytest
from helpers import PASSCRED, Calls, adopt, fill, same
from operations.kinds import KINDS, SENDING, check, finish, make_ready, start
from ways import CANCELLED, failure, iterate, rest

from unixconn import Cancellable, Error, TimedOutError, UnixConnection

pytestmark = pytest.mark.usefixtures("no_linger")


def outcome_of(kind, call, *arguments):
    """Return what a call comes to, in a form that can be compared."""
    try:
        value = call(*arguments)
    except Error as error:
        return type(error), error.domain, error.code, error.message
    if kind == "receive_fd":
        os.close(value)
        return "a descriptor"
    if kind == "receive_credentials":
        return value.get_unix_pid(), value.get_unix_user(), value.source
    return value


def _send_several(peer):
    with socket.socket(fileno=os.dup(peer.get_socket().get_fd())) as other:
        socket.send_fds(other, [b"x"], [0, 0])


SITUATIONS = {
    "closed": lambda _, own: own.close(),
    "the peer has gone": lambda peer, _: peer.close(),
    "the peer has gone with unread data": lambda peer, own: (own.get_socket().send(b"x"), peer.close()),
    "would block": lambda _, own: (fill(own), own.get_socket().set_blocking(False)),
    "a plain byte": lambda peer, _: peer.get_socket().send(b"x"),
    "a descriptor": lambda peer, _: peer.send_fd(0),
    "several descriptors": lambda peer, _: _send_several(peer),
    "credentials": lambda peer, _: peer.send_credentials(),
    "credentials, switched on": lambda peer, own: (own.get_socket().set_option(*PASSCRED, 1), peer.send_credentials()),
    "descriptor, switched on": lambda peer, own: (own.get_socket().set_option(*PASSCRED, 1), peer.send_fd(0)),
}


class TestErrors:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("situation", SITUATIONS)
    def test_are_those_of_the_blocking_call(self, calls, kind, situation):
        """What a call comes to does not depend on its form: the same class, code and text."""
        found = []
        for form in ("blocking", "callback", "future"):
            peer, own = UnixConnection.create_pair()
            with peer, own:
                SITUATIONS[situation](peer, own)
                if form == "blocking":
                    found.append(outcome_of(kind, getattr(own, kind), *([0] if kind == "send_fd" else [])))
                elif form == "callback":
                    start(own, kind, None, calls)
                    iterate(lambda: calls)
                    found.append(outcome_of(kind, finish, own, kind, calls.result))
                else:
                    found.append(outcome_of(kind, start(own, kind).result, 60))
        assert found[0] == found[1] == found[2]

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_a_socket_without_a_peer(self, calls, kind):
        """Sending is NOT_CONNECTED, receiving INVALID_ARGUMENT; it is the result that says so."""
        with adopt(socket.socket(socket.AF_UNIX)) as connection:
            start(connection, kind, None, calls)
            iterate(lambda: calls)
            code, text = failure(finish, connection, kind, calls.result)
        assert code == (45 if kind in SENDING else 13)
        assert text.startswith("Error sending credentials: ") == (kind == "send_credentials")

    @pytest.mark.parametrize(
        ("kind", "send", "expected"),
        [
            ("receive_fd", "a plain byte", (0, "Expecting 1 control message, got 0")),
            ("receive_fd", "several descriptors", (0, "Expecting one fd, but got 2")),
            ("receive_credentials", "a descriptor", (0, "Expecting 1 control message, got 2")),
        ],
    )
    def test_another_message_while_it_waits(self, pair, calls, kind, send, expected):
        """It is consumed, and those who wait behind have their own."""
        a, b = pair
        following = Calls()
        start(b, kind, None, calls)
        start(b, kind, None, following)
        SITUATIONS[send](a, b)
        make_ready(a, kind)
        iterate(lambda: following)
        code, text = failure(finish, b, kind, calls.result)
        assert (code, text.rstrip("\n")) == expected
        check(kind, finish(b, kind, following.result))

    def test_a_timeout_that_is_not_needed(self, pair, calls):
        """An operation that ends in time is not ended once more by its clock, nor is the next one."""
        a, b = pair
        b.get_socket().set_timeout(1)
        while True:
            b.receive_fd_async(None, calls)
            a.send_fd(0)
            iterate(lambda: calls)
            try:
                os.close(b.receive_fd_finish(calls.result))
                break
            except TimedOutError:  # the machine is slow
                os.close(b.receive_fd())
                calls.clear()
        b.get_socket().set_timeout(0)
        following = Calls()
        b.receive_fd_async(None, following)
        time.sleep(1.1)
        rest()
        assert len(calls) == 1
        assert following == []
        b.close()
        iterate(lambda: following)

    def test_a_descriptor_that_is_not_open(self, pair, calls):
        """It is a result, like every Error, and wins over closed. A cancelled Cancellable makes it CANCELLED."""
        a, b = pair
        fd = os.dup(0)
        os.close(fd)
        cancellable = Cancellable()
        cancellable.cancel()
        a.send_fd_async(fd, None, calls)
        a.send_fd_async(fd, cancellable, calls)
        a.close()
        a.send_fd_async(fd, None, calls)
        assert calls == []
        iterate(lambda: len(calls) == 3)
        cancelled = calls.pop(1)
        assert failure(a.send_fd_finish, cancelled[1]) == CANCELLED
        for _, result in calls:
            code, text = failure(a.send_fd_finish, result)
            assert code == 0
            assert text.startswith("dup: Bad file descriptor")
        assert b.get_socket().get_available_bytes() == 0

    def test_over_another_family(self, calls):
        """A socket that would lose the descriptor refuses it (D15)."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            accepted, _ = server.accept()
        with accepted, adopt(client) as connection:
            connection.send_fd_async(0, None, calls)
            connection.receive_credentials_async(None, calls)
            iterate(lambda: len(calls) == 2)
            assert failure(connection.send_fd_finish, calls[0][1])[0] == 15
            assert failure(connection.receive_credentials_finish, calls[1][1])[0] == 15


class TestArguments:
    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            (None, TypeError),
            ("0", TypeError),
            (0.0, TypeError),
            (True, TypeError),
            (-1, ValueError),
            (2**40, OverflowError),
        ],
    )
    def test_a_wrong_descriptor(self, pair, calls, wrong, error):
        """What can not be a descriptor is an error of the call."""
        a, b = pair
        with pytest.raises(error, match="fd"):
            a.send_fd_async(wrong, None, calls)
        rest()
        assert calls == []
        assert b.get_socket().get_available_bytes() == 0

    def test_a_file_object(self, pair, calls):
        """An object with fileno() is a descriptor."""
        a, b = pair
        with open(os.devnull) as file:  # noqa: PTH123 - a file object
            a.send_fd_async(file, None, calls)
            iterate(lambda: calls)
            assert a.send_fd_finish(calls.result) is True
            fd = b.receive_fd()
            assert same(fd, file.fileno())
            os.close(fd)
