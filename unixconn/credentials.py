"""Credentials: who a process is, and who says so."""

from __future__ import annotations

import os
from enum import Enum

from unixconn.arguments import as_integer
from unixconn.errors import IOErrorEnum, io_error
from unixconn.object import Object

_NO_ID = 2**32 - 1
"""(uid_t) -1, which is nobody's."""


class CredentialsSource(Enum):
    """Where credentials are from."""

    OWN = "own"
    """Made by this program, of its own process or by hand: vouched for by nobody."""
    MESSAGE = "message"
    """Of a message: the kernel vouches for the process that sent it."""
    PEER = "peer"
    """Of the socket (SO_PEERCRED): who made the pair, or called connect() or listen(); not who writes."""


class Credentials(Object):
    """
    A process's pid, uid and gid (Gio.Credentials).

    ``Credentials()`` has those of this process as of now, the ids being the effective ones. ``source`` says where the
    content is from.
    """

    def __init__(self) -> None:
        super().__init__()
        self._numbers = (os.getpid(), os.geteuid(), os.getegid())
        self.source = CredentialsSource.OWN

    @classmethod
    def new(cls) -> Credentials:
        """Make one for this process."""
        return cls()

    @staticmethod
    def _of(numbers: tuple[int, int, int], source: CredentialsSource) -> Credentials:
        made = Credentials.__new__(Credentials)
        made._numbers = numbers
        made.source = source
        return made

    def _has_user(self) -> bool:
        return _NO_ID not in self._numbers[1:]

    def get_unix_pid(self) -> int:
        """
        Give the process's number, as seen from this process's pid namespace.

        Raises the Error INVALID_DATA if there is none: the process is in a namespace that is not visible here, or the
        socket has no peer.
        """
        if not self._numbers[0] or not self._has_user():
            raise io_error(IOErrorEnum.INVALID_DATA, "GCredentials contains invalid data")
        return self._numbers[0]

    def get_unix_user(self) -> int:
        """
        Give the uid.

        Raises the Error INVALID_DATA if there is none. Other than Gio it is given for a process of another pid
        namespace too, whose number is not known here: the kernel has translated the uid.
        """
        if not self._has_user():
            raise io_error(IOErrorEnum.INVALID_DATA, "GCredentials contains invalid data")
        return self._numbers[1]

    def is_same_user(self, other_credentials: Credentials) -> bool:
        """Tell whether the uid is that of *other_credentials*; False if this object has no valid one."""
        if not isinstance(other_credentials, Credentials):
            raise TypeError(f"other_credentials must be a Credentials, not {other_credentials!r}")
        return self._has_user() and self._numbers[1] == other_credentials._numbers[1]

    def set_unix_user(self, uid: int) -> bool:
        """
        Set the uid, and give True.

        Raises TypeError for no number, OverflowError for one that is no uid_t, and ValueError for 2**32 - 1, which the
        kernel reads as "no user".
        """
        number = as_integer(uid, "uid", 0, 2**32 - 1)
        if number == _NO_ID:
            raise ValueError(f"uid must be a user's, and {number} means no user")
        self._numbers = (self._numbers[0], number, self._numbers[2])
        self.source = CredentialsSource.OWN
        return True

    def to_string(self) -> str:
        """Describe it: ``GCredentials:linux-ucred:pid=7,uid=8,gid=9``, what is not known left out."""
        named = zip(("pid", "uid", "gid"), self._numbers)
        known = [f"{name}={value}" for name, value in named if value not in (-1, _NO_ID)]
        return "GCredentials:linux-ucred:" + ",".join(known)

    def __repr__(self) -> str:
        return f"<{self.to_string()} source={self.source.value}>"


_DEFAULT_OVERFLOW_ID = 65534
_overflow_ids: list[int] = []


def overflow_ids() -> tuple[int, int]:
    """Give the uid and gid that the kernel shows in place of none."""
    if not _overflow_ids:
        try:
            _overflow_ids[:] = [_read_id("overflowuid"), _read_id("overflowgid")]
        except OSError:  # no /proc, or no free descriptor this time
            return _DEFAULT_OVERFLOW_ID, _DEFAULT_OVERFLOW_ID
    return _overflow_ids[0], _overflow_ids[1]


def _read_id(name: str) -> int:
    with open(f"/proc/sys/kernel/{name}", encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
        return int(file.read())


def are_absent(pid: int, uid: int, gid: int) -> bool:
    """
    Tell whether a credentials message says "none".

    The kernel fills one with pid 0 and the overflow ids if the message was queued before SO_PASSCRED was on. A sender
    of a pid namespace that is not visible here has pid 0 too, and its own uid.
    """
    return not pid and (uid, gid) == overflow_ids()
