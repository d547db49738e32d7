"""Control messages as objects, and the list of descriptors that one carries."""

from __future__ import annotations

import fcntl
import struct

from unixconn._base.arguments import INT_MAX, as_copy, as_integer
from unixconn._base.object import Object, Property
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.control_messages import INT_SIZE, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET, credentials_message
from unixconn._kernel.credentials import Credentials, CredentialsSource, are_absent
from unixconn._kernel.descriptors import as_descriptor, close_all, duplicate_all
from unixconn._kernel.file_descriptor import as_own_descriptor, taken_over
from unixconn._kernel.platform import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, ClassVar

    from unixconn._kernel.control_messages import ControlMessage


class UnixFDList(Object):
    """
    Descriptors that belong to this object (Gio.UnixFDList).

    What is still in it when the object ends is closed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fds: list[int] = []

    @classmethod
    def new(cls) -> UnixFDList:
        """Make an empty one."""
        return cls()

    @classmethod
    def new_from_array(cls, fds: Iterable[int]) -> UnixFDList:
        """
        Make one of *fds*, which belong to it from now on as they are: not duplicated, their flags untouched.

        Raises ValueError for one that is there twice, as it would be closed twice, and TypeError for files and sockets.
        """
        made, given = cls(), list(fds)
        numbers = [as_own_descriptor(fd, "fds") for fd in given]
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"fds must be different descriptors, and these are not: {numbers}")
        made._fds = numbers
        for each in given:
            taken_over(each)
        return made

    def append(self, fd: int) -> int:
        """
        Add a duplicate of *fd*, close-on-exec, and give its index.

        Raises the Error FAILED, ``dup: Bad file descriptor``, for a number that is not open, TOO_MANY_OPEN_FILES where
        there is no room for a duplicate; TypeError, ValueError or OverflowError for what is no descriptor.
        """
        number = as_descriptor(fd)
        duplicate_all(self._fds, (number,))
        return len(self._fds) - 1

    def get(self, index_: int) -> int:
        """
        Give a further duplicate of the descriptor at *index_*, close-on-exec, which the caller has to close.

        Raises IndexError for an index outside of the list, a negative one too, OverflowError for one that is no C int.
        """
        index = as_integer(index_, "index_", -INT_MAX - 1, INT_MAX)
        if not 0 <= index < len(self._fds):
            raise IndexError(f"index_ must be that of one of the {len(self._fds)} descriptors, not {index_}")
        made: list[int] = []
        try:
            duplicate_all(made, (self._fds[index],))
            return made[0]
        except BaseException:  # the Error, or of a signal handler
            close_all(made)
            raise

    def get_length(self) -> int:
        """Give the number of descriptors."""
        return len(self._fds)

    def peek_fds(self) -> list[int]:
        """Give the descriptors' numbers; they still belong to the list."""
        return list(self._fds)

    def steal_fds(self) -> list[int]:
        """Give the descriptors' numbers; they are the caller's to close from now on, and the list is empty."""
        stolen, self._fds = self._fds, []
        return stolen

    def __del__(self) -> None:
        # Also after a subclass's constructor that did not get this far.
        close_all(self.__dict__.get("_fds", []))


class SocketControlMessage(Object):
    """A control message to send, or received (Gio.SocketControlMessage). Abstract."""

    _level = SOL_SOCKET
    _type = 0

    def __new__(cls, *_args: Any, **_properties: Any) -> SocketControlMessage:
        """Refuse to make one of no kind."""
        if cls is SocketControlMessage:
            raise TypeError("SocketControlMessage is abstract: make a UnixFDMessage or a UnixCredentialsMessage")
        return super().__new__(cls)

    def get_level(self) -> int:
        """Give the protocol level, SOL_SOCKET."""
        return self._level

    def get_msg_type(self) -> int:
        """Give the type: SCM_RIGHTS or SCM_CREDENTIALS."""
        return self._type

    def get_size(self) -> int:
        """Give the size of the payload in bytes."""
        return len(self._payload())

    def _payload(self) -> bytes:
        raise NotImplementedError

    def _pack(self) -> ControlMessage:
        return self._level, self._type, self._payload()

    @staticmethod
    def deserialize(level: int, type: int, data: bytes) -> SocketControlMessage | None:  # noqa: A002 - Gio's name
        """
        Make a message of its payload *data*; None if level and type are unknown or the payload is not valid.

        Descriptors in it belong to the message from now on, and become close-on-exec.
        """
        payload = as_copy(data)
        level = as_integer(level, "level", -INT_MAX - 1, INT_MAX)
        type = as_integer(type, "type", -INT_MAX - 1, INT_MAX)  # noqa: A001 - Gio's name
        if level == SOL_SOCKET and type == SCM_RIGHTS:
            return _descriptors_from(payload)
        numbers = SYSTEM.read_credentials(type, payload) if level == SOL_SOCKET else None
        if numbers is not None:
            credentials = Credentials._of(numbers, CredentialsSource.SELF)
            if credentials._numbers[0] and credentials._has_user():
                return UnixCredentialsMessage(credentials=credentials)
        return None


class UnixFDMessage(SocketControlMessage):
    """A control message that carries descriptors (Gio.UnixFDMessage); *fd_list* is shared, not copied."""

    _type = SCM_RIGHTS
    _properties: ClassVar[tuple[Property, ...]] = (Property("fd-list", UnixFDList, "get_fd_list", construct_only=True),)

    def __init__(self, *, fd_list: UnixFDList | None = None) -> None:
        super().__init__()
        if fd_list is not None and not isinstance(fd_list, UnixFDList):
            raise TypeError(f"fd_list must be a UnixFDList, not {fd_list!r}")
        self._fd_list = UnixFDList() if fd_list is None else fd_list

    @classmethod
    def new(cls) -> UnixFDMessage:
        """Make one without descriptors."""
        return cls()

    @classmethod
    def new_with_fd_list(cls, fd_list: UnixFDList) -> UnixFDMessage:
        """Make one that carries what *fd_list* holds when it is sent."""
        if fd_list is None:
            raise TypeError("fd_list must be a UnixFDList, not None")
        return cls(fd_list=fd_list)

    def get_fd_list(self) -> UnixFDList:
        """Give the list, always the same object."""
        return self._fd_list

    def append_fd(self, fd: int) -> bool:
        """Add a duplicate of *fd*, and give True; errors as of `UnixFDList.append`."""
        self._fd_list.append(fd)
        return True

    def steal_fds(self) -> list[int]:
        """Give the descriptors' numbers; they are the caller's to close from now on."""
        return self._fd_list.steal_fds()

    def _payload(self) -> bytes:
        fds = self._fd_list.peek_fds()
        return struct.pack(f"{len(fds)}i", *fds)


class UnixCredentialsMessage(SocketControlMessage):
    """A control message that carries credentials (Gio.UnixCredentialsMessage); by default those of this process."""

    _type = SCM_CREDENTIALS
    _properties: ClassVar[tuple[Property, ...]] = (
        Property("credentials", Credentials, "get_credentials", construct_only=True),
    )

    def __init__(self, *, credentials: Credentials | None = None) -> None:
        super().__init__()
        if credentials is not None and not isinstance(credentials, Credentials):
            raise TypeError(f"credentials must be a Credentials, not {credentials!r}")
        self._credentials = Credentials() if credentials is None else credentials

    @classmethod
    def new(cls) -> UnixCredentialsMessage:
        """Make one with the credentials of this process."""
        return cls()

    @classmethod
    def new_with_credentials(cls, credentials: Credentials) -> UnixCredentialsMessage:
        """Make one with *credentials*, kept as the object they are."""
        if credentials is None:
            raise TypeError("credentials must be a Credentials, not None")
        return cls(credentials=credentials)

    @staticmethod
    def is_supported() -> bool:
        """Tell whether this system has credentials messages."""
        return SYSTEM.has_credentials_messages

    def get_credentials(self) -> Credentials:
        """Give the credentials, always the same object."""
        return self._credentials

    def _payload(self) -> bytes:
        return credentials_message(self._credentials._numbers)[2]


def _descriptors_from(payload: bytes) -> UnixFDMessage | None:
    if len(payload) % INT_SIZE:
        return None
    fds = struct.unpack(f"{len(payload) // INT_SIZE}i", payload)
    try:
        for fd in fds:
            fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.fcntl(fd, fcntl.F_GETFD) | fcntl.FD_CLOEXEC)
    except (OSError, ValueError):
        return None
    return UnixFDMessage(fd_list=UnixFDList.new_from_array(fds))


def received(messages: Iterable[ControlMessage], owner: list[int]) -> list[SocketControlMessage]:
    """
    Make objects of control messages that the kernel has delivered, unknown and absent ones left out.

    *owner* has the descriptors in them, and keeps those that no object takes over.
    """
    made: list[SocketControlMessage] = []
    for level, kind, data in messages:
        if level != SOL_SOCKET:
            continue
        if kind == SCM_RIGHTS:
            carried = struct.unpack_from(f"{len(data) // INT_SIZE}i", data)
            fd_list = UnixFDList()
            for fd in carried:
                # Popped by value: both lists must never own one number.
                fd_list._fds.extend(map(owner.pop, (owner.index(fd),)))
            made.append(UnixFDMessage(fd_list=fd_list))
        else:
            numbers = SYSTEM.read_credentials(kind, data)
            if numbers is not None and not are_absent(*numbers):
                credentials = Credentials._of(numbers, CredentialsSource.MESSAGE)
                made.append(UnixCredentialsMessage(credentials=credentials))
    return made
