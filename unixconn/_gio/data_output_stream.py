"""DataOutputStream: text, and numbers in binary form."""

from __future__ import annotations

from unixconn._base.arguments import as_integer, as_member
from unixconn._base.object import Property
from unixconn._base.typing import TYPE_CHECKING
from unixconn._gio.data_input_stream import DataStreamByteOrder, order_of
from unixconn._gio.filter_streams import FilterOutputStream

if TYPE_CHECKING:
    from typing import ClassVar

    from unixconn._gio.cancellable import Cancellable
    from unixconn._gio.output_stream import OutputStream


class DataOutputStream(FilterOutputStream):
    """
    A stream that writes text, and numbers in binary form (Gio.DataOutputStream).

    Nothing is buffered: each call writes its bytes, as `write_all` does and with the same errors, and returns True. A
    number that does not fit is an OverflowError.
    """

    __module__ = "unixconn"

    _properties: ClassVar[tuple[Property, ...]] = (
        Property(
            "byte-order",
            DataStreamByteOrder,
            "get_byte_order",
            "set_byte_order",
            default=DataStreamByteOrder.BIG_ENDIAN,
        ),
    )

    _byte_order = DataStreamByteOrder.BIG_ENDIAN

    def __init__(
        self,
        base_stream: OutputStream,
        *,
        close_base_stream: bool = True,
        byte_order: DataStreamByteOrder = DataStreamByteOrder.BIG_ENDIAN,
    ) -> None:
        super().__init__(base_stream, close_base_stream=close_base_stream)
        self.set_byte_order(byte_order)

    def get_byte_order(self) -> DataStreamByteOrder:
        """Return the order of the bytes of a number."""
        return self._byte_order

    def set_byte_order(self, order: DataStreamByteOrder) -> None:
        """Set the order of the bytes of a number. Raises TypeError for what is not a DataStreamByteOrder."""
        self._change("byte-order", as_member(DataStreamByteOrder, order))

    def put_byte(self, data: int, cancellable: Cancellable | None = None) -> bool:
        """Write a byte of the value *data*."""
        return self._put(data, 1, False, cancellable)

    def put_int16(self, data: int, cancellable: Cancellable | None = None) -> bool:
        """Write *data* as 2 bytes, with a sign."""
        return self._put(data, 2, True, cancellable)

    def put_uint16(self, data: int, cancellable: Cancellable | None = None) -> bool:
        """Write *data* as 2 bytes, without a sign."""
        return self._put(data, 2, False, cancellable)

    def put_int32(self, data: int, cancellable: Cancellable | None = None) -> bool:
        """Write *data* as 4 bytes, with a sign."""
        return self._put(data, 4, True, cancellable)

    def put_uint32(self, data: int, cancellable: Cancellable | None = None) -> bool:
        """Write *data* as 4 bytes, without a sign."""
        return self._put(data, 4, False, cancellable)

    def put_int64(self, data: int, cancellable: Cancellable | None = None) -> bool:
        """Write *data* as 8 bytes, with a sign."""
        return self._put(data, 8, True, cancellable)

    def put_uint64(self, data: int, cancellable: Cancellable | None = None) -> bool:
        """Write *data* as 8 bytes, without a sign."""
        return self._put(data, 8, False, cancellable)

    def put_string(self, str: str, cancellable: Cancellable | None = None) -> bool:  # noqa: A002 - Gio's name
        """Write *str* in UTF-8. Raises TypeError for what is not a str."""
        return self.write_all(_encoded(str), cancellable).ok

    def _put(self, data: int, size: int, signed: bool, cancellable: Cancellable | None) -> bool:
        bits = 8 * size - signed
        value = as_integer(data, "data", -(1 << bits) if signed else 0, (1 << bits) - 1)
        return self.write_all(value.to_bytes(size, order_of(self._byte_order), signed=signed), cancellable).ok


def _encoded(text: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"str must be a str, not {text!r}")
    return text.encode()
