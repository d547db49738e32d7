"""Peer credentials: what the kernel knows about the process at the other end of a socket."""

from __future__ import annotations

import errno
import os
import struct

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error
from unixconn._kernel.credentials import Credentials, CredentialsSource
from unixconn._kernel.descriptors import adopt
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.handle import Handle
from unixconn._kernel.native import ffi, lib
from unixconn._kernel.platform import SYSTEM

_CONTEXT = "Unable to read socket credentials: "
# Bytes that the first getsockopt() makes room for: 64 supplementary groups, or most security labels.
_FIRST_ROOM = 256


def peer_credentials(handle: Handle) -> Credentials:
    """
    Return the pid, uid and gid of the socket's peer (SO_PEERCRED): pid 0 and the ids 2**32 - 1 if it has none.

    Raises the Error NOT_SUPPORTED on a system that does not offer them, CLOSED after `Handle.close`, and the Error for
    getsockopt(2)'s errno.
    """
    if not SYSTEM.knows_peers:
        raise io_error(IOErrorEnum.NOT_SUPPORTED, f"{_CONTEXT}this system has no call that reports a socket's peer")
    # While this thread holds the lock, no other thread can close the number, which could then become another socket's.
    with handle.lock.entered:
        handle.check()
        numbers = SYSTEM.peer(handle.number)
        if numbers is None:
            raise handle.error(_CONTEXT)
    return Credentials._of(numbers, CredentialsSource.PEER)


def peer_identity(handle: Handle) -> Credentials:
    """
    Return all that the kernel knows about the peer.

    An Error stands for each value besides pid, uid and gid that is unknown, or that the kernel cannot tell now, as the
    caller may not need it.

    Raises the Error NOT_CONNECTED if the socket has no peer, NOT_SUPPORTED if it is not a Unix socket, and otherwise as
    `peer_credentials` does.
    """
    # The lock keeps the number open, so all answers are about the same socket.
    with handle.lock.entered:
        made = peer_credentials(handle)
        if not made._has_user():
            raise _no_peer(handle)
        made._groups = _groups(handle)
        made._label = _label(handle)
        made._pidfd = _pidfd(handle)
    return made


def _no_peer(handle: Handle) -> Error:
    if not handle.is_unix:
        return io_error(IOErrorEnum.NOT_SUPPORTED, f"{_CONTEXT}this is not a Unix socket, so no peer is known")
    return io_error(
        IOErrorEnum.NOT_CONNECTED,
        f"{_CONTEXT}the kernel knows no peer: the socket is not connected, or is a datagram socket",
    )


def _groups(handle: Handle) -> tuple[int, ...] | Error:
    answer = _ask(handle, "SO_PEERGROUPS")
    if answer is None:
        return _lacking("The peer's groups are not known", "SO_PEERGROUPS", "4.13")
    return answer if isinstance(answer, Error) else struct.unpack(f"{len(answer) // 4}I", answer)


def _label(handle: Handle) -> bytes | Error:
    answer = _ask(handle, "SO_PEERSEC")
    if answer is None:
        return io_error(
            IOErrorEnum.NOT_SUPPORTED,
            "The peer's security label is not known: SO_PEERSEC needs Linux 2.6.2 or later with a security module that "
            "labels sockets, such as SELinux, AppArmor or Smack, and none is active here",
        )
    return answer if isinstance(answer, Error) else answer.rstrip(b"\0")


def _ask(handle: Handle, name: str) -> bytes | Error | None:
    """Return the value of the option *name*, of any length; its Error; None if the system does not have the option."""
    option = SYSTEM.constant(name)
    if option is None:
        return None
    length = ffi.new("socklen_t *", _FIRST_ROOM)
    while True:
        value = ffi.new("char[]", length[0])
        if lib.getsockopt(handle.number, lib.SOL_SOCKET, option, value, length) == 0:
            return bytes(ffi.buffer(value, length[0]))
        if ffi.errno == errno.ENOPROTOOPT:
            return None
        # With ERANGE the kernel writes the length that it needs into *length*.
        if ffi.errno != errno.ERANGE or length[0] <= len(value):
            return handle.error(_CONTEXT)


def _pidfd(handle: Handle) -> FileDescriptor | Error:
    if not hasattr(lib, "SO_PEERPIDFD"):
        return _lacking("There is no pidfd", "SO_PEERPIDFD", "6.5")
    made = FileDescriptor._empty()
    try:
        # With the standard library, which returns the number, so that `adopt` can store it in the same step of the
        # interpreter. cffi would write it into a buffer, and an exception raised by a signal handler could lose it.
        adopt(made._owned, handle.python.getsockopt, lib.SOL_SOCKET, lib.SO_PEERPIDFD)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            return _lacking("There is no pidfd", "SO_PEERPIDFD", "6.5")
        # Before Linux 6.16 the kernel makes no pidfd for a process that was waited for: it returns EINVAL, in later
        # versions ESRCH.
        if error.errno in (errno.EINVAL, errno.ESRCH):
            return system_error(
                errno.ESRCH, "There is no pidfd: ", "the peer has ended; Linux 6.16 or later returns one anyway"
            )
        if error.errno is None:  # raised by a signal handler
            raise
        note = "it was asked for by get_peer_credentials(), which may be called again"
        return system_error(error.errno, "There is no pidfd: ", note)
    return made


def _lacking(what: str, option: str, version: str) -> Error:
    system = os.uname()
    return io_error(
        IOErrorEnum.NOT_SUPPORTED,
        f"{what}: {option} needs Linux {version} or later, and this is {system.sysname} {system.release}",
    )
