"""The parser and packer on the layout of every platform, in buffers that are built by hand to its rules."""

from __future__ import annotations

import socket
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unixconn._kernel.control_messages import NATIVE, Layout

# Where the length stands, how long it is, where level and type stand, where the payload begins, what all is padded to.
# From the values that the systems' own compilers give.
RULES = {
    "Linux, 64 bits": ((0, 8, 8, 12), 16, 8),
    "Linux, 32 bits": ((0, 4, 4, 8), 12, 4),
    "Linux with musl, 64 bits": ((0, 4, 8, 12), 16, 8),
    "Linux with musl, 64 bits, big-endian": ((4, 4, 8, 12), 16, 8),
    "FreeBSD, NetBSD, OpenBSD, 64 bits": ((0, 4, 4, 8), 16, 8),
    "NetBSD on aarch64, riscv64, sparc64; OpenBSD on sparc64": ((0, 4, 4, 8), 16, 16),
    "NetBSD on arm, mips, powerpc": ((0, 4, 4, 8), 16, 8),
    "macOS; the BSDs on x86": ((0, 4, 4, 8), 12, 4),
}
ORDERS = {"little": "<", "big": ">"}
CASES = [(name, order) for name in RULES for order in ORDERS]

numbers = st.integers(-(2**31), 2**31 - 1)
messages = st.lists(st.tuples(numbers, numbers, st.binary(max_size=80)), max_size=6)
calm = settings(max_examples=25, deadline=None)


def layout_of(name, order):
    """Make the Layout of a platform."""
    (length, size, level, kind), header_size, alignment = RULES[name]
    header = f"{ORDERS[order]}{length}x{'Q' if size == 8 else 'I'}{level - length - size}xi{kind - level - 4}xi"
    return Layout(header, header_size, alignment)


def by_hand(name, order, several):
    """Put a buffer together, byte by byte."""
    (length, size, level, kind), header_size, alignment = RULES[name]
    control = bytearray()
    for message in several:
        while len(control) % alignment:
            control.append(0)
        start = len(control)
        control += bytes(header_size) + message[2]
        control[start + length : start + length + size] = (header_size + len(message[2])).to_bytes(size, order)
        control[start + level : start + level + 4] = message[0].to_bytes(4, order, signed=True)
        control[start + kind : start + kind + 4] = message[1].to_bytes(4, order, signed=True)
    return bytes(control)


@pytest.mark.parametrize(("name", "order"), CASES)
@calm
@given(several=messages)
def test_parses_what_is_built_by_hand(name, order, several):
    """Any messages in any order come out, whether the last one is padded or not."""
    layout = layout_of(name, order)
    control = by_hand(name, order, several)
    assert layout.parse(control) == (several, "")
    assert layout.parse(control.ljust(-(-len(control) // 16) * 16, b"\0")[: len(control) + 3])[0] == several


@pytest.mark.parametrize(("name", "order"), CASES)
@calm
@given(several=messages)
def test_packs_what_is_built_by_hand(name, order, several):
    """Each message is packed to the same bytes, with its padding."""
    layout = layout_of(name, order)
    packed = b"".join(map(layout.pack, several))
    assert packed.startswith(by_hand(name, order, several))
    assert len(packed) == sum(layout.space(len(data)) for _, _, data in several)
    for _, _, data in several:
        assert layout.length(len(data)) <= layout.space(len(data)) < layout.length(len(data)) + 16


@pytest.mark.parametrize(("name", "order"), CASES)
@calm
@given(control=st.binary(max_size=200))
def test_arbitrary_bytes(name, order, control):
    """Any bytes give messages or a description of the damage, and nothing from beyond the end."""
    layout = layout_of(name, order)
    several, damage = layout.parse(control)
    assert sum(layout.header_size + len(data) for _, _, data in several) <= len(control)
    if damage:
        assert "length" in damage


@pytest.mark.parametrize(("name", "order"), CASES)
@calm
@given(several=messages, cut=st.integers(1, 60))
def test_cut_buffers(name, order, several, cut):
    """A buffer that is cut gives what is in front of the cut: no message that was not there, and no byte more."""
    control = by_hand(name, order, several)
    got, damage = layout_of(name, order).parse(control[: max(0, len(control) - cut)])
    assert len(got) <= len(several)
    for found, packed in zip(got, several):
        assert found[:2] == packed[:2]
        assert packed[2].startswith(found[2])
        assert found == packed or damage


def test_native_layout():
    """The one of this machine is what the standard library's CMSG_LEN and CMSG_SPACE say."""
    for size in range(100):
        assert NATIVE.length(size) == socket.CMSG_LEN(size)
        assert NATIVE.space(size) == socket.CMSG_SPACE(size)
    if sys.platform == "linux" and sys.maxsize > 2**32:
        several = [(1, 2, b"abc"), (3, 4, b"")]
        assert NATIVE.parse(by_hand("Linux, 64 bits", sys.byteorder, several)) == (several, "")
