"""
A replacement for typing at run time: importing typing takes longer than importing the rest of this package.

Type checkers never see the replacement. They treat any ``TYPE_CHECKING`` as true, so for them these are typing's names.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any, Generic, TypeVar, overload
else:

    class Generic:
        """A base class that accepts type arguments and ignores them."""

        __slots__ = ()

        def __class_getitem__(cls, _arguments):
            return cls

    def TypeVar(name, **_bound):  # noqa: N802 - typing's name
        """Return a placeholder for the brackets after `Generic`."""
        return name

    def overload(function):
        """Return *function* unchanged; the implementation that follows replaces it."""
        return function


def named_tuple(name: str, doc: str, /, **fields: str) -> type:
    """
    Return a named tuple that is public under *name*, with a docstring for itself and for each of *fields*.

    The caller declares the same class with typing.NamedTuple under ``TYPE_CHECKING``, for type checkers.
    """
    made: type = namedtuple(name, fields, module="unixconn")  # type: ignore[misc]
    made.__doc__ = doc
    for field, text in fields.items():
        getattr(made, field).__doc__ = text
    return made


def result_tuple(name: str, doc: str, /, **fields: str) -> type:
    """Return what `named_tuple` does, for a result of Gio: printed, it is what PyGObject prints."""
    made: Any = named_tuple(name, doc, **fields)
    made.__repr__ = _shown
    return made  # type: ignore[no-any-return]


def _shown(result: Any) -> str:
    """Return the values of *result*, with the names of all but the first: that one is the return value in C."""
    named = [f"{name}={value!r}" for name, value in zip(result._fields[1:], result[1:])]
    return f"({', '.join([repr(result[0]), *named])})"


__all__ = ["TYPE_CHECKING", "Generic", "TypeVar", "named_tuple", "overload", "result_tuple"]
