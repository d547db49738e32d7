"""connect(): a connection by a path or a name."""

from __future__ import annotations

from unixconn._base.arguments import UINT_MAX, as_integer
from unixconn._base.deferred import defer
from unixconn._base.errors import (
    CancelledError,
    Error,
    InvalidDataError,
    IOErrorEnum,
    io_error,
)
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.address import about_address, address_of
from unixconn._gio.client import CONNECTING, ConnectNew, SocketClient
from unixconn._gio.connection import UnixConnection
from unixconn._gio.socket_types import SocketType
from unixconn._gio.triples import AWAIT, NO_DATA
from unixconn._io.blocking import complete
from unixconn._kernel.connect import connect_new

if TYPE_CHECKING:
    from typing import Any, Union

    from unixconn._gio.address import PathLike, UnixSocketAddress
    from unixconn._gio.asynchronous import finish, start
    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.future import Future
    from unixconn._gio.socket_connection import SocketConnection
    from unixconn._gio.task import AsyncResult
    from unixconn._gio.triples import Callback
    from unixconn._kernel.credentials import Credentials

    Name = Union[PathLike, UnixSocketAddress]
else:
    defer(globals(), "_gio.asynchronous", "finish", "start")

_CONNECT = "unixconn_connect_async"


class _Connect(ConnectNew):
    """Do what `ConnectNew` does, and make a UnixConnection, if the user *peer_uid* listens."""

    __slots__ = ("_peer_uid",)

    _address: UnixSocketAddress

    def __init__(self, client: SocketClient, address: UnixSocketAddress, peer_uid: int | None) -> None:
        super().__init__(client, address)
        self._peer_uid = peer_uid

    def begin(self) -> None:
        """See `Operation.begin`."""
        super().begin()
        if not isinstance(self._connection, UnixConnection):  # of another type than STREAM
            self._connection = UnixConnection._over(self.socket)

    def attempt(self, result: list[SocketConnection]) -> bool:
        """See `Operation.attempt`."""
        if not connect_new(self.handle, self._address._for_python()):
            return False
        if self._peer_uid is not None:
            _check_listener(self.socket.get_credentials(), self._peer_uid)
        self._is_connected = True
        result.append(self._connection)
        return True


def connect(
    path: Name,
    cancellable: Cancellable | None = None,
    *,
    type: SocketType = SocketType.STREAM,  # noqa: A002 - Gio's name
    timeout: int = 0,
    peer_uid: int | None = None,
) -> UnixConnection:
    """
    Connect to the socket *path*, and return the connection.

    - *path* is a string, bytes or an os.PathLike for a socket file, or a `UnixSocketAddress`. A string or bytes that
      begin with a NUL byte are an abstract name. A path that begins with "@" is a file.
    - *cancellable* ends the call early, from another thread or at a deadline.
    - *type* is that of the listening socket: STREAM, SEQPACKET or DATAGRAM.
    - *timeout* is the limit for connecting, and then the timeout of the connection's Socket, in whole seconds; 0 means
      none. For fractions, pass a `Cancellable.with_timeout`.
    - *peer_uid* is the uid of the user who has to listen there. Pass it in a folder where others may create files, such
      as /tmp: there, anybody can listen on *path* first. It is compared with the uid that the listening process had
      when it called listen(2) (SO_PEERCRED). For a socket of systemd's socket activation that is systemd's.

    Raises these Errors. TIMED_OUT and those of system calls have *path* as their ``filename``:

    - NOT_FOUND if there is no such file, CONNECTION_REFUSED if nobody listens
    - PERMISSION_DENIED if this process may not connect, or if the user who listens is not *peer_uid*, or has no number
      in this user namespace; nothing is sent then
    - TIMED_OUT after *timeout*, or after the deadline of *cancellable*; CANCELLED if *cancellable* is cancelled
    - INVALID_FILENAME for an empty *path*, FILENAME_TOO_LONG for one of more bytes than fit into an address
    - NOT_SUPPORTED for *peer_uid* with a datagram socket, and on a system that does not report a socket's peer
    - FAILED (EPROTOTYPE) if the listening socket has another type than *type*
    - otherwise the one for the errno of connect(2)

    Raises TypeError if an argument has a wrong type; OverflowError if *timeout* is not from 0 to 2**32 - 1, or
    *peer_uid* not from 0 to 2**32 - 2; and ValueError for a *timeout* with a fraction.
    """
    client, peer_uid = _client(type, timeout, peer_uid)
    address = address_of(path)
    made: Any
    try:
        if cancellable is None and peer_uid is None and type is SocketType.STREAM:
            made = client._connect_at_once(address)
            if made is not None:
                return made  # type: ignore[no-any-return]
        made = complete(_Connect(client, address, peer_uid), cancellable)
        return made  # type: ignore[no-any-return]
    except CancelledError:
        raise
    except Error as error:
        raise about_address(error.prefixed(CONNECTING), address) from None


@overload
def connect_async(
    path: Name,
    cancellable: Cancellable | None = None,
    *,
    type: SocketType = ...,
    timeout: int = ...,
    peer_uid: int | None = ...,
) -> Future[UnixConnection]: ...


@overload
def connect_async(
    path: Name,
    cancellable: Cancellable | None = ...,
    callback: Callback = ...,
    user_data: object = ...,
    *more: object,
    type: SocketType = ...,
    timeout: int = ...,
    peer_uid: int | None = ...,
) -> None: ...


def connect_async(
    path: Name,
    cancellable: Cancellable | None = None,
    callback: Callback = AWAIT,
    user_data: object = NO_DATA,
    *more: object,
    type: SocketType = SocketType.STREAM,  # noqa: A002 - Gio's name
    timeout: int = 0,
    peer_uid: int | None = None,
) -> Future[UnixConnection] | None:
    """
    Start what `connect` does, with the same parameters and errors, and do not wait for its end.

    At the end *callback* is called with (None, result, user_data, *more); `connect_finish` returns the value. Without a
    callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is dropped. A
    connection that no caller takes is closed.
    """
    client, peer_uid = _client(type, timeout, peer_uid)
    operation: Any = _Connect(client, address_of(path), peer_uid)
    data = (user_data, *more) if user_data is not NO_DATA else more
    return start(None, _CONNECT, operation, cancellable, callback, data, operation.socket)


def connect_finish(result: AsyncResult) -> UnixConnection:
    """
    Return the connection, for the *result* of `connect_async`.

    Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to another
    operation, or if its value was returned already.
    """
    return finish(None, _CONNECT, result)


for _each in (connect, connect_async, connect_finish):
    _each.__module__ = "unixconn"


def _client(kind: SocketType, timeout: int, peer_uid: int | None) -> tuple[SocketClient, int | None]:
    """Return a client that makes sockets of the type *kind* with *timeout*, and *peer_uid*, which is checked."""
    if peer_uid is not None:
        if isinstance(peer_uid, (bool, float)):
            raise TypeError(f"peer_uid must be an integer, not {peer_uid!r}")
        # 2**32 - 1 means "no user" to the kernel.
        peer_uid = as_integer(peer_uid, "peer_uid", 0, UINT_MAX - 1)
        if kind is SocketType.DATAGRAM:
            raise io_error(
                IOErrorEnum.NOT_SUPPORTED, "peer_uid must be None for a datagram socket: nobody listens there"
            )
    if isinstance(timeout, float) and timeout % 1:
        # Gio drops the fraction. A timeout below one second would become none.
        raise ValueError(f"timeout must be whole seconds, not {timeout!r}: Cancellable.with_timeout() takes fractions")
    return SocketClient(type=kind, timeout=timeout), peer_uid


def _check_listener(found: Credentials, uid: int) -> None:
    """Raise the Error PERMISSION_DENIED if *found*, the credentials of who listens, are not those of the user *uid*."""
    try:
        listens = found.get_unix_user()
    except InvalidDataError:
        who = "a user without a number in this user namespace"
    else:
        if listens == uid:
            return
        who = f"uid {listens}"
    raise io_error(IOErrorEnum.PERMISSION_DENIED, f"{who} listens there, and not uid {uid}")
