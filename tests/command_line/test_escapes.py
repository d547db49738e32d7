"""Names that somebody else has chosen, in what the commands print: none controls the terminal, or makes a line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest
from command_line.commands import Lines, end_of, receiving, run, send, started

from unixconn.__main__ import main

ODD = "a\nunixconn: received b\r\x1b]0;title\x07\x9b2K\u202etxt.\u2028\u2066\ufeff"
SHOWN = r"a\nunixconn: received b\r\x1b]0;title\x07\x9b2K\u202etxt.\u2028\u2066\ufeff"


def plain(text):
    """Return whether a terminal prints each line of *text* as it is."""
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["send", ODD, "letter.txt"],
        ["send", "door", ODD],
        ["send", "--append", "door", f"{ODD}/x"],
        ["send", "door", "--fd", ODD],
        ["send", "door", "--wait", ODD],
        ["peer", ODD],
        ["peer", ODD, ODD],
        ["receive", f"{ODD}/door"],
        ["receive", ODD * 10],
        ["receive", "letter.txt", "--count", ODD],
        ["receive", "letter.txt", "--allow-uid", ODD],
        ["receive", "door", f"--{ODD}"],
        ["receive", "door", "--", ODD],
        [ODD],
    ],
    ids=lambda arguments: " ".join(arguments).encode("unicode_escape").decode()[:30],
)
def test_errors(arguments, file, monkeypatch, capsys):
    """S7: an error message names what it is about, in one line of its own."""
    monkeypatch.chdir(file.parent)
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code
    assert code != 0
    errors = capsys.readouterr().err
    assert plain(errors)
    assert r"a\nunixconn: received b\r\x1b]0;title\x07\x9b2K\u202e" in errors.replace("\\\\", "\\")
    assert not any(line.startswith("unixconn: received") for line in errors.splitlines())


def test_steps(folder, file):
    """S7: also what --verbose reports."""
    door = folder / ODD
    with started("send", "--verbose", "--wait", 60, door, file) as sender, started("receive", "-v", door) as receiver:
        code, output, errors = end_of(receiver)
        assert (code, output, errors.splitlines()[0]) == (
            0,
            "Dear reader\n",
            f"unixconn: waiting for a sender on {folder}/{SHOWN} ...",
        )
        _, _, sent = end_of(sender)
        assert plain(errors + sent)
        assert sent.endswith(f"unixconn: sent letter.txt to {folder}/{SHOWN}\n")


def test_file_names(folder, door):
    """S7: the name of a file that is sent is that of sd_listen_fds_with_names(3) for people, and whole in --json."""
    (folder / ODD).write_text("")
    with receiving(door, "--json") as receiver:
        send(door, folder / ODD)
        code, output, errors = end_of(receiver)
    assert (code, plain(output + errors), json.loads(output)["file"]) == (0, True, f"{folder}/{ODD}")


@contextmanager
def served_by(program, door):
    """Have a process serve a socket file whose executable is *program*: as by sleep(1)."""
    code = f"""
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind({str(door)!r})
s.listen()
s.set_inheritable(True)
print(flush=True)
os.execv({str(program)!r}, ["sleep", "600"])
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def odd_server(folder, door):
    """A server whose executable has an odd name, once it runs."""
    program = folder / ODD
    shutil.copy(shutil.which("sleep"), program)
    with served_by(program, door) as process:
        while os.readlink(f"/proc/{process.pid}/exe") != str(program):
            assert process.poll() is None
        yield program


@pytest.mark.usefixtures("odd_server")
def test_peer(door, folder):
    """S7: the executable's name makes no line, and no title of a terminal; --json has it whole."""
    done = run("peer", door)
    assert (done.returncode, done.stderr, plain(done.stdout)) == (0, "", True)
    told = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert list(told) == ["pid", "user", "group", "groups", "label", "executable", "alive"]
    assert told["executable"] == f"{folder}/{SHOWN}"
    assert json.loads(run("peer", "--json", door).stdout)["executable"] == f"{folder}/{ODD}"


def test_an_output_without_its_characters(folder, door):
    """S7: a letter that the output's encoding lacks is escaped, and does not end the command with a traceback."""
    program = folder / "\u00e9"
    shutil.copy(shutil.which("sleep"), program)
    with served_by(program, door) as process:
        while os.readlink(f"/proc/{process.pid}/exe") != str(program):
            assert process.poll() is None
        done = run("peer", door, env={**os.environ, "PYTHONIOENCODING": "ascii:strict"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == Lines(r"(.*\n)*executable  .*/\\xe9\n.*\n")
