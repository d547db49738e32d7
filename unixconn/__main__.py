"""The entry point of the command line: the program ``unixconn``, and ``python -m unixconn``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from unixconn._cli.ending import end_on_signals, exit_at_once

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """See `unixconn._cli.main.main`."""
    # Only here: it takes long to load, and signals are to end that, too.
    from unixconn._cli.main import main as run_command

    return run_command(arguments)


def run() -> NoReturn:
    """Run the command of sys.argv in a process of its own, and end the process."""
    try:
        end_on_signals()
    except RuntimeError as error:
        os.write(2, f"unixconn: {error}\n".encode())
        exit_at_once(os.EX_OSERR)
    except KeyboardInterrupt:
        exit_at_once(130)
    exit_at_once(main())


if __name__ == "__main__":
    run()
