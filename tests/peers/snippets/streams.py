"""Connections and their streams."""

from __future__ import annotations

import socket

from gi.repository import Gio, GLib

from tools import (
    DATAGRAM,
    DEFAULT,
    SEQPACKET,
    STREAM,
    UNIX,
    attempt,
    cancelled,
    later,
    mixed,
    non_blocking,
    pair,
    plain,
    result_of,
    send_fds,
    unix_socket,
)


def factory_of_connections():
    """The class of a connection depends on the socket."""
    kinds = [(UNIX, STREAM), (UNIX, SEQPACKET), (UNIX, DATAGRAM)]
    made = [Gio.Socket.new(*each, DEFAULT).connection_factory_create_connection() for each in kinds]
    return [[isinstance(each, Gio.UnixConnection), isinstance(each, Gio.SocketConnection)] for each in made]


def connection_of_wrong_arguments():
    """The constructor takes the keyword socket only."""
    s = unix_socket()
    return [attempt(Gio.UnixConnection, s), attempt(Gio.UnixConnection, socket=1), attempt(Gio.UnixConnection, other=s)]


def connection_addresses():
    """Both ends of a pair are anonymous."""
    a, b = pair()
    return plain([a.get_local_address(), a.get_remote_address(), b.is_connected(), b.get_local_address().to_string()])


def close_of_a_connection():
    """close() closes the Socket, once."""
    a, _b = pair()
    s = a.get_socket()
    outcome = [a.is_closed(), a.is_connected(), a.close(), a.close(), a.is_closed(), a.is_connected()]
    return [*outcome, s.is_closed(), s.get_fd(), attempt(a.get_local_address), s is a.get_socket()]


def close_while_pending():
    """An operation under way keeps a connection open."""
    a, _b = pair()
    outcome = [a.set_pending(), a.has_pending(), attempt(a.set_pending), attempt(a.close), a.is_closed()]
    a.clear_pending()
    return [*outcome, a.has_pending(), a.close(), attempt(a.set_pending)]


def close_cancelled():
    """A cancelled cancellable does not keep close() from closing."""
    a, _b = pair()
    return [attempt(a.close, cancelled()), a.is_closed()]


def close_delivers_what_was_sent():
    """A descriptor is received after its sender has closed."""
    a, b = pair()
    a.send_fd(0)
    a.close()
    return b.receive_fd() > 0


def close_of_a_shared_socket():
    """Two connections with one Socket are closed together, but each knows for itself."""
    a, _b = pair()
    other = Gio.UnixConnection(socket=a.get_socket())
    a.close()
    return [other.is_closed(), other.is_connected(), other.get_socket().is_closed(), other.close()]


def splice_of_a_closed_source():
    """It is refused in both forms, and the target stays open; a cancelled one closes what the flags say."""
    a, _b = pair()
    out, into = a.get_output_stream(), a.get_input_stream()
    both = Gio.OutputStreamSpliceFlags.CLOSE_SOURCE | Gio.OutputStreamSpliceFlags.CLOSE_TARGET
    into.close()
    outcome = [attempt(out.splice, into, both, None), out.is_closed()]
    outcome += [result_of(out.splice_async, into, both, finish=out.splice_finish), out.is_closed()]
    c, _d = pair()
    outcome.append(attempt(c.get_output_stream().splice, c.get_input_stream(), both, cancelled()))
    return [*outcome, c.get_input_stream().is_closed(), c.get_output_stream().is_closed()]


def streams_read_and_write():
    """The streams carry bytes, and b"" marks the end."""
    a, b = pair()
    out, into = a.get_output_stream(), b.get_input_stream()
    outcome = [out.write(b"abc"), list(out.write_all(b"defg")), out.write(b""), into.read_bytes(5).get_data()]
    a.close()
    rest = [into.read_bytes(99).get_data(), into.read_bytes(99).get_size()]
    return plain([*outcome, *rest, out.is_closed(), into.is_closed(), out is a.get_output_stream()])


def streams_of_other_buffers():
    """A stream takes every kind of bytes, and no text."""
    a, b = pair()
    out = a.get_output_stream()
    outcome = [attempt(out.write, each) for each in (b"a", bytearray(b"b"), "c")]
    return [*outcome, plain(b.get_input_stream().read_bytes(9).get_data())]


def streams_errors():
    """The errors of the streams have their own texts."""
    a, b = pair()
    b.close()
    outcome = [attempt(a.get_output_stream().write, b"x"), attempt(a.get_output_stream().write, b"x", cancelled())]
    outcome.append(attempt(a.get_input_stream().read_bytes, 1, cancelled()))
    a.close()
    return [*outcome, attempt(a.get_output_stream().write, b"x"), attempt(a.get_input_stream().read_bytes, 1)]


def streams_wait_on_a_non_blocking_socket():
    """A stream waits even if the Socket is set not to."""
    a, b = pair()
    non_blocking(b)
    later(a.get_output_stream().write, b"late")
    return plain(b.get_input_stream().read_bytes(9).get_data())


def streams_pending():
    """A second operation on a stream is refused while one is under way."""
    a, b = pair()
    into = b.get_input_stream()
    into.set_pending()
    outcome = [attempt(into.read_bytes, 1), into.has_pending()]
    a.send_fd(0)
    outcome.append(b.receive_fd() > 0)
    into.clear_pending()
    return [*outcome, into.close(), attempt(into.read_bytes, 1), b.is_closed()]


def streams_end_a_read_after_a_descriptor():
    """A read that meets a descriptor gives its byte, and ends after it."""
    raw, b = mixed()
    send_fds(raw, 0, data=b"x")
    raw.send(b"y")
    into = b.get_input_stream()
    return plain([into.read_bytes(9).get_data(), into.read_bytes(9).get_data()])


def skip_all_of_them():
    """To skip goes on until all bytes have come, or the end has."""
    sock, connection = mixed()
    stream, ended = connection.get_input_stream(), []
    sock.sendall(b"abc")
    later(sock.sendall, b"defgh")
    outcome = [stream.skip(5), stream.read_bytes(9).get_data().decode()]
    sock.sendall(b"abc")
    loop = GLib.MainLoop()
    stream.skip_async(5, 0, None, lambda _, result: (ended.append(stream.skip_finish(result)), loop.quit()))
    GLib.idle_add(lambda: outcome.append(list(ended)) or sock.sendall(b"defgh"))
    loop.run()
    outcome += [ended, stream.read_bytes(9).get_data().decode()]
    sock.sendall(b"abc")
    sock.close()
    return [*outcome, stream.skip(5), stream.skip(5)]


def streams_of_no_bytes():
    """To read or skip none does not wait, and to write none sends nothing, cancelled or not."""
    _a, b = pair()
    source, target = b.get_input_stream(), b.get_output_stream()
    outcome = [source.read_bytes(0).get_data(), source.skip(0), target.write(b""), target.write(b"", cancelled())]
    records, other = pair(socket.SOCK_SEQPACKET)
    outcome += [
        records.get_output_stream().write(b""),
        attempt(non_blocking(other).get_socket().receive_message, [], 0),
    ]
    return plain(outcome)


def streams_of_wrong_lists():
    """Numbers of a list that are no bytes are an OverflowError, what is no number a TypeError."""
    a, _b = pair()
    calls = [a.get_socket().send, a.get_output_stream().write, a.get_output_stream().write_all]
    return [[attempt(call, each) for each in ([256], [-1], ["a"], [None], 5)] for call in calls]


def bytes_of_values():
    """GLib.Bytes of nothing is empty, and of a number there is none."""
    outcome = [GLib.Bytes.new(each).get_data() for each in (None, b"", bytearray(b"x"), [1, 2])]
    return plain([*outcome, GLib.Bytes().get_size(), attempt(GLib.Bytes.new, 5), attempt(GLib.Bytes.new, "x")])


def factory_of_tcp_connections():
    """A TCP socket's connection has a class of its own."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
    connection = Gio.Socket.new_from_fd(client.detach()).connection_factory_create_connection()
    return [type(connection).__name__, isinstance(connection, Gio.SocketConnection), connection.is_connected()]


def factory_of_wrong_arguments():
    """What is no family, type or protocol is a TypeError."""
    lookup = Gio.SocketConnection.factory_lookup_type
    return [attempt(lookup, None, STREAM, 0), attempt(lookup, "x", STREAM, 0), attempt(lookup, UNIX, STREAM)]


def no_bytes_of_a_closed_stream():
    """Nothing is read or written before anybody looks whether the stream can be."""
    a, _b = pair()
    source, target = a.get_input_stream(), a.get_output_stream()
    source.set_pending()
    target.set_pending()
    outcome = [attempt(target.write, b""), attempt(source.skip, 0), source.read_bytes(0).get_size()]
    source.clear_pending()
    target.clear_pending()
    source.close()
    target.close()
    outcome += [attempt(target.write, b""), attempt(target.write_all, b""), attempt(source.skip, 0)]
    outcome += [source.read_bytes(0).get_size(), attempt(target.write_bytes, GLib.Bytes.new(b""))]
    return [*outcome, attempt(target.write, b"x"), attempt(source.skip, 1)]


def keywords_of_write_bytes():
    """The arguments have Gio's names."""
    a, b = pair()
    count = a.get_output_stream().write_bytes(bytes=GLib.Bytes.new(b"hello"), cancellable=None)
    return [count, plain(b.get_input_stream().read_bytes(count=9).get_data())]
