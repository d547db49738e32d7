"""
The functions that give back a stream's turn without a call do it with the same lines.

A call would cost each of them a frame, and a signal handler could raise in it: what was read would be lost. So these
lines stand in several places. They stand twice in each, before the end and in ``finally``, as a signal handler may
raise in either: that in ``finally`` alone kept the stream pending.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "unixconn" / "_gio"
TAKE = "pending.append(token)"
GIVE_BACK = "if pending and pending[0] is token:\n    del pending[0]"
GIVE_BACK_IN_ANY_CASE = f"{GIVE_BACK}\nelif pending:\n    give_back_turn(STREAM, token)"


def text(statement: ast.stmt) -> str:
    """Return a statement as it would stand in a method and in a function alike."""
    return (
        ast.unparse(statement).replace("(self, token)", "(STREAM, token)").replace("(stream, token)", "(STREAM, token)")
    )


def turns(source: str) -> dict[str, ast.Try]:
    """Return the ``try`` of each function in *source* that takes a turn and ends it in ``finally``."""
    return {
        function.name: statement
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef)
        for statement in function.body
        if isinstance(statement, ast.Try) and statement.finalbody and TAKE in map(text, statement.body)
    }


TURNS = {
    f"{path.stem}.{name}": turn
    for path in sorted(FOLDER.glob("*.py"))
    for name, turn in turns(path.read_text(encoding="utf-8")).items()
}


def test_they_are_found():
    """The methods that read from a buffer are among them."""
    assert {"buffered_input_stream._take_now", "buffered_input_stream._run"} <= set(TURNS)


@pytest.mark.parametrize("name", TURNS)
def test_before_the_end(name):
    """The last statement, or the last one before the return, gives back the turn."""
    body = TURNS[name].body
    assert text(body[-2] if isinstance(body[-1], ast.Return) else body[-1]) == GIVE_BACK


@pytest.mark.parametrize("name", TURNS)
def test_in_finally(name):
    """So does the last branch, after those of a function that has more to end."""
    last = TURNS[name].finalbody[-1]
    while text(last) != GIVE_BACK_IN_ANY_CASE and isinstance(last, ast.If) and len(last.orelse) == 1:
        (last,) = last.orelse
    assert text(last) == GIVE_BACK_IN_ANY_CASE
