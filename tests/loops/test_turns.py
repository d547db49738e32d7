"""What is ready again and again lets others run: tasks, callbacks and timers have their turn."""

from __future__ import annotations

import asyncio
import contextlib
import os

import internals
import pytest
from ways import pushed

import unixconn
from unixconn import MainContext, UnixConnection

AT_ONCE = internals.asyncio_loop.AT_ONCE


async def most_in_a_row(loop, step, count=10 * AT_ONCE):
    """Return how often *step* was awaited in a row, at most, before another task had its turn."""

    async def again(count_one):
        for _ in range(count):
            count_one()
            await step()

    return max(await rows_of(loop, again))


async def rows_of(loop, run):
    """Return how often *run* called its argument in a row, each time before another task had its turn."""
    rows = [0]
    over = []

    def count_one():
        rows[-1] += 1

    async def counted():
        await run(count_one)
        over.append(True)

    async def other():
        while not over:
            rows.append(0)
            await loop.sleep(0)

    await loop.together(other, counted)
    return rows


async def send_and_receive_fd(a, b):
    """Receive a descriptor that is there."""
    a.send_fd(0)
    os.close(await b.receive_fd_async())


async def receive_credentials(a, b):
    """Receive credentials that are there."""
    a.send_credentials()
    await b.receive_credentials_async()


async def receive_message(a, b):
    """Receive a message that is there."""
    a.send_message(b"x")
    (await b.receive_message_async(1)).close()


async def read(a, b):
    """Read a byte that is there."""
    a.get_output_stream().write(b"x")
    assert await b.get_input_stream().read_async(1) == b"x"


async def read_bytes(a, b):
    """Read a byte that is there, as Bytes."""
    a.get_output_stream().write(b"x")
    assert bytes((await b.get_input_stream().read_bytes_async(1)).get_data()) == b"x"


async def write(a, b):
    """Write a byte, for which there is room."""
    await a.get_output_stream().write_async(b"x")
    b.get_input_stream().read(1)


async def send_fd(a, b):
    """Send a descriptor, for which there is room."""
    await a.send_fd_async(0)
    os.close(b.receive_fd())


async def receive_fds(a, b):
    """Receive the descriptors of a message that is there."""
    a.send_fds([0, 0])
    unixconn.close_fds(await b.receive_fds_async())


async def receive_descriptor(a, b):
    """Receive a descriptor that is there, as an object."""
    a.send_fd(0)
    (await b.receive_descriptor_async()).close()


async def receive_descriptors(a, b):
    """Receive descriptors that are there, as objects."""
    a.send_fd(0)
    for each in await b.receive_descriptors_async():
        each.close()


async def send_fds(a, b):
    """Send descriptors, for which there is room."""
    await a.send_fds_async([0, 0])
    unixconn.close_fds(b.receive_fds())


async def send_message(a, b):
    """Send a message, for which there is room."""
    await a.send_message_async(b"x")
    b.receive_message(9).close()


async def send_credentials(a, b):
    """Send credentials, for which there is room."""
    await a.send_credentials_async()
    b.receive_credentials()


async def receive_from(a, b):
    """Receive bytes that are there, with their sender's address."""
    a.send_message(b"x")
    await b.get_socket().receive_from_async(9)


async def send_to(a, b):
    """Send bytes to the peer, for which there is room."""
    await a.get_socket().send_to_async(None, b"x")
    b.get_input_stream().read(9)


async def read_all(a, b):
    """Read all bytes, which are there."""
    a.get_output_stream().write(b"xy")
    assert await b.get_input_stream().read_all_async(2) == b"xy"


async def skip(a, b):
    """Skip a byte that is there."""
    a.get_output_stream().write(b"x")
    assert await b.get_input_stream().skip_async(1) == 1


async def write_all(a, b):
    """Write bytes, for which there is room."""
    await a.get_output_stream().write_all_async(b"xy")
    b.get_input_stream().read_all(2)


async def fill(a, b):
    """Fill a buffer with what is there."""
    a.get_output_stream().write(b"x")
    assert await unixconn.BufferedInputStream.new(b.get_input_stream()).fill_async(1) == 1


async def fail(a, b):
    """Receive from a closed connection."""
    a.close()
    with pytest.raises(unixconn.Error):
        await a.receive_fd_async()


async def non_blocking(a, b):
    """Receive what is there without waiting."""
    b.get_socket().set_blocking(False)
    await send_and_receive_fd(a, b)


STEPS = [
    send_and_receive_fd,
    receive_credentials,
    receive_message,
    read,
    read_bytes,
    receive_fds,
    receive_descriptor,
    receive_descriptors,
    receive_from,
    read_all,
    skip,
    fill,
    write,
    write_all,
    send_fd,
    send_fds,
    send_message,
    send_credentials,
    send_to,
    fail,
    non_blocking,
]


each_kind = pytest.mark.parametrize("kind", [unixconn.SocketService, unixconn.ThreadedSocketService])


@contextlib.contextmanager
def records(count):
    """Return a stream with *count* records of a byte to read, one to write to, and where the latter arrives."""
    a, b = UnixConnection.create_pair(unixconn.SocketType.SEQPACKET)
    c, d = UnixConnection.create_pair()
    with a, b, c, d:
        for _ in range(count):
            a.send_message(b"x")
        a.close()
        yield b.get_input_stream(), c.get_output_stream(), d.get_input_stream()


@contextlib.contextmanager
def service_of(path, served, kind):
    """Start a service, and let clients connect; return their number. *served* gets an item for each of them."""
    count = 4 * AT_ONCE
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(kind(listen_backlog=count))
        service.connect("incoming", lambda *_: served.append(True))
        address = unixconn.UnixSocketAddress.new(path)
        service.add_address(address, unixconn.SocketType.STREAM, unixconn.SocketProtocol.DEFAULT, None)
        for _ in range(count):
            stack.enter_context(unixconn.connect(path))
        yield count


class TestTurns:
    @pytest.mark.parametrize("step", STEPS)
    def test_another_task_has_its_turn(self, loop, pair, step):
        """S2: among awaits that are all ready, another task runs after a few of them."""
        a, b = pair
        # The loop may come back to the reader before the other task, which then waits for a second round.
        assert loop.run(lambda: most_in_a_row(loop, lambda: step(a, b))) <= 2 * AT_ONCE + 2

    def test_read_line(self, loop, pair):
        """S2: the same for lines that were read ahead."""
        a, b = pair
        stream = unixconn.DataInputStream.new(b.get_input_stream())
        a.get_output_stream().write_all(b"\n" * 10 * AT_ONCE)
        assert loop.run(lambda: most_in_a_row(loop, stream.read_line_async)) <= 2 * AT_ONCE + 2

    def test_lines(self, loop, pair):
        """S2: the same for `async for`, which takes some lines at once that were read ahead."""
        a, b = pair
        stream = unixconn.DataInputStream.new(b.get_input_stream())
        a.get_output_stream().write_all(b"\n" * 10_000)
        assert loop.run(lambda: most_in_a_row(loop, stream.__anext__, 10_000)) <= 2 * AT_ONCE * (AT_ONCE + 1) + 2

    def test_connect(self, loop, tmp_path):
        """S2: the same for connections to somebody who listens."""
        path = str(tmp_path / "door")
        with unixconn.listen(path) as listener:

            async def connect():
                with await unixconn.connect_async(path):
                    listener.accept().connection.close()

            assert loop.run(lambda: most_in_a_row(loop, connect, 4 * AT_ONCE)) <= 2 * AT_ONCE + 2

    def test_serve(self, loop, tmp_path):
        """S2: the same for the handlers of clients that are all there."""
        path, count = str(tmp_path / "door"), 4 * AT_ONCE

        async def main():
            with unixconn.listen(path, backlog=count) as listener, contextlib.ExitStack() as stack:
                for _ in range(count):
                    stack.enter_context(unixconn.connect(path))

                async def serve(count_one):
                    served = []

                    async def handle(_connection):
                        count_one()
                        served.append(True)
                        if len(served) == count:
                            listener.close()

                    await unixconn.serve(handle, listener)

                return await rows_of(loop, serve)

        rows = loop.run(main)
        assert sum(rows) == count
        assert max(rows) <= 2 * AT_ONCE + 2

    def test_accept(self, loop, tmp_path):
        """S2: the same for clients that are all there, in `async for`."""
        path = str(tmp_path / "door")

        async def main():
            with unixconn.listen(path) as listener:

                async def accept():
                    with unixconn.connect(path):
                        async for each in listener:
                            each.close()
                            break

                return await most_in_a_row(loop, accept, 4 * AT_ONCE)

        assert loop.run(main) <= 2 * AT_ONCE + 2

    def test_all_tasks_share_the_turn(self, run, many):
        """S2: many peers that flood at the same time have one turn together."""
        rows = [0]
        over = []

        async def flooded(a, b):
            for _ in range(20):
                rows[-1] += 1
                await send_and_receive_fd(a, b)
            over.append(True)

        async def other():
            while len(over) < len(many):
                rows.append(0)
                await asyncio.sleep(0)

        async def main():
            await asyncio.gather(other(), *(flooded(a, b) for a, b in many))

        run(main)
        # Each of them starts once in the first round, and all that wait are served in each one.
        assert max(rows) <= 2 * (len(many) + AT_ONCE)

    def test_cancelled_in_the_pause(self, run, pair):
        """S2: who is cancelled while it lets others run has received nothing, and the order is kept."""
        a, b = pair

        async def receive():
            return await b.receive_message_async(1)

        async def main():
            for _ in range(AT_ONCE):
                await send_and_receive_fd(a, b)
            a.send_message(b"1")
            a.send_message(b"2")
            task = asyncio.ensure_future(receive())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            first, second = b.receive_message_async(1), b.receive_message_async(1)
            with await second as later, await first as earlier:
                assert (earlier.data, later.data) == (b"1", b"2")

        run(main)

    def test_leftovers(self, run, pair):
        """S2: the pause ends for descriptors, too, that came with bytes and that the kernel reports no more."""
        a, b = pair

        async def main():
            for _ in range(AT_ONCE):
                await send_and_receive_fd(a, b)
            a.send_fd(0)
            b.get_input_stream().read(1)
            os.close(await asyncio.wait_for(b.receive_fd_async(), 60))

        run(main)

    def test_context(self):
        """S2: a callback that starts the next operation, which is ready, is called once in an iteration."""
        context = MainContext.new()
        context.push_thread_default()
        calls = []
        a, b = UnixConnection.create_pair()

        def received(connection, result):
            os.close(connection.receive_fd_finish(result))
            calls.append(True)
            a.send_fd(0)
            b.receive_fd_async(None, received)

        try:
            with a, b:
                a.send_fd(0)
                b.receive_fd_async(None, received)
                for count in range(1, 10):
                    context.iteration(True)
                    assert len(calls) == count
        finally:
            a.close()
            b.close()
            while context.iteration(False):
                pass
            context.pop_thread_default()

    def test_async_for(self, loop, tmp_path):
        """S2: clients that are all there, one after the other in the same `async for`."""
        path, count = str(tmp_path / "door"), 4 * AT_ONCE
        rows, over = [0], []

        async def main():
            with unixconn.listen(path, backlog=count) as listener:
                clients = [unixconn.connect(path) for _ in range(count)]

                async def serve():
                    async for each in listener:
                        rows[-1] += 1
                        each.close()
                        if sum(rows) == count:
                            break
                    over.append(True)

                async def other():
                    while not over:
                        rows.append(0)
                        await loop.sleep(0)

                await loop.together(other, serve)
                for each in clients:
                    each.close()

        loop.run(main)
        assert max(rows) <= 2 * AT_ONCE + 2

    @each_kind
    def test_service_in_a_context(self, tmp_path, kind):
        """S2: a service takes one client in each iteration, though all are there; also where each gets a thread."""
        context, served = MainContext.new(), []
        with pushed(context), service_of(str(tmp_path / "door"), served, kind) as clients:
            while len(served) < clients:
                before = len(served)
                context.iteration(True)
                assert len(served) <= before + 1

    @each_kind
    def test_service_in_asyncio(self, run, tmp_path, kind):
        """S2: a service lets other tasks run between clients that are all there."""
        rows, served = [], []

        async def main():
            with service_of(str(tmp_path / "door"), served, kind) as clients:
                while len(served) < clients:
                    before = len(served)
                    await asyncio.sleep(0)
                    rows.append(len(served) - before)

        run(main)
        assert max(rows) <= AT_ONCE

    def test_splice(self, loop):
        """S2: a splice of many records that are all there lets another task run between them."""
        count = 6 * AT_ONCE  # with more, the queue may be full

        async def main():
            with records(count) as (source, target, reader):
                turns, over = [], []

                async def splice():
                    copied = await target.splice_async(source, unixconn.OutputStreamSpliceFlags.NONE)
                    over.append(copied)

                async def other():
                    while not over:
                        turns.append(True)
                        await loop.sleep(0)

                await loop.together(other, splice)
                assert over == [count]
                assert len(reader.read_bytes(2 * count).get_data()) == count
                return len(turns)

        # Each record is read and written.
        assert loop.run(main) >= count // (2 * AT_ONCE)
