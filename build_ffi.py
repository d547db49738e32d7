"""
The C declarations of unixconn, and the two layers that are generated from them.

`PLATFORMS` is the table: one entry holds what a platform's C library declares. From the entry of the machine that
builds come

- ``unixconn/_abi.py``, out-of-line ABI mode: plain Python with exact layouts and values, always there;
- ``unixconn._api``, the same declarations completed and compiled by the C compiler, where there is one.

setuptools calls `build_py`, `build_ext` and `bdist_wheel` (see pyproject.toml). ``python build_ffi.py`` writes the ABI
layer into the source tree, for those who want to look at it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from cffi import FFI
from setuptools import Extension
from setuptools.command.bdist_wheel import bdist_wheel as _bdist_wheel
from setuptools.command.build_ext import build_ext as _build_ext
from setuptools.command.build_py import build_py as _build_py
from setuptools.errors import PlatformError


@dataclass(frozen=True)
class Platform:
    """What one platform's C library declares, written exactly, as the ABI layer needs it."""

    declarations: str
    """Types, structures and functions."""
    headers: str
    """The C text in front of the compiled layer: includes, and names for types that have none."""
    constants: dict[str, int]
    """Names and values, for most machines."""
    exceptions: dict[str, dict[str, int]] = field(default_factory=dict)
    """The constants that differ: by a regular expression for the machine's name."""

    def constants_for(self, machine: str) -> dict[str, int]:
        """Give the constants of *machine*, a name as ``uname -m`` prints it."""
        values = dict(self.constants)
        for pattern, different in self.exceptions.items():
            if re.fullmatch(pattern, machine):
                values.update(different)
        return values


# The lengths are size_t by Linux and glibc, int or socklen_t with padding by POSIX and musl. A size_t covers both, as
# musl clears the padding; the compiler is asked for the type by these names.
_LENGTHS = {
    "msg_iovlen_t": ("struct msghdr", "msg_iovlen"),
    "msg_controllen_t": ("struct msghdr", "msg_controllen"),
    "cmsg_len_t": ("struct cmsghdr", "cmsg_len"),
}

# Machines whose first Unix was not Linux kept its numbers.
_BSD_NUMBERS = {"SOL_SOCKET": 0xFFFF, "SO_TYPE": 0x1008, "SO_PROTOCOL": 0x1028, "SO_DOMAIN": 0x1029}
_MIPS = {
    **_BSD_NUMBERS,
    "SO_PASSCRED": 17,
    "SO_PEERCRED": 18,
    "SO_PEERSEC": 30,
}

LINUX = Platform(
    declarations="""
typedef size_t msg_iovlen_t;
typedef size_t msg_controllen_t;
typedef size_t cmsg_len_t;
typedef unsigned int socklen_t;
typedef int pid_t;
typedef unsigned int uid_t;
typedef unsigned int gid_t;

struct iovec {
    void *iov_base;
    size_t iov_len;
};
struct msghdr {
    void *msg_name;
    socklen_t msg_namelen;
    struct iovec *msg_iov;
    msg_iovlen_t msg_iovlen;
    void *msg_control;
    msg_controllen_t msg_controllen;
    int msg_flags;
};
struct cmsghdr {
    cmsg_len_t cmsg_len;
    int cmsg_level;
    int cmsg_type;
};
struct ucred {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};

int eventfd(unsigned int value, int flags);
int listen(int fd, int backlog);
ssize_t sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t recvmsg(int fd, struct msghdr *message, int flags);
int getsockopt(int fd, int level, int name, void *value, socklen_t *length);
int setsockopt(int fd, int level, int name, const void *value, socklen_t length);
""",
    headers="#include <sys/types.h>\n#include <sys/eventfd.h>\n#include <sys/socket.h>\n#include <sys/uio.h>\n"
    + "".join(f"typedef __typeof__((({owner} *)0)->{name}) {alias};\n" for alias, (owner, name) in _LENGTHS.items()),
    constants={
        "SOL_SOCKET": 1,
        "SO_TYPE": 3,
        "SO_PROTOCOL": 38,
        "SO_DOMAIN": 39,
        "SCM_RIGHTS": 1,
        "SCM_CREDENTIALS": 2,
        "SCM_SECURITY": 3,
        "SCM_PIDFD": 4,
        "SO_PASSCRED": 16,
        "SO_PEERCRED": 17,
        "SO_PEERSEC": 31,
        "SO_PEERGROUPS": 59,
        "SO_PASSPIDFD": 76,
        "SO_PEERPIDFD": 77,
        "SO_PASSRIGHTS": 83,
        "MSG_CTRUNC": 0x8,
        "MSG_DONTWAIT": 0x40,
        "MSG_NOSIGNAL": 0x4000,
        "MSG_CMSG_CLOEXEC": 0x40000000,
    },
    exceptions={
        r"ppc.*|powerpc.*": {"SO_PASSCRED": 20, "SO_PEERCRED": 21},
        r"mips.*|alpha": _MIPS,
        r"sparc.*": {
            **_BSD_NUMBERS,
            "SO_PASSCRED": 2,
            "SO_PEERCRED": 0x40,
            "SO_PEERSEC": 0x1E,
            "SO_PEERGROUPS": 0x3D,
            "SO_PASSPIDFD": 0x55,
            "SO_PEERPIDFD": 0x56,
            "SO_PASSRIGHTS": 0x5C,
        },
        r"parisc.*|hppa.*": {
            **_BSD_NUMBERS,
            "SO_PASSCRED": 0x4010,
            "SO_PEERCRED": 0x4011,
            "SO_PEERSEC": 0x401D,
            "SO_PEERGROUPS": 0x4034,
            "SO_PASSPIDFD": 0x404A,
            "SO_PEERPIDFD": 0x404B,
            "SO_PASSRIGHTS": 0x4051,
        },
    },
)

PLATFORMS = {"linux": LINUX}


def target_machine() -> str:
    """Name the machine that is built for, which in a cross build is not the one that builds."""
    return sysconfig.get_platform().partition("-")[2] or os.uname().machine


def abi_layer(platform: Platform, machine: str) -> FFI:
    """Give the declarations as they stand, with *machine*'s values."""
    ffi = FFI()
    ffi.cdef(platform.declarations)
    for name, value in platform.constants_for(machine).items():
        ffi.cdef(f"#define {name} {value}")
    ffi.set_source("unixconn._abi", None)
    return ffi


def api_layer(platform: Platform, machine: str) -> FFI:
    """Give the declarations with everything left open that the compiler knows better."""
    text = re.sub(r"^typedef .* (\w+);$", r"typedef int... \1;", platform.declarations, flags=re.MULTILINE)
    text = text.replace("\n};", "\n    ...;\n};")
    constants = platform.constants_for(machine)
    ffi = FFI()
    ffi.cdef(text + "".join(f"#define {name} ...\n" for name in constants))
    # Headers are often older than the kernel: what they lack is taken from the table.
    missing = "".join(f"#ifndef {name}\n#define {name} {value}\n#endif\n" for name, value in constants.items())
    ffi.set_source("unixconn._api", platform.headers + missing, define_macros=[("_GNU_SOURCE", "1")])
    return ffi


def write_abi(path: Path, system: str, machine: str) -> None:
    """Write the ABI layer of *system*; for one without an entry, a module whose import says so."""
    if system in PLATFORMS:
        abi_layer(PLATFORMS[system], machine).emit_python_code(str(path))
    else:
        reason = f"unixconn has no declarations for the platform {system!r} ({machine}); build_ffi.py has those of " + (
            ", ".join(sorted(PLATFORMS))
        )
        path.write_text(f"raise ImportError({reason!r})\n", encoding="utf-8")


class build_py(_build_py):  # noqa: N801 - setuptools looks the command up by this name
    """Copy the package into an empty folder."""

    def run(self) -> None:
        """Remove what an earlier build left: pip builds in the source tree, and packs all that it finds there."""
        shutil.rmtree(Path(self.build_lib, "unixconn"), ignore_errors=True)
        super().run()


class build_ext(_build_ext):  # noqa: N801
    """
    Write the ABI layer, and compile the other one where that is possible.

    A failed compilation is only a warning, unless ``UNIXCONN_REQUIRE_API=1`` is set.
    """

    def _abi_path(self) -> Path:
        package = self.get_finalized_command("build_py").get_package_dir("unixconn")  # type: ignore[attr-defined]
        return Path(package if self.inplace else Path(self.build_lib, "unixconn"), "_abi.py")

    def run(self) -> None:
        """Generate, then compile."""
        system, machine = sys.platform, target_machine()
        path = self._abi_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_abi(path, system, machine)
        # A compiled layer of an earlier build would hide that this one failed.
        for folder in (path.parent, Path(self.build_lib, "unixconn")):
            for suffix in EXTENSION_SUFFIXES:
                folder.joinpath(f"_api{suffix}").unlink(missing_ok=True)
        if system in PLATFORMS:
            for extension in self.extensions:
                self._complete(extension, PLATFORMS[system], machine)
            super().run()
        elif api_required():
            raise PlatformError(f"UNIXCONN_REQUIRE_API=1: there is nothing to compile for {system}")

    def _complete(self, extension: Extension, platform: Platform, machine: str) -> None:
        """Make of the extension that pyproject.toml announces the one to compile."""
        Path(self.build_temp).mkdir(parents=True, exist_ok=True)
        generated = api_layer(platform, machine).distutils_extension(self.build_temp)
        extension.sources = generated.sources
        extension.define_macros = generated.define_macros
        extension.optional = not api_required()
        if limited_api():
            extension.py_limited_api = True
        else:
            extension.define_macros.append(("_CFFI_NO_LIMITED_API", None))

    @property
    def compiled(self) -> bool:
        """Tell whether the compiled layer was built."""
        return any(Path(self.get_ext_fullpath(extension.name)).exists() for extension in self.extensions)

    def get_outputs(self) -> list[str]:
        """Add the ABI layer to what setuptools knows of."""
        return [*super().get_outputs(), str(self._abi_path())]


class bdist_wheel(_bdist_wheel):  # noqa: N801
    """Tag the wheel by what is in it."""

    def get_tag(self) -> tuple[str, str, str]:
        """Give cp39-abi3 for the limited API, py3-none for a wheel with the ABI layer alone."""
        implementation, abi, platform = super().get_tag()
        if not self.get_finalized_command("build_ext").compiled:  # type: ignore[attr-defined]
            return "py3", "none", platform
        if limited_api():
            return "cp39", "abi3", platform
        return implementation, abi, platform


def api_required() -> bool:
    """Tell whether an installation without the compiled layer is a failed one."""
    return os.environ.get("UNIXCONN_REQUIRE_API") == "1"


def limited_api() -> bool:
    """Tell whether one compiled layer can serve several versions of this interpreter."""
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    return sys.implementation.name == "cpython" and not free_threaded and not hasattr(sys, "gettotalrefcount")


def main() -> None:
    """Write the ABI layer of this machine into the source tree."""
    path = Path(__file__).parent / "unixconn" / "_abi.py"
    write_abi(path, sys.platform, target_machine())
    print(path)


if __name__ == "__main__":
    main()
