"""
What this library has under the names of Gio, GLib and GObject, compared with PyGObject's by machine.

What this library has in addition is not looked at.
"""

from __future__ import annotations

import functools
import inspect
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from peers.peer_gio import need_gio

import unixconn.gi

NAMES = {library: sorted(unixconn.gi._NAMES[library]) for library in ("Gio", "GLib", "GObject")}

DIFFERENCES = {
    # what Python has no use for
    r"\w+\.\w+\.(priv|parent_instance|base_stream|g_type_instance|qdata|ref_count)": "a field of the C structure",
    r"G(Lib|Object)\.Source\.(callback_(data|funcs)|context|flags|name|next|poll_fds|prev|source_(funcs|id))": (
        "a field of the C structure"
    ),
    r"G(Lib|Object)\.\w+\.(un)?ref(_to_\w+|_sink)?": "Python counts the references",
    r"GObject\.G?Object\.(force_floating|is_floating|run_dispose|watch_closure|compat_control)": (
        "Python counts the references"
    ),
    r"GObject\.G?Object\.(get|set|steal|replace)_q?data": "raises RuntimeError in PyGObject, as attributes do this",
    r"GObject\.G?Object\.(interface_\w+|install_propert\w+|override_property|getv|newv|notify_by_pspec)": (
        "for C: a class declares its properties"
    ),
    r"GObject\.G?Object\.(bind_property(_full)?|chain)": "left out: bindings, and calling the overridden closure",
    r"GObject\.(Property\.get_pspec_args|Signal\.(BoundSignal|copy|get_signal_args))": "internals of PyGObject",
    r"GObject\.TYPE_\w+": "Python's types stand for GObject's",
    r"GLib\.Bytes\.get_region": "returns the address of the bytes",
    r"Gio\.SocketAddress\.(new_from|to)_native|Gio\.Credentials\.set_native": "takes the address of a C structure",
    r"Gio\.SocketControlMessage\.serialize": "takes the address of the memory",
    r"Gio\.Task\.(get|set)_(source_tag|task_data)|Gio\.Task\.return_pointer": "takes addresses only",
    r"Gio\.Task\.(report_error|run_in_thread_sync|set_return_on_cancel)": "left out: nothing waits for a thread",
    r"Gio\.Socket\.(receive_messages|send_messages|send_message_with_timeout)": (
        "PyGObject cannot make the structures of the messages"
    ),
    r"Gio\.OutputStream\.writev\w*": "PyGObject cannot make the structures of the vectors",
    r"Gio\.\w+\.do_\w+": "no virtual method: overriding one is an error at the class statement",
    r"GLib\.MainContext\.(acquire|release|prepare|query|check|dispatch|wait|\w+_poll|new_with_flags)|"
    r"GObject\.MainContext\.(acquire|release|prepare|query|check|dispatch|wait|\w+_poll|new_with_flags)": (
        "left out: the steps of an iteration by hand"
    ),
    r"G(Lib|Object)\.(MainContext\.find_source|Source\.remove)_by_\w+": "finds a source by the address of its data",
    r"G(Lib|Object)\.Source\.(new|set_funcs|set_callback_indirect|set_static_name|set_name_by_id)": (
        "for C: a subclass, set_callback, set_name and source_set_name_by_id are these"
    ),
    r"G(Lib|Object)\.Source\.(\w+_child_source|get_current_time)": "left out: sources within sources; deprecated",
    # what is not there for Unix sockets
    r"Gio\.Socket\.\w*(broadcast|multicast|ttl|ipv4)\w*|Gio\.Socket:\S*(broadcast|multicast|ttl)\S*": "an option of IP",
    r"Gio\.TcpConnection.(\w*graceful_disconnect|graceful-disconnect)": "an option of TCP",
    r"Gio\.SocketClient\.connect_to_\w+_(async|finish)": "hosts: connect_to_host raises NOT_SUPPORTED, too",
    r"Gio\.SocketClient\S*(proxy|tls.validation)\S*": "proxies and TLS",
    r"Gio\.SocketAddress\.(proxy_)?enumerate": "the addresses of a host",
    r"Gio\.\w+\.(can_)?(seek|tell|truncate)": "left out: Seekable, as sockets have no position",
    r"Gio\.Unix(In|Out)putStream\.(can_poll|create_source|\w+_nonblocking)": (
        "left out: Pollable streams; Socket.create_source, unix_fd_add_full and MSG_DONTWAIT do this"
    ),
    r"Gio\.Socket\.(receive|send)_with_blocking": "left out: MSG_DONTWAIT of send_message does this",
    r"Gio\.DataInputStream\.read_until\w*": "deprecated in favour of read_upto, as its two forms differ",
    # what is better, see docs/migrating.md
    r"Gio\.InputStream\.read(_all)?(_async)? .*": "takes a count and returns bytes: PyGObject cannot fill a buffer",
    r"Gio\.Socket\.receive(_from)? .*": "takes a size and returns bytes: PyGObject cannot fill a buffer",
    r"Gio\.AsyncResult bases": "an interface in Gio, and a base class of Task here",
    r"Gio\.UnixSocketAddress:path-as-array .*": "bytes, and read-only: PyGObject cannot convert bytes to a GByteArray",
    r"G(Lib|Object)\.Source\.set_callback .*": "its parameter is called callback, as everywhere",
    r"Gio\.Task\.return_value .*": "None is a value to return",
}
"""Regular expressions of what is not as in PyGObject, and the reasons."""


NEWER = {
    "Gio.Socket.receive_bytes": ["size", "timeout_us", "cancellable"],
    "Gio.Socket.receive_bytes_from": ["size", "timeout_us", "cancellable"],
    "Gio.UnixFDList.append_take": ["fd"],
    "Gio.UnixFDList.lookup": ["index_"],
    "Gio.UnixFDList.peek": ["index_"],
}
"""The methods of GLib 2.90 that its 2.74 does not have. What is new in Task and Source is left out."""


class Report:
    """The differences that were found."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def differs(self, where: str, theirs: object, ours: object) -> None:
        """Add a difference."""
        self.found[where] = f"{theirs!r} in PyGObject, {ours!r} here"

    def same(self, where: str, theirs: object, ours: object) -> None:
        """Add a difference if there is one."""
        if theirs != ours:
            self.differs(where, theirs, ours)


@functools.lru_cache(maxsize=1)
def of_pygobject() -> dict[str, dict[str, dict[str, Any]]]:
    """Return what PyGObject has under our names."""
    program = Path(__file__).with_name("survey_gi.py")
    done = subprocess.run(
        [need_gio(), str(program)], input=json.dumps(NAMES), capture_output=True, text=True, timeout=100, check=True
    )
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def parameters(raw: Any) -> tuple[bool, list[inspect.Parameter]]:
    """Return whether a function of a class needs an instance, and its parameters without that."""
    function = getattr(raw, "__func__", raw)
    instance = not isinstance(raw, (staticmethod, classmethod))
    found = list(inspect.signature(function).parameters.values())
    return instance, found[0 if isinstance(raw, staticmethod) else 1 :]


def compare_parameters(report: Report, where: str, theirs: list[Any], ours: list[inspect.Parameter]) -> None:
    """Compare names, order, and which may be left out; more parameters with a default are fine."""
    names = [each.name for each in ours]
    given = [name for name, _ in theirs]
    for number, (name, is_optional) in enumerate(theirs):
        if number < len(ours) and ours[number].kind == inspect.Parameter.VAR_POSITIONAL:
            return
        if names[number : number + 1] != [name]:
            report.differs(f"{where} {name}", given, names)
            return
        # A default before a parameter that must be given is none.
        if is_optional and all(each for _, each in theirs[number:]) and ours[number].default is inspect.Parameter.empty:
            report.differs(f"{where} {name}", "a default", "none")
    for each in ours[len(theirs) :]:
        if each.default is inspect.Parameter.empty and each.kind in (0, 1):
            report.differs(f"{where} {each.name}", given, names)


def compare_members(report: Report, where: str, theirs: dict[str, Any], ours: type) -> None:
    """Compare what a class has."""
    for name, function in theirs["members"].items():
        try:
            raw = inspect.getattr_static(ours, name)
        except AttributeError:
            report.differs(f"{where}.{name}", "there", "missing")
            continue
        if function is None or not callable(getattr(ours, name)):
            continue
        instance, found = parameters(raw)
        if name not in ("new", "handler_block", "handler_unblock"):
            report.same(f"{where}.{name}", function["instance"], instance)
        if function["parameters"] is not None:
            compare_parameters(report, f"{where}.{name}", function["parameters"], found)


def compare_properties(report: Report, where: str, theirs: dict[str, Any], ours: Any) -> None:
    """Compare a class's properties and signals."""
    mine = {each.name: each for each in ours.list_properties()}
    for name in {*theirs["properties"], *mine}:
        there, here = theirs["properties"].get(name), mine.get(name)
        if there is None or here is None:
            report.differs(f"{where}:{name}", there, here)
            continue
        kind, default, access = there
        settable = "wo" if here.construct_only else "w" if here.setter else ""
        report.same(f"{where}:{name} access", access.replace("c", ""), f"r{settable}")
        report.same(f"{where}:{name} type", re.sub("^G(?=[A-Z])", "", kind), here.value_type.__name__)
        if default != "object":
            report.same(f"{where}:{name} default", default, here.default_value)
    signals = {name: value for base in ours.__mro__ for name, value in vars(base).get("_signals", {}).items()}
    report.same(f"{where} signals", sorted(theirs["signals"]), sorted(signals))
    for name, (kinds, result, flags) in theirs["signals"].items():
        if name != "notify" and name in signals:
            report.same(f"{where}::{name} values", len(kinds), signals[name].count)
            report.same(f"{where}::{name} result", result == "bool", signals[name].ends_when_true)
            report.same(f"{where}::{name} flags", flags & 0x11, 0)


def compare_class(report: Report, where: str, theirs: dict[str, Any], ours: type) -> None:
    """Compare a class's bases, abstractness and members."""
    public = [each.__name__ for each in ours.__mro__ if each.__name__ in unixconn.__all__ or each is object]
    known = [each for each in dict.fromkeys(theirs["bases"]) if each in unixconn.__all__ or each == "object"]
    report.same(f"{where} bases", sorted(known), sorted(public))
    compare_members(report, where, theirs, ours)
    if "properties" in theirs:
        compare_properties(report, where, theirs, ours)
        if theirs["abstract"]:
            with pytest.raises(TypeError, match="abstract"):
                ours(*["x"] * where.startswith("Gio.Filter"))


def names_of(member: Any) -> list[Any]:
    """Return the value of a member of an enumeration, and its names, as survey_gi.py does."""
    names = ("value_name", "value_nick", "value_names", "value_nicks", "first_value_name", "first_value_nick")
    return [member, *(getattr(member, each) for each in names if hasattr(member, each))]


def survey() -> dict[str, str]:
    """Return all differences."""
    report = Report()
    for library, names in of_pygobject().items():
        space = unixconn.gi._Namespace(f"gi.repository.{library}")
        for name, theirs in names.items():
            where, ours = f"{library}.{name}", getattr(space, name)
            if "value" in theirs:
                report.same(where, theirs["value"], ours)
            elif "values" in theirs:
                for each, value in theirs["values"].items():
                    report.same(f"{where}.{each}", value, names_of(getattr(ours, each, None)))
            elif "members" in theirs:
                compare_class(report, where, theirs, ours)
            elif theirs["parameters"] is not None:
                compare_parameters(
                    report, where, theirs["parameters"], list(inspect.signature(ours).parameters.values())
                )
    return report.found


def test_no_difference_without_a_reason() -> None:
    """Each that is found is in the list, and each of the list is found."""
    found = survey()
    unknown = {
        where: what for where, what in found.items() if not any(re.fullmatch(each, where) for each in DIFFERENCES)
    }
    assert unknown == {}
    assert [each for each in DIFFERENCES if not any(re.fullmatch(each, where) for where in found)] == []


@pytest.mark.parametrize("name", NEWER)
def test_of_newer_versions(name: str) -> None:
    """These are there, with their parameters, whichever version of GLib is installed."""
    report = Report()
    _, kind, method = name.split(".")
    _, ours = parameters(inspect.getattr_static(getattr(unixconn, kind), method))
    theirs = [[each, each == "cancellable"] for each in NEWER[name]]
    compare_parameters(report, name, theirs, ours)
    assert report.found == {}
