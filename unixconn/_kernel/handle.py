"""
Handle: the descriptor of one socket, which several threads use and any of them may close.

The race: thread A reads the number of the descriptor for a system call. Thread B closes the socket, and the kernel
gives the number to the next file that is opened. Thread A would then send to that file, or receive from it.

The remedy (hazard pointers, M. Michael 2004):

- Thread A first stores the Handle in a `Use`, then reads `Handle.number`. It clears the `Use` after the system call.
- Thread B, in `Handle.close`, first sets `Handle.number` to -1, and then closes the descriptor, but only if no `Use`
  refers to the Handle.
- Otherwise thread A closes it: it finds `Handle.closed` set after its system call, and calls `Handle.reap`.

Each step is one store of an attribute. So it costs next to nothing and may be repeated. It is also correct without the
GIL, and if a signal handler runs between two steps.
"""

from __future__ import annotations

import _socket as socket
import fcntl
import os
import select
import sys
import termios
import weakref
from collections import deque
from itertools import chain, repeat, starmap

from unixconn._base.errors import Error, IOErrorEnum, io_error, system_error, translated
from unixconn._base.lock import Lock, RecursiveLock, ending, forget, register
from unixconn._base.typing import TYPE_CHECKING, TypeVar
from unixconn._kernel import unpatched
from unixconn._kernel.native import ffi, lib
from unixconn._kernel.platform import SYSTEM
from unixconn._kernel.sockets import SocketType
from unixconn._kernel.trigger import Trigger
from unixconn._kernel.unwanted import Guard, close_apart, close_unwanted, holds_descriptors

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable
    from typing import Any, ClassVar

T = TypeVar("T")


class Use:
    """The Handle that a thread uses, one thread at a time: in the attribute ``user``, which is None for no Handle."""

    __slots__ = ("__weakref__", "user")

    def __init__(self) -> None:
        self.user: Handle | None = None
        for each in tuple(_uses):
            if each() is None:
                _forget(each)
        _uses.append(weakref.ref(self))


# The references are weak: if an exception interrupts a thread's call, its Use is dropped, and does not count any more.
# The list is changed and copied only in single steps of the interpreter, as other threads and signal handlers may
# change it at any moment.
_uses: list[weakref.ref[Use]] = []


def _forget(use: weakref.ref[Use]) -> None:
    try:
        _uses.remove(use)
    except ValueError:  # another thread has removed it meanwhile
        return


Stack: Any = list if sys.implementation.name == "pypy" else deque
"""
The type of a stack of idle objects, of which one at a time is in use: most often the only one.

CPython's list gives its memory back when it has become empty, and asks for it again.
"""
IDLE_USES: Any = Stack()
"""The `Use` objects of calls that have ended, as making one takes longer than a system call. See `Pool`."""


# What `map` needs to find the users of `_uses` without a loop, whose jump back no handler would cover: see "Signal
# handlers that raise" in CONTRIBUTING.md.
_called = weakref.ref.__call__
_USER, _NOBODY = repeat("user"), repeat(None)


def _is_used(handle: Handle) -> bool:
    return handle in map(getattr, map(_called, [*_uses]), _USER, _NOBODY)


_poll = unpatched.function("poll")


def _start_in_child() -> None:
    """Forget the parent's other threads, which a forked child does not have."""
    for each in tuple(_uses):
        use = each()
        if use is not None:
            use.user = None


os.register_at_fork(after_in_child=_start_in_child)

_SOL_SOCKET = lib.SOL_SOCKET
# Of _socket, and not of socket, whose constants are members of enums: these are slower to compare, and an import spends
# much of its time on them.
_UNIX, _STREAM = socket.AF_UNIX, socket.SOCK_STREAM
_DATAGRAM, _SEQUENCE = socket.SOCK_DGRAM, socket.SOCK_SEQPACKET
# These are two constants, as unpacking a tuple takes time with every message. They are -1 on a system without such an
# option.
_CREDENTIALS_LEVEL, _CREDENTIALS_NAME = SYSTEM.credentials_option or (-1, -1)
_INT_SIZE = ffi.sizeof("int")
_ioctl, _UNREAD, _NOTHING = fcntl.ioctl, termios.FIONREAD, bytes(_INT_SIZE)
_NO_SIGPIPE: int | None = getattr(lib, "SO_NOSIGPIPE", None)
"""The option that suppresses SIGPIPE, on systems where that is an option of the socket and not a flag of each send."""


def _is_readable(python: Any) -> bool:
    """Return whether poll(2) reports *python*, a socket, as readable; True if nobody can say."""
    poller = _poll()
    poller.register(python, select.POLLIN)
    try:
        return bool(poller.poll(0))
    except OSError:
        return True


_NO_USERS: set[object] = set()
"""The `Handle.passcred_users` of all Handles that had none: most never have one. Nothing is added to it."""
_NO_LEFTOVERS: deque[list[int]] = deque()
"""The same for `Handle.leftovers`: an empty deque takes 600 bytes."""

# The socket of a Handle that is not open yet. It is closed, so each system call fails on it.
_NO_SOCKET = SocketType(socket.AF_UNIX)
_NO_SOCKET.close()


class Handle(Lock):
    """
    The descriptor of one Socket, and what the operations on it share. It is its own lock.

    The lock guards the state. The descriptor is not closed while it is held, so a system call inside needs no `Use`.
    """

    __slots__ = (
        "_closing",
        "_ending",
        "_guards",
        "closed",
        "is_aside",
        "is_datagram",
        "is_sequence",
        "is_stream",
        "is_unix",
        "kept",
        "leftovers",
        "listens",
        "number",
        "opened",
        "passcred_users",
        "python",
        "refuses",
        "switched_passcred",
        "waiting",
    )

    is_file: ClassVar[bool] = False
    """Whether the descriptor may be of any kind, and not only a socket, see files.py."""

    def __init__(self) -> None:
        # The lines of the lock's constructor, without the call.
        self.entered: threading.RLock = RecursiveLock()
        self._condition = None
        register(weakref.ref(self, forget))
        self.opened: bool = False
        self.number: int = -1
        """The number of the descriptor; -1 before `open` and after `close`."""
        self.closed: bool = False
        self.is_unix: bool = False
        self.is_stream: bool = False
        self.is_datagram: bool = False
        self.is_sequence: bool = False
        self.listens: bool = False
        """Whether the socket is known to listen."""
        self.refuses: bool = False
        """Whether operations close received descriptors, as the kernel may not refuse all of them itself."""
        self._closing: Trigger | None = None
        self.passcred_users: set[object] = _NO_USERS
        self.switched_passcred: bool | None = None
        """
        Whether the last of `passcred_users` has to switch SO_PASSCRED off when it leaves.

        None before the first of them, which calls `become_receiver`. That makes the set.
        """
        self.leftovers: deque[list[int]] = _NO_LEFTOVERS
        """
        Descriptors that have left the socket and that no operation has returned, one list for each message.

        They are left over from an operation that ended before it had all the descriptors that it waited for, or from
        one that only asked for the bytes of their messages. The next operation that receives descriptors takes them;
        `close` closes them.
        """
        self.is_aside: bool = False
        """Whether bytes may come from elsewhere than the socket: from `kept`, or from a file."""
        self.waiting: dict[int, dict[Any, None]] = {}
        """The operations that wait in the background, one queue for each poll() event; see waiter.py."""
        # This is the last attribute: if it exists, the destructor relies on the others.
        self.python: Any = _NO_SOCKET

    def open(self, python: Any) -> None:
        """
        Take over *python*, a `SocketType` or an object like one, and close it with this object.

        *python* should be younger than this object. If both are garbage of one cycle, the collector then finalizes this
        object first, which closes the socket; otherwise the socket would warn that it was not closed.
        """
        self.python = python
        self.is_unix = python.family == _UNIX
        kind = python.type
        if kind == _STREAM:
            self.is_stream = True
        elif kind == _DATAGRAM:
            self.is_datagram = True
        elif kind == _SEQUENCE:
            self.is_sequence = True
        self.opened = True
        self.number = python.fileno()
        if _NO_SIGPIPE is not None:
            try:  # noqa: SIM105 - contextlib would be imported for this alone
                python.setsockopt(_SOL_SOCKET, _NO_SIGPIPE, 1)
            except OSError:  # macOS refuses it for a socket that is shut down, as an accepted one whose peer is gone
                pass

    def __del__(self) -> None:
        try:
            python = self.python
        except AttributeError:  # an exception has interrupted the constructor
            return
        if self.number < 0:
            try:  # noqa: SIM105 - the lines of close_socket(), without the call
                python.close()
            except OSError:
                pass
        else:
            self._close_socket()
        if self.leftovers or self.is_aside:
            self._close_leftovers()

    def _begin_to_keep(self) -> None:
        """Make what few Handles need. A second call has no effect."""
        with self.entered:
            if hasattr(self, "_guards"):
                return
            self.leftovers = deque()
            self._ending: list[list[int]] = []
            """Lists from `leftovers` that are being closed."""
            self.kept: deque[Any] = deque()
            """
            Messages that have left the socket and that no operation has returned: what `receive_exactly` has received
            in vain. The next operation that receives data takes them; `close` closes them.
            """
            self._guards = [Guard(each) for each in (self.leftovers, self._ending) * 2]

    def keep_messages(self, messages: Iterable[Any]) -> None:
        """Put *messages*, which come in one step of the interpreter, the last one first, at the beginning of `kept`."""
        with self.entered:
            if not hasattr(self, "_guards"):
                self._begin_to_keep()
            self.is_aside = True
            self.kept.extendleft(messages)
        if self.number < 0:
            self.reap()
        else:
            self.wake()

    def keep(self, messages: list[list[int]]) -> bool:
        """
        Append *messages*, lists of descriptors, to `leftovers`; return whether there was any descriptor.

        The lists leave *messages*, so that it may be called again if an exception has interrupted it.
        """
        return self._take_over(messages, deque.extend)

    def give_back(self, messages: list[list[int]]) -> bool:
        """Put *messages* at the beginning of `leftovers`, and otherwise do what `keep` does."""
        return self._take_over(messages, deque.extendleft)

    def _take_over(self, messages: list[list[int]], put: Callable[[deque[Any], Iterable[list[int]]], None]) -> bool:
        kept = False
        if messages and not hasattr(self, "_guards"):
            self._begin_to_keep()
        while messages:
            if messages[-1]:
                # The list moves as a whole, in one step of the interpreter, so that no other thread finds an empty one.
                put(self.leftovers, map(messages.pop, (-1,)))
                kept = True
            else:
                messages.pop()
        if self.number < 0:
            self.reap()
        elif kept:
            self.wake()
        return kept

    def take_leftover(self, owner: list[int]) -> bool:
        """Move the descriptors of the first of `leftovers` to *owner*; return False if there are none."""
        try:
            # In one step of the interpreter, as the descriptors have no owner in between.
            owner.extend(chain.from_iterable(map(deque.popleft, (self.leftovers,))))
        except IndexError:  # another thread has taken the last ones since the caller looked
            return False
        return True

    def wake(self) -> None:
        """Wake the threads that wait in poll() in an operation, so that they try again."""
        with self.entered:
            if self._closing is not None:
                self._closing._set()

    # --- the end ---

    def check(self) -> None:
        """Raise the Error CLOSED after `close`, and NOT_INITIALIZED before `open`. The texts are Gio's."""
        if not self.opened:
            raise io_error(IOErrorEnum.NOT_INITIALIZED, "Invalid socket, not initialized")
        if self.number < 0:
            raise io_error(IOErrorEnum.CLOSED, "Socket is already closed")

    def close_unguarded(self) -> None:
        """
        Close the descriptor, and wake all operations that wait.

        If another thread is in a system call with the descriptor, that thread closes it; see the top of this file. The
        caller has to call this again if an exception interrupts it, as `close` does.
        """
        self.number = -1
        # In this order: a thread that stored its `Use` before `reap` looks for users finds this set after its system
        # call, and reaps. A thread that stores it later finds the number -1.
        self.closed = True
        with self.entered:
            # As in `reap`, which would take the lock once more, and in `_is_used`.
            if self not in map(getattr, map(_called, [*_uses]), _USER, _NOBODY):
                self._close_socket()
                if self.leftovers or self.is_aside:
                    self._close_leftovers()
            if self._closing is not None:
                self._closing._set()
            if self.waiting:
                for each in [each for line in self.waiting.values() for each in line]:
                    each._look()

    if TYPE_CHECKING:  # checkers differ in what they infer from an assignment

        def close(self) -> None:
            """Do what `close_unguarded` does, again if an exception interrupts it."""
    else:
        close = ending(close_unguarded)

    def release(self, owner: list[int]) -> None:
        """Move the descriptor to *owner*, and close this Handle, of which nobody else knows yet."""
        owner.extend(starmap(self.python.detach, ((),)))
        self.close()

    def reap(self) -> None:
        """Close the descriptor if `close` was called and no `Use` refers to this Handle any more."""
        with self.entered:
            if self.number < 0 and not _is_used(self):
                self._close_socket()
                self._close_leftovers()

    def _close_socket(self) -> None:
        """Close the descriptor. A thread of its own does it if a peer could make close(2) wait: see unwanted.py."""
        if self.is_unix:
            try:
                if self.is_stream:
                    # With the number and a bytearray, fcntl.ioctl() takes a third of its time.
                    unread = bytearray(_INT_SIZE)
                    _ioctl(self.python.fileno(), _UNREAD, unread)
                    if unread != _NOTHING:
                        self._close_queue()
                else:  # only a stream has no descriptors without bytes
                    self._close_queue()
            except OSError:  # it listens, and descriptors may come with the connections that wait
                if _is_readable(self.python):
                    self._close_queue()
            except ValueError:  # it is closed
                return
            except TypeError:  # the process ends, and the interpreter has cleared the module's names
                pass
        try:  # noqa: SIM105 - the lines of close_socket(), without the call
            self.python.close()
        except OSError:
            pass

    def _close_queue(self) -> None:
        python = self.python
        if python.fileno() >= 0 and holds_descriptors(python.fileno()):
            close_apart(python.detach)

    def _close_leftovers(self) -> None:
        if not hasattr(self, "_guards"):
            return
        # `ending` calls this again only for what `close` can see.
        self.is_aside = True
        while self.kept:
            self.kept[0].close()
            self.kept.popleft()
        while self.leftovers or self._ending:
            # A list leaves the queue before it is closed, as another thread may take one at the same time.
            try:  # noqa: SIM105 - as above
                self._ending.extend(map(deque.popleft, (self.leftovers,)))
            except IndexError:  # the other thread has taken the last one
                pass
            while self._ending:
                close_unwanted(self._ending[-1])
                self._ending.pop()

    def closing(self) -> Trigger:
        """
        Return a Trigger that is set by `close`, for a thread that is about to wait in poll().

        `keep` and `give_back` set it, too. It is not cleared afterwards, so that all threads that wait with it see it.
        The next call of this method returns a new Trigger.
        """
        closing = self._closing
        if closing is None or closing._is_set():
            with self.entered:
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
        """
        Call *function*, a method of the standard library's socket that does not block, and return its result.

        *context* is the prefix of an Error's text.
        """
        with self.entered:
            try:
                return function(self.python, *arguments)
            except OSError as error:
                raise translated(error, context) from None

    def listen(self, backlog: int) -> None:
        """Let peers connect, see listen(2). On Linux *backlog* and one more connections can wait to be accepted."""
        with self.entered:
            # The standard library is not used here: PyPy's turns a backlog of 0 into 1.
            if lib.listen(self.number, backlog) < 0:
                raise self.error("could not listen: ")
            self.listens = True

    def poll(self, events: int) -> int:
        """Return which of *events*, ERR, HUP and NVAL poll() reports now; 0 for none and after `close`."""
        poller = _poll()
        with self.entered:
            if self.number >= 0:
                poller.register(self.number, events)
            try:
                ready = poller.poll(0)
            except OSError as error:
                raise translated(error, "Waiting for the socket: ") from None
        return ready[0][1] if ready else 0

    def available_bytes(self) -> int:
        """Return the number of bytes that can be received without waiting (FIONREAD); 0 after `close`."""
        size = bytearray(_INT_SIZE)
        with self.entered:
            if self.number >= 0:
                self.call(fcntl.ioctl, termios.FIONREAD, size, context="Error counting the bytes to be read: ")
        return int.from_bytes(size, sys.byteorder)

    # --- options ---

    def get_option(self, level: int, name: int, context: str) -> int:
        """Return the value of an integer option. *context* is the prefix of an Error's text."""
        value, length = ffi.new("int *"), ffi.new("socklen_t *", _INT_SIZE)
        with self.entered:
            if lib.getsockopt(self.number, level, name, value, length) < 0:
                raise self.error(context)
        return int(value[0])

    def set_option(self, level: int, name: int, value: int, context: str) -> None:
        """Set an integer option. *context* is the prefix of an Error's text."""
        with self.entered:
            if level == _CREDENTIALS_LEVEL and name == _CREDENTIALS_NAME and self.passcred_users:
                # SO_PASSCRED is on, and stays on until the last receiver leaves. That then sets the value given here.
                self.check()
                self.switched_passcred = not value
                return
            if lib.setsockopt(self.number, level, name, ffi.new("int *", value), _INT_SIZE) < 0:
                raise self.error(context)
