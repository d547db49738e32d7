"""A line server from watches and sources of its own, without an asynchronous call: ``loop_sources.py FOLDER``."""

import os
import socket

from gi.repository import Gio, GLib

EVENTS = []


class Jobs(GLib.Source):
    """Is ready while there are jobs, and runs them in order."""

    def __init__(self):
        self.jobs = []

    def add(self, word):
        self.jobs.append(word)

    def prepare(self):
        return bool(self.jobs), -1

    def check(self):
        return bool(self.jobs)

    def dispatch(self, callback, args):
        return callback(self.jobs.pop(0), *args)


class Reader(GLib.Source):
    """Reads what comes from a socket, and hands the bytes to its callback."""

    def __init__(self, sock):
        GLib.Source.__init__(self)
        self.sock = sock
        self.poll = GLib.PollFD(sock.fileno(), GLib.IO_IN | GLib.IO_HUP)
        self.add_poll(self.poll)

    def prepare(self):
        return False, -1

    def check(self):
        return bool(self.poll.revents & (GLib.IO_IN | GLib.IO_HUP))

    def dispatch(self, callback, args):
        data = self.sock.recv(100)
        return callback(data) if data else self.end()

    def end(self):
        self.remove_poll(self.poll)
        print("end of the stream")
        return False


class Ticker(GLib.Source):
    """Is ready every few milliseconds."""

    def __init__(self, milliseconds):
        self.due = GLib.get_monotonic_time()
        self.step = milliseconds * 1000

    def prepare(self):
        left = self.due - GLib.get_monotonic_time()
        return left <= 0, max(0, (left + 999) // 1000)

    def check(self):
        return self.due <= GLib.get_monotonic_time()

    def dispatch(self, callback, args):
        self.due += self.step
        return callback(*args)


class Countdown(GLib.Idle):
    """Calls itself three times."""

    def __init__(self, name):
        GLib.Idle.__init__(self)
        self.left = 3
        self.set_name(name)
        self.set_callback(self.step, name)

    def step(self, name):
        self.left -= 1
        print(name, self.left, self.get_name())
        return self.left > 0


def watches(context, loop):
    """Watch both ends of a pair, with and without a priority."""
    ours, theirs = socket.socketpair()

    def readable(channel, condition, word):
        print("readable", channel is ours, condition == GLib.IO_IN, word, channel.recv(10))
        GLib.timeout_add(20, close)
        return True

    def writable(fd, condition):
        print("writable", fd == theirs.fileno(), condition == GLib.IO_OUT, theirs.send(b"hello"))
        return False

    def hung_up(fd, condition, *data):
        print("hung up", fd == ours.fileno(), bool(condition & GLib.IO_HUP), data)
        loop.quit()
        return False

    first = GLib.io_add_watch(ours, GLib.PRIORITY_HIGH, GLib.IO_IN, readable, "a word")
    GLib.io_add_watch(theirs.fileno(), GLib.IO_OUT, writable)
    number = GLib.unix_fd_add_full(GLib.PRIORITY_LOW, ours.fileno(), GLib.IOCondition.HUP, hung_up, 1, "two")
    for each in (first, number):
        source = context.find_source_by_id(each)
        print(source.get_name(), source.get_priority(), source.get_id() == each)
    GLib.source_set_name_by_id(number, "a name")
    print(context.find_source_by_id(number).get_name())

    def close():
        GLib.source_remove(first)
        theirs.close()

    loop.run()
    print(context.find_source_by_id(first), context.find_source_by_id(number))
    ours.close()


def sources(context, loop):
    """Run sources of each class."""
    ours, theirs = socket.socketpair()
    jobs, reader, ticker = Jobs(), Reader(ours), Ticker(5)
    countdown = Countdown("countdown")
    late = GLib.Timeout(5)
    late.set_callback(lambda data: print("late", data, late.priority) or theirs.close())

    def work(word, count):
        print("job", word, count, context.is_owner())
        if word == "send":
            theirs.send(b"line")
        return word != "last"

    def tick(*data):
        EVENTS.append(data)
        return len(EVENTS) < 3

    def read(data):
        print("read", data)
        got.append(data)
        return True

    got = []

    jobs.set_callback(work, 7)
    reader.set_callback(read)
    reader.set_priority(GLib.PRIORITY_LOW)
    ticker.set_callback(tick)

    def attach(source):
        print(type(source).__name__, source.get_context(), source.get_id(), source.get_name(), source.priority)
        print(source.attach() == source.get_id(), source.get_context() == context)

    for each in (jobs, reader, ticker, countdown):
        attach(each)
    for word in ("first", "send", "last"):
        jobs.add(word)
    print(context.is_owner())
    # However slow the machine is, the order of what is printed is the same.
    while not (got and jobs.is_destroyed() and ticker.is_destroyed() and countdown.is_destroyed()):
        context.iteration(True)
    attach(late)
    while not reader.is_destroyed():
        context.iteration(True)
    print(EVENTS, jobs.is_destroyed(), ticker.is_destroyed(), countdown.is_destroyed(), late.is_destroyed())
    ours.close()
    # One that is not ready any more, although its callback wants to go on.
    again = Jobs()
    again.set_callback(lambda word, data: print("again", word, data) or True)
    again.attach(None)
    again.add("one")
    print([context.iteration(False) for _ in "123"])
    again.destroy()
    again.add("two")
    print([context.iteration(False) for _ in "123"], again.is_destroyed())


def priorities(context):
    """A source is asked only when none that is more urgent is ready."""

    class Loud(GLib.Source):
        def __init__(self, word, recurses=False):
            self.word = word
            self.set_can_recurse(recurses)
            self.left = 2

        def prepare(self):
            print("prepare", self.word)
            return True, 0

        def check(self):
            print("check", self.word)
            return True

        def dispatch(self, callback, args):
            print("dispatch", self.word, callback, args)
            self.left -= 1
            if self.left:
                print("inside", context.iteration(False))
            return self.left > 0

    for recurses in (False, True):
        low, high = Loud("low", recurses), Loud("high", recurses)
        low.set_priority(10)
        print(low.can_recurse, low.attach() > 0, high.attach() > 0)
        while not low.is_destroyed():
            print(context.iteration(True))
        print(high.is_destroyed())


def moments(context):
    """A source that is ready at a moment, and one that waits for a descriptor by a tag."""
    reading, writing = os.pipe()

    class Plain(GLib.Source):
        def prepare(self):
            return False, -1

        def check(self):
            return False

        def dispatch(self, callback, args):
            print("ready", self.get_ready_time() == -1, self.query_unix_fd(tag) == GLib.IO_IN)
            self.set_ready_time(-1)
            return len(os.read(reading, 1)) == 1 and callback(*args)

    source = Plain()
    tag = source.add_unix_fd(reading, GLib.IO_IN)
    source.set_callback(lambda *data: print(data) or True, "data")
    source.attach()
    print(context.iteration(False))
    os.write(writing, b"ab")
    print(context.iteration(True))
    source.modify_unix_fd(tag, GLib.IOCondition(0))
    print(context.iteration(False))
    source.set_ready_time(GLib.get_monotonic_time() + 2000)
    while not context.iteration(True):
        pass
    source.remove_unix_fd(tag)
    source.destroy()
    os.close(reading)
    os.close(writing)


def main():
    """Run all parts."""
    context = GLib.MainContext.default()
    loop = GLib.MainLoop(context)
    watches(context, loop)
    sources(context, loop)
    priorities(context)
    moments(context)
    error = GLib.Error.new_literal(Gio.io_error_quark(), "text", Gio.IOErrorEnum.CLOSED)
    print(error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.CLOSED), error.domain)


main()
