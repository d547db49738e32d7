"""Signals that ask a command for its end."""

from __future__ import annotations

import signal
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from unixconn._gio.socket import Socket
from unixconn._gio.socket_source import SocketSource
from unixconn._kernel.epoll import IOCondition

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


def end_orderly() -> None:
    """Have SIGTERM and SIGHUP raise SystemExit, so that what is to be removed is."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    ignored = _ignored()
    for number in (signal.SIGTERM, signal.SIGHUP):
        # nohup(1) ignores the one.
        if not ignored >> (number - 1) & 1:
            signal.signal(number, end)


def _ignored() -> int:
    """Give them as a set of bits; the kernel knows, and PyPy's getsignal() does not ask it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def held() -> Iterator[set[int]]:
    """Have the signals that end a command wait: between making the socket file and knowing it, say. Gives the mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield before
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def let_through(before: set[int]) -> Iterator[None]:
    """Have them come meanwhile, as with the mask *before* that `held` gave."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


@contextmanager
def waking() -> Iterator[None]:
    """
    Have every signal end the default context's wait.

    Python calls a handler between two of its own steps: one whose signal comes after the last of them, and before the
    system call that waits, would be called when something else has ended that. Raises OSError where there is no
    descriptor left.
    """
    reader, writer = socket.socketpair()
    with writer, Socket.new_from_fd(reader.detach()) as woken:
        writer.setblocking(False)
        source = SocketSource(woken, IOCondition.IN, None)
        # Once: what the handlers have to say ends the wait for good.
        source.set_callback(lambda *_: False)
        source.attach()
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            source.destroy()
