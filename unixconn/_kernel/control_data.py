"""
The layout of control data: how control messages stand behind each other in a buffer.

Each has a header of a length, a level and a type, then its payload, and padding up to the next. Where these stand
differs from machine to machine, and so does the length: it covers the header with its padding, and not what follows the
payload. See cmsg(3), and RFC 3542, section 20.
"""

from __future__ import annotations

import struct
from socket import CMSG_LEN, CMSG_SPACE

from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.native import ffi

if TYPE_CHECKING:
    from collections.abc import Sequence

    ControlMessage = tuple[int, int, bytes]
    """One control message: level, type and payload."""


class Layout:
    """One machine's layout."""

    __slots__ = ("_alignment", "_header", "header_size")

    def __init__(self, header: str, header_size: int, alignment: int) -> None:
        """Take the `struct` format of length, level and type, the bytes up to the payload, and what it is padded to."""
        self._header = struct.Struct(header)
        self.header_size = header_size
        self._alignment = alignment

    def length(self, size: int) -> int:
        """Give what the header of a message with *size* bytes of payload says: CMSG_LEN."""
        return self.header_size + size

    def space(self, size: int) -> int:
        """Give the bytes that such a message takes: CMSG_SPACE."""
        return self.header_size + -(-size // self._alignment) * self._alignment

    def pack(self, message: ControlMessage) -> bytes:
        """Give the bytes of a control message with header and padding."""
        level, kind, data = message
        head = self._header.pack(self.length(len(data)), level, kind).ljust(self.header_size, b"\0")
        return (head + data).ljust(self.space(len(data)), b"\0")

    def parse(self, control: bytes) -> tuple[list[ControlMessage], str]:
        """
        Take a control buffer apart, trusting nothing in it.

        Gives the messages, and a description of what is wrong with the buffer, or "". A message that claims to reach
        beyond the end gets the bytes that are there, since descriptors may be among them; nothing after it is looked
        at.
        """
        messages: list[ControlMessage] = []
        offset, size = 0, len(control)
        while size - offset >= self.header_size:
            length, level, kind = self._header.unpack_from(control, offset)
            if length < self.header_size:
                text = f"the control message at byte {offset} has the length {length}, less than its header's"
                return messages, text
            messages.append((level, kind, control[offset + self.header_size : offset + length]))
            if length > size - offset:
                text = f"the control message at byte {offset} has the length {length}, and {size - offset} are left"
                return messages, text
            offset += self.space(length - self.header_size)
        return messages, ""


def _native() -> Layout:
    fields: Sequence[str] = ("cmsg_len", "cmsg_level", "cmsg_type")
    header, end = "=", 0
    for name in fields:
        start, size = ffi.offsetof("struct cmsghdr", name), ffi.sizeof("int")
        if name == "cmsg_len":
            size = ffi.sizeof("cmsg_len_t")
        header += f"{start - end}x" + (("I" if size == ffi.sizeof("int") else "Q") if name == "cmsg_len" else "i")
        end = start + size
    return Layout(header, CMSG_LEN(0), CMSG_SPACE(1) - CMSG_LEN(0))


NATIVE = _native()
"""This machine's."""
