"""
No loop that has something to keep is left by an exception which skips the handlers around it.

CPython runs signal handlers where a loop jumps back. CPython 3.12 and newer compile a conditional jump back, as of
``while condition:`` or of an ``if`` that ends a loop's body, to a step that no handler covers: what a signal handler
raises there skips the ``except``, the ``finally`` and the ``__exit__`` around the loop, in the same function.
"""

from __future__ import annotations

import _thread
import dis
import functools
import signal
import sys
import types
from pathlib import Path

import pytest
from helpers import PYPY

import unixconn

PACKAGE = Path(unixconn.__file__).parent

pytestmark = pytest.mark.skipif(
    PYPY or sys.version_info < (3, 11), reason="which have blocks on a stack, and no table of handlers"
)


class Code:
    """The steps of a function, and the handlers that cover them."""

    def __init__(self, code):
        self.table = dis._parse_exception_table(code)
        self.steps = list(dis.get_instructions(code))
        self.index = {step.offset: number for number, step in enumerate(self.steps)}

    def takes_all(self, number):
        """Return whether a handler that begins at a step is for what a signal handler raises, too."""
        steps = self.steps
        while steps[number].opname != "RERAISE":
            end = number
            while steps[end].opname.startswith(("LOAD_", "BUILD_TUPLE")):
                end += 1
            if steps[end].opname != "CHECK_EXC_MATCH" or steps[end - 1].argval in ("Exception", "BaseException"):
                return True
            number = self.index[steps[end + 1].argval]  # the next except
        return False

    def handlers(self, number):
        """Return the handlers that an exception at a step meets, one after the other."""
        found = set()
        while True:
            offset = self.steps[number].offset
            covering = [each.target for each in self.table if each.start <= offset < each.end]
            if not covering:
                return found
            number = self.index[covering[0]]
            # Others clean up the stack, or the name of a comprehension's variable.
            if self.steps[number].opname == "PUSH_EXC_INFO" and self.takes_all(number + 1):
                found.add(number)
            number += 1

    def uncovered(self):
        """Return the lines of the loops whose jump back skips a handler."""
        found = []
        for number, step in enumerate(self.steps):
            # The interpreter looks for no signals in NO_INTERRUPT.
            if "JUMP_BACKWARD" in step.opname and "NO_INTERRUPT" not in step.opname:
                head = self.index[step.argval]
                # Before 3.13, the interpreter has jumped already when it looks, and takes the step before.
                place = number if sys.version_info >= (3, 13) else head - 1
                if not self.handlers(head) <= self.handlers(place):
                    found.append(self.steps[head].positions.lineno)
        return found


def codes_in(code):
    """Iterate over *code*, and the code of all functions in it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from codes_in(each)


def test_loops_are_left_through_their_handlers():
    """Each loop of the package within a try or with statement is covered also where it jumps back."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        for each in codes_in(compile(path.read_text(encoding="utf-8"), name, "exec")):
            found += [f"{name}:{line}: the loop in {each.co_qualname}" for line in Code(each).uncovered()]
    assert not found


# --- the test of the test --------------------------------------------------------------------------------------------

LOOPS = {
    "while condition": "while not -signal: pass",
    "while condition and more": "while limit and not -signal: limit -= 1",
    "while True": "while True: -signal",
    "while True, break first": """
        while True:
            if not limit: break
            limit -= 1
            -signal""",
    "while True, if last": """
        while True:
            if -signal: limit -= 1""",
    "for": "for _ in items: -signal",
    "for, if last": """
        for each in items:
            if -signal: limit -= 1""",
    "for, continue": """
        for each in items:
            if not -signal: continue
            limit -= 1""",
    "for, try last": """
        for each in items:
            try: -signal
            except ValueError: pass""",
    "for, except last": """
        for each in items:
            try: raise ValueError
            except ValueError: -signal""",
    "for, continue in except": """
        for each in items:
            try: raise ValueError
            except ValueError:
                -signal
                continue
            limit -= 1""",
    "while, except continue": """
        while items:
            try: raise ValueError
            except ValueError:
                -signal
                continue""",
    "comprehension": "[each for each in items if -signal]",
    "generator": "list(each for each in items if -signal)",
}
AROUND = {
    "with": "    with lock:\n        {}",
    "try": "    lock.acquire()\n    try:\n        {}\n    finally: lock.release()",
    "try, more": "    lock.acquire()\n    try:\n        limit += 0\n        {}\n    finally: lock.release()",
    "with in for": "    for _ in (1,):\n      with lock:\n        {}",
}


class Raised(Exception):  # noqa: N818 - it is no error
    """What the signal handler raises."""


class Signal:
    """Has an operator that makes a signal pending, after which the interpreter does not look at once."""

    __neg__ = staticmethod(functools.partial(_thread.interrupt_main, *(() if PYPY else (signal.SIGUSR1,))))


def stays_locked(function):
    """Run a loop until a signal handler raises at its jump back, and return whether its lock is locked."""

    def handle(*_):
        raise Raised

    lock = _thread.allocate_lock()
    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with pytest.raises(Raised):
            function(Signal(), [1, 2], 2, lock)
    finally:
        signal.signal(signal.SIGUSR1, before)
    return lock.locked()


@pytest.mark.parametrize("around", AROUND)
def test_the_interpreter_does_so(around):
    """A loop of any shape is left as the test of the package foretells."""
    wrong = []
    for name, loop in LOOPS.items():
        names = {}
        exec("def function(signal, items, limit, lock):\n" + AROUND[around].format(loop), names)
        function = names["function"]
        if stays_locked(function) != bool(Code(function.__code__).uncovered()):
            wrong.append(name)
    assert not wrong


def test_a_mistake_is_found():
    """The test finds a loop that this version does not cover."""
    code = compile("try:\n while a: b\nfinally: c", "", "exec")
    assert Code(code).uncovered() or sys.version_info < (3, 13)
