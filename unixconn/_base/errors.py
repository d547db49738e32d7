"""
Error and its subclasses: Gio's errors, which are Python's built-in exceptions as well.

Every error of this library is an `Error`, with Gio's domain, code and message. Each subclass also inherits from the
built-in exception that a Python program would catch, so ``except TimeoutError`` and ``except unixconn.Error`` both
work. A type checker knows the attributes of `Error` after ``except unixconn.TimedOutError``, but not after ``except
TimeoutError``.
"""

from __future__ import annotations

import errno
import os

from unixconn._base.arguments import INT_MAX, as_integer
from unixconn._base.enums import GEnum
from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, SupportsIndex

IO_ERROR_DOMAIN = "g-io-error-quark"


class IOErrorEnum(GEnum, prefix="G_IO_ERROR_"):
    """The codes of the domain ``g-io-error-quark`` (Gio.IOErrorEnum)."""

    __module__ = "unixconn"

    FAILED = 0
    NOT_FOUND = 1
    EXISTS = 2
    IS_DIRECTORY = 3
    NOT_DIRECTORY = 4
    NOT_EMPTY = 5
    NOT_REGULAR_FILE = 6
    NOT_SYMBOLIC_LINK = 7
    NOT_MOUNTABLE_FILE = 8
    FILENAME_TOO_LONG = 9
    INVALID_FILENAME = 10
    TOO_MANY_LINKS = 11
    NO_SPACE = 12
    INVALID_ARGUMENT = 13
    PERMISSION_DENIED = 14
    NOT_SUPPORTED = 15
    NOT_MOUNTED = 16
    ALREADY_MOUNTED = 17
    CLOSED = 18
    CANCELLED = 19
    PENDING = 20
    READ_ONLY = 21
    CANT_CREATE_BACKUP = 22
    WRONG_ETAG = 23
    TIMED_OUT = 24
    WOULD_RECURSE = 25
    BUSY = 26
    WOULD_BLOCK = 27
    HOST_NOT_FOUND = 28
    WOULD_MERGE = 29
    FAILED_HANDLED = 30
    TOO_MANY_OPEN_FILES = 31
    NOT_INITIALIZED = 32
    ADDRESS_IN_USE = 33
    PARTIAL_INPUT = 34
    INVALID_DATA = 35
    DBUS_ERROR = 36
    HOST_UNREACHABLE = 37
    NETWORK_UNREACHABLE = 38
    CONNECTION_REFUSED = 39
    PROXY_FAILED = 40
    PROXY_AUTH_FAILED = 41
    PROXY_NEED_AUTH = 42
    PROXY_NOT_ALLOWED = 43
    BROKEN_PIPE = 44
    CONNECTION_CLOSED = 44
    NOT_CONNECTED = 45
    MESSAGE_TOO_LARGE = 46
    NO_SUCH_DEVICE = 47
    DESTINATION_UNSET = 48


# The table of g_io_error_from_errno() in gio/gioerror.c. It holds names, as not every system has every errno. An errno
# that is not in it becomes FAILED.
_ERRNO_NAMES = {
    IOErrorEnum.PERMISSION_DENIED: "EPERM EACCES",
    IOErrorEnum.NOT_FOUND: "ENOENT",
    IOErrorEnum.EXISTS: "EEXIST",
    IOErrorEnum.IS_DIRECTORY: "EISDIR",
    IOErrorEnum.NOT_DIRECTORY: "ENOTDIR",
    IOErrorEnum.NOT_EMPTY: "ENOTEMPTY",
    IOErrorEnum.NOT_REGULAR_FILE: "ENXIO",
    IOErrorEnum.FILENAME_TOO_LONG: "ENAMETOOLONG",
    IOErrorEnum.TOO_MANY_LINKS: "EMLINK ELOOP",
    IOErrorEnum.NO_SPACE: "ENOMEM ENOSPC",
    IOErrorEnum.INVALID_ARGUMENT: "EINVAL ENOTSOCK",
    IOErrorEnum.NOT_SUPPORTED: "ENOSYS EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP ENOTSUP EPFNOSUPPORT EAFNOSUPPORT",
    IOErrorEnum.READ_ONLY: "EROFS",
    IOErrorEnum.TIMED_OUT: "ETIMEDOUT",
    IOErrorEnum.BUSY: "EBUSY ETXTBSY",
    IOErrorEnum.WOULD_BLOCK: "EAGAIN EWOULDBLOCK",
    IOErrorEnum.TOO_MANY_OPEN_FILES: "EMFILE ENFILE",
    IOErrorEnum.ADDRESS_IN_USE: "EADDRINUSE",
    IOErrorEnum.INVALID_DATA: "ENOMSG ENODATA EBADMSG",
    IOErrorEnum.HOST_UNREACHABLE: "EHOSTUNREACH",
    IOErrorEnum.NETWORK_UNREACHABLE: "ENETDOWN ENETUNREACH",
    IOErrorEnum.CONNECTION_REFUSED: "ECONNREFUSED",
    IOErrorEnum.BROKEN_PIPE: "EPIPE ECONNRESET",
    IOErrorEnum.NOT_CONNECTED: "ENOTCONN",
    IOErrorEnum.MESSAGE_TOO_LARGE: "EMSGSIZE",
    IOErrorEnum.NO_SUCH_DEVICE: "ENODEV",
    IOErrorEnum.CANCELLED: "ECANCELED",
}
_CODES = {
    getattr(errno, name): code for code, names in _ERRNO_NAMES.items() for name in names.split() if hasattr(errno, name)
}

# GLib numbers the error domains in the order of their first use (GQuark). 0 stands for no domain.
_quarks: dict[str, int] = {}


def _quark(domain: str) -> int:
    return _quarks.setdefault(domain, len(_quarks) + 1)


def io_error_quark() -> int:
    """Return the number of the domain ``g-io-error-quark``, for `Error.matches` (Gio.io_error_quark)."""
    return _quark(IO_ERROR_DOMAIN)


io_error_quark.__module__ = "unixconn"


def quark_from_string(string: str | None = None) -> int:
    """
    Return the number that stands for *string*, such as the name of an error domain; 0 for None (g_quark_from_string).

    Raises TypeError if *string* is neither.
    """
    if string is None:
        return 0
    if not isinstance(string, str):
        raise TypeError(f"string must be a string, not {string!r}")
    return _quark(string)


def quark_to_string(quark: int) -> str | None:
    """Return the string that the number *quark* stands for; None if there is none (g_quark_to_string)."""
    return next((name for name, number in _quarks.items() if number == quark), None)


quark_from_string.__module__ = quark_to_string.__module__ = "unixconn"


def io_error_from_errno(err_no: int) -> IOErrorEnum:
    """
    Return the code for *err_no*, an errno of the C library (Gio.io_error_from_errno).

    The result is FAILED for an errno that has no code. Raises TypeError if *err_no* is not a number, and OverflowError
    if it does not fit into a C int.
    """
    return _CODES.get(as_integer(err_no, "err_no", -INT_MAX - 1, INT_MAX), IOErrorEnum.FAILED)


io_error_from_errno.__module__ = "unixconn"


class Error(RuntimeError):
    """
    An error with Gio's domain, code and message (GLib.Error).

    *message* is the text. *domain* is the name of a set of codes, and *code* is a code of that set: an `IOErrorEnum`
    for the domain ``g-io-error-quark``. An error of a system call also has its ``errno`` and ``strerror``, and with a
    path its ``filename``.

    Many codes have a subclass, which is also Python's own exception for the case: `TimedOutError` is a TimeoutError,
    `ClosedError` a ConnectionError, `NotFoundError` a FileNotFoundError, `PermissionDeniedError` a PermissionError.
    ``partial`` has data that would otherwise be lost, such as those of a refused message, and ``credentials`` who has
    sent that. ``__notes__`` is a list of what Gio's text leaves out, such as the value and the remedy: a traceback
    shows it from Python 3.11 on.
    """

    __module__ = "unixconn"

    _shows_path = True
    """Whether the text has the ``filename``, see `unixconn.gi.install`."""

    partial: bytes = b""
    """
    The data of a message that `SocketConnection.receive_message` has refused.

    For `SocketConnection.receive_exactly` all bytes that have come, which the next call gets as well.
    """
    credentials: Any = None
    """
    The `Credentials` of who has sent a message that was refused; None if the kernel has added none to it.

    They are also None if `UnixConnection.receive_fds` or `UnixConnection.receive_descriptor` has received too many
    descriptors, and in a pickle of the error.
    """

    def __init__(self, message: str = "unknown error", domain: str = "pygi-error", code: int = 0) -> None:
        super().__init__(message)
        # In subclasses of OSError, __new__ has already taken the arguments.
        self.args: tuple[Any, ...] = (message,)
        self.message = message
        self.domain = domain
        self.code: int = int(code)
        self.__notes__: list[str] = []

    def __str__(self) -> str:
        filename = self._shows_path and getattr(self, "filename", None)
        return f"{self.domain}: {self.message} ({self.code})" + (f": {filename!r}" if filename else "")

    def __repr__(self) -> str:
        return f"GLib.Error({self.message!r}, {self.domain!r}, {self.code})"

    def __reduce__(self) -> tuple[type[Error], tuple[str, str, int], dict[str, object]]:
        state = {**self.__dict__, "__notes__": list(self.__notes__)}
        for name in ("errno", "strerror", "filename"):
            if getattr(self, name, None) is not None:
                state[name] = getattr(self, name)
        return type(self), (self.message, self.domain, self.code), state

    def __reduce_ex__(self, _protocol: SupportsIndex) -> tuple[type[Error], tuple[str, str, int], dict[str, object]]:
        kind, arguments, state = self.__reduce__()
        state.pop("credentials", None)  # of which there are no copies
        return kind, arguments, state

    def __setstate__(self, state: dict[str, object] | None) -> None:
        # Those of an OSError are not in the instance's dictionary, so setattr() sets them.
        for name, value in (state or {}).items():
            setattr(self, name, value)

    def copy(self) -> Error:
        """Return an error with the same class and content."""
        return self.prefixed("")

    def prefixed(self, prefix: str) -> Error:
        """Return an error with the same class and code, and with *prefix* before the message (g_prefix_error)."""
        kind, arguments, state = self.__reduce__()
        other = kind(*arguments)
        other.__setstate__(state)
        other.message = prefix + self.message
        other.args = (other.message,)
        return other

    def matches(self, domain: int, code: int) -> bool:
        """
        Return whether this error has *code* in *domain* (g_error_matches).

        *domain* is a number that `io_error_quark` or `quark_from_string` returned. The name of a domain never matches.
        """
        return self.domain in _quarks and domain == _quarks[self.domain] and self.code == code

    @staticmethod
    def new_literal(domain: int, message: str, code: int) -> Error:
        """
        Return a new error with *code* in *domain* (g_error_new_literal).

        *domain* is a number that `io_error_quark` or `quark_from_string` returned. Raises TypeError if it is not a
        number, and ValueError if it is not the number of a domain.
        """
        if not isinstance(domain, (int, float)):
            raise TypeError(f"domain must be a number, not {domain!r}: use io_error_quark()")
        for name, number in _quarks.items():
            if number == domain:
                return Error(message, name, code)
        raise ValueError(f"domain {domain!r} is not the number of an error domain: use io_error_quark()")


GError = Error
"""PyGObject's second name for GLib.Error."""


class SystemCallError(Error, OSError):
    """A system call failed with an errno for which there is no subclass; see ``errno``."""

    __module__ = "unixconn"


class CancelledError(Error):
    """CANCELLED: the operation's Cancellable was cancelled."""

    __module__ = "unixconn"


class ClosedError(Error, ConnectionError):
    """
    CLOSED: this process closed the socket, or the peer ended the connection.

    `UnixConnection.receive_credentials` reports the end of the connection with the code FAILED, as Gio does.
    """

    __module__ = "unixconn"


class TimedOutError(Error, TimeoutError):
    """
    TIMED_OUT: the Socket's timeout expired, or that of the operation's Cancellable (`Cancellable.with_timeout`).

    It is a TimeoutError, so ``except TimeoutError`` catches it. ``except unixconn.TimedOutError`` catches the same
    errors, and lets a type checker know the attributes of `Error`.
    """

    __module__ = "unixconn"


class WouldBlockError(Error, BlockingIOError):
    """WOULD_BLOCK: the operation would have to wait, and the Socket is set to non-blocking."""

    __module__ = "unixconn"


class PeerClosedError(Error, BrokenPipeError):
    """BROKEN_PIPE: the peer has closed its end, so no process can read what is sent."""

    __module__ = "unixconn"


class PeerResetError(Error, ConnectionResetError):
    """BROKEN_PIPE: the peer closed its end with unread data in it (ECONNRESET)."""

    __module__ = "unixconn"


class RefusedError(Error, ConnectionRefusedError):
    """CONNECTION_REFUSED: nobody listens at the address."""

    __module__ = "unixconn"


class PermissionDeniedError(Error, PermissionError):
    """PERMISSION_DENIED: the kernel denies the operation to this process."""

    __module__ = "unixconn"


class NotFoundError(Error, FileNotFoundError):
    """NOT_FOUND: the socket file does not exist."""

    __module__ = "unixconn"


class TooManyOpenFilesError(Error, OSError):
    """
    TOO_MANY_OPEN_FILES: the descriptor table of the process (RLIMIT_NOFILE) or of the system is full.

    A stream raises it, too, if it keeps too many descriptors that came with its bytes: see `InputStream`.
    """

    __module__ = "unixconn"


class TooManyReferencesError(Error, OSError):
    """FAILED (ETOOMANYREFS): too many of this user's descriptors are in flight; retry when some were received."""

    __module__ = "unixconn"


class NoSuchProcessError(Error, ProcessLookupError):
    """FAILED (ESRCH): the process does not exist, or no longer."""

    __module__ = "unixconn"


class NotConnectedError(Error, OSError):
    """NOT_CONNECTED: the socket has no peer yet."""

    __module__ = "unixconn"


class NotSupportedError(Error, OSError):
    """NOT_SUPPORTED: this kernel, or this type of socket, does not support the operation."""

    __module__ = "unixconn"


class NotInitializedError(Error, ValueError):
    """NOT_INITIALIZED: the Socket was made by its constructor, and `Socket.init` was not called."""

    __module__ = "unixconn"


class PendingError(Error):
    """PENDING: another operation of the same kind is pending on the object."""

    __module__ = "unixconn"


class InvalidArgumentError(Error, ValueError, OSError):
    """INVALID_ARGUMENT: the kernel rejects the value. INVALID_FILENAME: the path of a socket file is empty."""

    __module__ = "unixconn"


class InvalidDataError(Error, ValueError):
    """INVALID_DATA: the credentials do not hold the requested value."""

    __module__ = "unixconn"


_KINDS: dict[IOErrorEnum, type[Error]] = {
    IOErrorEnum.CANCELLED: CancelledError,
    IOErrorEnum.CLOSED: ClosedError,
    IOErrorEnum.TIMED_OUT: TimedOutError,
    IOErrorEnum.WOULD_BLOCK: WouldBlockError,
    IOErrorEnum.BROKEN_PIPE: PeerClosedError,
    IOErrorEnum.CONNECTION_REFUSED: RefusedError,
    IOErrorEnum.PERMISSION_DENIED: PermissionDeniedError,
    IOErrorEnum.NOT_FOUND: NotFoundError,
    IOErrorEnum.TOO_MANY_OPEN_FILES: TooManyOpenFilesError,
    IOErrorEnum.NOT_CONNECTED: NotConnectedError,
    IOErrorEnum.NOT_SUPPORTED: NotSupportedError,
    IOErrorEnum.NOT_INITIALIZED: NotInitializedError,
    IOErrorEnum.PENDING: PendingError,
    IOErrorEnum.INVALID_ARGUMENT: InvalidArgumentError,
    IOErrorEnum.INVALID_FILENAME: InvalidArgumentError,
    IOErrorEnum.INVALID_DATA: InvalidDataError,
}
# Where one code of Gio stands for several of Python's exceptions.
_ERRNO_KINDS: dict[int, type[Error]] = {
    errno.ECONNRESET: PeerResetError,
    errno.ESRCH: NoSuchProcessError,
    errno.ETOOMANYREFS: TooManyReferencesError,
}


def io_error(code: IOErrorEnum, message: str) -> Error:
    """Return a new error of the class for *code*."""
    return _KINDS.get(code, Error)(message, IO_ERROR_DOMAIN, code)


_REMEDIES = {
    errno.EMFILE: "the descriptor table of this process is full: close some descriptors, or raise the limit "
    "(RLIMIT_NOFILE, ulimit -n)",
    errno.EPROTOTYPE: "the socket at that address has another type: pass the one that it has",
    errno.ENFILE: "the system has no room for another open file: see /proc/sys/fs/file-max",
}


def system_error(number: int, prefix: str, note: str = "") -> Error:
    """
    Return a new error for the errno *number*.

    The message is *prefix* and the C library's text. For WOULD_BLOCK it is the C library's text alone, as in Gio.
    *note* names the value and the remedy, if the errno alone does not; a traceback shows it from Python 3.11 on.
    """
    code = io_error_from_errno(number)
    kind = _ERRNO_KINDS.get(number) or _KINDS.get(code, SystemCallError)
    text = os.strerror(number)
    if code is IOErrorEnum.WOULD_BLOCK:
        message = text
    else:
        message = prefix + text
        note = note or _REMEDIES.get(number, "")
    made = kind(message, IO_ERROR_DOMAIN, code)
    if isinstance(made, OSError):
        made.errno, made.strerror = number, text
    if note:
        made.__notes__ = [note]
    return made


def translated(error: OSError, prefix: str, note: str = "") -> OSError | Error:
    """
    Return the Error for *error*, which a call of the standard library raised; *prefix* and *note* as in `system_error`.

    An OSError without an errno, and an Error, are returned unchanged: a signal handler raised them during the call.
    """
    if error.errno is None or isinstance(error, Error):
        return error
    return system_error(error.errno, prefix, note)
