"""Receiver: takes descriptors on a socket file from those whom the kernel has verified."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from unixconn._base.errors import ClosedError, Error, PeerResetError
from unixconn._cli import fdnames
from unixconn._cli.users import named, user_name
from unixconn._gio.connection import UnixConnection
from unixconn._io.main_loop import MainLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from unixconn._gio.listening import UnixListener
    from unixconn._gio.task import AsyncResult
    from unixconn._io.receiving import Message
    from unixconn._kernel.credentials import Credentials
    from unixconn._kernel.file_descriptor import FileDescriptor

_MAX_BYTES = 65536
"""More than the names of all descriptors that one message can have."""


class Received(NamedTuple):
    """A descriptor, its name, and who has sent it."""

    descriptor: FileDescriptor
    name: str
    pid: int | None
    uid: int


class Receiver:
    """
    Takes *count* descriptors of any number of senders, all at a time, so that a silent one delays nobody.

    Who connects and who sends must both be users of *allowed*. *say* is told of those who are not, and what else the
    user must know, *progress* of each step.
    """

    def __init__(
        self,
        listener: UnixListener,
        allowed: Collection[int],
        count: int,
        say: Callable[[str], None],
        progress: Callable[[str], None],
    ) -> None:
        self._listener = listener
        self._allowed = allowed
        self._count = count
        self._say = say
        self._progress = progress
        self._loop = MainLoop()
        self._connections: set[UnixConnection] = set()
        self._received: list[Received] = []
        self._failure: Exception | None = None

    def run(self) -> list[Received]:
        """Wait for all descriptors, and give them. Raises what accepting or receiving has ended with."""
        try:
            self._listener.accept_async(None, self._accepted)
            self._loop.run()
            if self._failure is not None:
                raise self._failure
            return self._received
        except BaseException:
            for each in self._received:
                each.descriptor.close()
            raise
        finally:
            for connection in self._connections:
                connection.close()

    def _accepted(self, listener: UnixListener, result: AsyncResult) -> None:
        with self._failing():
            connection = listener.accept_finish(result).connection
            assert isinstance(connection, UnixConnection)
            self._connections.add(connection)
            listener.accept_async(None, self._accepted)
            if self._is_welcome(connection.get_socket().get_credentials()):
                self._wait_for(connection)
            else:
                self._end(connection)

    def _wait_for(self, connection: UnixConnection) -> None:
        connection.receive_message_async(_MAX_BYTES, None, self._came)

    def _came(self, connection: UnixConnection, result: AsyncResult) -> None:
        with self._failing():
            try:
                message = connection.receive_message_finish(result)
            except (ClosedError, PeerResetError):
                self._end(connection)
                return
            with message:
                if self._is_welcome(message.credentials):
                    self._take(message)
                    self._wait_for(connection)
                else:
                    self._end(connection)

    def _is_welcome(self, credentials: Credentials | None) -> bool:
        uid = _user_of(credentials)
        if uid in self._allowed:
            return True
        self._say(f"refused {_described(_pid_of(credentials), uid)}")
        return False

    def _take(self, message: Message) -> None:
        pid, uid = _pid_of(message.credentials), _user_of(message.credentials)
        assert uid is not None
        sender = _described(pid, uid)
        for name in fdnames.split(message.data, len(message.fds)):
            if len(self._received) == self._count:
                break
            self._received.append(Received(message.fds.pop(0), name, pid, uid))
            self._progress(f"received {name} ({len(self._received)} of {self._count}) from {sender}")
        if message.fds:
            self._say(f"closed {len(message.fds)} more than the {self._count} asked for, from {sender}")
        if len(self._received) == self._count:
            self._loop.quit()

    def _end(self, connection: UnixConnection) -> None:
        self._connections.discard(connection)
        connection.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Have `run` raise what is raised in a callback, which the loop would report, and then wait for ever."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again
            self._failure = error
            self._loop.quit()


def _user_of(credentials: Credentials | None) -> int | None:
    try:
        return credentials.get_unix_user() if credentials is not None else None
    except Error:
        return None


def _pid_of(credentials: Credentials | None) -> int | None:
    """Give the number, None for one of another pid namespace."""
    try:
        return credentials.get_unix_pid() if credentials is not None else None
    except Error:
        return None


def _described(pid: int | None, uid: int | None) -> str:
    process = "a process that has no number here" if pid is None else f"process {pid}"
    return f"{process} of {'nobody known' if uid is None else named(uid, user_name(uid))}"
