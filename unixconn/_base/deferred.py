"""Modules that are loaded when they are first used: importing the package does not load what a program does not use."""

from __future__ import annotations

import importlib
import os

from unixconn._base.errors import translated
from unixconn._base.typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any


def load(name: str, user: str) -> ModuleType:
    """
    Import the module *name* of this package, for *user*, of which the text of an Error speaks.

    Raises the Error for the errno of a system call: TOO_MANY_OPEN_FILES if no descriptor is free.
    """
    try:
        return importlib.import_module(f"unixconn.{name}")
    except OSError as error:
        raise translated(error, f"Loading {user}: ") from None
    except ImportError:
        # A module in C that cannot be opened. Only another try to open something tells that no descriptor is free.
        try:
            os.close(os.open(os.sep, os.O_RDONLY))
        except OSError as error:
            raise translated(error, f"Loading {user}: ") from None
        raise


def defer(names: dict[str, Any], module: str, *functions: str) -> None:
    """
    Put stand-ins for *functions* of *module* into *names*, the ``globals()`` of the module that calls them.

    The first call of one of them loads *module*, and puts its functions in their place. So later calls cost no more.
    """

    def stand_in(function: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            loaded = load(module, f"unixconn.{module}")
            names.update((each, getattr(loaded, each)) for each in functions)
            return names[function](*arguments, **keywords)

        return call

    names.update((each, stand_in(each)) for each in functions)
