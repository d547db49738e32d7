"""What waits in the background: the worker, the lines, and what happens to them when the process has a hard time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import random
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time

import pytest
from helpers import (
    PYPY,
    SO_PASSCRED,
    Background,
    Calls,
    fill,
    forked,
    open_descriptors,
    outcome_of_child,
    room,
    same,
    settle,
    threads,
)
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import unixconn
from unixconn import (
    Cancellable,
    CredentialsSource,
    Error,
    MainContext,
    MainLoop,
    Task,
    UnixConnection,
    closable,
    idle_add,
    maincontext,
    paths,
    pending,
    poller,
    sequence,
    timeout_add,
    workers,
)
from unixconn.descriptors import RETURN_IS_ATOMIC

PASSCRED = (socket.SOL_SOCKET, SO_PASSCRED)
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.fixture
def calls():
    """A callback."""
    return Calls()


@pytest.fixture
def quick(monkeypatch):
    """Let the worker go as soon as it has nothing to do."""
    monkeypatch.setattr(workers, "_LINGER", 0.0)


@pytest.fixture
def often():
    """Let the interpreter change threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def many():
    """A hundred pairs of connections."""
    pairs = [UnixConnection.create_pair() for _ in range(100)]
    yield pairs
    for a, b in pairs:
        a.close()
        b.close()


def iterate(until, context=None):
    """Iterate a context, the default one, until a condition holds."""
    context = context or MainContext.default()
    assert settle(lambda: context.iteration(False) or until()), "it does not come"
    while not until():
        assert settle(lambda: context.iteration(False) or until()), "it does not come"


def is_on(connection):
    """Tell whether SO_PASSCRED is on."""
    return bool(connection.get_socket().get_option(*PASSCRED).value)


def failure(call, *arguments):
    """Give code and text of the Error that a call raises."""
    with pytest.raises(Error) as caught:
        call(*arguments)
    return caught.value.code, caught.value.message


def close(fd):
    """Close a descriptor of standard input's file."""
    assert same(fd, 0)
    os.close(fd)


# The machine may be busy with as much as these tests do.
code_of_child = functools.partial(outcome_of_child, seconds=20)


@contextlib.contextmanager
def more_threads():
    """Give a function that gives the threads that were not there before."""
    before = threads()
    yield lambda: threads() - before


class TestThread:
    def test_thousands_wait_in_one(self, many, pair):
        """Two thousand that wait cost one thread, which goes with the last of them; nobody is delayed by them."""
        a, b = pair
        cancellable = Cancellable()
        with more_threads() as threads:
            futures = [connection.receive_fd_async(cancellable) for _, connection in many for _ in range(5)]
            for _, connection in many:
                for _ in range(15):
                    connection.receive_credentials_async(cancellable, None)
            assert len(threads()) == 1
            ready = b.receive_fd_async()
            a.send_fd(0)
            close(ready.result(10))
            a.send_fd(0)
            close(b.receive_fd_async().result(10))
            many[50][0].send_fd(0)
            close(futures[250].result(10))
            assert [future.done() for future in futures].count(True) == 1
            assert all(is_on(connection) for _, connection in many)
            assert len(threads()) == 1
            cancellable.cancel()
            assert [future.cancelled() for future in futures].count(False) == 1
            assert not any(is_on(connection) for _, connection in many)
            assert settle(lambda: not threads())

    def test_what_ends_at_once_needs_none(self, pair, calls):
        """Neither does what waits for a context that is iterated."""
        a, b = pair
        with more_threads() as threads:
            assert a.send_fd_async(0).result() is True
            a.send_fd_async(0, None, None)
            a.send_credentials_async(None, calls)
            close(b.receive_fd_async().result())
            b.receive_fd_async(None, calls)
            b.receive_credentials_async(None, calls)
            b.receive_fd_async(None, calls)
            a.send_fd(0)
            iterate(lambda: len(calls) == 4)
            assert not threads()
        for _, result in calls:
            with contextlib.suppress(ValueError):
                close(result.propagate_int())

    def test_comes_again(self, pair, quick):
        """After it has gone there is a new one, as often as it is needed; it leaves no descriptor."""
        a, b = pair
        before = open_descriptors()
        with more_threads() as threads:
            seen = set()
            for _ in range(5):
                future = b.receive_fd_async()
                seen |= threads()
                a.send_fd(0)
                close(future.result(10))
                assert settle(lambda: not threads())
                assert open_descriptors() == before
        assert len(seen) == 5

    def test_stays_while_something_waits(self, pair, quick):
        """However long it takes."""
        a, b = pair
        with more_threads() as threads:
            future = b.receive_fd_async()
            [thread] = threads()
            for _ in range(5):
                close_it = a.receive_fd_async()
                b.send_fd(0)
                close(close_it.result(10))
            assert settle(lambda: not future.done(), 0.1)
            assert threads() == {thread}
            a.send_fd(0)
            close(future.result(10))

    def test_goes_and_comes_in_the_same_moment(self, pair, quick):
        """What starts just as the thread ends is looked after all the same."""
        a, b = pair
        chance = random.Random(3)
        for _ in range(300):
            future = b.receive_fd_async()
            a.send_fd(0)
            close(future.result(10))
            if chance.random() < 0.5:
                time.sleep(chance.random() * 0.0005)

    def test_does_not_wait_for_the_timeout_of_what_has_ended(self, no_linger, often):
        """However the end and its look for what is left fall together."""
        with more_threads() as threads:
            for _ in range(50):
                for _ in range(10):
                    a, b = UnixConnection.create_pair()
                    with a, b:
                        b.get_socket().set_timeout(60)
                        b.receive_fd_async()
                assert settle(lambda: not threads())

    def test_many_start_at_once(self, many, quick):
        """Of many threads that start operations, each has its own, by the one worker."""

        def run(pairs):
            for a, b in pairs * 5:
                future = b.receive_fd_async()
                a.send_fd(0)
                close(future.result(10))

        threads = [Background(run, many[number::4]) for number in range(4)]
        assert [thread.outcome() for thread in threads] == [None] * 4

    def test_no_thread_to_be_had(self, pair, monkeypatch, calls):
        """It is the operation's result, and nothing is left of it."""
        a, b = pair
        before = open_descriptors()

        def refuse(*_):
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(workers._thread, "start_new_thread", refuse)
            future = b.receive_fd_async()
            assert failure(future.result)[0] == 0
        assert open_descriptors() == before
        future = b.receive_fd_async()
        a.send_fd(0)
        close(future.result(10))


class TestFuture:
    def test_cancel(self, pair):
        """It ends the operation, and consumes nothing; after the end it has no effect."""
        a, b = pair
        future, other = b.receive_fd_async(), b.receive_fd_async()
        assert future.cancel() is True
        assert future.done()
        assert future.cancelled()
        assert failure(future.result)[0] == 19
        assert future.cancel() is False
        a.send_fd(0)
        fd = other.result(10)
        assert other.cancel() is False
        assert not other.cancelled()
        assert other.result() == fd
        close(fd)

    def test_cancel_leaves_the_cancellable_alone(self, pair):
        """Others may have been given the same; its own one is made when it is asked for."""
        a, b = pair
        cancellable = Cancellable()
        one, other, third = b.receive_fd_async(cancellable), b.receive_fd_async(cancellable), b.receive_fd_async()
        one.cancel()
        assert not cancellable.is_cancelled()
        assert not other.done()
        assert one.cancellable is cancellable
        cancellable.cancel()
        assert other.cancelled()
        assert not third.done()
        third.cancellable.cancel()
        assert third.cancelled()
        a.send_fd(0)
        close(b.receive_fd())

    def test_done_callbacks(self, pair):
        """They are called in another thread, once each, with the Future."""
        a, b = pair
        future, got = b.receive_fd_async(), []

        def called(which):
            got.append((which, threading.get_ident()))

        def removed(which):
            got.append("removed")

        future.add_done_callback(called)
        future.add_done_callback(called)
        future.add_done_callback(removed)
        assert future.remove_done_callback(removed) == 1
        assert future.remove_done_callback(removed) == 0
        assert got == []
        a.send_fd(0)
        assert settle(lambda: len(got) == 2)
        future.add_done_callback(called)
        assert settle(lambda: len(got) == 3)
        time.sleep(0.02)
        assert [which for which, _ in got] == [future] * 3
        assert threading.get_ident() not in {thread for _, thread in got}
        close(future.result())
        with pytest.raises(TypeError, match="callback"):
            future.add_done_callback(5)

    def test_a_done_callback_s_exception(self, pair, monkeypatch):
        """It is reported, and the worker goes on."""
        a, b = pair
        found, got = [], []
        monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: found.append(kind))
        future = b.receive_fd_async()
        future.add_done_callback(lambda _: 1 / 0)
        future.add_done_callback(got.append)
        a.send_fd(0)
        assert settle(lambda: got)
        assert found == [ZeroDivisionError]
        close(future.result())
        following = b.receive_fd_async()
        a.send_fd(0)
        close(following.result(10))

    def test_a_done_callback_starts_the_next(self, pair):
        """The worker's thread may start operations, cancel, and close."""
        a, b = pair
        got = []

        def called(future):
            close(future.result())
            got.append(1)
            if len(got) < 50:
                b.receive_fd_async().add_done_callback(called)
                a.send_fd(0)
            else:
                b.close()

        waiting = a.receive_fd_async()
        b.receive_fd_async().add_done_callback(called)
        a.send_fd(0)
        assert failure(waiting.result, 10) == (18, "Connection closed by the peer")
        assert len(got) == 50

    def test_nobody_keeps_it(self, pair):
        """The operation goes on, and a descriptor that comes for nobody is closed."""
        a, b = pair
        before = open_descriptors()
        b.receive_fd_async()
        following = b.receive_fd_async()
        gc.collect()
        a.send_fd(0)
        assert settle(lambda: b.get_socket().get_available_bytes() == 0)
        assert not following.done()
        a.send_fd(0)
        close(following.result(10))
        assert settle(lambda: (gc.collect(), open_descriptors().items() <= before.items())[1])

    def test_seen_descriptors_are_the_reader_s(self, pair):
        """What result() has given is not closed with the Future."""
        a, b = pair
        a.send_fd(0)
        fd = b.receive_fd_async().result()
        for _ in range(3):
            gc.collect()
        close(fd)

class TestEnds:
    @pytest.mark.parametrize("how", ["cancel", "close"])
    def test_by_another_thread(self, many, how):
        """Whatever waits for the worker ends with CANCELLED or CLOSED."""
        cancellable = Cancellable()
        futures = [b.receive_fd_async(cancellable) for _, b in many]
        futures += [b.receive_credentials_async(cancellable) for _, b in many]
        for _, b in many:
            b.receive_credentials_async(cancellable, None)

        def end():
            for _, b in many:
                b.close()

        Background(cancellable.cancel if how == "cancel" else end).outcome()
        assert {failure(future.result, 10)[0] for future in futures} == {19 if how == "cancel" else 18}

    def test_timeouts_of_many(self, many):
        """All have their time, and no more; nothing was consumed."""
        futures = []
        for _, b in many:
            b.get_socket().set_timeout(1)
            futures += [b.receive_fd_async(), b.receive_credentials_async()]
            b.receive_fd_async(None, None)
        assert not any(future.done() for future in futures)
        assert {failure(future.result, 10) for future in futures} == {(24, "Socket I/O timed out")}
        for a, b in many:
            a.send_fd(0)
            close(b.receive_fd())
            assert not is_on(b)

    def test_a_shorter_timeout_comes_later(self, many):
        """Who starts last and has the least time ends first."""
        (_, none), (_, long), (_, short) = many[:3]
        waits = none.receive_fd_async()
        long.get_socket().set_timeout(60)
        later = long.receive_fd_async()
        time.sleep(0.02)
        short.get_socket().set_timeout(1)
        assert failure(short.receive_fd_async().result, 20)[0] == 24
        assert not waits.done()
        assert not later.done()

    def test_a_timeout_that_poll_does_not_take(self, many, calls):
        """One of months is waited for like any other, in the worker and in a context."""
        (a, b), (c, d) = many[:2]
        for each in (b, d):
            each.get_socket().set_timeout(2**32 - 1)
        future = b.receive_fd_async()
        d.receive_fd_async(None, calls)
        timeout_add(100, lambda: not c.send_fd(0))
        iterate(lambda: calls)
        close(d.receive_fd_finish(calls.result))
        a.send_fd(0)
        close(future.result(10))

    def test_the_descriptor_s_number_is_used_again(self, calls):
        """Who waits on a new socket under the number of a closed one is not taken for another."""
        for _ in range(50):
            a, b = UnixConnection.create_pair()
            number = b.get_socket().get_fd()
            future = b.receive_fd_async()
            b.receive_fd_async(None, calls)
            b.close()
            a.close()
            c, d = UnixConnection.create_pair()
            assert number in {c.get_socket().get_fd(), d.get_socket().get_fd()}
            one, other = c.receive_fd_async(), d.receive_fd_async()
            c.send_fd(0)
            close(other.result(10))
            d.send_fd(0)
            close(one.result(10))
            assert failure(future.result) == (18, "Socket is already closed")
            c.close()
            d.close()
        iterate(lambda: len(calls) == 50)
        assert {failure(connection.receive_fd_finish, result)[0] for connection, result in calls} == {18}


class TestNoFreeDescriptor:
    @pytest.mark.parametrize("count", [0, 1])
    @pytest.mark.parametrize("kind", ["receive_fd", "receive_credentials"])
    def test_future(self, pair, kind, count):
        """Where there is none to wait with, that is the result; afterwards all goes on."""
        a, b = pair
        before = open_descriptors()
        start = getattr(b, f"{kind}_async")
        with room(count):
            found = [failure(start().result, 10) for _ in range(3)]
            start(None, None)
            at_once = a.send_credentials_async()
        assert at_once.result() is True
        b.receive_credentials()
        assert {code for code, _ in found} == {31}
        assert not is_on(b)
        assert settle(lambda: (gc.collect(), open_descriptors().items() <= before.items())[1])
        future = b.receive_fd_async()
        a.send_fd(0)
        close(future.result(10))

    def test_callback(self, pair, calls):
        """It is the result in a context, too."""
        a, b = pair
        cancellable = Cancellable()
        before = open_descriptors()
        with room(0):
            b.receive_fd_async(cancellable, calls)
            b.receive_credentials_async(None, calls)
            iterate(lambda: len(calls) == 2)
        assert failure(b.receive_fd_finish, calls[0][1])[0] == 31
        assert failure(b.receive_credentials_finish, calls[1][1])[0] == 31
        assert not is_on(b)
        assert open_descriptors() == before
        calls.clear()
        b.receive_fd_async(cancellable, calls)
        a.send_fd(0)
        iterate(lambda: calls)
        close(b.receive_fd_finish(calls[0][1]))

    @pytest.mark.parametrize("count", [1, 2])
    def test_a_loop_that_sleeps(self, pair, calls, count):
        """A loop that can not have what wakes it does not fail for that: its operations end, one way or the other."""
        a, b = pair
        loop = MainLoop()

        def called(*arguments):
            calls(*arguments)
            loop.quit()

        def send():
            a.send_credentials()

        with room(count):
            b.receive_credentials_async(None, called)
            timeout_add(50, send)
            loop.run()
        with contextlib.suppress(unixconn.TooManyOpenFilesError):
            assert b.receive_credentials_finish(calls[0][1]).get_unix_pid() == os.getpid()
        b.close()

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_sending(self, pair, calls, count):
        """A descriptor that has to wait needs a copy, and somebody to look after it."""
        a, b = pair
        fill(a)
        before = open_descriptors()
        with room(count):
            a.send_fd_async(0, None, calls)
            future = a.send_fd_async(0)
            iterate(lambda: calls)
            assert failure(future.result, 10)[0] == 31
        assert failure(a.send_fd_finish, calls[0][1])[0] == 31
        assert settle(lambda: (gc.collect(), open_descriptors().items() <= before.items())[1])
        del b

    def test_those_that_wait_already(self, pair, calls):
        """They can be cancelled, and have what needs no descriptor."""
        a, b = pair
        cancellable = Cancellable()
        future = b.receive_credentials_async()
        b.receive_credentials_async(cancellable, None)
        a.receive_fd_async(cancellable, calls)
        with room(0):
            a.send_credentials()
            assert future.result(10).get_unix_pid() == os.getpid()
            cancellable.cancel()
            iterate(lambda: calls)
        assert failure(a.receive_fd_finish, calls[0][1])[0] == 19
        assert not is_on(b)


@forks
class TestFork:
    def test_stays_the_parent_s(self, pair, calls):
        """Nothing of the parent's ends in the child, whatever comes; and it ends in the parent."""
        a, b = pair
        b.receive_fd_async(None, calls)
        future = a.receive_fd_async()
        done = []
        future.add_done_callback(done.append)

        def child():
            a.send_fd(0)
            for _ in range(20):
                MainContext.default().iteration(False)
                time.sleep(0.001)
            return not calls and not future.done() and not done

        assert code_of_child(child) == 0
        iterate(lambda: calls)
        close(b.receive_fd_finish(calls[0][1]))
        assert not future.done()
        b.send_fd(0)
        close(future.result(10))
        assert settle(lambda: done == [future])

    def test_the_child_has_its_own(self, pair, calls):
        """A child can start operations, of all forms, with a thread and a context of its own."""
        a, b = pair
        waiting = b.receive_fd_async()
        b.receive_credentials_async(None, calls)

        def child():
            c, d = UnixConnection.create_pair()
            future = d.receive_fd_async()
            mine = Calls()
            d.receive_credentials_async(None, mine)
            d.receive_fd_async(None, None)
            c.send_fd(0)
            close(future.result(10))
            c.send_credentials()
            iterate(lambda: mine)
            last = d.receive_fd_async()
            c.send_fd(0)
            c.send_fd(0)
            close(last.result(10))
            return d.receive_credentials_finish(mine[0][1]).get_unix_pid() == os.getpid() and not calls

        assert [code_of_child(child) for _ in range(3)] == [0] * 3
        a.send_fd(0)
        close(waiting.result(10))
        a.send_credentials()
        iterate(lambda: calls)
        assert b.receive_credentials_finish(calls[0][1]).get_unix_pid() == os.getpid()

    def test_on_the_same_connection(self, pair, calls):
        """The child does not stand in the parent's line, nor the parent in the child's."""
        a, b = pair
        b.receive_fd_async(None, calls)

        def child():
            a.send_fd(0)
            close(b.receive_fd_async().result(10))
            mine = Calls()
            b.receive_fd_async(None, mine)
            a.send_fd(0)
            iterate(lambda: mine)
            close(b.receive_fd_finish(mine[0][1]))
            return not calls

        assert code_of_child(child) == 0
        assert not calls
        a.send_fd(0)
        iterate(lambda: calls)
        close(b.receive_fd_finish(calls[0][1]))

    def test_credentials_on_the_same_connection(self, pair, calls):
        """Both receive with SO_PASSCRED on, which the child leaves on, and the parent off."""
        a, b = pair
        b.receive_credentials_async(None, calls)

        def own(connection):
            future = connection.receive_credentials_async()
            a.get_socket().send(b"x")
            credentials = future.result(10)
            return credentials.get_unix_pid() == os.getpid() and credentials.source is CredentialsSource.MESSAGE

        def child():
            return all(own(b) and is_on(b) for _ in range(3))

        assert code_of_child(child) == 0
        assert is_on(b)
        a.get_socket().send(b"x")
        iterate(lambda: calls)
        credentials = b.receive_credentials_finish(calls[0][1])
        assert (credentials.get_unix_pid(), credentials.source) == (os.getpid(), CredentialsSource.MESSAGE)
        assert not is_on(b)

    @pytest.mark.parametrize("action", ["cancel", "close", "drop"])
    def test_what_the_child_does(self, pair, calls, action):
        """A child that cancels, closes, or ends, leaves the parent's alone."""
        a, b = pair
        cancellable = Cancellable()
        b.receive_fd_async(cancellable, calls)
        b.receive_credentials_async(cancellable, None)
        future = b.receive_fd_async(cancellable)

        def child():
            if action == "cancel":
                cancellable.cancel()
                future.cancel()
            elif action == "close":
                a.close()
                b.close()
            gc.collect()
            time.sleep(0.02)
            return not calls and not future.done()

        assert code_of_child(child) == 0
        a.send_fd(0)
        a.send_credentials()
        a.send_fd(0)
        close(future.result(10))
        iterate(lambda: calls)
        close(b.receive_fd_finish(calls[0][1]))

    def test_a_send_that_waits(self, pair, calls):
        """It is the parent's to make, once."""
        a, b = pair
        fill(a)
        waiting = b.get_socket().get_available_bytes()
        a.send_fd_async(0, None, calls)
        pid = forked(lambda: time.sleep(0.3) or True)
        while waiting:
            with socket.socket(fileno=os.dup(b.get_socket().get_fd())) as other:
                waiting -= len(other.recv(min(waiting, 1 << 16), socket.MSG_DONTWAIT))
        close(b.receive_fd())
        assert os.waitpid(pid, 0)[1] == 0
        iterate(lambda: calls)
        assert a.send_fd_finish(calls[0][1]) is True
        assert b.get_socket().get_available_bytes() == 0

    def test_at_any_moment(self, many, quick):
        """Children that are made while other threads use the worker can use theirs."""
        stop = threading.Event()

        def run(pairs):
            while not stop.is_set():
                for a, b in pairs:
                    future = b.receive_credentials_async()
                    a.send_credentials()
                    future.result(10)

        threads = [Background(run, many[number : 20 + number : 2]) for number in range(2)]

        def child():
            for a, b in many[30:33]:
                future = b.receive_credentials_async()
                a.send_credentials()
                if future.result(10).get_unix_pid() != os.getpid():
                    return False
            return True

        codes = []
        while len(codes) < 15 and not any(codes):
            codes.append(code_of_child(child))
        stop.set()
        assert [thread.outcome() for thread in threads] == [None, None]
        assert codes == [0] * 15


class StopError(BaseException):
    """What a signal handler raises."""


@pytest.fixture
def interrupted(on_alarm):
    """Runs a function, and has a signal handler raise in the midst of it, after so long."""
    armed = False

    def handler(*_):
        if armed:
            raise StopError

    def run(work, seconds):
        nonlocal armed
        with contextlib.suppress(StopError):
            try:
                armed = True
                # Again, where a destructor has swallowed the first one.
                signal.setitimer(signal.ITIMER_REAL, seconds, 0.01)
                work()
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)

    on_alarm(handler, 0)
    return run


class TestSignals:
    def test_a_storm(self, many, on_alarm):
        """Signals that come all the time take nothing away from anybody."""
        seen, got = [], Calls()
        on_alarm(lambda *_: seen.append(1), 0.0005, 0.0005)
        for _ in range(2):
            futures = [b.receive_fd_async() for _, b in many]
            for _, b in many:
                b.receive_fd_async(None, got)
            for a, _ in many:
                a.send_fd_async(0, None, None)
                a.send_fd_async(0, None, None)
            iterate(lambda: len(got) == 100)
            for future in futures:
                close(future.result(10))
            for b, result in got:
                close(b.receive_fd_finish(result))
            got.clear()
        assert settle(lambda: len(seen) > 20)


@pytest.mark.breaks_off
# pytest before 8.4 puts its own hook in front of a fixture's.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(
    not RETURN_IS_ATOMIC, reason="an exception can come between the end of a with block and its exit there"
)
class TestRaisingHandlers:
    @pytest.fixture(autouse=True)
    def no_report(self, monkeypatch):
        """A destructor that runs when a signal comes swallows what the handler raises, and reports it in C."""
        monkeypatch.setattr(sys, "unraisablehook", bool)

    def test_a_handler_that_raises(self, many, interrupted):
        """Whatever is interrupted, a loop that sleeps or one that works, goes on afterwards; each result comes."""
        got, futures = {}, []
        chance = random.Random(4)
        context = MainContext.default()
        for a, b in many:
            # In C, so that the result is here or is still to come, wherever an exception strikes.
            b.receive_fd_async(None, got.__setitem__)
            futures.append(a.receive_fd_async())

        def work():
            while len(got) < 100:
                context.iteration(False)

        for _ in range(20):
            interrupted(work, chance.uniform(0.0001, 0.001))
        interrupted(MainLoop().run, 0.01)
        assert not got
        for a, b in many:
            a.send_fd(0)
            b.send_fd(0)
        end = time.monotonic() + 1
        while len(got) < 100 and time.monotonic() < end:
            interrupted(work, chance.uniform(0.00005, 0.0004))
        assert settle(lambda: context.iteration(False) is None or len(got) == 100), len(got)
        for future in futures:
            close(future.result(10))
        for b, result in got.items():
            close(b.receive_fd_finish(result))
        # Gives back what an interrupted one could not.
        context.iteration(False)
        for _ in range(3):
            gc.collect()
        assert len(got) == 100

    def test_a_start_that_is_interrupted(self, many, interrupted):
        """An exception in the midst of a start loses no descriptor, and leaves the line in order."""
        chance = random.Random(5)
        for a, b in many:
            cancellable, started = Cancellable(), []

            def start(b=b, started=started, cancellable=cancellable):
                while True:
                    started.append(b.receive_fd_async(cancellable))

            a.send_fd(0)
            interrupted(start, chance.uniform(0.00001, 0.0002))
            cancellable.cancel()
            last = b.receive_fd_async()
            a.send_fd(0)
            close(last.result(10))
            for future in started:
                with contextlib.suppress(unixconn.CancelledError):
                    close(future.result(0))


def breaks_off(monkeypatch, target, name, kind=KeyboardInterrupt):
    """Have *name* of *target* raise once, in place of being called, as a signal handler would."""
    original = getattr(target, name)

    def broken(*arguments, **named):
        monkeypatch.setattr(target, name, original)
        raise kind

    monkeypatch.setattr(target, name, broken)


class TestBrokenOff:
    """What a signal handler raises comes out, and each operation has its end all the same."""

    @pytest.mark.parametrize("how", ["cancellable", "cancel", "close"])
    def test_an_end_is_told(self, pair, monkeypatch, how):
        """Who was waiting is told of the end, also where that is broken off: nothing would tell of it again."""
        _, b = pair
        cancellable = Cancellable()
        futures = [b.receive_fd_async(cancellable), b.receive_credentials_async(cancellable)]
        end = {"cancellable": cancellable.cancel, "cancel": futures[0].cancel, "close": b.close}[how]
        breaks_off(monkeypatch, pending, "_to_tell")
        with pytest.raises(KeyboardInterrupt):
            end()
        for each in futures[: 1 if how == "cancel" else 2]:
            with pytest.raises((unixconn.CancelledError, unixconn.ClosedError)):
                each.result(1)
        cancellable.cancel()

    def test_watchers_are_told(self, pair, monkeypatch):
        """A cancel() that is broken off after it has set the flag has told those who wait."""
        _, b = pair
        cancellable = Cancellable()
        future = b.receive_fd_async(cancellable)
        breaks_off(monkeypatch, pending.Pending, "look")
        with pytest.raises(KeyboardInterrupt):
            cancellable.cancel()
        with pytest.raises(unixconn.CancelledError):
            future.result(1)

    def test_a_connection_is_closed(self, pair, monkeypatch):
        """A close() that is broken off at a stream has closed the socket: a second one does nothing."""
        _, b = pair
        breaks_off(monkeypatch, b.get_input_stream(), "close")
        with pytest.raises(KeyboardInterrupt):
            b.close()
        assert b.get_socket().is_closed()

    def test_a_connection_is_closed_once_more(self, pair, monkeypatch):
        """Nor does a close() leave it open, or pending, that is broken off before it has begun."""
        _, b = pair
        breaks_off(monkeypatch, b, "_close")
        with pytest.raises(KeyboardInterrupt):
            b.close()
        assert (b.is_closed(), b.has_pending(), b.get_socket().is_closed()) == (True, False, True)

    @pytest.mark.parametrize(
        ("name", "closed"), [("_take_pending", False), ("_close", True), ("ended", True), ("_give_back_pending", True)]
    )
    @pytest.mark.parametrize("method", ["close", "close_async"])
    def test_nothing_stays_pending(self, pair, monkeypatch, method, name, closed):
        """A close() or close_async() that is broken off closes, or may be called again."""
        _, b = pair
        breaks_off(monkeypatch, closable if name == "ended" else b, name)
        with contextlib.suppress(KeyboardInterrupt):
            getattr(b, method)()
        while b.has_pending() and MainContext.default().iteration(False):
            pass
        assert (b.is_closed(), b.has_pending(), b.get_socket().is_closed()) == (closed, False, closed)
        assert b.close()

    def test_a_listener_is_closed(self, tmp_path, monkeypatch):
        """A second close() does what the first one has not come to: the socket is closed, and the file is gone."""
        listener = unixconn.listen(tmp_path / "s")
        for target, name in ((paths.os, "lstat"), (type(listener._entries[0]), "let_go")):
            kept = listener._entries[0].socket
            breaks_off(monkeypatch, target, name)
            with pytest.raises(KeyboardInterrupt):
                listener.close()
            listener.close()
            assert kept.is_closed()
            assert not (tmp_path / "s").exists()
            listener = unixconn.listen(tmp_path / "s")
        listener.close()

    def test_a_service_goes_on(self, tmp_path, monkeypatch):
        """A start() that is broken off does not leave a service that accepts nothing."""
        context, got = MainContext.default(), []
        with unixconn.SocketService() as service:
            service.connect("incoming", lambda _service, connection, _: got.append(connection.close()))
            service.stop()
            service.add_address(
                unixconn.UnixSocketAddress.new(tmp_path / "s"),
                unixconn.SocketType.STREAM,
                unixconn.SocketProtocol.DEFAULT,
                None,
            )
            breaks_off(monkeypatch, service, "accept_async")
            with pytest.raises(KeyboardInterrupt):
                service.start()
            with unixconn.connect(tmp_path / "s"):
                assert settle(lambda: not context.iteration(False) and bool(got))
        while context.iteration(False):
            pass

    @pytest.mark.parametrize("target", ["start", "_go_on", "_do", "_begin", "_end", "claim"])
    @pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
    def test_a_stream_is_free_again(self, pair, calls, monkeypatch, kind, target):
        """What is broken off between two steps has told its end, or left what came; and the next one may begin."""
        a, b = pair
        a.get_socket().send(b"abc")
        stream = b.get_input_stream()
        breaks_off(monkeypatch, sequence._Step if target == "claim" else sequence.Sequence, target, kind)
        with pytest.raises(kind):
            stream.read_async(3, 0, None, calls)
        assert settle(lambda: not (MainContext.default().iteration(False) or stream.has_pending()))
        if target in ("_end", "claim"):
            assert stream.read_finish(calls[0][1]) == b"abc"
        else:
            assert stream.read(3) == b"abc"
            for _, result in calls:
                with pytest.raises(unixconn.CancelledError):
                    stream.read_finish(result)

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
    def test_several_steps(self, pair, calls, monkeypatch, kind):
        """An operation of several steps does none of them twice, and ends."""
        a, b = pair
        stream = b.get_input_stream()
        context = MainContext.default()
        monkeypatch.setattr(sys, "excepthook", lambda *_: None)
        stream.read_all_async(6, 0, None, calls)
        a.get_socket().send(b"abc")
        breaks_off(monkeypatch, sequence, "try_or_wait", kind)
        with contextlib.suppress(KeyboardInterrupt):
            while sequence.try_or_wait.__name__ == "broken":
                context.iteration(False)
        a.get_socket().send(b"def")
        iterate(lambda: calls)
        with pytest.raises(unixconn.CancelledError):
            stream.read_all_finish(calls[0][1])
        assert not stream.has_pending()

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError])
    def test_a_callback(self, pair, calls, monkeypatch, kind):
        """A callback comes, once."""
        a, b = pair
        context = MainContext()
        monkeypatch.setattr(sys, "excepthook", lambda *_: None)
        context.push_thread_default()
        b.receive_fd_async(None, calls)
        context.pop_thread_default()
        a.send_fd(0)
        breaks_off(monkeypatch, Task, "get_context", kind)
        end = time.monotonic() + 2
        while not calls and time.monotonic() < end:
            with contextlib.suppress(KeyboardInterrupt):
                context.iteration(False)
        assert len(calls) == 1
        close(b.receive_fd_finish(calls[0][1]))

    def test_no_context_stays_pushed(self, pair, calls, monkeypatch):
        """The context of a callback is the thread's no longer, though it was broken off just when it became that."""

        class Breaking(list):
            def append(self, each):
                super().append(each)
                if len(broken) < 1:
                    broken.append(each)
                    raise KeyboardInterrupt

        broken = []
        a, b = pair
        context = MainContext()
        context.push_thread_default()
        b.receive_fd_async(None, calls)
        context.pop_thread_default()
        a.send_fd(0)
        monkeypatch.setattr(maincontext._pushed, "entries", Breaking())
        with pytest.raises(KeyboardInterrupt):
            while not broken:
                context.iteration(False)
        assert MainContext.get_thread_default() is None
        iterate(lambda: calls, context)
        close(b.receive_fd_finish(calls[0][1]))

    def test_an_epoll_that_was_stopped(self, monkeypatch):
        """The next wait can be ended from elsewhere, though the end of the last one was broken off."""
        a, b = UnixConnection.create_pair()
        context = MainContext()
        context.push_thread_default()
        try:
            b.receive_fd_async(None, bool)
            timer = threading.Timer(0.05, a.send_fd, (0,))
            timer.start()
            breaks_off(monkeypatch, poller.Wakeup, "close_unless")
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    context.iteration(True)
            timer.join()
            b.receive_fd_async(None, bool)
        finally:
            context.pop_thread_default()
        waker = threading.Timer(0.1, context.wakeup)
        rescuer = threading.Timer(5, b.close)
        waker.start()
        rescuer.start()
        context.iteration(True)
        rescuer.cancel()
        assert not b.is_closed()
        waker.join()
        b.close()


def test_completed_after_a_nested_loop(pair, calls):
    """A loop that a callback runs does not say that this callback has come back."""
    a, b = pair
    seen = []

    def received(connection, result):
        while MainContext.default().iteration(False):
            pass
        seen.append(result.get_completed())
        close(connection.receive_fd_finish(result))
        calls(connection, result)

    b.receive_fd_async(None, received)
    a.send_fd(0)
    iterate(lambda: calls)
    assert seen == [False]
    assert calls[0][1].get_completed()


def test_result_leaves_nothing(pair):
    """Who asks for the result again and again does not pile up anything."""
    future = pair[1].receive_fd_async()
    for _ in range(20):
        with pytest.raises(TimeoutError):
            future.result(0)
    assert not future._wakers
    future.cancel()


def test_result_while_the_loop_is_closed(pair):
    """Who waits in another thread gets CANCELLED when the loop is closed meanwhile."""
    _, b = pair
    made = []

    async def main():
        made.append(b.receive_fd_async())
        thread.start()
        await asyncio.sleep(0.05)

    ended = []

    def wait():
        try:
            made[0].result(5)
        except unixconn.Error as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    asyncio.run(main())
    thread.join()
    assert [type(each) for each in ended] == [unixconn.CancelledError]


def test_forked_while_another_thread_iterates():
    """The child has not got that thread, and iterates itself."""
    loop = MainLoop()

    def child():
        got = []
        idle_add(got.append, 1)
        return MainContext.default().pending() and MainContext.default().iteration(False) and got == [1]

    def fork():
        try:
            assert settle(loop.is_running)
            time.sleep(0.02)
            pid = os.fork()
            if pid == 0:
                try:
                    os._exit(0 if child() else 1)
                finally:
                    os._exit(2)
            status.append(os.waitpid(pid, 0)[1])
        finally:
            loop.quit()

    status = []
    thread = threading.Thread(target=fork)
    thread.start()
    loop.run()
    thread.join()
    assert status == [0]


START = """
import sys, unixconn
from unixconn import MainContext, MainLoop, UnixConnection, idle_add
a, b = UnixConnection.create_pair()
"""
PROGRAMS = {
    "no callback": "b.receive_fd_async(None, None)",
    "future": "future = b.receive_fd_async()",
    "a callback of the future": "b.receive_fd_async().add_done_callback(print)",
    "context": "b.receive_credentials_async(None, print)",
    "after an iteration": "b.receive_fd_async(None, print); MainContext.default().iteration(False)",
    "main loop": """
b.receive_fd_async(None, print)
b.receive_credentials_async(None, None)
idle_add(sys.exit)
MainLoop().run()
""",
    "a result that nobody has": """
a.send_fd(0)
b.receive_fd_async(None, print)
a.send_fd(0)
future = b.receive_fd_async()
""",
    "thousands": """
pairs = [UnixConnection.create_pair() for _ in range(100)]
futures = [each.receive_fd_async() for pair in pairs for each in pair for _ in range(10)]
""",
    "a thread that waits": """
import threading
future = b.receive_fd_async()
threading.Thread(target=future.result, daemon=True).start()
""",
    "busy": """
def again(future):
    b.receive_fd_async().add_done_callback(again)
    a.send_fd(0)
b.receive_fd_async().add_done_callback(again)
a.send_fd(0)
import time
time.sleep(0.1)
""",
    "sending": """
import socket
a.get_socket().set_blocking(False)
try:
    while True:
        a.get_socket().send(bytes(65536))
except BlockingIOError:
    pass
a.get_socket().set_blocking(True)
a.send_fd_async(0, None, print)
a.send_credentials_async(None, None)
""",
    "asyncio": """
import asyncio
async def main():
    task = asyncio.ensure_future(wait())
    b.receive_fd_async(None, print)
    future = b.receive_fd_async()
    await asyncio.sleep(0.01)
async def wait():
    await b.receive_credentials_async()
asyncio.run(main())
""",
    "asyncio, in the midst": """
import asyncio
async def main():
    asyncio.get_running_loop().call_later(0.01, sys.exit)
    await b.receive_credentials_async()
asyncio.run(main())
""",
    "threads": """
import threading, time
def run():
    context = MainContext()
    context.push_thread_default()
    b.receive_fd_async(None, print)
    MainLoop(context).run()
for _ in range(3):
    threading.Thread(target=run, daemon=True).start()
time.sleep(0.05)
""",
}


class TestExit:
    @pytest.mark.parametrize("names", [list(PROGRAMS)[start::3] for start in range(3)], ids="-".join)
    def test_while_something_waits(self, names):
        """The interpreter ends at once, without a word."""
        running = {
            name: subprocess.Popen(
                [sys.executable, "-c", START + PROGRAMS[name]],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name in names
        }
        found = {}
        for name, process in running.items():
            with process:
                try:
                    found[name] = (*process.communicate(timeout=60), process.returncode)
                except subprocess.TimeoutExpired:
                    process.kill()
                    found[name] = "it hangs"
        assert found == dict.fromkeys(names, ("", "", 0))


class Player:
    """A thread of the stress: does things at random with connections that it shares with others."""

    def __init__(self, seed, slots, made, end):
        self.chance = random.Random(seed)
        self.slots = slots
        self.made = made
        self.end = end
        self.context = MainContext()
        self.called, self.started = [], 0
        """How often each operation with a callback was told its end; how many were started."""
        self.futures, self.cancellables = [], [Cancellable()]
        self.wrong = []
        self.thread = Background(self.run)

    def run(self):
        """Play until the end, and then until the last callback."""
        self.context.push_thread_default()
        while time.monotonic() < self.end:
            a, b = connections = self.chance.choice(self.slots)
            self.play(self.chance.random(), connections, self.chance.choice((a, b)))
            self.context.iteration(False)

    def play(self, number, connections, connection):
        """Do one thing."""
        kind = self.chance.choice(("receive_fd", "receive_credentials"))
        if number < 0.35:
            if self.chance.random() < 0.2:
                self.cancellables.append(Cancellable())
            cancellable = self.chance.choice((None, self.cancellables[-1]))
            self.begin(connection, kind, cancellable)
        elif number < 0.8:
            with contextlib.suppress(Error):
                connection.get_socket().set_timeout(0)
                if kind == "receive_fd":
                    connection.send_fd_async(0, None, None)
                else:
                    connection.send_credentials_async(None, None)
        elif number < 0.9:
            self.chance.choice(self.cancellables).cancel()
        elif number < 0.93 and self.futures:
            self.chance.choice(self.futures).cancel()
        elif number < 0.95:
            index = self.chance.randrange(len(self.slots))
            connections = self.slots[index]
            for each in connections:
                each.close()
            pair = UnixConnection.create_pair()
            self.made.append(pair)
            self.slots[index] = pair

    def begin(self, connection, kind, cancellable):
        """Start an operation, in one of the forms."""
        start = getattr(connection, f"{kind}_async")
        form = self.chance.randrange(3)
        if form == 0:
            start(cancellable, None)
        elif form == 1:
            self.futures.append(start(cancellable))
        else:
            self.called.append(0)
            start(cancellable, self.ended, kind, self.started)
            self.started += 1

    def ended(self, connection, result, kind, number):
        """Be told the end of an operation."""
        self.called[number] += 1
        self.look(getattr(connection, f"{kind}_finish"), result)

    def look(self, call, *arguments):
        """See what an operation has come to, and close it."""
        try:
            value = call(*arguments)
        except Error as error:
            # A message of the other kind, too.
            if error.code not in {0, 18, 19, 44}:
                self.wrong.append(error)
            return
        if isinstance(value, int):
            close(value)
        elif value.get_unix_pid() != os.getpid():
            self.wrong.append(value.get_unix_pid())


class TestStress:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_many_threads(self, seed):
        """Many start, cancel, and close at random: each operation ends exactly once, and nothing is left."""
        slots = [UnixConnection.create_pair() for _ in range(12)]
        made, end = list(slots), time.monotonic() + 0.8
        players = [Player(seed * 100 + number, slots, made, end) for number in range(5)]
        for player in players:
            assert player.thread.outcome(30) is None
        for pair in made:
            for connection in pair:
                connection.close()
        for player in players:
            for future in player.futures:
                player.look(future.result, 10)
            iterate(lambda player=player: all(player.called), player.context)
            while player.context.iteration(False):
                pass
            assert set(player.called) <= {1}
            assert player.wrong == []
            assert player.started
        players.clear()


class Model(RuleBasedStateMachine):
    """
    A few sockets, and all that can be done with them, against a simple model.

    Messages go to the operations that wait in the order of their starts, each to one; an operation that was cancelled
    has none, unless it had it before; and while there are messages nobody waits.
    """

    def __init__(self):
        super().__init__()
        self.pairs = [UnixConnection.create_pair() for _ in range(2)]
        self.contexts = [MainContext.default(), MainContext(), MainContext()]
        self.sent = [0, 0]
        # By pair, in the order of the starts: [cancellable, was cancelled, calls, future]
        self.started = [[], []]
        self.closed = [False, False]

    which = st.integers(0, 1)

    @rule(which=which, context=st.integers(0, 2))
    def receive_with_a_callback(self, which, context):
        """Start one whose callback comes in a context."""
        calls, cancellable = Calls(), Cancellable()
        self.contexts[context].push_thread_default()
        self.pairs[which][1].receive_fd_async(cancellable, calls)
        self.contexts[context].pop_thread_default()
        assert not calls
        self.started[which].append([cancellable, False, calls, None])

    @rule(which=which)
    def receive_with_a_future(self, which):
        """Start one that the worker looks after."""
        cancellable = Cancellable()
        future = self.pairs[which][1].receive_fd_async(cancellable)
        self.started[which].append([cancellable, False, None, future])

    @precondition(lambda self: not all(self.closed))
    @rule(which=which, count=st.integers(1, 3))
    def send(self, which, count):
        """Send files that can be told from each other."""
        if not self.closed[which]:
            for _ in range(count):
                fd = os.memfd_create(f"<{self.sent[which]}>")
                self.pairs[which][0].send_fd(fd)
                os.close(fd)
                self.sent[which] += 1

    @precondition(lambda self: any(self.started))
    @rule(data=st.data())
    def cancel(self, data):
        """Cancel any."""
        entry = data.draw(st.sampled_from([each for line in self.started for each in line]))
        entry[0].cancel()
        entry[1] = True

    @rule(context=st.integers(0, 2))
    def iterate(self, context):
        """Let one context do what it can."""
        while self.contexts[context].iteration(False):
            pass

    @rule(which=which)
    def close(self, which):
        """Close the receiving end."""
        self.pairs[which][1].close()
        self.closed[which] = True

    @rule()
    def settle(self):
        """After all have had their turn, nobody waits where there are messages."""
        for context in self.contexts:
            while context.iteration(False):
                pass
        for which in range(2):
            if not self.closed[which]:
                assert settle(
                    lambda which=which: not (self.available(which) and any(map(self.waits, self.started[which])))
                )

    def available(self, which):
        return self.pairs[which][1].get_socket().get_available_bytes()

    @staticmethod
    def waits(entry):
        """Tell whether an operation may still be waiting."""
        _, _, calls, future = entry
        return not future.done() if calls is None else not calls

    @invariant()
    def once(self):
        """No callback comes twice."""
        for line in self.started:
            assert all(calls is None or len(calls) <= 1 for _, _, calls, _ in line)

    def teardown(self):
        """End all, and compare, when the worker has had its turn too."""
        self.settle()
        left = [0 if closed else self.available(which) for which, closed in enumerate(self.closed)]
        for a, b in self.pairs:
            a.close()
            b.close()
        for context in self.contexts:
            while context.iteration(False):
                pass
        for which, line in enumerate(self.started):
            received = [self.outcome(*entry) for entry in line]
            received = [tag for tag in received if tag is not None]
            # Each had its own, in order, and none between them was lost.
            assert received == list(range(len(received)))
            if not self.closed[which]:
                assert len(received) + left[which] == self.sent[which]

    @staticmethod
    def outcome(_, cancelled, calls, future):
        """Give the number of the file that an operation had, None for an Error."""
        try:
            if calls is None:
                fd = future.result(10)
            else:
                [(connection, result)] = calls
                fd = connection.receive_fd_finish(result)
        except Error as error:
            assert error.code == 18 or (error.code == 19 and cancelled)
            return None
        name = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
        return int(name[name.index("<") + 1 : name.index(">")])


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


INTERPRETERS = """
import sys
try:
    import _interpreters as interpreters
    made = [interpreters.create("legacy") for _ in range(3)]
except ImportError:
    import _xxsubinterpreters as interpreters
    made = [interpreters.create(isolated=False) for _ in range(3)]
program = sys.stdin.read()
exec(program)
for each in made:
    interpreters.run_string(each, program)
for each in made:
    interpreters.destroy(each)
exec(program)
"""

IN_EACH = """
import _thread, os, sys, time, unixconn
a, b = unixconn.UnixConnection.create_pair()
a.send_fd(0)
os.close(b.receive_fd())
received = b.receive_fd_async()
a.send_fd(0)
os.close(received.result(5))
loop = unixconn.MainLoop()
b.receive_fd_async(None, lambda _, result: (os.close(b.receive_fd_finish(result)), loop.quit()))
a.send_fd(0)
loop.run()
if sys.version_info >= (3, 12):
    silent = a.receive_credentials_async()
while sys.version_info < (3, 12) and _thread._count():
    time.sleep(0.01)  # an interpreter with a thread is not ended there
print("done", flush=True)
"""


@pytest.mark.skipif(PYPY, reason="this Python has one interpreter")
@pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="cffi loads in one interpreter there")
def test_several_interpreters():
    """Each has its own thread, loop and connections, and ends while an operation waits in it."""
    run = [sys.executable, "-c", INTERPRETERS]
    done = subprocess.run(run, input=IN_EACH, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.split(), done.returncode) == (["done"] * 5, 0), done.stderr
