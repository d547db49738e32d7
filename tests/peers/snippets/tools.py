"""
What the snippets share.

The files of this folder are programs for PyGObject. peer_runner.py runs them as they are, and once more with the import
of Gio and GLib exchanged; every function must give the same outcome both times. They show where Gio is right: where
this library is better on purpose there is nothing to compare.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import sys
import threading
import time

from gi.repository import Gio, GLib

SOL_SOCKET = socket.SOL_SOCKET
# Not in PyPy's socket module.
SO_PASSCRED = getattr(socket, "SO_PASSCRED", 16)
SCM_CREDENTIALS = getattr(socket, "SCM_CREDENTIALS", 2)

UNIX, STREAM, DEFAULT = Gio.SocketFamily.UNIX, Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT
DATAGRAM, SEQPACKET = Gio.SocketType.DATAGRAM, Gio.SocketType.SEQPACKET
IN, OUT, HUP = GLib.IOCondition.IN, GLib.IOCondition.OUT, GLib.IOCondition.HUP


def plain(value):
    """Make of a value what JSON can hold, and both implementations write alike."""
    for kind, write in WRITERS:
        if isinstance(value, kind):
            return write(value)
    try:
        return int(value)
    except (TypeError, ValueError):
        return type(value).__name__


def who(credentials):
    """Write credentials without the numbers of processes, which differ."""
    text = credentials.to_string()
    return text.replace(f"pid={os.getpid()},", "pid=ME,").replace(f"pid={os.getppid()},", "pid=PARENT,")


def named(text):
    """Write the name of the errno for the C library's text at the end: Gio's may be another one than ours."""
    texts = {os.strerror(number): name for number, name in errno.errorcode.items()}
    found = max((each for each in texts if text.endswith(each)), key=len, default="")
    return text[: len(text) - len(found)] + texts.get(found, "")


WRITERS = [
    ((bool, str, type(None)), lambda value: value),
    (bytes, lambda value: value.decode("latin-1")),
    (GLib.Error, lambda value: ["error", value.domain, int(value.code), named(value.message)]),
    (Gio.Credentials, who),
    (Gio.UnixSocketAddress, lambda value: ["address", value.get_path(), int(value.get_address_type())]),
    (Gio.UnixFDMessage, lambda value: f"{value.get_fd_list().get_length()} descriptors"),
    (Gio.UnixCredentialsMessage, lambda value: ["credentials", who(value.get_credentials())]),
    (dict, lambda value: {str(key): plain(each) for key, each in value.items()}),
    ((list, tuple), lambda value: [plain(each) for each in value]),
]


def attempt(call, *arguments, **keywords):
    """Return the outcome of a call: its value, or the error."""
    try:
        return plain(call(*arguments, **keywords))
    except GLib.Error as error:
        return plain(error)
    except Exception as error:  # noqa: BLE001 - the outcome is which one
        return ["raises", type(error).__name__]


def wrap(sock):
    """Make a connection of a Python socket."""
    return Gio.UnixConnection(socket=Gio.Socket.new_from_fd(sock.detach()))


def pair(kind=socket.SOCK_STREAM):
    """Make two connections, each the other's peer."""
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    return wrap(one), wrap(other)


def mixed(kind=socket.SOCK_STREAM):
    """Make a Python socket, and the connection at its other end."""
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    return one, wrap(other)


def unix_socket(kind=STREAM):
    """Make a new Socket."""
    return Gio.Socket.new(UNIX, kind, DEFAULT)


def unconnected():
    """Make a connection without a peer."""
    return Gio.UnixConnection(socket=unix_socket())


def cancelled():
    """Make a Cancellable that is cancelled."""
    cancellable = Gio.Cancellable.new()
    cancellable.cancel()
    return cancellable


def non_blocking(connection):
    """Set a connection not to block; give it."""
    connection.get_socket().set_blocking(False)
    return connection


def fill(connection):
    """Fill a connection's send queue."""
    with socket.socket(fileno=os.dup(connection.get_socket().get_fd())) as handle:
        handle.setblocking(False)
        for size in (65536, 1):
            try:
                while True:
                    handle.send(bytes(size))
            except BlockingIOError:
                pass


def is_cloexec(fd):
    """Return whether a descriptor is close-on-exec."""
    return bool(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)


def is_readable(fd):
    """Return whether a descriptor is readable."""
    return bool(select.select([fd], [], [], 0)[0])


def descriptors():
    """Count this process's descriptors."""
    return len(os.listdir("/proc/self/fd"))


def send_fds(sock, *fds, data=b"x"):
    """Send descriptors in one message."""
    sock.sendmsg([data], [(SOL_SOCKET, socket.SCM_RIGHTS, b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds))])


def passcred(connection):
    """Return a connection's SO_PASSCRED."""
    return int(connection.get_socket().get_option(SOL_SOCKET, SO_PASSCRED).value)


def in_child(call):
    """Call in a forked process that ends; give its number."""
    pid = os.fork()
    if not pid:
        try:
            call()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return pid


def later(call, *arguments):
    """Call in another thread, when this one waits."""
    path = f"/proc/self/task/{threading.get_native_id()}/status"

    def turns():
        """Return its state, and how often it has had the processor."""
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return [each.split()[1] for each in file if each.startswith(("State:", "voluntary", "nonvoluntary"))]

    def run():
        before, now = [], turns()
        while now != before or "S" not in now:
            time.sleep(0.02)
            before, now = now, turns()
        call(*arguments)

    threading.Thread(target=run, daemon=True).start()


def server_at(folder, kind=STREAM, name="socket"):
    """Make a Socket that is bound to a name in a folder."""
    server = unix_socket(kind)
    server.bind(Gio.UnixSocketAddress.new(f"{folder}/{name}"), True)
    return server


def stream_of(data, kind=Gio.DataInputStream):
    """Make a stream of a pipe that has *data* and then ends."""
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return kind.new(Gio.UnixInputStream.new(reader, True))


def result_of(start, *arguments, finish):
    """Start an operation, iterate until its callback, and finish it there."""
    loop, found = GLib.MainLoop(), []

    def ended(_stream, result):
        found.append(attempt(finish, result))
        loop.quit()

    start(*arguments, 0, None, ended)
    loop.run()
    return plain(found[0])
