"""Peer credentials: what the kernel knows about the process at the other end of a socket."""

from __future__ import annotations

import _socket as socket
import errno
import os
import struct
from itertools import filterfalse, starmap

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error, translated
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.credentials import Credentials, CredentialsSource
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.handle import Handle
from unixconn._kernel.held_pidfds import hold_pidfd
from unixconn._kernel.native import ffi, lib
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

_CONTEXT = "Unable to read socket credentials: "
# Bytes that the first getsockopt() makes room for: 64 supplementary groups, or most security labels.
_FIRST_ROOM = 256
_INT_SIZE = ffi.sizeof("int")
_SOL_SOCKET = lib.SOL_SOCKET
# Each is None on a system that does not have the option.
_GROUPS, _LABEL, _PIDFD = map(SYSTEM.constant, ("SO_PEERGROUPS", "SO_PEERSEC", "SO_PEERPIDFD"))
_getsockopt = lib.getsockopt


def peer_credentials(handle: Handle) -> Credentials:
    """
    Return the pid, uid and gid of the socket's peer (SO_PEERCRED): pid 0 and the ids 2**32 - 1 if it has none.

    Raises the Error NOT_SUPPORTED on a system that does not offer them, CLOSED after `Handle.close`, and the Error for
    getsockopt(2)'s errno.
    """
    if not SYSTEM.knows_peers:
        _no_call()
    # While this thread holds the lock, no other thread can close the number, which could then become another socket's.
    with handle.entered:
        handle.check()
        numbers = SYSTEM.peer(handle.number)
        if numbers is None:
            raise handle.error(_CONTEXT)
    return Credentials._of(numbers, CredentialsSource.PEER)


def _no_call() -> NoReturn:
    raise io_error(IOErrorEnum.NOT_SUPPORTED, f"{_CONTEXT}this system has no call that reports a socket's peer")


def peer_identity(handle: Handle) -> Credentials:
    """
    Return all that the kernel knows about the peer.

    An Error stands for each value besides pid, uid and gid that is unknown, or that the kernel cannot tell now, as the
    caller may not need it.

    Raises the Error NOT_CONNECTED if the socket has no peer, NOT_SUPPORTED if it is not a Unix socket, and otherwise as
    `peer_credentials` does.
    """
    # The lock keeps the number open, so all answers are about the same socket.
    with handle.entered:
        return _identity(handle.number, peer_credentials(handle), handle.error)


def peer_identity_of(number: int) -> Credentials:
    """
    Return what `peer_identity` does, of the socket *number*, which belongs to somebody else. No descriptor is made.

    Raises the Error CLOSED if its owner has closed it meanwhile, and another file has the number.
    """
    before = _file(number)
    numbers = SYSTEM.peer(number) if SYSTEM.knows_peers else _no_call()
    if numbers is None:
        raise _error(_CONTEXT)
    made = _identity(number, Credentials._of(numbers, CredentialsSource.PEER), _error)
    # Nothing keeps the number open. So the answers could be about different sockets: the uid of one peer, and the pidfd
    # of another.
    if _file(number) != before:
        raise io_error(IOErrorEnum.CLOSED, f"{_CONTEXT}sock was closed meanwhile, and another file has its number")
    return made


def _file(number: int) -> tuple[int, int]:
    """Return what tells the open file *number* from others. Raises the Error for fstat(2)'s errno."""
    try:
        status = os.fstat(number)
    except OSError as error:
        raise translated(error, _CONTEXT) from None
    return status.st_dev, status.st_ino


def _error(context: str) -> Error:
    return system_error(ffi.errno, context)


def _identity(number: int, made: Credentials, failed: Callable[[str], Error]) -> Credentials:
    """Add what else is known to *made*. *failed* returns the Error for a system call that has just failed."""
    if not made._has_user():
        raise _no_peer(number)
    made._groups = _groups(number, failed)
    made._label = _label(number, failed)
    made._pidfd = _pidfd(number)
    return made


def _no_peer(number: int) -> Error:
    family, length = ffi.new("int *", socket.AF_UNIX), ffi.new("socklen_t *", _INT_SIZE)
    if hasattr(lib, "SO_DOMAIN"):
        _getsockopt(number, _SOL_SOCKET, lib.SO_DOMAIN, family, length)
    if family[0] != socket.AF_UNIX:
        return io_error(IOErrorEnum.NOT_SUPPORTED, f"{_CONTEXT}this is not a Unix socket, so no peer is known")
    return io_error(
        IOErrorEnum.NOT_CONNECTED,
        f"{_CONTEXT}the kernel knows no peer: the socket is not connected, or is a datagram socket",
    )


def _groups(number: int, failed: Callable[[str], Error]) -> tuple[int, ...] | Error:
    answer = _ask(number, _GROUPS, failed)
    if answer is None:
        return _lacking("The peer's groups are not known", "SO_PEERGROUPS", "4.13")
    return answer if isinstance(answer, Error) else struct.unpack(f"{len(answer) // 4}I", answer)


def _label(number: int, failed: Callable[[str], Error]) -> bytes | Error:
    answer = _ask(number, _LABEL, failed)
    if answer is None:
        return io_error(
            IOErrorEnum.NOT_SUPPORTED,
            "The peer's security label is not known: SO_PEERSEC needs Linux 2.6.2 or later with a security module that "
            "labels sockets, such as SELinux, AppArmor or Smack, and none is active here",
        )
    return answer if isinstance(answer, Error) else answer.rstrip(b"\0")


def _ask(number: int, option: int | None, failed: Callable[[str], Error]) -> bytes | Error | None:
    """Return the value of *option*, of any length; its Error; None if the system does not have the option."""
    if option is None:
        return None
    length = ffi.new("socklen_t *", _FIRST_ROOM)
    while True:
        value = ffi.new("char[]", length[0])
        if _getsockopt(number, _SOL_SOCKET, option, value, length) == 0:
            return bytes(ffi.buffer(value, length[0]))
        if ffi.errno == errno.ENOPROTOOPT:
            return None
        # With ERANGE the kernel writes the length that it needs into *length*.
        if ffi.errno != errno.ERANGE or length[0] <= len(value):
            return failed(_CONTEXT)


def _ask_for_pidfd(number: int) -> FileDescriptor | Error:
    if _PIDFD is None:
        return _lacking("There is no pidfd", "SO_PEERPIDFD", "6.5")
    made = FileDescriptor._empty()
    value, length = ffi.new("int *"), ffi.new("socklen_t *", _INT_SIZE)
    asked = (number, _SOL_SOCKET, _PIDFD, value, length)
    # In one step of the interpreter, from the call to the owner: if getsockopt() returns 0, value[0] is appended. The
    # socket of the standard library returns the number itself, but a socket that is not ours has no such object.
    made._owned.extend(map(value.__getitem__, filterfalse(None, starmap(_getsockopt, (asked,)))))
    if made._owned:
        return made
    failure = ffi.errno
    if failure == errno.ENOPROTOOPT:
        return _lacking("There is no pidfd", "SO_PEERPIDFD", "6.5")
    # Before Linux 6.16 the kernel makes no pidfd for a process that was waited for: it returns EINVAL, in later
    # versions ESRCH.
    if failure in (errno.EINVAL, errno.ESRCH):
        note = "the peer has ended; Linux 6.16 or later returns one anyway"
        return system_error(errno.ESRCH, "There is no pidfd: ", note)
    note = "it was asked for by get_peer_credentials(), which may be called again"
    return system_error(failure, "There is no pidfd: ", note)


def _lacking(what: str, option: str, version: str) -> Error:
    system = os.uname()
    return io_error(
        IOErrorEnum.NOT_SUPPORTED,
        f"{what}: {option} needs Linux {version} or later, and this is {system.sysname} {system.release}",
    )


def _hold_pidfd(number: int) -> FileDescriptor | Error:
    made = _ask_for_pidfd(number)
    if hold_pidfd is not None:
        hold_pidfd(made)
    return made


# Where nothing has to be held, there is no call more.
_pidfd = _ask_for_pidfd if hold_pidfd is None else _hold_pidfd
