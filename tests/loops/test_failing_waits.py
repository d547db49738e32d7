"""Waiting that fails: a thread that does not begin, epoll_wait() that fails for good, a loop that takes no reader."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from helpers import (
    EPOLL_WAITS,
    PYPY,
    Calls,
    close,
    forbid_epoll_wait,
    forks,
    needs_filters,
    open_descriptors,
    outcome_of_child,
    settle,
)
from ways import failure, optional

from unixconn import Cancellable, Error, MainContext, UnixConnection


def goes_on():
    """Return whether operations of new connections end as ever."""
    for _ in range(3):
        a, b = UnixConnection.create_pair()
        with a, b:
            future = b.receive_fd_async()
            a.send_fd(0)
            close(future.result(60))
    return True


def is_waiting():
    """Return whether a thread is in epoll_wait(), or cannot be looked at."""
    found = []
    for each in Path("/proc/self/task").glob("*/syscall"):
        with contextlib.suppress(OSError):  # it has ended, or this kernel does not tell
            found.append(each.read_text(encoding="ascii").split()[0])
    return not found or any(each in found for each in map(str, EPOLL_WAITS))


def check_in_time(function):
    """Have a child call *function* with more and more seconds, until these are over too late for it to return False."""
    for seconds in (0.2, 1, 5, 25):
        code = outcome_of_child(partial(function, seconds))
        if code != 2:
            break
    assert code == 0


def close_events():
    """Close epolls and eventfds, as a program does that closes descriptors that are not its own."""
    for fd, name in open_descriptors().items():
        if "[event" in name:
            os.close(fd)


@pytest.fixture
def starts(monkeypatch):
    """The starts of threads, which are put off a little, as on a machine that is busy."""
    start, begun = _thread.start_new_thread, Calls()

    def start_later(function, arguments):
        def run():
            time.sleep(0.02)
            for call in meanwhile:
                call()
            time.sleep(0.02)
            begun.append(True)
            function(*arguments)

        return start(run, ())

    begun.meanwhile = meanwhile = []
    monkeypatch.setattr(_thread, "start_new_thread", start_later)
    return begun


class TestTheStartOfTheThread:
    def test_is_waited_for(self, pair, quick, starts):
        """Otherwise the interpreter could end under a thread that has not begun."""
        _, b = pair
        future = b.receive_fd_async()
        assert starts == [True]
        future.cancel()

    def test_a_handler_raises_meanwhile(self, pair, quick, starts):
        """The exception comes out after the start, and later operations find the thread."""
        a, b = pair

        def interrupt(*_):
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, interrupt)
        starts.meanwhile.append(lambda: os.kill(os.getpid(), signal.SIGALRM))
        try:
            with pytest.raises(KeyboardInterrupt):
                b.receive_fd_async()
            assert starts == [True]
        finally:
            signal.signal(signal.SIGALRM, before)
        starts.meanwhile.clear()
        future = b.receive_fd_async()
        a.send_fd(0)
        close(future.result(60))

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_the_thread_ends_before_it_has_begun(self, pair, quick, monkeypatch):
        """The operation fails, and the next one starts another thread."""
        if PYPY:
            pytest.skip("no thread dies so, and references do not tell")
        a, b = pair
        start = _thread.start_new_thread
        with monkeypatch.context() as patch:
            patch.setattr(_thread, "start_new_thread", lambda function, _: start(function, ("one", "too many")))
            assert failure(b.receive_fd_async().result, 60)[0] == 0
        future = b.receive_fd_async()
        a.send_fd(0)
        close(future.result(60))

    @pytest.mark.parametrize("option", ["-Xdev", "-Xfaulthandler"])
    def test_the_interpreter_ends_at_once(self, option):
        """With the allocator that overwrites what is freed, too."""
        program = """
from unixconn import UnixConnection
a, b = UnixConnection.create_pair()
future = b.receive_fd_async()
"""
        command = [sys.executable, option, "-c", program]
        environment = {**os.environ, "PYTHONMALLOC": "debug"}
        codes = {subprocess.run(command, env=environment, check=False, timeout=60).returncode for _ in range(4)}
        assert codes == {0}


@forks
class TestEpollFails:
    def test_closed_by_the_program(self):
        """All that waits ends with an Error, once; no thread is started again and again."""

        def child(seconds):
            threads, ends = [], []
            start = _thread.start_new_thread
            _thread.start_new_thread = lambda *arguments: threads.append(1) or start(*arguments)
            a, b = UnixConnection.create_pair()
            end = time.monotonic() + seconds
            ended_by_time = a.receive_fd_async(Cancellable.with_timeout(seconds))
            waits = b.receive_fd_async()
            for each in (ended_by_time, waits):
                each.add_done_callback(ends.append)
            close_events()
            if time.monotonic() >= end:
                return False
            # Where the wait has ended a little too early, there is another one before the time is over.
            assert failure(ended_by_time.result, 60)[0] in (24, 0)
            assert failure(waits.result, 60) == (0, f"Waiting in the background: {os.strerror(errno.EBADF)}")
            assert settle(lambda: len(ends) == 2)
            assert not settle(lambda: len(ends) > 2 or len(threads) > 2, 0.3)
            return goes_on()

        check_in_time(child)

    @pytest.mark.parametrize("how", ["operation", "callback", "cancel"])
    def test_closed_under_a_wait_without_a_limit(self, how):
        """What happens next finds that out: another thread takes the place of the one that nothing wakes."""

        def child():
            cancellable, ends = Cancellable(), []
            a, b = UnixConnection.create_pair()
            c, d = UnixConnection.create_pair()
            waits, cancelled = a.receive_fd_async(), b.receive_fd_async(cancellable)
            time.sleep(0.05)
            settle(is_waiting)
            close_events()
            if how == "operation":
                failure(d.receive_fd_async().result, 60)
            elif how == "callback":
                c.send_fd_async(0).add_done_callback(ends.append)
                assert settle(lambda: bool(ends))
            else:
                cancellable.cancel()
                a.close()
                assert failure(cancelled.result, 60)[0] == 19
                return goes_on()
            assert failure(waits.result, 60) == (0, f"Waiting in the background: {os.strerror(errno.EBADF)}")
            return goes_on()

        assert outcome_of_child(child) == 0

    def test_a_file_that_has_its_number(self):
        """It is not closed in its place."""

        def child(seconds):
            a, b = UnixConnection.create_pair()
            end = time.monotonic() + seconds
            ended_by_time = a.receive_fd_async(Cancellable.with_timeout(seconds))
            waits = b.receive_fd_async()
            with Path(os.devnull).open("rb") as file:
                numbers = [fd for fd, name in open_descriptors().items() if "[event" in name]
                # Without a moment in which a number is nobody's: the thread may be about to wait.
                for fd in numbers:
                    os.dup2(file.fileno(), fd)
            if time.monotonic() >= end:
                return False
            failure(ended_by_time.result, 60)
            assert failure(waits.result, 60) == (13, f"Waiting in the background: {os.strerror(errno.EINVAL)}")
            goes_on()
            assert [os.readlink(f"/proc/self/fd/{each}") for each in numbers] == [os.devnull] * len(numbers)
            assert len(numbers) == 2
            return True

        check_in_time(child)

    @needs_filters
    def test_forbidden(self):
        """In the thread: each operation that has to wait ends with an Error, and what need not wait has its result."""

        def child():
            forbid_epoll_wait()
            a, b = UnixConnection.create_pair()
            for _ in range(3):
                assert failure(b.receive_fd_async().result, 60) == (
                    14,
                    f"Waiting in the background: {os.strerror(errno.EPERM)}",
                )
            a.send_fd(0)
            close(b.receive_fd_async().result(60))
            rung = []
            deadline = Cancellable.with_timeout(0.1)
            deadline.connect(lambda: rung.append(1))
            return settle(lambda: bool(rung))

        assert outcome_of_child(child) == 0

    @needs_filters
    def test_forbidden_in_a_context(self):
        """The callbacks get the Error, each once; iterating raises none."""

        def child():
            forbid_epoll_wait()
            a, b = UnixConnection.create_pair()
            found = []
            for each in (a, b):
                each.receive_fd_async(
                    None, lambda owner, result: found.append(failure(owner.receive_fd_finish, result))
                )
            context = MainContext.default()
            assert settle(lambda: (context.iteration(False), len(found) == 2)[1])
            assert not context.iteration(False)
            return {code for code, _ in found} == {14}

        assert outcome_of_child(child) == 0


class TestALoopTakesNoReader:
    @pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
    def test_add_reader(self, pair, kind, libuv):
        """The operation fails, and the next one waits as ever."""
        a, b = pair
        made = optional(kind).new_event_loop()
        add_reader, failures = made.add_reader, [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))]

        def add(*arguments):
            if failures:
                raise failures.pop()
            return add_reader(*arguments)

        made.add_reader = add

        async def main():
            with pytest.raises(Error):
                await b.receive_fd_async()
            for _ in range(2):
                future = b.receive_fd_async()
                asyncio.get_running_loop().call_later(0.01, a.send_fd, 0)
                close(await asyncio.wait_for(future, 60))

        with contextlib.closing(made):
            made.run_until_complete(main())

    def test_system_task(self, pair, trio, monkeypatch):
        """The same in trio, which may have no memory for its task."""
        a, b = pair

        def refuse(*_):
            raise MemoryError

        async def main():
            with monkeypatch.context() as patch:
                patch.setattr(trio.lowlevel, "spawn_system_task", refuse)
                with pytest.raises(MemoryError):
                    b.receive_fd_async()
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:

                    async def send():
                        await trio.sleep(0.01)
                        a.send_fd(0)

                    nursery.start_soon(send)
                    close(await b.receive_fd_async())

        trio.run(main)
