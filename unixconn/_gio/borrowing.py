"""Sockets that belong to somebody else, such as an event loop, a framework or another library."""

from __future__ import annotations

import sys

from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.socket import Socket
from unixconn._kernel.descriptors import Owner, as_descriptor, duplicate_all
from unixconn._kernel.peer import peer_identity_of
from unixconn._kernel.sockets import SocketType, adopt_socket

if TYPE_CHECKING:
    from typing import Any

    from unixconn._kernel.credentials import Credentials


def duplicate_of(sock: Any) -> Socket:
    """
    Return a Socket with a duplicate of the descriptor of *sock*, which stays as it is.

    *sock* is a number, an object with ``fileno()``, a transport or stream of asyncio, or a stream of trio or anyio.

    Raises TypeError for anything else and for a stream that has no socket, ValueError for one that is closed, and the
    Errors FAILED for a number that is not open, TOO_MANY_OPEN_FILES, and INVALID_ARGUMENT for one that is no socket.
    """
    with Owner() as owner:
        duplicate_all(owner, (as_descriptor(_with_fileno(sock), "sock"),))
        made = Socket._empty()
        made._take(adopt_socket(owner, SocketType))
        return made


def _with_fileno(sock: Any) -> Any:
    if hasattr(sock, "get_extra_info"):  # asyncio's transports and StreamWriters
        return sock.get_extra_info("socket")
    # An object of anyio's is here only if the module is.
    attributes = getattr(sys.modules.get("anyio.abc"), "SocketAttribute", None)
    if attributes is not None and hasattr(sock, "extra_attributes"):
        return sock.extra(attributes.raw_socket, None)
    # trio.SocketStream
    return getattr(sock, "socket", sock) if not hasattr(sock, "fileno") else sock


def peer_credentials(sock: Any) -> Credentials:
    """
    Return the credentials of the peer of *sock*, a socket that belongs to somebody else and stays open.

    *sock* is a number, an object with ``fileno()`` such as a socket of the standard library, a transport or
    StreamWriter of asyncio, or a stream of trio or anyio. The result is that of `UnixConnection.get_peer_credentials`.

    No descriptor is made for that, so a full descriptor table is no obstacle: only the pidfd is unknown then.

    Raises the Errors of that method, FAILED for a number that is not open, INVALID_ARGUMENT for one that is no socket,
    and CLOSED if another thread closes it meanwhile. Raises TypeError for an object of another kind, and ValueError for
    one that is closed.
    """
    # Kept until the end, as the object may close its descriptor when it is dropped.
    kept = _with_fileno(sock)
    return peer_identity_of(as_descriptor(kept, "sock"))


peer_credentials.__module__ = "unixconn"
