"""Forms: further plain methods that send and receive, and the methods of small objects."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

from cost_forms import DATA, NULL, WAIT, close_each, form, pair

from unixconn import (
    Cancellable,
    Credentials,
    FileDescriptor,
    UnixCredentialsMessage,
    UnixFDMessage,
    close_fds,
)


@form()
def fds_64() -> Iterator[Any]:
    """Send and receive 64 descriptors, and close each."""
    a, b = pair()
    fds = [NULL] * 64

    def once() -> None:
        a.send_fds(fds)
        for fd in b.receive_fds():
            os.close(fd)

    yield once


@form("fds_64-counted")
def fds_64_counted() -> Iterator[Any]:
    """Send 64 descriptors, receive them by their number, and close each."""
    a, b = pair()
    fds = [NULL] * 64

    def once() -> None:
        a.send_fds(fds)
        for fd in b.receive_fds(64):
            os.close(fd)

    yield once


@form()
def give_fd() -> Iterator[Any]:
    """Send a descriptor and close it, and receive and close it."""
    a, b = pair()

    def once() -> None:
        a.give_fd(os.dup(NULL))
        os.close(b.receive_fd())

    yield once


@form()
def receive_exactly() -> Iterator[Any]:
    """Send 100 bytes and a descriptor, and receive them by their number."""
    a, b = pair()

    def once() -> None:
        a.send_message(DATA, [NULL])
        b.receive_exactly(100).close()

    yield once


@form()
def peek_message() -> Iterator[Any]:
    """Look at 100 bytes and a descriptor that stay where they are."""
    a, b = pair()
    a.send_message(DATA, [NULL])

    def once() -> None:
        b.peek_message(100).close()

    yield once


@form("message-both_cancellable")
def message_with_cancellable_at_both_ends() -> Iterator[Any]:
    """Send and receive 100 bytes and a descriptor, each with a Cancellable that nobody cancels."""
    a, b = pair()
    cancellable = Cancellable()

    def once() -> None:
        a.send_message(DATA, [NULL], None, cancellable)
        b.receive_message(100, cancellable).close()

    yield once


@form("fds_64-close_fds")
def fds_64_closed_at_once() -> Iterator[Any]:
    """Send and receive 64 descriptors, and close all of them by close_fds()."""
    a, b = pair()
    fds = [NULL] * 64

    def once() -> None:
        a.send_fds(fds)
        close_fds(b.receive_fds())

    yield once


@form("fd-both_cancellable")
def fd_with_cancellable_at_both_ends() -> Iterator[Any]:
    """Send and receive a descriptor, each with a Cancellable that nobody cancels."""
    a, b = pair()
    cancellable = Cancellable()

    def once() -> None:
        a.send_fd(NULL, cancellable)
        os.close(b.receive_fd(cancellable))

    yield once


@form("credentials-both_cancellable")
def credentials_with_cancellable_at_both_ends() -> Iterator[Any]:
    """Send and receive credentials, each with a Cancellable that nobody cancels."""
    a, b = pair()
    cancellable = Cancellable()

    def once() -> None:
        a.send_credentials(cancellable)
        b.receive_credentials(cancellable)

    yield once


@form("fd-timeout")
def fd_with_timeout() -> Iterator[Any]:
    """Send and receive a descriptor on sockets with a timeout, which is set each time."""
    a, b = pair()

    def once() -> None:
        for each in (a, b):
            each.get_socket().set_timeout(60)
        a.send_fd(NULL)
        os.close(b.receive_fd())
        for each in (a, b):
            each.get_socket().set_timeout(0)

    yield once


@form("fd-with_timeout")
def fd_with_deadline() -> Iterator[Any]:
    """Receive a descriptor that is there, with a Cancellable.with_timeout() of its own."""
    a, b = pair()

    def once() -> None:
        a.send_fd(NULL)
        os.close(b.receive_fd(Cancellable.with_timeout(60)))

    yield once


@form("fd-would_block")
def fd_would_block() -> Iterator[Any]:
    """Find no descriptor, on a socket that does not block."""
    _a, b = pair()
    b.get_socket().set_blocking(False)

    def once() -> None:
        try:
            b.receive_fd()
        except BlockingIOError:
            return
        raise AssertionError("nothing was sent")

    # The peer has to live as long as this.
    yield once
    _a.close()


def waiting_for_a_signal(cancellable: Cancellable | None) -> Iterator[Any]:
    """Wait in the plain method for a descriptor that a signal handler sends."""
    a, b = pair()
    with socket.socket(fileno=os.dup(a.get_socket().get_fd())) as raw:
        message = [b"\0"], [(socket.SOL_SOCKET, 1, NULL.to_bytes(4, sys.byteorder))]  # SCM_RIGHTS
        before = signal.signal(signal.SIGALRM, lambda *_: raw.sendmsg(*message))

        def once() -> None:
            signal.setitimer(signal.ITIMER_REAL, WAIT)
            os.close(b.receive_fd(cancellable))

        yield once
        signal.signal(signal.SIGALRM, before)


@form("fd-waits", is_timed=True)
def fd_that_has_to_wait() -> Iterator[Any]:
    """Wait for a descriptor."""
    yield from waiting_for_a_signal(None)


@form("fd-waits-cancellable", is_timed=True)
def fd_that_has_to_wait_with_cancellable() -> Iterator[Any]:
    """Wait for a descriptor with a Cancellable."""
    yield from waiting_for_a_signal(Cancellable())


@form("fd-times_out", is_timed=True)
def fd_that_times_out() -> Iterator[Any]:
    """Wait for a descriptor until the time of a Cancellable.with_timeout() is over."""
    a, b = pair()

    def once() -> None:
        try:
            b.receive_fd(Cancellable.with_timeout(WAIT))
        except TimeoutError:
            return
        raise AssertionError("nothing was sent")

    yield once
    a.close()


@form()
def socket_message() -> Iterator[Any]:
    """Send and receive 100 bytes and a descriptor by the methods of Socket."""
    a, b = pair()
    one, other = a.get_socket(), b.get_socket()
    buffer = bytearray(100)

    def once() -> None:
        message = UnixFDMessage.new()
        message.append_fd(NULL)
        one.send_message(None, [DATA], [message], 0)
        received: Any = other.receive_message([buffer], 0).messages[0]
        close_each(received.steal_fds())

    yield once


@form()
def socket_message_with_credentials() -> Iterator[Any]:
    """Send and receive 100 bytes and credentials by the methods of Socket."""
    a, b = pair()
    b.pass_credentials()
    one, other = a.get_socket(), b.get_socket()
    credentials = Credentials()
    buffer = bytearray(100)

    def once() -> None:
        one.send_message(None, [DATA], [UnixCredentialsMessage.new_with_credentials(credentials)], 0)
        received: Any = other.receive_message([buffer], 0).messages[0]
        received.get_credentials()

    yield once


@form()
def socket_message_of_data() -> Iterator[Any]:
    """Send and receive 100 bytes by the message methods of Socket."""
    a, b = pair()
    one, other = a.get_socket(), b.get_socket()
    buffer = bytearray(100)

    def once() -> None:
        one.send_message(None, [DATA], None, 0)
        other.receive_message([buffer], 0)

    yield once


@form()
def socket_send() -> Iterator[Any]:
    """Send and receive 100 bytes by Socket.send() and Socket.receive()."""
    a, b = pair()
    one, other = a.get_socket(), b.get_socket()

    def once() -> None:
        one.send(DATA)
        other.receive(100)

    yield once


@form()
def peer_credentials() -> Iterator[Any]:
    """Ask who the peer is."""
    a, _b = pair()
    yield a.get_peer_credentials


@form()
def own_credentials() -> Iterator[Any]:
    """Make the Credentials of this process."""
    yield Credentials


@form()
def file_descriptor() -> Iterator[Any]:
    """Duplicate a descriptor into one with an owner, and close that."""
    source = FileDescriptor(os.dup(NULL))

    def once() -> None:
        source.dup().close()

    yield once
