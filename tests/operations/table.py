"""
The table of operations: tests of what is the same for all of them run for each row, and in each way of calling.

A row is a class; a test gets a new object of it by the fixture `operation`. See `row.Operation` for what it can do.
"""

from __future__ import annotations

import pytest
from operations import rows
from ways import BACKGROUND, WAYS, needs

OPERATIONS = {
    "UnixConnection.receive_fd": rows.ReceiveFd,
    "UnixConnection.receive_credentials": rows.ReceiveCredentials,
    "UnixConnection.receive_fds": rows.ReceiveFds,
    "UnixConnection.receive_fds of 3": rows.ReceiveSoManyFds,
    "UnixConnection.receive_descriptor": rows.ReceiveDescriptor,
    "UnixConnection.receive_descriptors": rows.ReceiveDescriptors,
    "UnixConnection.receive_message": rows.ReceiveMessage,
    "UnixConnection.receive_exactly": rows.ReceiveExactly,
    "UnixConnection.peek_message": rows.PeekMessage,
    "UnixConnection.send_fd": rows.SendFd,
    "UnixConnection.give_fd": rows.GiveFd,
    "UnixConnection.send_credentials": rows.SendCredentials,
    "UnixConnection.send_fake_credentials": rows.SendFakeCredentials,
    "UnixConnection.send_fds": rows.SendFds,
    "UnixConnection.send_message": rows.SendMessage,
    "Socket.send_to": rows.SendTo,
    "Socket.receive_from": rows.ReceiveFrom,
    "InputStream.read": rows.Read,
    "InputStream.read_bytes": rows.ReadBytes,
    "InputStream.read_all": rows.ReadAll,
    "InputStream.skip": rows.Skip,
    "InputStream.close": rows.CloseInput,
    "BufferedInputStream.fill": rows.Fill,
    "DataInputStream.read_line": rows.ReadLine,
    "DataInputStream.read_upto": rows.ReadUpto,
    "OutputStream.write": rows.Write,
    "OutputStream.write_bytes": rows.WriteBytes,
    "OutputStream.write_all": rows.WriteAll,
    "OutputStream.flush": rows.Flush,
    "OutputStream.splice": rows.Splice,
    "OutputStream.close": rows.CloseOutput,
    "IOStream.splice": rows.SpliceBoth,
    "IOStream.close": rows.Close,
    "SocketConnection.connect": rows.SocketConnects,
    "SocketClient.connect": rows.ClientConnects,
    "SocketListener.accept": rows.Accept,
    "SocketListener.accept_socket": rows.AcceptSocket,
}
"""Every operation that has an asynchronous form."""


def each_operation(condition=lambda _: True):
    """Parametrize the fixture `operation` by the rows that a condition holds for."""
    found = {name: row for name, row in OPERATIONS.items() if condition(row)}
    return pytest.mark.parametrize("operation", list(found.values()), ids=list(found), indirect=True)


def each_operation_in_each_way(condition=lambda _: True, ways=lambda _: WAYS):
    """Parametrize `operation` and `way` by the rows that a condition holds for, and the ways of each."""
    found = [
        pytest.param(row, WAYS[way], id=f"{name}-{way}", marks=needs(way))
        for name, row in OPERATIONS.items()
        if condition(row)
        for way in ways(row)
        if row.is_blocking or way in BACKGROUND
    ]
    return pytest.mark.parametrize(("operation", "way"), found, indirect=["operation"])


def each_operation_now_and_later(condition=lambda _: True):
    """Parametrize `operation` and `later`: whether it has to wait."""
    found = {
        f"{name}-{'later' if later else 'at once'}": (row, later)
        for name, row in OPERATIONS.items()
        if condition(row)
        for later in (False, True)
        if row.waits or not later
    }
    return pytest.mark.parametrize(
        ("operation", "later"), list(found.values()), ids=list(found), indirect=["operation"]
    )


def waits(row):
    """Return whether the operation of a row may have to wait."""
    return row.waits
