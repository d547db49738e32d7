"""Signals, child processes, idle and timeout sources, clocks and numbers of domains, as GLib has them."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import linecache
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import chain, count
from pathlib import Path

import pytest
import storms
from helpers import Background, collect, forks, outcome_of_child, room, settle
from loops.sources import spin

import unixconn
from unixconn import Error, IOCondition, MainContext, MainLoop, PollFD, Source, UnixConnection


@pytest.fixture
def loop():
    """Return a loop of the default context."""
    return MainLoop()


@pytest.fixture
def arrived():
    """A list to which Python's handler of SIGUSR1 appends "handler"."""
    found = []
    before = signal.signal(signal.SIGUSR1, lambda *_: found.append("handler"))
    yield found
    signal.signal(signal.SIGUSR1, before)


class Always(Source):
    """A source with methods of its own."""

    def prepare(self):
        return True, -1

    def dispatch(self, callback, args):
        return callback(*(args or ()))


def of_a_signal(_stack):
    """Return a source of SIGUSR1."""
    number = unixconn.unix_signal_add(0, signal.SIGUSR1, print)
    return MainContext.default().find_source_by_id(number), lambda: os.kill(os.getpid(), signal.SIGUSR1)


def of_a_cancellable(_stack):
    """Return a source of a Cancellable."""
    cancellable = unixconn.Cancellable()
    return cancellable.source_new(), lambda: (cancellable.reset(), cancellable.cancel())


def of_a_socket(stack):
    """Return a source of a Socket, with a Cancellable."""
    a, b = UnixConnection.create_pair()
    stack.enter_context(a)
    stack.enter_context(b)
    return b.get_socket().create_source(IOCondition.IN, unixconn.Cancellable()), lambda: a.send_message(b"x")


def of_a_descriptor(stack):
    """Return a source of a descriptor."""
    a, b = UnixConnection.create_pair()
    stack.enter_context(a)
    stack.enter_context(b)
    return unixconn.unix_fd_source_new(b.get_socket().get_fd(), IOCondition.IN), lambda: a.send_message(b"x")


SOURCES = {
    "idle": lambda _: (unixconn.idle_source_new(), int),
    "timeout": lambda _: (unixconn.timeout_source_new(0), int),
    "own methods": lambda _: (Always(), int),
    "descriptor": of_a_descriptor,
    "socket": of_a_socket,
    "cancellable": of_a_cancellable,
    "signal": of_a_signal,
}
"""Each kind of source: a function that makes one, and one that makes it ready."""
SIGNALS_HANDLER = signal.getsignal(signal.SIGUSR1)


class TestSignals:
    def test_until_false(self, loop):
        """The function is called for each signal until it returns a false value; Python's handler is then restored."""
        before, seen = signal.getsignal(signal.SIGUSR1), []

        def arrive(*data):
            seen.append(data)
            if len(seen) < 2:
                os.kill(os.getpid(), signal.SIGUSR1)
                return True
            loop.quit()
            return False

        unixconn.unix_signal_add(unixconn.PRIORITY_DEFAULT, signal.SIGUSR1, arrive, 1, "x")
        os.kill(os.getpid(), signal.SIGUSR1)
        loop.run()
        assert seen == [(1, "x")] * 2
        assert signal.getsignal(signal.SIGUSR1) is before

    def test_removed_in_another_thread(self, arrived):
        """The next signal goes to Python's handler, and is not lost."""
        number = unixconn.unix_signal_add(0, signal.SIGUSR1, print)
        thread = threading.Thread(target=unixconn.source_remove, args=(number,))
        thread.start()
        thread.join()
        for _ in "12":
            os.kill(os.getpid(), signal.SIGUSR1)
            assert settle(lambda: arrived)
            assert arrived.pop() == "handler"
        assert unixconn.source_remove(unixconn.unix_signal_add(0, signal.SIGUSR1, print))
        os.kill(os.getpid(), signal.SIGUSR1)
        assert settle(lambda: arrived)

    def test_beside_a_later_handler(self, arrived):
        """A handler that the program has set meanwhile stays, and gives way to another source."""
        context = MainContext.default()
        number = unixconn.unix_signal_add(0, signal.SIGUSR1, lambda: arrived.append("source") or True)
        signal.signal(signal.SIGUSR1, lambda *_: arrived.append("later"))
        other = unixconn.unix_signal_add(0, signal.SIGUSR1, lambda: arrived.append("other") or True)
        os.kill(os.getpid(), signal.SIGUSR1)
        spin(lambda: len(arrived) == 2, context)
        assert arrived == ["source", "other"]
        assert unixconn.source_remove(number)
        assert unixconn.source_remove(other)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert settle(lambda: arrived[2:] == ["later"])
        number = unixconn.unix_signal_add(0, signal.SIGUSR1, print)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        assert unixconn.source_remove(number)
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_IGN

    def test_while_the_loop_waits(self, loop):
        """A signal from another process ends the wait; each of several sources is called."""
        seen = []
        numbers = [unixconn.unix_signal_add(0, signal.SIGUSR2, lambda i=i: seen.append(i) or True) for i in (1, 2)]
        unixconn.unix_signal_add(100, signal.SIGUSR2, loop.quit)
        command = f"import os, time; time.sleep(0.1); os.kill({os.getpid()}, {int(signal.SIGUSR2)})"
        with subprocess.Popen([sys.executable, "-c", command]):
            loop.run()
        assert seen == [1, 2]
        for each in numbers:
            assert unixconn.source_remove(each)
        assert signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL

    def test_mistakes(self):
        """A signal that GLib does not take, and another thread."""
        with pytest.raises(ValueError, match="not 9999"):
            unixconn.unix_signal_add(0, 9999, print)
        with pytest.raises(TypeError, match="callback"):
            unixconn.unix_signal_add(0, signal.SIGUSR1, None)
        errors = []

        def elsewhere():
            try:
                unixconn.unix_signal_add(0, signal.SIGUSR1, print)
            except ValueError as error:
                errors.append(str(error))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert "main thread" in errors[0]


class TestChildren:
    @pytest.mark.parametrize(("command", "status"), [("exit 3", 0x300), ("kill -9 $$", 9)])
    @pytest.mark.parametrize("first", [(), (0,)])
    def test_the_status(self, loop, command, status, first):
        """The function is called once, with the status of waitpid(2), and the process is reaped."""
        child, seen = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", command), []

        def ended(*arguments):
            seen.append(arguments)
            loop.quit()
            return True

        unixconn.child_watch_add(*first, child, ended, "data")
        loop.run()
        assert seen == [(child, status, "data")]
        with pytest.raises(ChildProcessError):
            os.waitpid(child, os.WNOHANG)

    @pytest.mark.parametrize("descriptors", [0, 9])
    def test_waits_without_a_thread(self, loop, descriptors):
        """
        A pidfd tells when the process ends, as Python warns about each fork of a process with several threads.

        Without room for a descriptor, and where Python has no pidfds, a thread does.
        """
        child, seen = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "100"), []
        loop.get_context().iteration(False)
        with room(descriptors):
            before = threading.active_count()
            unixconn.child_watch_add(child, lambda *arguments: (seen.append(arguments), loop.quit()))
            has_pidfd = hasattr(os, "pidfd_open") and descriptors > 0
            assert threading.active_count() - before == (not has_pidfd)
            loop.get_context().iteration(False)
            assert not seen
            os.kill(child, signal.SIGTERM)
            loop.run()
        assert seen == [(child, signal.SIGTERM)]

    def test_removed(self):
        """The process is waited for, though the watch was removed."""
        child = os.spawnlp(os.P_NOWAIT, "sh", "sh", "-c", "sleep 0.05")
        unixconn.source_remove(unixconn.child_watch_add(child, print))

        def is_reaped():
            MainContext.default().iteration(False)
            return not Path(f"/proc/{child}").exists()

        assert settle(is_reaped)

    def test_mistakes(self):
        """No child, and wrong arguments."""
        with pytest.raises(ChildProcessError):
            unixconn.child_watch_add(os.getpid(), print)
        for arguments in [(), (3,), (0, 3)]:
            with pytest.raises(TypeError):
                unixconn.child_watch_add(*arguments)


def broken_off(look, act):
    """Do *act*, and call *look* at each of its steps; none of them is in the destructor of another test's object."""
    gc.disable()
    try:
        sys.setprofile(look)
        act()
    finally:
        sys.setprofile(None)
        gc.enable()


class TestSources:
    def test_numbers_begin_again(self, monkeypatch):
        """After the largest number come the smallest ones that are free, and each one can be removed."""
        numbers = chain([2**32 - 1, 1, 2], [2, 3])
        monkeypatch.setattr("unixconn._io.source.source_numbers", numbers)
        context = MainContext.default()
        made = [unixconn.idle_add(print) for _ in range(4)]
        assert made == [2**32 - 1, 1, 2, 3]
        assert context.find_source_by_id(2**32 - 1) is not None
        for each in made:
            assert unixconn.source_remove(each)

    @pytest.mark.parametrize("make", [lambda: unixconn.timeout_source_new(0), unixconn.idle_source_new])
    def test_broken_off_before_it_waits_again(self, make):
        """A signal handler raises after the callback: the source is destroyed, and not one that is never called."""
        context, source, calls = MainContext(), make(), []

        def look(frame, event, _argument):
            if calls and event == "call" and frame.f_code.co_name == "_prepare":
                raise KeyboardInterrupt

        source.set_callback(lambda _: calls.append(1) or True)
        number = source.attach(context)
        with pytest.raises(KeyboardInterrupt):
            try:
                sys.setprofile(look)
                context.iteration(True)
            finally:
                sys.setprofile(None)
        assert source.is_destroyed()
        assert context.find_source_by_id(number) is None
        assert not context.iteration(False)

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
    @pytest.mark.parametrize("outcome", ["ends", "fails", "destroys", "stays"])
    @pytest.mark.parametrize("make", SOURCES)
    def test_broken_off_after_the_callback(self, make, outcome, kind, monkeypatch):
        """A signal handler raises at any step: the source is called again, or is in no table of the context."""
        monkeypatch.setattr(sys, "excepthook", lambda *_: None)
        context = MainContext.default()
        reached = step = 0

        def look(frame, event, called):
            nonlocal reached
            # No handler runs before the exit of a lock. An exception there would leave it locked.
            is_exit = event == "c_call" and called.__name__ == "__exit__"
            if calls and event != "return" and not is_exit and frame.f_code.co_filename.startswith(storms.LIBRARY):
                reached += 1
                if reached == step:
                    sys.setprofile(None)
                    raise kind

        def call(*_arguments):
            calls.append(1)
            if outcome == "destroys":
                source.destroy()
            elif outcome == "fails":
                raise ValueError(step)
            return outcome == "stays"

        while step == reached:
            step += 1
            reached, calls = 0, []
            with contextlib.ExitStack() as stack:
                source, make_ready = SOURCES[make](stack)
                source.set_callback(call)
                number = source.get_id() or source.attach(context)
                make_ready()
                with contextlib.suppress(KeyboardInterrupt, ZeroDivisionError):
                    broken_off(look, lambda: spin(lambda: calls))  # noqa: B023 - called at once
                if not source.is_destroyed():
                    # It stays, or it is destroyed once it is called again.
                    calls.clear()
                    make_ready()
                    spin(lambda: calls)  # noqa: B023
                if outcome == "stays":
                    source.destroy()
                assert source.is_destroyed()
                assert context.find_source_by_id(number) is None
                assert source not in context._polled
                assert signal.getsignal(signal.SIGUSR1) == SIGNALS_HANDLER
        assert step > 1
        assert Background(context.iteration, False).outcome() is False

    def test_numbers_fit_a_c_int(self, context):
        """However many callbacks were called before."""
        numbers = [unixconn.timeout_add(10_000, print)]
        for _ in range(10):
            context.invoke(print)
            context.wakeup()
            context.iteration(False)
        numbers.append(unixconn.timeout_add(10_000, print))
        assert numbers[1] == numbers[0] + 1
        for each in numbers:
            assert unixconn.source_remove(each)

    def test_new_sources(self):
        """They are called once attached; priorities are GLib's."""
        context, seen = MainContext(), []
        late, idle = unixconn.timeout_source_new(1), unixconn.idle_source_new()
        assert (late.get_priority(), idle.get_priority()) == (0, 200)
        for each in (late, idle):
            each.set_callback(seen.append, each)
            each.attach(context)
        while len(seen) < 2:
            context.iteration(True)
        assert set(seen) == {late, idle}

    def test_the_order_of_attachment(self):
        """Timeouts that are over, watches and idle functions of one priority are called in this order, as in GLib."""
        context, seen = MainContext(), []
        r, w = os.pipe()
        os.write(w, b"x")
        sources = []
        for milliseconds in (2, 0, 1, None, 1, "watch", None, "watch", 0):
            if milliseconds == "watch":
                source = unixconn.unix_fd_source_new(r, IOCondition.IN)
                source.set_callback(lambda _fd, _condition, name: seen.append(name), len(sources))
            else:
                make = unixconn.idle_source_new if milliseconds is None else unixconn.timeout_source_new
                source = make(*() if milliseconds is None else (milliseconds,))
                source.set_callback(seen.append, len(sources))
            source.set_priority(-20)
            sources.append(source)
        for each in sources:
            each.attach(context)
        time.sleep(0.01)
        context.iteration(False)
        number = len(sources)
        # A timeout has become ready after the idle functions, which need not wait. So its place is behind them.
        assert sorted(seen) == list(range(number))
        timeouts, others = [0, 1, 2, 4, 8], [3, 5, 6, 7]
        assert [each for each in seen if each in timeouts] == timeouts
        assert [each for each in seen if each in others] == others
        os.close(r)
        os.close(w)

    @pytest.mark.parametrize("elsewhere", [False, True], ids=["in this thread", "in another thread"])
    def test_a_priority_that_changes(self, elsewhere):
        """It counts from the next iteration on, also for sources that are ready already."""
        context, seen = MainContext(), []
        sources = {}
        for name in "abcd":
            sources[name] = source = unixconn.idle_source_new()
            source.set_callback(lambda name: (seen.append(name), seen.count(name) < 2)[1], name)
            source.attach(context)

        def change():
            sources["c"].set_priority(-20)
            sources["a"].set_priority(300)

        first = unixconn.idle_source_new()
        first.set_priority(-100)
        first.set_callback(lambda _: Background(change).outcome() if elsewhere else change())
        first.attach(context)
        while context.iteration(False):
            pass
        assert seen == ["c", "c", "b", "d", "b", "d", "a", "a"]

    def test_a_timeout_in_seconds(self):
        """The unit is the only difference."""
        context, seen = MainContext(), []
        for seconds in (1000, 1, 0):
            source = unixconn.timeout_source_new_seconds(seconds)
            source.set_callback(lambda each: seen.append(each), seconds)
            source.attach(context)
        start = time.monotonic()
        while len(seen) < 2:
            context.iteration(True)
        assert seen == [0, 1]
        assert time.monotonic() - start >= 1
        for wrong, kind in [(-1, OverflowError), (2**32, OverflowError), ("1", TypeError)]:
            with pytest.raises(kind):
                unixconn.timeout_source_new_seconds(wrong)


class Own(Source):
    """A source with methods that return what they are given, and that counts their calls."""

    def __init__(self, prepare=(False, -1), check=False, dispatch=True):
        self.returns = {"prepare": prepare, "check": check, "dispatch": dispatch}
        self.calls = []

    def called(self, name):
        """Note the call, and return or raise what was given."""
        self.calls.append(name)
        found = self.returns[name]
        if isinstance(found, BaseException):
            raise found
        return found() if callable(found) else found

    def prepare(self):
        """See `Source`."""
        return self.called("prepare")

    def check(self):
        """See `Source`."""
        return self.called("check")

    def dispatch(self, callback, args):
        """See `Source`."""
        assert (callback, args) == (None, None)
        return self.called("dispatch")


def not_open():
    """Return the number of a descriptor that is not open, and that no new one gets."""
    number = fcntl.fcntl(0, fcntl.F_DUPFD, 500)
    os.close(number)
    return number


@pytest.fixture
def reported(monkeypatch):
    """Return the types of the exceptions that went to sys.excepthook."""
    found = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, _error, _trace: found.append(kind))
    return found


@pytest.fixture
def ends():
    """Return two connected sockets."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class TestOwnSources:
    @pytest.mark.parametrize(
        ("returns", "kind"),
        [
            ({"prepare": KeyError()}, KeyError),
            ({"prepare": (True,)}, TypeError),
            ({"prepare": (False, "x")}, TypeError),
            ({"check": KeyError()}, KeyError),
            ({"prepare": True, "dispatch": KeyError()}, KeyError),
        ],
    )
    def test_broken(self, reported, returns, kind):
        """It is reported once, and asked no more: GLib would report it in each iteration, without a pause."""
        context, source = MainContext(), Own(**returns)
        source.attach(context)
        for _ in "123":
            context.iteration(False)
        assert (reported, source.is_destroyed()) == ([kind], True)
        assert len(source.calls) == len(set(source.calls))

    def test_what_a_signal_handler_raises(self):
        """It comes out, and the source is asked again."""
        context, source = MainContext(), Own(prepare=KeyboardInterrupt())
        source.attach(context)
        with pytest.raises(KeyboardInterrupt):
            context.iteration(False)
        source.returns["prepare"] = True
        assert context.iteration(False)
        assert source.calls == ["prepare", "prepare", "dispatch"]
        source.destroy()

    def test_missing_methods(self):
        """One without dispatch() calls the callback, and one without the others is never ready."""

        class Prepared(Source):
            def prepare(self):
                return True, 0

        context, seen = MainContext(), []
        source = Prepared()
        source.set_callback(seen.append, "data")
        source.attach(context)
        assert context.iteration(True)
        assert seen == ["data"]
        assert source.is_destroyed()
        never = type("Never", (Source,), {"dispatch": lambda _self, _callback, _args: seen.append(2)})()
        never.attach(context)
        assert not context.iteration(False)
        never.destroy()

    def test_the_wait_ends(self, loop):
        """It ends after the milliseconds of prepare(), and when another thread attaches a source or adds a PollFD."""
        source = Own(prepare=(False, 1), check=lambda: len(source.calls) > 5, dispatch=lambda: loop.quit())
        source.attach()
        loop.run()
        assert source.calls == ["prepare", "check"] * 3 + ["dispatch"]
        waiting = Own()
        waiting.attach()
        other = Own(prepare=lambda: (True, 0), dispatch=lambda: loop.quit())
        thread = threading.Timer(0.05, other.attach)
        thread.start()
        loop.run()
        thread.join()
        assert waiting.calls[:2] == ["prepare", "check"]
        waiting.destroy()

    def test_destroyed_by_another(self):
        """A source that the prepare() of a more urgent one destroys is not asked."""
        context, other = MainContext(), Own(prepare=True)
        source = Own(prepare=lambda: other.destroy() or (False, 0))
        source.set_priority(-1)
        source.attach(context)
        other.attach(context)
        assert not context.iteration(False)
        assert (source.calls, other.calls) == (["prepare", "check"], [])
        source.destroy()

    def test_iterating_inside(self):
        """A source that iterates its context in prepare() or check() is not asked in there."""
        context = MainContext()
        source = Own(
            prepare=lambda: (context.iteration(False) is None, -1), check=lambda: context.iteration(False) is None
        )
        source.attach(context)
        assert not context.iteration(False)
        assert source.calls == ["prepare", "check"]
        source.destroy()

    def test_finalize(self):
        """It is called once, when nobody has the source any more; the context of one that is attached does."""
        seen = []

        class Final(Own):
            def finalize(self):
                seen.append(self.calls)

        context = MainContext()
        source = Final(prepare=True, dispatch=False)
        source.attach(context)
        del source
        collect()
        assert seen == []
        context.iteration(True)
        collect()
        assert seen == [["prepare", "dispatch"]]

    def test_a_descriptor_that_is_closed(self, loop):
        """check() is told once. GLib would ask again and again, without a pause."""
        seen = []
        source = Own(check=lambda: seen.append(int(poll.revents)))
        poll = PollFD(not_open(), IOCondition.IN)
        source.add_poll(poll)
        source.attach()
        unixconn.timeout_add(30, loop.quit)
        loop.run()
        source.destroy()
        assert IOCondition.NVAL in seen
        assert len(seen) < 10

    @forks
    def test_in_a_forked_child(self, loop):
        """The sources of the context are still there, and operations work beside them."""
        source = Own(prepare=(False, 1), check=lambda: len(source.calls) > 3, dispatch=lambda: loop.quit())
        source.attach()

        def child():
            loop.run()
            assert source.calls[-1] == "dispatch"
            a, b = UnixConnection.create_pair()
            Own().attach()
            found = []
            b.receive_fd_async(None, lambda _, result: found.append(b.receive_fd_finish(result)))
            unixconn.timeout_add(1, lambda: a.send_fd(0) and False)
            spin(lambda: found)
            return True

        assert outcome_of_child(child) == 0
        source.destroy()

    def test_wrong_descriptors(self):
        """A PollFD takes only what poll(2) takes, which would otherwise end each iteration with an exception."""
        poll = PollFD(3, 1)
        for value, kind in [("x", TypeError), (None, TypeError), (2**31, OverflowError), (-(2**31) - 1, OverflowError)]:
            with pytest.raises(kind, match=str(value)):
                PollFD(value, 1)
            with pytest.raises(kind, match=str(value)):
                poll.fd = value
        for value, kind in [("x", TypeError), (1 << 16, OverflowError), (-1, OverflowError)]:
            with pytest.raises(kind, match=str(value)):
                PollFD(3, value)
            with pytest.raises(kind, match=str(value)):
                poll.events = value
        assert (poll.fd, poll.events) == (3, IOCondition.IN)
        poll.fd, poll.events = -1, IOCondition.OUT | 64
        source, context = Own(), MainContext()
        source.add_poll(poll)
        source.attach(context)
        assert not context.iteration(False)
        source.destroy()

    def test_mistakes(self):
        """The arguments have the types of GLib's."""
        source = Source()
        for call in (
            lambda: source.add_poll(3),
            lambda: source.add_unix_fd(None, 1),
            lambda: source.set_name(3),
            lambda: source.set_ready_time("x"),
            lambda: MainContext().find_source_by_id("x"),
            lambda: unixconn.source_set_name_by_id("x", "name"),
        ):
            with pytest.raises(TypeError, match=r"'x'|None|3"):
                call()
        assert unixconn.source_set_name_by_id(2**31, "name") is None


class AtLine:
    """A trace function that calls *call* before the line with the number *moment* of those that go to wait."""

    def __init__(self, moment, call):
        self._left = moment
        self._call = call
        self.is_last = False
        """Whether that was the line that waits."""

    def __call__(self, frame, event, _argument):
        code = frame.f_code
        if "unixconn" not in code.co_filename or code.co_name not in ("_look", "wait"):
            return None
        if event == "line" and self._left >= 0:
            self.is_last = "_bell.acquire(timeout" in linecache.getline(code.co_filename, frame.f_lineno)
            if not self._left or self.is_last:
                self._call()
                self._left = 0
            self._left -= 1
        return self


class TestWatches:
    def test_beside_an_operation(self, loop):
        """A watch and an operation wait for the same descriptor; each is served."""
        a, b = UnixConnection.create_pair()
        seen = []

        def receive(_, result):
            seen.append(len(b.receive_message_finish(result).data))
            loop.quit()

        def readable(_fd, condition):
            seen.append(condition)
            if len(seen) == 1:
                b.receive_message_async(10, callback=receive)
            return False

        with a, b:
            unixconn.io_add_watch(b, IOCondition.IN, readable)
            unixconn.unix_fd_add_full(
                300, b.fileno(), IOCondition.OUT, lambda *_: a.get_output_stream().write(b"x") and 0
            )
            loop.run()
        assert seen == [IOCondition.IN, 1]

    def test_the_end_of_a_pipe(self, loop):
        """The callback is told of HUP if that is all there is. GLib looks again and again, and never calls it."""
        reading, writing = os.pipe()
        os.close(writing)
        seen = []
        unixconn.io_add_watch(reading, IOCondition.IN, lambda *given: seen.append(given) or loop.quit())
        loop.run()
        os.close(reading)
        assert seen == [(reading, IOCondition.HUP)]

    def test_one_that_is_not_open(self, loop):
        """The callback is told of NVAL once, and the source has ended."""
        number, seen = not_open(), []
        tag = unixconn.io_add_watch(number, 0, IOCondition.IN, lambda *given: seen.append(given) or True)
        unixconn.timeout_add(20, loop.quit)
        loop.run()
        assert seen == [(number, IOCondition.NVAL)]
        assert loop.get_context().find_source_by_id(tag) is None

    def test_a_file(self, loop, tmp_path):
        """A regular file is always ready; epoll(7) would refuse it."""
        path = tmp_path / "file"
        path.write_text("text", encoding="utf-8")
        seen = []
        with path.open(encoding="utf-8") as file:
            unixconn.io_add_watch(file, IOCondition.IN, lambda *given: seen.append(given) or loop.quit())
            loop.run()
            assert seen == [(file, IOCondition.IN)]

    def test_without_a_free_descriptor(self, loop, ends):
        """The loop looks at intervals."""
        ours, theirs = ends
        theirs.send(b"x")
        with room(0):
            unixconn.io_add_watch(ours, IOCondition.IN, lambda *_: loop.quit())
            loop.run()

    def test_removed_at_once(self, ends):
        """A watch that is removed before the context was ever iterated leaves a context that works."""
        context, seen = MainContext(), []
        watch = unixconn.unix_fd_source_new(ends[0], IOCondition.IN)
        watch.attach(context)
        watch.destroy()
        last = unixconn.idle_source_new()
        last.set_callback(seen.append)
        last.attach(context)
        assert context.iteration(False)
        assert seen == [None]

    def test_without_a_callback(self, ends, reported):
        """It ends, as in GLib."""
        ours, theirs = ends
        theirs.send(b"x")
        context, watch = MainContext(), unixconn.unix_fd_source_new(ours, IOCondition.IN)
        watch.attach(context)
        assert context.iteration(False)
        assert watch.is_destroyed()
        assert reported == []

    @pytest.mark.parametrize("had_another", [False, True])
    def test_attached_at_any_moment(self, ends, had_another):
        """A watch that is attached just when the context goes to wait is called, not only after the next event."""
        ours, theirs = ends
        theirs.send(b"x")
        for moment in count():
            context, seen = MainContext(), []
            watch = unixconn.unix_fd_source_new(ours, IOCondition.IN)
            watch.set_callback(lambda *_, seen=seen: seen.append("watch"))
            if had_another:
                other = unixconn.unix_fd_source_new(ours, IOCondition.IN)
                other.attach(context)
                other.destroy()
            attaching = AtLine(moment, lambda watch=watch, context=context: watch.attach(context))
            rescue = threading.Timer(30, context.wakeup)
            rescue.start()
            try:
                sys.settrace(attaching)
                context.iteration(True)
            finally:
                sys.settrace(None)
                rescue.cancel()
                rescue.join()
            assert (moment, seen) == (moment, ["watch"])
            if attaching.is_last:
                break

    @forks
    def test_in_a_forked_child(self, ends):
        """The parent's watch is called in the child, too, also after the child has started an operation."""
        ours, theirs = ends
        seen = []
        number = unixconn.io_add_watch(ours, IOCondition.IN, lambda *_: seen.append(ours.recv(1)) or True)
        MainContext.default().iteration(False)

        def child():
            _ours, b = UnixConnection.create_pair()
            b.receive_fd_async(None, lambda *_: None)
            theirs.send(b"x")
            spin(lambda: seen)
            return True

        assert outcome_of_child(child) == 0
        unixconn.source_remove(number)

    def test_nested_loops(self, loop, ends):
        """A watch whose callback runs a loop is not called inside, and the loop waits."""
        ours, theirs = ends
        theirs.send(b"x")
        seen = []

        def readable(*_given):
            seen.append("watch")
            inner = MainLoop()
            unixconn.timeout_add(20, inner.quit)
            inner.run()
            loop.quit()

        unixconn.io_add_watch(ours, IOCondition.IN, readable)
        loop.run()
        assert seen == ["watch"]

    def test_mistakes(self, ends):
        """Each names the value."""
        for arguments, kind, text in [
            ((), TypeError, "socket"),
            ((IOCondition.IN,), TypeError, "IN"),
            ((0, IOCondition.IN), TypeError, "IN"),
            ((IOCondition.IN, None), TypeError, "None"),
            ((0, IOCondition.IN, None), TypeError, "None"),
            ((0, "x", print), TypeError, "'x'"),
            (("x", IOCondition.IN, print), TypeError, "'x'"),
            ((1 << 16, print), OverflowError, "65536"),
        ]:
            with pytest.raises(kind, match=text):
                unixconn.io_add_watch(ends[0], *arguments)
        for channel, kind in [(None, TypeError), ("x", TypeError), (-1, ValueError), (2**31, OverflowError)]:
            with pytest.raises(kind):
                unixconn.io_add_watch(channel, IOCondition.IN, print)
        with pytest.raises(TypeError, match="None"):
            unixconn.unix_fd_add_full(0, ends[0], IOCondition.IN, None)


def test_clocks():
    """They are Python's, in microseconds."""
    low, high = time.monotonic(), time.time()
    assert low <= unixconn.get_monotonic_time() / 1e6 + 1e-6
    assert high <= unixconn.get_real_time() / 1e6 + 1e-6
    assert unixconn.get_monotonic_time() / 1e6 <= time.monotonic()


def test_domains():
    """A program has error domains of its own."""
    number = unixconn.quark_from_string("test-domain")
    assert (unixconn.quark_to_string(number), unixconn.quark_from_string(None)) == ("test-domain", 0)
    assert unixconn.quark_to_string(0) is None
    error = Error.new_literal(number, "text", 4)
    assert (error.domain, error.message, error.code) == ("test-domain", "text", 4)
    assert error.matches(number, 4)
    assert not error.matches(number, 5)
    assert not error.matches("test-domain", 4)
    assert Error("text", "a later domain", 2).matches(unixconn.quark_from_string("a later domain"), 2)
    with pytest.raises(TypeError, match="3"):
        unixconn.quark_from_string(3)
