"""The namespaces of unixconn.gi have the names that PyGObject's have, each in the same place."""

from __future__ import annotations

import json
import subprocess

import pytest
from peers.peer_gio import need_gio

import unixconn.gi

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
