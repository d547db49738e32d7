"""
Errors as Gio gives them, and as Python's own.

Every error of this library is an `Error`: Gio's domain, code and message. Each of its kinds is beside that the built-in
exception that a Python program would catch, so ``except TimeoutError`` and ``except unixconn.Error`` both work.
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum

from unixconn._base.arguments import INT_MAX, as_integer
from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

IO_ERROR_DOMAIN = "g-io-error-quark"


class IOErrorEnum(IntEnum):
    """Codes of the domain ``g-io-error-quark`` (Gio.IOErrorEnum)."""

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


# g_io_error_from_errno(), gio/gioerror.c. Names, as not every system has every errno; what is absent is FAILED.
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

# GLib numbers its error domains as they come up (GQuark); 0 is none.
_quarks: dict[str, int] = {}


def _quark(domain: str) -> int:
    return _quarks.setdefault(domain, len(_quarks) + 1)


def io_error_quark() -> int:
    """Give the number of the domain ``g-io-error-quark``, for `Error.matches` (Gio.io_error_quark)."""
    return _quark(IO_ERROR_DOMAIN)


def io_error_from_errno(err_no: int) -> IOErrorEnum:
    """Give the code for an *err_no* of the C library (Gio.io_error_from_errno); FAILED for one without a code."""
    return _CODES.get(as_integer(err_no, "err_no", -INT_MAX - 1, INT_MAX), IOErrorEnum.FAILED)


class Error(RuntimeError):
    """
    An error with Gio's domain, code and message (GLib.Error).

    *message* is the text, *domain* the name of the kind of codes, *code* a number of it, `IOErrorEnum` for the domain
    ``g-io-error-quark``. Errors that stem from a system call carry its ``errno`` and ``strerror`` too.
    """

    def __init__(self, message: str = "unknown error", domain: str = "pygi-error", code: int = 0) -> None:
        super().__init__(message)
        # Kinds that are an OSError took their arguments in its __new__ already.
        self.args: tuple[Any, ...] = (message,)
        self.message = message
        self.domain = domain
        self.code: int = int(code)
        self.__notes__: list[str] = []

    def __str__(self) -> str:
        return f"{self.domain}: {self.message} ({self.code})"

    def __repr__(self) -> str:
        return f"GLib.Error({self.message!r}, {self.domain!r}, {self.code})"

    def __reduce__(self) -> tuple[type[Error], tuple[str, str, int], dict[str, object]]:
        state = {**self.__dict__, "__notes__": list(self.__notes__)}
        for name in ("errno", "strerror"):
            if getattr(self, name, None) is not None:
                state[name] = getattr(self, name)
        return type(self), (self.message, self.domain, self.code), state

    def __setstate__(self, state: dict[str, object] | None) -> None:
        # By setattr: errno and strerror are no part of an instance's dictionary.
        for name, value in (state or {}).items():
            setattr(self, name, value)

    def copy(self) -> Error:
        """Give an error of the same kind and content."""
        return self.prefixed("")

    def prefixed(self, prefix: str) -> Error:
        """Give an error of the same kind and code, with *prefix* before its text (g_prefix_error)."""
        kind, arguments, state = self.__reduce__()
        other = kind(*arguments)
        other.__setstate__(state)
        other.message = prefix + self.message
        other.args = (other.message,)
        return other

    def matches(self, domain: int, code: int) -> bool:
        """Tell whether this is *code* of *domain*, a number as `io_error_quark` gives it; a name never matches."""
        return self.domain in _quarks and domain == _quarks[self.domain] and self.code == code

    @staticmethod
    def new_literal(domain: int, message: str, code: int) -> Error:
        """
        Make an error; *domain* is a number as `io_error_quark` gives it.

        Raises TypeError for one that is no number, and ValueError for one that is no domain's.
        """
        if not isinstance(domain, (int, float)):
            raise TypeError(f"domain must be a number, not {domain!r}")
        for name, number in _quarks.items():
            if number == domain:
                return Error(message, name, code)
        raise ValueError(f"domain {domain!r} is no error domain: take it from io_error_quark()")


GError = Error
"""PyGObject knows GLib.Error by this name, too."""


class SystemCallError(Error, OSError):
    """A system call failed in a way that has no kind of its own; see ``errno``."""


class CancelledError(Error):
    """CANCELLED: the operation's Cancellable was cancelled."""


class ClosedError(Error, ConnectionError):
    """CLOSED: the socket was closed here, or the peer has ended the connection."""


class TimedOutError(Error, TimeoutError):
    """TIMED_OUT: the Socket's timeout passed, or that of the operation's Cancellable (`Cancellable.with_timeout`)."""


class WouldBlockError(Error, BlockingIOError):
    """WOULD_BLOCK: the operation would have to wait, and the Socket is set not to block."""


class PeerClosedError(Error, BrokenPipeError):
    """BROKEN_PIPE: nobody is there any more to read what is sent."""


class PeerResetError(Error, ConnectionResetError):
    """BROKEN_PIPE: the peer closed with data unread."""


class RefusedError(Error, ConnectionRefusedError):
    """CONNECTION_REFUSED: nobody listens at the address."""


class PermissionDeniedError(Error, PermissionError):
    """PERMISSION_DENIED: the kernel does not allow it."""


class NotFoundError(Error, FileNotFoundError):
    """NOT_FOUND: there is no such socket file."""


class TooManyOpenFilesError(Error, OSError):
    """TOO_MANY_OPEN_FILES: no free number in the descriptor table (RLIMIT_NOFILE), or in the system's."""


class TooManyReferencesError(Error, OSError):
    """FAILED (ETOOMANYREFS): too many descriptors of this user are under way; try again when some were received."""


class NoSuchProcessError(Error, ProcessLookupError):
    """FAILED (ESRCH): there is no such process, or not any more."""


class NotConnectedError(Error, OSError):
    """NOT_CONNECTED: the socket has no peer yet."""


class NotSupportedError(Error, OSError):
    """NOT_SUPPORTED: this kernel, or this kind of socket, does not offer it."""


class NotInitializedError(Error, ValueError):
    """NOT_INITIALIZED: the Socket was not made by `Socket.new` or `Socket.new_from_fd`, nor by `Socket.init`."""


class PendingError(Error):
    """PENDING: another operation of this kind is under way."""


class InvalidArgumentError(Error, ValueError, OSError):
    """INVALID_ARGUMENT: the kernel does not take this value."""


class InvalidDataError(Error, ValueError):
    """INVALID_DATA: what was asked for is not in the credentials."""


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
    IOErrorEnum.INVALID_DATA: InvalidDataError,
}
# Where one code of Gio's stands for several of Python's exceptions.
_ERRNO_KINDS: dict[int, type[Error]] = {
    errno.ECONNRESET: PeerResetError,
    errno.ESRCH: NoSuchProcessError,
    errno.ETOOMANYREFS: TooManyReferencesError,
}


def io_error(code: IOErrorEnum, message: str) -> Error:
    """Make the error of the kind for *code*, not raised."""
    return _KINDS.get(code, Error)(message, IO_ERROR_DOMAIN, code)


def system_error(number: int, prefix: str, note: str = "") -> Error:
    """
    Make the error for the errno *number*, not raised.

    Its text is *prefix* and the C library's text; for WOULD_BLOCK the C library's text alone, as in Gio. *note* names
    the value and the remedy; tracebacks show it from Python 3.11 on.
    """
    code = io_error_from_errno(number)
    kind = _ERRNO_KINDS.get(number) or _KINDS.get(code, SystemCallError)
    text = os.strerror(number)
    message = text if code is IOErrorEnum.WOULD_BLOCK else prefix + text
    made = kind(message, IO_ERROR_DOMAIN, code)
    if isinstance(made, OSError):
        made.errno, made.strerror = number, text
    if note:
        made.__notes__ = [note]
    return made


def translated(error: OSError, prefix: str) -> OSError | Error:
    """
    Make the error for *error*, which a call of the standard library raised, not raised.

    What a signal handler has raised in the middle of that call is given back as it is.
    """
    if error.errno is None or isinstance(error, Error):
        return error
    return system_error(error.errno, prefix)
