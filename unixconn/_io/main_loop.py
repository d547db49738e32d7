"""MainLoop, which iterates a context until it is told to quit, and functions for the default context."""

from __future__ import annotations

import warnings

from unixconn._base.arguments import UINT_MAX, as_integer
from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.main_context import PRIORITY_DEFAULT, PRIORITY_DEFAULT_IDLE, MainContext, Source, Timeout, context_of

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE_CONTINUE = True
SOURCE_REMOVE = False


class MainLoop:
    """Iterates a context until it is told to quit (GLib.MainLoop)."""

    def __init__(self, context: MainContext | None = None, is_running: bool = False) -> None:
        self._context = context_of(context)
        self._running = bool(is_running)

    @classmethod
    def new(cls, context: MainContext | None = None, is_running: bool = False) -> MainLoop:
        """Return a new loop for *context*, None for the default context."""
        return cls(context, is_running)

    def run(self) -> None:
        """Iterate until `quit`. KeyboardInterrupt, and any other exception of a signal handler, comes out."""
        self._running = True
        try:
            while self._running:
                self._context.iteration(True)
        finally:
            self._running = False

    def quit(self) -> None:
        """End `run`, also a nested one, from any thread. Has no effect before `run`."""
        self._running = False
        self._context.wakeup()

    def is_running(self) -> bool:
        """Return whether it runs."""
        return self._running

    def get_context(self) -> MainContext:
        """Return the context."""
        return self._context


def idle_add(function: Callable[..., object], *data: object, priority: int = PRIORITY_DEFAULT_IDLE) -> int:
    """
    Have the default context call *function* with *data* when it has nothing of a higher priority to do.

    It is called again and again, until it returns a false value. Returns a number for `source_remove`.
    """
    source = Source(priority)
    source.set_callback(function, *data)
    return source.attach()


def timeout_add(interval: int, function: Callable[..., object], *data: object, priority: int = PRIORITY_DEFAULT) -> int:
    """
    Have the default context call *function* with *data* every *interval* milliseconds.

    It is called until it returns a false value. Returns a number for `source_remove`.
    """
    source = Timeout(as_integer(interval, "interval", 0, UINT_MAX) / 1000, priority)
    source.set_callback(function, *data)
    return source.attach()


def timeout_add_seconds(
    interval: int, function: Callable[..., object], *data: object, priority: int = PRIORITY_DEFAULT
) -> int:
    """Do what `timeout_add` does, with an *interval* in seconds."""
    source = Timeout(as_integer(interval, "interval", 0, UINT_MAX), priority)
    source.set_callback(function, *data)
    return source.attach()


def source_remove(tag: int) -> bool:
    """
    Remove the source with the number *tag* from the default context, and return True.

    Returns False, with a RuntimeWarning, if there is no such source, as after its end.
    """
    source = MainContext.default()._sources.get(as_integer(tag, "tag", 0, UINT_MAX))
    if source is None:
        warnings.warn(f"the default context has no source {tag}", RuntimeWarning, stacklevel=2)
        return False
    source.destroy()
    return True
