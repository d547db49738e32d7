"""UnixConnection: the methods that pass descriptors and credentials."""

from __future__ import annotations

import os

from unixconn._base.errors import Error, IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING, TypeVar, overload
from unixconn._gio.address import SocketFamily
from unixconn._gio.asynchronous import AWAIT, finish
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.framing import MessageFraming
from unixconn._gio.future import Future
from unixconn._gio.identity import PeerIdentity
from unixconn._gio.passing import DescriptorPassing
from unixconn._gio.socket import Socket, SocketProtocol, SocketType, connection_types
from unixconn._gio.socket_connection import SocketConnection, TcpConnection
from unixconn._gio.task import AsyncResult
from unixconn._io.receiving import ReceiveCredentials, ReceiveDescriptor
from unixconn._io.sending import SendCredentials, SendDescriptor
from unixconn._kernel.control_messages import UCRED
from unixconn._kernel.credentials import Credentials
from unixconn._kernel.descriptors import RETURN_IS_ATOMIC, adopt, as_descriptor, close_all
from unixconn._kernel.handle import adopt_socket
from unixconn._kernel.receive import receive_credentials, receive_descriptors
from unixconn._kernel.send import CREDENTIALS, DESCRIPTOR, send

if TYPE_CHECKING:
    import socket
    from typing import Any

    from unixconn._gio.asynchronous import Callback

# Whoever needs connections imports them here: this module registers the class for Unix streams.
__all__ = ["SocketConnection", "TcpConnection", "UnixConnection"]

# Bound once, as these are looked up at every message.
_getpid, _geteuid, _getegid = os.getpid, os.geteuid, os.getegid

ConnectionT = TypeVar("ConnectionT", bound="UnixConnection")

# Gio names a Task after the C function that has started it.
_SEND_FD = "g_unix_connection_send_fd_async"
_RECEIVE_FD = "g_unix_connection_receive_fd_async"
_SEND_CREDENTIALS = "g_unix_connection_send_credentials_async"
_RECEIVE_CREDENTIALS = "g_unix_connection_receive_credentials_async"


class UnixConnection(DescriptorPassing, MessageFraming, PeerIdentity):
    """
    A connection over a Unix socket, which can pass descriptors and credentials (Gio.UnixConnection).

    The methods that send and receive wait until they are done: for at most the Socket's timeout, until *cancellable* is
    cancelled, or until the connection is closed, be it by another thread; and not at all if the Socket is set not to
    block. An exception out of a signal handler ends the wait as well. Whatever ends it early has consumed nothing.

    Their common errors: CLOSED, the connection was closed here; CANCELLED; TIMED_OUT; WOULD_BLOCK; BROKEN_PIPE, the
    peer has gone; NOT_INITIALIZED, see `Socket`. A *cancellable* of another type is a TypeError.
    """

    @classmethod
    def create_pair(
        cls: type[ConnectionT],
        type: SocketType = SocketType.STREAM,  # noqa: A002 - as in Socket.new
    ) -> tuple[ConnectionT, ConnectionT]:
        """
        Make two connections of sockets of *type*, each the other's peer: socketpair(2), close-on-exec.

        Raises the Error TOO_MANY_OPEN_FILES where there is no room for two descriptors, TypeError for another *type*
        than STREAM, DATAGRAM and SEQPACKET.
        """
        one, other = Socket._pair(type)
        return cls(socket=one), cls(socket=other)

    @classmethod
    def from_socket(cls: type[ConnectionT], sock: socket.socket) -> ConnectionT:
        """
        Make one of the standard library's *sock*, whose descriptor belongs to it from now on.

        *sock* is left without it, as after ``sock.detach()``. Raises the Error CLOSED for a closed one.
        """
        if sock.fileno() < 0:
            raise io_error(IOErrorEnum.CLOSED, f"sock must be open, and {sock!r} is not")
        made = Socket()
        connection = cls(socket=made)
        owner: list[int] = []
        try:
            adopt(owner, sock.detach)
            made._take(adopt_socket(owner))
        except BaseException:  # of a signal handler
            close_all(owner)
            raise
        return connection

    def to_socket(self) -> socket.socket:
        """
        Make a socket of the standard library, with a descriptor of its own for the same open socket.

        Raises the Error CLOSED, and TOO_MANY_OPEN_FILES where there is no room for the descriptor.
        """
        return self._socket._duplicate()

    def send_fd(self, fd: int, cancellable: Cancellable | None = None) -> bool:
        """
        Send the descriptor *fd*, a number or an object with ``fileno()``, with one NUL byte; give True.

        The receiver gets a descriptor of its own for the same open file. *fd* stays the caller's, and may be closed at
        once. See unix(7), SCM_RIGHTS.

        Errors beside the common ones: FAILED, ``dup: Bad file descriptor``, for a number that is not open;
        TOO_MANY_OPEN_FILES, ``dup: ...``, if it has to wait and there is no room for a duplicate meanwhile; FAILED with
        errno ETOOMANYREFS, retryable, if too many descriptors of this user are under way; NOT_CONNECTED; NOT_SUPPORTED
        on a socket of another family, which would drop the descriptor; TypeError, ValueError or OverflowError for what
        can not be a descriptor.
        """
        handle = self._socket._handle
        if cancellable is not None or fd.__class__ is not int or not handle.is_unix:
            return self._socket._complete(SendDescriptor(handle, as_descriptor(fd)), cancellable)
        if send(handle, DESCRIPTOR, fd):
            return True
        return self._socket._complete(SendDescriptor(handle, fd), None, tried=True)

    def receive_fd(self, cancellable: Cancellable | None = None) -> int:
        """
        Receive one byte with one descriptor, and give its number; it is close-on-exec, and the caller's to close.

        Credentials and a pidfd that come along are dropped. A message with anything else is consumed, and the
        descriptors in it are closed. See unix(7), SCM_RIGHTS.

        Errors beside the common ones: CLOSED, ``Connection closed by the peer``, at the end of the stream; FAILED,
        ``Expecting 1 control message, got 0``, for a byte without a descriptor, ``Expecting one fd, but got N`` for
        several, ``Unexpected type of ancillary data`` for credentials alone; TOO_MANY_OPEN_FILES if this process has no
        free number for it, and then the descriptor is lost.
        """
        handle = self._socket._handle
        if cancellable is not None or handle.refuses:
            return self._socket._complete(ReceiveDescriptor(handle), cancellable)
        owner: list[int] = []
        try:
            if receive_descriptors(handle, owner, True):
                if not RETURN_IS_ATOMIC:
                    # PyPy's compiled code looks for signals where a loop goes round, and otherwise when it is back in
                    # the caller, where the number has no owner yet.
                    for _ in (0, 1):
                        pass
                return owner[0]
        except BaseException:  # an Error, or raised by a signal handler
            close_all(owner)
            raise
        return self._socket._complete(ReceiveDescriptor(handle), None, tried=True)

    def send_credentials(self, cancellable: Cancellable | None = None) -> bool:
        """
        Send this process's pid and effective uid and gid with one NUL byte; give True.

        The kernel checks them. A receiver without SO_PASSCRED gets the byte only. See unix(7), SCM_CREDENTIALS.

        Errors beside the common ones, all with the prefix ``Error sending credentials: ``: NOT_CONNECTED;
        INVALID_ARGUMENT in a user namespace that has no map for the ids.
        """
        handle = self._socket._handle
        try:
            if cancellable is not None:
                return self._socket._complete(SendCredentials(handle), cancellable)
            if send(handle, CREDENTIALS, UCRED.pack(_getpid(), _geteuid(), _getegid())):
                return True
            return self._socket._complete(SendCredentials(handle), None, tried=True)
        except Error as error:
            raise error.prefixed(SendCredentials.prefix) from None

    def receive_credentials(self, cancellable: Cancellable | None = None) -> Credentials:
        """
        Receive one byte with the credentials of who sent it, and give them.

        SO_PASSCRED is on meanwhile, so the kernel adds them to what a peer sends that attached none. To a byte that was
        sent before that, there is no sender to be had: then the answer is the socket's peer, the process that made the
        pair or connected, and its ``source`` says ``CredentialsSource.PEER`` in place of MESSAGE. A pidfd and a label
        that come along, see `UnixConnection.pass_pidfds`, are in the Credentials.

        Errors beside the common ones: FAILED, ``Expecting to read a single byte ...``, at the end of the stream, and
        ``Unexpected type of ancillary data`` or ``Expecting 1 control message, got 2`` for a message with descriptors,
        which is consumed, and they are closed; NOT_SUPPORTED on a socket of another family.
        """
        handle = self._socket._handle
        if cancellable is None:
            found: list[Credentials] = []
            if handle.try_with_passcred(receive_credentials, found):
                return found[0]
        return self._socket._complete(ReceiveCredentials(handle), cancellable)

    # --- in the background ---

    @overload
    def send_fd_async(self, fd: int, cancellable: Cancellable | None = None) -> Future[bool]: ...

    @overload
    def send_fd_async(
        self, fd: int, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: Any
    ) -> None: ...

    def send_fd_async(self, fd: int, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any) -> Any:
        """
        Start what `send_fd` does, without waiting for its end.

        *callback* gets (connection, result, *user_data), and calls `send_fd_finish`; without one, None being one too, a
        `Future` is given, to be awaited. *fd* may be closed at once: a duplicate is kept if it has to wait.
        """
        return self._start(
            _SEND_FD, SendDescriptor(self._socket._handle, as_descriptor(fd)), cancellable, callback, user_data
        )

    def send_fd_finish(self, result: AsyncResult) -> bool:
        """
        Give True, or raise the Error, for the *result* of `send_fd_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another connection or operation, or whose
        value was handed out already.
        """
        return finish(self, _SEND_FD, result)  # type: ignore[no-any-return]

    @overload
    def receive_fd_async(self, cancellable: Cancellable | None = None) -> Future[int]: ...

    @overload
    def receive_fd_async(
        self, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: Any
    ) -> None: ...

    def receive_fd_async(self, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any) -> Any:
        """
        Start what `receive_fd` does, without waiting for its end.

        *callback* gets (connection, result, *user_data), and calls `receive_fd_finish`; without one, None being one
        too, a `Future` is given, to be awaited. A descriptor that nobody takes is closed with its result.
        """
        return self._start(_RECEIVE_FD, ReceiveDescriptor(self._socket._handle), cancellable, callback, user_data)

    def receive_fd_finish(self, result: AsyncResult) -> int:
        """
        Give the descriptor, the caller's to close, or raise the Error, for the *result* of `receive_fd_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another connection or operation, or whose
        value was handed out already.
        """
        return finish(self, _RECEIVE_FD, result)  # type: ignore[no-any-return]

    @overload
    def send_credentials_async(self, cancellable: Cancellable | None = None) -> Future[bool]: ...

    @overload
    def send_credentials_async(
        self, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: Any
    ) -> None: ...

    def send_credentials_async(self, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any) -> Any:
        """
        Start what `send_credentials` does, without waiting for its end.

        *callback* gets (connection, result, *user_data), and calls `send_credentials_finish`; without one, None being
        one too, a `Future` is given, to be awaited.
        """
        return self._start(_SEND_CREDENTIALS, SendCredentials(self._socket._handle), cancellable, callback, user_data)

    def send_credentials_finish(self, result: AsyncResult) -> bool:
        """
        Give True, or raise the Error, for the *result* of `send_credentials_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another connection or operation, or whose
        value was handed out already.
        """
        return finish(self, _SEND_CREDENTIALS, result)  # type: ignore[no-any-return]

    @overload
    def receive_credentials_async(self, cancellable: Cancellable | None = None) -> Future[Credentials]: ...

    @overload
    def receive_credentials_async(
        self, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: Any
    ) -> None: ...

    def receive_credentials_async(self, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any) -> Any:
        """
        Start what `receive_credentials` does, without waiting for its end; SO_PASSCRED is on until then.

        *callback* gets (connection, result, *user_data), and calls `receive_credentials_finish`; without one, None
        being one too, a `Future` is given, to be awaited.
        """
        return self._start(
            _RECEIVE_CREDENTIALS, ReceiveCredentials(self._socket._handle), cancellable, callback, user_data
        )

    def receive_credentials_finish(self, result: AsyncResult) -> Credentials:
        """
        Give the Credentials, or raise the Error, for the *result* of `receive_credentials_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another connection or operation, or whose
        value was handed out already.
        """
        return finish(self, _RECEIVE_CREDENTIALS, result)  # type: ignore[no-any-return]


connection_types[SocketFamily.UNIX, SocketType.STREAM, SocketProtocol.DEFAULT] = UnixConnection
