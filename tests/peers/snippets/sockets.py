"""Socket."""

from __future__ import annotations

import os
import socket
import tempfile
import time

from gi.repository import Gio, GLib

from tools import (
    DATAGRAM,
    DEFAULT,
    HUP,
    IN,
    OUT,
    SEQPACKET,
    SO_PASSCRED,
    SOL_SOCKET,
    STREAM,
    UNIX,
    attempt,
    cancelled,
    fill,
    is_cloexec,
    later,
    non_blocking,
    pair,
    plain,
    server_at,
    unix_socket,
    wrap,
)


def socket_new():
    """A new socket's getters."""
    s = unix_socket()
    outcome = [s.get_family(), s.get_socket_type(), s.get_protocol(), s.get_blocking(), s.get_timeout()]
    outcome += [s.get_listen_backlog(), s.is_connected(), s.is_closed(), is_cloexec(s.get_fd())]
    return plain([*outcome, s.get_available_bytes()])


def socket_new_wrong():
    """Families and protocols that there are not."""
    unknown = Gio.SocketProtocol.UNKNOWN
    return [
        attempt(Gio.Socket.new, Gio.SocketFamily.INVALID, STREAM, DEFAULT),
        attempt(Gio.Socket.new, UNIX, STREAM, unknown),
        attempt(Gio.Socket.new, UNIX, STREAM, Gio.SocketProtocol.TCP),
    ]


def socket_new_of_every_type():
    """The kernel makes what was asked for."""
    made = [unix_socket(each) for each in (STREAM, DATAGRAM, SEQPACKET)]
    return [int(each.get_option(SOL_SOCKET, socket.SO_TYPE).value) for each in made]


def socket_new_from_fd():
    """A socket from a descriptor knows what it is."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = one.detach()
    s = Gio.Socket.new_from_fd(fd)
    outcome = [s.get_fd() == fd, s.get_family(), s.get_socket_type(), s.get_protocol(), s.is_connected()]
    other.close()
    return plain([*outcome, s.is_connected()])


def socket_new_from_fd_wrong():
    """Descriptors that are no sockets."""
    return [attempt(Gio.Socket.new_from_fd, each) for each in (99999, os.open(os.devnull, os.O_RDWR), -1)]


def socket_not_initialized():
    """A Socket made by its constructor is unusable until init()."""
    s = Gio.Socket(fd=socket.socketpair()[0].detach())
    message = (None, [], None, 0)
    outcome = [
        attempt(s.send, b"x"),
        attempt(s.send_message, *message),
        attempt(s.receive_message, [], 0),
        attempt(s.listen),
    ]
    outcome += [attempt(s.accept), attempt(s.shutdown, True, True), attempt(s.close)]
    return [*outcome, s.init(None), s.is_closed(), plain(s.get_family())]


def socket_closed():
    """The errors of a closed socket."""
    s = unix_socket()
    outcome = [s.close(), s.close(), s.is_closed(), s.get_fd(), s.is_connected(), s.get_available_bytes()]
    outcome += [attempt(s.send, b"x"), attempt(s.send, b"x", cancelled()), attempt(s.listen), attempt(s.accept)]
    outcome += [attempt(s.shutdown, True, True), attempt(s.bind, Gio.UnixSocketAddress.new("/nowhere"), True)]
    outcome += [attempt(s.condition_wait, IN), attempt(s.condition_timed_wait, IN, 1), int(s.condition_check(IN))]
    return [*outcome, plain([s.get_family(), s.get_socket_type(), s.get_blocking()])]


def socket_closed_getters():
    """The getters that ask the kernel, on a closed socket."""
    s = unix_socket()
    s.close()
    return [attempt(s.get_local_address), attempt(s.get_option, SOL_SOCKET, SO_PASSCRED), attempt(s.get_credentials)]


def socket_closed_set_option():
    """set_option() on a closed socket."""
    s = unix_socket()
    s.close()
    return attempt(s.set_option, SOL_SOCKET, SO_PASSCRED, 1)


def socket_blocking():
    """Blocking is a setting of the object."""
    a, _b = pair()
    s = a.get_socket()
    outcome = [s.get_blocking()]
    s.set_blocking(False)
    outcome += [s.get_blocking(), s.props.blocking, attempt(s.receive_message, [], 0)]
    s.props.blocking = True
    return [*outcome, s.get_blocking()]


def socket_settings():
    """Timeout and backlog are kept."""
    s = unix_socket()
    s.set_timeout(2**32 - 1)
    s.set_listen_backlog(33)
    outcome = [s.get_timeout(), s.get_listen_backlog(), s.props.timeout]
    s.set_keepalive(True)
    return [*outcome, s.get_keepalive(), s.props.keepalive]


def socket_constructor_properties():
    """Settings can be given to the constructor."""
    s = Gio.Socket(family=UNIX, type=DATAGRAM, protocol=DEFAULT, blocking=False, timeout=9, listen_backlog=3)
    outcome = [s.init(None), s.get_family(), s.get_socket_type(), s.get_blocking(), s.get_timeout()]
    return plain([*outcome, s.get_listen_backlog(), s.get_fd() >= 0])


def socket_options():
    """Options are read and set; those that there are not raise."""
    s = unix_socket()
    outcome = [list(s.get_option(SOL_SOCKET, SO_PASSCRED)), s.set_option(SOL_SOCKET, SO_PASSCRED, 1)]
    outcome.append(s.get_option(SOL_SOCKET, SO_PASSCRED).value)
    return [*outcome, attempt(s.get_option, SOL_SOCKET, 9999), attempt(s.set_option, SOL_SOCKET, 9999, 1)]


def socket_option_out_of_range():
    """An option's value that is no int."""
    s = unix_socket()
    return [attempt(s.set_option, SOL_SOCKET, SO_PASSCRED, 2**31), attempt(s.set_option, SOL_SOCKET, SO_PASSCRED, "1")]


def socket_send():
    """send() gives the number of bytes."""
    a, b = pair()
    outcome = [attempt(a.get_socket().send, b"hello"), plain(b.get_input_stream().read_bytes(9).get_data())]
    outcome.append(attempt(a.get_socket().send, b"x", cancelled()))
    b.close()
    return [*outcome, attempt(a.get_socket().send, b"x"), attempt(unix_socket().send, b"x")]


def socket_send_would_block():
    """send() into a full queue."""
    a, _b = pair()
    fill(a)
    return attempt(non_blocking(a).get_socket().send, b"x")


def socket_bind_and_listen():
    """A server's socket: its address, and a client's."""
    with tempfile.TemporaryDirectory() as folder:
        server = server_at(folder)
        outcome = [server.listen(), server.get_local_address().get_path() == f"{folder}/socket", server.is_connected()]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{folder}/socket")
            accepted = server.accept()
            names = [accepted.get_local_address().get_path() == f"{folder}/socket", accepted.get_remote_address()]
            state = [accepted.is_connected(), is_cloexec(accepted.get_fd()), accepted.get_blocking()]
            return plain([*outcome, *names, *state, accepted.get_family(), accepted.get_credentials()])


def socket_bind_errors():
    """Names that are taken, or can not be made."""
    with tempfile.TemporaryDirectory() as folder:
        server = server_at(folder)
        taken = server.get_local_address()
        return [
            attempt(unix_socket().bind, taken, True),
            attempt(unix_socket().bind, taken, False),
            attempt(server.bind, Gio.UnixSocketAddress.new(f"{folder}/other"), True),
            attempt(unix_socket().bind, Gio.UnixSocketAddress.new("/nowhere/at/all"), True),
            attempt(unix_socket().bind, None, True),
        ]


def socket_bind_abstract():
    """An abstract name: bound, and seen by the peer."""
    name = f"unixconn-test-{os.getpid()}"
    server = unix_socket()
    server.bind(Gio.UnixSocketAddress.new_with_type(name.encode(), Gio.UnixSocketAddressType.ABSTRACT), True)
    address = server.get_local_address()
    server.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(b"\0" + name.encode())
        accepted = server.accept()
        kinds = [int(address.get_address_type()), address.get_is_abstract()]
        return [*kinds, address.get_path() == name, plain(accepted.get_remote_address())]


def socket_accept_errors():
    """Nobody there, cancelled, and a socket that does not listen."""
    with tempfile.TemporaryDirectory() as folder:
        server = server_at(folder)
        server.set_blocking(False)
        outcome = [attempt(server.accept)]
        server.listen()
        return [*outcome, attempt(server.accept)]


def socket_accept_cancelled_while_waiting():
    """A cancellation ends a wait for a connection."""
    with tempfile.TemporaryDirectory() as folder:
        server = server_at(folder)
        server.listen()
        cancellable = Gio.Cancellable()
        later(cancellable.cancel)
        return attempt(server.accept, cancellable)


def socket_listen_errors():
    """A datagram socket can not listen."""
    with tempfile.TemporaryDirectory() as folder:
        return attempt(server_at(folder, DATAGRAM).listen)


def socket_shutdown():
    """shutdown() ends directions; both of them end the connection."""
    a, b = pair()
    s = a.get_socket()
    outcome = [s.shutdown(False, False), s.is_connected(), s.shutdown(False, True), s.is_connected()]
    outcome.append(plain(b.get_input_stream().read_bytes(1).get_data()))
    outcome += [s.shutdown(True, False), s.is_connected(), a.is_connected(), s.is_closed()]
    return [*outcome, b.is_connected(), attempt(unix_socket().shutdown, True, True)]


def socket_available_bytes():
    """The bytes that can be read now."""
    a, b = pair()
    outcome = [b.get_socket().get_available_bytes()]
    a.get_output_stream().write(b"12345")
    outcome.append(b.get_socket().get_available_bytes())
    b.get_input_stream().read_bytes(2)
    outcome.append(b.get_socket().get_available_bytes())
    a.close()
    return [*outcome, b.get_socket().get_available_bytes()]


def socket_available_bytes_of_datagrams():
    """The bytes of the next datagram."""
    a, b = pair(socket.SOCK_DGRAM)
    for each in (b"123", b"45"):
        a.get_socket().send(each)
    return b.get_socket().get_available_bytes()


def socket_addresses():
    """A socket without a name, and without a peer."""
    s = unix_socket()
    return [attempt(s.get_local_address), attempt(s.get_remote_address)]


def socket_remote_address():
    """The peer's address of a client is the server's."""
    with tempfile.TemporaryDirectory() as folder:
        server = server_at(folder)
        server.listen()
        client = socket.socket(socket.AF_UNIX)
        client.connect(f"{folder}/socket")
        c = wrap(client)
        path = c.get_remote_address().get_path()
        return [path == f"{folder}/socket", plain(c.get_local_address()), plain(c.get_socket().get_credentials())]


def socket_conditions():
    """condition_check() gives what holds now."""
    a, b = pair()
    s = b.get_socket()
    outcome = [s.condition_check(IN | OUT), s.condition_check(IN), s.condition_check(OUT)]
    a.get_output_stream().write(b"x")
    outcome += [s.condition_check(IN | OUT), s.condition_check(IN), s.condition_check(GLib.IOCondition(0))]
    a.close()
    return plain([*outcome, s.condition_check(IN), s.condition_check(IN | OUT | HUP), s.condition_check(OUT)])


def socket_condition_waits():
    """condition_wait() and condition_timed_wait()."""
    a, b = pair()
    s = b.get_socket()
    outcome = [
        s.condition_wait(OUT),
        attempt(s.condition_timed_wait, IN, 20000),
        attempt(s.condition_wait, IN, cancelled()),
    ]
    outcome += [attempt(s.condition_timed_wait, IN, 0), attempt(s.condition_timed_wait, IN, 20000, cancelled())]
    later(a.get_output_stream().write, b"x")
    return [*outcome, s.condition_wait(IN), s.condition_timed_wait(IN, 0), s.condition_timed_wait(IN, -1)]


def socket_condition_waits_on_a_non_blocking_socket():
    """condition_wait() waits also there."""
    a, b = pair()
    non_blocking(b)
    later(a.get_output_stream().write, b"x")
    return b.get_socket().condition_wait(IN)


def socket_condition_wait_of_the_peers_end():
    """The peer's end ends a wait."""
    a, b = pair()
    later(a.close)
    return [b.get_socket().condition_wait(IN), plain(b.get_socket().condition_check(IN))]


def socket_datagrams():
    """A datagram comes with the sender's address."""
    with tempfile.TemporaryDirectory() as folder:
        server, client = server_at(folder, DATAGRAM), server_at(folder, DATAGRAM, "client")
        sent = client.send_message(server.get_local_address(), [], None, 0)
        size, address, messages, flags = server.receive_message([], 0)
        return [sent, size, address.get_path() == f"{folder}/client", messages, int(flags)]


def socket_datagrams_to_nobody():
    """A datagram to an address where nobody is, and to none."""
    s = unix_socket(DATAGRAM)
    nowhere = Gio.UnixSocketAddress.new("/nowhere/at/all")
    return [attempt(s.send_message, nowhere, [], None, 0), attempt(s.send_message, None, [], None, 0)]


def socket_condition_waits_within_the_sockets_timeout():
    """The Socket's timeout ends a wait that may take longer by its own."""
    a, _b = pair()
    s = a.get_socket()
    s.set_timeout(1)
    start = time.monotonic()
    outcome = [attempt(s.condition_timed_wait, IN, 40_000_000, None)]
    return [*outcome, 1 <= time.monotonic() - start < 30]


def socket_send_to_errors():
    """send_to() names its errors as messages do."""
    s = unix_socket(DATAGRAM)
    nowhere = Gio.UnixSocketAddress.new("/nowhere/at/all")
    return [attempt(s.send_to, nowhere, b"x", None), attempt(s.send_to, None, b"x", None), attempt(s.send, b"x", None)]


def socket_message_flags():
    """The flags of messages have names."""
    a, b = pair()
    a.send_fd(0)
    flags = Gio.SocketMsgFlags
    seen = b.get_socket().receive_message([], flags.PEEK, None)[0]
    return [seen, b.receive_fd() > 0, [int(each) for each in (flags.NONE, flags.OOB, flags.PEEK, flags.DONTROUTE)]]


def accept_of_what_does_not_listen():
    """It is told at once, and not waited for."""
    made = [
        end.get_socket()
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM)
        for end in pair(kind)
    ]
    return [attempt(each.accept, None) for each in [*made, unix_socket(), unix_socket(DATAGRAM)]]


def unix_addresses_of_another_family():
    """A socket of another family takes none."""
    address = Gio.UnixSocketAddress.new("/nowhere/at/all")
    s = Gio.Socket.new(Gio.SocketFamily.IPV4, STREAM, DEFAULT)
    connection = s.connection_factory_create_connection()
    return [
        attempt(s.connect, address, None),
        attempt(s.bind, address, True),
        attempt(connection.connect, address, None),
    ]
