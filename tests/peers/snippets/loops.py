"""MainLoop, MainContext, idle and timeout functions, Task, and the asynchronous calls."""

from __future__ import annotations

import os
import signal
import threading
import time

from gi.repository import Gio, GLib

from tools import attempt, cancelled, later, mixed, non_blocking, pair, plain, unconnected, who


class Until:
    """Waiting in the callbacks' context; it is in a class, and not of this module, as functions here are snippets."""

    __module__ = "tools"

    @staticmethod
    def iterate(condition, context=None):
        """Iterate a context until *condition* holds."""
        context = context or GLib.MainContext.default()
        while not condition():
            context.iteration(True)

    @staticmethod
    def drain(context=None):
        """Iterate while something is ready; give how often."""
        context = context or GLib.MainContext.default()
        count = 0
        while context.iteration(False):
            count += 1
        return count

    @staticmethod
    def result_of(start, *first):
        """Run an asynchronous call to its callback, and give the result object."""
        found = []
        start(*first, lambda _source, result: found.append(result))
        Until.iterate(lambda: found)
        return found[0]

    @staticmethod
    def outcome_of(start, finish, *first):
        """Run an asynchronous call to its callback, and give what its finish gives there."""
        found = []
        start(*first, lambda _source, result: found.append(attempt(finish, result)))
        Until.iterate(lambda: found)
        return found


# --- the loop ---


def loop_attributes():
    """What a loop tells of itself."""
    context = GLib.MainContext.new()
    loop, other = GLib.MainLoop(), GLib.MainLoop.new(context, True)
    return [
        loop.is_running(),
        other.is_running(),
        loop.get_context() == GLib.MainContext.default(),
        other.get_context() == context,
        GLib.MainLoop(context).get_context() == context,
    ]


def loop_runs_and_quits():
    """It runs until somebody quits it, as often as wanted."""
    loop = GLib.MainLoop()
    seen = []
    for _ in "12":
        GLib.idle_add(lambda: (seen.append(loop.is_running()), loop.quit())[1])
        seen.append(loop.run())
    return [*seen, loop.is_running()]


def loop_quits_from_a_thread():
    """Another thread may quit it."""
    loop = GLib.MainLoop()
    later(loop.quit)
    return [loop.run(), loop.is_running()]


def loop_quit_before_run():
    """It is forgotten."""
    loop = GLib.MainLoop()
    calls = []
    loop.quit()
    later(lambda: (calls.append("late"), loop.quit()))
    loop.run()
    return calls


def loop_nested():
    """An inner loop runs inside of a callback of the outer one."""
    outer, inner = GLib.MainLoop(), GLib.MainLoop()
    seen = []

    def stop():
        seen.append([outer.is_running(), inner.is_running()])
        inner.quit()

    def start():
        GLib.idle_add(stop)
        inner.run()
        seen.append([outer.is_running(), inner.is_running()])
        outer.quit()

    GLib.idle_add(start)
    outer.run()
    return [*seen, outer.is_running()]


def loop_outer_quits_first():
    """The outer loop ends after the inner one."""
    outer, inner = GLib.MainLoop(), GLib.MainLoop()
    seen = []

    def start():
        GLib.idle_add(outer.quit)
        GLib.idle_add(lambda: GLib.timeout_add(50, inner.quit) and False)
        inner.run()
        seen.append([outer.is_running(), inner.is_running()])

    GLib.idle_add(start)
    outer.run()
    return seen


def loop_sigint():
    """Ctrl-C comes out as KeyboardInterrupt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    loop = GLib.MainLoop()
    try:
        later(os.kill, os.getpid(), signal.SIGINT)
        loop.run()
    except KeyboardInterrupt:
        return ["KeyboardInterrupt", loop.is_running()]
    return "nothing"


def loop_signal_handler_quits():
    """A signal handler of Python's may quit a loop that has nothing to do."""
    loop = GLib.MainLoop()
    signal.signal(signal.SIGUSR1, lambda *_: loop.quit())
    later(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run()
    return loop.is_running()


def loop_signal_handler_adds():
    """A signal handler of Python's may add a function."""
    loop = GLib.MainLoop()
    signal.signal(signal.SIGUSR1, lambda *_: GLib.idle_add(loop.quit))
    later(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run()
    return loop.is_running()


def loop_exception_in_a_callback():
    """It ends neither the loop nor the others; it is not called again."""
    loop = GLib.MainLoop()
    calls = []

    def fail():
        calls.append("fail")
        raise ValueError("printed, by both")

    GLib.idle_add(fail)
    GLib.idle_add(calls.append, "next")
    GLib.idle_add(lambda: GLib.timeout_add(50, loop.quit) and False)
    loop.run()
    return calls


# --- contexts ---


def context_iteration():
    """Whether something was called, and whether something is to be."""
    context = GLib.MainContext.default()
    outcome = [context.pending(), context.iteration(False)]
    GLib.idle_add(bool)
    return [*outcome, context.pending(), context.iteration(False), context.pending(), context.iteration(False)]


def context_iteration_waits():
    """Until another thread adds something."""
    calls = []
    later(GLib.idle_add, calls.append, 1)
    return [GLib.MainContext.default().iteration(True), calls]


def context_wakeup():
    """It ends a wait, or the next one."""
    context = GLib.MainContext.default()
    context.wakeup()
    first = context.iteration(True)
    later(context.wakeup)
    return [first, context.iteration(True)]


def context_thread_default():
    """The contexts of a thread are a stack, the others do not see it."""
    one, other = GLib.MainContext.new(), GLib.MainContext()
    get = GLib.MainContext.get_thread_default
    outcome, seen = [get() is None], []
    one.push_thread_default()
    outcome += [get() == one, GLib.MainContext.ref_thread_default() == one]
    other.push_thread_default()
    outcome.append(get() == other)
    thread = threading.Thread(target=lambda: seen.append(get() is None))
    thread.start()
    thread.join()
    other.pop_thread_default()
    outcome.append(get() == one)
    one.pop_thread_default()
    return [*outcome, *seen, get() is None, GLib.MainContext.ref_thread_default() == GLib.MainContext.default()]


def context_default_pushed():
    """The global one, pushed, is None as the thread's."""
    context = GLib.MainContext.default()
    context.push_thread_default()
    outcome = GLib.MainContext.get_thread_default() is None
    context.pop_thread_default()
    return outcome


def context_invoke_at_once():
    """In the thread that could iterate it, a function is called at once, until it gives a false value."""
    calls = []

    def three(*data):
        calls.append(list(data))
        return len(calls) < 3

    GLib.MainContext.default().invoke_full(GLib.PRIORITY_DEFAULT, three, 1)
    return calls


def context_invoke_of_another():
    """A context that is not this thread's calls when it is iterated."""
    context = GLib.MainContext.new()
    calls = []
    context.invoke_full(GLib.PRIORITY_DEFAULT, calls.append, 1)
    outcome = [list(calls), Until.drain(context)]
    context.push_thread_default()
    context.invoke_full(GLib.PRIORITY_DEFAULT, calls.append, 2)
    context.pop_thread_default()
    return [*outcome, calls]


def context_invoke_inside_of_a_callback():
    """In the thread that iterates a context it is called at once."""
    context = GLib.MainContext.new()
    calls = []

    def outer(*_):
        context.invoke_full(GLib.PRIORITY_DEFAULT, calls.append, "inner")
        calls.append("outer")

    context.invoke_full(GLib.PRIORITY_DEFAULT, outer, None)
    Until.drain(context)
    return calls


def context_owned_by_another_thread():
    """While another thread iterates it there is nothing to be had."""
    context = GLib.MainContext.default()
    inside, go_on = threading.Event(), threading.Event()
    GLib.idle_add(lambda: (inside.set(), go_on.wait(5), None)[2])
    thread = threading.Thread(target=context.iteration, args=(False,))
    thread.start()
    inside.wait(5)
    outcome = context.iteration(False)
    go_on.set()
    thread.join()
    return outcome


# --- functions ---


def idle_with_data():
    """Again and again until it gives a false value."""
    calls = []

    def three(*data):
        calls.append(list(data))
        return len(calls) < 3

    number = GLib.idle_add(three, 1, "two")
    return [number > 0, Until.drain(), calls]


def idle_priorities():
    """The lowest number first; those of one priority in their order, in one iteration."""
    calls = []
    for index, priority in enumerate((300, -100, 0, 100, -100, 200, 0)):
        GLib.idle_add(calls.append, [index, priority], priority=priority)
    GLib.idle_add(calls.append, "idle")
    steps = []
    while GLib.MainContext.default().iteration(False):
        steps.append(len(calls))
    return [calls, steps]


def idle_constants():
    """The priorities, and what a function gives to be called again."""
    return [
        GLib.PRIORITY_HIGH,
        GLib.PRIORITY_DEFAULT,
        GLib.PRIORITY_HIGH_IDLE,
        GLib.PRIORITY_DEFAULT_IDLE,
        GLib.PRIORITY_LOW,
        GLib.SOURCE_CONTINUE,
        GLib.SOURCE_REMOVE,
    ]


def idle_added_meanwhile():
    """What is added during an iteration waits for the next one, whatever its priority."""
    calls = []

    def first():
        calls.append("first")
        GLib.idle_add(calls.append, "new", priority=-50)

    GLib.idle_add(first)
    GLib.idle_add(calls.append, "second")
    steps = []
    while GLib.MainContext.default().iteration(False):
        steps.append(list(calls))
    return steps


def idle_starves_lower_ones():
    """A higher priority that is always ready goes first."""
    calls = []

    def busy():
        calls.append("busy")
        return len(calls) < 4

    GLib.idle_add(calls.append, "idle")
    GLib.idle_add(busy, priority=0)
    Until.drain()
    return calls


def idle_returns_something():
    """Any true value is good for another call."""
    calls = []

    def function():
        calls.append(1)
        return ["", "x", [], 5, [0]][-len(calls)]

    GLib.idle_add(function)
    Until.drain()
    return len(calls)


def idle_nested_iteration():
    """A callback may iterate, and is not called inside of itself."""
    calls = []

    def outer():
        calls.append("outer")
        Until.drain()
        calls.append("end")
        return len(calls) < 5

    GLib.idle_add(outer)
    GLib.idle_add(calls.append, "inner")
    Until.drain()
    return calls


def timeout_repeats():
    """Until it gives a false value."""
    calls = []

    def again(what, times):
        calls.append(what)
        return calls.count(what) < times

    GLib.timeout_add(100_000, again, "never", 1)
    GLib.timeout_add(10, again, "short", 3)
    Until.iterate(lambda: len(calls) == 3)
    GLib.timeout_add(40, again, "long", 2)
    Until.iterate(lambda: len(calls) == 5)
    return calls


def timeout_of_no_time():
    """It is ready at once, and before what is idle."""
    calls = []
    GLib.idle_add(calls.append, "idle")
    GLib.timeout_add(0, calls.append, "timeout")
    Until.drain()
    return calls


def timeout_of_fractions():
    """A float loses its fraction."""
    calls = []
    GLib.timeout_add(0.9, calls.append, 1)
    Until.drain()
    return calls


def timeout_wrong_arguments():
    """Types and ranges."""
    return [
        attempt(GLib.timeout_add, "x", print),
        attempt(GLib.timeout_add, -1, print),
        attempt(GLib.timeout_add, 2**32, print),
        attempt(GLib.timeout_add, 1, None),
        attempt(GLib.timeout_add, 1),
        attempt(GLib.idle_add, None),
        attempt(GLib.idle_add),
        attempt(GLib.idle_add, print, priority="x"),
        attempt(GLib.idle_add, print, priority=2**31),
        attempt(GLib.source_remove, "x"),
        attempt(GLib.source_remove, -1),
    ]


def source_remove():
    """What was removed is not called."""
    calls = []
    numbers = [GLib.idle_add(calls.append, 1), GLib.timeout_add(0, calls.append, 2)]
    return [[GLib.source_remove(each) for each in numbers], Until.drain(), calls]


def source_remove_inside():
    """A function may remove itself, and one that is ready beside it."""
    calls, numbers = [], []

    def first():
        calls.append("first")
        calls.append([GLib.source_remove(each) for each in numbers])
        return True

    numbers.append(GLib.idle_add(first))
    numbers.append(GLib.idle_add(calls.append, "second"))
    Until.drain()
    return calls


def priority_changes():
    """It counts also for a source that is ready already."""
    calls, sources = [], []
    for name in "abc":
        source = GLib.Idle()
        source.set_callback(lambda name: (calls.append(name), calls.count(name) < 2)[1], name)
        source.attach(None)
        sources.append(source)
    sources[1].set_priority(-20)
    sources[0].set_priority(300)
    return [Until.drain(), calls, [each.get_priority() for each in sources]]


def negative_priorities():
    """Of sources of one priority that are ready, the one attached first comes first, be they timeouts or watches."""
    calls = []
    reader, writer = os.pipe()
    os.write(writer, b"x")

    def watched(_fd, _condition, name):
        calls.append(name)
        return False

    for number, milliseconds in enumerate((4, 0, 2, 0, 4)):
        for priority in (0, -20):
            GLib.timeout_add(milliseconds, calls.append, [number, priority], priority=priority)
    time.sleep(0.02)
    Until.drain()
    for name, priority in (("one", -20), ("two", 0), ("three", -20)):
        GLib.io_add_watch(reader, priority, GLib.IOCondition.IN, watched, name)
        GLib.idle_add(calls.append, f"idle after {name}", priority=priority)
    Until.drain()
    return calls


# --- sources of Cancellables ---


def cancellable_source():
    """It fires once for each cancel."""
    c = Gio.Cancellable()
    calls = []
    source = c.source_new()
    source.set_callback(lambda *_: (calls.append("fired"), True)[1])
    source.attach(GLib.MainContext.default())
    outcome = [Until.drain()]
    for _ in "12":
        c.cancel()
        outcome.append(len(calls))
        outcome += [Until.drain(), len(calls)]
        c.reset()
        outcome.append(Until.drain())
    source.destroy()
    c.cancel()
    return [*outcome, Until.drain(), source.is_destroyed()]


def cancellable_source_ends():
    """A false value ends it."""
    c = Gio.Cancellable()
    calls = []
    source = c.source_new()
    source.set_callback(lambda *_: calls.append(1))
    source.attach(None)
    c.cancel()
    Until.drain()
    c.reset()
    c.cancel()
    Until.drain()
    return [calls, source.is_destroyed()]


def cancellable_source_of_a_cancelled_one():
    """It fires."""
    calls = []
    source = cancelled().source_new()
    source.set_callback(lambda *_: calls.append(1))
    outcome = [source.get_priority(), source.get_context() is None]
    number = source.attach(None)
    outcome += [number > 0, number == source.get_id(), source.get_context() == GLib.MainContext.default()]
    Until.drain()
    return [*outcome, calls]


def cancellable_source_priority():
    """It has its place among the others."""
    c = Gio.Cancellable()
    calls = []
    source = c.source_new()
    source.set_priority(300)
    source.set_callback(lambda *_: calls.append("source"))
    source.attach(None)
    c.cancel()
    GLib.idle_add(calls.append, "idle")
    Until.drain()
    return [source.get_priority(), calls]


def cancellable_source_destroyed_when_ready():
    """It does not fire any more."""
    c = Gio.Cancellable()
    calls = []
    source = c.source_new()
    source.set_callback(lambda *_: calls.append(1))
    source.attach(None)
    c.cancel()
    source.destroy()
    return [Until.drain(), calls]


# --- asynchronous calls ---


def data_by_keyword():
    """user_data is one datum, as it is; without it, the callback gets none."""
    calls = []
    loop = GLib.MainLoop()

    def ended(connection, result, *data):
        calls.append([attempt(connection.send_credentials_finish, result), *data])
        loop.quit()

    # The other end has to stay open.
    a, _b = pair()
    for named in ({"user_data": "one"}, {"user_data": ["one", 2]}, {"user_data": None}, {}):
        a.send_credentials_async(None, ended, **named)
        loop.run()
    a.send_credentials_async(callback=ended, user_data=3)
    loop.run()
    return [*calls, attempt(a.send_credentials_async, None, ended, 1, user_data=2)]


def async_credentials():
    """Both calls, with their data."""
    a, b = pair()
    found = []

    def note(source, result, *data):
        call = source.send_credentials_finish if source is a else source.receive_credentials_finish
        found.append([source is a, attempt(call, result), list(data)])

    a.send_credentials_async(None, note, 1, "two")
    Until.iterate(lambda: len(found) == 1)
    b.receive_credentials_async(None, note)
    Until.iterate(lambda: len(found) == 2)
    return found


def async_receive_waits():
    """The message comes after the start."""
    a, b = pair()
    later(a.send_credentials)
    return Until.outcome_of(b.receive_credentials_async, b.receive_credentials_finish, None)


def async_splice_and_close():
    """The finish of a splice belongs to the class: a connection is the object of no other one's."""
    a, b = pair()
    c, d = pair()
    no_flags = Gio.IOStreamSpliceFlags.NONE
    a.close()
    found = Until.result_of(b.splice_async, c, no_flags, 0, None)
    closed = Until.result_of(c.close_async, 0, None)
    return [Gio.IOStream.splice_finish(found), Gio.IOStream.close_finish(c, closed), d.is_closed()]


def async_is_never_called_inside():
    """Not even when all is there already."""
    a, b = pair()
    calls = []
    a.send_credentials()
    b.receive_credentials_async(None, lambda *_: calls.append(1))
    a.send_credentials_async(cancelled(), lambda *_: calls.append(1))
    a.close_async(0, None, lambda *_: calls.append(1))
    time.sleep(0.1)
    before = len(calls)
    Until.iterate(lambda: len(calls) == 3)
    return before


def async_without_a_callback():
    """None in its place: it runs all the same."""
    a, b = pair()
    outcome = [attempt(a.send_credentials_async, None, None), attempt(a.send_credentials_async, callback=None)]
    return [outcome, attempt(b.receive_credentials), attempt(b.receive_credentials)]


def async_cancelled_before():
    """CANCELLED, and the message stays."""
    a, b = pair()
    a.send_credentials()
    return [
        Until.outcome_of(a.send_credentials_async, a.send_credentials_finish, cancelled()),
        Until.outcome_of(b.receive_credentials_async, b.receive_credentials_finish, cancelled()),
        attempt(b.receive_credentials),
    ]


def async_cancelled_while_it_waits():
    """CANCELLED, out of the context."""
    a, b = pair()
    c = Gio.Cancellable()
    later(c.cancel)
    first = Until.outcome_of(b.receive_credentials_async, b.receive_credentials_finish, c)
    a.send_credentials()
    return [first, attempt(b.receive_credentials)]


def async_cancelled_in_the_same_thread():
    """The callback does not run inside of cancel()."""
    _a, b = pair()
    c = Gio.Cancellable()
    calls = []
    b.receive_credentials_async(c, lambda _, result: calls.append(attempt(b.receive_credentials_finish, result)))
    time.sleep(0.05)
    c.cancel()
    before = list(calls)
    Until.iterate(lambda: calls)
    return [before, calls]


def async_errors():
    """The texts are those of the blocking calls."""
    raw, a = mixed()
    raw.close()
    f = unconnected()
    _c, d = pair()
    e, _g = pair()
    e.close()
    return [
        Until.outcome_of(a.receive_credentials_async, a.receive_credentials_finish, None),
        Until.outcome_of(a.send_credentials_async, a.send_credentials_finish, None),
        Until.outcome_of(non_blocking(d).receive_credentials_async, d.receive_credentials_finish, None),
        Until.outcome_of(e.send_credentials_async, e.send_credentials_finish, None),
        Until.outcome_of(f.send_credentials_async, f.send_credentials_finish, None),
    ]


def async_timeout():
    """TIMED_OUT."""
    _a, b = pair()
    b.get_socket().set_timeout(1)
    return Until.outcome_of(b.receive_credentials_async, b.receive_credentials_finish, None)


def async_wrong_arguments():
    """They raise in the call."""
    a, _b = pair()
    return [
        attempt(a.send_credentials_async, "x", print),
        attempt(a.send_credentials_async, None, "x"),
        attempt(a.receive_credentials_async, 5, print),
        attempt(a.send_credentials_finish),
        attempt(a.send_credentials_finish, None),
        attempt(a.send_credentials_finish, "x"),
        attempt(a.close_async, "x", None, print),
        attempt(a.close_finish, 5),
    ]


def async_thread_default_context():
    """The callback comes to the context that was the thread's at the start, and sees it as such."""
    a, _b = pair()
    context = GLib.MainContext.new()
    calls = []
    context.push_thread_default()
    a.send_credentials_async(None, lambda *_: calls.append(GLib.MainContext.get_thread_default() == context))
    context.pop_thread_default()
    time.sleep(0.05)
    Until.drain()
    before = list(calls)
    Until.iterate(lambda: calls, context)
    return [before, calls, GLib.MainContext.get_thread_default() is None]


def async_started_in_a_thread():
    """Without a context of its own the default one calls."""
    a, _b = pair()
    calls = []
    main = threading.get_ident()
    thread = threading.Thread(
        target=a.send_credentials_async, args=(None, lambda *_: calls.append(threading.get_ident() == main))
    )
    thread.start()
    thread.join()
    Until.iterate(lambda: calls)
    return calls


def async_context_of_a_thread():
    """A thread may iterate a context of its own."""
    a, b = pair()
    found = []

    def work():
        context = GLib.MainContext.new()
        context.push_thread_default()
        loop = GLib.MainLoop.new(context, False)

        def note(source, result):
            found.append(attempt(source.receive_credentials_finish, result))
            found.append(threading.current_thread() is thread)
            loop.quit()

        b.receive_credentials_async(None, note)
        loop.run()
        context.pop_thread_default()

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.05)
    a.send_credentials()
    thread.join()
    return found


def async_exception_in_the_callback():
    """It harms nobody."""
    a, _b = pair()
    calls = []

    def fail(*_):
        calls.append("fail")
        raise ValueError("printed, by both")

    a.send_credentials_async(None, fail)
    Until.iterate(lambda: calls)
    a.send_credentials_async(None, lambda *_: calls.append("next"))
    Until.iterate(lambda: len(calls) == 2)
    return calls


def async_starts_another():
    """A callback may start the next operation."""
    a, b = pair()
    found = []

    def sent(source, result):
        found.append(attempt(source.send_credentials_finish, result))
        b.receive_credentials_async(None, received)

    def received(source, result):
        found.append(attempt(source.receive_credentials_finish, result))

    a.send_credentials_async(None, sent)
    Until.iterate(lambda: len(found) == 2)
    return found


def task_in_the_callback():
    """What a Task tells while its callback runs, and after."""
    a, b = pair()
    c = Gio.Cancellable()
    seen, kept = [], []

    def note(_source, result):
        seen.extend(
            [
                result.get_source_object() is a,
                result.get_cancellable() is c,
                result.get_completed(),
                result.props.completed,
                result.get_property("completed"),
                result.had_error(),
                result.get_priority(),
                result.get_check_cancellable(),
                result.get_return_on_cancel(),
                result.get_name(),
                result.get_context() == GLib.MainContext.default(),
                Gio.Task.is_valid(result, a),
                Gio.Task.is_valid(result, b),
                result.is_tagged(None),
                isinstance(result, Gio.AsyncResult),
                isinstance(result, Gio.Task),
                type(result).__name__,
            ]
        )
        kept.append(result)

    a.send_credentials_async(c, note)
    Until.iterate(lambda: kept)
    Until.drain()
    return [*seen, kept[0].get_completed(), attempt(kept[0].legacy_propagate_error)]


def task_names():
    """They are those of the functions in C."""
    a, b = pair()
    a.send_credentials()
    return [
        Until.result_of(a.send_credentials_async, None).get_name(),
        Until.result_of(b.receive_credentials_async, None).get_name(),
    ]


def task_notifies():
    """notify::completed comes after the callback, once."""
    a, _b = pair()
    seen = []

    def note(_source, result):
        seen.append(["callback", result.get_completed()])
        result.connect("notify::completed", lambda task, changed, *data: told(task, changed, data), 1, "two")

    def told(task, changed, data):
        seen.append(["notify", task.get_completed(), changed.name, list(data)])

    a.send_credentials_async(None, note)
    Until.iterate(lambda: len(seen) == 2)
    Until.drain()
    return seen


def task_propagates():
    """The value by the method for its type, errors by any."""
    a, b = pair()
    a.send_credentials()
    return [
        attempt(Until.result_of(a.send_credentials_async, None).propagate_boolean),
        attempt(Until.result_of(a.send_credentials_async, cancelled()).propagate_boolean),
        attempt(Until.result_of(b.receive_credentials_async, cancelled()).propagate_pointer),
        Until.result_of(a.send_credentials_async, cancelled()).had_error(),
    ]


def close_async_and_finish():
    """It is closed, and pending until the callback."""
    a, _b = pair()
    found = []
    a.close_async(0, None, lambda source, result: found.append([source is a, attempt(source.close_finish, result)]))
    outcome = [a.has_pending()]
    Until.iterate(lambda: found)
    return [*outcome, a.has_pending(), a.is_closed(), found]


def close_async_twice():
    """The second one is refused while the first is under way, and does nothing afterwards."""
    a, _b = pair()
    found = []

    def note(source, result):
        found.append(attempt(source.close_finish, result))

    a.close_async(0, None, note)
    a.close_async(0, None, note)
    during = attempt(a.close)
    Until.iterate(lambda: len(found) == 2)
    again = Until.outcome_of(a.close_async, a.close_finish, 0, None)
    return [during, sorted(found, key=str), again, attempt(a.close), a.is_closed()]


def close_async_cancelled():
    """The result is CANCELLED, and it is closed all the same."""
    a, _b = pair()
    outcome = Until.outcome_of(a.close_async, a.close_finish, 0, cancelled())
    return [outcome, a.is_closed()]


def close_async_priority():
    """Its callback comes at the priority that was asked for."""
    a, _b = pair()
    calls = []
    a.close_async(300, None, lambda _, result: calls.append(["closed", result.get_priority()]))
    time.sleep(0.1)
    GLib.idle_add(calls.append, "idle", priority=100)
    Until.iterate(lambda: len(calls) == 2)
    return calls


def close_async_while_pending():
    """PENDING."""
    a, _b = pair()
    a.set_pending()
    first = Until.outcome_of(a.close_async, a.close_finish, 0, None)
    a.clear_pending()
    return [first, a.is_closed(), attempt(a.close)]


def async_result_outlives():
    """A result can be finished after the callback."""
    a, b = pair()
    a.send_credentials()
    result = Until.result_of(b.receive_credentials_async, None)
    return [who(b.receive_credentials_finish(result)), plain(result.had_error())]


def notify_of_properties():
    """A handler gets the object, the property with its name, and its data; without a name it hears of all."""
    a, _b = pair()
    sock = a.get_socket()
    seen = []

    def connect(signal, *data):
        def note(owner, changed, *rest):
            seen.append([owner is sock, changed.name, *rest])

        return sock.connect_after(signal, note, *data)

    numbers = [connect("notify::timeout", 1), connect("notify"), connect("notify::listen-backlog", "two")]
    sock.notify("timeout")
    sock.notify("blocking")
    sock.notify("listen_backlog")
    return [len(set(numbers)), seen]


def notify_unknown():
    """A signal that does not exist can not be connected to."""
    a, _b = pair()
    return [attempt(a.connect_after, "nonsense", print), attempt(a.connect_after, "notify::timeout", "x")]


def task_is_valid():
    """is_valid() wants a result, and may go without an object."""
    a, _b = pair()
    results = []
    a.send_credentials_async(None, lambda _a, result: results.append(result))
    while not results:
        GLib.MainContext.default().iteration(True)
    valid = Gio.Task.is_valid
    wrong = [attempt(valid, None, a), attempt(valid, 5, a), attempt(valid, results[0], 5)]
    return [valid(results[0], a), valid(results[0]), valid(results[0], None), *wrong]


def callbacks_that_return_several_values():
    """Of a tuple the first value says whether a function is called again."""
    outcome = []
    for result in ((False, 1), (None, None), (0, True), [False], [], "", "x", 0.0):
        calls = []
        number = GLib.idle_add(lambda result=result, calls=calls: calls.append(1) or result)
        for _ in range(3):
            GLib.MainContext.default().iteration(False)
        if len(calls) > 1:
            GLib.source_remove(number)
        outcome.append(len(calls))
    calls = []
    number = GLib.idle_add(lambda: (len(calls) < 4, calls.append(1)))
    for _ in range(9):
        GLib.MainContext.default().iteration(False)
    return [outcome, len(calls)]
