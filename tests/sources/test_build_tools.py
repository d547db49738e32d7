"""What the compiled layer needs: that its lack is seen, and what tox makes of it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON_DEV = "pypy3-dev" if sys.implementation.name == "pypy" else "python{}.{}-dev".format(*sys.version_info)

pytestmark = pytest.mark.skipif(
    not (ROOT / "build_tools.py").exists(), reason="the tests stand alone, without a source tree"
)
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")
needs_headers = pytest.mark.skipif(
    not Path(sysconfig.get_path("include"), "Python.h").exists(), reason="no headers of this Python"
)


@pytest.fixture
def build_tools(monkeypatch):
    """Import the module, in an environment that has nothing to say about compilers."""
    for name in ("CC", "CFLAGS", "CPPFLAGS"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("build_tools", ROOT / "build_tools.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(path, text):
    """Make a shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def packages(build_tools):
    """Return the packages that are missing."""
    return [tool.packages for tool in build_tools.missing()]


# --- what is missing -------------------------------------------------------------------------------------------------


@needs_gcc
@needs_headers
def test_nothing(build_tools, monkeypatch):
    """Where compiler and headers are installed nothing is missing."""
    monkeypatch.setenv("CC", "gcc")
    assert build_tools.missing() == []


@needs_headers
def test_no_compiler(build_tools, monkeypatch):
    """A compiler that is not there is named; where the headers are there they are not."""
    monkeypatch.setenv("CC", "/nonexistent -pthread")
    (tool,) = build_tools.missing()
    assert tool[:2] == ("a C compiler (/nonexistent)", "gcc libc6-dev")


def test_no_compiler_and_no_headers(build_tools, monkeypatch, tmp_path):
    """Both are named at once, though without a compiler only the headers' usual folders can be looked at."""
    monkeypatch.setenv("CC", "/nonexistent")
    tools = build_tools.missing([str(tmp_path)])
    assert [tool.packages for tool in tools] == ["gcc libc6-dev", PYTHON_DEV]
    text = build_tools.explain(tools)
    assert f'On Debian and Ubuntu: "apt-get install gcc libc6-dev {PYTHON_DEV}". Elsewhere: gcc or clang, the C' in text
    assert "\n" not in text


@needs_gcc
def test_no_headers_of_python(build_tools, monkeypatch, tmp_path):
    """A real compiler that is not told where Python's headers are."""
    without_folders = 'for each; do shift; case $each in -I*) ;; *) set -- "$@" "$each" ;; esac; done; exec gcc "$@"'
    monkeypatch.setenv("CC", program(tmp_path / "cc", without_folders))
    assert packages(build_tools) == [PYTHON_DEV]


@needs_gcc
@needs_headers
def test_no_headers_of_the_c_library(build_tools, monkeypatch):
    """A real compiler that has none, as gcc is installed without the packages that it recommends."""
    monkeypatch.setenv("CC", "gcc")
    monkeypatch.setenv("CPPFLAGS", "-nostdinc")
    assert packages(build_tools) == ["libc6-dev"]


@needs_gcc
@pytest.mark.parametrize("name", ["CFLAGS", "CPPFLAGS"])
def test_headers_in_another_folder(build_tools, monkeypatch, tmp_path, name):
    """A folder that the environment names to the compiler counts."""
    monkeypatch.setenv("CC", "gcc")
    assert [tool.packages for tool in build_tools.missing([])] == [PYTHON_DEV]
    (tmp_path / "Python.h").write_text("")
    monkeypatch.setenv(name, f"-I{tmp_path}")
    assert build_tools.missing([]) == []


def test_a_compiler_that_fails(build_tools, monkeypatch, tmp_path):
    """It is there, and may say more about the real source."""
    monkeypatch.setenv("CC", program(tmp_path / "cc", "echo 'no Python.h'; exit 1"))
    assert build_tools.missing() == []


def test_what_is_no_program(build_tools, monkeypatch, tmp_path):
    """A file that may be executed, and can not, is no compiler."""
    (tmp_path / "cc").write_bytes(b"\x7fELF")
    (tmp_path / "cc").chmod(0o755)
    monkeypatch.setenv("CC", str(tmp_path / "cc"))
    assert build_tools.missing()[0][:2] == (f"a C compiler ({tmp_path}/cc)", "gcc libc6-dev")


# --- tox -------------------------------------------------------------------------------------------------------------

# In the place of tox, which the tests' environments do not have.
_TOX = {
    "tox/__init__.py": "",
    "tox/plugin.py": "def impl(function): return function",
    "tox/tox_env/__init__.py": "",
    "tox/tox_env/errors.py": "class Skip(Exception): pass",
}
_RUN = """
import os, types, toxfile
toxfile.tox_add_core_config()
print("UNIXCONN_REQUIRE_API:", os.environ.get("UNIXCONN_REQUIRE_API"))
for name in ("lint", "py311-api", "py311-abi", "pypy3-api", "pypy3-abi", "nocompiler", "coverage"):
    try:
        toxfile.tox_on_install(types.SimpleNamespace(conf=types.SimpleNamespace(name=name)))
    except toxfile.Skip as skipped:
        print(name, "skipped:", skipped)
"""


def run_toxfile(folder, **environment):
    """Do what tox does with toxfile.py, for one environment of each kind; return both outputs as lines."""
    for name, text in _TOX.items():
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).write_text(text)
    program(folder / "pypy3", 'echo "PyPy lacks it."')
    path = {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "PATH": f"{folder}:{os.environ['PATH']}"}
    clean = {name: value for name, value in os.environ.items() if name not in ("CC", "UNIXCONN_REQUIRE_API")}
    child = subprocess.run(
        [sys.executable, "-c", _RUN],
        env={**clean, "PYTHONDONTWRITEBYTECODE": "1", **path, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return child.stdout.splitlines(), child.stderr.splitlines()


def test_tox_without_a_compiler(tmp_path):
    """What is missing is printed once, for an eye at a terminal; what needs it is skipped, and the wheel does not."""
    lines, errors = run_toxfile(tmp_path, CC="/nonexistent")
    text = "unixconn's compiled layer needs a C compiler (/nonexistent)"
    assert errors[0].startswith(text)
    assert [line for line in errors if line.startswith(('On Debian and Ubuntu: "apt-get install gcc', "Elsewhere: "))]
    assert max(map(len, errors)) <= 79
    assert errors[-1] == "Until then tox skips pypy3-api, and tests the plain layer."
    assert "Until then tox skips py3*-api, coverage, and tests the plain layer." in errors
    assert lines[0] == "UNIXCONN_REQUIRE_API: 0"
    skipped = dict(line.split(" skipped: ") for line in lines[1:])
    assert list(skipped) == ["py311-api", "pypy3-api", "coverage"]
    assert skipped["py311-api"].startswith(text)
    assert skipped["pypy3-api"] == "PyPy lacks it."


@needs_gcc
@needs_headers
def test_tox_with_a_compiler(tmp_path):
    """Each interpreter is asked for itself: PyPy may lack what CPython has."""
    lines, errors = run_toxfile(tmp_path, CC="gcc")
    assert errors == ["PyPy lacks it.", "Until then tox skips pypy3-api, and tests the plain layer."]
    assert lines == ["UNIXCONN_REQUIRE_API: None", "pypy3-api skipped: PyPy lacks it."]


def test_tox_that_must_not_skip(tmp_path):
    """Where the compiled layer is required nothing is printed or skipped: the build is to fail."""
    lines, errors = run_toxfile(tmp_path, CC="/nonexistent", UNIXCONN_REQUIRE_API="1")
    assert (lines, errors) == (["UNIXCONN_REQUIRE_API: 1"], [])
