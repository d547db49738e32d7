"""Addresses of sockets."""

from __future__ import annotations

from gi.repository import Gio, GLib

from tools import DATAGRAM, DEFAULT, HUP, IN, OUT, SEQPACKET, STREAM, attempt, plain


def address_of_a_path():
    """A path's address."""
    a = Gio.UnixSocketAddress.new("/some/path")
    outcome = [a.get_path(), a.get_path_len(), a.get_address_type(), a.get_is_abstract(), a.to_string()]
    outcome += [a.get_family(), a.props.path, a.props.abstract, a.props.address_type, a.props.family]
    return plain([*outcome, a.get_native_size()])


def address_with_type():
    """Addresses of every kind, from bytes."""
    kinds = Gio.UnixSocketAddressType
    made = [
        Gio.UnixSocketAddress.new_with_type(b"name", kind)
        for kind in (kinds.PATH, kinds.ABSTRACT, kinds.ABSTRACT_PADDED)
    ]
    made.append(Gio.UnixSocketAddress.new_with_type(b"", kinds.ANONYMOUS))
    return [
        plain([a, a.get_path_len(), a.get_is_abstract(), a.get_native_size(), a.to_string(), a.props.abstract])
        for a in made
    ]


def address_with_type_of_a_list():
    """Addresses from a list of bytes' values."""
    return attempt(Gio.UnixSocketAddress.new_with_type, list(b"name"), Gio.UnixSocketAddressType.ABSTRACT)


def address_text():
    """Names that are not printable are escaped; a path is not."""
    kinds = Gio.UnixSocketAddressType
    return [
        Gio.UnixSocketAddress.new_with_type(b"a\x01b\\ c", kinds.ABSTRACT).to_string(),
        Gio.UnixSocketAddress.new("a\x01b\\ c").to_string(),
        Gio.UnixSocketAddress.new("").to_string(),
    ]


def address_of_107_bytes():
    """The longest path that Gio takes."""
    a = Gio.UnixSocketAddress.new("/" + "x" * 106)
    return [a.get_path_len(), len(a.get_path())]


def address_abstract_supported():
    """Linux has abstract names."""
    return attempt(Gio.UnixSocketAddress.abstract_names_supported)


def address_wrong():
    """Arguments that are no path."""
    return [
        attempt(Gio.UnixSocketAddress.new),
        attempt(Gio.UnixSocketAddress.new, None),
        attempt(Gio.UnixSocketAddress.new, 1),
    ]


def address_enums():
    """The numbers of the kinds, families, types and protocols."""
    kinds, families = Gio.UnixSocketAddressType, Gio.SocketFamily
    return plain(
        [
            [kinds.INVALID, kinds.ANONYMOUS, kinds.PATH, kinds.ABSTRACT, kinds.ABSTRACT_PADDED],
            [families.INVALID, families.UNIX, families.IPV4, families.IPV6],
            [Gio.SocketType.INVALID, STREAM, DATAGRAM, SEQPACKET],
            [Gio.SocketProtocol.UNKNOWN, DEFAULT, Gio.SocketProtocol.TCP, Gio.SocketProtocol.UDP],
            [IN, OUT, HUP, GLib.IOCondition.PRI, GLib.IOCondition.ERR, GLib.IOCondition.NVAL],
        ]
    )


def address_of_properties():
    """The constructor's keywords are the properties."""
    kinds = Gio.UnixSocketAddressType
    addresses = [
        Gio.UnixSocketAddress(path="a", abstract=True),
        Gio.UnixSocketAddress(path="a", address_type=kinds.ABSTRACT),
        Gio.UnixSocketAddress(path="/a", abstract=False),
    ]
    return [[each.get_path(), int(each.get_address_type()), each.get_native_size()] for each in addresses]


def address_of_no_type():
    """A type is one of Gio's."""
    return [attempt(Gio.UnixSocketAddress.new_with_type, b"a", each) for each in (None, "x")]
