"""Signals, child processes, idle and timeout sources, clocks and numbers of domains, as GLib has them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import unixconn
from unixconn import Error, MainContext, MainLoop, Source


@pytest.fixture
def loop():
    """Return a loop of the default context."""
    return MainLoop()


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

    def test_mistakes(self):
        """No child, and wrong arguments."""
        with pytest.raises(ChildProcessError):
            unixconn.child_watch_add(os.getpid(), print)
        for arguments in [(), (3,), (0, 3)]:
            with pytest.raises(TypeError):
                unixconn.child_watch_add(*arguments)


class TestSources:
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

    @pytest.mark.parametrize("name", ["prepare", "check", "dispatch"])
    def test_a_source_of_its_own(self, name):
        """The loop would spin and never call the method, so the class is refused."""
        with pytest.raises(TypeError, match=f"Mine.{name}"):
            type("Mine", (Source,), {name: lambda self: True})


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
