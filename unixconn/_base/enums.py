"""GLib's kinds of enumerations: integers whose members also have the names of C."""

from __future__ import annotations

from enum import IntEnum, IntFlag

_names: dict[type, tuple[str, str]] = {}
"""What the C names of the members begin with, and what stands for "_" in their short names, by the class."""


class GEnum(IntEnum):
    """An enumeration (GObject.GEnum). *prefix* is what the C names of its members begin with."""

    __module__ = "unixconn"

    def __init_subclass__(cls, prefix: str = "") -> None:
        _names[cls] = prefix, "-"

    @property
    def value_name(self) -> str:
        """The name in C, such as ``G_IO_ERROR_CLOSED``."""
        return _name(self, self.name)

    @property
    def value_nick(self) -> str:
        """The short name, such as ``not-found``."""
        return _nick(self, self.name)


class GFlags(IntFlag):
    """A set of flags (GObject.GFlags). *prefix* is what the C names of its members begin with."""

    __module__ = "unixconn"

    def __init_subclass__(cls, prefix: str = "", dash: str = "-") -> None:
        _names[cls] = prefix, dash

    @property
    def value_names(self) -> list[str]:
        """The names in C of all members that are set, also of those that stand for 0."""
        return [_name(self, each) for each in self._set()]

    @property
    def value_nicks(self) -> list[str]:
        """The short names of all members that are set, also of those that stand for 0."""
        return [_nick(self, each) for each in self._set()]

    @property
    def first_value_name(self) -> str | None:
        """The name in C of the first member that is set, or of the one that stands for 0; None if there is none."""
        return next((_name(self, each) for each in self._first()), None)

    @property
    def first_value_nick(self) -> str | None:
        """The short name of the first member that is set, or of the one that stands for 0; None if there is none."""
        return next((_nick(self, each) for each in self._first()), None)

    def _set(self) -> list[str]:
        return [name for name, member in type(self).__members__.items() if self & member == member]

    def _first(self) -> list[str]:
        return [name for name in self._set() if bool(self) == bool(type(self).__members__[name])]


def _name(value: GEnum | GFlags, member: str) -> str:
    return _names[type(value)][0] + member


def _nick(value: GEnum | GFlags, member: str) -> str:
    return member.lower().replace("_", _names[type(value)][1])
