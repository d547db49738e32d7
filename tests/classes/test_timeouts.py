"""Cancellables that are cancelled by themselves: in each way of waiting, many at a time, dropped, forked, broken."""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import fractions
import functools
import gc
import math
import os
import random
import select
import sys
import threading
import time
import weakref

import pytest
from helpers import PYPY, Background, Calls, collect, fill, open_descriptors, outcome_of_child, room, settle, threads
from internals import RETURN_IS_ATOMIC, blocking, thread
from ways import failure, rest

import unixconn
from unixconn import (
    PRIORITY_DEFAULT,
    Cancellable,
    Error,
    IOCondition,
    MainContext,
    SocketClient,
    SocketListener,
    UnixConnection,
    UnixSocketAddress,
)

SOON = 0.1
LATER = 3600
"""Seconds that no test waits for."""
MORE_AND_MORE = (0.5, 2, 8, 32)
"""Seconds until a deadline that a child is to see coming: on a slow machine the first ones may be over then."""
TOO_LATE = 2
"""The exit code of a child that has found it over: it returns False."""
TEXT = "Operation timed out"

pytestmark = pytest.mark.usefixtures("no_linger")
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.fixture
def calls():
    """A callback."""
    return Calls()


@pytest.fixture
def full(tmp_path):
    """The address of a listener where nobody can connect, as too many wait."""
    address = UnixSocketAddress.new(str(tmp_path / "full"))
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(SocketListener(listen_backlog=0))
        listener.add_address(address, unixconn.SocketType.STREAM, unixconn.SocketProtocol.DEFAULT)
        stack.enter_context(SocketClient().connect(address))
        yield address


def readable(fd, seconds=0.0):
    """Return whether *fd* can be read from, within so many seconds."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def iterate(until):
    """Iterate the default context until a condition holds."""
    assert settle(lambda: MainContext.default().iteration(False) or until())
    while not until():
        assert settle(lambda: MainContext.default().iteration(False) or until())


def check_timed_out(error, text=TEXT):
    """Fail unless *error* is TIMED_OUT with this text."""
    assert isinstance(error, unixconn.TimedOutError), error
    assert isinstance(error, TimeoutError)
    assert (error.code, error.message) == (24, text)


def check_times_out(call, *arguments, text=TEXT):
    """Fail unless the call raises TIMED_OUT with this text."""
    with pytest.raises(Error) as caught:
        call(*arguments)
    check_timed_out(caught.value, text)


def passed():
    """Return a Cancellable whose time has passed."""
    cancellable = Cancellable.with_timeout(0.001)
    assert settle(cancellable.is_cancelled)
    return cancellable


def before_its_time(act, seconds=SOON):
    """Return a Cancellable and its deadline, before which *act* was called with it: on a slow machine a later one."""
    while True:
        end = time.monotonic() + seconds
        cancellable = Cancellable.with_timeout(seconds)
        act(cancellable)
        if time.monotonic() < end:
            return cancellable, end
        seconds *= 4


class TestFlag:
    def test_comes_by_itself(self):
        """It is not set before the time, and is after it, with an Error of its own, each time."""
        seen = []

        def look(each):
            with contextlib.suppress(Error):
                seen.append((each.is_cancelled(), each.set_error_if_cancelled()))

        cancellable, _ = before_its_time(look)
        assert seen[-1:] == [(False, False)]
        assert settle(cancellable.is_cancelled)
        for _ in range(2):
            check_times_out(cancellable.set_error_if_cancelled)

    def test_needs_nobody_to_watch(self):
        """As long as nobody is to be told there is no thread and no descriptor for it."""
        before = threads(), set(open_descriptors())
        cancellable = Cancellable.with_timeout(SOON)
        assert settle(cancellable.is_cancelled)
        assert threads() <= before[0]
        assert set(open_descriptors()) == before[1]

    def test_zero(self):
        """The time has passed at once."""
        for none in (0, 0.0, -0.0):
            check_times_out(Cancellable.with_timeout(none).set_error_if_cancelled)

    @pytest.mark.parametrize("seconds", [math.inf, 10**400, 1e300])
    def test_never(self, seconds, calls):
        """Infinity is a time that does not come; cancel() does."""
        cancellable = Cancellable.with_timeout(seconds)
        cancellable.connect(calls)
        assert not readable(cancellable.get_fd(), SOON)
        cancellable.release_fd()
        assert not cancellable.is_cancelled()
        cancellable.cancel()
        with pytest.raises(unixconn.CancelledError):
            cancellable.set_error_if_cancelled()
        assert calls == [()]

    @pytest.mark.parametrize("number", [2, 2.0, fractions.Fraction(2), decimal.Decimal(2)])
    def test_numbers(self, number):
        """Any number will do."""
        assert not Cancellable.with_timeout(number).is_cancelled()

    @pytest.mark.parametrize("wrong", [None, "1", b"1", [1], True, False, 1j])
    def test_no_number(self, wrong):
        """What is no number is named."""
        with pytest.raises(TypeError, match="seconds must be a number") as caught:
            Cancellable.with_timeout(wrong)
        assert repr(wrong) in str(caught.value)

    @pytest.mark.parametrize(
        "wrong", [-1, -0.001, -math.inf, math.nan, -(10**400), decimal.Decimal("NaN"), fractions.Fraction(-1, 2)]
    )
    def test_no_time(self, wrong):
        """What is no time is named."""
        with pytest.raises(ValueError, match="seconds must be 0 or more") as caught:
            Cancellable.with_timeout(wrong)
        assert repr(wrong) in str(caught.value)

    def test_cancelled_before(self):
        """An explicit cancel() is what counts, also when the time has passed later."""
        calls = {}

        def cancel(each):
            calls[each] = Calls()
            each.connect(calls[each])
            each.cancel()

        cancellable, end = before_its_time(cancel)
        assert settle(lambda: time.monotonic() > end + SOON)
        with pytest.raises(unixconn.CancelledError):
            cancellable.set_error_if_cancelled()
        assert calls[cancellable] == [()]

    def test_cancelled_after(self, calls):
        """It was cancelled already then: handlers run once, and it stays TIMED_OUT."""
        cancellable = Cancellable.with_timeout(0)
        Cancellable.connect(cancellable, calls)
        cancellable.cancel()
        cancellable.cancel()
        check_times_out(cancellable.set_error_if_cancelled)
        assert calls == [()]

    def test_reset(self, calls):
        """It takes the time back, before it has passed and after it; cancel() is CANCELLED then."""
        early, late = Cancellable.with_timeout(SOON), Cancellable.with_timeout(0)
        for cancellable in (early, late):
            cancellable.reset()
            cancellable.connect(calls)
            assert not readable(cancellable.get_fd(), 2 * SOON)
            cancellable.release_fd()
            assert not cancellable.is_cancelled()
        assert calls == []
        for cancellable in (early, late):
            cancellable.cancel()
            with pytest.raises(unixconn.CancelledError):
                cancellable.set_error_if_cancelled()
        assert calls == [(), ()]

    def test_reset_while_it_is_looked_after(self, calls):
        """What was to ring does not, and the thread is gone before its time."""
        before = threads()
        cancellable = Cancellable.with_timeout(LATER)
        cancellable.connect(calls)
        assert threads() - before
        cancellable.reset()
        assert settle(lambda: threads() <= before)
        assert not cancellable.is_cancelled()

    def test_of_a_subclass(self):
        """It is one of the subclass; what its constructor and its do_cancelled do is heard."""
        told = threading.Event()

        class Telling(Cancellable):
            def do_cancelled(self):
                told.set()

        class Connecting(Cancellable):
            def __init__(self):
                super().__init__()
                self.told = Calls()
                self.connect(self.told)

        cancellable = Telling.with_timeout(SOON)
        other = Connecting.with_timeout(SOON)
        assert type(cancellable) is Telling
        assert told.wait(60)
        assert settle(lambda: other.told)


class TestTold:
    def test_descriptor(self):
        """It becomes readable, stays so, and is not after a reset."""
        seen = []
        cancellable, _ = before_its_time(lambda each: seen.append(readable(each.get_fd())))
        fd = cancellable.get_fd()
        cancellable.release_fd()
        assert seen[-1] is False
        assert readable(fd, 60)
        check_times_out(cancellable.set_error_if_cancelled)
        cancellable.reset()
        assert not readable(fd)
        cancellable.release_fd()

    def test_descriptor_of_one_that_is_cancelled_already(self):
        """It is readable from the start."""
        cancellable = Cancellable.with_timeout(0)
        assert readable(cancellable.get_fd())
        cancellable.release_fd()

    def test_handlers(self):
        """They run once, in another thread, when it is cancelled."""
        told, early, found = threading.Event(), [], {}

        def connect(each):
            found[each] = seen = []
            each.connect(lambda: seen.append((threading.get_ident(), each.is_cancelled())))
            unixconn.Object.connect(each, "cancelled", lambda owner: seen.append(owner) or told.set())
            early.append(list(seen))

        cancellable, _ = before_its_time(connect)
        seen = found[cancellable]
        assert early[-1] == []
        assert told.wait(60)
        assert settle(lambda: len(seen) == 2)
        (thread, was_cancelled), owner = seen
        assert thread != threading.get_ident()
        assert was_cancelled
        assert owner is cancellable
        cancellable.cancel()
        assert len(seen) == 2

    def test_connected_when_the_time_has_passed(self, calls):
        """The handler runs at once, as with any that is cancelled."""
        assert passed().connect(calls) == 0
        assert calls == [()]

    def test_disconnected(self):
        """Who has gone is not told."""
        calls = {}

        def come_and_go(each):
            calls[each] = Calls()
            each.disconnect(each.connect(calls[each]))

        cancellable, _ = before_its_time(come_and_go)
        assert readable(cancellable.get_fd(), 60)
        cancellable.disconnect(0)  # waits for those that run
        assert calls[cancellable] == []

    def test_a_handler_s_exception(self, reports):
        """It is reported, and harms nobody else."""
        told = threading.Event()
        cancellable = Cancellable.with_timeout(SOON)
        cancellable.connect(lambda: 1 / 0)
        cancellable.connect(told.set)
        assert told.wait(60)
        assert settle(lambda: bool(reports))
        assert [type(each) for each in reports] == [ZeroDivisionError]

    def test_a_handler_that_ends_its_thread(self, pair):
        """Another one does the rest, at once and later."""
        told, futures = {}, {}

        def connect(each):
            told[each] = Calls()
            each.connect(told[each])
            with contextlib.suppress(SystemExit):  # of this thread, if it comes late
                each.connect(sys.exit)

        for _ in range(5):
            cancellable, _ = before_its_time(connect)
            futures[cancellable] = pair[0].receive_fd_async(cancellable)
        for each in futures.values():
            check_timed_out(each.exception(60))
        assert settle(lambda: all(len(told[each]) == 1 for each in futures))
        check_timed_out(pair[0].receive_fd_async(Cancellable.with_timeout(SOON)).exception(60))

    def test_a_handler_drops_it(self):
        """It may be the last to know of it."""
        kept = [Cancellable.with_timeout(SOON)]
        gone = threading.Event()
        weakref.finalize(kept[0], gone.set)
        kept[0].connect(kept.clear)
        while not gone.wait(0.05):
            gc.collect()
        assert kept == []

    def test_source(self, calls):
        """Its callback runs in the context."""
        source = Cancellable.with_timeout(SOON).source_new()
        source.set_callback(lambda: calls(threading.get_ident()))
        source.attach()
        assert calls == []
        iterate(lambda: calls)
        assert calls == [(threading.get_ident(),)]

    def test_source_that_comes_late(self, calls):
        """One that is attached after the deadline, which nobody has noticed yet, is ready once."""
        source = Cancellable.with_timeout(0).source_new()
        source.set_callback(lambda: calls() or True)
        source.attach()
        iterate(lambda: calls)
        rest()
        source.destroy()
        assert len(calls) == 1

    def test_no_descriptor_left(self, pair, calls):
        """Who can not be told says so, and nothing is done; who waits in poll() needs none of a thread's."""
        cancellable = Cancellable.with_timeout(LATER)
        source = cancellable.source_new()
        source.set_callback(calls)
        with room(0):
            for call in (cancellable.get_fd, source.attach, functools.partial(cancellable.connect, calls)):
                with pytest.raises(unixconn.TooManyOpenFilesError):
                    call()
            check_times_out(Cancellable.with_timeout(0).set_error_if_cancelled)
        with room(2):
            check_times_out(pair[0].receive_fd, Cancellable.with_timeout(SOON))
        source.attach()
        cancellable.cancel()
        iterate(lambda: calls)
        assert calls == [()]


class TestBlocking:
    def check(self, wait):
        """A wait ends by its deadline, needs no other thread, and is not begun when the time has passed."""
        before = threads()
        cancellable = Cancellable.with_timeout(SOON)
        check_times_out(wait, cancellable)
        assert cancellable.is_cancelled()
        assert threads() <= before
        check_times_out(wait, cancellable)
        waiting = Background(wait, cancellable := Cancellable.with_timeout(LATER))
        assert waiting.is_waiting()
        cancellable.cancel()
        assert isinstance(waiting.outcome(), unixconn.CancelledError)

    @pytest.mark.parametrize("name", ["receive_fd", "receive_credentials"])
    def test_receiving(self, pair, name):
        """A message that does not come."""
        self.check(getattr(pair[0], name))

    def test_sending(self, pair, null):
        """A peer that does not read."""
        fill(pair[0])
        self.check(functools.partial(pair[0].send_fd, null))

    def test_streams(self, pair):
        """Bytes that do not come or go."""
        self.check(functools.partial(pair[0].get_input_stream().read, 9))
        fill(pair[0])
        self.check(functools.partial(pair[0].get_output_stream().write_all, b"hello"))

    def test_accepting(self, tmp_path):
        """A client that does not come."""
        with unixconn.listen(tmp_path / "a") as listener:
            self.check(listener.accept)

    def test_condition(self, pair):
        """A condition that does not come true."""
        self.check(functools.partial(pair[0].get_socket().condition_wait, IOCondition.IN))

    def test_a_socket_that_is_ready_for_nothing(self, pair):
        """poll() reports it each time, and no attempt finds anything: the wait ends all the same."""

        class Never(blocking.Operation):
            condition = IOCondition.IN | IOCondition.OUT

            def attempt(self, result):
                return False

        never = Never(pair[0].get_socket()._handle)
        never.timeout = SOON
        assert failure(blocking.complete, never, None) == (24, "Socket I/O timed out")

    def test_the_socket_s_timeout_is_another(self, pair):
        """Whichever is first ends it, with its own text."""
        socket = pair[0].get_socket()
        socket.set_timeout(1)
        check_times_out(pair[0].receive_fd, Cancellable.with_timeout(LATER), text="Socket I/O timed out")
        socket.set_timeout(60)
        check_times_out(pair[0].receive_fd, Cancellable.with_timeout(SOON))

    def test_in_time(self, pair, null):
        """Who gets what he waits for knows nothing of it; what it has not consumed is there afterwards."""
        a, b = pair
        check_times_out(b.receive_fd, Cancellable.with_timeout(SOON))
        waiting = Background(b.receive_fd, Cancellable.with_timeout(LATER))
        assert waiting.is_waiting()
        a.send_fd(null)
        os.close(waiting.outcome())

    def test_reset_while_somebody_waits(self, pair, null):
        """Who waits goes on after the time."""
        a, b = pair
        begun = {}

        def begin_and_reset(each):
            for earlier, waiting in begun.items():
                earlier.cancel()
                waiting.join()
            begun[each] = Background(b.receive_fd, each)
            each.reset()

        cancellable, end = before_its_time(begin_and_reset, 5 * SOON)
        waiting = begun[cancellable]
        assert settle(lambda: time.monotonic() > end)
        assert waiting.is_waiting()
        a.send_fd(null)
        os.close(waiting.outcome())

    def test_months(self, pair, null):
        """More than poll() takes."""
        a, b = pair
        waiting = Background(b.receive_fd, Cancellable.with_timeout(1e8))
        assert waiting.is_waiting()
        a.send_fd(null)
        os.close(waiting.outcome())


class TestBackground:
    def test_future(self, pair):
        """It has failed, and was not cancelled."""
        started, done = [], []

        def start(each):
            started.append(pair[0].receive_fd_async(each))
            done.append(started[-1].done())

        before_its_time(start)
        future = started[-1]
        assert not done[-1]
        check_times_out(future.result, 60)
        check_timed_out(future.exception())
        assert future.cancelled() is False
        assert future.cancel() is False

    def test_future_that_is_cancelled_before(self, pair):
        """By itself or by its Cancellable: that is CANCELLED."""
        one, other = (pair[0].receive_fd_async(Cancellable.with_timeout(LATER)) for _ in range(2))
        one.cancel()
        other.cancellable.cancel()
        for each in (one, other):
            assert each.cancelled()
            assert isinstance(each.exception(60), unixconn.CancelledError)

    def test_streams(self, pair):
        """Those of several steps, too, and the splice of both directions."""
        a, b = pair
        cancellable = Cancellable.with_timeout(SOON)
        reading = a.get_input_stream().read_all_async(9, PRIORITY_DEFAULT, cancellable)
        with contextlib.ExitStack() as stack:
            c, d = map(stack.enter_context, UnixConnection.create_pair())
            splicing = b.splice_async(c, unixconn.IOStreamSpliceFlags.NONE, PRIORITY_DEFAULT, cancellable)
            check_times_out(reading.result, 60)
            check_times_out(splicing.result, 60)
            d.get_output_stream().write(b"usable")

    def test_socket_source(self, pair, calls):
        """It becomes ready, with no condition that holds."""
        socket = pair[0].get_socket()
        source = socket.create_source(IOCondition.IN, Cancellable.with_timeout(SOON))
        source.set_callback(calls)
        source.attach()
        iterate(lambda: calls)
        assert calls == [(socket, IOCondition(0))]

    @pytest.mark.parametrize("loop", ["asyncio", "trio"])
    def test_await(self, pair, null, loop):
        """The await raises, the loop goes on, and so does the connection."""
        a, b = pair

        async def main():
            with pytest.raises(TimeoutError) as caught:
                await b.receive_fd_async(Cancellable.with_timeout(SOON))
            check_timed_out(caught.value)
            with pytest.raises(TimeoutError) as caught:
                await b.receive_fd_async(passed())
            check_timed_out(caught.value)
            a.send_fd(null)
            os.close(await b.receive_fd_async(Cancellable.with_timeout(LATER)))

        asyncio.run(main()) if loop == "asyncio" else pytest.importorskip("trio").run(main)


class TestMany:
    def test_ten_thousand(self):
        """One thread is enough for them, and each ends in its time."""
        pairs = [UnixConnection.create_pair() for _ in range(100)]
        before = threads()
        later = [Cancellable.with_timeout(LATER + number) for number in range(5000)]
        waiting = [pairs[number % 100][0].receive_fd_async(each) for number, each in enumerate(later)]
        ending = [
            pairs[number % 100][1].receive_fd_async(Cancellable.with_timeout((number * 7919 % 5000) / 10000))
            for number in range(5000)
        ]
        assert len(threads() - before) <= 1
        for each in ending:
            check_timed_out(each.exception(60))
        assert len(threads() - before) == 1
        assert not any(each.done() for each in waiting)
        for each in later:
            each.cancel()
        assert all(each.cancelled() for each in waiting)
        assert settle(lambda: threads() <= before)
        for a, b in pairs:
            a.close()
            b.close()

    def test_a_shorter_one_comes_later(self, pair):
        """Who starts last and has the least time ends first."""
        long, short = (pair[0].receive_fd_async(Cancellable.with_timeout(seconds)) for seconds in (LATER, SOON))
        check_timed_out(short.exception(60))
        assert not long.done()
        long.cancel()

    def test_shared_by_many(self, pair):
        """One ends all that were given it."""
        cancellable = Cancellable.with_timeout(5 * SOON)
        futures = [pair[0].receive_fd_async(cancellable) for _ in range(1000)]
        for each in futures:
            check_timed_out(each.exception(60))

    def test_dropped(self, calls):
        """Nothing is left of those that were dropped: no object, no handler, no thread, no descriptor."""
        before = threads(), set(open_descriptors())
        dropped = [Cancellable.with_timeout(LATER + number % 2) for number in range(100)]
        for each in dropped:
            each.connect(calls)
            each.get_fd()
        gone = [weakref.ref(each) for each in dropped]
        assert len(threads() - before[0]) == 1
        del each, dropped
        # The thread holds one while it looks whether that is needed.
        assert settle(lambda: collect() or not any(each() for each in gone))
        assert settle(lambda: threads() <= before[0] and set(open_descriptors()) == before[1])
        assert calls == []

    def test_dropped_ones_do_not_pile_up(self, calls):
        """Where one that stays has the thread wait for long, those that come and go behind it leave no trail."""
        crowd = [Cancellable.with_timeout(LATER) for _ in range(3000)]
        for each in crowd:
            each.connect(bool)
        for each in crowd:
            each.cancel()
        clock = thread.shared()._clock
        assert settle(lambda: not clock._heap)
        stays = Cancellable.with_timeout(LATER)
        stays.connect(calls)
        for _ in range(10):
            for _ in range(1000):
                Cancellable.with_timeout(2 * LATER).connect(calls)
            collect()
        # PyPy collects later: the thread may find all of a round still there, and looks again at twice as many.
        most = 4000 if PYPY else 200
        assert settle(lambda: len(clock._arrivals) + len(clock._heap) < most)

    def test_operations_that_are_over(self, pair, null):
        """A deadline that was not needed goes with its operation."""
        a, b = pair
        before = threads()
        for _ in range(50):
            future = b.receive_fd_async(Cancellable.with_timeout(LATER))
            a.send_fd(null)
            os.close(future.result(60))
            del future
        collect()
        assert settle(lambda: threads() <= before)


@forks
class TestFork:
    def test_the_child_has_the_same_deadline(self, pair):
        """In whatever way it waits there; the parent's is its own."""
        for seconds in MORE_AND_MORE:
            cancellable, waited = Cancellable.with_timeout(seconds), Cancellable.with_timeout(seconds)
            told = Calls()
            cancellable.connect(told)
            future = pair[1].receive_fd_async(waited)

            def child(seconds=seconds, cancellable=cancellable, waited=waited, told=told):
                if cancellable.is_cancelled():
                    return False
                assert cancellable._seconds_left() <= seconds
                here = threading.Event()
                cancellable.connect(here.set)
                check_times_out(pair[0].receive_fd, cancellable)
                check_times_out(pair[0].receive_fd_async(waited).result, 60)
                assert here.wait(60)
                assert readable(cancellable.get_fd(), 60)
                assert len(told) == 1
                return True

            code = outcome_of_child(child)
            check_timed_out(future.exception(60))
            assert settle(lambda told=told: len(told) == 1)
            if code != TOO_LATE:
                break
        assert code == 0

    def test_cancelled_in_the_child(self, pair):
        """The parent's keeps its deadline."""
        for seconds in MORE_AND_MORE:
            cancellable = Cancellable.with_timeout(seconds)
            future = pair[0].receive_fd_async(cancellable)

            def child(cancellable=cancellable):
                cancellable.cancel()
                try:
                    pair[1].receive_fd(cancellable)
                except unixconn.CancelledError:
                    return True
                except unixconn.TimedOutError:
                    return False

            code = outcome_of_child(child)
            check_timed_out(future.exception(60))
            if code != TOO_LATE:
                break
        assert code == 0

    def test_dropped_in_the_child(self):
        """The parent's alarm is not taken back there."""
        kept = [Cancellable.with_timeout(5 * SOON)]
        told = threading.Event()
        kept[0].connect(told.set)

        def child():
            kept.clear()
            collect()
            return True

        assert outcome_of_child(child) == 0
        assert told.wait(60)


class StopError(Exception):
    pass


class TestSignals:
    def test_a_storm(self, pair, on_alarm):
        """Handlers that make, watch and reset others at any moment change nothing of a wait, in whatever way."""
        a, b = pair
        hits = []

        def handler(*_):
            hits.append(1)
            other = Cancellable.with_timeout(len(hits) % 3 * 0.001)
            other.connect(bool)
            if len(hits) % 2:
                other.reset()

        cancellable = Cancellable.with_timeout(1)
        on_alarm(handler, 0.001, 0.001)
        future = a.receive_fd_async(cancellable)
        check_times_out(b.receive_fd, cancellable)
        check_timed_out(future.exception(60))
        assert settle(lambda: len(hits) > 50)

    @pytest.mark.breaks_off
    @pytest.mark.skipif(
        not RETURN_IS_ATOMIC, reason="an exception can come between the end of a with block and its exit there"
    )
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_handlers_that_raise(self, pair, on_alarm):
        """What is broken off at any moment leaves the library able to end by the next deadline, and no thread."""
        armed, kept = [], []

        def handler(*_):
            if armed:
                raise StopError

        def use():
            while True:
                cancellable = Cancellable.with_timeout(LATER)
                kept.append(cancellable)
                cancellable.connect(bool)
                cancellable.get_fd()
                kept.append(pair[0].receive_fd_async(cancellable))
                kept[-1].cancel()
                cancellable.release_fd()
                cancellable.reset()

        def break_off():
            try:
                armed.append(True)
                # Again, as an exception in a finalizer goes no further.
                on_alarm(handler, random.uniform(0.00001, 0.001), 0.1)
                use()
            finally:
                armed.clear()

        before = threads()
        for _ in range(50):
            with contextlib.suppress(StopError):
                break_off()
            # What was started waits, though its Future may have come to nobody.
            for each in kept:
                each.cancel()
            kept.clear()
            # Not in the next round, where a destructor would swallow what the handler raises.
            gc.collect()
            last = Cancellable.with_timeout(0.001)
            assert readable(last.get_fd(), 60)
            last.release_fd()
        collect()
        assert settle(lambda: threads() <= before)
