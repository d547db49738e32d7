"""GLib's kinds of enumerations: integers whose members also have the names of C."""

from __future__ import annotations

from enum import IntEnum, IntFlag

_prefixes: dict[type, str] = {}
"""What the C names of the members begin with, by the class."""


class GEnum(IntEnum):
    """An enumeration (GObject.GEnum). *prefix* is what the C names of its members begin with."""

    __module__ = "unixconn"

    def __init_subclass__(cls, prefix: str) -> None:
        super().__init_subclass__()
        _prefixes[cls] = prefix

    @property
    def value_name(self) -> str:
        """The name in C, such as ``G_IO_ERROR_CLOSED``."""
        return _prefixes[type(self)] + self.name

    @property
    def value_nick(self) -> str:
        """The short name, such as ``not-found``."""
        return _nick(self.name)


class GFlags(IntFlag):
    """A set of flags (GObject.GFlags). *prefix* is what the C names of its members begin with."""

    __module__ = "unixconn"

    def __init_subclass__(cls, prefix: str) -> None:
        super().__init_subclass__()
        _prefixes[cls] = prefix

    @property
    def value_names(self) -> list[str]:
        """The names in C of all members that are set, also of those that stand for 0."""
        return [_prefixes[type(self)] + name for name in self._names()]

    @property
    def value_nicks(self) -> list[str]:
        """The short names of all members that are set, also of those that stand for 0."""
        return [_nick(name) for name in self._names()]

    @property
    def first_value_name(self) -> str | None:
        """The name in C of the first member that is set, or of the one that stands for 0; None if there is none."""
        first = self._first()
        return None if first is None else _prefixes[type(self)] + first

    @property
    def first_value_nick(self) -> str | None:
        """The short name of the first member that is set, or of the one that stands for 0; None if there is none."""
        first = self._first()
        return None if first is None else _nick(first)

    def _names(self) -> list[str]:
        return [name for name, member in type(self).__members__.items() if self & member == member]

    def _first(self) -> str | None:
        members = type(self).__members__
        return next((name for name in self._names() if bool(self) == bool(members[name])), None)


def _nick(name: str) -> str:
    return name.lower().replace("_", "-")
