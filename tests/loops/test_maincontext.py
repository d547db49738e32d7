"""MainContext and its sources."""

from __future__ import annotations

import gc
import threading
import time

import pytest
from helpers import Background, open_descriptors, settle
from loops.sources import attach, drain, spin
from ways import pushed

import unixconn
from unixconn import (
    PRIORITY_DEFAULT,
    PRIORITY_HIGH,
    PRIORITY_LOW,
    Cancellable,
    MainContext,
    MainLoop,
    Source,
    idle_add,
)

pytestmark = pytest.mark.usefixtures("default")


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
            go_on.wait(60)

        attach(block, context=context)
        first = Background(context.iteration)
        assert inside.wait(60)
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
        assert settle(lambda: open_descriptors() == before)
        context.wakeup()
        waiting.outcome()
        a, b = pair
        calls = []
        with pushed(context):
            b.receive_credentials_async(None, lambda *_: calls.append(1))
        timer = threading.Timer(0.05, a.send_credentials)
        timer.start()
        spin(lambda: calls, context)
        timer.join()
        assert open_descriptors() == before

    def test_the_default_one_keeps_two(self, default, pair):
        """The default context keeps its descriptors for the next operation, until it finds nothing to do."""
        before = open_descriptors()
        a, b = pair
        kept = []
        for _ in range(3):
            calls = []
            b.receive_credentials_async(None, lambda *_, calls=calls: calls.append(1))
            a.send_credentials()
            spin(lambda calls=calls: calls, default)
            kept.append(len(open_descriptors()) - len(before))
        assert kept[0] <= 2
        assert kept == kept[:1] * 3
        assert not default.iteration(False)
        assert open_descriptors() == before

    def test_the_default_one_waits_for_nothing(self, default, pair):
        """It gives them back, too, before it waits while no operation does."""
        before = open_descriptors()
        calls = []
        pair[0].receive_fd_async(None, lambda *_: calls.append(1))
        pair[0].close()
        spin(lambda: calls, default)
        waiting = Background(default.iteration)
        assert waiting.is_waiting()
        try:
            assert settle(lambda: open_descriptors().items() <= before.items())
        finally:
            default.wakeup()
            waiting.outcome()

    def test_gives_them_back_at_the_end_of_a_loop(self, context, pair):
        """A MainLoop gives them back at the end of run()."""
        before = open_descriptors()
        loop = MainLoop(context)
        with pushed(context):
            pair[0].receive_fd_async(None, lambda *_: loop.quit())
        closing = Background(lambda: (time.sleep(0.05), pair[0].close()))
        loop.run()
        closing.outcome()
        assert open_descriptors().items() <= before.items()

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

    def test_owns_the_context(self, default):
        """The thread that calls it is the owner meanwhile."""
        owners = []
        default.invoke(lambda: owners.append(default.is_owner()))
        assert (owners, default.is_owner()) == ([True], False)

    def test_that_raises(self, default, reports):
        """The exception is reported, as where the function is called later, and the function is not called again."""
        calls = []
        default.invoke(lambda: calls.append(1) or 1 / 0)
        assert (calls, [type(each) for each in reports]) == ([1], [ZeroDivisionError])

    def test_returns_several(self, default):
        """The first of several results counts, as in PyGObject."""
        calls = []
        default.invoke(lambda: calls.append(1) or (len(calls) < 2, True))
        assert calls == [1, 1]

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


class TestSource:
    def test_attach(self, context, default):
        """It has a number and a context then, also after it was destroyed, as in GLib."""
        source = Source()
        assert (source.get_id(), source.get_context(), source.is_destroyed()) == (0, None, False)
        assert source.get_priority() == PRIORITY_DEFAULT
        source.set_callback(print)
        assert source.attach(context) == source.get_id() > 0
        assert source.get_context() is context
        source.destroy()
        assert (source.get_context(), source.is_destroyed()) == (context, True)
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
