"""Wheels and source distributions, built for real in a copy of the source tree."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import pytest

import unixconn

ROOT = Path(__file__).parents[2]
LIMITED = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")


def has_build_tools():
    """Return whether a build can do without the download of its tools."""
    try:
        return int(version("setuptools").split(".")[0]) >= 77 and find_spec("cffi") is not None
    except PackageNotFoundError:
        return False


pytestmark = [
    pytest.mark.skipif(not (ROOT / "build_ffi.py").exists(), reason="the tests stand alone, without a source tree"),
    pytest.mark.skipif(not has_build_tools(), reason="a build needs cffi, and setuptools 77 or newer"),
    pytest.mark.skipif(
        unixconn.BACKEND == "abi" and find_spec("unixconn._api") is not None,
        reason="a build does not know which layer is in use: this is for the compiled one",
    ),
]


def can_compile():
    """Return whether this interpreter's C compiler and headers are installed."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    return shutil.which(compiler) is not None and Path(sysconfig.get_path("include"), "Python.h").exists()


needs_compiler = pytest.mark.skipif(not can_compile(), reason="no C compiler, or no headers of this Python")


@pytest.fixture
def tree(tmp_path):
    """A copy of the source tree, as it is checked out."""
    folder = tmp_path / "tree"
    generated = shutil.ignore_patterns("_abi*.py", "_api*", "__pycache__")
    shutil.copytree(ROOT / "unixconn", folder / "unixconn", ignore=generated)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=generated)
    scripts = ("build_ffi.py", "build_tools.py", "toxfile.py", "tox.ini")
    for name in (*scripts, "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    return folder


def try_build(tree, kind="wheel", **environment):
    """Do what ``pip install`` does, without its download of the build tools; return what it printed, and the files."""
    clean = {name: value for name, value in os.environ.items() if name not in ("CC", "UNIXCONN_REQUIRE_API")}
    made = Path(tempfile.mkdtemp(dir=tree.parent))
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(made)!r})"
    child = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tree,
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    files = list(made.iterdir())
    assert len(files) == (child.returncode == 0), child.stdout
    return child.stdout, files


def build(tree, kind="wheel", **environment):
    """Return the file that a build makes. Raise AssertionError with its output if it makes none."""
    output, files = try_build(tree, kind, **environment)
    if not files:
        raise AssertionError(output)
    return files[0]


def generated(wheel):
    """Return the names of the generated modules in a wheel, without what follows the first dot."""
    with zipfile.ZipFile(wheel) as content:
        names = [Path(name).name for name in content.namelist()]
    return {name.partition(".")[0] for name in names if name.startswith(("_abi", "_api."))}


def plain_layer(tree):
    """Return the names of the modules of the ABI layer, by the table in *tree*."""
    code = "import build_ffi, pathlib; print(*(each.stem for each in build_ffi.abi_paths(pathlib.Path())))"
    return set(subprocess.check_output([sys.executable, "-c", code], cwd=tree, text=True).split())


@needs_compiler
def test_build_without_a_compiler_after_one_with_it(tree):
    """Each wheel is tagged by what is in it, and takes nothing over from the build before."""
    with_compiler = build(tree)
    plain = plain_layer(tree)
    assert len(plain) > 10
    assert generated(with_compiler) == {*plain, "_api"}
    if LIMITED:
        assert "-cp39-abi3-" in with_compiler.name
    else:
        assert "-none-" not in with_compiler.name
    assert list(tree.glob("build/lib*/unixconn/_api*"))
    (tree / "unixconn" / "_kernel" / "epoll.py").rename(tree / "unixconn" / "_kernel" / "renamed.py")
    without = build(tree, CC="/nonexistent")
    assert generated(without) == plain
    assert without.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(without) as content:
        assert "unixconn/_kernel/renamed.py" in content.namelist()
        assert "unixconn/_kernel/epoll.py" not in content.namelist()


def test_required_layer_that_does_not_compile(tree):
    """UNIXCONN_REQUIRE_API=1 makes an error of what is else a warning."""
    with pytest.raises(AssertionError, match="/nonexistent"):
        build(tree, CC="/nonexistent", UNIXCONN_REQUIRE_API="1")
    assert generated(build(tree, CC="/nonexistent", UNIXCONN_REQUIRE_API="0")) == plain_layer(tree)


def compiler_without(tree, header):
    """Return a C compiler that answers build_tools.py's question with the lack of *header*."""
    compiler = tree.parent / "cc"
    compiler.write_text(f"#!/bin/sh\ncat >/dev/null\necho 'no {header}'\n")
    compiler.chmod(0o755)
    return str(compiler)


LACKS = [
    (None, r"a C compiler \(/nonexistent\)", "gcc libc6-dev"),
    ("Python.h", r"\S.* headers.* \(Python\.h\)", r"(python3\.\d+|pypy3)-dev"),
    ("sys/socket.h", r"the C library's headers \(sys/socket\.h\)", "libc6-dev"),
]


@pytest.mark.parametrize(("header", "named", "packages"), LACKS)
@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_required_layer_that_nothing_can_compile(tree, kind, header, named, packages):
    """One line says what is missing and how to get it, in place of the compiler's about the first header."""
    compiler = compiler_without(tree, header) if header else "/nonexistent"
    output, files = try_build(tree, kind, CC=compiler, UNIXCONN_REQUIRE_API="1")
    assert not files
    errors = [line for line in output.splitlines() if "error: " in line]
    pattern = f'error: UNIXCONN_REQUIRE_API=1: .*{named}.*, not found here\\. .*"apt-get install .*{packages}.*"\\. .*'
    assert len(errors) == 1, output
    assert re.fullmatch(pattern, errors[0]), output
    assert output.splitlines()[-1] == errors[0]
    assert "Traceback" not in output
    # Of a wheel it is not the last of a hundred lines about the files in it.
    assert kind == "editable" or "copying" not in output


@pytest.mark.parametrize(("header", "named", "packages"), LACKS)
def test_build_that_takes_the_plain_layer_says_so(tree, header, named, packages):
    """One line says that, what is missing and how to get it."""
    output, (wheel,) = try_build(tree, CC=compiler_without(tree, header) if header else "/nonexistent")
    assert generated(wheel) == plain_layer(tree)
    (warning,) = [line for line in output.splitlines() if "the plain layer alone is installed" in line]
    assert re.search(f'{named}.*, not found here\\. .*"apt-get install .*{packages}.*"\\.', warning), output
    assert "error: " not in output
    assert "Traceback" not in output


def test_build_with_a_compiler_that_fails(tree):
    """What is wrong with it is not in the list of what may be missing: its own words are kept."""
    compiler = tree.parent / "cc"
    compiler.write_text("#!/bin/sh\necho 'out of order' >&2\nexit 7\n")
    compiler.chmod(0o755)
    output, (wheel,) = try_build(tree, CC=str(compiler))
    assert generated(wheel) == plain_layer(tree)
    assert "the plain layer alone is installed: the compiled one failed to build, see above" in output
    assert "out of order" in output
    output, files = try_build(tree, CC=str(compiler), UNIXCONN_REQUIRE_API="1")
    assert not files
    assert "out of order" in output
    assert "not found here" not in output


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
@pytest.mark.parametrize("times", [{"SOURCE_DATE_EPOCH": "1700000000"}, {}], ids=["SOURCE_DATE_EPOCH", "no time"])
def test_two_builds_are_equal(tree, tmp_path, kind, times):
    """What is built in another folder, at another time and with another umask is the same (S10)."""
    another = shutil.copytree(tree, tmp_path / "another" / "tree")
    for path in (another, *another.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)
        os.utime(path, (1_600_000_000, 1_600_000_000))
    one = build(tree, kind, **times)
    before = os.umask(0o077)
    try:
        two = build(another, kind, **times)
    finally:
        os.umask(before)
    assert (one.name, one.read_bytes()) == (two.name, two.read_bytes())


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("readelf"), reason="needs Linux, and readelf")
def test_compiled_layer_is_hardened(tree, tmp_path):
    """All its addresses are bound when it is loaded, and read-only from then on, and its stack is guarded (S10)."""
    output, (wheel,) = try_build(tree, CFLAGS="-O2", LDFLAGS="")
    with zipfile.ZipFile(wheel) as content:
        (name,) = (name for name in content.namelist() if name.startswith("unixconn/_api"))
        library = content.extract(name, tmp_path)
    shown = subprocess.run(["readelf", "-dlsW", library], capture_output=True, text=True, check=True).stdout
    assert re.search(r"\(FLAGS_1\).*\bNOW\b", shown)
    assert "GNU_RELRO" in shown
    assert "__stack_chk_fail" in shown
    assert re.search(r"-D_FORTIFY_SOURCE=[23]\b", output)


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="the flags of Linux")
@pytest.mark.parametrize(
    ("flags", "added"),
    [("-O0", 0), ("-O2", 1), ("-O2 -D_FORTIFY_SOURCE=1", 0), ("-O2 -Wp,-D_FORTIFY_SOURCE=2", 0)],
)
def test_fortified_where_that_is_possible(tree, flags, added):
    """The C library's checks are on where the compiler optimises, and are not set a second time (S10)."""
    output, (wheel,) = try_build(tree, CFLAGS=f"{flags} -Werror=cpp")
    assert "_api" in generated(wheel), output
    compiling = next(line for line in output.splitlines() if " -c " in line and "_api.c" in line)
    assert len(re.findall(r" -D_FORTIFY_SOURCE=[23](?= )", compiling)) == added, compiling
    assert not re.search(r"warning: .*_FORTIFY_SOURCE", output), output


def test_source_distribution_can_be_built(tree, tmp_path):
    """A source distribution holds all that a wheel is made from, and nothing that is generated."""
    (tree / "unixconn" / "_abi.py").write_text("raise ImportError('of another machine')\n")
    (tree / "unixconn" / "_api.abi3.so").write_bytes(b"of another machine")
    with tarfile.open(build(tree, "sdist")) as content:
        names = {Path(name).name for name in content.getnames()}
        # From Python 3.12 on the lack of one is a warning; 3.9 has none.
        content.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        content.extractall(tmp_path / "unpacked")
    scripts = {"build_ffi.py", "build_tools.py", "toxfile.py", "tox.ini"}
    assert {*scripts, "py.typed", "conftest.py", "LICENSE"} <= names
    assert not {name for name in names if name.startswith(("_abi", "_api."))}
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    wheel = build(unpacked, CC="/nonexistent")
    with zipfile.ZipFile(wheel) as content:
        assert "another machine" not in content.read("unixconn/_abi.py").decode()
        assert {str(path.relative_to(ROOT)) for path in (ROOT / "unixconn").rglob("*.py")} | {
            "unixconn/py.typed",
            *(f"unixconn/{name}.py" for name in plain_layer(tree)),
        } == {name for name in content.namelist() if name.startswith("unixconn/")}
