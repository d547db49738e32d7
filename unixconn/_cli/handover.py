"""Becoming another program that gets descriptors, at the numbers where it looks for them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NoReturn

from unixconn._kernel.file_descriptor import FileDescriptor

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST = 3
"""SD_LISTEN_FDS_START of systemd."""
_CONVENTION = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


def reserve(first: int, count: int) -> list[FileDescriptor]:
    """
    Take those of the *count* numbers from *first* on that are free, so that nothing of this process's gets one.

    Else a descriptor of the library, or one that was received, could be overwritten when all get their places.
    """
    held: list[FileDescriptor] = []
    try:
        while not held or held[-1].fileno() < first + count:
            held.append(FileDescriptor(os.open(os.devnull, os.O_RDONLY)))
        held.pop().close()
    except BaseException:
        release(held)
        raise
    return held


def release(held: Sequence[FileDescriptor]) -> None:
    """Give back the numbers that `reserve` took."""
    for each in held:
        each.close()


def environment(names: Sequence[str] = ()) -> dict[str, str]:
    """Give this process's environment with the descriptors *names* announced, and nobody else's."""
    others = {name: value for name, value in os.environ.items() if name not in _CONVENTION}
    if not names:
        return others
    announced = (str(len(names)), str(os.getpid()), ":".join(names))
    return {**others, **dict(zip(_CONVENTION, announced))}


def execute(
    command: list[str], descriptors: Sequence[FileDescriptor], first: int, variables: dict[str, str]
) -> NoReturn:
    """
    Become *command*, with *descriptors* at *first* and on, which `reserve` has taken.

    All else that this process has opened is close-on-exec. Raises OSError if it can not be.
    """
    for number, descriptor in enumerate(descriptors, first):
        os.dup2(descriptor.fileno(), number)
    # Python ignores these, and so would the program; what has a handler is reset by the kernel.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    os.execvpe(command[0], command, variables)
