"""Cancellable."""

from __future__ import annotations

import threading
import time

from gi.repository import Gio, GLib

from tools import attempt, cancelled, descriptors, is_cloexec, is_readable, later, pair


def cancellable_states():
    """The flag: set by cancel(), cleared by reset()."""
    c = Gio.Cancellable.new()
    outcome = [c.is_cancelled(), c.set_error_if_cancelled()]
    c.cancel()
    c.cancel()
    outcome += [c.is_cancelled(), attempt(c.set_error_if_cancelled)]
    c.reset()
    return [*outcome, c.is_cancelled(), c.set_error_if_cancelled()]


def cancellable_descriptor():
    """The descriptor is shared, close-on-exec, readable while cancelled, and closed at the last release."""
    c = Gio.Cancellable()
    before = descriptors()
    fd = c.get_fd()
    outcome = [c.get_fd() == fd, descriptors() - before, is_cloexec(fd), is_readable(fd)]
    c.cancel()
    outcome.append(is_readable(fd))
    c.reset()
    outcome.append(is_readable(fd))
    c.release_fd()
    outcome.append(descriptors() - before)
    c.release_fd()
    return [*outcome, descriptors() - before]


def cancellable_descriptor_after_cancel():
    """The descriptor of one that is cancelled already is readable."""
    c = cancelled()
    return is_readable(c.get_fd())


def cancellable_pollfd():
    """make_pollfd() fills in what poll() needs."""
    c = cancelled()
    pollfd = GLib.PollFD(0, 0)
    outcome = [c.make_pollfd(pollfd), pollfd.fd == c.get_fd(), int(pollfd.events)]
    return [*outcome, is_readable(pollfd.fd)]


def cancellable_connect():
    """The callback gets no arguments; one that is cancelled already calls at once, with 0 as the number."""
    c = Gio.Cancellable()
    calls = []
    number = c.connect(lambda *given: calls.append(["first", len(given), c.is_cancelled()]), "data")
    c.cancel()
    c.cancel()
    late = c.connect(lambda *given: calls.append(["late", len(given)]))
    c.reset()
    c.cancel()
    return [number > 0, late, calls]


def cancellable_disconnect():
    """A handler that was disconnected does not run; 0 is ignored."""
    c = Gio.Cancellable()
    calls = []
    c.disconnect(c.connect(lambda: calls.append("removed")))
    c.connect(lambda: calls.append("stays"))
    c.disconnect(0)
    c.cancel()
    return calls


def cancellable_connect_wrong():
    """connect() takes a callback first."""
    c = Gio.Cancellable()
    return [attempt(c.connect, "cancelled", print), attempt(c.connect), attempt(Gio.Cancellable.is_cancelled, None)]


def cancellable_cancel_inside_a_handler():
    """cancel() inside of a handler does nothing."""
    c = Gio.Cancellable()
    calls = []
    c.connect(lambda: (calls.append(c.is_cancelled()), c.cancel()))
    c.cancel()
    return calls


def cancellable_current():
    """The current ones are a stack."""
    one, other = Gio.Cancellable(), Gio.Cancellable()
    outcome = [Gio.Cancellable.get_current() is None]
    one.push_current()
    other.push_current()
    outcome.append(Gio.Cancellable.get_current() is other)
    other.pop_current()
    outcome.append(Gio.Cancellable.get_current() is one)
    one.pop_current()
    return [*outcome, Gio.Cancellable.get_current() is None]


def cancellable_serves_several():
    """One cancellable ends operations on several connections, and no descriptor stays."""
    pairs = [pair() for _ in range(3)]
    c = Gio.Cancellable()
    before = descriptors()
    outcomes = []
    threads = [
        threading.Thread(target=lambda one=one: outcomes.append(attempt(one.receive_fd, c)))
        for one, _other in pairs
        for _ in "12"
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    c.cancel()
    for thread in threads:
        thread.join()
    return [outcomes, descriptors() - before]


def cancellable_wins_over_data():
    """A wait that finds data and a cancellation reports the cancellation, and leaves the data."""
    a, b = pair()
    c = Gio.Cancellable()
    c.connect(lambda: a.send_fd(0))
    later(c.cancel)
    first = attempt(b.receive_fd, c)
    return [first[:3] if isinstance(first, list) else "descriptor"]
