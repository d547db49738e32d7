"""INT, TERM and HUP end a command at any moment; and what must not delay it, or is left, is done in other threads."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, NoReturn, Protocol

from unixconn import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from typing_extensions import Self

# --- signals ---------------------------------------------------------------------------------------------------------

_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE = 0.5
"""Seconds that a signal waits for a file that is just being made or removed."""

has_come = threading.Event()
"""Set when one of the signals has come: the process is about to end."""
_lock = threading.Lock()
_to_undo: list[Callable[[], object]] = []
_has_begun = threading.Event()
"""Set by `end_on_signals`."""
_blocked: set[int] = set()
"""The signals that `end_on_signals` has blocked."""
_TICK, _TICK_INTERVAL = signal.SIGALRM, 0.01
"""The signal, and seconds, after which a `Closer` interrupts a call."""


def end_on_signals() -> None:
    """
    Have INT, TERM and HUP end this process with the exit code 128 + N, after `undone_at_the_end` was undone.

    A thread of its own waits for them. A handler would run in the main thread, between two of its bytecodes: never, as
    long as that thread is in a system call that no signal interrupts, such as close() on some file systems. A signal
    that is ignored stays ignored: nohup(1) ignores SIGHUP. Raises RuntimeError if no thread can be started.
    """
    ignored = _ignored_signals()
    numbers = {number for number in _ENDING_SIGNALS if not ignored >> (number - 1) & 1}
    # All threads inherit the mask. Only a Closer's has the tick.
    blocked = {*numbers, _TICK}
    _blocked.update(blocked - signal.pthread_sigmask(signal.SIG_BLOCK, blocked))
    signal.signal(_TICK, _do_nothing)
    _has_begun.set()
    threading.Thread(target=_end_on, args=(numbers,), daemon=True).start()


def _end_on(numbers: set[signal.Signals]) -> NoReturn:
    number = signal.sigwait(numbers)
    has_come.set()
    _lock.acquire(timeout=_PATIENCE)
    for undo in _to_undo:
        # In a thread, as its last steps may take long. It begins with what is to be undone.
        undoing = threading.Thread(target=undo, daemon=True)
        with suppress(RuntimeError):
            undoing.start()
            undoing.join(_PATIENCE)
    os._exit(128 + number)


def _ignored_signals() -> int:
    """Return the kernel's mask of ignored signals. PyPy's signal.getsignal() does not ask the kernel."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))


@contextmanager
def undone_at_the_end() -> Iterator[list[Callable[[], object]]]:
    """
    Keep signals from ending the process in the block, which makes or removes a file. Yields a list for the block.

    The functions in the list are called when a signal ends the process later. A second block can remove them.
    """
    with _lock:
        yield _to_undo
    if has_come.is_set():
        threading.Event().wait()  # for the end of the process


def restore_signals() -> None:
    """Undo `end_on_signals`, for a program that this process is about to execute."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    if signal.SIGINT in _blocked:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _blocked)


@contextmanager
def signals_of_children() -> Iterator[None]:
    """Have the signal mask of before `end_on_signals` in the block, which starts a process: it inherits the mask."""
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, _blocked)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


# --- closing ---------------------------------------------------------------------------------------------------------


class Closeable(Protocol):
    """A descriptor, or an object with several."""

    def close(self) -> object:
        """Close it."""


class Closer:
    """
    Closes what somebody else has made, in a thread of its own. Use it as a context manager.

    That may take long. A TCP socket with SO_LINGER waits until its data are sent, also in the queue of a connection
    that is closed, and some file systems wait for a server. A signal ends the wait of the former: a timer sends one to
    the thread, again and again. It is no other thread that sends it, as PyPy closes without releasing the GIL. File
    systems delay only what is closed after them; in PyPy all, until the signal KILL.

    There is no timer if `end_on_signals` was not called: the process may have one of its own.
    """

    def __init__(self) -> None:
        self._waiting: SimpleQueue[Closeable | None] = SimpleQueue()
        self._count = 0
        self._changed = threading.Condition()
        self._closing: threading.Thread | None = None
        self._ticks = _has_begun.is_set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Have the thread end when all is closed, and do not wait for it."""
        self._waiting.put(None)

    @property
    def count(self) -> int:
        """How many are not closed yet."""
        return self._count

    def close(self, thing: Closeable) -> None:
        """Have *thing* closed. Where no thread can be started, it is closed at once."""
        if self._closing is None:
            closing = threading.Thread(target=self._close_all, daemon=True)
            try:
                closing.start()
            except RuntimeError:
                thing.close()
                return
            self._closing = closing
        self._change(1)
        self._waiting.put(thing)

    def wait(self, seconds: float) -> bool:
        """Wait until all is closed, or *seconds* have passed; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._count, seconds)

    def _close_all(self) -> None:
        if self._ticks:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {_TICK})
        thing = self._waiting.get()
        while thing is not None:
            with suppress(Error, OSError):
                thing.close()
            self._change(-1)
            thing = self._waiting.get()

    def _change(self, by: int) -> None:
        with self._changed:
            self._count += by
            self._changed.notify_all()
            if self._ticks and self._count in (0, by):
                signal.setitimer(signal.ITIMER_REAL, self._count and _TICK_INTERVAL, _TICK_INTERVAL)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal that is only to interrupt a system call."""


def exit_at_once(code: int) -> NoReturn:
    """
    End the process with the exit code *code*.

    Unlike sys.exit(), this closes nothing before: the kernel does it, and there a socket that lingers does not wait.
    """
    for file in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            if file is not None:
                file.flush()
    os._exit(code)
