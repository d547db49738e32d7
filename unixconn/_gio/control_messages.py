"""Control messages as objects, and the list of descriptors that a control message carries."""

from __future__ import annotations

import fcntl
import struct
from abc import abstractmethod

from unixconn._base.arguments import INT_MAX, as_copy, as_integer
from unixconn._base.object import Object, Property
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.control_messages import INT_SIZE, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET
from unixconn._kernel.credentials import Credentials, CredentialsSource, are_absent
from unixconn._kernel.descriptors import Owner, as_descriptor, close_all, duplicate_all, listed, take
from unixconn._kernel.file_descriptor import as_own_descriptor, owner_of
from unixconn._kernel.outgoing import credentials_message
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.unwanted import Unwanted, close_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, ClassVar, Union

    from typing_extensions import Buffer, Self

    from unixconn._kernel.control_messages import ControlMessage
    from unixconn._kernel.descriptors import FileDescriptorLike
    from unixconn._kernel.file_descriptor import FileDescriptor

    BytesLike = Union[Buffer, list[int], tuple[int, ...]]
    """Bytes to send: a bytes-like object, or integers below 256 as PyGObject takes them."""


class UnixFDList(Object):
    """
    A list of descriptors that belong to this object (Gio.UnixFDList).

    The descriptors that are still in the list are closed with the object.
    """

    __module__ = "unixconn"

    def __init__(self) -> None:
        super(Object, self).__init__()
        # An Owner closes the descriptors if a signal handler raises at the first step of `__del__`.
        self._fds: Owner = Owner()

    @classmethod
    def new(cls) -> Self:
        """Make an empty list."""
        return cls()

    @classmethod
    def new_from_array(cls, fds: Iterable[int | FileDescriptor]) -> Self:
        """
        Make a list that takes over *fds*: it does not duplicate them, and leaves their flags alone.

        On failure *fds* still belong to the caller. Raises ValueError for a descriptor that occurs twice, as it would
        be closed twice, and for a negative number; TypeError for a file or a socket, which would close its descriptor
        as well; OverflowError for a number that does not fit a C int.
        """
        made, given = cls(), listed(fds)
        numbers = [as_own_descriptor(fd, f"fds[{index}]") for index, fd in enumerate(given)]
        if len(set(numbers)) < len(numbers):
            raise ValueError(f"fds must be different descriptors, and these are not: {numbers}")
        for each, number in zip(given, numbers):
            made._fds.extend(map(owner_of(each, number).pop, (-1,)))
        return made

    def append(self, fd: FileDescriptorLike) -> int:
        """
        Add a duplicate of *fd*, close-on-exec, and return its index. *fd* itself still belongs to the caller.

        Raises the Error FAILED, ``dup: Bad file descriptor``, for a number that is not open, and TOO_MANY_OPEN_FILES if
        this process or the system has no free descriptor, see dup(2). Raises TypeError, ValueError or OverflowError for
        an *fd* that cannot be a descriptor.
        """
        number = as_descriptor(fd)
        duplicate_all(self._fds, (number,))
        return len(self._fds) - 1

    def get(self, index_: int) -> int:
        """
        Return another duplicate of the descriptor at *index_*, close-on-exec, which the caller has to close.

        Raises IndexError for an index outside the list, including a negative index, and OverflowError for one that does
        not fit a C int. Raises the Error TOO_MANY_OPEN_FILES if this process or the system has no free descriptor, and
        FAILED, ``dup: Bad file descriptor``, if other code has closed the descriptor.
        """
        index = as_integer(index_, "index_", -INT_MAX - 1, INT_MAX)
        if not 0 <= index < len(self._fds):
            raise IndexError(f"index_ {index_} is outside of the list, which has {len(self._fds)} descriptors")
        made = Owner()
        duplicate_all(made, (self._fds[index],))
        return take(made)

    def append_take(self, fd: int | FileDescriptor) -> int:
        """
        Add *fd*, which belongs to the list from now on, and return its index (g_unix_fd_list_append_take).

        Raises the errors of `new_from_array`; *fd* then still belongs to the caller.
        """
        number = as_own_descriptor(fd)
        if number in self._fds:
            raise ValueError(f"fd {number} is in the list already, which would close it twice")
        self._fds.extend(map(owner_of(fd, number).pop, (-1,)))
        return len(self._fds) - 1

    def peek(self, index_: int) -> int:
        """
        Return the number of the descriptor at *index_*, which still belongs to the list (g_unix_fd_list_peek).

        Raises IndexError and OverflowError as `get` does.
        """
        found = self.lookup(index_)
        if found < 0:
            raise IndexError(f"index_ {index_} is outside of the list, which has {len(self._fds)} descriptors")
        return found

    def lookup(self, index_: int) -> int:
        """Return what `peek` does, or -1 for an index outside the list (g_unix_fd_list_lookup)."""
        index = as_integer(index_, "index_", -INT_MAX - 1, INT_MAX)
        return self._fds[index] if 0 <= index < len(self._fds) else -1

    def get_length(self) -> int:
        """Return the number of descriptors in the list."""
        return len(self._fds)

    def peek_fds(self) -> list[int]:
        """Return the numbers of the descriptors, which still belong to the list."""
        return list(self._fds)

    def steal_fds(self) -> list[int]:
        """Return the numbers of the descriptors, which the caller has to close from now on, and empty the list."""
        # A slice is a plain list. No handler runs between `del` and `return`, which call nothing.
        stolen = self._fds[:]
        del self._fds[:]
        return stolen

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.__dict__.get('_fds', [])}>"

    def __del__(self, _close_all: Callable[[list[int]], None] = close_all) -> None:
        # The attribute may be missing: a subclass's constructor may have raised before it called this class's.
        # At the end of the process the interpreter may have cleared the names of modules.
        (close_left or _close_all)(self.__dict__.get("_fds", []))  # type: ignore[truthy-function]


class SocketControlMessage(Object):
    """
    A control message, to be sent or received (Gio.SocketControlMessage).

    The class is abstract: creating a SocketControlMessage itself raises TypeError.
    """

    __module__ = "unixconn"

    _uncalled: ClassVar[str] = "do_get_size do_get_level do_get_type do_serialize"

    _level = SOL_SOCKET
    _type = 0

    def __init__(self, *arguments: Any, **properties: Any) -> None:
        if type(self) is SocketControlMessage:
            raise TypeError(
                "SocketControlMessage is abstract and cannot be made: make a UnixFDMessage or a UnixCredentialsMessage"
            )
        super().__init__(*arguments, **properties)

    def get_level(self) -> int:
        """Return the protocol level, SOL_SOCKET."""
        return self._level

    def get_msg_type(self) -> int:
        """Return the type, SCM_RIGHTS or SCM_CREDENTIALS, see unix(7)."""
        return self._type

    def get_size(self) -> int:
        """Return the size of the payload in bytes."""
        return len(self._payload())

    @abstractmethod
    def _payload(self) -> bytes:
        raise NotImplementedError

    def _pack(self) -> ControlMessage:
        return self._level, self._type, self._payload()

    @staticmethod
    def deserialize(level: int, type: int, data: BytesLike) -> SocketControlMessage | None:  # noqa: A002 - Gio's name
        """
        Make a control message from its *level*, *type* and payload *data*.

        Return None if level and type are unknown or the payload is not valid. Descriptors in the payload belong to the
        message from now on, and become close-on-exec.

        Raises TypeError if *level* or *type* is not a number, or *data* is not bytes-like.
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
    """
    A control message that carries descriptors (Gio.UnixFDMessage); see unix(7), SCM_RIGHTS.

    *fd_list* has the descriptors. The list is shared, not copied. By default it is empty.
    """

    __module__ = "unixconn"

    _type = SCM_RIGHTS
    _properties: ClassVar[tuple[Property, ...]] = (Property("fd-list", UnixFDList, "get_fd_list", construct_only=True),)

    def __init__(self, *, fd_list: UnixFDList | None = None) -> None:
        # super().__init__() is not called: it only refuses to create a SocketControlMessage, and messages are created
        # often.
        if fd_list is not None and not isinstance(fd_list, UnixFDList):
            raise TypeError(f"fd_list must be a UnixFDList, not {fd_list!r}")
        self._fd_list = UnixFDList() if fd_list is None else fd_list

    @classmethod
    def new(cls) -> Self:
        """Make a message without descriptors."""
        return cls()

    @classmethod
    def new_with_fd_list(cls, fd_list: UnixFDList) -> Self:
        """
        Make a message that carries the descriptors that *fd_list* has when the message is sent.

        Raises TypeError if *fd_list* is not a UnixFDList.
        """
        if fd_list is None:
            raise TypeError("fd_list must be a UnixFDList, not None")
        return cls(fd_list=fd_list)

    def get_fd_list(self) -> UnixFDList:
        """Return the list of descriptors, always the same object."""
        return self._fd_list

    def append_fd(self, fd: FileDescriptorLike) -> bool:
        """Add a duplicate of *fd*, and return True. Raises the same errors as `UnixFDList.append`."""
        self._fd_list.append(fd)
        return True

    def steal_fds(self) -> list[int]:
        """Return the numbers of the descriptors, which the caller has to close from now on, and empty the list."""
        return self._fd_list.steal_fds()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.__dict__.get('_fd_list')!r}>"

    def _payload(self) -> bytes:
        fds = self._fd_list.peek_fds()
        return struct.pack(f"{len(fds)}i", *fds)


class UnixCredentialsMessage(SocketControlMessage):
    """
    A control message that carries credentials (Gio.UnixCredentialsMessage); see unix(7), SCM_CREDENTIALS.

    By default *credentials* are those of this process.
    """

    __module__ = "unixconn"

    _type = SCM_CREDENTIALS
    _properties: ClassVar[tuple[Property, ...]] = (
        Property("credentials", Credentials, "get_credentials", construct_only=True),
    )

    def __init__(self, *, credentials: Credentials | None = None) -> None:
        # super().__init__() is not called, for the same reason as in UnixFDMessage.
        if credentials is not None and not isinstance(credentials, Credentials):
            raise TypeError(f"credentials must be a Credentials, not {credentials!r}")
        self._credentials = Credentials() if credentials is None else credentials

    @classmethod
    def new(cls) -> Self:
        """Make a message with the credentials of this process."""
        return cls()

    @classmethod
    def new_with_credentials(cls, credentials: Credentials) -> Self:
        """
        Make a message with *credentials*. The object is kept, not copied.

        Raises TypeError if *credentials* is not a Credentials.
        """
        if credentials is None:
            raise TypeError("credentials must be a Credentials, not None")
        return cls(credentials=credentials)

    @staticmethod
    def is_supported() -> bool:
        """Return whether this system has control messages with credentials."""
        return SYSTEM.has_credentials_messages

    def get_credentials(self) -> Credentials:
        """Return the credentials, always the same object."""
        return self._credentials

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.__dict__.get('_credentials')!r}>"

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
    Make objects from the control messages that the kernel has delivered.

    Messages of unknown types are left out, and so are credentials that mean "none". *owner* has the descriptors in the
    messages, and keeps those that no object takes over.
    """
    made: list[SocketControlMessage] = []
    for level, kind, data in messages:
        if level != SOL_SOCKET:
            continue
        if kind == SCM_RIGHTS:
            carried = struct.unpack_from(f"{len(data) // INT_SIZE}i", data)
            fd_list = UnixFDList()
            fd_list._fds = Unwanted()
            for fd in carried:
                # In one step of the interpreter, as a number that both lists own would be closed twice.
                fd_list._fds.extend(map(owner.pop, (owner.index(fd),)))
            made.append(UnixFDMessage(fd_list=fd_list))
        else:
            numbers = SYSTEM.read_credentials(kind, data)
            if numbers is not None and not are_absent(*numbers):
                credentials = Credentials._of(numbers, CredentialsSource.MESSAGE)
                made.append(UnixCredentialsMessage(credentials=credentials))
    return made


def as_control_message(value: object) -> SocketControlMessage:
    """Return *value*. Raises TypeError if it is not a `SocketControlMessage`."""
    if not isinstance(value, SocketControlMessage):
        raise TypeError(f"messages must contain only SocketControlMessages, not {value!r}")
    return value
