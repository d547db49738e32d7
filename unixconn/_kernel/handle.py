"""
Handle: the descriptor of one socket, which several threads use and any of them may close.

The kernel gives a closed number to the next file that is opened. A thread that read the number just before would then
send to that file, or receive from it. So a thread that is about to make a system call stores the Handle in a `Use`
first, and reads `Handle.number` after. `Handle.close` takes the number away first, and closes it when no `Use` refers
to the Handle (hazard pointers, M. Michael 2004). Each step is one store of an attribute. It costs next to nothing, may
be repeated, and holds without the GIL and under signals.
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
from itertools import chain

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error, translated
from unixconn._base.lock import Lock, ending
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._kernel.descriptors import close_all
from unixconn._kernel.native import ffi, lib
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.trigger import Trigger

if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Callable, Iterable
    from typing import Any

T = TypeVar("T")


class Use:
    """A place where one thread at a time states which Handle it uses."""

    __slots__ = ("__weakref__", "user")

    def __init__(self) -> None:
        self.user: Handle | None = None
        for each in tuple(_uses):
            if each() is None:
                _forget(each)
        _uses.append(weakref.ref(self))


# Weak, as a Use that an interrupted thread has dropped does not count. Changed and copied only in single steps of the
# interpreter, as other threads and signal handlers may do the same at any moment.
_uses: list[weakref.ref[Use]] = []


def _forget(use: weakref.ref[Use]) -> None:
    try:
        _uses.remove(use)
    except ValueError:  # another thread was quicker
        return


def _is_used(handle: Handle) -> bool:
    return any(use is not None and use.user is handle for use in (each() for each in tuple(_uses)))


# The Handles of operations that wait for credentials. Weak, as such an operation may be dropped.
_receiving: dict[weakref.ref[Handle], None] = {}


def _forget_receiver(gone: weakref.ref[Handle]) -> None:
    # It may be gone already: PyPy calls this also for a reference that only waits to be collected.
    _receiving.pop(gone, None)


def _start_in_child() -> None:
    """Forget the threads, which a forked child does not have."""
    for each in tuple(_uses):
        use = each()
        if use is not None:
            use.user = None
    # SO_PASSCRED is on for the parent's receivers. Here it counts as the user's own setting.
    while _receiving:
        handle = _receiving.popitem()[0]()
        if handle is not None:
            handle._passcred_users.clear()
            handle._switched_passcred.clear()


os.register_at_fork(after_in_child=_start_in_child)

_SOL_SOCKET = lib.SOL_SOCKET
# Two constants, as unpacking a tuple at every message takes longer; -1 where there is no such option.
_CREDENTIALS_LEVEL, _CREDENTIALS_NAME = SYSTEM.credentials_option or (-1, -1)
_INT_SIZE = ffi.sizeof("int")
_NO_SIGPIPE: int | None = getattr(lib, "SO_NOSIGPIPE", None)
"""Set on systems where it is an option of the socket, and no flag of each send."""


def adopt_socket(owner: list[int]) -> socket.socket:
    """
    Return a socket object that has taken the descriptor over from *owner*; the descriptor becomes close-on-exec.

    Raises the Error for getsockopt(2)'s errno if it is no socket; *owner* keeps it then.
    """
    fd = owner[0]
    kind = _ask(fd, lib.SO_TYPE)
    # Where the kernel has no such option, the standard library asks for the address.
    family = _ask(fd, lib.SO_DOMAIN) if hasattr(lib, "SO_DOMAIN") else -1
    protocol = _ask(fd, lib.SO_PROTOCOL) if hasattr(lib, "SO_PROTOCOL") else -1
    os.set_inheritable(fd, False)
    # In two steps: an object that is dropped half-made must not close the descriptor, which the owner still has.
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
"""Added to a socket's type, it keeps `socket.setdefaulttimeout` from applying, and O_NONBLOCK as it is."""

# Stands for a socket that is yet to come: a closed one, which the kernel refuses in the same way.
_NO_SOCKET = socket.socket(socket.AF_UNIX)
_NO_SOCKET.close()


class Handle:
    """The descriptor of one Socket, and what the operations on it share."""

    __slots__ = (
        "__weakref__",
        "_closing",
        "_ending",
        "_passcred_users",
        "_switched_passcred",
        "closed",
        "is_datagram",
        "is_sequence",
        "is_stream",
        "is_unix",
        "leftovers",
        "lock",
        "number",
        "opened",
        "python",
        "refuses",
        "waiting",
    )

    def __init__(self) -> None:
        self.lock: Lock = Lock()
        """No number is closed for good while it is held, so a system call inside needs no `Use`."""
        self.opened: bool = False
        self.number: int = -1
        """The number of the descriptor, -1 before it is opened and after it was closed."""
        self.closed: bool = False
        self.is_unix: bool = False
        self.is_stream: bool = False
        self.is_datagram: bool = False
        self.is_sequence: bool = False
        self.refuses: bool = False
        """Whether descriptors that come are closed, which the kernel does not refuse itself."""
        self._closing: Trigger | None = None
        self._passcred_users: set[object] = set()
        self._switched_passcred: list[bool] = []
        """Not empty if the last of these users has to switch SO_PASSCRED off."""
        self.leftovers: deque[list[int]] = deque()
        """Descriptors of messages whose bytes a stream has read. `receive_fd` takes them next, `close` closes them."""
        self._ending: list[list[int]] = []
        self.waiting: dict[int, OrderedDict[Any, None]] = {}
        """The operations that wait in the background, in lines by the poll() event they wait for; see waiter.py."""
        # Last, as the destructor takes it for a sign that the others are there.
        self.python: Any = _NO_SOCKET

    def open(self, python: Any) -> None:
        """
        Take over *python*, a socket of the standard library or alike, whose descriptor is closed with this object.

        It should be newer than this object: the garbage collector then comes here first, and does not warn.
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
            except OSError:  # macOS, for a socket that is shut down, such as an accepted one whose peer is gone
                pass

    def __del__(self) -> None:
        # Also after a constructor that an exception broke off.
        python = getattr(self, "python", None)
        if python is not None:
            python.close()
            self._close_leftovers()

    def keep(self, messages: list[list[int]]) -> bool:
        """Keep *messages*, lists of descriptors, for later receivers, behind others; return whether there is any."""
        return self._take_over(messages, self.leftovers.extend)

    def give_back(self, messages: list[list[int]]) -> bool:
        """Keep *messages*, lists of descriptors, for later receivers, before others; return whether there is any."""
        return self._take_over(messages, self.leftovers.extendleft)

    def _take_over(self, messages: list[list[int]], put: Callable[[Iterable[list[int]]], None]) -> bool:
        kept = False
        while messages:
            if messages[-1]:
                # The list itself, in one step of the interpreter: no receiver finds an empty one meanwhile.
                put(map(messages.pop, (-1,)))
                kept = True
            else:
                messages.pop()
        if self.number < 0:
            self.reap()
        elif kept:
            self._wake()
        return kept

    def take_leftover(self, owner: list[int]) -> bool:
        """Let *owner* have the descriptors of the next of `leftovers`; return False if another thread was quicker."""
        try:
            # In one step of the interpreter, as nobody owns them in between.
            owner.extend(chain.from_iterable(map(deque.popleft, (self.leftovers,))))
        except IndexError:  # another thread was quicker
            return False
        return True

    def _wake(self) -> None:
        """Have operations that wait in poll() try again."""
        with self.lock.entered:
            if self._closing is not None:
                self._closing._set()

    # --- the end ---

    def check(self) -> None:
        """Raise the Error CLOSED after `close`, NOT_INITIALIZED before `open`."""
        if not self.opened:
            raise io_error(IOErrorEnum.NOT_INITIALIZED, "Invalid socket, not initialized")
        if self.number < 0:
            raise io_error(IOErrorEnum.CLOSED, "Socket is already closed")

    @ending
    def close(self) -> None:
        """Close it, or let the last thread that uses it right now do so, and wake every operation that waits."""
        self.number = -1
        # After the number, and before `reap` looks for users: who uses it now reaps it, or this does.
        self.closed = True
        with self.lock.entered:
            self.reap()
            if self._closing is not None:
                self._closing._set()
            for each in [each for line in self.waiting.values() for each in line]:
                each.look()

    def reap(self) -> None:
        """Close the descriptor for good if it was closed, and no `Use` refers to this any more."""
        with self.lock.entered:
            if self.number < 0 and not _is_used(self):
                self.python.close()
                self._close_leftovers()

    def _close_leftovers(self) -> None:
        while self.leftovers or self._ending:
            # First out of the queue, from which a receiver may take one at the same time, then closed.
            try:  # noqa: SIM105 - as above
                self._ending.extend(map(deque.popleft, (self.leftovers,)))
            except IndexError:  # the receiver was quicker
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
        """Return the Error for a system call that has just failed: CLOSED after `close`, else the one for its errno."""
        number = ffi.errno
        self.check()
        return system_error(number, context)

    def call(self, function: Callable[..., T], *arguments: Any, context: str) -> T:
        """Call a method of the standard library's socket that does not block. *context* begins an Error's text."""
        with self.lock.entered:
            try:
                return function(self.python, *arguments)
            except OSError as error:
                raise translated(error, context) from None

    def listen(self, backlog: int) -> None:
        """Let peers connect; *backlog* and one more may wait to be accepted."""
        with self.lock.entered:
            # Not by the standard library, as PyPy's takes a backlog of 0 for 1.
            if lib.listen(self.number, backlog) < 0:
                raise self.error("could not listen: ")

    def poll(self, events: int) -> int:
        """Return those of *events*, and ERR and HUP, that poll() reports right now; 0 after `close`."""
        poller = select.poll()
        with self.lock.entered:
            if self.number >= 0:
                poller.register(self.number, events)
            ready = poller.poll(0)
        return ready[0][1] if ready else 0

    def available_bytes(self) -> int:
        """Return the number of bytes that can be received without waiting (FIONREAD); 0 after `close`."""
        size = bytearray(_INT_SIZE)
        with self.lock.entered:
            if self.number >= 0:
                self.call(fcntl.ioctl, termios.FIONREAD, size, context="Error counting the bytes to be read: ")
        return int.from_bytes(size, sys.byteorder)

    # --- options ---

    def get_option(self, level: int, name: int, context: str) -> int:
        """Return the value of an integer option. *context* is the prefix of an Error's text."""
        value, length = ffi.new("int *"), ffi.new("socklen_t *", _INT_SIZE)
        with self.lock.entered:
            if lib.getsockopt(self.number, level, name, value, length) < 0:
                raise self.error(context)
        return int(value[0])

    def set_option(self, level: int, name: int, value: int, context: str) -> None:
        """Set an integer option. *context* is the prefix of an Error's text."""
        with self.lock.entered:
            if level == _CREDENTIALS_LEVEL and name == _CREDENTIALS_NAME and self._passcred_users:
                # It is on, and stays on until the last receiver leaves, which then sets the value asked for here.
                self.check()
                self._switched_passcred[:] = () if value else (True,)
                return
            if lib.setsockopt(self.number, level, name, ffi.new("int *", value), _INT_SIZE) < 0:
                raise self.error(context)

    # --- SO_PASSCRED ---
    # The option belongs to the socket. A receiver that switched it off for itself would leave another receiver with the
    # identity of the process that made the socket, in place of the sender's. So it is on as long as any receiver needs
    # it.

    def enter_passcred(self, token: object) -> None:
        """Switch SO_PASSCRED on, until *token* and all others that have entered leave."""
        with self.lock.entered:
            first = not self._passcred_users
            self._passcred_users.add(token)
            if first:
                _receiving[weakref.ref(self, _forget_receiver)] = None
                self._switch_on_passcred(self._switched_passcred)

    def leave_passcred(self, token: object) -> None:
        """Undo `enter_passcred`, also one that failed half-way. The last one restores the user's setting."""
        with self.lock.entered:
            self._passcred_users.discard(token)
            if not self._passcred_users:
                _receiving.pop(weakref.ref(self), None)
                self._switch_back_passcred(self._switched_passcred)

    def try_with_passcred(self, attempt: Callable[[Handle, list[T]], bool], found: list[T]) -> bool:
        """Call *attempt*, which does not wait, with *found* while SO_PASSCRED is on, and return its result."""
        # A list of this call alone, as a signal handler may make another call in the middle of it.
        switched: list[bool] = []
        with self.lock.entered:
            try:
                if not self._passcred_users:
                    self._switch_on_passcred(switched)
                came = attempt(self, found)
                self._switch_back_passcred(switched)
            except BaseException:  # an Error, or raised by a signal handler, at whatever step
                self._switch_back_passcred(switched)
                raise
        return came

    # The standard library is faster than cffi for an integer option on CPython, and as fast on PyPy.

    def _switch_on_passcred(self, switched: list[bool]) -> None:
        """Switch SO_PASSCRED on; *switched* is not empty afterwards if it was off."""
        if _CREDENTIALS_NAME < 0:  # the sender attaches credentials, or nobody can
            return
        doing = "checking if SO_PASSCRED is enabled for socket"
        try:
            if not self.python.getsockopt(_CREDENTIALS_LEVEL, _CREDENTIALS_NAME):
                doing = "enabling SO_PASSCRED"
                # Before it is on, as switching it off once too often does no harm.
                switched.append(True)
                self.python.setsockopt(_CREDENTIALS_LEVEL, _CREDENTIALS_NAME, 1)
        except OSError as error:
            self.check()
            raise translated(error, f"Error {doing}: ") from None

    def _switch_back_passcred(self, switched: list[bool]) -> None:
        if switched:
            if self._passcred_users:  # an operation that a signal handler has started meanwhile
                self._switched_passcred[:] = switched
            elif self.number >= 0:  # a closed socket needs no restoring
                self.python.setsockopt(_CREDENTIALS_LEVEL, _CREDENTIALS_NAME, 0)
            switched.clear()
