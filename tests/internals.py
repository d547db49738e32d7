"""
What tests reach into that is no interface: where each of these is, in one place.

It is for what can not be brought about from outside, such as a signal handler that raises just before a certain call.
The tests in platforms/ and command_line/ name the modules that they are of.
"""

from unixconn import (
    attempt,
    attempt_credentials,
    attempt_many,
    closable,
    handle,
    listener,
    maincontext,
    paths,
    pending,
    poller,
    sequence,
    socket,
    transfer_messages,
    workers,
)
from unixconn.address import from_python
from unixconn.attempt import WOULD_BLOCK
from unixconn.descriptors import RETURN_IS_ATOMIC, close_all, duplicate_all
from unixconn.socket import connection_types
from unixconn.system import SYSTEM

__all__ = [
    "RETURN_IS_ATOMIC",
    "SYSTEM",
    "WOULD_BLOCK",
    "attempt",
    "attempt_credentials",
    "attempt_many",
    "closable",
    "close_all",
    "connection_types",
    "duplicate_all",
    "from_python",
    "handle",
    "listener",
    "maincontext",
    "paths",
    "pending",
    "poller",
    "sequence",
    "socket",
    "transfer_messages",
    "workers",
]
