"""SocketFile: the file of a listening socket, from bind(2) to its removal."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import time

from unixconn._base.errors import (
    IO_ERROR_DOMAIN,
    Error,
    IOErrorEnum,
    NotFoundError,
    PermissionDeniedError,
    RefusedError,
    SystemCallError,
)
from unixconn._base.lock import this_process
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.address import address_of
from unixconn._gio.socket import Socket
from unixconn._gio.socket_types import SocketProtocol, SocketType
from unixconn._kernel.descriptors import Owner, close_all
from unixconn._kernel.socket_files import FILE, FOLDER, open_bound, rename_new

if TYPE_CHECKING:
    from collections.abc import Callable

    from unixconn._gio.address import UnixSocketAddress

_LINUX = sys.platform.startswith("linux")
_ATTEMPTS, _PAUSE = 500, 0.002
"""How often to try to lock the folder, and the seconds between."""


class SocketFile:
    """
    The file of a socket that is bound to *address*, a path.

    bind() gets the path exactly as the program gave it: it is the address that peers see. All other steps go by a
    descriptor of the folder, which is open until `remove`. They change and remove only the file that bind() has made,
    and dead ones of its name. No step follows a symbolic link at the end.

    Of the servers that start at the same time, one after the other does so: they lock the folder (flock(2)). Without
    the permission to read it, and if somebody else keeps it locked for a second, a server goes on without the lock.
    """

    def __init__(self, address: UnixSocketAddress) -> None:
        """Do nothing yet: `bind` opens the folder, when there is somebody to call `remove`."""
        self._address = address
        # Not normalised: the kernel resolves ".." after symbolic links, and removing it as text would not.
        self._parent, self._name = os.path.split(os.fsencode(address._for_python()))
        self._folder = Owner()
        self._found: tuple[int, int] | None = None
        # A forked child that closes its copy must not remove the file.
        self._process = this_process()

    def bind(self, socket: Socket, mode: int | None) -> None:
        """
        Bind *socket*, and give the file the permissions *mode*, None for those that the umask leaves.

        A file on which no process listens any more is replaced. Raises the Error ADDRESS_IN_USE if one listens on it,
        it is not a socket, or it is not the one that bind() has made; and the Error or OSError of a system call. Even
        then, `remove` has to be called.
        """
        self._folder.extend(map(os.open, (self._parent or b".",), (FOLDER,)))
        if mode is not None and _LINUX:
            # The file begins with the permissions of the socket, less the umask: never with more than asked for.
            os.fchmod(socket.get_fd(), mode)
        with Owner() as lock, Owner() as file:
            try:
                self._lock(lock)
                self._remove_dead()
                # Two descriptors for `_identify`: if it had none, the file that bind() has made would stay.
                file.extend(map(os.dup, self._folder * 2))
                try:
                    socket.bind(self._address, False)
                    close_all(file)
                    self._identify(socket, file)
                finally:
                    if self._found is None:
                        self._identify_bound(socket)
            finally:
                for each in lock:
                    # If another thread has forked meanwhile, the child has the lock, too, until it closes its copy.
                    fcntl.flock(each, fcntl.LOCK_UN)
            if mode is not None:
                self._set_mode(mode, file)

    def check(self) -> None:
        """
        Raise the Error ADDRESS_IN_USE if the file is not that of the socket any more, which listens now.

        A server that does not lock the folder may have found it between bind() and listen(), when no one can connect to
        it, and have replaced it.
        """
        if self._look(self._name) != self._found:
            self._found = None
            raise self._taken()

    def remove(self) -> None:
        """
        Remove the file, unless it was replaced, or belongs to the parent of this process; close the folder.

        The socket has to be open still: until it is closed, no other file gets the file's number.
        """
        try:
            if self._found is not None and self._process is this_process() and self._look(self._name) == self._found:
                os.unlink(self._name, dir_fd=self._folder[0])
        except OSError:  # another process has removed it, or this one has no permission any more
            pass
        # This comes last: if an exception interrupts this, a second call removes the file.
        self._found = None
        close_all(self._folder)

    def leave(self) -> None:
        """Let `remove` leave the file, as the socket goes on without this object."""
        self._found = None

    def __del__(self, _close_all: Callable[[list[int]], None] = close_all) -> None:
        # If a signal handler raises at the first step, the Owner's destructor does it. The attribute is missing if an
        # exception interrupted the constructor.
        _close_all(getattr(self, "_folder", []))

    def _lock(self, lock: Owner) -> None:
        """Lock the folder, by a descriptor that *lock* gets; do without if that is not possible."""
        try:
            lock.extend(map(os.open, (self._reach(b"."),), (os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC,)))
            for _ in range(_ATTEMPTS):
                try:
                    fcntl.flock(lock[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                except BlockingIOError:
                    time.sleep(_PAUSE)
        except OSError:  # no permission to read it, or a file system that has no such locks
            pass

    def _identify(self, socket: Socket, file: Owner) -> None:
        """
        Keep which file bind() has made; on Linux, *file* gets a descriptor of it.

        bind() has followed the path anew. If somebody has changed a link in it, bind() has come to another folder, and
        the socket with the name in this one is not ours: the Error ADDRESS_IN_USE.

        Where the kernel does not tell (before Linux 4.12, without CAP_NET_ADMIN, and on other systems), it is ours if
        there was none before bind(), and nobody listens on it yet.
        """
        path = None
        if not (_LINUX and open_bound(socket.get_fd(), file)):
            path = self._open(self._name, file)
        found = self._look(self._name)
        if found is None or (file and found != _identity(os.fstat(file[0]))):
            raise self._taken()
        if path is not None:
            error = self._ask(path, socket.get_socket_type())
            if not isinstance(error, (RefusedError, PermissionDeniedError)):
                raise self._taken()
        self._found = found

    def _identify_bound(self, socket: Socket) -> None:
        """Do `_identify` once more if an exception of a signal handler interrupted it: `remove` needs its result."""
        try:
            if socket._handle.python.getsockname():
                with Owner() as file:
                    self._identify(socket, file)
        except (Error, OSError):  # it is not the file that bind() has made, or the socket is not bound
            pass

    def _set_mode(self, mode: int, file: Owner) -> None:
        """Set the permissions that the umask has kept from the file, or that another system than Linux has."""
        folder = self._folder[0]
        if file:
            if stat.S_IMODE(os.fstat(file[0]).st_mode) == mode:
                return
            path = _path_of(file[0])
            if path is not None:
                os.chmod(path, mode)
                return
            found = os.fstat(folder)
            others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
            if others_write or found.st_uid not in (0, os.geteuid()):
                # A symbolic link could take its place meanwhile. Rather fewer permissions than those of another file.
                return
        # Linux takes /proc for not following a link.
        follows = _LINUX or os.chmod not in os.supports_follow_symlinks
        os.chmod(self._name, mode, dir_fd=folder, follow_symlinks=follows)

    def _look(self, name: bytes) -> tuple[int, int] | None:
        """Return the device and the number of the socket file *name*; None if there is none."""
        try:
            return _identity(os.stat(name, dir_fd=self._folder[0], follow_symlinks=False))
        except FileNotFoundError:
            return None

    def _reach(self, name: bytes) -> bytes:
        """Return a path to the file *name* that begins with the descriptor of the folder, where there is /proc."""
        return os.path.join(_path_of(self._folder[0]) or self._parent, name)

    def _open(self, name: bytes, file: Owner) -> bytes:
        """
        Return a path to connect to the file *name*; on Linux, *file* gets a descriptor of it if it is there.

        Where there is /proc, the path goes by that descriptor: nobody can bend it, and it is short.
        """
        path = self._reach(name)
        if not _LINUX:
            return path
        try:
            file.extend(map(os.open, (path,), (FILE,)))
        except FileNotFoundError:
            return path
        return _path_of(file[0]) or path

    def _remove_dead(self) -> None:
        """
        Remove the file if there is one.

        Raises the Error ADDRESS_IN_USE if a process listens on it, or it is not a socket.
        """
        try:
            found = os.stat(self._name, dir_fd=self._folder[0], follow_symlinks=False)
        except FileNotFoundError:
            return
        folder = self._folder[0]
        if not stat.S_ISSOCK(found.st_mode):
            raise self._taken("exists, and is not a socket")
        if self._is_alive(self._name):
            raise self._taken()
        # A server that does not lock the folder may have replaced the file in the meantime. So it is moved away first,
        # and asked again there. The name is short, as the path of a socket must be.
        aside = b"." + os.urandom(4).hex().encode()
        is_dead = False
        try:
            os.rename(self._name, aside, src_dir_fd=folder, dst_dir_fd=folder)
            is_dead = self._look(aside) is not None and not self._is_alive(aside)
        except FileNotFoundError:  # another process has just removed it
            return
        finally:
            if not is_dead:
                self._put_back(aside)
        if not is_dead:
            raise self._taken()
        os.unlink(aside, dir_fd=folder)

    def _is_alive(self, name: bytes) -> bool:
        """
        Return whether a socket is bound to the file *name*, without connecting to it.

        A socket of a different type tries to connect: the kernel then reports the wrong type instead of connecting.
        """
        with Owner() as file:
            # Another type, or no permission: a process has it.
            error = self._ask(self._open(name, file), SocketType.DATAGRAM)
            return not isinstance(error, (RefusedError, NotFoundError))

    def _ask(self, path: bytes, kind: SocketType) -> Error | None:
        """Return the Error that a socket of the type *kind* gets if it connects to *path*; None if it is connected."""
        socket = Socket.new(self._address.get_family(), kind, SocketProtocol.DEFAULT)
        socket.set_blocking(False)
        try:
            socket.connect(address_of(path))
        except Error as error:
            return error
        finally:
            socket.close()
        return None

    def _put_back(self, aside: bytes) -> None:
        """Rename the file *aside* back if it is there; remove it if there is another one of its name by now."""
        folder = self._folder[0]
        try:
            rename_new(folder, aside, self._name)
            return
        except FileNotFoundError:
            return
        except FileExistsError:
            os.unlink(aside, dir_fd=folder)
            return
        except OSError:  # this system cannot do it, or this file system
            pass
        try:
            # By paths: PyPy's link() does not take the options that go with descriptors of folders.
            os.link(self._reach(aside), self._reach(self._name))
        except FileNotFoundError:
            return
        except FileExistsError:
            pass
        except OSError:  # fs.protected_hardlinks forbids it for a file of another user
            os.rename(aside, self._name, src_dir_fd=folder, dst_dir_fd=folder)
            return
        os.unlink(aside, dir_fd=folder)

    def _taken(self, why: str = "is in use") -> Error:
        error = SystemCallError(
            f"Error binding to address (GUnixSocketAddress): {self._address.get_path()} {why}",
            IO_ERROR_DOMAIN,
            IOErrorEnum.ADDRESS_IN_USE,
        )
        # Those of bind(2) for a path that is taken.
        error.errno, error.strerror = errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)
        return error


def _identity(status: os.stat_result) -> tuple[int, int] | None:
    """Return the device and the number of a file; None if it is not a socket."""
    return (status.st_dev, status.st_ino) if stat.S_ISSOCK(status.st_mode) else None


def _path_of(number: int) -> bytes | None:
    """Return the path of the descriptor *number* in /proc; None if there is no /proc."""
    path = b"/proc/self/fd/%d" % number
    return path if _LINUX and os.path.exists(path) else None
