"""tools/generate_async.py: its generated methods are up to date, and it understands each form of a declaration."""

from __future__ import annotations

import ast
import importlib.util
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPT = next(
    (found for found in (each / "tools" / "generate_async.py" for each in Path(__file__).parents) if found.exists()),
    None,
)
pytestmark = pytest.mark.skipif(SCRIPT is None, reason="tools/generate_async.py is not beside the tests")

DATA = "(user_data, *more) if user_data is not NO_DATA else more"
"""The argument for what the callback gets."""
MODULE = """
class UnixConnection:
    def shout(self, text: str, cancellable: Cancellable | None = None) -> bool: ...

    {declaration}

class Other:
    pass
"""


@pytest.fixture(scope="module")
def script():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("generate_async", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def generated(script):
    """Return a function that generates the methods of a class with one declaration."""

    def generate(declaration):
        source = MODULE.format(declaration=textwrap.indent(textwrap.dedent(declaration), "    ").strip())
        text = script.generate(source)
        ast.parse(text)
        assert script.generate(text) == text
        assert text.index(script.BEGIN) < text.index(script.END) < text.index("class Other")
        return text

    return generate


def test_all_files_are_up_to_date(script):
    """Whoever changes a declaration has run the script."""
    found = {path.name: path.read_text(encoding="utf-8") for path in script.PACKAGE.glob("*.py")}
    assert "connection.py" in found
    assert [script.changed(text, script.generate(text), name) for name, text in found.items()] == [""] * len(found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def receive_fd_finish", "def receive_fd_end"),
        ("with callback=None it returns None", "with callback=None it returns True"),
        ('returns="the FileDescriptor"', 'returns="a FileDescriptor"'),
        ("def _receive_fds_operation(self, count: int", "def _receive_fds_operation(self, number: int"),
    ],
)
def test_a_change_is_found(tmp_path, old, new):
    """A method that was changed by hand, and a declaration whose methods were not written anew."""
    (tmp_path / "tools").mkdir()
    script = shutil.copy(SCRIPT, tmp_path / "tools")
    shutil.copytree(SCRIPT.parents[1] / "unixconn" / "_gio", tmp_path / "unixconn" / "_gio")
    path = tmp_path / "unixconn" / "_gio" / "connection.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def run(*arguments):
        return subprocess.run(
            [sys.executable, script, *arguments], capture_output=True, text=True, check=False, timeout=60
        )

    checked = run("--check")
    assert checked.returncode == 1
    assert "connection.py is out of date" in checked.stdout
    assert path.read_text(encoding="utf-8") == text.replace(old, new, 1)
    written = run()
    assert (written.returncode, "connection.py was written" in written.stdout) == (0, True)
    checked = run("--check")
    assert (checked.returncode, checked.stdout) == (0, "")
    if "(" not in old and "=" not in old:
        assert path.read_text(encoding="utf-8") == text


def test_an_operation(generated):
    """The parameters are those of the method that makes it; the Socket says how it waits."""
    text = generated("""
        @with_async("unixconn_shout_async", returns="True", note="A note.")
        def _shout_operation(self, text: str = "a") -> Operation[bool]: ...
    """)
    assert 'def shout_async(self, text: str = "a", cancellable: Cancellable | None = None) -> Future[bool]: ...' in text
    filled = " ".join(text.split())
    assert "cancellable: Cancellable | None = ..., callback: Callback = ..., user_data: object = ..., *more: " in filled
    assert "callback: Callback = AWAIT, user_data: object = NO_DATA, *more: object) -> Future[bool] | None: " in filled
    assert (
        f'return start(self, "unixconn_shout_async", self._shout_operation(text), cancellable, callback, '
        f"{DATA}, self._socket) "
    ) in filled
    assert 'def shout_finish(self, result: AsyncResult) -> bool:\n        """\n        Return True, for' in text
    assert 'return finish(self, "unixconn_shout_async", result)' in text
    assert "is called with (connection, result, user_data, *more)" in text
    assert "A note." in text


def test_steps(generated):
    """What is passed on to the function that starts them, and a cancellable that they are told of."""
    text = generated("""
        @with_async("c_name", returns="a pair", discard=close_it, is_heard=True)
        def _shout_steps(self, text: str, cancellable: Cancellable | None) -> Steps[tuple[int, str]]: ...
    """)
    assert "def shout_finish(self, result: AsyncResult) -> tuple[int, str]:" in text
    assert (
        f'return start_sequence(self, "c_name", self._shout_steps(text, cancellable), cancellable, callback, {DATA}, '
        "discard=close_it, is_heard=True) "
    ) in " ".join(text.split())


def test_a_function_that_starts_it(generated):
    """It gets the arguments of the plain method, and the io_priority."""
    text = generated("""
        @with_async("c_name", returns="True", summary="Whisper.", io_priority=True, start=start_whisper)
        def whisper(self, text: str, bytes: Bytes, cancellable: Cancellable | None = None) -> bool: ...
    """)
    assert f'return start_whisper(self, "c_name", text, bytes, io_priority, cancellable, callback, {DATA})' in " ".join(
        text.split()
    )
    assert '        """\n        Whisper.\n\n' in text
    assert "lower *io_priority*" in text
    assert text.count(" bytes: Bytes,  # noqa: A002 - Gio's name\n") == 1


def test_a_static_finish(generated):
    """It has no instance, and finds the object in the result (F17)."""
    text = generated("""
        @with_async("c_name", returns="True", static=True)
        def _shout_operation(self, text: str) -> Operation[bool]: ...
    """)
    assert "    @staticmethod\n    def shout_finish(result: AsyncResult) -> bool:\n" in text
    assert 'return finish(source_of(result), "c_name", result)' in text
    assert "if it belongs to another operation, or" in " ".join(text.split())


def test_a_result_of_another_type(generated):
    """The annotation need not name the result."""
    text = generated("""
        @with_async("c_name", returns="True", start=begin, result=bool)
        def _shout_operation(self, text: str) -> Shout: ...
    """)
    assert f'return begin(self, "c_name", self._shout_operation(text), cancellable, callback, {DATA})' in " ".join(
        text.split()
    )
    assert "-> Future[bool] | None:" in text


def test_a_socket_is_its_own(script):
    """Operations of a Socket wait as it says itself."""
    text = script.generate(
        "class Socket:\n    def shout(self) -> int: ...\n\n"
        '    @with_async("c_name", returns="1")\n    def _shout_operation(self) -> Operation[int]: ...\n'
    )
    assert f'return start(self, "c_name", self._shout_operation(), cancellable, callback, {DATA}, self)' in " ".join(
        text.split()
    )


def test_no_declaration_any_more(script, generated):
    """The region goes with the last declaration."""
    text = generated("""
        @with_async("c_name", returns="True")
        def _shout_operation(self, text: str) -> Operation[bool]: ...
    """)
    begin, end = text.index("    @with_async"), text.index(script.BEGIN)
    assert script.generate(text[:begin] + "    last = 1\n\n" + text[end:]) == MODULE.format(declaration="last = 1")


@pytest.mark.parametrize(
    ("declaration", "reason"),
    [
        ('@with_async("c_name")\ndef _shout_operation(self) -> Operation[int]: ...', "keyword returns"),
        ('@with_async(returns="1")\ndef _shout_operation(self) -> Operation[int]: ...', "the name of the C function"),
        ('@with_async("c_name", returns=ONE)\ndef _shout_operation(self) -> Operation[int]: ...', "must be a string"),
        ('@with_async("c_name", returns="1")\ndef _shout_operation(self) -> int: ...', "keyword result"),
        ('@with_async("c_name", returns="1")\ndef shout(self, text: str) -> int: ...', "keyword start"),
        ('@with_async("c_name", returns="1")\ndef _sing_operation(self) -> Operation[int]: ...', "keyword summary"),
        ('@with_async("c_name", returns="1")\ndef _shout_operation(self, a) -> Operation[int]: ...', "an annotation"),
        (
            '@with_async("c_name", returns="1")\ndef _shout_operation(self, *a: int) -> Operation[int]: ...',
            "plain ones",
        ),
        ('@with_async("c_name", returns="1" * 2)\ndef _shout_operation(self) -> Operation[int]: ...', "a string"),
        (f'@with_async("c_name", returns="{"1" * 99}")\ndef _shout_operation(self) -> Operation[int]: ...', "too long"),
    ],
)
def test_a_declaration_that_is_wrong(script, generated, declaration, reason):
    """The error says what is missing."""
    with pytest.raises(script.DeclarationError, match=reason):
        generated(declaration)


def test_a_region_without_an_end(script, generated):
    """Nothing behind it is taken for generated text."""
    text = generated("""
        @with_async("c_name", returns="True")
        def _shout_operation(self, text: str) -> Operation[bool]: ...
    """)
    with pytest.raises(script.DeclarationError, match="has no end"):
        script.generate(text.replace(script.END, ""))
