"""Programs that nobody here wrote, as peers: servers, tools and the libraries of other languages."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import socket
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from helpers import adopt
from peers.peer_programs import need, running, short_folder

import unixconn
from unixconn import (
    Socket,
    SocketFamily,
    SocketProtocol,
    SocketType,
    UnixCredentialsMessage,
    UnixFDMessage,
    UnixSocketAddress,
)

SO_PASSCRED = getattr(socket, "SO_PASSCRED", 16)
LOCALHOST = "127.0.0.1"


@contextmanager
def talking_to(command, descriptor=None, **options):
    """Run a program whose standard output, or else a descriptor that *command* is told of, is our connection's peer."""
    ours, theirs = socket.socketpair()
    with adopt(ours) as connection, theirs:
        if descriptor is None:
            options.update(stdout=theirs)
        else:
            options.update(pass_fds=[theirs.fileno()])
            command = [*command, *descriptor(theirs.fileno())]
        with running(command, **options) as process:
            # Or the end of the stream would never come.
            theirs.close()
            yield connection, process


@pytest.fixture
def server():
    """A listening TCP socket."""
    with socket.create_server((LOCALHOST, 0)) as sock:
        sock.settimeout(60)
        yield sock


def received_socket(connection):
    """Receive a socket, and give it as Python's."""
    return socket.socket(fileno=connection.receive_fd())


def ended(process):
    """Wait for the end of a program; tell whether it was content."""
    return process.wait(60) == 0


# --- haproxy: hands its listening sockets to its successor ---

FRONTENDS = 300
"""More than the 252 that haproxy puts in one message."""

HAPROXY = """
global
    stats socket {folder}/stats level admin expose-fd listeners
defaults
    mode tcp
    timeout client 9s
    timeout server 9s
    timeout connect 9s
frontend all
"""


@pytest.fixture
def haproxy():
    """The address of haproxy's stats socket, and the ports and paths at which it listens."""
    program = need("haproxy")
    # Nobody else gets a port of this address before haproxy has it.
    host = f"127.{os.getpid() >> 16 & 127 | 128}.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"
    with ExitStack() as servers:  # all at a time, as each has to get another port
        free = [servers.enter_context(socket.create_server((host, 0))) for _ in range(3)]
        ports = [each.getsockname()[1] for each in free]
    with short_folder() as folder:
        paths = [f"{folder}/{number}" for number in range(FRONTENDS)]
        binds = [f"{host}:{port}" for port in ports] + [f"unix@{path}" for path in paths]
        lines = "".join(f"    bind {each}\n" for each in binds)
        Path(folder, "cfg").write_text(HAPROXY.format(folder=folder) + lines, encoding="ascii")
        end = time.monotonic() + 60
        with running([program, "-q", "-f", folder / "cfg", "-db"]) as process:
            stats = folder / "stats"
            # Named at the end of its start, but before it listens.
            client = None
            while client is None and process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
                client = connected(stats)
            assert client is not None, "haproxy has not started"
            with client:
                yield client, set(ports), set(paths)


def connected(path):
    """Connect to a path; give None while nobody listens there."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.connect(os.fspath(path))
    except OSError:
        sock.close()
        return None
    return adopt(sock)


def test_haproxys_listening_sockets(haproxy):
    """All of haproxy's listening sockets arrive, several hundred in messages of at most 252."""
    client, ports, paths = haproxy
    client.get_output_stream().write_all(b"_getsocks\n")
    (count,) = struct.unpack("i", client.get_input_stream().read_bytes(4).get_data())
    # The stats socket is one as well.
    assert count == len(ports) + len(paths) + 1
    lists, left = [], count
    while left:
        (message,) = client.get_socket().receive_message([bytearray(65536)], 0).messages
        lists.append(message.get_fd_list())
        left -= lists[-1].get_length()
        if left:
            # It waits for an answer between two messages, and ends after the last.
            client.get_output_stream().write_all(bytes(4))
    assert [each.get_length() for each in lists] == [252, count - 252]
    addresses = []
    for fds in lists:
        for index in range(fds.get_length()):
            with socket.socket(fileno=fds.get(index)) as each:
                assert each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                addresses.append(each.getsockname())
    assert {each[1] for each in addresses if isinstance(each, tuple)} == ports
    # It binds to a temporary name and renames that.
    bound = {each.rsplit(".", 2)[0] for each in addresses if isinstance(each, str)}
    assert paths < bound


def test_haproxys_listening_sockets_by_the_documentation(haproxy):
    """The example in the documentation takes them all over."""
    client, ports, paths = haproxy
    client.close()
    example = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "haproxy_sockets.py"))
    found = example["listening_sockets"](Path(next(iter(paths))).parent / "stats")
    assert len(found) == len(ports) + len(paths) + 1
    assert {each.getsockname()[1] for each in found if each.family == socket.AF_INET} == ports
    for each in found:
        each.close()


# --- qemu: takes descriptors by its monitor ---


@pytest.fixture
def monitor():
    """A connection to the monitor of a machine without anything, in command mode."""
    program = need("qemu-system-x86_64", "qemu-system-x86")
    with short_folder() as folder:
        options = [
            "-nodefaults",
            "-machine",
            "none",
            "-display",
            "none",
            "-qmp",
            f"unix:{folder}/qmp,server=on,wait=off",
        ]
        with running([program, *options]) as process:
            client, end = None, time.monotonic() + 60
            while client is None and process.poll() is None and time.monotonic() < end:
                time.sleep(0.01)
                client = connected(folder / "qmp")
            assert client is not None, "qemu has not started"
            with client:
                assert "QMP" in answer_of(client)
                assert ask(client, "qmp_capabilities") == {}
                yield client


def ask(client, command, fds=(), **arguments):
    """Send a command with descriptors, and give what it returns; an error is what it says."""
    client.send_message(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n", fds)
    answer = answer_of(client)
    return answer["error"]["desc"] if "error" in answer else answer["return"]


def answer_of(client):
    """Return what the next line says that is no event."""
    while True:
        line = b""
        while not line.endswith(b"\n"):
            line += client.receive_message(65536).data
        (answer,) = [each for each in map(json.loads, line.splitlines()) if "event" not in each] or [None]
        if answer is not None:
            return answer


def test_qemu_gets_descriptors(monitor):
    """It has those that come with a command, under a name or in a set, and misses one that does not."""
    with tempfile.TemporaryFile() as file:
        assert ask(monitor, "getfd", [file], fdname="ours") == {}
        assert ask(monitor, "closefd", fdname="ours") == {}
        assert "ours" in ask(monitor, "closefd", fdname="ours")
        assert "No file descriptor supplied" in ask(monitor, "getfd", fdname="none")
        added = ask(monitor, "add-fd", [file], opaque="a file of ours")
    (found,) = ask(monitor, "query-fdsets")
    assert found["fdset-id"] == added["fdset-id"]
    assert [(each["fd"], each["opaque"]) for each in found["fds"]] == [(added["fd"], "a file of ours")]


# --- command line tools ---


def test_netcat_passes_a_connected_socket(server):
    """The netcat of OpenBSD, with -F, gives us the TCP connection that it has made, and ends."""
    command = [need("nc.openbsd", "netcat-openbsd"), "-F", LOCALHOST, server.getsockname()[1]]
    with talking_to(command) as (connection, process), received_socket(connection) as tcp:
        assert ended(process)
        assert tcp.getpeername() == server.getsockname()
        with server.accept()[0] as accepted:
            tcp.sendall(b"through netcat's socket")
            assert accepted.recv(99) == b"through netcat's socket"


# The connection is made by the helper, as netcat would; ssh gets it by the helper's standard output.
SSH_HELPER = """
import socket, sys
from unixconn import Socket, UnixConnection
server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
UnixConnection(socket=Socket.new_from_fd(1)).send_fd(server.fileno())
"""


def test_ssh_uses_the_socket_that_we_pass(server):
    """Ssh speaks to its server over the socket that our ProxyCommand has passed before it ended."""
    program = need("ssh", "openssh-client")
    with short_folder() as folder:
        helper = folder / "helper.py"
        helper.write_text(SSH_HELPER, encoding="ascii")
        proxy = shlex.join([sys.executable, str(helper), str(server.getsockname()[1])])
        options = ["BatchMode=yes", "ProxyUseFdpass=yes", f"ProxyCommand={proxy}"]
        command = [program, "-F", "none", *(word for each in options for word in ("-o", each)), "nowhere"]
        environment = dict(os.environ, PYTHONPATH=str(Path(unixconn.__file__).parents[1]))
        with running(command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            with server.accept()[0] as accepted:
                accepted.sendall(b"SSH-2.0-unixconn\r\n")
                with accepted.makefile("rb") as lines:
                    assert lines.readline().startswith(b"SSH-2.0-OpenSSH")
                    # Its proposal of algorithms: a length, a padding's, and SSH_MSG_KEXINIT.
                    assert lines.read(6)[5] == 20
            _output, errors = process.communicate(timeout=60)
            assert b"closed by" in errors or b"reset by" in errors, errors


def test_systemd_notify():
    """READY=1 comes with credentials, BARRIER=1 with a descriptor on which systemd-notify waits."""
    program = need("systemd-notify", "systemd")
    with short_folder() as folder:
        server = Socket.new(SocketFamily.UNIX, SocketType.DATAGRAM, SocketProtocol.DEFAULT)
        server.bind(UnixSocketAddress.new(f"{folder}/notify"), False)
        server.set_option(socket.SOL_SOCKET, SO_PASSCRED, 1)
        server.set_timeout(60)
        with running([program, "--ready"], env=dict(os.environ, NOTIFY_SOCKET=f"{folder}/notify")) as process:
            ready, barrier = notification(server), notification(server)
            assert ready[0] == "READY=1"
            # root may speak for its parent, and does.
            assert ready[1].get_unix_pid() in (process.pid, os.getpid())
            assert ready[1].get_unix_user() == os.geteuid()
            assert (barrier[0], len(barrier[2])) == ("BARRIER=1", 1)
            assert process.poll() is None
            os.close(barrier[2][0])
            assert ended(process)
        server.close()


def notification(server):
    """Receive the text, the credentials and the descriptors of a notification."""
    buffer = bytearray(4096)
    found = server.receive_message([buffer], 0)
    (credentials,) = [each.get_credentials() for each in found.messages if isinstance(each, UnixCredentialsMessage)]
    fds = [fd for each in found.messages if isinstance(each, UnixFDMessage) for fd in each.steal_fds()]
    return buffer[: found.size].decode().strip(), credentials, fds


# --- other languages: each receives a descriptor, writes through it, and sends one of its own ---

RUBY = """
require "socket"
connection = UNIXSocket.for_fd(ARGV[0].to_i)
connection.recv_io.tap { |file| file.write("from another language"); file.close }
reader, writer = IO.pipe
connection.send_io(writer)
writer.close
exit(reader.read == "from Python")
"""

PERL = """
use strict;
use IO::FDPass;
my $connection = shift;
open(my $file, ">&=", IO::FDPass::recv($connection)) or die;
syswrite($file, "from another language");
close($file);
pipe(my $reader, my $writer) or die;
IO::FDPass::send($connection, fileno($writer)) or die;
close($writer);
exit(<$reader> eq "from Python" ? 0 : 1);
"""


def need_perl():
    """Return perl, if its module is there too."""
    program = need("perl")
    if subprocess.run([program, "-MIO::FDPass", "-e", "1"], capture_output=True, check=False).returncode:
        pytest.skip("IO::FDPass (libio-fdpass-perl) is not installed")
    return program


@pytest.mark.parametrize(("find", "script"), [(lambda: need("ruby"), RUBY), (need_perl, PERL)], ids=["ruby", "perl"])
def test_language_passes_descriptors_both_ways(find, script):
    """The standard library of another language takes our descriptor, and we take its."""
    command = [find(), "-e", script]
    with talking_to(command, lambda number: [number]) as (connection, process):
        reader, writer = os.pipe()
        connection.send_fd(writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            assert file.read() == b"from another language"
        with os.fdopen(connection.receive_fd(), "wb") as file:
            file.write(b"from Python")
        assert ended(process)


NODE = """
process.on("message", (message, server) => {
    server.on("connection", (client) => client.end("served by node for " + message));
    process.send("yours again", server);
});
process.on("disconnect", () => process.exit(0));
"""


class NodeChannel:
    """The far end of node's IPC channel: lines of JSON, some with a descriptor."""

    def __init__(self, connection):
        self._connection = connection
        self._data = b""
        self.fds = []

    def send(self, message, fd=None):
        """Send a line, with a descriptor."""
        data = json.dumps(message).encode() + b"\n"
        control = None
        if fd is not None:
            control = UnixFDMessage.new()
            control.append_fd(fd)
        sent = self._connection.get_socket().send_message(None, [data], [control] if control else [], 0)
        assert sent == len(data)

    def receive(self):
        """Receive a line, and keep the descriptors that come."""
        while b"\n" not in self._data:
            buffer = bytearray(4096)
            found = self._connection.get_socket().receive_message([buffer], 0)
            assert found.size, "node has ended"
            self._data += buffer[: found.size]
            for each in found.messages:
                self.fds += each.steal_fds()
        line, _, self._data = self._data.partition(b"\n")
        return json.loads(line)


def test_node_passes_a_server_both_ways(server):
    """Node serves on a listening socket that we pass as child_process does, and passes it back."""
    command = [need("node", "nodejs"), "-e", NODE]
    ours, theirs = socket.socketpair()
    environment = dict(os.environ, NODE_CHANNEL_FD=str(theirs.fileno()), NODE_CHANNEL_SERIALIZATION_MODE="json")
    started = running(command, env=environment, pass_fds=[theirs.fileno()])
    with adopt(ours) as connection, theirs, started as process:
        theirs.close()
        channel = NodeChannel(connection)
        channel.send({"cmd": "NODE_HANDLE", "type": "net.Server", "msg": "unixconn"}, server.fileno())
        assert channel.receive() == {"cmd": "NODE_HANDLE_ACK"}
        handle = channel.receive()
        assert (handle["type"], handle["msg"]) == ("net.Server", "yours again")
        channel.send({"cmd": "NODE_HANDLE_ACK"})
        with socket.socket(fileno=channel.fds.pop()) as returned:
            assert returned.getsockname() == server.getsockname()
            assert returned.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        with socket.create_connection(server.getsockname(), timeout=60) as client, client.makefile("rb") as file:
            assert file.read() == b"served by node for unixconn"
        connection.close()
        assert ended(process)
