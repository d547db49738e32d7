"""MainContext, MainLoop, and what they call: idle and timeout functions, sources of Cancellables."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time

import pytest
from helpers import Background, open_descriptors, settle

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


@pytest.fixture(autouse=True)
def default():
    """The default context, which every test leaves without anything to call."""
    context = MainContext.default()
    drain()
    yield context
    left = drain()
    assert (left, dict(context._sources)) == (0, {})


@pytest.fixture
def context():
    """A context of one's own."""
    return MainContext.new()


@pytest.fixture
def rescued():
    """Starts a thread that calls something, if the test hangs, and says so; it should not have been needed."""
    calls = []
    timers = []

    def start(call):
        timers.append(threading.Timer(3, lambda: (calls.append("it slept on"), call())))
        timers[0].start()

    yield start
    for each in timers:
        each.cancel()
        each.join()
    assert not calls


def attach(function, *data, context=None, priority=PRIORITY_DEFAULT):
    """Have *function* called in *context* until it returns a false value."""
    source = Source()
    source.set_callback(function, *data)
    source.set_priority(priority)
    source.attach(context)
    return source


def spin(condition, context=None):
    """Iterate until *condition* holds."""
    context = context or MainContext.default()
    while not condition():
        context.iteration(True)


def drain(context=None):
    """Iterate while there is anything ready; give how often."""
    context = context or MainContext.default()
    count = 0
    while context.iteration(False):
        count += 1
    return count


class TestWhichContext:
    def test_default(self, default):
        """There is one, which is no thread's own."""
        assert MainContext.default() is default
        assert MainContext.new() is not default
        assert MainContext.get_thread_default() is None
        assert MainContext.ref_thread_default() is default

    def test_stack(self, context, default):
        """What was pushed last counts, until it is popped."""
        other = MainContext()
        context.push_thread_default()
        assert MainContext.get_thread_default() is context
        assert MainContext.ref_thread_default() is context
        other.push_thread_default()
        context.push_thread_default()
        context.pop_thread_default()
        assert MainContext.get_thread_default() is other
        default.push_thread_default()
        assert MainContext.get_thread_default() is None
        assert MainContext.ref_thread_default() is default
        default.pop_thread_default()
        other.pop_thread_default()
        assert MainContext.get_thread_default() is context
        context.pop_thread_default()
        assert MainContext.get_thread_default() is None

    def test_pop_of_another(self, context):
        """It is refused, and changes nothing."""
        with pytest.raises(ValueError, match="MainContext"):
            context.pop_thread_default()
        context.push_thread_default()
        with pytest.raises(ValueError, match="MainContext"):
            MainContext.new().pop_thread_default()
        assert MainContext.get_thread_default() is context
        context.pop_thread_default()

    def test_is_a_thread_s_own(self, context, default):
        """Another thread does not see it."""
        context.push_thread_default()
        try:
            assert Background(MainContext.get_thread_default).outcome() is None
            assert Background(MainContext.ref_thread_default).outcome() is default
        finally:
            context.pop_thread_default()

    def test_pushed_during_a_callback(self, context, pair):
        """A result's callback sees its context as the thread's."""
        found = []
        context.push_thread_default()
        pair[0].send_credentials_async(None, lambda *_: found.append(MainContext.get_thread_default()))
        context.pop_thread_default()
        spin(lambda: found, context)
        assert found == [context]
        assert MainContext.get_thread_default() is None


class TestIteration:
    def test_nothing_to_do(self, context):
        """It tells so, and does not wait."""
        assert context.pending() is False
        assert context.iteration(False) is False

    def test_once(self, context):
        """What is ready is called, and it tells that there was something."""
        calls = []
        attach(calls.append, 1, context=context)
        assert context.pending() is True
        assert calls == []
        assert context.iteration(False) is True
        assert calls == [1]
        assert context.pending() is False
        assert context.iteration(False) is False

    def test_waits(self, context):
        """Until another thread brings something."""
        calls = []
        waiting = Background(context.iteration)
        assert waiting.is_waiting()
        attach(calls.append, 1, context=context)
        assert waiting.outcome() is True
        assert calls == [1]

    def test_wakeup(self, context):
        """It ends a wait, and has the next one return at once, and only that."""
        waiting = Background(context.iteration, True)
        assert waiting.is_waiting()
        context.wakeup()
        assert waiting.outcome() is False
        context.wakeup()
        context.wakeup()
        assert context.iteration(True) is False
        waiting = Background(context.iteration, True)
        assert waiting.is_waiting()
        context.wakeup()
        assert waiting.outcome() is False

    def test_one_thread_at_a_time(self, context):
        """While another one iterates, who may not wait gets False; who may, waits for his turn."""
        inside, go_on = threading.Event(), threading.Event()
        calls = []

        def block():
            inside.set()
            go_on.wait(10)

        attach(block, context=context)
        first = Background(context.iteration)
        assert inside.wait(5)
        attach(calls.append, 1, context=context)
        assert context.iteration(False) is False
        assert context.pending() is False
        second = Background(context.iteration)
        assert second.is_waiting()
        assert calls == []
        go_on.set()
        assert first.outcome() is True
        assert second.outcome() is True
        assert calls == [1]

    def test_contexts_are_apart(self, context, default):
        """Each calls its own."""
        calls = []
        attach(calls.append, "own", context=context)
        idle_add(calls.append, "default")
        assert context.iteration(False) is True
        assert calls == ["own"]
        assert default.iteration(False) is True
        assert calls == ["own", "default"]

    def test_all_of_one_priority(self, context):
        """One iteration calls all that is ready and of the highest priority, in the order of their coming."""
        calls = []
        for index in range(3):
            attach(calls.append, ("low", index), context=context, priority=5)
            attach(calls.append, ("high", index), context=context, priority=-5)
        assert context.iteration(False) is True
        assert calls == [("high", 0), ("high", 1), ("high", 2)]
        assert context.iteration(False) is True
        assert calls[3:] == [("low", 0), ("low", 1), ("low", 2)]
        assert context.iteration(False) is False

    def test_what_becomes_ready_meanwhile(self, context):
        """It waits for the next iteration, and so does a repetition."""
        calls = []

        def again():
            calls.append("again")
            attach(calls.append, "new", context=context, priority=-50)
            return calls.count("again") < 2

        attach(again, context=context)
        assert context.iteration(False) is True
        assert calls == ["again"]
        assert context.iteration(False) is True
        assert calls == ["again", "new"]
        assert context.iteration(False) is True
        assert calls == ["again", "new", "again"]
        assert drain(context) == 1

    def test_nested(self, context):
        """A callback may iterate; the one that runs is not called inside of itself."""
        calls = []

        def outer():
            calls.append("outer")
            while context.iteration(False):
                pass
            calls.append("end")
            return len(calls) < 5

        attach(outer, context=context)
        attach(calls.append, "inner", context=context)
        drain(context)
        assert calls == ["outer", "inner", "end", "outer", "end"]

    def test_many_threads_post(self, context):
        """Nothing is lost, and each thread's order is kept."""
        calls = []

        def post(thread):
            for index in range(300):
                context.invoke(lambda index=index: calls.append((thread, index)))

        threads = [Background(post, each) for each in range(4)]
        spin(lambda: len(calls) == 1200, context)
        for each in threads:
            each.outcome()
        for thread in range(4):
            assert [index for each, index in calls if each == thread] == list(range(300))

    def test_many_threads_iterate(self, context):
        """Each thing is called once, by some one of them."""
        calls, stop = [], threading.Event()

        def iterate():
            while not stop.is_set():
                context.iteration(True)

        threads = [Background(iterate) for _ in range(3)]
        for index in range(500):
            attach(calls.append, index, context=context)
        assert settle(lambda: len(calls) == 500)
        stop.set()
        for each in threads:
            while each.is_alive():
                context.wakeup()
                each.join(0.01)
            each.outcome()
        assert sorted(calls) == list(range(500))

    def test_exception_in_a_callback(self, context, reports):
        """It goes to sys.excepthook; the others are called, and it is not called again."""
        calls = []

        def fail():
            calls.append("fail")
            raise ValueError("mine")

        attach(fail, context=context)
        attach(calls.append, "next", context=context)
        assert context.iteration(False) is True
        assert context.iteration(False) is False
        assert calls == ["fail", "next"]
        assert [str(each) for each in reports] == ["mine"]

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_what_comes_out(self, context, kind):
        """KeyboardInterrupt and SystemExit come out; what was ready beside it is not lost."""
        calls = []

        def fail():
            raise kind

        attach(fail, context=context)
        attach(calls.append, "next", context=context)
        with pytest.raises(kind):
            context.iteration(False)
        drain(context)
        assert calls == ["next"]

    def test_needs_no_descriptors(self, context, pair):
        """An idle context has none; one that waits for sockets gives them back."""
        before = open_descriptors()
        waiting = Background(context.iteration)
        assert waiting.is_waiting()
        assert open_descriptors() == before
        context.wakeup()
        waiting.outcome()
        a, b = pair
        calls = []
        context.push_thread_default()
        b.receive_credentials_async(None, lambda *_: calls.append(1))
        context.pop_thread_default()
        timer = threading.Timer(0.05, a.send_credentials)
        timer.start()
        spin(lambda: calls, context)
        timer.join()
        assert open_descriptors() == before

    def test_wakeup_while_it_waits_for_sockets(self, context, pair):
        """Sources and wakeups reach it there, too."""
        calls = []
        cancellable = Cancellable()
        context.push_thread_default()
        pair[0].receive_fd_async(cancellable, lambda *_: calls.append("ended"))
        context.pop_thread_default()
        waiting = Background(context.iteration)
        assert waiting.is_waiting()
        context.wakeup()
        assert waiting.outcome() is False
        waiting = Background(context.iteration)
        assert waiting.is_waiting()
        attach(calls.append, "source", context=context)
        assert waiting.outcome() is True
        assert calls == ["source"]
        waiting = Background(context.iteration)
        assert waiting.is_waiting()
        cancellable.cancel()
        assert waiting.outcome() is True
        assert calls == ["source", "ended"]

    def test_timeouts_while_it_waits_for_sockets(self, context, pair):
        """The socket's own timeout, and a function's."""
        calls = []
        pair[0].get_socket().set_timeout(1)
        context.push_thread_default()
        pair[0].receive_fd_async(None, lambda _, result: calls.append(result))
        context.pop_thread_default()
        spin(lambda: calls, context)
        with pytest.raises(unixconn.TimedOutError):
            pair[0].receive_fd_finish(calls[0])


class TestInvoke:
    def test_elsewhere(self, context):
        """What another thread iterates calls it there, in the order of the calls."""
        calls = []
        stop = threading.Event()

        def iterate():
            while not stop.is_set():
                context.iteration(True)

        thread = Background(iterate)
        assert thread.is_waiting()
        context.invoke(lambda *data: calls.append((data, threading.current_thread())), 1, 2)
        context.invoke_full(PRIORITY_LOW, lambda: calls.append("full"))
        assert settle(lambda: len(calls) == 2)
        assert calls == [((1, 2), thread), "full"]
        stop.set()
        context.wakeup()
        thread.outcome()

    def test_not_before_it_is_iterated(self, context):
        """A context that nobody iterates, and that is not this thread's, calls later."""
        calls = []
        context.invoke(calls.append, 1)
        assert calls == []
        drain(context)
        assert calls == [1]

    def test_at_once(self, context, default):
        """Where this thread has pushed it, or it is the default one and free."""
        calls = []
        default.invoke(calls.append, "default")
        context.push_thread_default()
        context.invoke(calls.append, "own")
        context.invoke_full(PRIORITY_HIGH, calls.append, "full")
        context.pop_thread_default()
        assert calls == ["default", "own", "full"]

    def test_inside_of_a_callback(self, context):
        """In the thread that iterates a context it is called at once."""
        calls = []

        def outer():
            context.invoke(calls.append, "inner")
            calls.append("outer")

        attach(outer, context=context)
        drain(context)
        assert calls == ["inner", "outer"]

    def test_again(self, default):
        """Until it returns a false value."""
        calls = []

        def three():
            calls.append(1)
            return len(calls) < 3

        default.invoke(three)
        assert calls == [1, 1, 1]

    def test_wrong_arguments(self, context):
        """They raise TypeError or OverflowError, which names the value."""
        with pytest.raises(TypeError, match="None"):
            context.invoke(None)
        with pytest.raises(TypeError, match="'high'"):
            context.invoke_full("high", print)
        with pytest.raises(OverflowError, match=str(2**31)):
            context.invoke_full(2**31, print)
        assert not context.pending()


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
        assert loop.is_running()
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
            idle_add(outer.quit)
            timeout_add(20, inner.quit)
            inner.run()
            seen.append(outer.is_running())

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
        killer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        killer.start()
        try:
            with pytest.raises(KeyboardInterrupt):
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
    def test_signal_handler_quits(self, pair, on_alarm, rescued, sockets):
        """A loop that sleeps ends when a signal handler of Python's quits it."""
        loop = MainLoop()
        if sockets:
            pair[0].receive_fd_async(None, lambda *_: None)
        rescued(loop.quit)
        on_alarm(lambda *_: loop.quit(), 0.1)
        loop.run()
        pair[0].close()
        drain()

    def test_signal_handler_adds(self, on_alarm, rescued):
        """A loop that sleeps calls what a signal handler adds."""
        loop = MainLoop()
        rescued(loop.quit)
        on_alarm(lambda *_: idle_add(loop.quit), 0.1)
        loop.run()
        drain()

    def test_signal_handler_cancels(self, pair, on_alarm, rescued):
        """A loop that sleeps tells the end of what a signal handler has cancelled."""
        loop = MainLoop()
        cancellable = Cancellable()
        ended = []
        pair[0].receive_fd_async(cancellable, lambda _, result: (ended.append(result.had_error()), loop.quit()))
        rescued(loop.quit)
        on_alarm(lambda *_: cancellable.cancel(), 0.1)
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

        timeout_add(10, again, "short")
        timeout_add(120, again, "long")
        spin(lambda: len(calls) == 6)
        assert calls == ["short"] * 3 + ["long"] * 3

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
        timeout_add_seconds(1, calls.append, "one")
        assert drain() == 1
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

    def test_remove(self):
        """What was removed is not called."""
        calls = []
        numbers = [idle_add(calls.append, 1), timeout_add(0, calls.append, 2), timeout_add_seconds(0, calls.append, 3)]
        assert len(set(numbers)) == 3
        assert [source_remove(each) for each in numbers] == [True, True, True]
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


class TestSource:
    def test_attach(self, context, default):
        """It has a number and a context then, until it is destroyed."""
        source = Source()
        assert (source.get_id(), source.get_context(), source.is_destroyed()) == (0, None, False)
        assert source.get_priority() == PRIORITY_DEFAULT
        source.set_callback(print)
        assert source.attach(context) == source.get_id() > 0
        assert source.get_context() is context
        source.destroy()
        assert (source.get_context(), source.is_destroyed()) == (None, True)
        source.destroy()
        other = Source()
        other.attach(None)
        assert other.get_context() is default
        other.destroy()
        assert drain(context) == 0

    def test_attach_twice(self, context):
        """It is refused, also after it was destroyed."""
        source = attach(print, context=context)
        with pytest.raises(ValueError, match="attached"):
            source.attach(context)
        source.destroy()
        with pytest.raises(ValueError, match="destroyed"):
            source.attach(context)
        fresh = Source()
        fresh.destroy()
        with pytest.raises(ValueError, match="destroyed"):
            fresh.attach(context)
        with pytest.raises(TypeError, match="'nonsense'"):
            Source().attach("nonsense")

    def test_destroyed_inside(self, context):
        """One that destroys itself is not called again."""
        calls = []
        source = attach(lambda: (calls.append(1), source.destroy(), True)[2], context=context)
        drain(context)
        assert calls == [1]
        assert source.is_destroyed()

    def test_goes_when_it_has_ended(self, context):
        """The context keeps it as long as it is called, and no longer."""
        collected = []

        class Data:
            def __del__(self):
                collected.append(1)

            def __call__(self):
                return False

        attach(Data(), context=context)
        gc.collect()
        assert collected == []
        drain(context)
        gc.collect()
        assert collected == [1]


class TestCancellableSource:
    @pytest.fixture
    def cancellable(self):
        """A Cancellable, not cancelled."""
        return Cancellable()

    @pytest.fixture
    def calls(self):
        """The numbers of arguments of each call."""
        return []

    def attached(self, cancellable, calls, context, *, again=False):
        """A source of *cancellable* that notes its calls."""
        source = cancellable.source_new()
        source.set_callback(lambda *given: (calls.append(len(given)), again)[1])
        source.attach(context)
        return source

    def test_fires_once(self, cancellable, calls, context):
        """After the cancel, in the context, and not inside of cancel()."""
        source = self.attached(cancellable, calls, context)
        assert isinstance(source, Source)
        assert context.iteration(False) is False
        cancellable.cancel()
        assert calls == []
        assert context.pending()
        assert drain(context) == 1
        assert len(calls) == 1
        assert source.is_destroyed()

    def test_fires_at_each_cancel(self, cancellable, calls, context):
        """If it returns True: once for each."""
        source = self.attached(cancellable, calls, context, again=True)
        for count in (1, 2, 3):
            cancellable.cancel()
            cancellable.cancel()
            assert drain(context) == 1
            assert len(calls) == count
            cancellable.reset()
            assert drain(context) == 0
        source.destroy()
        cancellable.cancel()
        assert drain(context) == 0

    def test_is_cancelled_already(self, cancellable, calls, context):
        """It fires."""
        cancellable.cancel()
        self.attached(cancellable, calls, context)
        assert drain(context) == 1
        assert len(calls) == 1

    def test_wakes_another_thread(self, cancellable, calls, context):
        """The thread that iterates is woken."""
        self.attached(cancellable, calls, context)
        waiting = Background(context.iteration)
        assert waiting.is_waiting()
        cancellable.cancel()
        assert waiting.outcome() is True
        assert len(calls) == 1

    def test_destroyed(self, cancellable, calls, context):
        """It does not fire, and the Cancellable does not keep it."""
        source = self.attached(cancellable, calls, context)
        source.destroy()
        cancellable.cancel()
        assert drain(context) == 0
        assert calls == []
        assert not cancellable._watchers

    def test_destroyed_when_it_is_ready(self, cancellable, calls, context):
        """It does not fire any more."""
        source = self.attached(cancellable, calls, context)
        cancellable.cancel()
        source.destroy()
        assert drain(context) == 0
        assert calls == []

    def test_attributes(self, cancellable, calls, context):
        """As of any Source; its priority orders it among others."""
        source = cancellable.source_new()
        source.set_priority(PRIORITY_LOW)
        assert source.get_priority() == PRIORITY_LOW
        assert source.get_context() is None
        source.set_callback(lambda *_: calls.append("source"))
        source.attach(context)
        assert source.get_context() is context
        cancellable.cancel()
        attach(calls.append, "other", context=context)
        drain(context)
        assert calls == ["other", "source"]
        with pytest.raises(ValueError, match="attached"):
            source.attach(context)

    def test_never_attached(self, cancellable):
        """It is nothing that anybody waits for."""
        source = cancellable.source_new()
        cancellable.cancel()
        assert source.get_id() == 0
        source.destroy()

    def test_several(self, cancellable, calls, context):
        """All of one Cancellable fire."""
        for _ in range(5):
            self.attached(cancellable, calls, context)
        cancellable.cancel()
        drain(context)
        assert len(calls) == 5
