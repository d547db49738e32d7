"""What an operation comes to, in every way of calling it: its result, or how it ends without one."""

from __future__ import annotations

import contextlib
import functools

import pytest
from helpers import Background, Calls, settle
from operations.table import OPERATIONS, each_operation_in_each_way, waits
from ways import (
    BACKGROUND,
    CANCELLED,
    PENDING,
    WAYS,
    by_await,
    by_callback,
    failure,
    in_asyncio,
    in_uvloop,
    iterate,
    needs,
    run_in_uvloop,
    start,
    with_cancellable,
)

from unixconn import Cancellable, Error

TIMED_OUT = 24
WOULD_BLOCK = 27

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")


def ways_with_a_cancellable(row):
    """Return the ways in which a Cancellable ends the operation."""
    return [way for way in WAYS if way != "plain" and (way != "cancellable" or row.plain_heeds_cancellable)]


def background(_row):
    """Return the ways of the asynchronous form."""
    return BACKGROUND


def passed():
    """Return a Cancellable whose deadline has passed."""
    cancellable = Cancellable.with_timeout(0.001)
    assert settle(cancellable.is_cancelled)
    return cancellable


def is_cancelled(operation, way):
    """Return code and text of the Error of an operation that is cancelled."""
    return (19, operation.cancelled) if way is with_cancellable else CANCELLED


def cancelled():
    """Return a Cancellable that was cancelled."""
    cancellable = Cancellable()
    cancellable.cancel()
    return cancellable


@each_operation_in_each_way()
def test_of_what_is_ready(operation, way):
    """An operation that has nothing to wait for has its result; so has the next one."""
    for _ in range(2 if operation.repeats else 1):
        operation.ready()
        operation.check(operation.do(way))
        operation.settled()


@each_operation_in_each_way(waits)
def test_of_what_comes_later(operation, way):
    """An operation that has to wait has its result when it comes; so has the next one."""
    for _ in range(2 if operation.repeats else 1):
        operation.block()
        operation.check(operation.do(way, meanwhile=operation.unblock))
        operation.settled()


@each_operation_in_each_way(lambda row: not row.closes, ways_with_a_cancellable)
def test_cancelled_before(operation, way):
    """An operation whose Cancellable is cancelled already does nothing: what was there is for the next one."""
    operation.ready()
    assert failure(operation.do, way, cancellable=cancelled()) == is_cancelled(operation, way)
    operation.again()


@each_operation_in_each_way(waits, ways_with_a_cancellable)
def test_cancelled_while_it_waits(operation, way):
    """An operation that is cancelled ends, and has done nothing: what comes is for the next one."""
    cancellable = Cancellable()
    operation.block()
    found = failure(operation.do, way, cancellable=cancellable, meanwhile=cancellable.cancel)
    assert found == is_cancelled(operation, way)
    operation.again()


@each_operation_in_each_way(waits, ways_with_a_cancellable)
def test_a_deadline_that_passes(operation, way):
    """An operation ends with TIMED_OUT when the time of its Cancellable is over, and has done nothing."""
    operation.block()
    found = failure(operation.do, way, cancellable=Cancellable.with_timeout(0.02), meanwhile=lambda: None)
    assert found == (TIMED_OUT, operation.timed_out)
    operation.again()


@each_operation_in_each_way(lambda row: not row.closes, ways_with_a_cancellable)
def test_a_deadline_that_has_passed(operation, way):
    """An operation that starts too late does nothing, though it would not have to wait."""
    operation.ready()
    assert failure(operation.do, way, cancellable=passed()) == (TIMED_OUT, operation.timed_out)
    operation.again()


@each_operation_in_each_way(lambda row: row.closed and not row.closes)
def test_closed_before(operation, way):
    """An operation of what is closed is CLOSED."""
    operation.close()
    assert failure(operation.do, way) == (18, operation.closed)
    operation.settled()


def others(operation):
    """Start two that wait in front of the one that is tested, where several may wait."""
    return [operation.start() for _ in range(2 if operation.several == "line" else 0)]


@each_operation_in_each_way(lambda row: row.waits and row.closed)
def test_closed_while_it_waits(operation, way):
    """All operations that wait end with CLOSED when what they wait on is closed."""
    expected = (18, operation.closed_meanwhile)
    operation.block()
    waiting = others(operation)
    assert failure(operation.do, way, meanwhile=operation.close_meanwhile) == expected
    assert [failure(each.result, 60) for each in waiting] == [expected] * len(waiting)
    operation.settled()


@each_operation_in_each_way(lambda row: row.waits and row.gone is not None)
def test_the_peer_goes_while_it_waits(operation, way):
    """All operations that wait learn that the peer has gone; so does the next one; by a ConnectionError (F25)."""

    def outcome(call, *arguments, **named):
        try:
            return call(*arguments, **named)
        except Error as error:
            assert isinstance(error, ConnectionError)
            return error.code, error.message

    operation.block()
    waiting = others(operation)
    assert outcome(operation.do, way, meanwhile=operation.leave) == operation.gone
    assert [outcome(each.result, 60) for each in waiting] == [operation.gone] * len(waiting)
    operation.settled()
    if operation.repeats:
        assert outcome(operation.do, way) == operation.gone
        operation.settled()


def refused(row):
    """Return the ways in which an operation does not wait on a Socket that is set not to block."""
    return [way for way in WAYS if row.waits and way not in row.waits_anyway]


@each_operation_in_each_way(ways=refused)
def test_on_a_socket_that_does_not_block(operation, way):
    """An operation that would have to wait is WOULD_BLOCK; one that would not has its result."""
    [sock] = operation.sockets()
    operation.block()
    sock.set_blocking(False)
    assert failure(operation.do, way) == (WOULD_BLOCK, f"{operation.prefix}Resource temporarily unavailable")
    with pytest.raises(BlockingIOError):
        operation.do(way)
    operation.again()


@each_operation_in_each_way(waits, lambda row: row.waits_anyway)
def test_waits_although_the_socket_does_not_block(operation, way):
    """A stream's operation waits in any case, and so do those that have no Socket of the user's."""
    for sock in operation.sockets():
        if hasattr(sock, "set_blocking"):
            sock.set_blocking(False)
    operation.block()
    operation.check(operation.do(way, meanwhile=operation.unblock))


@each_operation_in_each_way(lambda row: row.waits and row.several == "pending")
def test_a_second_one_is_pending(operation, way):
    """Where only one may be under way another one is PENDING, and does not disturb the first."""
    operation.block()
    first = start(operation.owner, operation.name, operation.arguments().values())
    assert failure(operation.do, way) == PENDING
    assert not first.done()
    operation.unblock()
    operation.check(first.result(60))
    operation.settled()


@each_operation_in_each_way(lambda row: row.waits and row.several == "line", background)
def test_several_in_one_line(operation, way):
    """Those that wait on one socket have their results in the order of their starts."""
    operation.block()
    first = [start(operation.owner, operation.name, operation.arguments().values()) for _ in range(2)]
    last = operation.do(way, meanwhile=lambda: operation.unblock(3))
    for value in (*[each.result(60) for each in first], last):
        operation.check(value)
    operation.settled()


@each_operation_in_each_way(lambda row: row.several == "pending")
def test_pending_by_hand(operation, way):
    """It is PENDING also while a user has said that something is under way."""
    if operation.name == "splice" and operation.owner is operation.connection:
        busy = operation.connection.get_input_stream()
    else:
        busy = operation.owner
    busy.set_pending()
    assert failure(operation.do, way) == PENDING
    assert busy.has_pending()
    busy.clear_pending()
    if not operation.closes:
        operation.again()


def together(way, operations):
    """Do operations at a time, which all fail; return code and text of the Error of each."""

    def errors(calls):
        return [(error.code, error.message) for error in calls]

    async def main():
        futures = started()
        return [await settled_error(each) for each in futures]

    async def settled_error(future):
        with pytest.raises(Error) as caught:
            await future
        return caught.value

    def started(*callback):
        return [start(each.owner, each.name, each.arguments().values(), None, *callback) for each in operations]

    if way in {by_await, in_uvloop}:
        return errors((in_asyncio if way is by_await else run_in_uvloop)(main()))
    if way is by_callback:
        calls = Calls()
        started(calls)
        iterate(lambda: len(calls) == len(operations))
        ended = dict(calls)
        return [failure(getattr(each.owner, f"{each.name}_finish"), ended[each.owner]) for each in operations]
    threads = [Background(functools.partial(each.do, way)) for each in operations]
    return errors(each.outcome() for each in threads)


@pytest.mark.parametrize("way", [pytest.param(way, marks=needs(way)) for way in WAYS])
def test_the_timeout_of_the_socket(way):
    """An operation waits as long as its Socket says, and has done nothing then: the whole table at a time."""
    with contextlib.ExitStack() as stack:
        rows = {name: row for name, row in OPERATIONS.items() if row.waits and (row.is_blocking or way in BACKGROUND)}
        operations = {name: stack.enter_context(row()) for name, row in rows.items() if row.has_timeout}
        for each in operations.values():
            for sock in each.sockets():
                sock.set_timeout(1)
                if way in each.waits_anyway and hasattr(sock, "set_blocking"):
                    sock.set_blocking(False)
            each.block()
        waiting = {name: others(each) for name, each in operations.items()}
        expected = {name: (TIMED_OUT, f"{each.prefix}Socket I/O timed out") for name, each in operations.items()}
        assert dict(zip(operations, together(WAYS[way], list(operations.values())))) == expected
        for name, futures in waiting.items():
            assert [failure(each.result, 60) for each in futures] == [expected[name]] * len(futures)
        for each in operations.values():
            each.again()


@each_operation_in_each_way(lambda row: row.closes)
def test_closing_twice(operation, way):
    """What is closed can be closed again."""
    operation.do(way)
    operation.check(operation.do(way))


@each_operation_in_each_way(lambda row: row.closes, background)
def test_closing_that_is_cancelled(operation, way):
    """The result is CANCELLED, and it is closed all the same."""
    assert failure(operation.do, way, cancellable=cancelled()) == CANCELLED
    assert operation.owner.is_closed()
    operation.settled()


@each_operation_in_each_way(lambda row: row.closes)
def test_closing_while_another_is_pending(operation, way):
    """Closing is PENDING then, and nothing is closed."""
    operation.owner.set_pending()
    assert failure(operation.do, way) == PENDING
    assert not operation.owner.is_closed()
    assert operation.owner.has_pending()
    operation.owner.clear_pending()
    operation.again()
