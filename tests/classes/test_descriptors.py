"""close_fds: many descriptors at once."""

from __future__ import annotations

import os
import resource
import signal

import pytest
from helpers import is_open, open_descriptors

from unixconn import FileDescriptor, close_fds


@pytest.fixture
def numbers(null):
    """Ten descriptors in a row, above all that are open."""
    first = max(open_descriptors()) + 10
    assert first + 10 < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    made = [os.dup2(null, each, inheritable=False) for each in range(first, first + 10)]
    yield made
    for each in made:
        if is_open(each):
            os.close(each)


@pytest.mark.parametrize(
    "places",
    [range(10), [], [0], [9], [3, 4], [9, 8, 7], [0, 2, 4, 6, 8], [5, 1, 9, 0, 2, 6]],
    ids=lambda places: "".join(map(str, places)),
)
@pytest.mark.parametrize("kind", [list, tuple, set, iter])
def test_these_and_no_others(numbers, places, kind):
    """What is given is closed, in whatever order, and what lies between stays open."""
    close_fds(kind([numbers[place] for place in places]))
    assert [is_open(each) for each in numbers] == [place not in places for place in range(10)]


def test_those_of_a_message(pair, null):
    """What receive_fds has given is closed."""
    a, b = pair
    before = open_descriptors()
    a.send_fds([null] * 64)
    close_fds(b.receive_fds())
    assert open_descriptors() == before


def test_one_that_is_not_open(numbers):
    """It is passed over, and the others are closed."""
    os.close(numbers[4])
    close_fds(numbers)
    assert not any(map(is_open, numbers))


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (-1, ValueError, "not -1"),
        (2**31, OverflowError, "2147483648 does not"),
        (True, TypeError, "not True"),
        (2.5, TypeError, "not 2.5"),
        (None, TypeError, "not None"),
        ("3", TypeError, "not '3'"),
    ],
)
def test_what_is_no_number(numbers, wrong, error, text):
    """It is named, and nothing is closed."""
    with pytest.raises(error, match=text):
        close_fds([*numbers, wrong])
    assert all(map(is_open, numbers))


def test_what_has_an_owner(numbers):
    """A FileDescriptor is refused: it would not know that its number is another file's by then."""
    with FileDescriptor(numbers.pop()) as owner:
        with pytest.raises(TypeError, match="FileDescriptor"):
            close_fds([*numbers, owner])
        assert is_open(owner.fileno())
    assert all(map(is_open, numbers))


@pytest.mark.parametrize("wrong", [b"abc", "", 3, None])
def test_no_list(wrong):
    """What holds no descriptors is named."""
    with pytest.raises(TypeError, match=f"fds must be a list of descriptors, not {wrong!r}"):
        close_fds(wrong)


@pytest.mark.parametrize("place", [0, 5, 9])
def test_twice(numbers, place):
    """A number that is there twice is named, and nothing is closed: the second time it may be another file's."""
    twice = numbers[place]
    with pytest.raises(ValueError, match=f"{twice} occurs twice"):
        close_fds([*numbers, twice])
    assert all(map(is_open, numbers))


@pytest.mark.breaks_off
def test_broken_off(null, on_alarm):
    """A signal handler that raises finds all of them open, or all closed."""

    class Stop(Exception):  # noqa: N818 - it is no error
        pass

    def stop(*_):
        if armed:
            raise Stop

    armed = False
    first = max(open_descriptors()) + 10
    seen = set()
    for turn in range(3000):
        made = [os.dup2(null, first + each, inheritable=False) for each in range(0, 40, 2)]
        try:
            armed = True
            on_alarm(stop, 5e-6 + turn % 60 * 1e-6)
            close_fds(made)
            armed = False
        except Stop:
            armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        left = sum(map(is_open, made))
        assert left in (0, len(made))
        seen.add(left)
        if left:
            close_fds(made)
    assert 0 in seen
