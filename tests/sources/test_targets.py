"""
The table of build_ffi.py beside the headers of other systems: sizes, offsets, types and values, by their own compiler.

Zig's C compiler, the package ziglang, has the headers of all of these. Nothing of it runs: what is compared is compared
by static assertions. What no header has is checked in test_layers.py, against the kernels' sources.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import re
import subprocess
import sys

import pytest
from platforms.test_layers import build_ffi  # noqa: F401 - a fixture

pytest.importorskip("ziglang")
pytest.importorskip("cffi")

ARM = ["gnueabi", "gnueabihf", "musleabi", "musleabihf"]
TARGETS = {
    "linux": [
        *("x86_64-linux-gnu", "x86_64-linux-gnux32", "x86-linux-gnu", "aarch64-linux-gnu", "aarch64_be-linux-gnu"),
        *("riscv32-linux-gnu", "riscv64-linux-gnu", "loongarch64-linux-gnu", "s390x-linux-gnu"),
        *("x86_64-linux-musl", "x86_64-linux-muslx32", "x86-linux-musl", "aarch64-linux-musl", "aarch64_be-linux-musl"),
        *("riscv32-linux-musl", "riscv64-linux-musl", "loongarch64-linux-musl", "s390x-linux-musl"),
        *(f"{machine}-linux-{abi}" for machine in ("arm", "armeb") for abi in ARM),
        *("hexagon-linux-musl", "x86_64-linux-gnu.2.17", "aarch64-linux-gnu.2.17"),
    ],
    "linux_powerpc": [
        *("powerpc64le-linux-gnu", "powerpc64-linux-musl", "powerpc64le-linux-musl"),
        *("powerpc-linux-musleabi", "powerpc-linux-musleabihf"),
    ],
    "linux_mips": [
        *(f"{machine}-linux-{abi}" for machine in ("mips", "mipsel") for abi in ("gnueabi", "gnueabihf")),
        *(f"{machine}-linux-{abi}" for machine in ("mips", "mipsel") for abi in ("musleabi", "musleabihf")),
        *(f"{machine}-linux-{abi}" for machine in ("mips64", "mips64el") for abi in ("gnuabi64", "gnuabin32")),
        *(f"{machine}-linux-{abi}" for machine in ("mips64", "mips64el") for abi in ("muslabi64", "muslabin32")),
    ],
    "linux_sparc": ["sparc-linux-gnu", "sparc64-linux-gnu"],
    "freebsd": [
        *("x86_64-freebsd", "x86-freebsd", "aarch64-freebsd", "arm-freebsd-eabihf", "riscv64-freebsd"),
        *("powerpc64-freebsd", "powerpc64le-freebsd"),
    ],
    "netbsd": [
        *("x86_64-netbsd", "x86-netbsd", "aarch64-netbsd", "aarch64_be-netbsd", "arm-netbsd-eabi", "arm-netbsd-eabihf"),
        *("mips-netbsd-eabi", "mipsel-netbsd-eabi", "powerpc-netbsd-eabihf", "riscv64-netbsd"),
        *("sparc-netbsd", "sparc64-netbsd"),
    ],
    "openbsd": [
        *("x86_64-openbsd", "x86-openbsd", "aarch64-openbsd", "arm-openbsd-eabi", "riscv64-openbsd"),
        *("mips64-openbsd", "mips64el-openbsd", "powerpc-openbsd-eabihf", "powerpc64-openbsd", "sparc64-openbsd"),
    ],
    "macos": ["x86_64-macos", "aarch64-macos"],
}
PAIRS = [(name, target) for name, targets in TARGETS.items() for target in targets]

# Not all headers are as new as these; their values are those of the kernel's own headers.
NEWER_THAN_HEADERS = {
    *("SCM_PIDFD", "SO_PASSPIDFD", "SO_PEERPIDFD", "SO_PASSRIGHTS", "SCM_SECURITY", "SO_PEERGROUPS"),
    "RENAME_NOREPLACE",
}
# Where those of Linux may be wider than the header's, and cover what is padding there.
LENGTHS = {"msg_iovlen", "msg_controllen", "cmsg_len"}


def structures(declarations):
    """Return the names of the structures, each with its fields' names; those of an unnamed union are left out."""
    without_unions = re.sub(r"\n    union \{.*?\n    \};", "", declarations, flags=re.DOTALL)
    bodies = re.findall(r"^struct (\w+) \{\n(.*?)^\};", without_unions, flags=re.MULTILINE | re.DOTALL)
    return {name: re.findall(r"\b(\w+)(?:\[\d+\])?;", body) for name, body in bodies}


def typedefs(declarations):
    """Return the names of the integer types."""
    return re.findall(r"^typedef (?!struct).* (\w+);$", declarations, flags=re.MULTILINE)


def assertions(declarations, constants):
    """Return what has to hold of the declarations, under other names, and those of the headers: C expressions."""
    for each in typedefs(declarations):
        if not re.fullmatch(r"msg_\w+|cmsg_len_t", each):
            yield f"sizeof(ours_{each}) == sizeof({each})"
            yield f"((ours_{each}) -1 < 0) == (({each}) -1 < 0)"
    for name, fields in structures(declarations).items():
        yield f"sizeof(struct ours_{name}) == sizeof(struct {name})"
        # A wider length makes for more.
        yield f"_Alignof(struct ours_{name}) % _Alignof(struct {name}) == 0"
        for field in fields:
            ours, theirs = (f"offsetof(struct {each}{name}, {field})" for each in ("ours_", ""))
            our_end, their_end = (
                f"offsetof(struct {each}{name}, {field}) + sizeof(((struct {each}{name} *)0)->{field})"
                for each in ("ours_", "")
            )
            if field in LENGTHS and "typedef size_t cmsg_len_t;" in declarations:
                yield f"{ours} <= {theirs} && {our_end} >= {their_end}"
                # The rest is padding of zeros: above the number.
                yield f"__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? {ours} == {theirs} : {our_end} == {their_end}"
            else:
                yield f"{ours} == {theirs} && {our_end} == {their_end}"
    for name, value in constants.items():
        yield f"{name} == {value}"


def program(platform):
    """Write a C program that only compiles where *platform* is right."""
    data, functions = [], []
    for part in re.split(r"(?<=;)\n", platform.declarations):
        (functions if "(" in part else data).append(part)
    names = "|".join([*structures(platform.declarations), *typedefs(platform.declarations)])
    present = {name: value for name, value in platform.constants.items() if name not in NEWER_THAN_HEADERS}
    newer = [name for name in platform.constants if name in NEWER_THAN_HEADERS]
    return "\n".join(
        [
            platform.headers,
            "#include <stddef.h>",
            re.sub(rf"\b({names})\b", r"ours_\1", "\n".join(data)),
            # A second declaration that differs from the header's is an error.
            *functions,
            *(f'_Static_assert({each}, "");' for each in assertions(platform.declarations, present)),
            *(f'#ifdef {each}\n_Static_assert({each} == {platform.constants[each]}, "");\n#endif' for each in newer),
            "",
        ]
    )


def compiles(text, target, folder):
    """Return what the compiler says against the C program *text* for *target*: "" if nothing."""
    source = folder / f"{target}.c"
    source.write_text(text, encoding="utf-8")
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-D_GNU_SOURCE", "-w"]
    # It can not only check, nor write to nowhere.
    command = [*compiler, "-c", "-o", str(source.with_suffix(".o")), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr or "failed" if done.returncode else ""


@pytest.fixture(scope="module")
def verdicts(build_ffi, tmp_path_factory):  # noqa: F811 - the fixture
    """What the compiler says for each target: all at once, as it is another process each time."""
    folder = tmp_path_factory.mktemp("targets")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = {
            target: pool.submit(compiles, program(build_ffi.PLATFORMS[name]), target, folder) for name, target in PAIRS
        }
    return {target: future.result() for target, future in found.items()}


def test_how_many():
    """All that the compiler has headers for, but for what is no Unix."""
    assert len(PAIRS) == len({target for _, target in PAIRS}) >= 50


@pytest.mark.parametrize(("name", "target"), PAIRS, ids=[target for _, target in PAIRS])
def test_target(verdicts, name, target):
    """Every structure, type, function and constant of the entry is what the system's headers have."""
    assert not verdicts[target], name


@pytest.mark.parametrize(
    ("name", "target", "old", "new"),
    [
        ("freebsd", "x86_64-freebsd", "short cr_ngroups;", "int cr_ngroups;"),
        ("freebsd", "x86_64-freebsd", "cmcred_groups[16]", "cmcred_groups[32]"),
        ("freebsd", "x86_64-freebsd", "SCM_CREDS2", 7),
        ("netbsd", "sparc-netbsd", "uid_t sc_euid;\n    gid_t sc_gid;", "gid_t sc_gid;\n    uid_t sc_euid;"),
        ("netbsd", "sparc-netbsd", "LOCAL_CREDS", 1),
        ("openbsd", "x86_64-openbsd", "SO_PEERCRED", 0x1023),
        ("openbsd", "x86_64-openbsd", "typedef int pid_t;", "typedef long pid_t;"),
        ("macos", "aarch64-macos", "typedef int msg_iovlen_t;", "typedef size_t msg_iovlen_t;"),
        ("macos", "aarch64-macos", "LOCAL_PEERNOBODY", 9),
        ("linux", "x86_64-linux-gnu", "size_t iov_len;", "int iov_len;"),
        ("linux", "x86_64-linux-gnu", "typedef unsigned int uid_t;", "typedef int uid_t;"),
        ("linux", "s390x-linux-musl", "typedef size_t cmsg_len_t;", "typedef unsigned int cmsg_len_t;"),
        ("linux", "x86_64-linux-musl", "int listen(int fd, int backlog);", "int listen(int fd, long backlog);"),
        ("linux_mips", "mips-linux-gnueabi", "SO_PASSCRED", 16),
    ],
)
def test_a_mistake_is_seen(build_ffi, tmp_path, name, target, old, new):  # noqa: F811 - the fixture
    """A wrong type, size, order, sign, value or name does not compile."""
    right = build_ffi.PLATFORMS[name]
    if isinstance(new, int):
        wrong = dataclasses.replace(right, constants={**right.constants, old: new})
    else:
        assert right.declarations.count(old) == 1
        wrong = dataclasses.replace(right, declarations=right.declarations.replace(old, new))
    found = compiles(program(wrong), target, tmp_path)
    assert re.search("static assertion failed|conflicting types|undeclared identifier", found), found
