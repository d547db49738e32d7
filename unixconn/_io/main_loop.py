"""MainLoop, which iterates a context until `MainLoop.quit` is called, and functions for the default context."""

from __future__ import annotations

from unixconn._base.arguments import UINT_MAX, as_integer
from unixconn._base.object import refuse_copy
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.main_context import MainContext, context_of
from unixconn._io.priorities import PRIORITY_DEFAULT, PRIORITY_DEFAULT_IDLE
from unixconn._io.source import IdleSource, TimeoutSource

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE_CONTINUE = True
SOURCE_REMOVE = False


class MainLoop:
    """
    A loop that iterates a context until `quit` is called (GLib.MainLoop).

    *context* is a `MainContext`, None for the default context. *is_running* is what `is_running` returns before `run`.
    Raises TypeError if *context* is neither.
    """

    __module__ = "unixconn"

    __reduce__ = refuse_copy

    def __init__(self, context: MainContext | None = None, is_running: bool = False) -> None:
        self._context = context_of(context)
        self._running = bool(is_running)

    @classmethod
    def new(cls, context: MainContext | None = None, is_running: bool = False) -> MainLoop:
        """Return a new loop (g_main_loop_new), with the arguments of the class."""
        return cls(context, is_running)

    def run(self) -> None:
        """
        Iterate the context until `quit` is called (g_main_loop_run).

        KeyboardInterrupt and any other exception that a signal handler raises propagate. Exceptions that callbacks
        raise go to `sys.excepthook`, see `MainContext.iteration`.
        """
        self._running = True
        context, token = self._context, object()
        try:
            context._keepers.append(token)
            # Not "while self._running": see "Signal handlers that raise" in CONTRIBUTING.md.
            while True:
                if not self._running:
                    break
                context.iteration(True)
        finally:
            self._running = False
            if token in context._keepers:
                context._keepers.remove(token)
            context._rest()

    def quit(self) -> None:
        """
        End `run`, including all its nested calls (g_main_loop_quit). May be called in any thread.

        Has no effect before `run`.
        """
        self._running = False
        self._context.wakeup()

    def is_running(self) -> bool:
        """Return whether the loop runs: from the beginning of `run` until `quit` (g_main_loop_is_running)."""
        return self._running

    def get_context(self) -> MainContext:
        """Return the context that the loop iterates (g_main_loop_get_context)."""
        return self._context


def idle_add(function: Callable[..., object], *data: object, priority: int = PRIORITY_DEFAULT_IDLE) -> int:
    """
    Have the default context call *function* with *data* when nothing of a higher priority is ready (g_idle_add).

    *function* is called again and again, until it returns a false value. A smaller *priority* is more urgent. Returns
    the number of the source, for `source_remove`.

    Raises TypeError if *function* is not callable or *priority* is not a number, and OverflowError for a *priority*
    that does not fit a C int.
    """
    source = IdleSource(priority)
    source._set(function, data)
    return source.attach()


idle_add.__module__ = "unixconn"


def timeout_add(interval: int, function: Callable[..., object], *data: object, priority: int = PRIORITY_DEFAULT) -> int:
    """
    Have the default context call *function* with *data* every *interval* milliseconds (g_timeout_add).

    *function* is called until it returns a false value. A smaller *priority* is more urgent. Returns the number of the
    source, for `source_remove`.

    Raises TypeError if *function* is not callable, or *interval* or *priority* is not a number; and OverflowError for
    an *interval* that is not from 0 to 2**32 - 1, or a *priority* that does not fit a C int.
    """
    source = TimeoutSource(as_integer(interval, "interval", 0, UINT_MAX) / 1000, priority)
    source._set(function, data)
    return source.attach()


timeout_add.__module__ = "unixconn"


def timeout_add_seconds(
    interval: int, function: Callable[..., object], *data: object, priority: int = PRIORITY_DEFAULT
) -> int:
    """
    Have the default context call *function* with *data* every *interval* seconds (g_timeout_add_seconds).

    *interval* loses its fraction. Everything else is as in `timeout_add`.
    """
    source = TimeoutSource(as_integer(interval, "interval", 0, UINT_MAX), priority)
    source._set(function, data)
    return source.attach()


timeout_add_seconds.__module__ = "unixconn"
