"""
What the modules of forms share: cost_pairs.py, cost_plain.py, cost_connections.py and cost_waiting.py.

costs.py counts what each form of an operation costs.

A form is a generator function. It prepares what it needs, yields once, and cleans up. What it yields is either `once`,
a function that does the operation one time, or a pair (prepare, once): what `prepare` does is not counted, and its
result is the argument of `once`. In the groups of event loops `once` is a coroutine function.

Only the public interface is used, so that the figures of different designs can be compared.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from unixconn import MainContext, UnixConnection

WAIT = 0.02
"""Seconds until the message comes, or the time is over, in a form that waits in the kernel."""
CROWD = 100
"""The number of other operations that wait, where a form is one of many."""
NULL = os.open(os.devnull, os.O_RDONLY)
DATA = bytes(100)


class Form(NamedTuple):
    """One form of an operation."""

    setup: Callable[[], Iterator[Any]]
    group: str
    is_timed: bool
    """
    Whether it depends on the clock or on another thread.

    A busy machine may change the figures of a single round then, but not of most rounds.
    """
    keeps: bool
    """Whether each round leaves an operation that waits, of which the objects are counted."""


FORMS: dict[str, Form] = {}


def form(
    name: str | None = None, group: str = "plain", *, is_timed: bool = False, keeps: bool = False
) -> Callable[[Callable[[], Iterator[Any]]], Callable[[], Iterator[Any]]]:
    """Register a form, under the name of its function unless *name* is given."""

    def register(setup: Callable[[], Iterator[Any]]) -> Callable[[], Iterator[Any]]:
        key = name or setup.__name__
        assert key not in FORMS, key
        FORMS[key] = Form(setup, group, is_timed, keeps)
        return setup

    return register


def pair() -> tuple[UnixConnection, UnixConnection]:
    """Return two connected connections."""
    return UnixConnection.create_pair()


def close_each(fds: list[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


def iterate_until(done: list[Any]) -> Any:
    """Iterate the default context until *done* has an item; return that."""
    iterate = MainContext.default().iteration
    while not done:
        iterate(True)
    return done.pop()
