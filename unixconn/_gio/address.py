"""Addresses of sockets."""

from __future__ import annotations

import os
from enum import IntEnum
from socket import AF_UNIX

from unixconn._base.arguments import as_member
from unixconn._base.errors import IOErrorEnum, io_error
from unixconn._base.object import Object, Property
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from typing import ClassVar, Union

    PathLike = Union[str, bytes, list[int], os.PathLike[str], os.PathLike[bytes]]

_PATH_ROOM = SYSTEM.path_room
_FAMILY_SIZE = 2


class SocketFamily(IntEnum):
    """Families of addresses (Gio.SocketFamily)."""

    INVALID = 0
    UNIX = 1
    IPV4 = 2
    IPV6 = 10


class UnixSocketAddressType(IntEnum):
    """Kinds of names that a Unix socket has (Gio.UnixSocketAddressType)."""

    INVALID = 0
    ANONYMOUS = 1
    PATH = 2
    ABSTRACT = 3
    ABSTRACT_PADDED = 4


class SocketAddress(Object):
    """The address of a socket (Gio.SocketAddress)."""

    _properties: ClassVar[tuple[Property, ...]] = (Property("family", SocketFamily, "get_family"),)

    def get_family(self) -> SocketFamily:
        """Give the family."""
        raise NotImplementedError


class UnixSocketAddress(SocketAddress):
    """
    The address of a Unix socket: a path, a name in the abstract namespace, or none (Gio.UnixSocketAddress).

    *path* may be str, bytes, os.PathLike or a list of byte values. Raises the Error FILENAME_TOO_LONG for one of more
    than 107 bytes, which Gio would cut and so connect elsewhere. *abstract* stands for the type ABSTRACT_PADDED.
    """

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("path", str, "get_path", construct_only=True),
        Property("abstract", bool, "get_is_abstract", default=False, construct_only=True),
        Property("address-type", UnixSocketAddressType, "get_address_type", construct_only=True),
    )

    def __init__(
        self,
        *,
        path: PathLike = b"",
        abstract: bool = False,
        address_type: UnixSocketAddressType = UnixSocketAddressType.PATH,
    ) -> None:
        super().__init__()
        name = bytes(path) if isinstance(path, (list, tuple, bytearray)) else os.fsencode(path)
        self._type = as_member(UnixSocketAddressType, address_type)
        if abstract and self._type is UnixSocketAddressType.PATH:
            self._type = UnixSocketAddressType.ABSTRACT_PADDED
        if self._type in (UnixSocketAddressType.INVALID, UnixSocketAddressType.ANONYMOUS):
            self._type, name = UnixSocketAddressType.ANONYMOUS, b""
        if self._type is UnixSocketAddressType.PATH and b"\0" in name:
            raise ValueError(f"path must not contain a NUL byte: {path!r}")
        if len(name) > _PATH_ROOM - 1:
            raise io_error(
                IOErrorEnum.FILENAME_TOO_LONG,
                f"The name of a Unix socket has at most {_PATH_ROOM - 1} bytes, and this one {len(name)}: {path!r}",
            )
        self._name = name

    @classmethod
    def new(cls, path: PathLike) -> UnixSocketAddress:
        """Make the address of the socket file *path*."""
        return cls(path=path)

    @classmethod
    def new_with_type(cls, path: PathLike, type: UnixSocketAddressType) -> UnixSocketAddress:  # noqa: A002 - Gio's name
        """Make an address of any kind; for an abstract one *path* is the name without the leading NUL."""
        return cls(path=path, address_type=type)

    @staticmethod
    def abstract_names_supported() -> bool:
        """Tell whether this system has an abstract namespace."""
        return SYSTEM.is_linux

    def get_family(self) -> SocketFamily:
        """Give UNIX."""
        return SocketFamily.UNIX

    def get_path(self) -> str:
        """Give the path or name; "" for an anonymous one. Bytes that are no UTF-8 become surrogates."""
        return os.fsdecode(self._name)

    def get_path_len(self) -> int:
        """Give the length of the path or name in bytes."""
        return len(self._name)

    def get_address_type(self) -> UnixSocketAddressType:
        """Give the kind."""
        return self._type

    def get_is_abstract(self) -> bool:
        """Tell whether it is a name in the abstract namespace."""
        return self._type in (UnixSocketAddressType.ABSTRACT, UnixSocketAddressType.ABSTRACT_PADDED)

    def get_native_size(self) -> int:
        """Give the size of the kernel's structure in bytes."""
        if self._type is UnixSocketAddressType.ANONYMOUS:
            return _FAMILY_SIZE
        if self._type is UnixSocketAddressType.ABSTRACT:
            return _FAMILY_SIZE + 1 + len(self._name)
        return _FAMILY_SIZE + _PATH_ROOM

    def to_string(self) -> str:
        """Describe it: the path or name, with what is not printable ASCII escaped."""
        if self._type is UnixSocketAddressType.ANONYMOUS:
            return "anonymous"
        return "".join(chr(each) if 32 <= each < 127 else f"\\x{each:02x}" for each in self._name)

    def __repr__(self) -> str:
        return f"<UnixSocketAddress {self._type.name} {self._name!r}>"

    def _for_python(self) -> bytes:
        """Give it as the socket module takes it."""
        if self._type is UnixSocketAddressType.ABSTRACT:
            return b"\0" + self._name
        if self._type is UnixSocketAddressType.ABSTRACT_PADDED:
            return (b"\0" + self._name).ljust(_PATH_ROOM, b"\0")
        return self._name

    def _for_kernel(self) -> bytes:
        """Give it as struct sockaddr_un."""
        # Not of an empty path, which would be the abstract name of no bytes.
        end = b"\0" if self._type is UnixSocketAddressType.PATH and self._name else b""
        return SYSTEM.pack_address(AF_UNIX, self._for_python() + end)


def from_python(address: str | bytes) -> UnixSocketAddress:
    """Make the address that the socket module gives as *address*."""
    # Python reads on behind a name that fills sun_path, up to the next NUL: what it finds there is not of the name.
    name, kind = os.fsencode(address)[:_PATH_ROOM], UnixSocketAddressType.PATH
    if not name:
        kind = UnixSocketAddressType.ANONYMOUS
    elif name.startswith(b"\0"):
        padded = len(name) == _PATH_ROOM
        kind = UnixSocketAddressType.ABSTRACT_PADDED if padded else UnixSocketAddressType.ABSTRACT
        name = name[1:].rstrip(b"\0") if padded else name[1:]
    # Not by the constructor: a peer's name may be a byte longer than what can be bound to here, and fill sun_path.
    made = UnixSocketAddress()
    made._name, made._type = name, kind
    return made


def from_kernel(address: bytes) -> UnixSocketAddress | None:
    """Make the address that recvmsg() has written, None for none, or one of another family."""
    family, name = SYSTEM.unpack_address(address)
    if family != AF_UNIX:
        return None
    return from_python(name if name[:1] == b"\0" else name.split(b"\0", 1)[0])


def check_address(address: object) -> None:
    """Raise TypeError for an argument *address* that is no `SocketAddress`."""
    if not isinstance(address, SocketAddress):
        raise TypeError(f"address must be a SocketAddress, not {address!r}")
