"""SocketService and ThreadedSocketService."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time

import pytest
from helpers import Background, no_collection, room
from ways import failure, iterate

import unixconn
from unixconn import (
    MainContext,
    Object,
    SocketClient,
    SocketProtocol,
    SocketService,
    SocketType,
    ThreadedSocketService,
    UnixConnection,
)

pytestmark = pytest.mark.usefixtures("event_loop", "no_linger")

CLOSED = (18, "Listener is already closed")
REFUSED = 39
STREAM = (SocketType.STREAM, SocketProtocol.DEFAULT)


def ask(address, count):
    """Open *count* connections at once; give how many of them got a descriptor."""
    got = 0
    for each in [SocketClient(timeout=60).connect(address) for _ in range(count)]:
        with each:
            os.close(each.receive_fd())
            got += 1
    return got


def in_asyncio(function, *arguments):
    """Do in a thread, while an asyncio loop runs in this one, what *function* does."""

    async def main():
        return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, function, *arguments), 60)

    return main()


def in_context(function, *arguments):
    """Do in a thread, while this one iterates the default context, what *function* does."""
    running = Background(function, *arguments)
    iterate(lambda: not running.is_alive())
    return running.outcome()


def give(_service, connection, _source_object):
    """Handle a connection: send standard input."""
    connection.send_fd(0)


class TestService:
    @pytest.fixture
    def service(self, address):
        """One that listens."""
        with SocketService(listen_backlog=300) as made:
            made.add_address(address, *STREAM)
            yield made

    def test_incoming(self, address):
        """Each connection is told to the handlers, with the source object, until one returns True."""
        source, heard = Object(), []
        with SocketService() as service:
            service.connect("incoming", lambda *arguments: heard.append(arguments) or len(heard) > 1)
            service.connect("incoming", lambda *arguments: heard.append("second"))
            service.add_address(address, *STREAM, source)
            with SocketClient().connect(address):
                iterate(lambda: len(heard) == 2)
            with SocketClient().connect(address):
                iterate(lambda: len(heard) == 3)
            assert (heard[0][0], heard[0][2], heard[1]) == (service, source, "second")
            assert isinstance(heard[0][1], UnixConnection)
            assert heard[2] != "second"
            for each in (heard[0], heard[2]):
                each[1].close()

    def test_own_handler(self, address):
        """A subclass overrides do_incoming."""
        heard = []

        class Mine(SocketService):
            def do_incoming(self, connection, source_object):
                heard.append(connection)
                return True

        with Mine() as service:
            service.add_address(address, *STREAM)
            with SocketClient().connect(address):
                iterate(lambda: heard)
            heard[0].close()

    def test_nobody_keeps_it(self, service, address):
        """The connection is closed."""
        heard = []
        service.connect("incoming", lambda *_: heard.append(1))
        with SocketClient().connect(address) as client:
            iterate(lambda: heard)
            gc.collect()
            client.get_socket().set_timeout(60)
            assert client.get_input_stream().read(9) == b""

    def test_active(self, address):
        """It is from the beginning, unless the constructor is told otherwise; start and stop notify on change."""
        assert SocketService().is_active() is True
        service, heard = SocketService(active=False), []
        service.connect("notify::active", lambda *_: heard.append(service.props.active))
        assert service.is_active() is False
        service.start()
        service.start()
        service.stop()
        service.stop()
        assert heard == [True, False]
        service.set_property("active", False)
        assert heard == [True, False, False]

    def test_stop_and_start(self, service, address):
        """Meanwhile connections wait; none is lost."""
        heard = []
        service.connect("incoming", lambda _, connection, __: heard.append(connection))
        service.stop()
        with SocketClient().connect(address), SocketClient().connect(address):
            for _ in range(20):
                MainContext.default().iteration(False)
            assert heard == []
            service.start()
            iterate(lambda: len(heard) == 2)
        for each in heard:
            each.close()

    def test_200_at_once(self, service, address):
        """Each gets its descriptor."""
        service.connect("incoming", give)
        assert in_context(ask, address, 200) == 200

    def test_200_at_once_in_asyncio(self, address):
        """It runs in an asyncio loop as well."""

        async def main():
            with SocketService(listen_backlog=300) as service:
                service.connect("incoming", give)
                service.add_address(address, *STREAM)
                return await in_asyncio(ask, address, 200)

        assert asyncio.run(main()) == 200

    def test_an_exception_in_a_handler(self, service, address, reports):
        """It is reported, and the service goes on."""
        service.connect("incoming", lambda *_: 1 / 0)
        service.connect("incoming", give)
        assert in_context(ask, address, 3) == 3
        assert [type(each) for each in reports] == [ZeroDivisionError] * 3

    def test_without_a_free_descriptor(self, service, address, reports):
        """It is reported, and the service goes on when there is one again."""
        service.connect("incoming", give)
        with SocketClient(timeout=60).connect(address) as client:
            with room(0):
                iterate(lambda: reports)
            assert isinstance(reports[0], unixconn.TooManyOpenFilesError)
            iterate(client.get_input_stream().is_readable)
            os.close(client.receive_fd())

    def test_a_hook_that_raises(self, service, address, monkeypatch):
        """It goes on all the same, when there are descriptors again."""
        told = []

        def hook(*error):
            told.append(error)
            raise KeyboardInterrupt

        service.connect("incoming", give)
        with SocketClient(timeout=60).connect(address) as client:
            with room(0), monkeypatch.context() as patch:
                patch.setattr(sys, "excepthook", hook)
                with pytest.raises(KeyboardInterrupt):
                    iterate(lambda: False)
            assert told
            iterate(client.get_input_stream().is_readable)
            os.close(client.receive_fd())

    def test_stopped_and_dropped(self, address):
        """Its socket is closed at once, without a collection."""
        with no_collection():
            service = SocketService()
            service.connect("incoming", give)
            service.add_address(address, *STREAM)
            with SocketClient(timeout=60).connect(address) as client:
                iterate(client.get_input_stream().is_readable)
                os.close(client.receive_fd())
            service.stop()
            while MainContext.default().iteration(False):
                pass
            del service
            assert failure(SocketClient().connect, address)[0] == REFUSED

    def test_without_a_free_descriptor_in_asyncio(self, address, reports):
        """So it does in an asyncio loop."""

        async def until(condition):
            end = time.monotonic() + 60
            while not condition():
                assert time.monotonic() < end, "it does not go on"
                await asyncio.sleep(0.01)

        async def main():
            with SocketService() as service:
                service.connect("incoming", give)
                service.add_address(address, *STREAM)
                with SocketClient().connect(address) as client:
                    with room(0):
                        await until(lambda: reports)
                    await until(client.get_input_stream().is_readable)
                    os.close(client.receive_fd())

        asyncio.run(main())
        assert isinstance(reports[0], unixconn.TooManyOpenFilesError)

    def test_close(self, service, address):
        """Nobody is accepted any more."""
        service.close()
        assert failure(SocketClient().connect, address)[0] == 39
        assert failure(service.accept) == CLOSED


class TestThreadedService:
    def test_runs_in_a_thread(self, address):
        """Each connection's handler has a thread of its own; the connection is closed after it."""
        heard, source = [], Object()

        def run(service, connection, source_object):
            heard.append((threading.current_thread(), source_object))
            connection.send_fd(0)
            return True

        with ThreadedSocketService(max_threads=5) as service:
            service.connect("run", run)
            service.add_address(address, *STREAM, source)
            assert in_context(ask, address, 5) == 5
        assert len({id(each[0]) for each in heard}) == 5
        assert threading.main_thread() not in [each[0] for each in heard]
        assert {each[1] for each in heard} == {source}
        assert service.props.max_threads == 5

    def most(self, function):
        """Count how many handlers run at a time; the server side of `function`, which is given the handler."""
        running, most, lock = [], [], threading.Lock()

        def run(_service, connection, _source_object):
            with lock:
                running.append(1)
                most.append(len(running))
            time.sleep(0.02)
            with lock:
                running.pop()
            connection.send_fd(0)

        assert function(run) == 6
        return max(most)

    @pytest.mark.parametrize(("limit", "allowed"), [(1, 1), (2, 2), (-1, 6)])
    def test_max_threads(self, address, limit, allowed):
        """Not more than that run at a time, and none is lost."""

        def serve(run):
            with ThreadedSocketService(max_threads=limit) as service:
                service.connect("run", run)
                service.add_address(address, *STREAM)
                return in_context(ask, address, 6)

        assert self.most(serve) <= allowed

    def test_max_threads_in_asyncio(self, address):
        """It goes on in the loop that it was started in."""

        def serve(run):
            async def main():
                with ThreadedSocketService(max_threads=1) as service:
                    service.connect("run", run)
                    service.add_address(address, *STREAM)
                    return await in_asyncio(ask, address, 6)

            return asyncio.run(main())

        assert self.most(serve) == 1

    def test_max_threads_in_another_context(self, address):
        """It goes on in the context that it was started in."""
        context = MainContext.new()

        def serve(run):
            context.push_thread_default()
            try:
                with ThreadedSocketService(max_threads=1) as service:
                    service.connect("run", run)
                    service.add_address(address, *STREAM)
                    running = Background(ask, address, 6)
                    iterate(lambda: not running.is_alive(), context)
                    return running.outcome()
            finally:
                context.pop_thread_default()

        assert self.most(serve) == 1

    def test_incoming_comes_first(self, address):
        """A handler of incoming that returns True keeps the connection from the threads."""
        heard = []
        with ThreadedSocketService() as service:
            service.connect("incoming", lambda _, connection, __: connection.send_fd(0))
            service.connect("run", lambda *_: heard.append("run"))
            service.add_address(address, *STREAM)
            assert in_context(ask, address, 3) == 3
        assert heard == []
