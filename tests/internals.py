"""
What tests reach into that is no interface: where each of these is, in one place.

It is for what can not be brought about from outside, such as a signal handler that raises just before a certain call.
The tests in platforms/ and command_line/ name the modules that they are of.
"""

from unixconn._gio import connection, listener, listening, socket, streams
from unixconn._gio.address import from_python
from unixconn._gio.socket import connection_types
from unixconn._io import main_context, reactor, receiving, steps, thread, waiter
from unixconn._kernel import handle, receive, send
from unixconn._kernel.descriptors import RETURN_IS_ATOMIC, close_all, duplicate_all
from unixconn._kernel.platform import SYSTEM

__all__ = [
    "RETURN_IS_ATOMIC",
    "SYSTEM",
    "close_all",
    "connection",
    "connection_types",
    "duplicate_all",
    "from_python",
    "handle",
    "listener",
    "listening",
    "main_context",
    "reactor",
    "receive",
    "receiving",
    "send",
    "socket",
    "steps",
    "streams",
    "thread",
    "waiter",
]
