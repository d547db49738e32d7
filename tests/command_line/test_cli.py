"""The command line: its output lines and exit codes."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import unixconn
from unixconn._cli import demo, info

needs_gio = pytest.mark.skipif(demo.find_gio() is None, reason="no interpreter here can import PyGObject")


def run(*arguments, environment=None):
    """Run ``python -m unixconn`` as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "unixconn", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, **(environment or {})},
    )


def script(path, text):
    """Make a program that stands in the place of an interpreter."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def assert_fits(output):
    """Check that a terminal shows all of *output* at once, below the line with the command."""
    lines = output.splitlines()
    assert len(lines) <= 22, output
    assert max(map(len, lines)) <= 80, output


def check_demo(output, import_line):
    """Check each step that the demonstration tells of against the process ids that it gives."""
    here, there = re.findall(r"^  (?:here|there) +pid (\d+) ", output, re.MULTILINE)
    assert here != there
    assert import_line in output
    uid, gid = os.geteuid(), os.getegid()
    for pattern in (
        r"here -> there  a descriptor +\d+, a file without a name, at offset 0",
        rf"here -> there  credentials +pid {here}, uid {uid}, gid {gid}",
        r"there -> here  a descriptor +\d+, the read end of a pipe",
        rf"there -> here  credentials +pid {there}, uid {uid}, gid {gid}",
        r"there -> here  an answer +\d+ bytes through descriptor \d+",
        rf"read there +pid {here}, uid {uid}, gid {gid} +message from here",
        rf"read here +pid {there}, uid {uid}, gid {gid} +message from there",
        rf"SO_PEERCRED +pid {here}, uid {uid}, gid {gid} +peer, made here",
        r"number +\d+ here, \d+ there +each process has its own",
        r"offset +55 here, was 0 +moved by the reader: one open file",
        r"first line +This file has no name: it is read by descriptor alone\.",
    ):
        assert re.search(rf"^  {pattern}$", output, re.MULTILINE), f"{pattern}\nis not in\n{output}"


def test_demo():
    """The demonstration exchanges a file and credentials with another process, and tells each step."""
    done = run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    check_demo(done.stdout, "import unixconn as Gio")
    assert_fits(done.stdout)


def test_demo_fits_a_terminal(tmp_path, capsys, monkeypatch):
    """Of an interpreter in a deep folder it shows the end, and the longest numbers of the kernel leave room."""
    folder = tmp_path / "first.last" / "src" / "an.example.org" / "an-organisation" / "a-project" / ".venv" / "bin"
    folder.mkdir(parents=True)
    python = script(folder / "python", f'exec "{sys.executable}" "$@"')
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setattr(demo, "_ids", lambda _description: "pid 4194304, uid 4294967294, gid 4294967294")
    demo.run("unixconn", python)
    output = capsys.readouterr().out
    assert output.count(f"\n{'':17}...{python[-60:]}\n") == 2
    assert output.count("gid 4294967294") == 5
    assert_fits(output)


def test_demo_names_an_interpreter_in_full():
    """Where there is room for it."""
    python = "/home/somebody/Projects/unixconn/.venv/bin/python"
    assert demo._shortened(python) == python


@needs_gio
def test_demo_with_gio():
    """The second process may be PyGObject's: its program differs in the import only."""
    done = run("demo", "--peer", "gio")
    assert (done.returncode, done.stderr) == (0, "")
    check_demo(done.stdout, "from gi.repository import Gio")
    assert_fits(done.stdout)


def test_demo_without_gio(tmp_path):
    """Where no interpreter has PyGObject, the message names those that were asked, and the exit code is 69."""
    (tmp_path / "gi.py").write_text("raise ImportError\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = run("demo", "--peer", "gio", environment={"PYTHONPATH": path})
    assert (done.returncode, done.stdout) == (os.EX_UNAVAILABLE, "")
    assert "--peer gio needs PyGObject, and none of these can import it: " + sys.executable in done.stderr


def test_demo_with_an_unknown_peer():
    """A peer that there is not is a usage error."""
    done = run("demo", "--peer", "dbus")
    assert (done.returncode, done.stdout) == (os.EX_USAGE, "")
    assert "invalid choice: 'dbus'" in done.stderr


def test_demo_tells_of_the_child_s_failure(tmp_path):
    """The second process's exit code and last words are told on stderr, and the exit code is 1."""
    broken = script(tmp_path / "python", "echo out of order >&2; exit 7")
    program = f"import sys; sys.executable = {broken!r}; from unixconn.__main__ import main; sys.exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1
    assert re.search(r"^unixconn: .*; the second process ended with exit code 7:\nout of order\n$", done.stderr)


def test_demo_reports_an_answer_that_breaks_off(tmp_path):
    """A peer that fails after it has sent everything but its answer is a failure, not a traceback."""
    peer = tmp_path / "peer.py"
    peer.write_text(
        "import os, sys, unixconn\n"
        "fd = int(sys.argv[3])\n"
        "connection = unixconn.UnixConnection(socket=unixconn.Socket.new_from_fd(fd))\n"
        "os.close(connection.receive_fd()), connection.receive_credentials()\n"
        "reader, writer = os.pipe()\n"
        "connection.send_fd(reader), connection.send_credentials(), os.write(writer, b'{')\n"
        "sys.exit('gave up')\n"
    )
    python = script(tmp_path / "python", f'exec "{sys.executable}" "{peer}" "$@"')
    with pytest.raises(demo.DemoError, match=r"the second process ended with exit code 1:\ngave up$"):
        demo.run("unixconn", python)


def test_demo_does_not_wait_for_a_peer_that_hangs(tmp_path, monkeypatch):
    """A peer that says nothing is killed after a while."""
    monkeypatch.setattr(demo, "_TIMEOUT", 1)
    numbers = tmp_path / "pid"
    python = script(tmp_path / "python", f'echo $$ > "{numbers}"; exec sleep 100')
    with pytest.raises(demo.DemoError, match=r"timed out.*; the second process ended with exit code -9$"):
        demo.run("unixconn", python)
    assert not Path("/proc", numbers.read_text().strip()).exists()


def test_demo_with_an_interpreter_that_is_not_there(tmp_path):
    """A program that can not be started is named."""
    missing = str(tmp_path / "python")
    with pytest.raises(demo.DemoError, match=rf"^cannot start {re.escape(missing)}: "):
        demo.run("unixconn", missing)


def test_info():
    """`info` tells version, layer, interpreter and machine, and every feature with yes or a reason."""
    done = run("info")
    assert (done.returncode, done.stderr) == (0, "")
    head, features = done.stdout.split("\nTried on a socket pair just now:\n")
    told = dict(re.split(r" {2,}", line, maxsplit=1) for line in head.splitlines())
    assert list(told) == ["unixconn", "layer", "Python", "platform", "kernel"]
    assert told["unixconn"] == unixconn.__version__
    assert told["layer"].startswith(unixconn.BACKEND)
    assert told["Python"].endswith(sys.version.split()[0].rstrip("+"))
    assert told["platform"] == f"{sys.platform}, {os.uname().machine}"
    assert told["kernel"] == f"{os.uname().sysname} {os.uname().release}"
    outcomes = dict(re.split(r" {2,}", line)[:2] for line in features.splitlines())
    assert list(outcomes) == [
        "SO_PASSCRED",
        "SO_PASSPIDFD",
        "SO_PASSRIGHTS",
        "SO_PEERCRED",
        "SO_PEERPIDFD",
        "SO_PEERGROUPS",
        "SO_PEERSEC",
        "abstract sockets",
    ]
    assert all(re.fullmatch(r"yes|no \(.+\)", outcome) for outcome in outcomes.values()), outcomes
    # On every Linux that can run this.
    assert outcomes["SO_PASSCRED"] == outcomes["SO_PEERCRED"] == outcomes["abstract sockets"] == "yes"


def test_info_fits_a_terminal(monkeypatch):
    """It has 80 columns and 24 lines for the longest name of a kernel, and the longest reasons of features it lacks."""
    release = "6.18.44-" + "x" * 56  # utsname has 64 bytes for it
    names = os.uname_result(("Linux", "node", release, "#1", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: names)
    monkeypatch.setattr(info, "_outcome", lambda _probe: f"no ({os.strerror(errno.EDOM)})")
    output = info.describe()
    assert f"Linux {release}\n" in output
    assert_fits(output)


def test_info_names_the_layer_in_use():
    """The layer that the environment forces is the one that is named."""
    assert re.search(
        r"^layer +abi \(plain Python\)$", run("info", environment={"UNIXCONN_BACKEND": "abi"}).stdout, re.MULTILINE
    )


def test_info_without_a_free_descriptor(monkeypatch):
    """In the place of a pidfd the kernel gives the reason then."""
    answer = (-errno.EMFILE).to_bytes(4, sys.byteorder, signed=True)
    monkeypatch.setattr(info, "_expect", lambda *_: answer)
    assert re.search(rf"^SO_PASSPIDFD +no \({os.strerror(errno.EMFILE)}\)", info.describe(), re.MULTILINE)


def test_demo_without_a_folder_for_its_file():
    """What hinders it before it has a second process is told by its name."""
    program = "import tempfile; tempfile.tempdir = '/nowhere'; from unixconn.__main__ import main; exit(main(['demo']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "unixconn: cannot create the file and the socket pair: [Errno 2] No such file or directory: '/nowhere"
    )


def test_version():
    """`--version` prints the package's version."""
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"unixconn {unixconn.__version__}\n")


@pytest.mark.parametrize("arguments", [("--help",), ("demo", "--help"), ("info", "--help")])
def test_help(arguments):
    """`--help` explains the command and each sub-command."""
    done = run(*arguments)
    assert done.returncode == 0
    assert done.stdout.startswith("usage: unixconn")
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [(), ("sing",), ("info", "more")])
def test_usage_errors(arguments):
    """What is no command line of this program prints the usage and ends with 64."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (os.EX_USAGE, "")
    assert done.stderr.startswith("usage: unixconn")


def test_no_command():
    """Without a command each of them is listed, in one line that a terminal has room for, and nothing is done."""
    done = run(environment={"COLUMNS": "80"})
    assert (done.returncode, done.stdout) == (os.EX_USAGE, "")
    listed = re.findall(r"^    (\w+) {3,}\S.+$", done.stderr, re.MULTILINE)
    assert listed == ["receive", "send", "peer", "demo", "info"]
    assert_fits(done.stderr)


def test_import_stays_light():
    """The package itself imports none of what only its command line needs."""
    program = (
        "import sys, unixconn; unixconn.UnixConnection, unixconn.listen; "
        "print(*sorted({'subprocess', 'argparse', 'asyncio', 'json', 'unixconn._cli'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout == "\n"


@pytest.mark.parametrize("arguments", [["--version"], ["receive", "--help"], ["info"]], ids=" ".join)
def test_the_command_line_stays_light(arguments):
    """A command imports neither event loops nor what the standard library's heavy modules bring along."""
    program = (
        "import sys; from unixconn.__main__ import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit: pass\n"
        "heavy = {'asyncio', 'concurrent.futures', 'ctypes', 'dataclasses', 'inspect', 'logging'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.endswith("\n\n")


def test_demo_in_a_source_folder(tmp_path):
    """In a clone it works with the installed package, and not with the folder of the same name."""
    (tmp_path / "unixconn").mkdir()
    (tmp_path / "unixconn" / "__init__.py").write_text("raise ImportError('the source folder')")
    program = "import sys; sys.path.pop(0); from unixconn.__main__ import main; sys.exit(main(['demo']))"
    environment = {**os.environ, "PYTHONPATH": str(Path(unixconn.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=environment, timeout=60)


def test_demo_s_second_process_uses_the_same_package():
    """It finds the package that runs the demonstration first, wherever that was found."""
    assert demo._environment()["PYTHONPATH"].split(os.pathsep)[0] == str(Path(unixconn.__file__).resolve().parents[1])
