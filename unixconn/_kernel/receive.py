"""
Receiving: one non-blocking attempt of recvmsg(2).

Each function returns whether something came, and puts what came into a list that the caller passes in. A return value
would be lost if a signal handler raised before the caller has stored it.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Callable
from itertools import repeat

from unixconn._base.arguments import UINT_MAX
from unixconn._base.errors import (
    IO_ERROR_DOMAIN,
    ClosedError,
    Error,
    IOErrorEnum,
    SystemCallError,
    TooManyOpenFilesError,
    io_error,
    system_error,
)
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.control_messages import (
    INCOMING,
    INT_SIZE,
    NATIVE,
    ONE_CREDENTIALS,
    ONE_DESCRIPTOR,
    ROOM,
    UCRED,
    Contents,
    Incoming,
    ints,
)
from unixconn._kernel.credentials import Credentials, CredentialsSource, are_absent, overflow_ids
from unixconn._kernel.descriptors import Owner, duplicate_all
from unixconn._kernel.file_descriptor import FileDescriptor
from unixconn._kernel.held_pidfds import hold_pidfd
from unixconn._kernel.native import ffi, recvmsg
from unixconn._kernel.options import become_receiver, leave_passcred, no_passcred, switch_back_passcred
from unixconn._kernel.peer import peer_credentials
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.send import AGAIN
from unixconn._kernel.unwanted import close_unwanted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unixconn._kernel.handle import Handle

RECEIVING = "Error receiving message: "
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
"""The errors by which the kernel reports that it had no room for a pidfd, rather than that the process has ended."""
HUNG_UP: int = getattr(select, "POLLRDHUP", 0x2000)
"""POLLRDHUP, for which PyPy has no name: the peer has shut down its sending side, and nothing more will come."""

# These are names of this module, as they are looked up for each message. `receive_descriptors` and
# `receive_credentials` repeat a few lines, also for speed: one more Python frame takes a twentieth of the system call's
# time.
_recvmsg = recvmsg
_FLAGS = SYSTEM.receive_flags
_pop, _append = INCOMING.pop, INCOMING.append
_OF_MESSAGE = CredentialsSource.MESSAGE
_new = object.__new__
_unpack = UCRED.unpack
# These are constants, as unpacking a tuple takes time with every message.
_HAS_OPTION = SYSTEM.credentials_option is not None
_LEVEL, _NAME = SYSTEM.credentials_option or (-1, -1)

# --- descriptors -----------------------------------------------------------------------------------------------------


class _Unpackers(dict[bytes, Callable[..., tuple[int, ...]]]):
    """
    The functions that unpack the descriptors of messages with descriptors and nothing else.

    The key is the bytes of `Incoming.kind` of such a message, which depend on the number of descriptors. An entry is
    added when the first message with that number has come. The function for all other messages finds no descriptors.
    """

    def __missing__(self, kind: bytes) -> Callable[..., tuple[int, ...]]:
        return _no_descriptors


def _no_descriptors(_payload: object) -> tuple[int, ...]:
    return ()


_unpackers = _Unpackers()


def receive_descriptors(handle: Handle, owner: list[int]) -> bool:
    """
    Receive one byte with descriptors; return True if it came, False if that would block.

    The descriptors are appended to *owner*, an empty list. They may be there even if an exception is raised.
    Credentials and a pidfd that come along are dropped.

    A message without descriptors is refused: it is consumed, and an Error is raised that says what came. At the end of
    a stream it is CLOSED. Also raises the Error for recvmsg(2)'s errno.
    """
    if handle.leftovers and take_leftover(handle, owner, single=False):
        return True
    try:
        message = _pop()
    except IndexError:
        message = Incoming()
    message.room[0] = ROOM
    would_block = False
    try:
        message.user = handle
        count = _recvmsg(handle.number, message.header, _FLAGS)
        message.user = None
        if handle.closed:
            handle.reap()
        if count == 1:
            owner += _unpackers[message.kind.tobytes()](message.payload)
        if owner:
            _append(message)
            return True
        would_block = must_wait(handle, count)
        if not would_block:
            take_descriptors(handle, message, count, owner, single=False)
            return True
    finally:
        if not (owner or would_block):  # the Error for a refused message, or an exception raised by a signal handler
            rescue(message, owner, single=False)
    _append(message)
    return False


def rescue(message: Incoming, owner: list[int], *, single: bool) -> None:
    """Move the descriptors of *message* to *owner* if it has what the caller asked for; otherwise close them."""
    # If the owner has them already, the buffer may be back in the pool, and another thread may be using it.
    if not owner:
        message.user = None
        if message.owner:
            close_unwanted(message.owner)
        elif message.kind == ONE_DESCRIPTOR or (not single and message.kind.tobytes() in _unpackers):
            owner += message.contents().descriptors
        else:
            message.discard()


def discard(message: Incoming, owner: list[int]) -> None:
    """Close the descriptors in *owner*, or if there are none, those of *message*."""
    # If the owner has them already, the buffer may be back in the pool, and another thread may be using it.
    if owner:
        close_unwanted(owner)
    else:
        message.user = None
        message.discard()


def take_leftover(handle: Handle, owner: list[int], *, single: bool) -> bool:
    """
    Move the first of `Handle.leftovers` to *owner*; return False if there are none.

    With *single* several are refused. Raises the Error for descriptors that a read has found to be dropped, see `Lost`.
    """
    if not handle.take_leftover(owner):
        return False
    if single and len(owner) != 1:
        count = len(owner)
        close_unwanted(owner)
        raise wrong_number(1, count)
    return True


def take_descriptors(handle: Handle, message: Incoming, count: int, owner: list[int], *, single: bool = True) -> None:
    """
    Move the descriptors of *message*, which has *count* bytes, to *owner*, and put it into its pool.

    Raises the Error for a message without descriptors, and with *single* for one with more than one.
    """
    kind, size = message.kind.tobytes(), message.header.msg_controllen
    found = whole_contents(handle, message)
    descriptors = len(found.descriptors)
    if not descriptors:
        raise _without_descriptors(handle, found, count)
    if single and descriptors != 1:
        raise sent_by(found, wrong_number(1, descriptors))
    owner.extend(map(message.owner.pop, repeat(0, descriptors)))
    close_unwanted(message.owner)
    if count == 1 and SYSTEM.is_linux and size == NATIVE.space(descriptors * INT_SIZE):
        _unpackers[kind] = ints(descriptors).unpack_from
    _append(message)


def _without_descriptors(handle: Handle, found: Contents, count: int) -> Error:
    """Return the Error for a message of *count* bytes without descriptors. The texts are Gio's."""
    credentials = found.credentials is not None and not are_absent(*found.credentials)
    # At the end of a stream Linux adds a zeroed struct ucred. It says root, but no process has sent it.
    if not count and (handle.is_stream or not (handle.is_datagram or credentials or _has_more_to_come(handle))):
        return peer_has_gone()
    if credentials:
        return sent_by(found, io_error(IOErrorEnum.FAILED, "Unexpected type of ancillary data"))
    return io_error(IOErrorEnum.FAILED, "Expecting 1 control message, got 0")


def wrong_number(wanted: int, found: int) -> Error:
    """
    Return the Error for a message with *found* descriptors instead of *wanted*.

    If *wanted* is 1, the text is Gio's.
    """
    expected = "one fd" if wanted == 1 else f"{wanted} fds"
    return io_error(IOErrorEnum.FAILED, f"Expecting {expected}, but got {found}" + "\n" * (wanted == 1))


def refused(count: int) -> Error:
    """Return the Error for *count* descriptors that came to a socket that refuses them."""
    return io_error(
        IOErrorEnum.PERMISSION_DENIED,
        f"{RECEIVING}{count} descriptors came and were closed, as this socket refuses them: see "
        "UnixConnection.refuse_fds",
    )


# --- credentials -----------------------------------------------------------------------------------------------------


def receive_credentials(handle: Handle, found: list[Credentials], token: object = None) -> bool:  # noqa: C901, PLR0912, PLR0915 - one frame for each message
    """
    Receive one byte with credentials; return True if it came, False if that would block.

    The credentials are appended to *found*, an empty list. They may be there even if an exception is raised. A pidfd
    and a security label that come along become part of them.

    SO_PASSCRED is on during the call, unless an operation has switched it on already. If the byte was sent before that,
    the kernel adds no credentials to it, and those of the socket's peer are returned. If the call would block, and a
    *token* is given, the option stays on until `leave_passcred` is called for the token.

    A message with descriptors, or without data, is refused: it is consumed, its descriptors are closed, and an Error is
    raised. Also raises the Error for the errno of recvmsg(2), getsockopt(2) and setsockopt(2).

    The caller holds the handle's lock.
    """
    # The first steps are those of `receive_descriptors`: to share them would take one more call for each message.
    try:
        message = _pop()
    except IndexError:
        message = Incoming()
    message.room[0] = ROOM
    came = True
    # Whether SO_PASSCRED has to be switched off again. It is recorded before the change: to switch the option off once
    # too often does no harm.
    switched = False
    try:
        if not handle.passcred_users and _HAS_OPTION:
            try:
                if not handle.python.getsockopt(_LEVEL, _NAME):
                    switched = True
                    handle.python.setsockopt(_LEVEL, _NAME, 1)
            except OSError as error:
                raise no_passcred(handle, error, switched=switched) from None
        message.user = handle
        count = _recvmsg(handle.number, message.header, _FLAGS)
        message.user = None
        if count == 1 and message.kind == ONE_CREDENTIALS and (numbers := _unpack(message.credentials))[0]:
            made: Credentials = _new(Credentials)
            made._numbers = numbers
            made.source = _OF_MESSAGE
            found.append(made)
        elif (count < 0 and ffi.errno in AGAIN and not handle.is_datagram) or must_wait(handle, count):
            came = False
            if token is not None:
                # As `enter_passcred` does, where the option is on already.
                if handle.switched_passcred is None:
                    become_receiver(handle)
                handle.passcred_users.add(token)
                if switched:
                    handle.switched_passcred = True
                    switched = False
        else:
            _take_credentials(handle, message, count, found, was_on=not (switched or handle.switched_passcred))
        if not switched:
            if came and token is not None:
                # As `leave_passcred` does.
                handle.passcred_users.discard(token)
                if handle.switched_passcred and not handle.passcred_users:
                    handle.python.setsockopt(_LEVEL, _NAME, 0)
                    handle.switched_passcred = False
        # setsockopt() returns None. Only what it does not cover takes another call.
        elif handle.passcred_users or handle.python.setsockopt(_LEVEL, _NAME, 0) is not None:
            switch_back_passcred(handle)
    except BaseException as error:  # the Error for a refused message, or an exception raised by a signal handler
        try:
            message.user = None
            _rescue_credentials(message, found)
            if switched:
                switch_back_passcred(handle)
                switched = False
        finally:  # a handler may raise while the descriptors of a refused message are being closed
            if switched:
                switch_back_passcred(handle)
            if found and token is not None:
                leave_passcred(handle, token)
        # If only switching back has failed, by setsockopt() in this frame, what came counts, or that nothing came.
        trace = error.__traceback__
        is_settled = found or not came
        if not (is_settled and isinstance(error, OSError) and trace is not None and trace.tb_next is None):
            raise
    if handle.closed:
        handle.reap()
    _append(message)
    return came


def _rescue_credentials(message: Incoming, found: list[Credentials]) -> None:
    """Append the credentials of *message* to *found* if the caller asked for these; otherwise close what came."""
    if not found:
        numbers = UCRED.unpack(message.credentials)
        # At the end of a stream Linux adds a zeroed struct ucred. It says root, but no process has sent it.
        if message.kind == ONE_CREDENTIALS and numbers[0]:
            found.append(Credentials._of(numbers, _OF_MESSAGE))
        else:
            message.discard()


def _take_credentials(handle: Handle, message: Incoming, count: int, found: list[Credentials], *, was_on: bool) -> None:
    """
    Append the credentials of *message*, which has *count* bytes, to *found*, or raise as `_credentials_alone`.

    *was_on* says whether SO_PASSCRED was on before the operation, by the program's own wish.
    """
    contents = _credentials_alone(handle, message, count)
    pidfd = FileDescriptor._empty()
    pidfd._owned.extend(map(message.owner.pop, repeat(0, len(contents.pidfds))))
    numbers = contents.credentials or (0, *overflow_ids())
    # With a pidfd, pid 0 does not mean that the kernel has added none: the sender is in another pid namespace.
    if contents.pidfds or not are_absent(*numbers):
        found.append(sender(numbers, contents, pidfd))
    elif was_on:
        # The byte is older than the option, or "nobody" has sent it, in a pid namespace that is not visible here. The
        # peer's credentials would then be those of somebody else.
        found.append(Credentials._of((0, UINT_MAX, UINT_MAX), _OF_MESSAGE))
    else:
        found.append(peer_credentials(handle))


def _credentials_alone(handle: Handle, message: Incoming, count: int) -> Contents:
    """
    Return the contents of *message*, which has *count* bytes.

    Raises the Error FAILED if it has no bytes, or has descriptors. At the end of the connection that is a ClosedError.
    The texts are Gio's.
    """
    found = whole_contents(handle, message)
    if not count:
        # As SO_PASSCRED is on, an empty record has credentials, and the end of a SOCK_SEQPACKET connection has none.
        is_end = handle.is_stream or not (handle.is_datagram or found.credentials)
        text = "Expecting to read a single byte for receiving credentials but read zero bytes"
        raise (ClosedError if is_end else Error)(text, IO_ERROR_DOMAIN, IOErrorEnum.FAILED)
    if found.descriptors:
        if found.credentials is None or are_absent(*found.credentials):
            raise io_error(IOErrorEnum.FAILED, "Unexpected type of ancillary data")
        raise sent_by(found, io_error(IOErrorEnum.FAILED, "Expecting 1 control message, got 2"))
    return found


def sender(numbers: tuple[int, int, int], found: Contents, pidfd: FileDescriptor | Error | None) -> Credentials:
    """
    Return the credentials of a message: *numbers* are pid, uid and gid, and *found* are its contents.

    They own *pidfd* from now on.
    """
    made = Credentials._of(numbers, _OF_MESSAGE)
    if found.label is not None:
        made._label = found.label
    if found.no_pidfd in NO_ROOM:
        made._pidfd = system_error(found.no_pidfd, "There is no pidfd: ")
    elif found.no_pidfd:  # before Linux 6.16
        made._pidfd = system_error(errno.ESRCH, "There is no pidfd: ", "the sender had ended before the receipt")
    elif found.pidfds:
        made._pidfd = pidfd
        if hold_pidfd is not None:
            hold_pidfd(pidfd)
    return made


def credentials_of(found: Contents) -> Credentials | None:
    """Return the sender's credentials, with a duplicate of the pidfd; None if the kernel has added none."""
    numbers = found.credentials
    # With a pidfd, pid 0 does not mean that the kernel has added none: the sender is in another pid namespace.
    if numbers is None or (are_absent(*numbers) and not found.pidfds):
        return None
    copy: FileDescriptor | Error | None = None
    if found.pidfds:
        # A duplicate, as the user may close the message and keep the credentials.
        copy = FileDescriptor._empty()
        try:
            duplicate_all(copy._owned, found.pidfds[-1:])
        except Error as error:
            copy = error.with_traceback(None)
    return sender(numbers, found, copy)


def sent_by(found: Contents, error: Error) -> Error:
    """Return *error*, for a message that is refused, with the credentials of who has sent it."""
    error.credentials = credentials_of(found)
    return error


# --- what all of them share ------------------------------------------------------------------------------------------


def must_wait(handle: Handle, count: int, context: str = RECEIVING) -> bool:
    """
    Return whether a recvmsg(2) that has just returned *count* would have blocked; raise the Error if it has failed.

    *context* is the prefix of the Error's text.
    """
    if count >= 0:
        return False
    if ffi.errno in AGAIN:
        if handle.is_datagram and _is_shut_down(handle):
            raise peer_has_gone()
        return True
    if ffi.errno == errno.EMSGSIZE and SYSTEM.full_is_emsgsize:
        raise table_is_full("the message's descriptors are lost: ")
    raise handle.error(context)


def _is_shut_down(handle: Handle) -> bool:
    """
    Return whether the socket was shut down, so that nothing more can come.

    On Linux a datagram socket that was shut down is reported as readable by poll(), but a recvmsg(2) with MSG_DONTWAIT
    returns EAGAIN; only one that waits reports the end.
    """
    return SYSTEM.is_linux and bool(handle.poll(HUNG_UP) & HUNG_UP)


def _has_more_to_come(handle: Handle) -> bool:
    """Return whether the receipt of no bytes from a SOCK_SEQPACKET socket means an empty record, and not the end."""
    return SYSTEM.is_linux and handle.number >= 0 and (handle.available_bytes() > 0 or not _is_shut_down(handle))


def whole_contents(handle: Handle, message: Incoming) -> Contents:
    """
    Return the contents of *message*, and move its descriptors to its owner.

    Raises the Error INVALID_DATA if the control messages are damaged, and that of `dropped` if the kernel has dropped
    descriptors.
    """
    found = message.take_over()
    if found.damage:
        raise io_error(IOErrorEnum.INVALID_DATA, f"{RECEIVING}{found.damage}")
    if message.truncated:
        raise sent_by(found, dropped(handle, len(found.all_descriptors)))
    return found


def dropped(handle: Handle, count: int) -> Error:
    """
    Return the Error for a message of which only *count* descriptors came (MSG_CTRUNC). These have to be open still.

    The kernel does not report why. So a descriptor is duplicated: if that works, the table was not full.
    """
    came = f"{count} of the message's descriptors came and were closed again, the others are lost: "
    with handle.entered, Owner() as trial:
        handle.check()
        try:
            duplicate_all(trial, (handle.number,))
        except (TooManyOpenFilesError, SystemCallError):  # EMFILE or ENOMEM
            return table_is_full(came)
    return system_error(
        errno.EACCES,
        RECEIVING,
        f"{came}the descriptor table has room, so a security module, such as SELinux or AppArmor, denies them to this "
        "process, unless another thread has closed descriptors just now",
    )


class Lost(list[int]):
    """
    What `Handle.leftovers` has for a message of which the kernel has dropped descriptors: who takes it gets the Error.

    It has no descriptor, but is true, so that it is kept as a list with descriptors is.
    """

    __slots__ = ("_error",)

    def __init__(self, handle: Handle, count: int) -> None:
        """Find the Error for a message of which only *count* descriptors came, see `dropped`."""
        super().__init__()
        try:
            self._error = dropped(handle, count)
        except Error as closed:  # by another thread, just now
            self._error = closed

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[int]:
        raise self._error


def table_is_full(came: str) -> Error:
    """Return the Error for a message whose descriptors found no room in the table. *came* says which came."""
    return system_error(
        errno.EMFILE,
        RECEIVING,
        f"{came}the descriptor table is full: close some descriptors, or raise the limit (RLIMIT_NOFILE)",
    )


def peer_has_gone() -> Error:
    """Return the Error for an operation that receives at the end of a stream, or of a socket that was shut down."""
    return io_error(IOErrorEnum.CLOSED, "Connection closed by the peer")
