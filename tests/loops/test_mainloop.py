"""MainLoop, and GLib's functions of the default context: idle_add, timeout_add and their like."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from helpers import Background, settle, signal_at_rest
from loops.sources import attach, drain, spin

import unixconn
from unixconn import (
    PRIORITY_DEFAULT,
    PRIORITY_DEFAULT_IDLE,
    PRIORITY_HIGH,
    PRIORITY_HIGH_IDLE,
    PRIORITY_LOW,
    SOURCE_CONTINUE,
    SOURCE_REMOVE,
    Cancellable,
    MainContext,
    MainLoop,
    Source,
    idle_add,
    source_remove,
    timeout_add,
    timeout_add_seconds,
)

pytestmark = pytest.mark.usefixtures("default")


@pytest.fixture
def rescued():
    """Starts a thread that calls something, if the test hangs, and says so; it should not have been needed."""
    calls = []
    timers = []

    def start(call):
        timers.append(threading.Timer(30, lambda: (calls.append("it slept on"), call())))
        timers[0].start()

    yield start
    for each in timers:
        each.cancel()
        each.join()
    assert not calls


class TestMainLoop:
    def test_attributes(self, context, default):
        """Both ways of making one; None is the default context."""
        for make in (MainLoop, MainLoop.new):
            assert make().get_context() is default
            assert make(None).get_context() is default
            assert make(context).get_context() is context
            assert make(context=context).is_running() is False
            assert make(context, True).is_running() is True
        with pytest.raises(TypeError, match="'nonsense'"):
            MainLoop("nonsense")

    def test_run(self):
        """It runs until somebody quits it, and can run again."""
        loop = MainLoop()
        seen = []
        for _ in range(2):
            idle_add(lambda: (seen.append(loop.is_running()), loop.quit())[1])
            assert loop.run() is None
            assert loop.is_running() is False
        assert seen == [True, True]

    def test_quit_from_another_thread(self, context):
        """It wakes a loop that sleeps."""
        loop = MainLoop(context)
        running = Background(loop.run)
        assert running.is_waiting()
        assert settle(loop.is_running)
        loop.quit()
        assert running.outcome() is None
        assert not loop.is_running()

    def test_quit_before_run(self, context):
        """It is forgotten."""
        loop = MainLoop(context)
        loop.quit()
        running = Background(loop.run)
        assert running.is_waiting()
        loop.quit()
        running.outcome()

    def test_nested(self):
        """Each quits its own; the outer one goes on after the inner one."""
        outer, inner = MainLoop(), MainLoop()
        seen = []

        def start():
            idle_add(stop)
            seen.append("start")
            inner.run()
            seen.append(("inner ended", outer.is_running(), inner.is_running()))
            idle_add(outer.quit)

        def stop():
            seen.append((outer.is_running(), inner.is_running()))
            inner.quit()

        idle_add(start)
        outer.run()
        assert seen == ["start", (True, True), ("inner ended", True, False)]

    def test_outer_quits_first(self):
        """An outer loop that was quit inside of the inner one ends after that."""
        outer, inner = MainLoop(), MainLoop()
        seen = []

        def start():
            idle_add(quit_outer)
            inner.run()
            seen.append(outer.is_running())

        def quit_outer():
            outer.quit()
            timeout_add(20, inner.quit)

        idle_add(start)
        outer.run()
        assert seen == [False]

    def test_loops_in_threads(self):
        """Each thread has its own context, and its operations are told there."""
        found = []

        def work():
            context = MainContext.new()
            context.push_thread_default()
            loop = MainLoop(context)
            a, b = unixconn.UnixConnection.create_pair()
            with a, b:

                def note(source, result):
                    source.receive_credentials_finish(result)
                    found.append(threading.current_thread())
                    loop.quit()

                b.receive_credentials_async(None, note)
                a.send_credentials()
                loop.run()
            context.pop_thread_default()

        threads = [Background(work) for _ in range(4)]
        for each in threads:
            assert each.outcome() is None
        assert set(found) == set(threads)

    def test_exception_in_a_callback(self, reports):
        """The loop goes on."""
        loop = MainLoop()
        idle_add(lambda: 1 / 0)
        idle_add(loop.quit, priority=PRIORITY_LOW)
        loop.run()
        assert [type(each) for each in reports] == [ZeroDivisionError]

    @pytest.mark.parametrize("sockets", [True, False])
    def test_sigint(self, pair, sockets, rescued):
        """Ctrl-C comes out as KeyboardInterrupt, and the loop does not run any more; it can run again."""
        loop = MainLoop()
        cancellable = Cancellable()
        ended = []
        if sockets:
            pair[0].receive_fd_async(cancellable, lambda *_: ended.append(1))
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        rescued(loop.quit)
        try:
            with pytest.raises(KeyboardInterrupt):
                killer = signal_at_rest(signal.SIGINT)
                loop.run()
        finally:
            killer.join()
            signal.signal(signal.SIGINT, before)
        assert loop.is_running() is False
        cancellable.cancel()
        idle_add(loop.quit)
        loop.run()
        assert ended == [1] * sockets

    @pytest.mark.parametrize("sockets", [True, False])
    def test_signal_handler_quits(self, pair, alarm_at_rest, rescued, sockets):
        """A loop that sleeps ends when a signal handler of Python's quits it."""
        loop = MainLoop()
        if sockets:
            pair[0].receive_fd_async(None, lambda *_: None)
        rescued(loop.quit)
        alarm_at_rest(lambda *_: loop.quit())
        loop.run()
        pair[0].close()
        drain()

    def test_signal_handler_adds(self, alarm_at_rest, rescued):
        """A loop that sleeps calls what a signal handler adds."""
        loop = MainLoop()
        rescued(loop.quit)
        alarm_at_rest(lambda *_: idle_add(loop.quit))
        loop.run()
        drain()

    def test_signal_handler_cancels(self, pair, alarm_at_rest, rescued):
        """A loop that sleeps tells the end of what a signal handler has cancelled."""
        loop = MainLoop()
        cancellable = Cancellable()
        ended = []
        pair[0].receive_fd_async(cancellable, lambda _, result: (ended.append(result.had_error()), loop.quit()))
        rescued(loop.quit)
        alarm_at_rest(lambda *_: cancellable.cancel())
        loop.run()
        drain()
        assert ended == [True]

    def test_signal_handler_of_another_s(self, on_alarm):
        """A handler that does nothing does not end it."""
        loop = MainLoop()
        calls = []
        on_alarm(lambda *_: calls.append("signal"), 0.02)
        timeout_add(100, lambda: (calls.append("timeout"), loop.quit())[1])
        loop.run()
        assert calls == ["signal", "timeout"]


class TestFunctions:
    def test_idle_with_data(self):
        """It gets the data, and is called until it returns a false value."""
        calls = []

        def three(*data):
            calls.append(data)
            return len(calls) < 3

        number = idle_add(three, 1, "two")
        assert number > 0
        assert drain() == 3
        assert calls == [(1, "two")] * 3

    def test_constants(self):
        """What a function may return, and GLib's priorities."""
        assert (SOURCE_CONTINUE, SOURCE_REMOVE) == (True, False)
        assert [PRIORITY_HIGH, PRIORITY_DEFAULT, PRIORITY_HIGH_IDLE, PRIORITY_DEFAULT_IDLE, PRIORITY_LOW] == [
            -100,
            0,
            100,
            200,
            300,
        ]

    def test_priorities(self):
        """Whatever the order in which they were added; an idle function's is below a result's."""
        calls = []
        for priority in (PRIORITY_LOW, PRIORITY_HIGH, PRIORITY_DEFAULT, PRIORITY_HIGH_IDLE, -7):
            idle_add(calls.append, priority, priority=priority)
        idle_add(calls.append, "idle")
        timeout_add(0, calls.append, "timeout", priority=-1)
        drain()
        assert calls == [PRIORITY_HIGH, -7, "timeout", PRIORITY_DEFAULT, PRIORITY_HIGH_IDLE, "idle", PRIORITY_LOW]

    def test_starving(self):
        """One of a higher priority that is always ready keeps the others waiting."""
        calls = []

        def busy():
            calls.append("busy")
            return len(calls) < 5

        idle_add(calls.append, "idle")
        idle_add(busy, priority=PRIORITY_HIGH)
        drain()
        assert calls == ["busy"] * 5 + ["idle"]

    def test_timeout_repeats(self):
        """Until it returns a false value; the order of several is that of their times."""
        calls = []

        def again(what):
            calls.append(what)
            return calls.count(what) < 3

        never = timeout_add(100_000, again, "never")
        timeout_add(10, again, "short")
        spin(lambda: len(calls) == 3)
        timeout_add(40, again, "long")
        spin(lambda: len(calls) == 6)
        assert calls == ["short"] * 3 + ["long"] * 3
        source_remove(never)

    def test_timeout_is_not_early(self):
        """It is called after its time."""
        times = []
        start = time.monotonic()
        timeout_add(50, lambda: times.append(time.monotonic()))
        spin(lambda: times)
        assert times[0] - start >= 0.05

    def test_timeout_of_no_time(self, default):
        """It is ready at once."""
        calls = []
        timeout_add(0, calls.append, 1)
        assert default.iteration(False) is True
        assert calls == [1]

    def test_timeout_in_seconds(self):
        """The unit is another, and a fraction is lost, as in PyGObject."""
        calls = []
        timeout_add_seconds(0.9, calls.append, "none")
        number = timeout_add_seconds(1000, calls.append, "never")
        assert drain() == 1
        timeout_add_seconds(1, calls.append, "one")
        spin(lambda: len(calls) == 2)
        assert calls == ["none", "one"]
        assert source_remove(number) is True

    def test_timeout_wakes_one_that_sleeps_longer(self, default):
        """A thread that waits for a later one takes an earlier one into account."""
        calls = []
        number = timeout_add(100_000, calls.append, "never")
        waiting = Background(default.iteration)
        assert waiting.is_waiting()
        timeout_add(10, calls.append, "soon")
        assert waiting.outcome() is True
        assert calls == ["soon"]
        source_remove(number)

    @pytest.mark.parametrize("remove", [source_remove, unixconn.Source.remove])
    def test_remove(self, remove):
        """What was removed is not called."""
        calls = []
        numbers = [idle_add(calls.append, 1), timeout_add(0, calls.append, 2), timeout_add_seconds(0, calls.append, 3)]
        assert len(set(numbers)) == 3
        assert [remove(each) for each in numbers] == [True, True, True]
        assert drain() == 0
        assert calls == []

    def test_remove_inside(self):
        """A function may remove itself, whatever it returns, and one that is ready beside it."""
        calls, numbers = [], []

        def first():
            calls.append("first")
            assert [source_remove(each) for each in numbers] == [True, True]
            return True

        numbers.append(idle_add(first))
        numbers.append(idle_add(calls.append, "second"))
        assert drain() == 1
        assert calls == ["first"]

    @pytest.mark.parametrize("number", [0, 123456789])
    def test_remove_unknown(self, number):
        """It is False, with a warning that names the number."""
        with pytest.warns(RuntimeWarning, match=str(number)):
            assert source_remove(number) is False

    def test_remove_twice(self):
        """What was removed, or has ended, is unknown."""
        number, ended = idle_add(print), idle_add(bool)
        source_remove(number)
        drain()
        for each in (number, ended):
            with pytest.warns(RuntimeWarning, match=str(each)):
                assert source_remove(each) is False

    def test_remove_of_another_context(self, context):
        """Only the default context's are found."""
        source = attach(print, context=context)
        with pytest.warns(RuntimeWarning):
            assert source_remove(source.get_id()) is False
        source.destroy()

    def test_added_from_threads(self):
        """The default context calls them, in the thread that iterates it."""
        calls = []
        assert Background(idle_add, lambda: calls.append(threading.get_ident())).outcome() > 0
        assert Background(timeout_add, 1, lambda: calls.append(threading.get_ident())).outcome() > 0
        spin(lambda: len(calls) == 2)
        assert calls == [threading.get_ident()] * 2

    def test_pushed_context_does_not_matter(self, context):
        """They belong to the default one, as in GLib."""
        calls = []
        context.push_thread_default()
        idle_add(calls.append, 1)
        context.pop_thread_default()
        assert drain(context) == 0
        assert drain() == 1
        assert calls == [1]

    @pytest.mark.parametrize("function", [None, 5, "x"])
    def test_what_can_not_be_called(self, function):
        """It is a TypeError, which names it, and nothing is added."""
        for call in (
            lambda: idle_add(function),
            lambda: timeout_add(1, function),
            lambda: timeout_add_seconds(1, function),
            lambda: Source().set_callback(function),
        ):
            with pytest.raises(TypeError, match=repr(function)):
                call()

    @pytest.mark.parametrize("value", ["x", None, []])
    def test_wrong_types(self, value):
        """They are TypeErrors, which name the value."""
        for call in (
            lambda: timeout_add(value, print),
            lambda: timeout_add_seconds(value, print),
            lambda: idle_add(print, priority=value),
            lambda: timeout_add(1, print, priority=value),
            lambda: source_remove(value),
            lambda: Source().set_priority(value),
        ):
            with pytest.raises(TypeError) as caught:
                call()
            assert repr(value) in str(caught.value)

    @pytest.mark.parametrize("value", [-1, 2**32])
    def test_out_of_range(self, value):
        """It is an OverflowError, which names the value."""
        for call in (
            lambda: timeout_add(value, print),
            lambda: timeout_add_seconds(value, print),
            lambda: source_remove(value),
            lambda: idle_add(print, priority=value * 2**32),
        ):
            with pytest.raises(OverflowError, match=r"not -?\d+$"):
                call()

    def test_many_timeouts(self):
        """Thousands that are removed, or were never due, cost nothing in the end."""
        calls = []
        numbers = [timeout_add(100_000, calls.append, "never") for _ in range(3000)]
        timeout_add(5, calls.append, "soon")
        for each in numbers:
            source_remove(each)
        spin(lambda: calls)
        assert calls == ["soon"]
