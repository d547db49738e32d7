"""Credentials, control messages and lists of descriptors."""

from __future__ import annotations

import gc
import os
import socket
import sys

from gi.repository import Gio

from tools import (
    SCM_CREDENTIALS,
    SO_PASSCRED,
    SOL_SOCKET,
    attempt,
    descriptors,
    is_cloexec,
    pair,
    plain,
    unix_socket,
    wrap,
)

# --- Credentials ---


def credentials_to_string():
    """Pid, uid and gid of this process."""
    c = Gio.Credentials.new()
    return [plain(c), c.get_unix_pid() == os.getpid(), c.get_unix_user() == os.geteuid()]


def credentials_of_other_effective_ids():
    """The ids are the effective ones of now."""
    if os.geteuid():
        return "not root"
    os.setegid(54322)
    os.seteuid(54321)
    return plain(Gio.Credentials())


def credentials_set_unix_user():
    """set_unix_user() changes the uid."""
    c = Gio.Credentials()
    outcome = [c.set_unix_user(1234), c.get_unix_user(), c.is_same_user(Gio.Credentials())]
    other = Gio.Credentials()
    other.set_unix_user(1234)
    return [*outcome, c.is_same_user(other), plain(c), attempt(c.set_unix_user, "x"), attempt(c.is_same_user, None)]


def credentials_invalid():
    """Those of a socket without a peer have no content, but no error until asked for."""
    c = unix_socket().get_credentials()
    return [c.to_string(), attempt(c.get_unix_pid), attempt(c.get_unix_user), c.is_same_user(Gio.Credentials())]


def credentials_invalid_as_the_other():
    """Only the validity of the object itself is looked at."""
    invalid = unix_socket().get_credentials()
    return [Gio.Credentials().is_same_user(invalid), attempt(Gio.Credentials().is_same_user, 1)]


def credentials_of_the_socket():
    """A socket's credentials are those of who made the pair, also after the peer has closed."""
    a, b = pair()
    outcome = [plain(a.get_socket().get_credentials())]
    b.close()
    outcome.append(plain(a.get_socket().get_credentials()))
    a.close()
    return [*outcome, attempt(a.get_socket().get_credentials)]


def credentials_of_the_socket_on_tcp():
    """TCP has none."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        return attempt(wrap(client).get_socket().get_credentials)


def credentials_unusual_numbers():
    """Big ids are written unsigned or signed as Gio does."""
    c = Gio.Credentials()
    c.set_unix_user(2**31 + 5)
    return [plain(c), c.get_unix_user()]


# --- control messages ---


def fd_message():
    """A message of descriptors: size, level, type and list."""
    m = Gio.UnixFDMessage.new()
    outcome = [m.get_size(), m.append_fd(0), m.append_fd(1), m.get_size(), m.get_level(), m.get_msg_type()]
    outcome += [m.get_fd_list() is m.get_fd_list(), m.get_fd_list().get_length(), attempt(m.append_fd, 99999)]
    stolen = m.steal_fds()
    return [*outcome, len(stolen), [is_cloexec(fd) for fd in stolen], m.get_size(), m.steal_fds()]


def fd_message_shares_its_list():
    """The list is shared, not copied."""
    fds = Gio.UnixFDList()
    m = Gio.UnixFDMessage.new_with_fd_list(fds)
    fds.append(0)
    same = [m.get_fd_list() is fds, m.props.fd_list is fds, Gio.UnixFDMessage(fd_list=fds).get_fd_list() is fds]
    return [*same, m.get_size(), Gio.UnixFDMessage(fd_list=None).get_fd_list().get_length()]


def credentials_message():
    """A message of credentials: size, level, type and content."""
    m = Gio.UnixCredentialsMessage.new()
    c = Gio.Credentials()
    other = Gio.UnixCredentialsMessage.new_with_credentials(c)
    outcome = [m.get_size(), m.get_level(), m.get_msg_type(), plain(m.get_credentials())]
    outcome += [other.get_credentials() is c, other.props.credentials is c, Gio.UnixCredentialsMessage.is_supported()]
    return [*outcome, attempt(Gio.UnixCredentialsMessage.new_with_credentials, None)]


def control_message_is_abstract():
    """SocketControlMessage can not be made."""
    return attempt(Gio.SocketControlMessage)


def deserialize_descriptors():
    """deserialize() takes descriptors over, and makes them close-on-exec."""
    fd = os.dup(0)
    os.set_inheritable(fd, True)
    m = Gio.SocketControlMessage.deserialize(SOL_SOCKET, socket.SCM_RIGHTS, fd.to_bytes(4, sys.byteorder))
    return [plain(m), m.get_fd_list().peek_fds() == [fd], is_cloexec(fd)]


def deserialize_credentials():
    """deserialize() reads a struct ucred."""
    payload = b"".join(number.to_bytes(4, sys.byteorder) for number in (7, 8, 9))
    return plain(Gio.SocketControlMessage.deserialize(SOL_SOCKET, SCM_CREDENTIALS, payload))


def deserialize_nothing():
    """What is unknown or not valid gives None."""

    def numbers(*values):
        return b"".join(value.to_bytes(4, sys.byteorder) for value in values)

    none = 2**32 - 1
    given = [
        (SOL_SOCKET, socket.SCM_RIGHTS, b"abc"),
        (SOL_SOCKET, socket.SCM_RIGHTS, numbers(99999)),
        (SOL_SOCKET, SCM_CREDENTIALS, numbers(7, 8)),
        (SOL_SOCKET, SCM_CREDENTIALS, numbers(7, 8, 9, 10)),
        (SOL_SOCKET, SCM_CREDENTIALS, numbers(0, 8, 9)),
        (SOL_SOCKET, SCM_CREDENTIALS, numbers(7, none, 9)),
        (SOL_SOCKET, SCM_CREDENTIALS, numbers(7, 8, none)),
        (SOL_SOCKET, 77, numbers(7)),
        (SOL_SOCKET + 1, socket.SCM_RIGHTS, numbers(0)),
        (SOL_SOCKET, socket.SCM_RIGHTS, b""),
    ]
    return [plain(Gio.SocketControlMessage.deserialize(*each)) for each in given]


def message_with_descriptors():
    """send_message() and receive_message() with an empty list of buffers carry one byte and the descriptors."""
    a, b = pair()
    m = Gio.UnixFDMessage()
    m.append_fd(0)
    m.append_fd(1)
    outcome = [a.get_socket().send_message(None, [], [m], 0), a.get_socket().send_message(None, [], [m], 0)]
    found = [b.get_socket().receive_message([], 0), b.get_socket().receive_message([], 0)]
    return [*outcome, plain(found)]


def message_with_both():
    """Credentials are delivered before descriptors."""
    a, b = pair()
    b.get_socket().set_option(SOL_SOCKET, SO_PASSCRED, 1)
    m = Gio.UnixFDMessage()
    m.append_fd(0)
    a.get_socket().send_message(None, [], [m, Gio.UnixCredentialsMessage()], 0)
    return plain(b.get_socket().receive_message([], 0))


def message_with_nothing():
    """A message without control messages, and with an empty one."""
    a, b = pair()
    outcome = [a.get_socket().send_message(None, [], None, 0), a.get_socket().send_message(None, [], [], 0)]
    outcome.append(a.get_socket().send_message(None, [], [Gio.UnixFDMessage()], 0))
    return [*outcome, [plain(b.get_socket().receive_message([], 0)) for _ in "123"]]


def message_of_too_many():
    """The kernel takes 253 descriptors in one message, not 254."""
    a, b = pair()
    m = Gio.UnixFDMessage()
    for _ in range(253):
        m.append_fd(0)
    outcome = [attempt(a.get_socket().send_message, None, [], [m], 0)]
    m.append_fd(0)
    outcome.append(attempt(a.get_socket().send_message, None, [], [m], 0))
    return [*outcome, plain(b.get_socket().receive_message([], 0))]


def message_of_forged_credentials():
    """Only root may send another's credentials."""
    a, b = pair()
    b.get_socket().set_option(SOL_SOCKET, SO_PASSCRED, 1)
    c = Gio.Credentials()
    c.set_unix_user(54321)
    if not os.geteuid():
        os.setegid(54322)
        os.seteuid(54320)
    return attempt(a.get_socket().send_message, None, [], [Gio.UnixCredentialsMessage.new_with_credentials(c)], 0)


def message_peeked():
    """MSG_PEEK gives the descriptors each time anew."""
    a, b = pair()
    a.send_fd(0)
    found = [plain(b.get_socket().receive_message([], socket.MSG_PEEK)) for _ in "12"]
    return [found, b.receive_fd() > 0]


def message_errors():
    """Sockets that can not send or receive."""
    s = unix_socket()
    outcome = [attempt(s.send_message, None, [], None, 0), attempt(s.receive_message, [], 0)]
    a, b = pair()
    b.close()
    outcome += [attempt(a.get_socket().receive_message, [], 0), attempt(a.get_socket().send_message, None, [], None, 0)]
    a.close()
    return [
        *outcome,
        attempt(a.get_socket().receive_message, [], 0),
        attempt(a.get_socket().send_message, None, [], None, 0),
    ]


# --- UnixFDList ---


def fd_list():
    """append() and get() give duplicates, close-on-exec."""
    fds = Gio.UnixFDList.new()
    before = descriptors()
    outcome = [fds.get_length(), fds.append(0), fds.append(0), fds.get_length(), descriptors() - before]
    got = fds.get(1)
    return [*outcome, got not in fds.peek_fds(), is_cloexec(got), os.path.sameopenfile(got, 0), len(fds.peek_fds())]


def fd_list_bad():
    """A number that is not open can not be appended."""
    fds = Gio.UnixFDList()
    return [attempt(fds.append, 99999), fds.get_length(), attempt(fds.append, "x"), attempt(fds.get, "x")]


def fd_list_steal():
    """steal_fds() empties the list, which stays usable."""
    fds = Gio.UnixFDList()
    fds.append(0)
    owned = fds.peek_fds()
    outcome = [fds.peek_fds() == owned, fds.steal_fds() == owned, fds.get_length(), fds.steal_fds(), fds.peek_fds()]
    return [*outcome, fds.append(0), is_cloexec(owned[0])]


def fd_list_new_from_array():
    """new_from_array() takes ownership as is."""
    fd = os.dup(0)
    os.set_inheritable(fd, True)
    fds = Gio.UnixFDList.new_from_array([fd])
    return [fds.get_length(), fds.peek_fds() == [fd], is_cloexec(fd), Gio.UnixFDList.new_from_array([]).get_length()]


def fd_list_closes():
    """What the list owns is closed with it, what was stolen is not."""
    before = descriptors()
    fds = Gio.UnixFDList()
    fds.append(0)
    fds.steal_fds()
    fds.append(0)
    del fds
    gc.collect()
    return descriptors() - before


def deserialize_wrong_arguments():
    """The level and the type are numbers, and the data bytes."""
    deserialize = Gio.SocketControlMessage.deserialize
    return [attempt(deserialize, *each) for each in (("x", 1, b""), (1, None, b""), (1, 1, None), (1, 1, 5), (1, 1))]


def fd_list_wrong_indices():
    """An index is a C int."""
    fd_list = Gio.UnixFDList()
    fd_list.append(0)
    return [[attempt(fd_list.get, each) for each in (2**31, "0", None)], fd_list.get(0.9) > 0]
