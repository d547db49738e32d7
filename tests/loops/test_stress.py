"""All that can be done with connections, at random, in threads and against a model."""

from __future__ import annotations

import contextlib
import os
import random
import time

import pytest
from helpers import Background, Calls, close, settle
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from ways import iterate

from unixconn import Cancellable, Error, MainContext, UnixConnection


class Player:
    """A thread of the stress: does things at random with connections that it shares with others."""

    def __init__(self, seed, slots, made, end):
        self.chance = random.Random(seed)
        self.slots = slots
        self.made = made
        self.end = end
        self.context = MainContext()
        self.called, self.started = [], 0
        """How often each operation with a callback was told its end; how many were started."""
        self.futures, self.cancellables = [], [Cancellable()]
        self.wrong = []
        self.thread = Background(self.run)

    def run(self):
        """Play until the end, and then until the last callback."""
        self.context.push_thread_default()
        while time.monotonic() < self.end:
            a, b = connections = self.chance.choice(self.slots)
            self.play(self.chance.random(), connections, self.chance.choice((a, b)))
            self.context.iteration(False)

    def play(self, number, connections, connection):
        """Do one thing."""
        kind = self.chance.choice(("receive_fd", "receive_credentials"))
        if number < 0.35:
            if self.chance.random() < 0.2:
                self.cancellables.append(Cancellable())
            cancellable = self.chance.choice((None, self.cancellables[-1]))
            self.begin(connection, kind, cancellable)
        elif number < 0.8:
            with contextlib.suppress(Error):
                connection.get_socket().set_timeout(0)
                if kind == "receive_fd":
                    connection.send_fd_async(0, None, None)
                else:
                    connection.send_credentials_async(None, None)
        elif number < 0.9:
            self.chance.choice(self.cancellables).cancel()
        elif number < 0.93 and self.futures:
            self.chance.choice(self.futures).cancel()
        elif number < 0.95:
            index = self.chance.randrange(len(self.slots))
            connections = self.slots[index]
            for each in connections:
                each.close()
            pair = UnixConnection.create_pair()
            self.made.append(pair)
            self.slots[index] = pair

    def begin(self, connection, kind, cancellable):
        """Start an operation, in one of the forms."""
        start = getattr(connection, f"{kind}_async")
        form = self.chance.randrange(3)
        if form == 0:
            start(cancellable, None)
        elif form == 1:
            self.futures.append(start(cancellable))
        else:
            self.called.append(0)
            start(cancellable, self.ended, kind, self.started)
            self.started += 1

    def ended(self, connection, result, kind, number):
        """Be told the end of an operation."""
        self.called[number] += 1
        self.look(getattr(connection, f"{kind}_finish"), result)

    def look(self, call, *arguments):
        """See what an operation has come to, and close it."""
        try:
            value = call(*arguments)
        except Error as error:
            # A message of the other kind, too.
            if error.code not in {0, 18, 19, 44}:
                self.wrong.append(error)
            return
        if isinstance(value, int):
            close(value)
        elif value.get_unix_pid() != os.getpid():
            self.wrong.append(value.get_unix_pid())


class TestStress:
    @pytest.mark.parametrize("seed", [1, 2])
    def test_many_threads(self, seed):
        """Many start, cancel, and close at random: each operation ends exactly once, and nothing is left."""
        slots = [UnixConnection.create_pair() for _ in range(12)]
        made, end = list(slots), time.monotonic() + 0.8
        players = [Player(seed * 100 + number, slots, made, end) for number in range(5)]
        for player in players:
            assert player.thread.outcome(60) is None
        for pair in made:
            for connection in pair:
                connection.close()
        for player in players:
            for future in player.futures:
                player.look(future.result, 60)
            iterate(lambda player=player: all(player.called), player.context)
            while player.context.iteration(False):
                pass
            assert set(player.called) <= {1}
            assert player.wrong == []
            assert player.started
        players.clear()


class Model(RuleBasedStateMachine):
    """
    A few sockets, and all that can be done with them, against a simple model.

    Messages go to the operations that wait in the order of their starts, each to one; an operation that was cancelled
    has none, unless it had it before; and while there are messages nobody waits.
    """

    def __init__(self):
        super().__init__()
        self.pairs = [UnixConnection.create_pair() for _ in range(2)]
        self.contexts = [MainContext.default(), MainContext(), MainContext()]
        self.sent = [0, 0]
        # By pair, in the order of the starts: [cancellable, was cancelled, calls, future]
        self.started = [[], []]
        self.closed = [False, False]

    which = st.integers(0, 1)

    @rule(which=which, context=st.integers(0, 2))
    def receive_with_a_callback(self, which, context):
        """Start one whose callback comes in a context."""
        calls, cancellable = Calls(), Cancellable()
        self.contexts[context].push_thread_default()
        self.pairs[which][1].receive_fd_async(cancellable, calls)
        self.contexts[context].pop_thread_default()
        assert not calls
        self.started[which].append([cancellable, False, calls, None])

    @rule(which=which)
    def receive_with_a_future(self, which):
        """Start one that the worker looks after."""
        cancellable = Cancellable()
        future = self.pairs[which][1].receive_fd_async(cancellable)
        self.started[which].append([cancellable, False, None, future])

    @precondition(lambda self: not all(self.closed))
    @rule(which=which, count=st.integers(1, 3))
    def send(self, which, count):
        """Send files that can be told from each other."""
        if not self.closed[which]:
            for _ in range(count):
                fd = os.memfd_create(f"<{self.sent[which]}>")
                self.pairs[which][0].send_fd(fd)
                os.close(fd)
                self.sent[which] += 1

    @precondition(lambda self: any(self.started))
    @rule(data=st.data())
    def cancel(self, data):
        """Cancel any."""
        entry = data.draw(st.sampled_from([each for line in self.started for each in line]))
        entry[0].cancel()
        entry[1] = True

    @rule(context=st.integers(0, 2))
    def iterate(self, context):
        """Let one context do what it can."""
        while self.contexts[context].iteration(False):
            pass

    @rule(which=which)
    def close(self, which):
        """Close the receiving end."""
        self.pairs[which][1].close()
        self.closed[which] = True

    @rule()
    def settle(self):
        """After all have had their turn, nobody waits where there are messages."""
        for context in self.contexts:
            while context.iteration(False):
                pass
        for which in range(2):
            if not self.closed[which]:
                assert settle(
                    lambda which=which: not (self.available(which) and any(map(self.waits, self.started[which])))
                )

    def available(self, which):
        return self.pairs[which][1].get_socket().get_available_bytes()

    @staticmethod
    def waits(entry):
        """Return whether an operation may still be waiting."""
        _, _, calls, future = entry
        return not future.done() if calls is None else not calls

    @invariant()
    def once(self):
        """No callback comes twice."""
        for line in self.started:
            assert all(calls is None or len(calls) <= 1 for _, _, calls, _ in line)

    def teardown(self):
        """End all, and compare, when the worker has had its turn too."""
        self.settle()
        left = [0 if closed else self.available(which) for which, closed in enumerate(self.closed)]
        for a, b in self.pairs:
            a.close()
            b.close()
        for context in self.contexts:
            while context.iteration(False):
                pass
        for which, line in enumerate(self.started):
            received = [self.outcome(*entry) for entry in line]
            received = [tag for tag in received if tag is not None]
            # Each had its own, in order, and none between them was lost.
            assert received == list(range(len(received)))
            if not self.closed[which]:
                assert len(received) + left[which] == self.sent[which]

    @staticmethod
    def outcome(_, cancelled, calls, future):
        """Return the number of the file that an operation had, None for an Error."""
        try:
            if calls is None:
                fd = future.result(60)
            else:
                [(connection, result)] = calls
                fd = connection.receive_fd_finish(result)
        except Error as error:
            assert error.code == 18 or (error.code == 19 and cancelled)
            return None
        name = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
        return int(name[name.index("<") + 1 : name.index(">")])


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
