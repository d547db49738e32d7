"""
The C declarations of unixconn, and the two layers that are generated from them.

`PLATFORMS` is the table: one entry holds what a platform's C library declares. From it come

- ``unixconn/_abi_*.py``, out-of-line ABI mode: plain Python with exact layouts and values, a module for each entry, and
  ``unixconn/_abi.py``, which tells for which machines each is; always there, and the same for all of them;
- ``unixconn._api``, the declarations for the machine that builds, completed and compiled by the C compiler, where there
  is one.

setuptools calls `build_py`, `build_ext` and `bdist_wheel` (see pyproject.toml). ``python build_ffi.py`` writes the ABI
layer into the source tree, for those who want to look at it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import sysconfig
from dataclasses import dataclass, replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from cffi import FFI
from setuptools import Extension
from setuptools.command.bdist_wheel import bdist_wheel as _bdist_wheel
from setuptools.command.build_ext import build_ext as _build_ext
from setuptools.command.build_py import build_py as _build_py
from setuptools.errors import PlatformError

# The folder of this file is not on the path in a build.
sys.path.append(str(Path(__file__).parent))
from build_tools import explain, missing


@dataclass(frozen=True)
class Platform:
    """What one platform's C library declares, written exactly, as the ABI layer needs it."""

    system: str
    """How `sys.platform` begins there."""
    declarations: str
    """Types, structures and functions."""
    headers: str
    """The C text in front of the compiled layer: includes, and declarations of what these lack."""
    constants: dict[str, int]
    """Names and values."""
    machines: tuple[str, ...] = ("",)
    """How the names of machines begin, as ``uname -m`` prints them."""


# --- what platforms share --------------------------------------------------------------------------------------------

_FUNCTIONS = """
int listen(int fd, int backlog);
ssize_t sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t recvmsg(int fd, struct msghdr *message, int flags);
int getsockopt(int fd, int level, int name, void *value, socklen_t *length);
int setsockopt(int fd, int level, int name, const void *value, socklen_t length);
"""

_STRUCTURES = """
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
"""

# The lengths are size_t by Linux and glibc, int or socklen_t with padding by POSIX and musl. There a size_t covers
# both, as musl clears the padding.
_LINUX_LENGTHS = """
typedef size_t msg_iovlen_t;
typedef size_t msg_controllen_t;
typedef size_t cmsg_len_t;
"""
_POSIX_LENGTHS = """
typedef int msg_iovlen_t;
typedef unsigned int msg_controllen_t;
typedef unsigned int cmsg_len_t;
"""

# The compiler is asked for the types of the lengths by these names.
_LENGTHS = {
    "msg_iovlen_t": ("struct msghdr", "msg_iovlen"),
    "msg_controllen_t": ("struct msghdr", "msg_controllen"),
    "cmsg_len_t": ("struct cmsghdr", "cmsg_len"),
}


def _headers(*names: str) -> str:
    includes = "".join(f"#include <sys/{name}.h>\n" for name in ("types", "param", "socket", "uio", *names))
    aliases = (f"typedef __typeof__((({owner} *)0)->{name}) {alias};\n" for alias, (owner, name) in _LENGTHS.items())
    return includes + "".join(aliases)


# --- Linux -----------------------------------------------------------------------------------------------------------

# Machines whose first Unix was not Linux kept its numbers.
_BSD_NUMBERS = {"SOL_SOCKET": 0xFFFF, "SO_TYPE": 0x1008, "SO_PROTOCOL": 0x1028, "SO_DOMAIN": 0x1029}

LINUX = Platform(
    system="linux",
    declarations=_LINUX_LENGTHS
    + _STRUCTURES
    + """
struct ucred {
    pid_t pid;
    uid_t uid;
    gid_t gid;
};
int eventfd(unsigned int value, int flags);
"""
    + _FUNCTIONS,
    headers=_headers("eventfd"),
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
)


def _linux_on(*machines: str, **different: int) -> Platform:
    return replace(LINUX, machines=machines, constants={**LINUX.constants, **different})


# --- the others ------------------------------------------------------------------------------------------------------


def _posix(more: str) -> str:
    return _POSIX_LENGTHS + _STRUCTURES + more + _FUNCTIONS


_BSD = {"SOL_SOCKET": 0xFFFF, "SO_TYPE": 0x1008, "SCM_RIGHTS": 1, "MSG_CTRUNC": 0x20, "MSG_DONTWAIT": 0x80}

_CMSGCRED = """
struct cmsgcred {
    pid_t cmcred_pid;
    uid_t cmcred_uid;
    uid_t cmcred_euid;
    gid_t cmcred_gid;
    short cmcred_ngroups;
    gid_t cmcred_groups[16];
};
"""

FREEBSD = Platform(
    system="freebsd",
    declarations=_posix(
        _CMSGCRED
        + """
struct sockcred2 {
    int sc_version;
    pid_t sc_pid;
    uid_t sc_uid;
    uid_t sc_euid;
    gid_t sc_gid;
    gid_t sc_egid;
    int sc_ngroups;
    gid_t sc_groups[1];
};
struct xucred {
    unsigned int cr_version;
    uid_t cr_uid;
    short cr_ngroups;
    gid_t cr_groups[16];
    union {
        void *_cr_unused1;
        pid_t cr_pid;
    };
};
"""
    ),
    headers=_headers("un", "ucred"),
    constants={
        **_BSD,
        "SOL_LOCAL": 0,
        "SO_PROTOCOL": 0x1016,
        "SO_DOMAIN": 0x1019,
        "SCM_CREDS": 3,
        "SCM_CREDS2": 8,
        "LOCAL_PEERCRED": 1,
        "LOCAL_CREDS_PERSISTENT": 3,
        "XUCRED_VERSION": 0,
        "MSG_NOSIGNAL": 0x20000,
        "MSG_CMSG_CLOEXEC": 0x40000,
    },
)

# FreeBSD's kernel of version 10 with glibc, which no longer is made: its last release had no more than this.
KFREEBSD = Platform(
    system="gnukfreebsd",
    declarations=_posix(_CMSGCRED),
    headers=_headers("un"),
    constants={**_BSD, "SCM_CREDS": 3, "MSG_NOSIGNAL": 0x20000},
)

# DragonFlyBSD, sys/sys/socket.h (commit 03d6a592): line 102 for SO_TYPE, 121 for SOL_SOCKET, 332 for msghdr, 347 and
# 349 for the flags, 359 for cmsghdr, 380 for cmsgcred, 413 and 415 for SCM_RIGHTS and SCM_CREDS. Not run.
DRAGONFLY = Platform(
    system="dragonfly",
    declarations=_posix(_CMSGCRED),
    headers=_headers("un"),
    constants={**_BSD, "SCM_CREDS": 3},
)

NETBSD = Platform(
    system="netbsd",
    declarations=_posix(
        """
struct sockcred {
    pid_t sc_pid;
    uid_t sc_uid;
    uid_t sc_euid;
    gid_t sc_gid;
    gid_t sc_egid;
    int sc_ngroups;
    gid_t sc_groups[1];
};
struct unpcbid {
    pid_t unp_pid;
    uid_t unp_euid;
    gid_t unp_egid;
};
"""
    ),
    headers=_headers("un"),
    constants={
        **_BSD,
        "SOL_LOCAL": 0,
        "SCM_CREDS": 0x10,
        "LOCAL_CREDS": 4,
        "LOCAL_PEEREID": 3,
        "MSG_NOSIGNAL": 0x400,
        "MSG_CMSG_CLOEXEC": 0x800,
    },
)

OPENBSD = Platform(
    system="openbsd",
    declarations=_posix(
        """
struct sockpeercred {
    uid_t uid;
    gid_t gid;
    pid_t pid;
};
"""
    ).replace("typedef int msg_iovlen_t;", "typedef unsigned int msg_iovlen_t;"),
    headers=_headers(),
    constants={
        **_BSD,
        "SO_DOMAIN": 0x1024,
        "SO_PROTOCOL": 0x1025,
        "SO_PEERCRED": 0x1022,
        "MSG_NOSIGNAL": 0x400,
        "MSG_CMSG_CLOEXEC": 0x800,
    },
)

MACOS = Platform(
    system="darwin",
    declarations=_posix(
        """
struct xucred {
    unsigned int cr_version;
    uid_t cr_uid;
    short cr_ngroups;
    gid_t cr_groups[16];
};
"""
    ),
    headers=_headers("un", "ucred"),
    # Not MSG_NOSIGNAL, which the newest headers have and older kernels do not know.
    constants={
        **_BSD,
        "SOL_LOCAL": 0,
        "SO_NOSIGPIPE": 0x1022,
        "LOCAL_PEERCRED": 1,
        "LOCAL_PEERPID": 2,
        "XUCRED_VERSION": 0,
    },
)

# illumos-gate, usr/src/uts/common/sys/socket.h (commit 0250c53a): line 142 for SO_RECVUCRED, 187 and 191 for SO_TYPE
# and SO_DOMAIN, 195 and 197 for SCM_RIGHTS and SCM_UCRED, 259 for SOL_SOCKET, 360 for msghdr, 424 and 427 for the
# flags, 459 for cmsghdr. MSG_CMSG_CLOEXEC, line 432, is new in illumos, and not in Solaris. ucred_t is opaque, see
# ucred_get(3C). Not run.
SOLARIS = Platform(
    system="sunos",
    declarations=_posix(
        """
typedef struct ucred_s ucred_t;
int getpeerucred(int fd, ucred_t **credentials);
void ucred_free(ucred_t *credentials);
size_t ucred_size(void);
pid_t ucred_getpid(const ucred_t *credentials);
uid_t ucred_geteuid(const ucred_t *credentials);
gid_t ucred_getegid(const ucred_t *credentials);
"""
    )
    # libc's sendmsg and recvmsg are those of 4.2BSD, which know no control messages.
    .replace("sendmsg", "__xnet_sendmsg")
    .replace("recvmsg", "__xnet_recvmsg"),
    headers="#define _XPG4_2 1\n#define __EXTENSIONS__ 1\n#include <ucred.h>\n"
    + _headers()
    + "ssize_t __xnet_sendmsg(int, const struct msghdr *, int);\nssize_t __xnet_recvmsg(int, struct msghdr *, int);\n",
    constants={
        "SOL_SOCKET": 0xFFFF,
        "SO_TYPE": 0x1008,
        "SO_DOMAIN": 0x100C,
        "SO_RECVUCRED": 0x400,
        "SCM_RIGHTS": 0x1010,
        "SCM_UCRED": 0x1012,
        "MSG_CTRUNC": 0x10,
        "MSG_DONTWAIT": 0x80,
    },
)

# glibc, sysdeps/mach/hurd/bits/socket.h (commit 04277e02): lines 193, 197 and 199 for the flags, 206 for msghdr, 221
# for cmsghdr, 279 and 283 for SCM_RIGHTS and SCM_CREDS, 299 for cmsgcred, 312 for SOL_SOCKET, 354 for SO_TYPE. Not
# run.
HURD = Platform(
    system="gnu",
    declarations=_posix(_CMSGCRED.replace("short cmcred_ngroups", "int cmcred_ngroups")),
    headers=_headers(),
    constants={**_BSD, "SCM_CREDS": 3, "MSG_NOSIGNAL": 0x400},
)

# By the names of the modules that are generated. The first that is for a system and a machine is the one.
PLATFORMS = {
    "linux_powerpc": _linux_on("ppc", "powerpc", SO_PASSCRED=20, SO_PEERCRED=21),
    "linux_mips": _linux_on("mips", "alpha", **_BSD_NUMBERS, SO_PASSCRED=17, SO_PEERCRED=18, SO_PEERSEC=30),
    "linux_sparc": _linux_on(
        "sparc",
        **_BSD_NUMBERS,
        SO_PASSCRED=2,
        SO_PEERCRED=0x40,
        SO_PEERSEC=0x1E,
        SO_PEERGROUPS=0x3D,
        SO_PASSPIDFD=0x55,
        SO_PEERPIDFD=0x56,
        SO_PASSRIGHTS=0x5C,
    ),
    "linux_parisc": _linux_on(
        "parisc",
        "hppa",
        **_BSD_NUMBERS,
        SO_PASSCRED=0x4010,
        SO_PEERCRED=0x4011,
        SO_PEERSEC=0x401D,
        SO_PEERGROUPS=0x4034,
        SO_PASSPIDFD=0x404A,
        SO_PEERPIDFD=0x404B,
        SO_PASSRIGHTS=0x4051,
    ),
    "linux": LINUX,
    "freebsd": FREEBSD,
    "kfreebsd": KFREEBSD,
    "dragonfly": DRAGONFLY,
    "netbsd": NETBSD,
    "openbsd": OPENBSD,
    "macos": MACOS,
    "solaris": SOLARIS,
    "hurd": HURD,
}


def platform_for(system: str, machine: str) -> Platform | None:
    """Give the entry for *system*, as `sys.platform` names it, and *machine*, as ``uname -m`` does, or None."""
    for each in PLATFORMS.values():
        if system.startswith(each.system) and machine.startswith(each.machines):
            return each
    return None


def target_machine() -> str:
    """Name the machine that is built for, which in a cross build is not the one that builds."""
    return sysconfig.get_platform().partition("-")[2] or os.uname().machine


def abi_layer(name: str, platform: Platform) -> FFI:
    """Give the declarations and values of *platform*, whose entry is *name*, as they stand."""
    ffi = FFI()
    ffi.cdef(platform.declarations)
    for constant, value in platform.constants.items():
        ffi.cdef(f"#define {constant} {value}")
    ffi.set_source(f"unixconn._abi_{name}", None)
    return ffi


def api_layer(platform: Platform) -> FFI:
    """Give the declarations with everything left open that the compiler knows better."""
    text = re.sub(r"^typedef (?!struct).* (\w+);$", r"typedef int... \1;", platform.declarations, flags=re.MULTILINE)
    text = text.replace("\n};", "\n    ...;\n};")
    ffi = FFI()
    ffi.cdef(text + "".join(f"#define {name} ...\n" for name in platform.constants))
    # Headers are often older than the kernel: what they lack is taken from the table.
    missing = "".join(f"#ifndef {name}\n#define {name} {value}\n#endif\n" for name, value in platform.constants.items())
    ffi.set_source("unixconn._api", platform.headers + missing, define_macros=[("_GNU_SOURCE", "1")])
    return ffi


def abi_paths(folder: Path) -> list[Path]:
    """Give the files that `write_abi` writes."""
    return [folder / "_abi.py", *(folder / f"_abi_{name}.py" for name in PLATFORMS)]


def write_abi(folder: Path) -> None:
    """Write the ABI layer into *folder*: a module for each entry, and one that tells which is for what."""
    for name, platform in PLATFORMS.items():
        abi_layer(name, platform).emit_python_code(str(folder / f"_abi_{name}.py"))
    entries = "".join(f"    ({each.system!r}, {each.machines!r}, {name!r}),\n" for name, each in PLATFORMS.items())
    folder.joinpath("_abi.py").write_text(
        '"""How sys.platform and the name of a machine begin, and whose declarations it has: the first that fit."""\n\n'
        f"PLATFORMS = (\n{entries})\n",
        encoding="utf-8",
    )


class build_py(_build_py):  # noqa: N801 - setuptools looks the command up by this name
    """Copy the package into an empty folder."""

    def run(self) -> None:
        """Remove what an earlier build left: pip builds in the source tree, and packs all that it finds there."""
        shutil.rmtree(Path(self.build_lib, "unixconn"), ignore_errors=True)
        super().run()


class build_ext(_build_ext):  # noqa: N801
    """
    Write the ABI layer, and compile the API layer where that is possible.

    Where it is not, a warning says why. ``UNIXCONN_REQUIRE_API=1`` makes it an error.
    """

    def _package(self) -> Path:
        package = self.get_finalized_command("build_py").get_package_dir("unixconn")  # type: ignore[attr-defined]
        return Path(package if self.inplace else Path(self.build_lib, "unixconn"))

    def run(self) -> None:
        """Generate, then compile."""
        package = self._package()
        package.mkdir(parents=True, exist_ok=True)
        write_abi(package)
        # A compiled layer of an earlier build would hide that this one failed.
        for folder in (package, Path(self.build_lib, "unixconn")):
            for suffix in EXTENSION_SUFFIXES:
                folder.joinpath(f"_api{suffix}").unlink(missing_ok=True)
        platform = platform_for(sys.platform, target_machine())
        obstacle = self.check(platform)
        if platform is not None and not obstacle:
            for extension in self.extensions:
                self._complete(extension, platform)
            super().run()
            if not self.compiled:
                obstacle = "the compiled one failed to build, see above"
        if obstacle:
            self.warn(f"the plain layer alone is installed: {obstacle}")

    def check(self, platform: Platform | None) -> str:
        """
        Return why nothing can be compiled for *platform*, "" if no reason is known.

        Raise PlatformError with that reason if ``UNIXCONN_REQUIRE_API=1`` is set.
        """
        if platform is None:
            obstacle = f"unixconn has no C declarations for {sys.platform}"
        else:
            tools = missing(self.include_dirs)
            obstacle = explain(tools) if tools else ""
        if obstacle and api_required():
            raise PlatformError(f"UNIXCONN_REQUIRE_API=1: {obstacle}")
        return obstacle

    def _complete(self, extension: Extension, platform: Platform) -> None:
        """Make of the extension that pyproject.toml announces the one to compile."""
        Path(self.build_temp).mkdir(parents=True, exist_ok=True)
        generated = api_layer(platform).distutils_extension(self.build_temp)
        extension.sources = generated.sources
        extension.define_macros = generated.define_macros
        # Debuggers are told the folder of the build, and one wheel would not equal the next.
        extension.extra_compile_args = [f"-fdebug-prefix-map={Path.cwd()}=."]
        extension.optional = not api_required()
        if limited_api():
            extension.py_limited_api = True
        else:
            extension.define_macros.append(("_CFFI_NO_LIMITED_API", None))

    @property
    def compiled(self) -> bool:
        """Tell whether the compiled layer was built."""
        return any(Path(self.get_ext_fullpath(extension.name)).exists() for extension in self.extensions)

    def get_ext_filename(self, fullname: str) -> str:
        """Name it as all versions look for it: CPython 3.15 would have the machine in the name, too."""
        return re.sub(r"\.abi3-[^.]+\.", ".abi3.", super().get_ext_filename(fullname))  # type: ignore[no-untyped-call]

    def get_outputs(self) -> list[str]:
        """Add the ABI layer to what setuptools knows of."""
        return [*super().get_outputs(), *map(str, abi_paths(self._package()))]


class bdist_wheel(_bdist_wheel):  # noqa: N801
    """Tag the wheel by what is in it."""

    def run(self) -> None:
        """Check what is required first: after the build the error would be the last of a hundred lines."""
        self.get_finalized_command("build_ext").check(platform_for(sys.platform, target_machine()))  # type: ignore[attr-defined]
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        """Give cp39-abi3 for the limited API, py3-none-any for a wheel with the ABI layer alone: that has them all."""
        implementation, abi, platform = super().get_tag()
        if not self.get_finalized_command("build_ext").compiled:  # type: ignore[attr-defined]
            return "py3", "none", "any"
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
    """Write the ABI layer into the source tree."""
    folder = Path(__file__).parent / "unixconn"
    write_abi(folder)
    print(*abi_paths(folder), sep="\n")


if __name__ == "__main__":
    main()
