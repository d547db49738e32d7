"""Streams as Python's file objects: what the classes of io make of them."""

from __future__ import annotations

import gc
import io
import os
import select
import socket

import pytest
from helpers import Background, received

import unixconn

BIG = 3_000_000


class TestFileObjects:
    def test_what_they_say_of_themselves(self, pair):
        """What io's classes ask a raw file."""
        a, _ = pair
        reader, writer = a.get_input_stream(), a.get_output_stream()
        assert [(each.readable(), each.writable(), each.seekable(), each.isatty()) for each in (reader, writer)] == [
            (True, False, False, False),
            (False, True, False, False),
        ]
        assert reader.fileno() == writer.fileno() == a.get_socket().get_fd()
        assert not (reader.closed)
        assert not (writer.closed)
        assert select.select([reader], [writer], [], 0) == ([], [writer], [])
        a.close()
        assert reader.closed
        assert writer.closed
        with pytest.raises(ValueError, match="closed"):
            reader.fileno()

    def test_buffered_reader(self, raw):
        """Lines, looking ahead, reading until the end."""
        sock, connection = raw
        sock.sendall(b"one\ntwo\nthree\nfour" * 10)
        sock.close()
        reader = io.BufferedReader(connection.get_input_stream())
        assert reader.readline() == b"one\n"
        assert reader.peek(3).startswith(b"two")
        assert [next(reader), next(reader)] == [b"two\n", b"three\n"]
        assert len(reader.read(4)) == 4
        assert reader.read() == b"one\ntwo\nthree\nfour" * 9
        reader.close()
        assert connection.get_input_stream().is_closed()
        assert not connection.is_closed()

    def test_buffered_writer(self, raw):
        """It keeps small pieces together until it is flushed, and writes large ones as a whole."""
        sock, connection = raw
        writer = io.BufferedWriter(connection.get_output_stream())
        for each in (b"a", b"b", b"c"):
            writer.write(each)
        with pytest.raises(BlockingIOError):
            sock.recv(9, socket.MSG_DONTWAIT)
        writer.flush()
        assert sock.recv(9) == b"abc"
        data = os.urandom(BIG)
        reader = Background(received, sock, BIG)
        assert writer.write(data) == BIG
        writer.close()
        assert reader.outcome() == data
        assert connection.get_output_stream().is_closed()
        with pytest.raises(ValueError):
            writer.write(b"x")

    def test_both_in_one(self, raw):
        """io.BufferedRWPair reads and writes."""
        sock, connection = raw
        file = io.BufferedRWPair(connection.get_input_stream(), connection.get_output_stream())
        sock.send(b"question\n")
        assert file.readline() == b"question\n"
        file.write(b"answer\n")
        file.flush()
        assert sock.recv(99) == b"answer\n"
        file.close()
        assert connection.get_input_stream().is_closed()
        assert connection.get_output_stream().is_closed()

    def test_text(self, pair):
        """io.TextIOWrapper over the two of them: characters, lines and print()."""
        a, b = pair
        writer = io.TextIOWrapper(io.BufferedWriter(a.get_output_stream()), encoding="utf-8", line_buffering=True)
        reader = io.TextIOWrapper(io.BufferedReader(b.get_input_stream()), encoding="utf-8")
        print("grün", 1, file=writer)
        assert reader.readline() == "grün 1\n"
        writer.write("two\nthree")
        writer.close()
        a.close()
        assert list(reader) == ["two\n", "three"]
        reader.close()

    def test_a_wrapper_that_is_collected(self, raw):
        """It closes its stream, as it would any other file, and not the connection."""
        sock, connection = raw
        io.BufferedReader(connection.get_input_stream())
        gc.collect()
        assert not connection.is_closed()
        connection.get_output_stream().write(b"x")
        assert sock.recv(9) == b"x"

    def test_while_an_operation_is_under_way(self, raw):
        """It is PENDING for a wrapper, too."""
        sock, connection = raw
        stream = connection.get_input_stream()
        reader = io.BufferedReader(stream)
        first = stream.read_async(9)
        with pytest.raises(unixconn.PendingError):
            reader.read(1)
        sock.send(b"xy")
        assert first.result(60) == b"xy"
        sock.send(b"z")
        assert reader.read(1) == b"z"
