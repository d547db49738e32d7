"""
Run the functions of snippets/, and print what each gives as JSON.

A program of its own: ``python peer_runner.py gi`` needs PyGObject, ``python peer_runner.py unixconn`` this library.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).with_name("snippets")
TOOLS = "tools"
LIMIT = 60
"""Seconds for one function."""


def load(name, implementation):
    """Run one file's source, its import of Gio and GLib exchanged if need be; give the module."""
    path = FOLDER / f"{name}.py"
    source = path.read_text(encoding="utf-8")
    if implementation == "unixconn":
        source = re.sub(
            r"^from gi\.repository import (.+)$",
            lambda found: f"import unixconn; {found[1].replace(',', ' =')} = unixconn",
            source,
            flags=re.MULTILINE,
        )
    module = ModuleType(name)
    exec(compile(source, str(path), "exec"), module.__dict__)
    return module


def snippets(implementation):
    """Return the functions of all files by their names."""
    # First, as the others import it.
    sys.modules[TOOLS] = load(TOOLS, implementation)
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem != TOOLS:
            module = load(path.stem, implementation)
            found.update(
                (f"{path.stem}.{name}", value)
                for name, value in vars(module).items()
                if getattr(value, "__module__", "") == module.__name__
            )
    return found


def run(function):
    """Return the outcome of a function that runs in a forked process, or how that process died."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        # Unhandled, so that it ends also a call that holds the interpreter.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LIMIT)
        code = 1
        try:
            os.write(writer, json.dumps(function()).encode())
            code = 0
        except BaseException:  # noqa: BLE001 - a forked process must not go on
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    status = os.waitpid(pid, 0)[1]
    return {"died": os.waitstatus_to_exitcode(status)} if status else {"outcome": json.loads(data)}


if __name__ == "__main__":
    json.dump({name: run(function) for name, function in snippets(sys.argv[1]).items()}, sys.stdout)
