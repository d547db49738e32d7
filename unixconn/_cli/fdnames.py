"""
Names of descriptors, as the data of the message that has them: those of ``LISTEN_FDNAMES``, joined by colons.

A message of one NUL, as `UnixConnection.send_fds` and most programs send it, has no names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

UNKNOWN = "unknown"
"""What systemd calls a descriptor without a name."""
LONGEST = 255


def clean(name: str) -> str:
    """Make of *name* one that sd_listen_fds_with_names(3) allows: printable ASCII without a colon, not too long."""
    allowed = (each if " " <= each <= "~" and each != ":" else "_" for each in name[:LONGEST])
    return "".join(allowed) or UNKNOWN


def joined(names: Sequence[str]) -> bytes:
    """Give the data of a message that names its descriptors."""
    return ":".join(map(clean, names)).encode("ascii")


def split(data: bytes, count: int) -> list[str]:
    """Give the names of *count* descriptors that came with *data*, which may be anything at all."""
    names = data.strip(b"\0").decode("ascii", "replace").split(":")
    return [clean(name) for name in names] if len(names) == count else [UNKNOWN] * count
