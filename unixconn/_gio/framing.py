"""Framed messages: data with the descriptors and the identity that belong to them. What Gio does not have."""

from __future__ import annotations

import errno

from unixconn._base.arguments import INT_MAX, as_copy, as_integer
from unixconn._base.errors import Error, IOErrorEnum, io_error
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.asynchronous import AWAIT, finish
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.future import Future
from unixconn._gio.socket_connection import SocketConnection
from unixconn._gio.task import AsyncResult
from unixconn._io.receiving import Message, ReceiveWhole
from unixconn._io.sending import SendWhole
from unixconn._kernel.control_messages import MAX_DESCRIPTORS, SOL_SOCKET, credentials_message
from unixconn._kernel.credentials import Credentials
from unixconn._kernel.descriptors import listed
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from unixconn._gio.asynchronous import Callback
    from unixconn._kernel.control_messages import ControlMessage

_SEND_MESSAGE = "unixconn_send_message_async"
_RECEIVE_MESSAGE = "unixconn_receive_message_async"


class MessageFraming(SocketConnection):
    """
    The methods for messages of several bytes, of `UnixConnection`: for protocols that pass descriptors with their data.

    Their common errors are those of `UnixConnection.send_fd` and `UnixConnection.receive_fd`.
    """

    def send_message(
        self,
        data: Any,
        fds: Iterable[Any] = (),
        credentials: Credentials | bool | None = None,
        cancellable: Cancellable | None = None,
    ) -> int:
        """
        Send all of *data*, a bytes-like object, and give its length.

        *fds*, at most 253, and *credentials*, True for this process's own, go with its first byte, and only with that:
        a stream that takes the data in parts gets them once. What ends it in between leaves the peer with a part; a
        note of the Error says so. Two threads that send at a time may mix their parts, and so may this and
        one that waits in the background. See unix(7).

        Errors: those of `UnixConnection.send_fd` and `UnixConnection.send_credentials`; MESSAGE_TOO_LARGE for a record
        that the kernel does not take; ValueError for too many descriptors, and for any with no data on a stream, which
        would lose them.
        """
        return self._socket._complete(self._sending(data, fds, credentials), cancellable)

    def receive_message(self, max_bytes: int, cancellable: Cancellable | None = None) -> Message:
        """
        Receive at most *max_bytes* bytes, with the descriptors and the identity that come with them.

        On a stream these may be of several messages, but end with the first that has descriptors: so of all bytes these
        belong to the last that were sent together. On other sockets it is one record, which may be of no bytes.
        Credentials and a pidfd are there if `pass_credentials` and `pass_pidfds` have asked for them; a SEQPACKET
        connection always asks for credentials, which tell a record of no bytes from the end.

        Errors: CLOSED, ``Connection closed by the peer``, at the end; TOO_MANY_OPEN_FILES if this process has no free
        number for each descriptor, and then the message is lost; MESSAGE_TOO_LARGE for a record that is longer than
        *max_bytes*, which is lost.
        """
        return self._socket._complete(self._receiving(max_bytes), cancellable)

    def pass_credentials(self, wanted: bool = True) -> None:
        """Have the kernel add the sender's credentials to all that comes from now on, or no longer (SO_PASSCRED)."""
        if SYSTEM.credentials_option is None:
            text = "Error asking for credentials of senders: on this system a sender attaches them, or nobody can"
            raise io_error(IOErrorEnum.NOT_SUPPORTED, text)
        self._socket.set_option(*SYSTEM.credentials_option, bool(wanted))

    def pass_pidfds(self, wanted: bool = True) -> None:
        """
        Have the kernel add a descriptor of the sender's process to all that comes from now on (SO_PASSPIDFD).

        Raises the Error NOT_SUPPORTED before Linux 6.5.
        """
        if not self._switch("SO_PASSPIDFD", bool(wanted)):
            text = "Error asking for pidfds of senders: this kernel has none, Linux 6.5 has"
            raise io_error(IOErrorEnum.NOT_SUPPORTED, text)

    def refuse_fds(self, refused: bool = True) -> None:
        """
        Refuse descriptors, or take them again (SO_PASSRIGHTS).

        A peer that sends some gets the Error PERMISSION_DENIED, EPERM, and nothing comes. What it has sent before, and
        before Linux 6.16 whatever it sends, comes and is closed: `receive_message` tells how many these were, and the
        methods for descriptors raise PERMISSION_DENIED.
        From Linux 6.16 on, connections inherit it from a listening Socket whose option was set.
        """
        self._switch("SO_PASSRIGHTS", not refused)
        # Also where the kernel can: it lets through what is under way already.
        self._socket._handle.refuses = bool(refused)

    def _switch(self, name: str, on: bool) -> bool:
        """Switch an option of newer kernels; tell whether this one has it."""
        option = SYSTEM.constant(name)
        if option is None:
            return False
        try:
            return self._socket.set_option(SOL_SOCKET, option, on)
        except Error as error:
            if getattr(error, "errno", None) != errno.ENOPROTOOPT:
                raise
            return False

    def _sending(self, data: Any, fds: Iterable[Any], credentials: Credentials | bool | None) -> SendWhole:
        given, content = listed(fds), as_copy(data)
        if len(given) > MAX_DESCRIPTORS:
            raise ValueError(f"fds must be at most {MAX_DESCRIPTORS} for one message, and these are {len(given)}")
        attached = _attached(credentials)
        handle = self._socket._handle
        if not content and handle.is_stream and (given or attached is not None):
            raise ValueError("data must have a byte for the descriptors and credentials to go with, on a stream")
        return SendWhole(handle, content, given, attached)

    def _receiving(self, max_bytes: int) -> ReceiveWhole:
        return ReceiveWhole(self._socket._handle, as_integer(max_bytes, "max_bytes", 1, INT_MAX))

    # --- in the background ---

    @overload
    def send_message_async(
        self,
        data: Any,
        fds: Iterable[Any] = (),
        credentials: Credentials | bool | None = None,
        cancellable: Cancellable | None = None,
    ) -> Future[int]: ...

    @overload
    def send_message_async(
        self,
        data: Any,
        fds: Iterable[Any] = ...,
        credentials: Credentials | bool | None = ...,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def send_message_async(
        self,
        data: Any,
        fds: Iterable[Any] = (),
        credentials: Credentials | bool | None = None,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """
        Start what `send_message` does, without waiting for its end.

        *callback* gets (connection, result, *user_data), and calls `send_message_finish`; without one, None
        being one too, a `Future` is given, to be awaited. The descriptors may be closed at once.
        """
        return self._start(_SEND_MESSAGE, self._sending(data, fds, credentials), cancellable, callback, user_data)

    def send_message_finish(self, result: AsyncResult) -> int:
        """
        Give the number of bytes, or raise the Error, for the *result* of `send_message_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another connection or operation, or whose
        value was handed out already.
        """
        return finish(self, _SEND_MESSAGE, result)  # type: ignore[no-any-return]

    @overload
    def receive_message_async(
        self,
        max_bytes: int,
        cancellable: Cancellable | None = None,
    ) -> Future[Message]: ...

    @overload
    def receive_message_async(
        self,
        max_bytes: int,
        cancellable: Cancellable | None = ...,
        callback: Callback = ...,
        *user_data: Any,
    ) -> None: ...

    def receive_message_async(
        self,
        max_bytes: int,
        cancellable: Any = None,
        callback: Any = AWAIT,
        *user_data: Any,
    ) -> Any:
        """
        Start what `receive_message` does, without waiting for its end.

        *callback* gets (connection, result, *user_data), and calls `receive_message_finish`; without one, None
        being one too, a `Future` is given, to be awaited. What nobody takes is closed.
        """
        return self._start(_RECEIVE_MESSAGE, self._receiving(max_bytes), cancellable, callback, user_data)

    def receive_message_finish(self, result: AsyncResult) -> Message:
        """
        Give the Message, or raise the Error, for the *result* of `receive_message_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another connection or operation, or whose
        value was handed out already.
        """
        return finish(self, _RECEIVE_MESSAGE, result)  # type: ignore[no-any-return]


def _attached(credentials: Credentials | bool | None) -> ControlMessage | None:
    if credentials is None or credentials is False:
        return None
    if credentials is True:
        credentials = Credentials()
    if not isinstance(credentials, Credentials):
        raise TypeError(f"credentials must be a Credentials, True or None, not {credentials!r}")
    # Or it has none to send: an overflow id, passed on, would be somebody's elsewhere.
    for ask in (credentials.get_unix_pid, credentials.get_unix_user, credentials.get_unix_group):
        ask()
    return credentials_message(credentials._numbers)
