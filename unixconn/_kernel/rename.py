"""renameat2(2)."""

from __future__ import annotations

import errno
import os

from unixconn._kernel.native import ffi, lib


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
