"""
Pass file descriptors and credentials over Unix sockets: Gio.UnixConnection, without GLib.

    >>> import os, unixconn
    >>> ours, theirs = unixconn.UnixConnection.create_pair()
    >>> ours.send_fd(0)
    True
    >>> fd = theirs.receive_fd()
    >>> os.path.sameopenfile(0, fd)
    True
    >>> os.close(fd)
"""

from unixconn._native import BACKEND
from unixconn.address import SocketAddress, SocketFamily, UnixSocketAddress, UnixSocketAddressType
from unixconn.cancellable import Cancellable
from unixconn.connection import SocketConnection, UnixConnection
from unixconn.credentials import Credentials, CredentialsSource
from unixconn.errors import (
    CancelledError,
    ClosedError,
    Error,
    InvalidArgumentError,
    InvalidDataError,
    IOErrorEnum,
    NotConnectedError,
    NotFoundError,
    NotInitializedError,
    NotSupportedError,
    PeerClosedError,
    PeerResetError,
    PendingError,
    PermissionDeniedError,
    RefusedError,
    SystemCallError,
    TimedOutError,
    TooManyOpenFilesError,
    TooManyReferencesError,
    WouldBlockError,
    io_error_from_errno,
    io_error_quark,
)
from unixconn.iostream import Bytes, InputStream, IOStream, OutputStream
from unixconn.messages import SocketControlMessage, UnixCredentialsMessage, UnixFDList, UnixFDMessage
from unixconn.object import Object
from unixconn.poll import IOCondition, PollFD
from unixconn.socket import Socket, SocketProtocol, SocketType

__version__ = "0.1.0"

__all__ = [
    "BACKEND",
    "Bytes",
    "Cancellable",
    "CancelledError",
    "ClosedError",
    "Credentials",
    "CredentialsSource",
    "Error",
    "IOCondition",
    "IOErrorEnum",
    "IOStream",
    "InputStream",
    "InvalidArgumentError",
    "InvalidDataError",
    "NotConnectedError",
    "NotFoundError",
    "NotInitializedError",
    "NotSupportedError",
    "Object",
    "OutputStream",
    "PeerClosedError",
    "PeerResetError",
    "PendingError",
    "PermissionDeniedError",
    "PollFD",
    "RefusedError",
    "Socket",
    "SocketAddress",
    "SocketConnection",
    "SocketControlMessage",
    "SocketFamily",
    "SocketProtocol",
    "SocketType",
    "SystemCallError",
    "TimedOutError",
    "TooManyOpenFilesError",
    "TooManyReferencesError",
    "UnixConnection",
    "UnixCredentialsMessage",
    "UnixFDList",
    "UnixFDMessage",
    "UnixSocketAddress",
    "UnixSocketAddressType",
    "WouldBlockError",
    "io_error_from_errno",
    "io_error_quark",
]
