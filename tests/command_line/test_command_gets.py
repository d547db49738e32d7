"""A command that is started with the descriptors that have come, and signals meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from command_line.commands import Lines, end_of, received, receiving, send, started

LOOK = """
import json, os
told = {name: value for name, value in os.environ.items() if name.startswith("LISTEN_")}
numbers = [n for n in range(256) if os.path.exists(f"/proc/self/fd/{n}")]
names = [os.readlink(f"/proc/self/fd/{n}") for n in numbers if n != 1 and n != 2]
[ignored] = [int(line.split()[1], 16) for line in open("/proc/self/status") if line.startswith("SigIgn")]
# 32 and 33 are the C library's own: with the first thread it has handlers for them, and exec resets these.
ignored &= ~(3 << 31)
print(json.dumps({"told": told, "pid": os.getpid(), "numbers": numbers, "names": names, "ignored": ignored}))
"""


def looked(receiver):
    """Return what the command has found in its process."""
    code, output, _ = end_of(receiver)
    assert code == 0
    return json.loads(output)


def ignored_by_python():
    """Return what a program of Python's finds ignored, when it was started without anything that is."""
    return json.loads(subprocess.check_output([sys.executable, "-c", LOOK], text=True))["ignored"]


def test_a_command_gets_them_as_from_systemd(door, file, folder):
    """From number 3 on, announced to its own process, and nothing else that was open."""
    (folder / "b:c").write_text("")
    environment = {**os.environ, "LISTEN_FDS": "7", "LISTEN_PIDFDID": "8"}
    with receiving(door, "--count", 2, "--", sys.executable, "-c", LOOK, env=environment) as receiver:
        send(door, file, folder / "b:c")
        assert looked(receiver) == {
            "told": {"LISTEN_FDS": "2", "LISTEN_PID": str(receiver.pid), "LISTEN_FDNAMES": "letter.txt:b_c"},
            "pid": receiver.pid,
            "numbers": [0, 1, 2, 3, 4],
            "names": [os.devnull, str(file), str(folder / "b:c")],
            "ignored": ignored_by_python(),
        }
    assert not door.exists()


def test_numbers_that_are_taken(door, file, folder):
    """What the shell has opened at their numbers gives way, and what it has opened elsewhere stays."""
    (folder / "second").write_text("")

    def occupy():
        os.dup2(0, 4)
        os.dup2(0, 6)
        for number in (4, 6):
            os.set_inheritable(number, True)

    command = ("--count", 3, "--", sys.executable, "-c", LOOK)
    with receiving(door, *command, preexec_fn=occupy, close_fds=False) as receiver:
        send(door, file, folder / "second", file)
        found = looked(receiver)
        assert found["numbers"][:7] == [0, 1, 2, 3, 4, 5, 6]
        assert found["names"][:5] == [os.devnull, str(file), str(folder / "second"), str(file), os.devnull]


def test_a_command_gets_it_as_its_input(door, file):
    """With --stdin it is standard input, and nothing is announced."""
    environment = {**os.environ, "LISTEN_FDS": "7"}
    with receiving(door, "--stdin", "--", sys.executable, "-c", LOOK, env=environment) as receiver:
        send(door, file)
        found = looked(receiver)
        assert (found["told"], found["numbers"], found["names"]) == ({}, [0, 1, 2], [str(file)])


def test_a_command_s_arguments_and_exit_code(door, file):
    """All that stands behind the first -- is the command's, and its exit code is the last word."""
    with receiving(door, "--stdin", "--", "sh", "-c", 'cat; echo "$@"; exit 7', "--", "--json", "--", "x") as receiver:
        send(door, file)
        assert end_of(receiver)[:2] == (7, "Dear reader\n--json -- x\n")


def test_a_command_that_can_not_be_run(door, file, folder):
    """What is no program is told when it is to be run."""
    (folder / "broken").write_bytes(b"\x7fELF nothing")
    (folder / "broken").chmod(0o755)
    with receiving(door, "--", folder / "broken") as receiver:
        send(door, file)
        lines = Lines(received("letter.txt"), f"unixconn: {folder}/broken: Exec format error\n")
        assert end_of(receiver) == (126, "", lines)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["INT", "TERM", "HUP"]
)
def test_a_signal_ends_it(door, number, code):
    """Without a traceback, and without a socket file that is left."""
    with receiving(door) as receiver:
        receiver.send_signal(number)
        assert end_of(receiver) == (code, "", "")
    assert not door.exists()


SIGNAL_THAT_INTERRUPTS_NOTHING = """
import os, threading
from unixconn._cli import ending

ending.end_on_signals()
threading.Timer(0.2, os.kill, (os.getpid(), 15)).start()
# The main thread blocks the signal.
os.read(os.pipe()[0], 1)
"""


def test_a_signal_between_the_last_step_and_the_wait():
    """S4: one that does not interrupt the system call that waits still ends the process."""
    code = [sys.executable, "-c", SIGNAL_THAT_INTERRUPTS_NOTHING]
    assert subprocess.run(code, check=False, timeout=60).returncode == 143


@pytest.mark.parametrize("place", ["bind", "unlink"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=["INT", "TERM", "HUP"])
def test_a_signal_while_the_socket_file_is_made_or_removed(door, file, place, number):
    """One that comes right after, or right before, leaves no file either."""
    program = SIGNAL_AT_THE_FILE.format(place=place, number=int(number), door=str(door))
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as receiver:
        try:
            if place == "unlink":
                send("--wait", 60, door, file)
            assert receiver.communicate(timeout=60) == (None, "")
        finally:
            receiver.kill()
    assert receiver.returncode == 128 + number
    assert not door.exists()


SIGNAL_AT_THE_FILE = """
import os, signal, sys
from unixconn._cli.ending import has_come
from unixconn._gio.socket_file import SocketFile
from unixconn.__main__ import run

def with_signal(function, before):
    def call(*arguments, **named):
        if before:
            os.kill(os.getpid(), {number})
            has_come.wait()
        result = function(*arguments, **named)
        os.kill(os.getpid(), {number})
        return result
    return call

if "{place}" == "bind":
    SocketFile.bind = with_signal(SocketFile.bind, False)
else:
    os.unlink = with_signal(os.unlink, True)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.argv[1:] = ["receive", "--json", {door!r}]
run()
"""


def test_a_signal_ends_it_with_descriptors(door, file):
    """Also when some have come already."""
    with receiving(door, "--count", 2) as receiver:
        send(door, file)
        assert receiver.stderr.readline() == Lines(received("letter.txt", 1, 2))
        receiver.send_signal(signal.SIGINT)
        assert end_of(receiver) == (130, "", "")
    assert not door.exists()


def test_nohup(door, file):
    """A signal that was ignored before stays ignored."""
    ignore = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    with receiving(door, **ignore) as receiver:
        receiver.send_signal(signal.SIGHUP)
        send(door, file)
        assert end_of(receiver)[:2] == (0, "Dear reader\n")


def test_ctrl_c_ends_the_sender(door, file):
    """It ends who waits for a receiver."""
    with started("send", "--verbose", "--wait", "inf", door, file) as sender:
        assert sender.stderr.readline().startswith("unixconn: waiting")
        sender.send_signal(signal.SIGINT)
        assert end_of(sender) == (130, "", "")
