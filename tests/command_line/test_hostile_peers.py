"""Peers that stop, fill or mislead a command: sockets that linger, silence, too much of everything."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading

import pytest
from command_line.commands import (
    COMMAND,
    OTHER,
    Lines,
    connected,
    end_of,
    needs_root,
    received,
    receiving,
    send,
)
from helpers import in_child

from unixconn._cli.common import user_name

linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems end the wait of such a socket differently")


@pytest.fixture
def lingering():
    """
    A function that returns a TCP socket whose close() takes an hour, as its data are never read.

    Its attribute `let_go` closes one in a thread: if the command has closed its own, it is this close that waits.
    """
    threads = []
    with contextlib.ExitStack() as sockets:

        def make():
            server = sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            made = sockets.enter_context(socket.create_connection(server.getsockname()))
            sockets.enter_context(server.accept()[0])
            made.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    made.send(b"x" * 65536)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
            return made

        def let_go(made):
            # By ctypes, as PyPy's own functions would keep all other threads from running meanwhile.
            threads.append(threading.Thread(target=ctypes.CDLL(None).close, args=(made.detach(),)))
            threads[-1].start()

        make.let_go = let_go
        yield make
    for each in threads:
        each.join()


def stranger(door, sockets, connections=1):
    """Send *sockets*, one on a connection, as another user, and end."""

    def child():
        os.setgid(OTHER)
        os.setuid(OTHER)
        for each in sockets:
            connection = connected(door)
            # It may be refused by now.
            with contextlib.suppress(OSError):
                socket.send_fds(connection, [b"\0"], [each.fileno()])
        return True

    assert in_child(child) == 0
    for each in sockets:
        each.close()


@contextlib.contextmanager
def stopped(process):
    """Have *process* stopped in the block, so that all that is done there has come when it goes on."""
    process.send_signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    yield
    process.send_signal(signal.SIGCONT)


# --- sockets that linger ----------------------------------------------------------------------------------------------


@linux
@needs_root
def test_a_stranger_s_sockets_do_not_delay_others(door, file, lingering):
    """S4: what comes with a refused connection lingers in its queue; an allowed sender is served."""
    with receiving(door, "--allow-uid", 1) as receiver:
        with stopped(receiver):
            stranger(door, [lingering() for _ in range(3)])
        send(door, file)
        code, output, errors = end_of(receiver)
        assert (code, output) == (0, "Dear reader\n")
        assert errors.count(f"of user {user_name(OTHER)} ({OTHER})\n") == 3


@linux
@needs_root
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_a_signal_while_a_stranger_s_sockets_linger(door, number, code, lingering):
    """S4: one signal is enough, also for those that nobody has accepted yet; the socket file is removed."""
    with receiving(door, "--allow-uid", 1) as receiver:
        with stopped(receiver):
            stranger(door, [lingering() for _ in range(3)])
            receiver.send_signal(number)
        assert end_of(receiver)[:2] == (code, "")
    assert not door.exists()


@linux
@pytest.mark.parametrize("command", [[], ["--", "cat", "/dev/fd/3"]], ids=["copy", "command"])
def test_more_than_expected_that_lingers(door, file, command, lingering):
    """S4: what is closed as nobody wants it delays neither the copy nor the command."""
    with receiving(door, *command) as receiver:
        made = lingering()
        with connected(door) as sender, file.open() as opened:
            socket.send_fds(sender, [b"a:b"], [opened.fileno(), made.fileno()])
            lingering.let_go(made)
            assert end_of(receiver)[:2] == (0, "Dear reader\n")


@linux
@pytest.mark.parametrize("command", ["send", "peer"])
def test_a_server_that_sends_what_lingers(command, door, file, lingering):
    """S4: what a server has sent to a command that reads nothing does not delay its end."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(door))
        server.listen()
        arguments = [*COMMAND, command, str(door), *[str(file)] * (command == "send")]
        with subprocess.Popen(arguments, stdout=subprocess.DEVNULL) as process:
            connection, _ = server.accept()
            with connection:
                made = lingering()
                with contextlib.suppress(OSError):  # it may have ended
                    socket.send_fds(connection, [b"\0"], [made.fileno()])
                lingering.let_go(made)
                assert process.wait(60) == 0


# --- connections ------------------------------------------------------------------------------------------------------


def test_silent_connections(door, file):
    """S9: a user's connection too many ends the one that has been silent for longest, and no other user's wait."""
    with contextlib.ExitStack() as sockets, receiving(door) as receiver:
        silent = [sockets.enter_context(connected(door)) for _ in range(70)]
        closed = r"unixconn: closed a connection of process \d+ of .*, as there were too many\n"
        assert [receiver.stderr.readline() == Lines(closed) for _ in range(6)] == [True] * 6
        assert [each.recv(1) for each in silent[:6]] == [b""] * 6
        send(door, file)
        assert end_of(receiver) == (0, "Dear reader\n", Lines(closed, received("letter.txt")))


def test_nothing_is_lost_of_a_connection_too_many(door, file):
    """S9: what it has sent is received before it is closed."""
    with contextlib.ExitStack() as sockets, receiving(door) as receiver, file.open() as opened:
        with stopped(receiver):
            first = sockets.enter_context(connected(door))
            socket.send_fds(first, [b"early"], [opened.fileno()])
            for _ in range(100):
                sockets.enter_context(connected(door))
        code, output, errors = end_of(receiver)
        assert (code, output) == (0, "Dear reader\n")
        assert Lines("(.*\n)*", received("early"), "(.*\n)*") == errors


def limited(number):
    """Make what gives a new process a table of so many descriptors."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def test_a_small_table(door, file):
    """S9: a message with more descriptors than there is room for is refused, and ends nothing but its connection."""
    with receiving(door, preexec_fn=limited(64)) as receiver:
        with connected(door) as sender:
            socket.send_fds(sender, [b"\0"], [0] * 253)
            line = r"unixconn: refused process \d+ of .*: .*; .*: the descriptor table is full: .*\n"
            assert receiver.stderr.readline() == Lines(line)
            assert sender.recv(1) == b""
        send(door, file)
        assert end_of(receiver) == (0, "Dear reader\n", Lines(received("letter.txt")))


def test_silent_connections_and_a_small_table(door, file):
    """S9: they leave room for others' connections and messages."""
    with contextlib.ExitStack() as sockets, receiving(door, preexec_fn=limited(64)) as receiver:
        for _ in range(100):
            sockets.enter_context(connected(door))
        send(door, file)
        code, output, errors = end_of(receiver)
        assert (code, output) == (0, "Dear reader\n")
        assert "Too many open files" not in errors


@needs_root
def test_many_refused_connections(door, file):
    """S9: after ten lines the others are counted."""
    with receiving(door, "--allow-uid", 1) as receiver:

        def child():
            os.setuid(OTHER)
            for _ in range(50):
                connected(door).close()
            return True

        with stopped(receiver):
            assert in_child(child) == 0
        send(door, file)
        line = rf"unixconn: refused process \d+ of user {user_name(OTHER)} \({OTHER}\)\n"
        left_out = "unixconn: left out 40 more lines like these\n"
        assert end_of(receiver) == (0, "Dear reader\n", Lines(line * 10, received("letter.txt"), left_out))


# --- names and data ---------------------------------------------------------------------------------------------------


def named(output):
    """Return the names in the lines of --json."""
    return [json.loads(line)["name"] for line in output.splitlines()]


@linux
def test_data_before_and_between_messages(door, file):
    """S10: what was sent before a message, or after it, is no part of a name, although a stream joins the two."""
    with receiving(door, "--json", "--count", 4) as receiver, connected(door) as sender, file.open() as opened:
        number = opened.fileno()
        with stopped(receiver):
            sender.send(b"early")
            socket.send_fds(sender, [b"a:b"], [number, number])
            sender.send(b"between")
            sender.send(b":")
            socket.send_fds(sender, [b"c"], [number])
            socket.send_fds(sender, [b"d"], [number])
            sender.send(b"late")
        code, output, _ = end_of(receiver)
        assert (code, named(output)) == (0, ["a", "b", "c", "d"])


@pytest.mark.parametrize("size", [1, 1000])
def test_data_without_end(door, file, size):
    """S9: 4096 bytes of a connection may come without descriptors; who sends more is refused."""
    with receiving(door) as receiver:
        with connected(door) as sender, contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(5000 // size):
                sender.send(b"x" * size)
            sender.settimeout(60)
            assert sender.recv(1) == b""
        line = r"unixconn: refused process \d+ of .*: more than 4096 bytes without descriptors\n"
        assert receiver.stderr.readline() == Lines(line)
        send(door, file)
        assert end_of(receiver) == (0, "Dear reader\n", Lines(received("letter.txt")))


SHOW = 'echo "$LISTEN_FDS ${#LISTEN_FDNAMES}"'


@pytest.mark.parametrize(("stack", "shown"), [(None, f"600 {600 * 218 - 1}\n"), (2**18, "600 0\n")])
def test_long_names(door, null, stack, shown):
    """S9: exec takes 128 KiB of names; each is cut off so that all are shorter, or left out where that is too long."""

    def limit():
        limited(1024)()
        if stack is not None:
            resource.setrlimit(resource.RLIMIT_STACK, (stack, stack))

    command = ("--count", 600, "--", "sh", "-c", SHOW)
    with receiving(door, *command, preexec_fn=limit) as receiver, connected(door) as sender:
        for _ in range(10):
            socket.send_fds(sender, [b":".join([b"n" * 255] * 60)], [null] * 60)
        code, output, errors = end_of(receiver)
    assert (code, output) == (0, shown)
    assert errors.endswith("are too long with them\n") == (stack is not None)


def test_a_datagram_socket_that_is_shut_down(door):
    """S10: without O_NONBLOCK it has an end of file, and with it the end is found, too."""
    with receiving(door) as receiver:
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with one, other, connected(door) as sender:
            other.send(b"datagram\n")
            one.shutdown(socket.SHUT_RD)
            one.setblocking(False)
            socket.send_fds(sender, [b"x"], [one.fileno()])
        assert end_of(receiver)[:2] == (0, "datagram\n")


# --- denied by a security module --------------------------------------------------------------------------------------

DENIALS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static int denies(const char *what)
{
    return access(what, F_OK) == 0;
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    ssize_t (*call)(int, struct msghdr *, int) = dlsym(RTLD_NEXT, "recvmsg");
    struct rlimit before, low;
    if (denies("data")) {
        errno = EACCES;
        return -1;
    }
    if (!denies("descriptors"))
        return call(fd, message, flags);
    getrlimit(RLIMIT_NOFILE, &before);
    low = before;
    low.rlim_cur = dup(0);
    close(low.rlim_cur);
    setrlimit(RLIMIT_NOFILE, &low);
    ssize_t count = call(fd, message, flags);
    setrlimit(RLIMIT_NOFILE, &before);
    return count;
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    int (*call)(int, struct sockaddr *, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4");
    if (!denies("connection"))
        return call(fd, address, size, flags);
    close(call(fd, address, size, flags));
    unlink("connection");
    errno = EACCES;
    return -1;
}
"""
"""A library that is loaded first. What is denied are files of the working directory; see operations/test_denied.py."""


@linux
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
def test_what_is_denied_of_one_sender(door, file, tmp_path):
    """F15: a denied descriptor, denied data or a denied connection of one sender does not end it for the others."""
    (tmp_path / "denials.c").write_text(DENIALS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "denials.so", "denials.c", "-ldl"], cwd=tmp_path, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(tmp_path / "denials.so")}
    with receiving(door, "--count", 2, cwd=tmp_path, env=environment) as receiver:
        send(door, file)
        assert re.fullmatch(received(file.name, 1, 2), receiver.stderr.readline())
        lines = []
        for what in ("descriptors", "data", "connection"):
            (tmp_path / what).touch()
            with connected(door) as client:
                with contextlib.suppress(BrokenPipeError):  # it is closed already
                    socket.send_fds(client, [b"x"], [0])
                lines.append(receiver.stderr.readline())
                with contextlib.suppress(ConnectionResetError):
                    assert not client.recv(1)
            (tmp_path / what).unlink(missing_ok=True)
        send(door, file)
        code, _, errors = end_of(receiver)
    assert code == 0, errors
    assert "so a security module" in lines[0]
    assert all("Permission denied" in line for line in lines), lines
    assert re.fullmatch(received(file.name, 2, 2), errors)
