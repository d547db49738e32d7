"""send_fake_credentials: what one may claim to be."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct

import pytest
from helpers import SO_PASSCRED, forked, in_child
from namespaces import become

import unixconn
from unixconn import Error, NoSuchProcessError

PASSCRED = (socket.SOL_SOCKET, SO_PASSCRED)
NOBODY = 65534
FAKE = "Error sending credentials: "
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def failure(call, *arguments):
    """Return the Error of a call."""
    with pytest.raises(Error) as caught:
        call(*arguments)
    return caught.value


class TestFake:
    """send_fake_credentials."""

    @pytest.fixture
    def passing(self, pair):
        """A pair whose second has SO_PASSCRED on."""
        pair[1].get_socket().set_option(*PASSCRED, 1)
        return pair

    def test_oneself(self, passing):
        """Everybody may claim to be who it is."""
        a, b = passing
        assert a.send_fake_credentials(os.getpid(), os.geteuid(), os.getegid()) is True
        got = b.receive_credentials()
        assert (got.get_unix_pid(), got.get_unix_user(), got.get_unix_group()) == (
            os.getpid(),
            os.geteuid(),
            os.getegid(),
        )

    def test_on_the_wire(self, raw):
        """One NUL byte with one SCM_CREDENTIALS message."""
        sock, connection = raw
        sock.setsockopt(*PASSCRED, 1)
        connection.send_fake_credentials(os.getpid(), os.getuid(), os.getgid())
        data, [(level, kind, content)], _, _ = sock.recvmsg(10, 1000)
        assert (data, level, kind) == (b"\0", socket.SOL_SOCKET, 2)
        assert struct.unpack("iII", content) == (os.getpid(), os.getuid(), os.getgid())

    @needs_root
    def test_as_root(self, passing):
        """The superuser may claim any process that there is, any user and any group."""
        a, b = passing
        a.send_fake_credentials(os.getppid() or 1, 1234, 2**32 - 2)
        got = b.receive_credentials()
        assert (got.get_unix_pid(), got.get_unix_user(), got.get_unix_group()) == (os.getppid() or 1, 1234, 2**32 - 2)
        assert got.source == "message"

    @needs_root
    def test_as_nobody(self, pair):
        """Another one only itself: PERMISSION_DENIED, with the prefix, and a note of what was claimed."""
        a, _ = pair

        def child():
            become(NOBODY)
            own = (os.getpid(), NOBODY, NOBODY)
            assert a.send_fake_credentials(*own)
            for claimed in ((os.getppid(), *own[1:]), (own[0], 0, own[2]), (own[0], own[1], 0)):
                error = failure(a.send_fake_credentials, *claimed)
                assert (type(error), error.code) == (unixconn.PermissionDeniedError, 14)
                assert error.message == FAKE + "Error sending message: Operation not permitted"
                assert error.__notes__ == ["the claimed credentials were pid {}, uid {}, gid {}".format(*claimed)]
            return True

        assert in_child(child) == 0

    @needs_root
    def test_no_such_process(self, pair):
        """It is an Error of its own kind, that names the pid."""
        pid = forked(lambda: True)
        os.waitpid(pid, 0)
        error = failure(pair[0].send_fake_credentials, pid, 0, 0)
        assert type(error) is NoSuchProcessError
        assert isinstance(error, ProcessLookupError)
        assert (error.code, error.errno) == (0, errno.ESRCH)
        assert error.message == FAKE + "Error sending message: No such process"
        assert error.__notes__ == [f"the claimed credentials were pid {pid}, uid 0, gid 0"]

    @pytest.mark.parametrize(
        ("arguments", "kind", "text"),
        [
            (("1", 2, 3), TypeError, "pid must be an integer, not '1'"),
            ((1, None, 3), TypeError, "uid must be an integer, not None"),
            ((1, 2, b"3"), TypeError, "gid must be an integer, not b'3'"),
            ((0, 2, 3), OverflowError, "pid must be from 1 to 2147483647, not 0"),
            ((2**31, 2, 3), OverflowError, "pid must be from 1 to 2147483647, not 2147483648"),
            ((1, -1, 3), OverflowError, "uid must be from 0 to 4294967294, not -1"),
            ((1, 2**32 - 1, 3), OverflowError, "uid must be from 0 to 4294967294, not 4294967295"),
            ((1, 2, 2**32 - 1), OverflowError, "gid must be from 0 to 4294967294, not 4294967295"),
        ],
    )
    def test_wrong_arguments(self, pair, arguments, kind, text):
        """They are named with their value, at once."""
        for call in (pair[0].send_fake_credentials, pair[0].send_fake_credentials_async):
            with pytest.raises(kind) as caught:
                call(*arguments)
            assert str(caught.value) == text
        with pytest.raises(TypeError, match="cancellable"):
            pair[0].send_fake_credentials(1, 2, 3, 5)

    @needs_root
    def test_awaited_failure(self, pair):
        """The Error is the one of the plain form."""
        pid = forked(lambda: True)
        os.waitpid(pid, 0)

        async def main():
            with pytest.raises(NoSuchProcessError) as caught:
                await pair[0].send_fake_credentials_async(pid, 0, 0)
            return caught.value

        error = asyncio.run(main())
        assert error.message == FAKE + "Error sending message: No such process"
        assert error.__notes__ == [f"the claimed credentials were pid {pid}, uid 0, gid 0"]
