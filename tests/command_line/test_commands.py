"""The commands that pass descriptors between shells: real processes, their output and exit codes."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import stat
import subprocess
from pathlib import Path

import namespaces
import pytest
from command_line.commands import (
    OTHER,
    Lines,
    as_other,
    closing,
    connected,
    end_of,
    needs_root,
    received,
    receiving,
    run,
    send,
    started,
)
from helpers import forked, in_child

import unixconn
from unixconn.__main__ import main
from unixconn._cli import common as cli_common
from unixconn._cli import send as cli_send
from unixconn._cli.common import user_name
from unixconn._cli.ending import Closer
from unixconn._cli.receiver import Receiver

# --- receive and copy -------------------------------------------------------------------------------------------------


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
def test_a_failure_in_between_is_the_end(door, null):
    """What nobody has foreseen ends the wait as well."""

    def place(descriptor):
        with descriptor:
            raise ValueError("unforeseen")

    with unixconn.listen(door, pass_credentials=True) as listener, unixconn.connect(door) as sender, Closer() as closer:
        sender.send_fd(null)
        receiver = Receiver(
            listener,
            {os.geteuid()},
            1,
            place=place,
            room=100,
            longest_name=255,
            closer=closer,
            say=print,
            report=print,
        )
        with pytest.raises(ValueError, match="unforeseen"):
            receiver.run()


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


@needs_root
@pytest.mark.parametrize("program", [[], ["--", "sh", "-c", "cat <&3"], ["--stdin", "--", "cat"]])
def test_without_devices(door, file, program):
    """Where there is no /dev/null, as in a bare chroot, all goes as elsewhere."""
    options = program[: program.index("--")] if program else []
    bare = {"stdin": subprocess.PIPE, "preexec_fn": namespaces.hide_devices}
    with started("receive", "--verbose", *options, door, *program[len(options) :], **bare) as receiver:
        told = receiver.stderr.readline()
        if not told:
            namespaces.check(receiver.wait())
        assert told == f"unixconn: waiting for a sender on {door} ...\n"
        send(door, file)
        code, output, _ = end_of(receiver)
    assert (code, output) == (0, "Dear reader\n")
    # The reader of the output has closed it.
    reader, writer = os.pipe()
    os.close(reader)
    bare["stdin"] = None
    done = run("info", stdout=writer, capture_output=False, stderr=subprocess.PIPE, **bare)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


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


@pytest.mark.parametrize(("allowed", "mode"), [([], 0o600), (["--allow-uid", OTHER], 0o666)])
# --- who may send -----------------------------------------------------------------------------------------------------


def test_the_mode(door, allowed, mode):
    """The socket file is this user's alone, or with --allow-uid everybody's, whatever the umask is."""
    for mask in (0, 0o777):
        with receiving(door, *allowed, preexec_fn=lambda mask=mask: os.umask(mask)):
            assert stat.S_IMODE(door.stat().st_mode) == mode
        door.unlink()


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

    def connect(_path, _cancellable, *, peer_uid):
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
