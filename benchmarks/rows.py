"""The work that is measured: what each row is compared with, and how much of that time it may take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """How long the work may take."""

    rival: str
    """What it is compared with: "socket", "Gio", "anyio" or "C loop". Empty for a limit in microseconds."""
    most: float | None = None
    """The most that it may take, as a part of the rival's time; None for a ratio that is only shown."""
    wish: float | None = None
    """Where we want to be."""
    operation: str = ""
    """The rival's operation, if it is another one than the row's."""


@dataclass(frozen=True)
class Row:
    """A line of the tables, and of the picture."""

    operation: str
    """Its name in the workers."""
    title: str
    cpython: Limit
    pypy: Limit | None = None
    """None where nothing on PyPy is compared."""


C_LOOP = "C loop"

ROWS = (
    Row("descriptor", "a descriptor: send, receive, close", Limit("socket", 0.82, 0.75), Limit("socket")),
    Row("credentials", "credentials: send, receive", Limit("Gio", 0.75, 0.65), Limit(C_LOOP)),
    Row("64", "64 descriptors, with a count", Limit("socket", 1.05), Limit("socket")),
    Row("64-close_fds", "64 descriptors, close_fds", Limit("socket", 1.05), Limit("socket")),
    Row("cancellable", "a descriptor, with a Cancellable", Limit("Gio", 0.8, 0.6)),
    Row("message", "a message with a descriptor", Limit("socket", 1.8, 1.2), Limit("socket", 1.6)),
    Row("stream 100", "100 bytes by streams", Limit("Gio", 1.5, 1.0), Limit("socket", 2.0)),
    Row("stream 64K", "64 KiB by streams", Limit("Gio", 1.4, 1.0), Limit("socket", 1.5)),
    Row("line", "a line of 100 bytes: write, read_line", Limit("Gio", 1.3)),
    Row("line callback", "read_line_async, line is there", Limit("Gio", 0.8)),
    Row("signal", "a signal with one handler: emit", Limit("Gio", 1.0)),
    Row("connection", "a connection made of a socket", Limit("Gio", 1.2, 0.8), Limit("", 45)),
    Row("connect", "connect, accept, close", Limit("Gio", 1.3, 0.9), Limit("socket", 2.5)),
    Row("service", "SocketService: CPU of the server", Limit("Gio", 1.2, 0.8)),
    Row("callback there", "callback, message is there", Limit("Gio", 0.4, 0.25)),
    Row(
        "callback later",
        "callback, message comes later",
        Limit("Gio", 0.75, 0.45),
        # Half of what it took on PyPy before, which was 7.6.
        Limit(C_LOOP, 3.8, operation="descriptor"),
    ),
    Row("await asyncio", "await in asyncio, comes later", Limit("anyio", 0.62, 0.4)),
    Row("await uvloop", "await in uvloop, comes later", Limit("anyio")),
)
"""The limits on the compiled layer of CPython, and on PyPy."""

IMPORT_LIMIT = 0.5
"""How long `import unixconn` may take, as a part of the time of importing Gio."""
