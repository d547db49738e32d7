"""
Stands in for typing at run time, whose import would take longer than that of this package.

Type checkers take ``TYPE_CHECKING`` for true by its name, and so see the real things.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Generic, TypeVar, overload
else:

    class Generic:
        """A base class that takes type arguments, and forgets them."""

        __slots__ = ()

        def __class_getitem__(cls, _arguments):
            return cls

    def TypeVar(name, **_bound):  # noqa: N802 - typing's name
        """Give something to put between the brackets."""
        return name

    def overload(function):
        """Give *function*, which is followed by the one that counts."""
        return function


__all__ = ["TYPE_CHECKING", "Generic", "TypeVar", "overload"]
