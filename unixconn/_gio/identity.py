"""PeerIdentity: the methods of a connection that tell who the peer is, and whose credentials may be claimed."""

from __future__ import annotations

from unixconn._base.arguments import INT_MAX, UINT_MAX, as_integer
from unixconn._base.errors import Error
from unixconn._base.typing import TYPE_CHECKING, overload
from unixconn._gio.asynchronous import AWAIT, finish
from unixconn._gio.cancellable import Cancellable
from unixconn._gio.future import Future
from unixconn._gio.socket_connection import SocketConnection
from unixconn._gio.task import AsyncResult
from unixconn._io.sending import SendFakeCredentials
from unixconn._kernel.credentials import Credentials
from unixconn._kernel.peer import peer_identity

if TYPE_CHECKING:
    from typing import Any

    from unixconn._gio.asynchronous import Callback

_SEND_FAKE_CREDENTIALS = "g_unix_connection_send_fake_credentials_async"


class PeerIdentity(SocketConnection):
    """What a `UnixConnection` has for identities."""

    def get_peer_credentials(self) -> Credentials:
        """
        Give all that the kernel knows of the peer: who made the pair, or who called connect() or listen().

        That is pid, effective uid and gid (SO_PEERCRED), supplementary groups (SO_PEERGROUPS), security label
        (SO_PEERSEC) and a pidfd (SO_PEERPIDFD), which is closed with the Credentials. All but the pidfd's state are of
        that moment and stay, whoever has the other end now; ``source`` is "peer". What this kernel has not got does not
        fail here: its getter says NOT_SUPPORTED, and from which version on there is one. See unix(7) and socket(7).

        Errors: CLOSED; NOT_INITIALIZED, see `Socket`; NOT_CONNECTED if the kernel knows no peer; NOT_SUPPORTED on a
        socket of another family; TOO_MANY_OPEN_FILES where there is no room for the pidfd.
        """
        return peer_identity(self._socket._handle)

    def send_fake_credentials(self, pid: int, uid: int, gid: int, cancellable: Cancellable | None = None) -> bool:
        """
        Send *pid*, *uid* and *gid* as credentials with one NUL byte; give True.

        The kernel checks them: a *pid* other than one's own takes CAP_SYS_ADMIN, a *uid* or *gid* that is not the real,
        effective or saved one CAP_SETUID or CAP_SETGID. See unix(7), SCM_CREDENTIALS.

        Errors beside those of `UnixConnection.send_credentials`, with the same prefix: PERMISSION_DENIED for what this
        process may not claim; FAILED, a `NoSuchProcessError`, for a *pid* that no process has. What is no number is a
        TypeError, what can not be a pid, a uid or a gid an OverflowError.
        """
        try:
            return self._socket._complete(self._faking(pid, uid, gid), cancellable)
        except Error as error:
            raise error.prefixed(SendFakeCredentials.prefix) from None

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
        *user_data: Any,
    ) -> None: ...

    def send_fake_credentials_async(
        self, pid: int, uid: int, gid: int, cancellable: Any = None, callback: Any = AWAIT, *user_data: Any
    ) -> Any:
        """
        Start what `send_fake_credentials` does, without waiting for its end.

        *callback* gets (connection, result, *user_data), and calls `send_fake_credentials_finish`; without one, None
        being one too, a `Future` is given, to be awaited.
        """
        return self._start(_SEND_FAKE_CREDENTIALS, self._faking(pid, uid, gid), cancellable, callback, user_data)

    def send_fake_credentials_finish(self, result: AsyncResult) -> bool:
        """
        Give True, or raise the Error, for the *result* of `send_fake_credentials_async`.

        Raises TypeError for what is no AsyncResult, and ValueError for one of another connection or operation, or whose
        value was handed out already.
        """
        return finish(self, _SEND_FAKE_CREDENTIALS, result)  # type: ignore[no-any-return]

    def _faking(self, pid: int, uid: int, gid: int) -> SendFakeCredentials:
        # The highest uid_t and gid_t mean "none".
        claimed = (
            as_integer(pid, "pid", 1, INT_MAX),
            as_integer(uid, "uid", 0, UINT_MAX - 1),
            as_integer(gid, "gid", 0, UINT_MAX - 1),
        )
        return SendFakeCredentials(self._socket._handle, claimed)
