"""Objects with signals, the program's own Tasks, Bytes, addresses."""

from __future__ import annotations

import threading

from gi.repository import Gio, GLib, GObject

from tools import attempt, cancelled, pair


class Emitter(GObject.Object):
    """Has a signal, and logs the calls of its handlers; in this class, as functions of the module are snippets."""

    __module__ = "tools"
    __gsignals__ = {  # noqa: RUF012 - as programs write it
        "spoken": (GObject.SignalFlags.RUN_LAST, None, (int,)),
        "asked": (GObject.SignalFlags.RUN_LAST, int, ()),
    }
    number = GObject.Property(type=int, default=3)
    renamed = GObject.Signal("another-name")
    bare = GObject.Signal()

    def __init__(self):
        super().__init__()
        self.log = []

    def do_spoken(self, value):
        self.log.append(["default", value])

    def do_asked(self):
        return 5


def emission_stopped():
    """A handler stops the emission that it runs in, and only that one."""
    emitter = Emitter()

    def first(each, value):
        each.log.append(["first", value])
        if value == 1:
            each.stop_emission_by_name("spoken")
        elif value == 2:
            each.stop_emission_by_name("spoken")
            each.emit("spoken", 0)
        elif value == 3:
            each.emit("spoken", 1)

    emitter.connect("spoken", first)
    emitter.connect("spoken", lambda each, value: each.log.append(["second", value]))
    emitter.connect_after("spoken", lambda each, value: each.log.append(["after", value]))
    for value in range(4):
        emitter.emit("spoken", value)
    return emitter.log


def emission_stopped_with_a_result():
    """The result of the handler that stops it counts."""
    emitter = Emitter()

    def stop(each):
        each.stop_emission_by_name("asked")
        return 7

    before = emitter.emit("asked")
    emitter.connect("asked", stop)
    return [before, emitter.emit("asked")]


def handlers_by_other_names():
    """handler_disconnect and connect_object_after."""
    emitter, other = Emitter(), Emitter()
    number = emitter.connect("spoken", lambda *_: emitter.log.append("never"))
    emitter.handler_disconnect(number)
    emitter.connect_object_after("spoken", lambda *values: emitter.log.append(len(values)), other, 8)
    emitter.connect_object("spoken", lambda each, value: emitter.log.append([type(each).__name__, value]), Emitter())
    emitter.emit("spoken", 1)
    return [emitter.log, emitter.handler_is_connected(number)]


def signals_as_names():
    """A Signal of a class is the name of the signal."""
    emitter = Emitter()
    emitter.connect(Emitter.renamed, lambda each: each.log.append("renamed"))
    emitter.connect(Emitter.bare, lambda each: each.log.append("bare"))
    emitter.emit("another-name")
    emitter.bare.emit()
    return [str(Emitter.renamed), str(Emitter.bare), isinstance(Emitter.bare, str), emitter.log]


def properties_found():
    """A property of a class by its name."""
    return [
        Emitter.find_property("number").name,
        Gio.Socket.find_property("listen-backlog").name,
        Gio.Socket.find_property("nothing"),
    ]


def tasks_of_a_program():
    """What return_* has ended, propagate_* gives."""
    seen = []
    emitter = Emitter()
    for name, value in (("boolean", True), ("int", 42), ("value", "text"), ("error", None)):
        task = Gio.Task.new(emitter, None, lambda source, result: seen.append([source is emitter, result.had_error()]))
        getattr(task, f"return_{name}")(
            GLib.Error.new_literal(Gio.io_error_quark(), "no", 5) if value is None else value
        )
        seen.append(task.get_completed())
        GLib.MainContext.default().iteration(True)
        found = attempt(getattr(task, f"propagate_{'int' if name == 'error' else name}"))
        seen.append([task.get_completed(), Gio.Task.is_valid(task, emitter), found])
    return seen


def tasks_and_data():
    """The callback's data, the name and the priority; no callback at all."""
    seen = []
    task = Gio.Task.new(None, None, lambda _source, _result, *data: seen.append(list(data)), "data")
    task.set_name("mine")
    task.set_priority(7)
    task.return_boolean(False)
    silent = Gio.Task.new(None, None, None)
    unnamed = silent.get_name()
    silent.return_int(3)
    while not silent.get_completed():
        GLib.MainContext.default().iteration(True)
    other = Gio.Task.new(None, None, None)
    other.return_value("text")
    found = other.propagate_value()
    return [
        unnamed,
        str(found),
        found.value,
        seen,
        task.get_name(),
        task.get_priority(),
        task.propagate_boolean(),
        silent.propagate_int(),
    ]


def tasks_that_are_cancelled():
    """Before they return, whether they ask or not."""
    found = []
    for name, value in (("error_if_cancelled", ()), ("boolean", (True,))):
        task = Gio.Task.new(None, cancelled(), lambda *_: None)
        found.append(getattr(task, f"return_{name}")(*value))
        GLib.MainContext.default().iteration(True)
        found.append(attempt(task.propagate_boolean))
    free = Gio.Task.new(None, Gio.Cancellable(), lambda *_: None)
    found.append(free.return_error_if_cancelled())
    deaf = Gio.Task.new(None, cancelled(), lambda *_: None)
    found.append(deaf.get_check_cancellable())
    deaf.set_check_cancellable(False)
    deaf.return_boolean(True)
    GLib.MainContext.default().iteration(True)
    return [*found, attempt(deaf.propagate_boolean)]


def tasks_in_threads():
    """The function runs in another thread, the callback in this one."""
    seen = []
    here = threading.get_ident()

    def work(task, source, data, cancellable):
        seen.append([source is emitter, data, cancellable is None, threading.get_ident() == here])
        task.return_int(6)

    emitter = Emitter()
    task = Gio.Task.new(emitter, None, lambda *_: seen.append(threading.get_ident() == here))
    task.run_in_thread(work)
    while len(seen) < 2:
        GLib.MainContext.default().iteration(True)
    return [seen, task.propagate_int()]


def bytes_compared():
    """Their methods besides the content."""
    some, other = GLib.Bytes.new(b"hello"), GLib.Bytes.new(b"help")
    return [
        some.equal(GLib.Bytes.new(b"hello")),
        some.equal(other),
        [(each > 0) - (each < 0) for each in (some.compare(other), other.compare(some), some.compare(some))],
        some.hash() == GLib.Bytes.new(b"hello").hash(),
        some.new_from_bytes(1, 3).get_data().decode(),
        GLib.Bytes.new_take(b"abc").get_data().decode(),
    ]


def address_properties():
    """The path as bytes, and the abstract names of old."""
    address = Gio.UnixSocketAddress.new("/tmp/x")
    old = Gio.UnixSocketAddress.new_abstract([97, 98])
    return [bytes(address.props.path_as_array).decode(), old.get_path(), int(old.get_address_type())]


def flush_cancelled():
    """Flushing a stream that keeps nothing does not look at the Cancellable."""
    ours, _theirs = pair()
    stream = ours.get_output_stream()
    return [attempt(stream.flush, cancelled()), stream.is_closing()]


def failures_of_a_cancelled_operation():
    """An Error is CANCELLED as long as the Cancellable is, and is itself again after a reset."""
    found = []
    loop = GLib.MainLoop()

    def taken(each, result, finish, cancellable):
        cancellable.cancel()
        found.append([attempt(finish, result), attempt(finish, result), result.had_error()])
        cancellable.reset()
        found[-1].append(attempt(finish, result))
        loop.quit()

    def run(start, finish, *arguments):
        cancellable = Gio.Cancellable()
        start(*arguments, cancellable, taken, finish, cancellable)
        loop.run()

    ours, _theirs = pair()
    output, incoming = ours.get_output_stream(), ours.get_input_stream()
    ours.set_pending()
    run(ours.close_async, ours.close_finish, 0)
    ours.clear_pending()
    ours.close()
    run(ours.send_credentials_async, ours.send_credentials_finish)
    run(output.write_async, output.write_finish, b"x", 0)
    run(incoming.read_bytes_async, incoming.read_bytes_finish, 1, 0)
    run(ours.connect_async, ours.connect_finish, Gio.UnixSocketAddress.new("/nowhere"))
    return found


def notifications_of_setters():
    """A setter notifies of a change alone, but for the address."""
    a, _b = pair()
    number, address = a.get_socket().get_fd(), Gio.UnixSocketAddress.new("/x")
    low, high = Gio.UnixInputStream.new(number, False), Gio.UnixOutputStream.new(number, False)
    flags = [True, False, False, True]
    setters = [
        (a.get_socket(), {"blocking": flags, "keepalive": flags, "timeout": [0, 3, 3], "listen_backlog": [10, 3, 3]}),
        (Gio.SocketClient(), {"timeout": [0, 3, 3], "family": [0, 1, 1], "socket_type": [1, 2, 2]}),
        (Gio.SocketClient(), {"protocol": [0, 0], "enable_proxy": flags, "local_address": [None, address, None]}),
        (low, {"close_fd": [False, True, True, False]}),
        (high, {"close_fd": [False, True, True, False]}),
        (Gio.DataInputStream.new(low), {"byte_order": [0, 1, 1, 0], "newline_type": [0, 2, 2]}),
        (Gio.DataInputStream.new(low), {"buffer_size": [4096, 50, 50], "close_base_stream": flags}),
        (Gio.DataOutputStream.new(high), {"byte_order": [0, 1, 1, 0], "close_base_stream": flags}),
    ]
    seen = []
    for each, given in setters:
        GObject.Object.connect(each, "notify", lambda _, spec: seen.append(["notify", spec.name]))
        for name, values in given.items():
            for place, value in enumerate(values):
                seen.append([name, place])
                getattr(each, f"set_{name}")(value)
    return seen
