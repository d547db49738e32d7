"""
Failing system calls: each one that an operation makes, at its first, second and each time, with each errno of its own.

The operations are those of operations/table.py, in each way of calling, and of injection_calls.py. strace makes the
call fail in a forked child, which has made all that the operation needs before. The operation has to succeed or to
raise an Error of the library. Then new connections have to work, no descriptor may be left, and nothing may have been
printed.

    python tests/injections.py                      # all of it: about an hour
    python tests/injections.py receive_fd send_fd   # the operations whose names have one of these
    python tests/injections.py --sample 40          # each fortieth try

Left out are EFAULT and EBADF, which a correct program does not meet.

    python tests/injections.py --closes         # close() and close_range(): see injected_closes.py. It needs gcc
"""

from __future__ import annotations

import argparse
import contextlib
import errno as errnos
import gc
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))

import injected_closes
import internals
import storm_operations
import ways
from helpers import forked, open_descriptors, settle
from injection_calls import CALLS, COMMANDS
from operations.table import OPERATIONS
from storm_operations import a_place

import unixconn
from unixconn import MainContext, UnixConnection
from unixconn._cli.main import main as command

TABLE_FULL, NO_MEMORY = ("EMFILE", "ENFILE"), ("ENOMEM", "ENOBUFS")
FILES = ("EACCES", "EROFS", "EIO", "ENOMEM")
ERRNOS: dict[str, tuple[str, ...]] = {
    "recvmsg": ("EINTR", "EAGAIN", "ECONNRESET", "EPERM", *NO_MEMORY),
    "recvfrom": ("EINTR", "ECONNRESET", *NO_MEMORY),
    "sendmsg": ("EINTR", "EAGAIN", "EPIPE", "ECONNRESET", "ETOOMANYREFS", "EPERM", *NO_MEMORY),
    "sendto": ("EINTR", "EPIPE", *NO_MEMORY),
    "write": ("EINTR", "EIO"),
    "poll": ("EINTR", "ENOMEM", "EINVAL"),
    "ppoll": ("EINTR", "ENOMEM", "EINVAL"),
    "epoll_create1": (*TABLE_FULL, "ENOMEM"),
    "epoll_ctl": ("ENOMEM", "ENOSPC", "EPERM"),
    "epoll_wait": ("EINTR", "EPERM"),
    "epoll_pwait": ("EINTR", "EPERM"),
    "eventfd2": (*TABLE_FULL, "ENOMEM", "ENODEV"),
    "pipe2": TABLE_FULL,
    "dup": TABLE_FULL,
    "fcntl": ("EMFILE", "EPERM"),
    "socket": (*TABLE_FULL, "EACCES", *NO_MEMORY),
    "socketpair": (*TABLE_FULL, "EOPNOTSUPP"),
    "accept4": (*TABLE_FULL, "ECONNABORTED", "EINTR", "EPERM", *NO_MEMORY),
    "connect": ("EINTR", "EAGAIN", "ECONNREFUSED", "EACCES"),
    "bind": ("EACCES", "ENOSPC", "ENOMEM"),
    "listen": ("EADDRINUSE", "EOPNOTSUPP"),
    "getsockopt": ("EPERM", "ENOPROTOOPT", "ENOMEM"),
    "setsockopt": ("EPERM", "ENOPROTOOPT", "ENOMEM"),
    "getsockname": ("ENOBUFS",),
    "getpeername": ("ENOBUFS", "ENOTCONN"),
    "ioctl": ("ENOTTY", "EPERM"),
    "shutdown": ("ENOTCONN", "ENOBUFS"),
    "pidfd_open": (*TABLE_FULL, "ESRCH", "ENOSYS"),
    "clone": ("EAGAIN", "ENOMEM", "EPERM"),
    "clone3": ("EAGAIN", "ENOMEM", "EPERM"),
    "openat": (*TABLE_FULL, *FILES),
    "newfstatat": FILES,
    "fstat": FILES,
    "fchmod": FILES,
    "fchmodat": FILES,
    "chmod": FILES,
    "rename": FILES,
    "renameat": FILES,
    "renameat2": (*FILES, "EINVAL", "ENOSYS"),
    "link": FILES,
    "linkat": FILES,
    "unlink": FILES,
    "unlinkat": FILES,
    "readlink": FILES,
}
"""What the manual pages name, and what seccomp filters and security modules answer."""
PASSING = ("EINTR", "EAGAIN")
"""The errnos with which a call is made again, so that it does not fail each time."""
NEVER = 1 << 30
EACH_TIME = 0
"""The "time" of a call that fails each time."""
OTHERS = {
    # asyncio's own, of which it does not catch the errors.
    "asyncio": ("recvfrom", "sendto", "epoll_wait", "epoll_pwait", "clone", "clone3"),
    # open()'s own, whose OSError is documented.
    "FileDescriptor.to_file": ("ioctl", "newfstatat", "fstat"),
    # The row's own, which makes the FileDescriptor that is given away.
    "UnixConnection.give_fd": ("fcntl", "newfstatat", "fstat"),
    # The command closes the connection, and waits for another.
    "receive": ("recvmsg", "getsockopt"),
    "receive --json": ("recvmsg", "getsockopt"),
    # And the fork of the process that becomes COMMAND, which is made here.
    "receive COMMAND": ("recvmsg", "getsockopt", "clone", "clone3"),
}
"""What fails in a way of calling, or in an operation, without the library: it is left out there."""
REPEATED = {name: ("accept4",) for name in COMMANDS if name.startswith("receive")}
"""What an operation tries again for as long as it fails: that it fails each time is left out."""
SECONDS = 30
"""How long a try may take."""


class Case(NamedTuple):
    """An operation, the way in which it is done, and whether it has to wait."""

    operation: str
    way: str
    later: bool


class Injection(NamedTuple):
    """The call that fails, and at which time."""

    call: str
    errno: str
    time: int


def can_inject() -> bool:
    """Return whether strace is there, and may trace another process."""
    if shutil.which("strace") is None or not sys.platform.startswith("linux"):
        return False
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        tracer = subprocess.run(
            ["timeout", "-s", "INT", "0.3", "strace", "-qq", "-o", os.devnull, "-p", str(child.pid)],
            capture_output=True,
            check=False,
        )
        child.kill()
    return not tracer.stderr


def cases(chosen: list[str]) -> Iterator[Case]:
    """Return all cases; with names, those of operations that have one of these in their own."""
    for name, row in OPERATIONS.items():
        if not chosen or any(each in name for each in chosen):
            for way in ways.WAYS:
                if not (row.is_blocking or way in ways.BACKGROUND) or way in ("uvloop", "trio"):
                    continue
                yield from (Case(name, way, later) for later in ((False, True) if row.waits else (False,)))
    for way, table in (("call", CALLS), ("command", COMMANDS)):
        for name in table:
            if not chosen or any(each in name for each in chosen):
                yield Case(name, way, later=False)


# --- in the child ----------------------------------------------------------------------------------------------------


def _works() -> None:
    """Fail unless new connections work, in the three ways that wait differently."""
    for way in (ways.blocking, ways.by_future, ways.by_callback):
        a, b = UnixConnection.create_pair()
        with a, b:
            way(b, "receive_fd", meanwhile=lambda a=a: a.send_fd(0))
            os.close(max(fd for fd, name in open_descriptors().items() if name == os.readlink("/proc/self/fd/0")))


def _outcome(case: Case, begin: Any, end: Any) -> str:
    """Do the operation between *begin* and *end*; return what came of it, which begins with "ok" or "Error" if good."""
    do = {"call": _do_call, "command": _do_command}.get(case.way, _do_operation)
    try:
        do(case, begin, end)
    except unixconn.Error as error:
        return f"Error {error.code}: {error.message}"
    except BaseException as error:  # noqa: BLE001 - it is what is looked for
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"raw {error!r} from {last.filename}, line {last.lineno}"
    return "ok"


def _do_call(case: Case, begin: Any, end: Any) -> None:
    with a_place() as place:
        function, arguments = CALLS[case.operation](place)
        results: list[Any] = []
        begin()
        try:
            value = function(*arguments)
            if case.operation in storm_operations.OPERATIONS or hasattr(value, "close"):
                results.append(value)
        finally:
            end()
            place.tidy(results)


def _do_command(case: Case, begin: Any, end: Any) -> None:
    with a_place() as place:
        arguments = COMMANDS[case.operation](place)
        begin()
        try:
            if "--" in arguments:  # in another process, which becomes COMMAND
                os.waitpid(forked(lambda: command(arguments) == os.EX_OK), 0)
            else:
                command(arguments)
        finally:
            end()
            place.tidy([])


def _do_operation(case: Case, begin: Any, end: Any) -> None:
    with OPERATIONS[case.operation]() as operation, contextlib.ExitStack() as stack:
        operation.prepare(case.later)
        if case.later:
            # What unblocks it is not to fail, so another process does that.
            stack.callback(os.waitpid, forked(lambda: _unblock(operation, begin)), 0)
        begin()
        try:
            value = operation.do(ways.WAYS[case.way])
        finally:
            end()
        if case.later:
            _close(value if operation.keeps_a_descriptor else None)
        else:
            operation.check(value)


def _unblock(operation: Any, begin: Any) -> bool:
    """Let *operation* go on, when it waits: that other processes have made does not matter to it."""
    begin()
    time.sleep(0.05)
    operation.unblock()
    return True


def _close(value: Any) -> None:
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, int):
            os.close(each)
        elif each is not None:
            (each[0] if isinstance(each, tuple) else each).close()  # a tuple is what accept returns


def _child(case: Case, begin: Any, end: Any, report: int) -> bool:
    internals.thread._LINGER = 0.01
    printed = os.memfd_create("printed")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    os.dup2(printed, 2)
    # A service reports an Error of accept().
    sys.excepthook = lambda kind, *error: None if issubclass(kind, unixconn.Error) else sys.__excepthook__(kind, *error)
    with ways.kept_loop():
        # uvloop's loop keeps an eventfd.
        before = open_descriptors()
        _works()

        def left() -> dict[int, str]:
            MainContext.default().iteration(False)
            gc.collect()
            return {fd: name for fd, name in open_descriptors().items() if before.get(fd) != name}

        settle(lambda: not any("[event" in name for name in left().values()), 1)
        before.update(open_descriptors())
        found = _outcome(case, begin, end)
        try:
            _works()
            # What a command leaves is closed when its process ends.
            if case.way != "command" and not settle(lambda: not left()):
                found = f"left {left()} after {found}"
        except BaseException as error:  # noqa: BLE001 - as above
            found = f"broken: {error!r} after {found}"
    if sys.stderr is not None:  # a command that cannot write there sets it to None
        sys.stderr.flush()
    text = os.pread(printed, 4000, 0).decode()
    if case.way == "command" and text.startswith("unixconn:") and "Traceback" not in text and found == "ok":
        found = f"Error: {text}"
    elif text:
        found = f"printed {text!r} after {found}"
    os.write(report, found.encode())
    return True


# --- in the parent ---------------------------------------------------------------------------------------------------


def attempt(case: Case, injection: Injection | None = None) -> tuple[str, list[str]]:
    """Do *case* in a child with a call that fails, or with none; return the outcome and the calls it has made."""
    ready, is_ready = os.pipe()
    go, may_go = os.pipe()
    report, to_report = os.pipe()

    def wait() -> None:
        # By calls that nothing else makes.
        os.writev(is_ready, [b"r"])
        os.readv(go, [bytearray(1)])

    pid = forked(lambda: _child(case, wait, wait, to_report))
    for fd in (is_ready, go, to_report):
        os.close(fd)
    calls: list[str] = []
    try:
        with tempfile.NamedTemporaryFile(mode="r") as log:
            # With one that unblocks it later, two processes begin.
            for _ in range(1 + case.later):
                if not _read(ready, 1):
                    return "died before it began", calls
            traced = injection.call if injection else ",".join(ERRNOS)
            how = (
                [f"--inject={injection.call}:error={injection.errno}:when={injection.time or '1+'}"]
                if injection
                else []
            )
            strace = ["strace", "-f", "-qq", "-o", log.name, "-p", str(pid), f"--trace=?{traced.replace(',', ',?')}"]
            with subprocess.Popen([*strace, *how], stderr=subprocess.DEVNULL) as tracer:
                assert settle(lambda: _is_traced(pid)), "strace does not trace the child"
                os.write(may_go, b"gg"[: 1 + case.later])
                _read(ready, 1)
                tracer.send_signal(signal.SIGINT)
            os.write(may_go, b"g")
            calls = [match[1] for match in re.finditer(r"^\d+ +(\w+)\(", log.read(), re.MULTILINE)]
            return _read(report).decode() or "hangs, or died", calls
    except BrokenPipeError:
        return "died", calls
    finally:
        for fd in (ready, may_go, report):
            os.close(fd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def attempt_closes(case: Case, injection: Injection | None = None) -> tuple[str, int]:
    """Do *case* in a child in which closes fail, or none; return the outcome and the number of its closes."""
    report, to_report = os.pipe()
    counts, to_count = os.pipe()
    parent = os.getpid()

    def begin() -> None:
        if os.getppid() == parent:  # and not in the process that unblocks it
            number = errnos.EEXIST if injection is None else getattr(errnos, injection.errno)
            injected_closes.start(number, NEVER if injection is None else injection.time)

    def end() -> None:
        os.write(to_count, str(injected_closes.stop()).encode())

    pid = forked(lambda: _child(case, begin, end, to_report))
    for fd in (to_report, to_count):
        os.close(fd)
    try:
        outcome = _read(report).decode() or "hangs, or died"
        return outcome, int(_read(counts) or 0)
    finally:
        for fd in (report, counts):
            os.close(fd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _read(fd: int, size: int = 8000) -> bytes:
    """Return what the child says; nothing if it takes too long."""
    is_there, _, _ = select.select([fd], [], [], SECONDS)
    return os.read(fd, size if is_there else 0)


def _is_traced(pid: int) -> bool:
    tasks = list(Path(f"/proc/{pid}/task").glob("*/status"))
    return all("\nTracerPid:\t0\n" not in task.read_text(encoding="ascii") for task in tasks)


def injections(case: Case) -> Iterator[Injection]:
    """Return what can fail in *case*: what it is seen to do without a failure."""
    outcome, calls = attempt(case)
    assert is_good(outcome), (case, outcome)
    # The calls of storm_operations.py end in the way: "give_fd asyncio".
    names = (case.way, case.operation, case.operation.split()[-1])
    for call in sorted(set(calls).difference(*(OTHERS.get(name, ()) for name in names))):
        is_repeated = call in REPEATED.get(case.operation, ())
        for errno in ERRNOS[call]:
            times = range(1 if is_repeated or errno in PASSING else EACH_TIME, min(calls.count(call), 2) + 1)
            yield from (Injection(call, errno, time) for time in times)


def injected_into_closes(case: Case) -> Iterator[Injection]:
    """Return which closes can fail in *case*."""
    outcome, count = attempt_closes(case)
    assert is_good(outcome), (case, outcome)
    for number in ("EIO", "EINTR"):
        yield from (Injection("close", number, time) for time in range(EACH_TIME if count else 1, min(count, 4) + 1))


def is_good(outcome: str) -> bool:
    """Return whether an outcome is a success, or an Error of the library after which all goes on."""
    return outcome.startswith(("ok", "Error"))


def main() -> int:
    """Make the tries; return the exit status."""
    parser = argparse.ArgumentParser(description="Let each system call of each operation fail.")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="make each N-th try")
    parser.add_argument("--start", type=int, default=0, metavar="N", help="begin with this one")
    parser.add_argument("operation", nargs="*", help="a part of the name of an operation")
    parser.add_argument("--closes", action="store_true", help="let close() and close_range() fail, and nothing else")
    arguments = parser.parse_args()
    if arguments.closes and not injected_closes.is_loaded():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, *sys.argv]
            return subprocess.run(command, env=injected_closes.environment(Path(folder)), check=False).returncode
    find, make = (injected_into_closes, attempt_closes) if arguments.closes else (injections, attempt)
    tries = bad = seen = 0
    began = time.monotonic()
    for case in cases(arguments.operation):
        for injection in find(case):
            seen += 1
            if (seen - 1 - arguments.start) % arguments.sample:
                continue
            tries += 1
            outcome, _ = make(case, injection)
            if not is_good(outcome):
                bad += 1
                print(json.dumps([*case, *injection, outcome]), flush=True)
    print(f"{tries} tries, {bad} bad, {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
