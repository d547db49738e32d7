"""A server that opens files for its clients, and sends them the descriptors: ``file_server.py FOLDER``."""

import os
import sys
from pathlib import Path

from gi.repository import Gio, GLib

FILES = {"poem": "roses are red\n", "list": "milk\nbread\n"}


def read_line(stream):
    """Read one line, and no more: a descriptor may follow."""
    line = b""
    while not line.endswith(b"\n"):
        byte = stream.read_bytes(1, None).get_data()
        if not byte:
            break
        line += byte
    return line.decode().rstrip("\n")


def on_run(service, connection, source_object, folder):
    """Answer the requests of one connection. Each connection has its own thread."""
    output = connection.get_output_stream()
    while True:
        name = read_line(connection.get_input_stream())
        if not name:
            break
        try:
            fd = os.open(Path(folder) / Path(name).name, os.O_RDONLY)
        except OSError as error:
            output.write_all(f"error {error.strerror}\n".encode(), None)
            continue
        output.write_all(b"ok\n", None)
        connection.send_fd(fd, None)
        os.close(fd)
    connection.close(None)
    return True


def ask(connection, name):
    """Ask the server to open a file; return the descriptor, or the text of the error."""
    connection.get_output_stream().write_all(name.encode() + b"\n", None)
    answer = read_line(connection.get_input_stream())
    return connection.receive_fd(None) if answer == "ok" else answer


def client(address):
    """Ask for some files over one connection."""
    connection = Gio.SocketClient.new().connect(address, None)
    for name in ("poem", "nothing", "list", "poem"):
        answer = ask(connection, name)
        if isinstance(answer, int):
            inheritable = os.get_inheritable(answer)
            with os.fdopen(answer) as file:
                answer = (file.read(), inheritable)
        print("client:", name, answer)
    connection.close(None)


def fork_clients(address, times):
    """Start a process that runs clients one after the other; return its pid."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        for _ in range(times):
            client(address)
        code = 0
    finally:
        sys.stdout.flush()
        os._exit(code)


def several(address):
    """Send two descriptors in one message, by a UnixFDList, within this process."""
    listener = Gio.SocketListener.new()
    listener.add_address(address, Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT, None)
    ours = Gio.SocketClient.new().connect(address, None)
    theirs, source_object = listener.accept(None)
    assert source_object is None
    fds = Gio.UnixFDList.new()
    print("indices:", fds.append(0), fds.append(1))
    message = Gio.UnixFDMessage.new_with_fd_list(fds)
    ours.get_socket().send_message(None, [], [message], 0, None)
    size, _sender, messages, _flags = theirs.get_socket().receive_message([], 0, None)
    received = messages[0].steal_fds()
    same = [os.path.sameopenfile(*pair) for pair in enumerate(received)]
    print("several:", size, len(messages), len(received), same)
    for fd in received:
        os.close(fd)
    ours.send_fd(0, None)
    fd = theirs.receive_fd(None)
    print("same file:", os.path.sameopenfile(0, fd))
    os.close(fd)
    ours.get_output_stream().write_all(b"x", None)
    try:
        theirs.receive_fd(None)
    except GLib.Error as error:
        print(error.code == Gio.IOErrorEnum.FAILED, error.message)
    listener.close()


def main(folder):
    """Serve until all clients have ended."""
    for name, text in FILES.items():
        (Path(folder) / name).write_text(text)
    address = Gio.UnixSocketAddress.new(folder + "/files")
    service = Gio.ThreadedSocketService.new(4)
    service.add_address(address, Gio.SocketType.STREAM, Gio.SocketProtocol.DEFAULT, None)
    service.connect("run", on_run, folder)
    loop = GLib.MainLoop()
    child = fork_clients(address, 4)

    def look():
        pid, status = os.waitpid(child, os.WNOHANG)
        if not pid:
            return GLib.SOURCE_CONTINUE
        print("clients ended with", status)
        loop.quit()
        return GLib.SOURCE_REMOVE

    GLib.timeout_add(10, look)
    loop.run()
    service.stop()
    service.close()
    several(Gio.UnixSocketAddress.new(folder + "/several"))


main(sys.argv[1])
