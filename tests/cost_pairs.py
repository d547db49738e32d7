"""Forms: what is sent and received, by each method and in each way of calling."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from cost_forms import DATA, NULL, WAIT, close_each, form, iterate_until, pair

from unixconn import (
    Bytes,
    Cancellable,
    FileDescriptor,
    Socket,
    UnixConnection,
)


class Pair(NamedTuple):
    """A method that waits for something, and what makes it ready."""

    method: str
    """Of the second connection, or of what *owner* gives of it."""
    arguments: tuple[Any, ...]
    """Those before the cancellable."""
    feed: Callable[[UnixConnection], object]
    """Sends, by the first connection's plain method, what the method waits for."""
    drop: Callable[[Any], object] = id
    """Closes the result as a user would; id() does nothing with it."""
    owner: Callable[[UnixConnection], Any] = lambda connection: connection
    has_int: bool = False
    """Whether the asynchronous form has an io_priority before its cancellable."""


def send_fd(connection: UnixConnection) -> None:
    """Send a descriptor."""
    connection.send_fd(NULL)


def send_three(connection: UnixConnection) -> None:
    """Send three descriptors."""
    connection.send_fds([NULL, NULL, NULL])


def send_message(connection: UnixConnection) -> None:
    """Send 100 bytes and a descriptor."""
    connection.send_message(DATA, [NULL])


def send_data(connection: UnixConnection) -> None:
    """Send 100 bytes as a message."""
    connection.send_message(DATA)


def send_identified(connection: UnixConnection) -> None:
    """Send 100 bytes and this process's credentials as a message."""
    connection.send_message(DATA, credentials=True)


def close_owners(descriptors: list[FileDescriptor]) -> None:
    """Close descriptors that have owners."""
    for descriptor in descriptors:
        descriptor.close()


def wanting_credentials(connection: UnixConnection) -> UnixConnection:
    """Return *connection*, which asks for the credentials of each message from now on."""
    connection.pass_credentials()
    return connection


PAIRS = {
    "fd": Pair("receive_fd", (), send_fd, os.close),
    "credentials": Pair("receive_credentials", (), UnixConnection.send_credentials),
    "fds": Pair("receive_fds", (None,), send_three, close_each),
    "fds_counted": Pair("receive_fds", (3,), send_three, close_each),
    "descriptor": Pair("receive_descriptor", (), send_fd, FileDescriptor.close),
    "descriptors": Pair("receive_descriptors", (None,), send_three, close_owners),
    "message": Pair("receive_message", (100,), send_message, lambda message: message.close()),
    "message_of_data": Pair("receive_message", (100,), send_data),
    "message_with_credentials": Pair("receive_message", (100,), send_identified, owner=wanting_credentials),
    "read": Pair(
        "read",
        (100,),
        lambda connection: connection.get_output_stream().write(DATA),
        owner=UnixConnection.get_input_stream,
        has_int=True,
    ),
    "read_bytes": Pair(
        "read_bytes",
        (100,),
        lambda connection: connection.get_output_stream().write_all(DATA),
        owner=UnixConnection.get_input_stream,
        has_int=True,
    ),
    "read_all": Pair(
        "read_all",
        (100,),
        lambda connection: connection.get_output_stream().write_bytes(Bytes(DATA)),
        owner=UnixConnection.get_input_stream,
        has_int=True,
    ),
    "receive_from": Pair(
        "receive_from",
        (100,),
        lambda connection: connection.get_socket().send_to(None, DATA),
        owner=UnixConnection.get_socket,
    ),
}


def asynchronous(each: Pair, owner: Any, cancellable: Cancellable | None = None) -> Callable[..., Any]:
    """Return the asynchronous method, which takes the callback and its data; without a callback it gives a Future."""
    priority = (0,) if each.has_int else ()
    return partial(getattr(owner, f"{each.method}_async"), *each.arguments, *priority, cancellable)


def plainly(each: Pair, *given: Cancellable) -> Iterator[Any]:
    """Send, and receive by the plain method, which is *given* no Cancellable, or one."""
    a, b = pair()
    receive = partial(getattr(each.owner(b), each.method), *each.arguments, *given)
    feed, drop = each.feed, each.drop

    def once() -> None:
        feed(a)
        drop(receive())

    yield once


def cancellably(each: Pair) -> Iterator[Any]:
    """Do the same with a Cancellable that nobody cancels, as far as receiving goes."""
    yield from plainly(each, Cancellable())


def by_callback(each: Pair, is_later: bool, cancellable: Cancellable | None = None, timeout: int = 0) -> Iterator[Any]:
    """Receive with a callback, which the default context calls."""
    a, b = pair()
    b.get_socket().set_timeout(timeout)
    owner = each.owner(b)
    receive, finish = asynchronous(each, owner, cancellable), getattr(owner, f"{each.method}_finish")
    feed, drop = each.feed, each.drop
    ended: list[Any] = []

    def call(_owner: object, result: Any) -> None:
        ended.append(finish(result))

    def there() -> None:
        feed(a)
        receive(call)
        drop(iterate_until(ended))

    def later() -> None:
        receive(call)
        feed(a)
        drop(iterate_until(ended))

    yield later if is_later else there


def by_future(each: Pair) -> Iterator[Any]:
    """Receive by a Future, where no event loop runs; the message is there."""
    a, b = pair()
    receive = asynchronous(each, each.owner(b))
    feed, drop = each.feed, each.drop

    def once() -> None:
        feed(a)
        drop(receive().result())

    yield once


def by_asyncio(each: Pair, is_later: bool, cancellable: Cancellable | None = None) -> Iterator[Any]:
    """Await the result in asyncio."""
    import asyncio

    a, b = pair()
    receive = asynchronous(each, each.owner(b), cancellable)
    call_soon = asyncio.get_running_loop().call_soon
    feed, drop = each.feed, each.drop

    async def there() -> None:
        feed(a)
        drop(await receive())

    async def later() -> None:
        # Two rounds of the loop from here, so that also a receiver waits that lets others run before its first try.
        call_soon(call_soon, feed, a)
        drop(await receive())

    yield later if is_later else there


def by_trio(each: Pair, is_later: bool) -> Iterator[Any]:
    """Await the result in trio."""
    import trio

    a, b = pair()
    receive = asynchronous(each, each.owner(b))
    feed, drop = each.feed, each.drop

    async def there() -> None:
        feed(a)
        drop(await receive())

    async def feed_later() -> None:
        # By the clock: trio runs those that are ready in a random order.
        await trio.sleep(WAIT)
        feed(a)

    async def later() -> None:
        trio.lowlevel.spawn_system_task(feed_later)
        drop(await receive())

    yield later if is_later else there


for _name, _pair in PAIRS.items():
    form(_name)(partial(plainly, _pair))
    form(f"{_name}-cancellable")(partial(cancellably, _pair))
    form(f"{_name}-callback-there")(partial(by_callback, _pair, False))
    form(f"{_name}-callback-later")(partial(by_callback, _pair, True))
    form(f"{_name}-future-there")(partial(by_future, _pair))
    form(f"{_name}-asyncio-there", "asyncio")(partial(by_asyncio, _pair, False))
    form(f"{_name}-asyncio-later", "asyncio")(partial(by_asyncio, _pair, True))

for _name in ("fd", "credentials", "message", "read_bytes"):
    form(f"{_name}-trio-there", "trio")(partial(by_trio, PAIRS[_name], False))
    form(f"{_name}-trio-later", "trio", is_timed=True)(partial(by_trio, PAIRS[_name], True))


@form("fd-callback-later-cancellable")
def callback_with_cancellable() -> Iterator[Any]:
    """Receive a descriptor with a callback and a Cancellable that nobody cancels."""
    yield from by_callback(PAIRS["fd"], True, Cancellable())


@form("fd-callback-later-timeout")
def callback_with_timeout() -> Iterator[Any]:
    """Receive a descriptor with a callback, on a socket with a timeout."""
    yield from by_callback(PAIRS["fd"], True, timeout=60)


@form("fd-asyncio-later-cancellable", "asyncio")
def await_with_cancellable() -> Iterator[Any]:
    """Await a descriptor in asyncio, with a Cancellable that nobody cancels."""
    yield from by_asyncio(PAIRS["fd"], True, Cancellable())


# --- sending, in the asynchronous ways ---


SENDS: dict[str, tuple[str, tuple[Any, ...], Callable[[UnixConnection], Any]]] = {
    "send_fd": ("send_fd", (NULL,), lambda connection: connection),
    "send_credentials": ("send_credentials", (), lambda connection: connection),
    "send_fds": ("send_fds", ([NULL, NULL, NULL],), lambda connection: connection),
    "send_message": ("send_message", (DATA, [NULL], None), lambda connection: connection),
    "write": ("write", (DATA, 0), UnixConnection.get_output_stream),
    "write_all": ("write_all", (DATA, 0), UnixConnection.get_output_stream),
    "send_to": ("send_to", (None, DATA), UnixConnection.get_socket),
}


def sender(method: str, arguments: tuple[Any, ...], owner_of: Callable[[UnixConnection], Any]) -> tuple[Any, Any, Any]:
    """Return the asynchronous method of sending, its finish, and a function that empties the other end."""
    ours, theirs = socket.socketpair()
    owner = owner_of(UnixConnection(socket=Socket.new_from_fd(ours.detach())))

    def empty() -> None:
        with suppress(BlockingIOError):
            theirs.recv(1000, socket.MSG_DONTWAIT)  # the kernel closes descriptors that nobody asks for

    return partial(getattr(owner, f"{method}_async"), *arguments, None), getattr(owner, f"{method}_finish"), empty


def send_by_callback(*which: Any) -> Iterator[Any]:
    """Send with a callback."""
    send, finish, empty = sender(*which)
    ended: list[Any] = []

    def call(_owner: object, result: Any) -> None:
        ended.append(finish(result))

    def once(_empty: object) -> None:
        send(call)
        iterate_until(ended)

    yield empty, once


def send_by_asyncio(*which: Any) -> Iterator[Any]:
    """Await the end of sending in asyncio."""
    send, _, empty = sender(*which)

    async def once(_empty: object) -> None:
        await send()

    yield empty, once


for _name, _which in SENDS.items():
    form(f"{_name}-callback")(partial(send_by_callback, *_which))
    form(f"{_name}-asyncio", "asyncio")(partial(send_by_asyncio, *_which))


# --- streams, beside what is read and written in pairs ---


@form("stream_64k")
def a_lot_by_streams() -> Iterator[Any]:
    """Write and read 64 KiB."""
    a, b = pair()
    writer, reader = a.get_output_stream(), b.get_input_stream()
    data = bytes(65536)

    def once() -> None:
        writer.write_all(data)
        assert len(reader.read_bytes(65536)) == 65536

    yield once


@form("stream_skip")
def skipping() -> Iterator[Any]:
    """Write 100 bytes, flush, and skip them."""
    a, b = pair()
    writer, reader = a.get_output_stream(), b.get_input_stream()

    def once() -> None:
        writer.write(DATA)
        writer.flush()
        assert reader.skip(100) == 100

    yield once


@form("stream_lines")
def lines() -> Iterator[Any]:
    """Write a line and read it, by Python's buffered file objects."""
    a, b = pair()
    writer, reader = io.BufferedWriter(a.get_output_stream()), io.BufferedReader(b.get_input_stream())

    def once() -> None:
        writer.write(b"a line\n")
        writer.flush()
        assert reader.readline() == b"a line\n"

    yield once


@form("stream_splice")
def splicing() -> Iterator[Any]:
    """Splice two pieces of 64 KiB from one connection to another."""
    data = bytes(65536)

    def prepare() -> list[UnixConnection]:
        ends = [*pair(), *pair()]
        for _ in range(2):
            ends[0].get_output_stream().write_all(data)
        ends[0].get_socket().shutdown(False, True)
        return ends

    def once(ends: list[UnixConnection]) -> None:
        assert ends[2].get_output_stream().splice(ends[1].get_input_stream()) == 131072

    yield prepare, once
