"""The names of GLib's libraries that this library leaves out on purpose, and what an AttributeError says of them."""

from __future__ import annotations

LIBRARIES = ("Gio", "GLib", "GObject")
"""The libraries whose names are names of unixconn, too."""


def left_out(library: str) -> set[str]:
    """Return the names of *library* that are left out: they have nothing to do with sockets and their loop."""
    try:
        from unixconn._gio.left_out import NAMES
    except ImportError:  # tools/generate_left_out.py is about to write it
        return set()
    found, prefix = set(), ""
    for word in NAMES[library].split():
        if word.endswith(":"):
            prefix = word[:-1]
        else:
            found.add(word[1:] if word[0] == "-" else prefix + word.strip("="))
    return found


def about(library: str, name: str) -> str | None:
    """Return what to say of *name* if it is left out, or None."""
    if name not in left_out(library):
        return None
    return f"{library}.{name} is not part of unixconn, on purpose: see docs/migrating.md"
