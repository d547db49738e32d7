"""A daemon that serves only processes of its own user: ``credentials_daemon.py FOLDER``."""

import os
import sys

from gi.repository import Gio, GLib


def serve(connection, child):
    """Check who has connected, and answer."""
    own = Gio.Credentials.new()
    peer = connection.get_socket().get_credentials()
    try:
        sender = connection.receive_credentials(None)
    except GLib.Error as error:
        print("refused:", error.domain, error.code, error.message.splitlines()[0] if error.code else "")
        return
    print("sender is the client:", sender.get_unix_pid() == child)
    print("peer is the client:", peer.get_unix_pid() == child)
    print("of this user:", sender.get_unix_user() == os.geteuid(), own.is_same_user(sender))
    print("text:", sender.to_string().replace(str(child), "PID").replace(str(os.geteuid()), "UID").split(",gid")[0])
    connection.get_output_stream().write_all(b"welcome\n" if own.is_same_user(sender) else b"no\n", None)
    connection.send_credentials(None)


def polite(connection, daemon):
    """Send credentials, and check who answers."""
    print("client: sent", connection.send_credentials(None))
    answer = connection.get_input_stream().read_bytes(len(b"welcome\n"), None)
    print("client: heard", answer.get_data())
    print("client: from the daemon", connection.receive_credentials(None).get_unix_pid() == daemon)


def silent(connection, daemon):
    """Close the connection without a message."""
    assert connection.is_connected()
    print("client: goes")


def confused(connection, daemon):
    """Send a descriptor instead of credentials."""
    print("client: sent", connection.send_fd(0, None))


def explicit(connection, daemon):
    """Send credentials as a control message object."""
    credentials = Gio.Credentials.new()
    credentials.set_unix_user(os.geteuid())
    message = Gio.UnixCredentialsMessage.new_with_credentials(credentials)
    assert message.get_credentials() is credentials
    print("client: sent", connection.get_socket().send_message(None, [], [message], 0, None))
    print("client: heard", connection.get_input_stream().read_bytes(8, None).get_data())
    print("client: from the daemon", connection.receive_credentials(None).get_unix_pid() == daemon)


def fork_client(address, behaviour, daemon):
    """Start a client process; return its pid, and a descriptor to read its output from."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    code = 1
    try:
        os.dup2(writer, 1)
        connection = Gio.SocketClient.new().connect(address, None)
        behaviour(connection, daemon)
        connection.close(None)
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def main(folder):
    """Serve one client after the other."""
    address = Gio.UnixSocketAddress.new(folder + "/daemon")
    listener = Gio.SocketListener.new()
    listener.set_backlog(5)
    added, effective = listener.add_address(address, Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT, None)
    print("listens:", added, effective.get_path() == folder + "/daemon", effective.get_address_type() == 2)
    daemon = os.getpid()
    for behaviour in (polite, silent, confused, explicit):
        print("---", behaviour.__name__)
        sys.stdout.flush()
        child, output = fork_client(address, behaviour, daemon)
        connection, _source_object = listener.accept(None)
        serve(connection, child)
        with os.fdopen(output) as file:
            print(file.read(), end="")
        print("ended with", os.waitpid(child, 0)[1])
        connection.close(None)
    listener.close()


main(sys.argv[1])
