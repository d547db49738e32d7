"""How ``unixconn receive`` executes COMMAND with the descriptors."""

from __future__ import annotations

import errno
import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, NoReturn

from unixconn import FileDescriptor
from unixconn._cli.common import LONGEST_NAME, UNKNOWN_NAME, CommandError, placeholder, say
from unixconn._cli.ending import restore_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unixconn._cli.ending import Closer

CANNOT_EXECUTE = 126
_MOST_BYTES_OF_NAMES = 131000
"""Linux takes at most 128 KiB for one variable of the environment."""
MOST_NAMES = _MOST_BYTES_OF_NAMES // len(UNKNOWN_NAME + ":")
LISTEN_FDS_START = 3
"""SDLISTEN_FDS_START of systemd."""
_LISTEN_VARIABLES = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_PATIENCE = 1.0
"""Seconds that COMMAND waits for what is being closed. exec(2) closes the rest."""


def longest_name(count: int) -> int:
    """Return how many characters each of *count* names may have, so that exec(2) takes them all."""
    return min(LONGEST_NAME, _MOST_BYTES_OF_NAMES // count - 1)


class Numbers:
    """
    The *count* numbers from 3 on, or from 0 on for *stdin*, which the descriptors get in the order of their arrival.

    Until then each of them that is free has a `placeholder`. Otherwise a descriptor of the library could have it, and
    be overwritten. Raises OSError if there are too few descriptors.
    """

    def __init__(self, count: int, *, stdin: bool, closer: Closer) -> None:
        self._first = self._next = 0 if stdin else LISTEN_FDS_START
        self._closer = closer
        self._owners: dict[int, FileDescriptor] = {}
        with ExitStack() as opened:
            while True:
                descriptor = opened.enter_context(placeholder())
                if descriptor.fileno() >= self._first + count:
                    descriptor.close()
                    break
                self._owners[descriptor.fileno()] = descriptor
            opened.pop_all()

    def place(self, descriptor: FileDescriptor) -> FileDescriptor:
        """Duplicate *descriptor* to the next number, and return the owner of that."""
        number = self._next
        os.dup2(descriptor.fileno(), number, inheritable=False)
        self._next += 1
        self._closer.close(descriptor)
        if number not in self._owners:  # it was open when this process began
            self._owners[number] = FileDescriptor(number)
        return self._owners[number]

    def hand_over(self) -> None:
        """Let the program that this process executes next have them. All others of this process are close-on-exec."""
        for number in range(self._first, self._next):
            os.set_inheritable(number, True)


def execute(command: list[str], numbers: Numbers, names: Sequence[str], closer: Closer) -> NoReturn:
    """
    Execute *command* with the descriptors that *numbers* has placed; *names* is empty if they are not to be announced.

    Raises CommandError if that fails.
    """
    environment = _environment(names)
    closer.wait(_PATIENCE)
    numbers.hand_over()
    # Python ignores these signals, and exec does not change that. It only resets signals that have a handler.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    restore_signals()
    try:
        try:
            os.execvpe(command[0], command, environment)
        except OSError as error:
            if error.errno != errno.E2BIG or not names:
                raise
        # The stack is small, see execve(2), or the environment is large.
        say("the names of the descriptors are left out, as arguments and environment are too long with them")
        del environment["LISTEN_FDNAMES"]
        os.execvpe(command[0], command, environment)
    except OSError as error:
        raise CommandError(f"{command[0]}: {error.strerror}", CANNOT_EXECUTE) from None


def _environment(names: Sequence[str]) -> dict[str, str]:
    """
    Return this process's environment, with the LISTEN_ variables for descriptors of these *names*.

    The LISTEN_ variables that this process was started with are removed, even if there are no *names*.
    """
    others = {name: value for name, value in os.environ.items() if name not in _LISTEN_VARIABLES}
    if not names:
        return others
    values = (str(len(names)), str(os.getpid()), ":".join(names))
    return {**others, **dict(zip(_LISTEN_VARIABLES, values))}
