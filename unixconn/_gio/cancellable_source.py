"""CancellableSource: calls a function in a MainContext when a Cancellable is cancelled."""

from __future__ import annotations

from unixconn._base.typing import TYPE_CHECKING
from unixconn._io.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from unixconn._gio.cancellable import Cancellable
    from unixconn._io.main_context import MainContext


class CancellableSource(Source):
    """A source that is ready whenever *cancellable* is cancelled."""

    __slots__ = ("_cancellable",)

    _kind = "GCancellable"

    def __init__(self, cancellable: Cancellable) -> None:
        super().__init__()
        self._cancellable = cancellable

    def set_callback(self, callback: Callable[..., object], *data: object) -> None:
        """Set *callback*, which is called with *data*; see `Source.set_callback`."""
        self._set(callback, data)

    def attach(self, context: MainContext | None = None) -> int:
        """See `Source.attach`."""
        # This comes first, as it may raise an Error.
        self._cancellable._set_alarm()
        number = super().attach(context)
        self._cancellable._watch(self)
        self._look()
        return number

    def destroy(self) -> None:
        """See `Source.destroy`."""
        super().destroy()
        self._cancellable._unwatch(self)

    def _prepare(self) -> None:
        """Do nothing: `_look` makes the source ready."""

    def _look(self) -> None:
        """Become ready if the flag of the Cancellable is set."""
        # Not already from the deadline on: the thread sets the flag then, and calls this again.
        if self._cancellable._code is not None:
            self._make_ready()
