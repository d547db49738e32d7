"""What the tests share: sockets, waiting, and looks at the process's descriptors."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from unixconn import Socket, SocketFamily, SocketProtocol, SocketType, UnixConnection

PYPY = sys.implementation.name == "pypy"
SO_PASSCRED = getattr(socket, "SO_PASSCRED", 16)  # PyPy has no name for it; 20 on powerpc
PASSCRED = (socket.SOL_SOCKET, SO_PASSCRED)
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def open_descriptors() -> dict[int, str]:
    """Return the numbers of this process's open descriptors, and what each is."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one that lists the folder
            continue
    return found


def open_sockets() -> set[int]:
    """Return the numbers of the open sockets. Other descriptors come and go with threads and, on PyPy, collections."""
    return {number for number, name in open_descriptors().items() if name.startswith("socket:")}


def threads() -> set[str]:
    """
    Return the numbers of this process's threads, those too that Python's threading does not know.

    One that has been joined is in the kernel's list for a moment longer: compare by <=, and not by ==.
    """
    return set(os.listdir("/proc/self/task"))


@contextmanager
def more_threads() -> Iterator[Callable[[], set[str]]]:
    """Return, for a with statement, a function that returns the threads that were not there before."""
    before = threads()
    yield lambda: threads() - before


def settle(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Wait until *condition* holds; return whether it did."""
    end = time.monotonic() + seconds
    while True:
        # Asked before the last look: on a busy machine, all may come true between that and the end.
        is_last = time.monotonic() > end
        if condition():
            return True
        if is_last:
            return False
        time.sleep(0.005)


def adopt(sock: socket.socket) -> UnixConnection:
    """Make a connection of *sock*, which is left without its descriptor."""
    return UnixConnection(socket=Socket.new_from_fd(sock.detach()))


def fill(connection: UnixConnection) -> None:
    """Fill a connection's send queue, by a second handle on its socket."""
    with socket.socket(fileno=os.dup(connection.get_socket().get_fd())) as other:
        for size in (65536, 1):
            try:
                while True:
                    other.send(bytes(size), socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass


def is_on(connection: UnixConnection) -> bool:
    """Return whether SO_PASSCRED is on."""
    return bool(connection.get_socket().get_option(*PASSCRED).value)


def drain(connection: UnixConnection) -> None:
    """Take all that has come out of a connection's queue, by a second handle on its socket."""
    with socket.socket(fileno=os.dup(connection.get_socket().get_fd())) as other, suppress(BlockingIOError):
        while other.recv(1 << 20, socket.MSG_DONTWAIT):
            pass


def take(connection: UnixConnection, count: int) -> None:
    """Take *count* bytes out of a connection's queue, and no more."""
    with socket.socket(fileno=os.dup(connection.get_socket().get_fd())) as other:
        while count:
            count -= len(other.recv(min(count, 1 << 16), socket.MSG_DONTWAIT))


def tag(fd: int) -> str:
    """Return the name of a file that the fixture `tagged` has made, and close it."""
    name = os.readlink(f"/proc/self/fd/{fd}")
    os.close(fd)
    return name[name.index("<") + 1 : name.index(">")]


@contextmanager
def room(count: int) -> Iterator[None]:
    """Let this process open *count* more descriptors."""
    filler: list[int] = []
    top = max(open_descriptors())
    while not filler or filler[-1] < top:
        filler.append(os.dup(0))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (filler[-1] + 1 + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in filler:
            os.close(fd)


def sends_control(size: int) -> bool:
    """
    Return whether the C library takes *size* bytes of control data, headers and padding with them.

    musl has room for 1024 on 64 bits, from 1.2.4 on for 1040: ENOMEM. Asked with a level that Unix sockets ignore.
    """
    a, b = socket.socketpair()
    with a, b:
        try:
            a.sendmsg([b"x"], [(0x7777, 0, bytes(size - socket.CMSG_LEN(0)))])
        except OSError as error:
            assert error.errno == errno.ENOMEM
            return False
        return True


def most_to_send(beside: int = 0) -> int:
    """Return how many descriptors go in a message with *beside* bytes of other control data: the kernel takes 253."""
    return next(n for n in range(253, 0, -1) if sends_control(socket.CMSG_SPACE(4 * n) + beside))


MOST = most_to_send()


def same(one: int, other: int) -> bool:
    """Return whether two descriptors are of the same open file."""
    return os.path.sameopenfile(one, other)


def close(fd: int) -> None:
    """Close a descriptor of standard input's file."""
    assert same(fd, 0)
    os.close(fd)


def is_open(fd: int) -> bool:
    """Return whether *fd* is open in this process."""
    return Path(f"/proc/self/fd/{fd}").exists()


class Calls(list):
    """A callback, and the arguments of each of its calls."""

    def __call__(self, *arguments: object) -> None:
        self.append(arguments)

    @property
    def result(self) -> object:
        """The result that came with the only call."""
        [(_, result, *_)] = self
        return result


def collect() -> None:
    """Collect garbage, in PyPy too, where what finalizers release is for the next collection."""
    for _ in range(1 if sys.implementation.name == "cpython" else 3):
        gc.collect()


def come_to_rest(thread: threading.Thread) -> None:
    """Wait until a thread waits, for something else than the interpreter's lock, or has ended."""
    end = time.monotonic() + 10
    before: list[str] = []
    calm = 0
    # One that is not "S" has something to do: the machine is busy. One that wants the lock has its turn while this one
    # sleeps, unless another thread has the lock, and no processor.
    while thread.is_alive() and time.monotonic() < end:
        try:
            now = _turns(thread)
            most = 20 if _another_runs(thread) else 1
        except OSError:  # no descriptor is free
            time.sleep(0.1)
            return
        calm = calm + 1 if now == before and "S" in now else 0
        if calm >= most:
            return
        before = now
        time.sleep(0.005)


def _another_runs(thread: threading.Thread) -> bool:
    """Return whether a thread besides this one and *thread* runs, or would like to."""
    for each in threads() - {str(threading.get_native_id()), str(thread.native_id)}:
        try:
            state = Path(f"/proc/self/task/{each}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        if state == "R":
            return True
    return False


def _turns(thread: threading.Thread) -> list[str]:
    """Return a thread's state, and how often it has had the processor."""
    try:
        lines = Path(f"/proc/self/task/{thread.native_id}/status").read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return []
    return [each.split()[1] for each in lines if each.startswith(("State:", "voluntary", "nonvoluntary"))]


class Background(threading.Thread):
    """Runs a function in a thread; `outcome` waits for what it gives or raises."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        super().__init__(daemon=True)
        self._call = lambda: function(*arguments)
        self._outcome: object = None
        self.start()

    def run(self) -> None:
        """Keep what comes of the call."""
        try:
            self._outcome = self._call()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test looks at it
            self._outcome = error

    def outcome(self, seconds: float = 60.0) -> object:
        """Return what the function gave, or the exception that it raised."""
        self.join(seconds)
        assert not self.is_alive(), "still waiting"
        return self._outcome

    def is_waiting(self) -> bool:
        """Return, after a while, whether the function still runs; it has come to where it waits, then."""
        self.join(0.15)
        come_to_rest(self)
        return self.is_alive()


def signal_at_rest(number: int) -> Background:
    """Have another thread send this one a signal, once it waits."""
    waiting = threading.current_thread()

    def send() -> None:
        come_to_rest(waiting)
        # To the thread: the kernel may give one of the process to another thread, whose handler does not end the wait.
        signal.pthread_kill(waiting.ident or 0, number)

    return Background(send)


def forked(function: Callable[[], object]) -> int:
    """Run *function* in a forked child, and return its pid; its exit code is 0 if the function gave a true value."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = 0 if function() else 2
    except BaseException:  # noqa: BLE001 - pytest shows it if the parent's test fails
        traceback.print_exc()
    finally:
        os._exit(code)


def in_child(function: Callable[[], object]) -> int:
    """Run *function* in a forked child; return the child's exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(forked(function), 0)[1])


def outcome_of_child(function: Callable[[], object], seconds: float = 60.0) -> int:
    """Run *function* in a forked child; return its exit code, 0 for a true value, or -9 if it takes *seconds*."""
    pid = forked(function)
    killer = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
    killer.start()
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        killer.cancel()
        killer.join()


# setsockopt(), getsockopt() and the name of the architecture. A process of 32 bits has others, and the option's number
# may be behind a pointer (socketcall), where no filter sees it.
SYSTEM_CALLS = {
    ("x86_64", 8): (54, 55, 0xC000003E),
    ("aarch64", 8): (208, 209, 0xC00000B7),
}.get((os.uname().machine, struct.calcsize("P")), ())


# epoll_wait() and its variants.
EPOLL_WAITS = {"x86_64": (232, 281, 441), "aarch64": (22, 441)}.get(os.uname().machine, ())

RENAMEAT2 = {"x86_64": (316,), "aarch64": (276,)}.get(os.uname().machine, ())


def can_filter() -> bool:
    """Return whether the kernel filters system calls, as qemu does not, and whether the numbers are known."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(SYSTEM_CALLS) and libc.prctl(22, 2, None, 0, 0) != 0 and ctypes.get_errno() == errno.EFAULT


needs_filters = pytest.mark.skipif(not can_filter(), reason="system calls can not be filtered here")


def can_set(option: int) -> bool:
    """Return whether the kernel has an option of sockets, and qemu's user mode, where it is between, lets it be set."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)
        except OSError:
            return False
        return True


needs_passed_pidfds = pytest.mark.skipif(not can_set(76), reason="the kernel has no SO_PASSPIDFD")
needs_refused_rights = pytest.mark.skipif(not can_set(83), reason="the kernel has no SO_PASSRIGHTS")


def forbid_option(option: int) -> None:
    """
    Have the kernel answer ENOPROTOOPT to setsockopt() and getsockopt() of *option*, as one does that lacks it.

    For this process and its children, for good: for a forked child. By a filter of system calls (seccomp(2)): for a
    test that `needs_filters`.
    """
    setsockopt, getsockopt, architecture = SYSTEM_CALLS
    allow, fail = 0x7FFF0000, 0x00050000 | errno.ENOPROTOOPT
    filter_calls(
        (LOAD, 0, 0, 4),
        (EQUAL, 0, 6, architecture),
        (LOAD, 0, 0, 0),
        (EQUAL, 1, 0, setsockopt),
        (EQUAL, 0, 3, getsockopt),
        (LOAD, 0, 0, 16 + 8 * 2),
        (EQUAL, 0, 1, option),
        (GIVE, 0, 0, fail),
        (GIVE, 0, 0, allow),
    )


def forbid_epoll_wait() -> None:
    """Have the kernel answer EPERM to epoll_wait(), in the way of `forbid_option`."""
    forbid_calls(errno.EPERM, EPOLL_WAITS)


def forbid_calls(number: int, calls: Sequence[int]) -> None:
    """Have the kernel answer the errno *number* to the system calls with the numbers *calls*, as `forbid_option`."""
    allow, fail = 0x7FFF0000, 0x00050000 | number
    count = len(calls)
    filter_calls(
        (LOAD, 0, 0, 4),
        (EQUAL, 0, count + 1, SYSTEM_CALLS[2]),
        (LOAD, 0, 0, 0),
        *((EQUAL, count - index, 0, call) for index, call in enumerate(calls)),
        (GIVE, 0, 0, allow),
        (GIVE, 0, 0, fail),
    )


LOAD, EQUAL, GIVE = 0x20, 0x15, 0x06


def filter_calls(*program: tuple[int, int, int, int]) -> None:
    """Install a filter of system calls, for this process and its children, for good."""
    code = b"".join(struct.pack("HBBI", *each) for each in program)
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code)
    filter_program = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    assert libc.prctl(38, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS"
    assert libc.prctl(22, 2, ctypes.create_string_buffer(filter_program), 0, 0) == 0, "PR_SET_SECCOMP"


def received(sock: socket.socket, size: int) -> bytes:
    """Take *size* bytes out of a plain socket."""
    got = bytearray()
    while len(got) < size:
        piece = sock.recv(1 << 20)
        assert piece, "the end came too early"
        got += piece
    return bytes(got)


@contextmanager
def no_collection() -> Iterator[None]:
    """Let references alone free things, as CPython does."""
    if sys.implementation.name != "cpython":
        pytest.skip("frees only by collections")
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def new_socket(kind: SocketType = SocketType.STREAM) -> Socket:
    """Make a Unix socket."""
    return Socket.new(SocketFamily.UNIX, kind, SocketProtocol.DEFAULT)
