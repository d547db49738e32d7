"""Gio by PyGObject, which only some interpreters can import: which one, and programs for it."""

from __future__ import annotations

import functools
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from helpers import adopt

from unixconn import UnixConnection

BEGIN = """
import json, os, socket, sys
from gi.repository import Gio, GLib

connection = Gio.UnixConnection(socket=Gio.Socket.new_from_fd(int(sys.argv[1])))

def attempt(call, *arguments):
    try:
        return call(*arguments)
    except GLib.Error as error:
        return [error.code, error.message]

"""
END = """
json.dump(outcome, sys.stdout)
"""


@functools.lru_cache(maxsize=1)
def interpreter() -> str | None:
    """Return the interpreter that can import Gio, or None."""
    for each in dict.fromkeys((sys.executable, "/usr/bin/python3", shutil.which("python3"))):
        probe = [each or "", "-c", "from gi.repository import Gio, GLib; Gio.UnixConnection"]
        try:
            if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
                return each
        except OSError:
            continue
    return None


def need_gio() -> str:
    """Return the interpreter that can import Gio; skip the test if there is none."""
    found = interpreter()
    if found is None:
        pytest.skip("Gio by PyGObject (python3-gi, gir1.2-glib-2.0) is not installed")
    return found


class GioProcess:
    """A program that uses Gio, with `connection` to us."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def outcome(self) -> Any:
        """Wait for its end; give what it left in the variable `outcome`."""
        output = self._process.communicate(timeout=60)[0]
        assert self._process.returncode == 0
        return json.loads(output)


@contextmanager
def gio(script: str, kind: int) -> Iterator[tuple[UnixConnection, GioProcess]]:
    """Run *script* under Gio; give our connection to it, and the process."""
    program = need_gio()
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    with adopt(ours) as connection, theirs:
        process = subprocess.Popen(
            [program, "-c", f"{BEGIN}{script}{END}", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
        )
        # Or the end of the stream would never come.
        theirs.close()
        with process:
            try:
                yield connection, GioProcess(process)
            finally:
                process.kill()
