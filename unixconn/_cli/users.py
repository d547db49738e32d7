"""Users and groups by name."""

from __future__ import annotations

import grp
import pwd

_HIGHEST = 2**32 - 2
"""Of the numbers; one more, the kernel's -1, is none."""


def user_name(uid: int) -> str | None:
    """Give the name of a user, None for one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def group_name(gid: int) -> str | None:
    """Give the name of a group, None for one without a name."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return None


def uid_of(user: str) -> int:
    """Give the uid of *user*, a name or a number. Raises ValueError for one that nobody has, or can have."""
    if user.isdecimal():
        if int(user) > _HIGHEST:
            raise ValueError(f"{user} is no uid: they go up to {_HIGHEST}")
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ValueError(f"no user has the name {user!r}") from None


def named(number: int, name: str | None) -> str:
    """Describe a user or group: ``root (0)``, or the number alone."""
    return f"{name} ({number})" if name is not None else str(number)
