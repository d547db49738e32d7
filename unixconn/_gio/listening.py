"""listen() and UnixListener: accept connections on a socket file."""

from __future__ import annotations

import _socket as python
import os
import stat

from unixconn._base.errors import IOErrorEnum, io_error, translated
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.address import UnixSocketAddress, UnixSocketAddressType, address_of
from unixconn._gio.connection import UnixConnection
from unixconn._gio.listener import SocketListener
from unixconn._gio.socket import Socket
from unixconn._gio.socket_file import SocketFile
from unixconn._gio.socket_types import SocketProtocol, SocketType
from unixconn._kernel.connect import BINDING, about
from unixconn._kernel.descriptors import Owner, as_descriptor, detach, duplicate_all, move_all, not_open
from unixconn._kernel.file_descriptor import FileDescriptor, Passing, as_own_descriptor, give_back, passer
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.sockets import SocketType as KernelSocket
from unixconn._kernel.sockets import adopt_socket, close_socket

if TYPE_CHECKING:
    import socket
    from typing import Any

    from typing_extensions import Self

    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.connect import Name
    from unixconn._gio.future import Future
    from unixconn._gio.listener import Accepted
    from unixconn._gio.task import AsyncResult
    from unixconn._gio.triples import Callback
    from unixconn._kernel.descriptors import FileDescriptorLike

_BACKLOG = 128
_TYPES = (SocketType.STREAM, SocketType.SEQPACKET)
"""The types of sockets that listen."""


@overload
def listen(
    path: Name,
    *,
    type: SocketType = ...,
    mode: int | None = ...,
    backlog: int = ...,
    pass_credentials: bool = ...,
) -> UnixListener: ...


@overload
def listen(*, sock: socket.socket | FileDescriptor | int, pass_credentials: bool = ...) -> UnixListener: ...


def listen(
    path: Name | None = None,
    *,
    type: SocketType = SocketType.STREAM,  # noqa: A002 - Gio's name
    mode: int | None = None,
    backlog: int = _BACKLOG,
    pass_credentials: bool = False,
    sock: socket.socket | FileDescriptor | int | None = None,
) -> UnixListener:
    """
    Make the socket *path*, and return a listener that accepts connections on it.

    - *path* is a string, bytes or an os.PathLike for a socket file, or a `UnixSocketAddress`. A string or bytes that
      begin with a NUL byte are an abstract name. A path that begins with "@" is a file.
    - *type* is STREAM or SEQPACKET.
    - *mode* is the permissions of the file, such as 0o600; if it is None, the umask decides. Nobody can connect before
      they are set. On Linux the file never has more than these.
    - *backlog* is the number of connections that the kernel queues.
    - With *pass_credentials*, each message carries its sender's credentials, from the first byte of each connection on:
      see `UnixConnection.pass_credentials`.
    - *sock*, instead of *path*, is a socket that listens already: a socket of the standard library, a `FileDescriptor`,
      or a number, such as an inherited one. The listener takes over its descriptor, see `UnixListener.from_socket`.
      Then only *pass_credentials* can be set, for connections that are made from then on.

    A socket file on which no process listens any more is replaced. If several servers start at the same time, one of
    them listens, and the others get ADDRESS_IN_USE. Closing the listener removes the file, unless another one has taken
    its place. For that, the listener keeps a descriptor of the folder open. docs/platforms.md says which features of
    the system this needs, and what is done without them.

    Raises these Errors. ADDRESS_IN_USE and those of system calls have *path* as their ``filename``:

    - ADDRESS_IN_USE if a process listens on *path*, the file is not a socket, or another server replaces it just now
    - INVALID_FILENAME for an empty *path*, FILENAME_TOO_LONG for one of more bytes than fit into an address
    - for *sock*, those of `UnixListener.from_socket`
    - otherwise the one for the errno of a system call, such as PERMISSION_DENIED or NOT_FOUND for the folder

    Raises TypeError if an argument has a wrong type, or if there is not one of *path* and *sock*; and ValueError for a
    *mode* that is not from 0 to 0o777, for the *mode* of an abstract name, for the type DATAGRAM, and for an argument
    that does not go with *sock*.
    """
    if sock is not None:
        if path is not None:
            raise TypeError(f"listen() takes either path or sock, and got both: {path!r} and {sock!r}")
        if (type, mode, backlog) != (SocketType.STREAM, None, _BACKLOG):
            raise ValueError("type, mode and backlog must be left out with sock, which listens already")
        return UnixListener._over_socket(sock, pass_credentials)
    if path is None:
        raise TypeError("path must be a string, bytes or an os.PathLike, not None, unless there is a sock that listens")
    address = address_of(path)
    if type not in _TYPES:
        raise ValueError(f"type must be SocketType.STREAM or SEQPACKET, not {type!r}: no other socket listens")
    if mode is not None:
        if isinstance(mode, bool) or not isinstance(mode, int):
            raise TypeError(f"mode must be an integer, not {mode!r}")
        if address.get_address_type() is not UnixSocketAddressType.PATH:
            raise ValueError(f"mode must be None for an abstract name, which has no permissions, not {mode:#o}")
        if not 0 <= mode <= 0o777:
            # 600 is 0o1130: whoever has left out "0o" gets other permissions than those meant.
            meant = f": did you mean 0o{mode}?" if len(str(mode)) == 3 and set(str(mode)) <= set("01234567") else ""
            raise ValueError(f"mode must be from 0 to 0o777, not {mode}, which is {mode:#o}{meant}")
    return UnixListener(address, type, mode, backlog, pass_credentials)


listen.__module__ = "unixconn"


class UnixListener(SocketListener):
    """
    A listener on one Unix socket. `listen` makes it, or `from_socket`.

    ``for connection in listener`` and ``async for connection in listener`` accept one connection after the other, until
    the listener is closed. ``with listener:`` and ``async with listener:`` close it at the end of the block.
    """

    __module__ = "unixconn"

    _path = b""
    _file: SocketFile | None = None

    def __init__(
        self,
        address: UnixSocketAddress,
        kind: SocketType = SocketType.STREAM,
        mode: int | None = None,
        backlog: int = 128,
        pass_credentials: bool = False,
    ) -> None:
        """Listen on *address*. `listen` calls this after it has checked the arguments."""
        if not isinstance(address, UnixSocketAddress):
            raise TypeError(f"address must be a UnixSocketAddress, not {address!r}. Call unixconn.listen(path)")
        super().__init__(listen_backlog=backlog)
        self._path = address._for_python()
        socket: Socket | None = None
        is_added = False
        try:
            if address.get_address_type() is UnixSocketAddressType.PATH:
                self._file = SocketFile(address)
            socket = Socket.new(address.get_family(), kind, SocketProtocol.DEFAULT)
            if self._file is None:
                socket.bind(address, False)
            else:
                self._file.bind(socket, mode)
            if pass_credentials:
                _pass_credentials(socket)
            # Until this call, connecting is refused.
            socket._listen_backlog = self._backlog
            socket.listen()
            if self._file is not None:
                self._file.check()
            is_added = self._take(socket)
        except OSError as error:
            raise about(translated(error, BINDING), self._path) from None
        finally:
            if not is_added:
                if self._file is not None:
                    self._file.remove()  # while the socket is open
                if socket is not None:
                    socket.close()
                self.close()

    def _take(self, socket: Socket) -> bool:
        if socket.get_socket_type() is not SocketType.STREAM:
            # Gio makes a SocketConnection of another type.
            self._accept_as(UnixConnection._over)
        return self.add_socket(socket)

    @classmethod
    def from_socket(cls, sock: socket.socket | FileDescriptor | int) -> Self:
        """
        Make a listener from *sock*, a socket that listens already, and take over its descriptor.

        *sock* is a socket of the standard library, a `FileDescriptor`, or a number, such as one that a service manager
        has passed. A socket or FileDescriptor is left without a descriptor. Closing the listener does not remove the
        socket file.

        Raises the Error INVALID_ARGUMENT if *sock* is no Unix socket that listens, CLOSED for a socket that is closed,
        FAILED for a number that is not open, and TOO_MANY_OPEN_FILES if there is no room for a descriptor; and
        TypeError for anything else, such as another object with ``fileno()``. Then *sock* stays as it was.
        """
        return cls._over_socket(sock, False)

    @classmethod
    def _over_socket(cls, given: socket.socket | FileDescriptor | int, pass_credentials: bool) -> Self:
        sock: Any = given
        is_socket = hasattr(sock, "getsockname")
        if not is_socket:
            as_own_descriptor(sock, "sock")
        elif sock.fileno() < 0:
            raise not_open(sock)
        if not is_listening(sock):
            raise io_error(
                IOErrorEnum.INVALID_ARGUMENT, f"sock must be a Unix socket that listens, and {sock!r} is not"
            )
        made = cls.__new__(cls)
        SocketListener.__init__(made)
        owner: list[int] = Owner()
        taken: Socket | None = None
        is_taken = False
        try:
            if is_socket:
                detach(owner, sock)
                sock = FileDescriptor._empty()
                sock._take_first(owner)
            taken = Socket.new_from_fd(sock)
            address = taken.get_local_address()
            if isinstance(address, UnixSocketAddress):
                made._path = address._for_python()
            if pass_credentials:
                _pass_credentials(taken)
            is_taken = made._take(taken)
            return made
        finally:
            if not is_taken:
                made._give_back(given, sock, taken, owner)

    def _give_back(
        self,
        given: socket.socket | FileDescriptor | int,
        sock: socket.socket | FileDescriptor | int,
        taken: Socket | None,
        owner: list[int],
    ) -> None:
        """Move the descriptor back to *given*, from *taken*, from *sock*, or from *owner*; close the listener."""
        if taken is not None:
            taken._handle.release(owner)
        elif isinstance(sock, FileDescriptor) and sock is not given:
            move_all(sock._owned, owner)
        self.close()
        give_back(given, owner)

    def _release(self, owner: list[int]) -> None:
        """Move the descriptor of the socket to *owner*, and close the listener."""
        self._entries[0].socket._handle.release(owner)
        self.close()

    def _listening_socket(self) -> Socket:
        """Return the Socket. Raises the Error CLOSED."""
        self._check()
        return self._entries[0].socket

    def fileno(self) -> int:
        """
        Return the number of the socket's descriptor.

        Raises the Error CLOSED once the listener is closed.
        """
        return self._listening_socket().get_fd()

    def detach(self) -> FileDescriptor:
        """
        Close the listener, but leave its file, and return the owner of the socket, which still listens.

        So another process can take the socket over, and no client is refused meanwhile. Call
        ``connection.give_fd(listener.detach())`` here, and ``listen(sock=connection.receive_descriptor())`` there.

        Raises the Error CLOSED if the listener is closed, and TOO_MANY_OPEN_FILES if there is no room for one more
        descriptor. The listener stays open then.
        """
        socket = self._listening_socket()
        made = FileDescriptor._empty()
        # While this thread holds the lock, no other one closes the socket, whose number may then be another file's.
        with socket._handle.entered:
            socket._check()
            duplicate_all(made._owned, (socket._handle.number,))
        if self._file is not None:
            self._file.leave()
        self.close()
        return made._hand_over()

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pass the socket to another process of multiprocessing, or raise TypeError."""
        if passer() is None:
            return super().__reduce__()
        return type(self).from_socket, (Passing(self._listening_socket().get_fd()),)

    def close(self) -> None:
        """
        Close the socket, and remove its file if `listen` made it.

        The file stays if it was replaced, and in a forked child, as it belongs to the parent; see also `detach`.
        Operations that wait end with the Error CLOSED. A second call does nothing.
        """
        try:
            if self._file is not None:
                self._file.remove()
        finally:
            super().close()

    def __repr__(self) -> str:
        # The attributes are missing if the constructor has failed.
        path = os.fsdecode(self._path)
        return f"<{type(self).__name__} {path!r}{' closed' if self.__dict__.get('_closed') else ''}>"

    # --- accepting ---

    if TYPE_CHECKING:
        # Connections to a socket file have the class UnixConnection.

        def accept(self, cancellable: Cancellable | None = None) -> Accepted[UnixConnection]:
            """See `SocketListener.accept`."""
            raise NotImplementedError

        @overload
        def accept_async(self, cancellable: Cancellable | None = None) -> Future[Accepted[UnixConnection]]: ...

        @overload
        def accept_async(
            self,
            cancellable: Cancellable | None = ...,
            callback: Callback = ...,
            user_data: object = ...,
            *more: object,
        ) -> None: ...

        def accept_async(
            self,
            cancellable: Cancellable | None = None,
            callback: Callback = None,
            user_data: object = None,
            *more: object,
        ) -> Future[Accepted[UnixConnection]] | None:
            """See `SocketListener.accept_async`."""
            raise NotImplementedError

        def accept_finish(self, result: AsyncResult) -> Accepted[UnixConnection]:
            """See `SocketListener.accept_finish`."""
            raise NotImplementedError

        def __next__(self) -> UnixConnection:
            """Wait for a connection."""
            raise NotImplementedError

        async def __anext__(self) -> UnixConnection:
            """Wait for a connection."""
            raise NotImplementedError


def _pass_credentials(socket: Socket) -> None:
    """Have the kernel add credentials to the messages of each connection from its first byte on."""
    if SYSTEM.credentials_option is not None:
        # A connection inherits the option. If it were set after accepting, the first messages would have none.
        socket.set_option(*SYSTEM.credentials_option, True)


def is_listening(fd: FileDescriptorLike) -> bool:
    """
    Return whether *fd*, a number or an object with ``fileno()``, is a Unix socket that listens, STREAM or SEQPACKET.

    Raises the Error FAILED for a number that is not open, and TOO_MANY_OPEN_FILES if there is no descriptor for the
    duplicate that it asks.
    """
    with Owner() as owner:
        duplicate_all(owner, (as_descriptor(fd),))
        try:
            is_socket = stat.S_ISSOCK(os.fstat(owner[0]).st_mode)
        except OSError as error:
            raise translated(error, "fstat: ") from None
        if not is_socket:
            return False
        socket = adopt_socket(owner, KernelSocket)
    try:
        return (
            socket.family == python.AF_UNIX
            and socket.type in (python.SOCK_STREAM, python.SOCK_SEQPACKET)
            and socket.getsockopt(python.SOL_SOCKET, python.SO_ACCEPTCONN) != 0
        )
    finally:
        close_socket(socket)
