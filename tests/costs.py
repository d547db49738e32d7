"""
Counts what each form of an operation costs: bytecodes, Python frames and system calls.

These figures do not depend on the machine's speed or load, as times do. costs.json has those of each version of
CPython, and test_bytecodes.py fails if a form costs more. For PyPy it has system calls alone, as bytecodes say little
of compiled code. The forms are in cost_*.py.

    python tests/costs.py               # print the figures, and beside them what is recorded, where it differs
    python tests/costs.py fd service    # those of some forms
    python tests/costs.py --record      # record the figures of the interpreter that runs this

It needs the installed package, strace for the system calls, and trio for trio's forms; --record needs all three. Other
versions of CPython run other bytecodes, so each has figures of its own: run the command with each of them.

Only what runs in files of the package is counted, of which each resumed generator is a frame. What the form ran of
other Python code, such as the standard library's, stands in parentheses and is not recorded: it depends on the exact
version. "objects" is how many objects one more operation that waits leaves to the garbage collector.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from cost_forms import Form

HashableT = TypeVar("HashableT", bound=Hashable)

RECORDED = Path(__file__).with_name("costs.json")
PYPY = sys.implementation.name == "pypy"
INTERPRETER = "".join(
    (
        "pypy" if PYPY else "",
        "{}.{}".format(*sys.version_info),
        "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else "",
    )
)
"""The name that this interpreter has in costs.json."""
COMMAND = "python tests/costs.py --record"
UNSTEADY = "trio"
"""The group whose system calls are not counted: trio runs what is ready in a random order, and makes more or fewer."""
FIGURES = ("bytecodes", "frames", "system calls", "objects")

# What an interpreter does for itself: memory, its other threads, PyPy's timers.
OWN = re.compile(r"mmap|munmap|madvise|brk|mprotect|mremap|futex|sched_yield|rt_sig.*|clock.*|gettid|get_mempolicy")

_WARM = 20
"""Rounds before the count: caches fill, and the interpreter specialises its bytecodes."""
_TRACED = 3
"""Rounds with a tracer before the count: CPython 3.13 prepares a function for the tracer while it runs."""
_ROUNDS = 5
"""Rounds that are counted."""
_KEPT = 100
"""Operations that are started to count the objects of one."""


def tracer_in_the_way() -> str | None:
    """Return what already traces this process, such as coverage or a debugger; None for nothing."""
    if sys.gettrace() is not None:
        return f"the tracer {type(sys.gettrace()).__name__}"
    if sys.version_info >= (3, 12):
        for tool in range(6):
            name = sys.monitoring.get_tool(tool)
            if name is not None:
                return f"{name}, which uses sys.monitoring"
    return None


@cache
def forms() -> dict[str, Form]:
    """Return all forms, by their names."""
    for module in ("cost_pairs", "cost_plain", "cost_connections", "cost_waiting"):
        importlib.import_module(module)
    return importlib.import_module("cost_forms").FORMS  # type: ignore[no-any-return]


def groups() -> list[str]:
    """Return the groups of forms whose event loop is installed."""
    return [group for group in ("plain", "asyncio", "trio") if group == "plain" or find_spec(group) is not None]


@cache
def can_strace() -> bool:
    """Return whether strace is installed and works, as it does not in some containers and under qemu."""
    if not shutil.which("strace"):
        return False
    command = ["strace", "-o", os.devnull, sys.executable, "-c", ""]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


# --- in a process of its own for each group: an event loop that was imported changes what the library does ---


class Tracer:
    """Counts the bytecodes and frames of files in the folder *package*, and of all others but those in *own*."""

    def __init__(self, package: str, own: str) -> None:
        self._package = package
        self._own = own
        self._is_counting = False
        self._bytecodes = self._frames = self._other_bytecodes = self._other_frames = 0
        self.rounds: list[tuple[int, int, int, int]] = []

    def __call__(self, frame: Any, _event: str, _argument: object) -> Callable[..., Any] | None:
        """Count a frame, which begins or goes on, and have its bytecodes counted."""
        file = frame.f_code.co_filename
        if file.startswith(self._own):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if file.startswith(self._package):
            self._frames += self._is_counting
            return self._in_package
        self._other_frames += self._is_counting
        return self._elsewhere

    def _in_package(self, _frame: object, event: str, _argument: object) -> Callable[..., Any]:
        if event == "opcode":
            self._bytecodes += self._is_counting
        return self._in_package

    def _elsewhere(self, _frame: object, event: str, _argument: object) -> Callable[..., Any]:
        if event == "opcode":
            self._other_bytecodes += self._is_counting
        return self._elsewhere

    def start(self) -> None:
        """Begin a round."""
        self._bytecodes = self._frames = self._other_bytecodes = self._other_frames = 0
        self._is_counting = True

    def stop(self) -> None:
        """End a round."""
        self._is_counting = False
        self.rounds.append((self._bytecodes, self._frames, self._other_bytecodes, self._other_frames))

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Trace this thread, between the rounds too: CPython 3.13 undoes its preparations in what runs untraced."""
        # CPython 3.12 has one switch for all frames, at which it looks in settrace() alone.
        sys._getframe().f_trace_opcodes = True
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(None)


class Marker:
    """Shows strace where the rounds of the form *name* begin and end."""

    def __init__(self, name: str) -> None:
        self._name = name

    def start(self) -> None:
        """Begin a round."""
        os.access(f"/{self._name}/begin", os.F_OK)

    def stop(self) -> None:
        """End a round."""
        os.access(f"/{self._name}/end", os.F_OK)

    def active(self) -> contextlib.AbstractContextManager[None]:
        """Do nothing; see `Tracer`."""
        return contextlib.nullcontext()


def calls(form: Form, meter: Tracer | Marker, objects: list[int]) -> Iterator[tuple[Callable[..., Any], list[Any]]]:
    """
    Yield each call of *form*, a function and its arguments, for the caller to make; *meter* counts some of them.

    Appends to *objects* those of an operation that waits.
    """
    rounds = form.setup()
    made = next(rounds)
    prepare, once = made if isinstance(made, tuple) else (None, made)

    def arguments() -> list[Any]:
        return [] if prepare is None else [prepare()]

    for _ in range(_WARM):
        yield once, arguments()
    with meter.active():
        for number in range(_TRACED + _ROUNDS):
            given = arguments()
            if number >= _TRACED:
                meter.start()
            yield once, given
            if number >= _TRACED:
                meter.stop()
    if form.keeps and isinstance(meter, Tracer):
        prepared = [arguments() for _ in range(_KEPT)]
        before = tracked_objects()
        for given in prepared:
            yield once, given
        objects.append(round((tracked_objects() - before) / _KEPT))
    next(rounds, None)


def tracked_objects() -> int:
    """Return the number of objects that the garbage collector tracks, without those that it can let go of."""
    # Several times: it no longer tracks a tuple if that was found to have only what it does not track either.
    for _ in range(3):
        gc.collect()
    return len(gc.get_objects())


def run(form: Form, meter: Tracer | Marker) -> int | None:
    """Make the calls of *form*; return the objects of an operation that waits, None where they are not counted."""
    objects: list[int] = []

    async def in_a_loop() -> None:
        for once, given in calls(form, meter, objects):
            await once(*given)

    if form.group == "plain":
        for once, given in calls(form, meter, objects):
            once(*given)
    elif form.group == "asyncio":
        import asyncio

        asyncio.run(in_a_loop())
    else:
        import trio

        trio.run(in_a_loop)
    return objects[0] if objects else None


def serve(group: str, chosen: list[str], is_marking: bool) -> None:
    """Make the calls of the *chosen* forms of *group*, and print what they cost or mark the rounds for strace."""
    import unixconn

    found = None if is_marking else tracer_in_the_way()
    if found:
        sys.exit(f"bytecodes can not be counted beside {found}")
    if group != "plain":
        importlib.import_module(group)
    package = str(Path(unixconn.__file__).parent) + os.sep
    gc.disable()
    for name, form in forms().items():
        if form.group == group and (not chosen or name in chosen):
            # In a child, as what one form leaves in contexts and threads may change what another one does.
            pid = os.fork()
            if not pid:
                code = 1
                try:
                    if is_marking:
                        run(form, Marker(name))
                    else:
                        tracer = Tracer(package, str(Path(__file__).parent) + os.sep)
                        print(json.dumps([name, run(form, tracer), tracer.rounds]), flush=True)
                    code = 0
                except BaseException:  # noqa: BLE001 - the parent tells of it
                    traceback.print_exc()
                finally:
                    os._exit(code)
            if os.waitpid(pid, 0)[1]:
                sys.exit(f"the form {name} failed")


# --- counting by these processes ---


class Count(NamedTuple):
    """What a form was found to cost, None for what was not counted."""

    bytecodes: int | None = None
    frames: int | None = None
    calls: int | None = None
    objects: int | None = None
    elsewhere: tuple[int, int] = (0, 0)
    """Bytecodes and frames outside of the package, the least of all rounds: trio's vary."""
    names: tuple[tuple[str, int], ...] = ()
    """The system calls."""

    @property
    def figures(self) -> list[int | None]:
        """What is recorded, in the order of FIGURES."""
        return [self.bytecodes, self.frames, self.calls, self.objects]


class DifferingRoundsError(Exception):
    """Rounds of a form that should cost the same do not."""


def agreed(found: list[HashableT], name: str) -> HashableT:
    """Return what all rounds of the form *name* were *found* to cost; if the form is timed, most of them."""
    most, count = Counter(found).most_common(1)[0]
    if count < (_ROUNDS // 2 + 1 if forms()[name].is_timed else _ROUNDS):
        raise DifferingRoundsError(f"the rounds of {name} differ: {found}")
    return most


def ask(group: str, chosen: Iterable[str], *, tool: Iterable[str] = (), options: Iterable[str] = ()) -> str:
    """Have another process, run by *tool*, `serve`; return what it prints."""
    import unixconn

    # The same package as here, wherever that was found.
    path = [str(Path(unixconn.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    environment.pop("PYTHONASYNCIODEBUG", None)
    command = [*tool, sys.executable, __file__, "--serve", group, *options, *chosen]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{command} failed: {done.stderr[-2000:]}")
    return done.stdout


def traced(group: str, chosen: Iterable[str] = ()) -> dict[str, Callable[[], Count]]:
    """
    Count the bytecodes, frames and objects of the *chosen* forms of *group*, all of them for none.

    Returns a function for each form, by its name: it returns the figures or raises DifferingRoundsError.
    """

    def evaluate(name: str, objects: int | None, rounds: list[list[int]]) -> Count:
        bytecodes, frames = agreed([(each[0], each[1]) for each in rounds], name)
        elsewhere = min(each[2] for each in rounds), min(each[3] for each in rounds)
        return Count(bytecodes, frames, objects=objects, elsewhere=elsewhere)

    rows = map(json.loads, ask(group, chosen).splitlines())
    return {row[0]: lambda row=row: evaluate(*row) for row in rows}  # type: ignore[misc]


def straced(group: str, chosen: Iterable[str] = ()) -> dict[str, Callable[[], Count]]:
    """Count the system calls of the main thread; else as `traced`."""

    def evaluate(name: str, rounds: list[list[str]]) -> Count:
        names = agreed([tuple(sorted(Counter(each).items())) for each in rounds], name)
        return Count(calls=sum(count for _, count in names), names=names)

    rounds: dict[str, list[list[str]]] = {}
    current: list[str] | None = None
    with tempfile.TemporaryDirectory() as folder:
        # A file for each thread: in those of other threads there is no mark.
        ask(group, chosen, tool=["strace", "-ff", "-o", f"{folder}/trace"], options=["--mark"])
        traces = [path.read_text(encoding="utf-8", errors="replace") for path in Path(folder).iterdir()]
    for line in "".join(traces).splitlines():
        if line.startswith("ioctl(2, TCGETS"):  # PyPy's garbage collector asks whether stderr is a terminal
            continue
        mark = re.search(r'"/([\w-]+)/(begin|end)"', line)
        if mark:
            current = [] if mark[2] == "begin" else None
            if current is not None:
                rounds.setdefault(mark[1], []).append(current)
        # Machines of 32 bits have geteuid32() and the like: the first ones had 16 bits.
        call = re.match(r"(\w+?)(?:32)?\(", line)
        if call and not mark and current is not None and not OWN.fullmatch(call[1]):
            current.append(call[1])
    return {name: lambda name=name: evaluate(name, rounds[name]) for name in rounds}  # type: ignore[misc]


def count(chosen: list[str]) -> dict[str, Count]:
    """Return what the *chosen* forms cost, all of them for none, by their names."""
    found: dict[str, Count] = {}
    for group in groups():
        if not PYPY:
            found.update((name, evaluate()) for name, evaluate in traced(group, chosen).items())
        if can_strace() and group != UNSTEADY:
            for name, evaluate in straced(group, chosen).items():
                with_calls = evaluate()
                found[name] = found.get(name, with_calls)._replace(calls=with_calls.calls, names=with_calls.names)
    return found


# --- what is recorded ---


def read() -> dict[str, dict[str, list[int | None]]]:
    """Return what is recorded: the figures in the order of FIGURES, by the name of the form and the interpreter."""
    return json.loads(RECORDED.read_text(encoding="utf-8")) if RECORDED.exists() else {}


def recorded() -> dict[str, list[int | None]]:
    """Return the figures that are recorded for this interpreter, by the name of the form; none for an unknown one."""
    return {
        name: [*each[INTERPRETER], *[None] * len(FIGURES)][: len(FIGURES)]
        for name, each in read().items()
        if INTERPRETER in each
    }


def record(found: dict[str, Count]) -> None:
    """Record what was *found* in place of all that is recorded for this interpreter."""
    everything = read()
    for each in everything.values():
        each.pop(INTERPRETER, None)
    for name, costs in found.items():
        figures = costs.figures
        everything.setdefault(name, {})[INTERPRETER] = figures if costs.objects is not None else figures[:-1]
    lines = [
        f"{json.dumps(name)}: {json.dumps({key: each[key] for key in sorted(each, key=by_version)})}"
        for name, each in sorted(everything.items())
        if each
    ]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def by_version(interpreter: str) -> tuple[bool, list[int], str]:
    """Return a key to sort the names of interpreters by: 3.9 before 3.10, and PyPy after CPython."""
    return interpreter.startswith("pypy"), [int(number) for number in re.findall(r"\d+", interpreter)], interpreter


def table(found: dict[str, Count]) -> Iterator[str]:
    """Yield the lines of a table of what was *found*, and of what is recorded where that differs."""
    known = recorded()
    yield f"{INTERPRETER:<40}{'bytecodes':>17}{'frames':>13}{'calls':>7}{'objects':>9}"
    for name, costs in sorted(found.items()):
        bytecodes, frames, system_calls, objects = ("" if each is None else each for each in costs.figures)
        others = [f"(+{each})" if each else "" for each in costs.elsewhere]
        line = f"{name:<40}{bytecodes:>8} {others[0]:<8}{frames:>6} {others[1]:<6}{system_calls:>7}{objects:>9}"
        if name in known and known[name] != costs.figures:
            line += f"   recorded: {', '.join(str(each) for each in known[name] if each is not None)}"
        yield line.rstrip()


def main() -> None:
    """Count, and print or record."""
    parser = argparse.ArgumentParser(description="Count what each form of an operation costs.")
    parser.add_argument("--record", action="store_true", help="record the figures of this interpreter in costs.json")
    parser.add_argument("--serve", metavar="GROUP", help=argparse.SUPPRESS)
    parser.add_argument("--mark", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("form", nargs="*", help="forms to count; all of them if none is given")
    chosen = parser.parse_args()
    if chosen.serve:
        serve(chosen.serve, chosen.form, chosen.mark)
        return
    unknown = set(chosen.form) - forms().keys()
    if unknown:
        parser.error(f"no such form: {', '.join(sorted(unknown))}")
    if chosen.record and chosen.form:
        parser.error("--record is for all forms together")
    if chosen.record and not can_strace():
        parser.error("--record needs strace, which is not installed, or not permitted here")
    if chosen.record and find_spec("trio") is None:
        parser.error("--record needs trio, which is not installed")
    found = count(chosen.form)
    print(*table(found), sep="\n")
    if chosen.record:
        record(found)


if __name__ == "__main__":
    main()
