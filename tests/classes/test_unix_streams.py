"""Streams over descriptors of other kinds than sockets. What is as in Gio is in peers/snippets/lines.py, too."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import tty
import weakref
from pathlib import Path

import pytest
from helpers import Background, collect, is_open
from ways import each_loop, iterate, optional

from unixconn import (
    Cancellable,
    DataInputStream,
    DataOutputStream,
    Error,
    FileDescriptor,
    TimedOutError,
    UnixInputStream,
    UnixOutputStream,
)


def run_in(loop, main):
    """Run a coroutine function in the loop of this name."""
    return optional("trio").run(main) if loop == "trio" else asyncio.run(main())


@pytest.fixture
def pipe():
    """The streams of a pipe's ends."""
    reader, writer = os.pipe()
    with UnixInputStream.new(reader, True) as source, UnixOutputStream.new(writer, True) as target:
        yield source, target


def flags(stream):
    """Return what fcntl(2) says of the descriptor."""
    return fcntl.fcntl(stream.get_fd(), fcntl.F_GETFL)


class TestPipe:
    def test_reads(self, pipe):
        """Each method of InputStream."""
        source, target = pipe
        target.write_all(b"abcdefghijklmnop")
        assert [source.read(2), source.read_bytes(2).get_data(), source.skip(2), source.read_all(2)] == [
            b"ab",
            b"cd",
            2,
            b"gh",
        ]
        assert source.is_readable()
        small, large = bytearray(2), bytearray(100_000)
        assert [source.readinto(small), source.readinto(large)] == [2, 6]
        assert bytes(small + large[:6]) == b"ijklmnop"
        assert not source.is_readable()
        assert target.is_writable()
        target.close()
        assert source.read() == b""

    @pytest.mark.parametrize("size", [1000, 1_000_000])
    @pytest.mark.parametrize("name", ["write", "write_all"])
    def test_writes_all(self, pipe, name, size):
        """More than a pipe takes at a time goes in pieces, and the flags of the pipe stay as they are."""
        source, target = pipe
        before = flags(source), flags(target)
        reading = Background(lambda: source.read_all(size))
        assert getattr(target, name)(b"x" * size) in (size, (True, size))
        assert reading.outcome() == b"x" * size
        assert (flags(source), flags(target)) == before

    @each_loop("asyncio", "trio")
    def test_awaits(self, pipe, loop):
        """Both ends wait for each other in one thread."""
        source, target = pipe

        async def main():
            reading = source.read_all_async(500_000)
            written = await target.write_async(b"x" * 500_000)
            return written, len(await reading)

        assert run_in(loop, main) == (500_000, 500_000)

    def test_ends_by_a_deadline(self, pipe):
        """Although the pipe has no O_NONBLOCK."""
        source, target = pipe
        with pytest.raises(TimedOutError):
            source.read(1, Cancellable.with_timeout(0.01))
        with pytest.raises(TimedOutError):
            target.write_all(b"x" * 1_000_000, Cancellable.with_timeout(0.01))
        assert not source.has_pending()
        assert not target.has_pending()

    def test_non_blocking(self, pipe):
        """It waits as well."""
        source, target = pipe
        for each in pipe:
            os.set_blocking(each.get_fd(), False)
        reading = Background(lambda: source.read(9))
        assert reading.is_waiting()
        target.write(b"late")
        assert reading.outcome() == b"late"

    def test_lines(self, pipe):
        """A filter writes all, as its base does, and reads lines."""
        source, target = pipe
        lines, text = DataInputStream(source), DataOutputStream(target)
        reading = Background(lambda: list(lines))
        assert text.write(b"x" * 200_000 + b"\n") == 200_001
        assert text.put_string("grün\n")
        assert asyncio.run(_written(text)) == 200_001
        text.close()
        assert [len(each) for each in reading.outcome()] == [200_000, 5, 200_000]

    def test_splice(self, pipe, pair):
        """From a socket to a pipe; the end of the splice closes what was asked for."""
        source, target = pipe
        a, b = pair
        b.get_output_stream().write_all(b"data")
        b.close()
        assert target.splice(a.get_input_stream(), 2) == 4
        assert target.get_fd() == -1
        assert source.read() == b"data"

    def test_received(self, pair):
        """The pipe that a launcher gets from its helper."""
        a, b = pair
        reader, writer = os.pipe()
        a.send_fd(reader)
        os.close(reader)
        with DataInputStream(UnixInputStream.new(b.receive_fd(), True)) as stream:
            os.write(writer, b"started\n")
            os.close(writer)
            assert list(stream) == [b"started"]


async def _written(stream):
    return await stream.write_async(b"x" * 200_000 + b"\n")


class TestOtherFiles:
    def test_file(self, tmp_path):
        """It is always ready."""
        path = tmp_path / "file"
        with UnixOutputStream.new(os.open(path, os.O_CREAT | os.O_WRONLY), True) as target:
            assert target.write(b"x" * 100_000 + b"\nlast") == 100_005
        with DataInputStream(UnixInputStream.new(os.open(path, os.O_RDONLY), True)) as stream:
            assert [len(line) for line in stream] == [100_000, 4]
        with UnixInputStream.new(os.open(path, os.O_RDONLY), True) as source:
            assert len(asyncio.run(_all_of(source))) == 100_005

    def test_terminal(self):
        """Both directions of one descriptor, also while both wait."""
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        with UnixInputStream.new(theirs, True) as source, UnixOutputStream.new(theirs, False) as target:
            reading = source.read_async(9)
            writing = target.write_all_async(b"y" * 200_000)
            os.write(ours, b"x")
            assert reading.result() == b"x"
            left = 200_000
            while left:
                left -= len(os.read(ours, left))
            assert writing.result().bytes_written == 200_000
        os.close(ours)

    def test_both_directions_wait(self):
        """The descriptor is watched for both."""
        one, other = socket.socketpair()
        with one, other:
            source, target = UnixInputStream.new(one, False), UnixOutputStream.new(one.fileno(), False)
            found = []
            source.read_async(9, callback=lambda stream, result: found.append(stream.read_finish(result)))
            target.write_all_async(
                b"y" * 2_000_000, callback=lambda stream, result: found.append(stream.write_all_finish(result))
            )
            iterate(lambda: not source.is_readable())
            other.send(b"x")
            iterate(lambda: found)
            assert found == [b"x"]
            other.settimeout(0)
            left = 2_000_000

            def drained():
                nonlocal left
                with contextlib.suppress(BlockingIOError):
                    left -= len(other.recv(left))
                return len(found) == 2

            iterate(drained)
            assert found[1] == (True, 2_000_000)


async def _all_of(stream):
    return b"".join([await stream.read_all_async(50_000), await stream.read_all_async(99_999)])


class TestOwner:
    def test_is_dropped(self):
        """A stream that closes its descriptor does so when it is dropped, too; another does not."""
        reader, writer = os.pipe()
        UnixInputStream.new(reader, True)
        UnixOutputStream.new(writer, False)
        collect()
        assert (is_open(reader), is_open(writer)) == (False, True)
        os.close(writer)

    def test_of_a_file_descriptor(self):
        """It moves to the stream that closes it, and stays in use by one that does not."""
        reader, writer = os.pipe()
        ends = FileDescriptor(reader), FileDescriptor(writer)
        with UnixInputStream.new(ends[0], True) as source, UnixOutputStream.new(ends[1], False) as target:
            assert (ends[0].closed, ends[1].closed) == (True, False)
            target.write(b"x")
            assert source.read(2) == b"x"
        assert (is_open(reader), is_open(writer)) == (False, True)
        ends[1].close()

    def test_object_is_kept(self):
        """An object that closes its descriptor lives as long as the stream."""
        reader, writer = os.pipe()
        given = FileDescriptor(reader)
        stream = UnixInputStream.new(given, False)
        given = weakref.ref(given)
        collect()
        os.write(writer, b"x")
        os.close(writer)
        assert stream.read(2) == b"x"
        given().close()

    def test_setting(self):
        """It counts when the stream is closed or dropped."""
        reader, writer = os.pipe()
        source, target = UnixInputStream.new(reader, False), UnixOutputStream.new(writer, True)
        source.set_close_fd(True)
        target.set_close_fd(False)
        assert (source.get_close_fd(), target.props.close_fd) == (True, False)
        del source, target
        collect()
        assert (is_open(reader), is_open(writer)) == (False, True)
        os.close(writer)

    @pytest.mark.parametrize("kind", [UnixInputStream, UnixOutputStream])
    def test_setting_of_a_descriptor_s_owner(self, kind):
        """The stream takes the descriptor over, and nobody closes its number a second time."""
        given = FileDescriptor(os.dup(0))
        number = given.fileno()
        stream = kind.new(given, False)
        stream.set_close_fd(True)
        assert given.closed
        stream.close()
        assert not is_open(number)

    def test_closed_number_is_left_alone(self, pipe):
        """Another stream of the number does not close what has it by now."""
        source, _ = pipe
        number = source.get_fd()
        second = UnixInputStream.new(number, True)
        source.close()
        with Path(os.devnull).open("rb") as other:
            assert other.fileno() == number
            second.close()
            assert is_open(number)
            with UnixInputStream.new(number, False) as third:
                assert third.read(1) == b""

    @pytest.mark.parametrize(
        ("fd", "closes", "error"),
        [(-1, True, ValueError), ("x", False, TypeError), (None, True, TypeError), (2**40, True, OverflowError)],
    )
    def test_what_cannot_be_one(self, fd, closes, error):
        """It is refused, with its value."""
        for kind in (UnixInputStream, UnixOutputStream):
            with pytest.raises(error, match="fd must"):
                kind.new(fd, closes)

    def test_file_object_that_would_close_it_too(self):
        """It is refused."""
        with Path(os.devnull).open("rb") as file, pytest.raises(TypeError, match="would close"):
            UnixInputStream.new(file, True)

    def test_closing_while_pending(self, pipe):
        """The operation goes on."""
        source, target = pipe
        reading = source.read_async(9)
        with pytest.raises(Error, match="outstanding"):
            source.close()
        target.write(b"x")
        assert reading.result() == b"x"
