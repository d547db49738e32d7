"""Arguments as PyGObject takes them."""

from __future__ import annotations

import math

from unixconn._base.typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from enum import Enum
    from typing import Any

    EnumT = TypeVar("EnumT", bound=Enum)


INT_MAX = 2**31 - 1
UINT_MAX = 2**32 - 1


def as_integer(value: Any, name: str, lowest: int, highest: int) -> int:
    """
    Give *value* as an integer from *lowest* to *highest*; a float loses its fraction.

    Raises TypeError for anything that is no number, OverflowError for one out of the range and ValueError for NaN,
    naming *name* and the value.
    """
    if not isinstance(value, float) and not hasattr(value, "__index__"):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    try:
        number = int(value)
    except (OverflowError, ValueError) as error:  # infinity, and NaN
        raise type(error)(f"{name} must be an integer, not {value!r}") from None
    if lowest <= number <= highest:
        return number
    raise OverflowError(f"{name} must be from {lowest} to {highest}, not {value!r}")


def as_timeout(value: Any) -> int:
    """
    Give the timeout *value* in whole seconds; 0 means without end.

    Raises ValueError for less than a second, which would lose its fraction and mean without end, and TypeError and
    OverflowError as `as_integer` does.
    """
    seconds = as_integer(value, "timeout", 0, UINT_MAX)
    if value and not seconds:
        raise ValueError(f"timeout must be whole seconds, not {value!r}: Cancellable.with_timeout() takes fractions")
    return seconds


def as_priority(value: Any, name: str) -> int:
    """Give the priority *value* as an integer. Raises TypeError and OverflowError as `as_integer` does."""
    return as_integer(value, name, -INT_MAX - 1, INT_MAX)


def as_member(kind: type[EnumT], value: Any) -> EnumT:
    """Give the member of the enumeration *kind* that *value* is or stands for. Raises TypeError for what is none."""
    try:
        return kind(value)
    except ValueError:
        raise TypeError(f"{value!r} is no {kind.__name__}") from None


def as_seconds(value: Any, name: str) -> float:
    """
    Give *value* as a number of seconds, 0 or more; infinity for one that a float does not hold.

    Raises TypeError for anything that is no number, a bool too, and ValueError for a negative one and NaN, naming
    *name* and the value.
    """
    if isinstance(value, (bool, complex)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name} must be a number, not {value!r}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf if value > 0 else -math.inf
    if not seconds >= 0:
        raise ValueError(f"{name} must be 0 or more, not {value!r}")
    return seconds


def as_writable(value: Any) -> memoryview:
    """Give the bytes of *value*, a writable bytes-like object. Raises TypeError for anything else."""
    view = memoryview(value).cast("B")
    if view.readonly:
        raise TypeError(f"a buffer to receive into must be writable, and this one is not: {value!r}")
    return view


def as_copy(value: Any) -> bytes:
    """Give the bytes of *value* as `as_bytes` takes it, in an object of their own unless it is bytes already."""
    return value if type(value) is bytes else bytes(as_bytes(value))


def as_bytes(value: Any) -> memoryview:
    """
    Give the bytes of *value*, a bytes-like object or a list of integers below 256.

    Raises TypeError for anything else, a str among them, and OverflowError for an integer that is no byte.
    """
    if isinstance(value, (list, tuple)):
        try:
            value = bytes(value)
        except ValueError as error:
            raise OverflowError(f"a list of bytes: {error}") from None
    if isinstance(value, str):
        raise TypeError(f"a buffer must be bytes-like, and the str {value!r} has to be encoded")
    view = memoryview(value)
    # PyPy reads a view that was cast byte by byte: a hundred milliseconds for a megabyte.
    return view if view.format == "B" and view.ndim == 1 and view.c_contiguous else view.cast("B")
