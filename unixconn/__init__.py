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

import importlib

from unixconn._native import BACKEND
from unixconn._typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unixconn.address import SocketAddress, SocketFamily, UnixSocketAddress, UnixSocketAddressType
    from unixconn.cancellable import Cancellable
    from unixconn.client import SocketClient, SocketClientEvent
    from unixconn.connection import SocketConnection, TcpConnection, UnixConnection
    from unixconn.credentials import Credentials, CredentialsSource
    from unixconn.descriptors import close_fds
    from unixconn.errors import (
        CancelledError,
        ClosedError,
        Error,
        GError,
        InvalidArgumentError,
        InvalidDataError,
        IOErrorEnum,
        NoSuchProcessError,
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
    from unixconn.filedescriptor import FileDescriptor
    from unixconn.future import Future
    from unixconn.inputstream import InputStream
    from unixconn.iostream import IOStream, IOStreamSpliceFlags
    from unixconn.kinds import SocketMsgFlags, SocketProtocol, SocketType
    from unixconn.listener import SocketListener, SocketListenerEvent
    from unixconn.maincontext import (
        PRIORITY_DEFAULT,
        PRIORITY_DEFAULT_IDLE,
        PRIORITY_HIGH,
        PRIORITY_HIGH_IDLE,
        PRIORITY_LOW,
        MainContext,
        Source,
    )
    from unixconn.mainloop import (
        SOURCE_CONTINUE,
        SOURCE_REMOVE,
        MainLoop,
        idle_add,
        source_remove,
        timeout_add,
        timeout_add_seconds,
    )
    from unixconn.message import Message
    from unixconn.messages import SocketControlMessage, UnixCredentialsMessage, UnixFDList, UnixFDMessage
    from unixconn.object import Object
    from unixconn.outputstream import OutputStream, OutputStreamSpliceFlags
    from unixconn.paths import UnixListener, connect, listen
    from unixconn.poll import IOCondition, PollFD
    from unixconn.service import SocketService, ThreadedSocketService
    from unixconn.socket import Socket
    from unixconn.streams import Bytes
    from unixconn.task import AsyncResult, Task

# Where each name is from. A module is imported when one of its names is asked for, as PyGObject does it with Gio's: a
# program that names what it needs does not pay for the rest.
_MODULES = {
    "address": "SocketAddress SocketFamily UnixSocketAddress UnixSocketAddressType",
    "cancellable": "Cancellable",
    "client": "SocketClient SocketClientEvent",
    # Socket too: a Socket makes connections, of the classes that this module registers.
    "connection": "Socket SocketConnection TcpConnection UnixConnection",
    "credentials": "Credentials CredentialsSource",
    "descriptors": "close_fds",
    "errors": (
        "CancelledError ClosedError Error GError InvalidArgumentError InvalidDataError "
        "IOErrorEnum NoSuchProcessError NotConnectedError NotFoundError NotInitializedError NotSupportedError "
        "PeerClosedError PeerResetError PendingError PermissionDeniedError RefusedError "
        "SystemCallError TimedOutError TooManyOpenFilesError TooManyReferencesError WouldBlockError "
        "io_error_from_errno io_error_quark "
    ),
    "filedescriptor": "FileDescriptor",
    "future": "Future",
    "iostream": "IOStream IOStreamSpliceFlags",
    "kinds": "SocketMsgFlags SocketProtocol SocketType",
    "listener": "SocketListener SocketListenerEvent",
    "maincontext": (
        "PRIORITY_DEFAULT PRIORITY_DEFAULT_IDLE PRIORITY_HIGH PRIORITY_HIGH_IDLE PRIORITY_LOW MainContext Source"
    ),
    "mainloop": "SOURCE_CONTINUE SOURCE_REMOVE MainLoop idle_add source_remove timeout_add timeout_add_seconds",
    "message": "Message",
    "messages": "SocketControlMessage UnixCredentialsMessage UnixFDList UnixFDMessage",
    "object": "Object",
    "paths": "UnixListener connect listen",
    "poll": "IOCondition PollFD",
    "service": "SocketService ThreadedSocketService",
    "streams": "Bytes",
    "inputstream": "InputStream",
    "outputstream": "OutputStream OutputStreamSpliceFlags",
    "task": "AsyncResult Task",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

__version__ = "0.1.0"

__all__ = [
    "BACKEND",
    "PRIORITY_DEFAULT",
    "PRIORITY_DEFAULT_IDLE",
    "PRIORITY_HIGH",
    "PRIORITY_HIGH_IDLE",
    "PRIORITY_LOW",
    "SOURCE_CONTINUE",
    "SOURCE_REMOVE",
    "AsyncResult",
    "Bytes",
    "Cancellable",
    "CancelledError",
    "ClosedError",
    "Credentials",
    "CredentialsSource",
    "Error",
    "FileDescriptor",
    "Future",
    "GError",
    "IOCondition",
    "IOErrorEnum",
    "IOStream",
    "IOStreamSpliceFlags",
    "InputStream",
    "InvalidArgumentError",
    "InvalidDataError",
    "MainContext",
    "MainLoop",
    "Message",
    "NoSuchProcessError",
    "NotConnectedError",
    "NotFoundError",
    "NotInitializedError",
    "NotSupportedError",
    "Object",
    "OutputStream",
    "OutputStreamSpliceFlags",
    "PeerClosedError",
    "PeerResetError",
    "PendingError",
    "PermissionDeniedError",
    "PollFD",
    "RefusedError",
    "Socket",
    "SocketAddress",
    "SocketClient",
    "SocketClientEvent",
    "SocketConnection",
    "SocketControlMessage",
    "SocketFamily",
    "SocketListener",
    "SocketListenerEvent",
    "SocketMsgFlags",
    "SocketProtocol",
    "SocketService",
    "SocketType",
    "Source",
    "SystemCallError",
    "Task",
    "TcpConnection",
    "ThreadedSocketService",
    "TimedOutError",
    "TooManyOpenFilesError",
    "TooManyReferencesError",
    "UnixConnection",
    "UnixCredentialsMessage",
    "UnixFDList",
    "UnixFDMessage",
    "UnixListener",
    "UnixSocketAddress",
    "UnixSocketAddressType",
    "WouldBlockError",
    "close_fds",
    "connect",
    "idle_add",
    "io_error_from_errno",
    "io_error_quark",
    "listen",
    "source_remove",
    "timeout_add",
    "timeout_add_seconds",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'unixconn' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"unixconn.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
