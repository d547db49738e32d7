"""Objects with descriptors as arguments of multiprocessing's processes, and in its queues and pipes."""

from __future__ import annotations

import copy
import gc
import multiprocessing
import os
import pickle
from multiprocessing import forkserver, reduction, resource_sharer, resource_tracker

import pytest
from helpers import open_descriptors

import unixconn
from unixconn import FileDescriptor, UnixConnection

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
METHODS = ["spawn", "forkserver"]


def answer(connection):
    """Answer on a connection of the parent: run in a child."""
    with connection:
        connection.send_message(connection.receive_message(100).data.upper())


def answer_each(connection, raw, descriptor, listener):
    """Use one object of each class: run in a child."""
    with connection, descriptor, listener:
        with next(listener) as accepted:
            accepted.send_message(b"accepted")
        connection.send_message(os.read(descriptor.fileno(), 100))
        raw.connection_factory_create_connection().send_message(b"raw")
        raw.close()


def answer_on_all(listener, count):
    """Answer *count* connections, with the type of the object that came with their socket: run in a child."""
    with listener:
        for _ in range(count):
            accepted, source = listener.accept()
            with accepted:
                accepted.send_message(type(source).__name__.encode())


def answer_from(queue):
    """Answer on what a queue has: run in a child."""
    answer(queue.get())


def same_file(descriptor, other):
    """Whether two descriptors of a child are of one file."""
    with descriptor, other:
        return os.path.sameopenfile(descriptor.fileno(), other.fileno())


@pytest.fixture(params=METHODS)
def context(request):
    """A context of multiprocessing. Its server for new processes does not outlast the test."""
    yield multiprocessing.get_context(request.param)
    for _ in range(3):
        gc.collect()  # on PyPy, the semaphores of a pool are gone after the third one, and then the tracker may stop
    if request.param == "forkserver":
        forkserver._forkserver._stop()
    resource_sharer.stop()
    resource_tracker._resource_tracker._stop()


class TestProcesses:
    """They get the open socket itself, and the parent still has its own descriptor."""

    def test_arguments(self, context, tmp_path):
        """A connection, a Socket, a FileDescriptor and a listener."""
        reading, writing = os.pipe()
        os.write(writing, b"from the pipe")
        os.close(writing)
        ours, theirs = UnixConnection.create_pair()
        near, far = UnixConnection.create_pair()
        with (
            ours,
            theirs,
            near,
            far,
            FileDescriptor(reading) as descriptor,
            unixconn.listen(tmp_path / "s") as listener,
        ):
            arguments = (theirs, far.get_socket(), descriptor, listener)
            process = context.Process(target=answer_each, args=arguments)
            process.start()
            with unixconn.connect(tmp_path / "s") as client:
                assert client.receive_message(100).data == b"accepted"
            assert ours.receive_message(100).data == b"from the pipe"
            assert near.receive_message(100).data == b"raw"
            process.join()
            assert process.exitcode == 0
            assert (tmp_path / "s").exists()
        process.close()

    def test_a_listener_of_several_sockets(self, context, tmp_path):
        """A SocketListener takes its sockets along, and the objects that belong to them."""
        ours, theirs = UnixConnection.create_pair()
        with ours, theirs, unixconn.SocketListener() as listener:
            for name, source in (("a", None), ("b", theirs)):
                address = unixconn.UnixSocketAddress.new(str(tmp_path / name))
                listener.add_address(address, unixconn.SocketType.STREAM, unixconn.SocketProtocol.DEFAULT, source)
            process = context.Process(target=answer_on_all, args=(listener, 2))
            process.start()
            for name, kind in (("a", b"NoneType"), ("b", b"UnixConnection")):
                with unixconn.connect(tmp_path / name) as client:
                    assert client.receive_message(100).data == kind
            process.join()
            assert process.exitcode == 0
        process.close()

    def test_a_queue(self, context):
        """A queue takes a connection, and so does a pipe, which pickles in the same way."""
        ours, theirs = UnixConnection.create_pair()
        queue = context.SimpleQueue()
        process = context.Process(target=answer_from, args=(queue,))
        process.start()
        with ours, theirs:
            queue.put(theirs)
            ours.send_message(b"x")
            assert ours.receive_message(100).data == b"X"
        process.join()
        process.close()
        queue.close()

    def test_a_pool(self, context):
        """So do the tasks of a pool."""
        ours, theirs = UnixConnection.create_pair()
        reading, writing = os.pipe()
        os.close(writing)
        with context.Pool(1) as pool:
            done = pool.apply_async(answer, (theirs,))
            ours.send_message(b"x")
            assert done.get(60) is None
            assert ours.receive_message(100).data == b"X"
            with FileDescriptor(reading) as descriptor, descriptor.dup() as other:
                assert pool.apply(same_file, (descriptor, other))
            pool.close()
            pool.join()
        ours.close()
        theirs.close()


class TestElsewhere:
    """A number means nothing in another process, and a copy would close it twice."""

    @pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_it_is_refused(self, act, tmp_path):
        """By pickle and copy, also while multiprocessing is loaded."""
        one, other = UnixConnection.create_pair()
        with one, other, FileDescriptor(os.dup(0)) as descriptor, unixconn.listen(tmp_path / "s") as listener:
            for each in (one, one.get_socket(), descriptor, listener):
                with pytest.raises(TypeError, match="cannot be"):
                    act(each)

    def test_a_service(self):
        """Its handlers would be missing in the other process."""
        service = unixconn.SocketService.new()
        with pytest.raises(TypeError, match="SocketService"):
            reduction.ForkingPickler.dumps(service)
        service.close()

    def test_closed_ones(self):
        """What is closed cannot be passed, and the error says so."""
        one, other = UnixConnection.create_pair()
        one.close()
        other.close()
        descriptor = FileDescriptor(os.dup(0))
        descriptor.close()
        before = open_descriptors()
        listener = unixconn.SocketListener()
        listener.close()
        for each in (one, one.get_socket(), listener):
            with pytest.raises(unixconn.ClosedError):
                reduction.ForkingPickler.dumps(each)
        with pytest.raises(ValueError, match="closed or detached"):
            reduction.ForkingPickler.dumps(descriptor)
        assert open_descriptors() == before
