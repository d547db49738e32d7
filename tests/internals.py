"""
What tests reach into that is no interface: where each of these is, in one place.

It is for what can not be brought about from outside, such as a signal handler that raises just before a certain call.
The tests in platforms/ and command_line/ name the modules that they are of.
"""

from unixconn._gio import client, connection, listener, socket, socket_connection, socket_file, streams, transfers
from unixconn._gio.address import from_python
from unixconn._gio.socket_types import connection_types
from unixconn._io import (
    asyncio_loop,
    blocking,
    main_context,
    reactor,
    receiving,
    receiving_data,
    sending,
    sending_data,
    steps,
    thread,
    waiter,
)
from unixconn._kernel import handle, message, receive, receive_data, send
from unixconn._kernel.descriptors import RETURN_IS_ATOMIC, close_all, duplicate_all
from unixconn._kernel.platform import SYSTEM

__all__ = [
    "RETURN_IS_ATOMIC",
    "SYSTEM",
    "asyncio_loop",
    "blocking",
    "client",
    "close_all",
    "connection",
    "connection_types",
    "duplicate_all",
    "from_python",
    "handle",
    "listener",
    "main_context",
    "message",
    "reactor",
    "receive",
    "receive_data",
    "receiving",
    "receiving_data",
    "send",
    "sending",
    "sending_data",
    "socket",
    "socket_connection",
    "socket_file",
    "steps",
    "streams",
    "thread",
    "transfers",
    "waiter",
]
