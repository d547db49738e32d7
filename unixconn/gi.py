"""
Run programs written for PyGObject unchanged: ``gi`` and its namespaces Gio, GLib and GObject mean this library.

The command runs a program:

    python -m unixconn.gi program.py argument...

`install` does the same for the current process:

    import unixconn.gi

    unixconn.gi.install()

    from gi.repository import Gio, GLib
"""

from __future__ import annotations

import re
import runpy
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import unixconn
from unixconn._base import declarations
from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["install"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OWN = _words(
    "Accepted AcceptedSocket AddressAdded BACKEND CancelledError ClosedError CredentialsSource Datagram FileDescriptor "
    "Future Line Text InvalidArgumentError InvalidDataError Message NoSuchProcessError NotConnectedError NotFoundError "
    "NotInitializedError NotSupportedError PeerClosedError PeerResetError PendingError PermissionDeniedError "
    "RefusedError SocketMessage SocketOption SystemCallError TimedOutError TooManyOpenFilesError "
    "TooManyReferencesError UnixListener WouldBlockError Written close_fds connect connect_async connect_finish listen "
    "peer_credentials serve"
)
"""The public names of unixconn that are no names of GLib's libraries."""
_GLIB = _words(
    "Bytes Error GError IOCondition MainContext MainLoop PRIORITY_DEFAULT PRIORITY_DEFAULT_IDLE PRIORITY_HIGH "
    "PRIORITY_HIGH_IDLE PRIORITY_LOW PollFD SOURCE_CONTINUE SOURCE_REMOVE Source idle_add source_remove timeout_add "
    "timeout_add_seconds child_watch_add get_monotonic_time get_real_time idle_source_new timeout_source_new "
    "unix_signal_add quark_from_string quark_to_string Idle Timeout io_add_watch source_set_name_by_id "
    "unix_fd_add_full unix_fd_source_new IO_IN IO_PRI IO_OUT IO_ERR IO_HUP IO_NVAL"
)
_GOBJECT = _words("Object ParamFlags Property Signal SignalFlags signal_accumulator_true_handled")
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

_NAMES: dict[str, dict[str, str]] = {
    "Gio": {name: name for name in dir(unixconn) if not name.startswith("_") and name not in _OWN | _GLIB | _GOBJECT},
    "GLib": {name: name for name in _GLIB},
    "GObject": {
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

_LEFT_OUT = {
    "Gio": (
        "Action|App|Ask|AsyncInitable|Bus|Charset|Converter|D[Bb]|DEBUG|DESKTOP|DRIVE|DatagramBased"
        "|Debug|Desktop|Drive|Dtls|Emblem|FILE|File|IO(Ext|Module|Sched)|Icon|Inet|Initable|List|Loadable|MEMORY|MENU"
        "|Memory|Menu|Mount|N(ATIVE|ETWORK|ative|etwork)|Notification|P(OWER|ROXY|assword|ermission|ollable|ower|ropert"
        "|roxy)|Remote|Resolver|Resource|SETTINGS|Seekable|Settings|Simple|Srv|Static|Subprocess|T(LS|hemed|ls|est)"
        "|Unix(Mount|PipeS)|V(FS|OLUME|fs|olume)|Zlib|action|app|async_init|bus|content|dbus|dtls|file|icon|initable"
        "|io_(ext|mod|sched)|keyfile|memory|network|pollable|power|proxy|resolver|resource|settings|simple|tls"
        "|unix_mount"
    ),
    "GLib": (
        "Array|Async|Bookmark|Byte[^s]|CSET|Checksum|Cond|DATALIST|D(ATE|IR|ate|ir)|File|HOOK|H(ash|mac|ook)|IOCh|IOSt"
        "|K(EY|ey)|List|L(OG|og)|M(apped|arkup|atch|utex)|Node|Normalize|O(PTION|nce|ption)|P(attern|rivate|tr)|Queue"
        "|RW|Rand|Rec|Regex|S(PAWN|canner|equence|hell|lice|pawn|tring|trv)|T(est|hread|ime(r|V|Z)|oken|rash|ree)"
        "|U(NICODE|RI|SER|nicode|ri)|VA|Variant|access|ascii|atomic|base64|bookmark|byte|chdir|checksum|compute|convert"
        "|data(list|set)|date|dir|environ|file|find|get_(applic|charset|codeset|current|environ|home|host|language"
        "|locale|os|prg|real_name|system|tmp|user)|hash|hmac|hook|io_(ch|create)|key|log|mark|option|path|pattern|random"
        "|regex|sequence|shell|slice|spawn|str|test|thread|trash|unichar|unicode|uri|utf|uuid|variant"
    ),
    "GObject": (
        "Binding|Closure|IOCh|Param(Spec[A-Z])|Type(C|Class|Instance|Interface|Module|Plugin)|Value|Weak|boxed|cclosure"
        "|clear|enum|flags|param|pointer|spawn|type_|uri|value|signal_(add|chain|over|set)"
    ),
    "GioUnix": "Desktop|Mount|mount|FileDescriptorBased",
    "GLibUnix": "open_pipe|set_fd",
}
"""How the names begin that are left out on purpose: they have nothing to do with sockets and their loop."""


class _Namespace(ModuleType):
    """What ``gi.repository`` has under the name of a library."""

    def __getattr__(self, name: str) -> Any:
        library = self.__name__.rpartition(".")[2]
        found = _NAMES[library].get(name)
        if library == "GObject" and name in _CONSTANTS:
            return _CONSTANTS[name]
        if found is None:
            text = f"module {self.__name__!r} has no attribute {name!r}"
            if re.match(_LEFT_OUT[library], name):
                text = f"{library}.{name} is not part of unixconn, on purpose: see docs/migrating.md"
            error: Any = AttributeError(text)
            # With these, the traceback of Python 3.10 and later suggests a similar name.
            error.name, error.obj = name, self
            raise error
        value = getattr(unixconn, found)
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
    Make ``gi`` and ``gi.repository`` mean this library, and return whether they do.

    Where PyGObject is installed, this has no effect without *force*. Call it before the program imports ``gi``. The
    namespaces are Gio, GLib, GObject, GioUnix and GLibUnix. A name of theirs that this library leaves out on purpose is
    an AttributeError that says so.
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
    return True


def _main() -> None:
    if len(sys.argv) < 2:
        print("usage: python -m unixconn.gi program.py [argument...]", file=sys.stderr)
        sys.exit(2)
    program = sys.argv[1]
    install(force=True)
    del sys.argv[0]
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = str(Path(program).resolve().parent)
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    _main()
