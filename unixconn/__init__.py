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

from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.native import BACKEND

if TYPE_CHECKING:
    from unixconn._base.errors import (
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
    from unixconn._base.object import Object
    from unixconn._gio.address import SocketAddress, SocketFamily, UnixSocketAddress, UnixSocketAddressType
    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.client import SocketClient, SocketClientEvent
    from unixconn._gio.connection import SocketConnection, TcpConnection, UnixConnection
    from unixconn._gio.control_messages import SocketControlMessage, UnixCredentialsMessage, UnixFDList, UnixFDMessage
    from unixconn._gio.future import Future
    from unixconn._gio.input_stream import InputStream
    from unixconn._gio.io_stream import IOStream, IOStreamSpliceFlags
    from unixconn._gio.listener import SocketListener, SocketListenerEvent
    from unixconn._gio.listening import UnixListener, connect, listen
    from unixconn._gio.output_stream import OutputStream, OutputStreamSpliceFlags
    from unixconn._gio.service import SocketService, ThreadedSocketService
    from unixconn._gio.socket import Socket, SocketMsgFlags, SocketProtocol, SocketType
    from unixconn._gio.streams import Bytes
    from unixconn._gio.task import AsyncResult, Task
    from unixconn._io.main_context import (
        PRIORITY_DEFAULT,
        PRIORITY_DEFAULT_IDLE,
        PRIORITY_HIGH,
        PRIORITY_HIGH_IDLE,
        PRIORITY_LOW,
        MainContext,
        Source,
    )
    from unixconn._io.main_loop import (
        SOURCE_CONTINUE,
        SOURCE_REMOVE,
        MainLoop,
        idle_add,
        source_remove,
        timeout_add,
        timeout_add_seconds,
    )
    from unixconn._io.receiving import Message
    from unixconn._kernel.credentials import Credentials, CredentialsSource
    from unixconn._kernel.descriptors import close_fds
    from unixconn._kernel.epoll import IOCondition, PollFD
    from unixconn._kernel.file_descriptor import FileDescriptor

# Where each name is from. A module is imported when one of its names is asked for, as PyGObject does it with Gio's: a
# program that names what it needs does not pay for the rest.
_MODULES = {
    "_gio.address": "SocketAddress SocketFamily UnixSocketAddress UnixSocketAddressType",
    "_gio.cancellable": "Cancellable",
    "_gio.client": "SocketClient SocketClientEvent",
    # Socket too: a Socket makes connections, of the classes that this module registers.
    "_gio.connection": "Socket SocketConnection TcpConnection UnixConnection",
    "_kernel.credentials": "Credentials CredentialsSource",
    "_kernel.descriptors": "close_fds",
    "_base.errors": (
        "CancelledError ClosedError Error GError InvalidArgumentError InvalidDataError "
        "IOErrorEnum NoSuchProcessError NotConnectedError NotFoundError NotInitializedError NotSupportedError "
        "PeerClosedError PeerResetError PendingError PermissionDeniedError RefusedError "
        "SystemCallError TimedOutError TooManyOpenFilesError TooManyReferencesError WouldBlockError "
        "io_error_from_errno io_error_quark "
    ),
    "_kernel.file_descriptor": "FileDescriptor",
    "_gio.future": "Future",
    "_gio.io_stream": "IOStream IOStreamSpliceFlags",
    "_gio.listener": "SocketListener SocketListenerEvent",
    "_io.main_context": (
        "PRIORITY_DEFAULT PRIORITY_DEFAULT_IDLE PRIORITY_HIGH PRIORITY_HIGH_IDLE PRIORITY_LOW MainContext Source"
    ),
    "_io.main_loop": "SOURCE_CONTINUE SOURCE_REMOVE MainLoop idle_add source_remove timeout_add timeout_add_seconds",
    "_io.receiving": "Message",
    "_gio.control_messages": "SocketControlMessage UnixCredentialsMessage UnixFDList UnixFDMessage",
    "_base.object": "Object",
    "_gio.listening": "UnixListener connect listen",
    "_kernel.epoll": "IOCondition PollFD",
    "_gio.service": "SocketService ThreadedSocketService",
    "_gio.socket": "SocketMsgFlags SocketProtocol SocketType",
    "_gio.streams": "Bytes",
    "_gio.input_stream": "InputStream",
    "_gio.output_stream": "OutputStream OutputStreamSpliceFlags",
    "_gio.task": "AsyncResult Task",
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
