"""Addresses of sockets."""

from __future__ import annotations

import errno
import os
from _socket import AF_UNIX
from abc import abstractmethod

from unixconn._base.arguments import as_member
from unixconn._base.enums import GEnum
from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error
from unixconn._base.object import Object, Property
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.connect import about
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, Union

    from typing_extensions import Self

    PathLike = Union[str, bytes, bytearray, list[int], tuple[int, ...], os.PathLike[str], os.PathLike[bytes]]
    """The path or name of a Unix socket: text, bytes, or a list of byte values, which is what PyGObject takes."""

_PATH_ROOM = SYSTEM.path_room
"""The size of sun_path in struct sockaddr_un, in bytes."""
_FAMILY_SIZE = 2


class SocketFamily(GEnum, prefix="G_SOCKET_FAMILY_"):
    """Families of addresses (Gio.SocketFamily)."""

    __module__ = "unixconn"

    INVALID = 0
    UNIX = 1
    IPV4 = 2
    IPV6 = 10


class UnixSocketAddressType(GEnum, prefix="G_UNIX_SOCKET_ADDRESS_"):
    """Kinds of names of a Unix socket (Gio.UnixSocketAddressType)."""

    __module__ = "unixconn"

    INVALID = 0
    ANONYMOUS = 1
    PATH = 2
    ABSTRACT = 3
    ABSTRACT_PADDED = 4


_PATH = UnixSocketAddressType.PATH
_UNIX = SocketFamily.UNIX


class SocketAddress(Object):
    """
    The address of a socket (Gio.SocketAddress).

    The class is abstract: creating a SocketAddress itself raises TypeError.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("family", SocketFamily, "get_family", default=SocketFamily.INVALID),
    )

    def __init__(self, *arguments: Any, **properties: Any) -> None:
        if type(self) is SocketAddress:
            raise TypeError("SocketAddress is abstract and cannot be made: make a UnixSocketAddress")
        super().__init__(*arguments, **properties)

    @abstractmethod
    def get_family(self) -> SocketFamily:
        """Return the family of the address."""
        raise NotImplementedError

    @abstractmethod
    def get_native_size(self) -> int:
        """Return the size of the kernel's structure in bytes."""
        raise NotImplementedError

    @abstractmethod
    def to_string(self) -> str:
        """Return the address as text (Gio.SocketConnectable)."""
        raise NotImplementedError


class UnixSocketAddress(SocketAddress):
    """
    The address of a Unix socket: a path, a name in the abstract namespace, or no name (Gio.UnixSocketAddress).

    *path* is a str, bytes, an os.PathLike or a list of byte values, *address_type* the kind of name. *abstract*
    together with the type PATH means the type ABSTRACT_PADDED.

    Raises the Error FILENAME_TOO_LONG for a *path* that does not fit into struct sockaddr_un, see unix(7): more than
    107 bytes on Linux. Gio would truncate such a path, and connect elsewhere. Raises ValueError for a NUL byte in the
    path of a file, and TypeError for arguments of other types.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("path", str, "get_path", construct_only=True),
        Property("abstract", bool, "get_is_abstract", default=False, construct_only=True),
        Property(
            "address-type",
            UnixSocketAddressType,
            "get_address_type",
            default=UnixSocketAddressType.PATH,
            construct_only=True,
        ),
        Property("path-as-array", bytes, "_path_as_array"),
    )

    def __init__(
        self,
        *,
        path: PathLike = b"",
        abstract: bool = False,
        address_type: UnixSocketAddressType = UnixSocketAddressType.PATH,
    ) -> None:
        # super().__init__() is not called, as it only refuses to create a SocketAddress itself, and addresses are
        # created often.
        try:
            name = bytes(path) if isinstance(path, (list, tuple, bytearray)) else os.fsencode(path)
        except TypeError:
            raise TypeError(f"path must be a string, bytes or an os.PathLike, not {path!r}") from None
        self._type = as_member(UnixSocketAddressType, address_type)
        if abstract and self._type is UnixSocketAddressType.PATH:
            self._type = UnixSocketAddressType.ABSTRACT_PADDED
        if self._type in (UnixSocketAddressType.INVALID, UnixSocketAddressType.ANONYMOUS):
            self._type, name = UnixSocketAddressType.ANONYMOUS, b""
        if self._type is UnixSocketAddressType.PATH and b"\0" in name:
            raise ValueError(f"path must not contain a NUL byte: {path!r}")
        if len(name) > _PATH_ROOM - 1:
            text = f"The name of a Unix socket has at most {_PATH_ROOM - 1} bytes, and this one {len(name)}: "
            raise about(system_error(errno.ENAMETOOLONG, text), b"\0" * (self._type is not _PATH) + name)
        self._name = name

    @classmethod
    def new(cls, path: PathLike) -> Self:
        """Make the address of the socket file *path*. Raises the same errors as the constructor."""
        return cls(path=path)

    @classmethod
    def new_with_type(cls, path: PathLike, type: UnixSocketAddressType) -> Self:  # noqa: A002 - Gio's name
        """
        Make an address of any type. Raises the same errors as the constructor.

        For an abstract name *path* is the name without its leading NUL byte. For ANONYMOUS *path* is ignored.
        """
        return cls(path=path, address_type=type)

    @classmethod
    def new_abstract(cls, path: PathLike) -> Self:
        """Make an address of the type ABSTRACT_PADDED. Raises the same errors as the constructor."""
        return cls(path=path, address_type=UnixSocketAddressType.ABSTRACT_PADDED)

    @staticmethod
    def abstract_names_supported() -> bool:
        """Return whether this system has an abstract namespace."""
        return SYSTEM.is_linux

    def get_family(self) -> SocketFamily:
        """Return UNIX."""
        return _UNIX

    def get_path(self) -> str:
        """Return the path or name, "" for an anonymous address. Bytes that are not UTF-8 become surrogates."""
        return os.fsdecode(self._name)

    def _path_as_array(self) -> bytes:
        return self._name

    def get_path_len(self) -> int:
        """Return the length of the path or name in bytes."""
        return len(self._name)

    def get_address_type(self) -> UnixSocketAddressType:
        """Return the kind of name."""
        return self._type

    def get_is_abstract(self) -> bool:
        """Return whether the name is in the abstract namespace."""
        return self._type in (UnixSocketAddressType.ABSTRACT, UnixSocketAddressType.ABSTRACT_PADDED)

    def get_native_size(self) -> int:
        """Return the size of the kernel's structure in bytes."""
        if self._type is UnixSocketAddressType.ANONYMOUS:
            return _FAMILY_SIZE
        if self._type is UnixSocketAddressType.ABSTRACT:
            return _FAMILY_SIZE + 1 + len(self._name)
        return _FAMILY_SIZE + _PATH_ROOM

    def to_string(self) -> str:
        """Return the path or name, with escapes for all but printable ASCII; "anonymous" if there is no name."""
        if self._type is UnixSocketAddressType.ANONYMOUS:
            return "anonymous"
        return "".join(chr(each) if 32 <= each < 127 else f"\\x{each:02x}" for each in self._name)

    def __repr__(self) -> str:
        if "_name" not in self.__dict__:  # the constructor has raised
            return f"<{type(self).__name__} invalid>"
        name = "" if self._type is UnixSocketAddressType.ANONYMOUS else f" {self._name!r}"
        return f"<{type(self).__name__} {self._type.name}{name}>"

    def _brief(self) -> str:
        """Describe the address within the `repr` of a socket. An abstract name begins with a NUL byte there."""
        if self._type is UnixSocketAddressType.ANONYMOUS:
            return "anonymous"
        return repr(("\0" if self.get_is_abstract() else "") + self.get_path())

    def _for_python(self) -> bytes:
        """Return the address as the socket module takes it."""
        if self._type is _PATH:
            return self._name
        if self._type is UnixSocketAddressType.ABSTRACT:
            return b"\0" + self._name
        if self._type is UnixSocketAddressType.ABSTRACT_PADDED:
            return (b"\0" + self._name).ljust(_PATH_ROOM, b"\0")
        return self._name

    def _for_kernel(self) -> bytes:
        """Return the address as a struct sockaddr_un."""
        # An empty path gets no NUL byte, which would make it an empty abstract name.
        end = b"\0" if self._type is UnixSocketAddressType.PATH and self._name else b""
        return SYSTEM.pack_address(AF_UNIX, self._for_python() + end)


def address_of(name: PathLike | UnixSocketAddress) -> UnixSocketAddress:
    """
    Return the address *name*: an address already, a path, or an abstract name that begins with a NUL byte.

    Raises the Error INVALID_FILENAME for an empty path: bind(2) would choose an abstract name.
    """
    if isinstance(name, UnixSocketAddress):
        return name
    if isinstance(name, (str, bytes)) and name[:1] in ("\0", b"\0"):
        return UnixSocketAddress.new_with_type(name[1:], UnixSocketAddressType.ABSTRACT)
    address = UnixSocketAddress.new(name)
    if not address.get_path_len():
        raise io_error(IOErrorEnum.INVALID_FILENAME, "The path of a socket file must not be empty")
    return address


def from_python(address: str | bytes) -> UnixSocketAddress:
    """Make an address from *address*, which the socket module returned."""
    # If a name fills sun_path, Python reads beyond it up to the next NUL byte. Those bytes do not belong to the name.
    name, kind = os.fsencode(address)[:_PATH_ROOM], UnixSocketAddressType.PATH
    if not name:
        kind = UnixSocketAddressType.ANONYMOUS
    elif name.startswith(b"\0"):
        padded = len(name) == _PATH_ROOM
        kind = UnixSocketAddressType.ABSTRACT_PADDED if padded else UnixSocketAddressType.ABSTRACT
        name = name[1:].rstrip(b"\0") if padded else name[1:]
    # The constructor is not called, as it refuses a name that fills sun_path. A peer may have bound its socket to one.
    made = UnixSocketAddress.__new__(UnixSocketAddress)
    made._name, made._type = name, kind
    return made


def from_kernel(address: bytes) -> UnixSocketAddress | None:
    """Make an address from what recvmsg(2) has written. Return None if that is empty, or of another family."""
    family, name = SYSTEM.unpack_address(address)
    if family != AF_UNIX:
        return None
    return from_python(name if name[:1] == b"\0" else name.split(b"\0", 1)[0])


def check_address(address: object) -> None:
    """Raise TypeError if *address* is not a `SocketAddress`."""
    if not isinstance(address, SocketAddress):
        raise _no_address("SocketAddress", address)


def unix_address(value: object) -> UnixSocketAddress:
    """Return *value*. Raises TypeError if it is not a `UnixSocketAddress`."""
    if not isinstance(value, UnixSocketAddress):
        raise _no_address("UnixSocketAddress", value)
    return value


def _no_address(kind: str, value: object) -> TypeError:
    hint = ": UnixSocketAddress.new(path) makes one" if isinstance(value, (str, bytes, os.PathLike)) else ""
    return TypeError(f"address must be a {kind}, not {value!r}{hint}")


def name_of(address: SocketAddress | None) -> bytes:
    """Return *address* in the kernel's form, empty for None. Raises TypeError if it is not a `UnixSocketAddress`."""
    return b"" if address is None else unix_address(address)._for_kernel()


def about_address(error: Error, address: SocketAddress) -> Error:
    """Return *error*, which has the path or name in *address* as its ``filename``, see `about`."""
    return about(error, address._for_python()) if isinstance(address, UnixSocketAddress) else error


def address_or_none(ask: Callable[[], SocketAddress | None]) -> SocketAddress | None:
    """Return the result of *ask*, None if it raises an Error."""
    try:
        return ask()
    except Error:
        return None
