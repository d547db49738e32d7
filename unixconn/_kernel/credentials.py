"""Credentials: who a process is, and who says so."""

from __future__ import annotations

import os
import select
from enum import Enum

from unixconn._base.arguments import UINT_MAX, as_integer
from unixconn._base.errors import Error, IOErrorEnum, NoSuchProcessError, io_error, translated
from unixconn._base.lock import this_process
from unixconn._base.object import Object
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._kernel.descriptors import adopt
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

T = TypeVar("T")

_NO_ID = UINT_MAX
"""(uid_t) -1, which is nobody's."""
_UID, _GID = 1, 2
"""Where each is in the numbers."""


class CredentialsSource(str, Enum):
    """Where credentials are from; each equals its name in small letters: ``credentials.source == "peer"``."""

    SELF = "self"
    """Made by this program, of its own process or by hand: vouched for by nobody."""
    MESSAGE = "message"
    """Of a message: the kernel vouches for the process that sent it. The superuser may claim to be another."""
    PEER = "peer"
    """Of the socket (SO_PEERCRED): who made the pair, or called connect() or listen(); not who writes."""

    __str__ = str.__str__


class Credentials(Object):
    """
    A process's pid, uid and gid, and what else is known of it (Gio.Credentials).

    ``Credentials()`` has those of this process as of now, the ids being the effective ones. ``source`` says where the
    content is from. All of it is of one moment, and only `get_pidfd` and `is_alive` can not take a later process with
    the same pid for this one.

    What is not known is an Error with a text that says why. A user or group that has no number in this process's user
    namespace is not known: the kernel shows such a one as the overflow id, 65534, which here may be somebody's.
    """

    # What the kernel has told beside the numbers, or the Error that says why it has not; None where nobody has asked.
    # Of the class, as most credentials have none of them, and are made at every receipt.
    _groups: Sequence[int] | Error | None = None
    _label: bytes | Error | None = None
    _pidfd: FileDescriptor | Error | None = None
    _process: object = None
    """What `this_process` gives, for the credentials of the process that made them."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = (os.getpid(), os.geteuid(), os.getegid())
        self.source: CredentialsSource = CredentialsSource.SELF
        self._groups = os.getgroups()
        self._process = this_process()

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

    def _is_known(self, place: int) -> bool:
        if not self._has_user():
            return False
        return self.source is CredentialsSource.SELF or not _is_overflow(self._numbers[place], place)

    def _is_of_this_process(self) -> bool:
        # Not by the pid: a child in a pid namespace of its own can have its parent's.
        return self._process is this_process()

    def _told(self, value: T | Error | None, what: str) -> T:
        """Give *value*, or raise the Error that stands in its place."""
        if value is None:
            raise io_error(IOErrorEnum.NOT_SUPPORTED, f"{what} not known: {_REASONS[self.source]}")
        if isinstance(value, Error):
            raise value.copy()
        return value

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

        Raises the Error INVALID_DATA if there is none, or none in this user namespace. Other than Gio it is given for a
        process of another pid namespace too, whose number is not known here: the kernel has translated the uid.
        """
        return self._id(_UID)

    def get_unix_group(self) -> int:
        """Give the gid. Raises the Error INVALID_DATA as `get_unix_user` does."""
        return self._id(_GID)

    def _id(self, place: int) -> int:
        if not self._is_known(place):
            raise io_error(IOErrorEnum.INVALID_DATA, "GCredentials contains invalid data")
        return self._numbers[place]

    def get_groups(self) -> list[int]:
        """
        Give the supplementary groups, without those that have no number in this process's user namespace.

        Of a peer they are those of SO_PEERGROUPS, see socket(7), and this process's own where the source is "self".
        Raises the Error NOT_SUPPORTED where they are not known: of a message, as none brings them, and of a peer before
        Linux 4.13.
        """
        groups = self._told(self._groups, "The supplementary groups are")
        return [group for group in groups if not _is_overflow(group, _GID)]

    def get_security_label(self) -> bytes:
        """
        Give the label that the security module has for the process, as SELinux's context, without a NUL at the end.

        Of a peer it is that of SO_PEERSEC, see unix(7). Raises the Error NOT_SUPPORTED where it is not known, as
        without a security module that labels sockets.
        """
        return self._told(self._label, "The security label is")

    def get_pidfd(self) -> FileDescriptor:
        """
        Give a new pidfd of the process, close-on-exec, the caller's to close; see pidfd_open(2).

        It stays the process's, also when that has ended and another one has the pid. Of a peer it is that of
        SO_PEERPIDFD, of a message that of SCM_PIDFD.

        Raises the Error NOT_SUPPORTED where there is none, as before Linux 6.5; FAILED, a `NoSuchProcessError`, for a
        peer that had ended before it was asked for, which the kernel says before Linux 6.16; TOO_MANY_OPEN_FILES.
        """
        if self._is_of_this_process():
            return _own_pidfd()
        return self._told(self._pidfd, "A pidfd is").dup()

    def is_alive(self) -> bool:
        """
        Tell whether the process runs; one that has ended and that nobody has waited for yet does not.

        By the pidfd, never by the pid. Raises the Error NOT_SUPPORTED where there is none.
        """
        if self._is_of_this_process():
            return True
        if isinstance(self._pidfd, NoSuchProcessError):
            return False
        poller = select.poll()
        poller.register(self._told(self._pidfd, "A pidfd is"), select.POLLIN)
        return not poller.poll(0)

    def is_same_user(self, other_credentials: Credentials) -> bool:
        """Tell whether the uid is that of *other_credentials*; False if either has no valid one."""
        if not isinstance(other_credentials, Credentials):
            raise TypeError(f"other_credentials must be a Credentials, not {other_credentials!r}")
        same = self._numbers[_UID] == other_credentials._numbers[_UID]
        return same and self._is_known(_UID) and other_credentials._is_known(_UID)

    def set_unix_user(self, uid: int) -> bool:
        """
        Set the uid, and give True; the rest of what is known beside the numbers is forgotten, as the source is "self".

        Raises TypeError for no number, OverflowError for one that is no uid_t, and ValueError for 2**32 - 1, which the
        kernel reads as "no user".
        """
        number = as_integer(uid, "uid", 0, UINT_MAX)
        if number == _NO_ID:
            raise ValueError(f"uid must be a user's, and {number} means no user")
        self._numbers = (self._numbers[0], number, self._numbers[2])
        self.source = CredentialsSource.SELF
        self._groups = self._label = self._pidfd = self._process = None
        return True

    def to_string(self) -> str:
        """Describe it: ``GCredentials:linux-ucred:pid=7,uid=8,gid=9``, what is not known left out."""
        pid, uid, gid = self._numbers
        if self._has_user():
            uid, gid = (each if self._is_known(place) else _NO_ID for place, each in ((_UID, uid), (_GID, gid)))
        return "GCredentials:" + SYSTEM.describe((pid, uid, gid))

    def __repr__(self) -> str:
        return f"<{self.to_string()} source={self.source.value}>"


_ASK = "UnixConnection.get_peer_credentials() asks the kernel for the peer's"
_REASONS = {
    CredentialsSource.SELF: f"made by hand, or before a fork(), or what the kernel tells to others only; {_ASK}",
    CredentialsSource.MESSAGE: "the message did not bring it: for a pidfd there is SO_PASSPIDFD, since Linux 6.5, "
    f"for a label SO_PASSSEC, and groups never come; {_ASK}",
    CredentialsSource.PEER: "only pid, uid and gid were asked for; UnixConnection.get_peer_credentials() asks for all",
}


def _own_pidfd() -> FileDescriptor:
    open_one: Any = getattr(os, "pidfd_open", None)
    if open_one is None:
        raise io_error(IOErrorEnum.NOT_SUPPORTED, "A pidfd is not known: this Python has no os.pidfd_open()")
    made = FileDescriptor._empty()
    try:
        adopt(made._owned, open_one, os.getpid())
    except OSError as error:
        raise translated(error, "pidfd_open(), since Linux 5.3: ") from None
    return made._hand_over()


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
    # As bytes: who has become another user may not be able to load a codec any more.
    with open(f"/proc/sys/kernel/{name}", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
        return int(file.read())


def _is_overflow(number: int, place: int) -> bool:
    """Tell whether *number*, of a user or a group by its place, stands for one that has no number here."""
    return number == overflow_ids()[place - 1] and not _are_all_mapped("uid" if place == _UID else "gid")


def _are_all_mapped(kind: str) -> bool:
    """
    Tell whether all of a *kind*, "uid" or "gid", have a number in this process's user namespace.

    False where that is not to be found out: nobody is taken for somebody else then.
    """
    try:
        with open(f"/proc/self/{kind}_map", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
            return sum(int(line.split()[2]) for line in file) >= _NO_ID
    except FileNotFoundError:  # no user namespaces, or on Linux no /proc
        return not SYSTEM.is_linux or os.path.exists("/proc/self")  # noqa: PTH110 - pathlib is slow to import
    except OSError:  # no free descriptor this time
        return False


def are_absent(pid: int, uid: int, gid: int) -> bool:
    """
    Tell whether a credentials message says "none".

    The kernel fills one with pid 0 and the overflow ids if the message was queued before SO_PASSCRED was on. A sender
    of a pid namespace that is not visible here has pid 0 too, and its own uid.
    """
    return not pid and (uid, gid) == overflow_ids()
