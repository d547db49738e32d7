"""System calls about the file of a Unix socket: open(2) without access to its content, SIOCUNIXFILE, renameat2(2)."""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from unixconn._kernel.native import ffi, lib

_LINUX = sys.platform.startswith("linux")
# PyPy has no name for it. This is the number on all machines that PyPy runs on.
_O_PATH = getattr(os, "O_PATH", 0o10000000) if _LINUX else os.O_RDONLY
# With O_PATH a folder need not be readable.
FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | _O_PATH
"""The flags with which a folder is opened."""
FILE = os.O_NOFOLLOW | os.O_CLOEXEC | _O_PATH
"""The flags with which a socket's file is opened."""
_SIOCUNIXFILE = 0x89E0
"""The ioctl(2) that opens the file to which a socket is bound, with O_PATH (linux/un.h)."""


def open_bound(fd: int, owner: list[int]) -> bool:
    """Open the file to which the socket *fd* is bound into *owner*; return whether the kernel does that."""
    try:
        owner.extend(map(fcntl.ioctl, (fd,), (_SIOCUNIXFILE,)))
    except OSError:
        return False
    return True


def rename_new(folder: int, old: bytes, new: bytes) -> None:
    """
    Rename the file *old* to *new*, both in the folder with the descriptor *folder*, if there is no file *new* yet.

    Raises OSError: FileExistsError if there is one; ENOSYS where kernel or C library lack the call (Linux 3.15, glibc
    2.28), and EINVAL where the file system cannot do it.
    """
    call = getattr(lib, "renameat2", None)
    if call is None or call(folder, old, folder, new, lib.RENAME_NOREPLACE) < 0:
        number = errno.ENOSYS if call is None else ffi.errno
        raise OSError(number, os.strerror(number))
