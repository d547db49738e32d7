"""
Has a signal handler raise inside of each operation that makes, takes or closes descriptors, and counts what is lost.

    python tests/storms.py                              # each operation, interrupted 2,000 times
    python tests/storms.py --count 100000 receive_fd    # those whose names contain a word

The moments are random, as a timer sends the signal. test_storms.py raises at each possible moment in turn, and runs a
short storm of each operation. "lost" is how many descriptors are open that nobody has, and how often bytes were lost
or came twice. It has to be 0.

On PyPy and on CPython before 3.11 a handler may run after a method has returned a number and before its caller has
stored that. So no exception is raised there, see `handing_over`.
"""

from __future__ import annotations

import argparse
import contextlib
import dis
import gc
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import starmap
from pathlib import Path
from typing import Any

from storm_operations import OPERATIONS, PROGRAMS, READS, RETURN_IS_ATOMIC, Place, a_place, open_count

import unixconn
from unixconn import Error

try:
    import pypyjit
except ImportError:
    pypyjit = None

ALL = {**OPERATIONS, **READS, **PROGRAMS}
LIBRARY = str(Path(unixconn.__file__).parent)
AGAIN = 1.0
"""Seconds until the next try, as an exception in a finalizer goes no further."""


class Interruption(Exception):  # noqa: N818 - it is no error
    """What the handler raises."""


class Alarm:
    """Raises Interruption at a random moment while it is armed. Use it in a ``with`` block."""

    def __init__(self, seed: int = 1) -> None:
        self.armed = False
        self.hits = 0
        self.random = random.Random(seed)

    def __enter__(self) -> Alarm:
        if pypyjit is not None:
            # What PyPy has compiled hardly ever looks for signals.
            pypyjit.set_param("off")
            pypyjit.releaseall()
            gc.collect()
        self.before = signal.signal(signal.SIGALRM, self.handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)
        if pypyjit is not None:
            pypyjit.set_param("default")

    def handle(self, _number: int, frame: Any) -> None:
        """Raise, or try again later."""
        if not self.armed:
            return
        if handing_over(frame):
            signal.setitimer(signal.ITIMER_REAL, 0.0005, AGAIN)
            return
        self.hits += 1
        raise Interruption

    def rounds(self, count: int, least: int) -> Iterator[int]:
        """Count the rounds of a test: *count*, or more where a busy machine has not interrupted more than *least*."""
        for number in range(20 * count):
            if number >= count and self.hits > least:
                return
            yield number
        raise AssertionError(f"{self.hits} of {20 * count} calls were interrupted, {least} are too few")

    def during(self, within: float, call: Callable[[], object]) -> None:
        """Run *call*, and raise in it, at a moment of the first *within* seconds; that ends it."""
        try:
            try:
                self.armed = True
                signal.setitimer(signal.ITIMER_REAL, self.random.uniform(1e-6, within), AGAIN)
                call()
            finally:
                self.armed = False
        except Interruption:
            pass
        except KeyError as error:  # of threading.Thread.start, while it handles what was raised in it
            if not isinstance(error.__context__, Interruption):
                raise
        signal.setitimer(signal.ITIMER_REAL, 0)


def handing_over(frame: Any) -> bool:
    """
    Return whether *frame* is at the one step where no Python function could keep its result.

    Interpreters other than CPython 3.11 and newer run signal handlers between a function's return and the moment when
    its caller has the value. That is not the library's time any more.
    """
    if RETURN_IS_ATOMIC:
        return False
    if not frame.f_code.co_filename.startswith(LIBRARY):
        return True
    code = frame.f_code.co_code
    coming = [dis.opname[each] for each in code[max(frame.f_lasti, 0) : frame.f_lasti + 5 : 2]]
    return "RETURN_VALUE" in coming


_seen: list[list[str]] = [[]]
_last = [0]


# One function for all: CPython 3.11 may call one that is gone.
def _look(frame: Any, event: str, _argument: object) -> None:
    if event != "return" and _last[0] and frame.f_code.co_filename.startswith(LIBRARY):
        _seen[0].append(event)
        if len(_seen[0]) == _last[0]:
            _last[0] = 0
            raise Interruption


def stop_at(step: int) -> list[str]:
    """Have the library's *step* raise, of those where a handler may: before and after each call; tell how many came."""
    _seen[0], _last[0] = [], step
    sys.setprofile(_look)
    return _seen[0]


# --- the count -------------------------------------------------------------------------------------------------------


def perform(place: Place, name: str, interrupt: Callable[[Callable[[], object]], object]) -> bool:
    """Perform an operation once, in *interrupt*, which may break it off; return whether it came to its end."""
    function, arguments = ALL[name](place)
    results: list[Any] = []
    ended: list[bool] = []

    def call() -> None:
        with contextlib.suppress(Error):
            # In one step of the interpreter: a result is in the list, or has never been returned.
            results.extend(starmap(function, (arguments,)))
        ended.append(True)

    interrupt(call)
    place.count_bytes(name, results)
    # Interpreters other than CPython 3.11 and newer run handlers also between an Error and the try statement after it.
    assert place.tidy(results) or not RETURN_IS_ATOMIC, "SO_PASSCRED was left on"
    return bool(ended)


def storm(place: Place, name: str, count: int, seed: int = 1, seconds: float = 1e9) -> tuple[int, int]:
    """Interrupt an operation *count* times, or for *seconds*; return how often it was, and what was lost."""
    lengths = []

    def timed(call: Callable[[], object]) -> None:
        begin = time.perf_counter()
        call()
        lengths.append(time.perf_counter() - begin)

    with Alarm(seed) as alarm:
        for _ in range(50):
            perform(place, name, timed)
        length = sorted(lengths)[len(lengths) // 2] * 1.2
        before = place.before = open_count(place.before, 0.5)
        place.missing.clear()
        end = time.monotonic() + seconds
        rounds = 0
        while alarm.hits < count and rounds < 20 * count and time.monotonic() < end:
            perform(place, name, lambda call: alarm.during(length, call))
            rounds += 1
            if pypyjit is not None and not rounds % 100:  # what is dropped there is open until it is collected
                gc.collect()
    place.before = open_count(before)
    return alarm.hits, place.before - before + len(place.missing)


def without_interruptions(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """Print an exception that ends this program, but none of those that are raised here and go no further."""
    if not issubclass(kind, Interruption):
        sys.__excepthook__(kind, error, trace)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="interruptions of each operation (2000)")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments (1)")
    parser.add_argument("word", nargs="*", help="of the names of operations")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ResourceWarning)
    # An exception in a destructor or a callback goes no further.
    sys.unraisablehook = lambda *_: None
    sys.excepthook = without_interruptions
    total = 0
    print(f"{'operation':36}{'interruptions':>14}{'lost':>6}")
    with a_place() as place:
        for name in ALL:
            if all(word in name for word in arguments.word):
                hits, lost = storm(place, name, arguments.count, arguments.seed)
                total += abs(lost)
                print(f"{name:36}{hits:14}{lost:6}", flush=True)
    return bool(total)


if __name__ == "__main__":
    sys.exit(main())
