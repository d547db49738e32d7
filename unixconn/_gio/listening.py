"""Python's own way to a connection: `connect` and `listen`, for socket files."""

from __future__ import annotations

import os
import stat
import threading
from contextlib import suppress

from unixconn._base.arguments import as_integer
from unixconn._base.errors import ClosedError, Error, IOErrorEnum, NotFoundError, RefusedError, io_error, translated
from unixconn._base.lock import this_process
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.address import UnixSocketAddress
from unixconn._gio.client import SocketClient
from unixconn._gio.connection import UnixConnection
from unixconn._gio.listener import SocketListener
from unixconn._gio.socket import Socket, SocketProtocol, SocketType
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unixconn._gio.address import PathLike
    from unixconn._gio.cancellable import Cancellable


def connect(path: PathLike, cancellable: Cancellable | None = None, *, timeout: int = 0) -> UnixConnection:
    """
    Connect to the socket file *path*: str, bytes or os.PathLike.

    *timeout* is that of the connection's Socket, and of connecting, in whole seconds; 0 means without end. Raises the
    Error NOT_FOUND, CONNECTION_REFUSED where nobody listens, PERMISSION_DENIED, TIMED_OUT, CANCELLED, INVALID_FILENAME
    for an empty *path*, and ValueError for a fraction of a second, which only `Cancellable.with_timeout` knows.
    """
    if isinstance(timeout, float) and timeout % 1:
        # It would lose its fraction, as everywhere in Gio, and less than a second would wait without end.
        raise ValueError(f"timeout must be whole seconds, not {timeout!r}: Cancellable.with_timeout() takes fractions")
    connection = SocketClient(timeout=timeout).connect(_address_of(path), cancellable)
    assert isinstance(connection, UnixConnection)
    return connection


def listen(
    path: PathLike, *, mode: int | None = None, backlog: int = 128, pass_credentials: bool = False
) -> UnixListener:
    """
    Listen on the socket file *path*, which is made, and removed when the listener is closed by this process.

    A file that a dead server has left is replaced. *mode* are the permissions of the new one, None for what the umask
    leaves; nobody can connect before it has them. *backlog* connections may wait to be accepted. With
    *pass_credentials* all of them have `UnixConnection.pass_credentials` from their first byte on. Raises the Error
    ADDRESS_IN_USE if somebody has it, or the file is no socket, and INVALID_FILENAME for an empty *path*; TypeError and
    OverflowError for a *mode* that is no integer, or none of permissions.
    """
    if mode is not None:
        if isinstance(mode, (bool, float)):
            raise TypeError(f"mode must be an integer, not {mode!r}")
        mode = as_integer(mode, "mode", 0, 0o7777)
    return UnixListener(path, mode, backlog, pass_credentials)


class UnixListener(SocketListener):
    """
    Accepts connections on a socket file; made by `listen`.

    ``for connection in listener`` and ``async for connection in listener`` give one after the other until it is closed.
    ``with`` and ``async with`` close it.
    """

    def __init__(self, path: PathLike, mode: int | None, backlog: int, pass_credentials: bool) -> None:
        super().__init__(listen_backlog=backlog)
        address = _address_of(path)
        self._file: tuple[int, int] | None = None
        # A forked child that closes its own leaves the file to this process.
        self._process = this_process()
        self._path = _absolute(address)
        socket = Socket.new(address.get_family(), SocketType.STREAM, SocketProtocol.DEFAULT)
        try:
            self._bind(socket, address)
            found = os.lstat(self._path)
            self._file = found.st_dev, found.st_ino
            if mode is not None:
                os.chmod(self._path, mode)
            if pass_credentials and SYSTEM.credentials_option is not None:
                # Connections inherit it; set on one of them it would miss what came before it was accepted.
                socket.set_option(*SYSTEM.credentials_option, True)
            # Who connects before this is refused.
            socket.set_listen_backlog(backlog)
            socket.listen()
            self.add_socket(socket)
        except OSError as error:
            socket.close()
            self.close()
            raise translated(error, f"Listening on {address.get_path()}: ") from None
        except BaseException:
            socket.close()
            self.close()
            raise

    def _bind(self, socket: Socket, address: UnixSocketAddress) -> None:
        try:
            socket.bind(address, False)
        except Error as error:
            if error.code != IOErrorEnum.ADDRESS_IN_USE:
                raise
            with suppress(FileNotFoundError):  # somebody else has done so, or it was closed just now
                _remove_dead(self._path, address)
            socket.bind(address, False)

    def close(self) -> None:
        """Close the socket, and remove its file, if that is still the same; a forked child leaves it to its parent."""
        ours, self._file = self._file, None
        try:
            if ours is not None and self._process is this_process():
                found = os.lstat(self._path)
                if (found.st_dev, found.st_ino) == ours:
                    os.unlink(self._path)
        except OSError:  # somebody was quicker, or it is out of reach by now
            return
        except BaseException:  # of a signal handler: the next close() does it
            self._file = ours
            raise
        finally:
            super().close()

    def __iter__(self) -> Iterator[UnixConnection]:
        return self

    def __next__(self) -> UnixConnection:
        try:
            connection = self.accept().connection
        except ClosedError:
            raise StopIteration from None
        assert isinstance(connection, UnixConnection)
        return connection

    def __aiter__(self) -> UnixListener:
        return self

    async def __anext__(self) -> UnixConnection:
        try:
            connection = (await self.accept_async()).connection
        except ClosedError:
            raise StopAsyncIteration from None
        assert isinstance(connection, UnixConnection)
        return connection


def _address_of(path: PathLike) -> UnixSocketAddress:
    address = UnixSocketAddress.new(path)
    if not address.get_path_len():
        # bind() would choose an abstract name, and what is meant for the file would be done to the current folder.
        raise io_error(IOErrorEnum.INVALID_FILENAME, "The path of a socket file must not be empty")
    return address


def _absolute(address: UnixSocketAddress) -> bytes:
    """Give the path for later, when the current folder may be another."""
    try:
        return os.path.abspath(address._for_python())
    except OSError as error:  # the current folder is gone
        raise translated(error, f"Listening on {address.get_path()}: ") from None


def _remove_dead(path: bytes, address: UnixSocketAddress) -> None:
    """Remove the socket file *path* if nobody listens on it. Raises the Error ADDRESS_IN_USE if somebody does."""
    taken = io_error(
        IOErrorEnum.ADDRESS_IN_USE, f"Error binding to address (GUnixSocketAddress): {address.get_path()} is in use"
    )
    dead = os.lstat(path)
    if not stat.S_ISSOCK(dead.st_mode) or _is_alive(address):
        raise taken
    # Another process may have replaced it in this very moment: what is moved away is looked at, and put back if it is
    # not the one that was found dead.
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
    Tell whether any socket is bound there, without its noticing: of a socket of another type the kernel says so.

    Raises the Error NOT_FOUND for a file that is gone meanwhile.
    """
    socket = Socket.new(address.get_family(), SocketType.DATAGRAM, SocketProtocol.DEFAULT)
    try:
        return socket.connect(address)
    except RefusedError:
        return False
    except NotFoundError:  # it is gone by now, whoever had it
        raise
    except Error:  # of another type, or not for us: it is somebody's
        return True
    finally:
        socket.close()
