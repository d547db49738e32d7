"""UnixConnection: passes descriptors and credentials."""

from __future__ import annotations

import errno
import os
import struct
from itertools import starmap

from unixconn._base.arguments import INT_MAX, UINT_MAX, as_copy, as_integer
from unixconn._base.errors import Error, IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.address import SocketFamily
from unixconn._gio.asynchronous import AWAIT, finish, start, with_async
from unixconn._gio.control_messages import attached_credentials
from unixconn._gio.socket import Socket, SocketProtocol, SocketType, connection_types
from unixconn._gio.socket_connection import SocketConnection, TcpConnection
from unixconn._io.receiving import (
    Message,
    ReceiveCredentials,
    ReceiveDescriptor,
    ReceiveDescriptors,
    ReceiveFileDescriptor,
    ReceiveFileDescriptors,
    ReceiveWhole,
)
from unixconn._io.sending import SendCredentials, SendDescriptor, SendDescriptors, SendFakeCredentials, SendWhole
from unixconn._kernel.control_messages import INT_SIZE, MAX_DESCRIPTORS, SOL_SOCKET, UCRED
from unixconn._kernel.credentials import Credentials
from unixconn._kernel.descriptors import RETURN_IS_ATOMIC, as_descriptor, close_all, listed
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.handle import adopt_socket
from unixconn._kernel.peer import peer_identity
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.receive import receive_credentials, receive_descriptors
from unixconn._kernel.send import CREDENTIALS, DESCRIPTOR, IS_PYPY, LOW_BYTES, descriptors_pool, pack_on_pypy, send

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from typing_extensions import Self

    from unixconn._gio.asynchronous import Callback
    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.control_messages import BytesLike
    from unixconn._gio.future import Future
    from unixconn._gio.task import AsyncResult
    from unixconn._io.operation import Operation
    from unixconn._kernel.descriptors import FileDescriptorLike

# Modules that need connections import them from here: this module registers the class for Unix streams.
__all__ = ["SocketConnection", "TcpConnection", "UnixConnection"]

_PLAIN = (list, tuple)
_ROUNDS = None if RETURN_IS_ATOMIC else (0, 1)

# These are names of this module, as they are looked up for each message.
_getpid, _geteuid, _getegid = os.getpid, os.geteuid, os.getegid


class UnixConnection(SocketConnection):
    """
    A connection over a Unix socket, which can pass descriptors and credentials (Gio.UnixConnection).

    `unixconn.connect` connects to a path, `create_pair` makes two connections, and `from_socket` takes over a socket of
    the standard library.

    A method that sends or receives waits until that is done: for at most the Socket's timeout, until *cancellable* is
    cancelled, or until the connection is closed, which another thread may do. It does not wait if the Socket is
    non-blocking. An exception raised by a signal handler ends the wait as well. A wait that ends early consumes
    nothing.

    Errors of all these methods: CLOSED, the connection was closed here; CANCELLED; TIMED_OUT; WOULD_BLOCK; BROKEN_PIPE,
    the peer has closed its end; NOT_INITIALIZED, see `Socket`. A *cancellable* of another type is a TypeError.
    """

    __module__ = "unixconn"

    @classmethod
    def create_pair(cls, type: SocketType = SocketType.STREAM) -> tuple[Self, Self]:  # noqa: A002 - as in Socket.new
        """
        Make two connections, each the peer of the other, over close-on-exec sockets of *type*; see socketpair(2).

        Raises the Error TOO_MANY_OPEN_FILES if there is no room for two descriptors, and TypeError if *type* is not
        STREAM, DATAGRAM or SEQPACKET.
        """
        one, other = Socket._pair(type)
        return cls(socket=one), cls(socket=other)

    @classmethod
    def from_socket(cls, sock: socket.socket) -> Self:
        """
        Make a connection from *sock*, a socket of the standard library, and take over its descriptor.

        *sock* is left without a descriptor, as after ``sock.detach()``. Raises the Error CLOSED if it is closed.
        """
        number = sock.fileno()
        if number < 0:
            raise io_error(IOErrorEnum.CLOSED, f"sock must be open, and {sock!r} is not")
        made = Socket()
        connection = cls(socket=made)
        owner: list[int] = []
        try:
            owner.extend(starmap(sock.detach, ((),)))
            number = -1
            made._take(adopt_socket(owner))
        except BaseException:  # raised by a signal handler
            # detach() is Python code: the exception may have come after the socket had let go of the descriptor.
            if number >= 0 and not owner and sock.fileno() < 0:
                owner.append(number)
            close_all(owner)
            raise
        return connection

    def to_socket(self) -> socket.socket:
        """
        Make a socket of the standard library, with a new descriptor for the same open socket.

        Raises the Error CLOSED, and TOO_MANY_OPEN_FILES if there is no room for the descriptor.
        """
        return self._socket._duplicate()

    # The plain methods below are short doors: each makes the first try itself, with the lines of its Operation's
    # `attempt`, and makes an Operation only if it has to wait. The table in tests/operations/ tests both of them.

    # --- one descriptor ---

    def send_fd(self, fd: FileDescriptorLike, cancellable: Cancellable | None = None) -> bool:
        """
        Send the descriptor *fd*, a number or an object with ``fileno()``, with one NUL byte; return True.

        The receiver gets a new descriptor for the same open file. *fd* still belongs to the caller, who may close it at
        once. See unix(7), SCM_RIGHTS.

        Errors, besides those of all methods: FAILED, ``dup: Bad file descriptor``, for a number that is not open;
        TOO_MANY_OPEN_FILES, ``dup: ...``, if the method has to wait, and there is no room for the duplicate that it
        keeps meanwhile; FAILED with errno ETOOMANYREFS, which may be tried again, if too many descriptors of this user
        are in flight; NOT_CONNECTED; NOT_SUPPORTED if it is not a Unix socket, as the kernel would drop the descriptor.
        Raises TypeError, ValueError or OverflowError for an *fd* that cannot be a descriptor.
        """
        handle = self._socket._handle
        if cancellable is not None or fd.__class__ is not int or not handle.is_unix:
            return self._socket._complete(SendDescriptor(handle, as_descriptor(fd)), cancellable)
        if send(handle, DESCRIPTOR, fd):
            return True
        return self._socket._complete(SendDescriptor(handle, fd), None, tried=True)

    @with_async(
        "g_unix_connection_send_fd_async",
        returns="True",
        note="*fd* may be closed as soon as the call returns: an operation that has to wait keeps a duplicate.",
    )
    def _send_fd_operation(self, fd: FileDescriptorLike) -> Operation[bool]:
        return SendDescriptor(self._socket._handle, as_descriptor(fd))

    def receive_fd(self, cancellable: Cancellable | None = None) -> int:
        """
        Receive one byte with one descriptor; return its number. It is close-on-exec, and the caller has to close it.

        Credentials and a pidfd that come along are dropped. A message with anything else is consumed, and the
        descriptors in it are closed. See unix(7), SCM_RIGHTS.

        Errors, besides those of all methods: CLOSED, ``Connection closed by the peer``, at the end of the stream;
        FAILED, ``Expecting 1 control message, got 0``, for a byte without a descriptor, ``Expecting one fd, but got N``
        for several, ``Unexpected type of ancillary data`` for credentials alone; TOO_MANY_OPEN_FILES if this process
        has no free number for the descriptor, which then is lost.
        """
        handle = self._socket._handle
        if cancellable is not None or handle.refuses:
            return self._socket._complete(ReceiveDescriptor(handle), cancellable)
        owner: list[int] = []
        try:
            if receive_descriptors(handle, owner):
                if _ROUNDS is not None:
                    # PyPy's compiled code runs signal handlers at each iteration of a loop. Without this loop it would
                    # run them only in the caller, where the number has no owner yet.
                    for _ in _ROUNDS:
                        pass
                return owner[0]
        except BaseException:  # an Error, or raised by a signal handler
            # Not an Owner: it would have to let go of the number before the end of its block, which is Python code.
            close_all(owner)
            raise
        return self._socket._complete(ReceiveDescriptor(handle), None, tried=True)

    @with_async(
        "g_unix_connection_receive_fd_async",
        returns="the descriptor's number, which the caller has to close",
        note="A descriptor that no caller takes is closed with its result.",
    )
    def _receive_fd_operation(self) -> Operation[int]:
        return ReceiveDescriptor(self._socket._handle)

    def receive_descriptor(self, cancellable: Cancellable | None = None) -> FileDescriptor:
        """Receive a descriptor as `receive_fd` does, with an owner, so that no exception can lose it."""
        return self._socket._complete(ReceiveFileDescriptor(self._socket._handle), cancellable)

    @with_async("unixconn_receive_descriptor_async", returns="the FileDescriptor")
    def _receive_descriptor_operation(self) -> Operation[FileDescriptor]:
        return ReceiveFileDescriptor(self._socket._handle)

    # --- any number of descriptors, which Gio does not have ---

    def send_fds(self, fds: Iterable[FileDescriptorLike], cancellable: Cancellable | None = None) -> bool:
        """
        Send the descriptors *fds*, numbers or objects with ``fileno()``; return True. They still belong to the caller.

        A message of one NUL byte carries at most 253; more are split over several messages. If an error occurs after
        some of the messages, these stay sent, and a note of the Error says so. See unix(7), SCM_RIGHTS.

        Errors: those of `send_fd`; ValueError for no descriptor at all.
        """
        handle = self._socket._handle
        if cancellable is None and handle.is_unix and isinstance(fds, _PLAIN):
            try:
                pool = descriptors_pool(len(fds))
                packed = pack_on_pypy(fds) if IS_PYPY else pool.pack(*fds)
            except (struct.error, TypeError, ValueError, OverflowError):
                packed = bytes(INT_SIZE)
            # True and False would be packed as 1 and 0, and have to be refused. Checking each number's type takes
            # longer than leaving lists with such a lowest byte to the slow path.
            low = packed[LOW_BYTES]
            if 0 not in low and 1 not in low:
                if send(handle, pool, packed):
                    return True
                return self._socket._complete(SendDescriptors(handle, fds), None, tried=True)
        return self._socket._complete(SendDescriptors(handle, fds), cancellable)

    @with_async("unixconn_send_fds_async", returns="True", note="*fds* may be closed as soon as the call returns.")
    def _send_fds_operation(self, fds: Iterable[FileDescriptorLike]) -> Operation[bool]:
        return SendDescriptors(self._socket._handle, fds)

    def receive_fds(self, count: int | None = None, cancellable: Cancellable | None = None) -> list[int]:
        """
        Receive descriptors; return their numbers. They are close-on-exec, and the caller has to close them.

        Without *count*, these are the descriptors of the next message, one or more. With it, there are exactly *count*,
        from as many messages as that takes. If CANCELLED or TIMED_OUT ends the wait before all of them have come, those
        that have come are left for the next receiver.

        Errors: those of `receive_fd`, except for those about the number of descriptors; FAILED, ``Expecting N fds, but
        got M``, if a message brings more than are missing. After these errors, and after CLOSED at the end of the
        stream, all descriptors that have come are closed.
        """
        handle = self._socket._handle
        owner: list[int] = []
        try:
            tried = count is None and cancellable is None and not handle.refuses
            if not tried or not receive_descriptors(handle, owner, single=False):
                operation = ReceiveDescriptors(handle, _count(count), owner)
                self._socket._complete(operation, cancellable, tried=tried)
            if _ROUNDS is not None:
                # PyPy's compiled code runs signal handlers at each iteration of a loop; see receive_fd.
                for _ in _ROUNDS:
                    pass
            return owner
        except BaseException:  # an Error, or raised by a signal handler; no Owner, as in receive_fd
            close_all(owner)
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
        """Receive descriptors as `receive_fds` does; return each as a FileDescriptor, which owns it."""
        return self._socket._complete(ReceiveFileDescriptors(self._socket._handle, _count(count)), cancellable)

    @with_async("unixconn_receive_descriptors_async", returns="the FileDescriptors")
    def _receive_descriptors_operation(self, count: int | None = None) -> Operation[list[FileDescriptor]]:
        return ReceiveFileDescriptors(self._socket._handle, _count(count))

    def refuse_fds(self, refused: bool = True) -> None:
        """
        Refuse descriptors, or accept them again (SO_PASSRIGHTS).

        From Linux 6.16 on, a peer that sends a descriptor gets the Error PERMISSION_DENIED (EPERM), and nothing
        arrives. Connections inherit the setting from a listening Socket whose option was set. Descriptors that were
        sent before, and on an older kernel all descriptors, arrive and are closed: `receive_message` reports how many
        these were, and the methods for descriptors raise PERMISSION_DENIED.
        """
        self._switch("SO_PASSRIGHTS", not refused)
        # Set even if the kernel refuses descriptors: those already in flight pass.
        self._socket._handle.refuses = bool(refused)

    # --- credentials ---

    def send_credentials(self, cancellable: Cancellable | None = None) -> bool:
        """
        Send this process's pid and its effective uid and gid with one NUL byte; return True.

        The kernel checks them. A receiver without SO_PASSCRED gets only the byte. See unix(7), SCM_CREDENTIALS.

        Errors, besides those of all methods, all with the prefix ``Error sending credentials: ``: NOT_CONNECTED;
        INVALID_ARGUMENT in a user namespace that does not map the uid or gid.
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

    @with_async("g_unix_connection_send_credentials_async", returns="True")
    def _send_credentials_operation(self) -> Operation[bool]:
        return SendCredentials(self._socket._handle)

    def send_fake_credentials(self, pid: int, uid: int, gid: int, cancellable: Cancellable | None = None) -> bool:
        """
        Send *pid*, *uid* and *gid* as credentials with one NUL byte; return True.

        The kernel checks them: the *pid* of another process needs CAP_SYS_ADMIN; a *uid* that is not the real,
        effective or saved one needs CAP_SETUID, such a *gid* CAP_SETGID. See unix(7), SCM_CREDENTIALS.

        Errors, besides those of `send_credentials` and with the same prefix: PERMISSION_DENIED for numbers that this
        process may not claim; FAILED, a `NoSuchProcessError`, for a *pid* that no process has; NOT_SUPPORTED on other
        systems than Linux. Raises TypeError for what is not a number, OverflowError for a number that cannot be a pid,
        uid or gid.
        """
        try:
            return self._socket._complete(self._send_fake_credentials_operation(pid, uid, gid), cancellable)
        except Error as error:
            raise error.prefixed(SendCredentials.prefix) from None

    @with_async("g_unix_connection_send_fake_credentials_async", returns="True")
    def _send_fake_credentials_operation(self, pid: int, uid: int, gid: int) -> Operation[bool]:
        # The highest uid_t and gid_t mean "none".
        claimed = (
            as_integer(pid, "pid", 1, INT_MAX),
            as_integer(uid, "uid", 0, UINT_MAX - 1),
            as_integer(gid, "gid", 0, UINT_MAX - 1),
        )
        return SendFakeCredentials(self._socket._handle, claimed)

    def receive_credentials(self, cancellable: Cancellable | None = None) -> Credentials:
        """
        Receive one byte with the credentials of its sender; return the credentials.

        SO_PASSCRED is on during the call, so the kernel adds the credentials of a peer that does not attach any. A byte
        that was sent before the call carries no credentials. The result is then the credentials of the socket's peer,
        the process that made the pair or connected, and their ``source`` is ``CredentialsSource.PEER`` instead of
        MESSAGE. A pidfd and a security label that come along, see `pass_pidfds`, are in the Credentials.

        Errors, besides those of all methods: FAILED, ``Expecting to read a single byte ...``, at the end of the stream;
        FAILED, ``Unexpected type of ancillary data`` or ``Expecting 1 control message, got 2``, for a message with
        descriptors, which is consumed, and the descriptors are closed; NOT_SUPPORTED if it is not a Unix socket.
        """
        handle = self._socket._handle
        if cancellable is None:
            found: list[Credentials] = []
            if handle.try_with_passcred(receive_credentials, found):
                return found[0]
        return self._socket._complete(ReceiveCredentials(handle), cancellable)

    @with_async(
        "g_unix_connection_receive_credentials_async",
        returns="the Credentials",
        note="SO_PASSCRED is on until the end of the operation.",
    )
    def _receive_credentials_operation(self) -> Operation[Credentials]:
        return ReceiveCredentials(self._socket._handle)

    def get_peer_credentials(self) -> Credentials:
        """
        Return all that the kernel knows of the peer: the process that made the pair, or called connect() or listen().

        That is pid, effective uid and gid (SO_PEERCRED), supplementary groups (SO_PEERGROUPS), security label
        (SO_PEERSEC) and a pidfd (SO_PEERPIDFD), which is closed with the Credentials. All but the pidfd's state date
        from that call, whichever process has the other end now; ``source`` is ``CredentialsSource.PEER``. If this
        kernel does not know one of these values, its getter raises NOT_SUPPORTED, and names the kernel version that is
        needed. See unix(7) and socket(7).

        Errors: CLOSED; NOT_INITIALIZED, see `Socket`; NOT_CONNECTED if the kernel knows no peer; NOT_SUPPORTED if it is
        not a Unix socket; TOO_MANY_OPEN_FILES if there is no room for the pidfd.
        """
        return peer_identity(self._socket._handle)

    def pass_credentials(self, wanted: bool = True) -> None:
        """
        Set whether the kernel adds the sender's credentials to each message that is sent from now on (SO_PASSCRED).

        Raises the Error NOT_SUPPORTED on a system without such an option.
        """
        if SYSTEM.credentials_option is None:
            text = "Error asking for credentials of senders: this system has no option for that, a sender attaches them"
            raise io_error(IOErrorEnum.NOT_SUPPORTED, text)
        self._socket.set_option(*SYSTEM.credentials_option, bool(wanted))

    def pass_pidfds(self, wanted: bool = True) -> None:
        """
        Set whether the kernel adds a pidfd of the sender to each message that is sent from now on (SO_PASSPIDFD).

        Raises the Error NOT_SUPPORTED before Linux 6.5.
        """
        if not self._switch("SO_PASSPIDFD", bool(wanted)):
            text = "Error asking for pidfds of senders: SO_PASSPIDFD needs Linux 6.5 or later"
            raise io_error(IOErrorEnum.NOT_SUPPORTED, text)

    def _switch(self, name: str, on: bool) -> bool:
        """Switch an option that older kernels do not have; return whether this one has it."""
        option = SYSTEM.constant(name)
        if option is None:
            return False
        try:
            return self._socket.set_option(SOL_SOCKET, option, on)
        except Error as error:
            if getattr(error, "errno", None) != errno.ENOPROTOOPT:
                raise
            return False

    # --- messages of data, with descriptors and credentials, which Gio does not have ---

    def send_message(
        self,
        data: BytesLike,
        fds: Iterable[FileDescriptorLike] = (),
        credentials: Credentials | bool | None = None,
        cancellable: Cancellable | None = None,
    ) -> int:
        """
        Send all of *data*, a bytes-like object; return its length in bytes.

        The descriptors *fds*, at most 253, and *credentials*, True for those of this process, go with the first byte: a
        stream that takes the data in parts gets them once. After an error between two parts the peer has the first
        parts, and a note of the Error says so. The parts of two threads that send at the same time may be mixed, as may
        those of this method and of an operation that waits in the background. See unix(7).

        Errors: those of `send_fd` and `send_credentials`; MESSAGE_TOO_LARGE for a record that the kernel does not take;
        ValueError for more than 253 descriptors, and on a stream for descriptors or credentials without data, which
        would be lost.
        """
        return self._socket._complete(self._send_message_operation(data, fds, credentials), cancellable)

    @with_async(
        "unixconn_send_message_async",
        returns="the number of bytes",
        note="*fds* may be closed as soon as the call returns.",
    )
    def _send_message_operation(
        self,
        data: BytesLike,
        fds: Iterable[FileDescriptorLike] = (),
        credentials: Credentials | bool | None = None,
    ) -> Operation[int]:
        given, content = listed(fds), as_copy(data)
        if len(given) > MAX_DESCRIPTORS:
            raise ValueError(f"fds must be at most {MAX_DESCRIPTORS} for one message, and these are {len(given)}")
        attached = attached_credentials(credentials)
        handle = self._socket._handle
        if not content and handle.is_stream and (given or attached is not None):
            raise ValueError("data must have a byte for the descriptors and credentials to go with, on a stream")
        return SendWhole(handle, content, given, attached)

    def receive_message(self, max_bytes: int, cancellable: Cancellable | None = None) -> Message:
        """
        Receive at most *max_bytes* bytes, and the descriptors and credentials that come with them.

        On a stream the bytes may be of several messages, but they end with the first message that has descriptors: so
        these belong to the bytes that were sent last. On other sockets the bytes are one record, which may be empty.
        Credentials and a pidfd come if `pass_credentials` and `pass_pidfds` have asked for them. A SEQPACKET connection
        always asks for credentials: they distinguish an empty record from the end.

        Errors, besides those of all methods: CLOSED, ``Connection closed by the peer``, at the end; TOO_MANY_OPEN_FILES
        if this process has no free number for each descriptor, and then the message is lost; MESSAGE_TOO_LARGE for a
        record that is longer than *max_bytes*, which is lost.
        """
        return self._socket._complete(self._receive_message_operation(max_bytes), cancellable)

    @with_async(
        "unixconn_receive_message_async",
        returns="the Message",
        note="The descriptors of a Message that no caller takes are closed with its result.",
    )
    def _receive_message_operation(self, max_bytes: int) -> Operation[Message]:
        return ReceiveWhole(self._socket._handle, as_integer(max_bytes, "max_bytes", 1, INT_MAX))

    # --- generated by tools/generate_async.py: change a declaration, and run that ---

    @overload
    def send_fd_async(self, fd: FileDescriptorLike, cancellable: Cancellable | None = None) -> Future[bool]: ...
    @overload
    def send_fd_async(
        self,
        fd: FileDescriptorLike,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: object,
    ) -> None: ...
    def send_fd_async(
        self,
        fd: FileDescriptorLike,
        cancellable: Cancellable | None = None,
        callback: Callback = AWAIT,
        *user_data: object,
    ) -> Future[bool] | None:
        """
        Start what `send_fd` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, *user_data); `send_fd_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. *fd* may be closed as soon as the call returns: an operation that has to wait keeps a duplicate.
        """
        operation = self._send_fd_operation(fd)
        return start(self, "g_unix_connection_send_fd_async", operation, cancellable, callback, user_data, self._socket)

    def send_fd_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `send_fd_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "g_unix_connection_send_fd_async", result)

    @overload
    def receive_fd_async(self, cancellable: Cancellable | None = None) -> Future[int]: ...
    @overload
    def receive_fd_async(
        self, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: object
    ) -> None: ...
    def receive_fd_async(
        self, cancellable: Cancellable | None = None, callback: Callback = AWAIT, *user_data: object
    ) -> Future[int] | None:
        """
        Start what `receive_fd` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, *user_data); `receive_fd_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. A descriptor that no caller takes is closed with its result.
        """
        operation = self._receive_fd_operation()
        return start(
            self, "g_unix_connection_receive_fd_async", operation, cancellable, callback, user_data, self._socket
        )

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
    def receive_descriptor_async(
        self, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: object
    ) -> None: ...
    def receive_descriptor_async(
        self, cancellable: Cancellable | None = None, callback: Callback = AWAIT, *user_data: object
    ) -> Future[FileDescriptor] | None:
        """
        Start what `receive_descriptor` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, *user_data); `receive_descriptor_finish` returns the
        value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped.
        """
        operation = self._receive_descriptor_operation()
        return start(
            self, "unixconn_receive_descriptor_async", operation, cancellable, callback, user_data, self._socket
        )

    def receive_descriptor_finish(self, result: AsyncResult) -> FileDescriptor:
        """
        Return the FileDescriptor, for the *result* of `receive_descriptor_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_receive_descriptor_async", result)

    @overload
    def send_fds_async(
        self, fds: Iterable[FileDescriptorLike], cancellable: Cancellable | None = None
    ) -> Future[bool]: ...
    @overload
    def send_fds_async(
        self,
        fds: Iterable[FileDescriptorLike],
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: object,
    ) -> None: ...
    def send_fds_async(
        self,
        fds: Iterable[FileDescriptorLike],
        cancellable: Cancellable | None = None,
        callback: Callback = AWAIT,
        *user_data: object,
    ) -> Future[bool] | None:
        """
        Start what `send_fds` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, *user_data); `send_fds_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. *fds* may be closed as soon as the call returns.
        """
        operation = self._send_fds_operation(fds)
        return start(self, "unixconn_send_fds_async", operation, cancellable, callback, user_data, self._socket)

    def send_fds_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `send_fds_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_send_fds_async", result)

    @overload
    def receive_fds_async(
        self, count: int | None = None, cancellable: Cancellable | None = None
    ) -> Future[list[int]]: ...
    @overload
    def receive_fds_async(
        self,
        count: int | None = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: object,
    ) -> None: ...
    def receive_fds_async(
        self,
        count: int | None = None,
        cancellable: Cancellable | None = None,
        callback: Callback = AWAIT,
        *user_data: object,
    ) -> Future[list[int]] | None:
        """
        Start what `receive_fds` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, *user_data); `receive_fds_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. Descriptors that no caller takes are closed with their result.
        """
        operation = self._receive_fds_operation(count)
        return start(self, "unixconn_receive_fds_async", operation, cancellable, callback, user_data, self._socket)

    def receive_fds_finish(self, result: AsyncResult) -> list[int]:
        """
        Return the descriptors' numbers, which the caller has to close, for the *result* of `receive_fds_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_receive_fds_async", result)

    @overload
    def receive_descriptors_async(
        self, count: int | None = None, cancellable: Cancellable | None = None
    ) -> Future[list[FileDescriptor]]: ...
    @overload
    def receive_descriptors_async(
        self,
        count: int | None = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: object,
    ) -> None: ...
    def receive_descriptors_async(
        self,
        count: int | None = None,
        cancellable: Cancellable | None = None,
        callback: Callback = AWAIT,
        *user_data: object,
    ) -> Future[list[FileDescriptor]] | None:
        """
        Start what `receive_descriptors` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, *user_data); `receive_descriptors_finish` returns the
        value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped.
        """
        operation = self._receive_descriptors_operation(count)
        return start(
            self, "unixconn_receive_descriptors_async", operation, cancellable, callback, user_data, self._socket
        )

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
    def send_credentials_async(
        self, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: object
    ) -> None: ...
    def send_credentials_async(
        self, cancellable: Cancellable | None = None, callback: Callback = AWAIT, *user_data: object
    ) -> Future[bool] | None:
        """
        Start what `send_credentials` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, *user_data); `send_credentials_finish` returns the
        value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped.
        """
        operation = self._send_credentials_operation()
        return start(
            self, "g_unix_connection_send_credentials_async", operation, cancellable, callback, user_data, self._socket
        )

    def send_credentials_finish(self, result: AsyncResult) -> bool:
        """
        Return True, for the *result* of `send_credentials_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "g_unix_connection_send_credentials_async", result)

    @overload
    def send_fake_credentials_async(
        self, pid: int, uid: int, gid: int, cancellable: Cancellable | None = None
    ) -> Future[bool]: ...
    @overload
    def send_fake_credentials_async(
        self,
        pid: int,
        uid: int,
        gid: int,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: object,
    ) -> None: ...
    def send_fake_credentials_async(
        self,
        pid: int,
        uid: int,
        gid: int,
        cancellable: Cancellable | None = None,
        callback: Callback = AWAIT,
        *user_data: object,
    ) -> Future[bool] | None:
        """
        Start what `send_fake_credentials` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, *user_data); `send_fake_credentials_finish` returns
        the value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped.
        """
        operation = self._send_fake_credentials_operation(pid, uid, gid)
        return start(
            self,
            "g_unix_connection_send_fake_credentials_async",
            operation,
            cancellable,
            callback,
            user_data,
            self._socket,
        )

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
    def receive_credentials_async(
        self, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: object
    ) -> None: ...
    def receive_credentials_async(
        self, cancellable: Cancellable | None = None, callback: Callback = AWAIT, *user_data: object
    ) -> Future[Credentials] | None:
        """
        Start what `receive_credentials` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, *user_data); `receive_credentials_finish` returns the
        value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped. SO_PASSCRED is on until the end of the operation.
        """
        operation = self._receive_credentials_operation()
        return start(
            self,
            "g_unix_connection_receive_credentials_async",
            operation,
            cancellable,
            callback,
            user_data,
            self._socket,
        )

    def receive_credentials_finish(self, result: AsyncResult) -> Credentials:
        """
        Return the Credentials, for the *result* of `receive_credentials_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "g_unix_connection_receive_credentials_async", result)

    @overload
    def send_message_async(
        self,
        data: BytesLike,
        fds: Iterable[FileDescriptorLike] = (),
        credentials: Credentials | bool | None = None,
        cancellable: Cancellable | None = None,
    ) -> Future[int]: ...
    @overload
    def send_message_async(
        self,
        data: BytesLike,
        fds: Iterable[FileDescriptorLike] = ...,
        credentials: Credentials | bool | None = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: object,
    ) -> None: ...
    def send_message_async(
        self,
        data: BytesLike,
        fds: Iterable[FileDescriptorLike] = (),
        credentials: Credentials | bool | None = None,
        cancellable: Cancellable | None = None,
        callback: Callback = AWAIT,
        *user_data: object,
    ) -> Future[int] | None:
        """
        Start what `send_message` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, *user_data); `send_message_finish` returns the value.
        Without a callback argument the call returns a `Future`; with callback=None it returns None, and the outcome is
        dropped. *fds* may be closed as soon as the call returns.
        """
        operation = self._send_message_operation(data, fds, credentials)
        return start(self, "unixconn_send_message_async", operation, cancellable, callback, user_data, self._socket)

    def send_message_finish(self, result: AsyncResult) -> int:
        """
        Return the number of bytes, for the *result* of `send_message_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_send_message_async", result)

    @overload
    def receive_message_async(self, max_bytes: int, cancellable: Cancellable | None = None) -> Future[Message]: ...
    @overload
    def receive_message_async(
        self, max_bytes: int, cancellable: Cancellable | None = ..., callback: Callback = ..., *user_data: object
    ) -> None: ...
    def receive_message_async(
        self, max_bytes: int, cancellable: Cancellable | None = None, callback: Callback = AWAIT, *user_data: object
    ) -> Future[Message] | None:
        """
        Start what `receive_message` does, with the same parameters and errors, and do not wait for its end.

        At the end *callback* is called with (connection, result, *user_data); `receive_message_finish` returns the
        value. Without a callback argument the call returns a `Future`; with callback=None it returns None, and the
        outcome is dropped. The descriptors of a Message that no caller takes are closed with its result.
        """
        operation = self._receive_message_operation(max_bytes)
        return start(self, "unixconn_receive_message_async", operation, cancellable, callback, user_data, self._socket)

    def receive_message_finish(self, result: AsyncResult) -> Message:
        """
        Return the Message, for the *result* of `receive_message_async`.

        Raises the Error of the operation; TypeError if *result* is not an AsyncResult; ValueError if it belongs to
        another connection or another operation, or if its value was returned already.
        """
        return finish(self, "unixconn_receive_message_async", result)

    # --- end of the generated part ---


def _count(count: int | None) -> int | None:
    return None if count is None else as_integer(count, "count", 1, INT_MAX)


connection_types[SocketFamily.UNIX, SocketType.STREAM, SocketProtocol.DEFAULT] = UnixConnection
