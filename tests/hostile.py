"""
Plays hostile peers against all that receives, at random, and compares what comes with a model.

    python tests/hostile.py               # 2,000 games on each type of socket
    python tests/hostile.py 100000        # or as many as one likes

A peer (see hostile_peer.py) sends any mix of data, descriptors and credentials, shuts down halves of the socket, and is
stopped and killed at any moment. Each byte and each descriptor has to come once, in its order, or be told as refused;
what nobody got must be closed; and nothing may wait for ever. test_hostile_peers.py plays a few games.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import socket
import struct
import sys
import termios
from collections import Counter

import ways
from helpers import MOST, Calls, collect, room, settle, threads
from hostile_model import CODE, OF_FILES, STREAM_METHODS, WAITS, Queue, Unit
from hostile_peer import KINDS, Peer, Server, data_at, identity
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from unixconn import Cancellable, Error, MainContext, UnixConnection

REFUSED_SENDS = {errno.EAGAIN, errno.EPIPE, errno.ECONNRESET, errno.ENOMEM, errno.ENOBUFS, errno.ETOOMANYREFS}
SHORT, LONG = 0.004, 20.0
"""Seconds to wait for what need not come, and for what has to."""


class Started:
    """An operation that runs in the background."""

    def __init__(self, connection: UnixConnection, name: str, argument: object, *, by_callback: bool) -> None:
        self.name, self.argument = name, argument
        self.owner, arguments = called(connection, name, argument)
        self.cancellable = Cancellable()
        self.calls = Calls() if by_callback else None
        self.held: list[list[str]] = []
        """The files that it has taken, and that are not enough."""
        callback = [] if self.calls is None else [self.calls]
        self.future = ways.start(self.owner, name, arguments, self.cancellable, *callback)

    def rest(self) -> None:
        """Let it do what it can."""
        if self.calls is not None:
            MainContext.default().iteration(False)

    def outcome(self) -> object:
        """Return what has come of it, or comes soon."""
        if self.calls is None:
            return outcome_of(self.name, lambda: self.future.result(LONG))
        ways.iterate(lambda: self.calls)
        return outcome_of(self.name, lambda: getattr(self.owner, f"{self.name}_finish")(self.calls.result))


def called(connection: UnixConnection, name: str, argument: object) -> tuple[object, tuple[object, ...]]:
    """Return whose method it is, and its arguments."""
    owner = connection.get_input_stream() if name in STREAM_METHODS else connection
    return owner, () if name in {"receive_fd", "receive_descriptor", "receive_credentials"} else (argument,)


def outcome_of(name: str, call: object) -> object:
    """Return the value of a call, with files in place of descriptors, which are closed, or its Error's code."""
    try:
        value = call()
        if name == "receive_credentials":
            return value.source.value, value.get_unix_pid()  # an Error, too, if the message had none
    except Error as error:
        return CODE(error.code)
    except asyncio.CancelledError:
        return CODE.CANCELLED
    if name in STREAM_METHODS:
        return value
    if name == "receive_message":
        with value:
            pid = value.credentials and value.credentials.get_unix_pid()
            return value.data, [taken(each.detach()) for each in value.fds], value.refused, pid
    return [
        taken(getattr(each, "detach", lambda each=each: each)())
        for each in (value if isinstance(value, list) else [value])
    ]


def taken(fd: int) -> str:
    """Close a descriptor; return its file."""
    file = identity(fd)
    assert not os.get_inheritable(fd)
    os.close(fd)
    return file


# --- the game --------------------------------------------------------------------------------------------------------

MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 1, 1, 2, 2, 3, 0, 1, 1, 1, 2, 2, 3, 30, 253, 300]),  # descriptors
        st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4),
        st.sampled_from([1, 1, 1, 1, 1, 1, 0, 2, 7, 4096, 70_000]),  # bytes
        st.integers(1, 3),  # control messages
        st.booleans(),  # with credentials
    ),
    min_size=1,
    max_size=4,
)
CALLS = st.one_of(
    st.tuples(st.sampled_from(["receive_fd", "receive_descriptor", "receive_credentials"]), st.none()),
    st.tuples(
        st.sampled_from(["receive_fds", "receive_descriptors"]), st.sampled_from([None, None, 1, 2, 3, 4, 30, 253, 300])
    ),
    st.tuples(st.just("receive_message"), st.sampled_from([1, 10, 5000, 100_000, 1 << 20])),
    st.tuples(st.sampled_from(STREAM_METHODS), st.sampled_from([1, 10, 5000, 100_000, 1 << 20])),
)
FORMS = st.sampled_from(["plain", "cancellable", "future", "callback", "asyncio", "trio", "cancelled"])
RECEIVERS = st.lists(st.tuples(CALLS, FORMS), min_size=1, max_size=4)


class Game(RuleBasedStateMachine):
    """A peer, and the connection that it sends to."""

    server: Server
    kind: socket.SocketKind
    threads: set[str]
    """The threads that run all the time."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.begin()

    def begin(self) -> None:
        """Make a connection, and a peer."""
        self.queue = Queue(is_stream=self.kind == socket.SOCK_STREAM)
        ours, theirs = socket.socketpair(socket.AF_UNIX, self.kind)
        self.own_end = os.readlink(f"/proc/self/fd/{theirs.fileno()}")
        self.connection = UnixConnection.from_socket(ours)
        self.peer = Peer(self.server, theirs)
        self.queue.pid = self.peer.pid
        self.sent = 0
        self.files: set[str] = {"anon_inode:[pidfd]"}
        self.pending: list[Started] = []
        self.doubtful: list[Unit] = []
        """What the peer sends while it waits for room."""
        self.is_shut = self.names = self.passes_pidfds = False

    # --- the peer ---

    def chunks(self, messages):
        """Return the orders for a peer: at most 253 descriptors in a message."""
        for count, kinds, size, parts, identified in messages:
            for at in range(0, max(count, 1), MOST):
                found = [kinds[n % len(kinds)] for n in range(at, min(count, at + MOST))]
                yield found, self.sent, size, parts, identified
                self.sent += size

    def unit(self, order, files):
        """Return what a message puts into the socket."""
        return Unit(data_at(*order[1:3]), files, named=order[4] or self.names)

    can_send = precondition(lambda self: self.peer.runs and not self.peer.waits)

    @can_send
    @rule(messages=MESSAGES, receivers=RECEIVERS, refused=st.sampled_from([False, False, False, True]))
    def exchange(self, messages, receivers, refused):
        """Let the peer send what there is room for, and receive; perhaps refuse descriptors that are under way."""
        self.send(messages)
        self.settle()
        before = self.queue.refuses
        self.set_option("refuse_fds", refused or before)
        self.receive(receivers)
        self.set_option("refuse_fds", before)

    def send(self, messages):
        """Let the peer send what there is room for."""
        orders = list(self.chunks(messages))
        for order, (files, size) in zip(orders, self.peer.send(orders)):
            if "" in files:
                assert size in {-errno.EBADF, -errno.EPIPE, -errno.ECONNRESET, -errno.EPERM}
            elif size < 0:
                assert -size in REFUSED_SENDS or (-size == errno.EPERM and files and self.queue.refuses)
            elif size or not self.queue.is_stream:
                unit = self.unit(order, files)
                unit.data = unit.data[:size]
                self.queue.units.append(unit)
                self.files.update(files)

    @precondition(lambda self: self.peer.runs and not self.peer.waits and not self.pending)
    @rule(messages=MESSAGES, size=st.sampled_from([1, 5000, 400_000]))
    def send_more(self, messages, size):
        """Let the peer send more than there is room for, or nearly so."""
        if not self.queue.is_stream:
            size = min(size, 5000)
        # None of them may fail, and those behind it not.
        orders = list(
            self.chunks(
                (
                    0 if self.queue.refuses else count,
                    [kind.replace("closed", "memfd") for kind in kinds],
                    size,
                    parts,
                    False,
                )
                for count, kinds, _, parts, _ in messages
            )
        )
        for order, files in zip(orders, self.peer.start_sending(orders)):
            self.doubtful.append(self.unit(order, files))
            self.files.update(files)
        self.queue.units.extend(self.doubtful)

    def trim(self, sizes):
        """Take the doubt away: these are the numbers of bytes that the peer has sent."""
        for unit, size in zip(self.doubtful, sizes):
            unit.data = unit.data[: max(size, 0)]
            assert unit.at <= len(unit.data)
            if unit in self.queue.units and unit.at == len(unit.data):
                self.queue.units.remove(unit)
        self.doubtful = []

    def look(self):
        """See whether the peer has sent all."""
        if self.peer.waits and self.peer.runs and (sizes := self.peer.answered()) is not None:
            self.trim(sizes)

    def available(self) -> int:
        """Return how many bytes are in the socket."""
        return struct.unpack("i", fcntl.ioctl(self.connection.get_socket().get_fd(), termios.FIONREAD, bytes(4)))[0]

    @rule(
        how=st.sampled_from(
            [
                "",
                "",
                "",
                "peer's SHUT_RD",
                "peer's SHUT_WR",
                "peer's SHUT_RDWR",
                "kill",
                "SHUT_RD",
                "close",
                "stop",
                "stop",
            ]
        )
    )
    def end(self, how):
        """End something: seldom, as little happens after that."""
        if how == "kill" and self.peer.lives:
            self.kill()
        elif how == "stop" and self.peer.runs:
            self.peer.stop()
        elif how.startswith("peer's") and self.peer.runs and not self.peer.waits:
            self.peer.shut_down(getattr(socket, how.split()[1]))
            self.is_shut |= how != "peer's SHUT_RD"
        elif how == "SHUT_RD" and not self.pending:
            # What is there can still be received.
            self.connection.get_socket().shutdown(True, False)
            self.is_shut = True
        elif how == "close":
            self.close()
            self.begin()
        self.settle()

    def kill(self):
        """Kill the peer."""
        self.peer.kill()
        self.queue.is_dead = True
        if self.doubtful:
            certain = [unit for unit in self.queue.units if unit not in self.doubtful]
            left = self.available() - sum(len(unit.data) - unit.at for unit in certain)
            sizes = []
            for unit in self.doubtful:
                part = min(left, len(unit.data) - unit.at)
                sizes.append(unit.at + part)
                left -= part
            self.trim(sizes)

    @precondition(lambda self: self.peer.lives and not self.peer.runs)
    @rule()
    def go_on(self):
        """Let the peer go on."""
        self.peer.go_on()

    # --- this side ---

    @precondition(lambda self: not self.peer.runs or self.peer.waits)
    @rule(receivers=RECEIVERS)
    def receive_alone(self, receivers):
        """Receive while the peer can do nothing else."""
        self.receive(receivers)

    def receive(self, receivers):
        """Call methods that receive."""
        for (name, argument), form in receivers:
            self.call(name, argument, form)
            self.look()

    def call(self, name, argument, form):
        """Call a method that receives, in one of its forms."""
        is_of_stream = name in STREAM_METHODS
        if is_of_stream and (not self.queue.is_stream or any(each.name in STREAM_METHODS for each in self.pending)):
            return
        if form not in {"plain", "cancellable", "cancelled"} and self.pending:
            form = "cancellable"
        if self.doubtful and name in {"receive_fds", "receive_descriptors"}:
            argument = None  # how many messages there are is not known
        if name in {"read_all", "skip"}:
            argument = min(argument, self.known())
            if not argument or self.queue.may_fill():
                return
        is_ready = self.is_ready(name, argument)
        if form == "plain" and not is_ready and is_of_stream:
            form = "cancellable"
        outcome = getattr(self, f"by_{form}")(name, argument, is_ready)
        if form == "cancelled":
            assert outcome == CODE.CANCELLED
        else:
            self.judge(name, argument, outcome, is_ready)

    @precondition(lambda self: not self.pending and not self.doubtful and not self.passes_pidfds)
    @rule(call=CALLS, free=st.integers(0, 3))
    def call_in_little_room(self, call, free):
        """Receive where there is room for a few descriptors alone."""
        name, argument = call
        if self.queue.is_stream and isinstance(argument, int) and (name in STREAM_METHODS or name == "receive_message"):
            argument = 1  # what is lost is known then
        elif name in STREAM_METHODS:
            return
        if self.is_ready(name, argument) and (
            name not in {"read_all", "skip"} or (self.known() and not self.queue.may_fill())
        ):
            owner, arguments = called(self.connection, name, argument)

            # A thread may still have to close what was refused before, which would make more room.
            assert settle(lambda: threads() <= self.threads)

            def receive():
                with room(free):
                    return getattr(owner, name)(*arguments)

            outcome = outcome_of(name, receive)
            self.queue.room = free
            self.judge(name, argument, outcome, is_ready=True)
            self.queue.room = sys.maxsize

    def known(self) -> int:
        """Return how many bytes of a stream are there, or more."""
        return self.available() if self.doubtful else sum(len(unit.data) - unit.at for unit in self.queue.units)

    def is_ready(self, name, argument) -> bool:
        """Return whether an operation surely ends."""
        if self.doubtful:
            of_kept = self.queue.is_full if name in STREAM_METHODS else name.startswith(OF_FILES) and self.queue.kept
            return bool(of_kept or self.known())
        self.queue.ended = self.has_ended()
        return self.queue.is_ready(name, argument)

    def has_ended(self) -> bool:
        """Return whether nobody can send any more."""
        files = [*self.held(), *(unit.files for unit in self.queue.units)]
        return self.is_shut or not (self.peer.lives or any(self.own_end in each for each in files))

    def held(self):
        """Return the files of the messages that the library keeps."""
        return [*self.queue.kept, *(message for each in self.pending for message in each.held)]

    def judge(self, name, argument, outcome, is_ready) -> None:
        """Compare an outcome with the model."""
        queue = self.queue
        if not is_ready and outcome in WAITS and self.doubtful:
            return
        queue.ended = self.has_ended()
        if name in {"receive_fd", "receive_descriptor"}:
            queue.descriptors(outcome, single=True)
        elif name in {"receive_fds", "receive_descriptors"}:
            queue.descriptors(outcome, argument)
        elif name == "skip":
            assert outcome == argument, outcome
            queue.read_all(self.next_data(argument), argument)
        else:
            getattr(queue, name)(outcome, argument)

    def next_data(self, size) -> bytes:
        """Return the next bytes of the stream."""
        return b"".join(unit.data[unit.at :] for unit in self.queue.units)[:size]

    def by_plain(self, name, argument, is_ready):
        """Call it without a Cancellable, without waiting if it need not end."""
        owner, arguments = called(self.connection, name, argument)
        self.connection.get_socket().set_blocking(is_ready)
        try:
            return outcome_of(name, lambda: getattr(owner, name)(*arguments))
        finally:
            self.connection.get_socket().set_blocking(True)

    def by_cancellable(self, name, argument, is_ready):
        """Call it with a deadline."""
        owner, arguments = called(self.connection, name, argument)
        deadline = Cancellable.with_timeout(LONG if is_ready else SHORT)
        return outcome_of(name, lambda: getattr(owner, name)(*arguments, deadline))

    def by_cancelled(self, name, argument, _is_ready):
        """Call it with a Cancellable that is cancelled."""
        owner, arguments = called(self.connection, name, argument)
        cancellable = Cancellable()
        cancellable.cancel()
        return outcome_of(name, lambda: getattr(owner, name)(*arguments, cancellable))

    def by_future(self, name, argument, is_ready):
        """Call it for a Future, and cancel that if it need not end."""
        return self.in_background(name, argument, is_ready, by_callback=False)

    def by_callback(self, name, argument, is_ready):
        """Call it with a callback, and cancel it if it need not end."""
        return self.in_background(name, argument, is_ready, by_callback=True)

    def in_background(self, name, argument, is_ready, *, by_callback):
        """Start it, and return what comes of it; cancel it if it need not end."""
        started = Started(self.connection, name, argument, by_callback=by_callback)
        if not is_ready:
            started.rest()
            started.cancellable.cancel()
        return started.outcome()

    def by_asyncio(self, name, argument, is_ready):
        """Await it in asyncio, and cancel the task if it need not end."""

        async def main():
            owner, arguments = called(self.connection, name, argument)
            return await asyncio.wait_for(ways.start(owner, name, arguments), LONG if is_ready else SHORT)

        try:
            return outcome_of(name, lambda: self.loop.run_until_complete(main()))
        except asyncio.TimeoutError:
            return CODE.TIMED_OUT

    def by_trio(self, name, argument, is_ready):
        """Await it in trio, in a scope that is cancelled if it need not end."""
        trio = ways.optional("trio")

        async def main():
            owner, arguments = called(self.connection, name, argument)
            with trio.fail_after(LONG if is_ready else SHORT):
                return await ways.start(owner, name, arguments)

        try:
            return outcome_of(name, lambda: trio.run(main))
        except trio.TooSlowError:
            return CODE.TIMED_OUT

    # --- what waits ---

    @precondition(lambda self: not self.doubtful and len(self.pending) < 4)
    @rule(receiver=CALLS, by_callback=st.booleans())
    def start(self, receiver, by_callback):
        """Start an operation that may wait."""
        name, argument = receiver
        if name in STREAM_METHODS and (
            name in {"read_all", "skip"}
            or not self.queue.is_stream
            or any(each.name in STREAM_METHODS for each in self.pending)
        ):
            return
        if self.pending and self.queue.kept:
            return
        self.pending.append(Started(self.connection, name, argument, by_callback=by_callback))
        self.settle()

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def cancel(self, data):
        """Cancel one that waits."""
        started = data.draw(st.sampled_from(self.pending))
        self.pending.remove(started)
        started.rest()
        started.cancellable.cancel()
        assert started.outcome() == CODE.CANCELLED
        self.queue.kept.extendleft(reversed(started.held))
        self.settle()

    def settle(self) -> None:
        """Compare those that must have ended with the model."""
        while self.pending:
            first = self.pending[0]
            self.queue.kept.extendleft(reversed(first.held))
            first.held = []
            if not self.is_ready(first.name, first.argument):
                if first.name in {"receive_fds", "receive_descriptors"}:
                    while (files := self.queue._next_files()) is not None:
                        first.held.append(files)
                    self.nothing_lost()  # it has taken them before others look
                break
            self.pending.remove(first)
            self.judge(first.name, first.argument, first.outcome(), is_ready=True)

    # --- options and ends ---

    @rule(option=st.sampled_from(["pass_credentials", "pass_pidfds", "refuse_fds"]), on=st.booleans())
    def switch(self, option, on):
        """Set an option of the connection."""
        self.set_option(option, on)

    def set_option(self, option, on):
        """Set it, unless it would matter to what is not known."""
        if option == "refuse_fds":
            if self.pending or self.doubtful:
                return
            self.queue.refuses = on
        elif option == "pass_credentials":
            self.queue.names = self.names = on
            for unit in self.doubtful:  # the rest of it comes without
                unit.named = False
        else:
            self.passes_pidfds = on
        try:
            getattr(self.connection, option)(on)
        except Error as error:
            assert (option, error.code) == ("pass_pidfds", CODE.NOT_SUPPORTED)

    @rule(size=st.sampled_from([1, 1000]))
    def write(self, size):
        """Send what the peer never reads."""
        try:
            self.connection.send_message(bytes(size), (), None, Cancellable.with_timeout(SHORT))
        except Error as error:
            assert error.code in WAITS | {CODE.BROKEN_PIPE, CODE.CLOSED}
        else:
            self.queue.has_unread = True

    def close(self):
        """Close the connection, and compare."""
        self.connection.close()
        pending, self.pending = self.pending, []
        self.queue.kept.clear()
        assert {each.outcome() for each in pending} <= {CODE.CLOSED}
        self.nothing_lost()
        self.peer.kill()

    @invariant()
    def nothing_lost(self):
        """Of all that the peer has sent, this process has what the library keeps for somebody, and no more."""
        self.look()
        assert settle(self.is_right), (self.there(), self.held_files())

    def is_right(self) -> bool:
        """Return whether those are there that have to be; otherwise collect credentials, which may have a pidfd."""
        return self.there() == self.held_files() or collect()

    def there(self) -> Counter[str]:
        """Return those of the peer's files that this process has."""
        for each in self.pending:
            each.rest()
        found = Counter(map(identity, map(int, os.listdir("/proc/self/fd"))))
        return Counter({file: count for file, count in found.items() if file in self.files})

    def held_files(self) -> Counter[str]:
        """Return what the library keeps."""
        return Counter(each for message in self.held() for each in message)

    def teardown(self):
        """End all."""
        try:
            self.close()
        finally:
            self.peer.kill()
            self.connection.close()
            self.loop.close()


def play(server: Server, kind: socket.SocketKind, games: int) -> None:
    """Play some games."""

    class Here(Game):
        pass

    ours, theirs = UnixConnection.create_pair()
    with ours, theirs:
        # It keeps the library's thread, which would close two descriptors at some moment, and make room.
        waiting = ours.receive_fd_async()
        Here.server, Here.kind, Here.threads = server, kind, threads()
        run_state_machine_as_test(
            Here,
            settings=settings(
                max_examples=games,
                stateful_step_count=30,
                phases=[Phase.generate],  # to make a game shorter would take longer than all the others
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
        waiting.cancel()


def main() -> None:
    """Play many games."""
    games = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with Server() as server:
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
            play(server, kind, games)
            print(f"{kind.name}: {games} games, nothing lost", flush=True)


if __name__ == "__main__":
    main()
