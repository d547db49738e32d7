"""Starting and ending the programs that the tests talk to."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def need(program: str, package: str = "") -> str:
    """Return the path of *program*; skip the test, with its name, if it is not installed."""
    # Debian keeps servers where only root looks.
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program}{f' ({package})' if package else ''} is not installed")
    return found


@contextmanager
def running(command: list[Any], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; end and reap it at the end, whatever happened."""
    with subprocess.Popen([str(each) for each in command], **options) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def short_folder() -> Iterator[Path]:
    """Make a folder for sockets: a path of theirs has 107 bytes at most, and pytest's folders are long."""
    with tempfile.TemporaryDirectory(prefix="uc", dir="/tmp") as name:
        yield Path(name)
