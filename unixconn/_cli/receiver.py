"""What ``unixconn receive`` does with its connections: who may send, how much, and what belongs together."""

from __future__ import annotations

import errno
import os
import resource
import socket
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from unixconn import (
    ClosedError,
    Error,
    IOCondition,
    MainLoop,
    PeerResetError,
    TooManyOpenFilesError,
    UnixConnection,
    timeout_add,
)
from unixconn._base.errors import translated
from unixconn._cli.common import split_names, user_name, with_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from unixconn import AsyncResult, Credentials, FileDescriptor, Message, Source, UnixListener
    from unixconn._cli.ending import Closer

MOST_CONNECTIONS, MOST_OF_A_USER = 256, 64
"""The most connections, in all and of one user. If the table of descriptors is small, they are fewer."""
OWN_DESCRIPTORS = 16
"""The most descriptors that this process needs for itself while it waits."""
LEAST_ROOM = 16
"""The fewest descriptors that there has to be room for, for connections and messages."""
MOST_EARLY = 4096
"""The most bytes of a connection that bring no descriptors."""
_LONGEST = 65536
"""The most bytes that name the descriptors of one message: 253 names of 255 bytes, and what is between them."""
_PAUSE = 10
"""Milliseconds until a connection is read again that brought no descriptors, or until the next try to accept one."""
_PASSING = (
    *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
    *(errno.EACCES, errno.EPERM, errno.ECONNABORTED, errno.EPROTO),
)
"""Errors of accepting that say that there is no room, or that one connection is denied or has gone."""


class ReceivedDescriptor(NamedTuple):
    """A descriptor, its name, and the process and user that sent it."""

    descriptor: FileDescriptor
    name: str
    pid: int | None
    uid: int


class Lines:
    """
    Prints at most `MOST` lines with *say* in `PERIOD` seconds, and then how many it has left out.

    Strangers can cause such a line as often as they can connect. Without a limit they could fill a disk.
    """

    MOST, PERIOD = 10, 10.0

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._begun = -self.PERIOD
        self._count = 0

    def add(self, line: Callable[[], str]) -> None:
        """Print what *line* returns. It is not called for a line that is left out: a look-up of a user takes long."""
        now = time.monotonic()
        if now - self._begun >= self.PERIOD:
            self.end()
            self._begun = now
        self._count += 1
        if self._count <= self.MOST:
            self._say(line())
        elif self._count == self.MOST + 1:
            timeout_add(int(self.PERIOD * 1000), self.end)

    def end(self) -> None:
        """Say how many lines were left out, if any."""
        if self._count > self.MOST:
            self._say(f"left out {self._count - self.MOST} more lines like these")
        self._count = 0


class _Peer:
    """A connection, and who made it."""

    def __init__(self, connection: UnixConnection, pid: int | None, uid: int) -> None:
        self.connection = connection
        self.pid = pid
        self.uid = uid
        self.early = 0
        """How many bytes have come without descriptors."""
        self.is_shut = False
        """Whether nothing more can come."""
        self.source: Source | None = None


class _RefusedError(Exception):
    """A connection is to be closed. *line* returns what is said about it."""

    def __init__(self, line: Callable[[], str]) -> None:
        super().__init__()
        self.line = line


def _too_much(pid: int | None, uid: int) -> _RefusedError:
    text = f"more than {MOST_EARLY} bytes without descriptors"
    return _RefusedError(lambda: f"refused {_description(pid, uid)}: {text}")


class Receiver:
    """
    Receives *count* descriptors from any number of senders at the same time, so that a silent sender delays no other.

    *place* gets each of them, and returns what owns it from then on. Both the process that connects and the process
    that sends must run as a user in *allowed*. *room* is the number of descriptors that connections and messages may
    have, and *longest_name* the most characters of a name. *closer* closes what is not kept. *say* is called with a
    message about what is refused, and *report* with one about each step.
    """

    def __init__(
        self,
        listener: UnixListener,
        allowed: Collection[int],
        count: int,
        *,
        place: Callable[[FileDescriptor], FileDescriptor],
        room: int,
        longest_name: int,
        closer: Closer,
        say: Callable[[str], None],
        report: Callable[[str], None],
    ) -> None:
        self._listener = listener
        self._allowed = allowed
        self._count = count
        self._place = place
        # A quarter is for those that are being closed, and the rest for the descriptors of a message.
        self._most = max(1, min(MOST_CONNECTIONS, room // 4))
        self._most_of_a_user = max(1, min(MOST_OF_A_USER, self._most // 4))
        self._longest_name = longest_name
        self._closer = closer
        self._lines = Lines(say)
        self._report = report
        self._loop = MainLoop()
        self._peers: dict[UnixConnection, _Peer] = {}
        """In the order of their last message."""
        self._received: list[ReceivedDescriptor] = []
        self._failure: Exception | None = None

    def run(self) -> list[ReceivedDescriptor]:
        """Wait for all descriptors, and return them. Raises the error of accept()."""
        try:
            self._accept()
            self._loop.run()
            if self._failure is None:
                return self._received
            for each in self._received:
                self._closer.close(each.descriptor)
            raise self._failure
        finally:
            for peer in tuple(self._peers.values()):
                self._close(peer)
            self._lines.end()

    @contextmanager
    def _ending_on_failure(self) -> Iterator[None]:
        """Make `run` raise what a callback raises. The main loop would only report it, and keep waiting."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised again by run()
            self._failure = error
            self._loop.quit()

    # --- connections ---

    def _accept(self) -> None:
        self._listener.accept_async(None, self._accepted)

    def _accepted(self, listener: UnixListener, result: AsyncResult) -> None:
        with self._ending_on_failure():
            try:
                connection = listener.accept_finish(result).connection
            except Error as error:
                if getattr(error, "errno", None) not in _PASSING:
                    raise
                text = _text(error)
                self._lines.add(lambda: f"a connection has to wait: {text}")
                if isinstance(error, TooManyOpenFilesError) and self._peers:
                    self._close_one(self._crowd())
                timeout_add(_PAUSE, self._accept)
                return
            assert isinstance(connection, UnixConnection)
            try:
                self._admit(connection)
            except _RefusedError as refused:
                self._lines.add(refused.line)
                self._closer.close(connection)
            except Error as error:
                text = _text(error)
                self._lines.add(lambda: f"closed a connection: {text}")
                self._peers.pop(connection, None)
                self._closer.close(connection)
            if self._closer.count < self._most:
                self._accept()
            else:
                timeout_add(_PAUSE, self._accept)

    def _admit(self, connection: UnixConnection) -> None:
        pid, uid = self._sender(connection.get_socket().get_credentials())
        if sum(peer.uid == uid for peer in self._peers.values()) >= self._most_of_a_user:
            self._close_one(uid)
        elif len(self._peers) >= self._most:
            self._close_one(self._crowd())
        peer = self._peers[connection] = _Peer(connection, pid, uid)
        connection.get_socket().set_blocking(False)
        self._watch(peer)

    def _crowd(self) -> int:
        """Return the user with the most connections."""
        uids = [peer.uid for peer in self._peers.values()]
        return max(uids, key=uids.count)

    def _close_one(self, uid: int) -> None:
        """Close the connection of the user *uid* that has been silent for the longest time."""
        peer = next(peer for peer in self._peers.values() if peer.uid == uid)
        # Nothing that has come may be lost: what is in its queue is read first, and nothing more can come.
        with suppress(Error):  # it has ended by itself
            peer.connection.get_socket().shutdown(True, False)
        peer.is_shut = True
        while peer.connection in self._peers and len(self._received) < self._count:
            self._read(peer)
        self._lines.add(lambda: f"closed a connection of {_description(peer.pid, peer.uid)}, as there were too many")
        self._close(peer)

    def _watch(self, peer: _Peer) -> None:
        """Wait for data of *peer*, unless it was closed."""
        if peer.connection in self._peers:
            peer.source = peer.connection.get_socket().create_source(IOCondition.IN)
            peer.source.set_callback(self._is_readable, peer)
            peer.source.attach()

    def _is_readable(self, _socket: object, _condition: IOCondition, peer: _Peer) -> bool:
        with self._ending_on_failure():
            if self._read(peer):
                return peer.connection in self._peers
            timeout_add(_PAUSE, self._watch, peer)
        return False

    def _close(self, peer: _Peer) -> None:
        if peer.connection in self._peers:
            if peer.source is not None:
                peer.source.destroy()
            self._closer.close(peer.connection)
            # Last: until then another call can finish what was broken off.
            del self._peers[peer.connection]

    # --- messages ---

    def _read(self, peer: _Peer) -> bool:
        """
        Read what *peer* has sent, up to a message with descriptors; return whether there was one.

        Closes its connection at the end, and if what it has sent is refused.
        """
        try:
            return self._receive(peer)
        except BlockingIOError:
            if not peer.is_shut:
                return False
        except (ClosedError, PeerResetError):
            pass
        except _RefusedError as refused:
            self._lines.add(refused.line)
        except Error as error:
            text = _text(error)
            self._lines.add(lambda: f"refused {_description(peer.pid, peer.uid)}: {text}")
        self._close(peer)
        return False

    def _receive(self, peer: _Peer) -> bool:
        left, is_one_by_one = _look(peer.connection)
        while True:
            message = peer.connection.receive_message(1 if is_one_by_one else max(left, 1))
            left -= len(message.data)
            try:
                pid, uid = self._sender(message.credentials)
                if message.fds:
                    names = message.data + (_read_all(peer.connection, left) if is_one_by_one else b"")
                    self._take_descriptors(message, names, pid, uid)
                    self._peers[peer.connection] = self._peers.pop(peer.connection)
                    return True
            finally:
                if message.fds:
                    self._closer.close(message)
            peer.early += len(message.data)
            if peer.early > MOST_EARLY:
                raise _too_much(pid, uid)
            if left <= 0:
                return False

    def _sender(self, credentials: Credentials | None) -> tuple[int | None, int]:
        """Return pid and uid, if the user is allowed."""
        pid, uid = _pid_or_none(credentials), _uid_or_none(credentials)
        if uid is None or uid not in self._allowed:
            raise _RefusedError(lambda: f"refused {_description(pid, uid)}")
        return pid, uid

    def _take_descriptors(self, message: Message, data: bytes, pid: int | None, uid: int) -> None:
        sender = _description(pid, uid)
        for name in split_names(data, len(message.fds), self._longest_name):
            if len(self._received) == self._count:
                break
            self._received.append(ReceivedDescriptor(self._place(message.fds.pop(0)), name, pid, uid))
            self._report(f"received {name} ({len(self._received)} of {self._count}) from {sender}")
        if message.fds:
            left = len(message.fds)
            self._lines.add(lambda: f"closed {left} more than the {self._count} expected, from {sender}")
        if len(self._received) == self._count:
            self._loop.quit()


_ROOM_FOR_CREDENTIALS = socket.CMSG_SPACE(12)


def _look(connection: UnixConnection) -> tuple[int, bool]:
    """
    Return how many bytes can be received, up to the end of the next message with descriptors; and whether one by one.

    A stream joins what was sent before a message to its data, which are the names. One by one, the descriptors come
    with the first byte of their message. Other systems than Linux keep the two apart.
    """
    if sys.platform != "linux":
        return _LONGEST, False
    peek = connection.get_socket()._handle.python.recvmsg
    try:
        # There is no room for descriptors. The kernel reports with MSG_CTRUNC that there are some.
        data, _, flags, _ = peek(_LONGEST, _ROOM_FOR_CREDENTIALS, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except ConnectionResetError:  # receiving finds the end
        return 0, False
    except OSError as error:
        raise translated(error, "Error receiving message: ") from None
    return len(data), bool(flags & socket.MSG_CTRUNC)


def _read_all(connection: UnixConnection, size: int) -> bytes:
    """Return the next *size* bytes, which have come already."""
    data = b""
    while len(data) < size:
        data += connection.receive_message(size - len(data)).data
    return data


def _text(error: Error) -> str:
    """Return what is said about *error*: its message, and why."""
    return "; ".join([error.message, *error.__notes__])


# --- who it is -------------------------------------------------------------------------------------------------------


def free_descriptors() -> int:
    """Return how many descriptors this process may still have, besides its own."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError:
        used = 0
    return (sys.maxsize if most == resource.RLIM_INFINITY else most) - used - OWN_DESCRIPTORS


def _uid_or_none(credentials: Credentials | None) -> int | None:
    try:
        return credentials.get_unix_user() if credentials is not None else None
    except Error:
        return None


def _pid_or_none(credentials: Credentials | None) -> int | None:
    """Return the pid, None for a process outside this process's pid namespace."""
    try:
        return credentials.get_unix_pid() if credentials is not None else None
    except Error:
        return None


def _description(pid: int | None, uid: int | None) -> str:
    process = "a process without a pid here" if pid is None else f"process {pid}"
    return f"{process} of {'an unknown user' if uid is None else f'user {with_name(uid, user_name(uid))}'}"
