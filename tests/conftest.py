"""Fixtures: connections, and the check that each test leaves nothing behind."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import zlib
from collections.abc import Callable, Iterator

import internals
import pytest
import ways
from helpers import Calls, adopt, open_descriptors, settle, signal_at_rest, threads

from unixconn import MainContext, UnixConnection


def pytest_configure() -> None:
    """Let SIGINT end the processes that tests start: those inherit that it is ignored, as in a shell's background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # One that comes just as a test takes its handler away does not end this process.
    signal.signal(signal.SIGALRM, lambda *_: None)


def pytest_collection_finish() -> None:
    """Take what is there before the tests out of the collections that each of them makes: they are most of its time."""
    gc.collect()
    if hasattr(gc, "freeze"):
        gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep this environment's share of the tests: a quarter of them with UNIXCONN_SHARES="py39-api=2/4 ..."."""
    shares = dict(share.split("=") for share in os.environ.get("UNIXCONN_SHARES", "").split())
    part, count = (int(each) for each in shares.get(os.environ.get("TOX_ENV_NAME", ""), "1/1").split("/"))
    kept = [item for item in items if zlib.crc32(item.nodeid.encode()) % count == part - 1]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=list(set(items).difference(kept)))
        items[:] = kept


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Let a selection be empty in one of several parts of a run: tox.ini divides the one of PyPy."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and "UNIXCONN_TESTS_IN_PARTS" in os.environ:
        session.exitstatus = pytest.ExitCode.OK


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Every test ends with the descriptors and the threads that it began with."""
    descriptors, running = open_descriptors(), threads()

    def left() -> dict[int, str]:
        return {fd: name for fd, name in open_descriptors().items() if descriptors.get(fd) != name}

    def is_clean_after_a_collection() -> bool:
        MainContext.default().iteration(False)
        gc.collect()
        return not left() and threads() <= running

    yield
    # A collection takes longer than most tests: not while a worker is about to go, which takes its descriptors with it,
    # nor where nothing is left that it could close. And several, as PyPy's collector calls finalizers, and what these
    # have released is for the next one.
    settle(lambda: threads() <= running, 1)
    if left():
        # The default context gives its descriptors back when it finds nothing to do. Others do when they are dropped.
        MainContext.default().iteration(False)
    if left() or not threads() <= running:
        assert settle(is_clean_after_a_collection), (f"descriptors left open: {left()}", threading.enumerate())


@pytest.fixture
def pair() -> Iterator[tuple[UnixConnection, UnixConnection]]:
    """Two connections, each the other's peer."""
    a, b = UnixConnection.create_pair()
    with a, b:
        yield a, b


@pytest.fixture
def many() -> Iterator[list[tuple[UnixConnection, UnixConnection]]]:
    """A hundred pairs of connections."""
    pairs = [UnixConnection.create_pair() for _ in range(100)]
    yield pairs
    for a, b in pairs:
        a.close()
        b.close()


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, UnixConnection]]:
    """A plain socket, and the connection at its other end."""
    a, b = socket.socketpair()
    with a, adopt(b) as connection:
        yield a, connection


@pytest.fixture
def null() -> Iterator[int]:
    """A descriptor to send."""
    fd = os.open(os.devnull, os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def tagged() -> Iterator[Callable[[object], int]]:
    """Makes files that `helpers.tag` can tell from each other."""
    made: list[int] = []

    def make(name: object) -> int:
        made.append(os.memfd_create(f"<{name}>"))
        return made[-1]

    yield make
    for fd in made:
        with contextlib.suppress(OSError):
            os.close(fd)


@pytest.fixture
def calls() -> Calls:
    """A callback."""
    return Calls()


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """What went to sys.excepthook, without the frames, which would keep alive what was in them."""
    found: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: found.append(error.with_traceback(None)))
    return found


@pytest.fixture
def on_alarm() -> Iterator[Callable[..., None]]:
    """Sets what SIGALRM calls, and lets it come once, or at each interval; nothing is left of it after the test."""
    before = signal.getsignal(signal.SIGALRM)

    def start(handler: Callable[..., object], first: float = 0.05, interval: float = 0.0) -> None:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, first, interval)

    yield start
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def alarm_at_rest() -> Iterator[Callable[..., None]]:
    """Sets what SIGALRM calls, and lets it come once this thread waits."""
    before, senders = signal.getsignal(signal.SIGALRM), []

    def start(handler: Callable[..., object]) -> None:
        signal.signal(signal.SIGALRM, handler)
        senders.append(signal_at_rest(signal.SIGALRM))

    yield start
    for each in senders:
        assert each.outcome() is None
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def libuv() -> None:
    """The first loop of uvloop makes descriptors that the process keeps: not in one of the tests."""
    with contextlib.suppress(pytest.skip.Exception):
        ways.optional("uvloop").new_event_loop().close()


@pytest.fixture(scope="module")
def event_loop(libuv: None) -> Iterator[None]:
    """Have the ways keep their event loops: PyPy needs several collections until the descriptors of one go."""
    before = open_descriptors()
    with ways.kept_loop():
        yield

    def has_gone() -> bool:
        gc.collect()
        return not open_descriptors().keys() - before.keys()

    assert settle(has_gone)


@pytest.fixture
def no_linger(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a worker go at once, and the context give back its descriptors: each test waits until they have gone."""
    running = threads()
    monkeypatch.setattr(internals.thread, "_LINGER", 0.01)
    yield
    while MainContext.default().iteration(False):
        pass
    settle(lambda: threads() <= running, 1)
