"""Lines, numbers and buffers over the streams of a connection. What is as in Gio is in peers/snippets/lines.py, too."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import threading
from itertools import starmap

import pytest
from helpers import Background, come_to_rest, same
from internals import RETURN_IS_ATOMIC
from storms import Interruption, stop_at
from ways import each_loop, iterate, optional

from unixconn import (
    BufferedInputStream,
    Cancellable,
    DataInputStream,
    DataOutputStream,
    DataStreamNewlineType,
    Error,
    FilterInputStream,
    FilterOutputStream,
    Line,
    SocketMessage,
    Text,
    TimedOutError,
    TooManyOpenFilesError,
)


def run_in(loop, main):
    """Run a coroutine function in the loop of this name."""
    return optional("trio").run(main) if loop == "trio" else asyncio.run(main())


@pytest.fixture
def lines(pair):
    """A stream of lines, and the stream at the other end that writes them."""
    a, b = pair
    return DataInputStream.new(a.get_input_stream()), b.get_output_stream()


class TestLines:
    def test_length_is_named(self, lines):
        """As in PyGObject, beside the place in the tuple."""
        stream, writer = lines
        writer.write_all(b"one\ntwo\n")
        assert stream.read_line() == (b"one", 3)
        found = stream.read_line_utf8()
        assert (found.text, found.length) == ("two", 3)

    def test_zero_byte(self, lines):
        """It is a byte as any other; PyGObject cuts the line there."""
        stream, writer = lines
        writer.write_all(b"a\0b\nc\0d\n")
        assert stream.read_line() == (b"a\0b", 3)
        assert stream.read_line_utf8() == ("c\0d", 3)

    def test_that_comes_in_pieces(self, lines):
        """An end of two bytes may come in two pieces, and one byte may be a line's end or not."""
        stream, writer = lines
        for kind in (DataStreamNewlineType.CR_LF, DataStreamNewlineType.ANY):
            stream.set_newline_type(kind)
            waiting = Background(lambda: [stream.read_line().line for _ in range(2)])
            for piece in (b"o", b"ne\r", b"\n\r", b"\n"):
                assert waiting.is_waiting()
                writer.write_all(piece)
            assert waiting.outcome() == [b"one", b""]

    def test_long(self, pair):
        """It may be longer than the buffer, by far, and come in many pieces."""
        a, b = pair
        stream = DataInputStream(a.get_input_stream(), buffer_size=1)

        def send():
            with b:
                for _ in range(2000):
                    b.get_output_stream().write_all(b"x" * 100)

        sending = Background(send)
        assert stream.read_line().length == 200_000
        assert stream.get_buffer_size() > 100_000
        sending.outcome()

    def test_buffer_size_is_notified(self, lines, calls):
        """The buffer grows, and says so."""
        stream, writer = lines
        stream.set_buffer_size(4)
        stream.connect("notify::buffer-size", calls)
        writer.write_all(b"0123456789\n")
        assert stream.read_line().length == 10
        assert len(calls) == 2

    def test_bytes_of_wrong_text(self, lines, calls):
        """They are in the Error."""
        stream, writer = lines
        writer.write_all(b"a\xff\nb\xff;c\xff\n")
        for call in (stream.read_line_utf8, lambda: stream.read_upto(";", 1)):
            with pytest.raises(Error) as caught:
                call()
            assert caught.value.partial in (b"a\xff", b"b\xff")
            assert caught.value.domain == "g_convert_error"
        stream.skip(1)
        stream.read_line_async(callback=calls)
        iterate(lambda: calls)
        with pytest.raises(Error, match="Invalid byte sequence"):
            stream.read_line_finish_utf8(calls.result)

    def test_wrong_text_in_the_background(self, lines, calls):
        """The Error is that of the result, and not of the call."""
        stream, writer = lines
        for _ in range(2):  # from the base stream, and from the buffer
            writer.write_all(b"\xff;")
            stream.read_upto_async(";", 1, callback=calls)
            iterate(lambda: calls)
            with pytest.raises(Error, match="Invalid byte sequence"):
                stream.read_upto_finish(calls.pop()[1])
            assert stream.read_byte() == ord(";")
            writer.write_all(b"\xff;")
            stream.fill(-1)

    def test_iteration(self, lines):
        """Lines that are empty do not end it."""
        stream, writer = lines
        writer.write_all(b"one\n\ntwo\nlast")
        writer._socket.shutdown(False, True)
        assert list(stream) == [b"one", b"", b"two", b"last"]

    @each_loop("asyncio", "trio")
    def test_asynchronous_iteration(self, lines, loop):
        """So do these."""
        stream, writer = lines
        sending = Background(lambda: [writer.write_all(each) for each in (b"one\n\n", b"two\nl", b"ast")])

        async def main():
            found = []
            async for line in stream:
                found.append(line)
                if len(found) == 3:
                    sending.outcome()
                    writer._socket.shutdown(False, True)
            return found

        assert run_in(loop, main) == [b"one", b"", b"two", b"last"]


class TestNothingIsLost:
    @pytest.mark.parametrize("name", ["read_line", "read_all", "read_uint64", "read_upto"])
    def test_by_a_deadline(self, lines, name):
        """What has come stays in the buffer."""
        stream, writer = lines
        arguments = {"read_all": (9,), "read_upto": (";", 1)}.get(name, ())
        writer.write_all(b"be")
        with pytest.raises(TimedOutError):
            getattr(stream, name)(*arguments, Cancellable.with_timeout(0.01))
        writer.write_all(b"gun\n")
        assert stream.read_line() == (b"begun", 5)

    def test_by_cancelling_a_future(self, lines):
        """Nor by asyncio's timeout."""
        stream, writer = lines

        async def main():
            writer.write_all(b"be")
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(stream.read_line_async(), 0.01)
            writer.write_all(b"gun\n")
            return await stream.read_line_async()

        assert asyncio.run(main()) == (b"begun", 5)

    def test_by_a_wrong_argument(self, lines):
        """A line that is in the buffer stays there."""
        stream, writer = lines
        writer.write_all(b"one\ntwo\n")
        stream.fill(-1)
        for wrong in ({"callback": 1}, {"io_priority": "x"}, {"cancellable": 1}):
            with pytest.raises(TypeError):
                stream.read_line_async(**wrong)
        cancellable = Cancellable()
        cancellable.cancel()
        with pytest.raises(Error, match="cancelled"):
            stream.read_line(cancellable)
        assert stream.read_line() == (b"one", 3)

    def test_by_signal_handlers(self, lines, on_alarm):
        """Exceptions come at each moment of a read into the buffer: each byte is there once."""
        stream, writer = lines
        data = os.urandom(100_000)
        sending = threading.Thread(target=writer.write_all, args=(data,))
        found = bytearray()

        class StormError(Exception):
            pass

        def handler(*_):
            raise StormError

        def came():
            return len(stream._buffer) + sum(map(len, stream._came))

        def fill():
            on_alarm(handler, 0.0005)
            while came() < len(data):
                stream.set_buffer_size(stream.get_available() + 100)
                stream.fill(-1)
            on_alarm(handler, 0)

        sending.start()
        storms = 0
        stream.set_buffer_size(100)
        while came() < len(data):
            # The loop that is broken off is in a function of its own: CPython 3.13 leaves a loop's jump back out of
            # the try around it.
            try:
                fill()
            except StormError:
                storms += 1
        sending.join()
        stream.fill(0)
        found += stream.peek_buffer()
        assert found == data
        assert not stream.has_pending()
        assert storms

    @pytest.mark.breaks_off
    @pytest.mark.skipif(not RETURN_IS_ATOMIC, reason="a result may be lost between the return and its store")
    @pytest.mark.parametrize("is_there", [False, True], ids=["in the socket", "in the buffer"])
    def test_of_lines_by_signal_handlers(self, lines, is_there):
        """An exception comes at each step of a read in turn: a line is returned, or in the stream."""
        stream, writer = lines
        seen, step = [""], 0
        while len(seen) >= step:
            step += 1
            writer.write_all(b"one\ntwo\n")
            found = [stream.read_line()] if is_there else []
            try:
                seen = stop_at(step)
                found += starmap(stream.read_line, ((),))
            except Interruption:
                pass
            finally:
                sys.setprofile(None)
            assert not stream.has_pending()
            found += [stream.read_line() for _ in range(2 - len(found))]
            assert [each.line for each in found] == [b"one", b"two"], step
        assert step > 3

    @pytest.mark.breaks_off
    @pytest.mark.skipif(not RETURN_IS_ATOMIC, reason="a result may be lost between the return and its store")
    @pytest.mark.parametrize("is_awaited", [False, True], ids=["callback", "future"])
    @pytest.mark.parametrize("is_there", [False, True], ids=["in the socket", "in the buffer"])
    def test_of_lines_in_the_background_by_signal_handlers(self, lines, is_there, is_awaited):
        """An exception comes at each step of a start in turn: a line goes to the callback, or is in the stream."""
        stream, writer = lines
        found = []
        callback = () if is_awaited else (lambda _stream, result: found.append(stream.read_line_finish(result)),)
        seen, step = [""], 0
        while len(seen) >= step:
            step += 1
            writer.write_all(b"one\ntwo\n")
            found[:] = [stream.read_line()] if is_there else []
            started = []
            try:
                seen = stop_at(step)
                started += starmap(stream.read_line_async, ((0, None, *callback),))
            except Interruption:
                pass
            finally:
                sys.setprofile(None)
            if is_awaited:
                found += [each.result(5) for each in started]
            elif started or stream.has_pending():
                iterate(lambda: len(found) > is_there)  # noqa: B023 - called at once
            assert not stream.has_pending()
            found += [stream.read_line() for _ in range(2 - len(found))]
            assert [each.line for each in found] == [b"one", b"two"], step
        assert step > 3

    def test_of_a_splice(self, lines, pair):
        """What was read ahead is spliced, too."""
        stream, writer = lines
        writer.write_all(b"head\nbody")
        writer._socket.shutdown(False, True)
        assert stream.read_line() == (b"head", 4)
        assert pair[0].get_output_stream().splice(stream) == 4
        assert pair[1].get_input_stream().read(9) == b"body"

    def test_of_an_asynchronous_splice(self, lines, pair, calls):
        """Also in the background."""
        stream, writer = lines
        writer.write_all(b"head\nbody")
        writer._socket.shutdown(False, True)
        assert stream.read_line() == (b"head", 4)
        target = DataOutputStream.new(pair[0].get_output_stream())
        target.splice_async(stream, 0, callback=calls)
        iterate(lambda: calls)
        assert target.splice_finish(calls[0][1]) == 4
        assert pair[1].get_input_stream().read(9) == b"body"


class TestDescriptors:
    def test_of_an_operation_that_waits(self, pair, null, calls):
        """It comes first: a read in the background leaves it what has come meanwhile."""
        a, b = pair
        stream, lines = DataInputStream(a.get_input_stream()), []
        a.receive_fd_async(None, calls)
        b.send_fd(null)
        stream.read_line_async(0, None, lambda _stream, result: lines.append(stream.read_line_finish(result)))
        b.get_output_stream().write_all(b"line\n")
        iterate(lambda: calls and lines)
        os.close(a.receive_fd_finish(calls[0][1]))
        assert lines == [(b"line", 4)]

    def test_come_in_their_order(self, pair, tagged):
        """Those that came with bytes that were read ahead wait for receive_fd."""
        a, b = pair
        stream = DataInputStream(a.get_input_stream())
        files = [tagged(number) for number in range(3)]
        for number, fd in enumerate(files):
            b.send_message(b"line %d\n" % number, fds=[fd])
        b.close()
        assert list(stream) == [b"line 0", b"line 1", b"line 2"]
        for fd in files:
            received = a.receive_fd()
            assert same(received, fd)
            os.close(received)

    def test_of_an_await(self, pair, null):
        """So do those that an asynchronous read finds."""
        a, b = pair
        stream = DataInputStream(a.get_input_stream())

        async def main():
            found = asyncio.ensure_future(stream.read_line_async())
            await asyncio.sleep(0)
            b.send_message(b"line\n", fds=[null])
            return await found, await a.receive_fd_async()

        line, fd = asyncio.run(main())
        assert line == (b"line", 4)
        assert same(fd, null)
        os.close(fd)

    def test_limit(self, pair, null):
        """If more are kept than one message brings, reading stops; the bytes that were read ahead do not."""
        a, b = pair
        stream = DataInputStream(a.get_input_stream())
        for _ in range(2):
            b.send_message(b"x\n", fds=[null] * 200)
        b.get_output_stream().write(b"y\n")
        assert [stream.read_line().line for _ in range(2)] == [b"x", b"x"]
        with pytest.raises(TooManyOpenFilesError):
            stream.read_line()
        for fd in a.receive_fds() + a.receive_fds():
            os.close(fd)
        assert stream.read_line() == (b"y", 1)


class TestBuffer:
    def test_read_waits_once_for_what_is_missing(self, lines):
        """As in Gio; readinto does not."""
        stream, writer = lines
        writer.write_all(b"abc")
        stream.fill(2)
        waiting = Background(lambda: stream.read(9))
        assert waiting.outcome() == b"abc"
        writer.write_all(b"def")
        stream.fill(1)
        target = bytearray(9)
        assert (stream.readinto(target), bytes(target[:1])) == (1, b"d")

    def test_read_after_an_error(self, lines):
        """What is there is the result, as in Gio."""
        stream, writer = lines
        writer.write_all(b"abc")
        stream.fill(-1)
        cancellable = Cancellable()
        waiting = Background(stream.read, 9, cancellable)
        come_to_rest(waiting)
        cancellable.cancel()
        assert waiting.outcome() == b"abc"
        with pytest.raises(TimedOutError):
            stream.read(9, Cancellable.with_timeout(0.01))

    @pytest.mark.parametrize("count", [None, 300_000])
    def test_read_to_the_end(self, pair, count):
        """In pieces that are larger than the buffer."""
        a, b = pair
        stream = BufferedInputStream.new_sized(a.get_input_stream(), 10)

        def send():
            with b:
                b.get_output_stream().write_all(b"x" * 200_000)

        sending = Background(send)
        assert stream.read_byte() == ord("x")
        found = stream.read() if count is None else stream.read_all(count)
        assert (len(found), stream.read(1), stream.read_byte()) == (199_999, b"", -1)
        sending.outcome()

    def test_of_a_buffer(self, lines):
        """A stream over a stream over a stream."""
        stream, writer = lines
        outer = DataInputStream(BufferedInputStream(stream))
        writer.write_all(b"one\ntwo\nlast")
        assert stream.read_line() == (b"one", 3)
        writer._socket.shutdown(False, True)
        assert list(outer) == [b"two", b"last"]

    def test_as_a_file_object(self, lines):
        """What io makes over it reads what was read ahead."""
        stream, writer = lines
        writer.write_all("eins\nzwei\ndreizehn ä".encode())
        writer._socket.shutdown(False, True)
        assert stream.read_line_utf8() == ("eins", 4)
        assert io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8").readlines() == ["zwei\n", "dreizehn ä"]

    def test_is_readable(self, lines):
        """It is if there is something in the buffer or in the socket."""
        stream, writer = lines
        assert not stream.is_readable()
        writer.write_all(b"ab")
        assert stream.is_readable()
        assert stream.fill(-1) == 2
        assert stream.is_readable()
        stream.skip(2)
        assert not stream.is_readable()

    def test_asynchronous_reads(self, lines):
        """Those of InputStream know the buffer."""
        stream, writer = lines
        writer.write_all(b"abcdefghij")
        stream.fill(-1)

        async def main():
            found = [await stream.read_async(2), (await stream.read_bytes_async(2)).get_data()]
            return [*found, await stream.skip_async(2), await stream.read_all_async(4), await stream.read_async(0)]

        assert asyncio.run(main()) == [b"ab", b"cd", 2, b"ghij", b""]
        assert stream.get_available() == 0

    @pytest.mark.parametrize("size", [0, -1, 2**32])
    def test_size_that_cannot_be(self, lines, size):
        """It is refused, with its value."""
        stream, _ = lines
        for call in (stream.set_buffer_size, lambda size: BufferedInputStream.new_sized(stream, size)):
            with pytest.raises(OverflowError, match=str(size)):
                call(size)


class TestFilters:
    def test_are_abstract(self, pair):
        """As in Gio."""
        a, _ = pair
        for kind, base in ((FilterInputStream, a.get_input_stream()), (FilterOutputStream, a.get_output_stream())):
            with pytest.raises(TypeError, match="abstract"):
                kind(base_stream=base)

    def test_of_something_else(self, pair):
        """It is refused, with its value."""
        a, _ = pair
        for kind, base in ((DataInputStream, a.get_output_stream()), (DataOutputStream, a.get_input_stream())):
            with pytest.raises(TypeError, match=r"not <Socket(Out|In)putStream \d+>"):
                kind(base)

    def test_one_operation_at_a_time(self, lines):
        """That of the base stream counts, and the other way round."""
        stream, writer = lines
        for waiting, other in ((stream, stream.get_base_stream()), (stream.get_base_stream(), stream)):
            future = waiting.read_async(1)
            with pytest.raises(Error, match="outstanding"):
                other.read(1)
            writer.write(b"x")
            assert future.result() == b"x"

    def test_closing_the_base(self, pair):
        """It closes an output, and an input once its buffer is empty."""
        a, _ = pair
        stream, target = DataInputStream(a.get_input_stream()), DataOutputStream(a.get_output_stream())
        for each in (stream, target):
            each.get_base_stream().close()
        for call in (stream.read_line, stream.read_byte, lambda: target.put_byte(1), lambda: target.write(b"x")):
            with pytest.raises(Error, match="Stream is already closed"):
                call()
        assert not stream.is_closed()
        assert target.is_closed()

    @pytest.mark.parametrize("closes", [True, False])
    def test_closing_in_the_background(self, pair, calls, closes):
        """The setting counts there, too."""
        a, _ = pair
        stream, target = DataInputStream(a.get_input_stream()), DataOutputStream(a.get_output_stream())
        for each in (stream, target):
            each.set_close_base_stream(closes)
            assert each.get_close_base_stream() is closes
            each.close_async(callback=calls)
        iterate(lambda: len(calls) == 2)
        assert [each.get_base_stream().is_closed() for each in (stream, target)] == [closes] * 2

    def test_writes_in_the_background(self, pair, calls):
        """The filter is pending with its base."""
        a, b = pair
        target = DataOutputStream(a.get_output_stream())
        target.write_async(b"x", callback=calls)
        assert target.has_pending()
        assert target.get_base_stream().has_pending()
        iterate(lambda: calls)
        assert target.write_finish(calls[0][1]) == 1
        assert not target.has_pending()
        assert b.get_input_stream().read(2) == b"x"


def test_the_results_have_names():
    """For those that print them: as PyGObject prints them."""
    assert repr(Line(b"x", 1)) == "(b'x', length=1)"
    assert repr(Text(None, 0)) == "(None, length=0)"
    assert str(SocketMessage(1, None, [], 0)) == "(1, address=None, messages=[], flags=0)"
