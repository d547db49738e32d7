"""unixconn.gi: programs import ``gi``, and get this library."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import unixconn
import unixconn.gi
from unixconn._gio.missing import left_out

FOLDER = str(Path(unixconn.__file__).parents[1])


def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """Run Python with *arguments*."""
    path = os.pathsep.join(filter(None, [FOLDER, os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
        **options,
    )


def installed(program: str) -> str:
    """Return what *program* prints after install(force=True)."""
    done = run("-c", f"import unixconn, unixconn.gi\nassert unixconn.gi.install(force=True) is True\n{program}")
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


class TestInstall:
    def test_the_namespaces(self):
        """Each form of the import gives the same modules, and a second install() changes nothing."""
        installed(
            "import gi, gi.repository.Gio\n"
            "from gi.repository import Gio, GLib, GObject, GioUnix, GLibUnix\n"
            "from gi.repository.Gio import UnixConnection\n"
            "assert gi.repository.Gio is Gio and unixconn.gi.install() is True\n"
            "from gi.repository import Gio as again; assert again is Gio\n"
            "assert Gio.UnixConnection is UnixConnection is unixconn.UnixConnection\n"
            "assert GLib.Error is unixconn.Error and GObject.GObject is GObject.Object is unixconn.Object\n"
            "assert GObject.MainLoop is GLib.MainLoop and GioUnix.FDMessage is Gio.UnixFDMessage\n"
            "assert GLib.IO_IN is GLib.IOCondition.IN and GLib.PRIORITY_LOW == 300\n"
            "assert not hasattr(Gio, 'Error') and not hasattr(GLib, 'Socket')\n"
        )

    def test_versions(self):
        """require_version takes what there is, and refuses anything else as PyGObject does."""
        installed(
            "import gi\n"
            "gi.require_version('Gio', '2.0'); gi.require_versions({'GLib': '2.0', 'GLibUnix': '2.0'})\n"
            "assert gi.version_info >= (3, 42)\n"
            "for namespace, version, text in [('Gtk', '4.0', 'Namespace Gtk not available'),\n"
            "        ('Gio', '3.0', 'Namespace Gio not available for version 3.0')]:\n"
            "    try: gi.require_version(namespace, version)\n"
            "    except ValueError as error: assert str(error) == text\n"
            "    else: raise AssertionError(namespace)\n"
            "try: from gi.repository import Gtk\n"
            "except ImportError as error: assert 'Gtk' in str(error)\n"
            "else: raise AssertionError('Gtk')\n"
        )

    def test_errors(self, tmp_path):
        """A program that prints an error prints what it does under PyGObject."""
        done = installed(
            "from gi.repository import Gio, GLib\n"
            f"address = Gio.UnixSocketAddress.new({str(tmp_path / 'none')!r})\n"
            "try: Gio.SocketClient.new().connect(address, None)\n"
            "except GLib.Error as error: print(error, error.filename == address.get_path())\n"
        )
        assert done == "g-io-error-quark: Could not connect: No such file or directory (1) True\n"

    def test_pygobject_stays(self, tmp_path):
        """Where there is a gi, only force replaces it: also after its import."""
        (tmp_path / "gi").mkdir()
        (tmp_path / "gi" / "__init__.py").write_text("mine = True")
        done = run(
            "-c",
            "import unixconn.gi\n"
            "assert unixconn.gi.install() is False\n"
            "import gi; assert gi.mine and unixconn.gi.install() is False\n"
            "assert unixconn.gi.install(force=True) is True\n"
            "import gi; assert not hasattr(gi, 'mine')",
            cwd=tmp_path,
        )
        assert (done.stderr, done.returncode) == ("", 0)

    def test_without_pygobject(self):
        """Without force, it is this library only where no gi is found."""
        program = (
            "import importlib.util, unixconn.gi; before = importlib.util.find_spec('gi')\n"
            "assert unixconn.gi.install() is (before is None)"
        )
        done = run("-c", program)
        assert (done.stderr, done.returncode) == ("", 0)

    def test_unixconn_does_not_load_it(self):
        """It is imported by who asks for it."""
        done = run("-c", "import sys, unixconn; unixconn.UnixConnection; assert 'unixconn.gi' not in sys.modules")
        assert (done.stderr, done.returncode) == ("", 0)

    def test_no_loop_of_glib(self):
        """use_glib_loop() needs PyGObject, and not what stands for it; with it: tests/peers/test_glib_loop.py."""
        installed(
            "try: unixconn.gi.use_glib_loop()\n"
            "except RuntimeError as error: assert 'install() replaced it' in str(error)\n"
            "else: raise AssertionError"
        )


class TestNames:
    def test_own_names(self):
        """What is named as unixconn's own is a public name of it; no namespace has it."""
        assert set(unixconn.__all__) >= unixconn.gi._OWN
        placed = {each for names in unixconn.gi._NAMES.values() for each in names}
        assert placed & unixconn.gi._OWN == set()

    @pytest.mark.parametrize("library", unixconn.gi._NAMES)
    def test_no_name_is_called_left_out(self, library):
        """What there is does not begin as what is left out; dir() has it."""
        space = unixconn.gi._Namespace(f"gi.repository.{library}")
        for name in unixconn.gi._NAMES[library]:
            assert name not in left_out(library)
            assert hasattr(space, name)
            assert name in dir(space)

    @pytest.mark.parametrize(
        "name",
        ["Gio.File", "Gio.DBusConnection", "Gio.bus_get_sync", "GLib.Variant", "GLib.IOChannel", "GioUnix.MountEntry"],
    )
    def test_left_out(self, name):
        """The error says that it is on purpose, and where to read on."""
        library, _, attribute = name.partition(".")
        space = unixconn.gi._Namespace(f"gi.repository.{library}")
        with pytest.raises(
            AttributeError, match=re.escape(f"{name} is not part of unixconn, on purpose: see docs/mig")
        ):
            getattr(space, attribute)

    @pytest.mark.parametrize(
        "name", ["Gio.UnixConection", "Gio.DBusConection", "Gio.FileSocket", "GLib.Eror", "GObject.Objekt"]
    )
    def test_a_misspelt_name(self, name):
        """It is the usual error, with what a traceback needs for its suggestion."""
        library, _, attribute = name.partition(".")
        space = unixconn.gi._Namespace(f"gi.repository.{library}")
        with pytest.raises(AttributeError, match=f"module 'gi.repository.{library}' has no attribute") as caught:
            getattr(space, attribute)
        assert (caught.value.name, caught.value.obj) == (attribute, space)

    def test_what_older_programs_call(self):
        """These do what they do in PyGObject: two of them nothing."""
        installed(
            "from gi.repository import Gio, GLib, GObject\n"
            "GLib.threads_init(); GObject.threads_init()\n"
            "assert GLib.main_context_default() is GObject.main_context_default() is GLib.MainContext.default()\n"
            "class Own(GObject.Object): pass\n"
            "GObject.type_register(Own)\n"
            "GObject.signal_new('spoken', Own, GObject.SignalFlags.RUN_LAST, None, (int,))\n"
            "own, seen = Own(), []\n"
            "own.connect('spoken', lambda each, value: GObject.signal_stop_emission_by_name(each, 'spoken'))\n"
            "own.connect('spoken', lambda *_: seen.append(1))\n"
            "own.emit('spoken', 1); assert seen == []\n"
            "class Made(Own):\n"
            "    kind, a_b = GObject.Property(type=int), GObject.Property(type=int, default=3)\n"
            "made = GObject.new(Made, kind=2, **{'a-b': 1})\n"
            "assert (type(made), made.kind, made.a_b, GObject.new(Made).a_b) == (Made, 2, 1, 3)\n"
            "assert [each.name for each in GObject.list_properties(Made)] == ['a-b', 'kind']\n"
            "sock = GObject.new(Gio.Socket, family=Gio.SocketFamily.UNIX, **{'listen-backlog': 5})\n"
            "assert (sock.get_family(), sock.get_listen_backlog()) == (Gio.SocketFamily.UNIX, 5)\n"
        )

    def test_dashes(self):
        """Constructors take properties with dashes in their names, and refuse others."""
        installed(
            "from gi.repository import Gio, GObject\n"
            "assert Gio.SocketListener(**{'listen-backlog': 7}).get_property('listen-backlog') == 7\n"
            "assert Gio.ThreadedSocketService(**{'max-threads': 3, 'active': False}).props.max_threads == 3\n"
            "one = Gio.UnixFDList(); assert Gio.UnixFDMessage(**{'fd-list': one}).get_fd_list() is one\n"
            "class Own(Gio.SocketService):\n"
            "    a_b = GObject.Property(type=int)\n"
            "own = Own(**{'a-b': 4, 'listen-backlog': 9}); assert (own.a_b, own.props.listen_backlog) == (4, 9)\n"
            "for wrong in ((1,), {}), ((), {'no-such': 1}), ((), {'no_such': 1}):\n"
            "    try: Gio.SocketListener(*wrong[0], **wrong[1])\n"
            "    except TypeError: pass\n"
            "    else: raise AssertionError(wrong)\n"
        )


class TestCommand:
    def test_a_program(self, tmp_path):
        """It is __main__, has its arguments, imports what stands beside it, and its exit code is kept."""
        (tmp_path / "beside.py").write_text("word = 'beside'")
        program = tmp_path / "program.py"
        program.write_text(
            "import sys, beside\nfrom gi.repository import Gio\n"
            "print(__name__, sys.argv[1:], beside.word, Gio.UnixConnection.__module__, __file__ == sys.argv[0])\n"
            "sys.exit(7)"
        )
        done = run("-m", "unixconn.gi", str(program), "--one", "two")
        assert (done.stdout, done.stderr) == ("__main__ ['--one', 'two'] beside unixconn True\n", "")
        assert done.returncode == 7

    def test_it_is_main_until_the_end(self, tmp_path):
        """Its threads and what atexit calls find it as __main__, with an absolute __file__, as Python starts it."""
        (tmp_path / "program.py").write_text(
            "import atexit, os, sys, threading\n"
            "started = threading.Event()\n"
            "def show(who): import __main__ as found; print(who, found.show is show, found.__spec__, found.word)\n"
            "atexit.register(show, 'atexit')\n"
            "def work(): threading.main_thread().join(); show('thread')\n"
            "threading.Thread(target=work).start()\n"
            "def noted(value: int): pass\n"
            "print(__file__ == os.path.abspath(sys.argv[0]), sys.argv, noted.__annotations__)\n"
            "word = 'last'"
        )
        done = run("-m", "unixconn.gi", "program.py", cwd=tmp_path)
        lines = "True ['program.py'] {'value': <class 'int'>}\nthread True None last\natexit True None last\n"
        assert (done.stdout, done.stderr, done.returncode) == (lines, "", 0)

    def test_an_exception(self, tmp_path):
        """The traceback is the program's, and the exit code 1."""
        program = tmp_path / "program.py"
        program.write_text("from gi.repository import GLib\nraise GLib.Error('mine')")
        done = run("-m", "unixconn.gi", str(program))
        assert done.returncode == 1
        assert "program.py" in done.stderr
        assert "mine" in done.stderr

    def test_help(self):
        """--help shows how it is used, and is not taken for a program."""
        done = run("-m", "unixconn.gi", "--help")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: python -m unixconn.gi program.py")

    def test_a_program_that_does_not_exist(self):
        """It is named in one line, without a traceback."""
        done = run("-m", "unixconn.gi", "absent.py")
        assert (done.returncode, done.stderr) == (2, "python -m unixconn.gi: 'absent.py' does not exist\n")

    def test_a_directory(self, tmp_path):
        """It is named in one line, too."""
        done = run("-m", "unixconn.gi", "folder", cwd=(tmp_path / "folder").mkdir() or tmp_path)
        line = "python -m unixconn.gi: 'folder' is a directory, and not a program\n"
        assert (done.returncode, done.stderr) == (2, line)

    def test_no_program(self):
        """It says how it is used."""
        done = run("-m", "unixconn.gi")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("usage: python -m unixconn.gi program.py")
