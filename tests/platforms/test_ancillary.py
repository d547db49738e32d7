"""Control messages: packing, and a parser that trusts nothing."""

from __future__ import annotations

import array
import os
import socket
import struct
import threading

import pytest
from helpers import MOST, SO_PASSCRED, open_descriptors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unixconn._kernel import control_messages as ancillary
from unixconn._kernel.control_messages import (
    HEADER_SIZE,
    NATIVE,
    ROOM,
    SCM_CREDENTIALS,
    SCM_PIDFD,
    SCM_RIGHTS,
    SCM_SECURITY,
    SOL_SOCKET,
    Incoming,
    contents_of,
)

pack, parse = NATIVE.pack, NATIVE.parse

numbers = st.integers(-(2**31), 2**31 - 1)
payloads = st.binary(max_size=80)
messages = st.tuples(numbers, numbers, payloads)
known = st.one_of(
    st.lists(numbers, max_size=10).map(lambda fds: (SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))),
    st.tuples(numbers, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)).map(
        lambda ids: (SOL_SOCKET, SCM_CREDENTIALS, struct.pack("iII", *ids))
    ),
    numbers.map(lambda fd: (SOL_SOCKET, SCM_PIDFD, struct.pack("i", fd))),
    payloads.map(lambda label: (SOL_SOCKET, SCM_SECURITY, label)),
)
calm = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ints(data):
    """Return the whole ints in *data*."""
    count = len(data) // 4
    return list(struct.unpack(f"{count}i", data[: 4 * count]))


class TestParser:
    @calm
    @given(st.lists(st.one_of(messages, known), max_size=6))
    def test_gives_what_was_packed(self, several):
        """Any messages, in any order, come out as they went in."""
        assert parse(b"".join(map(pack, several))) == (several, "")

    @calm
    @given(st.lists(known, max_size=6))
    def test_sorts_what_it_knows(self, several):
        """All descriptors are found, and the last credentials."""
        found = contents_of(*parse(b"".join(map(pack, several))))
        assert found.descriptors == [fd for _, kind, data in several if kind == SCM_RIGHTS for fd in ints(data)]
        # An errno in the place of a descriptor is negative.
        assert found.pidfds == [fd for _, kind, data in several if kind == SCM_PIDFD for fd in ints(data) if fd >= 0]
        credentials = [struct.unpack("iII", data) for _, kind, data in several if kind == SCM_CREDENTIALS]
        assert found.credentials == (credentials[-1] if credentials else None)
        assert found.all_descriptors == found.descriptors + found.pidfds
        assert found.damage == ""

    @calm
    @given(st.binary(max_size=300))
    def test_arbitrary_bytes(self, control):
        """Any bytes give messages or a description of the damage, and nothing from beyond the buffer."""
        several, damage = parse(control)
        assert sum(HEADER_SIZE + len(data) for _, _, data in several) <= len(control)
        if not damage:
            left = len(control) - sum(len(pack(each)) for each in several)
            assert left < HEADER_SIZE

    @calm
    @given(st.lists(known, min_size=1, max_size=5), st.data())
    def test_mutated_buffers(self, several, data):
        """Real buffers with bytes exchanged: every descriptor that is still whole in front of the damage is found."""
        control = bytearray(b"".join(map(pack, several)))
        where = data.draw(st.integers(0, len(control) - 1))
        control[where] = data.draw(st.integers(0, 255))
        got, _ = parse(bytes(control))
        offset = 0
        for index, each in enumerate(several):
            offset += len(pack(each))
            if offset > where:
                break
            assert got[index] == each

    @calm
    @given(st.lists(known, min_size=1, max_size=5), st.data())
    def test_cut_buffers(self, several, data):
        """A buffer that ends early: a message that is cut gives the bytes that are there, and says so."""
        control = b"".join(map(pack, several))
        end = data.draw(st.integers(0, len(control)))
        got, damage = parse(control[:end])
        offset = 0
        for index, (level, kind, payload) in enumerate(several):
            start, offset = offset + HEADER_SIZE, offset + len(pack((level, kind, payload)))
            if end < start:
                assert len(got) == index
                break
            assert got[index] == (level, kind, payload[: end - start])
            if end - start < len(payload):
                assert "length" in damage
                break

    @pytest.mark.parametrize("length", [0, 1, HEADER_SIZE - 1, 2**31 - 1, 2**31, 2**32 - 1])
    def test_lengths_that_lie(self, length):
        """A length below the header's or beyond the end ends the parse, with what is there."""
        control = bytearray(pack((SOL_SOCKET, SCM_RIGHTS, struct.pack("ii", 7, 8))))
        size = 8 if struct.calcsize("P") == 8 else 4
        control[:size] = length.to_bytes(size, "little" if os.sys.byteorder == "little" else "big")
        several, damage = parse(bytes(control))
        assert str(length) in damage
        assert [ints(data) for _, _, data in several] == ([[7, 8]] if length > HEADER_SIZE else [])

    @pytest.mark.parametrize("size", [0, 4, 8, 11, 13, 16])
    def test_credentials_of_a_wrong_length(self, size):
        """A ucred that is cut is no identity: its missing bytes would say root."""
        assert contents_of([(SOL_SOCKET, SCM_CREDENTIALS, bytes(size))]).credentials is None

    def test_another_level(self):
        """Numbers of another protocol level are not descriptors."""
        found = contents_of([(6, SCM_RIGHTS, struct.pack("i", 3)), (0, SCM_CREDENTIALS, bytes(12))])
        assert (found.all_descriptors, found.credentials) == ([], None)


class TestRealMessages:
    def test_everything_at_once(self, raw, null):
        """The most descriptors, credentials and a pidfd: all fit, nothing is cut; all is closed after it is refused."""
        sock, connection = raw
        own = connection.get_socket()
        own.set_option(SOL_SOCKET, SO_PASSCRED, 1)
        try:
            own.set_option(SOL_SOCKET, 76, 1)
        except OSError:
            pytest.skip("the kernel has no SO_PASSPIDFD")
        sock.sendmsg([b"x"], [(SOL_SOCKET, SCM_RIGHTS, array.array("i", [null] * MOST))])
        before = open_descriptors()
        got = own.receive_message([], 0)
        assert not got.flags & socket.MSG_CTRUNC
        [fds] = [each.get_fd_list() for each in got.messages if each.get_msg_type() == SCM_RIGHTS]
        assert fds.get_length() == MOST
        del got, fds
        import gc

        gc.collect()
        assert open_descriptors() == before

    def test_the_kernel_writes_what_is_expected(self, raw, null):
        """The prepared kinds are what the kernel gives for a descriptor, for credentials and for data alone."""
        _, connection = raw
        other = socket.socket(fileno=os.dup(connection.get_socket().get_fd()))
        connection.get_socket().close()
        sock = raw[0]
        for count, option, expected in (
            (1, 0, ancillary.ONE_DESCRIPTOR),
            (0, 1, ancillary.ONE_CREDENTIALS),
            (0, 0, ancillary.DATA_ALONE),
        ):
            other.setsockopt(SOL_SOCKET, SO_PASSCRED, option)
            sock.sendmsg([b"x"], [(SOL_SOCKET, SCM_RIGHTS, array.array("i", [null]))] * count)
            message = Incoming()
            message.room[0] = ROOM
            from unixconn._kernel.native import lib

            assert lib.recvmsg(other.fileno(), message.header, lib.MSG_CMSG_CLOEXEC) == 1
            assert (message.start if expected is ancillary.DATA_ALONE else message.kind) == expected
            assert (message.start == ancillary.DATA_ALONE) == (count == option == 0)
            if count:
                os.close(message.descriptors[0])
        other.close()

    def test_a_fresh_buffer_holds_nothing(self):
        """Before any system call there is nothing in it, whatever an earlier one has left."""
        message = Incoming()
        assert message.contents().all_descriptors == []
        message.descriptors[0] = 5
        message.room[0] = ROOM
        assert message.contents().all_descriptors == []


class TestPool:
    def test_lends_to_one_at_a_time(self):
        """Threads that take and give back: nobody gets what another one has."""
        pool = ancillary.Pool(object)
        for _ in range(4):
            pool.append(object())
        taken, failures = set(), []

        def use():
            for _ in range(3000):
                try:
                    one = pool.pop()
                except IndexError:
                    one = object()
                if one in taken:
                    failures.append(one)
                taken.add(one)
                taken.discard(one)
                pool.append(one)

        threads = [threading.Thread(target=use) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert not failures
