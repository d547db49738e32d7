"""Checks and conversions of arguments, with the types and errors of PyGObject."""

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
    Return *value* as an integer from *lowest* to *highest*. A float loses its fraction.

    Raises TypeError for anything that is not a number, OverflowError for a number out of the range or infinity, and
    ValueError for NaN. The text names *name* and the value.
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
    Return the timeout *value* in whole seconds; 0 means no limit.

    Raises ValueError for a number between 0 and 1, which would be rounded to 0 and so mean no limit. Otherwise raises
    as `as_integer` does.
    """
    seconds = as_integer(value, "timeout", 0, UINT_MAX)
    if value and not seconds:
        raise ValueError(
            f"timeout must be whole seconds, not {value!r}: use Cancellable.with_timeout() for less than a second"
        )
    return seconds


def as_int(value: Any, name: str) -> int:
    """Return *value* as an integer that fits a C int. Raises as `as_integer` does."""
    return as_integer(value, name, -INT_MAX - 1, INT_MAX)


def as_member(kind: type[EnumT], value: Any) -> EnumT:
    """
    Return the member of the enumeration *kind* that is *value* or has this value.

    Raises TypeError if there is none.
    """
    if value.__class__ is kind:
        return value
    try:
        return kind(value)
    except ValueError:
        raise TypeError(f"{value!r} is no {kind.__name__}: pass one of its members") from None


def as_seconds(value: Any, name: str) -> float:
    """
    Return *value* as a number of seconds, 0 or more; infinity for a number that is too large for a float.

    Raises TypeError for anything that is not a number and for a bool, and ValueError for a negative number and NaN. The
    text names *name* and the value.
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
    """Return a view of the bytes of *value*, a writable bytes-like object. Raises TypeError for anything else."""
    view = memoryview(value).cast("B")
    if view.readonly:
        raise TypeError(f"a buffer to receive into must be writable, such as a bytearray, not {value!r}")
    return view


def as_copy(value: Any) -> bytes:
    """Return a copy of the bytes of *value*, or *value* itself if it is bytes. Takes and raises as `as_bytes` does."""
    return value if type(value) is bytes else bytes(as_bytes(value))


def as_bytes(value: Any) -> memoryview:
    """
    Return a view of the bytes of *value*, a bytes-like object or a list or tuple of integers from 0 to 255.

    Raises TypeError for anything else, including a str, and OverflowError for an integer out of that range.
    """
    if isinstance(value, (list, tuple)):
        try:
            value = bytes(value)
        except ValueError:
            raise OverflowError(f"a buffer given as a list must have numbers from 0 to 255, not {value!r}") from None
        except TypeError:
            raise TypeError(f"a buffer given as a list must have numbers from 0 to 255, not {value!r}") from None
    try:
        view = memoryview(value)
    except TypeError:
        hint = ": call its encode()" if isinstance(value, str) else ""
        raise TypeError(f"a buffer must be bytes-like, not {value!r}{hint}") from None
    # cast() is called only if it is needed: PyPy reads a view made by cast() byte by byte, 100 ms for a megabyte.
    return view if view.format == "B" and view.ndim == 1 and view.c_contiguous else view.cast("B")
