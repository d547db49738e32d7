"""
A replacement for typing at run time: importing that module would take longer than importing this package.

Type checkers never see the replacement. They treat any ``TYPE_CHECKING`` as true, so for them these are typing's names.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Generic, TypeVar, overload
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


__all__ = ["TYPE_CHECKING", "Generic", "TypeVar", "overload"]
