"""As much of the D-Bus protocol as it takes to talk to dbus-daemon: https://dbus.freedesktop.org/doc/dbus-specification.html."""

from __future__ import annotations

import itertools
import os
import struct
from typing import Any, NamedTuple

from unixconn import UnixConnection, UnixFDMessage

METHOD_CALL, METHOD_RETURN, ERROR, SIGNAL = 1, 2, 3, 4
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE, UNIX_FDS = range(1, 10)

_NUMBERS = {"y": "B", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "b": "I", "h": "I"}
_ALIGNMENTS = {"y": 1, "g": 1, "v": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8}
_HEADER = "yyyyuua(yv)"


def types(signature: str) -> list[str]:
    """Split a signature into its complete types."""
    found, begin, depth = [], 0, 0
    for at, letter in enumerate(signature):
        depth += (letter in "({") - (letter in ")}")
        if not depth and letter != "a":
            found.append(signature[begin : at + 1])
            begin = at + 1
    return found


class Writer:
    """Writes values as D-Bus does, little-endian."""

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, boundary: int) -> None:
        """Write zeros up to the boundary."""
        self.data += bytes(-len(self.data) % boundary)

    def write(self, kind: str, value: Any) -> None:
        """Write one value."""
        self.align(_ALIGNMENTS.get(kind[0], 4))
        if kind in _NUMBERS:
            self.data += struct.pack("<" + _NUMBERS[kind], value)
        elif kind in "sog":
            encoded = value.encode()
            self.write("y" if kind == "g" else "u", len(encoded))
            self.data += encoded + b"\0"
        elif kind == "v":
            self.write("g", value[0])
            self.write(*value)
        elif kind[0] == "a":
            self._write_array(kind[1:], value)
        else:
            for each, content in zip(types(kind[1:-1]), value):
                self.write(each, content)

    def _write_array(self, kind: str, values: Any) -> None:
        at = len(self.data)
        self.write("u", 0)
        self.align(_ALIGNMENTS.get(kind[0], 4))
        begin = len(self.data)
        for each in values:
            self.write(kind, each)
        struct.pack_into("<I", self.data, at, len(self.data) - begin)


class Reader:
    """Reads what `Writer` writes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def align(self, boundary: int) -> None:
        """Pass over the zeros up to the boundary."""
        self.at += -self.at % boundary

    def take(self, size: int) -> bytes:
        """Return the next bytes."""
        self.at += size
        return self.data[self.at - size : self.at]

    def read(self, kind: str) -> Any:
        """Read one value."""
        self.align(_ALIGNMENTS.get(kind[0], 4))
        if kind in _NUMBERS:
            letter = "<" + _NUMBERS[kind]
            return struct.unpack(letter, self.take(struct.calcsize(letter)))[0]
        if kind in "sog":
            text = self.take(self.read("y" if kind == "g" else "u")).decode()
            self.take(1)
            return text
        if kind == "v":
            return self.read(self.read("g"))
        if kind[0] == "a":
            return self._read_array(kind[1:])
        return tuple(self.read(each) for each in types(kind[1:-1]))

    def _read_array(self, kind: str) -> list[Any]:
        size = self.read("u")
        self.align(_ALIGNMENTS.get(kind[0], 4))
        end, found = self.at + size, []
        while self.at < end:
            found.append(self.read(kind))
        return found


class Message(NamedTuple):
    """A message that has arrived; the descriptors are the receiver's to close."""

    kind: int
    fields: dict[int, Any]
    body: list[Any]
    fds: list[int]


class Bus:
    """A client of a message bus."""

    def __init__(self, connection: UnixConnection) -> None:
        self.connection = connection
        self.name = ""
        self._serials = itertools.count(1)
        self._data = b""
        self._fds: list[int] = []

    def authenticate(self) -> None:
        """Say who we are, by the kernel and by words; agree on descriptors; get a name."""
        self.connection.send_credentials()
        assert self.command(f"AUTH EXTERNAL {str(os.geteuid()).encode().hex()}").startswith("OK ")
        assert self.command("NEGOTIATE_UNIX_FD") == "AGREE_UNIX_FD"
        self.connection.get_output_stream().write_all(b"BEGIN\r\n")
        (self.name,) = self.call_bus("Hello").body

    def command(self, line: str) -> str:
        """Send a line, and give the answer."""
        self.connection.get_output_stream().write_all(line.encode() + b"\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            got = self.connection.get_input_stream().read_bytes(4096).get_data()
            assert got, f"the bus has closed after {answer!r}"
            answer += got
        return answer.decode().rstrip()

    def send(
        self, kind: int, fields: dict[int, Any], signature: str = "", *body: Any, fds: tuple[int, ...] = ()
    ) -> int:
        """Send a message, and give its serial number."""
        content = Writer()
        for each, value in zip(types(signature), body):
            content.write(each, value)
        serial = next(self._serials)
        letters = {PATH: "o", SIGNATURE: "g", REPLY_SERIAL: "u", UNIX_FDS: "u"}
        fields = {**fields, SIGNATURE: signature, UNIX_FDS: len(fds)}
        described = [(number, (letters.get(number, "s"), value)) for number, value in fields.items() if value]
        message = Writer()
        for each, value in zip(types(_HEADER), (ord("l"), kind, 0, 1, len(content.data), serial, described)):
            message.write(each, value)
        message.align(8)
        control = UnixFDMessage.new()
        for fd in fds:
            control.append_fd(fd)
        data = message.data + content.data
        try:
            sent = self.connection.get_socket().send_message(None, [data], [control] if fds else None, 0)
        finally:
            # Not left to the object's end, which PyPy may put off: until then no pipe that we send would end.
            for fd in control.steal_fds():
                os.close(fd)
        self.connection.get_output_stream().write_all(data[sent:])
        return serial

    def receive(self) -> Message:
        """Wait for the next message."""
        self._need(16)
        size = struct.unpack_from("<I", self._data, 4)[0]
        described = struct.unpack_from("<I", self._data, 12)[0]
        body_at = 16 + described + -described % 8
        self._need(body_at + size)
        reader = Reader(self._data[: body_at + size])
        self._data = self._data[body_at + size :]
        header = reader.read(f"({_HEADER})")
        kind, fields = header[1], dict(header[6])
        reader.align(8)
        body = [reader.read(each) for each in types(fields.get(SIGNATURE, ""))]
        count = fields.get(UNIX_FDS, 0)
        fds, self._fds = self._fds[:count], self._fds[count:]
        return Message(kind, fields, body, fds)

    def _need(self, size: int) -> None:
        """Receive until there are *size* bytes, and keep the descriptors that come."""
        while len(self._data) < size:
            buffer = bytearray(4096)
            found = self.connection.get_socket().receive_message([buffer], 0)
            assert found.size, "the bus has closed"
            self._data += buffer[: found.size]
            for message in found.messages:
                assert isinstance(message, UnixFDMessage)
                self._fds += message.steal_fds()

    def receive_of(self, kind: int) -> Message:
        """Wait for a message of a kind; pass over others."""
        while True:
            message = self.receive()
            if message.kind in (kind, ERROR):
                assert message.kind == kind, message
                return message

    def call_bus(self, member: str, signature: str = "", *body: Any) -> Message:
        """Call a method of the bus itself, and give the reply."""
        name = "org.freedesktop.DBus"
        fields = {PATH: "/org/freedesktop/DBus", DESTINATION: name, INTERFACE: name, MEMBER: member}
        serial = self.send(METHOD_CALL, fields, signature, *body)
        reply = self.receive_of(METHOD_RETURN)
        assert reply.fields[REPLY_SERIAL] == serial
        return reply
