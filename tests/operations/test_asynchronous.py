"""What every asynchronous operation has in common: callback, Task, Future, and the arguments of the call."""

from __future__ import annotations

import asyncio
import gc
import inspect
import time

import pytest
from helpers import Background, Calls, collect, open_descriptors, settle
from operations.table import OPERATIONS, each_operation, each_operation_now_and_later, waits
from ways import CANCELLED, each_loop, failure, in_asyncio, iterate, optional, pushed, rest, run_in_uvloop, start

import unixconn
from unixconn import AsyncResult, Cancellable, Future, MainContext, MainLoop, Object, Task

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")


@pytest.fixture
def cancelled():
    """A Cancellable that was cancelled."""
    cancellable = Cancellable()
    cancellable.cancel()
    return cancellable


def ended(operation, *arguments):
    """Do the operation with a callback; return what the callback gets as its result."""
    calls = Calls()
    operation.start(*(arguments or (None,)), calls)
    iterate(lambda: calls)
    return calls.result


def test_the_table_is_complete():
    """Every method of the library that has an asynchronous form is in the table."""
    classes = [each for each in (getattr(unixconn, name) for name in unixconn.__all__) if inspect.isclass(each)]
    found = {
        getattr(each, name).__qualname__.removesuffix("_async")
        for each in classes
        for name in dir(each)
        if name.endswith("_async")
    }
    in_table = set()
    for row in OPERATIONS.values():
        with row() as operation:
            in_table.add(getattr(operation.owner, f"{operation.name}_async").__qualname__.removesuffix("_async"))
    assert found == in_table


class TestCallback:
    @each_operation_now_and_later()
    def test_is_called(self, operation, later, calls):
        """It gets the source, the result and the data, once, and not before the start has returned."""
        operation.prepare(later)
        cancellable = Cancellable()
        assert operation.start(cancellable, calls, "one", 2) is None
        assert calls == []
        if later:
            rest(times=3)
            assert calls == []
            operation.unblock()
            assert calls == []
        iterate(lambda: calls)
        [(source, result, *data)] = calls
        assert source is operation.owner
        assert type(result) is Task
        assert data == ["one", 2]
        operation.check(operation.finish(result))
        # Nothing brings it a second time.
        cancellable.cancel()
        if operation.closed:
            operation.close_meanwhile()
        rest(times=3)
        assert len(calls) == 1

    @each_operation()
    @pytest.mark.parametrize("data", [["one", 2], None], ids=["a list", "None"])
    def test_data_by_keyword(self, operation, calls, data):
        """The keyword user_data is one datum for the callback, whatever it is, as with PyGObject."""
        operation.ready()
        assert operation.start(None, calls, user_data=data) is None
        iterate(lambda: calls)
        [(source, result, got)] = calls
        assert source is operation.owner
        assert got is data
        operation.check(operation.finish(result))

    @each_operation_now_and_later()
    def test_none(self, operation, later):
        """With None in its place there is no Future, and the operation runs all the same."""
        operation.prepare(later)
        assert operation.start(None, None) is None
        if later:
            operation.unblock()
        operation.done()
        if operation.repeats and not operation.closes:
            operation.is_ready = False
            operation.again()
        rest(times=1)

    @each_operation_now_and_later()
    def test_by_keyword(self, operation, later, calls):
        """The arguments have Gio's names."""
        operation.prepare(later)
        start_it = getattr(operation.owner, f"{operation.name}_async")
        assert start_it(callback=calls, cancellable=None, **operation.arguments()) is None
        if later:
            operation.unblock()
        iterate(lambda: calls)
        operation.check(getattr(operation.owner, f"{operation.name}_finish")(result=calls.result))

    @each_operation_now_and_later()
    def test_in_a_loop_that_sleeps(self, operation, later):
        """A MainLoop that waits without an end is woken, and can be ended by the callback."""
        operation.prepare(later)
        loop, calls = MainLoop(), Calls()

        def called(*arguments):
            calls(*arguments)
            loop.quit()

        def ready():
            time.sleep(0.01)
            operation.unblock()

        operation.start(None, called)
        other = Background(ready) if later else None
        loop.run()
        if other is not None:
            assert other.outcome() is None
        operation.check(operation.finish(calls.result))

    @each_operation_now_and_later()
    def test_an_exception_in_it(self, operation, later, pair, calls, reports):
        """It is reported, the Task is completed, and the others are called."""
        tasks = []

        def fails(_source, result):
            tasks.append(result)
            operation.check(operation.finish(result))
            raise ZeroDivisionError

        operation.prepare(later)
        operation.start(None, fails)
        pair[0].send_credentials_async(None, calls)
        if later:
            operation.unblock()
        iterate(lambda: calls and tasks)
        assert [type(each) for each in reports] == [ZeroDivisionError]
        assert tasks[0].get_completed()
        assert MainContext.get_thread_default() is None

    @each_operation_now_and_later()
    def test_an_exit_out_of_it(self, operation, later, pair, calls):
        """KeyboardInterrupt comes out of the loop, which can go on after it."""

        def leaves(_source, result):
            operation.check(operation.finish(result))
            raise KeyboardInterrupt

        operation.prepare(later)
        operation.start(None, leaves)
        if later:
            operation.unblock()
        with pytest.raises(KeyboardInterrupt):
            iterate(lambda: False)
        pair[0].send_credentials_async(None, calls)
        iterate(lambda: calls)
        assert MainContext.get_thread_default() is None

    @each_operation_now_and_later()
    def test_its_context_is_that_of_the_start(self, operation, later):
        """The callback comes in the context that was the thread's default, which it is again meanwhile."""
        found = []

        def called(_source, result):
            found.append((MainContext.get_thread_default(), result.get_context()))
            operation.check(operation.finish(result))

        operation.prepare(later)
        context = MainContext()
        with pushed(context):
            operation.start(None, called)
        if later:
            operation.unblock()
        rest(times=2)
        with pushed(MainContext()) as another:
            rest(another, 2)
        assert found == []
        iterate(lambda: found, context)
        assert found == [(context, context)]
        assert MainContext.get_thread_default() is None


class TestTask:
    @each_operation()
    def test_tells_of_the_operation(self, operation, calls):
        """A Task says what it is of, and how it is to be called back."""
        cancellable = Cancellable()
        operation.ready()
        operation.start(cancellable, calls, "data")
        iterate(lambda: calls)
        task = calls.result
        assert isinstance(task, Task)
        assert isinstance(task, AsyncResult)
        assert isinstance(task, Object)
        assert task.get_source_object() is operation.owner
        assert task.get_cancellable() is cancellable
        assert task.get_name() == f"{operation.symbol}_async"
        assert task.get_context() is MainContext.default()
        assert task.get_priority() == 0
        assert task.get_check_cancellable() is True
        assert task.get_return_on_cancel() is False
        assert task.get_user_data() is None
        assert task.is_tagged(None) is False
        assert task.is_tagged(operation.owner) is False
        assert task.legacy_propagate_error() is False
        assert task.had_error() is False
        assert Task.is_valid(task, operation.owner) is True
        assert Task.is_valid(task, cancellable) is False
        for wrong in (operation.owner, None):
            with pytest.raises(TypeError, match="result must be an AsyncResult"):
                Task.is_valid(wrong, operation.owner)
        operation.check(operation.finish(task))

    @each_operation()
    def test_had_error(self, operation, cancelled):
        """It says so before and after the Error was raised."""
        result = ended(operation, cancelled)
        assert result.had_error() is True
        assert failure(operation.finish, result) == CANCELLED
        assert result.had_error() is True

    @each_operation()
    def test_propagate_value(self, operation):
        """propagate_value takes any kind of result, once."""
        operation.ready()
        result = ended(operation)
        fine, value = result.propagate_value()
        assert fine is True
        operation.check(value)
        with pytest.raises(ValueError, match="already taken"):
            result.propagate_value()


class TestFinish:
    @each_operation()
    @pytest.mark.parametrize(
        "wrong", [None, 5, "x", object(), Object(), Cancellable()], ids=lambda each: type(each).__name__
    )
    def test_wrong_type(self, operation, wrong):
        """What is no AsyncResult is a TypeError."""
        with pytest.raises(TypeError, match="AsyncResult"):
            operation.finish(wrong)

    @each_operation(lambda row: row.finish_is_of_an_object)
    def test_of_another_object(self, operation):
        """It is refused, and the result stays usable."""
        operation.ready()
        result = ended(operation)
        with type(operation)() as another:
            for _ in range(2):
                with pytest.raises(ValueError, match="not a result of"):
                    another.finish(result)
        operation.check(operation.finish(result))

    @each_operation()
    def test_of_another_operation(self, operation):
        """It is refused by the finish of any other operation of the object, and the result stays usable (D13)."""
        operation.ready()
        result = ended(operation)
        for name in dir(operation.owner):
            if name.endswith("_finish") and name != f"{operation.name}_finish":
                with pytest.raises(ValueError, match=rf"is the result of {operation.symbol}_async, not of \w+_async"):
                    getattr(operation.owner, name)(result)
        operation.check(operation.finish(result))

    @each_operation()
    def test_twice(self, operation):
        """A value is already taken once."""
        operation.ready()
        result = ended(operation)
        operation.check(operation.finish(result))
        for _ in range(2):
            with pytest.raises(ValueError, match="already taken"):
                operation.finish(result)

    @each_operation()
    def test_an_error_twice(self, operation, cancelled):
        """An Error is raised as often as it is asked for, and says the same."""
        result = ended(operation, cancelled)
        assert [failure(operation.finish, result) for _ in range(3)] == [CANCELLED] * 3

    @each_operation()
    @pytest.mark.parametrize("later", [False, True], ids=["before the callback", "in the callback"])
    def test_success_stays_success(self, operation, later):
        """A cancel after the end does not turn it into CANCELLED (D6b)."""
        got, cancellable = [], Cancellable()

        def called(_source, result):
            cancellable.cancel()
            got.append(operation.finish(result))

        operation.ready()
        operation.start(cancellable, called)
        if not later and operation.begins_at_once:
            cancellable.cancel()
        iterate(lambda: got)
        operation.check(got[0])

    @each_operation(lambda row: row.keeps_a_descriptor)
    @pytest.mark.parametrize("form", ["callback", "future"])
    def test_nobody_takes_it(self, operation, form):
        """What a result holds is open until the result goes, and is closed with it."""
        operation.ready()
        before = open_descriptors().keys()
        if form == "callback":
            result = ended(operation)
        else:
            result = operation.start()
            iterate(result.done)
        gc.collect()
        assert open_descriptors().keys() - before
        del result
        assert settle(lambda: (collect(), not open_descriptors().keys() - before)[1])

    @each_operation()
    def test_of_a_future(self, operation):
        """A Future is an AsyncResult: the finish takes it, and nobody after it."""
        operation.ready()
        future = operation.start()
        assert settle(future.done)
        assert Task.is_valid(future, operation.owner)
        assert future.get_source_object() is operation.owner
        operation.check(operation.finish(future))

        async def wait():
            await future

        for call in (lambda: future.result(60), lambda: in_asyncio(wait()), lambda: optional("trio").run(wait)):
            with pytest.raises(ValueError, match="already taken"):
                call()


class TestFuture:
    @each_operation_now_and_later()
    def test_is_what_the_call_returns(self, operation, later):
        """Without a callback argument the call returns a Future, which has the result as often as it is asked."""
        operation.prepare(later)
        future = operation.start()
        assert type(future) is Future
        if later:
            assert not future.done()
            operation.unblock()
        value = future.result(60)
        assert future.done()
        assert not future.cancelled()
        assert future.exception() is None
        assert future.result() is value
        assert future.result(timeout=0) is value
        operation.check(value)

    @each_operation()
    def test_of_an_error(self, operation, cancelled):
        """It has the same Error as often as it is asked."""
        future = operation.start(cancelled)
        assert failure(future.result, 5) == CANCELLED
        assert failure(future.result) == CANCELLED
        assert future.exception() is future.exception(60)
        assert future.cancelled()

    @each_operation(waits)
    @each_loop("no loop", "asyncio", "uvloop", "trio")
    @pytest.mark.parametrize("how", ["cancel", "cancellable"])
    def test_is_cancelled(self, operation, loop, how):
        """It ends the operation, which has done nothing."""
        operation.block()

        def cancel():
            future = operation.start()
            assert not future.done()
            if how == "cancel":
                assert future.cancel() is True
            else:
                future.cancellable.cancel()
            return future

        async def main():
            future = cancel()
            # asyncio's own error is that of a future's cancel().
            error = asyncio.CancelledError if how == "cancel" and loop != "trio" else unixconn.CancelledError
            with pytest.raises(error):
                await future
            assert future.cancelled() == (how == "cancel" or loop == "trio")
            return future

        if loop == "no loop":
            future = cancel()
            assert failure(future.result, 5) == CANCELLED
            assert future.cancelled()
        elif loop == "trio":
            future = optional("trio").run(main)
        else:
            future = (in_asyncio if loop == "asyncio" else run_in_uvloop)(main())
        assert future.done()
        assert future.cancel() is False
        operation.again()

    @each_operation(waits)
    @each_loop("asyncio", "uvloop", "trio")
    def test_of_a_task_that_is_cancelled(self, operation, loop):
        """A task that gives up ends the operation, which has done nothing."""
        futures = []

        async def in_time():
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(begin(), 0.01)

        async def with_trio():
            with optional("trio").move_on_after(0.01):
                await begin()
                raise AssertionError("it has ended")

        async def begin():
            futures.append(operation.start())
            return await futures[0]

        operation.block()
        if loop == "trio":
            optional("trio").run(with_trio)
        else:
            (in_asyncio if loop == "asyncio" else run_in_uvloop)(in_time())
        assert futures[0].cancelled()
        operation.again()


class TestArguments:
    @each_operation()
    @pytest.mark.parametrize("wrong", [5, "x", object(), True, False, 0])
    def test_a_wrong_cancellable(self, operation, calls, wrong):
        """It is a TypeError of the call, and nothing has begun."""
        for callback in ([], [calls], [None]):
            with pytest.raises(TypeError, match="cancellable"):
                operation.start(wrong, *callback)
        if operation.is_blocking:
            with pytest.raises(TypeError, match="cancellable"):
                getattr(operation.owner, operation.name)(*operation.arguments().values(), wrong)
        assert calls == []
        operation.again()

    @each_operation()
    @pytest.mark.parametrize("wrong", [5, "x", object(), False])
    def test_a_wrong_callback(self, operation, wrong):
        """It is a TypeError of the call, and nothing has begun."""
        with pytest.raises(TypeError, match="callback"):
            operation.start(None, wrong)
        operation.again()

    @each_operation(lambda row: row.has_int)
    def test_a_wrong_priority(self, operation):
        """It is an error of the call, and nothing has begun."""
        method = getattr(operation.owner, f"{operation.name}_async")
        for wrong, error in (("high", TypeError), (None, TypeError), (1 << 40, OverflowError)):
            with pytest.raises(error):
                method(*operation.arguments().values(), wrong)
        operation.again()

    @each_operation(lambda row: row.has_int)
    def test_a_priority(self, operation, calls):
        """The Task has the priority, but for closing a connection (as in Gio)."""
        operation.ready()
        start(operation.owner, operation.name, operation.arguments().values(), None, calls, priority=7)
        iterate(lambda: calls)
        assert calls.result.get_priority() == (0 if operation.symbol == "g_io_stream_close" else 7)
        operation.check(operation.finish(calls.result))
