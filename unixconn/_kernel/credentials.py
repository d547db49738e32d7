"""Credentials: the pid, uid and gid of a process, what else is known about it, and the source of these values."""

from __future__ import annotations

import os
import select
from enum import Enum

from unixconn._base.arguments import UINT_MAX, as_integer
from unixconn._base.errors import (
    Error,
    InvalidArgumentError,
    IOErrorEnum,
    NoSuchProcessError,
    io_error,
    translated,
)
from unixconn._base.lock import this_process
from unixconn._base.object import Object
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._kernel import unpatched
from unixconn._kernel.descriptors import adopt
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

T = TypeVar("T")

_NO_ID = UINT_MAX
"""(uid_t) -1, which no user or group has. The kernel writes it for "none"."""
_UID, _GID = 1, 2
"""The indices of uid and gid in `Credentials._numbers`."""


class CredentialsSource(str, Enum):
    """
    Where credentials come from, which decides how far they can be trusted.

    - SELF: made by this program, for its own process or with values set by hand. The kernel has not verified them.
    - MESSAGE: received with a message (SCM_CREDENTIALS): those of its sender. The kernel has verified them, but lets
      the superuser claim to be another process.
    - PEER: read from the socket (SO_PEERCRED): those of the process that called connect(), listen() or socketpair().
      The kernel has verified them. But another process may have the socket now, and write to it.

    Each member equals its name in lower case: ``credentials.source == "peer"``.
    """

    __module__ = "unixconn"

    SELF = "self"
    MESSAGE = "message"
    PEER = "peer"

    __str__ = str.__str__


class Credentials(Object):
    """
    The identity of a process: pid, uid, gid, groups, security label and pidfd (Gio.Credentials).

    ``Credentials()`` makes those of this process, with the effective uid and gid. The attribute ``source``, a
    `CredentialsSource`, says where the values come from.

    The values are of one moment. The process may have ended since, and another process may have its pid by now. Only
    `get_pidfd` and `is_alive` are safe from that, as they use a pidfd.

    A getter of an unknown value raises an Error whose text says why. A uid or gid without a number in this process's
    user namespace counts as unknown: the kernel shows the overflow id instead, usually 65534, which another user or
    group may have here.
    """

    __module__ = "unixconn"

    # The values besides pid, uid and gid. An Error instead of a value says why it is unknown; None means that the
    # kernel was not asked. These are class attributes, as credentials are made at every receipt, and most of them have
    # no such values.
    _groups: Sequence[int] | Error | None = None
    _label: bytes | Error | None = None
    _pidfd: FileDescriptor | Error | None = None
    _process: object = None
    """What `this_process` returned when the process made its own credentials; None for all other credentials."""

    def __init__(self) -> None:
        """Make the credentials of this process."""
        super(Object, self).__init__()
        self._numbers = (os.getpid(), os.geteuid(), os.getegid())
        self.source: CredentialsSource = CredentialsSource.SELF
        self._groups = os.getgroups()
        self._process = this_process()

    @classmethod
    def new(cls) -> Credentials:
        """Return new credentials of this process (g_credentials_new)."""
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
        # Pids are not compared: a forked child in its own pid namespace can have the same pid as its parent.
        return self._process is this_process()

    def _told(self, value: T | Error | None, what: str) -> T:
        """Return *value*, or raise it if it is an Error. *what* names the value in the Error's text."""
        if value is None:
            raise io_error(IOErrorEnum.NOT_SUPPORTED, f"{what} not known: {_REASONS[self.source]}")
        if isinstance(value, Error):
            raise value.copy()
        return value

    def get_unix_pid(self) -> int:
        """
        Return the pid, as this process's pid namespace numbers it (g_credentials_get_unix_pid).

        Raises the Error INVALID_DATA if it is unknown: the process is in a pid namespace that is not visible here, or
        the socket has no peer.
        """
        if not self._numbers[0] or not self._has_user():
            raise io_error(IOErrorEnum.INVALID_DATA, "GCredentials contains invalid data")
        return self._numbers[0]

    def get_unix_user(self) -> int:
        """
        Return the uid (g_credentials_get_unix_user).

        It is known even if the pid is not, as that of a process in another pid namespace. There, Gio raises an error.

        Raises the Error INVALID_DATA if it is unknown: the user has no number in this process's user namespace, or the
        socket has no peer.
        """
        return self._id(_UID)

    def get_unix_group(self) -> int:
        """Return the gid. Raises the Error INVALID_DATA in the same cases as `get_unix_user`."""
        return self._id(_GID)

    def _id(self, place: int) -> int:
        if not self._is_known(place):
            raise io_error(IOErrorEnum.INVALID_DATA, "GCredentials contains invalid data")
        return self._numbers[place]

    def get_groups(self) -> list[int]:
        """
        Return the gids of the supplementary groups, without groups that have no number in this user namespace.

        A peer's groups come from SO_PEERGROUPS (Linux 4.13). With the source "self" they are those of this process, see
        getgroups(2).

        Raises the Error NOT_SUPPORTED for credentials of a message, which carries no groups, for those of
        `Socket.get_credentials`, and for a peer on an older kernel.
        """
        groups = self._told(self._groups, "The supplementary groups are")
        return [group for group in groups if not _is_overflow(group, _GID)]

    def get_security_label(self) -> bytes:
        """
        Return the security label of the process, such as its SELinux context, without a NUL byte at its end.

        A peer's label comes from SO_PEERSEC, that of a message from SCM_SECURITY, see unix(7).

        Raises the Error NOT_SUPPORTED if it is unknown, for example without a security module that labels sockets.
        """
        return self._told(self._label, "The security label is")

    def get_pidfd(self) -> FileDescriptor:
        """
        Return a new pidfd of the process, close-on-exec, which the caller has to close; see pidfd_open(2).

        A pidfd always refers to the same process, even if the process has ended and another process has its pid. A
        peer's pidfd comes from SO_PEERPIDFD, that of a message from SCM_PIDFD.

        Raises the Errors:

        - NOT_SUPPORTED if there is no pidfd, as before Linux 6.5
        - FAILED (`NoSuchProcessError`), up to Linux 6.15, if the process had ended before the kernel was asked for it
        - TOO_MANY_OPEN_FILES if the descriptor table is full, or was full when the kernel was asked
        """
        if self._is_of_this_process():
            return open_pidfd(os.getpid())._hand_over()
        return self._told(self._pidfd, "A pidfd is").dup()

    def is_alive(self) -> bool:
        """
        Return whether the process is running. A zombie, which has ended and was not waited for, is not running.

        The answer comes from the pidfd, never from the pid. The credentials of a message have one only if
        `UnixConnection.pass_pidfds` was called before it was sent.

        Raises the Error NOT_SUPPORTED if there is no pidfd, TOO_MANY_OPEN_FILES if there was no room for it, and
        otherwise the Error for the errno of poll(2).
        """
        if self._is_of_this_process():
            return True
        if isinstance(self._pidfd, NoSuchProcessError):
            return False
        poller = unpatched.function("poll")()
        poller.register(self._told(self._pidfd, "A pidfd is"), select.POLLIN)
        try:
            return not poller.poll(0)
        except OSError as error:
            raise translated(error, "Asking a pidfd: ") from None

    def is_same_user(self, other_credentials: Credentials) -> bool:
        """
        Return whether *other_credentials* have the same uid; False if either uid is unknown.

        Raises TypeError if *other_credentials* is not a Credentials. See g_credentials_is_same_user.
        """
        if not isinstance(other_credentials, Credentials):
            raise TypeError(f"other_credentials must be a Credentials object, not {other_credentials!r}")
        same = self._numbers[_UID] == other_credentials._numbers[_UID]
        return same and self._is_known(_UID) and other_credentials._is_known(_UID)

    def set_unix_user(self, uid: int) -> bool:
        """
        Set the uid, and return True (g_credentials_set_unix_user).

        The source becomes "self". Pid and gid stay; groups, label and pidfd become unknown.

        Raises TypeError if *uid* is not a number, OverflowError if it does not fit a uid_t (0 to 2**32 - 1), and
        ValueError for 2**32 - 1, which means "no user" to the kernel.
        """
        number = as_integer(uid, "uid", 0, UINT_MAX)
        if number == _NO_ID:
            raise ValueError(f"uid must be the number of a user, and {number} means 'no user': pass a lower number")
        self._numbers = (self._numbers[0], number, self._numbers[2])
        self.source = CredentialsSource.SELF
        self._groups = self._label = self._pidfd = self._process = None
        return True

    def to_string(self) -> str:
        """Return a text such as ``GCredentials:linux-ucred:pid=7,uid=8,gid=9``, without the values that are unknown."""
        pid, uid, gid = self._numbers
        if self._has_user():
            uid, gid = (each if self._is_known(place) else _NO_ID for place, each in ((_UID, uid), (_GID, gid)))
        return "GCredentials:" + SYSTEM.describe((pid, uid, gid))

    def __repr__(self) -> str:
        return f"<{self.to_string()} source={self.source.value}>"


_ASK = "call UnixConnection.get_peer_credentials() to ask the kernel for the peer's"
_REASONS = {
    CredentialsSource.SELF: "these credentials were set by hand, or made before a fork(), or the kernel tells this "
    f"value only to a peer; {_ASK}",
    CredentialsSource.MESSAGE: "the message did not carry it: a pidfd comes if UnixConnection.pass_pidfds() was "
    "called before the message was sent, which needs SO_PASSPIDFD (Linux 6.5 or later); a label needs SO_PASSSEC; no "
    f"message carries groups; {_ASK}",
    CredentialsSource.PEER: "only pid, uid and gid were asked for; call UnixConnection.get_peer_credentials() for all",
}


def open_pidfd(pid: int) -> FileDescriptor:
    """
    Return a new pidfd of the process *pid*, this process or a child of it. One that is dropped is closed silently.

    Raises the Error NOT_SUPPORTED if this Python or the kernel has no pidfds, and that for pidfd_open(2)'s errno.
    """
    open_one: Any = getattr(os, "pidfd_open", None)
    if open_one is None:
        raise io_error(IOErrorEnum.NOT_SUPPORTED, "A pidfd is not known: this Python lacks os.pidfd_open()")
    made = FileDescriptor._empty()
    try:
        adopt(made._owned, open_one, pid)
    except OSError as error:
        raise translated(error, "pidfd_open() (Linux 5.3 or later): ") from None
    return made


_DEFAULT_OVERFLOW_ID = 65534
_overflow_ids: list[int] = []


def overflow_ids() -> tuple[int, int]:
    """Return the overflow uid and gid, which the kernel shows for ids that have no number in this namespace."""
    if not _overflow_ids:
        try:
            _overflow_ids[:] = [_read_id("overflowuid"), _read_id("overflowgid")]
        except OSError:  # /proc is not mounted, or the descriptor table is full at the moment
            return _DEFAULT_OVERFLOW_ID, _DEFAULT_OVERFLOW_ID
    return _overflow_ids[0], _overflow_ids[1]


def _read_id(name: str) -> int:
    # Read as bytes: text needs a codec, and a process that has changed its user may no longer be able to import one.
    with open(f"/proc/sys/kernel/{name}", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
        return int(file.read())


def _is_overflow(number: int, place: int) -> bool:
    """Return whether *number*, the uid or gid by its index *place*, stands for one without a number here."""
    return number == overflow_ids()[place - 1] and not _are_all_mapped("uid" if place == _UID else "gid")


def _are_all_mapped(kind: str) -> bool:
    """
    Return whether each user ("uid") or group ("gid"), by *kind*, has a number in this process's user namespace.

    Returns False if that cannot be determined. The overflow id then counts as unknown, so no user is taken for another.
    """
    try:
        with open(f"/proc/self/{kind}_map", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
            return sum(int(line.split()[2]) for line in file) >= _NO_ID
    except FileNotFoundError:  # the system has no user namespaces, or /proc is not mounted
        return not SYSTEM.is_linux or os.path.exists("/proc/self")  # noqa: PTH110 - pathlib is slow to import
    except OSError:  # the descriptor table is full at the moment
        return False


def explain_unmapped(error: Error, numbers: tuple[int, int, int]) -> None:
    """
    Add a note to *error*, if sendmsg(2) has refused the credentials *numbers* as this user namespace lacks their ids.

    *numbers* are pid, uid and gid. May be called again.
    """
    if not isinstance(error, InvalidArgumentError):
        return
    ids = (("uid", numbers[_UID]), ("gid", numbers[_GID]))
    lacking = " and ".join(f"{kind} {number}" for kind, number in ids if not _is_mapped(kind, number))
    note = (
        f"this user namespace does not map {lacking}, see user_namespaces(7): have /proc/self/uid_map and gid_map "
        "written, or send a message without credentials, to which the kernel adds them for a receiver with SO_PASSCRED"
    )
    if lacking and note not in error.__notes__:
        error.__notes__.append(note)


def _is_mapped(kind: str, number: int) -> bool:
    """Return whether the uid or gid *number*, by *kind*, exists in this process's user namespace, or may exist."""
    try:
        with open(f"/proc/self/{kind}_map", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
            ranges = [tuple(map(int, line.split())) for line in file]
    except OSError:  # as in `_are_all_mapped`
        return True
    return any(first <= number < first + count for first, _, count in ranges)


def are_absent(pid: int, uid: int, gid: int) -> bool:
    """
    Return whether the numbers of a credentials message mean "none".

    If a message was queued before SO_PASSCRED was on, the kernel adds pid 0 and the overflow ids to it. A sender in a
    pid namespace that is not visible here has pid 0, too, but its own uid and gid.
    """
    return not pid and (uid, gid) == overflow_ids()
