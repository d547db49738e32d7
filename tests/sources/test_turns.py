"""
The functions that give back a stream's turn without a call do it with the same lines.

A call would cost each of them a frame, and a signal handler could raise in it: what was read would be lost. So these
lines stand in several places. They stand twice in each, before the end and in ``finally`` or ``except BaseException``,
as a signal handler may raise in either: one place alone kept the stream pending.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "unixconn" / "_gio"
TAKE = "pending.append(token)"
GIVE_BACK = "if pending and pending[0] is token:\n    del pending[0]"
GIVE_BACK_IN_ANY_CASE = f"{GIVE_BACK}\nelif pending:\n    give_back_turn(STREAM, token)"


def text(statement: ast.AST) -> str:
    """Return a statement as it would stand in a method and in a function alike."""
    return (
        ast.unparse(statement).replace("(self, token)", "(STREAM, token)").replace("(stream, token)", "(STREAM, token)")
    )


def in_any_case(turn: ast.Try) -> list[ast.stmt]:
    """Return what *turn* does after an exception: its ``finally``, or its ``except BaseException`` before the raise."""
    caught = [each.body[:-1] for each in turn.handlers if each.type and text(each.type) == "BaseException"]
    return turn.finalbody or (caught[-1] if caught else [])


def turns(source: str) -> dict[str, ast.Try]:
    """Return the ``try`` of each function in *source* that takes a turn, and gives it back without a call."""
    return {
        function.name: statement
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef)
        for statement in function.body
        if isinstance(statement, ast.Try) and TAKE in (lines := set(map(text, statement.body)))
        if lines & {GIVE_BACK, GIVE_BACK_IN_ANY_CASE}
    }


TURNS = {
    f"{path.stem}.{name}": turn
    for path in sorted(FOLDER.glob("*.py"))
    for name, turn in turns(path.read_text(encoding="utf-8")).items()
}


def test_they_are_found():
    """The methods that read from a buffer are among them."""
    expected = {"buffered_input_stream._take_now", "buffered_input_stream._run", "data_input_stream.read_line"}
    assert expected <= set(TURNS)


@pytest.mark.parametrize("name", TURNS)
def test_before_the_end(name):
    """One of the last statements gives back the turn, unless it is one of several."""
    body = TURNS[name].body
    assert {GIVE_BACK, GIVE_BACK_IN_ANY_CASE} & set(map(text, body[-3:]))


@pytest.mark.parametrize("name", TURNS)
def test_in_any_case(name):
    """So does the last branch after an exception, after those of a function that has more to end."""
    last = in_any_case(TURNS[name])[-1]
    while text(last) != GIVE_BACK_IN_ANY_CASE and isinstance(last, ast.If) and len(last.orelse) == 1:
        (last,) = last.orelse
    assert text(last) == GIVE_BACK_IN_ANY_CASE
