"""
Descriptors that the kernel drops: as the table is full, or, although it has room, as a security module has it do.

No such module can be counted on here. A library that is loaded first lowers the limit of descriptors during each
recvmsg(): the kernel drops the descriptors as it does for the module, and there is room when the call has returned.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import open_descriptors, room
from ways import each_way

import unixconn
from unixconn import TooManyOpenFilesError

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="other systems do not drop them in this way"),
    pytest.mark.usefixtures("event_loop", "no_linger"),
]
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")

LIBRARY = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/resource.h>
#include <sys/socket.h>

int limit = -1;

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    ssize_t (*call)(int, struct msghdr *, int) = dlsym(RTLD_NEXT, "recvmsg");
    struct rlimit before, low;
    if (limit < 0)
        return call(fd, message, flags);
    getrlimit(RLIMIT_NOFILE, &before);
    low = before;
    low.rlim_cur = limit;
    setrlimit(RLIMIT_NOFILE, &low);
    ssize_t count = call(fd, message, flags);
    setrlimit(RLIMIT_NOFILE, &before);
    return count;
}
"""

PROGRAM = """
import ctypes, json, os, sys, tempfile
sys.path.insert(0, sys.argv[1])
import ways
from helpers import open_descriptors
from unixconn import Error, SocketType, UnixConnection

limit = ctypes.c_int.in_dll(ctypes.CDLL(sys.argv[2]), "limit")
METHODS = {
    "receive_fd": (), "receive_fds": (2,), "receive_descriptor": (), "receive_descriptors": (None,),
    "receive_credentials": (), "receive_message": (100,),
}
file = tempfile.TemporaryFile()
sent = file.fileno()
found = []
with ways.kept_loop():
    for way, do in ways.WAYS.items():
        if ways.needs(way).args[0]:
            continue
        for kind in (SocketType.STREAM, SocketType.DATAGRAM, SocketType.SEQPACKET):
            for method, arguments in METHODS.items():
                a, b = UnixConnection.create_pair(kind)
                with a, b:
                    a.send_message(b"the data" if method == "receive_message" else b"x", [sent, sent])
                    spare = os.dup(0)
                    os.close(spare)
                    limit.value = spare + len(found) % 2
                    try:
                        outcome = repr(do(b, method, *arguments))
                    except Error as error:
                        outcome = [type(error).__name__, error.errno, error.__notes__[0], error.partial.decode()]
                    limit.value = -1
                    opened = open_descriptors()
                    a.send_message(b"x", [0])
                    b.receive_message(9).close()
                kept = list(opened.values()).count(opened[sent]) - 1
                found.append([way, kind.name, method, outcome, kept])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The library, compiled."""
    folder = tmp_path_factory.mktemp("library")
    source, made = folder / "limit.c", folder / "limit.so"
    source.write_text(LIBRARY)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
    return made


@needs_gcc
def test_are_no_full_table(library):
    """The Error names the security module, not the limit; the data is in it, and the next message comes (F15)."""
    program = [sys.executable, "-c", PROGRAM, Path(__file__).parents[1], library]
    done = subprocess.run(program, env={**os.environ, "LD_PRELOAD": str(library)}, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    assert len(found) >= 5 * 3 * 6
    for way, kind, method, (name, number, note, partial), kept in found:
        which = (way, kind, method)
        assert (name, number) == ("PermissionDeniedError", errno.EACCES), which
        assert re.match("[01] of the message's descriptors came .* has room, so a security module", note), which
        assert partial == "the data" * (method == "receive_message"), which
        assert kept == 0, which
    assert {note[0] for _, _, _, (_, _, note, _), _ in found} == {"0", "1"}


def test_in_a_full_table():
    """The Error names the limit (F15)."""
    for method, arguments in (("receive_fd", ()), ("receive_credentials", ()), ("receive_message", (9,))):
        a, b = unixconn.UnixConnection.create_pair()
        with a, b:
            a.send_message(b"x", [0])
            with room(0), pytest.raises(TooManyOpenFilesError) as caught:
                getattr(b, method)(*arguments)
        assert "0 of the message's descriptors came" in caught.value.__notes__[0]
        assert "RLIMIT_NOFILE" in caught.value.__notes__[0]


def assert_told(a, b, null, count):
    """Check that the next receive raises, once, that *count* descriptors came, and the one after it has a new one."""
    before = open_descriptors()
    with pytest.raises(TooManyOpenFilesError) as caught:
        b.receive_fd()
    assert f"{count} of the message's descriptors came" in caught.value.__notes__[0]
    left = b.get_socket().get_available_bytes()
    assert b.get_input_stream().read_all(left) == b"y"[:left]
    a.send_fd(null)
    os.close(b.receive_fd())
    assert open_descriptors() == before


@pytest.mark.parametrize(("count", "has_credentials"), [(0, False), (1, True)])
class TestReads:
    """A read returns the bytes; the loss of the descriptors that came with them is told by the next receive (F15)."""

    @pytest.fixture(autouse=True)
    def _sent(self, pair, null, has_credentials):
        a, b = pair
        if has_credentials:
            b.pass_credentials()
        a.send_message(b"x", [null, null])
        a.get_output_stream().write(b"y")

    @each_way
    @pytest.mark.parametrize(
        ("name", "size", "result"),
        [
            ("read", 9, b"x"),
            ("read", 100_000, b"x"),
            ("read_bytes", 9, unixconn.Bytes(b"x")),
            ("read_all", 2, b"xy"),
            ("skip", 1, 1),
        ],
    )
    def test_each_way(self, pair, null, do, count, name, size, result):
        """Nothing of the bytes is lost, and no descriptor stays open."""
        stream, before = pair[1].get_input_stream(), open_descriptors()
        with room(count):
            assert do(stream, name, size) == result
        assert open_descriptors() == before
        assert_told(*pair, null, count)

    @pytest.mark.parametrize("size", [9, 100_000])
    def test_buffer(self, pair, null, count, size):
        """The same of a file object's buffer."""
        buffer = bytearray(size)
        with room(count):
            assert pair[1].get_input_stream().readinto(buffer) == 1
        assert buffer[0] == ord("x")
        assert_told(*pair, null, count)

    def test_lines(self, pair, null, count):
        """The same of a stream that reads ahead."""
        a, b = pair
        a.get_output_stream().write(b"\n")
        stream = unixconn.DataInputStream.new(b.get_input_stream())
        with room(count):
            assert stream.read_line().line == b"xy"
        assert_told(a, b, null, count)

    def test_splice(self, pair, null, count):
        """The same of what copies a stream."""
        a, b = pair
        a.get_socket().shutdown(False, True)
        near, far = unixconn.UnixConnection.create_pair()
        with near, far, room(count):
            assert near.get_output_stream().splice(b.get_input_stream(), unixconn.OutputStreamSpliceFlags.NONE) == 2
        with pytest.raises(TooManyOpenFilesError):
            b.receive_fd()
        with pytest.raises(unixconn.ClosedError):
            b.receive_fd()

    @pytest.mark.parametrize("name", ["receive", "receive_from"])
    def test_socket(self, pair, null, count, name):
        """The same of a Socket."""
        with room(count):
            found = getattr(pair[1].get_socket(), name)(9)
        assert found in (b"x", (b"x", None))
        assert_told(*pair, null, count)

    def test_refused(self, pair, count):
        """Nobody is told of what is refused: it would have been closed."""
        a, b = pair
        b.refuse_fds()
        with room(count):
            assert b.get_input_stream().read(9) == b"x"
        a.send_message(b"z")
        assert b.get_input_stream().read_all(2) == b"yz"
        a.close()
        with pytest.raises(unixconn.ClosedError):
            b.receive_fd()


def test_limit_of_losses(pair, null):
    """Messages with lost descriptors count as one each: a peer cannot make this process keep any number (S6)."""
    a, b = pair
    stream = b.get_input_stream()
    for _ in range(254):
        a.send_fd(null)
        with room(0):
            stream.read(9)
    a.send_fd(null)
    with pytest.raises(TooManyOpenFilesError, match="refuse_fds"):
        stream.read(9)
    with pytest.raises(TooManyOpenFilesError, match="RLIMIT_NOFILE"):
        b.receive_fd()
    assert stream.read(9) == bytes(1)
