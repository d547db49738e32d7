"""
Write unixconn/_gio/left_out.py: the names of Gio, GLib and GObject that this library leaves out on purpose.

    PYTHONPATH=. python3 tools/generate_left_out.py [GIR file...]

It adds the names that the installed PyGObject has, and those of the GIR files, such as /usr/share/gir-1.0/Gio-2.0.gir,
to those that are in the table. What this library has by now leaves it. It needs PyGObject, and the library or its
source folder.
"""

from __future__ import annotations

import importlib
import re
import sys
import textwrap
import warnings
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

import unixconn.gi
from unixconn._gio.missing import left_out

TABLE = Path(unixconn.gi.__file__).parent / "_gio" / "left_out.py"
HEAD = '''"""The names that `unixconn.gi` leaves out on purpose, written by tools/generate_left_out.py."""

# A word that ends in a colon is how the words after it begin; a word without one after a dash is a whole name.
NAMES = {
'''
C_ONLY = re.compile(r"(Class|Private|Iface)$")
"""Structures that Python never uses."""
_PREFIX = re.compile(r"[A-Z]+_[A-Z]+_|[A-Z]*[a-z0-9]*_?")
_CORE = "{http://www.gtk.org/introspection/core/1.0}"


def names_of_pygobject(library: str) -> set[str]:
    """Return the names that the installed PyGObject has; none if it does not have the library."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = importlib.import_module(f"gi.repository.{library}")
            return {each for each in dir(found) if not each.startswith("_")}
    except ImportError:
        return set()


def names_of_gir(path: str) -> tuple[str, set[str]]:
    """Return the name of the library that the file *path* describes, and the names that it has for Python."""
    namespace = ElementTree.parse(path).getroot().find(f"{_CORE}namespace")
    assert namespace is not None
    kinds = {
        f"{_CORE}{each}"
        for each in ["alias", "bitfield", "callback", "class", "constant", "enumeration", "function", "interface"]
    }
    kinds |= {f"{_CORE}record", f"{_CORE}union"}
    found = {each.get("name", "") for each in namespace if each.tag in kinds and each.get("introspectable") != "0"}
    return namespace.get("name", ""), found


def _prefix(name: str) -> str:
    found = _PREFIX.match(name)
    return found[0] if found else ""


def packed(names: set[str]) -> str:
    """Return *names* as the table has them; see `left_out` in unixconn/_gio/missing.py."""
    words = []
    for prefix, group in groupby(sorted(names), key=_prefix):
        members = list(group)
        if len(members) < 3:
            words += [f"-{each}" for each in members]
        else:
            words += [f"{prefix}:", *(each[len(prefix) :] or "=" for each in members)]
    return " ".join(words)


def main() -> None:
    """Write the table."""
    names = {library: left_out(library) | names_of_pygobject(library) for library in unixconn.gi._NAMES}
    for path in sys.argv[1:]:
        library, found = names_of_gir(path)
        names[library] |= found
    with TABLE.open("w", encoding="utf-8") as file:
        file.write(HEAD)
        for library, each in names.items():
            left = {name for name in each - unixconn.gi._NAMES[library].keys() if not C_ONLY.search(name)}
            lines = textwrap.wrap(packed(left), 108, break_on_hyphens=False)
            file.write(f'    "{library}": (\n')
            file.writelines(f'        "{line} "\n' for line in lines)
            file.write("    ),\n")
        file.write("}\n")


if __name__ == "__main__":
    main()
