"""Cancellable: by itself, from threads, in signal handlers, and across fork()."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import random
import select
import signal
import sys
import threading
import time
import traceback

import pytest
from helpers import Background, come_to_rest, is_open, open_descriptors, outcome_of_child, room
from internals import RETURN_IS_ATOMIC

import unixconn
from unixconn import Cancellable, IOCondition, Object, PollFD


def readable(fd):
    """Return whether *fd* can be read from."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(0))


@pytest.fixture
def cancellable():
    """A Cancellable, not cancelled."""
    return Cancellable()


def under_a_storm(use, handle):
    """Call *use* over and over, and *handle* at any moment meanwhile, as a signal handler; tell whether none failed."""
    calls, failures = [], []

    def handler(*_):
        calls.append(1)
        try:
            handle()
        except BaseException:  # noqa: BLE001 - it is to be seen, and not to change what *use* does
            failures.append(traceback.format_exc())

    signal.signal(signal.SIGALRM, handler)
    try:
        while len(calls) < 2000 and not failures:
            before = len(calls)
            # From here, so that handlers do not pile up.
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.0003))
            while len(calls) == before:
                use()
    except BaseException:  # noqa: BLE001 - the same
        failures.append(traceback.format_exc())
    signal.setitimer(signal.ITIMER_REAL, 0)
    os.write(2, "".join(failures).encode())
    return not failures


class TestFlag:
    def test_begins_unset(self):
        """Both ways of making one give the same."""
        for made in (Cancellable(), Cancellable.new()):
            assert type(made) is Cancellable
            assert made.is_cancelled() is False
            assert made.set_error_if_cancelled() is False

    def test_cancel(self, cancellable):
        """It is set once and for all."""
        assert cancellable.cancel() is None
        assert cancellable.is_cancelled() is True
        cancellable.cancel()
        assert cancellable.is_cancelled() is True

    def test_set_error_if_cancelled(self, cancellable):
        """The error is CANCELLED, each time."""
        cancellable.cancel()
        for _ in range(2):
            with pytest.raises(unixconn.CancelledError) as caught:
                cancellable.set_error_if_cancelled()
            assert (caught.value.code, caught.value.message) == (19, "Operation was cancelled")

    def test_reset(self, cancellable):
        """After a reset it can be cancelled anew."""
        cancellable.cancel()
        cancellable.reset()
        assert cancellable.is_cancelled() is False
        cancellable.reset()
        cancellable.cancel()
        assert cancellable.is_cancelled() is True

    def test_none_is_none(self):
        """The methods want a Cancellable."""
        with pytest.raises((TypeError, AttributeError)):
            Cancellable.is_cancelled(None)

    def test_properties(self):
        """It has none."""
        assert Cancellable.list_properties() == []
        with pytest.raises(TypeError):
            Cancellable(nonsense=1)
        with pytest.raises(TypeError):
            Cancellable(1)


class TestDescriptor:
    def test_is_readable_while_cancelled(self, cancellable):
        """It follows the flag."""
        fd = cancellable.get_fd()
        assert not readable(fd)
        cancellable.cancel()
        assert readable(fd)
        cancellable.reset()
        assert not readable(fd)
        cancellable.cancel()
        assert readable(fd)
        cancellable.release_fd()

    def test_of_one_that_is_cancelled_already(self, cancellable):
        """It is readable from the start."""
        cancellable.cancel()
        assert readable(cancellable.get_fd())
        cancellable.release_fd()

    def test_is_close_on_exec(self, cancellable):
        """Programs that this process starts do not get it."""
        assert not os.get_inheritable(cancellable.get_fd())
        cancellable.release_fd()

    def test_is_made_when_asked_for(self):
        """A Cancellable that nobody asks needs none."""
        before = open_descriptors()
        cancellable = Cancellable()
        cancellable.cancel()
        cancellable.reset()
        assert open_descriptors() == before

    def test_is_shared_and_counted(self, cancellable):
        """Each get_fd gives the same one; the last release_fd closes it."""
        fd = cancellable.get_fd()
        assert [cancellable.get_fd() for _ in range(3)] == [fd] * 3
        for _ in range(3):
            cancellable.release_fd()
            assert is_open(fd)
        cancellable.release_fd()
        assert not is_open(fd)

    def test_one_release_too_many(self, cancellable):
        """It is refused, and harms nobody."""
        with pytest.raises(ValueError, match="release_fd"):
            cancellable.release_fd()
        fd = cancellable.get_fd()
        cancellable.release_fd()
        other = os.open(os.devnull, os.O_RDONLY)
        with pytest.raises(ValueError, match="release_fd"):
            cancellable.release_fd()
        assert is_open(other)
        assert other == fd
        os.close(other)

    def test_can_be_had_again(self, cancellable):
        """After the last release there is a new one at the next call."""
        cancellable.get_fd()
        cancellable.release_fd()
        cancellable.cancel()
        assert readable(cancellable.get_fd())
        cancellable.release_fd()

    def test_ends_with_the_object(self):
        """What was not released is closed with the object."""
        cancellable = Cancellable()
        fd = cancellable.get_fd()
        del cancellable
        gc.collect()
        assert not is_open(fd)

    def test_of_a_user_reads_nothing_away(self, cancellable):
        """An operation that ends by it leaves it readable for the others."""
        fd = cancellable.get_fd()
        a, b = unixconn.UnixConnection.create_pair()
        with a, b:
            waiting = Background(a.receive_fd, cancellable)
            assert waiting.is_waiting()
            cancellable.cancel()
            assert isinstance(waiting.outcome(), unixconn.CancelledError)
        assert readable(fd)
        cancellable.release_fd()

    def test_is_let_go_by_operations(self, cancellable, pair):
        """A wait holds it, and no longer: not after success, cancellation, timeout or an error."""
        a, b = pair
        before = open_descriptors()
        waiting = Background(b.receive_fd, cancellable)
        assert waiting.is_waiting()
        a.send_fd(0)
        os.close(waiting.outcome())
        b.get_socket().set_timeout(1)
        with pytest.raises(TimeoutError):
            b.receive_fd(cancellable)
        b.get_socket().set_timeout(0)
        waiting = Background(b.receive_fd, cancellable)
        assert waiting.is_waiting()
        a.get_socket().send(b"x")
        assert isinstance(waiting.outcome(), unixconn.Error)
        waiting = Background(b.receive_fd, cancellable)
        assert waiting.is_waiting()
        cancellable.cancel()
        assert isinstance(waiting.outcome(), unixconn.CancelledError)
        # What the socket itself needed to be woken may stay as long as the socket.
        a.close()
        b.close()
        assert set(open_descriptors()) <= set(before)

    def test_survives_a_wait_that_ends(self, cancellable, pair):
        """A user's descriptor stays open when an operation that shared it ends."""
        fd = cancellable.get_fd()
        a, b = pair
        waiting = Background(b.receive_fd, cancellable)
        assert waiting.is_waiting()
        a.send_fd(0)
        os.close(waiting.outcome())
        assert is_open(fd)
        cancellable.cancel()
        assert readable(fd)
        cancellable.release_fd()
        assert not is_open(fd)

    def test_released_while_somebody_waits(self, cancellable, pair):
        """A user's release does not take it away from a wait."""
        cancellable.get_fd()
        waiting = Background(pair[0].receive_fd, cancellable)
        assert waiting.is_waiting()
        cancellable.release_fd()
        cancellable.cancel()
        assert isinstance(waiting.outcome(), unixconn.CancelledError)

    def test_reset_while_somebody_waits(self, cancellable, pair):
        """A reset at once after cancel() may let a wait go on, and leaves it able to end."""
        waiting = Background(pair[0].receive_fd, cancellable)
        assert waiting.is_waiting()
        cancellable.cancel()
        cancellable.reset()
        waiting.join(0.1)
        cancellable.cancel()
        assert isinstance(waiting.outcome(), unixconn.CancelledError)

    def test_no_room(self, cancellable):
        """get_fd raises where there is no free number, and works again after (D3)."""
        with room(0), pytest.raises(unixconn.TooManyOpenFilesError) as caught:
            cancellable.get_fd()
        assert caught.value.code == 31
        with pytest.raises(ValueError, match="release_fd"):
            cancellable.release_fd()
        fd = cancellable.get_fd()
        cancellable.release_fd()
        assert not is_open(fd)

    def test_cancel_needs_no_room(self, cancellable):
        """The flag needs no descriptor."""
        with room(0):
            cancellable.cancel()
        assert cancellable.is_cancelled()


class TestPollFD:
    def test_is_filled_in(self, cancellable):
        """make_pollfd takes a reference of the descriptor."""
        pollfd = PollFD(0, 0)
        assert cancellable.make_pollfd(pollfd) is True
        assert pollfd.events == IOCondition.IN == 1
        assert pollfd.revents == 0
        assert pollfd.fd == cancellable.get_fd()
        cancellable.release_fd()
        assert is_open(pollfd.fd)
        cancellable.release_fd()
        assert not is_open(pollfd.fd)

    def test_no_room(self, cancellable):
        """False, and the PollFD is as it was (D3)."""
        pollfd = PollFD(7, 4)
        with room(0):
            assert cancellable.make_pollfd(pollfd) is False
        assert (pollfd.fd, pollfd.events) == (7, 4)

    @pytest.mark.parametrize("wrong", [None, 5, object()])
    def test_wrong_type(self, cancellable, wrong):
        """It wants a PollFD."""
        with pytest.raises(TypeError):
            cancellable.make_pollfd(wrong)


class TestHandlers:
    def test_get_no_arguments(self, cancellable):
        """Connect's callback gets nothing, not even the data."""
        got = []
        number = cancellable.connect(lambda *arguments: got.append(arguments), 1, 2)
        assert number > 0
        cancellable.cancel()
        assert got == [()]

    def test_run_at_each_cancel(self, cancellable):
        """Once per cancel that sets the flag; reset leaves them connected."""
        got = []
        cancellable.connect(lambda: got.append(1))
        cancellable.cancel()
        cancellable.cancel()
        cancellable.reset()
        assert got == [1]
        cancellable.cancel()
        assert got == [1, 1]

    def test_run_in_the_cancelling_thread(self, cancellable):
        """cancel() returns after they did."""
        got = []
        cancellable.connect(lambda: got.append(threading.get_ident()))
        canceller = Background(cancellable.cancel)
        canceller.outcome()
        assert got == [canceller.ident]

    def test_one_that_comes_late(self, cancellable):
        """Connecting to one that is cancelled calls at once, and the number is 0."""
        cancellable.cancel()
        got = []
        assert cancellable.connect(lambda: got.append(1)) == 0
        assert got == [1]
        cancellable.reset()
        cancellable.cancel()
        assert got == [1]

    @pytest.mark.parametrize("how", ["cancel", "deadline"])
    @pytest.mark.parametrize("what", ["reset", "disconnect"])
    def test_others_wait_for_one_that_comes_late(self, how, what):
        """While it runs, a reset in another thread waits: it finds the flag set all the time (F18)."""
        cancellable = Cancellable() if how == "cancel" else Cancellable.with_timeout(0)
        if how == "cancel":
            cancellable.cancel()
        running, go_on, found = threading.Event(), threading.Event(), []

        def handler():
            running.set()
            assert go_on.wait(60)
            found.append(cancellable.is_cancelled())

        connecting = Background(cancellable.connect, handler)
        assert running.wait(60)
        waiting = Background(cancellable.reset if what == "reset" else lambda: cancellable.disconnect(0))
        assert waiting.is_waiting()
        go_on.set()
        assert connecting.outcome() == 0
        assert waiting.outcome() is None
        assert found == [True]
        assert cancellable.is_cancelled() == (what != "reset")

    @pytest.mark.parametrize("raised", [ZeroDivisionError, SystemExit])
    def test_one_that_comes_late_and_fails(self, cancellable, reports, raised):
        """Nobody waits for it for ever; what it calls itself does not wait (F18)."""
        cancellable.cancel()
        found = []

        def handler():
            found.append(cancellable.connect(lambda: found.append("inside")))
            cancellable.disconnect(0)
            cancellable.reset()
            found.append(cancellable.is_cancelled())
            raise raised

        if raised is SystemExit:
            with pytest.raises(SystemExit):
                cancellable.connect(handler)
        else:
            assert cancellable.connect(handler) == 0
        assert found == ["inside", 0, False]
        assert Background(cancellable.reset).outcome() is None
        assert [type(each) for each in reports] == [raised] * (raised is ZeroDivisionError)

    def test_a_deadline_of_one_that_comes_late(self, pair):
        """Its end does not keep the thread from telling those that wait (F18)."""
        for _ in range(20):
            cancellable = Cancellable.with_timeout(0.01)
            future = pair[1].receive_fd_async(cancellable)
            while not cancellable.is_cancelled():
                pass
            assert cancellable.connect(lambda: None) == 0
            with pytest.raises(unixconn.TimedOutError):
                future.result(60)

    def test_connecting_races_with_reset(self, cancellable):
        """Whenever a reset comes, no handler finds the flag clear (F18)."""
        wrong, calls, over = [], [], threading.Event()

        def handler():
            calls.append(1)
            if not cancellable.is_cancelled():
                wrong.append(1)

        def connect():
            # At least 3000 times, and until the flag was set at some of them.
            for attempt in itertools.count():
                cancellable.disconnect(cancellable.connect(handler))
                if attempt >= 3000 and (calls or attempt == 1_000_000):
                    break
            over.set()

        connecting = Background(connect)
        for turn in itertools.count():
            if over.is_set():
                break
            cancellable.cancel()
            if not turn % 10:
                # What PyPy has compiled lets another thread run at the end of a loop alone, when the flag is clear.
                time.sleep(0.0001)
            cancellable.reset()
        assert connecting.outcome() is None
        assert calls
        assert wrong == []

    def test_the_signal_does_not_see_the_past(self, cancellable):
        """Object.connect gives a number, and the handler its arguments, at the next cancel."""
        cancellable.cancel()
        got = []
        assert Object.connect(cancellable, "cancelled", lambda *arguments: got.append(arguments), 5) > 0
        assert got == []
        cancellable.reset()
        cancellable.cancel()
        assert got == [(cancellable, 5)]

    @pytest.mark.parametrize("arguments", [("cancelled", print), (None,), (5,), ()])
    def test_wrong_arguments(self, cancellable, arguments):
        """The first argument is the callback: connect("cancelled", f) is a TypeError."""
        with pytest.raises(TypeError):
            cancellable.connect(*arguments)

    def test_disconnect(self, cancellable):
        """A handler that was removed does not run; 0 is passed over; another number is warned of, as in Gio."""
        got = []
        number = cancellable.connect(lambda: got.append(1))
        cancellable.connect(lambda: got.append(2))
        cancellable.disconnect(number)
        with pytest.warns(RuntimeWarning, match=f"no handler {number}") as warned:
            cancellable.disconnect(number)
        assert warned[0].filename == __file__
        cancellable.disconnect(0)
        cancellable.cancel()
        assert got == [2]

    def test_order(self):
        """Handlers of both ways in their order, then do_cancelled, then connect_after's."""
        got = []

        class Mine(Cancellable):
            def do_cancelled(self):
                got.append("class")

        mine = Mine()
        mine.connect_after("cancelled", lambda _: got.append("after"))
        mine.connect(lambda: got.append(1))
        Object.connect(mine, "cancelled", lambda _: got.append(2))
        mine.connect(lambda: got.append(3))
        mine.cancel()
        assert got == [1, 2, 3, "class", "after"]

    def test_everything_can_be_called_in_a_handler(self, cancellable):
        """No method hangs inside of a handler, and each sees the cancelled state (D24)."""
        got, numbers = [], []

        def handler():
            got.append(cancellable.is_cancelled())
            cancellable.cancel()
            fd = cancellable.get_fd()
            got.append(readable(fd))
            cancellable.release_fd()
            got.append(cancellable.connect(lambda: got.append("late")))
            cancellable.disconnect(numbers[0])
            cancellable.reset()
            got.append(cancellable.is_cancelled())

        numbers.append(cancellable.connect(handler))
        assert Background(cancellable.cancel).outcome() is None
        assert got == [True, True, "late", 0, False]
        assert not cancellable.handler_is_connected(numbers[0])

    def test_cancelling_again_in_a_handler(self, cancellable):
        """A handler that resets and cancels runs the handlers once more."""
        got = []

        def handler():
            got.append(1)
            if len(got) < 3:
                cancellable.reset()
                cancellable.cancel()

        cancellable.connect(handler)
        assert Background(cancellable.cancel).outcome() is None
        assert got == [1, 1, 1]
        assert cancellable.is_cancelled()

    @pytest.mark.parametrize("method", ["disconnect", "reset"])
    def test_waits_for_a_handler_in_another_thread(self, cancellable, method):
        """disconnect() and reset() return when no handler runs any more."""
        started, go_on, order = threading.Event(), threading.Event(), []

        def handler():
            started.set()
            go_on.wait(60)
            order.append("handler")

        number = cancellable.connect(handler)
        canceller = Background(cancellable.cancel)
        assert started.wait(60)
        arguments = (number,) if method == "disconnect" else ()

        def other():
            getattr(cancellable, method)(*arguments)
            order.append(method)

        waiting = Background(other)
        assert waiting.is_waiting()
        go_on.set()
        waiting.outcome()
        canceller.outcome()
        assert order == ["handler", method]

    def test_nothing_else_waits_for_a_handler(self, cancellable):
        """While a handler runs, other threads can look, connect, and have the descriptor."""
        started, go_on, got = threading.Event(), threading.Event(), []

        def handler():
            started.set()
            go_on.wait(60)

        cancellable.connect(handler)
        canceller = Background(cancellable.cancel)
        assert started.wait(60)

        def other():
            got.append(cancellable.is_cancelled())
            cancellable.cancel()
            got.append(readable(cancellable.get_fd()))
            cancellable.release_fd()
            return cancellable.connect(lambda: got.append("called"))

        assert Background(other).outcome() == 0
        go_on.set()
        canceller.outcome()
        assert got == [True, True, "called"]

    def test_a_handler_s_exception(self, cancellable, monkeypatch):
        """It is reported; the flag is set, the others run, and a later reset() does not hang."""
        found, got = [], []
        monkeypatch.setattr(sys, "excepthook", lambda kind, error, trace: found.append(kind))
        cancellable.connect(lambda: 1 / 0)
        cancellable.connect(lambda: got.append(1))
        cancellable.cancel()
        assert (found, got) == ([ZeroDivisionError], [1])
        assert Background(cancellable.reset).outcome() is None

    def test_an_exit_out_of_a_handler(self, cancellable):
        """KeyboardInterrupt comes out of cancel(), and nothing hangs after it."""

        def handler():
            raise KeyboardInterrupt

        cancellable.connect(handler)
        with pytest.raises(KeyboardInterrupt):
            cancellable.cancel()
        assert cancellable.is_cancelled()
        assert Background(cancellable.reset).outcome() is None

    def test_many_threads(self, cancellable):
        """Of many threads that cancel at once, one runs the handlers."""
        got = []
        cancellable.connect(lambda: got.append(threading.get_ident()))
        barrier = threading.Barrier(8)

        def cancel():
            barrier.wait(60)
            cancellable.cancel()

        for _ in range(20):
            got.clear()
            cancellable.reset()
            barrier.reset()
            workers = [Background(cancel) for _ in range(8)]
            assert [worker.outcome() for worker in workers] == [None] * 8
            assert len(got) == 1

    def test_connect_races_with_cancel(self):
        """A handler is called exactly once, whichever comes first."""
        for _ in range(100):
            cancellable, got = Cancellable(), []
            canceller = Background(cancellable.cancel)
            cancellable.connect(lambda got=got: got.append(1))
            canceller.outcome()
            assert got == [1]


class TestCurrent:
    def test_stack(self):
        """The latest that was pushed is the current one."""
        one, other = Cancellable(), Cancellable()
        assert Cancellable.get_current() is None
        one.push_current()
        other.push_current()
        assert Cancellable.get_current() is other
        other.pop_current()
        assert Cancellable.get_current() is one
        one.pop_current()
        assert Cancellable.get_current() is None

    def test_popping_another(self, cancellable):
        """It is refused, and changes nothing."""
        with pytest.raises(ValueError, match="current"):
            cancellable.pop_current()
        other = Cancellable()
        other.push_current()
        with pytest.raises(ValueError, match="current"):
            cancellable.pop_current()
        assert Cancellable.get_current() is other
        other.pop_current()

    def test_is_of_the_thread(self, cancellable):
        """Each thread has its own."""
        cancellable.push_current()
        assert Background(Cancellable.get_current).outcome() is None
        cancellable.pop_current()


class TestOperations:
    def test_one_serves_many(self, cancellable):
        """One cancel() ends all that were given it."""
        pairs = [unixconn.UnixConnection.create_pair() for _ in range(5)]
        waiting = [Background(one.receive_fd, cancellable) for one, _ in pairs]
        waiting += [Background(other.receive_credentials, cancellable) for _, other in pairs]
        assert waiting[-1].is_waiting()
        cancellable.cancel()
        assert all(isinstance(each.outcome(), unixconn.CancelledError) for each in waiting)
        for one, other in pairs:
            one.close()
            other.close()

    def test_leaves_others_alone(self, cancellable, pair):
        """An operation with another one waits on."""
        a, b = pair
        other = Background(a.receive_fd, Cancellable())
        mine = Background(b.receive_fd, cancellable)
        assert other.is_waiting()
        assert mine.is_waiting()
        cancellable.cancel()
        assert isinstance(mine.outcome(), unixconn.CancelledError)
        assert other.is_waiting()
        b.send_fd(0)
        os.close(other.outcome())

    def test_before_the_start(self, cancellable, pair):
        """A cancelled one ends an operation before it begins, although a message is there."""
        a, b = pair
        a.send_fd(0)
        cancellable.cancel()
        with pytest.raises(unixconn.CancelledError):
            b.receive_fd(cancellable)
        cancellable.reset()
        os.close(b.receive_fd(cancellable))

    @pytest.mark.parametrize("wrong", [5, "x", object(), True, False, 0])
    def test_wrong_type(self, pair, wrong):
        """What is no Cancellable is a TypeError, before anything else happens."""
        a, b = pair
        for call in (
            lambda: a.send_fd(0, wrong),
            lambda: b.receive_fd(wrong),
            lambda: a.send_credentials(wrong),
            lambda: b.receive_credentials(wrong),
            lambda: b.get_socket().accept(wrong),
            lambda: b.get_socket().condition_wait(IOCondition.IN, wrong),
            lambda: b.close(wrong),
        ):
            with pytest.raises(TypeError, match="cancellable"):
                call()
        assert not b.is_closed()
        assert b.get_socket().get_available_bytes() == 0


class TestSignals:
    def test_cancels_a_wait_of_its_own_thread(self, cancellable, pair, alarm_at_rest):
        """A signal handler ends the wait that it interrupts."""
        alarm_at_rest(lambda *_: cancellable.cancel())
        with pytest.raises(unixconn.CancelledError):
            pair[0].receive_fd(cancellable)

    def test_cancels_a_wait_of_another_thread(self, cancellable, pair, alarm_at_rest):
        """It does so too where only a thread waits, and the main thread does something else."""
        waiting = Background(pair[0].receive_fd, cancellable)
        come_to_rest(waiting)
        alarm_at_rest(lambda *_: cancellable.cancel())
        assert isinstance(waiting.outcome(), unixconn.CancelledError)

    @pytest.mark.parametrize("own", [False, True], ids=["nobody has it", "the user has it"])
    def test_may_use_the_descriptor_at_any_moment(self, own):
        """A handler that cancels, resets and has the descriptor, while the main thread does, harms neither."""
        cancellable = Cancellable()
        held = [cancellable.get_fd()] if own else []

        def use():
            fd = cancellable.get_fd()
            cancellable.cancel()
            assert is_open(fd)
            cancellable.reset()
            cancellable.release_fd()

        def handle():
            cancellable.cancel()
            assert is_open(cancellable.get_fd())
            cancellable.release_fd()
            cancellable.reset()

        def whole():
            before = open_descriptors()
            for _ in held:
                cancellable.release_fd()
            return len(before) - len(open_descriptors()) == len(held)

        code = outcome_of_child(lambda: under_a_storm(use, handle) and whole())
        for _ in held:
            cancellable.release_fd()
        assert code == 0

    def test_may_connect_at_any_moment(self):
        """A handler that connects and disconnects, while the main thread does, neither hangs nor loses anything."""
        cancellable = Cancellable()
        stays = cancellable.connect(lambda: None)
        added = []

        def use():
            cancellable.disconnect(cancellable.connect(lambda: None))

        def handle():
            added.append(cancellable.connect(lambda: None))

        def whole():
            return all(map(cancellable.handler_is_connected, [stays, *added]))

        assert outcome_of_child(lambda: under_a_storm(use, handle) and whole()) == 0

    @pytest.mark.breaks_off
    @pytest.mark.skipif(
        not RETURN_IS_ATOMIC, reason="an exception can come between the end of a with block and its exit"
    )
    def test_an_exception_out_of_one(self):
        """An exception in the middle of any method leaves the object usable."""

        class StopError(Exception):
            pass

        def handler(*_):
            raise StopError

        # A function of its own: CPython's loops have a jump that their own `try` does not cover.
        def use(cancellable):
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00001, 0.001))
            while True:
                cancellable.get_fd()
                cancellable.cancel()
                cancellable.reset()
                cancellable.release_fd()

        def child():
            # What a handler raises in a weak reference's callback, which a collection calls, is swallowed.
            gc.disable()
            signal.signal(signal.SIGALRM, handler)
            for _ in range(200):
                cancellable = Cancellable()
                with contextlib.suppress(StopError):
                    use(cancellable)
                # Else it would wait for handlers that will never end.
                if isinstance(Background(cancellable.reset).outcome(), BaseException):
                    return False
                cancellable.cancel()
                if not cancellable.is_cancelled() or not readable(cancellable.get_fd()):
                    return False
            return True

        assert outcome_of_child(child) == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
class TestFork:
    def test_the_flag_is_the_process_s_own(self, cancellable):
        """A child that cancels does not cancel the parent's."""
        cancellable.get_fd()

        def child():
            cancellable.cancel()
            return cancellable.is_cancelled()

        assert outcome_of_child(child) == 0
        assert cancellable.is_cancelled() is False
        cancellable.release_fd()

    def test_a_wait_outlives_the_child_s_cancel(self, cancellable, pair):
        """The wait of the parent, whose descriptor the child shares, goes on and can be cancelled."""
        waiting = Background(pair[0].receive_fd, cancellable)
        assert waiting.is_waiting()
        assert outcome_of_child(lambda: cancellable.cancel() or True) == 0
        assert waiting.is_waiting()
        pair[1].send_fd(0)
        os.close(waiting.outcome())

    def test_works_in_the_child(self, cancellable):
        """A child can use what it has inherited, the lock included."""
        fd = cancellable.get_fd()

        def child():
            cancellable.cancel()
            works = readable(fd)
            cancellable.reset()
            cancellable.release_fd()
            return works and not is_open(fd)

        assert outcome_of_child(child) == 0
        cancellable.release_fd()

    def test_forked_while_a_handler_runs(self, cancellable):
        """A child does not wait for a handler that runs in a thread of the parent only."""
        started, go_on = threading.Event(), threading.Event()

        def handler():
            started.set()
            go_on.wait(60)

        cancellable.connect(handler)
        canceller = Background(cancellable.cancel)
        assert started.wait(60)

        def child():
            cancellable.reset()
            return not cancellable.is_cancelled()

        code = outcome_of_child(child)
        go_on.set()
        canceller.outcome()
        assert code == 0

    def test_forked_while_another_thread_is_inside(self, cancellable):
        """A child does not find the lock taken by a thread that it does not have."""
        stop = threading.Event()

        def use():
            while not stop.is_set():
                cancellable.get_fd()
                cancellable.release_fd()

        workers = [Background(use) for _ in range(2)]

        def child():
            cancellable.cancel()
            cancellable.reset()
            return True

        codes = []
        while len(codes) < 40 and not any(codes):
            codes.append(outcome_of_child(child))
        stop.set()
        for worker in workers:
            worker.outcome()
        assert codes == [0] * 40
