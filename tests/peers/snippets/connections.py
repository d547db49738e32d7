"""UnixConnection's four methods."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import threading
import time

from gi.repository import Gio

from tools import (
    SO_PASSCRED,
    SOL_SOCKET,
    attempt,
    cancelled,
    descriptors,
    fill,
    in_child,
    is_cloexec,
    later,
    mixed,
    non_blocking,
    pair,
    passcred,
    plain,
    send_fds,
    server_at,
    unconnected,
    wrap,
)


def send_fd_and_receive_fd():
    """A descriptor arrives as a new one, close-on-exec, of the same file."""
    a, b = pair()
    reader, writer = os.pipe()
    sent = a.send_fd(writer)
    os.close(writer)
    got = b.receive_fd()
    os.write(got, b"through")
    return [sent, type(got).__name__, is_cloexec(got), os.read(reader, 9).decode()]


def send_fd_leaves_no_copy():
    """send_fd closes its duplicate before it returns."""
    a, _b = pair()
    before = descriptors()
    a.send_fd(0)
    return descriptors() - before


def send_fd_on_the_wire():
    """One NUL byte and one message of one int go out."""
    raw, a = mixed()
    a.send_fd(0)
    data, controls, _flags, _address = raw.recvmsg(64, 1024)
    return [plain(data), [(level, kind, len(payload)) for level, kind, payload in controls]]


def send_fd_of_a_bad_number():
    """A number that is not open."""
    a, _b = pair()
    return attempt(a.send_fd, 99999)


def send_fd_order_of_checks():
    """A bad descriptor wins over closed, closed over cancelled."""
    a, _b = pair()
    cancelled_first = attempt(a.send_fd, 99999, cancelled())
    a.close()
    return [
        cancelled_first,
        attempt(a.send_fd, 99999, cancelled()),
        attempt(a.send_fd, 0, cancelled()),
        attempt(a.send_fd, 0),
    ]


def send_fd_cancelled():
    """A cancelled cancellable sends nothing."""
    a, b = pair()
    return [attempt(a.send_fd, 0, cancelled()), attempt(non_blocking(b).receive_fd)]


def send_fd_to_nobody():
    """The peer has gone: an error each time."""
    a, b = pair()
    b.close()
    return [attempt(a.send_fd, 0), attempt(a.send_fd, 0)]


def send_fd_unconnected():
    """No peer yet."""
    return attempt(unconnected().send_fd, 0)


def send_fd_would_block():
    """A full queue and a socket set not to block."""
    a, _b = pair()
    fill(a)
    return attempt(non_blocking(a).send_fd, 0)


def send_fd_cancelled_while_waiting():
    """A cancellation ends a wait for room."""
    a, _b = pair()
    fill(a)
    cancellable = Gio.Cancellable()
    later(cancellable.cancel)
    return attempt(a.send_fd, 0, cancellable)


def send_fd_after_our_shutdown():
    """Nothing can be sent after the sending direction was shut down."""
    a, _b = pair()
    a.get_socket().shutdown(False, True)
    return attempt(a.send_fd, 0)


def send_fd_to_a_shut_down_reader():
    """Nothing can be sent to a peer that reads no more."""
    a, b = pair()
    b.get_socket().shutdown(True, False)
    return attempt(a.send_fd, 0)


def send_fd_of_seqpacket():
    """A packet socket takes descriptors too."""
    a, b = pair(socket.SOCK_SEQPACKET)
    return [a.send_fd(0), a.send_fd(1), b.receive_fd() > 0, b.receive_fd() > 0, attempt(non_blocking(b).receive_fd)]


def send_fd_of_datagram():
    """A datagram socket takes descriptors too."""
    a, b = pair(socket.SOCK_DGRAM)
    return [a.send_fd(0), b.receive_fd() > 0]


def receive_fd_keeps_the_rest():
    """Bytes after the first stay in the stream."""
    raw, b = mixed()
    send_fds(raw, 0, data=b"xyz")
    return [b.receive_fd() > 0, plain(b.get_input_stream().read_bytes(9).get_data())]


def receive_fd_of_a_plain_byte():
    """A byte without a descriptor is consumed."""
    raw, b = mixed()
    raw.send(b"ab")
    return [attempt(b.receive_fd), attempt(b.receive_fd), attempt(non_blocking(b).receive_fd)]


def receive_fd_of_two():
    """Two descriptors are one too many; both are closed."""
    raw, b = mixed()
    before = descriptors()
    send_fds(raw, 0, 1)
    return [attempt(b.receive_fd), descriptors() - before]


def receive_fd_of_two_messages():
    """The kernel merges two messages of one sendmsg."""
    raw, b = mixed()
    one = (SOL_SOCKET, socket.SCM_RIGHTS, (0).to_bytes(4, sys.byteorder))
    raw.sendmsg([b"x"], [one, one])
    return attempt(b.receive_fd)


def receive_fd_of_credentials():
    """Credentials alone are no descriptor."""
    a, b = pair()
    b.get_socket().set_option(SOL_SOCKET, SO_PASSCRED, 1)
    a.send_credentials()
    return attempt(b.receive_fd)


def receive_fd_order_of_checks():
    """Closed wins over cancelled."""
    a, _b = pair()
    open_first = attempt(a.receive_fd, cancelled())
    a.close()
    return [open_first, attempt(a.receive_fd, cancelled()), attempt(a.receive_fd)]


def receive_fd_cancelled_keeps_it():
    """A cancelled receive consumes nothing."""
    a, b = pair()
    a.send_fd(0)
    return [attempt(b.receive_fd, cancelled()), b.receive_fd() > 0]


def receive_fd_cancelled_while_waiting():
    """A cancellation ends a wait."""
    _a, b = pair()
    cancellable = Gio.Cancellable()
    later(cancellable.cancel)
    return [attempt(b.receive_fd, cancellable), cancellable.is_cancelled()]


def receive_fd_unconnected():
    """No peer yet."""
    return attempt(unconnected().receive_fd)


def receive_fd_would_block():
    """Nothing there, and a socket set not to block."""
    _a, b = pair()
    return [attempt(non_blocking(b).receive_fd), attempt(b.receive_fd, Gio.Cancellable())]


def receive_fd_reset():
    """The peer closed with unread data."""
    raw, b = mixed()
    b.get_output_stream().write(b"unread")
    raw.close()
    return attempt(b.receive_fd)


def receive_fd_waits():
    """A blocking receive waits for the descriptor."""
    a, b = pair()
    later(a.send_fd, 0)
    return b.receive_fd() > 0


def receive_fd_of_an_empty_table():
    """A thousand round trips leave no descriptor behind."""
    a, b = pair()
    before = descriptors()
    for _ in range(1000):
        a.send_fd(0)
        os.close(b.receive_fd())
    return descriptors() - before


def timeouts():
    """The Socket's timeout ends each kind of wait with TIMED_OUT."""
    pairs = [pair() for _ in range(3)]
    (empty, _a), (other, _b), (full, _c) = pairs
    fill(full)
    for each, _peer in pairs:
        each.get_socket().set_timeout(1)
    calls = {
        "receive_fd": empty.receive_fd,
        "receive_credentials": other.receive_credentials,
        "send_fd": lambda: full.send_fd(0),
        "send_credentials": full.send_credentials,
        "read_bytes": lambda: empty.get_input_stream().read_bytes(1),
        "write": lambda: full.get_output_stream().write(b"x"),
    }
    outcomes = {}
    threads = [
        threading.Thread(target=lambda name=name, call=call: outcomes.update({name: attempt(call)}))
        for name, call in calls.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def timeout_of_accept():
    """The Socket's timeout ends a wait for a connection."""
    with tempfile.TemporaryDirectory() as folder:
        server = server_at(folder)
        server.listen()
        server.set_timeout(1)
        return attempt(server.accept)


def send_credentials_on_the_wire():
    """One NUL byte goes, and credentials for a receiver that asked for them."""
    raw, a = mixed()
    raw.setsockopt(SOL_SOCKET, SO_PASSCRED, 1)
    sent = a.send_credentials()
    data, controls, _flags, _address = raw.recvmsg(64, 1024)
    numbers = [int.from_bytes(controls[0][2][at : at + 4], sys.byteorder) for at in (0, 4, 8)]
    ours = [os.getpid(), os.geteuid(), os.getegid()]
    return [sent, plain(data), len(controls), controls[0][:2], numbers == ours]


def send_credentials_to_nobody_who_asked():
    """A receiver without SO_PASSCRED gets the byte only."""
    raw, a = mixed()
    a.send_credentials()
    data, controls, _flags, _address = raw.recvmsg(64, 1024)
    return [plain(data), controls]


def send_credentials_errors():
    """Every text has the prefix, closed wins over cancelled."""
    a, b = pair()
    outcome = [attempt(a.send_credentials, cancelled())]
    b.close()
    outcome.append(attempt(a.send_credentials))
    a.close()
    return [*outcome, attempt(a.send_credentials), attempt(a.send_credentials, cancelled())]


def send_credentials_unconnected():
    """No peer yet."""
    return attempt(unconnected().send_credentials)


def send_credentials_would_block():
    """A full queue and a socket set not to block."""
    a, _b = pair()
    fill(a)
    return attempt(non_blocking(a).send_credentials)


def credentials_of_this_process():
    """What this process sends is from this process."""
    a, b = pair()
    before = passcred(b)
    a.send_credentials()
    got = b.receive_credentials()
    return [before, plain(got), got.get_unix_pid() == os.getpid(), got.get_unix_user() == os.geteuid(), passcred(b)]


def credentials_of_a_child():
    """What a child sends over an inherited pair is from the child."""
    a, b = pair()
    pid = in_child(a.send_credentials)
    return b.receive_credentials().get_unix_pid() == pid


def credentials_sent_during_the_wait():
    """SO_PASSCRED is on while the call waits and off again after it."""
    a, b = pair()

    def send():
        while not passcred(b):
            time.sleep(0.01)
        a.send_credentials()

    threading.Thread(target=send, daemon=True).start()
    return [plain(b.receive_credentials()), passcred(b)]


def credentials_of_a_plain_byte():
    """A plain byte counts as from who made the pair."""
    raw, b = mixed()
    raw.send(b"xy")
    got = plain(b.receive_credentials())
    return [got, plain(b.get_input_stream().read_bytes(9).get_data()), passcred(b)]


def credentials_of_a_childs_plain_byte():
    """A byte that came before the call has no sender: the maker of the pair counts."""
    raw, b = mixed()
    in_child(lambda: raw.send(b"x"))
    return plain(b.receive_credentials())


def credentials_of_end_of_file():
    """The end of the stream, and SO_PASSCRED as it was."""
    a, b = pair()
    a.close()
    return [attempt(b.receive_credentials), passcred(b)]


def credentials_of_a_descriptor():
    """A descriptor sent before the call is of an unexpected type, and closed."""
    a, b = pair()
    a.send_fd(0)
    before = descriptors()
    return [attempt(b.receive_credentials), descriptors() - before, passcred(b)]


def credentials_of_a_descriptor_sent_with_passcred_on():
    """A descriptor sent with SO_PASSCRED on comes with credentials."""
    a, b = pair()
    b.get_socket().set_option(SOL_SOCKET, SO_PASSCRED, 1)
    a.send_fd(0)
    before = descriptors()
    return [attempt(b.receive_credentials), descriptors() - before, passcred(b)]


def credentials_keep_the_users_setting():
    """SO_PASSCRED stays on if it was on, also after an error."""
    a, b = pair()
    b.get_socket().set_option(SOL_SOCKET, SO_PASSCRED, 1)
    a.send_credentials()
    outcome = [plain(b.receive_credentials()), passcred(b)]
    return [*outcome, attempt(b.receive_credentials, cancelled()), passcred(b)]


def credentials_errors():
    """Cancelled, would block, unconnected; SO_PASSCRED is off after each."""
    _a, b = pair()
    outcome = [attempt(b.receive_credentials, cancelled()), passcred(b)]
    outcome += [attempt(non_blocking(b).receive_credentials), passcred(b)]
    return [*outcome, attempt(unconnected().receive_credentials)]


def credentials_cancelled_while_waiting():
    """A cancellation ends the wait, and nothing is consumed."""
    a, b = pair()
    cancellable = Gio.Cancellable()
    later(cancellable.cancel)
    outcome = [attempt(b.receive_credentials, cancellable), passcred(b)]
    a.send_credentials()
    return [*outcome, plain(b.receive_credentials())]


def credentials_reset():
    """The peer closed with unread data."""
    raw, b = mixed()
    b.get_output_stream().write(b"unread")
    raw.close()
    return attempt(b.receive_credentials)


def credentials_of_seqpacket():
    """One whole packet is consumed."""
    raw, b = mixed(socket.SOCK_SEQPACKET)
    raw.send(b"long packet")
    return [plain(b.receive_credentials()), attempt(non_blocking(b).receive_credentials)]


def credentials_on_tcp():
    """TCP has none."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        return attempt(wrap(client).receive_credentials)


def send_fd_of_a_bad_number_on_a_closed_connection():
    """The number is looked at first."""
    a, _b = pair()
    a.close()
    return [attempt(a.send_fd, 99999), attempt(a.send_fd, 0), attempt(a.send_fd, 99999, cancelled())]
