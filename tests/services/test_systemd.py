"""unixconn.systemd: what a service manager passes, and what it is told."""

from __future__ import annotations

import array
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import textwrap
import threading

import pytest
from helpers import open_descriptors, room

import unixconn
from unixconn import Error, IOErrorEnum, systemd

MANAGER = """
import fcntl, os, sys
# First out of the way of the numbers from 3 on.
high = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 100) for each in sys.argv[1].split(",")]
os.closerange(3, 100)
for number, each in enumerate(high, 3):
    os.set_inheritable(each, False)
    os.dup2(each, number, inheritable=True)
for name, value in list(os.environ.items()):
    if value == "SELF":
        os.environ[name] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Starts a program as a service manager does: with descriptors from 3 on, and SELF in the environment is its pid."""

SHOW = """
    import json, os, socket, sys
    from unixconn import systemd
    passed = systemd.listen_fds()
    print(json.dumps({
        "passed": [[name, type(owner).__name__] for name, owner in passed],
        "inheritable": [os.get_inheritable(3 + i) for i in range(len(passed))],
        "again": len(systemd.listen_fds()),
        "left": sorted(os.environ.keys() & set(NAMES)),
    }))
    for _, owner in passed:
        owner.close()
"""
NAMES = ["LISTEN_FDNAMES", "LISTEN_FDS", "LISTEN_PID", "LISTEN_PIDFDID"]


def started(code, *fds, **environment):
    """Run *code* in a process that gets *fds* from 3 on, and return what it prints."""
    code = f"NAMES = {NAMES!r}\n{textwrap.dedent(code)}"
    done = subprocess.run(
        [sys.executable, "-c", MANAGER, ",".join(map(str, fds)), sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        pass_fds=fds,
        stdout=subprocess.PIPE,
        timeout=30,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture
def listening(tmp_path):
    """A socket that listens."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        made.listen()
        yield made


@pytest.fixture
def manager(tmp_path, monkeypatch):
    """The socket of a service manager that is notified."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield made


def told(manager):
    """Receive a notification: its lines, and the number of descriptors, which are closed."""
    data, ancillary, _, _ = manager.recvmsg(4096, 1000)
    count = 0
    for _, _, content in ancillary:
        fds = array.array("i", content)
        count += len(fds)
        unixconn.close_fds(fds)
    return data.decode().split("\n"), count


class TestListenFds:
    """What is passed gets an owner and its name."""

    def test_each_kind(self, listening):
        """A listening stream is a UnixListener; a pipe, a datagram socket and a connection are FileDescriptors."""
        one, other = socket.socketpair()
        reading, writing = os.pipe()
        datagram = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with one, other, datagram:
            found = started(
                SHOW,
                listening.fileno(),
                one.fileno(),
                reading,
                datagram.fileno(),
                LISTEN_FDS="4",
                LISTEN_PID="SELF",
                LISTEN_FDNAMES="web:stored::web",
            )
        os.close(reading)
        os.close(writing)
        assert found == {
            "passed": [
                ["web", "UnixListener"],
                ["stored", "FileDescriptor"],
                ["", "FileDescriptor"],
                ["web", "FileDescriptor"],
            ],
            "inheritable": [False] * 4,
            "again": 0,
            "left": [],
        }

    def test_without_names(self, listening):
        """A descriptor without a name is called unknown, as sd_listen_fds_with_names(3) does."""
        found = started(SHOW, listening.fileno(), LISTEN_FDS="1", LISTEN_PID="SELF")
        assert found["passed"] == [["unknown", "UnixListener"]]

    def test_it_is_served(self, listening, tmp_path):
        """The listener accepts connections, and does not remove the file, which is the manager's."""
        client = socket.socket(socket.AF_UNIX)
        with client:
            client.connect(str(tmp_path / "s"))
            client.sendall(b"x")
            code = """
                import json
                from unixconn import systemd
                [(name, listener)] = systemd.listen_fds()
                with listener:
                    with next(listener) as connection:
                        print(json.dumps([name, connection.receive_message(100).data.decode()]))
            """
            assert started(code, listening.fileno(), LISTEN_FDS="1", LISTEN_PID="SELF") == ["unknown", "x"]
        assert (tmp_path / "s").exists()

    @pytest.mark.parametrize(
        "environment", [{}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "1"}, {"LISTEN_PID": "SELF"}]
    )
    def test_for_another_process(self, monkeypatch, environment):
        """The variables of another process mean nothing, and no child sees them either."""
        for name, value in environment.items():
            monkeypatch.setenv(name, str(os.getpid()) if value == "SELF" else value)
        assert systemd.listen_fds() == []
        assert not os.environ.keys() & set(NAMES)

    @pytest.mark.parametrize(
        ("environment", "text"),
        [
            ({"LISTEN_FDS": "x"}, "LISTEN_FDS must be a number from 1 to 2147483644, not 'x'"),
            ({"LISTEN_FDS": "0"}, "LISTEN_FDS must be a number"),
            ({"LISTEN_FDS": " 1"}, "LISTEN_FDS must be a number"),
            ({"LISTEN_FDS": "2147483647"}, "LISTEN_FDS must be a number"),
            ({"LISTEN_PID": "-4"}, "LISTEN_PID must be a number"),
            ({"LISTEN_FDS": "2147483644"}, "LISTEN_FDS is 2147483644, but descriptor [0-9]+ is not open"),
            ({"LISTEN_FDS": "100000"}, "LISTEN_FDS is 100000, but descriptor [0-9]+ is not open: Bad file descriptor"),
            ({"LISTEN_FDNAMES": "a:b"}, "LISTEN_FDNAMES has 2 names for 1 descriptors: 'a:b'"),
        ],
    )
    def test_nonsense(self, monkeypatch, environment, text):
        """A variable that makes no sense is an Error that names it, and nothing is taken."""
        for name, value in {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), **environment}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(Error, match=text) as caught:
            systemd.listen_fds()
        assert caught.value.code == IOErrorEnum.INVALID_DATA
        assert not os.environ.keys() & set(NAMES)

    def test_the_variables_may_stay(self, listening):
        """With unset=False the variables stay, and a second call takes nothing over again."""
        code = """
            import json, os
            from unixconn import systemd
            first, again = systemd.listen_fds(unset=False), systemd.listen_fds(unset=False)
            print(json.dumps([len(first), len(again), sorted(os.environ.keys() & set(NAMES))]))
            first[0].owner.close()
        """
        found = started(code, listening.fileno(), LISTEN_FDS="1", LISTEN_PID="SELF")
        assert found == [1, 0, ["LISTEN_FDS", "LISTEN_PID"]]

    @pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this Python lacks os.pidfd_open()")
    def test_the_id_of_the_pidfd(self, listening):
        """A LISTEN_PIDFDID that is not this process's means another one, where the kernel has such ids."""
        pidfd = os.pidfd_open(os.getpid())
        own = os.fstat(pidfd)
        with select.epoll() as plain:
            known = own.st_dev != os.fstat(plain.fileno()).st_dev
        os.close(pidfd)
        found = started(SHOW, listening.fileno(), LISTEN_FDS="1", LISTEN_PID="SELF", LISTEN_PIDFDID="1")
        assert len(found["passed"]) == (0 if known else 1)

    @pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd is not installed")
    def test_systemd_socket_activate(self, tmp_path):
        """A program that systemd itself activates serves its first client."""
        path = tmp_path / "activated"
        code = textwrap.dedent("""
            from unixconn import systemd
            [(name, listener)] = systemd.listen_fds()
            with listener, next(listener) as connection:
                connection.send_message(name.encode())
        """)
        command = ["systemd-socket-activate", f"--listen={path}", "--fdname=door", sys.executable, "-c", code]
        environment = [f"--setenv={name}" for name in ("PYTHONPATH", "UNIXCONN_BACKEND") if name in os.environ]
        command[1:1] = environment
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as activated:
            while not path.exists():
                assert activated.poll() is None
                threading.Event().wait(0.01)
            with unixconn.connect(path) as client:
                assert client.receive_message(100).data == b"door"
            assert activated.wait(60) == 0

    def test_a_restart_that_keeps_a_connection(self, listening, manager, tmp_path):
        """The first run stores its connection, and the second one goes on with it."""
        first = """
            from unixconn import systemd
            [(_, listener)] = systemd.listen_fds()
            with listener, next(listener) as connection:
                systemd.notify(FDSTORE=1, FDNAME="session", fds=[connection])
                systemd.notify_barrier(timeout=60)
            print("true")
        """
        second = """
            from unixconn import Socket, systemd
            (_, listener), (name, owner) = systemd.listen_fds()
            with listener, Socket.new_from_fd(owner).connection_factory_create_connection() as connection:
                connection.send_message(b"still here")
            print('"' + name + '"')
        """
        stored = []

        def serve():
            while True:
                data, ancillary, _, _ = manager.recvmsg(4096, 1000)
                fds = array.array("i", ancillary[0][2])
                if data == b"BARRIER=1":
                    unixconn.close_fds(fds)
                    return
                stored.extend(fds)

        thread = threading.Thread(target=serve)
        thread.start()
        environment = {"LISTEN_PID": "SELF", "NOTIFY_SOCKET": os.environ["NOTIFY_SOCKET"]}
        with unixconn.connect(tmp_path / "s") as client:
            assert started(first, listening.fileno(), LISTEN_FDS="1", **environment)
            thread.join()
            names = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "door:session"}
            assert started(second, listening.fileno(), *stored, **names, **environment) == "session"
            assert client.receive_message(100).data == b"still here"
        unixconn.close_fds(stored)


class TestNotify:
    """What the service manager is told."""

    def test_variables(self, manager):
        """Each variable is a line; True is 1."""
        assert systemd.notify(READY=True, STATUS="all is well", MAINPID=os.getpid())
        assert told(manager) == (["READY=1", "STATUS=all is well", f"MAINPID={os.getpid()}"], 0)

    def test_the_store_of_descriptors(self, manager):
        """Descriptors go with FDSTORE, and still belong to the caller."""
        reading, writing = os.pipe()
        before = open_descriptors()
        assert systemd.notify(FDSTORE=1, FDNAME="ends", fds=[reading, writing])
        assert open_descriptors() == before
        assert told(manager) == (["FDSTORE=1", "FDNAME=ends"], 2)
        assert systemd.notify(FDSTOREREMOVE=1, FDNAME="ends")
        assert told(manager) == (["FDSTOREREMOVE=1", "FDNAME=ends"], 0)
        os.close(reading)
        os.close(writing)

    def test_without_a_manager(self, monkeypatch):
        """Without NOTIFY_SOCKET there is nobody to tell."""
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
        assert not systemd.notify(READY=1)
        assert not systemd.notify_barrier()

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux alone has abstract names")
    def test_an_abstract_name(self, monkeypatch):
        """A name that begins with @ is abstract."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
            made.bind(f"\0unixconn-notify-{os.getpid()}")
            monkeypatch.setenv("NOTIFY_SOCKET", f"@unixconn-notify-{os.getpid()}")
            assert systemd.notify(WATCHDOG=1)
            assert made.recv(100) == b"WATCHDOG=1"

    def test_unset(self, manager):
        """With unset, a later call finds no manager."""
        assert systemd.notify(READY=1, unset=True)
        assert "NOTIFY_SOCKET" not in os.environ
        assert not systemd.notify(READY=1)

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({}, "needs a variable"),
            ({"ready": 1}, "'ready' is no variable"),
            ({"STATUS": "a\nMAINPID=1"}, "STATUS must not have a newline"),
            ({"READY": 1, "fds": [0]}, "fds must go with FDSTORE=1"),
        ],
    )
    def test_wrong_arguments(self, manager, arguments, text):
        """Nothing is sent that the manager would take for something else."""
        with pytest.raises(ValueError, match=text):
            systemd.notify(**arguments)
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(1)

    @pytest.mark.parametrize("name", ["relative", "@", "", "vsock:2:1234"])
    def test_a_wrong_address(self, monkeypatch, name):
        """NOTIFY_SOCKET that is no Unix socket's address is an Error that names it."""
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        with pytest.raises(Error, match=f"not {name!r}") as caught:
            systemd.notify(READY=1)
        assert caught.value.matches(unixconn.io_error_quark(), IOErrorEnum.INVALID_DATA)

    def test_a_manager_that_has_gone(self, monkeypatch, tmp_path):
        """The Error names the address, and no descriptor is left."""
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
        before = open_descriptors()
        with pytest.raises(unixconn.NotFoundError, match=str(tmp_path / "gone")):
            systemd.notify(FDSTORE=1, fds=[0])
        assert open_descriptors() == before

    def test_a_barrier(self, manager):
        """A barrier waits until the manager has closed what came with it."""
        answers = []
        thread = threading.Thread(target=lambda: answers.append(told(manager)))
        thread.start()
        assert systemd.notify_barrier(timeout=60)
        thread.join()
        assert answers == [(["BARRIER=1"], 1)]

    def test_a_barrier_in_vain(self, manager):
        """A manager that does not read is TIMED_OUT, and no descriptor is left."""
        before = open_descriptors()
        with pytest.raises(unixconn.TimedOutError, match=r"0\.01 seconds"):
            systemd.notify_barrier(timeout=0.01)
        assert open_descriptors() == before
        told(manager)

    @pytest.mark.parametrize("free", range(4))
    def test_without_free_descriptors(self, manager, free):
        """That is the Error TOO_MANY_OPEN_FILES of whichever call finds none."""
        with pytest.raises(unixconn.TooManyOpenFilesError), room(free):
            systemd.notify_barrier(timeout=60)

    @pytest.mark.parametrize("given", ["01", b"01", 0, sys.__stdin__])
    def test_what_is_no_list(self, manager, given):
        """A file is no list of its lines."""
        with pytest.raises(TypeError, match="fds must be a list"):
            systemd.notify(FDSTORE=1, fds=given)

    @pytest.mark.skipif(shutil.which("systemd-notify") is None, reason="systemd is not installed")
    def test_as_systemd_notify_does(self, manager):
        """What systemd's own program sends is what this module sends."""
        subprocess.run(
            ["systemd-notify", "--no-block", "--ready", "--status=here", f"--pid={os.getpid()}"], check=True, timeout=60
        )
        theirs = set(told(manager)[0])
        systemd.notify(READY=1, STATUS="here", MAINPID=os.getpid())
        assert set(told(manager)[0]) == theirs
