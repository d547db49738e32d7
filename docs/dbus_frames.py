"""
Read D-Bus messages from a stream, each with the descriptors that belong to it.

One read may return the end of a message and the beginning of the next one, with descriptors of both. Descriptors arrive
in the order in which they were sent, and each message says how many it has. So this program keeps them in a queue.
Wayland's protocol can be read in the same way.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import unixconn

UNIX_FDS = 9
"""The code of the header field with the number of descriptors."""


class Frames:
    """Reads D-Bus messages from *connection*, after the authentication."""

    def __init__(self, connection: unixconn.UnixConnection) -> None:
        self._connection = connection
        self._data = bytearray()
        self._fds: list[unixconn.FileDescriptor] = []

    def receive(self) -> tuple[bytes, list[unixconn.FileDescriptor]]:
        """Return the next message, and its descriptors for the caller to close. Raises ValueError if any is missing."""
        while len(self._data) < size_of(self._data):
            with self._connection.receive_message(65536) as message:
                self._data += message.data
                self._fds += message.fds
                message.fds.clear()
        size = size_of(self._data)
        frame = bytes(self._data[:size])
        del self._data[:size]
        count = dict(header_fields(frame)).get(UNIX_FDS, 0)
        if count > len(self._fds):
            raise ValueError(f"a message with {count} descriptors arrived with {len(self._fds)}")
        fds, self._fds = self._fds[:count], self._fds[count:]
        return frame, fds


def size_of(data: bytes | bytearray) -> int:
    """Return the size of the message at the beginning of *data*; of its fixed part, if *data* is shorter than that."""
    if len(data) < 16:
        return 16
    body, _serial, fields = struct.unpack_from(order_of(data) + "III", data, 4)
    return 16 + aligned(fields, 8) + int(body)


def header_fields(frame: bytes) -> Iterator[tuple[int, int]]:
    """Yield the code and the value of each header field whose value is a number."""
    order = order_of(frame)
    (length,) = struct.unpack_from(order + "I", frame, 12)
    at, end = 16, 16 + length
    while at < end:
        field, kind = frame[at], frame[at + 2 : at + 3]
        # A code, and a variant: the length of the signature, the signature, a NUL, and the value.
        at += 4
        if kind == b"g":
            at += 1 + frame[at] + 1
        else:
            (value,) = struct.unpack_from(order + "I", frame, at)
            at += 4
            if kind == b"u":
                yield field, value
            else:  # a string of that length
                at += value + 1
        at = aligned(at, 8)


def order_of(data: bytes | bytearray) -> str:
    """Return the struct module's character for the byte order of the message."""
    return "<" if data[0] == ord("l") else ">"


def aligned(size: int, boundary: int) -> int:
    """Return *size*, rounded up to a multiple of *boundary*."""
    return size + -size % boundary
