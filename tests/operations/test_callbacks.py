"""Asynchronous operations in Gio's form: callbacks, Tasks, and the methods that finish them."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import socket
import threading
import time
import weakref

import pytest
from helpers import PYPY, SO_PASSCRED, Background, Calls, adopt, fill, forked, is_open, open_descriptors, same, settle

import unixconn
from unixconn import (
    Cancellable,
    Credentials,
    CredentialsSource,
    Error,
    MainContext,
    MainLoop,
    Object,
    UnixConnection,
    workers,
)

RECEIVING = ["receive_fd", "receive_credentials"]
SENDING = ["send_fd", "send_credentials"]
KINDS = RECEIVING + SENDING
PASSCRED = (socket.SOL_SOCKET, SO_PASSCRED)
CANCELLED = (19, "Operation was cancelled")
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


@pytest.fixture(autouse=True)
def no_linger(monkeypatch):
    """Let a worker go at once: each test waits until it has gone."""
    monkeypatch.setattr(workers, "_LINGER", 0.01)


@pytest.fixture
def calls():
    """A callback."""
    return Calls()


@pytest.fixture
def tagged():
    """Makes files that `tag` can tell from each other."""
    made = []

    def make(name):
        made.append(os.memfd_create(f"<{name}>"))
        return made[-1]

    yield make
    for fd in made:
        with contextlib.suppress(OSError):
            os.close(fd)


def tag(fd):
    """Give the name of a file that `tagged` has made, and close it."""
    name = os.readlink(f"/proc/self/fd/{fd}")
    os.close(fd)
    return name[name.index("<") + 1 : name.index(">")]


def iterate(until, context=None):
    """Iterate a context, the default one, until a condition holds."""
    context = context or MainContext.default()
    end = time.monotonic() + 10
    while not until():
        assert time.monotonic() < end, "it does not come"
        if not context.iteration(False):
            time.sleep(0.001)


def rest(context=None, times=20):
    """Give whatever might still come to a context the time to do so, and have it called."""
    context = context or MainContext.default()
    for _ in range(times):
        while context.iteration(False):
            pass
        time.sleep(0.001)


def start(connection, kind, *arguments):
    """Start an operation; what there is to send is standard input."""
    return getattr(connection, f"{kind}_async")(*([0] if kind == "send_fd" else []), *arguments)


def finish(connection, kind, result):
    """Finish it."""
    return getattr(connection, f"{kind}_finish")(result)


def check(kind, value):
    """See that *value* is what an operation gives, and close it."""
    if kind == "receive_fd":
        assert same(value, 0)
        os.close(value)
    elif kind == "receive_credentials":
        assert isinstance(value, Credentials)
        assert value.get_unix_pid() == os.getpid()
    else:
        assert value is True


def failure(call, *arguments):
    """Give code and text of the Error that a call raises."""
    with pytest.raises(Error) as caught:
        call(*arguments)
    return caught.value.code, caught.value.message


def drain(connection):
    """Take all that has come out of a connection's queue, by a second handle on its socket."""
    with socket.socket(fileno=os.dup(connection.get_socket().get_fd())) as other, contextlib.suppress(BlockingIOError):
        while other.recv(1 << 20, socket.MSG_DONTWAIT):
            pass


def take(connection, count):
    """Take *count* bytes out of a connection's queue, and no more."""
    with socket.socket(fileno=os.dup(connection.get_socket().get_fd())) as other:
        while count:
            count -= len(other.recv(min(count, 1 << 16), socket.MSG_DONTWAIT))


def make_wait(connection, kind):
    """See to it that an operation has to wait."""
    if kind in SENDING:
        fill(connection)


def make_ready(peer, kind):
    """Let an operation of the peer's peer go on."""
    if kind == "receive_fd":
        peer.send_fd(0)
    elif kind == "receive_credentials":
        peer.send_credentials()
    else:
        # No more than what was there: what waits goes just now.
        take(peer, peer.get_socket().get_available_bytes())


def is_on(connection):
    """Tell whether SO_PASSCRED is on."""
    return bool(connection.get_socket().get_option(*PASSCRED).value)


@contextlib.contextmanager
def pushed(context):
    """Have a context as the thread's default."""
    context.push_thread_default()
    try:
        yield context
    finally:
        context.pop_thread_default()


@contextlib.contextmanager
def iterated():
    """Give a context that another thread iterates."""
    context = MainContext()
    loop = MainLoop(context)
    thread = Background(loop.run)
    try:
        assert settle(loop.is_running)
        yield context
    finally:
        loop.quit()
        assert thread.outcome() is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
class TestCallback:
    def test_holds_the_connection(self, calls, kind, later):
        """The connection lives until its callback was called, and no longer."""
        a, b = UnixConnection.create_pair()
        if later:
            make_wait(b, kind)
        else:
            make_ready(a, kind)
        start(b, kind, None, calls)
        there = weakref.ref(b)
        number = b.get_socket().get_fd()
        del b
        gc.collect()
        assert is_open(number)
        if later:
            make_ready(a, kind)
        iterate(lambda: calls)
        assert calls[0][0] is there()
        check(kind, finish(calls[0][0], kind, calls.result))
        calls.clear()
        assert settle(lambda: (gc.collect(), there() is None and not is_open(number))[1])
        a.close()

class TestCallbackActions:
    def test_starts_others(self, pair):
        """A callback may start the next operation, over and over."""
        a, b = pair
        got = []

        def called(connection, result):
            os.close(connection.receive_fd_finish(result))
            got.append(1)
            if len(got) < 200:
                connection.receive_fd_async(None, called)
                if len(got) % 2:
                    a.send_fd(0)
                else:
                    a.send_fd_async(0, None, None)

        b.receive_fd_async(None, called)
        a.send_fd(0)
        iterate(lambda: len(got) == 200)
        rest(times=3)
        assert len(got) == 200

    def test_is_never_called_inside_of_another(self, pair):
        """What a callback starts, though it can end at once, is called back after it."""
        a, b = pair
        depth, deepest, got = 0, 0, []

        def called(connection, result):
            nonlocal depth, deepest
            depth += 1
            deepest = max(depth, deepest)
            got.append(connection.send_credentials_finish(result))
            if len(got) < 20:
                a.send_credentials_async(None, called)
                rest_of = b.receive_credentials()
                assert rest_of.get_unix_pid() == os.getpid()
            depth -= 1

        a.send_credentials_async(None, called)
        iterate(lambda: len(got) == 20)
        assert deepest == 1

    def test_cancels_others(self, pair, calls):
        """A callback may cancel an operation that waits behind it, and one that is ready too."""
        a, b = pair
        one, other = Cancellable(), Cancellable()
        got = []

        def called(connection, result):
            one.cancel()
            other.cancel()
            got.append(connection.receive_fd_finish(result))

        b.receive_fd_async(None, called)
        b.receive_fd_async(one, calls)
        a.receive_fd_async(other, calls)
        a.send_fd(0)
        iterate(lambda: len(calls) == 2)
        assert {failure(connection.receive_fd_finish, result) for connection, result in calls} == {CANCELLED}
        os.close(got[0])

    @pytest.mark.parametrize("how", ["close", "close_async"])
    def test_closes_its_own_connection(self, pair, calls, how):
        """What still waits there ends with CLOSED, and the result at hand stays good."""
        a, b = pair
        got = []

        def called(connection, result):
            if how == "close":
                connection.close()
            else:
                connection.close_async(0, None, None)
            got.append(connection.receive_fd_finish(result))

        b.receive_fd_async(None, called)
        b.receive_fd_async(None, calls)
        b.receive_credentials_async(None, calls)
        a.send_fd(0)
        iterate(lambda: len(calls) == 2)
        os.close(got[0])
        assert failure(b.receive_fd_finish, calls[0][1]) == (18, "Socket is already closed")
        assert failure(b.receive_credentials_finish, calls[1][1]) == (18, "Socket is already closed")
        iterate(b.is_closed)

    def test_runs_a_loop(self, pair, calls):
        """A callback may run a loop of its own, in which others are called."""
        a, b = pair
        got = []

        def called(connection, result):
            got.append(connection.receive_fd_finish(result))
            inner = MainLoop()

            def ends(*arguments):
                calls(*arguments)
                inner.quit()

            connection.receive_fd_async(None, ends)
            a.send_fd(0)
            inner.run()
            got.append(connection.receive_fd_finish(calls.result))

        b.receive_fd_async(None, called)
        a.send_fd(0)
        iterate(lambda: len(got) == 2)
        for fd in got:
            os.close(fd)

    def test_can_wait_itself(self, pair, calls):
        """A callback may use the blocking calls of the same connection."""
        a, b = pair
        got = []

        def called(connection, result):
            got.append(connection.receive_fd_finish(result))
            a.send_fd(0)
            got.append(connection.receive_fd())

        b.receive_fd_async(None, called)
        a.send_fd(0)
        iterate(lambda: len(got) == 2)
        for fd in got:
            os.close(fd)


class TestContext:
    def test_of_the_default_one(self, pair):
        """The global one is the default of the callback, whatever the thread has pushed that iterates it."""
        a, b = pair
        found = []

        def called(connection, result):
            found.append((MainContext.get_thread_default(), MainContext.ref_thread_default(), result.get_context()))
            os.close(connection.receive_fd_finish(result))

        b.receive_fd_async(None, called)
        a.send_fd(0)
        with pushed(MainContext()) as another:
            iterate(lambda: found)
            assert MainContext.get_thread_default() is another
        assert found == [(None, MainContext.default(), MainContext.default())]

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_another_thread(self, pair, kind):
        """The callback runs in the thread that iterates the context; what it starts stays there."""
        a, b = pair
        found = []

        def called(connection, result):
            found.append(threading.get_ident())
            check(kind, finish(connection, kind, result))
            if len(found) == 1:
                start(connection, kind, None, called)

        make_wait(b, kind)
        with iterated() as context:
            with pushed(context):
                start(b, kind, None, called)
            for count in (1, 2):
                make_ready(a, kind)
                assert settle(lambda count=count: len(found) >= count or rest(times=1))
        assert len(set(found)) == 1
        assert found[0] != threading.get_ident()

    def test_each_thread_has_its_own(self, tagged):
        """Operations of one connection belong to several contexts; each has the results of its own."""
        a, b = UnixConnection.create_pair()
        found = {}
        with a, b, iterated() as one, iterated() as other:
            for number in range(60):
                context = (one, other)[number % 2]

                def called(connection, result, number=number, context=context):
                    fine = MainContext.get_thread_default() is context
                    found[number] = tag(connection.receive_fd_finish(result)) if fine else "in another context"

                with pushed(context):
                    b.receive_fd_async(None, called)
            for number in range(60):
                a.send_fd(tagged(number))
            assert settle(lambda: len(found) == 60)
        assert found == {number: str(number) for number in range(60)}

    def test_nobody_iterates_it(self, pair, calls, tagged):
        """Who waits in another context, behind it in the line even, is not delayed; its result keeps."""
        a, b = pair
        forgotten = Calls()
        with pushed(MainContext()) as context:
            b.receive_fd_async(None, forgotten)
        b.receive_fd_async(None, calls)
        a.send_fd(tagged("first"))
        a.send_fd(tagged("second"))
        iterate(lambda: calls)
        assert tag(b.receive_fd_finish(calls.result)) == "second"
        assert forgotten == []
        iterate(lambda: forgotten, context)
        assert tag(b.receive_fd_finish(forgotten.result)) == "first"

    def test_goes_with_the_results_that_it_has(self, pair, calls, null):
        """A descriptor that was to be delivered to a context which is dropped is closed."""
        a, b = pair
        before = open_descriptors()
        with pushed(MainContext()) as context:
            a.send_fd(null)
            b.receive_fd_async(None, calls)
            b.receive_fd_async(None, calls)
            a.send_fd(null)
            b.receive_fd_async(None, None)  # so both are served
        a.send_fd(null)
        assert settle(lambda: b.get_socket().get_available_bytes() == 0)
        assert len(open_descriptors()) >= len(before) + 2
        there = weakref.ref(context)
        del context
        assert settle(lambda: (gc.collect(), there() is None)[1])
        assert settle(lambda: (gc.collect(), open_descriptors().items() <= before.items())[1])
        assert calls == []

    @pytest.mark.parametrize("kind", RECEIVING)
    def test_goes_with_what_waits(self, kind):
        """A context, an operation that waits for it, and its connection, go together where nobody else has them."""
        before = open_descriptors()
        a, b = UnixConnection.create_pair()
        with pushed(MainContext()) as context:
            start(b, kind, None, Calls())
            rest(context, 1)
        there = weakref.ref(context)
        del b, context
        assert settle(lambda: (gc.collect(), there() is None)[1], 1)
        a.close()
        assert settle(lambda: (gc.collect(), open_descriptors().items() <= before.items())[1])

    def test_a_waiting_one_takes_nothing_else_with_it(self, calls):
        """A context that was dropped while an operation of it waits does not keep others of the line from their end."""
        before = open_descriptors()
        a, b = UnixConnection.create_pair()
        with a, b:
            with pushed(MainContext()):
                b.receive_fd_async(None, Calls())
            gc.collect()
            b.receive_fd_async(None, calls)
            for _ in range(2):
                a.send_fd(0)
            iterate(lambda: calls)
            os.close(b.receive_fd_finish(calls.result))
        assert settle(lambda: (gc.collect(), open_descriptors().items() <= before.items())[1])

    def test_nobody_iterates_it_any_more(self, pair):
        """Cancelling and closing end what waits there, without anybody who iterates."""
        a, b = pair
        cancellable = Cancellable()
        forgotten = Calls()
        with pushed(MainContext()) as context:
            b.receive_credentials_async(cancellable, forgotten)
            a.receive_credentials_async(None, forgotten)
        assert is_on(b)
        cancellable.cancel()
        assert not is_on(b)
        a.close()
        assert forgotten == []
        rest(context)
        assert [failure(connection.receive_credentials_finish, result)[0] for connection, result in forgotten] == [
            19,
            18,
        ]

    def test_priority(self, pair):
        """Of several results that are there, that with the lowest number comes first."""
        a, b = pair
        order = []
        for connection, priority, name in ((a, 10, "late"), (b, -10, "early")):
            connection.get_output_stream().write_async(b"x", priority, None, lambda *_, name=name: order.append(name))
        iterate(lambda: len(order) == 2)
        assert order == ["early", "late"]

    def test_each_priority_has_an_iteration_of_its_own(self, pair):
        """One iteration calls back what is ready of one priority."""
        a, b = pair
        order = []
        for connection, priority, name in ((a, 10, "late"), (b, -10, "early")):
            connection.get_output_stream().write_async(b"x", priority, None, lambda *_, name=name: order.append(name))
        assert MainContext.default().iteration(True)
        assert order == ["early"]
        assert MainContext.default().iteration(True)
        assert order == ["early", "late"]


class TestTask:
    def test_without_a_cancellable(self, pair, calls):
        """It has none."""
        pair[0].send_credentials_async(None, calls)
        iterate(lambda: calls)
        assert calls.result.get_cancellable() is None
        assert calls.result.had_error() is False

    @pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
    def test_completed(self, pair, later):
        """False in the callback, True after it, with a notify in the same context."""
        a, b = pair
        order = []
        context = MainContext()

        def called(connection, result):
            Object.connect(result, "notify::completed", notified)
            order.append(("callback", result.get_completed(), result.props.completed))
            os.close(connection.receive_fd_finish(result))

        def notified(result, property_):
            # In Gio the context is the default one then, too.
            order.append((property_.name, result.get_completed(), result.get_property("completed")))

        if not later:
            a.send_fd(0)
        with pushed(context):
            b.receive_fd_async(None, called)
        if later:
            a.send_fd(0)
        iterate(lambda: order, context)
        rest(context)
        assert order == [("callback", False, False), ("completed", True, True)]

    def test_completed_is_read_only(self, pair, calls):
        """It can not be set."""
        pair[0].send_credentials_async(None, calls)
        iterate(lambda: calls)
        with pytest.raises((TypeError, AttributeError)):
            calls.result.props.completed = False

    def test_propagate(self, pair):
        """Each method gives a result of its kind, once."""
        a, b = pair
        got = []
        cases = [
            (b, "send_fd", "propagate_boolean"),
            (b, "send_credentials", "propagate_boolean"),
            (a, "receive_fd", "propagate_int"),
            (a, "receive_credentials", "propagate_pointer"),
        ]
        for connection, kind, method in cases:
            start(
                connection, kind, None, lambda _, result, kind=kind, method=method: got.append((kind, method, result))
            )
        iterate(lambda: len(got) == 4)
        for kind, method, result in got:
            value = getattr(result, method)()
            assert (
                type(value)
                is {"propagate_boolean": bool, "propagate_int": int, "propagate_pointer": Credentials}[method]
            )
            check(kind, value)
            with pytest.raises(ValueError, match="handed out"):
                getattr(result, method)()
            with pytest.raises(ValueError, match="handed out"):
                finish(result.get_source_object(), kind, result)

    @pytest.mark.parametrize(
        ("kind", "wrong"),
        [
            ("receive_fd", "propagate_boolean"),
            ("receive_fd", "propagate_pointer"),
            ("receive_credentials", "propagate_int"),
            ("receive_credentials", "propagate_boolean"),
            ("send_fd", "propagate_int"),
            ("send_fd", "propagate_pointer"),
        ],
    )
    def test_propagate_another_kind(self, pair, calls, kind, wrong):
        """A method for another kind of result refuses it, and it stays usable."""
        a, b = pair
        make_ready(a, kind)
        start(b, kind, None, calls)
        iterate(lambda: calls)
        with pytest.raises(ValueError, match=f"g_unix_connection_{kind}_async"):
            getattr(calls.result, wrong)()
        check(kind, finish(b, kind, calls.result))

    @pytest.mark.parametrize("method", ["propagate_boolean", "propagate_int", "propagate_pointer", "propagate_value"])
    def test_propagate_an_error(self, pair, calls, method):
        """Every method raises it, each time."""
        cancellable = Cancellable()
        cancellable.cancel()
        pair[0].receive_fd_async(cancellable, calls)
        iterate(lambda: calls)
        for _ in range(2):
            assert failure(getattr(calls.result, method)) == CANCELLED

    def test_before_the_end(self, pair):
        """There is nothing to be had yet, and nothing is spoilt by asking."""
        a, b = pair
        future = b.receive_fd_async()
        for method in ("propagate_boolean", "propagate_int", "propagate_pointer", "propagate_value"):
            with pytest.raises(ValueError, match="not ended"):
                getattr(future, method)()
        with pytest.raises(ValueError, match="not ended"):
            b.receive_fd_finish(future)
        assert not future.get_completed()
        a.send_fd(0)
        os.close(future.result(10))


class TestFinish:
    def test_an_error_does_not_grow(self, pair, calls):
        """Raised over and over, it does not gather frames."""
        cancellable = Cancellable()
        cancellable.cancel()
        pair[0].receive_fd_async(cancellable, calls)
        iterate(lambda: calls)

        def depth():
            with pytest.raises(Error) as caught:
                pair[0].receive_fd_finish(calls.result)
            return len(caught.traceback)

        first = depth()
        for _ in range(5):
            last = depth()
        assert last <= first + 1

    def test_success_of_one_that_has_waited(self, pair, calls):
        """It is the same with one that has ended later, in another context than the one that is iterated."""
        a, b = pair
        cancellable = Cancellable()
        with pushed(MainContext()) as context:
            b.receive_fd_async(cancellable, calls)
        following = Calls()
        b.receive_fd_async(None, following)
        a.send_fd(0)
        a.send_fd(0)
        iterate(lambda: following)  # so the first has ended too
        os.close(b.receive_fd_finish(following.result))
        cancellable.cancel()
        iterate(lambda: calls, context)
        os.close(b.receive_fd_finish(calls.result))

    def test_collected_descriptors_are_the_collector_s(self, pair, calls):
        """What was handed out is not closed when the result goes."""
        a, b = pair
        a.send_fd(0)
        b.receive_fd_async(None, calls)
        iterate(lambda: calls)
        fd = b.receive_fd_finish(calls.result)
        calls.clear()
        for _ in range(3):
            gc.collect()
        assert same(fd, 0)
        os.close(fd)


def outcome_of(kind, call, *arguments):
    """Give what a call comes to, in a form that can be compared."""
    try:
        value = call(*arguments)
    except Error as error:
        return type(error), error.domain, error.code, error.message
    if kind == "receive_fd":
        os.close(value)
        return "a descriptor"
    if kind == "receive_credentials":
        return value.get_unix_pid(), value.get_unix_user(), value.source
    return value


def _send_several(peer):
    with socket.socket(fileno=os.dup(peer.get_socket().get_fd())) as other:
        socket.send_fds(other, [b"x"], [0, 0])


SITUATIONS = {
    "closed": lambda _, own: own.close(),
    "the peer has gone": lambda peer, _: peer.close(),
    "the peer has gone with unread data": lambda peer, own: (own.get_socket().send(b"x"), peer.close()),
    "would block": lambda _, own: (fill(own), own.get_socket().set_blocking(False)),
    "a plain byte": lambda peer, _: peer.get_socket().send(b"x"),
    "a descriptor": lambda peer, _: peer.send_fd(0),
    "several descriptors": lambda peer, _: _send_several(peer),
    "credentials": lambda peer, _: peer.send_credentials(),
    "credentials, switched on": lambda peer, own: (own.get_socket().set_option(*PASSCRED, 1), peer.send_credentials()),
    "descriptor, switched on": lambda peer, own: (own.get_socket().set_option(*PASSCRED, 1), peer.send_fd(0)),
}


class TestErrors:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("situation", SITUATIONS)
    def test_are_those_of_the_blocking_call(self, calls, kind, situation):
        """What a call comes to does not depend on its form: the same class, code and text."""
        found = []
        for form in ("blocking", "callback", "future"):
            peer, own = UnixConnection.create_pair()
            with peer, own:
                SITUATIONS[situation](peer, own)
                if form == "blocking":
                    found.append(outcome_of(kind, getattr(own, kind), *([0] if kind == "send_fd" else [])))
                elif form == "callback":
                    start(own, kind, None, calls)
                    iterate(lambda: calls)
                    found.append(outcome_of(kind, finish, own, kind, calls.result))
                else:
                    found.append(outcome_of(kind, start(own, kind).result, 10))
        assert found[0] == found[1] == found[2]

    @pytest.mark.parametrize("kind", KINDS)
    def test_of_a_socket_without_a_peer(self, calls, kind):
        """Sending is NOT_CONNECTED, receiving INVALID_ARGUMENT; it is the result that says so."""
        with adopt(socket.socket(socket.AF_UNIX)) as connection:
            start(connection, kind, None, calls)
            iterate(lambda: calls)
            code, text = failure(finish, connection, kind, calls.result)
        assert code == (45 if kind in SENDING else 13)
        assert text.startswith("Error sending credentials: ") == (kind == "send_credentials")

    @pytest.mark.parametrize(
        ("kind", "send", "expected"),
        [
            ("receive_fd", "a plain byte", (0, "Expecting 1 control message, got 0")),
            ("receive_fd", "several descriptors", (0, "Expecting one fd, but got 2")),
            ("receive_credentials", "a descriptor", (0, "Expecting 1 control message, got 2")),
        ],
    )
    def test_another_message_while_it_waits(self, pair, calls, kind, send, expected):
        """It is consumed, and those who wait behind have their own."""
        a, b = pair
        following = Calls()
        start(b, kind, None, calls)
        start(b, kind, None, following)
        SITUATIONS[send](a, b)
        make_ready(a, kind)
        iterate(lambda: following)
        code, text = failure(finish, b, kind, calls.result)
        assert (code, text.rstrip("\n")) == expected
        check(kind, finish(b, kind, following.result))

    def test_a_timeout_that_is_not_needed(self, pair, calls):
        """An operation that ends in time is not ended once more by its clock, nor is the next one."""
        a, b = pair
        b.get_socket().set_timeout(1)
        b.receive_fd_async(None, calls)
        a.send_fd(0)
        iterate(lambda: calls)
        os.close(b.receive_fd_finish(calls.result))
        b.get_socket().set_timeout(0)
        following = Calls()
        b.receive_fd_async(None, following)
        time.sleep(1.1)
        rest()
        assert len(calls) == 1
        assert following == []
        b.close()
        iterate(lambda: following)

    def test_a_descriptor_that_is_not_open(self, pair, calls):
        """It is a result, like every Error; it wins over closed and cancelled, as in Gio."""
        a, b = pair
        fd = os.dup(0)
        os.close(fd)
        cancellable = Cancellable()
        cancellable.cancel()
        a.send_fd_async(fd, None, calls)
        a.send_fd_async(fd, cancellable, calls)
        a.close()
        a.send_fd_async(fd, None, calls)
        assert calls == []
        iterate(lambda: len(calls) == 3)
        for _, result in calls:
            code, text = failure(a.send_fd_finish, result)
            assert code == 0
            assert text.startswith("dup: Bad file descriptor")
        assert b.get_socket().get_available_bytes() == 0

    def test_over_another_family(self, calls):
        """A socket that would lose the descriptor refuses it (D15)."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            accepted, _ = server.accept()
        with accepted, adopt(client) as connection:
            connection.send_fd_async(0, None, calls)
            connection.receive_credentials_async(None, calls)
            iterate(lambda: len(calls) == 2)
            assert failure(connection.send_fd_finish, calls[0][1])[0] == 15
            assert failure(connection.receive_credentials_finish, calls[1][1])[0] == 15


class TestArguments:
    @pytest.mark.parametrize(
        ("wrong", "error"),
        [
            (None, TypeError),
            ("0", TypeError),
            (0.0, TypeError),
            (True, TypeError),
            (-1, ValueError),
            (2**40, OverflowError),
        ],
    )
    def test_a_wrong_descriptor(self, pair, calls, wrong, error):
        """What can not be a descriptor is an error of the call."""
        a, b = pair
        with pytest.raises(error, match="fd"):
            a.send_fd_async(wrong, None, calls)
        rest()
        assert calls == []
        assert b.get_socket().get_available_bytes() == 0

    def test_a_file_object(self, pair, calls):
        """An object with fileno() is a descriptor."""
        a, b = pair
        with open(os.devnull) as file:  # noqa: PTH123 - a file object
            a.send_fd_async(file, None, calls)
            iterate(lambda: calls)
            assert a.send_fd_finish(calls.result) is True
            fd = b.receive_fd()
            assert same(fd, file.fileno())
            os.close(fd)

class TestSending:
    def test_the_caller_closes_it_at_once(self, pair, calls, tagged):
        """What arrives is the file of the call, though its number belongs to another one by then."""
        a, b = pair
        fill(a)
        waiting = b.get_socket().get_available_bytes()
        for number in range(5):
            fd = tagged(number)
            a.send_fd_async(fd, None, calls)
            os.dup2(0, fd)
            os.close(fd)
        take(b, waiting)
        iterate(lambda: len(calls) == 5)
        assert [a.send_fd_finish(result) for _, result in calls] == [True] * 5
        assert [tag(b.receive_fd()) for _ in range(5)] == list("01234")

    @pytest.mark.parametrize("end", ["success", "cancelled", "closed", "peer gone"])
    def test_the_copy_is_closed(self, pair, calls, null, end):
        """However the wait ends, the duplicate that was kept for it goes with it, before the callback."""
        a, b = pair
        fill(a)
        cancellable = Cancellable()

        def copies():
            return sum(name == os.devnull for name in open_descriptors().values())

        before = copies()
        a.send_fd_async(null, cancellable, calls)
        assert copies() == before + 1
        if end == "success":
            drain(b)
        elif end == "cancelled":
            cancellable.cancel()
        else:
            {"closed": a, "peer gone": b}[end].close()
        iterate(lambda: calls)
        assert copies() == before

    @pytest.mark.parametrize("kind", SENDING)
    def test_does_not_need_the_context(self, pair, calls, kind):
        """What waits for room goes when there is some, though nobody iterates: the peer waits for it."""
        a, b = pair
        fill(a)
        waiting = b.get_socket().get_available_bytes()
        with pushed(MainContext()) as context:
            start(a, kind, None, calls)
        take(b, waiting)
        check(kind.replace("send", "receive"), getattr(b, kind.replace("send", "receive"))())
        assert calls == []
        iterate(lambda: calls, context)
        assert finish(a, kind, calls.result) is True


class TestOrder:
    def test_of_receiving(self, pair, tagged):
        """Those that receive on a connection have the messages in the order of their starts, whatever their form."""
        a, b = pair
        got = {}

        def called(connection, result, number):
            got[number] = tag(connection.receive_fd_finish(result))

        futures = {}
        for number in range(90):
            if number % 3:
                b.receive_fd_async(None, called, number)
            else:
                futures[number] = b.receive_fd_async()
        for number in range(90):
            a.send_fd(tagged(number))
            if number % 10 == 0:
                MainContext.default().iteration(False)
        iterate(lambda: len(got) == 60)
        got.update((number, tag(future.result(10))) for number, future in futures.items())
        assert got == {number: str(number) for number in range(90)}

    def test_of_sending(self, pair, calls, tagged):
        """Those that wait to send go in the order of their starts, whatever their form."""
        a, b = pair
        fill(a)
        waiting = b.get_socket().get_available_bytes()
        futures = []
        for number in range(30):
            if number % 3 == 0:
                a.send_fd_async(tagged(number), None, calls, number)
            elif number % 3 == 1:
                a.send_fd_async(tagged(number), None, None)
            else:
                futures.append(a.send_fd_async(tagged(number)))
        take(b, waiting)
        assert [tag(b.receive_fd()) for _ in range(30)] == [str(number) for number in range(30)]
        assert all(future.result(10) for future in futures)
        iterate(lambda: len(calls) == 10)
        assert [number for _, _, number in calls] == list(range(0, 30, 3))

    def test_of_the_callbacks(self, pair):
        """In one context they come in the order of the starts, of those that were ready and those that were not."""
        a, b = pair
        order = []

        def called(connection, result, number):
            os.close(connection.receive_fd_finish(result))
            order.append(number)

        for _ in range(3):
            a.send_fd(0)
        for number in range(6):
            b.receive_fd_async(None, called, number)
        for _ in range(3):
            a.send_fd(0)
        iterate(lambda: len(order) == 6)
        assert order == list(range(6))

    def test_nobody_overtakes(self, pair, calls, tagged):
        """Who starts when a message is there, and another one waits, comes behind that one."""
        a, b = pair
        first = Calls()
        with pushed(MainContext()) as context:
            b.receive_fd_async(None, first)
        a.send_fd(tagged("first"))
        b.receive_fd_async(None, calls)
        iterate(lambda: b.get_socket().get_available_bytes() == 0)
        rest()
        assert calls == []
        a.send_fd(tagged("second"))
        iterate(lambda: calls)
        assert tag(b.receive_fd_finish(calls.result)) == "second"
        iterate(lambda: first, context)
        assert tag(b.receive_fd_finish(first.result)) == "first"

    def test_a_message_that_came_before_the_iteration(self, pair, calls, tagged):
        """Started behind one of another context, with all messages there already, it does not miss its own."""
        a, b = pair
        first = Calls()
        with pushed(MainContext()) as context:
            b.receive_fd_async(None, first)
        a.send_fd(tagged("first"))
        a.send_fd(tagged("second"))
        b.receive_fd_async(None, calls)
        iterate(lambda: calls)
        assert tag(b.receive_fd_finish(calls.result)) == "second"
        iterate(lambda: first, context)
        assert tag(b.receive_fd_finish(first.result)) == "first"

    def test_directions_are_independent(self, pair, calls):
        """Who waits to receive does not hold up who sends, nor the other way round."""
        a, b = pair
        got = Calls()
        b.receive_fd_async(None, got)
        b.send_fd_async(0, None, calls)
        iterate(lambda: calls)
        assert b.send_fd_finish(calls.result) is True
        os.close(a.receive_fd())
        calls.clear()
        fill(b)
        b.send_fd_async(0, None, calls)
        a.send_fd(0)
        iterate(lambda: got)
        os.close(b.receive_fd_finish(got.result))
        assert calls == []
        drain(a)
        iterate(lambda: calls)
        assert b.send_fd_finish(calls.result) is True

    @pytest.mark.parametrize("gone", [0, 2, 4])
    def test_one_leaves_the_line(self, pair, tagged, gone):
        """Who is cancelled takes no message, and the others keep their places."""
        a, b = pair
        cancellables = [Cancellable() for _ in range(5)]
        got, cancelled = [], []

        def called(connection, result, number):
            try:
                got.append((number, tag(connection.receive_fd_finish(result))))
            except unixconn.CancelledError:
                cancelled.append(number)

        for number, cancellable in enumerate(cancellables):
            b.receive_fd_async(cancellable, called, number)
        cancellables[gone].cancel()
        left = [number for number in range(5) if number != gone]
        for number in left:
            a.send_fd(tagged(number))
        iterate(lambda: len(got) == 4)
        assert got == [(number, str(number)) for number in left]
        assert cancelled == [gone]

    def test_kinds_share_a_line(self, pair, calls):
        """Descriptors and credentials are received in the order of the starts, too."""
        a, b = pair
        for kind in RECEIVING * 3:
            start(b, kind, None, calls, kind)
        for _ in range(3):
            a.send_fd(0)
            a.send_credentials()
        iterate(lambda: len(calls) == 6)
        assert [kind for _, _, kind in calls] == RECEIVING * 3
        for _, result, kind in calls:
            check(kind, finish(b, kind, result))

    def test_two_connections_of_one_socket(self, tagged):
        """They have one line: it is the socket's."""
        a, b = UnixConnection.create_pair()
        with a, b:
            other = UnixConnection(socket=b.get_socket())
            got = []

            def called(connection, result, number):
                got.append((number, tag(connection.receive_fd_finish(result))))

            for number in range(6):
                (b, other)[number % 2].receive_fd_async(None, called, number)
            for number in range(6):
                a.send_fd(tagged(number))
            iterate(lambda: len(got) == 6)
            assert got == [(number, str(number)) for number in range(6)]


class TestCancelling:
    def test_one_ends_a_thousand(self, calls):
        """One cancel() ends all, each once, on one connection and on many; nothing was consumed."""
        cancellable = Cancellable()
        pairs = [UnixConnection.create_pair() for _ in range(20)]
        for _, b in pairs:
            for number in range(50):
                start(b, RECEIVING[number % 2], cancellable, calls, RECEIVING[number % 2])
        assert not MainContext.default().iteration(False)
        cancellable.cancel()
        assert calls == []
        iterate(lambda: len(calls) == 1000)
        assert {failure(finish, b, kind, result) for b, result, kind in calls} == {CANCELLED}
        rest(times=3)
        assert len(calls) == 1000
        for a, b in pairs:
            assert not is_on(b)
            a.send_fd(0)
            os.close(b.receive_fd())
            a.close()
            b.close()

    def test_from_another_thread(self, pair, calls):
        """A loop that sleeps is woken."""
        cancellable, loop = Cancellable(), MainLoop()

        def called(*arguments):
            calls(*arguments)
            loop.quit()

        def cancel():
            time.sleep(0.05)
            cancellable.cancel()

        pair[0].receive_fd_async(cancellable, called)
        other = Background(cancel)
        loop.run()
        other.outcome()
        assert failure(pair[0].receive_fd_finish, calls.result) == CANCELLED

    def test_reset_while_waiting(self, pair, calls):
        """A reset of one that was not cancelled changes nothing, and it still ends the wait."""
        cancellable = Cancellable()
        pair[0].receive_fd_async(cancellable, calls)
        cancellable.reset()
        rest()
        assert calls == []
        cancellable.cancel()
        cancellable.reset()
        iterate(lambda: calls)
        assert failure(pair[0].receive_fd_finish, calls.result) == CANCELLED

    def test_used_again_after_reset(self, pair):
        """The same one serves the next operation."""
        a, b = pair
        cancellable = Cancellable()
        for _ in range(5):
            calls = Calls()
            b.receive_fd_async(cancellable, calls)
            cancellable.cancel()
            cancellable.reset()
            iterate(lambda calls=calls: calls)
            assert failure(b.receive_fd_finish, calls.result) == CANCELLED
        calls = Calls()
        b.receive_fd_async(cancellable, calls)
        a.send_fd(0)
        iterate(lambda: calls)
        os.close(b.receive_fd_finish(calls.result))

    def test_in_a_handler_of_it(self, pair, calls):
        """A handler of the Cancellable finds the operations ended, and may reset it, or start another."""
        a, b = pair
        cancellable = Cancellable()

        def handler():
            cancellable.reset()
            b.receive_fd_async(cancellable, calls, "second")

        cancellable.connect(handler)
        b.receive_fd_async(cancellable, calls, "first")
        cancellable.cancel()
        iterate(lambda: calls)
        rest()
        assert [word for *_, word in calls] == ["first"]
        assert failure(b.receive_fd_finish, calls[0][1]) == CANCELLED
        a.send_fd(0)
        iterate(lambda: len(calls) == 2)
        os.close(b.receive_fd_finish(calls[1][1]))

    def test_is_not_held_after_the_end(self, pair, calls):
        """A Cancellable does not keep the operations that it could have ended."""
        a, b = pair
        cancellable = Cancellable()
        for _ in range(50):
            b.receive_fd_async(cancellable, calls)
            a.send_fd(0)
        iterate(lambda: len(calls) == 50)
        there = [weakref.ref(result) for _, result in calls]
        calls.clear()
        assert settle(lambda: (gc.collect(), not any(each() for each in there))[1])

    def test_races_with_the_message(self, pair):
        """Either the operation is cancelled, or it has its message; no message is lost, and none is had twice."""
        a, b = pair
        chance = random.Random(1)
        with iterated() as context:
            for _ in range(100):
                calls, cancellable = Calls(), Cancellable()
                with pushed(context):
                    b.receive_fd_async(cancellable, calls)
                actions = [lambda: a.send_fd(0), cancellable.cancel]
                chance.shuffle(actions)
                other = Background(actions[0])
                actions[1]()
                other.outcome()
                assert settle(lambda calls=calls: calls)
                try:
                    fd = b.receive_fd_finish(calls.result)
                except unixconn.CancelledError:
                    fd = b.receive_fd()
                assert same(fd, 0)
                os.close(fd)
                assert b.get_socket().get_available_bytes() == 0


class TestPasscred:
    @pytest.mark.parametrize("end", ["message", "another message", "cancelled", "end of file"])
    @pytest.mark.parametrize("before", [False, True], ids=["off", "on"])
    def test_is_restored(self, pair, calls, end, before):
        """It is on while an operation waits, and as it was before when that has ended, however it has."""
        a, b = pair
        b.get_socket().set_option(*PASSCRED, before)
        cancellable = Cancellable()
        b.receive_credentials_async(cancellable, calls)
        assert is_on(b)
        if end == "message":
            a.send_credentials()
        elif end == "another message":
            a.send_fd(0)
        elif end == "cancelled":
            cancellable.cancel()
        else:
            a.close()
        iterate(lambda: calls)
        assert is_on(b) is before

    @pytest.mark.parametrize("before", [False, True], ids=["off", "on"])
    def test_of_one_that_ends_at_once(self, pair, calls, before):
        """The same where there was nothing to wait for, in the callback already."""
        a, b = pair
        b.get_socket().set_option(*PASSCRED, before)
        a.send_credentials()
        b.receive_credentials_async(None, calls)
        assert is_on(b) is before
        iterate(lambda: calls)
        assert b.receive_credentials_finish(calls.result).get_unix_pid() == os.getpid()

    @pytest.mark.parametrize("value", [False, True], ids=["off", "on"])
    def test_the_user_sets_it_meanwhile(self, pair, calls, value):
        """It takes effect when nobody waits any more."""
        a, b = pair
        b.get_socket().set_option(*PASSCRED, not value)
        b.receive_credentials_async(None, calls)
        b.receive_credentials_async(None, calls)
        b.get_socket().set_option(*PASSCRED, value)
        assert is_on(b)
        a.send_credentials()
        iterate(lambda: calls)
        assert is_on(b)
        a.send_credentials()
        iterate(lambda: len(calls) == 2)
        assert is_on(b) is value

    def test_forms_are_counted_together(self, pair, calls):
        """It is on until the last of all has ended: blocking, with a callback, with a Future, with none."""
        a, b = pair
        cancellables = [Cancellable() for _ in range(4)]
        b.receive_credentials_async(cancellables[0], calls)
        future = b.receive_credentials_async(cancellables[1])
        b.receive_credentials_async(cancellables[2], None)
        blocking = Background(b.receive_credentials, cancellables[3])
        assert blocking.is_waiting()
        for index in (1, 3, 0):
            cancellables[index].cancel()
            if index == 3:
                assert isinstance(blocking.outcome(), unixconn.CancelledError)
            assert is_on(b)
        assert future.cancelled()
        cancellables[2].cancel()
        assert not is_on(b)
        rest()
        assert failure(b.receive_credentials_finish, calls.result) == CANCELLED
        a.send_credentials()
        b.receive_credentials()

    @forks
    @pytest.mark.parametrize("how", ["message", "cancelled", "blocking one cancelled"])
    def test_one_leaves_early(self, raw, calls, how):
        """Who still waits gets the true sender of a plain byte, after another receiver has ended (D6)."""
        sock, connection = raw
        first, cancellable = Calls(), Cancellable()
        if how == "blocking one cancelled":
            blocking = Background(connection.receive_credentials, cancellable)
            assert blocking.is_waiting()
        else:
            connection.receive_credentials_async(cancellable, first)
        connection.receive_credentials_async(None, calls)
        if how == "message":
            sock.send(b"x")
            iterate(lambda: first)
            assert connection.receive_credentials_finish(first.result).get_unix_pid() == os.getpid()
        else:
            cancellable.cancel()
            if how == "cancelled":
                iterate(lambda: first)
            else:
                assert isinstance(blocking.outcome(), unixconn.CancelledError)
        pid = forked(lambda: sock.send(b"x"))
        os.waitpid(pid, 0)
        iterate(lambda: calls)
        credentials = connection.receive_credentials_finish(calls.result)
        assert (credentials.get_unix_pid(), credentials.source) == (pid, CredentialsSource.MESSAGE)

    @forks
    def test_the_byte_came_before(self, raw, calls):
        """A byte from before the start has no sender to be had: the answer is the peer, and says so."""
        sock, connection = raw
        os.waitpid(forked(lambda: sock.send(b"x")), 0)
        connection.receive_credentials_async(None, calls)
        iterate(lambda: calls)
        credentials = connection.receive_credentials_finish(calls.result)
        assert (credentials.get_unix_pid(), credentials.source) == (os.getpid(), CredentialsSource.PEER)

    @forks
    def test_never_a_wrong_identity(self, raw):
        """Whoever comes and goes, each byte that a child sends while somebody waits is the child's (D6)."""
        with sending_child(raw[0]) as (pid, send):
            crowd = Crowd(raw[1], send)
            for _ in range(200):
                crowd.play()
            crowd.go_home()
        assert len(crowd.found) > 200
        assert set(crowd.found) == {(pid, CredentialsSource.MESSAGE)}
        assert not is_on(raw[1])


@contextlib.contextmanager
def sending_child(sock):
    """Give the pid of a child, and a function that has it send a plain byte."""
    orders, order = os.pipe()

    def child():
        os.close(order)
        while os.read(orders, 1):
            sock.send(b"x")
        return True

    pid = forked(child)
    os.close(orders)
    try:
        yield pid, lambda: os.write(order, b"x")
    finally:
        os.close(order)
        os.waitpid(pid, 0)


class Crowd:
    """Receivers of credentials on one connection, some of which are cancelled."""

    def __init__(self, connection, send):
        self.connection = connection
        self.chance = random.Random(7)
        self.order = send
        self.found = []
        self.steady = 0
        """How many wait that are never cancelled."""
        self.fickle = []

    def play(self):
        """Let some come, and some go, while bytes come; each of these is received."""
        self.fickle = [Cancellable() for _ in range(self.chance.randint(0, 3))]
        for cancellable in [*self.fickle, None]:
            self.steady += cancellable is None
            self.connection.receive_credentials_async(cancellable, self.called, cancellable is None)
        self.leave(0.3)
        rest(times=self.chance.randint(0, 1))
        self.receive()
        while self.fickle:
            self.leave(1)
        rest(times=1)
        while self.steady and self.chance.random() < 0.6:
            self.receive()

    def receive(self):
        """Have a byte sent, while at least one waits, and others may just be on their way out."""
        expected = len(self.found) + 1
        assert is_on(self.connection)
        self.order()
        if self.chance.random() < 0.5:
            assert settle(lambda: self.connection.get_socket().get_available_bytes())
        self.leave(0.5)
        iterate(lambda: len(self.found) == expected)

    def leave(self, probability):
        """Cancel one, perhaps."""
        if self.fickle and self.chance.random() < probability:
            self.fickle.pop(self.chance.randrange(len(self.fickle))).cancel()

    def called(self, connection, result, steady):
        """Keep what a byte's sender was said to be."""
        self.steady -= steady
        with contextlib.suppress(unixconn.CancelledError):
            credentials = connection.receive_credentials_finish(result)
            self.found.append((credentials.get_unix_pid(), credentials.source))

    def go_home(self):
        """Let all have their byte."""
        while self.steady:
            self.receive()


class TestClosing:
    def test_close_async(self, pair, calls):
        """The socket is closed at once; the connection says so from the callback on."""
        _, b = pair
        seen = []

        def called(connection, result, word):
            seen.append((connection.is_closed(), connection.has_pending()))
            calls(connection, result, word)

        assert b.close_async(0, None, called, "data") is None
        assert b.get_socket().is_closed()
        assert b.get_socket().get_fd() == -1
        assert not b.is_connected()
        assert not b.is_closed()
        assert b.has_pending()
        iterate(lambda: calls)
        assert seen == [(True, False)]
        [(connection, result, word)] = calls
        assert (connection, word) == (b, "data")
        assert result.get_name() == "g_io_stream_close_async"
        assert b.close_finish(result) is True
        with pytest.raises(ValueError, match="handed out"):
            b.close_finish(result)

    def test_the_peer_sees_it_at_once(self, raw):
        """Nobody has to iterate for that."""
        sock, connection = raw
        connection.close_async(0, None, None)
        assert sock.recv(1) == b""
        assert not connection.is_closed()
        iterate(connection.is_closed)

    def test_streams_are_closed(self, pair, calls):
        """They are closed with the connection."""
        _, b = pair
        streams = [b.get_input_stream(), b.get_output_stream()]
        b.close_async(0, None, calls)
        iterate(lambda: calls)
        assert [stream.is_closed() for stream in streams] == [True, True]
        assert b.close_finish(calls.result) is True

    def test_a_second_one_meanwhile(self, pair, calls):
        """The second is PENDING, close() as well; the first goes its way."""
        _, b = pair
        b.close_async(0, None, calls)
        b.close_async(0, None, calls)
        assert failure(b.close) == (20, "Stream has outstanding operation")
        iterate(lambda: len(calls) == 2)
        assert b.close_finish(calls[0][1]) is True
        assert failure(b.close_finish, calls[1][1]) == (20, "Stream has outstanding operation")
        assert b.is_closed()
        assert b.close() is True

    def test_ends_what_waits(self, pair, calls):
        """Whoever waits on the connection ends with CLOSED, before the one who closes is told."""
        _, b = pair
        order = []
        b.receive_fd_async(None, lambda own, result: order.append(failure(own.receive_fd_finish, result)))
        future = b.receive_credentials_async()
        b.close_async(0, None, lambda own, result: order.append(own.close_finish(result)))
        assert failure(future.result) == (18, "Socket is already closed")
        iterate(lambda: len(order) == 2)
        assert order == [(18, "Socket is already closed"), True]

    def test_arguments(self, pair, calls):
        """What is wrong with them is raised at the call, and nothing is closed."""
        _, b = pair
        for arguments in (("x",), (0, "x"), (0, None, "x"), (0, 5, calls)):
            with pytest.raises(TypeError):
                b.close_async(*arguments)
        with pytest.raises(OverflowError):
            b.close_async(2**31, None, calls)
        assert not b.get_socket().is_closed()
        assert not b.has_pending()

    @pytest.mark.parametrize("kind", KINDS)
    def test_by_another_thread(self, pair, kind):
        """A loop that sleeps is woken, with CLOSED for each."""
        _, b = pair
        make_wait(b, kind)
        found, loop = [], MainLoop()

        def called(connection, result):
            found.append(failure(finish, connection, kind, result)[0])
            if len(found) == 2:
                loop.quit()

        def close():
            time.sleep(0.05)
            b.close()

        for _ in range(2):
            start(b, kind, None, called)
        closer = Background(close)
        loop.run()
        closer.outcome()
        assert found == [18, 18]


@pytest.mark.skipif(PYPY, reason="nothing goes there before a collection")
@pytest.mark.parametrize("way", ["callback", "nobody"])
def test_an_error_keeps_nothing(calls, way):
    """A connection goes with its last user, though an operation of it has failed: its frames are not kept."""

    def received(connection, result):
        with pytest.raises(unixconn.PeerClosedError):
            connection.send_credentials_finish(result)
        calls.append(result)

    gc.disable()
    try:
        a, b = UnixConnection.create_pair()
        b.close()
        gone = a.get_socket().weak_ref()
        if way == "callback":
            a.send_credentials_async(None, received)
            iterate(lambda: calls)
        else:
            a.get_output_stream().write_async(b"x", 0, None, None)
        calls.clear()
        del a
        iterate(lambda: gone() is None)
    finally:
        gc.enable()
