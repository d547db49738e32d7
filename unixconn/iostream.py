"""IOStream: a stream for each direction, closed together."""

from __future__ import annotations

from abc import abstractmethod

from unixconn._typing import TYPE_CHECKING
from unixconn.closable import Closable
from unixconn.inputstream import InputStream
from unixconn.object import Property
from unixconn.outputstream import OutputStream

if TYPE_CHECKING:
    from typing import ClassVar


class IOStream(Closable):
    """A pair of streams that are closed together (Gio.IOStream)."""

    _properties: ClassVar[tuple[Property, ...]] = (
        Property("input-stream", InputStream, "get_input_stream"),
        Property("output-stream", OutputStream, "get_output_stream"),
        Property("closed", bool, "is_closed", default=False),
    )

    @abstractmethod
    def get_input_stream(self) -> InputStream:
        """Give the stream of what comes."""

    @abstractmethod
    def get_output_stream(self) -> OutputStream:
        """Give the stream of what goes."""
