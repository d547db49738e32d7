"""The namespaces of unixconn.gi have the names that PyGObject's have, or say that they are left out."""

from __future__ import annotations

import json
import subprocess

import pytest
from peers.peer_gio import need_gio

import unixconn.gi
from unixconn._gio.missing import left_out

MISSING = """
import json, sys, warnings
from gi import repository
warnings.simplefilter("ignore")
library, names = json.loads(sys.argv[1])
space = getattr(__import__("gi.repository." + library).repository, library)
print([name for name in names if not hasattr(space, name)])
"""


@pytest.mark.parametrize("library", ["Gio", "GLib", "GObject"])
def test_pygobject_has_each_name(library: str) -> None:
    """A name of unixconn alone is in no namespace."""
    command = [need_gio(), "-c", MISSING, json.dumps([library, sorted(unixconn.gi._NAMES[library])])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.stdout.strip()) == ("", "[]")


@pytest.mark.parametrize("library", ["Gio", "GLib", "GObject"])
def test_each_name_is_there_or_left_out(library: str) -> None:
    """tools/generate_left_out.py has seen them all; what only C uses is no matter."""
    found = f"from gi.repository import {library}; print(*[name for name in dir({library}) if name[0] != '_'])"
    done = subprocess.run([need_gio(), "-c", found], capture_output=True, text=True, timeout=60, check=True)
    names = {each for each in done.stdout.split() if not each.endswith(("Class", "Private", "Iface"))}
    left, there = left_out(library), unixconn.gi._NAMES[library].keys()
    assert names - left - there == set()
    assert left & there == set()
