"""dbus-daemon as the peer: what it believes of us, and descriptors through it."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
from pathlib import Path

import pytest
from helpers import adopt
from peers.peer_dbus import DESTINATION, INTERFACE, MEMBER, METHOD_CALL, PATH, SENDER, Bus
from peers.peer_programs import need, running, short_folder

from unixconn import UnixConnection


@pytest.fixture
def address():
    """A path at which a bus listens."""
    program = need("dbus-daemon", "dbus")
    with short_folder() as folder:
        path = folder / "bus"
        command = [program, "--session", "--nofork", "--print-address", f"--address=unix:path={path}"]
        with running(command, stdout=subprocess.PIPE) as process:
            # Printed when it listens.
            assert process.stdout.readline().startswith(b"unix:path=")
            yield path


def connect(path) -> Bus:
    """Become a client of the bus."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(os.fspath(path))
    bus = Bus(adopt(sock))
    bus.authenticate()
    return bus


def send_to(bus, name, fd) -> None:
    """Send a method call with a descriptor to the client with a name."""
    fields = {PATH: "/here", DESTINATION: name, INTERFACE: "org.example.Test", MEMBER: "Take"}
    bus.send(METHOD_CALL, fields, "sh", "for you", 0, fds=(fd,))


def test_the_bus_believes_who_we_are(address):
    """The credentials byte, EXTERNAL and the kernel's word are of this process: pid and uid."""
    bus = connect(address)
    with bus.connection:
        (found,) = bus.call_bus("GetConnectionCredentials", "s", bus.name).body
        credentials = dict(found)
        assert credentials["ProcessID"] == os.getpid()
        assert credentials["UnixUserID"] == os.geteuid()


def test_another_user_is_refused(address):
    """The bus compares the uid that we claim with that of our credentials."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(os.fspath(address))
    with adopt(sock) as connection:
        connection.send_credentials()
        other = str(os.geteuid() + 1).encode().hex()
        assert Bus(connection).command(f"AUTH EXTERNAL {other}").startswith("REJECTED")


def test_a_descriptor_to_ourselves(address):
    """A descriptor in a message to our own name comes back as a new one of the same file."""
    bus = connect(address)
    reader, writer = os.pipe()
    with bus.connection:
        send_to(bus, bus.name, writer)
        message = bus.receive_of(METHOD_CALL)
        assert (message.fields[MEMBER], message.fields[SENDER], message.body) == ("Take", bus.name, ["for you", 0])
        (fd,) = message.fds
        os.write(fd, b"through the bus")
        for each in (fd, writer):
            os.close(each)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == b"through the bus"


def test_descriptors_between_two_clients(address):
    """Descriptors in two messages arrive in order, whole connections among them."""
    one, other = connect(address), connect(address)
    ours, theirs = UnixConnection.create_pair()
    with one.connection, other.connection, ours:
        with theirs:
            send_to(one, other.name, 0)
            send_to(one, other.name, theirs.get_socket().get_fd())
        first, second = other.receive_of(METHOD_CALL), other.receive_of(METHOD_CALL)
        assert os.path.sameopenfile(first.fds[0], 0)
        os.close(first.fds[0])
        with adopt(socket.socket(fileno=second.fds[0])) as passed:
            passed.get_output_stream().write_all(b"hello")
            assert ours.get_input_stream().read_bytes(99).get_data() == b"hello"


def test_frames_of_the_documentation(address):
    """Messages with and without descriptors, read in any pieces, keep what belongs to them."""
    frames_of = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "dbus_frames.py"))["Frames"]
    one, other = connect(address), connect(address)
    with one.connection, other.connection:
        for count in (0, 1, 0, 3, 2):
            fields = {PATH: "/here", DESTINATION: other.name, INTERFACE: "org.example.Test", MEMBER: f"Take{count}"}
            one.send(METHOD_CALL, fields, "s", "text" * 50, fds=(0,) * count)
        frames, found = frames_of(other.connection), []
        while len(found) < 5:
            frame, fds = frames.receive()
            if b"Take" in frame:
                found.append((frame[frame.index(b"Take") + 4 :][:1], len(fds)))
            for each in fds:
                assert each.samefile(0)
                each.close()
        assert found == [(b"0", 0), (b"1", 1), (b"0", 0), (b"3", 3), (b"2", 2)]
