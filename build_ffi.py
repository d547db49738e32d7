"""
The C declarations of unixconn, and the two layers that are generated from them.

The table `PLATFORMS` has an entry for each platform, with the declarations of its C library. Two layers come from it:

- The ABI layer, the plain one, is Python code for cffi's out-of-line ABI mode, with exact layouts and values. Each
  entry becomes a module ``unixconn/_abi_*.py``; ``unixconn/_abi.py`` says which module is for which machines. This
  layer is always generated, for all platforms, so it is the same on every machine.
- The API layer, the compiled one, is the module ``unixconn._api``. It has the declarations of the machine that it is
  built for, completed and compiled by the C compiler. It is built if there is a C compiler.

setuptools calls `build_py`, `build_ext` and `bdist_wheel` (see pyproject.toml). ``python build_ffi.py`` writes the ABI
layer into the source tree, so that one can look at it or run the package from there.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sys
import sysconfig
import tarfile
from dataclasses import dataclass, replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

from cffi import FFI
from setuptools import Extension
from setuptools.command.bdist_wheel import bdist_wheel as _bdist_wheel
from setuptools.command.build_ext import build_ext as _build_ext
from setuptools.command.build_py import build_py as _build_py
from setuptools.command.sdist import sdist as _sdist
from setuptools.errors import PlatformError

# In a build, sys.path does not contain the folder of this file.
sys.path.append(str(Path(__file__).parent))
from build_tools import explain, fortify_level, missing


@dataclass(frozen=True)
class Platform:
    """The declarations of one platform's C library, with the exact layouts and values that the ABI layer needs."""

    system: str
    """The beginning of `sys.platform` on the platform."""
    declarations: str
    """The C declarations of types, structures and functions."""
    headers: str
    """The C code at the beginning of the compiled layer: includes, and declarations that the headers lack."""
    constants: dict[str, int]
    """The names and values of the constants."""
    machines: tuple[str, ...] = ("",)
    """The beginnings of the machines' names, as ``uname -m`` prints them. "" stands for all machines."""


# --- common to all platforms -----------------------------------------------------------------------------------------

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

# Linux and glibc declare these lengths as size_t; POSIX and musl declare them as int or socklen_t. In musl on 64-bit
# machines padding follows, which musl clears. So a size_t, which covers length and padding, is right for both.
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

# The aliases for the types of the lengths, by which the compiled layer asks the compiler for them: structure and field.
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

# On these machines Linux has the numbers of the Unix that ran on them before.
_BSD_NUMBERS = {"SOL_SOCKET": 0xFFFF, "SO_TYPE": 0x1008, "SO_PROTOCOL": 0x1028, "SO_DOMAIN": 0x1029}

# glibc has it from 2.28 on, musl from 1.2.5 on, and wheels are built for older ones.
_RENAMEAT2 = """
#include <stdio.h>
#include <unistd.h>
#ifndef SYS_renameat2
#define SYS_renameat2 -1
#endif
int renameat2(int old_folder, const char *old, int new_folder, const char *new, unsigned int flags)
{
    return syscall(SYS_renameat2, old_folder, old, new_folder, new, flags);
}
"""

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
int renameat2(int old_folder, const char *old, int new_folder, const char *new, unsigned int flags);
"""
    + _FUNCTIONS,
    headers=_headers("eventfd", "syscall") + _RENAMEAT2,
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
        "RENAME_NOREPLACE": 1,
    },
)


def _linux_on(*machines: str, **different: int) -> Platform:
    return replace(LINUX, machines=machines, constants={**LINUX.constants, **different})


# --- other systems ---------------------------------------------------------------------------------------------------


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

# Debian GNU/kFreeBSD: the kernel of FreeBSD 10 with glibc. It is not developed any more; its last release had no more
# constants than these.
KFREEBSD = Platform(
    system="gnukfreebsd",
    declarations=_posix(_CMSGCRED),
    headers=_headers("un"),
    constants={**_BSD, "SCM_CREDS": 3, "MSG_NOSIGNAL": 0x20000},
)

# DragonFlyBSD, sys/sys/socket.h (commit 03d6a592): line 102 for SO_TYPE, 121 for SOL_SOCKET, 332 for msghdr, 347 and
# 349 for the flags, 359 for cmsghdr, 380 for cmsgcred, 413 and 415 for SCM_RIGHTS and SCM_CREDS. Not tested there.
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
    # MSG_NOSIGNAL is left out: the newest headers have it, but older kernels do not know it.
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
# ucred_get(3C). Not tested there.
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
    # sendmsg and recvmsg of Solaris's libc are those of 4.2BSD, which do not know control messages.
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
# tested there.
HURD = Platform(
    system="gnu",
    declarations=_posix(_CMSGCRED.replace("short cmcred_ngroups", "int cmcred_ngroups")),
    headers=_headers(),
    constants={**_BSD, "SCM_CREDS": 3, "MSG_NOSIGNAL": 0x400},
)

# The keys are the ends of the generated modules' names. For a system and a machine the first entry that fits is used.
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
    """Return the entry for *system*, a `sys.platform`, and *machine*, as ``uname -m`` prints it; None if none fits."""
    for each in PLATFORMS.values():
        if system.startswith(each.system) and machine.startswith(each.machines):
            return each
    return None


def target_machine() -> str:
    """Return the name of the machine to build for. In a cross build that is not the machine that builds."""
    return sysconfig.get_platform().partition("-")[2] or os.uname().machine


def abi_layer(name: str, platform: Platform) -> FFI:
    """Return the ABI layer of *platform*, the entry *name*: its declarations and values as they are in the table."""
    ffi = FFI()
    ffi.cdef(platform.declarations)
    for constant, value in platform.constants.items():
        ffi.cdef(f"#define {constant} {value}")
    ffi.set_source(f"unixconn._abi_{name}", None)
    return ffi


def api_layer(platform: Platform) -> FFI:
    """
    Return the API layer of *platform*, which the compiler completes.

    The sizes of types, the layouts of structures and the values of constants are left open.
    """
    text = re.sub(r"^typedef (?!struct).* (\w+);$", r"typedef int... \1;", platform.declarations, flags=re.MULTILINE)
    text = text.replace("\n};", "\n    ...;\n};")
    ffi = FFI()
    ffi.cdef(text + "".join(f"#define {name} ...\n" for name in platform.constants))
    # Headers are often older than the kernel. The values of constants that they lack are taken from the table.
    missing = "".join(f"#ifndef {name}\n#define {name} {value}\n#endif\n" for name, value in platform.constants.items())
    ffi.set_source("unixconn._api", platform.headers + missing, define_macros=[("_GNU_SOURCE", "1")])
    return ffi


def abi_paths(folder: Path) -> list[Path]:
    """Return the paths of the files that `write_abi` writes into *folder*."""
    return [folder / "_abi.py", *(folder / f"_abi_{name}.py" for name in PLATFORMS)]


def write_abi(folder: Path) -> None:
    """Write the ABI layer into *folder*: a module for each entry, and one that says which is for which machine."""
    for name, platform in PLATFORMS.items():
        abi_layer(name, platform).emit_python_code(str(folder / f"_abi_{name}.py"))
    entries = "".join(f"    ({each.system!r}, {each.machines!r}, {name!r}),\n" for name, each in PLATFORMS.items())
    folder.joinpath("_abi.py").write_text(
        '"""How sys.platform and the machine\'s name begin, and the module for them: the first entry that fits."""\n\n'
        f"PLATFORMS = (\n{entries})\n",
        encoding="utf-8",
    )


class build_py(_build_py):  # noqa: N801 - setuptools looks the command up by this name
    """Copy the package into the folder of the build, which is emptied before."""

    def run(self) -> None:
        """Remove the files of an earlier build, then copy: pip builds in the source tree, and packs all files there."""
        shutil.rmtree(Path(self.build_lib, "unixconn"), ignore_errors=True)
        super().run()


class build_ext(_build_ext):  # noqa: N801
    """
    Write the ABI layer, and compile the API layer if that is possible.

    If it is not, a warning says why. With ``UNIXCONN_REQUIRE_API=1`` in the environment it is an error.
    """

    def _package(self) -> Path:
        package = self.get_finalized_command("build_py").get_package_dir("unixconn")  # type: ignore[attr-defined]
        return Path(package if self.inplace else Path(self.build_lib, "unixconn"))

    def run(self) -> None:
        """Generate both layers, and compile one."""
        platform = platform_for(sys.platform, target_machine())
        obstacle = self.check(platform)
        package = self._package()
        package.mkdir(parents=True, exist_ok=True)
        write_abi(package)
        # If the compilation failed, a compiled layer of an earlier build would hide that.
        for folder in (package, Path(self.build_lib, "unixconn")):
            for suffix in EXTENSION_SUFFIXES:
                folder.joinpath(f"_api{suffix}").unlink(missing_ok=True)
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
        Return the reason why nothing can be compiled for *platform*; "" if none is known.

        Raises PlatformError with that reason if ``UNIXCONN_REQUIRE_API=1`` is set.
        """
        if platform is None:
            obstacle = f"unixconn has no C declarations for {sys.platform}: add an entry to PLATFORMS in build_ffi.py"
        else:
            tools = missing(self.include_dirs)
            obstacle = explain(tools) if tools else ""
        if obstacle and api_required():
            raise PlatformError(f"UNIXCONN_REQUIRE_API=1: {obstacle}")
        return obstacle

    def _complete(self, extension: Extension, platform: Platform) -> None:
        """Fill in the extension that pyproject.toml declares: the generated C file and the options of the compiler."""
        Path(self.build_temp).mkdir(parents=True, exist_ok=True)
        generated = api_layer(platform).distutils_extension(self.build_temp)
        extension.sources = generated.sources
        extension.define_macros = generated.define_macros
        # Debug information contains the folder of the build. Without this, two builds would give different wheels.
        extension.extra_compile_args = [f"-fdebug-prefix-map={Path.cwd()}=."]
        if sys.platform == "linux":
            # Some distributions set these themselves, most do not.
            extension.extra_compile_args.append("-fstack-protector-strong")
            extension.extra_link_args = ["-Wl,-z,relro", "-Wl,-z,now"]
            if level := fortify_level():
                extension.define_macros.append(("_FORTIFY_SOURCE", level))
        extension.optional = not api_required()
        if limited_api():
            extension.py_limited_api = True
        else:
            extension.define_macros.append(("_CFFI_NO_LIMITED_API", None))

    @property
    def compiled(self) -> bool:
        """Whether the compiled layer was built."""
        return any(Path(self.get_ext_fullpath(extension.name)).exists() for extension in self.extensions)

    def get_ext_filename(self, fullname: str) -> str:
        """Return a name that all versions of CPython look for: 3.15 would add the machine to ``.abi3.``."""
        return re.sub(r"\.abi3-[^.]+\.", ".abi3.", super().get_ext_filename(fullname))  # type: ignore[no-untyped-call]

    def get_outputs(self) -> list[str]:
        """Return the files that are built: those that setuptools knows, and the ABI layer."""
        return [*super().get_outputs(), *map(str, abi_paths(self._package()))]


class bdist_wheel(_bdist_wheel):  # noqa: N801
    """Build a wheel whose tag fits the layers in it."""

    def run(self) -> None:
        """Check the requirements before the build: after it, the error would be the last of a hundred lines."""
        build_time()
        self.get_finalized_command("build_ext").check(platform_for(sys.platform, target_machine()))  # type: ignore[attr-defined]
        super().run()

    def write_wheelfile(self, *arguments: str) -> None:
        """Write the last of the files, and give all of them modes that do not depend on the umask."""
        super().write_wheelfile(*arguments)
        for path in Path(str(self.bdist_dir)).rglob("*"):
            path.chmod(mode_of(path.stat().st_mode))

    def get_tag(self) -> tuple[str, str, str]:
        """
        Return the tag of the wheel: interpreter, ABI and platform.

        It is cp39-abi3 for the limited API. A wheel with the ABI layer alone is py3-none-any, as it has the
        declarations of all platforms.
        """
        implementation, abi, platform = super().get_tag()
        if not self.get_finalized_command("build_ext").compiled:  # type: ignore[attr-defined]
            return "py3", "none", "any"
        if limited_api():
            return "cp39", "abi3", platform
        return implementation, abi, platform


class sdist(_sdist):  # noqa: N801
    """Build a source distribution that depends on its files alone, and not on the time, the umask or the user."""

    def make_archive(  # noqa: D102 - of distutils
        self,
        base_name: Any,
        format: str,  # noqa: A002
        root_dir: Any = None,
        base_dir: str | None = None,
        owner: str | None = None,
        group: str | None = None,
    ) -> str:
        if format != "gztar" or base_dir is None:
            return super().make_archive(base_name, format, root_dir, base_dir, owner, group)
        path = Path(f"{base_name}.tar.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            path.open("wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=build_time()) as packed,
            tarfile.TarFile(mode="w", fileobj=packed, format=tarfile.PAX_FORMAT) as archive,
        ):
            archive.add(base_dir, filter=_neutral)
        return str(path)


def _neutral(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mode = mode_of(member.mode | member.isdir() << 6)
    member.mtime = build_time()
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def mode_of(mode: int) -> int:
    """Return the mode of a file in a distribution: only whether its owner may run it is kept."""
    return 0o755 if mode & 0o100 else 0o644


def build_time() -> int:
    """Return the time of all files in a distribution: SOURCE_DATE_EPOCH, or the earliest that a wheel can have."""
    return int(os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800"))


def api_required() -> bool:
    """Return whether the build has to fail if the compiled layer can not be built."""
    return os.environ.get("UNIXCONN_REQUIRE_API") == "1"


def limited_api() -> bool:
    """Return whether the compiled layer can use CPython's limited API, and so serve all versions of CPython."""
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    return sys.implementation.name == "cpython" and not free_threaded and not hasattr(sys, "gettotalrefcount")


def main() -> None:
    """Write the ABI layer into the source tree."""
    folder = Path(__file__).parent / "unixconn"
    write_abi(folder)
    print(*abi_paths(folder), sep="\n")


if __name__ == "__main__":
    main()
