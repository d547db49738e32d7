"""INT, TERM and HUP end every command, at any moment."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from command_line.commands import Lines, connected, crowded, end_of, received, receiving, send, started
from helpers import settle

NUMBERS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
a_signal = pytest.mark.parametrize(("number", "code"), NUMBERS[1:2], ids=["TERM"])
each_signal = pytest.mark.parametrize(("number", "code"), NUMBERS, ids=["INT", "TERM", "HUP"])


def blocks(process):
    """Wait until the main thread of *process* blocks the signals, as it does when the command has begun."""

    def is_blocking():
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8", errors="replace")
        [mask] = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigBlk:")]
        return mask >> (signal.SIGTERM - 1) & 1

    assert settle(is_blocking, 60)


def sleeps(process):
    """Wait until the main thread of *process* waits in the kernel."""

    def is_sleeping():
        stat = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace")
        return stat.rpartition(")")[2].split()[0] == "S"

    blocks(process)
    assert settle(lambda: all(is_sleeping() for _ in range(20)), 60)


@a_signal
@pytest.mark.parametrize("command", ["send", "peer"])
def test_while_connecting(command, door, file, number, code):
    """S4: to a server whose queue is full, and that accepts nobody."""
    with crowded(door), started(command, door, *[file] * (command == "send")) as process:
        sleeps(process)
        process.send_signal(number)
        assert end_of(process) == (code, "", "")


@a_signal
def test_while_waiting_for_a_receiver(door, file, number, code):
    """S4: with --wait."""
    with started("send", "--verbose", "--wait", "inf", door, file) as sender:
        assert sender.stderr.readline().startswith("unixconn: waiting")
        sender.send_signal(number)
        assert end_of(sender) == (code, "", "")


@a_signal
def test_while_a_receiver_is_slow(door, folder, number, code):
    """S4: sending more than the receiver's queue has room for, by their names."""
    file = folder / ("x" * 255)
    file.write_text("")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(door))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.listen()
        with started("send", door, *["./" + file.name] * 900, cwd=folder) as sender, server.accept()[0]:
            sleeps(sender)
            sender.send_signal(number)
            assert end_of(sender) == (code, "", "")


@each_signal
def test_while_copying(door, number, code):
    """S4: what does not end, as a pipe that somebody could still write to."""
    reader, writer = os.pipe()
    with receiving(door) as receiver, connected(door) as sender:
        socket.send_fds(sender, [b"pipe"], [reader])
        assert receiver.stderr.readline() == Lines(received("pipe"))
        sleeps(receiver)
        receiver.send_signal(number)
        assert end_of(receiver) == (code, "", "")
    os.close(reader)
    os.close(writer)


@a_signal
def test_while_the_reader_of_the_output_is_slow(door, number, code):
    """S4: what has more to copy than the output takes."""
    reader, writer = os.pipe()
    with receiving(door, stdout=writer) as receiver, connected(door) as sender, Path("/dev/zero").open("rb") as zeros:
        os.close(writer)
        socket.send_fds(sender, [b"zeros"], [zeros.fileno()])
        assert receiver.stderr.readline() == Lines(received("zeros"))
        sleeps(receiver)
        receiver.send_signal(number)
        assert end_of(receiver) == (code, None, "")
    os.close(reader)


@each_signal
def test_during_a_flood(door, number, code):
    """S4: while connections come without end."""
    with receiving(door) as receiver:
        for place in range(300):
            connected(door).close()
            if place == 200:
                receiver.send_signal(number)
                break
        assert end_of(receiver)[0] == code
    assert not door.exists()


@each_signal
@pytest.mark.parametrize("arguments", [["receive", "door"], ["demo"]], ids=["receive", "demo"])
def test_at_the_start(arguments, number, code, folder):
    """S4: as soon as the command has begun, or before; the socket file is not left."""
    with started(*arguments, cwd=folder) as process:
        blocks(process)
        process.send_signal(number)
        # A shell shows the same for both. The demonstration has the signals' own actions while it starts a process.
        assert end_of(process)[0] in (code, -number)
    assert not list(folder.iterdir())


def test_the_signals_of_a_command(door, file):
    """S4: COMMAND finds none of them blocked."""
    command = ("--", "sh", "-c", "grep SigBlk /proc/self/status; kill -TERM $$")
    with receiving(door, *command) as receiver:
        send(door, file)
        assert end_of(receiver)[:2] == (-signal.SIGTERM, "SigBlk:\t0000000000000000\n")
