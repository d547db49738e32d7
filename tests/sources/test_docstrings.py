"""The words that docstrings begin with."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("unixconn", "tests", "tools", "benchmarks", "docs")
FILES = [*ROOT.glob("*.py"), *(each for folder in FOLDERS for each in (ROOT / folder).rglob("*.py"))]
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
VAGUE = ("Give", "Gives", "Tell", "Tells")


def first_words(source: str) -> list[str]:
    """Return the first word of each docstring in *source*."""
    documented = (node for node in ast.walk(ast.parse(source)) if isinstance(node, DOCUMENTED))
    texts = (ast.get_docstring(node) for node in documented)
    return [text.split()[0] for text in texts if text]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_vague_verb(path):
    """They name the kind of the result: "Return ...", "Raise ...", "Whether ...", not "Give" or "Tell"."""
    assert not set(first_words(path.read_text(encoding="utf-8"))) & set(VAGUE)


def test_a_vague_verb_is_found():
    """Also in a method of a class in a function."""
    source = 'def f():\n class C:\n  def g(self):\n   """Give it."""'
    assert first_words(source) == ["Give"]
