"""
Take over the sockets that a service manager, such as systemd, passes to a service, and notify the manager.

    from unixconn import systemd

    for name, listener in systemd.listen_fds():
        ...
    systemd.notify(READY=1, STATUS="Waiting for clients")

The protocols are those of sd_listen_fds(3) and sd_notify(3). Neither needs systemd's library.
"""

from __future__ import annotations

import os
import re
from itertools import repeat

from unixconn._base.arguments import INT_MAX, as_seconds
from unixconn._base.errors import Error, IOErrorEnum, io_error, translated
from unixconn._base.typing import TYPE_CHECKING, named_tuple
from unixconn._gio.address import SocketFamily, UnixSocketAddress, UnixSocketAddressType
from unixconn._gio.control_messages import UnixFDMessage
from unixconn._gio.listening import UnixListener, is_listening
from unixconn._gio.socket import Socket
from unixconn._gio.socket_types import SocketProtocol, SocketType
from unixconn._kernel import epoll
from unixconn._kernel.credentials import Credentials
from unixconn._kernel.descriptors import Owner, close_all, close_fds, listed, make_pipe
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.unpatched import new_poll

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NamedTuple

    from unixconn._kernel.descriptors import FileDescriptorLike

__all__ = ["Passed", "listen_fds", "notify", "notify_barrier"]

_FIRST = 3
"""The number of the first descriptor that is passed (SD_LISTEN_FDS_START)."""
_LISTEN_VARIABLES = ("LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS", "LISTEN_FDNAMES")
_unclaimed = [True]
"""Empty after the first call of `listen_fds` that took descriptors: each has one owner."""


if TYPE_CHECKING:

    class Passed(NamedTuple):
        """A descriptor that the service manager has passed."""

        name: str
        """Its name, from FileDescriptorName= or FDNAME=. Several may have the same one."""
        owner: UnixListener | FileDescriptor
        """A `UnixListener` for a Unix socket that listens, a `FileDescriptor` for anything else."""

else:
    Passed = named_tuple(
        "Passed",
        "A descriptor that the service manager has passed.",
        name="Its name, from FileDescriptorName= or FDNAME=. Several may have the same one.",
        owner="A `UnixListener` for a Unix socket that listens, a `FileDescriptor` for anything else.",
    )
    Passed.__module__ = __name__


# --- socket activation ---


def listen_fds(unset: bool = True) -> list[Passed]:
    """
    Take over the descriptors that the service manager has passed, and return them with their names.

    They are the numbers from 3 on; the environment variable LISTEN_FDS says how many. They become close-on-exec. A
    descriptor without a name is called "unknown". See sd_listen_fds_with_names(3).

    The list is empty if nothing was passed, if LISTEN_PID or LISTEN_PIDFDID names another process, and after an earlier
    call, whose result owns the descriptors.

    With *unset*, the variables are removed from `os.environ` in any case, so that no child takes them for its own.

    Raises the Error INVALID_DATA if a variable makes no sense or a descriptor is not open, and TOO_MANY_OPEN_FILES if
    there is no room for a descriptor. Nothing is taken over then.
    """
    try:
        count = _passed_count()
        names = _names(count)
        numbers = range(_FIRST, _FIRST + count)
        if not count or not _unclaimed:
            return []
        for number in numbers:
            try:
                os.set_inheritable(number, False)
            except OSError as error:
                raise io_error(
                    IOErrorEnum.INVALID_DATA,
                    f"LISTEN_FDS is {count}, but descriptor {number} is not open: {error.strerror}",
                ) from None
        passed = _take(names, numbers)
        _unclaimed.clear()
        return passed
    finally:
        if unset:
            for variable in _LISTEN_VARIABLES:
                os.environ.pop(variable, None)


def _take(names: Iterable[str], numbers: range) -> list[Passed]:
    """Return the owners of *numbers*. If that fails, nobody owns them."""
    passed: list[Passed] = []
    try:
        for name, number in zip(names, numbers):
            is_listener = is_listening(number)
            passed.append(Passed(name, UnixListener.from_socket(number) if is_listener else FileDescriptor(number)))
        return passed
    finally:
        if len(passed) < len(numbers):
            for each in passed:
                if isinstance(each.owner, UnixListener):
                    each.owner._release([])
                else:
                    each.owner.detach()


def _passed_count() -> int:
    """Return how many descriptors were passed to this process. Raises the Error INVALID_DATA for nonsense."""
    if "LISTEN_PID" not in os.environ or "LISTEN_FDS" not in os.environ:
        return 0
    if _number("LISTEN_PID", 1, INT_MAX) != os.getpid():
        return 0
    if "LISTEN_PIDFDID" in os.environ:
        own = _own_pidfd_id()
        if own is not None and _number("LISTEN_PIDFDID", 1, 2**64 - 1) != own:
            return 0
    return _number("LISTEN_FDS", 1, INT_MAX - _FIRST)


def _number(variable: str, lowest: int, highest: int) -> int:
    text = os.environ[variable]
    # int() takes more: blanks, signs, underscores and the digits of other scripts.
    if re.fullmatch("[0-9]{1,20}", text) is None or not lowest <= int(text) <= highest:
        raise io_error(
            IOErrorEnum.INVALID_DATA, f"{variable} must be a number from {lowest} to {highest}, not {text!r}"
        )
    return int(text)


def _own_pidfd_id() -> int | None:
    """Return the id that the kernel has given to this process for good, None if the kernel or Python has no such id."""
    try:
        with Credentials.new().get_pidfd() as pidfd:
            found = os.fstat(pidfd.fileno())
    except Error:
        return None
    try:
        plain = epoll.new()
    except OSError as error:
        raise translated(error, "epoll_create1: ") from None
    try:
        # Before Linux 6.9, a pidfd is one of the anonymous files, which share one number. An epoll still is.
        is_anonymous = os.fstat(plain.fileno()).st_dev == found.st_dev
    finally:
        plain.close()
    return None if is_anonymous else found.st_ino


def _names(count: int) -> Iterable[str]:
    """Return the names of *count* descriptors. Raises the Error INVALID_DATA if there are more or fewer."""
    text = os.environ.get("LISTEN_FDNAMES")
    if text is None:
        return repeat("unknown", count)  # no list: nothing has checked yet that there are so many
    names = text.split(":")
    if count and len(names) != count:
        raise io_error(
            IOErrorEnum.INVALID_DATA, f"LISTEN_FDNAMES has {len(names)} names for {count} descriptors: {text!r}"
        )
    return names


# --- notifications ---


def notify(*, fds: Iterable[FileDescriptorLike] = (), unset: bool = False, **variables: object) -> bool:
    """
    Send *variables* to the service manager, and return whether there is one: whether NOTIFY_SOCKET is set.

    Each variable becomes a line "NAME=value"; True is written as 1. sd_notify(3) lists the names::

        notify(READY=1, MAINPID=os.getpid(), STATUS="Waiting for clients")
        notify(FDSTORE=1, FDNAME="session", fds=[connection])  # the manager keeps it, and passes it at the next start
        notify(FDSTOREREMOVE=1, FDNAME="session")

    *fds* are numbers or objects with ``fileno()``, which still belong to the caller. They go with FDSTORE or BARRIER
    alone, as the manager closes any others. With *unset*, NOTIFY_SOCKET is removed from `os.environ`, so that children
    cannot notify. The call waits while the manager's queue is full.

    Raises ValueError for a name that is no variable's, for a value with a newline, and for *fds* without FDSTORE or
    BARRIER; the Error INVALID_DATA for a NOTIFY_SOCKET that is neither an absolute path nor "@" and an abstract name;
    and the Error for the errno of sendmsg(2), such as NOT_FOUND or CONNECTION_REFUSED if the manager has gone.
    """
    text = "\n".join(_line(name, value) for name, value in variables.items())
    fds = listed(fds)
    if not text:
        raise ValueError("notify() needs a variable, such as READY=1")
    if fds and not variables.keys() & {"FDSTORE", "BARRIER"}:
        raise ValueError("fds must go with FDSTORE=1, as the service manager closes any others")
    address = _notify_address()
    if unset:
        os.environ.pop("NOTIFY_SOCKET", None)
    if address is None:
        return False
    controls = []
    if fds:
        controls.append(UnixFDMessage.new())
        for fd in fds:
            controls[0].append_fd(fd)
    socket = Socket.new(SocketFamily.UNIX, SocketType.DATAGRAM, SocketProtocol.DEFAULT)
    try:
        socket.send_message(address, [os.fsencode(text)], controls, 0)
    except Error as error:
        raise error.prefixed(f"Notifying {address.to_string()}: ") from None
    finally:
        socket.close()
        for control in controls:
            close_fds(control.steal_fds())
    return True


def notify_barrier(timeout: float = 5.0, *, unset: bool = False) -> bool:
    """
    Wait until the service manager has read all that was sent before, and return whether there is a manager.

    Call it before the process ends, or before it closes a descriptor whose file the manager is to know. *timeout* is in
    seconds. *unset* is that of `notify`.

    Raises the Error TIMED_OUT after *timeout*, and the errors of `notify`. See sd_notify_barrier(3).
    """
    seconds = as_seconds(timeout, "timeout")
    # The manager closes its copy of the writing end when it comes to the message: then the reading end is at its end.
    with Owner() as reading, Owner() as writing:
        try:
            make_pipe(reading)
        except OSError as error:
            raise translated(error, "pipe: ") from None
        writing.extend(map(reading.pop, (1,)))
        if not notify(BARRIER=1, fds=writing, unset=unset):
            return False
        close_all(writing)
        poller = new_poll()
        poller.register(reading[0], epoll.READABLE)  # gevent reports an end only to who asks for data
        if not poller.poll(min(seconds * 1000, INT_MAX)):
            raise io_error(IOErrorEnum.TIMED_OUT, f"The service manager has not answered within {seconds:g} seconds")
    return True


def _line(name: str, value: object) -> str:
    if re.fullmatch("[A-Z][A-Z0-9_]*", name) is None:
        raise ValueError(f"{name!r} is no variable of sd_notify(3): these are capitals, digits and underscores")
    text = str(int(value) if isinstance(value, bool) else value)
    if "\n" in text:
        raise ValueError(f"{name} must not have a newline, which would begin another variable: {text!r}")
    return f"{name}={text}"


def _notify_address() -> UnixSocketAddress | None:
    """Return the manager's address, None if there is none. Raises the Error INVALID_DATA for nonsense."""
    name = os.environ.get("NOTIFY_SOCKET")
    if name is None:
        return None
    if name[:1] == "/":
        return UnixSocketAddress.new(name)
    if name[:1] == "@" and len(name) > 1:
        return UnixSocketAddress.new_with_type(name[1:], UnixSocketAddressType.ABSTRACT)
    raise io_error(
        IOErrorEnum.INVALID_DATA, f'NOTIFY_SOCKET must be an absolute path, or "@" and an abstract name, not {name!r}'
    )
