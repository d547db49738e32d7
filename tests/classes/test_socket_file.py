"""The file of a listener: which file it is, its permissions, servers that want it, and users that get in the way."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import resource
import select
import signal
import socket
import stat
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import internals
import pytest
from helpers import RENAMEAT2, forbid_calls, forked, needs_filters, outcome_of_child
from namespaces import NEW_MOUNT, become, check, unshare

import unixconn
from unixconn import Error, IOErrorEnum, SocketType

MODES = [0o000, 0o600, 0o660, 0o666, 0o777]
UMASKS = [0o000, 0o022, 0o027, 0o077, 0o777]
SHARED_MEMORY = Path("/dev/shm")
NOBODY = 65534
on_disk = pytest.mark.parametrize("folder", ["disk"], indirect=True)
"""For what does not depend on the file system."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")


@pytest.fixture(scope="module")
def ext4():
    """A new file system of the type ext4, which gives out the number of a removed file at once."""
    with tempfile.TemporaryDirectory() as place:
        image, mounted = Path(place, "image"), Path(place, "mounted")
        with image.open("wb") as file:
            file.truncate(8 << 20)
        mounted.mkdir()
        try:
            for command in (["mkfs.ext4", "-q", "-F", image], ["mount", "-o", "loop", image, mounted]):
                subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("an ext4 can not be mounted here")
        Path(place).chmod(0o755)
        yield mounted
        subprocess.run(["umount", mounted], check=True)


@pytest.fixture(params=["disk", "tmpfs", "ext4"])
def folder(request):
    """An empty folder that all users may enter: on the disk, in memory, and in an ext4."""
    if request.param == "tmpfs" and not SHARED_MEMORY.is_dir():
        pytest.skip("there is no /dev/shm")
    place = {"disk": tempfile.gettempdir(), "tmpfs": SHARED_MEMORY}.get(request.param)
    # Not pytest's folder: another pytest that starts closes it to other users.
    with tempfile.TemporaryDirectory(dir=place or request.getfixturevalue("ext4")) as made:
        Path(made).chmod(0o755)
        yield Path(made)


def mode_of(path):
    """Return the permissions of a file."""
    return stat.S_IMODE(path.lstat().st_mode)


def dead_file(path):
    """Leave a socket file on which nobody listens."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))


@contextmanager
def living(path):
    """Return, for a with statement, a plain socket that listens on *path*, and that only its user may connect to."""
    with socket.socket(socket.AF_UNIX) as sock:
        os.fchmod(sock.fileno(), 0o600)
        sock.bind(str(path))
        sock.listen()
        yield sock


def code_of_listen(path, **named):
    """Return the code of the Error of listen(); -1 if there is none."""
    try:
        unixconn.listen(path, **named).close()
    except Error as error:
        return error.code
    return -1


def reaches(path, sock):
    """Return whether who connects to *path* comes to the plain socket *sock*."""
    sock.setblocking(False)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        try:
            sock.accept()[0].close()
        except BlockingIOError:
            return False
    return True


def test_dots_behind_a_link(folder):
    """S1: the file is where bind() has made it, not where the path leads as text; another one is left alone."""
    (folder / "far" / "inside").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "far" / "inside")
    other = folder / "door"
    other.write_text("not ours")
    other.chmod(0o600)
    path = f"{folder}/link/../door"
    with unixconn.listen(path, mode=0o666) as listener:
        assert mode_of(folder / "far" / "door") == 0o666
        with unixconn.connect(path) as connection:
            assert connection.get_remote_address().get_path() == path
        assert path in repr(listener)
    assert not (folder / "far" / "door").exists()
    assert (other.read_text(), mode_of(other)) == ("not ours", 0o600)


def test_a_relative_path(folder, monkeypatch):
    """S1: the file is removed, although the program has gone to another folder."""
    monkeypatch.chdir(folder)
    with unixconn.listen("door") as listener, unixconn.connect("door") as connection:
        assert connection.get_remote_address().get_path() == "door"
        monkeypatch.chdir("/")
        listener.close()
    assert not list(folder.iterdir())


def test_a_part_of_the_path_that_is_replaced(folder):
    """S1, S5: the file in the folder that took the place of ours is not removed."""
    (folder / "a").mkdir()
    with unixconn.listen(folder / "a" / "s"):
        (folder / "a").rename(folder / "b")
        (folder / "a").mkdir()
        (folder / "a" / "s").touch()
    assert (folder / "a" / "s").exists()
    assert not (folder / "b" / "s").exists()


@pytest.mark.parametrize("user", [pytest.param(0, marks=needs_root), NOBODY])
def test_the_mode(folder, user):
    """S5: it is the one that was asked for, under every umask; without one it is the umask's. The file is removed."""
    folder.chmod(0o777)

    def child():
        if os.geteuid() == 0:
            become(user)
        kinds = itertools.cycle((SocketType.STREAM, SocketType.SEQPACKET))
        for (umask, mode), kind in zip(itertools.product(UMASKS, (*MODES, 0o644, None)), kinds):
            os.umask(umask)
            with unixconn.listen(folder / "s", type=kind, mode=mode):
                assert mode_of(folder / "s") == (0o777 & ~umask if mode is None else mode)
            assert not (folder / "s").exists()
        return True

    assert outcome_of_child(child) == 0


def test_never_more_than_the_mode(folder, monkeypatch):
    """S5: from bind() on, with the widest umask; a change of the mode after bind() would come too late."""
    seen = []
    bind = unixconn.Socket.bind

    def watched(self, address, allow_reuse):
        done = bind(self, address, allow_reuse)
        seen.append(mode_of(folder / "s"))
        return done

    monkeypatch.setattr(unixconn.Socket, "bind", watched)

    def child():
        os.umask(0)
        with unixconn.listen(folder / "s", mode=0o600):
            return seen == [0o600]

    assert outcome_of_child(child) == 0


def test_the_mode_of_a_link_s_target(folder, monkeypatch):
    """S5: a symbolic link that takes the place of the file just after bind() is not followed."""
    target = folder / "secret"
    target.write_text("")
    target.chmod(0o600)
    bind = unixconn.Socket.bind

    def then_replace(self, address, allow_reuse):
        done = bind(self, address, allow_reuse)
        (folder / "s").unlink()
        (folder / "s").symlink_to(target)
        return done

    monkeypatch.setattr(unixconn.Socket, "bind", then_replace)
    with pytest.raises(Error) as caught:
        unixconn.listen(folder / "s", mode=0o666)
    assert caught.value.code == IOErrorEnum.ADDRESS_IN_USE
    assert mode_of(target) == 0o600
    assert (folder / "s").is_symlink()


def swapped_on_the_way(folder, monkeypatch, listens):
    """
    Return an argument of listen() for which bind() comes to another folder than the one that was opened before.

    Another server takes the name in that one in the same moment, whose socket is the second result.
    """
    for each in ("theirs", "system"):
        (folder / each).mkdir()
        (folder / each).chmod(0o777)
    (folder / "theirs" / "link").symlink_to(folder / "system")
    (folder / "theirs" / "own").symlink_to(folder / "theirs")
    other = socket.socket(socket.AF_UNIX)
    os.fchmod(other.fileno(), 0o600)
    bind = unixconn.Socket.bind

    def swapped(self, address, allow_reuse):
        monkeypatch.undo()
        other.bind(str(folder / "system" / "s"))
        if listens:
            other.listen()
        (folder / "theirs" / "own").rename(folder / "theirs" / "link")
        return bind(self, address, allow_reuse)

    monkeypatch.setattr(unixconn.Socket, "bind", swapped)
    return folder / "theirs" / "link" / "s", other


@pytest.mark.parametrize(
    ("user", "listens"),
    [pytest.param(0, True, marks=needs_root), pytest.param(0, False, marks=needs_root), (NOBODY, True)],
)
def test_another_folder_on_the_way(folder, monkeypatch, user, listens):
    """S5: the socket of that name in the folder is not the one that bind() has made; nothing happens to it."""
    folder.chmod(0o777)

    def child():
        if os.geteuid() == 0:
            become(user)
        path, other = swapped_on_the_way(folder, monkeypatch, listens)
        with other:
            assert code_of_listen(path, mode=0o666) == IOErrorEnum.ADDRESS_IN_USE
            assert mode_of(folder / "system" / "s") == 0o600
        return True

    assert outcome_of_child(child) == 0


@needs_root
def test_an_attacker_who_swaps_links(folder):
    """S5: however often he does so in his folder, no permission of root's socket changes, and it is not removed."""
    for each in ("theirs", "theirs/own", "system"):
        (folder / each).mkdir()
        os.chown(folder / each, *(2 * [NOBODY if "theirs" in each else 0]))
    target = folder / "system" / "s"

    def swap():
        become(NOBODY)
        os.chdir(folder / "theirs")
        while True:
            for each in ("own", folder / "system"):
                os.symlink(each, "new")  # noqa: PTH211 - as fast as can be
                os.rename("new", "link")  # noqa: PTH104

    with living(target) as other:
        attacker = forked(swap)
        try:
            listened = 0
            while listened < 100:
                try:
                    unixconn.listen(folder / "theirs" / "link" / "s", mode=0o666).close()
                    listened += 1
                except Error:
                    (folder / "theirs" / "own" / "s").unlink(missing_ok=True)
                assert mode_of(target) == 0o600
                assert reaches(target, other)
        finally:
            os.kill(attacker, signal.SIGKILL)
            os.waitpid(attacker, 0)


class Server:
    """A process that listens on *path* when it is told to."""

    def __init__(self, path):
        theirs, self._orders = socket.socketpair()
        self._pid = forked(lambda: self._serve(path, theirs))
        theirs.close()

    def _serve(self, path, orders):
        # It waits for the lock until it has it, however slow the machine.
        internals.socket_file._ATTEMPTS = 30_000
        while orders.recv(1):
            try:
                listener = unixconn.listen(path)
            except Error as error:
                orders.send(b"-" if error.code == IOErrorEnum.ADDRESS_IN_USE else b"?")
                continue
            orders.send(b"+")
            orders.recv(1)
            listener.accept().connection.close()
            listener.close()
            orders.send(b".")

    def start(self):
        self._orders.send(b"!")

    def listens(self):
        """Return whether it does, once it has tried."""
        answer = self._orders.recv(1)
        assert answer in b"+-"
        return answer == b"+"

    def is_trying(self):
        """Return, after a while, whether it still has not succeeded or failed."""
        return not select.select([self._orders], [], [], 0.05)[0]

    def serve(self):
        """Have it accept a connection, and end."""
        self._orders.send(b"!")
        assert self._orders.recv(1) == b"."

    def close(self):
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._orders.close()


@contextmanager
def servers(count, path):
    """Return, for a with statement, *count* processes."""
    made = [Server(path) for _ in range(count)]
    try:
        yield made
    finally:
        for each in made:
            each.close()


def test_four_servers_over_a_dead_file(folder):
    """S3: exactly one of them listens, each time, and it is reached; nothing is left in the folder."""
    path = folder / "s"
    with servers(4, path) as all_of_them:
        for _ in range(120):
            dead_file(path)
            for each in all_of_them:
                each.start()
            [chosen] = [each for each in all_of_them if each.listens()]
            unixconn.connect(path).close()
            chosen.serve()
            assert not list(folder.iterdir())


def test_servers_that_come_in_the_middle(folder, monkeypatch):
    """S3: neither before a dead file is moved away, nor before its place is taken, does another server listen."""
    path = folder / "s"
    rename = os.rename

    with servers(2, path) as others:

        def interrupted(*arguments, **named):
            monkeypatch.undo()
            others[0].start()
            assert others[0].is_trying()
            rename(*arguments, **named)
            others[1].start()
            assert others[1].is_trying()

        dead_file(path)
        monkeypatch.setattr(os, "rename", interrupted)
        with unixconn.listen(path):
            assert not any([each.listens() for each in others])  # noqa: C419 - both have to be asked


@needs_root
@on_disk
@pytest.mark.parametrize("obstacle", ["unreadable", "locked"])
def test_without_the_lock(folder, obstacle):
    """S3: a folder that may not be read, or that a stranger keeps locked, holds no server up for good."""
    folder.chmod(0o333 if obstacle == "unreadable" else 0o777)

    def child():
        become(NOBODY)
        dead_file(folder / "s")
        with unixconn.listen(folder / "s", mode=0o666):
            return mode_of(folder / "s") == 0o666

    number = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        assert outcome_of_child(child) == 0
    finally:
        os.close(number)


@on_disk
def test_the_lock_is_released(folder):
    """S3: a child that was forked in the meantime does not keep it; nor does a server whose bind() fails."""
    path = folder / "s"
    bind = unixconn.Socket.bind

    def forking(self, address, allow_reuse):
        monkeypatch.undo()
        children.append(forked(lambda: signal.pause()))
        return bind(self, address, allow_reuse)

    children = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(unixconn.Socket, "bind", forking)
        listener = unixconn.listen(path)
    number = os.open(folder, os.O_RDONLY)
    try:
        with listener:
            assert code_of_listen(path) == IOErrorEnum.ADDRESS_IN_USE
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(number)
        for each in children:
            os.kill(each, signal.SIGKILL)
            os.waitpid(each, 0)


def test_a_file_that_is_replaced_before_listen(folder, monkeypatch):
    """S3: who has not listened yet looks dead; when another server has its place, it says so, and leaves the other."""
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as other:
        listen = unixconn.Socket.listen

        def too_late(self):
            path.unlink()
            other.bind(str(path))
            other.listen()
            return listen(self)

        monkeypatch.setattr(unixconn.Socket, "listen", too_late)
        with pytest.raises(Error) as caught:
            unixconn.listen(path)
        assert caught.value.code == IOErrorEnum.ADDRESS_IN_USE
        unixconn.connect(path).close()


def test_a_living_one_that_has_taken_the_place(folder, monkeypatch):
    """S3: the file that is moved away may be another's by then, even with the same number; it is put back."""
    path = folder / "s"
    dead_file(path)
    rename = os.rename
    with socket.socket(socket.AF_UNIX) as other:

        def another_was_faster(*arguments, **named):
            path.unlink()
            other.bind(str(path))
            other.listen()
            return rename(*arguments, **named)

        monkeypatch.setattr(os, "rename", another_was_faster)
        with pytest.raises(Error) as caught:
            unixconn.listen(path)
        assert caught.value.code == IOErrorEnum.ADDRESS_IN_USE
        unixconn.connect(path).close()
    assert [each.name for each in folder.iterdir()] == ["s"]


def as_nobody_in_between(folder, monkeypatch, third_comes=""):
    """
    Listen as nobody while another user's server replaces the dead file, so that the wrong file is moved away.

    A third server may take the name as soon as the file is moved, or only if it is moved back by rename(), which would
    replace what is there.
    """
    path = folder / "s"
    rename = os.rename
    second, third = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    moved = []

    def listen_as_root(sock):
        os.seteuid(0)
        path.unlink(missing_ok=True)
        sock.bind(str(path))
        sock.listen()
        os.seteuid(NOBODY)

    def watched(*arguments, **named):
        if not moved:
            listen_as_root(second)
        elif third_comes == "late":
            listen_as_root(third)
        moved.append(arguments)
        rename(*arguments, **named)
        if third_comes == "early":
            listen_as_root(third)

    with second, third:
        os.seteuid(NOBODY)
        dead_file(path)
        monkeypatch.setattr(os, "rename", watched)
        assert code_of_listen(path) == IOErrorEnum.ADDRESS_IN_USE
        os.seteuid(0)
        assert reaches(path, third if third.getsockname() else second)
        assert [each.name for each in folder.iterdir()] == ["s"]
    return True


@needs_root
@pytest.mark.parametrize("third_comes", ["", "early", "late"])
def test_another_user_s_file_is_put_back(folder, monkeypatch, third_comes):
    """S3: but not over the one of a third server, although fs.protected_hardlinks forbids a link to it."""
    folder.chmod(0o777)
    assert outcome_of_child(lambda: as_nobody_in_between(folder, monkeypatch, third_comes)) == 0


@on_disk
def test_a_dead_file_that_can_not_be_asked_again(folder, monkeypatch):
    """S3: the file that was moved away gets its name back: it may be that of a server that lives."""
    dead_file(folder / "s")
    rename = os.rename
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    def then_no_descriptor(*arguments, **named):
        monkeypatch.undo()
        rename(*arguments, **named)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))

    monkeypatch.setattr(os, "rename", then_no_descriptor)
    try:
        assert code_of_listen(folder / "s") == IOErrorEnum.TOO_MANY_OPEN_FILES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert [each.name for each in folder.iterdir()] == ["s"]


@on_disk
@needs_filters
@needs_root
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL])
def test_without_renameat2(folder, monkeypatch, number):
    """S3: on an older kernel, or a file system that cannot do it, the file is put back, too."""
    folder.chmod(0o777)

    def child():
        forbid_calls(number, RENAMEAT2)
        return as_nobody_in_between(folder, monkeypatch)

    assert outcome_of_child(child) == 0


@needs_root
@pytest.mark.parametrize("owner", [0, NOBODY])
@pytest.mark.parametrize("mode", [0o1777, 0o777])
def test_a_dead_file_in_a_foreign_folder(folder, mode, owner):
    """S3: whoever may remove it replaces it: in a sticky folder only its owner. Another one's Error says so."""
    folder.chmod(mode)
    dead_file(folder / "s")
    (folder / "s").chmod(0o777)
    os.chown(folder / "s", owner, owner)

    def child():
        become(NOBODY)
        return code_of_listen(folder / "s") == expected

    expected = IOErrorEnum.PERMISSION_DENIED if mode & stat.S_ISVTX and owner != NOBODY else -1
    assert outcome_of_child(child) == 0
    assert (folder / "s").exists() == (expected != -1)


@on_disk
@needs_root
@pytest.mark.parametrize(("owner", "mode"), [(0, 0o755), (0, 0o1777), (0, 0o777), (NOBODY, 0o755)])
def test_without_proc(folder, owner, mode):
    """S5: more than the umask leaves is set by name, but not where another user could put a link in its place."""
    folder.chmod(mode)
    os.chown(folder, owner, owner)
    dead_file(folder / "s")

    def child():
        unshare(NEW_MOUNT)
        for command in (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "none", "/proc"]):
            subprocess.run(command, check=True)
        os.umask(0o022)
        with unixconn.listen(folder / "s", mode=0o666):
            return mode_of(folder / "s") == expected

    expected = 0o666 if owner == 0 and mode != 0o777 else 0o644
    check(outcome_of_child(child))
    assert not (folder / "s").exists()


@on_disk
@pytest.mark.parametrize("length", [100, 107])
def test_a_dead_file_with_a_long_name(folder, monkeypatch, length):
    """S3: it is replaced, although the path to it by a descriptor would be longer than a path of a socket may be."""
    monkeypatch.chdir(folder)
    name = length * "n"
    dead_file(name)
    with unixconn.listen(name), unixconn.connect(name):
        pass
    assert not list(folder.iterdir())


@on_disk
def test_a_listen_that_fails(folder, monkeypatch):
    """S3: its file is removed while the socket is open: afterwards, the file's number may be another file's."""
    removed = []
    unlink = os.unlink

    def watched(*arguments, **named):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            removed.append(client.connect_ex(str(folder / "s")))
        unlink(*arguments, **named)

    def fail(self):
        raise Error("no", "test", 0)

    monkeypatch.setattr(unixconn.Socket, "listen", fail)
    monkeypatch.setattr(os, "unlink", watched)
    with pytest.raises(Error):
        unixconn.listen(folder / "s")
    assert removed == [errno.EPROTOTYPE]
    assert not list(folder.iterdir())
