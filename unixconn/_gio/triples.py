"""
The declaration of operations, each of which has three methods: the plain one, ``*_async`` and ``*_finish``.

It is apart from what performs them, so that a program without asynchronous calls does not load that.
"""

from __future__ import annotations

from unixconn._base.typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, Optional

    Callback = Optional[Callable[..., object]]
    """The type of the callback argument. None stands for a callback that does nothing."""

FunctionT = TypeVar("FunctionT", bound="Callable[..., object]")


class _Default:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


# Its type is Any, so that it can be the default of a parameter of the type Callback.
AWAIT: Final[Any] = _Default("AWAIT")
"""The default of the parameter *callback*, which makes the call return a Future."""
NO_DATA: Final[Any] = _Default("NO_DATA")
"""The default of the parameter *user_data*: the callback gets no data."""


def with_async(
    name: str,
    *,
    returns: str,
    summary: str = "",
    note: str = "",
    io_priority: bool = False,
    static: bool = False,
    start: Callable[..., object] | None = None,
    result: object = None,
    **passed_on: object,
) -> Callable[[FunctionT], FunctionT]:
    """
    Declare an operation, of which tools/generate_async.py writes the methods ``*_async`` and ``*_finish``.

    That script describes the arguments. At run time the decorator returns the function unchanged.
    """
    return _unchanged


def _unchanged(function: FunctionT) -> FunctionT:
    return function
