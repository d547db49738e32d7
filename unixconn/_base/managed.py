"""Managed: what ``with`` and ``async with`` close at their end."""

from __future__ import annotations

from abc import abstractmethod

from unixconn._base.typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

ManagedT = TypeVar("ManagedT", bound="Managed")


class Managed:
    """Has a `close`, and is a context manager that calls it."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> object:
        """Close it."""

    def __enter__(self: ManagedT) -> ManagedT:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self: ManagedT) -> ManagedT:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
