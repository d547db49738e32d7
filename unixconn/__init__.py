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

Where to begin:

- `UnixConnection` sends and receives: descriptors, credentials, and data with both. `connect`, `connect_async`,
  `listen` and `serve` make connections by a path.
- Methods named ``*_async`` return a `Future` for ``await``, or call a callback.
- `Cancellable.with_timeout` makes a deadline for any call.
- `Credentials` are the identity of a process. `FileDescriptor` owns a descriptor. `Error` is the base of all errors.

The modules `unixconn.systemd`, `unixconn.asyncio`, `unixconn.anyio` and `unixconn.gi` are for service managers, for the
streams of asyncio and of anyio, and for programs written for PyGObject.
"""

import sys

from unixconn._base.deferred import load as _load
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.native import BACKEND as BACKEND

# The public names for type checkers. For these, "as" makes a name public. test_public.py compares them with those
# below.
if TYPE_CHECKING:
    from unixconn._base.errors import (
        CancelledError as CancelledError,
        ClosedError as ClosedError,
        Error as Error,
        GError as GError,
        InvalidArgumentError as InvalidArgumentError,
        InvalidDataError as InvalidDataError,
        IOErrorEnum as IOErrorEnum,
        NoSuchProcessError as NoSuchProcessError,
        NotConnectedError as NotConnectedError,
        NotFoundError as NotFoundError,
        NotInitializedError as NotInitializedError,
        NotSupportedError as NotSupportedError,
        PeerClosedError as PeerClosedError,
        PeerResetError as PeerResetError,
        PendingError as PendingError,
        PermissionDeniedError as PermissionDeniedError,
        RefusedError as RefusedError,
        SystemCallError as SystemCallError,
        TimedOutError as TimedOutError,
        TooManyOpenFilesError as TooManyOpenFilesError,
        TooManyReferencesError as TooManyReferencesError,
        WouldBlockError as WouldBlockError,
        io_error_from_errno as io_error_from_errno,
        io_error_quark as io_error_quark,
        quark_from_string as quark_from_string,
        quark_to_string as quark_to_string,
    )
    from unixconn._base.declarations import (
        ParamFlags as ParamFlags,
        Property as Property,
        Signal as Signal,
        SignalFlags as SignalFlags,
    )
    from unixconn._base.enums import GEnum as GEnum, GFlags as GFlags
    from unixconn._base.object import (
        Object as Object,
        signal_accumulator_true_handled as signal_accumulator_true_handled,
    )
    from unixconn._gio.address import (
        SocketAddress as SocketAddress,
        SocketFamily as SocketFamily,
        UnixSocketAddress as UnixSocketAddress,
        UnixSocketAddressType as UnixSocketAddressType,
    )
    from unixconn._gio.borrowing import peer_credentials as peer_credentials
    from unixconn._gio.buffered_input_stream import BufferedInputStream as BufferedInputStream
    from unixconn._gio.cancellable import Cancellable as Cancellable
    from unixconn._gio.client import (
        SocketClient as SocketClient,
        SocketClientEvent as SocketClientEvent,
    )
    from unixconn._gio.connect import (
        connect as connect,
        connect_async as connect_async,
        connect_finish as connect_finish,
    )
    from unixconn._gio.connection import (
        SocketConnection as SocketConnection,
        TcpConnection as TcpConnection,
        UnixConnection as UnixConnection,
    )
    from unixconn._gio.control_messages import (
        SocketControlMessage as SocketControlMessage,
        UnixCredentialsMessage as UnixCredentialsMessage,
        UnixFDList as UnixFDList,
        UnixFDMessage as UnixFDMessage,
    )
    from unixconn._gio.data_input_stream import (
        DataInputStream as DataInputStream,
        DataStreamByteOrder as DataStreamByteOrder,
        DataStreamNewlineType as DataStreamNewlineType,
        Line as Line,
        Text as Text,
    )
    from unixconn._gio.data_output_stream import DataOutputStream as DataOutputStream
    from unixconn._gio.filter_streams import (
        FilterInputStream as FilterInputStream,
        FilterOutputStream as FilterOutputStream,
    )
    from unixconn._gio.future import Future as Future
    from unixconn._gio.input_stream import InputStream as InputStream
    from unixconn._gio.io_stream import IOStream as IOStream, IOStreamSpliceFlags as IOStreamSpliceFlags
    from unixconn._gio.listener import (
        Accepted as Accepted,
        AcceptedSocket as AcceptedSocket,
        AddressAdded as AddressAdded,
        SocketListener as SocketListener,
        SocketListenerEvent as SocketListenerEvent,
    )
    from unixconn._gio.listening import UnixListener as UnixListener, listen as listen
    from unixconn._gio.output_stream import (
        OutputStream as OutputStream,
        OutputStreamSpliceFlags as OutputStreamSpliceFlags,
        Written as Written,
    )
    from unixconn._gio.service import SocketService as SocketService, ThreadedSocketService as ThreadedSocketService
    from unixconn._gio.serving import serve as serve
    from unixconn._gio.socket import Socket as Socket
    from unixconn._gio.socket_types import (
        Datagram as Datagram,
        SocketMessage as SocketMessage,
        SocketMsgFlags as SocketMsgFlags,
        SocketOption as SocketOption,
        SocketProtocol as SocketProtocol,
        SocketType as SocketType,
    )
    from unixconn._gio.streams import Bytes as Bytes
    from unixconn._gio.task import AsyncResult as AsyncResult, Task as Task
    from unixconn._gio.unix_streams import UnixInputStream as UnixInputStream, UnixOutputStream as UnixOutputStream
    from unixconn._io.main_context import MainContext as MainContext
    from unixconn._io.main_loop import (
        SOURCE_CONTINUE as SOURCE_CONTINUE,
        SOURCE_REMOVE as SOURCE_REMOVE,
        MainLoop as MainLoop,
        idle_add as idle_add,
        timeout_add as timeout_add,
        timeout_add_seconds as timeout_add_seconds,
    )
    from unixconn._io.priorities import (
        PRIORITY_DEFAULT as PRIORITY_DEFAULT,
        PRIORITY_DEFAULT_IDLE as PRIORITY_DEFAULT_IDLE,
        PRIORITY_HIGH as PRIORITY_HIGH,
        PRIORITY_HIGH_IDLE as PRIORITY_HIGH_IDLE,
        PRIORITY_LOW as PRIORITY_LOW,
    )
    from unixconn._io.source import (
        Idle as Idle,
        Source as Source,
        Timeout as Timeout,
        source_remove as source_remove,
    )
    from unixconn._io.sources import (
        child_watch_add as child_watch_add,
        get_monotonic_time as get_monotonic_time,
        get_real_time as get_real_time,
        idle_source_new as idle_source_new,
        io_add_watch as io_add_watch,
        source_set_name_by_id as source_set_name_by_id,
        timeout_source_new as timeout_source_new,
        timeout_source_new_seconds as timeout_source_new_seconds,
        unix_fd_add_full as unix_fd_add_full,
        unix_fd_source_new as unix_fd_source_new,
        unix_signal_add as unix_signal_add,
    )
    from unixconn._kernel.credentials import Credentials as Credentials, CredentialsSource as CredentialsSource
    from unixconn._kernel.descriptors import close_fds as close_fds
    from unixconn._kernel.file_descriptor import FileDescriptor as FileDescriptor
    from unixconn._kernel.epoll import (
        IO_ERR as IO_ERR,
        IO_HUP as IO_HUP,
        IO_IN as IO_IN,
        IO_NVAL as IO_NVAL,
        IO_OUT as IO_OUT,
        IO_PRI as IO_PRI,
        IOCondition as IOCondition,
        PollFD as PollFD,
    )
    from unixconn._kernel.message import JoinedMessage as JoinedMessage
    from unixconn._kernel.message import Message as Message

# The module of each public name. A module is imported when one of its names is first used, as PyGObject does with Gio's
# names: a program does not load what it does not use.
_MODULES = {
    "_base.errors": (
        "CancelledError ClosedError Error GError IOErrorEnum InvalidArgumentError InvalidDataError "
        "NoSuchProcessError NotConnectedError NotFoundError NotInitializedError NotSupportedError PeerClosedError "
        "PeerResetError PendingError PermissionDeniedError RefusedError SystemCallError TimedOutError "
        "TooManyOpenFilesError TooManyReferencesError WouldBlockError io_error_from_errno io_error_quark "
        "quark_from_string quark_to_string"
    ),
    "_base.declarations": "ParamFlags Property Signal SignalFlags",
    "_base.enums": "GEnum GFlags",
    "_base.object": "Object signal_accumulator_true_handled",
    "_kernel.credentials": "Credentials CredentialsSource",
    "_kernel.descriptors": "close_fds",
    "_kernel.file_descriptor": "FileDescriptor",
    "_kernel.message": "JoinedMessage Message",
    "_kernel.native": "BACKEND",
    "_kernel.epoll": "IOCondition IO_ERR IO_HUP IO_IN IO_NVAL IO_OUT IO_PRI PollFD",
    "_io.main_context": "MainContext",
    "_io.main_loop": "SOURCE_CONTINUE SOURCE_REMOVE MainLoop idle_add timeout_add timeout_add_seconds",
    "_io.priorities": "PRIORITY_DEFAULT PRIORITY_DEFAULT_IDLE PRIORITY_HIGH PRIORITY_HIGH_IDLE PRIORITY_LOW",
    "_io.source": "Idle Source Timeout source_remove",
    "_io.sources": (
        "child_watch_add get_monotonic_time get_real_time idle_source_new io_add_watch source_set_name_by_id "
        "timeout_source_new timeout_source_new_seconds unix_fd_add_full unix_fd_source_new unix_signal_add"
    ),
    "_gio.address": "SocketAddress SocketFamily UnixSocketAddress UnixSocketAddressType",
    "_gio.borrowing": "peer_credentials",
    "_gio.buffered_input_stream": "BufferedInputStream",
    "_gio.cancellable": "Cancellable",
    "_gio.client": "SocketClient SocketClientEvent",
    "_gio.connect": "connect connect_async connect_finish",
    # Socket is here, too: a Socket makes connections of the classes that this module registers.
    "_gio.connection": "Socket SocketConnection TcpConnection UnixConnection",
    "_gio.control_messages": "SocketControlMessage UnixCredentialsMessage UnixFDList UnixFDMessage",
    "_gio.data_input_stream": "DataInputStream DataStreamByteOrder DataStreamNewlineType Line Text",
    "_gio.data_output_stream": "DataOutputStream",
    "_gio.filter_streams": "FilterInputStream FilterOutputStream",
    "_gio.future": "Future",
    "_gio.input_stream": "InputStream",
    "_gio.io_stream": "IOStream IOStreamSpliceFlags",
    "_gio.listener": "Accepted AcceptedSocket AddressAdded SocketListener SocketListenerEvent",
    "_gio.listening": "UnixListener listen",
    "_gio.output_stream": "OutputStream OutputStreamSpliceFlags Written",
    "_gio.service": "SocketService ThreadedSocketService",
    "_gio.serving": "serve",
    "_gio.socket_types": "Datagram SocketMessage SocketMsgFlags SocketOption SocketProtocol SocketType",
    "_gio.streams": "Bytes",
    "_gio.task": "AsyncResult Task",
    "_gio.unix_streams": "UnixInputStream UnixOutputStream",
}
_BESIDE = ("anyio", "asyncio", "gi", "systemd")
"""The public modules beside this one, which a program imports itself."""
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

__version__ = "0.1.0"

# Hidden from type checkers, which would otherwise accept any misspelt name as one that __getattr__ returns.
if not TYPE_CHECKING:
    __all__ = list(_HOMES)

    def __getattr__(name):
        if name not in _HOMES:
            said = f"module 'unixconn' has no attribute {name!r}"
            if name in _BESIDE:
                said += f": it is a module of its own, which `import unixconn.{name}` loads"
            error = AttributeError(_left_out(name) or said)
            # With these, the traceback of Python 3.10 and later suggests a similar name.
            error.name, error.obj = name, sys.modules[__name__]
            raise error
        value = globals()[name] = getattr(_load(_HOMES[name], f"unixconn.{name}"), name)
        return value

    def _left_out(name):
        """Return what there is to say of *name* if a library of GLib has it, and this one not, on purpose."""
        # Python asks for a module of the package first as for an attribute.
        if name.startswith("_") or name in _BESIDE:
            return None
        try:
            from unixconn._gio.missing import LIBRARIES, about
        except (ImportError, OSError):
            return None
        return next(filter(None, (about(library, name) for library in LIBRARIES)), None)

    def __dir__():
        return sorted({*__all__, *(name for name in globals() if name.startswith("_"))})
