"""The package loads a module when one of its names is first used, also while no descriptor is free."""

from __future__ import annotations

import subprocess
import sys

import pytest

import unixconn

PROGRAM = """
import os, resource, sys
import unixconn
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))

def outcome(name):
    # In a child, as the modules stay loaded.
    read, write = os.pipe()
    if not os.fork():
        filler = []
        try:
            while True:
                filler.append(os.dup(0))
        except OSError:
            pass
        try:
            found = "loaded" if getattr(unixconn, name) else ""
        except Exception as error:
            found = f"{type(error).__name__} {getattr(error, 'code', '')}"
        for each in filler:
            os.close(each)
        getattr(unixconn, name)
        os.write(write, found.encode())
        os._exit(0)
    os.close(write)
    with open(read) as file:
        text = file.read()
    os.wait()
    return text

for module, names in unixconn._MODULES.items():
    name = names.split()[0]
    print(name, outcome(name), sep=": ")
"""


def test_no_free_descriptor():
    """The error is TOO_MANY_OPEN_FILES, and the next use has the name."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=100, check=False)
    assert (done.stderr, done.returncode) == ("", 0)
    found = dict(line.split(": ") for line in done.stdout.splitlines())
    assert set(found) == {names.split()[0] for names in unixconn._MODULES.values()}
    assert set(found.values()) == {"loaded", "TooManyOpenFilesError 31"}


def test_the_standard_library_s_socket():
    """It is loaded by to_socket() alone; without a free descriptor that fails, and the descriptor stays where it is."""
    program = """
import os, resource, sys
from unixconn import Error, FileDescriptor, UnixConnection
a, b = UnixConnection.create_pair()
made = FileDescriptor(os.dup(a.get_socket().get_fd()))
assert "socket" not in sys.modules
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (made.fileno() + 1, limits[1]))
try:
    made.to_socket()
except Error as error:
    print(int(error.code), end=" ")
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
with made.to_socket() as sock:
    sock.sendall(b"x")
print(b.get_input_stream().read_bytes(1).get_data().decode())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert (done.stdout, done.stderr) == ("31 x\n", "")


LATER = """
import os, resource, sys
from unixconn import Cancellable, Error, UnixConnection
a, b = UnixConnection.create_pair()
a.send_fd(0, Cancellable())
os.close(b.receive_fd())
a.send_credentials()
b.receive_credentials()
a.send_message(b"x", [0])
b.receive_message(1).close()
LATER = "asynchronous task future cancellable_source socket_source input_stream output_stream"
loaded = {name.rpartition(".")[2] for name in sys.modules if name.startswith("unixconn.")}
print(sorted(loaded & {*LATER.split(), "reactor", "thread", "main_context"}))
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
for use in (
    lambda: a.send_fd_async(0),
    lambda: a.get_input_stream(),
    lambda: a.get_socket().create_source(1),
    lambda: Cancellable().source_new(),
    lambda: Cancellable.with_timeout(1.0)._set_alarm(),
):
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        use()
    except Error as error:
        print(int(error.code), end=" ")
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    use()
print(os.path.sameopenfile(0, b.receive_fd()))
"""


def test_what_a_program_does_not_use():
    """The asynchronous half, sources and streams are loaded at their first use; without a descriptor that fails."""
    done = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, timeout=100, check=False)
    assert (done.stdout, done.stderr) == ("[]\n31 31 31 31 31 True\n", "")


ACCEPTING = """
listener = unixconn.{}()
listener.add_address(address, unixconn.SocketType.STREAM, unixconn.SocketProtocol.DEFAULT, None)
client.connect(path)
return listener.accept()[0]
"""
MAKING = {
    "SocketListener": ACCEPTING.format("SocketListener"),
    "SocketService": ACCEPTING.format("SocketService"),
    "ThreadedSocketService": ACCEPTING.format("ThreadedSocketService"),
    "accept_socket": ACCEPTING.format("SocketListener").replace(
        ".accept()[0]", ".accept_socket()[0].connection_factory_create_connection()"
    ),
    "SocketClient": "server.bind(path); server.listen(); return unixconn.SocketClient().connect(address)",
    "Socket": """
made = unixconn.Socket.new(unixconn.SocketFamily.UNIX, unixconn.SocketType.STREAM, unixconn.SocketProtocol.DEFAULT)
return made.connection_factory_create_connection()
""",
    "connect": "server.bind(path); server.listen(); return unixconn.connect(path)",
    "listen": "listener = unixconn.listen(path); client.connect(path); return next(listener)",
}
"""Parts of programs that make a connection, and name no other class."""


@pytest.mark.parametrize("name", MAKING)
def test_the_class_of_connections(name, tmp_path):
    """A Unix stream makes a UnixConnection in a program that has not named that class before."""
    lines = MAKING[name].strip().replace("; ", "\n").splitlines()
    program = f"""
import socket, unixconn
path = "socket"
address = unixconn.UnixSocketAddress.new(path)
client, server = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)

def make():
    {chr(10).join("    " + line for line in lines).strip()}

print(type(make()).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path
    )
    assert (done.stderr, done.stdout) == ("", "UnixConnection\n")
