"""The commands' own errors and help: arguments, files, servers that do not answer."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import stat

import pytest
from command_line.commands import Lines, as_other, crowded, end_of, needs_root, receiving, run, send
from helpers import in_child

from unixconn.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["receive"], "PATH is missing, and a service manager has passed no listening Unix sockets"),
        *(
            ([each, "@"], "argument PATH: there is no abstract name after the @; a file of this name is ./@")
            for each in ("receive", "send", "peer")
        ),
        (["receive", "door", "--"], "there is no COMMAND after --"),
        (
            ["receive", "door", "--count", "99999", "--", "ls"],
            "--count is at most 16375 with a COMMAND, as more names do not fit into its environment",
        ),
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
            "argument --allow-uid/--allow-user: unknown user 'no such': expected the name of a user, or a uid",
        ),
        (
            ["receive", "door", "--allow-uid", "4294967295"],
            "argument --allow-uid/--allow-user: uid 4294967295 is out of range: the highest is 4294967294",
        ),
        (["receive", "door", "wc", "-l"], "unrecognized arguments: wc -l: COMMAND stands after --"),
        (["receive", "door", "--no-such"], "unrecognized arguments: --no-such"),
        (["peer", "door", "gate"], "unrecognized arguments: gate"),
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
        (["receive", "letter.txt"], os.EX_CANTCREAT, "letter.txt: {bind}: letter.txt exists, and is not a socket"),
        (["receive", "door", "--", "absent"], 127, "absent: command not found"),
        (["receive", "door", "--", "./letter.txt"], 126, "./letter.txt: not an executable file"),
        (
            ["receive", "door", "--count", "9999", "--", "ls"],
            os.EX_OSERR,
            "--count 9999 needs 10031 free descriptors: {many}; raise .*",
        ),
        (["send", "absent", "letter.txt"], os.EX_NOINPUT, "absent: Could not connect: No such file or directory"),
        (["send", "letter.txt", "-"], os.EX_UNAVAILABLE, "letter.txt: not a socket"),
        (["send", "@absent", "letter.txt"], os.EX_UNAVAILABLE, "@absent: Could not connect: Connection refused"),
        (["send", "door", "absent"], os.EX_NOINPUT, "absent: No such file or directory"),
        (["send", "--append", "door", "absent/x"], os.EX_CANTCREAT, "absent/x: No such file or directory"),
        (["send", "door", "--fd", "3"], os.EX_NOINPUT, "descriptor 3: Bad file descriptor"),
        (["send", "door", "--fd", "9999999999"], os.EX_NOINPUT, "descriptor 9999999999: .*"),
        (["send", "door", "--fd", "9" * 30], os.EX_NOINPUT, "descriptor 9+: the number is too large for a descriptor"),
        (["send", "", "letter.txt"], os.EX_USAGE, ": The path of a socket file must not be empty"),
        (["peer", ""], os.EX_USAGE, ": The path of a socket file must not be empty"),
        (
            ["receive", "door", "--count", "230"],
            os.EX_OSERR,
            "--count 230 needs 262 free descriptors: {many}; raise .*",
        ),
        (["peer", "absent"], os.EX_NOINPUT, "absent: Could not connect: No such file or directory"),
        (["peer", "letter.txt"], os.EX_UNAVAILABLE, "letter.txt: not a socket"),
        (["send", "x" * 108], os.EX_USAGE, "x+: The name of a Unix socket has at most 107 bytes, and this one 108: .*"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_errors(arguments, code, text, file):
    """What can not be done is told in one line, with the code of sysexits.h for it."""

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    pattern = text.format(bind="Could not listen", many=os.strerror(errno.EMFILE))
    done = run(*arguments, cwd=file.parent, preexec_fn=few)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", Lines("unixconn: ", pattern, "\n"))
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("command", [["send", "--wait", "0.5"], ["peer"]])
def test_a_server_that_accepts_nobody(command, door, file):
    """It is given up in the end."""
    with crowded(door):
        done = run(*command, door, *[file] * (command[0] == "send"))
        assert (done.returncode, done.stdout) == (os.EX_UNAVAILABLE, "")
        assert done.stderr == f"unixconn: {door}: Could not connect: Operation timed out\n"


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


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        ("receive", [0, 1, 64, 66, 71, 73, 74, 77, 126, 127, 130]),
        ("send", [0, 1, 64, 66, 69, 71, 73, 74, 77, 130]),
        ("peer", [0, 1, 64, 66, 69, 71, 74, 77, 130]),
        ("demo", [0, 1, 64, 69, 74, 130]),
        ("info", [0, 1, 64, 74, 130]),
    ],
)
def test_help_lists_the_exit_codes_of_the_command(command, codes):
    """And not those of the others."""
    _, _, lines = run(command, "--help").stdout.partition("\nexit codes ")
    assert [int(each) for each in re.findall(r"^  (\d+)", lines, re.MULTILINE)] == codes
