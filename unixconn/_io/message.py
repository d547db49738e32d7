"""Message: data, with the descriptors and the identity that came with them."""

from __future__ import annotations

from unixconn._base.managed import Managed
from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unixconn._kernel.credentials import Credentials
    from unixconn._kernel.file_descriptor import FileDescriptor


class Message(Managed):
    """
    What `UnixConnection.receive_message` has received.

    ``with message:`` closes the descriptors that are still in it at the end: take one by ``message.fds.pop(0)``, or
    ``message.fds[0].detach()``.
    """

    __slots__ = ("credentials", "data", "end_of_record", "fds", "pidfd", "refused")

    def __init__(self) -> None:
        self.data = b""
        self.fds: list[FileDescriptor] = []
        """The descriptors, in their order."""
        self.credentials: Credentials | None = None
        """Who sent it, as far as the kernel says so; see `UnixConnection.pass_credentials`."""
        self.pidfd: FileDescriptor | None = None
        """The process that sent it; see `UnixConnection.pass_pidfds`."""
        self.end_of_record = False
        """Whether the data end where the sender's do, which a stream does not tell."""
        self.refused = 0
        """How many descriptors were closed, as the connection refuses them and the kernel has not; see `refuse_fds`."""

    def close(self) -> None:
        """Close the descriptors that were not taken."""
        while self.fds:
            self.fds.pop().close()
        if self.pidfd is not None:
            self.pidfd.close()

    def __repr__(self) -> str:
        return f"<Message of {len(self.data)} bytes, {len(self.fds)} descriptors, {self.credentials!r}>"
