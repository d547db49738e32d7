"""
Loads the layer that calls the C library. build_ffi.py generates two layers; no other module imports them.

The environment variable ``UNIXCONN_BACKEND`` chooses the layer: ``api`` is the compiled one, ``abi`` the plain one.
Without it, the compiled layer is used if it was built, and the plain one otherwise.
"""

from __future__ import annotations

import importlib
import os
import sys

from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    class Library(Protocol):
        """The functions and constants that build_ffi.py declares. Constants are read as attributes."""

        def eventfd(self, value: int, flags: int) -> int:
            """eventfd(2); -1 with `ffi.errno` on failure."""

        def renameat2(self, old_folder: int, old: bytes, new_folder: int, new: bytes, flags: int) -> int:
            """renameat2(2); -1 with `ffi.errno` on failure."""

        def listen(self, fd: int, backlog: int) -> int:
            """listen(2); -1 with `ffi.errno` on failure."""

        def getsockopt(self, fd: int, level: int, name: int, value: Any, length: Any) -> int:
            """getsockopt(2); -1 with `ffi.errno` on failure."""

        def setsockopt(self, fd: int, level: int, name: int, value: Any, length: int) -> int:
            """setsockopt(2); -1 with `ffi.errno` on failure."""

        def __getattr__(self, constant: str) -> int: ...


__all__ = ["BACKEND", "ffi", "lib", "recvmsg", "sendmsg"]


def _load(layer: str) -> tuple[Any, Library]:
    if layer == "api":
        module = importlib.import_module("unixconn._api")
        return module.ffi, module.lib
    platforms = importlib.import_module("unixconn._abi").PLATFORMS
    module = importlib.import_module(f"unixconn._abi_{_entry(platforms, sys.platform, os.uname().machine)}")
    return module.ffi, module.ffi.dlopen(None)


def _entry(platforms: Sequence[tuple[str, tuple[str, ...], str]], system: str, machine: str) -> str:
    """
    Return the name of the first entry of build_ffi.py's table that is for *system* and *machine*.

    Raises ImportError if there is none.
    """
    for systems, machines, name in platforms:
        if system.startswith(systems) and machine.startswith(machines):
            return name
    known = ", ".join(name for _, _, name in platforms)
    raise ImportError(
        f"unixconn has no C declarations for the platform {system!r} ({machine}): add an entry to PLATFORMS in "
        f"build_ffi.py, which has {known}"
    )


def _choose() -> tuple[str, Any, Library]:
    forced = os.environ.get("UNIXCONN_BACKEND")
    if forced not in (None, "", "api", "abi"):
        raise ImportError(
            f"UNIXCONN_BACKEND={forced!r} names no layer of unixconn: set it to 'api' or 'abi', or unset it"
        )
    for layer in (forced,) if forced else ("api", "abi"):
        try:
            return layer, *_load(layer)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("unixconn."):  # cffi is missing, not the layer
                raise
    if forced == "api":
        raise ImportError(
            "UNIXCONN_BACKEND=api asks for unixconn's compiled layer, and this installation has none: install again "
            "with a C compiler and Python's headers (UNIXCONN_REQUIRE_API=1 makes pip show why it fails), or unset it"
        )
    raise ImportError(
        "unixconn's generated layers are missing: this is its source folder. Install it (pip install .) and start "
        "Python elsewhere, or run python build_ffi.py here"
    )


def _exported(name: str) -> Any:
    # On Solaris the functions with the plain names are those of 4.2BSD, which do not know control messages.
    return getattr(lib, f"__xnet_{name}" if sys.platform.startswith("sunos") else name)


BACKEND, ffi, lib = _choose()
sendmsg, recvmsg = _exported("sendmsg"), _exported("recvmsg")
