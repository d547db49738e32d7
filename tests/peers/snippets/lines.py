"""Lines, numbers and buffers over a stream; descriptors of other kinds than sockets."""

from __future__ import annotations

import os
import threading

from gi.repository import Gio, GLib

from tools import attempt, cancelled, pair, plain, result_of, stream_of

ORDERS = (Gio.DataStreamByteOrder.BIG_ENDIAN, Gio.DataStreamByteOrder.LITTLE_ENDIAN)
NEWLINES = ("LF", "CR", "CR_LF", "ANY")
NUMBERS = ("int16", "uint16", "int32", "uint32", "int64", "uint64")


def lines_of_each_kind():
    """What ends a line is a setting; what is before the end of the stream is a line."""
    outcome = []
    for name in NEWLINES:
        stream = stream_of(b"ab\r\ncd\ref\n\n\rgh\r")
        stream.set_newline_type(getattr(Gio.DataStreamNewlineType, name))
        outcome.append([plain(list(stream.read_line())) for _ in range(9)])
    return outcome


def lines_of_text():
    """Text that is no UTF-8 is an error, and its line is gone."""
    stream = stream_of("grün\n".encode() + b"\xff\xfe\n\nlast")
    return [attempt(lambda: list(stream.read_line_utf8())) for _ in range(6)]


def a_long_line():
    """The buffer grows until the line has ended."""
    a, b = pair()
    stream = Gio.DataInputStream.new(a.get_input_stream())
    data = b"x" * 100_000 + b"\n" + b"y" * 9
    sender = threading.Thread(target=lambda: (b.get_output_stream().write_all(data), b.close()))
    sender.start()
    outcome = [len(stream.read_line()[0]), stream.get_buffer_size(), plain(list(stream.read_line()))]
    sender.join()
    return outcome


def texts_up_to_a_character():
    """The character stays in the stream."""
    stream = stream_of("a-ä;bc,;d".encode())
    outcome = [
        list(stream.read_upto(";,", -1)),
        stream.read_byte(),
        list(stream.read_upto(",;", 1)),
        stream.read_byte(),
    ]
    return [*outcome, [list(stream.read_upto(",", 1)) for _ in range(2)], attempt(stream.read_byte)]


def numbers_of_each_size():
    """Each size in each order."""
    outcome = []
    for order in ORDERS:
        stream = stream_of(bytes(range(200, 229)) + b"x")
        stream.set_byte_order(order)
        outcome.append([stream.read_byte(), *(getattr(stream, f"read_{name}")() for name in NUMBERS)])
        outcome.append([attempt(stream.read_uint16), stream.get_available(), stream.read_byte()])
    return outcome


def numbers_read_nothing_ahead():
    """The rest is for those that use the base stream."""
    stream = stream_of(b"\0\1rest")
    return [stream.read_uint16(), stream.get_available(), plain(stream.get_base_stream().read_bytes(9).get_data())]


def numbers_that_are_written():
    """Each size in each order, and what does not fit."""
    reader, writer = os.pipe()
    stream, outcome = Gio.DataOutputStream.new(Gio.UnixOutputStream.new(writer, True)), []
    for order in ORDERS:
        stream.set_byte_order(order)
        outcome += [getattr(stream, f"put_{name}")(100) for name in (*NUMBERS, "byte")]
        outcome.append(stream.put_int64(-(2**63)))
    outcome += [stream.put_string("grün"), stream.flush(), plain(os.read(reader, 999))]
    for name, value in (("byte", 256), ("byte", -1), ("int16", 2**15), ("uint64", 2**64), ("string", b"x")):
        outcome.append(attempt(getattr(stream, f"put_{name}"), value))
    outcome += [stream.close(), stream.get_base_stream().is_closed(), attempt(stream.put_byte, 1)]
    os.close(reader)
    return outcome


def a_buffer():
    """It is filled, looked at and read from."""
    stream = stream_of(b"hello world", Gio.BufferedInputStream)
    outcome = [stream.get_available(), stream.fill(5), stream.get_available(), plain(bytes(stream.peek_buffer()))]
    outcome += [stream.peek(bytearray(3), 1), stream.peek(bytearray(9), 3), stream.peek(bytearray(9), 9)]
    outcome += [stream.get_buffer_size(), attempt(stream.fill, -2), stream.fill(0)]
    stream.set_buffer_size(3)
    outcome += [stream.get_buffer_size(), stream.fill(-1), stream.read_byte(), stream.fill(9), stream.skip(2)]
    outcome += [plain(stream.read_bytes(3).get_data()), plain(stream.read_bytes(99).get_data()), stream.read_byte()]
    return [*outcome, stream.fill(-1), attempt(stream.peek, bytearray(3), -1)]


def errors_of_a_buffer():
    """A closed stream, a pending one, and a cancelled operation that would have to wait."""
    stream = stream_of(b"x\ny\n")
    outcome = [attempt(stream.read_line, cancelled()), attempt(stream.fill, 9, cancelled()), stream.get_available()]
    stream.set_pending()
    outcome += [attempt(stream.read_line), attempt(stream.fill, -1), attempt(stream.close)]
    stream.clear_pending()
    outcome += [plain(list(stream.read_line())), stream.get_base_stream().close(), stream.is_closed()]
    outcome += [plain(list(stream.read_line())), attempt(stream.read_line), stream.close(), stream.close()]
    return [*outcome, stream.is_closed(), attempt(stream.fill, -1), attempt(stream.skip, 1)]


def closing_the_base():
    """A setting says whether it is closed, too."""
    outcome = []
    for closes in (True, False):
        stream = stream_of(b"x\n")
        stream.set_close_base_stream(closes)
        outcome.append([stream.get_close_base_stream(), stream.close(), stream.get_base_stream().is_closed()])
    return outcome


def properties_of_a_data_stream():
    """Names and defaults."""
    stream = stream_of(b"")
    stream.props.buffer_size = 9
    names = ("buffer-size", "byte-order", "newline-type", "close-base-stream", "close-fd")
    found = [int(stream.get_property(name)) for name in names[:-1]]
    base = stream.get_base_stream()
    return [*found, base.props.close_fd, base.get_close_fd(), stream.props.base_stream is base]


def wrong_arguments():
    """They are refused."""
    stream = stream_of(b"")
    outcome = [attempt(kind.new, 1)[:1] for kind in (Gio.DataInputStream, Gio.DataOutputStream)]
    outcome += [attempt(Gio.FilterInputStream, base_stream=stream)[:1], attempt(stream.set_byte_order, "big")[:1]]
    return [*outcome, attempt(stream.set_newline_type, "LF")[:1], attempt(stream.read_upto, b"x", 1)[:1]]


def asynchronous_lines():
    """Each finish method, and the end of the stream."""
    stream = stream_of(b"ab\n\xff\n" + "grün\n".encode() + b"l;ast")
    outcome = [result_of(stream.read_line_async, finish=lambda r: list(stream.read_line_finish(r)))]
    outcome += [
        result_of(stream.read_line_async, finish=lambda r: list(stream.read_line_finish_utf8(r))) for _ in range(2)
    ]
    outcome.append(result_of(stream.read_upto_async, ";", 1, finish=lambda r: list(stream.read_upto_finish(r))))
    outcome.append(result_of(stream.fill_async, -1, finish=stream.fill_finish))
    outcome.append(result_of(stream.fill_async, -2, finish=stream.fill_finish))
    outcome += [
        result_of(stream.read_line_async, finish=lambda r: list(stream.read_line_finish_utf8(r))) for _ in range(2)
    ]
    outcome.append(result_of(stream.read_line_async, finish=lambda r: list(stream.read_line_finish(r))))
    return [*outcome, result_of(stream.read_upto_async, ";", 1, finish=lambda r: list(stream.read_upto_finish(r)))]


def one_asynchronous_line_at_a_time():
    """A second operation is refused, and the first goes on."""
    a, b = pair()
    stream = Gio.DataInputStream.new(a.get_input_stream())
    loop, found = GLib.MainLoop(), []

    def ended(_stream, result):
        found.append(attempt(lambda: list(stream.read_line_finish(result))))
        if len(found) == 1:
            b.get_output_stream().write_all(b"line\n")
        else:
            loop.quit()

    stream.read_line_async(0, None, ended)
    outcome = [stream.has_pending()]
    stream.read_line_async(0, None, ended)
    loop.run()
    return [*outcome, plain(found), stream.has_pending()]


def a_pipe():
    """Both ends of a pipe are streams."""
    reader, writer = os.pipe()
    source, target = Gio.UnixInputStream.new(reader, True), Gio.UnixOutputStream.new(writer, True)
    outcome = [source.get_fd() == reader, target.get_fd() == writer, target.write(b"hello"), source.get_close_fd()]
    outcome += [plain(source.read_bytes(9).get_data()), target.close(), plain(source.read_bytes(9).get_data())]
    outcome += [source.close(), attempt(source.read_bytes, 1), attempt(target.write, b"x")]
    return [*outcome, attempt(os.fstat, reader)[:1], attempt(os.fstat, writer)[:1]]


def a_pipe_without_a_reader():
    """Writing to it is an error."""
    reader, writer = os.pipe()
    os.close(reader)
    return attempt(Gio.UnixOutputStream.new(writer, True).write, b"x")


def a_descriptor_that_is_not_open():
    """The first operation tells."""
    return [
        attempt(Gio.UnixInputStream.new(9999, False).read_bytes, 1),
        attempt(Gio.UnixOutputStream.new(9999, False).write, b"x"),
    ]


def a_folder():
    """It cannot be read."""
    stream = Gio.UnixInputStream.new(os.open("/", os.O_RDONLY), True)
    return [attempt(stream.read_bytes, 1), stream.close()]


def a_descriptor_that_stays_open():
    """It is the caller's."""
    reader, writer = os.pipe()
    for each in (Gio.UnixInputStream.new(reader, False), Gio.UnixOutputStream.new(writer, True)):
        each.set_close_fd(False)
        each.close()
    return [os.write(writer, b"x"), plain(os.read(reader, 9)), os.close(reader), os.close(writer)]


def asynchronous_pipes():
    """A read waits for what is written later."""
    reader, writer = os.pipe()
    source, target = Gio.UnixInputStream.new(reader, True), Gio.UnixOutputStream.new(writer, True)
    GLib.timeout_add(20, lambda: target.write(b"later") and False)
    outcome = [result_of(source.read_bytes_async, 9, finish=lambda r: source.read_bytes_finish(r).get_data())]
    outcome.append(result_of(target.write_all_async, b"x" * 9, finish=lambda r: list(target.write_all_finish(r))))
    return [
        *outcome,
        result_of(target.close_async, finish=target.close_finish),
        plain(source.read_bytes(99).get_data()),
    ]
