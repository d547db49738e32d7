"""Fixtures of the tests of the commands."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest


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
