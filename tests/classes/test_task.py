"""Task, the result of an asynchronous operation, and the methods that finish it."""

from __future__ import annotations

import contextlib
import gc
import os

import pytest
from helpers import Calls, same
from operations.kinds import check, finish, make_ready, start
from ways import CANCELLED, failure, iterate, pushed, rest

from unixconn import Cancellable, Credentials, Error, MainContext, Object, Task

pytestmark = pytest.mark.usefixtures("no_linger")


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
            with pytest.raises(ValueError, match="already taken"):
                getattr(result, method)()
            with pytest.raises(ValueError, match="already taken"):
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
        os.close(future.result(60))


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

    def test_an_error_that_comes_with_a_cancelled_cancellable(self, pair, calls):
        """It is CANCELLED as long as the Cancellable is, as in Gio, unless the Task is not to look at it."""
        a, _ = pair
        a.close()
        cancellable = Cancellable()
        a.receive_fd_async(cancellable, calls)
        iterate(lambda: calls)
        closed = failure(a.receive_fd_finish, calls.result)
        assert closed == (18, "Socket is already closed")
        cancellable.cancel()
        for method in (a.receive_fd_finish, Task.propagate_int):
            assert failure(method, calls.result) == CANCELLED
        calls.result.set_check_cancellable(False)
        assert failure(a.receive_fd_finish, calls.result) == closed
        calls.result.set_check_cancellable(True)
        cancellable.reset()
        assert failure(a.receive_fd_finish, calls.result) == closed

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
        """What was already taken is not closed when the result goes."""
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


class TestOfAProgram:
    """Task.new(): what it does right is in tests/peers/snippets/objects.py."""

    def test_it_ends_once(self):
        """Another return_* is an error, and the first result stays."""
        task = Task.new(None, None, None)
        task.return_int(1)
        for end in (lambda: task.return_int(2), lambda: task.return_error(Error("x")), task.return_error_if_cancelled):
            with contextlib.suppress(ValueError):
                assert end() is False
        assert task.propagate_int() == 1

    def test_not_those_of_the_library(self, pair, calls):
        """A Task that a method has made is that method's to end and to name."""
        pair[0].receive_fd_async(None, calls)
        pair[1].send_fd(0)
        iterate(lambda: calls)
        for name, value in (("return_value", 1), ("set_name", "x")):
            with pytest.raises(ValueError, match="g_unix_connection_receive_fd_async"):
                getattr(calls.result, name)(value)
        os.close(pair[0].receive_fd_finish(calls.result))

    @pytest.mark.parametrize("arguments", [("x",), (None, "x"), (None, None, "x")])
    def test_wrong_arguments(self, arguments):
        """Each is a TypeError that shows it."""
        with pytest.raises(TypeError, match="'x'"):
            Task.new(*arguments)

    def test_wrong_values(self):
        """An error has to be one of GLib, and a priority a number."""
        task = Task.new()
        with pytest.raises(TypeError, match="ValueError"):
            task.return_error(ValueError())
        with pytest.raises(TypeError, match="priority"):
            task.set_priority("x")

    def test_its_context(self):
        """The callback runs in the context that was the thread's default, whoever ends the operation."""
        calls = Calls()
        with pushed(MainContext()) as context:
            task = Task.new(None, None, calls)
        task.run_in_thread(lambda each, *_: each.return_boolean(True))
        iterate(lambda: calls, context)
        assert task.get_context() is context
        assert task.propagate_boolean() is True
