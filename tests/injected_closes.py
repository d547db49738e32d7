"""
close() and close_range() that fail after the kernel has done its work, as they do there: EIO of a disk, EINTR.

strace cannot do this: it leaves the call out. So a library that is loaded first makes the call, and then reports the
failure. `is_loaded` says whether this process has it; `environment` is that of a process that has.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>

/* Which call fails, 0 for each; the errno, 0 for none; and how many calls there were. */
volatile int injected_time, injected_errno, injected_count;

static int outcome(int result)
{
    int count;
    if (!injected_errno)
        return result;
    count = __atomic_add_fetch(&injected_count, 1, __ATOMIC_SEQ_CST);
    if (result < 0 || (injected_time && injected_time != count))
        return result;
    errno = injected_errno;
    return -1;
}

int close(int fd)
{
    static int (*call)(int);
    if (!call)
        call = dlsym(RTLD_NEXT, "close");
    return outcome(call(fd));
}

int close_range(unsigned first, unsigned last, int flags)
{
    static int (*call)(unsigned, unsigned, int);
    if (!call)
        call = dlsym(RTLD_NEXT, "close_range");
    return outcome(call(first, last, flags));
}
"""


def environment(folder: Path) -> dict[str, str]:
    """Compile the library into *folder*, and return the environment of a process that loads it."""
    source, library = folder / "closes.c", folder / "closes.so"
    source.write_text(SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": os.fspath(library)}


def is_loaded() -> bool:
    """Return whether this process has the library."""
    return hasattr(ctypes.CDLL(None), "injected_time")


def start(errno: int, time: int) -> None:
    """Let the close() with the number *time* fail from now on, with 0 each."""
    library = ctypes.CDLL(None)
    ctypes.c_int.in_dll(library, "injected_time").value = time
    ctypes.c_int.in_dll(library, "injected_count").value = 0
    ctypes.c_int.in_dll(library, "injected_errno").value = errno


def stop() -> int:
    """Let no close() fail any more; return how many there were."""
    library = ctypes.CDLL(None)
    ctypes.c_int.in_dll(library, "injected_errno").value = 0
    return ctypes.c_int.in_dll(library, "injected_count").value
