"""What a row of the table of operations is made of."""

from __future__ import annotations

import contextlib
import itertools
import os

from helpers import same
from ways import blocking, by_future, start

from unixconn import FileDescriptor

NUMBERS = itertools.count()


def number_of(descriptor):
    """Return the number of a descriptor that was received."""
    return descriptor if isinstance(descriptor, int) else descriptor.fileno()


class Operation:
    """
    A row of the table: an object that has the operation, and what a test must know to call it in every way.

    `owner` has the methods. `ready` lets one operation end without waiting, `block` makes the next one wait, `unblock`
    lets one that waits go on. `check` fails unless a result is right, and closes it. `again` does the operation after
    one that has failed, and fails unless that one has left everything as it was.
    """

    name: str
    """The blocking method; the others have _async and _finish after it."""
    symbol: str
    """The name of its Task, Gio's name of the start without _async."""
    waits = True
    """Whether it may have to wait."""
    is_blocking = True
    """Whether it has a blocking method."""
    finish_is_of_an_object = True
    """Whether its *_finish is a method, and not a function of the class."""
    several: str | None = "line"
    """What comes of a second one while the first waits: a "line", or "pending", the Error."""
    repeats = True
    """Whether it can be done again after it has succeeded."""
    has_timeout = True
    """Whether its wait has a timeout of a Socket's."""
    waits_anyway: tuple[str, ...] = ()
    """The ways in which it waits also on a Socket that is set not to block."""
    plain_heeds_cancellable = True
    """Whether a Cancellable ends the blocking method."""
    keeps_a_descriptor = False
    """Whether its result is a descriptor, or has one, that has to be closed."""
    begins_at_once = True
    """Whether it begins in the call; else with the first iteration of its context."""
    has_int = False
    """Whether its start takes one."""
    closes = False
    """Whether it closes its owner, also where it fails."""
    prefix = ""
    """Of the texts of errors, but for cancelling."""
    closed: str | None = "Socket is already closed"
    """The text for one that starts when its owner is closed."""
    closed_meanwhile = "Socket is already closed"
    """The text for one that waits when its owner is closed."""
    gone: object = None
    """What comes of it when the peer goes while it waits: code and text of an Error, or a result."""
    timed_out = "Operation timed out"
    """The text for one whose Cancellable has a deadline that passes."""
    cancelled = "Operation was cancelled"
    """The text for a blocking one that is cancelled; the asynchronous forms have no prefix."""

    owner: object

    def __init__(self):
        self.stack = contextlib.ExitStack()
        self.made = []
        """Files that were sent, or will be, in their order."""
        self.is_ready = False
        with contextlib.ExitStack() as stack:
            self.stack = stack
            self.open()
            self.stack = stack.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.forget()
        self.stack.close()

    def open(self):
        """Make the owner and its peer."""

    def arguments(self):
        """Return the arguments of one call, by their names."""
        return {}

    def block(self):
        """Make the operation wait."""

    def ready(self):
        """Let one operation end without waiting."""
        self.is_ready = True

    def unblock(self, count=1):
        """Let so many that wait go on."""
        for _ in range(count):
            self.ready()

    def prepare(self, later):
        """Let the next one wait if it is to end *later*, and be ready if not."""
        if later:
            self.block()
        else:
            self.ready()

    def done(self):
        """Fail unless one has ended well whose result nobody takes."""

    def check(self, value):
        """Fail unless *value* is the result; close it."""

    def close(self):
        """Close what the operation belongs to, before it."""
        self.owner.close()

    def close_meanwhile(self):
        """Close it while the operation waits."""
        self.owner.close()

    def leave(self):
        """Let the peer go."""
        self.peer.close()

    def sockets(self):
        """Return the Sockets that have the timeout of the operation."""
        return [self.owner.get_socket()]

    def settled(self):
        """Fail if an operation is under way."""
        assert not (hasattr(self.owner, "has_pending") and self.owner.has_pending())

    def start(self, cancellable=None, *callback, **named):
        """Start the operation; without *callback* that is a Future."""
        return start(self.owner, self.name, self.arguments().values(), cancellable, *callback, **named)

    def finish(self, result):
        """Finish it."""
        return getattr(self.owner, f"{self.name}_finish")(result)

    def do(self, way, **named):
        """Do the operation in a way."""
        return way(self.owner, self.name, *self.arguments().values(), **named)

    def again(self):
        """Do the operation by its blocking method, and check all of it."""
        self.settled()
        if not self.is_ready:
            self.ready()
        if self.is_blocking:
            self.check(self.do(blocking))
        else:
            self.check(self.do(by_future))
        self.settled()

    def file(self):
        """Make a file to send that is like no other."""
        self.made.append(os.memfd_create(f"number {next(NUMBERS)}"))
        return self.made[-1]

    def forget(self):
        """Close the files that nobody is to receive any more."""
        for fd in self.made:
            os.close(fd)
        self.made.clear()

    def check_file(self, descriptor):
        """Fail unless *descriptor* is of the file that was to come next; close both."""
        expected = self.made.pop(0)
        assert same(number_of(descriptor), expected)
        assert not os.get_inheritable(number_of(descriptor))
        os.close(expected)
        if isinstance(descriptor, FileDescriptor):
            descriptor.close()
        else:
            os.close(descriptor)
