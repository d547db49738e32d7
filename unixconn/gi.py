"""
Run programs written for PyGObject unchanged: ``gi`` and its namespaces Gio, GLib and GObject mean this library.

The command runs a program:

    python -m unixconn.gi program.py argument...

`install` does the same for the current process:

    import unixconn.gi

    unixconn.gi.install()

    from gi.repository import Gio, GLib

`use_glib_loop` is for programs that keep PyGObject, such as those with a window.
"""

from __future__ import annotations

import atexit
import builtins
import sys
from functools import wraps
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import unixconn
from unixconn._base import declarations
from unixconn._base.object import DeclaredSignal, Object
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.missing import about
from unixconn._io.glib_loop import attach

if TYPE_CHECKING:
    from typing import Any

__all__ = ["install", "use_glib_loop"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OWN = _words(
    "Accepted AcceptedSocket AddressAdded BACKEND CancelledError ClosedError CredentialsSource Datagram FileDescriptor "
    "Future JoinedMessage Line Text InvalidArgumentError InvalidDataError Message NoSuchProcessError NotConnectedError "
    "NotFoundError NotInitializedError NotSupportedError PeerClosedError PeerResetError PendingError "
    "PermissionDeniedError RefusedError SocketMessage SocketOption SystemCallError TimedOutError TooManyOpenFilesError "
    "TooManyReferencesError UnixListener WouldBlockError Written close_fds connect connect_async connect_finish listen "
    "peer_credentials serve"
)
"""The public names of unixconn that are no names of GLib's libraries."""
_GLIB = _words(
    "Bytes Error GError IOCondition MainContext MainLoop PRIORITY_DEFAULT PRIORITY_DEFAULT_IDLE PRIORITY_HIGH "
    "PRIORITY_HIGH_IDLE PRIORITY_LOW PollFD SOURCE_CONTINUE SOURCE_REMOVE Source idle_add source_remove timeout_add "
    "timeout_add_seconds child_watch_add get_monotonic_time get_real_time idle_source_new timeout_source_new "
    "unix_signal_add quark_from_string quark_to_string Idle Timeout io_add_watch source_set_name_by_id "
    "unix_fd_add_full unix_fd_source_new timeout_source_new_seconds IO_IN IO_PRI IO_OUT IO_ERR IO_HUP IO_NVAL"
)
_GOBJECT = _words("GEnum GFlags Object ParamFlags Property Signal SignalFlags signal_accumulator_true_handled")
_CONSTANTS = {
    name: value for name, value in vars(declarations).items() if name.startswith(("PARAM_", "SIGNAL_", "TYPE_"))
}
"""PyGObject's constants for declarations. unixconn itself takes Python's types and the members of the flags."""
del _CONSTANTS["TYPE_CHECKING"]
_CONSTANTS["TYPE_NONE"] = None
_IN_GOBJECT = _GLIB - {
    "get_monotonic_time",
    "get_real_time",
    "idle_source_new",
    "timeout_source_new",
    "timeout_source_new_seconds",
    "unix_signal_add",
    "unix_fd_add_full",
    "unix_fd_source_new",
    "source_set_name_by_id",
    "quark_from_string",
    "quark_to_string",
    "Bytes",
    "Error",
    "IOCondition",
    "SOURCE_CONTINUE",
    "SOURCE_REMOVE",
}
"""The names of GLib that PyGObject has in GObject, too. It calls them deprecated."""


def _threads_init() -> None:
    """Do nothing, as PyGObject's function of this name does since its version 3.10."""


def _type_register(kind: type, type_name: str | None = None) -> type:
    """Return the class *kind*: a class registers itself, as in PyGObject since its version 2.8."""
    return kind


def _signal_new(name: str, kind: type[Object], flags: int, result: type | None, types: tuple[type, ...]) -> None:
    """Add a signal to the class *kind*, as ``__gsignals__`` does. PyGObject returns its number, here there is none."""
    kind._add_signal(DeclaredSignal(name, flags, result, types))


def _list_properties(kind: type[Object]) -> list[Any]:
    """Return the properties of the class *kind*, as its method does."""
    return list(kind.list_properties())


def _new(kind: type[Object], /, **properties: Any) -> Object:
    """Make an object of the class *kind*. The names of its *properties* may have dashes."""
    return kind(**{name.replace("-", "_"): value for name, value in properties.items()})


def _stop_emission(instance: Object, detailed_signal: str) -> None:
    instance.stop_emission_by_name(detailed_signal)


def _main_context_default() -> unixconn.MainContext:
    """Return the default context, as `MainContext.default` does."""
    return unixconn.MainContext.default()


def _accept_dashes(kind: type[Object]) -> None:
    """Have the constructor of *kind* accept dashes in the names of properties, as PyGObject's does."""
    make = vars(kind)["__init__"]
    code = make.__code__
    taken = {name.replace("_", "-") for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]}
    if not any("-" in each.name and each.name in taken for each in kind.list_properties()):
        return

    @wraps(make)
    def take(self: Object, *arguments: Any, **properties: Any) -> None:
        make(self, *arguments, **{name.replace("-", "_"): value for name, value in properties.items()})

    setattr(kind, "__init__", take)  # noqa: B010 - for type checkers, which refuse the plain form


_OLD: dict[str, Any] = {
    "list_properties": _list_properties,
    "main_context_default": _main_context_default,
    "new": _new,
    "threads_init": _threads_init,
    "type_register": _type_register,
    "signal_new": _signal_new,
    "signal_stop_emission_by_name": _stop_emission,
}
"""What older programs call."""

_NAMES: dict[str, dict[str, str]] = {
    "Gio": {name: name for name in dir(unixconn) if not name.startswith("_") and name not in _OWN | _GLIB | _GOBJECT},
    "GLib": {**{name: name for name in _GLIB}, **{name: name for name in ("main_context_default", "threads_init")}},
    "GObject": {
        **{name: name for name in _OLD},
        **{name: name for name in _IN_GOBJECT},
        **{name: name for name in _GOBJECT},
        **{name: name for name in _CONSTANTS},
        "GObject": "Object",
    },
    "GioUnix": {"FDMessage": "UnixFDMessage", "InputStream": "UnixInputStream", "OutputStream": "UnixOutputStream"},
    "GLibUnix": {
        "fd_add_full": "unix_fd_add_full",
        "fd_source_new": "unix_fd_source_new",
        "signal_add": "unix_signal_add",
        "signal_add_full": "unix_signal_add",
    },
}
"""The names of each namespace, and what they are called in unixconn."""


class _Namespace(ModuleType):
    """What ``gi.repository`` has under the name of a library."""

    def __getattr__(self, name: str) -> Any:
        library = self.__name__.rpartition(".")[2]
        found = _NAMES[library].get(name)
        if found is not None and name in _OLD:
            return _OLD[name]
        if library == "GObject" and name in _CONSTANTS:
            return _CONSTANTS[name]
        if found is None:
            text = about(library, name)
            error: Any = AttributeError(text or f"module {self.__name__!r} has no attribute {name!r}")
            # With these, the traceback of Python 3.10 and later suggests a similar name.
            error.name, error.obj = name, self
            raise error
        value = getattr(unixconn, found)
        if isinstance(value, type) and issubclass(value, Object) and "__init__" in vars(value):
            _accept_dashes(value)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*_NAMES[self.__name__.rpartition(".")[2]], *super().__dir__()})


def _require_version(namespace: str, version: str) -> None:
    if namespace not in _NAMES:
        raise ValueError(f"Namespace {namespace} not available")
    if version != "2.0":
        raise ValueError(f"Namespace {namespace} not available for version {version}")


def _require_versions(requires: dict[str, str]) -> None:
    for namespace, version in requires.items():
        _require_version(namespace, version)


def install(force: bool = False) -> bool:
    """
    Make ``gi`` and ``gi.repository`` mean this library, and return True.

    Call it before the program imports ``gi``. Where PyGObject is installed, the call has no effect without *force*, and
    returns False. The namespaces are Gio, GLib, GObject, GioUnix and GLibUnix. A name of theirs that this library
    leaves out on purpose raises an AttributeError that says so. From then on, the text of an `Error` is Gio's alone,
    without the path, and constructors accept properties with dashes in their names.
    """
    if isinstance(sys.modules.get("gi.repository.Gio"), _Namespace):
        return True
    if not force and find_spec("gi") is not None:
        return False
    made: dict[str, Any] = {name: ModuleType(name) for name in ("gi", "gi.repository")}
    for name in _NAMES:
        made[f"gi.repository.{name}"] = _Namespace(f"gi.repository.{name}")
    for name, module in made.items():
        module.__spec__ = ModuleSpec(name, None, is_package=name in ("gi", "gi.repository"))
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(made[parent], last, module)
    top = made["gi"]
    top.require_version, top.require_versions = _require_version, _require_versions
    top.version_info, top.__version__ = (3, 42, 2), "3.42.2"
    top.__path__ = made["gi.repository"].__path__ = []
    for name in [each for each in sys.modules if each.partition(".")[0] == "gi"]:
        del sys.modules[name]
    sys.modules.update(made)
    unixconn.Error._shows_path = False
    return True


_guests: list[Any] = []
"""The source that `use_glib_loop` has made."""


def use_glib_loop() -> None:
    """
    Have PyGObject's main loop call the callbacks of this library, in a program that keeps PyGObject.

    These are the callbacks of ``*_async``, the signals of a `SocketService`, `idle_add` and `timeout_add`. Call it in
    the thread that runs GLib's default loop. No thread is started. A second call does nothing.

    Raises ImportError without PyGObject, and RuntimeError if `install` has replaced it.
    """
    from gi.repository import GLib as glib  # type: ignore[import-not-found,unused-ignore]  # noqa: N813

    if type(glib) is _Namespace:
        raise RuntimeError("gi.repository.GLib is unixconn itself, which needs no other loop: install() replaced it")
    if not _guests:
        _guests.append(attach(glib, unixconn.MainContext.default()))
        # PyGObject's destructor of a source fails once the interpreter shuts down.
        atexit.register(_guests.clear)


_USAGE = """\
usage: python -m unixconn.gi program.py [argument...]

Run a program written for PyGObject: gi and gi.repository mean unixconn.\
"""


def _main() -> None:
    if len(sys.argv) < 2:
        print(_USAGE, file=sys.stderr)
        sys.exit(2)
    program = sys.argv[1]
    if program in ("-h", "--help"):
        print(_USAGE)
        return
    if not Path(program).exists():
        print(f"python -m unixconn.gi: {program!r} does not exist", file=sys.stderr)
        sys.exit(2)
    if Path(program).is_dir():
        print(f"python -m unixconn.gi: {program!r} is a directory, and not a program", file=sys.stderr)
        sys.exit(2)
    install(force=True)
    del sys.argv[0]
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = str(Path(program).resolve().parent)
    # As Python starts a program. runpy takes the module away at the end of its code, before its threads have ended.
    module: Any = ModuleType("__main__")
    module.__file__ = str(Path(program).absolute())
    module.__builtins__ = builtins
    sys.modules["__main__"] = module
    code = compile(Path(program).read_bytes(), module.__file__, "exec", dont_inherit=True)
    exec(code, vars(module))


if __name__ == "__main__":
    _main()
