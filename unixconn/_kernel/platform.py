"""
What differs between systems beside their declarations, which build_ffi.py has.

It follows from which constants and structures a system's entry there has. Of epoll and kqueue watch.py knows.
"""

from __future__ import annotations

import errno
import os
import struct
import sys

from unixconn._base.arguments import UINT_MAX
from unixconn._base.typing import TYPE_CHECKING
from unixconn._kernel.native import ffi, lib

if TYPE_CHECKING:
    from typing import Any

    Numbers = tuple[int, int, int]
    """pid, uid and gid."""

_NO_PID = 0


class System:
    """One system, by what *lib* and *ffi* have of it."""

    def __init__(self, ffi: Any, lib: Any) -> None:
        self._ffi = ffi
        self._lib = lib
        self._structures = ffi.list_types()[1]
        # Without MSG_NOSIGNAL there is SO_NOSIGPIPE, or Python, which ignores the signal.
        self.send_flags: int = lib.MSG_DONTWAIT | getattr(lib, "MSG_NOSIGNAL", 0)
        self.receive_flags: int = lib.MSG_DONTWAIT | getattr(lib, "MSG_CMSG_CLOEXEC", 0)
        self.closes_on_exec = hasattr(lib, "MSG_CMSG_CLOEXEC")
        """Whether descriptors come with the flag; else it is set when they have come."""
        self.is_linux = hasattr(lib, "SCM_CREDENTIALS")
        self.has_address_size = not (self.is_linux or hasattr(lib, "SCM_UCRED"))
        """Whether an address begins with its size, and then the family in one byte: on all that are of BSD's kin."""
        self.path_room = 104 if self.has_address_size else 108
        """sizeof(sun_path)."""
        self.several_in_one_send = not (hasattr(lib, "LOCAL_PEERPID") or hasattr(lib, "SCM_UCRED"))
        """Whether more than one control message goes with a message: not on macOS, and not on Solaris, where EINVAL."""
        # macOS installs up to 512 descriptors whether there is room for them or not, other systems have higher limits
        # than Linux.
        self.most_descriptors = 253 if self.is_linux else 512
        self.full_is_emsgsize = hasattr(lib, "LOCAL_PEERPID") or "sockpeercred" in self._structures
        """Whether EMSGSIZE says that a table of descriptors is full, and macOS says so of a peer's buffer, too."""
        self.native_name, self.credentials_type, self.credentials, self.credentials_option = self._credentials()

    def _credentials(self) -> tuple[str, int, struct.Struct, tuple[int, int] | None]:
        """Give Gio's name of the native type, the type of control message, how it is read, and what asks for it."""
        lib = self._lib
        if self.is_linux:
            return "linux-ucred", lib.SCM_CREDENTIALS, struct.Struct("iII"), (lib.SOL_SOCKET, lib.SO_PASSCRED)
        if hasattr(lib, "SCM_UCRED"):
            return "solaris-ucred", lib.SCM_UCRED, struct.Struct("iII"), (lib.SOL_SOCKET, lib.SO_RECVUCRED)
        if hasattr(lib, "LOCAL_CREDS"):
            # sockcred: pid, uid, euid, gid, egid, and groups, as many as there are.
            return "netbsd-unpcbid", lib.SCM_CREDS, struct.Struct("i4xI4xI"), (lib.SOL_LOCAL, lib.LOCAL_CREDS)
        if hasattr(lib, "SCM_CREDS"):
            # cmsgcred: pid, uid, euid, gid, the number of groups, 16 groups.
            return "freebsd-cmsgcred", lib.SCM_CREDS, struct.Struct("i4xII68x"), None
        name = "openbsd-sockpeercred" if "sockpeercred" in self._structures else "apple-xucred"
        return name, -1, struct.Struct("iII"), None

    def constant(self, name: str) -> int | None:
        """Give the constant *name*, None where the system has none of the kind."""
        return getattr(self._lib, name, None)

    @property
    def has_credentials_messages(self) -> bool:
        """Whether credentials go with messages at all: not on OpenBSD and macOS."""
        return self.credentials_type >= 0

    @property
    def attaches_credentials(self) -> bool:
        """Whether a sender attaches them: on Linux with its numbers, on FreeBSD for the kernel to fill in."""
        return self.is_linux or "cmsgcred" in self._structures

    def pack_address(self, family: int, name: bytes) -> bytes:
        """Make a struct sockaddr of *family* with *name*."""
        if self.has_address_size:
            return bytes((2 + len(name), family)) + name
        return family.to_bytes(2, sys.byteorder) + name

    def unpack_address(self, address: bytes) -> tuple[int, bytes]:
        """Give the family and the name of a struct sockaddr; 0 and no name for none."""
        family = address[1:2] if self.has_address_size else address[:2]
        return int.from_bytes(family, sys.byteorder), address[2:]

    def describe(self, numbers: Numbers) -> str:
        """Give *numbers* as Gio describes its native type, what is not known left out."""
        named = list(zip(("pid", "uid", "gid"), numbers))
        if "xucred" in self.native_name:
            # It has no pid there, but a version.
            named[0] = "version", self._lib.XUCRED_VERSION
        known = (f"{name}={value}" for name, value in named if value not in (-1, UINT_MAX))
        return f"{self.native_name}:{','.join(known)}"

    def read_credentials(self, kind: int, data: bytes) -> Numbers | None:
        """Read the payload of a control message of type *kind*; None if it has no credentials, or not whole."""
        if kind == self.credentials_type and self.has_credentials_messages:
            if hasattr(self._lib, "SCM_UCRED"):
                return self._read_ucred(data)
            size = self.credentials.size
            if len(data) == size or (len(data) > size and not self.is_linux):
                return self.credentials.unpack_from(data)
        if kind == getattr(self._lib, "SCM_CREDS2", None) and len(data) >= self._ffi.sizeof("struct sockcred2"):
            # sockcred2: its version, then as sockcred.
            return struct.unpack_from("4xi4xI4xI", data)
        return None

    def _read_ucred(self, data: bytes) -> Numbers | None:  # pragma: no cover - Solaris's library
        # Its size is the kernel's: ucred_size() asks for it.
        if len(data) < self._lib.ucred_size():
            return None
        kept = self._ffi.new("char[]", data)
        return self._numbers_of(self._ffi.cast("ucred_t *", kept))

    def _numbers_of(self, ucred: Any) -> Numbers:  # pragma: no cover - Solaris's library
        lib = self._lib
        return int(lib.ucred_getpid(ucred)), int(lib.ucred_geteuid(ucred)), int(lib.ucred_getegid(ucred))

    # --- the peer ---

    @property
    def knows_peers(self) -> bool:
        """Whether a socket can be asked for its peer."""
        return any(hasattr(self._lib, name) for name in ("SO_PEERCRED", "LOCAL_PEEREID", "LOCAL_PEERCRED", "SCM_UCRED"))

    def peer(self, number: int) -> Numbers | None:
        """Give who made the connection of the socket *number*; None if that fails, for a reason in `ffi.errno`."""
        lib = self._lib
        if hasattr(lib, "SCM_UCRED"):
            return self._peer_by_ucred(number)
        if hasattr(lib, "LOCAL_PEERCRED"):
            return self._peer_by_xucred(number)
        if hasattr(lib, "LOCAL_PEEREID"):
            found = self._ask(number, (lib.SOL_LOCAL, lib.LOCAL_PEEREID), "unpcbid")
            return found and (int(found.unp_pid), int(found.unp_euid), int(found.unp_egid))
        found = self._ask(number, (lib.SOL_SOCKET, lib.SO_PEERCRED), "ucred" if self.is_linux else "sockpeercred")
        return found and (int(found.pid), int(found.uid), int(found.gid))

    def _ask(self, number: int, option: tuple[int, int], structure: str) -> Any:
        """Give a structure that the kernel has filled in whole, or None: a zeroed one would say root."""
        ffi = self._ffi
        value, length = ffi.new(f"struct {structure} *"), ffi.new("socklen_t *", ffi.sizeof(f"struct {structure}"))
        if self._lib.getsockopt(number, *option, value, length) < 0:
            return None
        if length[0] != ffi.sizeof(f"struct {structure}"):
            ffi.errno = errno.EINVAL
            return None
        return value

    def _peer_by_xucred(self, number: int) -> Numbers | None:  # pragma: no cover - FreeBSD and macOS
        lib = self._lib
        found = self._ask(number, (lib.SOL_LOCAL, lib.LOCAL_PEERCRED), "xucred")
        if found is None:
            return None
        if found.cr_version != lib.XUCRED_VERSION or not 0 < found.cr_ngroups <= len(found.cr_groups):
            self._ffi.errno = errno.EINVAL
            return None
        pid = _NO_PID
        if hasattr(lib, "LOCAL_PEERPID"):
            # macOS: the last one that used the socket.
            value, length = self._ffi.new("pid_t *"), self._ffi.new("socklen_t *", self._ffi.sizeof("pid_t"))
            if lib.getsockopt(number, lib.SOL_LOCAL, lib.LOCAL_PEERPID, value, length) == 0:
                pid = int(value[0])
        else:
            # FreeBSD 13 and later; 0 before.
            pid = int(found.cr_pid)
        return pid, int(found.cr_uid), int(found.cr_groups[0])

    def _peer_by_ucred(self, number: int) -> Numbers | None:  # pragma: no cover - Solaris's library
        made = self._ffi.new("ucred_t **")
        if self._lib.getpeerucred(number, made) < 0:
            return None
        try:
            return self._numbers_of(made[0])
        finally:
            self._lib.ucred_free(made[0])


def set_close_on_exec(numbers: tuple[int, ...]) -> None:
    """Set what the system has no flag for: a process that another thread starts just before gets them, too."""
    for number in numbers:
        os.set_inheritable(number, False)


SYSTEM = System(ffi, lib)
"""The one that runs."""
