"""Exceptions out of signal handlers, at random moments: nothing is lost, and nothing stays open."""

from __future__ import annotations

import ast
import gc
import os
import random
import signal
import socket
import sys
import time
from itertools import starmap
from pathlib import Path

import pytest
from helpers import PYPY, SO_PASSCRED, Background, open_descriptors, settle, signal_at_rest
from internals import RETURN_IS_ATOMIC
from storms import LIBRARY, Alarm, Interruption, stop_at

import unixconn
from unixconn import Cancellable, UnixConnection

pytestmark = pytest.mark.breaks_off

ROUNDS = 20_000


@pytest.fixture
def alarm(monkeypatch):
    """An Alarm, on SIGALRM."""
    # pytest's own hook, which reads sources, could take longer than the time until the next one.
    monkeypatch.setattr(sys, "unraisablehook", bool)
    with Alarm() as made:
        yield made


def drain(connection):
    """Receive and close what is under way."""
    connection.get_socket().set_blocking(False)
    try:
        while True:
            os.close(connection.receive_fd())
    except unixconn.WouldBlockError:
        connection.get_socket().set_blocking(True)


def check_no_leak(before):
    """Fail if more is open than *before*."""
    unixconn.MainContext.default().iteration(False)  # it gives back what it has kept
    gc.collect()
    gc.collect()
    assert open_descriptors() == before


def test_asking_for_the_peer_broken_off(pair, alarm):
    """A pidfd is the Credentials' from the system call on: none leaks."""
    before = open_descriptors()
    owner = []
    for _ in alarm.rounds(ROUNDS // 10, ROUNDS // 500):
        alarm.during(50e-6, lambda: owner.append(pair[0].get_peer_credentials()))
        # Only now, as a finalizer that is broken off has closed nothing.
        owner.clear()
    check_no_leak(before)


def test_receives_broken_off(pair, null, alarm):
    """20,000 receives of a message that is there, each broken off at a random moment: no descriptor leaks."""
    a, b = pair
    before = open_descriptors()
    owner = []
    for _ in alarm.rounds(ROUNDS, ROUNDS // 50):
        a.send_fd(null)
        alarm.during(25e-6, lambda: owner.extend(map(b.receive_fd, (None,))))
        while owner:
            os.close(owner.pop())
        drain(b)
    check_no_leak(before)


@pytest.mark.skipif(not RETURN_IS_ATOMIC, reason="the caller's own assignment can be interrupted there")
def test_receives_broken_off_in_a_plain_program(pair, null, alarm):
    """The same in the words of any program: the number is in the variable, or closed."""
    a, b = pair
    before = open_descriptors()
    fd = -1

    def receive():
        nonlocal fd
        fd = b.receive_fd()

    for _ in alarm.rounds(ROUNDS, ROUNDS // 50):
        a.send_fd(null)
        alarm.during(25e-6, receive)
        if fd >= 0:
            os.close(fd)
            fd = -1
        drain(b)
    check_no_leak(before)


def test_waits_broken_off(pair, alarm):
    """Waits that a handler ends: the exception comes out at once, and the wait has left nothing open."""
    _, b = pair
    before = open_descriptors()
    cancellable = Cancellable()
    for turn in alarm.rounds(1000, 500):
        alarm.during(200e-6, lambda: b.receive_fd(cancellable if turn % 2 else None))  # noqa: B023 - called at once
    b.close()
    check_no_leak({fd: name for fd, name in before.items() if fd in open_descriptors()})


def test_messages_that_come_while_interrupted(pair, null, alarm):
    """A sender in a thread, a receiver that is broken off again and again: every message arrives or is closed."""
    a, b = pair
    before = open_descriptors()
    count = 3000
    sender = Background(lambda: [a.send_fd(null) for _ in range(count)])
    owner = []
    for _ in range(count):
        alarm.during(60e-6, lambda: owner.extend(map(b.receive_fd, (None,))))
        while owner:
            os.close(owner.pop())
    while sender.is_alive():
        drain(b)
    sender.outcome()
    drain(b)
    check_no_leak(before)


def test_credentials_broken_off(pair, alarm):
    """SO_PASSCRED is as the user has set it, however the receive ends."""
    a, b = pair
    for _ in alarm.rounds(3000, 50):
        a.send_credentials()
        alarm.during(30e-6, b.receive_credentials)
        assert b.get_socket().get_option(socket.SOL_SOCKET, SO_PASSCRED).value == 0
        b.get_socket().set_blocking(False)
        try:
            while True:
                b.receive_credentials()
        except unixconn.WouldBlockError:
            b.get_socket().set_blocking(True)


def detaching(_a, _b, null):
    """A FileDescriptor's number is taken out."""
    descriptor = unixconn.FileDescriptor(os.dup(null))
    return descriptor.detach, descriptor.close


def finishing(a, b, null):
    """A callback's result is taken."""
    found = []
    b.receive_fd_async(None, lambda _, result: found.append(result))
    a.send_fd(null)
    while not found:
        unixconn.MainContext.default().iteration(True)

    def close():
        if found[0]._result:
            os.close(b.receive_fd_finish(found[0]))

    return lambda: b.receive_fd_finish(found[0]), close


def getting(_a, _b, null):
    """A list's descriptor is duplicated."""
    fds = unixconn.UnixFDList.new()
    fds.append(null)
    return lambda: fds.get(0), lambda: unixconn.close_fds(fds.steal_fds())


def receiving_what_a_stream_has_met(a, b, null):
    """A stream has read its byte."""
    a.send_fd(null)
    b.get_input_stream().read(1)
    return b.receive_fd, lambda: drain(b)


# The interpreter drops what is raised in a destructor.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("make", [detaching, finishing, getting, receiving_what_a_stream_has_met])
def test_taking_over_broken_off(pair, null, make):
    """A number that is already taken is the caller's, or is where it was."""
    a, b = pair
    before, owner, seen, step = open_descriptors(), [], [], 0
    while step <= len(seen):
        step += 1
        take, close = make(a, b, null)
        try:
            seen = stop_at(step)
            owner.extend(starmap(take, ((),)))
        except Interruption:
            pass
        finally:
            sys.setprofile(None)
        while owner:
            os.close(owner.pop())
        close()
    assert step > 2
    take = close = None
    check_no_leak(before)


def ways_out(node, in_loop=False):
    """Return the statements in *node* that leave it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Return) or (isinstance(child, (ast.Break, ast.Continue)) and not in_loop):
            yield child
        elif not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield from ways_out(child, in_loop or isinstance(child, (ast.For, ast.AsyncFor, ast.While)))


def test_with_blocks_are_left_in_one_place():
    """No with block has two ways out: PyPy 8.0 calls another value in place of the exit if the second is broken off."""
    found = 0
    for path in sorted(Path(LIBRARY).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.With, ast.AsyncWith)):
                found += 1
                assert len(list(ways_out(node))) <= 1, f"{path.name}, line {node.lineno}"
    assert found > 50


def test_sends_broken_off(pair, null, alarm):
    """A send that is broken off has sent its message or not, and leaves the connection usable and closable."""
    a, b = pair
    before = open_descriptors()
    for _ in range(3000):
        alarm.during(25e-6, lambda: a.send_fd(null))
        drain(b)
    check_no_leak(before)
    number = a.get_socket().get_fd()
    a.close()
    assert number not in open_descriptors()


def making_new(_address, _source):
    """One over a new socket."""
    return (UnixConnection(socket=unixconn.Socket.new(1, 1, 0)),)


def making_a_pair(_address, _source):
    """Both ends."""
    return UnixConnection.create_pair()


def making_of_a_descriptor(_address, source):
    """One over a socket that has another owner first."""
    # dup() returns an owner, so that the test itself loses nothing.
    return (UnixConnection(socket=unixconn.Socket.new_from_fd(source.dup())),)


def connecting(address, _source):
    """One to a listener."""
    return (unixconn.SocketClient().connect(address),)


@pytest.fixture
def address(tmp_path):
    """A place for a socket file."""
    return unixconn.UnixSocketAddress.new(tmp_path / "socket")


@pytest.fixture
def listener(address):
    """One with a long queue."""
    with unixconn.SocketListener(listen_backlog=4000) as made:
        made.add_address(address, 1, 0)
        yield made


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("make", [making_new, making_a_pair, making_of_a_descriptor, connecting])
def test_making_and_closing_broken_off(alarm, listener, address, make):
    """Connections whose making or closing is interrupted leave nothing when they are gone."""
    with unixconn.FileDescriptor(socket.socket(socket.AF_UNIX).detach()) as source:
        for each in make(address, source):
            each.close()
        before = open_descriptors()

        def make_and_close():
            for each in make(address, source):
                each.close()

        for _ in alarm.rounds(3000, 100):
            alarm.during(60e-6, make_and_close)
        check_no_leak(before)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("cancellable", [None, Cancellable()])
def test_accepting_broken_off(alarm, listener, address, cancellable):
    """A descriptor has an owner from accept(2) on: none leaks."""
    before = open_descriptors()
    for _ in alarm.rounds(3000, 100):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(address.get_path())
            alarm.during(60e-6, lambda: listener.accept(cancellable).connection.close())
    check_no_leak(before)


@pytest.mark.parametrize("call", ["receive_fd", "receive_credentials"])
def test_ctrl_c(pair, call):
    """Ctrl-C ends a blocked call at once, and the next message is received (D9)."""
    a, b = pair
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            killer = signal_at_rest(signal.SIGINT)
            getattr(b, call)()
    finally:
        killer.join()
        signal.signal(signal.SIGINT, before)
    a.send_credentials()
    assert b.receive_credentials().get_unix_pid() == os.getpid()


def test_a_handler_that_uses_the_library(pair, null):
    """A handler may send and receive on the connection that its thread is using."""
    a, b = pair
    count = 0

    def handle(_number, _frame):
        nonlocal count
        inner = UnixConnection.create_pair()
        with inner[0], inner[1]:
            inner[0].send_fd(null)
            os.close(inner[1].receive_fd())
            inner[0].send_credentials()
            assert inner[1].receive_credentials().get_unix_pid() == os.getpid()
        a.send_credentials()
        assert b.receive_credentials().get_unix_pid() == os.getpid()
        count += 1
        # Not by an interval, which on a slow machine is shorter than this handler: it would interrupt itself for ever.
        signal.setitimer(signal.ITIMER_REAL, 0.0005)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    try:
        end = time.monotonic() + 60
        while count < 100 and time.monotonic() < end:
            c, d = UnixConnection.create_pair()
            with c, d:
                c.send_fd(null)
                os.close(d.receive_fd())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert count >= 100


def test_a_handler_that_receives_credentials(pair, on_alarm):
    """SO_PASSCRED is as the user has set it, also where a handler receives in the middle of a receive."""
    a, b = pair
    b.get_socket().set_blocking(False)
    count = 0

    def receive(*_):
        nonlocal count
        try:
            assert b.receive_credentials().get_unix_pid() == os.getpid()
        except unixconn.WouldBlockError:
            return
        count += 1

    on_alarm(receive)
    end = time.monotonic() + 60
    while count < 100 and time.monotonic() < end:
        a.send_credentials()
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 30e-6))
        receive()
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert b.get_socket().get_option(socket.SOL_SOCKET, SO_PASSCRED).value == 0
    assert count >= 100


def test_a_handler_that_closes(pair):
    """A handler that closes the connection ends the wait of its own thread with CLOSED."""
    _, b = pair
    before = signal.signal(signal.SIGALRM, lambda *_: b.close())
    killer = signal_at_rest(signal.SIGALRM)
    try:
        with pytest.raises(unixconn.ClosedError):
            b.receive_fd()
    finally:
        killer.join()
        signal.signal(signal.SIGALRM, before)


def test_a_handler_that_cancels(pair):
    """A handler that cancels ends the wait of its own thread with CANCELLED."""
    _, b = pair
    cancellable = Cancellable()
    before = signal.signal(signal.SIGALRM, lambda *_: cancellable.cancel())
    killer = signal_at_rest(signal.SIGALRM)
    try:
        with pytest.raises(unixconn.CancelledError):
            b.receive_fd(cancellable)
    finally:
        killer.join()
        signal.signal(signal.SIGALRM, before)


# --- the ends of operations ------------------------------------------------------------------------------------------


class Waiting:
    """An operation that waits in a context of its own, and what its callback was told."""

    def __init__(self, cancellable=None):
        self.a, self.b = UnixConnection.create_pair()
        self.number = self.b.get_socket().get_fd()
        self.context, self.results = unixconn.MainContext(), {}
        self.context.push_thread_default()
        # A callback in C: an exception that comes in a function of the user's is not the library's.
        self.b.receive_fd_async(cancellable, self.results.setdefault)
        self.context.pop_thread_default()

    def told(self):
        """Iterate until the callback was called, and return the Error or the descriptor that it was told."""
        end = time.monotonic() + 60
        while not self.results:
            assert time.monotonic() < end, "the operation has no end"
            self.context.iteration(False)
        try:
            return self.b.receive_fd_finish(self.results[self.b])
        except unixconn.Error as error:
            return error

    def close(self):
        """Close both ends."""
        self.a.close()
        self.b.close()


def is_open(number):
    """Whether a number is that of an open descriptor."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def broken_off_close(alarm, _null, of):
    """A socket is open as before, or its descriptor is closed and the operation has ended."""
    waiting = Waiting()
    alarm.during(40e-6, getattr(waiting.b, of)().close if of else waiting.b.close)
    socket_ = waiting.b.get_socket()
    assert is_open(waiting.number) is not socket_.is_closed()
    if not socket_.is_closed():
        waiting.b.close()
        socket_.close()
        assert not is_open(waiting.number)
    assert isinstance(waiting.told(), unixconn.ClosedError)
    waiting.close()


def broken_off_cancel(alarm, _null, of):
    """A Cancellable is as before, or is cancelled and the operation has ended."""
    cancellable = Cancellable()
    handled = []
    if of:
        cancellable.connect(lambda: handled.append(1))
    waiting = Waiting(cancellable)
    alarm.during(30e-6, cancellable.cancel)
    if not cancellable.is_cancelled():
        cancellable.cancel()
    assert isinstance(waiting.told(), unixconn.CancelledError)
    waiting.close()


def broken_off_future(alarm, null, _of):
    """A Future that was cancelled has ended, and what comes next is for the next operation."""
    a, b = UnixConnection.create_pair()
    future = b.receive_fd_async()
    alarm.during(30e-6, future.cancel)
    future.cancel()
    assert isinstance(future.exception(60), unixconn.CancelledError)
    a.send_fd(null)
    os.close(b.receive_fd())
    a.close()
    b.close()


def broken_off_end(alarm, null, _of):
    """A message that comes ends the operation once, wherever the context that receives it is broken off."""
    waiting = Waiting()
    waiting.a.send_fd(null)
    alarm.during(60e-6, lambda: waiting.context.iteration(False))
    os.close(waiting.told())
    waiting.close()


def broken_off_finish(alarm, null, _of):
    """A result is already taken once, or is still there."""
    waiting = Waiting()
    waiting.a.send_fd(null)
    while not waiting.results:
        waiting.context.iteration(False)
    owner = []
    alarm.during(10e-6, lambda: owner.extend(map(waiting.b.receive_fd_finish, waiting.results.values())))
    os.close(owner.pop() if owner else waiting.told())
    waiting.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("round_of", "of"),
    [
        (broken_off_close, ""),
        (broken_off_close, "get_socket"),
        (broken_off_cancel, ""),
        (broken_off_cancel, "handler"),
        (broken_off_future, ""),
        (broken_off_end, ""),
        (broken_off_finish, ""),
    ],
)
def test_ends_broken_off(alarm, null, round_of, of):
    """An end that an exception breaks off at a random moment, 5,000 times each, is no half of one."""
    if round_of is broken_off_future and not RETURN_IS_ATOMIC:
        pytest.skip("an exception between a with statement's body and its exit leaves the lock locked: see lock.py")
    before = open_descriptors()
    for _ in range(ROUNDS // 4):
        round_of(alarm, null, of)
    assert unixconn.MainContext.get_thread_default() is None
    # What PyPy has compiled hardly ever looks for signals.
    assert alarm.hits or PYPY
    # The thread that looks after Futures takes its descriptors with it.
    settle(lambda: open_descriptors() == before)
    check_no_leak(before)
