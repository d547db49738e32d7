"""The commands that pass descriptors between shells: real processes, their output and exit codes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from helpers import forked, in_child

import unixconn
from unixconn.__main__ import main
from unixconn._cli import common as cli_common
from unixconn._cli import receive as cli_receive
from unixconn._cli import send as cli_send
from unixconn._cli.common import group_name, user_name, with_name

COMMAND = [sys.executable, "-m", "unixconn"]
OTHER = 65534
"""A uid that is not this process's."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def folder():
    """A folder for files and sockets, which every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def door(folder):
    """A name for a socket file."""
    return folder / "door"


@pytest.fixture
def file(folder):
    """A file to send."""
    path = folder / "letter.txt"
    path.write_text("Dear reader\n")
    return path


@contextmanager
def started(*arguments, **others):
    """Start a command; it has come to its end after the block."""
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **others},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def receiving(door, *arguments, **others):
    """Start a receiver, and wait until it listens; what it says from then on is still to be read."""
    with started("receive", door, "--verbose", *arguments, **others) as process:
        assert process.stderr.readline() == f"unixconn: waiting for a sender on {door} ...\n"
        yield process


def run(*arguments, **others):
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        check=False,
        **{"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 60, **others},
    )


def send(*arguments, **others):
    """Send, which is to go well."""
    done = run("send", *arguments, **others)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def end_of(process):
    """Wait for a command's end; return its exit code, and what it has written."""
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def received(name, number=1, count=1, uid=None):
    """Make the pattern of the line that tells of a descriptor."""
    uid = os.geteuid() if uid is None else uid
    return rf"unixconn: received {name} \({number} of {count}\) from process \d+ of user {user_name(uid)} \({uid}\)\n"


def closing(number):
    """Make what closes a descriptor in a new process, as ``<&-`` does."""
    return lambda: os.close(number)


def connected(door):
    """Connect a plain socket."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(door))
    return made


class Lines:
    """A regular expression for a whole text, in comparisons."""

    def __init__(self, *patterns):
        self.pattern = "".join(patterns)

    def __eq__(self, other):
        return re.fullmatch(self.pattern, other) is not None

    def __hash__(self):
        return hash(self.pattern)

    def __repr__(self):
        return self.pattern


# --- receive and copy ------------------------------------------------------------------------------------------------


def test_a_file_passes(door, file):
    """Of a file that one process sends the other copies what it reads."""
    with receiving(door) as receiver:
        send(door, file)
        assert end_of(receiver) == (0, "Dear reader\n", Lines(received("letter.txt")))
    assert not door.exists()


def test_the_sender_may_be_first(door, file):
    """With --wait it waits until somebody listens, and says so."""
    with started("send", "--verbose", "--wait", 60, door, file) as sender:
        assert sender.stderr.readline() == f"unixconn: waiting for a receiver on {door} ...\n"
        assert run("receive", door).stdout == "Dear reader\n"
        assert end_of(sender) == (0, "", f"unixconn: sent letter.txt to {door}\n")


def test_the_wait_for_a_receiver_ends(door, file):
    """After the time that --wait gives it is the error that it is without."""
    done = run("send", "--wait", 0.2, door, file)
    assert done.returncode == os.EX_NOINPUT
    assert done.stderr == f"unixconn: {door}: Could not connect: No such file or directory\n"


def test_several_senders(door, file, folder):
    """With --count the descriptors of several senders are taken, and copied in the order in which they came."""
    (folder / "second").write_text("Yours\n")
    with receiving(door, "--count", 2) as receiver:
        send(door, file)
        send(door, folder / "second")
        lines = Lines(received("letter.txt", 1, 2), received("second", 2, 2))
        assert end_of(receiver) == (0, "Dear reader\nYours\n", lines)


def test_standard_input_and_numbers(door, file):
    """Files come first, - is standard input, and --fd names descriptors that the shell has opened."""
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe\n")
    os.close(writer)
    with receiving(door, "--count", 3) as receiver:
        send("--fd", reader, door, "-", file, input="typed\n", stdin=None, pass_fds=[reader])
        os.close(reader)
        names = ("stdin", "letter.txt", f"fd{reader}")
        lines = Lines(*(received(name, number, 3) for number, name in enumerate(names, 1)))
        assert end_of(receiver) == (0, "typed\nDear reader\nfrom a pipe\n", lines)


@pytest.mark.parametrize("arguments", [["--fd", "0", "--fd", "3"], ["--fd", "0", "--fd", "4"]])
def test_a_closed_number_is_not_that_of_a_duplicate(arguments, door, file):
    """The copy of one descriptor has the first number that is free, and is not sent as the one that is not there."""
    with file.open() as opened:
        done = run("send", door, *arguments, stdin=opened)
    text = f"unixconn: descriptor {arguments[-1]}: Bad file descriptor\n"
    assert (done.returncode, done.stderr) == (os.EX_NOINPUT, text)


@pytest.mark.parametrize("arguments", [["{file}", "-"], ["-", "--fd", "1"], []])
def test_a_closed_input(arguments, door, file):
    """A file that is opened at its number is not sent as standard input."""
    done = run("send", door, *(each.format(file=file) for each in arguments), preexec_fn=closing(0))
    text = "unixconn: descriptor 0: Bad file descriptor\n"
    assert (done.returncode, done.stderr) == (os.EX_NOINPUT, text)


def test_standard_input_is_sent_without_arguments(door):
    """With neither files nor numbers standard input goes."""
    with receiving(door) as receiver:
        send(door, input="typed\n", stdin=None)
        assert end_of(receiver) == (0, "typed\n", Lines(received("stdin")))


@pytest.mark.parametrize(("option", "content"), [("--write", "new\n"), ("--append", "Dear reader\nnew\n")])
def test_a_file_to_write_to(door, file, option, content):
    """The receiver writes to what the sender has opened."""
    with receiving(door, "--", "sh", "-c", "echo new >&3") as receiver:
        send(option, door, file)
        assert end_of(receiver) == (0, "", Lines(received("letter.txt")))
    assert file.read_text() == content


def test_many_descriptors(door, file):
    """More than go with one message go with several, all with their names."""
    with receiving(door, "--count", 150, "--json") as receiver:
        send(door, *[file] * 150)
        code, output, _ = end_of(receiver)
        assert code == 0
        assert [json.loads(line)["name"] for line in output.splitlines()] == ["letter.txt"] * 150


def test_what_is_too_much_is_closed(door, file):
    """Descriptors beyond the count are closed, and their number is told."""
    with receiving(door) as receiver:
        send(door, file, file, file)
        more = r"unixconn: closed 2 more than the 1 expected, from process \d+ of .*\n"
        assert end_of(receiver) == (0, "Dear reader\n", Lines(received("letter.txt"), more))


def test_json(door, file):
    """With --json it prints what came from whom."""
    with receiving(door, "--json") as receiver, started("send", door, file) as sender:
        code, output, _ = end_of(receiver)
        assert code == 0
        uid = os.geteuid()
        assert json.loads(output) == {
            "name": "letter.txt",
            "file": str(file),
            "pid": sender.pid,
            "uid": uid,
            "user": user_name(uid),
        }


@pytest.mark.usefixtures("no_linger")
def test_a_failure_in_between_is_the_end(door, null, monkeypatch):
    """What nobody has foreseen ends the wait as well."""

    def split_names(_data, _count):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(cli_receive, "split_names", split_names)
    with unixconn.listen(door, pass_credentials=True) as listener, unixconn.connect(door) as sender:
        sender.send_fd(null)
        with pytest.raises(RuntimeError, match="unforeseen"), contextlib.ExitStack() as owned:
            cli_receive.Receiver(listener, {os.geteuid()}, 1, owned, print, print).run()


def test_what_can_not_be_read(door, file, folder):
    """It is told, and the others are copied all the same."""
    with receiving(door, "--count", 2) as receiver:
        send(door, folder, file)
        lines = Lines(
            received(folder.name, 1, 2),
            received("letter.txt", 2, 2),
            f"unixconn: cannot read {folder.name}: Is a directory\n",
        )
        assert end_of(receiver) == (os.EX_IOERR, "Dear reader\n", lines)


def test_a_pipe_that_does_not_block(door):
    """What comes later through a pipe with O_NONBLOCK is waited for."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with receiving(door) as receiver:
        with connected(door) as sender:
            socket.send_fds(sender, [b"pipe"], [reader])
        for text in ("one\n", "two\n"):
            os.write(writer, text.encode())
            assert receiver.stdout.readline() == text
        os.close(writer)
        assert end_of(receiver)[0] == 0
    os.close(reader)


def test_who_reads_has_enough(door):
    """A closed output ends it quietly, as it does others."""
    reader, writer = os.pipe()
    os.close(reader)
    with receiving(door, stdout=writer) as receiver:
        os.close(writer)
        send(door, Path(__file__))
        assert end_of(receiver) == (1, None, Lines(received("test_commands.py")))


def test_a_full_disk(door, file):
    """Output that can not be written is an error."""
    with Path("/dev/full").open("wb") as full, receiving(door, stdout=full) as receiver:
        send(door, file)
        lines = Lines(received("letter.txt"), "unixconn: standard output: No space left on device\n")
        assert end_of(receiver) == (os.EX_IOERR, None, lines)


@pytest.mark.parametrize("arguments", [["receive", "door"], ["receive", "--json", "door"], ["info"], ["demo"]])
def test_a_closed_output(arguments, folder):
    """It is an error before anything is done, as it would be for cat(1) and the like."""
    done = run(*arguments, cwd=folder, stdout=None, capture_output=False, stderr=subprocess.PIPE, preexec_fn=closing(1))
    assert (done.returncode, done.stderr) == (os.EX_IOERR, "unixconn: standard output: Bad file descriptor\n")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("how", ["closed", "full", "broken"])
def test_errors_that_can_not_be_told(door, file, how):
    """Without standard error it works as with it, and what is told there does not come on standard output."""
    reader, writer = os.pipe()
    os.close(reader)
    with Path("/dev/full").open("wb") as full:
        others = {
            "closed": {"stderr": None, "preexec_fn": closing(2)},
            "full": {"stderr": full},
            "broken": {"stderr": writer},
        }[how]
        with started("receive", "--verbose", door, **others) as receiver:
            os.close(writer)
            send("--wait", 60, door, file)
            assert end_of(receiver) == (0, "Dear reader\n", None)
        others.pop("stderr")
        if how == "closed":
            with started("receive", door, stderr=None, **others) as receiver:
                send("--wait", 60, door, file)
                assert end_of(receiver) == (0, "Dear reader\n", None)


# --- who may send ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("allowed", "mode"), [([], 0o600), (["--allow-uid", OTHER], 0o666)])
def test_the_mode(door, allowed, mode):
    """The socket file is this user's alone, or with --allow-uid everybody's, whatever the umask is."""
    for mask in (0, 0o777):
        with receiving(door, *allowed, preexec_fn=lambda mask=mask: os.umask(mask)):
            assert stat.S_IMODE(door.stat().st_mode) == mode
        door.unlink()


def as_other(*arguments):
    """Run a command as another user, in a forked child that has loaded it already."""

    def become():
        os.setgid(OTHER)
        os.setuid(OTHER)
        return main([*map(str, arguments)]) == 0

    return in_child(become)


@needs_root
def test_another_user_is_refused(door, file):
    """Who connects as another user than those that are allowed is refused by name, and does not end the receiver."""
    with receiving(door) as receiver:
        door.chmod(0o666)
        as_other("send", door, file)
        assert receiver.stderr.readline() == Lines(
            rf"unixconn: refused process \d+ of user {user_name(OTHER)} \(65534\)\n"
        )
        send(door, file)
        assert end_of(receiver) == (0, "Dear reader\n", Lines(received("letter.txt")))


@needs_root
def test_another_user_is_refused_on_our_connection(door, file):
    """Who sends counts too, not only who has connected."""
    with receiving(door) as receiver:
        with unixconn.connect(door) as connection, file.open() as opened:

            def become():
                os.setuid(OTHER)
                return connection.send_fd(opened)

            assert in_child(become) == 0
            assert receiver.stderr.readline() == Lines(r"unixconn: refused process \d+ of .* \(65534\)\n")
        send(door, file)
        assert end_of(receiver)[:2] == (0, "Dear reader\n")


@needs_root
@pytest.mark.parametrize("user", [str(OTHER), user_name(OTHER)])
def test_another_user_is_allowed(door, file, user):
    """--allow-uid names those who may send too, by number or by name."""
    with receiving(door, "--allow-uid", user) as receiver:
        assert as_other("send", door, file) == 0
        assert end_of(receiver) == (0, "Dear reader\n", Lines(received("letter.txt", uid=OTHER)))


@needs_root
def test_root_is_one_of_many(door, file):
    """Root has to be allowed as anybody else."""

    def receive():
        os.setuid(OTHER)
        return main(["receive", str(door)]) == 0

    door.parent.chmod(0o777)
    receiver = forked(receive)
    try:
        # It may be refused before it has sent.
        assert run("send", "--wait", 60, door, file).returncode in (0, os.EX_IOERR)
        assert as_other("send", door, file) == 0
        assert os.waitstatus_to_exitcode(os.waitpid(receiver, 0)[1]) == 0
    except BaseException:
        os.kill(receiver, signal.SIGKILL)
        os.waitpid(receiver, 0)
        raise


def test_a_sender_that_is_sent_away(file, monkeypatch, capsys):
    """Where the connection is closed before all was sent, the message tells why that may be."""

    def connect(_path, _cancellable):
        ours, theirs = unixconn.UnixConnection.create_pair()
        theirs.close()
        return ours

    monkeypatch.setattr(cli_send, "connect", connect)
    assert main(["send", "door", str(file)]) == os.EX_IOERR
    text = "unixconn: door: closed by the receiver, which may not allow this user; see its --allow-uid\n"
    assert capsys.readouterr().err == text


def test_a_silent_one_delays_nobody(door, file):
    """Connections are served all at a time."""
    with receiving(door) as receiver, connected(door), connected(door) as talker:
        talker.send(b"no descriptor")
        send(door, file)
        assert end_of(receiver)[:2] == (0, "Dear reader\n")


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"\0", ["unknown", "unknown"]),
        (b"in:out", ["in", "out"]),
        (b"in:\xff\n", ["in", "__"]),
        (b"in:", ["in", "unknown"]),
        (b"hello", ["unknown", "unknown"]),
    ],
)
def test_other_senders(door, file, data, names):
    """Any program can send; the names are in its data, if anything is."""
    with receiving(door, "--count", 2, "--json") as receiver, file.open() as opened:
        with connected(door) as sender:
            socket.send_fds(sender, [data], [opened.fileno()] * 2)
        code, output, _ = end_of(receiver)
        assert code == 0
        assert [json.loads(line)["name"] for line in output.splitlines()] == names
        assert [json.loads(line)["pid"] for line in output.splitlines()] == [os.getpid()] * 2


def test_a_sender_in_the_way_of_gio(door, file):
    """Credentials, and then one descriptor after the other: each with a NUL."""
    with receiving(door, "--count", 2) as receiver:
        with unixconn.connect(door) as sender, file.open() as opened:
            sender.send_credentials()
            sender.send_fd(opened)
            sender.send_fd(opened)
        code, output, _ = end_of(receiver)
        assert (code, output) == (0, "Dear reader\n")


def test_names():
    """Names are what sd_listen_fds_with_names(3) allows, at both ends."""
    assert cli_common.join_names(["a:b", "", "\u00e9\n", "x" * 300]) == b"a_b:unknown:__:" + b"x" * 255
    assert cli_common.split_names(b"a b:c", 2) == ["a b", "c"]


# --- receive and become ----------------------------------------------------------------------------------------------

LOOK = """
import json, os
told = {name: value for name, value in os.environ.items() if name.startswith("LISTEN_")}
numbers = [n for n in range(256) if os.path.exists(f"/proc/self/fd/{n}")]
names = [os.readlink(f"/proc/self/fd/{n}") for n in numbers if n != 1 and n != 2]
ignored = [line for line in open("/proc/self/status") if line.startswith("SigIgn")]
print(json.dumps({"told": told, "pid": os.getpid(), "numbers": numbers, "names": names, "ignored": ignored}))
"""


def looked(receiver):
    """Return what the command has found in its process."""
    code, output, _ = end_of(receiver)
    assert code == 0
    return json.loads(output)


def ignored_by_python():
    """Return what a program of Python's finds ignored, when it was started without anything that is."""
    program = "for line in open('/proc/self/status'):\n if line.startswith('SigIgn'): print(line, end='')"
    return [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout]


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


# --- its end ---------------------------------------------------------------------------------------------------------


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
import signal, threading, time
from unixconn import MainLoop
from unixconn._cli import common

def interrupt():
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

common.exit_on_signals()
with common.wake_on_signals():
    threading.Thread(target=interrupt).start()
    MainLoop().run()
"""


def test_a_signal_between_the_last_step_and_the_wait():
    """One that does not interrupt the system call that waits, here as another thread gets it, still ends the wait."""
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
from unixconn._gio import listening as paths
from unixconn.__main__ import main

def with_signal(function, before):
    def call(*arguments):
        if before:
            os.kill(os.getpid(), {number})
        result = function(*arguments)
        os.kill(os.getpid(), {number})
        return result
    return call

if "{place}" == "bind":
    paths.UnixListener._bind = with_signal(paths.UnixListener._bind, False)
else:
    paths.os.unlink = with_signal(os.unlink, True)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(["receive", "--json", {door!r}]))
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


def test_progress_is_for_who_watches(door, file):
    """Without --verbose steps are told on a terminal only."""
    outer, inner = pty.openpty()
    with started("receive", door, stderr=inner) as receiver:
        os.close(inner)
        send("--wait", 60, door, file)
        assert end_of(receiver)[0] == 0
    told = os.read(outer, 4096).decode().replace("\r\n", "\n")
    os.close(outer)
    assert told == Lines(f"unixconn: waiting for a sender on {door} \\.\\.\\.\n", received("letter.txt"))


def test_a_dead_receiver_s_socket_is_replaced(door, file):
    """What one that was killed has left is no obstacle."""
    with receiving(door) as receiver:
        receiver.kill()
    assert door.exists()
    with receiving(door) as receiver:
        send(door, file)
        assert end_of(receiver)[0] == 0


# --- peer ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(door):
    """A socket file that another process serves."""
    program = f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(door)!r}); s.listen(); print(); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:
        assert process.stdout.readline() == "\n"
        yield process
        process.stdin.close()


def names_of_facts(output):
    """Return what the command has printed, by its names."""
    return dict(line.split(maxsplit=1) for line in output.splitlines())


def test_peer(door, served):
    """It tells who serves a socket."""
    done = run("peer", door)
    assert (done.returncode, done.stderr) == (0, "")
    told = names_of_facts(done.stdout)
    assert list(told) == ["pid", "user", "group", "groups", "label", "executable", "alive"]
    assert told["pid"] == str(served.pid)
    assert told["user"] == f"{user_name(os.geteuid())} ({os.geteuid()})"


def test_peer_in_detail(door, served):
    """Group, groups, executable and life are of the process that serves."""
    told = names_of_facts(run("peer", door).stdout)
    gid = os.getegid()
    assert told["group"] == f"{group_name(gid)} ({gid})"
    assert told["groups"] == (", ".join(with_name(each, group_name(each)) for each in os.getgroups()) or "none")
    assert told["executable"] == os.readlink(f"/proc/{served.pid}/exe")
    assert told["alive"] == "yes"


def test_peer_as_json(door, served):
    """With --json it is one object."""
    done = run("peer", "--json", door)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    told.pop("label")
    uid, gid = os.geteuid(), os.getegid()
    assert told == {
        "pid": served.pid,
        "uid": uid,
        "user": user_name(uid),
        "gid": gid,
        "group": group_name(gid),
        "groups": [{"gid": each, "group": group_name(each)} for each in os.getgroups()],
        "executable": os.readlink(f"/proc/{served.pid}/exe"),
        "alive": True,
    }


class Peer:
    """Credentials of which some can not be told."""

    def __init__(self, pid=1, alive=True):
        self.get_unix_pid = lambda: pid
        self.is_alive = lambda: alive
        self.get_unix_user = self.get_unix_group = lambda: 4294967294
        self.get_security_label = lambda: b"system_u:\xff"

    def get_groups(self):
        """Say that there are none to be had."""
        raise unixconn.NotSupportedError("not here", "g-io-error-quark", unixconn.IOErrorEnum.NOT_SUPPORTED)


@pytest.mark.parametrize(
    ("peer", "executable", "alive"),
    [
        (Peer(os.getpid()), os.readlink("/proc/self/exe"), "yes"),
        (Peer(os.getpid(), alive=False), "unknown (the process has ended)", "no"),
        (Peer(2**31 - 1), "unknown (not readable: No such file or directory)", "yes"),
    ],
)
def test_peer_of_whom_not_all_is_known(peer, executable, alive, door, monkeypatch, capsys):
    """What is not known is named so, with the reason; the executable is believed of who lives only."""
    monkeypatch.setattr(unixconn.UnixConnection, "get_peer_credentials", lambda _: peer)
    with unixconn.listen(door):
        assert main(["peer", str(door)]) == 0
        told = names_of_facts(capsys.readouterr().out)
        assert told == {
            "pid": str(peer.get_unix_pid()),
            "user": "4294967294",
            "group": "4294967294",
            "groups": "unknown (not here)",
            "label": r"system_u:\xff",
            "executable": executable,
            "alive": alive,
        }
        assert main(["peer", "--json", str(door)]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["user"], told["group"], told["groups"], told["label"]) == (None, None, None, r"system_u:\xff")
        assert told["executable"] == (executable if executable.startswith("/") else None)
        assert told["alive"] == (alive == "yes")


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["receive"], "the following arguments are required: PATH"),
        (["receive", "door", "--"], "there is no COMMAND after --"),
        (["receive", "door", "--stdin"], "--stdin needs a COMMAND after --"),
        (
            ["receive", "door", "--stdin", "--count", "2", "--", "ls"],
            "--stdin takes one descriptor, and cannot be used with --count",
        ),
        (["receive", "door", "--json", "--", "ls"], "--json cannot be used with a COMMAND"),
        (
            ["receive", "door", "--count", "0"],
            "argument --count: invalid number of descriptors '0': expected 1 or more",
        ),
        (
            ["receive", "door", "--allow-uid", "no such"],
            "argument --allow-uid: unknown user 'no such': expected the name of a user, or a uid",
        ),
        (
            ["receive", "door", "--allow-uid", "4294967295"],
            "argument --allow-uid: uid 4294967295 is out of range: the highest is 4294967294",
        ),
        (["send"], "the following arguments are required: PATH"),
        (["send", "door", "--fd", "-1"], "argument --fd: invalid file descriptor '-1': expected a number, 0 or more"),
        (["send", "door", "--fd", "x"], "argument --fd: invalid file descriptor 'x': expected a number, 0 or more"),
        *(
            (
                ["send", "door", "--wait", each],
                f"argument --wait: invalid number of seconds '{each}': expected 0 or more, or inf",
            )
            for each in ("x", "nan", "-1")
        ),
        (["send", "door", "--write", "--append"], "argument --append: not allowed with argument --write"),
    ],
    ids=" ".join,
)
def test_usage(arguments, text, folder):
    """What is wrong with a command line is told after the usage, and nothing is done."""
    done = run(*arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (os.EX_USAGE, "")
    assert done.stderr.startswith(f"usage: unixconn {arguments[0]} ")
    assert done.stderr.splitlines()[-1] == f"unixconn {arguments[0]}: error: {text}"
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["receive", "absent/door"], os.EX_NOINPUT, "absent/door: {bind}: No such file or directory"),
        (["receive", "letter.txt"], os.EX_CANTCREAT, "letter.txt: {bind}: letter.txt is in use"),
        (["receive", "door", "--", "absent"], 127, "absent: command not found"),
        (["receive", "door", "--", "./letter.txt"], 126, "./letter.txt: not an executable file"),
        (
            ["receive", "door", "--count", "99999", "--", "ls"],
            os.EX_OSERR,
            "--count 99999 needs 200014 free descriptors: {many}; raise .*",
        ),
        (["send", "absent", "letter.txt"], os.EX_NOINPUT, "absent: Could not connect: No such file or directory"),
        (["send", "letter.txt", "-"], os.EX_UNAVAILABLE, "letter.txt: Could not connect: Connection refused"),
        (["send", "door", "absent"], os.EX_NOINPUT, "absent: No such file or directory"),
        (["send", "--append", "door", "absent/x"], os.EX_CANTCREAT, "absent/x: No such file or directory"),
        (["send", "door", "--fd", "3"], os.EX_NOINPUT, "descriptor 3: Bad file descriptor"),
        (["send", "door", "--fd", "9999999999"], os.EX_NOINPUT, "descriptor 9999999999: .*"),
        (["send", "door", "--fd", "9" * 30], os.EX_NOINPUT, "descriptor 9+: the number is too large for a descriptor"),
        (["send", "", "letter.txt"], os.EX_USAGE, ": The path of a socket file must not be empty"),
        (["peer", ""], os.EX_USAGE, ": The path of a socket file must not be empty"),
        (
            ["receive", "door", "--count", "200", "--", "ls"],
            os.EX_OSERR,
            "--count 200 needs 416 free descriptors: {many}; raise .*",
        ),
        (["peer", "absent"], os.EX_NOINPUT, "absent: Could not connect: No such file or directory"),
        (["peer", "letter.txt"], os.EX_UNAVAILABLE, "letter.txt: Could not connect: Connection refused"),
        (["send", "x" * 108], os.EX_USAGE, "x+: The name of a Unix socket has at most 107 bytes, and this one 108: .*"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_errors(arguments, code, text, file):
    """What can not be done is told in one line, with the code of sysexits.h for it."""

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    pattern = text.format(bind=r"Error binding to address \(GUnixSocketAddress\)", many=os.strerror(errno.EMFILE))
    done = run(*arguments, cwd=file.parent, preexec_fn=few)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", Lines("unixconn: ", pattern, "\n"))
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("command", [["send", "--wait", "0.5"], ["peer"]])
def test_a_server_that_accepts_nobody(command, door, file):
    """It is given up in the end."""
    with contextlib.ExitStack() as sockets:
        server = sockets.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(str(door))
        server.listen(0)
        with pytest.raises(BlockingIOError):  # PyPy makes 1 of a backlog of 0
            while True:
                waiting = sockets.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                waiting.connect(str(door))
        done = run(*command, door, *[file] * (command[0] == "send"))
        assert (done.returncode, done.stdout) == (os.EX_UNAVAILABLE, "")
        assert done.stderr == f"unixconn: {door}: Could not connect: Operation timed out\n"


def test_a_receiver_without_room(door, file):
    """Descriptors for which there are no numbers are lost, and that is the end."""

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    with receiving(door, "--count", 60, preexec_fn=few) as receiver:
        send(door, *[file] * 60)
        code, output, errors = end_of(receiver)
        assert (code, output) == (os.EX_OSERR, "")
        assert errors.startswith(f"unixconn: {door}: ")
    assert not door.exists()


def test_no_name(folder):
    """An empty name is refused, and nothing is done to the current folder in its place."""
    folder.chmod(0o755)
    done = run("receive", "", cwd=folder)
    text = "unixconn: : The path of a socket file must not be empty\n"
    assert (done.returncode, done.stderr) == (os.EX_USAGE, text)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_folder_that_is_gone(folder):
    """Where the current folder was removed, a relative name can not be made."""
    gone = folder / "gone"
    gone.mkdir()

    def receive():
        os.chdir(gone)
        gone.rmdir()
        return main(["receive", "door"]) == os.EX_NOINPUT

    # Forked: PyPy does not start there.
    assert in_child(receive) == 0


def test_names_of_files_in_json(door, folder):
    """A name that is no UTF-8 is JSON that every program can read."""
    name = os.fsdecode(b"odd\xff")
    (folder / name).write_text("")
    with receiving(door, "--json") as receiver:
        send(door, folder / name)
        code, output, _ = end_of(receiver)
    assert (code, json.loads(output)["file"]) == (0, f"{folder}/odd\\xff")


def test_who_listens_already(door):
    """Two receivers can not have the same socket file, and the first one keeps it."""
    with receiving(door):
        done = run("receive", door)
        assert done.returncode == os.EX_CANTCREAT
        assert done.stderr.endswith(f"{door} is in use\n")
        assert door.exists()


@needs_root
def test_a_socket_that_is_not_for_us(door, file):
    """A socket file whose permissions do not let us connect."""
    with receiving(door):
        assert as_other("send", door, file) != 0
        assert as_other("peer", door) != 0


@pytest.mark.parametrize("command", ["receive", "send", "peer"])
def test_help(command):
    """--help is a short manual page."""
    done = run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("usage: unixconn", "examples:", "-h, --help", "exit codes (64 to 77 as in sysexits.h):"):
        assert part in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
