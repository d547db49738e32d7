"""
Differences between systems in how they pass descriptors and credentials.

The C declarations themselves are in build_ffi.py. The differences here are derived from them: from the constants and
structures that the system's entry declares. The choice between epoll and kqueue is made in epoll.py.
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
    """The properties of one system, derived from the constants and structures that *lib* and *ffi* declare."""

    def __init__(self, ffi: Any, lib: Any) -> None:
        self._ffi = ffi
        self._lib = lib
        self._structures = ffi.list_types()[1]
        # MSG_NOSIGNAL suppresses SIGPIPE when the peer is gone. Where it is missing, SO_NOSIGPIPE does so (macOS, see
        # handle.py), or Python itself, which ignores the signal.
        self.send_flags: int = lib.MSG_DONTWAIT | getattr(lib, "MSG_NOSIGNAL", 0)
        self.receive_flags: int = lib.MSG_DONTWAIT | getattr(lib, "MSG_CMSG_CLOEXEC", 0)
        self.closes_on_exec = hasattr(lib, "MSG_CMSG_CLOEXEC")
        """Whether recvmsg(2) makes descriptors close-on-exec; otherwise `set_close_on_exec` does after the receipt."""
        self.is_linux = hasattr(lib, "SCM_CREDENTIALS")
        self.has_address_size = not (self.is_linux or hasattr(lib, "SCM_UCRED"))
        """Whether struct sockaddr begins with its size and a one-byte family, as on all systems derived from BSD."""
        self.path_room = 104 if self.has_address_size else 108
        """sizeof(sun_path)."""
        self.several_in_one_send = not (hasattr(lib, "LOCAL_PEERPID") or hasattr(lib, "SCM_UCRED"))
        """Whether a message can carry several control messages; macOS and Solaris refuse them with EINVAL."""
        # The most descriptors that a message can bring. The buffer has room for them. macOS installs up to 512 in the
        # descriptor table even if the buffer has no room for them; other systems have higher limits than Linux.
        self.most_descriptors = 253 if self.is_linux else 512
        self.full_is_emsgsize = hasattr(lib, "LOCAL_PEERPID") or "sockpeercred" in self._structures
        """Whether EMSGSIZE means a full descriptor table (OpenBSD, macOS); on macOS also a full buffer of the peer."""
        self.native_name, self.credentials_type, self.credentials, self.credentials_option = self._credentials()

    def _credentials(self) -> tuple[str, int, struct.Struct, tuple[int, int] | None]:
        """
        Return how the system represents credentials.

        That is Gio's name of the native type, the type of the control message (-1 for none), the format of its payload,
        and level and name of the socket option that makes the kernel add it (None for none).
        """
        lib = self._lib
        if self.is_linux:
            return "linux-ucred", lib.SCM_CREDENTIALS, struct.Struct("iII"), (lib.SOL_SOCKET, lib.SO_PASSCRED)
        if hasattr(lib, "SCM_UCRED"):
            return "solaris-ucred", lib.SCM_UCRED, struct.Struct("iII"), (lib.SOL_SOCKET, lib.SO_RECVUCRED)
        if hasattr(lib, "LOCAL_CREDS"):
            # sockcred: pid, uid, euid, gid, egid, the number of groups, and the groups.
            return "netbsd-unpcbid", lib.SCM_CREDS, struct.Struct("i4xI4xI"), (lib.SOL_LOCAL, lib.LOCAL_CREDS)
        if hasattr(lib, "SCM_CREDS"):
            # cmsgcred: pid, uid, euid, gid, the number of groups, and 16 groups.
            return "freebsd-cmsgcred", lib.SCM_CREDS, struct.Struct("i4xII68x"), None
        name = "openbsd-sockpeercred" if "sockpeercred" in self._structures else "apple-xucred"
        return name, -1, struct.Struct("iII"), None

    def constant(self, name: str) -> int | None:
        """Return the constant *name*, None if the system does not define it."""
        return getattr(self._lib, name, None)

    @property
    def has_credentials_messages(self) -> bool:
        """Whether messages can carry credentials. On OpenBSD and macOS they cannot."""
        return self.credentials_type >= 0

    @property
    def attaches_credentials(self) -> bool:
        """
        Whether the sender attaches credentials to its messages.

        On Linux it fills in the numbers; on FreeBSD and systems like it, the kernel fills them in. On the other systems
        the receiver asks the kernel for them by an option of its socket.
        """
        return self.is_linux or "cmsgcred" in self._structures

    def pack_address(self, family: int, name: bytes) -> bytes:
        """Return a struct sockaddr of *family* with *name*."""
        if self.has_address_size:
            return bytes((2 + len(name), family)) + name
        return family.to_bytes(2, sys.byteorder) + name

    def unpack_address(self, address: bytes) -> tuple[int, bytes]:
        """Return the family and the name of the struct sockaddr *address*; 0 and an empty name if it is empty."""
        family = address[1:2] if self.has_address_size else address[:2]
        return int.from_bytes(family, sys.byteorder), address[2:]

    def describe(self, numbers: Numbers) -> str:
        """Return the text by which Gio describes *numbers* (g_credentials_to_string), without the unknown ones."""
        named = list(zip(("pid", "uid", "gid"), numbers))
        if "xucred" in self.native_name:
            # For struct xucred, Gio's text has a version instead of a pid.
            named[0] = "version", self._lib.XUCRED_VERSION
        known = (f"{name}={value}" for name, value in named if value not in (-1, UINT_MAX))
        return f"{self.native_name}:{','.join(known)}"

    def read_credentials(self, kind: int, data: bytes) -> Numbers | None:
        """
        Return the credentials in *data*, the payload of a control message of type *kind*.

        Returns None for a message of another type and for a payload that is too short. On Linux the length has to be
        exact.
        """
        if kind == self.credentials_type and self.has_credentials_messages:
            if hasattr(self._lib, "SCM_UCRED"):
                return self._read_ucred(data)
            size = self.credentials.size
            if len(data) == size or (len(data) > size and not self.is_linux):
                return self.credentials.unpack_from(data)
        if kind == getattr(self._lib, "SCM_CREDS2", None) and len(data) >= self._ffi.sizeof("struct sockcred2"):
            # sockcred2: a version, then the same fields as sockcred.
            return struct.unpack_from("4xi4xI4xI", data)
        return None

    def _read_ucred(self, data: bytes) -> Numbers | None:  # pragma: no cover - Solaris's library
        # ucred_t is opaque: only ucred_size() knows its size.
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
        """Whether the system has an option or a function that returns a socket's peer credentials."""
        return any(hasattr(self._lib, name) for name in ("SO_PEERCRED", "LOCAL_PEEREID", "LOCAL_PEERCRED", "SCM_UCRED"))

    def peer(self, number: int) -> Numbers | None:
        """Return the peer credentials of the socket *number*; None on failure, with the errno in `ffi.errno`."""
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
        """
        Return the value of a socket option that is a *structure*; None on failure, with the errno in `ffi.errno`.

        A structure that the kernel has filled in only partly is a failure (EINVAL): the zeros would stand for root.
        """
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
            # macOS: the pid of the last process that used the peer's socket.
            value, length = self._ffi.new("pid_t *"), self._ffi.new("socklen_t *", self._ffi.sizeof("pid_t"))
            if lib.getsockopt(number, lib.SOL_LOCAL, lib.LOCAL_PEERPID, value, length) == 0:
                pid = int(value[0])
        else:
            # FreeBSD fills it in from version 13 on; before, it is 0.
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
    """
    Make the descriptors *numbers* close-on-exec, on a system without MSG_CMSG_CLOEXEC.

    There is a race that cannot be avoided: if another thread forks and executes a program between recvmsg(2) and this
    call, that program inherits the descriptors.
    """
    for number in numbers:
        os.set_inheritable(number, False)


SYSTEM = System(ffi, lib)
"""The system that this process runs on."""
