"""The MainContext in which a callback comes."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import pytest
from helpers import Calls, is_on, open_descriptors, settle, tag
from operations.kinds import KINDS, RECEIVING, check, finish, make_ready, make_wait, start
from ways import failure, iterate, iterated, pushed, rest

from unixconn import Cancellable, MainContext, UnixConnection

pytestmark = pytest.mark.usefixtures("no_linger")


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
        assert settle(lambda: (gc.collect(), there() is None)[1])
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
        assert not MainContext.default().iteration(False)  # it gives its descriptors back
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
