"""What PyGObject makes of errors, arguments and properties."""

from __future__ import annotations

import copy
import pickle

from gi.repository import Gio, GLib

from tools import DEFAULT, SO_PASSCRED, SOL_SOCKET, STREAM, UNIX, attempt, cancelled, pair, plain, unconnected


def error_attributes():
    """An error has Gio's text, domain and code, as str and repr show them."""
    try:
        cancelled().set_error_if_cancelled()
    except GLib.Error as error:
        attributes = [error.message, error.domain, error.code, type(error.code).__name__, list(error.args)]
        return [*attributes, str(error), repr(error), isinstance(error, RuntimeError)]


def error_matches():
    """matches() compares the quark and the code; a name never matches."""
    try:
        cancelled().set_error_if_cancelled()
    except GLib.Error as error:
        quark, code = Gio.io_error_quark(), Gio.IOErrorEnum.CANCELLED
        return [
            error.matches(quark, code),
            error.matches(quark, Gio.IOErrorEnum.CLOSED),
            error.matches(0, code),
            error.matches("g-io-error-quark", code),
        ]


def error_copy():
    """copy() has the same content and is another object."""
    try:
        cancelled().set_error_if_cancelled()
    except GLib.Error as error:
        other = error.copy()
        return [plain(other), other is error, repr(other)]


def error_new_literal():
    """new_literal() makes an error of a quark, a text and a code."""
    error = GLib.Error.new_literal(Gio.io_error_quark(), "text", 5)
    return [plain(error), str(error), error.matches(Gio.io_error_quark(), 5)]


def error_defaults():
    """The constructor's defaults."""
    return [plain(GLib.Error()), plain(GLib.Error("text")), repr(GLib.Error("text", "domain", 3))]


def error_codes_of_errnos():
    """Every errno has Gio's code."""
    return [int(Gio.io_error_from_errno(number)) for number in range(1, 134)]


def error_enum_values():
    """The codes have Gio's names and numbers."""
    names = "FAILED NOT_FOUND INVALID_ARGUMENT PERMISSION_DENIED NOT_SUPPORTED CLOSED CANCELLED PENDING TIMED_OUT"
    more = "WOULD_BLOCK TOO_MANY_OPEN_FILES NOT_INITIALIZED ADDRESS_IN_USE INVALID_DATA CONNECTION_REFUSED"
    last = "BROKEN_PIPE CONNECTION_CLOSED NOT_CONNECTED MESSAGE_TOO_LARGE EXISTS FILENAME_TOO_LONG NO_SPACE"
    return {name: int(getattr(Gio.IOErrorEnum, name)) for name in f"{names} {more} {last}".split()}


def keyword_arguments():
    """The arguments' names are Gio's."""
    a, b = pair()
    outcome = [a.send_fd(fd=0, cancellable=None), b.receive_fd(cancellable=None) > 0]
    return [*outcome, a.send_credentials(cancellable=None), plain(b.receive_credentials(cancellable=None))]


def wrong_types():
    """Arguments of wrong types and counts are a TypeError."""
    a, _b = pair()
    return [
        attempt(a.send_fd),
        attempt(a.send_fd, "0"),
        attempt(a.send_fd, None),
        attempt(a.send_fd, 0, "x"),
        attempt(a.send_fd, 0, None, None),
        attempt(a.receive_fd, 1),
        attempt(a.send_credentials, object()),
        attempt(a.receive_credentials, a),
        attempt(a.receive_fd, nothing=1),
        attempt(a.get_socket().set_timeout, "1"),
        attempt(a.get_socket().send, "text"),
    ]


def out_of_range():
    """Integers that C can not hold are an OverflowError."""
    a, _b = pair()
    return [
        attempt(a.send_fd, 2**31),
        attempt(a.send_fd, -(2**31) - 1),
        attempt(a.get_socket().set_timeout, -1),
        attempt(a.get_socket().set_timeout, 2**32),
        attempt(Gio.Credentials().set_unix_user, -1),
        attempt(Gio.Credentials().set_unix_user, 2**32),
    ]


def float_as_timeout():
    """A float counts as an int."""
    a, _b = pair()
    return [attempt(a.get_socket().set_timeout, 2.5), a.get_socket().get_timeout()]


def several_results_have_names():
    """What has several results gives a tuple with names."""
    a, b = pair()
    option = a.get_socket().get_option(SOL_SOCKET, SO_PASSCRED)
    written = a.get_output_stream().write_all(b"abc")
    message = b.get_socket().receive_message([], 0)
    outcome = [list(option), option.value, list(written), written.bytes_written]
    return plain([*outcome, len(message), message[0], message[1], message.messages, message.flags])


def properties_by_three_ways():
    """A property is reached by props, and by get_property with dashes or underscores."""
    a, _b = pair()
    s = a.get_socket()
    s.props.timeout = 3
    outcome = [s.get_property("timeout"), s.get_timeout(), s.props.listen_backlog, s.get_property("listen-backlog")]
    s.set_property("listen_backlog", 7)
    return [*outcome, s.get_property("listen_backlog"), s.get_listen_backlog(), a.props.socket is s]


def unknown_properties():
    """Properties that there are not are a TypeError, by props an AttributeError."""
    a, _b = pair()
    return [
        attempt(a.get_property, "nothing"),
        attempt(lambda: a.props.nothing),
        attempt(a.set_property, "nothing", 1),
        attempt(Gio.Socket, nothing=1),
        attempt(Gio.UnixFDMessage, Gio.UnixFDList()),
    ]


def read_only_properties():
    """Read-only properties can not be set."""
    a, _b = pair()
    return [attempt(a.set_property, "closed", True), attempt(a.get_socket().set_property, "local-address", None)]


def connection_properties():
    """The properties of a connection give what the methods give."""
    a, _b = pair()
    streams = [a.props.input_stream is a.get_input_stream(), a.props.output_stream is a.get_output_stream()]
    before = a.props.closed
    a.close()
    return [*streams, before, a.props.closed, a.get_property("closed")]


def socket_properties():
    """The properties of a socket give what the getters give."""
    s = pair()[0].get_socket()
    names = ["family", "type", "protocol", "blocking", "listen-backlog", "timeout", "keepalive"]
    addresses = [plain(s.props.local_address), plain(s.props.remote_address)]
    return [[plain(s.get_property(name)) for name in names], s.props.fd == s.get_fd(), addresses]


def error_wrong_arguments():
    """What makes errors and their codes is as strict as the rest about types and ranges."""
    quark, new = Gio.io_error_quark(), GLib.Error.new_literal
    wrong = ["x", None, 2**40]
    return [
        [attempt(Gio.io_error_from_errno, each) for each in wrong],
        int(Gio.io_error_from_errno(1.9)),
        [attempt(new, each, "text", 1) for each in ("g-io-error-quark", None)],
        attempt(new, quark, "text", "1"),
        attempt(new, quark, "text"),
    ]


def copies_are_refused():
    """No object can be copied: there would be two owners of one descriptor."""
    a, _b = pair()
    fd_list = Gio.UnixFDList()
    objects = [a, a.get_socket(), fd_list, Gio.UnixFDMessage(fd_list=fd_list), Gio.Credentials(), cancelled()]
    ways = [copy.copy, copy.deepcopy, pickle.dumps]
    return [[attempt(way, each) for way in ways] for each in objects]


def names_that_are_none():
    """The name of a property or a signal is a str, and the number of a handler a number."""
    a, _b = pair()
    s = a.get_socket()
    outcome = [[attempt(call, name) for name in (5, None)] for call in (s.get_property, s.emit)]
    outcome.append(attempt(s.connect_after, 5, print))
    calls = [a.disconnect, a.handler_is_connected, a.handler_block, Gio.Cancellable().disconnect]
    return [*outcome, [[attempt(call, number) for number in ("x", None, -1, 2**64)] for call in calls]]


def emit_counts():
    """emit() takes as many values as the signal has."""
    a, _b = pair()
    c = Gio.Cancellable()
    return [attempt(c.emit, "cancelled", 1), attempt(c.emit, "cancelled"), attempt(a.emit, "notify::closed")]


def notifications_that_were_held_back():
    """One for each property, the one that was the last to change first."""
    seen = []
    s = pair()[0].get_socket()
    s.connect_after("notify", lambda _s, changed: seen.append(changed.name))
    s.freeze_notify()
    s.set_timeout(1)
    s.set_blocking(False)
    s.set_timeout(2)
    s.set_listen_backlog(3)
    s.thaw_notify()
    s.set_properties(timeout=7, blocking=True)
    return seen


def socket_properties_without_a_peer():
    """The properties are there, also where the methods raise."""
    s = unconnected().get_socket()
    names = ["remote-address", "keepalive", "timeout", "blocking"]
    outcome = [plain(s.get_property(name)) for name in names]
    s, names = pair()[0].get_socket(), [*names, "local-address", "fd", "family", "type", "protocol", "listen-backlog"]
    s.set_keepalive(True)
    s.close()
    return [outcome, [plain(s.get_property(name)) for name in names], s.get_keepalive()]


def socket_of_properties():
    """A Socket's constructor takes its settings."""
    s = Gio.Socket(family=UNIX, type=STREAM, protocol=DEFAULT, keepalive=True, blocking=False, timeout=3)
    return [s.init(None), s.get_keepalive(), s.get_blocking(), s.get_timeout(), attempt(s.init, 5)]


def socket_init_with_a_cancellable():
    """Refused, whether the Cancellable is cancelled or not; the Socket can still be opened, and then refuses it."""
    s = Gio.Socket(family=UNIX, type=STREAM, protocol=DEFAULT)
    refused = [attempt(s.init, each) for each in (Gio.Cancellable(), cancelled())]
    return [*refused, s.init(None), attempt(s.init, Gio.Cancellable())]


def names_of_enums():
    """Those of C, the short ones and the long ones; a second name of a member is that of the first."""
    kinds = [
        Gio.SocketFamily,
        Gio.SocketType,
        Gio.SocketProtocol,
        Gio.UnixSocketAddressType,
        Gio.SocketClientEvent,
        Gio.SocketListenerEvent,
        Gio.DataStreamByteOrder,
        Gio.DataStreamNewlineType,
    ]
    errors = [getattr(Gio.IOErrorEnum, name) for name in ("FAILED", "CONNECTION_CLOSED", "NOT_DIRECTORY", "WRONG_ETAG")]
    members = [getattr(kind, name) for kind in kinds for name in sorted(dir(kind)) if name.isupper()]
    return [[each.value_name, each.value_nick] for each in (*errors, *members)]


def names_of_flags():
    """Those of all that are set, and of the first; what stands for 0 is always among them, and the first of nothing."""
    kinds = [Gio.SocketMsgFlags, GLib.IOCondition, Gio.OutputStreamSpliceFlags, Gio.IOStreamSpliceFlags]
    return [
        [each.value_names, each.value_nicks, each.first_value_name, each.first_value_nick]
        for kind in kinds
        for each in map(kind, range(8))
    ]


def props_as_a_list():
    """They can be iterated, but not deleted; and there is no getting no property."""
    ours, _theirs = pair()
    names = [[each.name for each in one.props] for one in (ours, Gio.UnixFDMessage(), Gio.Cancellable())]
    return [names, attempt(delattr, ours.props, "closed"), attempt(ours.get_properties)]


def name_of_a_cancellable_s_source():
    """It is that of the class, until it gets another."""
    source = Gio.Cancellable().source_new()
    found = [source.get_name()]
    source.set_name("mine")
    return [*found, source.get_name()]
