"""What waits in a process that forks."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time

import pytest
from helpers import Background, Calls, close, fill, forked, forks, is_on, outcome_of_child, settle
from ways import iterate

from unixconn import Cancellable, CredentialsSource, MainContext, MainLoop, UnixConnection, idle_add


@forks
class TestFork:
    def test_stays_the_parent_s(self, pair, calls):
        """Nothing of the parent's ends in the child, whatever comes; and it ends in the parent."""
        a, b = pair
        b.receive_fd_async(None, calls)
        future = a.receive_fd_async()
        done = []
        future.add_done_callback(done.append)

        def child():
            a.send_fd(0)
            for _ in range(20):
                MainContext.default().iteration(False)
                time.sleep(0.001)
            return not calls and not future.done() and not done

        assert outcome_of_child(child) == 0
        iterate(lambda: calls)
        close(b.receive_fd_finish(calls[0][1]))
        assert not future.done()
        b.send_fd(0)
        close(future.result(60))
        assert settle(lambda: done == [future])

    def test_the_child_has_its_own(self, pair, calls):
        """A child can start operations, of all forms, with a thread and a context of its own."""
        a, b = pair
        waiting = b.receive_fd_async()
        b.receive_credentials_async(None, calls)

        def child():
            c, d = UnixConnection.create_pair()
            future = d.receive_fd_async()
            mine = Calls()
            d.receive_credentials_async(None, mine)
            d.receive_fd_async(None, None)
            c.send_fd(0)
            close(future.result(60))
            c.send_credentials()
            iterate(lambda: mine)
            last = d.receive_fd_async()
            c.send_fd(0)
            c.send_fd(0)
            close(last.result(60))
            return d.receive_credentials_finish(mine[0][1]).get_unix_pid() == os.getpid() and not calls

        assert [outcome_of_child(child) for _ in range(3)] == [0] * 3
        a.send_fd(0)
        close(waiting.result(60))
        a.send_credentials()
        iterate(lambda: calls)
        assert b.receive_credentials_finish(calls[0][1]).get_unix_pid() == os.getpid()

    def test_on_the_same_connection(self, pair, calls):
        """The child does not stand in the parent's line, nor the parent in the child's."""
        a, b = pair
        b.receive_fd_async(None, calls)

        def child():
            a.send_fd(0)
            close(b.receive_fd_async().result(60))
            mine = Calls()
            b.receive_fd_async(None, mine)
            a.send_fd(0)
            iterate(lambda: mine)
            close(b.receive_fd_finish(mine[0][1]))
            return not calls

        assert outcome_of_child(child) == 0
        assert not calls
        a.send_fd(0)
        iterate(lambda: calls)
        close(b.receive_fd_finish(calls[0][1]))

    def test_credentials_on_the_same_connection(self, pair, calls):
        """Both receive with SO_PASSCRED on, which the child leaves on, and the parent off."""
        a, b = pair
        b.receive_credentials_async(None, calls)

        def own(connection):
            future = connection.receive_credentials_async()
            a.get_socket().send(b"x")
            credentials = future.result(60)
            return credentials.get_unix_pid() == os.getpid() and credentials.source is CredentialsSource.MESSAGE

        def child():
            return all(own(b) and is_on(b) for _ in range(3))

        assert outcome_of_child(child) == 0
        assert is_on(b)
        a.get_socket().send(b"x")
        iterate(lambda: calls)
        credentials = b.receive_credentials_finish(calls[0][1])
        assert (credentials.get_unix_pid(), credentials.source) == (os.getpid(), CredentialsSource.MESSAGE)
        assert not is_on(b)

    @pytest.mark.parametrize("action", ["cancel", "close", "drop"])
    def test_what_the_child_does(self, pair, calls, action):
        """A child that cancels, closes, or ends, leaves the parent's alone."""
        a, b = pair
        cancellable = Cancellable()
        b.receive_fd_async(cancellable, calls)
        b.receive_credentials_async(cancellable, None)
        future = b.receive_fd_async(cancellable)

        def child():
            if action == "cancel":
                cancellable.cancel()
                future.cancel()
            elif action == "close":
                a.close()
                b.close()
            gc.collect()
            time.sleep(0.02)
            return not calls and not future.done()

        assert outcome_of_child(child) == 0
        a.send_fd(0)
        a.send_credentials()
        a.send_fd(0)
        close(future.result(60))
        iterate(lambda: calls)
        close(b.receive_fd_finish(calls[0][1]))

    def test_a_send_that_waits(self, pair, calls):
        """It is the parent's to make, once."""
        a, b = pair
        fill(a)
        waiting = b.get_socket().get_available_bytes()
        a.send_fd_async(0, None, calls)
        pid = forked(lambda: time.sleep(0.3) or True)
        while waiting:
            with socket.socket(fileno=os.dup(b.get_socket().get_fd())) as other:
                waiting -= len(other.recv(min(waiting, 1 << 16), socket.MSG_DONTWAIT))
        close(b.receive_fd())
        assert os.waitpid(pid, 0)[1] == 0
        iterate(lambda: calls)
        assert a.send_fd_finish(calls[0][1]) is True
        assert b.get_socket().get_available_bytes() == 0

    def test_at_any_moment(self, many, quick):
        """Children that are made while other threads use the worker can use theirs."""
        stop = threading.Event()

        def run(pairs):
            while not stop.is_set():
                for a, b in pairs:
                    future = b.receive_credentials_async()
                    a.send_credentials()
                    future.result(60)

        threads = [Background(run, many[number : 20 + number : 2]) for number in range(2)]

        def child():
            for a, b in many[30:33]:
                future = b.receive_credentials_async()
                a.send_credentials()
                if future.result(60).get_unix_pid() != os.getpid():
                    return False
            return True

        codes = []
        while len(codes) < 15 and not any(codes):
            codes.append(outcome_of_child(child))
        stop.set()
        assert [thread.outcome() for thread in threads] == [None, None]
        assert codes == [0] * 15


def test_forked_while_another_thread_iterates():
    """The child has not got that thread, and iterates itself."""
    loop = MainLoop()

    def child():
        got = []
        idle_add(got.append, 1)
        return MainContext.default().pending() and MainContext.default().iteration(False) and got == [1]

    def fork():
        try:
            assert settle(loop.is_running)
            time.sleep(0.02)
            pid = os.fork()
            if pid == 0:
                try:
                    os._exit(0 if child() else 1)
                finally:
                    os._exit(2)
            status.append(os.waitpid(pid, 0)[1])
        finally:
            loop.quit()

    status = []
    thread = threading.Thread(target=fork)
    thread.start()
    loop.run()
    thread.join()
    assert status == [0]
