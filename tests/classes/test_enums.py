"""The enumerations: the names that C has for their members."""

from __future__ import annotations

import copy
import pickle

import pytest

import unixconn
from unixconn import GEnum, GFlags, IOCondition, IOErrorEnum, IOStreamSpliceFlags, SocketMsgFlags

KINDS = {
    name: kind
    for name in unixconn.__all__
    if isinstance(kind := getattr(unixconn, name), type) and issubclass(kind, (GEnum, GFlags)) and len(kind)
}


@pytest.mark.parametrize("name", KINDS)
def test_each_class(name):
    """Every member has its names, and is the same after a copy and in another process."""
    for member in KINDS[name].__members__.values():
        if isinstance(member, GEnum):
            assert member.value_name.startswith("G_")
            assert member.value_name.endswith("_" + member.name)
            assert member.value_nick == member.name.lower().replace("_", "-")
        else:
            assert all(each.startswith("G_") for each in member.value_names)
            assert member.first_value_name in member.value_names
            assert member.first_value_nick in member.value_nicks
        assert copy.copy(member) is pickle.loads(pickle.dumps(member)) is member


def test_an_enum():
    """The second name of a member is that of the first."""
    assert (IOErrorEnum.NOT_FOUND.value_name, IOErrorEnum.NOT_FOUND.value_nick) == ("G_IO_ERROR_NOT_FOUND", "not-found")
    assert IOErrorEnum.CONNECTION_CLOSED.value_nick == "broken-pipe"


def test_flags():
    """All that are set, and the first of them; what stands for 0 is always there."""
    both = IOCondition.IN | IOCondition.OUT
    assert (both.value_names, both.value_nicks) == (["G_IO_IN", "G_IO_OUT"], ["in", "out"])
    assert (both.first_value_name, both.first_value_nick) == ("G_IO_IN", "in")
    assert SocketMsgFlags.PEEK.value_nicks == ["none", "peek"]
    assert SocketMsgFlags.PEEK.first_value_nick == "peek"
    assert IOStreamSpliceFlags.NONE.first_value_name == "G_IO_STREAM_SPLICE_NONE"
    nothing = IOCondition(0)
    assert (nothing.value_names, nothing.first_value_name, nothing.first_value_nick) == ([], None, None)


def test_of_a_program():
    """A program's own need no prefix, and are numbers, as with PyGObject."""

    class Colour(GEnum):
        DARK_RED = 1

    class Rights(GFlags):
        MAY_READ = 1
        MAY_WRITE = 2

    assert (Colour.DARK_RED, Colour.DARK_RED.value_name, Colour.DARK_RED.value_nick) == (1, "DARK_RED", "dark-red")
    assert (Rights.MAY_READ | Rights.MAY_WRITE).value_nicks == ["may-read", "may-write"]
