"""The two generated layers say the same; the right one is chosen; and only the modules at the bottom use them."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import os
import shutil
import struct
import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import pytest
from helpers import PYPY

import unixconn
from unixconn._kernel import native as _native

PACKAGE = Path(unixconn.__file__).parent


def load(path):
    """Import a file as a module of its own."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    # dataclasses look for the module of their class there, also after its import
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def compiled():
    """Return the compiled layer, or skip the test where there is none."""
    try:
        return importlib.import_module("unixconn._api")
    except ModuleNotFoundError:
        pytest.skip("the compiled layer is not installed here")


def plain():
    """Return the plain layer for this machine."""
    platforms = importlib.import_module("unixconn._abi").PLATFORMS
    return importlib.import_module(f"unixconn._abi_{_native._entry(platforms, sys.platform, os.uname().machine)}")


@pytest.fixture(scope="module")
def build_ffi():
    """The build script, which the package does not contain."""
    path = Path(__file__).parents[2] / "build_ffi.py"
    if not path.exists():
        pytest.skip("build_ffi.py is not beside the tests")
    try:
        with warnings.catch_warnings():
            # setuptools changes distutils, and some versions of both warn of it.
            warnings.simplefilter("ignore")
            importlib.import_module("setuptools.command.bdist_wheel")
            importlib.import_module("cffi")
    except ModuleNotFoundError as error:
        pytest.skip(f"build_ffi.py needs {error.name}")
    return load(path)


# --- the layers compared ---------------------------------------------------------------------------------------------


def kind(ffi, ctype):
    """Return what makes a difference in a type: sign and size for integers, as their names vary, else the name."""
    if ctype.kind == "pointer":
        return "pointer", kind(ffi, ctype.item)
    if ctype.kind == "primitive" and ctype.cname != "char":
        return "signed" if int(ffi.cast(ctype, -1)) < 0 else "unsigned", ffi.sizeof(ctype)
    return ctype.cname


def structures(module):
    """Describe every structure that a layer knows, and each field of it."""
    ffi, found = module.ffi, {}
    for name in [f"struct {name}" for name in ffi.list_types()[1]] + [f"union {name}" for name in ffi.list_types()[2]]:
        found[name] = {"size": ffi.sizeof(name), "alignment": ffi.alignof(name)}
        for field, place in ffi.typeof(name).fields:
            found[f"{name}.{field}"] = {
                "offset": place.offset,
                "size": ffi.sizeof(place.type),
                "type": kind(ffi, place.type),
            }
    return found


def typedefs(module):
    """Describe every type that has a name of its own."""
    return {name: kind(module.ffi, module.ffi.typeof(name)) for name in module.ffi.list_types()[0]}


def library(module):
    """Return the functions and constants of a layer."""
    return module.lib if hasattr(module, "lib") else module.ffi.dlopen(None)


def constants(module):
    """Return every constant of a layer, with its value."""
    lib = library(module)
    return {name: getattr(lib, name) for name in dir(lib) if isinstance(getattr(lib, name), int)}


def functions(module):
    """Describe the type of every function of a layer."""
    ffi, lib = module.ffi, library(module)
    found = {}
    for name in dir(lib):
        if not isinstance(getattr(lib, name), int):
            ctype = ffi.typeof(getattr(lib, name))
            found[name] = kind(ffi, ctype.result), *(kind(ffi, argument) for argument in ctype.args)
    return found


DESCRIPTIONS = [structures, typedefs, constants, functions]


LENGTHS = ["struct msghdr.msg_iovlen", "struct msghdr.msg_controllen", "struct cmsghdr.cmsg_len"]


def covered(found, table):
    """
    Return *found* with the lengths as in *table*, each of which has to lie over the narrower one that was found.

    musl declares them as POSIX has them, with padding beside on 64 bits; the table's size_t covers both.
    """
    size_t, result = ("unsigned", struct.calcsize("N")), dict(found)
    narrow = [("signed", 4), ("unsigned", 4)]
    for name in LENGTHS:
        alias = f"{name.rpartition('.')[2]}_t"
        if name in found and found[name]["type"] in narrow and table[name]["type"] == size_t:
            length, whole = found[name], table[name]
            assert whole["offset"] <= length["offset"]
            assert length["offset"] + length["size"] <= whole["offset"] + whole["size"]
            result[name] = whole
            if name == "struct cmsghdr.cmsg_len":
                # Its only other fields are ints.
                result["struct cmsghdr"] = {**found["struct cmsghdr"], "alignment": struct.calcsize("N")}
        if found.get(alias) in narrow and table[alias] == size_t:
            result[alias] = size_t
    return result


@pytest.mark.parametrize("describe", DESCRIPTIONS)
def test_the_layers_agree(describe):
    """What the ABI layer takes from its table is what the compiler found in the C library's headers."""
    found, table = describe(compiled()), describe(plain())
    assert found
    assert table == (covered(found, table) if sys.platform == "linux" else found)


def edit(build_ffi, old, new):
    """Return the build script's entry for this machine with another text or value in one place."""
    table = build_ffi.platform_for(sys.platform, os.uname().machine)
    if old in table.constants:
        return dataclasses.replace(table, constants={**table.constants, old: new})
    assert table.declarations.count(old) == 1
    return dataclasses.replace(table, declarations=table.declarations.replace(old, new))


@pytest.mark.skipif(sys.platform != "linux", reason="the mistakes are made in the table for Linux")
@pytest.mark.parametrize(
    ("describe", "old", "new"),
    [
        (structures, "socklen_t msg_namelen;", "short msg_namelen;"),
        (structures, "int msg_flags;", "unsigned int msg_flags;"),
        (structures, "int cmsg_level;\n    int cmsg_type;", "int cmsg_type;\n    int cmsg_level;"),
        (structures, "    size_t iov_len;\n", ""),
        (structures, "typedef size_t cmsg_len_t;", "typedef unsigned short cmsg_len_t;"),
        (structures, "typedef int pid_t;", "typedef long long pid_t;"),
        (typedefs, "typedef unsigned int uid_t;", "typedef int uid_t;"),
        (typedefs, "typedef unsigned int socklen_t;", "typedef unsigned short socklen_t;"),
        (functions, "int eventfd(unsigned int value, int flags);", "int eventfd(unsigned long long value, int flags);"),
        (functions, "ssize_t sendmsg(", "short sendmsg("),
        (constants, "SO_PEERCRED", 0xBAD),
        (constants, "SCM_RIGHTS", 2),
        (constants, "MSG_CMSG_CLOEXEC", -0x40000000),
    ],
)
def test_a_mistake_in_the_table_is_seen(build_ffi, tmp_path, describe, old, new):
    """A wrong type, order, sign, size or value in the declarations makes the comparison fail."""
    build_ffi.abi_layer("wrong", edit(build_ffi, old, new)).emit_python_code(str(tmp_path / "wrong.py"))
    assert describe(load(tmp_path / "wrong.py")) != describe(plain())


@pytest.mark.parametrize("describe", DESCRIPTIONS)
def test_the_installed_layer_is_the_one_of_this_table(build_ffi, tmp_path, describe):
    """The ABI layer that is installed is what the build script writes today."""
    build_ffi.write_abi(tmp_path)
    assert describe(load(tmp_path / f"{plain().__name__.rpartition('.')[2]}.py")) == describe(plain())


# --- other machines --------------------------------------------------------------------------------------------------

# As the kernel's headers have them: asm-generic/socket.h, and arch/*/include/uapi/asm/socket.h where there is one.
GENERIC = {
    "SOL_SOCKET": 1,
    "SO_TYPE": 3,
    "SO_PASSCRED": 16,
    "SO_PEERCRED": 17,
    "SO_PEERSEC": 31,
    "SO_PROTOCOL": 38,
    "SO_DOMAIN": 39,
    "SO_PEERGROUPS": 59,
    "SO_PASSPIDFD": 76,
    "SO_PEERPIDFD": 77,
    "SO_PASSRIGHTS": 83,
}
POWERPC = {**GENERIC, "SO_PASSCRED": 20, "SO_PEERCRED": 21}
MIPS = {
    "SOL_SOCKET": 0xFFFF,
    "SO_TYPE": 0x1008,
    "SO_PASSCRED": 17,
    "SO_PEERCRED": 18,
    "SO_PEERSEC": 30,
    "SO_PROTOCOL": 0x1028,
    "SO_DOMAIN": 0x1029,
    "SO_PEERGROUPS": 59,
    "SO_PASSPIDFD": 76,
    "SO_PEERPIDFD": 77,
    "SO_PASSRIGHTS": 83,
}
SPARC = {
    "SOL_SOCKET": 0xFFFF,
    "SO_TYPE": 0x1008,
    "SO_PASSCRED": 0x0002,
    "SO_PEERCRED": 0x0040,
    "SO_PEERSEC": 0x001E,
    "SO_PROTOCOL": 0x1028,
    "SO_DOMAIN": 0x1029,
    "SO_PEERGROUPS": 0x003D,
    "SO_PASSPIDFD": 0x0055,
    "SO_PEERPIDFD": 0x0056,
    "SO_PASSRIGHTS": 0x005C,
}
PARISC = {
    "SOL_SOCKET": 0xFFFF,
    "SO_TYPE": 0x1008,
    "SO_PASSCRED": 0x4010,
    "SO_PEERCRED": 0x4011,
    "SO_PEERSEC": 0x401D,
    "SO_PROTOCOL": 0x1028,
    "SO_DOMAIN": 0x1029,
    "SO_PEERGROUPS": 0x4034,
    "SO_PASSPIDFD": 0x404A,
    "SO_PEERPIDFD": 0x404B,
    "SO_PASSRIGHTS": 0x4051,
}
# linux/socket.h and linux/fs.h have one set for all machines.
COMMON = {
    "SCM_RIGHTS": 1,
    "SCM_CREDENTIALS": 2,
    "SCM_SECURITY": 3,
    "SCM_PIDFD": 4,
    "MSG_CTRUNC": 8,
    "MSG_DONTWAIT": 0x40,
    "MSG_NOSIGNAL": 0x4000,
    "MSG_CMSG_CLOEXEC": 0x40000000,
    "RENAME_NOREPLACE": 1,
}
MACHINES = {
    **dict.fromkeys(["x86_64", "i686", "aarch64", "armv7l", "riscv64", "s390x", "loongarch64", "m68k"], GENERIC),
    **dict.fromkeys(["ppc", "ppc64", "ppc64le", "powerpc64le"], POWERPC),
    **dict.fromkeys(["mips", "mips64", "mipsel", "alpha"], MIPS),
    **dict.fromkeys(["sparc", "sparc64"], SPARC),
    **dict.fromkeys(["parisc", "parisc64", "hppa"], PARISC),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_constants_of_each_machine(build_ffi, machine):
    """The layer for another machine has the numbers of that machine's kernel."""
    platforms = importlib.import_module("unixconn._abi").PLATFORMS
    module = importlib.import_module(f"unixconn._abi_{_native._entry(platforms, 'linux', machine)}")
    assert constants(module) == {**MACHINES[machine], **COMMON}
    assert build_ffi.platform_for("linux", machine).constants == {**MACHINES[machine], **COMMON}


@pytest.mark.parametrize(
    ("system", "machine", "name"),
    [
        ("linux", "x86_64", "linux"),
        ("linux", "ppc64le", "linux_powerpc"),
        ("freebsd14", "amd64", "freebsd"),
        ("gnukfreebsd10", "x86_64", "kfreebsd"),
        ("dragonfly6", "x86_64", "dragonfly"),
        ("netbsd10", "sparc64", "netbsd"),
        ("openbsd7", "amd64", "openbsd"),
        ("darwin", "arm64", "macos"),
        ("sunos5", "i86pc", "solaris"),
        ("gnu0", "i686-AT386", "hurd"),
    ],
)
def test_entry_of_each_system(build_ffi, system, machine, name):
    """Both the build and the import choose by `sys.platform` and the machine, and the same."""
    assert build_ffi.platform_for(system, machine) is build_ffi.PLATFORMS[name]
    assert _native._entry(importlib.import_module("unixconn._abi").PLATFORMS, system, machine) == name


@pytest.mark.parametrize("system", ["win32", "cygwin", "aix", "emscripten"])
def test_system_without_an_entry(build_ffi, system):
    """There is nothing to build, and the ImportError names the system and those that are there."""
    assert build_ffi.platform_for(system, "x86_64") is None
    with pytest.raises(ImportError, match=rf"platform '{system}' \(x86_64\): .*, which has linux_powerpc, .*, hurd$"):
        _native._entry(importlib.import_module("unixconn._abi").PLATFORMS, system, "x86_64")


# --- the choice ------------------------------------------------------------------------------------------------------


def backend(folder, forced=None, package=None):
    """Import unixconn in a new process; give the layer in use, or the text of the ImportError."""
    code = "try:\n import unixconn; print(unixconn.BACKEND)\nexcept ImportError as e: print('ImportError:', e)"
    environment = {name: value for name, value in os.environ.items() if name != "UNIXCONN_BACKEND"}
    if forced is not None:
        environment["UNIXCONN_BACKEND"] = forced
    command = [sys.executable, "-c", code]
    if package is not None:
        # Without site's files, of which an editable installation has one that finds the missing module elsewhere.
        command.insert(1, "-S")
        # cffi's own folder may be another one: a distribution's. PyPy has it built in.
        cffi = importlib.util.find_spec("_cffi_backend").origin or ""
        folders = [str(package), sysconfig.get_path("platlib"), sysconfig.get_path("purelib"), str(Path(cffi).parent)]
        environment["PYTHONPATH"] = os.pathsep.join(folders)
    child = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert not child.stderr, child.stderr
    return child.stdout.rstrip("\n")


@pytest.fixture
def bare(tmp_path):
    """A folder with a copy of the package that has the ABI layer alone."""
    shutil.copytree(PACKAGE, tmp_path / "unixconn", ignore=shutil.ignore_patterns("_api*", "__pycache__"))
    return tmp_path


@pytest.mark.parametrize("layer", ["api", "abi"])
def test_environment_forces_a_layer(tmp_path, layer):
    """UNIXCONN_BACKEND names the layer that is used."""
    if layer == "api":
        compiled()
    assert backend(tmp_path, layer) == layer


@pytest.mark.parametrize("forced", [None, ""])
def test_compiled_layer_comes_first(tmp_path, forced):
    """Without a choice, or with an empty one, the compiled layer is used where there is one."""
    compiled()
    assert backend(tmp_path, forced) == "api"


@pytest.mark.parametrize("forced", [None, "abi"])
def test_works_without_the_compiled_layer(bare, forced):
    """Where nothing was compiled the ABI layer is used, asked for or not."""
    assert backend(bare, forced, package=bare) == "abi"


@pytest.mark.parametrize("forced", ["API", "c", "abi "])
def test_unknown_layer(tmp_path, forced):
    """A value that names no layer is an ImportError that tells the ones there are."""
    text = backend(tmp_path, forced)
    assert text.startswith(f"ImportError: UNIXCONN_BACKEND={forced!r}")
    assert "set it to 'api' or 'abi', or unset it" in text


def test_forced_layer_that_is_missing(bare):
    """To ask for the compiled layer where there is none is an ImportError that tells how to get it."""
    text = backend(bare, "api", package=bare)
    assert text.startswith("ImportError: UNIXCONN_BACKEND=api asks for")
    assert "install again with a C compiler" in text
    assert "unset it" in text


@pytest.mark.skipif(PYPY, reason="it has cffi built in")
@pytest.mark.parametrize("forced", [None, "abi"])
def test_without_cffi(tmp_path, forced):
    """A cffi that is missing is named, and not taken for a layer that is."""
    (tmp_path / "_cffi_backend.py").write_text("raise ModuleNotFoundError('none here', name='_cffi_backend')")
    assert backend(tmp_path, forced) == "ImportError: none here"


@pytest.mark.parametrize("forced", [None, "abi"])
def test_nothing_generated(bare, forced):
    """The bare source folder is an ImportError that tells how to install."""
    (bare / "unixconn" / "_abi.py").unlink()
    text = backend(bare, forced, package=bare)
    assert text.startswith("ImportError: ")
    assert "pip install ." in text
    assert "python build_ffi.py" in text


@pytest.mark.parametrize("forced", [None, "abi"])
def test_undeclared_platform(bare, forced):
    """On a platform that the table lacks the import fails with its name and the names of those that are there."""
    (bare / "unixconn" / "_abi.py").write_text("PLATFORMS = (('plan9', ('',), 'plan9'),)")
    text = backend(bare, forced, package=bare)
    here = f"{sys.platform!r} ({os.uname().machine})"
    expected = f"ImportError: unixconn has no C declarations for the platform {here}: "
    assert text == expected + "add an entry to PLATFORMS in build_ffi.py, which has plan9"
