"""
Handle: one socket's descriptor, which several threads use and any of them may close.

The kernel gives a closed number to the next file that is opened. A thread that read the number just before would then
send to, or receive from, that file. So whoever is about to make a system call says so in a `Use` first, and reads
`Handle.number` after; `Handle.close` takes the number away first, and closes it when no `Use` names the Handle (hazard
pointers, M. Michael 2004). Each step is one store of an attribute: it costs next to nothing, may be repeated, and holds
without the GIL and under signals.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import termios
import weakref
from collections import deque

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error, translated
from unixconn._base.lock import Lock
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._kernel.descriptors import close_all, move_all
from unixconn._kernel.native import ffi, lib
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.trigger import Trigger

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Callable, Iterable
    from typing import Any

T = TypeVar("T")


class Use:
    """A place where one thread at a time says which Handle it uses."""

    __slots__ = ("__weakref__", "user")

    def __init__(self) -> None:
        self.user: Handle | None = None
        for each in tuple(_uses):
            if each() is None:
                _forget(each)
        _uses.append(weakref.ref(self))


# Weak: a Use that an interrupted thread has dropped says nothing any more. It is changed and copied in single steps of
# the interpreter only, since other threads and signal handlers may do the same at any moment.
_uses: list[weakref.ref[Use]] = []


def _forget(use: weakref.ref[Use]) -> None:
    try:
        _uses.remove(use)
    except ValueError:  # another thread was quicker
        return


def _is_used(handle: Handle) -> bool:
    return any(use is not None and use.user is handle for use in (each() for each in tuple(_uses)))


# Handles that somebody waits with for credentials; weak, as who waits may be dropped.
_receiving: dict[weakref.ref[Handle], None] = {}


def _forget_receiver(gone: weakref.ref[Handle]) -> None:
    # It may be gone from there: PyPy calls this also for a reference that is only waiting to be collected.
    _receiving.pop(gone, None)


def _start_in_child() -> None:
    """Forget the threads that a forked child does not have."""
    for each in tuple(_uses):
        use = each()
        if use is not None:
            use.user = None
    # The flag is on for the parent's receivers. Here it counts as the user's.
    while _receiving:
        handle = _receiving.popitem()[0]()
        if handle is not None:
            handle._passcred_users.clear()
            handle._switched_passcred.clear()


os.register_at_fork(after_in_child=_start_in_child)

_SOL_SOCKET = lib.SOL_SOCKET
# Two numbers, and not to be unpacked at every message; -1 where there is no such option.
_CREDENTIALS_LEVEL, _CREDENTIALS_NAME = SYSTEM.credentials_option or (-1, -1)
_INT_SIZE = ffi.sizeof("int")
_NO_SIGPIPE: int | None = getattr(lib, "SO_NOSIGPIPE", None)
"""Where it is the socket's, and no flag of each send."""


def adopt_socket(owner: list[int]) -> socket.socket:
    """
    Make a socket object of the descriptor in *owner*, which leaves it for that, and becomes close-on-exec.

    Raises the Error for getsockopt()'s errno if it is none; it is still the owner's then.
    """
    fd = owner[0]
    kind = _ask(fd, lib.SO_TYPE)
    # Where the kernel does not tell these, the standard library asks for the address.
    family = _ask(fd, lib.SO_DOMAIN) if hasattr(lib, "SO_DOMAIN") else -1
    protocol = _ask(fd, lib.SO_PROTOCOL) if hasattr(lib, "SO_PROTOCOL") else -1
    os.set_inheritable(fd, False)
    # In two steps: one that a signal handler breaks off must not be dropped, and close what the owner has.
    made = socket.socket.__new__(socket.socket)
    try:
        socket.socket.__init__(made, family, kind | NO_TIMEOUT, protocol, fileno=fd)
        owner.clear()
    except BaseException:
        if owner:
            made.detach()
        raise
    return made


def _ask(fd: int, name: int) -> int:
    value, length = ffi.new("int *"), ffi.new("socklen_t *", _INT_SIZE)
    if lib.getsockopt(fd, lib.SOL_SOCKET, name, value, length) < 0:
        raise system_error(ffi.errno, "creating GSocket from fd: ")
    return int(value[0])


NO_TIMEOUT: int = getattr(socket, "SOCK_NONBLOCK", 0)
"""To be added to a socket's type: what `socket.setdefaulttimeout` says is not for it, and O_NONBLOCK is left alone."""

# In the place of a socket that is yet to come: a closed one, which the kernel refuses in the same way.
_NO_SOCKET = socket.socket(socket.AF_UNIX)
_NO_SOCKET.close()


class Handle:
    """The descriptor of one Socket, and what its users share."""

    __slots__ = (
        "__weakref__",
        "_closing",
        "_ending",
        "_passcred_users",
        "_switched_passcred",
        "is_datagram",
        "is_sequence",
        "is_stream",
        "is_unix",
        "lock",
        "number",
        "opened",
        "python",
        "refuses",
        "strays",
        "waiting",
    )

    def __init__(self) -> None:
        self.lock = Lock()
        """No number is closed for good while it is held, so system calls made inside need no `Use`."""
        self.opened = False
        self.number = -1
        """The descriptor's number, -1 before it is opened and once it is closed."""
        self.is_unix = self.is_stream = self.is_datagram = self.is_sequence = False
        self.refuses = False
        """Whether descriptors that come are closed: those that the kernel does not refuse itself."""
        self._closing: Trigger | None = None
        self._passcred_users: set[object] = set()
        self._switched_passcred: list[bool] = []
        """Has something if the last of these users is to switch it off."""
        self.strays: deque[list[int]] = deque()
        """Descriptors of messages whose bytes were read by a stream, for `receive_fd` to give; closed at the end."""
        self._ending: list[list[int]] = []
        self.waiting: dict[int, OrderedDict[Any, None]] = {}
        """Lines of what waits in the background, by poll()'s number for what they wait for; pending.py has them."""
        # The last, as the destructor asks for it.
        self.python = _NO_SOCKET

    def open(self, python: Any) -> None:
        """
        Take over *python*, a socket of the standard library or alike, whose descriptor is closed with this object.

        It should be made after this object: the garbage collector then comes here first, and has nothing to warn of.
        """
        self.python = python
        self.is_unix = python.family == socket.AF_UNIX
        self.is_stream = python.type == socket.SOCK_STREAM
        self.is_datagram = python.type == socket.SOCK_DGRAM
        self.is_sequence = python.type == socket.SOCK_SEQPACKET
        self.opened = True
        self.number = python.fileno()
        if _NO_SIGPIPE is not None:
            try:  # noqa: SIM105 - contextlib would be imported for this alone
                python.setsockopt(_SOL_SOCKET, _NO_SIGPIPE, 1)
            except OSError:  # macOS, of one that is shut down, such as an accepted one whose peer is gone
                pass

    def __del__(self) -> None:
        # Also where a signal handler has raised before the constructor's end.
        python = getattr(self, "python", None)
        if python is not None:
            python.close()
            self._close_strays()

    def keep(self, messages: list[list[int]]) -> bool:
        """Take over *messages*, lists of descriptors, to be received after all others; tell whether there is any."""
        return self._take_over(messages, self.strays.extend)

    def give_back(self, messages: list[list[int]]) -> bool:
        """Take over *messages*, lists of descriptors, to be received before all others; tell whether there is any."""
        return self._take_over(messages, self.strays.extendleft)

    def _take_over(self, messages: list[list[int]], put: Callable[[Iterable[list[int]]], None]) -> bool:
        kept = False
        while messages:
            if messages[-1]:
                # The list itself, in one step of the interpreter: nobody who receives meanwhile finds an empty one.
                put(map(messages.pop, (-1,)))
                kept = True
            else:
                messages.pop()
        if self.number < 0:
            self.reap()
        elif kept:
            self._rouse()
        return kept

    def take_stray(self, owner: list[int]) -> bool:
        """Let *owner* have the next one of `strays`, if nobody else has taken it meanwhile: tell whether it has."""
        taken: list[list[int]] = []
        try:
            # In one step of the interpreter, as it is nobody's in between.
            taken.extend(map(deque.popleft, (self.strays,)))
            move_all(taken[0], owner)
        except IndexError:  # another thread was quicker
            return False
        except BaseException:  # of a signal handler
            self.give_back(taken)
            raise
        return True

    def _rouse(self) -> None:
        """Have who waits by poll() try again."""
        with self.lock.entered:
            if self._closing is not None:
                self._closing._set()

    # --- the end ---

    def check(self) -> None:
        """Raise the Error CLOSED if it is closed, NOT_INITIALIZED if there never was a socket."""
        if not self.opened:
            raise io_error(IOErrorEnum.NOT_INITIALIZED, "Invalid socket, not initialized")
        if self.number < 0:
            raise io_error(IOErrorEnum.CLOSED, "Socket is already closed")

    def close(self) -> None:
        """Close it, or let the last of those who use it right now do so, and wake whoever waits."""
        self.number = -1
        try:
            self._end()
        except BaseException:  # of a signal handler: once more, or who waits would not be woken
            self._end()
            raise

    def _end(self) -> None:
        with self.lock.entered:
            self.reap()
            if self._closing is not None:
                self._closing._set()
            for each in [each for line in self.waiting.values() for each in line]:
                each.look()

    def reap(self) -> None:
        """Close the descriptor for good if nobody uses it any more."""
        with self.lock.entered:
            if self.number < 0 and not _is_used(self):
                self.python.close()
                self._close_strays()

    def _close_strays(self) -> None:
        while self.strays or self._ending:
            # Out of there first: a receiver may take one at the same time, and what is dropped here must be closed.
            try:  # noqa: SIM105 - as above
                self._ending.extend(map(deque.popleft, (self.strays,)))
            except IndexError:  # it was quicker
                pass
            while self._ending:
                close_all(self._ending[-1])
                self._ending.pop()

    def closing(self) -> Trigger:
        """
        Return the Trigger that `close` sets, for waits.

        Descriptors that are kept or given back set it, too. It stays set then, so that each wait sees it, and the next
        wait gets another Trigger.
        """
        closing = self._closing
        if closing is None or closing._is_set():
            with self.lock.entered:
                closing = self._closing
                if closing is None or closing._is_set():
                    self._closing = closing = Trigger()
                if self.number < 0:
                    closing._set()
        return closing

    def error(self, context: str) -> Error:
        """Make the error of the system call that has just failed: CLOSED if that is why, else by its errno."""
        number = ffi.errno
        self.check()
        return system_error(number, context)

    def call(self, function: Callable[..., T], *arguments: Any, context: str) -> T:
        """Call a method of the standard library's socket that does not block; *context* is an error's prefix."""
        with self.lock.entered:
            try:
                return function(self.python, *arguments)
            except OSError as error:
                raise translated(error, context) from None

    def listen(self, backlog: int) -> None:
        """Let peers connect, *backlog* and one more waiting to be accepted."""
        with self.lock.entered:
            # Not by the standard library: PyPy's makes 1 of a backlog of 0.
            if lib.listen(self.number, backlog) < 0:
                raise self.error("could not listen: ")

    def poll(self, events: int) -> int:
        """Give those of *events*, and ERR and HUP, that poll() has for it right now; none once it is closed."""
        poller = select.poll()
        with self.lock.entered:
            if self.number >= 0:
                poller.register(self.number, events)
            ready = poller.poll(0)
        return ready[0][1] if ready else 0

    def available_bytes(self) -> int:
        """Give how many bytes are there to be received, 0 once it is closed."""
        size = bytearray(_INT_SIZE)
        with self.lock.entered:
            if self.number >= 0:
                self.call(fcntl.ioctl, termios.FIONREAD, size, context="Error counting the bytes to be read: ")
        return int.from_bytes(size, sys.byteorder)

    # --- options ---

    def get_option(self, level: int, name: int, context: str) -> int:
        """Give an integer option; *context* is the error's prefix."""
        value, length = ffi.new("int *"), ffi.new("socklen_t *", _INT_SIZE)
        with self.lock.entered:
            if lib.getsockopt(self.number, level, name, value, length) < 0:
                raise self.error(context)
        return int(value[0])

    def set_option(self, level: int, name: int, value: int, context: str) -> None:
        """Set an integer option; *context* is the error's prefix."""
        with self.lock.entered:
            if level == _CREDENTIALS_LEVEL and name == _CREDENTIALS_NAME and self._passcred_users:
                # It is on, and stays on until the last receiver leaves; that one sets what is asked for here.
                self.check()
                self._switched_passcred[:] = () if value else (True,)
                return
            if lib.setsockopt(self.number, level, name, ffi.new("int *", value), _INT_SIZE) < 0:
                raise self.error(context)

    # --- SO_PASSCRED ---
    # The flag belongs to the socket: a receiver that switched it off for itself would leave another one with the
    # identity of whoever made the socket, in place of the sender's. So it is on as long as anybody wants it.

    def enter_passcred(self, token: object) -> None:
        """Have SO_PASSCRED on until *token* leaves, and everybody else who entered."""
        with self.lock.entered:
            first = not self._passcred_users
            self._passcred_users.add(token)
            if first:
                _receiving[weakref.ref(self, _forget_receiver)] = None
                self._switch_on_passcred(self._switched_passcred)

    def leave_passcred(self, token: object) -> None:
        """Undo `enter_passcred`, also one that failed half way; the last one restores what the user has set."""
        with self.lock.entered:
            self._passcred_users.discard(token)
            if not self._passcred_users:
                _receiving.pop(weakref.ref(self), None)
                self._switch_back_passcred(self._switched_passcred)

    def try_with_passcred(self, attempt: Callable[[Handle], T]) -> T:
        """Call *attempt*, which does not wait, with SO_PASSCRED on: entered and left with less ado."""
        # Of this call alone: a signal handler may make another one in the middle of it.
        switched: list[bool] = []
        with self.lock.entered:
            try:
                if not self._passcred_users:
                    self._switch_on_passcred(switched)
                result = attempt(self)
                self._switch_back_passcred(switched)
            except BaseException:  # an Error, or of a signal handler, wherever it struck
                self._switch_back_passcred(switched)
                raise
        return result

    # By the standard library, which for an integer option is faster than cffi on CPython, and as fast on PyPy.

    def _switch_on_passcred(self, switched: list[bool]) -> None:
        """Switch it on; *switched* has something afterwards if it was off."""
        if _CREDENTIALS_NAME < 0:  # the sender attaches them, or nobody can
            return
        doing = "checking if SO_PASSCRED is enabled for socket"
        try:
            if not self.python.getsockopt(_CREDENTIALS_LEVEL, _CREDENTIALS_NAME):
                doing = "enabling SO_PASSCRED"
                # Before it is so, as it may be switched off once too often.
                switched.append(True)
                self.python.setsockopt(_CREDENTIALS_LEVEL, _CREDENTIALS_NAME, 1)
        except OSError as error:
            self.check()
            raise translated(error, f"Error {doing}: ") from None

    def _switch_back_passcred(self, switched: list[bool]) -> None:
        if switched:
            if self._passcred_users:  # a signal handler's, which began to wait meanwhile
                self._switched_passcred[:] = switched
            elif self.number >= 0:  # a closed socket needs no restoring
                self.python.setsockopt(_CREDENTIALS_LEVEL, _CREDENTIALS_NAME, 0)
            switched.clear()
