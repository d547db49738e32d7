"""What GLib has for its loop besides idle_add and timeout_add: signals, child processes, descriptors, clocks."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time

from unixconn._base.arguments import INT_MAX, UINT_MAX, as_integer
from unixconn._base.errors import Error
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.main_context import MainContext
from unixconn._io.priorities import PRIORITY_DEFAULT, PRIORITY_DEFAULT_IDLE
from unixconn._io.source import DescriptorSource, IdleSource, Source, TimeoutSource
from unixconn._kernel.credentials import open_pidfd
from unixconn._kernel.descriptors import as_descriptor
from unixconn._kernel.epoll import IOCondition

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from unixconn._kernel.descriptors import FileDescriptorLike
    from unixconn._kernel.file_descriptor import FileDescriptor


def idle_source_new() -> Source:
    """Return a source that is always ready, with the priority PRIORITY_DEFAULT_IDLE (g_idle_source_new)."""
    return IdleSource(PRIORITY_DEFAULT_IDLE)


def timeout_source_new(interval: int) -> Source:
    """
    Return a source that is ready every *interval* milliseconds (g_timeout_source_new).

    Raises TypeError if *interval* is not a number, and OverflowError if it is not from 0 to 2**32 - 1.
    """
    return TimeoutSource(as_integer(interval, "interval", 0, UINT_MAX) / 1000)


def timeout_source_new_seconds(interval: int) -> Source:
    """
    Return a source that is ready every *interval* seconds (g_timeout_source_new_seconds).

    Raises the errors of `timeout_source_new`.
    """
    return TimeoutSource(as_integer(interval, "interval", 0, UINT_MAX))


def get_monotonic_time() -> int:
    """Return the microseconds of a clock that is never set, the one of `time.monotonic` (g_get_monotonic_time)."""
    return time.monotonic_ns() // 1000


def get_real_time() -> int:
    """Return the microseconds since 1970 (g_get_real_time)."""
    return time.time_ns() // 1000


class _Signals:
    """The sources of each signal, and the handlers that Python had before."""

    def __init__(self) -> None:
        self.sources: dict[int, list[SignalSource]] = {}
        self.before: dict[int, Any] = {}

    def arrive(self, number: int, _frame: object) -> None:
        known = list(self.sources.get(number, ()))
        for each in known:
            each._make_ready()
        if not known:  # another thread has destroyed the last one, and could not restore the handler
            self.restore(number)
            signal.raise_signal(number)

    def listen(self, number: int) -> None:
        """Have Python call `arrive` for the signal *number*. Only the main thread can do that."""
        found = signal.getsignal(number)
        if found != self.arrive:
            self.before[number] = found
            signal.signal(number, self.arrive)

    def restore(self, number: int) -> None:
        """Undo `listen`, unless the program has set another handler since."""
        if signal.getsignal(number) == self.arrive:
            before = self.before.get(number)
            signal.signal(number, signal.SIG_DFL if before is None else before)
        self.before.pop(number, None)


_signals = _Signals()


class SignalSource(Source):
    """A source that becomes ready when the process gets the signal *number*."""

    __slots__ = ("_number",)

    def __init__(self, number: int, priority: int) -> None:
        super().__init__(priority)
        self._number = number

    def _prepare(self) -> None:
        known = _signals.sources.setdefault(self._number, [])
        if self not in known:
            known.append(self)
            _signals.listen(self._number)

    def destroy(self) -> None:
        """See `Source.destroy`."""
        super().destroy()
        known = _signals.sources.get(self._number, [])
        if self in known:
            known.remove(self)
        # Only the main thread can restore the handler. After another one, `arrive` does.
        if not known and self._number in _signals.before and threading.current_thread() is threading.main_thread():
            _signals.restore(self._number)


_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)


def unix_signal_add(priority: int, signum: int, handler: Callable[..., object], *data: object) -> int:
    """
    Have the default context call *handler* with *data* after each signal *signum* (g_unix_signal_add_full).

    *handler* is called until it returns a false value. Python's handler of the signal is then restored, unless the
    program has set another one since. Several signals before the call may count as one. Returns the number of the
    source, for `source_remove`.

    *signum* is SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2 or SIGWINCH; any other raises ValueError, as does a call
    outside of the main thread. Raises TypeError if *handler* is not callable.
    """
    number = as_integer(signum, "signum", 0, INT_MAX)
    if number not in _SIGNALS:
        raise ValueError(f"signum must be SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2 or SIGWINCH, not {signum!r}")
    if threading.current_thread() is not threading.main_thread():
        raise ValueError("unix_signal_add() works only in the main thread, as Python's signal handlers do")
    source = SignalSource(number, priority)
    source._set(handler, data)
    return source.attach()


class ChildSource(Source):
    """A source that becomes ready when the child process *pid* has ended."""

    __slots__ = ("_ended", "_pid")

    def __init__(self, pid: int, priority: int) -> None:
        super().__init__(priority)
        self._pid = pid
        self._ended = (0, 0)
        """The pid and the status once the process has ended."""

    def set_callback(self, callback: Callable[..., object], *data: object) -> None:
        """Set *callback*, which is called once with the pid, the wait status and *data*."""
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")

        def call() -> bool:
            callback(self._pid, self._ended[1], *data)
            return False

        self._call = call

    def _prepare(self) -> None:
        if self._ended[0]:
            self._make_ready()
            return
        try:
            pidfd = open_pidfd(self._pid)
        except Error:  # an old Python or kernel, or no descriptor is free
            threading.Thread(target=self._wait, name=f"unixconn: child {self._pid}", daemon=True).start()
        else:
            # No thread, as Python warns about each fork of a process that has several.
            watch = DescriptorSource(pidfd.fileno(), IOCondition.IN, pidfd)
            watch.set_priority(self._priority)
            watch.set_callback(self._reap)
            watch.attach(self._context)

    def _reap(self, pidfd: FileDescriptor, _condition: IOCondition) -> bool:
        self._wait()
        pidfd.close()
        return False

    def _wait(self) -> None:
        # ChildProcessError: somebody else has taken the status meanwhile.
        with contextlib.suppress(ChildProcessError):
            self._ended = os.waitpid(self._pid, 0)
        if not self._destroyed:
            self._make_ready()


def child_watch_add(*arguments: Any, priority: int = PRIORITY_DEFAULT) -> int:
    """
    Have the default context call a function when a child process has ended (g_child_watch_add_full).

    The arguments are ``child_watch_add(priority, pid, function, *data)``, or without *priority*. The function is called
    with *pid*, the status (see `os.waitstatus_to_exitcode`; 0 if somebody else has waited for the process) and *data*.
    Returns the number of the source, for `source_remove`; the process is waited for nevertheless.

    Raises TypeError for wrong arguments, OverflowError for a *pid* that does not fit a C int, and ChildProcessError if
    *pid* is no child of this process.
    """
    if len(arguments) > 1 and not callable(arguments[1]):
        priority, *rest = arguments
    else:
        rest = list(arguments)
    if len(rest) < 2:
        raise TypeError(f"child_watch_add() takes a pid and a function, not {arguments!r}")
    pid, function, *data = rest
    number = as_integer(pid, "pid", 1, INT_MAX)
    source = ChildSource(number, priority)
    source.set_callback(function, *data)
    source._ended = os.waitpid(number, os.WNOHANG)
    return source.attach()


def io_add_watch(channel: FileDescriptorLike, *arguments: Any, priority: int = PRIORITY_DEFAULT) -> int:
    """
    Have the default context call a function when one of some conditions holds for a descriptor (g_io_add_watch_full).

    The arguments are ``io_add_watch(channel, priority, condition, callback, *data)``, or without *priority*, which may
    then be a keyword argument. *channel* is a descriptor's number, or an object with ``fileno()``, such as a file or a
    socket. *condition* is an `IOCondition`; ERR and HUP always count, as with poll(2). *callback* is called with
    *channel*, the conditions that hold, and *data*, until it returns a false value. A descriptor that is not open is
    the condition NVAL, after which the source has ended. Returns the number of the source, for `source_remove`.

    Raises TypeError for wrong arguments, ValueError for a negative number, and OverflowError for numbers that do not
    fit a C int.
    """
    if len(arguments) > 1 and callable(arguments[1]):
        condition, callback, *data = arguments
    elif len(arguments) > 2:
        priority, condition, callback, *data = arguments
    else:
        raise TypeError(f"io_add_watch() takes a descriptor, a condition and a function, not {(channel, *arguments)!r}")
    source = DescriptorSource(as_descriptor(channel, "channel"), condition, channel, is_channel=True)
    source.set_priority(priority)
    source.set_callback(callback, *data)
    return source.attach()


def unix_fd_source_new(fd: FileDescriptorLike, condition: int) -> Source:
    """
    Return a source that is ready when one of *condition*, ERR or HUP holds for *fd* (g_unix_fd_source_new).

    Its callback is called as that of `io_add_watch` is. Raises TypeError, ValueError or OverflowError for an *fd* or
    *condition* that cannot be one.
    """
    return DescriptorSource(as_descriptor(fd), condition, fd)


def unix_fd_add_full(
    priority: int, fd: FileDescriptorLike, condition: int, function: Callable[..., object], *data: object
) -> int:
    """
    Have the default context call *function* when one of *condition* holds for *fd* (g_unix_fd_add_full).

    Apart from the order of the arguments, it does what `io_add_watch` does, and raises the same errors.
    """
    source = unix_fd_source_new(fd, condition)
    source.set_priority(priority)
    source.set_callback(function, *data)
    return source.attach()


def source_set_name_by_id(tag: int, name: str) -> None:
    """
    Name the source with the number *tag* of the default context (g_source_set_name_by_id).

    Has no effect if there is no such source. Raises TypeError if *tag* is not a number or *name* not a string, and
    OverflowError if *tag* is not from 0 to 2**32 - 1.
    """
    source = MainContext.default().find_source_by_id(tag)
    if source is not None:
        source.set_name(name)


for _each in (
    child_watch_add,
    get_monotonic_time,
    get_real_time,
    idle_source_new,
    io_add_watch,
    source_set_name_by_id,
    timeout_source_new,
    timeout_source_new_seconds,
    unix_fd_add_full,
    unix_fd_source_new,
    unix_signal_add,
):
    _each.__module__ = "unixconn"
