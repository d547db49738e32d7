"""What each operation loses when a signal handler raises in it: at each moment in turn, and at random ones."""

from __future__ import annotations

import sys

import pytest
from helpers import PYPY
from internals import RETURN_IS_ATOMIC
from storm_operations import OPERATIONS, READS, a_place, open_count
from storms import Interruption, perform, stop_at, storm

import unixconn

pytestmark = [
    pytest.mark.breaks_off,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


OPEN = {"bytes BufferedInputStream.read_async"}
"""
What has an open fault: if the call that starts it is broken off, its steps may go on in another thread, and give back
the bytes only after the next read.
"""
NAMES = [name for name in (*OPERATIONS, *READS) if name not in OPEN]


@pytest.fixture(scope="module")
def place():
    """The sockets of all operations."""
    with a_place() as made:
        yield made


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    """Print nothing of an exception that came in a destructor or a callback, and keep nothing of it."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    monkeypatch.setattr(sys, "excepthook", lambda *_: None)


@pytest.mark.parametrize("name", NAMES)
def test_stopped_at_each_step(place, name):
    """An exception at any point where the interpreter runs signal handlers loses no descriptor or byte (F1, F2, F5)."""
    perform(place, name, lambda call: call())
    assert not place.missing
    before = place.before = open_count(place.before, 0.5)
    seen, step, lost = [], 0, []

    def stop(call):
        nonlocal seen
        try:
            seen = stop_at(step)
            call()
        except Interruption:
            pass
        finally:
            sys.setprofile(None)

    while len(seen) >= step:
        step += 1
        perform(place, name, stop)
        if not PYPY and open_count(before) != before:
            lost.append(step)
            before = open_count()
        if place.missing:
            lost.append((step, *place.missing.pop()))
    place.before = open_count(before)
    assert (lost, place.before) == ([], before)
    assert step > 1 or PYPY  # which runs destructors later


@pytest.mark.parametrize("name", NAMES)
def test_a_short_storm(place, name):
    """Exceptions at random moments lose nothing (F1, F2, F5). `python tests/storms.py` makes it a long one."""
    hits, lost = storm(place, name, 300, seconds=0.3 if PYPY else 1)
    assert hits or not RETURN_IS_ATOMIC
    assert not lost


def test_asyncio_stopped_at_its_own_end(place):
    """A loop that was broken off before it restored the hooks of asynchronous generators is dropped all the same."""
    stopped = []

    def look(frame, event, _argument):
        if event == "call" and frame.f_code.co_name == "_set_coroutine_origin_tracking":
            stopped.append(True)
            if len(stopped) == 2:  # the first one is at the beginning
                raise Interruption

    def stop(call):
        try:
            sys.setprofile(look)
            call()
        except Interruption:
            pass
        finally:
            sys.setprofile(None)

    before = place.before = open_count(place.before, 0.5)
    perform(place, "serve", stop)
    assert len(stopped) == 2
    assert open_count(before) == before


@pytest.mark.parametrize("receive", ["receive_fds", "receive_descriptors"])
def test_what_is_refused_is_not_given_back(pair, null, receive):
    """A handler that raises while a refused message is being closed leaves nothing to the next operation (F1)."""
    a, b = pair
    # The first message of its kind goes another way.
    a.send_fds([null, null])
    unixconn.close_fds(b.receive_fds())
    stopped = []

    def look(frame, event, _argument):
        if not stopped and event == "call" and frame.f_code.co_name == "close_unwanted":
            stopped.append(True)
            raise Interruption

    a.send_fds([null, null])
    with pytest.raises(Interruption):
        try:
            sys.setprofile(look)
            getattr(b, receive)(1)
        finally:
            sys.setprofile(None)
    b.get_socket().set_blocking(False)
    with pytest.raises(unixconn.WouldBlockError):
        b.receive_fds()
