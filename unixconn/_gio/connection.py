"""UnixConnection: passes descriptors and credentials."""

from __future__ import annotations

import os
import struct

from unixconn._base.arguments import INT_MAX, as_integer
from unixconn._base.deferred import defer
from unixconn._base.errors import Error
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.address import SocketFamily
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.socket import Socket
from unixconn._gio.socket_connection import SocketConnection, TcpConnection
from unixconn._gio.socket_types import SocketProtocol, SocketType, connection_types
from unixconn._gio.triples import AWAIT, NO_DATA, with_async
from unixconn._io.operation import WRITABLE
from unixconn._io.receiving import (
    ReceiveCredentials,
    ReceiveCredentialsUnlocked,
    ReceiveDescriptor,
    ReceiveDescriptors,
    ReceiveFileDescriptor,
    ReceiveFileDescriptors,
)
from unixconn._io.sending import GiveDescriptor, SendCredentials, SendDescriptor, SendDescriptors, SendFakeCredentials
from unixconn._kernel.control_messages import INCOMING, INT_SIZE, IS_PYPY, ONE_DESCRIPTOR, ROOM, UCRED, Incoming
from unixconn._kernel.credentials import Credentials
from unixconn._kernel.descriptors import RETURN_IS_ATOMIC, as_descriptor, attach, detach
from unixconn._kernel.file_descriptor import FileDescriptor, as_own_descriptor
from unixconn._kernel.native import recvmsg, sendmsg
from unixconn._kernel.options import pass_credentials, pass_pidfds, refuse_rights
from unixconn._kernel.outgoing import CredentialsForm, DescriptorForm
from unixconn._kernel.peer import peer_identity
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.receive import discard, must_wait, receive_credentials, receive_descriptors, take_descriptors
from unixconn._kernel.send import (
    CREDENTIALS,
    DESCRIPTOR,
    LOW_BYTES,
    SENDING,
    check_open,
    descriptors_pools,
    has_gone,
    pack_on_pypy,
    send,
)
from unixconn._kernel.sockets import SocketType as KernelSocket
from unixconn._kernel.sockets import adopt_socket
from unixconn._kernel.unwanted import close_unwanted

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from typing_extensions import Self

    from unixconn._gio.asynchronous import finish, start
    from unixconn._gio.future import Future
    from unixconn._gio.task import AsyncResult
    from unixconn._gio.triples import Callback
    from unixconn._io.operation import Operation
    from unixconn._kernel.descriptors import FileDescriptorLike
else:
    defer(globals(), "_gio.asynchronous", "finish", "start")

# Modules that need connections import them from here: this module registers the class for Unix streams.
__all__ = ["SocketConnection", "TcpConnection", "UnixConnection"]

_PLAIN = (list, tuple)
_ROUNDS = None if RETURN_IS_ATOMIC else (0, 1)

# These are names of this module, as they are looked up for each message.
_getpid, _geteuid, _getegid = os.getpid, os.geteuid, os.getegid
_pack_into = UCRED.pack_into
_pop_descriptor, _append_descriptor = DESCRIPTOR.pop, DESCRIPTOR.append
_pop_credentials, _append_credentials = CREDENTIALS.pop, CREDENTIALS.append
_pop_incoming, _append_incoming = INCOMING.pop, INCOMING.append
_SEND_FLAGS, _RECEIVE_FLAGS = SYSTEM.send_flags, SYSTEM.receive_flags
_IN_OWNER = -2


class UnixConnection(SocketConnection):
    """
    A connection over a Unix socket, which can pass descriptors and credentials (Gio.UnixConnection).

    `unixconn.connect` connects to a path, `create_pair` makes two connections, and `from_socket` takes over a socket.

    A method that sends or receives waits until that is done. An exception that a signal handler raises ends the wait.
    All these methods raise TypeError if *cancellable* is not a Cancellable, and the Errors:

    - CLOSED (`ClosedError`, a ConnectionError) if this process has closed the connection
    - CANCELLED (`CancelledError`) if *cancellable* was cancelled
    - TIMED_OUT (`TimedOutError`, a TimeoutError) after the Socket's timeout, or after the deadline of *cancellable*
    - WOULD_BLOCK (`WouldBlockError`, a BlockingIOError) instead of waiting, if the Socket is non-blocking
    - BROKEN_PIPE (`PeerClosedError`, a BrokenPipeError; `PeerResetError`) if the peer has closed its end
    - NOT_INITIALIZED (`NotInitializedError`) if the Socket was made by its constructor, without `Socket.init`

    After CANCELLED, TIMED_OUT and WOULD_BLOCK no message is lost: the next call receives it.
    """

    __module__ = "unixconn"

    @classmethod
    def create_pair(cls, type: SocketType = SocketType.STREAM) -> tuple[Self, Self]:  # noqa: A002 - as in Socket.new
        """
        Make two connections, each the peer of the other, and return both; see socketpair(2).

        *type* is STREAM, DATAGRAM or SEQPACKET. The sockets are close-on-exec.

        Raises the Error TOO_MANY_OPEN_FILES if there is no room for two descriptors, and TypeError for another *type*.
        """
        one, other = Socket._pair(type)
        return cls._over(one), cls._over(other)

    @classmethod
    def from_socket(cls, sock: socket.socket | FileDescriptor | int) -> Self:
        """
        Make a connection from *sock*, and take over its descriptor.

        *sock* is a socket of the standard library, a `FileDescriptor`, or a number, such as one that the parent process
        has passed. A socket or FileDescriptor is left as after ``sock.detach()``. On failure *sock* stays as it was.

        Raises the Error CLOSED for a closed socket, and for the others what `Socket.new_from_fd` raises. ValueError
        stands for a negative number, OverflowError for one that does not fit a C int, and TypeError for anything else.
        """
        if not hasattr(sock, "getsockname"):
            as_own_descriptor(sock, "sock")  # so that the text names this argument
            return cls._over(Socket.new_from_fd(sock))
        made = Socket._empty()
        connection = cls._over(made)
        owner: list[int] = []
        try:
            detach(owner, sock)  # type: ignore[arg-type]  # no number, which has no getsockname
            made._take(adopt_socket(owner, KernelSocket))
        finally:
            if owner:  # an Error, or an exception raised by a signal handler
                attach(sock, owner)  # type: ignore[arg-type]
        return connection

    def to_socket(self) -> socket.socket:
        """
        Return a socket of the standard library, with a new descriptor for the same open socket.

        Raises the Error CLOSED on a closed connection, TOO_MANY_OPEN_FILES if there is no room for the descriptor.
        """
        return self._socket._duplicate()

    # The plain methods below are short doors: each makes the first try itself, with the lines of its Operation's
    # `attempt`, and makes an Operation only if it has to wait. The table in tests/operations/ tests both of them.

    # --- one descriptor ---

    def send_fd(self, fd: FileDescriptorLike, cancellable: Cancellable | None = None) -> bool:
        """
        Send the descriptor *fd* with one NUL byte, and return True.

        *fd* is a number or an object with ``fileno()``. The receiver gets a new descriptor for the same open file. *fd*
        still belongs to the caller, who may close it at once. See unix(7), SCM_RIGHTS.

        Raises the Errors of all methods (see the class), and:

        - FAILED, ``dup: Bad file descriptor``, for a number that is not open
        - FAILED (`TooManyReferencesError`) if too many descriptors of this user are in flight; try again later
        - TOO_MANY_OPEN_FILES, ``dup: ...``, if the call has to wait, and there is no room for a duplicate of *fd*
        - PERMISSION_DENIED if the peer refuses descriptors, see `refuse_fds`
        - NOT_CONNECTED without a peer, NOT_SUPPORTED if it is not a Unix socket

        Raises TypeError, ValueError or OverflowError for an *fd* that cannot be a descriptor.
        """
        handle = self._socket._handle
        if (
            (cancellable is not None and (cancellable.__class__ is not Cancellable or cancellable._is_set()))
            or fd.__class__ is not int
            or not handle.is_unix
            or (handle.waiting and WRITABLE in handle.waiting)
        ):
            return self._socket._complete(SendDescriptor(handle, as_descriptor(fd)), cancellable)
        # The lines of `send`.
        try:
            message = _pop_descriptor()
        except IndexError:
            message = DescriptorForm()
        try:
            message.payload[0] = fd
            message.user = handle
            sent = sendmsg(handle.number, message.header, _SEND_FLAGS)
        except (ValueError, OverflowError):
            check_open((as_descriptor(fd),))
            raise
        finally:
            message.user = None
        if handle.closed:
            handle.reap()
        _append_descriptor(message)
        if sent == 1 or has_gone(handle, sent, SENDING, (as_descriptor(fd),)):
            return True
        return self._socket._complete(SendDescriptor(handle, as_descriptor(fd)), cancellable, tried=True)

    @with_async(
        "g_unix_connection_send_fd_async",
        returns="True",
        note="*fd* may be closed as soon as the call returns: an operation that has to wait keeps a duplicate.",
    )
    def _send_fd_operation(self, fd: FileDescriptorLike) -> Operation[bool]:
        return SendDescriptor(self._socket._handle, as_descriptor(fd))

    def give_fd(self, fd: int | FileDescriptor, cancellable: Cancellable | None = None) -> bool:
        """
        Send the descriptor *fd* as `send_fd` does, close it here, and return True.

        *fd* is a number or a FileDescriptor, which is detached at once. The descriptor is also closed if the call
        fails, is cancelled or interrupted. Prefer a FileDescriptor: if a signal handler raises just before the call
        begins, nobody closes a number.

        Raises the same Errors as `send_fd`; TypeError for another object with ``fileno()``, which would close its
        descriptor as well; and ValueError for a FileDescriptor that was closed or detached.
        """
        operation = GiveDescriptor(self._socket._handle, fd)
        try:
            return self._socket._complete(operation, cancellable)
        finally:
            operation.end()  # the type of *cancellable* is wrong

    @with_async(
        "unixconn_give_fd_async",
        returns="True",
        note="*fd* is closed before the callback.",
    )
    def _give_fd_operation(self, fd: int | FileDescriptor) -> Operation[bool]:
        return GiveDescriptor(self._socket._handle, fd)

    def receive_fd(self, cancellable: Cancellable | None = None) -> int:
        """
        Receive one byte with one descriptor, and return its number, which the caller has to close.

        The descriptor is close-on-exec. Credentials and a pidfd that come along are dropped. See unix(7), SCM_RIGHTS.

        Raises the Errors of all methods (see the class), and:

        - CLOSED, ``Connection closed by the peer``, at the end of the stream; INVALID_ARGUMENT without a peer
        - FAILED, ``Expecting 1 control message, got 0``, for a byte without a descriptor
        - FAILED, ``Expecting one fd, but got N``, for several descriptors
        - FAILED, ``Unexpected type of ancillary data``, for credentials without a descriptor
        - TOO_MANY_OPEN_FILES if this process has no free number for the descriptor
        - PERMISSION_DENIED if a security module denies the descriptor, or after `refuse_fds`

        The last five consume the message, and close its descriptors.
        """
        handle = self._socket._handle
        if (
            (cancellable is not None and (cancellable.__class__ is not Cancellable or cancellable._is_set()))
            or handle.refuses
            or handle.leftovers
        ):
            return self._socket._complete(ReceiveDescriptor(handle), cancellable)
        # The lines of `receive_descriptors`.
        try:
            message = _pop_incoming()
        except IndexError:
            message = Incoming()
        message.room[0] = ROOM
        fd: int = -1
        try:
            message.user = handle
            count = recvmsg(handle.number, message.header, _RECEIVE_FLAGS)
            message.user = None
            if handle.closed:
                handle.reap()
            if message.kind == ONE_DESCRIPTOR:
                fd = message.descriptors[0]
                _append_incoming(message)
                if _ROUNDS is not None:
                    # PyPy's compiled code runs signal handlers at each iteration of a loop. Without this loop it would
                    # run them only in the caller, where the number has no owner yet.
                    for _ in _ROUNDS:
                        pass
                return fd
            owner: list[int] = []
            fd = _IN_OWNER
            if not must_wait(handle, count):
                take_descriptors(handle, message, count, owner)
                return owner[0]
        except BaseException:  # an Error, or raised by a signal handler
            # Not an Owner: it would have to let go of the number before the end of its block, which is Python code.
            discard(message, [fd] if fd >= 0 else owner if fd == _IN_OWNER else [])
            raise
        _append_incoming(message)
        return self._socket._complete(ReceiveDescriptor(handle), cancellable, tried=True)

    @with_async(
        "g_unix_connection_receive_fd_async",
        returns="the descriptor's number, which the caller has to close",
        note="A descriptor that no caller takes is closed with its result.",
    )
    def _receive_fd_operation(self) -> Operation[int]:
        return ReceiveDescriptor(self._socket._handle)

    def receive_descriptor(self, cancellable: Cancellable | None = None) -> FileDescriptor:
        """
        Receive a descriptor as `receive_fd` does, and return its owner, a `FileDescriptor`.

        No exception can lose it: the owner closes the descriptor when it is dropped, at the latest. Raises the same
        Errors as `receive_fd`.
        """
        return self._socket._complete(ReceiveFileDescriptor(self._socket._handle), cancellable)

    @with_async("unixconn_receive_descriptor_async", returns="the FileDescriptor")
    def _receive_descriptor_operation(self) -> Operation[FileDescriptor]:
        return ReceiveFileDescriptor(self._socket._handle)

    # --- any number of descriptors, which Gio does not have ---

    def send_fds(self, fds: Iterable[FileDescriptorLike], cancellable: Cancellable | None = None) -> bool:
        """
        Send the descriptors *fds* with one NUL byte, and return True.

        *fds* are numbers or objects with ``fileno()``, which still belong to the caller. More than 253 go in several
        messages, each with one byte. If an error occurs after some of these, they stay sent, and a note of the Error
        says so. See unix(7), SCM_RIGHTS.

        Raises the same errors as `send_fd`, and ValueError for no descriptor at all.
        """
        handle = self._socket._handle
        if (
            (cancellable is None or (cancellable.__class__ is Cancellable and not cancellable._is_set()))
            and handle.is_unix
            and isinstance(fds, _PLAIN)
            and not (handle.waiting and WRITABLE in handle.waiting)
        ):
            try:
                pool = descriptors_pools[len(fds)]
                packed = pack_on_pypy(fds) if IS_PYPY else pool.pack(*fds)
            except (struct.error, TypeError, ValueError, OverflowError):
                packed = bytes(INT_SIZE)
            # True and False would be packed as 1 and 0, and have to be refused. Checking each number's type takes
            # longer than leaving lists with such a lowest byte to the slow path.
            low = packed[LOW_BYTES]
            if 0 not in low and 1 not in low:
                if send(handle, pool, packed):
                    return True
                return self._socket._complete(SendDescriptors(handle, fds), cancellable, tried=True)
        return self._socket._complete(SendDescriptors(handle, fds), cancellable)

    @with_async("unixconn_send_fds_async", returns="True", note="*fds* may be closed as soon as the call returns.")
    def _send_fds_operation(self, fds: Iterable[FileDescriptorLike]) -> Operation[bool]:
        return SendDescriptors(self._socket._handle, fds)

    def receive_fds(self, count: int | None = None, cancellable: Cancellable | None = None) -> list[int]:
        """
        Receive several descriptors, and return their numbers, which the caller has to close.

        Without *count*, these are the descriptors of the next message, one or more. With it, these are exactly *count*,
        from as many messages as that takes. All are close-on-exec.

        Raises the same Errors as `receive_fd`, but with *count*, FAILED says ``Expecting N fds, but got M`` if a
        message brings more than are missing. CANCELLED and TIMED_OUT leave the descriptors that have come for the next
        call that receives descriptors. The other Errors close them.
        """
        handle = self._socket._handle
        owner: list[int] = []
        tried = came = False
        try:
            if (
                (cancellable is None or (cancellable.__class__ is Cancellable and not cancellable._is_set()))
                and (count is None or (count.__class__ is int and 0 < count <= INT_MAX))
                and not handle.refuses
            ):
                came = receive_descriptors(handle, owner)
                tried = not came
            if not came or (count is not None and len(owner) != count):
                self._socket._complete(ReceiveDescriptors(handle, _count(count), owner), cancellable, tried=tried)
            if _ROUNDS is not None:
                # PyPy's compiled code runs signal handlers at each iteration of a loop; see receive_fd.
                for _ in _ROUNDS:
                    pass
            return owner
        except BaseException:  # an Error, or raised by a signal handler; no Owner, as in receive_fd
            close_unwanted(owner)
            raise

    @with_async(
        "unixconn_receive_fds_async",
        returns="the descriptors' numbers, which the caller has to close",
        note="Descriptors that no caller takes are closed with their result.",
    )
    def _receive_fds_operation(self, count: int | None = None) -> Operation[list[int]]:
        return ReceiveDescriptors(self._socket._handle, _count(count), [])

    def receive_descriptors(
        self, count: int | None = None, cancellable: Cancellable | None = None
    ) -> list[FileDescriptor]:
        """
        Receive descriptors as `receive_fds` does, and return their owners, each a `FileDescriptor`.

        Raises the errors of `receive_fds`.
        """
        return self._socket._complete(ReceiveFileDescriptors(self._socket._handle, _count(count)), cancellable)

    @with_async("unixconn_receive_descriptors_async", returns="the FileDescriptors")
    def _receive_descriptors_operation(self, count: int | None = None) -> Operation[list[FileDescriptor]]:
        return ReceiveFileDescriptors(self._socket._handle, _count(count))

    def refuse_fds(self, refused: bool = True) -> None:
        """
        Refuse descriptors, or with False accept them again (SO_PASSRIGHTS).

        Call it if peers could fill the descriptor table, or send files whose close(2) waits: see docs/limits.md.

        - From Linux 6.16 on, a peer that sends a descriptor gets the Error PERMISSION_DENIED (EPERM), and nothing
          arrives. Connections inherit the setting from a listening Socket whose option was set.
        - On an older kernel, and if they were sent before the call, descriptors arrive and are closed.
          `Message.refused` is their number, and the methods that receive descriptors raise PERMISSION_DENIED.
        """
        refuse_rights(self._socket._handle, bool(refused))

    # --- credentials ---

    def send_credentials(self, cancellable: Cancellable | None = None) -> bool:
        """
        Send this process's pid and its effective uid and gid with one NUL byte, and return True.

        The kernel checks them. A receiver gets them if it runs `receive_credentials`, or has called `pass_credentials`.
        Any other receiver gets only the byte. See unix(7), SCM_CREDENTIALS.

        Raises the Errors of all methods (see the class), NOT_CONNECTED without a peer, and INVALID_ARGUMENT in a user
        namespace that does not map the uid or gid. All texts begin with ``Error sending credentials: ``.
        """
        handle = self._socket._handle
        try:
            if (cancellable is not None and (cancellable.__class__ is not Cancellable or cancellable._is_set())) or (
                handle.waiting and WRITABLE in handle.waiting
            ):
                return self._socket._complete(SendCredentials(handle), cancellable)
            # The lines of `send`.
            try:
                message = _pop_credentials()
            except IndexError:
                message = CredentialsForm()
            try:
                _pack_into(message.numbers, 0, _getpid(), _geteuid(), _getegid())
                message.user = handle
                sent = sendmsg(handle.number, message.header, _SEND_FLAGS)
            finally:
                message.user = None
            if handle.closed:
                handle.reap()
            _append_credentials(message)
            if sent == 1 or has_gone(handle, sent, SENDING, (), message.numbers):
                return True
            return self._socket._complete(SendCredentials(handle), cancellable, tried=True)
        except Error as error:
            raise error.prefixed(SendCredentials.prefix) from None

    @with_async("g_unix_connection_send_credentials_async", returns="True")
    def _send_credentials_operation(self) -> Operation[bool]:
        return SendCredentials(self._socket._handle)

    def send_fake_credentials(self, pid: int, uid: int, gid: int, cancellable: Cancellable | None = None) -> bool:
        """
        Send *pid*, *uid* and *gid* as credentials with one NUL byte, and return True.

        The kernel checks them: the *pid* of another process needs CAP_SYS_ADMIN; a *uid* that is not the real,
        effective or saved one needs CAP_SETUID, such a *gid* CAP_SETGID. See unix(7), SCM_CREDENTIALS.

        Raises the same Errors as `send_credentials`, and:

        - PERMISSION_DENIED for numbers that this process may not claim
        - FAILED (`NoSuchProcessError`) for a *pid* that no process has
        - NOT_SUPPORTED on other systems than Linux

        Raises TypeError for what is not a number, OverflowError for a number that cannot be a pid, uid or gid.
        """
        try:
            return self._socket._complete(self._send_fake_credentials_operation(pid, uid, gid), cancellable)
        except Error as error:
            raise error.prefixed(SendCredentials.prefix) from None

    @with_async("g_unix_connection_send_fake_credentials_async", returns="True")
    def _send_fake_credentials_operation(self, pid: int, uid: int, gid: int) -> Operation[bool]:
        return SendFakeCredentials(self._socket._handle, pid, uid, gid)

    def receive_credentials(self, cancellable: Cancellable | None = None) -> Credentials:
        """
        Receive one byte with the credentials of its sender, and return these.

        A byte has credentials if its sender has attached them by `send_credentials`, or if it was sent while
        SO_PASSCRED was on, as it is during the call. The ``source`` of the result says what was found:

        - ``CredentialsSource.MESSAGE``: the byte has credentials.
        - ``CredentialsSource.PEER``: it has none. The pid, uid and gid are those of the peer (SO_PEERCRED).
        - ``CredentialsSource.MESSAGE``, and the getters raise INVALID_DATA: it has none in spite of
          `pass_credentials`. The sender may be in a pid namespace that is not visible here.

        A pidfd that comes along (see `pass_pidfds`) and a security label become part of the result.

        Raises the Errors of all methods (see the class), and:

        - FAILED, but as a `ClosedError`, ``Expecting to read a single byte ...``, at the end of the stream
        - FAILED, ``Unexpected type of ancillary data`` or ``Expecting 1 control message, got 2``, for a message with
          descriptors, which is consumed, and its descriptors are closed
        - NOT_SUPPORTED if it is not a Unix socket
        """
        handle = self._socket._handle
        if cancellable is None or (cancellable.__class__ is Cancellable and not cancellable._is_set()):
            found: list[Credentials] = []
            with handle.entered:
                if receive_credentials(handle, found):
                    return found[0]
        return self._socket._complete(ReceiveCredentialsUnlocked(handle), cancellable)

    @with_async(
        "g_unix_connection_receive_credentials_async",
        returns="the Credentials",
        note="SO_PASSCRED is on until the end of the operation.",
    )
    def _receive_credentials_operation(self) -> Operation[Credentials]:
        return ReceiveCredentials(self._socket._handle)

    def get_peer_credentials(self) -> Credentials:
        """
        Return the credentials of the peer: the process that made the pair, or called connect() or listen().

        They are those of that call, even if another process has the other end now. The ``source`` of the result is
        ``CredentialsSource.PEER``. It has all that the kernel knows; see unix(7) and socket(7):

        - pid, effective uid and gid (SO_PEERCRED), supplementary groups (SO_PEERGROUPS), security label (SO_PEERSEC)
        - a pidfd (SO_PEERPIDFD), which is closed with the result

        The getter of an unknown value raises NOT_SUPPORTED, and `get_pidfd` and `is_alive` raise TOO_MANY_OPEN_FILES if
        the descriptor table had no room for the pidfd.

        Raises the Errors CLOSED and NOT_INITIALIZED (see the class), NOT_CONNECTED if the kernel knows no peer, and
        NOT_SUPPORTED if it is not a Unix socket.
        """
        return peer_identity(self._socket._handle)

    def pass_credentials(self, wanted: bool = True) -> None:
        """
        Have the kernel add the sender's credentials to each message that is sent from now on (SO_PASSCRED).

        With False, it no longer does. `receive_message` returns them. ``listen(path, pass_credentials=True)`` does this
        from the first message of each connection on.

        Raises the Error NOT_SUPPORTED on a system without such an option, and CLOSED on a closed connection.
        """
        pass_credentials(self._socket._handle, bool(wanted))

    def pass_pidfds(self, wanted: bool = True) -> None:
        """
        Have the kernel add a pidfd of the sender to each message that is sent from now on (SO_PASSPIDFD).

        With False, it no longer does. `receive_message` and `receive_credentials` return them.

        Raises the Error NOT_SUPPORTED before Linux 6.5, and CLOSED on a closed connection.
        """
        pass_pidfds(self._socket._handle, bool(wanted))

    # --- generated by tools/generate_async.py: change a declaration, and run that ---
    # fmt: off

    @overload
    def send_fd_async(self, fd: FileDescriptorLike, cancellable: Cancellable | None = None) -> Future[bool]: ...
    @overload
    def send_fd_async(self, fd: FileDescriptorLike, cancellable: Cancellable | None = ..., callback: Callback = ...,
                      user_data: object = ..., *more: object) -> None: ...
    def send_fd_async(self, fd: FileDescriptorLike, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                      user_data: object = NO_DATA, *more: object) -> Future[bool] | None:
        """
        Start what `send_fd` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `send_fd_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. *fd* may be closed as soon as the call returns: an operation that has to wait keeps a duplicate.
        """
        return start(self, "g_unix_connection_send_fd_async", self._send_fd_operation(fd), cancellable, callback,
                     (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def send_fd_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `send_fd_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "g_unix_connection_send_fd_async", result)

    @overload
    def give_fd_async(self, fd: int | FileDescriptor, cancellable: Cancellable | None = None) -> Future[bool]: ...
    @overload
    def give_fd_async(self, fd: int | FileDescriptor, cancellable: Cancellable | None = ..., callback: Callback = ...,
                      user_data: object = ..., *more: object) -> None: ...
    def give_fd_async(self, fd: int | FileDescriptor, cancellable: Cancellable | None = None,
                      callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[bool] | None:
        """
        Start what `give_fd` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `give_fd_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. *fd* is closed before the callback.
        """
        return start(self, "unixconn_give_fd_async", self._give_fd_operation(fd), cancellable, callback,
                     (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def give_fd_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `give_fd_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_give_fd_async", result)

    @overload
    def receive_fd_async(self, cancellable: Cancellable | None = None) -> Future[int]: ...
    @overload
    def receive_fd_async(self, cancellable: Cancellable | None = ..., callback: Callback = ..., user_data: object = ...,
                         *more: object) -> None: ...
    def receive_fd_async(self, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                         user_data: object = NO_DATA, *more: object) -> Future[int] | None:
        """
        Start what `receive_fd` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `receive_fd_finish` returns the
        value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped. A descriptor that no caller takes is closed with its result.
        """
        return start(self, "g_unix_connection_receive_fd_async", self._receive_fd_operation(), cancellable, callback,
                     (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def receive_fd_finish(self, result: AsyncResult) -> int:
        """
        Return the descriptor's number, which the caller has to close, for the *result* of `receive_fd_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "g_unix_connection_receive_fd_async", result)

    @overload
    def receive_descriptor_async(self, cancellable: Cancellable | None = None) -> Future[FileDescriptor]: ...
    @overload
    def receive_descriptor_async(self, cancellable: Cancellable | None = ..., callback: Callback = ...,
                                 user_data: object = ..., *more: object) -> None: ...
    def receive_descriptor_async(self, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                                 user_data: object = NO_DATA, *more: object) -> Future[FileDescriptor] | None:
        """
        Start what `receive_descriptor` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `receive_descriptor_finish` returns
        the value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped.
        """
        return start(self, "unixconn_receive_descriptor_async", self._receive_descriptor_operation(), cancellable,
                     callback, (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def receive_descriptor_finish(self, result: AsyncResult) -> FileDescriptor:
        """
        Return the FileDescriptor, for the *result* of `receive_descriptor_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_receive_descriptor_async", result)

    @overload
    def send_fds_async(self, fds: Iterable[FileDescriptorLike],
                       cancellable: Cancellable | None = None) -> Future[bool]: ...
    @overload
    def send_fds_async(self, fds: Iterable[FileDescriptorLike], cancellable: Cancellable | None = ...,
                       callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def send_fds_async(self, fds: Iterable[FileDescriptorLike], cancellable: Cancellable | None = None,
                       callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[bool] | None:
        """
        Start what `send_fds` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `send_fds_finish` returns the
        value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped. *fds* may be closed as soon as the call returns.
        """
        return start(self, "unixconn_send_fds_async", self._send_fds_operation(fds), cancellable, callback,
                     (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def send_fds_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `send_fds_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_send_fds_async", result)

    @overload
    def receive_fds_async(self, count: int | None = None,
                          cancellable: Cancellable | None = None) -> Future[list[int]]: ...
    @overload
    def receive_fds_async(self, count: int | None = ..., cancellable: Cancellable | None = ...,
                          callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def receive_fds_async(self, count: int | None = None, cancellable: Cancellable | None = None,
                          callback: Callback = AWAIT, user_data: object = NO_DATA,
                          *more: object) -> Future[list[int]] | None:
        """
        Start what `receive_fds` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `receive_fds_finish` returns the
        value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped. Descriptors that no caller takes are closed with their result.
        """
        return start(self, "unixconn_receive_fds_async", self._receive_fds_operation(count), cancellable, callback,
                     (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def receive_fds_finish(self, result: AsyncResult) -> list[int]:
        """
        Return the descriptors' numbers, which the caller has to close, for the *result* of `receive_fds_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_receive_fds_async", result)

    @overload
    def receive_descriptors_async(self, count: int | None = None,
                                  cancellable: Cancellable | None = None) -> Future[list[FileDescriptor]]: ...
    @overload
    def receive_descriptors_async(self, count: int | None = ..., cancellable: Cancellable | None = ...,
                                  callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def receive_descriptors_async(self, count: int | None = None, cancellable: Cancellable | None = None,
                                  callback: Callback = AWAIT, user_data: object = NO_DATA,
                                  *more: object) -> Future[list[FileDescriptor]] | None:
        """
        Start what `receive_descriptors` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `receive_descriptors_finish`
        returns the value. Without a callback argument the call returns a `Future`; with callback=None it returns None,
        and the outcome is dropped.
        """
        return start(self, "unixconn_receive_descriptors_async", self._receive_descriptors_operation(count),
                     cancellable, callback, (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def receive_descriptors_finish(self, result: AsyncResult) -> list[FileDescriptor]:
        """
        Return the FileDescriptors, for the *result* of `receive_descriptors_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_receive_descriptors_async", result)

    @overload
    def send_credentials_async(self, cancellable: Cancellable | None = None) -> Future[bool]: ...
    @overload
    def send_credentials_async(self, cancellable: Cancellable | None = ..., callback: Callback = ...,
                               user_data: object = ..., *more: object) -> None: ...
    def send_credentials_async(self, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                               user_data: object = NO_DATA, *more: object) -> Future[bool] | None:
        """
        Start what `send_credentials` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `send_credentials_finish` returns
        the value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped.
        """
        return start(self, "g_unix_connection_send_credentials_async", self._send_credentials_operation(), cancellable,
                     callback, (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def send_credentials_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `send_credentials_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "g_unix_connection_send_credentials_async", result)

    @overload
    def send_fake_credentials_async(self, pid: int, uid: int, gid: int,
                                    cancellable: Cancellable | None = None) -> Future[bool]: ...
    @overload
    def send_fake_credentials_async(self, pid: int, uid: int, gid: int, cancellable: Cancellable | None = ...,
                                    callback: Callback = ..., user_data: object = ..., *more: object) -> None: ...
    def send_fake_credentials_async(self, pid: int, uid: int, gid: int, cancellable: Cancellable | None = None,
                                    callback: Callback = AWAIT, user_data: object = NO_DATA,
                                    *more: object) -> Future[bool] | None:
        """
        Start what `send_fake_credentials` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `send_fake_credentials_finish`
        returns the value. Without a callback argument the call returns a `Future`; with callback=None it returns None,
        and the outcome is dropped.
        """
        return start(self, "g_unix_connection_send_fake_credentials_async",
                     self._send_fake_credentials_operation(pid, uid, gid), cancellable, callback,
                     (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def send_fake_credentials_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `send_fake_credentials_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "g_unix_connection_send_fake_credentials_async", result)

    @overload
    def receive_credentials_async(self, cancellable: Cancellable | None = None) -> Future[Credentials]: ...
    @overload
    def receive_credentials_async(self, cancellable: Cancellable | None = ..., callback: Callback = ...,
                                  user_data: object = ..., *more: object) -> None: ...
    def receive_credentials_async(self, cancellable: Cancellable | None = None, callback: Callback = AWAIT,
                                  user_data: object = NO_DATA, *more: object) -> Future[Credentials] | None:
        """
        Start what `receive_credentials` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, user_data, *more); `receive_credentials_finish`
        returns the value. Without a callback argument the call returns a `Future`; with callback=None it returns None,
        and the outcome is dropped. SO_PASSCRED is on until the end of the operation.
        """
        return start(self, "g_unix_connection_receive_credentials_async", self._receive_credentials_operation(),
                     cancellable, callback, (user_data, *more) if user_data is not NO_DATA else more, self._socket)

    def receive_credentials_finish(self, result: AsyncResult) -> Credentials:
        """
        Return the Credentials, for the *result* of `receive_credentials_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "g_unix_connection_receive_credentials_async", result)

    # fmt: on
    # --- end of the generated part ---


def _count(count: int | None) -> int | None:
    return None if count is None else as_integer(count, "count", 1, INT_MAX)


connection_types[SocketFamily.UNIX, SocketType.STREAM, SocketProtocol.DEFAULT] = UnixConnection
