"""
Picks the generated layer; the only module that imports one.

``UNIXCONN_BACKEND=api`` or ``abi`` in the environment forces the compiled or the plain one. Without it the compiled
layer is taken where it was built.
"""

from __future__ import annotations

import importlib
import os

from unixconn._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, Protocol

    class Library(Protocol):
        """What build_ffi.py declares: the C library's functions and the kernel's constants."""

        def eventfd(self, value: int, flags: int) -> int:
            """eventfd(2); -1 with `ffi.errno` on failure."""

        def listen(self, fd: int, backlog: int) -> int:
            """listen(2); -1 with `ffi.errno` on failure."""

        def sendmsg(self, fd: int, message: Any, flags: int) -> int:
            """sendmsg(2); -1 with `ffi.errno` on failure."""

        def recvmsg(self, fd: int, message: Any, flags: int) -> int:
            """recvmsg(2); -1 with `ffi.errno` on failure."""

        def getsockopt(self, fd: int, level: int, name: int, value: Any, length: Any) -> int:
            """getsockopt(2); -1 with `ffi.errno` on failure."""

        def setsockopt(self, fd: int, level: int, name: int, value: Any, length: int) -> int:
            """setsockopt(2); -1 with `ffi.errno` on failure."""

        def __getattr__(self, constant: str) -> int: ...


__all__ = ["BACKEND", "ffi", "lib"]


def _load(layer: str) -> tuple[Any, Library]:
    module = importlib.import_module(f"unixconn._{layer}")
    return module.ffi, module.lib if layer == "api" else module.ffi.dlopen(None)


def _choose() -> tuple[str, Any, Library]:
    forced = os.environ.get("UNIXCONN_BACKEND")
    if forced not in (None, "", "api", "abi"):
        raise ImportError(
            f"UNIXCONN_BACKEND={forced!r} names no layer of unixconn: set it to 'api' or 'abi', or unset it"
        )
    for layer in (forced,) if forced else ("api", "abi"):
        try:
            return layer, *_load(layer)
        except ModuleNotFoundError:
            continue
    if forced == "api":
        raise ImportError(
            "UNIXCONN_BACKEND=api asks for unixconn's compiled layer, and this installation has none: install again "
            "with a C compiler and Python's headers (UNIXCONN_REQUIRE_API=1 makes pip show why it fails), or unset it"
        )
    raise ImportError(
        "unixconn's generated layers are missing: this is its source folder. Install it (pip install .), or run "
        "python build_ffi.py here"
    )


BACKEND, ffi, lib = _choose()
