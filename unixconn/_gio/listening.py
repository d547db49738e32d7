"""listen() and UnixListener: accept connections on a socket file."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress

from unixconn._base.arguments import as_integer
from unixconn._base.errors import ClosedError, Error, IOErrorEnum, NotFoundError, RefusedError, io_error, translated
from unixconn._base.lock import this_process
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.address import UnixSocketAddress
from unixconn._gio.client import address_of_file
from unixconn._gio.listener import SocketListener
from unixconn._gio.socket import Socket, SocketProtocol, SocketType
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from typing import TypeVar

    from unixconn._gio.address import PathLike
    from unixconn._gio.asynchronous import Callback
    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.connection import UnixConnection
    from unixconn._gio.future import Future
    from unixconn._gio.listener import Accepted
    from unixconn._gio.task import AsyncResult

    ListenerT = TypeVar("ListenerT", bound="UnixListener")


def listen(
    path: PathLike, *, mode: int | None = None, backlog: int = 128, pass_credentials: bool = False
) -> UnixListener:
    """
    Make the socket file *path*, and return a listener that accepts connections on it.

    *path* is a string, bytes or an os.PathLike. A socket file on which no process listens any more is replaced. The
    file is removed when this process closes the listener.

    *mode* is the permissions of the file; if it is None, the umask decides. Nobody can connect before they are set.
    *backlog* is the number of connections that the kernel queues. With *pass_credentials*, each connection has
    `UnixConnection.pass_credentials` from its first byte on.

    Raises these Errors:

    - ADDRESS_IN_USE if a process listens on *path*, or the file is not a socket
    - INVALID_FILENAME for an empty *path*
    - FILENAME_TOO_LONG for a *path* of more bytes than fit into an address
    - one with the code for the errno of a system call, such as PERMISSION_DENIED or NOT_FOUND for the folder

    Raises TypeError if *mode* is not an integer, and OverflowError if it is not from 0 to 0o7777.
    """
    if mode is not None:
        if isinstance(mode, (bool, float)):
            raise TypeError(f"mode must be an integer, not {mode!r}")
        mode = as_integer(mode, "mode", 0, 0o7777)
    return UnixListener(path, mode, backlog, pass_credentials)


listen.__module__ = "unixconn"


class UnixListener(SocketListener):
    """
    A listener on a socket file; `listen` makes it.

    ``for connection in listener`` and ``async for connection in listener`` accept one connection after the other, until
    the listener is closed. ``with listener:`` and ``async with listener:`` close it at the end of the block.
    """

    __module__ = "unixconn"

    def __init__(self, path: PathLike, mode: int | None, backlog: int, pass_credentials: bool) -> None:
        """Listen on *path*. `listen` calls this after it has checked *mode*."""
        super().__init__(listen_backlog=backlog)
        address = address_of_file(path)
        self._file: tuple[int, int] | None = None
        # A forked child that closes its copy must not remove the file.
        self._process = this_process()
        self._path = _absolute(address)
        socket = Socket.new(address.get_family(), SocketType.STREAM, SocketProtocol.DEFAULT)
        is_added = False
        try:
            self._bind(socket, address)
            found = os.lstat(self._path)
            self._file = found.st_dev, found.st_ino
            if mode is not None:
                os.chmod(self._path, mode)
            if pass_credentials and SYSTEM.credentials_option is not None:
                # A connection inherits the option. If it were set after accepting, the first messages would have no
                # credentials.
                socket.set_option(*SYSTEM.credentials_option, True)
            # Until this call, connecting is refused.
            socket.set_listen_backlog(backlog)
            socket.listen()
            is_added = self.add_socket(socket)
        except OSError as error:
            raise translated(error, f"Listening on {address.get_path()}: ") from None
        finally:
            if not is_added:
                socket.close()
                self.close()

    def _bind(self, socket: Socket, address: UnixSocketAddress) -> None:
        try:
            socket.bind(address, False)
        except Error as error:
            if error.code != IOErrorEnum.ADDRESS_IN_USE:
                raise
            with suppress(FileNotFoundError):  # another process has just removed it
                _remove_dead(self._path, address)
            socket.bind(address, False)

    def close(self) -> None:
        """
        Close the socket, and remove its file.

        The file stays if it was replaced, and in a forked child, as it belongs to the parent. Operations that wait end
        with the Error CLOSED. A second call does nothing.
        """
        try:
            if self._file is not None and self._process is this_process():
                found = os.lstat(self._path)
                if (found.st_dev, found.st_ino) == self._file:
                    os.unlink(self._path)
            # This comes last: if an exception interrupts this close(), the next one removes the file.
            self._file = None
        except OSError:  # another process has removed it, or this one has no permission any more
            self._file = None
        finally:
            super().close()

    def __repr__(self) -> str:
        # The attributes are missing if the constructor has failed.
        path = os.fsdecode(self.__dict__.get("_path", b""))
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
            self, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: object
        ) -> None: ...

        def accept_async(
            self, cancellable: Cancellable | None = None, callback: Callback = None, *user_data: object
        ) -> Future[Accepted[UnixConnection]] | None:
            """See `SocketListener.accept_async`."""
            raise NotImplementedError

        def accept_finish(self, result: AsyncResult) -> Accepted[UnixConnection]:
            """See `SocketListener.accept_finish`."""
            raise NotImplementedError

    def __iter__(self: ListenerT) -> ListenerT:
        return self

    def __next__(self) -> UnixConnection:
        try:
            return self.accept().connection
        except ClosedError:
            raise StopIteration from None

    def __aiter__(self: ListenerT) -> ListenerT:
        return self

    async def __anext__(self) -> UnixConnection:
        try:
            return (await self.accept_async()).connection
        except ClosedError:
            raise StopAsyncIteration from None


def _absolute(address: UnixSocketAddress) -> bytes:
    """Return the absolute path, as the current folder may change before the file is removed."""
    try:
        return os.path.abspath(address._for_python())
    except OSError as error:  # the current folder is gone
        raise translated(error, f"Listening on {address.get_path()}: ") from None


def _remove_dead(path: bytes, address: UnixSocketAddress) -> None:
    """Remove the socket file *path*. Raises the Error ADDRESS_IN_USE if it is in use, or is not a socket."""
    taken = io_error(
        IOErrorEnum.ADDRESS_IN_USE, f"Error binding to address (GUnixSocketAddress): {address.get_path()} is in use"
    )
    dead = os.lstat(path)
    if not stat.S_ISSOCK(dead.st_mode) or _is_alive(address):
        raise taken
    # Another process may have replaced the file in the meantime. So the file is moved away first, and put back if it is
    # not the file on which no process listens.
    aside = path + b".%d.%d" % (os.getpid(), threading.get_ident())
    os.rename(path, aside)
    found = os.lstat(aside)
    if (found.st_dev, found.st_ino) != (dead.st_dev, dead.st_ino):
        os.link(aside, path)
        os.unlink(aside)
        raise taken
    os.unlink(aside)


def _is_alive(address: UnixSocketAddress) -> bool:
    """
    Return whether a socket is bound to *address*, without connecting to it.

    A socket of a different type tries to connect: the kernel then reports the wrong type instead of connecting. Raises
    the Error NOT_FOUND if the file was removed in the meantime.
    """
    socket = Socket.new(address.get_family(), SocketType.DATAGRAM, SocketProtocol.DEFAULT)
    try:
        return socket.connect(address)
    except RefusedError:
        return False
    except NotFoundError:
        raise
    except Error:  # another type, or no permission: a process has it
        return True
    finally:
        socket.close()
